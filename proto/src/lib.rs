//! The wire: messages, client stubs and server traits of every service, generated from the
//! `.proto` files beside this crate, and the codec the server speaks them with.
//!
//! ```text
//!   request bytes ──▶ scan (depth, groups) ──▶ prost ──▶ plain messages ──▶ server traits
//!   stored bytes  ──▶ raw twins (pre-encoded parts)  ──▶ prost ──▶ answer bytes
//! ```
//!
//! Invariants:
//! - every `bytes` field is [`bytes::Bytes`]: decoding slices the received buffer;
//! - a raw twin and its plain message have the same wire form, byte for byte;
//! - no input can make decoding recurse deeper than [`scan::TXN_DEPTH_MAX`] transactions or
//!   [`scan::GROUP_DEPTH_MAX`] groups;
//! - this crate knows no rule about what a message means.
//!
//! Entry points: the package modules, [`server`], [`raw`], [`codec::EtcdCodec`],
//! [`request::encode`].

#![forbid(unsafe_code)]

pub mod codec;
pub mod raw;
pub mod request;
pub mod scan;

/// Declares a module holding generated code.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::allow_attributes_without_reason,
            clippy::unwrap_used,
            rustdoc::all,
            reason = "generated code"
        )]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/messages/", $file, ".rs"));
        }
    };
}

generated!(
    /// Users, roles and permissions as stored.
    authpb,
    "authpb"
);
generated!(
    /// Requests, answers and clients of the store's services, and the request of a log entry.
    etcdserverpb,
    "etcdserverpb"
);
generated!(
    /// The standard gRPC health service.
    healthpb,
    "grpc.health.v1"
);
generated!(
    /// Stored leases and what members exchange about them.
    leasepb,
    "leasepb"
);
generated!(
    /// Membership facts as replicated through the log.
    membershippb,
    "membershippb"
);
generated!(
    /// A stored pair and the event of its change.
    mvccpb,
    "mvccpb"
);
generated!(
    /// Consensus messages and what the WAL stores of them.
    raftpb,
    "raftpb"
);
generated!(
    /// The envelope of a `.snap` file.
    snappb,
    "snappb"
);
generated!(
    /// The election service.
    v3electionpb,
    "v3electionpb"
);
generated!(
    /// The lock service.
    v3lockpb,
    "v3lockpb"
);
generated!(
    /// The framing of WAL records.
    walpb,
    "walpb"
);

/// Server traits of every service; answers that carry stored pairs are the [`raw`] twins.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    rustdoc::all,
    reason = "generated code"
)]
pub mod server {
    include!(concat!(env!("OUT_DIR"), "/servers/etcdserverpb.rs"));
    include!(concat!(env!("OUT_DIR"), "/servers/v3lockpb.rs"));
    include!(concat!(env!("OUT_DIR"), "/servers/v3electionpb.rs"));
    include!(concat!(env!("OUT_DIR"), "/servers/grpc.health.v1.rs"));
}

/// The compiled `FileDescriptorSet` of all packages.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
