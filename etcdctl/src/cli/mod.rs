//! The command line: the tree of commands as data, and how words, flags and help follow from it.

mod find;
mod help;
mod parse;
mod spec;
mod tree;
mod values;

pub(crate) use find::{Found, find};
pub(crate) use help::{help, options, usage};
pub(crate) use parse::{BadFlag, Parsed, parse, parse_with};
pub(crate) use spec::{Command, Flag};
pub(crate) use tree::{GLOBAL_FLAGS, ROOT};
pub(crate) use values::{Value, go_int, go_uint, read};
