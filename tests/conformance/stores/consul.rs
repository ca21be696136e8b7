//! A single Consul server, with its data on disk.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::Backend;
use sync_core::conformance::Harness;
use tempfile::TempDir;

use super::program::{Program, free_port};

/// One server.
#[derive(Debug)]
pub(crate) struct Consul {
    port: u16,
    others: [u16; 3],
    folder: TempDir,
    running: Mutex<Option<Program>>,
    /// More settings, each after a comma.
    more: &'static str,
}

impl Consul {
    pub(crate) fn start() -> Arc<Self> {
        Self::start_as("")
    }

    /// A server that denies what no token allows.
    pub(crate) fn start_with_acl() -> Arc<Self> {
        Self::start_as(r#","acl":{"enabled":true,"default_policy":"deny"}"#)
    }

    fn start_as(more: &'static str) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let others = [free_port(), free_port(), free_port()];
        let consul = Self { port: free_port(), others, folder, running: Mutex::new(None), more };
        *consul.running.lock().unwrap() = Some(consul.run());
        Arc::new(consul)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn run(&self) -> Program {
        let [server, serf_lan, serf_wan] = self.others;
        let ports = format!(
            r#"{{"ports":{{"http":{},"server":{server},"serf_lan":{serf_lan},"serf_wan":{serf_wan},"dns":-1,"grpc":-1}},
               "performance":{{"raft_multiplier":1}},"limits":{{"http_max_conns_per_client":500}},
               "disable_update_check":true{}}}"#,
            self.port, self.more
        );
        let settings = self.folder.path().join("ports.json");
        std::fs::write(&settings, ports).unwrap();
        let data = self.folder.path().join("data").display().to_string();
        let settings = settings.display().to_string();
        let flags = [
            "agent",
            "-server",
            "-bootstrap-expect=1",
            "-bind=127.0.0.1",
            "-client=127.0.0.1",
            "-data-dir",
            &data,
            "-config-file",
            &settings,
        ];
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut program = Program::start("consul", self.folder.path(), &flags);
        // Writes need a leader; sessions need the agent's node in the catalog, which strangers may not see under ACLs.
        program.wait_until(self.port, |stream| {
            answers(stream, "/v1/status/leader", "127.0.0.1")
                && (!self.more.is_empty()
                    || TcpStream::connect(("127.0.0.1", self.port))
                        .is_ok_and(|stream| answers(stream, "/v1/catalog/nodes", "\"Node\"")))
        });
        program
    }
}

/// Whether a GET of `path` answers something with `wanted` in it.
fn answers(mut stream: TcpStream, path: &str, wanted: &str) -> bool {
    let mut answer = String::new();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(wanted)
}

#[async_trait]
impl Harness for Consul {
    async fn backend(&self) -> Arc<dyn Backend> {
        distsync::backend(&format!("consul://127.0.0.1:{}", self.port)).unwrap().0
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn restart(&self) {
        let mut running = self.running.lock().unwrap();
        running.take().unwrap().stop();
        *running = Some(self.run());
    }
}
