//! Three processes as one lock service.

use std::collections::HashMap;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use distsync_core::spi::clock::{self, Moment};
use distsync_core::{Handle, LockOptions, Sync, SyncOptions, Token};
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use distsync_netlock::wire::{VERSION, proto};
use distsync_netlock::{Client, Config};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::raw::Raw;
use super::server::{NETLOCKD, Netlockd};

const TABLE: &str = "000000000000000000000000000000c1";
const NAMES: [&str; 3] = ["a", "b", "c"];
/// How long to wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Three members.
struct Members {
    place: TempDir,
    /// Where clients reach them.
    clients: Vec<String>,
    /// Where they reach each other.
    peers: Vec<String>,
    running: Vec<Option<Netlockd>>,
}

/// Returns addresses of ports that are free.
fn free() -> Vec<String> {
    let listeners = NAMES.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = listeners.iter().map(|listener| listener.local_addr());
    addresses
        .map(|address| address.unwrap().to_string())
        .collect()
}

impl Members {
    fn start() -> Self {
        let mut members = Self {
            place: tempfile::tempdir().unwrap(),
            clients: free(),
            peers: free(),
            running: NAMES.iter().map(|_| None).collect(),
        };
        for member in 0..NAMES.len() {
            members.start_one(member);
        }
        members
    }

    fn start_one(&mut self, member: usize) {
        let name = NAMES[member];
        let named = NAMES.iter().zip(&self.peers);
        let peers: Vec<_> = named
            .map(|(name, peer)| format!("'{name}={peer}'"))
            .collect();
        let mut command = Command::new(NETLOCKD);
        command.args(["--listen", &self.clients[member], "--table", TABLE]);
        command
            .args(["--log", "warn", "--data-dir"])
            .arg(self.place.path().join(name));
        for setting in [
            format!("cluster.name={name}"),
            format!("cluster.listen={}", self.peers[member]),
            format!("cluster.peers=[{}]", peers.join(",")),
        ] {
            command.arg("--set").arg(setting);
        }
        self.running[member] = Some(Netlockd::spawn(command));
    }

    fn config(&self) -> Config {
        Config::new(&self.clients)
            .unwrap()
            .with_table(TABLE)
            .unwrap()
    }

    /// Waits until a member leads.
    async fn leader(&self) -> usize {
        let deadline = clock::now().after(PATIENCE);
        loop {
            for (member, address) in self.clients.iter().enumerate() {
                if self.running[member].is_some() && leads(address) {
                    return member;
                }
            }
            assert!(clock::now() < deadline, "no member leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn leads(address: &str) -> bool {
    let hello = Request::Hello(proto::Hello {
        version: VERSION,
        token: String::new(),
        ..proto::Hello::default()
    });
    let reply = Raw::connect_without_greeting(address).ask(hello);
    matches!(reply, Response::Welcome(_))
}

/// What a client has seen of one hold.
#[derive(Debug)]
struct Hold {
    name: usize,
    token: Token,
    from: Moment,
    until: Moment,
}

/// Acquires and releases until it `is_over`.
async fn work(config: Config, is_over: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Vec<Hold> {
    let options = SyncOptions::new().with_session_ttl(Duration::from_secs(10));
    let sync = Handle::open(Client::new(config).backend(), options).await;
    let sync = sync.unwrap();
    let mut holds = Vec::new();
    for name in (0..NAMES.len()).cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let lock = sync.lock(NAMES[name], LockOptions::new()).unwrap();
        // The core withdraws a claim whose acquisition has failed.
        let Ok(guard) = lock.acquire().await else {
            continue;
        };
        let from = clock::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        if guard.check(Duration::ZERO).is_ok() {
            holds.push(Hold {
                name,
                token: guard.token(),
                from,
                until: clock::now(),
            });
            done.fetch_add(1, Ordering::Relaxed);
        }
        let _ = guard.release().await;
    }
    let _ = sync.close().await;
    holds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leaders_grant_no_token_twice_and_no_lock_to_two() {
    let mut members = Members::start();
    members.leader().await;
    let (is_over, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let tasks = TaskTracker::new();
    let clients: Vec<_> = (0..6)
        .map(|_| tasks.spawn(work(members.config(), is_over.clone(), done.clone())))
        .collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let leader = members.leader().await;
        let killed = members.running[leader].take().unwrap();
        assert!(!killed.end(Signal::KILL));
        let (at, before) = (clock::now(), done.load(Ordering::Relaxed));
        while done.load(Ordering::Relaxed) < before + 10 {
            assert!(clock::now() < at.after(PATIENCE), "no grants after a kill");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        eprintln!("ten grants {:?} after the kill", clock::now().since(at));
        members.start_one(leader);
    }
    is_over.store(true, Ordering::Relaxed);
    let mut holds = Vec::new();
    for client in clients {
        let held = tokio::time::timeout(PATIENCE, client).await.unwrap();
        holds.extend(held.unwrap());
    }
    eprintln!("{} holds", holds.len());
    holds.sort_by_key(|hold| hold.token);
    let mut last: HashMap<usize, &Hold> = HashMap::new();
    let mut token = None;
    for hold in &holds {
        assert!(
            Some(hold.token) > token,
            "a token was granted twice: {hold:?}"
        );
        token = Some(hold.token);
        if let Some(before) = last.insert(hold.name, hold) {
            assert!(
                hold.from >= before.until,
                "two holders: {before:?}, {hold:?}"
            );
        }
    }
    for member in members.running.iter_mut().filter_map(Option::take) {
        assert!(member.end(Signal::TERM), "it stops in order");
    }
}
