//! A single Consul server, with its data on disk.

use std::io::{Read, Write};
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
}

impl Consul {
    pub(crate) fn start() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let others = [free_port(), free_port(), free_port()];
        let consul = Self { port: free_port(), others, folder, running: Mutex::new(None) };
        *consul.running.lock().unwrap() = Some(consul.run());
        Arc::new(consul)
    }

    fn run(&self) -> Program {
        let [server, serf_lan, serf_wan] = self.others;
        let ports = format!(
            r#"{{"ports":{{"http":{},"server":{server},"serf_lan":{serf_lan},"serf_wan":{serf_wan},"dns":-1,"grpc":-1}},
               "performance":{{"raft_multiplier":1}},"limits":{{"http_max_conns_per_client":500}},
               "disable_update_check":true}}"#,
            self.port
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
        program.wait_until(self.port, |mut stream| {
            // Writes need a leader and a node to put sessions on.
            let mut answer = String::new();
            let asked = stream.write_all(b"GET /v1/health/node/nobody?consistent HTTP/1.0\r\n\r\n");
            let led =
                asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains(" 200 OK");
            led && self.is_registered()
        });
        program
    }

    /// Whether the agent's own node is in the catalog.
    fn is_registered(&self) -> bool {
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = String::new();
        stream.write_all(b"GET /v1/catalog/nodes HTTP/1.0\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.contains("\"Node\"")
    }
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
