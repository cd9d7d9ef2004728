//! The scripts, and the differences that are allowed, one by one.

use integration_tests::Output;

/// One command.
pub(crate) struct Step {
    pub(crate) args: &'static [&'static str],
    pub(crate) input: &'static str,
    pub(crate) allowed: Option<Allowed>,
}

/// A difference between 3.4 and 3.7 that is right, and what to compare all the same.
pub(crate) struct Allowed {
    /// Why ours differs. Read by people.
    #[allow(dead_code, reason = "the reason is for the reader of this table")]
    pub(crate) reason: &'static str,
    /// Applied to both outputs before they are compared.
    pub(crate) rewrite: fn(Output) -> Output,
}

const fn step(args: &'static [&'static str]) -> Step {
    Step { args, input: "", allowed: None }
}

const fn fed(args: &'static [&'static str], input: &'static str) -> Step {
    Step { args, input, allowed: None }
}

const fn differs(
    args: &'static [&'static str],
    reason: &'static str,
    rewrite: fn(Output) -> Output,
) -> Step {
    Step { args, input: "", allowed: Some(Allowed { reason, rewrite }) }
}

/// Only whether it worked.
fn code_only(output: Output) -> Output {
    Output { code: output.code, stdout: String::new(), stderr: String::new() }
}

/// The alarm answer without its header.
fn without_header(output: Output) -> Output {
    let stdout = match (output.stdout.find("\"header\":{"), output.stdout.find("},")) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{}", &output.stdout[..from], &output.stdout[to + 2..])
        }
        _ => output.stdout,
    };
    Output { stdout, ..output }
}

pub(crate) const SCRIPTS: &[(&str, &[Step])] = &[
    ("put_get_and_delete", PUT_GET_DELETE),
    ("ranges_limits_and_orders", RANGES),
    ("revisions_and_compaction", REVISIONS),
    ("transactions", TRANSACTIONS),
    ("leases", LEASES),
    ("bad_requests", BAD_REQUESTS),
    ("alarms_and_maintenance", MAINTENANCE),
    ("registry_keys", REGISTRY),
];

const PUT_GET_DELETE: &[Step] = &[
    step(&["get", "nothing", "-w", "json"]),
    step(&["put", "/name", "wgs"]),
    step(&["get", "/name"]),
    step(&["put", "/name", "wgs_update", "--prev-kv"]),
    step(&["put", "/name", "wgs_update", "-w", "json"]),
    step(&["get", "/name", "-w", "json"]),
    step(&["get", "/name", "-w", "fields"]),
    step(&["put", "/name/wgs", "other"]),
    step(&["get", "/name"]),
    step(&["get", "/name", "--prefix", "-w", "json"]),
    step(&["put", "/name", "--ignore-value", "--prev-kv"]),
    step(&["put", "missing", "--ignore-value"]),
    step(&["put", "missing", "x", "--ignore-lease"]),
    fed(&["put", "stdin"], "from the pipe\n"),
    step(&["get", "stdin", "--hex"]),
    step(&["put", "empty", ""]),
    step(&["get", "empty", "-w", "json"]),
    step(&["del", "/name", "--prev-kv"]),
    step(&["del", "/name"]),
    step(&["del", "/name", "-w", "json"]),
    step(&["get", "/name", "-w", "json"]),
    step(&["put", "/name", "again", "-w", "json"]),
    step(&["get", "/name", "-w", "json"]),
    step(&["del", "", "--from-key"]),
    step(&["get", "", "--from-key", "-w", "json"]),
];

