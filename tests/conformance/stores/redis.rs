//! A Redis server that writes every change to disk before it answers.

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
pub(crate) struct Redis {
    port: u16,
    folder: TempDir,
    running: Mutex<Option<Program>>,
}

impl Redis {
    /// A server of one's own.
    pub(crate) fn start() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let redis = Self { port: free_port(), folder, running: Mutex::new(None) };
        *redis.running.lock().unwrap() = Some(redis.run());
        Arc::new(redis)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Gives a command, and returns the first of the answer.
    pub(crate) fn tell(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 256];
        let length = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// Stops it, until a restart.
    pub(crate) fn stop(&self) {
        self.running.lock().unwrap().take().unwrap().stop();
    }

    fn run(&self) -> Program {
        let flags = format!(
            "--port {} --bind 127.0.0.1 --dir {} --save '' --appendonly yes --appendfsync always --daemonize no",
            self.port,
            self.folder.path().display()
        );
        let flags: Vec<String> = flags.split(' ').map(|flag| flag.trim_matches('\'').to_owned()).collect();
        let mut program = Program::start("redis-server", self.folder.path(), &flags);
        program.wait_until(self.port, |mut stream| {
            let mut pong = [0; 7];
            stream.write_all(b"PING\r\n").is_ok()
                && stream.read_exact(&mut pong).is_ok()
                && &pong == b"+PONG\r\n"
        });
        program
    }
}

#[async_trait]
impl Harness for Redis {
    async fn backend(&self) -> Arc<dyn Backend> {
        distsync::backend(&format!("redis://127.0.0.1:{}", self.port)).unwrap().0
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(2_000)
    }

    async fn restart(&self) {
        let mut running = self.running.lock().unwrap();
        if let Some(program) = running.take() {
            program.stop();
        }
        *running = Some(self.run());
    }
}
