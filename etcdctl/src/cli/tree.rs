//! Every command and flag of etcdctl, as data: parsing, help and suggestions come from here.

use super::spec::{Command, Flag, Kind, Section, int, switch, text};

/// The root of the tree.
pub(crate) static ROOT: Command =
    Command::new("etcdctl", "", "A simple command line client for etcd3.")
        .shared(GLOBAL_FLAGS)
        .children(&[
            ALARM,
            AUTH,
            CHECK,
            COMPACTION,
            COMPLETION,
            DEFRAG,
            DEL,
            DOWNGRADE,
            ELECT,
            ENDPOINT,
            GET,
            HELP,
            LEASE,
            LOCK,
            MAKE_MIRROR,
            MEMBER,
            MOVE_LEADER,
            OPTIONS,
            PUT,
            ROLE,
            SNAPSHOT,
            TXN,
            USER,
            VERSION,
            WATCH,
        ]);

/// The flags every command takes, by name.
pub(crate) const GLOBAL_FLAGS: &[Flag] = &[
    text(
        "auth-jwt-token",
        "",
        "JWT token used for authentication (if this option is used, \
         --user and --password should not be set)",
    ),
    text(
        "cacert",
        "",
        "verify certificates of TLS-enabled secure servers using this \
         CA bundle",
    ),
    text("cert", "", "identify secure client using this TLS certificate file"),
    text("command-timeout", "", "timeout for short running command (excluding dial timeout)")
        .kind(Kind::Duration, "5s"),
    switch("debug", "enable client-side debug logging"),
    text("dial-timeout", "", "dial timeout for client connections").kind(Kind::Duration, "2s"),
    text(
        "discovery-srv",
        "",
        "domain name to query for SRV records describing cluster \
         endpoints",
    )
    .short('d'),
    text("discovery-srv-name", "", "service name to query when using DNS discovery"),
    text("endpoints", "", "gRPC endpoints").kind(Kind::List, "127.0.0.1:2379"),
    switch("hex", "print byte strings as hex encoded strings"),
    switch("insecure-discovery", "accept insecure SRV records describing cluster endpoints")
        .kind(Kind::Bool, "true"),
    switch(
        "insecure-skip-tls-verify",
        "skip server certificate verification (CAUTION: this option \
         should be enabled only for testing purposes)",
    ),
    switch("insecure-transport", "disable transport security for client connections")
        .kind(Kind::Bool, "true"),
    text("keepalive-time", "", "keepalive time for client connections").kind(Kind::Duration, "2s"),
    text("keepalive-timeout", "", "keepalive timeout for client connections")
        .kind(Kind::Duration, "6s"),
    text("key", "", "identify secure client using this TLS key file"),
    int(
        "max-recv-bytes",
        "client-side response receive limit in bytes (if 0, it defaults \
         to \"math.MaxInt32\")",
    ),
    int(
        "max-request-bytes",
        "client-side request send limit in bytes (if 0, it defaults to \
         2.0 MiB (2 * 1024 * 1024).)",
    ),
    text(
        "password",
        "",
        "password for authentication (if this option is used, --user \
         option shouldn't include password)",
    ),
    text(
        "user",
        "",
        "username[:password] for authentication (prompt if password is \
         not supplied)",
    ),
    text("write-out", "simple", "set the output format (fields, json, protobuf, simple, table)")
        .short('w'),
];

const ALARM: Command = Command::new(
    "alarm",
    "",
    "Alarm related commands. Use `etcdctl alarm --help` to see \
         subcommands",
)
.long("Alarm related commands")
.section(Section::Maintenance)
.children(&[
    Command::new("disarm", "", "Disarms all alarms"),
    Command::new("list", "", "Lists all alarms"),
]);

const AUTH: Command = Command::new(
    "auth",
    "",
    "Enable or disable authentication. Use `etcdctl auth --help` to \
         see subcommands",
)
.long("Enable or disable authentication")
.section(Section::Authentication)
.children(&[
    Command::new("disable", "", "Disables authentication"),
    Command::new("enable", "", "Enables authentication"),
    Command::new("status", "", "Returns authentication status"),
]);

