//! Orders a member's writes by raft: the only crate that knows the library `raft`. It turns
//! proposals into entries that are durable, committed and applied in order, and tells readers
//! when the applied state may be read.
//!
//! ```text
//!  propose(bytes) ─▶ inbox ─▶ Driver (raft, pure) ─▶ Disk: append, one sync for all
//!  read_barrier() ─▶   │         ▲    │ ─▶ Transport: messages to peers
//!  step(message)  ─▶   ┘         │    └▶ StateMachine: apply(batch) ─▶ outcome ─┐
//!                                └──────────────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - the bytes of an entry are never looked into, and the bytes proposed are the very bytes
//!   written, applied and sent;
//! - an entry reaches the state machine once, in order, durable and committed;
//! - a failed write or sync of the log is final;
//! - every queue has a bound (`limits.rs`), and the raft thread waits on nothing but its inbox
//!   once there is another member.
//!
//! Entry points: [`RaftNode::start`], [`Handle`]; [`Boot::driver`] for simulations.

#![forbid(unsafe_code)]

mod conf_change;
mod convert;
mod driver;
mod error;
mod handle;
mod inbox;
mod limits;
mod log_bridge;
mod log_store;
mod machine;
mod node;
mod read_index;
mod start;
mod status;
mod work;
mod worker;

pub use driver::{Command, Driver, Facts, Persist, Proposal, ReadState};
pub use error::{Error, ProposeError, ReadError, StepError};
pub use handle::{Handle, RaftNode};
pub use limits::CATCH_UP_ENTRIES;
pub use log_store::{LogPosition, LogStore};
pub use machine::{
    ApplyOutcome, CommittedBatch, ConfChange, ConfVerdict, Disk, InstallSnapshot, Leadership,
    NoTransport, Observer, Progress, ProgressState, Role, StateMachine, Transport,
};
pub use start::{Boot, Config, Founder, Surroundings, founding_end};
pub use status::Status;
