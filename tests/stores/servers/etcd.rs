//! etcd servers, single or in a cluster.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use distsync_core::conformance::{BreakAt, Breaking, Harness};
use distsync_core::spi::Backend;
use tempfile::TempDir;

use super::super::proxy::through_a_proxy;
use super::certificates::Certificates;
use super::program::{Program, Running, copy, empty, free_port};

/// A single server with its data on disk.
#[derive(Debug)]
pub(crate) struct Etcd {
    port: u16,
    peers: u16,
    folder: TempDir,
    running: Running,
}

impl Etcd {
    pub(crate) fn start() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let etcd = Self {
            port: free_port(),
            peers: free_port(),
            folder,
            running: Running::default(),
        };
        etcd.running.restart(|| etcd.run());
        Arc::new(etcd)
    }

    /// Stops the server, deletes its data, and starts it again.
    pub(crate) fn restart_emptied(&self) {
        self.running.restart(|| {
            empty(self.folder.path(), &["log"]);
            self.run()
        });
    }

    /// Stops the server, copies its data, and starts it again.
    pub(crate) fn keep_copy(&self) {
        self.running.restart(|| {
            copy(
                &self.folder.path().join("data"),
                &self.folder.path().join("copy"),
            );
            self.run()
        });
    }

    /// Stops the server and starts it again with the data that [`keep_copy`](Self::keep_copy)
    /// copied.
    pub(crate) fn restart_from_copy(&self) {
        self.running.restart(|| {
            empty(self.folder.path(), &["log", "copy"]);
            copy(
                &self.folder.path().join("copy"),
                &self.folder.path().join("data"),
            );
            self.run()
        });
    }

    /// Stops the server until a restart.
    pub(crate) fn stop(&self) {
        self.running.stop();
    }

    /// Stops the server with SIGSTOP; its connections stay open.
    pub(crate) fn freeze(&self) {
        self.running.freeze();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn run(&self) -> Program {
        let (clients, peers) = (
            format!("http://127.0.0.1:{}", self.port),
            format!("http://127.0.0.1:{}", self.peers),
        );
        let data = self.folder.path().join("data").display().to_string();
        let flags = [
            ("--name", "one"),
            ("--data-dir", &data),
            ("--listen-client-urls", &clients),
            ("--advertise-client-urls", &clients),
            ("--listen-peer-urls", &peers),
            ("--initial-advertise-peer-urls", &peers),
            ("--initial-cluster", &format!("one={peers}")),
            ("--logger", "zap"),
        ];
        let flags: Vec<String> = flags
            .iter()
            .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
            .collect();
        let mut program = Program::start("etcd", self.folder.path(), &flags);
        program.wait_until(self.port, is_healthy);
        program
    }
}

/// Returns whether this member is healthy, which requires a leader.
fn is_healthy(mut stream: TcpStream) -> bool {
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /health HTTP/1.0\r\n\r\n");
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains("\"true\"")
}

/// A server that speaks only TLS to clients and requires a client certificate.
#[derive(Debug)]
pub(crate) struct EtcdTls {
    pub(crate) port: u16,
    peers: u16,
    health: u16,
    running: Running,
    folder: TempDir,
}

impl EtcdTls {
    pub(crate) fn start(certificates: &Certificates) -> Self {
        let [port, peers, health] = [free_port(), free_port(), free_port()];
        let folder = tempfile::tempdir().unwrap();
        let this = Self {
            port,
            peers,
            health,
            running: Running::default(),
            folder,
        };
        this.restart_as(certificates, "server");
        this
    }

    /// Restarts the server with the certificate `name`, read from its current file.
    pub(crate) fn restart_as(&self, certificates: &Certificates, name: &str) {
        self.running.restart(|| self.run(certificates, name));
    }

    fn run(&self, certificates: &Certificates, name: &str) -> Program {
        let (port, health) = (self.port, self.health);
        let path = |name: &str| certificates.path(name).display().to_string();
        let peers = format!("http://127.0.0.1:{}", self.peers);
        let flags = format!(
            "--name one --data-dir data --listen-client-urls https://127.0.0.1:{port} \
             --advertise-client-urls https://127.0.0.1:{port} --listen-peer-urls {peers} \
             --initial-advertise-peer-urls {peers} --initial-cluster one={peers} --logger zap \
             --listen-metrics-urls http://127.0.0.1:{health} --client-cert-auth \
             --cert-file {} --key-file {} --trusted-ca-file {}",
            path(&format!("{name}.pem")),
            path(&format!("{name}.key")),
            path("ca.pem")
        );
        let flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        let mut program = Program::start("etcd", self.folder.path(), &flags);
        program.wait_until(health, is_healthy);
        program
    }
}

/// A cluster of three members with their data on disk.
#[derive(Debug)]
pub(crate) struct EtcdCluster {
    members: Vec<Option<Program>>,
    ports: Vec<u16>,
    _folder: TempDir,
}

impl EtcdCluster {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let peers: Vec<String> = (0..3)
            .map(|_| format!("http://127.0.0.1:{}", free_port()))
            .collect();
        let cluster: Vec<String> = (0..3)
            .map(|member| format!("m{member}={}", peers[member]))
            .collect();
        let mut members: Vec<Option<Program>> = (0..3)
            .map(|member| {
                let home = folder.path().join(format!("m{member}"));
                std::fs::create_dir(&home).unwrap();
                let clients = format!("http://127.0.0.1:{}", ports[member]);
                let flags = [
                    ["--name", &format!("m{member}")],
                    ["--data-dir", "data"],
                    ["--listen-client-urls", &clients],
                    ["--advertise-client-urls", &clients],
                    ["--listen-peer-urls", &peers[member]],
                    ["--initial-advertise-peer-urls", &peers[member]],
                    ["--initial-cluster", &cluster.join(",")],
                    ["--logger", "zap"],
                ];
                let flags: Vec<String> = flags.concat().into_iter().map(str::to_owned).collect();
                Some(Program::start("etcd", &home, &flags))
            })
            .collect();
        for (member, port) in members.iter_mut().flatten().zip(&ports) {
            member.wait_until(*port, is_healthy);
        }
        Self {
            members,
            ports,
            _folder: folder,
        }
    }

    /// Returns `host:port` of each member.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect()
    }

    /// Stops a member with SIGSTOP; its connections stay open.
    pub(crate) fn freeze(&self, member: usize) {
        self.members[member].as_ref().unwrap().freeze();
    }

    /// Kills a member with SIGKILL.
    pub(crate) fn kill(&mut self, member: usize) {
        self.members[member] = None;
    }
}

#[async_trait]
impl Harness for Etcd {
    async fn backend(&self) -> Arc<dyn Backend> {
        distsync::spi::backend(&format!("etcd://127.0.0.1:{}", self.port))
            .unwrap()
            .0
    }

    async fn breaking(&self, at: BreakAt) -> Breaking {
        through_a_proxy("etcd", self.port, at).await
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn restart(&self) {
        self.running.restart(|| self.run());
    }

    fn is_shared() -> bool {
        false
    }
}