const CHECK: Command = Command::new(
    "check",
    "",
    "commands for checking properties of the etcd cluster. Use \
         `etcdctl check --help` to see subcommands",
)
.long("commands for checking properties of the etcd cluster")
.section(Section::Utility)
.children(&[
    Command::new(
        "datascale",
        "[options]",
        "Check the memory usage of holding data for different workloads \
         on a given server endpoint.",
    )
    .flags(&[
        AUTO_COMPACT,
        AUTO_DEFRAG,
        text(
            "load",
            "s",
            "The datascale check's workload model. Accepted workloads: \
         s(small), m(medium), l(large), xl(xLarge)",
        ),
        text(
            "prefix",
            "/etcdctl-check-datascale/",
            "The prefix for writing the datascale check's keys.",
        ),
    ]),
    Command::new("perf", "[options]", "Check the performance of the etcd cluster").flags(&[
        AUTO_COMPACT,
        AUTO_DEFRAG,
        text(
            "load",
            "s",
            "The performance check's workload model. Accepted workloads: \
         s(small), m(medium), l(large), xl(xLarge). Different workload \
         models use different configurations in terms of number of \
         clients and expected throughput.",
        ),
        text(
            "prefix",
            "/etcdctl-check-perf/",
            "The prefix for writing the performance check's keys.",
        ),
    ]),
]);
const AUTO_COMPACT: Flag =
    switch("auto-compact", "Compact storage with last revision after test is finished.");
const AUTO_DEFRAG: Flag = switch("auto-defrag", "Defragment storage after test is finished.");

const COMPACTION: Command =
    Command::new("compaction", "[options] <revision>", "Compacts the event history in etcd")
        .section(Section::KeyValue)
        .flags(&[switch(
            "physical",
            "'true' to wait for compaction to physically remove all old \
         revisions",
        )]);

const COMPLETION: Command =
    Command::new("completion", "[bash|zsh|fish|powershell]", "Generate completion script")
        .section(Section::Utility);

const DEFRAG: Command = Command::new(
    "defrag",
    "",
    "Defragments the storage of the etcd members with given \
         endpoints",
)
.section(Section::Maintenance)
.flags(&[
    switch("cluster", "use all endpoints from the cluster member list"),
    text(
        "data-dir",
        "",
        "Optional. If present, defragments a data directory not in use \
         by etcd.",
    )
    .hidden(),
]);

const DEL: Command = Command::new(
    "del",
    "[options] <key> [range_end]",
    "Removes the specified key or range of keys [key, range_end)",
)
.section(Section::KeyValue)
.flags(&[
    switch(
        "from-key",
        "delete keys that are greater than or equal to the given key \
         using byte compare",
    ),
    switch("prefix", "delete keys with matching prefix"),
    switch("prev-kv", "return deleted key-value pairs"),
    switch("range", "delete range of keys"),
]);

const DOWNGRADE: Command = Command::new(
    "downgrade",
    "",
    "Downgrade related commands. Use `etcdctl downgrade --help` to \
         see subcommands",
)
.long("Downgrade related commands")
.section(Section::Maintenance)
.children(&[
    Command::new("cancel", "", "Cancel the ongoing downgrade action to cluster"),
    Command::new("enable", "<TARGET_VERSION>", "Start a downgrade action to cluster"),
    Command::new(
        "validate",
        "<TARGET_VERSION>",
        "Validate downgrade capability before starting downgrade",
    ),
]);

const ELECT: Command = Command::new(
    "elect",
    "<election-name> [proposal]",
    "Observes and participates in leader election",
)
.section(Section::Concurrency)
.flags(&[switch("listen", "observation mode").short('l')]);

const ENDPOINT: Command = Command::new(
    "endpoint",
    "",
    "Endpoint related commands. Use `etcdctl endpoint --help` to \
         see subcommands",
)
.long("Endpoint related commands")
.section(Section::Maintenance)
.shared(&[switch("cluster", "use all endpoints from the cluster member list")])
.children(&[
    Command::new("hashkv", "", "Prints the KV history hash for each endpoint in --endpoints")
        .flags(&[int("rev", "maximum revision to hash (default: latest revision)")]),
    Command::new(
        "health",
        "",
        "Checks the healthiness of endpoints specified in `--endpoints` \
         flag",
    ),
    Command::new(
        "status",
        "",
        "Prints out the status of endpoints specified in `--endpoints` \
         flag",
    ),
]);

const GET: Command =
    Command::new("get", "[options] <key> [range_end]", "Gets the key or a range of keys")
        .section(Section::KeyValue)
        .flags(&[
            text("consistency", "l", "Linearizable(l) or Serializable(s)"),
            switch("count-only", "Get only the count"),
            switch(
                "from-key",
                "Get keys that are greater than or equal to the given key using \
         byte compare",
            ),
            switch("keys-only", "Get only the keys"),
            int("limit", "Maximum number of results"),
            int("max-create-rev", "Maximum create revision"),
            int("max-mod-rev", "Maximum modification revision"),
            int("min-create-rev", "Minimum create revision"),
            int("min-mod-rev", "Minimum modification revision"),
            text("order", "", "Order of results; ASCEND or DESCEND (ASCEND by default)"),
            switch("prefix", "Get keys with matching prefix"),
            switch("print-value-only", "Only write values when using the \"simple\" output format"),
            int("rev", "Specify the kv revision"),
            text("sort-by", "", "Sort target; CREATE, KEY, MODIFY, VALUE, or VERSION"),
            switch("stream", "Use the RangeStream RPC"),
        ]);

