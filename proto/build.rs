//! Generates the messages, client stubs and server traits from `proto/`.
//!
//! Two passes over the same files: the first makes the messages and the clients; the second
//! makes the server traits only, with the answers that carry stored pairs replaced by their
//! pre-encoded twins of `src/raw.rs`.

use std::path::PathBuf;
use std::{env, fs, io};

const FILES: &[&str] = &[
    "proto/authpb/auth.proto",
    "proto/etcdserverpb/etcdserver.proto",
    "proto/etcdserverpb/raft_internal.proto",
    "proto/etcdserverpb/rpc.proto",
    "proto/grpc/health/v1/health.proto",
    "proto/leasepb/lease.proto",
    "proto/membershippb/membership.proto",
    "proto/mvccpb/kv.proto",
    "proto/raftpb/raft.proto",
    "proto/snappb/snap.proto",
    "proto/v3electionpb/v3election.proto",
    "proto/v3lockpb/v3lock.proto",
    "proto/walpb/record.proto",
];

const PACKAGES: &[(&str, &str)] = &[
    (".authpb", "crate::authpb"),
    (".etcdserverpb", "crate::etcdserverpb"),
    (".grpc.health.v1", "crate::healthpb"),
    (".leasepb", "crate::leasepb"),
    (".membershippb", "crate::membershippb"),
    (".mvccpb", "crate::mvccpb"),
    (".raftpb", "crate::raftpb"),
    (".snappb", "crate::snappb"),
    (".v3electionpb", "crate::v3electionpb"),
    (".v3lockpb", "crate::v3lockpb"),
    (".walpb", "crate::walpb"),
];

/// Answers the server encodes from stored bytes.
const RAW: &[&str] = &[
    "RangeResponse",
    "RangeStreamResponse",
    "PutResponse",
    "DeleteRangeResponse",
    "TxnResponse",
    "WatchResponse",
];

/// Rare parts of a log entry's request, boxed so that decoding a put does not clear kilobytes.
const BOXED: &[&str] = &[
    "auth_enable",
    "auth_disable",
    "authenticate",
    "auth_status",
    "auth_user_add",
    "auth_user_delete",
    "auth_user_get",
    "auth_user_change_password",
    "auth_user_grant_role",
    "auth_user_revoke_role",
    "auth_user_list",
    "auth_role_list",
    "auth_role_add",
    "auth_role_delete",
    "auth_role_get",
    "auth_role_grant_permission",
    "auth_role_revoke_permission",
    "cluster_version_set",
    "cluster_member_attr_set",
    "downgrade_info_set",
    "downgrade_version_test",
];

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let messages = out.join("messages");
    let servers = out.join("servers");
    fs::create_dir_all(&messages)?;
    fs::create_dir_all(&servers)?;

    let mut pass = tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .build_server(false)
        .build_transport(false)
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .out_dir(&messages);
    for field in BOXED {
        pass = pass.boxed(format!(".etcdserverpb.InternalRaftRequest.{field}"));
    }
    pass.compile_protos(FILES, &["proto"])?;

    let mut pass = tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .codec_path("crate::codec::EtcdCodec")
        .out_dir(&servers);
    for (package, path) in PACKAGES {
        pass = pass.extern_path(*package, *path);
    }
    for name in RAW {
        pass = pass.extern_path(format!(".etcdserverpb.{name}"), format!("crate::raw::{name}"));
    }
    pass.compile_protos(FILES, &["proto"])
}
