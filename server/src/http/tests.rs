//! Endpoints against a server that is told what to answer.

use super::*;
use http_body_util::BodyExt as _;
use std::sync::Mutex;

#[derive(Default)]
struct Fake {
    alarms: Vec<String>,
    leader: bool,
    learner: bool,
    read: Option<String>,
    counted: Mutex<Vec<String>>,
}

impl Facts for Fake {
    fn alarms(&self) -> Vec<String> {
        self.alarms.clone()
    }
    fn has_leader(&self) -> bool {
        self.leader
    }
    fn is_learner(&self) -> bool {
        self.learner
    }
    fn read(&self, serializable: bool) -> BoxFuture<'_, Result<(), String>> {
        let broken = self.read.clone().filter(|_| !serializable);
        Box::pin(async move { broken.map_or(Ok(()), Err) })
    }
    fn cluster_version(&self) -> Option<String> {
        self.leader.then(|| "3.7.0".to_owned())
    }
    fn storage_version(&self) -> Option<String> {
        self.leader.then(|| "3.7.0".to_owned())
    }
    fn metrics(&self) -> String {
        "# HELP a b\n".to_owned()
    }
    fn members(&self) -> String {
        "[]\n".to_owned()
    }
    fn raft_status(&self) -> String {
        "{\"id\":\"1\"}".to_owned()
    }
    fn cluster_id(&self) -> u64 {
        0xabc
    }
    fn count_health(&self, success: bool) {
        self.counted.lock().expect("no panic").push(format!("health {success}"));
    }
    fn count_check(&self, group: &'static str, check: &'static str, success: bool) {
        self.counted.lock().expect("no panic").push(format!("{group} {check} {success}"));
    }
}

fn healthy() -> Fake {
    Fake { leader: true, ..Fake::default() }
}

async fn ask(router: &Router, request: Request<()>) -> (u16, HeaderMap, String) {
    let response = router.answer(&request).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    (parts.status.as_u16(), parts.headers, text)
}

fn request(method: &str, target: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(target)
        .header("host", "127.0.0.1:2379")
        .body(())
        .expect("a request")
}

async fn get(fake: Fake, target: &str) -> (u16, String) {
    let router = Router::client(Arc::new(fake), Vec::new(), Vec::new());
    let (status, _, body) = ask(&router, request("GET", target)).await;
    (status, body)
}

#[tokio::test]
async fn health_checks_alarms_then_leader_then_a_read() {
    let well = (200, "{\"health\":\"true\",\"reason\":\"\"}".to_owned());
    let ill = |reason: &str| (503, format!("{{\"health\":\"false\",\"reason\":\"{reason}\"}}\n"));
    let alarmed = || Fake { alarms: vec!["NOSPACE".to_owned()], ..healthy() };
    let unreadable =
        || Fake { read: Some("etcdserver: request timed out".to_owned()), ..healthy() };
    assert_eq!(get(healthy(), "/health").await, well);
    assert_eq!(get(alarmed(), "/health").await, ill("ALARM NOSPACE"));
    assert_eq!(get(alarmed(), "/health?exclude=CORRUPT").await, ill("ALARM NOSPACE"));
    assert_eq!(get(alarmed(), "/health?exclude=&exclude=NOSPACE").await, well);
    let odd = Fake { alarms: vec!["7".to_owned()], ..healthy() };
    assert_eq!(get(odd, "/health").await, ill("ALARM UNKNOWN"));
    assert_eq!(get(Fake::default(), "/health").await, ill("RAFT NO LEADER"));
    assert_eq!(get(Fake::default(), "/health?serializable=true").await, well);
    assert_eq!(get(Fake::default(), "/health?serializable=1").await, ill("RAFT NO LEADER"));
    let want = ill("RANGE ERROR:etcdserver: request timed out");
    assert_eq!(get(unreadable(), "/health").await, want);
    let angry = Fake { read: Some("a<b>&".to_owned()), ..healthy() };
    let want = ill("RANGE ERROR:a\\u003cb\\u003e\\u0026");
    assert_eq!(get(angry, "/health").await, want);
}

