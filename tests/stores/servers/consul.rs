//! Consul servers, single or in a cluster, with their data on disk.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use distsync_core::conformance::{BreakAt, Breaking, Harness};
use distsync_core::spi::Backend;
use tempfile::TempDir;

use super::super::proxy::through_a_proxy;
use super::certificates::Certificates;
use super::program::{Program, Running, empty, free_port};

/// The ports and the folder of one server.
#[derive(Debug)]
struct Agent {
    http: u16,
    server: u16,
    serf: [u16; 2],
    /// The port for TLS, if the server has one.
    https: Option<u16>,
    home: PathBuf,
}

impl Agent {
    fn new(home: PathBuf) -> Self {
        std::fs::create_dir_all(&home).unwrap();
        Self {
            http: free_port(),
            server: free_port(),
            serf: [free_port(), free_port()],
            https: None,
            home,
        }
    }

    fn socket(&self) -> PathBuf {
        self.home.join("http.sock")
    }

    /// Starts the server as one of `expect` servers that join at the serf ports in `join`. `more`
    /// holds additional settings in JSON, each preceded by a comma.
    fn launch(&self, expect: usize, join: &[u16], more: &str) -> Program {
        let [lan, wan] = self.serf;
        let join: Vec<String> = join
            .iter()
            .map(|port| format!("\"127.0.0.1:{port}\""))
            .collect();
        let settings = format!(
            r#"{{"node_name":"n{}","bootstrap_expect":{expect},"retry_join":[{}],"retry_interval":"500ms",
               "ports":{{"http":{},"https":{},"server":{},"serf_lan":{lan},"serf_wan":{wan},"dns":-1,"grpc":-1}},
               "performance":{{"raft_multiplier":1}},"limits":{{"http_max_conns_per_client":200}},
               "disable_update_check":true{more}}}"#,
            self.server,
            join.join(","),
            self.http,
            self.https.map_or("-1".to_owned(), |port| port.to_string()),
            self.server
        );
        std::fs::write(self.home.join("settings.json"), settings).unwrap();
        let flags = "agent -server -bind=127.0.0.1 -client=127.0.0.1 -data-dir data -config-file settings.json";
        let flags: Vec<String> = flags.split(' ').map(str::to_owned).collect();
        Program::start("consul", &self.home, &flags)
    }

    /// Waits until the cluster has a leader, which writes need, and lists at least `nodes` nodes,
    /// which sessions need. Pass 0 under ACLs: the catalog is not readable without a token.
    fn wait(&self, program: &mut Program, nodes: usize) {
        program.wait_until(self.http, |stream| {
            answer(stream, "/v1/status/leader").contains("127.0.0.1")
                && (nodes == 0
                    || TcpStream::connect(("127.0.0.1", self.http)).is_ok_and(|stream| {
                        answer(stream, "/v1/catalog/nodes")
                            .matches("\"Node\"")
                            .count()
                            >= nodes
                    }))
        });
    }
}

/// A single server.
#[derive(Debug)]
pub(crate) struct Consul {
    agent: Agent,
    _folder: TempDir,
    running: Running,
    /// Additional settings in JSON, each preceded by a comma.
    more: String,
}

impl Consul {
    pub(crate) fn start() -> Arc<Self> {
        Self::start_as(|_| String::new())
    }

