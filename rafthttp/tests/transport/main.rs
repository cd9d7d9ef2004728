//! The transport against itself, against peers that are raw TCP, and against a real etcd.

mod answers;
mod pair;
mod support;
