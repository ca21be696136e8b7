//! Redis servers: single ones, with and without persistence, with TLS or with a clock that jumps, a
//! primary with Sentinels, and a Cluster.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use distsync_core::conformance::{BreakAt, Breaking, Harness};
use distsync_core::spi::{Backend, clock};
use tempfile::TempDir;

use super::super::proxy::through_a_proxy;
use super::certificates::Certificates;
use super::program::{Program, Running, empty, free_port};

/// A single server.
#[derive(Debug)]
pub(crate) struct Redis {
    port: u16,
    folder: TempDir,
    running: Running,
    flags: &'static str,
}

impl Redis {
    /// Starts a server that writes every change to disk before it replies.
    pub(crate) fn start() -> Arc<Self> {
        Self::start_with("--appendonly yes --appendfsync always")
    }

    /// Starts a server that keeps nothing on disk, like the default configuration without its
    /// snapshots.
    #[allow(dead_code, reason = "the benchmark's")]
    pub(crate) fn start_in_memory() -> Arc<Self> {
        Self::start_with("--appendonly no")
    }

    fn start_with(flags: &'static str) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let redis = Self {
            port: free_port(),
            folder,
            running: Running::default(),
            flags,
        };
        redis.running.restart(|| redis.run());
        Arc::new(redis)
    }

    /// Stops the server with SIGSTOP; its connections stay open.
    pub(crate) fn freeze(&self) {
        self.running.freeze();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends a command and returns the first part of the reply.
    pub(crate) fn tell(&self, command: &str) -> String {
        tell(self.port, command)
    }

    /// Returns how often the server has run a command.
    pub(crate) fn calls(&self, command: &str) -> usize {
        calls(self.port, command)
    }

    /// Stops the server, deletes its data, and starts it again.
    pub(crate) fn restart_emptied(&self) {
        self.running.restart(|| {
            empty(self.folder.path(), &["log"]);
            self.run()
        });
    }

    /// Stops the server until a restart.
    pub(crate) fn stop(&self) {
        self.running.stop();
    }

    fn run(&self) -> Program {
        let mut program = server(self.port, self.folder.path(), self.flags);
        program.wait_until(self.port, answers);
        program
    }
}

/// A server whose wall clock the test sets.
#[derive(Debug)]
pub(crate) struct JumpingRedis {
    port: u16,
    folder: TempDir,
    _program: Program,
}

impl JumpingRedis {
    pub(crate) fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let (library, clock) = (
            folder.path().join("library.so"),
            folder.path().join("clock"),
        );
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/servers/jumping_clock.c");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl");
        assert!(
            compiler
                .status()
                .expect("a C compiler, as Rust itself needs one")
                .success()
        );
        let environment = [("LD_PRELOAD", &*library), ("JUMPING_CLOCK", &*clock)];
        let mut program = server_with(port, folder.path(), "--appendonly no", &environment);
        program.wait_until(port, answers);
        Self {
            port,
            folder,
            _program: program,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sets the server's wall clock to `seconds` after the machine's, and checks that the server
    /// reports the new time.
    pub(crate) fn set_clock(&self, seconds: i64) {
        let clock = self.folder.path().join("clock");
        std::fs::write(self.folder.path().join("next"), seconds.to_string()).unwrap();
        // The rename is atomic, so the server never reads a partly written file.
        std::fs::rename(self.folder.path().join("next"), clock).unwrap();
        let wanted = i64::try_from(clock::wall_millis() / 1_000).unwrap() + seconds;
        let said = tell(self.port, "TIME");
        let now: i64 = said
            .lines()
            .nth(2)
            .and_then(|seconds| seconds.parse().ok())
            .expect("seconds");
        assert!(
            (now - wanted).abs() < 5,
            "the clock is at {now} instead of {wanted}"
        );
    }
}

/// Starts a server with `flags` in addition to the common ones.
fn server(port: u16, folder: &Path, flags: &str) -> Program {
    server_with(port, folder, flags, &[])
}

fn server_with(port: u16, folder: &Path, flags: &str, environment: &[(&str, &Path)]) -> Program {
    let flags = format!("--port {port} --bind 127.0.0.1 --dir . --save '' --daemonize no {flags}");
    let flags: Vec<String> = flags
        .split_whitespace()
        .map(|flag| flag.trim_matches('\'').to_owned())
        .collect();
    Program::start_with("redis-server", folder, &flags, environment)
}

