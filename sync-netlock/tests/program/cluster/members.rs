//! The members of a cluster, each a process of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Handle, SyncOptions};
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use distsync_netlock::wire::{VERSION, encode, proto};
use distsync_netlock::{Client, Config};
use prost::Message;
use rustix::process::Signal;
use tempfile::{NamedTempFile, TempDir};

use super::super::server::{NETLOCKD, Netlockd};
use super::network::Network;

pub(super) const TABLE: &str = "000000000000000000000000000000c1";
/// No name is a part of another one: the [`Network`] finds them in greetings.
pub(super) const NAMES: [&str; 5] = ["node-a", "node-b", "node-c", "node-d", "node-e"];
/// How long to wait for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The members of a cluster.
pub(super) struct Members {
    place: TempDir,
    /// Where clients reach them.
    clients: Vec<String>,
    /// Where each of them listens to the others.
    listen: Vec<String>,
    /// Where they reach each other.
    peers: Vec<String>,
    /// The connections between them, if a test cuts some off.
    network: Option<Network>,
    flags: Vec<String>,
    running: Vec<Mutex<Option<Netlockd>>>,
}

/// Returns the address of a port that is free. It is below the range that the system gives to
/// outgoing connections, so no such connection can take it before its server does.
pub(crate) fn free() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // `netlockd dev-cluster` takes ports below these.
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;

    // Concurrent test processes begin at different ports.
    let start = u16::try_from(std::process::id() % 1_000).unwrap() * 20;
    loop {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
}

impl Members {
    /// Starts three members.
    pub(super) fn start() -> Self {
        Self::of(3, &[])
    }

    /// Starts this many members with additional settings.
    pub(super) fn of(count: usize, settings: &[&str]) -> Self {
        let listen: Vec<_> = (0..count).map(|_| free()).collect();
        Self::with(listen.clone(), listen, None, settings)
    }

    /// Starts three members that can be cut off from each other.
    pub(super) fn on_a_network() -> Self {
        let listen: Vec<_> = (0..3).map(|_| free()).collect();
        let network = Network::start(&listen);
        let peers = network.addresses().to_vec();
        Self::with(listen, peers, Some(network), &[])
    }

    fn with(
        listen: Vec<String>,
        peers: Vec<String>,
        network: Option<Network>,
        settings: &[&str],
    ) -> Self {
        let members = Self {
            place: tempfile::tempdir().unwrap(),
            clients: listen.iter().map(|_| free()).collect(),
            running: listen.iter().map(|_| Mutex::default()).collect(),
            listen,
            peers,
            network,
            flags: settings.iter().map(|&setting| setting.to_owned()).collect(),
        };
        for member in members.all() {
            members.start_one(member);
        }
        members
    }

    pub(super) fn all(&self) -> std::ops::Range<usize> {
        0..self.clients.len()
    }

    pub(super) fn folder(&self, member: usize) -> PathBuf {
        self.place.path().join(NAMES[member])
    }

    /// Returns a command that runs a member.
    pub(super) fn command(&self, member: usize) -> Command {
        let mut command = Command::new(NETLOCKD);
        self.arguments(member, &self.folder(member), &mut command);
        command
    }

    /// Adds the arguments of a member with this folder to a command.
    pub(super) fn arguments(&self, member: usize, folder: &Path, command: &mut Command) {
        let name = NAMES[member];
        let named = NAMES.iter().zip(&self.peers);
        let peers: Vec<_> = named
            .map(|(name, peer)| format!("'{name}={peer}'"))
            .collect();
        command.args(["--listen", &self.clients[member], "--table", TABLE]);
        command.args(["--log", "info", "--data-dir"]);
        command.arg(folder);
        let cluster = [
            format!("cluster.name={name}"),
            format!("cluster.listen={}", self.listen[member]),
            format!("cluster.peers=[{}]", peers.join(",")),
        ];
        for setting in cluster.iter().chain(&self.flags) {
            command.arg("--set").arg(setting);
        }
    }

    pub(super) fn start_one(&self, member: usize) {
        self.spawn(member, self.command(member));
    }

