//! The `grpc_server_*` counters, one set per method, made before the first call.

use std::time::Duration;

use super::cell::{Counter, HANDLING, Histogram};

/// How a method passes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One request, one answer.
    Unary,
    /// One request, many answers.
    ServerStream,
    /// Many of both.
    BidiStream,
}

impl Shape {
    /// The value of label `grpc_type`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Shape::Unary => "unary",
            Shape::ServerStream => "server_stream",
            Shape::BidiStream => "bidi_stream",
        }
    }
}

use Shape::{BidiStream, ServerStream, Unary};

/// A service and its methods.
pub(super) struct ServiceSpec {
    pub(super) name: &'static str,
    /// Whether its counters are shown before they move.
    pub(super) pre_created: bool,
    methods: &'static [(&'static str, Shape)],
}

/// Every service of the client port, sorted by name.
pub(super) const SERVICES: &[ServiceSpec] = &[
    ServiceSpec {
        name: "etcdserverpb.Auth",
        pre_created: true,
        methods: &[
            ("AuthDisable", Unary),
            ("AuthEnable", Unary),
            ("AuthStatus", Unary),
            ("Authenticate", Unary),
            ("RoleAdd", Unary),
            ("RoleDelete", Unary),
            ("RoleGet", Unary),
            ("RoleGrantPermission", Unary),
            ("RoleList", Unary),
            ("RoleRevokePermission", Unary),
            ("UserAdd", Unary),
            ("UserChangePassword", Unary),
            ("UserDelete", Unary),
            ("UserGet", Unary),
            ("UserGrantRole", Unary),
            ("UserList", Unary),
            ("UserRevokeRole", Unary),
        ],
    },
    ServiceSpec {
        name: "etcdserverpb.Cluster",
        pre_created: true,
        methods: &[
            ("MemberAdd", Unary),
            ("MemberList", Unary),
            ("MemberPromote", Unary),
            ("MemberRemove", Unary),
            ("MemberUpdate", Unary),
        ],
    },
    ServiceSpec {
        name: "etcdserverpb.KV",
        pre_created: true,
        methods: &[
            ("Compact", Unary),
            ("DeleteRange", Unary),
            ("Put", Unary),
            ("Range", Unary),
            ("RangeStream", ServerStream),
            ("Txn", Unary),
        ],
    },
    ServiceSpec {
        name: "etcdserverpb.Lease",
        pre_created: true,
        methods: &[
            ("LeaseGrant", Unary),
            ("LeaseKeepAlive", BidiStream),
            ("LeaseLeases", Unary),
            ("LeaseRevoke", Unary),
            ("LeaseTimeToLive", Unary),
        ],
    },
    ServiceSpec {
        name: "etcdserverpb.Maintenance",
        pre_created: true,
        methods: &[
            ("Alarm", Unary),
            ("Defragment", Unary),
            ("Downgrade", Unary),
            ("Hash", Unary),
            ("HashKV", Unary),
            ("MoveLeader", Unary),
            ("Snapshot", ServerStream),
            ("Status", Unary),
        ],
    },
    ServiceSpec {
        name: "etcdserverpb.Watch",
        pre_created: true,
        methods: &[("Watch", BidiStream)],
    },
    ServiceSpec {
        name: "grpc.health.v1.Health",
        pre_created: true,
        methods: &[("Check", Unary), ("List", Unary), ("Watch", ServerStream)],
    },
    ServiceSpec {
        name: "v3electionpb.Election",
        pre_created: false,
        methods: &[
            ("Campaign", Unary),
            ("Leader", Unary),
            ("Observe", ServerStream),
            ("Proclaim", Unary),
            ("Resign", Unary),
        ],
    },
    ServiceSpec {
        name: "v3lockpb.Lock",
        pre_created: false,
        methods: &[("Lock", Unary), ("Unlock", Unary)],
    },
];

/// Status codes by number.
pub(super) const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The counters of a method.
#[derive(Debug)]
pub(crate) struct Method {
    /// The service.
    pub service: &'static str,
    /// The method.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    pub(super) pre_created: bool,
    /// Calls begun.
    pub started: Counter,
    /// Messages received.
    pub received: Counter,
    /// Messages sent.
    pub sent: Counter,
    pub(super) handled: [Counter; 17],
    pub(super) handling: Histogram<11>,
}

impl Method {
    /// Notes the end of a call; the duration counts only with `--metrics=extensive`.
    pub(crate) fn handled(&self, code: tonic::Code, took: Option<Duration>) {
        let at = usize::try_from(i32::from(code)).unwrap_or(2);
        self.handled[at.min(CODES.len() - 1)].inc();
        if let Some(took) = took {
            self.handling.observe(took);
        }
    }
}

/// The counters of all methods.
#[derive(Debug)]
pub(crate) struct Methods(Vec<Method>);

impl Methods {
    pub(super) fn new() -> Methods {
        let methods = SERVICES.iter().flat_map(|service| {
            service.methods.iter().map(|&(name, shape)| Method {
                service: service.name,
                name,
                shape,
                pre_created: service.pre_created,
                started: Counter::default(),
                received: Counter::default(),
                sent: Counter::default(),
                handled: std::array::from_fn(|_| Counter::default()),
                handling: Histogram::new(&HANDLING),
            })
        });
        Methods(methods.collect())
    }

    /// The counters of a method.
    #[cfg(test)]
    pub(crate) fn get(&self, service: &str, method: &str) -> Option<&Method> {
        self.0.iter().find(|m| m.service == service && m.name == method)
    }

    /// All of them, sorted by service and method.
    pub(crate) fn all(&self) -> &[Method] {
        &self.0
    }
}
