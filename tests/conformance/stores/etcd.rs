//! A single etcd.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::Backend;
use sync_core::conformance::Harness;
use tempfile::TempDir;

use super::program::{Program, free_port};

/// One server, with its data on disk.
#[derive(Debug)]
pub(crate) struct Etcd {
    port: u16,
    peers: u16,
    folder: TempDir,
    running: Mutex<Option<Program>>,
}

impl Etcd {
    pub(crate) fn start() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let etcd = Self { port: free_port(), peers: free_port(), folder, running: Mutex::new(None) };
        *etcd.running.lock().unwrap() = Some(etcd.run());
        Arc::new(etcd)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn run(&self) -> Program {
        let (clients, peers) =
            (format!("http://127.0.0.1:{}", self.port), format!("http://127.0.0.1:{}", self.peers));
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
        let flags: Vec<String> =
            flags.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]).collect();
        let mut program = Program::start("etcd", self.folder.path(), &flags);
        program.wait_until(self.port, |mut stream| {
            let mut answer = String::new();
            let asked = stream.write_all(b"GET /health HTTP/1.0\r\n\r\n");
            asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains("\"true\"")
        });
        program
    }
}

#[async_trait]
impl Harness for Etcd {
    async fn backend(&self) -> Arc<dyn Backend> {
        distsync::backend(&format!("etcd://127.0.0.1:{}", self.port)).unwrap().0
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn restart(&self) {
        let mut running = self.running.lock().unwrap();
        running.take().unwrap().stop();
        *running = Some(self.run());
    }
}
