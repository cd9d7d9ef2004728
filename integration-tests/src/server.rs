//! A server process: ours or real etcd.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ports::free_port;
use crate::{eventually, our_binary, reference_binary};

/// How long a server may take to answer its first health request.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How long one that was told to end may take.
const END_DEADLINE: Duration = Duration::from_secs(60);

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Built from this workspace.
    Ours,
    /// The distribution's real etcd 3.4.
    Reference,
}

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    kind: Kind,
    name: String,
    dir: PathBuf,
    data_dir: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    ports: Option<(u16, u16)>,
    client_schemes: Vec<&'static str>,
    peer_scheme: &'static str,
    /// Where others are told to reach it, if not at the port it listens on.
    advertised: Option<u16>,
    initial_cluster: Option<String>,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    builder: Builder,
    client_port: u16,
    log: PathBuf,
}

impl Server {
    /// A server of `kind` that keeps its log, and unless told otherwise its data, below `dir`.
    pub fn builder(kind: Kind, dir: &Path) -> Builder {
        Builder {
            kind,
            name: "default".to_owned(),
            dir: dir.to_path_buf(),
            data_dir: dir.join("data"),
            args: Vec::new(),
            env: Vec::new(),
            ports: None,
            client_schemes: vec!["http"],
            peer_scheme: "http",
            advertised: None,
            initial_cluster: None,
        }
    }

    /// `host:port` of the client listener.
    pub fn client_authority(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// URL of the client listener.
    pub fn client_url(&self) -> String {
        format!("http://{}", self.client_authority())
    }

    /// Its member name.
    pub fn name(&self) -> &str {
        &self.builder.name
    }

    /// Waits until it answers health requests with `true`.
    pub fn await_health(&mut self) {
        eventually("the server is healthy", START_DEADLINE, || {
            if let Some(status) = self.ended() {
                let signal = status.signal();
                panic!("the server ended early: {status}, signal {signal:?}\n{}", self.log());
            }
            let (status, body) = self.http_get("/health")?;
            (status == 200 && body.contains("true")).then_some(())
        });
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// URL at which other members reach it.
    pub fn peer_url(&self) -> String {
        self.builder.clone().peer_url()
    }

    /// `host:port` of the peer listener itself, past every proxy.
    pub fn peer_authority(&self) -> String {
        format!("127.0.0.1:{}", self.builder.clone().peer_port())
    }

    /// Whose it is.
    pub fn kind(&self) -> Kind {
        self.builder.kind
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.builder.data_dir
    }

    /// Everything it logged so far, over all its starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The recipe it was started by, to start it again on the same ports and data.
    pub fn again(&self) -> Builder {
        self.builder.clone()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("pid fits");
        kill(Pid::from_raw(pid), signal).expect("signal a process of ours");
    }

    /// As [`freeze`].
    pub fn pause(&self) {
        freeze(&self.child);
    }

    /// SIGKILL, and waits until it is gone; to be started again by [`Self::restart`].
    pub fn crash(&mut self) {
        self.child.kill().expect("kill a process of ours");
        self.child.wait().expect("wait for a process of ours");
    }

    /// SIGTERM, and waits for its end; to be started again by [`Self::restart`].
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(END_DEADLINE)
    }

    /// Starts it once more, after its end, without waiting for it to serve.
    pub fn restart(&mut self) {
        self.restart_as(self.again());
    }

    /// Starts it once more, after its end, by another recipe.
    pub fn restart_as(&mut self, builder: Builder) {
        assert!(self.ended().is_some(), "{} still runs", self.name());
        *self = builder.spawn();
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) -> Builder {
        self.child.kill().expect("kill a process of ours");
        self.child.wait().expect("wait for a process of ours");
        self.builder.clone()
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(mut self) -> (Builder, ExitStatus) {
        self.signal(Signal::SIGTERM);
        let status = self.wait(END_DEADLINE);
        (self.builder.clone(), status)
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        eventually("the server ends", deadline, || self.child.try_wait().expect("wait"))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait")
    }

    /// One HTTP/1.1 GET on the client port: status and body, or nothing if it does not answer.
    pub fn http_get(&self, path: &str) -> Option<(u16, String)> {
        use std::io::{Read, Write};
        let address: SocketAddr = self.client_authority().parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let host = self.client_authority();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n").map(|(_, b)| b.to_owned()).unwrap_or_default();
        Some((status, body))
    }

    /// The sample of a metric without labels.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.http_get("/metrics").expect("metrics");
        let sample = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        sample.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
    }
}

/// Stops a process (SIGSTOP), and waits until every thread stands still. The signal alone does not
/// say so: on a busy machine the others run on until the one that takes it is scheduled.
pub fn freeze(child: &Child) {
    let pid = i32::try_from(child.id()).expect("pid fits");
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("stop a process of ours");
    let tasks = format!("/proc/{pid}/task");
    eventually("every thread stands still", Duration::from_secs(10), || {
        let still = std::fs::read_dir(&tasks).ok()?.flatten().all(|task| {
            // `pid (name) state …`; a name may hold anything, so look behind its end. One that
            // has ended and was not waited for yet does nothing either.
            std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| {
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 'Z']))
            })
        });
        still.then_some(())
    });
}