#[tokio::test]
async fn probes_list_their_checks_when_asked_or_failing() {
    let corrupt = || Fake { alarms: vec!["CORRUPT".to_owned()], ..healthy() };
    assert_eq!(get(healthy(), "/livez").await, (200, "ok\n".to_owned()));
    let all = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
               [+]non_learner ok\nok\n";
    assert_eq!(get(healthy(), "/readyz?verbose").await, (200, all.to_owned()));
    let failed = "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n\
                  [+]linearizable_read ok\n[+]non_learner ok\n\n";
    assert_eq!(get(corrupt(), "/readyz").await, (503, failed.to_owned()));
    assert_eq!(get(corrupt(), "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get(corrupt(), "/readyz?exclude=data_corruption").await, (200, "ok\n".to_owned()));
    let one = "/readyz/data_corruption?exclude=data_corruption";
    let failed = "[-]data_corruption failed: alarm activated: CORRUPT\n\n";
    assert_eq!(get(corrupt(), one).await, (503, failed.to_owned()));
    let learner = Fake { learner: true, ..healthy() };
    let failed = "[-]non_learner failed: not supported for learner\n\n";
    assert_eq!(get(learner, "/readyz/non_learner").await, (503, failed.to_owned()));
    assert_eq!(get(healthy(), "/livez/linearizable_read").await.0, 404);
    assert_eq!(get(healthy(), "/readyz/nope").await.0, 404);
}

#[tokio::test]
async fn every_run_of_a_check_is_counted() {
    let facts = Arc::new(Fake { learner: true, ..healthy() });
    let router = Router::new(Side::Metrics, facts.clone());
    ask(&router, request("GET", "/health")).await;
    ask(&router, request("GET", "/livez")).await;
    ask(&router, request("GET", "/readyz/non_learner")).await;
    ask(&router, request("POST", "/health")).await;
    let counted = facts.counted.lock().expect("no panic").clone();
    let want = ["health true", "livez serializable_read true", "readyz non_learner false"];
    assert_eq!(counted, want);
}

#[tokio::test]
async fn version_names_server_cluster_and_storage() {
    let known = "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}";
    assert_eq!(get(healthy(), "/version").await, (200, known.to_owned()));
    let unknown = "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"not_decided\",\
                   \"storage\":\"unknown\"}";
    assert_eq!(get(Fake::default(), "/version").await, (200, unknown.to_owned()));
}

#[tokio::test]
async fn foreign_paths_and_methods_are_refused_as_by_go() {
    let router = Router::client(Arc::new(healthy()), Vec::new(), Vec::new());
    for path in ["/", "/zzz", "/health/", "/v2/keys", "/v3/", "/debug/pprof/"] {
        let (status, headers, body) = ask(&router, request("GET", path)).await;
        assert_eq!((status, body.as_str()), (404, "404 page not found\n"), "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["access-control-allow-origin"], "*");
    }
    for method in ["POST", "HEAD", "FOO"] {
        let (status, headers, body) = ask(&router, request(method, "/health")).await;
        assert_eq!((status, body.as_str()), (405, "Method Not Allowed\n"));
        assert_eq!(headers["allow"], "GET");
    }
    let (status, headers, body) = ask(&router, request("GET", "//health")).await;
    assert_eq!((status, &headers["location"]), (307, &HeaderValue::from_static("/health")));
    assert_eq!(body, "<a href=\"/health\">Temporary Redirect</a>.\n\n");
}

#[tokio::test]
async fn metrics_have_their_own_port() {
    let router = Router::new(Side::Metrics, Arc::new(healthy()));
    for (path, want) in [("/metrics", 200), ("/health", 200), ("/readyz", 200), ("/version", 404)] {
        let (status, headers, _) = ask(&router, request("GET", path)).await;
        assert_eq!(status, want, "{path}");
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
    let (status, headers, _) = ask(&router, request("HEAD", "/metrics")).await;
    assert_eq!(status, 200);
    let want = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    assert_eq!(headers["content-type"], want);
}

#[tokio::test]
async fn peers_see_members_and_version() {
    let router = Router::new(Side::Peer, Arc::new(healthy()));
    let (status, headers, body) = ask(&router, request("GET", "/members")).await;
    assert_eq!((status, body.as_str()), (200, "[]\n"));
    assert_eq!(headers["x-etcd-cluster-id"], "abc");
    for (path, want) in [("/version", 200), ("/raft/probing", 200), ("/metrics", 404), ("/", 404)] {
        assert_eq!(ask(&router, request("GET", path)).await.0, want, "{path}");
    }
}

#[tokio::test]
async fn origins_are_echoed_only_when_listed() {
    let cors = vec!["http://a.com:80".to_owned()];
    let router = Router::client(Arc::new(healthy()), cors, Vec::new());
    let with = |origin: &str| {
        let mut request = request("OPTIONS", "/anything");
        request.headers_mut().insert("origin", origin.parse().expect("an origin"));
        request
    };
    let (status, headers, body) = ask(&router, with("http://a.com:80")).await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(headers["access-control-allow-origin"], "http://a.com:80");
    let (_, headers, _) = ask(&router, with("http://b.com:80")).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
    let (_, headers, _) = ask(&router, request("GET", "/health")).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn foreign_hosts_are_misdirected() {
    let hosts = vec!["good.com".to_owned(), "::1".to_owned()];
    let router = Router::client(Arc::new(healthy()), Vec::new(), hosts);
    let with = |host: &str| {
        let mut request = request("GET", "/health");
        request.headers_mut().insert("host", host.parse().expect("a host"));
        request
    };
    for host in ["good.com", "good.com:2379", "[::1]:2379"] {
        assert_eq!(ask(&router, with(host)).await.0, 200, "{host}");
    }
    let (status, headers, body) = ask(&router, with("evil.com:2379")).await;
    assert_eq!((status, body.len()), (421, 370));
    assert!(body.starts_with("\netcd received") && body.contains("--host-whitelist \"evil.com\""));
    assert!(!headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let router = Router::client(Arc::new(healthy()), Vec::new(), Vec::new());
    let bare = Request::builder().uri("/health").body(()).expect("a request");
    let (status, headers, body) = ask(&router, bare).await;
    assert_eq!((status, &headers["connection"]), (400, &HeaderValue::from_static("close")));
    assert_eq!(body, "400 Bad Request: missing required Host header");
    let mut double = request("GET", "/health");
    double.headers_mut().append("host", HeaderValue::from_static("b"));
    let (status, _, body) = ask(&router, double).await;
    assert_eq!((status, body.as_str()), (400, "400 Bad Request"));
}

#[tokio::test]
async fn variables_are_json() {
    let (status, body) = get(healthy(), "/debug/vars").await;
    let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, value["raft.status"]["id"].as_str()), (200, Some("1")));
    assert!(body.starts_with("{\n\"cmdline\": [") && body.ends_with("\n}\n"));
}