const HELP: Command = Command::new("help", "[command]", "Help about any command")
    .long("Shows the help of the command whose name follows.")
    .section(Section::Utility);

const LEASE: Command = Command::new(
    "lease",
    "",
    "Lease related commands. Use `etcdctl lease --help` to see \
         subcommands",
)
.long("Lease related commands")
.section(Section::KeyValue)
.children(&[
    Command::new("grant", "<ttl>", "Creates leases"),
    Command::new("keep-alive", "[options] <leaseID>", "Keeps leases alive (renew)").flags(&[
        switch(
            "once",
            "Resets the keep-alive time to its original value and \
         cobrautl.Exits immediately",
        ),
    ]),
    Command::new("list", "", "List all active leases"),
    Command::new("revoke", "<leaseID>", "Revokes leases"),
    Command::new("timetolive", "<leaseID> [options]", "Get lease information")
        .flags(&[switch("keys", "Get keys attached to this lease")]),
]);

const LOCK: Command =
    Command::new("lock", "<lockname> [exec-command arg1 arg2 ...]", "Acquires a named lock")
        .section(Section::Concurrency)
        .flags(&[text("ttl", "", "timeout for session").kind(Kind::Int, "10")]);

const MAKE_MIRROR: Command = Command::new(
    "make-mirror",
    "[options] <destination>",
    "Makes a mirror at the destination etcd cluster",
)
.section(Section::Utility)
.flags(&[
    text(
        "dest-cacert",
        "",
        "Verify certificates of TLS enabled secure servers using this \
         CA bundle",
    ),
    text(
        "dest-cert",
        "",
        "Identify secure client using this TLS certificate file for the \
         destination cluster",
    ),
    switch("dest-insecure-transport", "Disable transport security for client connections")
        .kind(Kind::Bool, "true"),
    text("dest-key", "", "Identify secure client using this TLS key file"),
    text(
        "dest-password",
        "",
        "Destination password for authentication (if this option is \
         used, --user option shouldn't include password)",
    ),
    text(
        "dest-prefix",
        "",
        "destination prefix to mirror a prefix to a different prefix in \
         the destination cluster",
    ),
    text(
        "dest-user",
        "",
        "Destination username[:password] for authentication (prompt if \
         password is not supplied)",
    ),
    text(
        "max-txn-ops",
        "",
        "Maximum number of operations permitted in a transaction during \
         syncing updates.",
    )
    .kind(Kind::Uint, "128"),
    switch("no-dest-prefix", "mirror key-values to the root of the destination cluster"),
    text("prefix", "", "Key-value prefix to mirror"),
    int("rev", "Specify the kv revision to start to mirror"),
]);

const MEMBER: Command = Command::new(
    "member",
    "",
    "Membership related commands. Use `etcdctl member --help` to \
         see subcommands",
)
.long("Membership related commands")
.section(Section::Maintenance)
.children(&[
    Command::new("add", "<memberName> [options]", "Adds a member into the cluster").flags(&[
        switch("learner", "indicates if the new member is raft learner"),
        text("peer-urls", "", "comma separated peer URLs for the new member."),
    ]),
    Command::new("list", "", "Lists all members in the cluster")
        .long(
            "When --write-out is set to simple, this command prints out \
         comma-separated member lists for each endpoint.\nThe items in \
         the lists are ID, Status, Name, Peer Addrs, Client Addrs, Is \
         Learner.",
        )
        .flags(&[text("consistency", "l", "Linearizable(l) or Serializable(s)")]),
    Command::new("promote", "<memberID>", "Promotes a non-voting member in the cluster"),
    Command::new("remove", "<memberID>", "Removes a member from the cluster"),
    Command::new("update", "<memberID> [options]", "Updates a member in the cluster")
        .flags(&[text("peer-urls", "", "comma separated peer URLs for the updated member.")]),
]);

const MOVE_LEADER: Command = Command::new(
    "move-leader",
    "<transferee-member-id>",
    "Transfers leadership to another etcd cluster member.",
)
.section(Section::Maintenance);

const OPTIONS: Command =
    Command::new("options", "", "Show the global command-line flags").section(Section::Utility);

const PUT: Command = Command::new(
    "put",
    "[options] <key> <value> (<value> can also be given from stdin)",
    "Puts the given key into the store",
)
.long(PUT_LONG)
.section(Section::KeyValue)
.flags(&[
    switch("ignore-lease", "updates the key using its current lease"),
    switch("ignore-value", "updates the key using its current value"),
    text("lease", "0", "lease ID (in hexadecimal) to attach to the key"),
    switch("prev-kv", "return the previous key-value pair before modification"),
]);
const PUT_LONG: &str = "Puts the given key into the store.

A value that begins with '-' would be taken for a flag; put '--' before it:

