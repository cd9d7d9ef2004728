//! Which service and method a path names.

use crate::metrics::Methods;

/// A service of the client port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Kv,
    Watch,
    Lease,
    Cluster,
    Maintenance,
    Auth,
    Lock,
    Election,
    Health,
}

impl Service {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "etcdserverpb.KV" => Self::Kv,
            "etcdserverpb.Watch" => Self::Watch,
            "etcdserverpb.Lease" => Self::Lease,
            "etcdserverpb.Cluster" => Self::Cluster,
            "etcdserverpb.Maintenance" => Self::Maintenance,
            "etcdserverpb.Auth" => Self::Auth,
            "v3lockpb.Lock" => Self::Lock,
            "v3electionpb.Election" => Self::Election,
            "grpc.health.v1.Health" => Self::Health,
            _ => return None,
        })
    }
}

/// Where a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) service: Service,
    /// Its place in the counters of methods.
    pub(super) method: usize,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    Malformed,
    Service,
    Method,
}

/// Finds routes; made once.
#[derive(Debug)]
pub(super) struct Routes {
    /// For each service: its first method's place, and the names from there.
    services: Vec<(Service, usize, Vec<&'static str>)>,
}

impl Routes {
    pub(super) fn new(methods: &Methods) -> Self {
        let mut services: Vec<(Service, usize, Vec<&'static str>)> = vec![];
        for (place, method) in methods.all().iter().enumerate() {
            let service = Service::of(method.service).expect("every counted service is known");
            match services.iter_mut().find(|(known, ..)| *known == service) {
                Some((_, _, names)) => names.push(method.name),
                None => services.push((service, place, vec![method.name])),
            }
        }
        // Pairs are asked for most.
        services.sort_by_key(|(service, ..)| *service as u8);
        Self { services }
    }

    /// Splits `/package.Service/Method`.
    pub(super) fn find(&self, path: &str) -> Result<Route, Lost> {
        let (service, method) = split(path).ok_or(Lost::Malformed)?;
        let service = Service::of(service).ok_or(Lost::Service)?;
        let (_, first, names) =
            self.services.iter().find(|(known, ..)| *known == service).ok_or(Lost::Service)?;
        let at = names.iter().position(|name| *name == method).ok_or(Lost::Method)?;
        Ok(Route { service, method: first + at })
    }
}

/// The service and the method of a path.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn every_counted_method_has_its_route() {
        let metrics = Metrics::new(false);
        let routes = Routes::new(&metrics.grpc);
        for (place, method) in metrics.grpc.all().iter().enumerate() {
            let route = routes.find(&format!("/{}/{}", method.service, method.name));
            assert_eq!(route.map(|route| route.method), Ok(place));
        }
    }

    #[test]
    fn paths_that_lead_nowhere_are_told_apart() {
        let routes = Routes::new(&Metrics::new(false).grpc);
        for (path, lost) in [
            ("/etcdserverpb.KV/Nope", Lost::Method),
            ("/etcdserverpb.KV/", Lost::Method),
            ("/etcdserverpb.Nope/Put", Lost::Service),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Lost::Service),
            ("/", Lost::Malformed),
            ("", Lost::Malformed),
            ("nope", Lost::Malformed),
        ] {
            assert_eq!(routes.find(path), Err(lost), "{path}");
        }
    }
}