fn answers(mut stream: TcpStream) -> bool {
    let mut pong = [0; 7];
    stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut pong).is_ok()
        && &pong == b"+PONG\r\n"
}

fn tell(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(format!("{command}\r\n").as_bytes())
        .unwrap();
    let mut answer = [0; 16_384];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn calls(port: u16, command: &str) -> usize {
    let stats = tell(port, "INFO commandstats");
    let line = stats
        .split(&format!("cmdstat_{command}:calls="))
        .nth(1)
        .expect("it was called");
    line.split(',')
        .next()
        .and_then(|calls| calls.parse().ok())
        .expect("a number of calls")
}

/// Waits until a server's reply to a command contains `word`.
fn wait_for(port: u16, command: &str, word: &str) {
    let deadline = clock::now().after(Duration::from_secs(20));
    while !tell(port, command).contains(word) {
        assert!(
            clock::now() < deadline,
            "{command} says {}, without {word}",
            tell(port, command)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server with a TLS port that requires a client certificate, and a plain port.
#[derive(Debug)]
pub(crate) struct RedisTls {
    pub(crate) port: u16,
    /// The port without TLS.
    pub(crate) plain: u16,
    running: Running,
    folder: TempDir,
}

impl RedisTls {
    pub(crate) fn start(certificates: &Certificates) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, plain) = (free_port(), free_port());
        let this = Self {
            port,
            plain,
            running: Running::default(),
            folder,
        };
        this.restart(certificates);
        this
    }

    /// Restarts the server with the certificate that is now in the file.
    pub(crate) fn restart(&self, certificates: &Certificates) {
        self.restart_as(certificates, "server");
    }

    /// Restarts the server with the certificate `name`.
    pub(crate) fn restart_as(&self, certificates: &Certificates, name: &str) {
        let path = |name: &str| certificates.path(name).display().to_string();
        let flags = format!(
            "--tls-port {} --tls-cert-file {} --tls-key-file {} --tls-ca-cert-file {} --tls-auth-clients yes",
            self.port,
            path(&format!("{name}.pem")),
            path(&format!("{name}.key")),
            path("ca.pem")
        );
        self.running.restart(|| {
            let mut program = server(self.plain, self.folder.path(), &flags);
            program.wait_until(self.plain, answers);
            program
        });
    }

    /// Closes all connections of normal clients.
    pub(crate) fn cut_all(&self) {
        tell(self.plain, "CLIENT KILL TYPE normal");
    }
}

/// Waits until a replica has all writes so far. Redis replicates asynchronously, so a fail-over may
/// lose later writes; distsync documents that.
fn replicate(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // WAIT covers only the writes of its own connection, so a write on it comes first.
    stream
        .write_all(b"SET test:{0} 1\r\nWAIT 1 5000\r\n")
        .unwrap();
    let mut answers = [0; 9];
    stream.read_exact(&mut answers).unwrap();
    assert_eq!(&answers, b"+OK\r\n:1\r\n");
}

/// A primary, a replica, and three Sentinels that watch them.
#[derive(Debug)]
pub(crate) struct RedisSentinels {
    /// The first primary, then the first replica.
    servers: Vec<Option<Program>>,
    ports: Vec<u16>,
    sentinels: Vec<(u16, Program)>,
    _folder: TempDir,
}

impl RedisSentinels {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = |name: &str| {
            let home = folder.path().join(name);
            std::fs::create_dir(&home).unwrap();
            home
        };
        let ports = vec![free_port(), free_port()];
        let follow = format!(
            "--replicaof 127.0.0.1 {} --repl-diskless-sync-delay 0",
            ports[0]
        );
        let mut servers = Vec::new();
        for (name, port, flags) in [
            ("primary", ports[0], "--repl-diskless-sync-delay 0"),
            ("replica", ports[1], &follow),
        ] {
            let mut program = server(port, &home(name), flags);
            program.wait_until(port, answers);
            servers.push(Some(program));
        }
        wait_for(ports[1], "INFO replication", "master_link_status:up");
        let sentinels = (0..3)
            .map(|number| {
                let (home, port) = (home(&format!("sentinel-{number}")), free_port());
                let settings = format!(
                    "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 2\n\
                     sentinel down-after-milliseconds main 700\nsentinel failover-timeout main 5000\n",
                    ports[0]
                );
                std::fs::write(home.join("conf"), settings).unwrap();
                let flags = ["conf".to_owned(), "--sentinel".to_owned()];
                let mut program = Program::start("redis-server", &home, &flags);
                program.wait_until(port, answers);
                (port, program)
            })
            .collect::<Vec<_>>();
        for (port, _) in &sentinels {
            wait_for(
                *port,
                "SENTINEL MASTER main",
                "num-other-sentinels\r\n$1\r\n2",
            );
            wait_for(*port, "SENTINEL MASTER main", "num-slaves\r\n$1\r\n1");
        }
        Self {
            servers,
            ports,
            sentinels,
            _folder: folder,
        }
    }

    /// Returns `host:port` of each Sentinel.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.sentinels
            .iter()
            .map(|(port, _)| format!("127.0.0.1:{port}"))
            .collect()
    }

    /// Returns the URL of the service, with the addresses of all Sentinels.
    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://{}/main", self.addresses().join(","))
    }

    /// Returns `host:port` of each Sentinel.
    pub(crate) fn sentinels(&self) -> Vec<String> {
        self.sentinels
            .iter()
            .map(|(port, _)| format!("127.0.0.1:{port}"))
            .collect()
    }

    /// Stops a Sentinel with SIGSTOP; its connections stay open.
    pub(crate) fn freeze_sentinel(&self, sentinel: usize) {
        self.sentinels[sentinel].1.freeze();
    }

    /// Waits until the replica has all writes.
    pub(crate) fn replicate(&self) {
        replicate(self.ports[0]);
    }

    /// Ends replication: the replica can no longer log in to the primary, and keeps its data.
    pub(crate) fn stop_replication(&self) {
        assert_eq!(
            tell(self.ports[1], "CONFIG SET masteruser nobody"),
            "+OK\r\n"
        );
        assert_eq!(
            tell(self.ports[1], "CONFIG SET masterauth nothing"),
            "+OK\r\n"
        );
        tell(self.ports[0], "CLIENT KILL TYPE replica");
        wait_for(self.ports[1], "INFO replication", "master_link_status:down");
    }

    /// Makes the primary reject REPLICAOF, as if it were cut off from the Sentinels.
    pub(crate) fn keep_primary_unaware(&self) {
        assert_eq!(
            tell(self.ports[0], "ACL SETUSER default -slaveof -replicaof"),
            "+OK\r\n"
        );
    }

    /// Fails over to the replica while the old primary keeps running. Returns when all Sentinels
    /// report the new primary.
    pub(crate) fn fail_over(&self) {
        let begun = tell(self.sentinels[0].0, "SENTINEL FAILOVER main");
        assert_eq!(begun, "+OK\r\n");
        for (port, _) in &self.sentinels {
            wait_for(
                *port,
                "SENTINEL GET-MASTER-ADDR-BY-NAME main",
                &self.ports[1].to_string(),
            );
        }
        wait_for(self.ports[1], "ROLE", "master");
    }

    /// Makes the former primary a replica of the new one.
    pub(crate) fn demote_primary(&self) {
        let demoted = tell(
            self.ports[0],
            &format!("REPLICAOF 127.0.0.1 {}", self.ports[1]),
        );
        assert!(demoted.starts_with("+OK"), "{demoted}");
    }

    /// Returns whether the former primary still reports the role of a primary.
    pub(crate) fn has_two_primaries(&self) -> bool {
        tell(self.ports[0], "ROLE").contains("master")
    }

    /// Kills a server with SIGKILL.
    pub(crate) fn kill(&mut self, server: usize) {
        self.servers[server] = None;
    }

    /// Stops the primary with SIGSTOP once the replica has all writes.
    pub(crate) fn freeze_primary(&self) {
        replicate(self.ports[0]);
        self.servers[0].as_ref().unwrap().freeze();
    }

    /// Kills the primary with SIGKILL once the replica has all writes.
    pub(crate) fn kill_primary(&mut self) {
        replicate(self.ports[0]);
        self.kill(0);
    }
}