const RANGES: &[Step] = &[
    step(&["put", "k1", "c"]),
    step(&["put", "k2", "a2"]),
    step(&["put", "k3", "b"]),
    step(&["put", "k4", "d"]),
    step(&["put", "k5", "0"]),
    step(&["put", "k3", "b2"]),
    step(&["put", "l", "outside"]),
    step(&["get", "k", "--prefix"]),
    step(&["get", "k", "--prefix", "--limit", "2", "-w", "json"]),
    step(&["get", "k", "--prefix", "--limit", "5", "-w", "json"]),
    step(&["get", "k", "--prefix", "--limit=-1", "-w", "json"]),
    step(&["get", "k2", "k4", "-w", "json"]),
    step(&["get", "k4", "k2", "-w", "json"]),
    step(&["get", "k3", "k3", "-w", "json"]),
    step(&["get", "k3", "--from-key"]),
    step(&["get", "", "--prefix", "--keys-only"]),
    step(&["get", "k", "--prefix", "--keys-only", "-w", "json"]),
    step(&["get", "k", "--prefix", "--print-value-only"]),
    step(&["get", "k", "--prefix", "--sort-by", "VALUE", "--order", "ASCEND"]),
    step(&["get", "k", "--prefix", "--sort-by", "VALUE", "--order", "DESCEND", "--limit", "2"]),
    step(&["get", "k", "--prefix", "--sort-by", "VALUE", "--limit", "1", "-w", "json"]),
    step(&["get", "k", "--prefix", "--sort-by", "MODIFY", "--order", "DESCEND"]),
    step(&["get", "k", "--prefix", "--sort-by", "CREATE", "--order", "DESCEND"]),
    step(&["get", "k", "--prefix", "--sort-by", "KEY", "--order", "DESCEND", "--limit", "3"]),
    step(&["get", "k", "--prefix", "--rev", "4", "-w", "json"]),
    step(&["get", "k3", "--rev", "4"]),
    step(&["get", "k3", "--rev", "7"]),
    step(&["get", "k3", "--consistency", "s", "-w", "json"]),
];

const REVISIONS: &[Step] = &[
    step(&["put", "foo", "bar"]),
    step(&["put", "foo", "bar2"]),
    step(&["put", "hello", "world"]),
    step(&["del", "foo"]),
    step(&["put", "k2", "v2"]),
    step(&["get", "foo", "--rev", "2", "-w", "json"]),
    step(&["get", "foo", "--rev", "3", "-w", "json"]),
    step(&["get", "foo", "--rev", "5", "-w", "json"]),
    step(&["get", "foo", "--rev", "99"]),
    step(&["compaction", "3"]),
    step(&["compaction", "3"]),
    step(&["compaction", "2"]),
    step(&["compaction", "99"]),
    step(&["get", "foo", "--rev", "2"]),
    step(&["get", "foo", "--rev", "3", "-w", "json"]),
    step(&["get", "foo", "--rev", "4", "-w", "json"]),
    step(&["compaction", "5", "--physical"]),
    step(&["get", "hello", "--rev", "5", "-w", "json"]),
    step(&["put", "foo", "anew"]),
    step(&["get", "foo", "-w", "json"]),
    step(&["compaction", "7", "--physical"]),
    step(&["get", "", "--prefix", "-w", "json"]),
    step(&["endpoint", "hashkv", "-w", "json"]),
];

const TRANSACTIONS: &[Step] = &[
    fed(&["txn"], "create(\"foo\") = \"0\"\n\nput foo bar\nget foo\n\nget foo\n\n"),
    fed(&["txn"], "create(\"foo\") = \"0\"\n\nput foo again\n\nget foo\nput a 1\n\n"),
    fed(&["txn", "-w", "json"], "value(\"foo\") = \"bar\"\n\nput foo qux\nget foo\nput a 2\n\n\n"),
    fed(&["txn", "-w", "json"], "version(\"missing\") = \"0\"\n\ndel a --prefix\nget a\n\n\n"),
    fed(&["txn", "-w", "json"], "value(\"missing\") != \"x\"\n\nput no no\n\nput yes yes\n\n"),
    fed(&["txn", "-w", "json"], "mod(\"foo\") > \"1\"\nver(\"foo\") < \"9\"\n\nget foo\n\n\n"),
    fed(&["txn"], "\n\nput twice 1\nput twice 2\n\n\n"),
    fed(&["txn"], "\n\nput q 1\ndel q\n\n\n"),
    fed(&["txn"], "\n\ndel z0\ndel z --prefix\nput other 1\n\n\n"),
    step(&["get", "", "--prefix", "-w", "json"]),
];

