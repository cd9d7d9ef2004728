//! The client API of one member, over real connections to the real binary: answers, refusals and
//! their exact words, watches, leases, and what hostile clients may send.
//!
//! `API_TARGET=reference` runs the tests against the distribution's real etcd 3.4 instead; where
//! 3.4 and 3.7 agree, a test that fails there is wrong.

#![forbid(unsafe_code)]

mod client_crate;
mod errors;
mod headers;
mod hostile;
mod leases;
mod node;
mod range_stream;
mod unimplemented;
mod watch;
