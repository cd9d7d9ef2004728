//! The log through its public face: what is written, what is read again, and what damage does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod append;
mod crash;
mod damage;
mod faults;
mod replaced;
mod support;
mod vector;