/// A Cluster of three primaries with one replica each.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    nodes: Vec<Option<Program>>,
    ports: Vec<u16>,
    _folder: TempDir,
}

impl RedisCluster {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
        let mut nodes = Vec::new();
        for port in &ports {
            let home = folder.path().join(port.to_string());
            std::fs::create_dir(&home).unwrap();
            let flags = format!(
                "--cluster-enabled yes --cluster-port {} --cluster-node-timeout 1000 --repl-diskless-sync-delay 0",
                free_port()
            );
            let mut program = server(*port, &home, &flags);
            program.wait_until(*port, answers);
            nodes.push(Some(program));
        }
        let cluster = Self {
            nodes,
            ports,
            _folder: folder,
        };
        let addresses: Vec<String> = cluster
            .ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("redis-cli is missing: run scripts/stores");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stdout)
        );
        for port in &cluster.ports {
            wait_for(*port, "CLUSTER INFO", "cluster_state:ok");
            wait_for(*port, "CLUSTER INFO", "cluster_known_nodes:6");
        }
        cluster
    }

    /// Returns `host:port` of a node.
    pub(crate) fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node])
    }

    /// Returns a URL that names these nodes.
    pub(crate) fn url(&self, nodes: &[usize]) -> String {
        let nodes: Vec<String> = nodes.iter().map(|node| self.address(*node)).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// Sends a command to a node and returns the first part of the reply.
    pub(crate) fn tell(&self, node: usize, command: &str) -> String {
        tell(self.ports[node], command)
    }

    /// Returns how often a node has run a command.
    pub(crate) fn calls(&self, node: usize, command: &str) -> usize {
        calls(self.ports[node], command)
    }

    /// Returns the node that serves a key.
    pub(crate) fn owner(&self, key: &str) -> usize {
        (0..self.ports.len())
            .filter(|node| self.nodes[*node].is_some())
            .find(|node| tell(self.ports[*node], &format!("HLEN {key}")).starts_with(':'))
            .expect("somebody serves it")
    }

    /// Begins to move a key's slot to another node.
    pub(crate) fn begin_move(&self, key: &str, from: usize, to: usize) -> Move<'_> {
        let slot = tell(self.ports[from], &format!("CLUSTER KEYSLOT {key}"));
        let slot = slot.trim().trim_start_matches(':').to_owned();
        let id = |node: usize| {
            let id = tell(self.ports[node], "CLUSTER MYID");
            id.lines().nth(1).expect("an id").trim().to_owned()
        };
        let [from, to] = [from, to].map(|node| (self.ports[node], id(node)));
        let begun = Move {
            slot,
            from,
            to,
            _cluster: self,
        };
        begun.set(begun.to.0, &format!("IMPORTING {}", begun.from.1));
        begun.set(begun.from.0, &format!("MIGRATING {}", begun.to.1));
        begun
    }

    /// Kills a node with SIGKILL once a replica has all its writes.
    pub(crate) fn kill(&mut self, node: usize) {
        replicate(self.ports[node]);
        self.nodes[node] = None;
    }
}