$ etcdctl put <key> -- <value>
$ etcdctl put -- <key> <value>

Without a <value> argument, and unless --ignore-value is set, the value is all of
standard input, so a file is stored by:

$ cat file | etcdctl put <key>";

const ROLE: Command = Command::new(
    "role",
    "",
    "Role related commands. Use `etcdctl role --help` to see \
         subcommands",
)
.long("Role related commands")
.section(Section::Authentication)
.children(&[
    Command::new("add", "<role name>", "Adds a new role"),
    Command::new("delete", "<role name>", "Deletes a role"),
    Command::new("get", "<role name>", "Gets detailed information of a role"),
    Command::new(
        "grant-permission",
        "[options] <role name> <permission type> <key> [endkey]",
        "Grants a key to a role",
    )
    .flags(&[
        switch(
            "from-key",
            "grant a permission of keys that are greater than or equal to \
         the given key using byte compare",
        ),
        switch("prefix", "grant a prefix permission"),
    ]),
    Command::new("list", "", "Lists all roles"),
    Command::new("revoke-permission", "<role name> <key> [endkey]", "Revokes a key from a role")
        .flags(&[
            switch(
                "from-key",
                "revoke a permission of keys that are greater than or equal to \
         the given key using byte compare",
            ),
            switch("prefix", "revoke a prefix permission"),
        ]),
]);

const SNAPSHOT: Command = Command::new("snapshot", "", "Manages etcd node snapshots")
    .section(Section::Maintenance)
    .children(&[
        Command::new(
            "restore",
            "<filename> [options]",
            "Restores an etcd member snapshot to an etcd directory",
        )
        .long("Moved to the snapshot restore command of etcdutl.")
        .hidden()
        .flags(&[
            text("data-dir", "", "Path to the data directory"),
            text(
                "initial-advertise-peer-urls",
                "http://localhost:2380",
                "List of this member's peer URLs to advertise to the rest of \
         the cluster",
            ),
            text(
                "initial-cluster",
                "default=http://localhost:2380",
                "Initial cluster configuration for restore bootstrap",
            ),
            text(
                "initial-cluster-token",
                "etcd-cluster",
                "Initial cluster token for the etcd cluster during restore \
         bootstrap",
            ),
            text("name", "default", "Human-readable name for this member"),
            switch(
                "skip-hash-check",
                "Ignore snapshot integrity hash value (required if copied from \
         data directory)",
            ),
            text("wal-dir", "", "Path to the WAL directory (use --data-dir if none given)"),
        ]),
        Command::new("save", "<filename>", "Stores an etcd node backend snapshot to a given file"),
        Command::new(
            "status",
            "<filename>",
            "[deprecated] Gets backend snapshot status of a given file",
        )
        .hidden(),
    ]);

const TXN: Command =
    Command::new("txn", "[options]", "Txn processes all the requests in one transaction")
        .section(Section::KeyValue)
        .flags(&[switch("interactive", "Input transaction in interactive mode").short('i')]);

const USER: Command = Command::new(
    "user",
    "",
    "User related commands. Use `etcdctl user --help` to see \
         subcommands",
)
.long("User related commands")
.section(Section::Authentication)
.children(&[
    Command::new("add", "<user name or user:password> [options]", "Adds a new user").flags(&[
        switch("interactive", "Read password from stdin instead of interactive terminal")
            .kind(Kind::Bool, "true"),
        text("new-user-password", "", "Supply password from the command line flag"),
        switch("no-password", "Create a user without password (CN based auth only)"),
    ]),
    Command::new("delete", "<user name>", "Deletes a user"),
    Command::new("get", "<user name> [options]", "Gets detailed information of a user")
        .flags(&[switch("detail", "Show permissions of roles granted to the user")]),
    Command::new("grant-role", "<user name> <role name>", "Grants a role to a user"),
    Command::new("list", "", "Lists all users"),
    Command::new("passwd", "<user name> [options]", "Changes password of user").flags(&[switch(
        "interactive",
        "If true, read password from stdin instead of interactive \
         terminal",
    )
    .kind(Kind::Bool, "true")]),
    Command::new("revoke-role", "<user name> <role name>", "Revokes a role from a user"),
]);

const VERSION: Command =
    Command::new("version", "", "Prints the version of etcdctl").section(Section::Utility);

const WATCH: Command = Command::new(
    "watch",
    "[options] [key or prefix] [range_end] [--] [exec-command arg1 \
         arg2 ...]",
    "Watches events stream on keys or prefixes",
)
.section(Section::KeyValue)
.flags(&[
    switch("interactive", "Interactive mode").short('i'),
    switch("prefix", "Watch on a prefix if prefix is set"),
    switch("prev-kv", "get the previous key-value pair before the event happens"),
    switch("progress-notify", "get periodic watch progress notification from server"),
    int("rev", "Revision to start watching"),
]);