    /// Runs a member by a command.
    pub(super) fn spawn(&self, member: usize, mut command: Command) {
        let log = NamedTempFile::new().unwrap();
        command.stderr(Stdio::from(log.reopen().unwrap()));
        let started = Netlockd::spawn_with(command, Some(log));
        *self.slot(member) = Some(started);
    }

    /// Returns the process of a member, if there is one. It may be stopped.
    pub(super) fn slot(&self, member: usize) -> MutexGuard<'_, Option<Netlockd>> {
        let slot = self.running[member].lock();
        slot.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_running(&self, member: usize) -> bool {
        self.slot(member).is_some()
    }

    pub(super) fn kill(&self, member: usize) {
        let killed = self.slot(member).take().expect("it runs");
        assert!(!killed.end(Signal::KILL));
    }

    /// Stops a member with SIGSTOP. Its connections stay open.
    pub(super) fn freeze(&self, member: usize) {
        self.slot(member).as_ref().expect("it runs").freeze();
    }

    pub(super) fn thaw(&self, member: usize) {
        let slot = self.slot(member);
        slot.as_ref().expect("it runs").signal(Signal::CONT);
    }

    /// Stops a leader until another member leads, and sessions with this TTL have ended by the
    /// clock of the stopped one.
    pub(super) async fn freeze_beyond(&self, leader: usize, ttl: Duration) {
        self.freeze(leader);
        let frozen = clock::now();
        self.leader_except(leader).await;
        tokio::time::sleep(ttl.saturating_sub(clock::now().since(frozen)) + ttl / 3).await;
        self.thaw(leader);
    }

    pub(super) fn network(&self) -> &Network {
        self.network.as_ref().expect("members on a network")
    }

    pub(super) fn address(&self, member: usize) -> &str {
        &self.clients[member]
    }

    /// Returns the configuration of a client that knows all members.
    pub(super) fn config(&self) -> Config {
        let config = Config::new(&self.clients).unwrap();
        config.with_table(TABLE).unwrap()
    }

    pub(super) async fn connect(&self, ttl: Duration) -> Handle {
        connect(self.config(), ttl).await
    }

    /// Connects a client that knows one member.
    pub(super) async fn connect_by(&self, member: usize, ttl: Duration) -> Handle {
        let config = Config::new([&self.clients[member]]).unwrap();
        connect(config, ttl).await
    }

    /// Waits until a member leads.
    pub(super) async fn leader(&self) -> usize {
        self.leader_except(usize::MAX).await
    }

    /// Waits until a member other than this one leads.
    pub(super) async fn leader_except(&self, except: usize) -> usize {
        let deadline = clock::now().after(PATIENCE);
        loop {
            for member in self.all() {
                if member != except && self.is_running(member) && self.leads(member) {
                    return member;
                }
            }
            assert!(clock::now() < deadline, "no member leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns whether a member greets clients, which only a leader does.
    pub(super) fn leads(&self, member: usize) -> bool {
        greets(&self.clients[member]).unwrap_or(false)
    }

    /// Stops all members with SIGTERM.
    pub(super) fn stop(self) {
        for slot in &self.running {
            let member = slot.lock().unwrap().take();
            if let Some(member) = member {
                assert!(member.end(Signal::TERM), "it stops in order");
            }
        }
    }
}

async fn connect(config: Config, ttl: Duration) -> Handle {
    let options = SyncOptions::new().with_session_ttl(ttl);
    let backend = Client::new(config).backend();
    Handle::open(backend, options).await.unwrap()
}

/// Returns whether a server replies to the greeting of a client with a welcome. A server that is
/// stopped does not reply at all.
pub(crate) fn greets(address: &str) -> std::io::Result<bool> {
    let limit = Duration::from_millis(500);
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    let body = Some(Request::Hello(proto::Hello {
        version: VERSION,
        token: String::new(),
        ..proto::Hello::default()
    }));
    let mut out = Vec::new();
    encode(&proto::Request { id: 1, body }, &mut out);
    stream.write_all(&out)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut frame)?;
    let reply = proto::Response::decode(&*frame)?;
    Ok(matches!(reply.body, Some(Response::Welcome(_))))
}
