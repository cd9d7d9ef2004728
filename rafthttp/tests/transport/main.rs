//! The transport against itself, against peers that are raw TCP, and against a real etcd.

mod answers;
mod fake_peer;
mod pair;
mod pressure;
mod probes;
mod real;
mod slow;
mod snapshots;
mod support;
