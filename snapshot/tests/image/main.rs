//! Images as a whole: bytes that are known, files of real etcd, and damage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod fixtures;
mod freelist;
mod golden;
mod layout;
mod support;
