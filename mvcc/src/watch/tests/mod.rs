//! The hub over a store in memory.

mod model;
mod named;
mod speed;
mod store;
mod threads;