const LEASES: &[Step] = &[
    step(&["lease", "grant", "600"]),
    step(&["lease", "grant", "1000"]),
    step(&["put", "a", "1", "--lease", "LEASE0"]),
    step(&["put", "b", "2", "--lease", "LEASE0"]),
    step(&["get", "a", "-w", "json"]),
    step(&["put", "b", "3", "--lease", "LEASE1"]),
    step(&["put", "b", "4", "--ignore-lease"]),
    step(&["get", "b", "-w", "json"]),
    step(&["put", "c", "5", "--lease", "1234"]),
    step(&["lease", "revoke", "LEASE0"]),
    step(&["lease", "revoke", "LEASE0"]),
    step(&["get", "", "--prefix", "-w", "json"]),
    step(&["put", "b", "6"]),
    step(&["lease", "revoke", "LEASE1"]),
    step(&["get", "", "--prefix", "-w", "json"]),
    step(&["lease", "timetolive", "LEASE1"]),
    step(&["lease", "keep-alive", "--once", "LEASE1"]),
    step(&["lease", "grant", "9000000001"]),
    step(&["lease", "list"]),
];

const BAD_REQUESTS: &[Step] = &[
    step(&["put", "", "x"]),
    step(&["get", ""]),
    step(&["del", ""]),
    step(&["put", "k", "v", "--lease", "zz"]),
    fed(&["txn"], "\n\nput x 1\nput x 1\n\n\n"),
    step(&["compaction", "0"]),
    step(&["compaction", "0"]),
    step(&["get", "k", "--rev", "5"]),
    step(&["watch", "b", "a", "--rev", "-5", "--command-timeout", "1s", "--no-such-flag"]),
    step(&["lease", "revoke", "1"]),
    step(&["get", "", "--prefix", "-w", "json"]),
];

const MAINTENANCE: &[Step] = &[
    step(&["member", "list"]),
    step(&["endpoint", "health"]),
    differs(&["endpoint", "status"], "version, sizes and raft index differ", code_only),
    step(&["alarm", "list"]),
    step(&["put", "a", "1"]),
    differs(
        &["alarm", "disarm", "-w", "json"],
        "3.4 answers alarms without a header",
        without_header,
    ),
    step(&["defrag"]),
    step(&["endpoint", "hashkv", "-w", "json"]),
    step(&["get", "a", "-w", "json"]),
];

const REGISTRY: &[Step] = &[
    step(&["put", "/registry/pods/kube-system/coredns-8568fcb45d-ghnrd", "a"]),
    step(&["put", "/registry/pods/kube-system/calico-node-22pk5", "b"]),
    step(&["put", "/registry/namespaces/default", "c"]),
    step(&["put", "/registry/deployments/kube-system/coredns", "d"]),
    step(&["put", "/calico/ipam/v2/assignment/ipv4/block/10.200.151.128-26", "{\"cidr\":1}"]),
    step(&["put", "/calico/ipam/v2/handle/ipip-tunnel-addr-k8s-node-01", "f"]),
    step(&["get", "/", "--prefix", "--keys-only"]),
    step(&["get", "/registry", "--prefix", "--keys-only", "--limit", "2"]),
    step(&["get", "/calico/ipam/v2/assignment/ipv4/block/10.200.151.128-26"]),
    step(&["get", "/registry/pods", "/registry/pods0", "--count-only", "-w", "json"]),
    step(&["get", "/registry/pods", "--prefix", "--count-only", "--write-out", "fields"]),
];