impl Builder {
    /// Adds command-line arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Makes it another's server: the same command line for another binary.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Forgets the arguments added so far.
    pub fn without_args(mut self) -> Self {
        self.args.clear();
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Names the member, here and in the initial cluster.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// `name=url` of the peer listener, as `--initial-cluster` has it.
    pub fn peer(&mut self) -> String {
        let url = self.peer_url();
        format!("{}={url}", self.name)
    }

    /// URL at which other members reach it.
    pub fn peer_url(&mut self) -> String {
        let (_, peer) = self.ports();
        let port = self.advertised.unwrap_or(peer);
        format!("{}://127.0.0.1:{port}", self.peer_scheme)
    }

    /// `host:port` of the client listener.
    pub fn client_authority(&mut self) -> String {
        format!("127.0.0.1:{}", self.ports().0)
    }

    /// Its member name.
    pub fn member_name(&self) -> &str {
        &self.name
    }

    /// Port of the peer listener itself.
    pub fn peer_port(&mut self) -> u16 {
        self.ports().1
    }

    /// Tells other members to reach it at this port.
    pub fn advertise(mut self, port: u16) -> Self {
        self.advertised = Some(port);
        self
    }

    /// Client and peer port, instead of free ones.
    pub fn on_ports(mut self, client: u16, peer: u16) -> Self {
        self.ports = Some((client, peer));
        self
    }

    /// The members of its cluster, itself among them; without this it is alone.
    pub fn initial_cluster(mut self, members: &str) -> Self {
        self.initial_cluster = Some(members.to_owned());
        self
    }

    /// Schemes of the client URLs, all of one port: `http`, `https`.
    pub fn client_schemes(mut self, schemes: &[&'static str]) -> Self {
        self.client_schemes = schemes.to_vec();
        self
    }

    /// The scheme of the peer URL: `http` or `https`.
    pub fn peer_scheme(mut self, scheme: &'static str) -> Self {
        self.peer_scheme = scheme;
        self
    }

    /// Puts the data elsewhere.
    pub fn data_dir(mut self, dir: &Path) -> Self {
        self.data_dir = dir.to_path_buf();
        self
    }

    /// Client and peer port, chosen now and kept for later starts.
    fn ports(&mut self) -> (u16, u16) {
        *self.ports.get_or_insert_with(|| (free_port(), free_port()))
    }

    /// The command line, ports chosen (and kept for later starts).
    pub fn command(&mut self) -> Command {
        let (client, peer) = self.ports();
        let advertised = self.peer_url();
        let initial_cluster = self.initial_cluster.clone().unwrap_or_else(|| self.peer());
        let binary = match self.kind {
            Kind::Ours => our_binary("etcd"),
            Kind::Reference => reference_binary("etcd"),
        };
        let clients: Vec<String> = self
            .client_schemes
            .iter()
            .map(|scheme| format!("{scheme}://127.0.0.1:{client}"))
            .collect();
        let clients = clients.join(",");
        let mut command = Command::new(binary);
        command
            .arg(format!("--data-dir={}", self.data_dir.display()))
            .arg(format!("--listen-client-urls={clients}"))
            .arg(format!("--advertise-client-urls={clients}"))
            .arg(format!("--listen-peer-urls={}://127.0.0.1:{peer}", self.peer_scheme))
            .arg(format!("--initial-advertise-peer-urls={advertised}"))
            .arg(format!("--name={}", self.name))
            .arg(format!("--initial-cluster={initial_cluster}"))
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        if self.kind == Kind::Reference {
            command.args(["--logger=zap", "--log-outputs=stderr"]);
        }
        command
    }

    /// Starts the process without waiting for it to serve.
    pub fn spawn(mut self) -> Server {
        std::fs::create_dir_all(&self.dir).expect("create the server's folder");
        let log = self.dir.join("server.log");
        let file = File::options().create(true).append(true).open(&log).expect("open the log");
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("clone the log handle"))
            .stderr(file)
            .spawn()
            .expect("start the server");
        let client_port = self.ports.expect("chosen by command()").0;
        Server { child, builder: self, client_port, log }
    }

    /// Starts the process and waits until it is healthy and has come to rest: its own entries
    /// come a moment after the start, that of the cluster's version last.
    pub fn start(self) -> Server {
        let mut server = self.spawn();
        server.await_health();
        eventually("the cluster has a version", START_DEADLINE, || {
            let (status, body) = server.http_get("/version")?;
            (status != 200 || !body.contains("not_decided")).then_some(())
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(8_000);
            let tail = (tail..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
            eprintln!("--- log of {} ---\n{}", self.log.display(), &log[tail..]);
        }
        // Already gone is fine: this is the last resort.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