    /// Starts a server with ACLs that deny everything by default.
    pub(crate) fn start_with_acl() -> Arc<Self> {
        Self::start_as(|_| r#","acl":{"enabled":true,"default_policy":"deny"}"#.to_owned())
    }

    /// Starts a server that also speaks TLS and requires a client certificate.
    pub(crate) fn start_with_tls(certificates: &Certificates) -> Arc<Self> {
        Self::start_with_tls_as(certificates, "server")
    }

    /// Like [`start_with_tls`](Self::start_with_tls), but with the server certificate `name`.
    pub(crate) fn start_with_tls_as(certificates: &Certificates, name: &str) -> Arc<Self> {
        let path = |name: &str| certificates.path(name).display().to_string();
        Self::start_as(|agent| {
            agent.https = Some(free_port());
            format!(
                r#","verify_incoming_https":true,"cert_file":"{}","key_file":"{}","ca_file":"{}""#,
                path(&format!("{name}.pem")),
                path(&format!("{name}.key")),
                path("ca.pem")
            )
        })
    }

    /// Starts a server that also listens on a Unix domain socket.
    pub(crate) fn start_with_socket() -> Arc<Self> {
        Self::start_as(|agent| {
            format!(
                r#","addresses":{{"http":"127.0.0.1 unix://{}"}}"#,
                agent.socket().display()
            )
        })
    }

    /// Returns the path of the socket of [`start_with_socket`](Self::start_with_socket).
    pub(crate) fn socket(&self) -> PathBuf {
        self.agent.socket()
    }

    pub(crate) fn https(&self) -> u16 {
        self.agent.https.expect("started with TLS")
    }

    fn start_as(more: impl FnOnce(&mut Agent) -> String) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut agent = Agent::new(folder.path().join("home"));
        let more = more(&mut agent);
        let consul = Self {
            agent,
            _folder: folder,
            running: Running::default(),
            more,
        };
        consul.running.restart(|| consul.run());
        Arc::new(consul)
    }

    /// Stops the server, deletes its data, and starts it again.
    pub(crate) fn restart_emptied(&self) {
        self.running.restart(|| {
            empty(&self.agent.home, &["log"]);
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
        self.agent.http
    }

    fn run(&self) -> Program {
        let mut program = self.agent.launch(1, &[], &self.more);
        self.agent
            .wait(&mut program, usize::from(!self.more.contains("acl")));
        program
    }
}

/// A cluster of three servers.
#[derive(Debug)]
pub(crate) struct ConsulCluster {
    agents: Vec<Agent>,
    members: Vec<Option<Program>>,
    _folder: TempDir,
}

impl ConsulCluster {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agents: Vec<Agent> = (0..3)
            .map(|member| Agent::new(folder.path().join(format!("n{member}"))))
            .collect();
        let join: Vec<u16> = agents.iter().map(|agent| agent.serf[0]).collect();
        let mut members: Vec<Option<Program>> = agents
            .iter()
            .map(|agent| Some(agent.launch(3, &join, "")))
            .collect();
        for (agent, member) in agents.iter().zip(members.iter_mut().flatten()) {
            agent.wait(member, 3);
        }
        Self {
            agents,
            members,
            _folder: folder,
        }
    }

    /// Kills the leader with SIGKILL.
    pub(crate) fn kill_leader(&mut self) {
        let leader = self.leader().expect("a leader");
        self.members[leader] = None;
    }

    /// Returns the HTTP port of a server that is not the leader.
    pub(crate) fn follower_port(&self) -> u16 {
        let leader = self.leader();
        let follower = (0..3)
            .find(|member| Some(*member) != leader)
            .expect("a follower");
        self.agents[follower].http
    }

    fn leader(&self) -> Option<usize> {
        let stream = TcpStream::connect(("127.0.0.1", self.agents[0].http)).unwrap();
        let leader = answer(stream, "/v1/status/leader");
        self.agents
            .iter()
            .position(|agent| leader.contains(&format!(":{}\"", agent.server)))
    }
}

/// Returns the reply to a GET of `path`, or an empty string if there is none.
fn answer(mut stream: TcpStream, path: &str) -> String {
    let mut answer = String::new();
    match write!(stream, "GET {path} HTTP/1.0\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut answer))
    {
        Ok(_) => answer,
        Err(_) => String::new(),
    }
}

#[async_trait]
impl Harness for Consul {
    async fn backend(&self) -> Arc<dyn Backend> {
        distsync::spi::backend(&format!("consul://127.0.0.1:{}", self.port()))
            .unwrap()
            .0
    }

    async fn breaking(&self, at: BreakAt) -> Breaking {
        through_a_proxy("consul", self.port(), at).await
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn restart(&self) {
        self.running.restart(|| self.run());
    }

    fn is_shared() -> bool {
        false
    }
}
