//! The unit of `deploy/`: its flags as they stand there, on other files and addresses.

use std::os::unix::net::UnixDatagram;

use super::*;

/// The hosts that the unit names, its own first.
pub(crate) const HOSTS: [&str; 3] = ["192.168.174.103", "192.168.174.104", "192.168.174.105"];

/// The flags behind `ExecStart=`.
fn unit_flags() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/etcd.service");
    let unit = std::fs::read_to_string(path).expect("the unit");
    let (_, start) = unit.split_once("ExecStart=").expect("a command line");
    let (mut words, mut goes_on) = (Vec::new(), true);
    for line in start.lines() {
        if goes_on {
            goes_on = line.ends_with('\\');
            words.extend(line.trim_end_matches('\\').split_whitespace().map(str::to_owned));
        }
    }
    // The program comes first.
    words.split_off(1)
}

/// The flags of the member on the host `own`, with the certificates and below the folder of the
/// scene. The members of the cluster stay as they are.
pub(crate) fn flags_on(scene: &Scene, own: &str) -> Vec<String> {
    let adapt = |flag: String| {
        let flag = flag
            .replace("/etc/kubernetes/ssl", &shown(scene.dir.path()))
            .replace("/var/lib/etcd", &scene.path(&format!("data-{own}")));
        match flag.starts_with("--initial-cluster=") {
            true => flag,
            false => flag.replace(HOSTS[0], own),
        }
    };
    unit_flags().into_iter().map(adapt).collect()
}

/// What systemd listens on for the unit `name`.
pub(crate) fn notified(scene: &Scene, name: &str) -> (UnixDatagram, (&'static str, String)) {
    let path = file(scene, &format!("notify-{name}"));
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    (socket, ("NOTIFY_SOCKET", shown(&path)))
}

/// Waits until the unit says that it is ready.
pub(crate) fn await_ready(socket: &UnixDatagram, server: &Server) {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{e}: {}", server.log()));
    assert_eq!(buffer.get(..length), Some(&b"READY=1"[..]));
}

/// One member alone, where there is only loopback: certificates on both ports, plain text beside
/// them on another address of the same port.
#[test]
fn the_unit_starts_on_loopback() {
    let scene = Scene::new();
    let etcd = scene.ca.issue(Subject::named("etcd").hosts(&["127.0.0.2"]));
    let etcd = scene.write("etcd", &etcd);
    let (socket, variable) = notified(&scene, "alone");
    let (client, peer) = (free_port(), free_port());
    let move_ports = |flag: String| {
        flag.replace(":2379", &format!(":{client}")).replace(":2380", &format!(":{peer}"))
    };
    let alone = format!("--initial-cluster=etcd-127.0.0.2=https://127.0.0.2:{peer}");
    let flags = flags_on(&scene, "127.0.0.2").into_iter().map(move_ports).chain([alone]);
    let builder = Server::builder(Kind::Ours, &scene.dir.path().join("member")).args(flags);
    let server = builder.env(variable.0, &variable.1).spawn();
    await_ready(&socket, &server);

    let etcdctl = |tool: Tool, words: &[&str], flags: &[String]| {
        let output = Command::new(tool.path())
            .env("ETCDCTL_API", "3")
            .env_remove("ETCDCTL_ENDPOINTS")
            .args(flags)
            .args(words)
            .output()
            .expect("run etcdctl");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let secure = format!("--endpoints=https://127.0.0.2:{client}");
    let plain = format!("--endpoints=127.0.0.1:{client}");
    for tool in [Tool::Ours, Tool::Reference] {
        assert!(etcdctl(tool, &[&secure, "endpoint", "health"], &scene.showing(&etcd)).0);
        assert_eq!(etcdctl(tool, &[&plain, "put", "k", "v"], &[]), (true, "OK\n".to_owned()));
        // The CA file alone makes certificates mandatory.
        let soon = "--command-timeout=1s".to_owned();
        let bare = [format!("--cacert={}", scene.path("ca.pem")), soon];
        assert!(!etcdctl(tool, &[&secure, "get", "k"], &bare).0);
        rejected(&server, "tls: client didn't provide a certificate");
    }
}
