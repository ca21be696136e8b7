//! Three netlockd processes that are one cluster.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::stores::free_port;
use super::{raw, side};

const NAMES: [&str; 3] = ["a", "b", "c"];
const TABLE: &str = "000000000000000000000000000000c1";
/// How long a cluster may take to elect a leader.
const PATIENCE: Duration = Duration::from_secs(30);
/// The tag of the reply to a greeting that the leader accepts: field 2 of `Response`.
const WELCOME: u8 = 2 << 3 | 2;

pub(crate) struct Nodes {
    program: String,
    folder: TempDir,
    pub(crate) clients: Vec<SocketAddr>,
    peers: Vec<String>,
    running: Vec<Option<Child>>,
}

impl Nodes {
    /// Starts three nodes of the program at this path, and waits until one leads.
    pub(crate) fn start(program: &str) -> Self {
        let address = |_| SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut nodes = Self {
            program: program.to_owned(),
            folder: tempfile::tempdir().expect("a folder"),
            clients: NAMES.map(address).to_vec(),
            peers: NAMES
                .map(|name| format!("{name}={}", address(name)))
                .to_vec(),
            running: Vec::new(),
        };
        for node in 0..NAMES.len() {
            let child = nodes.spawn(node);
            nodes.running.push(Some(child));
        }
        nodes.leader();
        nodes
    }

    fn spawn(&self, node: usize) -> Child {
        let name = NAMES[node];
        let (_, listen) = self.peers[node].split_once('=').expect("an address");
        let peers: Vec<String> = self.peers.iter().map(|peer| format!("'{peer}'")).collect();
        let mut command = Command::new(&self.program);
        command.args(["--log", "error", "--table", TABLE]);
        command.args(["--listen", &self.clients[node].to_string()]);
        command.arg("--data-dir").arg(self.folder.path().join(name));
        for setting in [
            format!("cluster.name={name}"),
            format!("cluster.listen={listen}"),
            format!("cluster.peers=[{}]", peers.join(",")),
        ] {
            command.args(["--set", &setting]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("netlockd starts")
    }

    /// Returns the URL of the cluster.
    pub(crate) fn url(&self) -> String {
        let clients: Vec<String> = self.clients.iter().map(ToString::to_string).collect();
        format!("netlock://{}?table={TABLE}", clients.join(","))
    }

    /// Waits until a node leads, and returns it.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    pub(crate) fn leader(&self) -> usize {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(leader) = (0..NAMES.len()).find(|node| leads(self.clients[*node])) {
                return leader;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no node leads within {PATIENCE:?}");
    }

    /// Returns the processor time of a node so far, in seconds.
    pub(crate) fn cpu(&self, node: usize) -> f64 {
        let child = self.running[node].as_ref().expect("it runs");
        side::cpu_of_threads(child.id()).iter().sum()
    }

    /// Sends a signal that ends a node, and does not wait for its end.
    pub(crate) fn signal(&self, node: usize, signal: Signal) {
        let child = self.running[node].as_ref().expect("it runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a pid"), signal).expect("it runs");
    }

    /// Waits for the end of a node, and starts it again.
    pub(crate) fn restart(&mut self, node: usize) {
        if let Some(mut child) = self.running[node].take() {
            child.wait().expect("it ends");
        }
        self.running[node] = Some(self.spawn(node));
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns whether the node at this address accepts a greeting.
fn leads(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(&raw::hello())?;
        // The length, and the beginning of a reply: its id, which is 1, and the tag of its body.
        let mut reply = [0; 7];
        stream.read_exact(&mut reply)?;
        Ok::<_, std::io::Error>(reply[6] == WELCOME)
    };
    ask().unwrap_or(false)
}