/// A slot that is being moved from one node to another.
#[derive(Debug)]
pub(crate) struct Move<'a> {
    slot: String,
    from: (u16, String),
    to: (u16, String),
    _cluster: &'a RedisCluster,
}

impl Move<'_> {
    fn set(&self, port: u16, what: &str) {
        assert_eq!(
            tell(port, &format!("CLUSTER SETSLOT {} {what}", self.slot)),
            "+OK\r\n"
        );
    }

    /// Moves one key. Returns `false` if none is left.
    pub(crate) fn next_key(&self) -> bool {
        let keys = tell(
            self.from.0,
            &format!("CLUSTER GETKEYSINSLOT {} 1", self.slot),
        );
        let Some(key) = keys.lines().nth(2) else {
            return false;
        };
        let moved = tell(
            self.from.0,
            &format!("MIGRATE 127.0.0.1 {} {key} 0 5000", self.to.0),
        );
        assert!(
            moved.starts_with("+OK") || moved.starts_with("+NOKEY"),
            "{moved}"
        );
        true
    }

    /// Assigns the slot to its new node, at both nodes.
    pub(crate) fn end(self) {
        for port in [self.to.0, self.from.0] {
            self.set(port, &format!("NODE {}", self.to.1));
        }
    }
}

#[async_trait]
impl Harness for Redis {
    async fn backend(&self) -> Arc<dyn Backend> {
        distsync::spi::backend(&format!("redis://127.0.0.1:{}", self.port))
            .unwrap()
            .0
    }

    async fn breaking(&self, at: BreakAt) -> Breaking {
        through_a_proxy("redis", self.port, at).await
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(2_000)
    }

    async fn restart(&self) {
        self.running.restart(|| self.run());
    }

    fn is_shared() -> bool {
        false
    }
}
