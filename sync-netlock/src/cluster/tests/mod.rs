//! Nodes with real sockets and folders, in one process.

mod formation;
mod hand_over;
mod membership;
mod peers;
mod replication;
mod serving;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use distsync_core::spi::{ClaimId, Secret, SessionId, clock, locked};
use distsync_core::{Mode, Token};
use tempfile::TempDir;

use super::*;
use crate::engine::{Command, Limits, LockTable, Requester, Terms};
use crate::storage::cluster::LogWriter;

const CLUSTER: u128 = 0xc1;
/// How long to wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A table that executes, as that of a leader.
struct Author {
    table: LockTable<LogWriter>,
    claims: u128,
}

impl Author {
    /// Returns a table with one session, and the frame that opens it.
    fn new() -> (Self, Bytes) {
        let first = Token::new(0).unwrap();
        let table = LockTable::with_journal(Limits::default(), first, LogWriter::recording());
        let mut author = Self { table, claims: 0 };
        let open = Command::Open {
            session: SessionId::from_bits(1),
            secret: Secret::from_bits(1),
            terms: Terms::lasting(Duration::from_secs(600)),
            client: "somebody",
            isolation: b"",
        };
        let frame = author.apply(open);
        (author, frame)
    }

    fn apply(&mut self, command: Command<'_>) -> Bytes {
        self.table
            .apply(clock::now(), Requester::HOST, command, &mut Vec::new());
        self.table.journal().take_records().into()
    }

    /// Acquires a new name, and returns the frame of that.
    fn acquire(&mut self) -> Bytes {
        self.acquire_with(b"")
    }

    fn acquire_with(&mut self, value: &[u8]) -> Bytes {
        self.claims += 1;
        let name = format!("n/l/{}", self.claims);
        self.apply(Command::Enqueue {
            session: SessionId::from_bits(1),
            claim: ClaimId::from_bits(self.claims),
            name: name.as_bytes(),
            mode: Mode::Exclusive,
            waits: true,
            value,
        })
    }

    /// Releases the oldest claim that is held.
    fn release(&mut self, claim: u128) -> Bytes {
        self.apply(Command::Withdraw {
            session: SessionId::from_bits(1),
            claim: ClaimId::from_bits(claim),
        })
    }
}

/// A replica that a test can look at.
#[derive(Clone, Debug)]
struct Seen(Arc<Mutex<Replica>>);

impl Machine for Seen {
    fn apply(&mut self, index: u64, frame: &[u8]) -> Result<(), Diverged> {
        locked(&self.0).apply(index, frame)
    }

    fn last_token(&self) -> Token {
        locked(&self.0).last_token()
    }

    fn dump(&self) -> Vec<u8> {
        locked(&self.0).dump()
    }

    fn load(&mut self, dump: &[u8], last_token: Token) -> Result<(), Diverged> {
        locked(&self.0).load(dump, last_token)
    }
}

impl Node {
    /// Proposes a frame as a leader whose table is of the present term.
    async fn propose_now(&self, frame: Bytes) -> Result<u64, Rejected> {
        self.propose(self.status().term, frame).await
    }
}

/// One node, its folder, and its table.
struct Running {
    options: NodeOptions,
    node: Option<Node>,
    table: Seen,
    member: Member,
    id: NodeId,
}

impl Running {
    fn node(&self) -> &Node {
        self.node.as_ref().expect("the node runs")
    }

    fn claims(&self) -> usize {
        locked(&self.table.0).table().stats().claims
    }

    fn last_token(&self) -> Token {
        self.table.last_token()
    }

    async fn start(&mut self) {
        self.table = Seen(Arc::new(Mutex::new(Replica::new(Limits::default()))));
        let options = self
            .options
            .clone()
            .with_listen(self.member.address.clone());
        let node = Node::start(options, Box::new(self.table.clone()))
            .await
            .unwrap();
        if self.id != 0 {
            assert_eq!(self.id, node.id(), "a node keeps its id");
        }
        self.id = node.id();
        self.member.address = node.address().to_string();
        self.node = Some(node);
    }

    async fn stop(&mut self) {
        self.node.take().expect("the node runs").shutdown().await;
    }
}

/// Several nodes.
struct Nodes {
    place: TempDir,
    members: BTreeMap<String, Running>,
    log_bytes: u64,
}

fn timing() -> Timing {
    Timing::of_heartbeat(Duration::from_millis(100))
}

impl Nodes {
    /// Starts nodes that belong to no cluster.
    async fn start(names: &[&str], log_bytes: u64) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut nodes = Self {
            place,
            members: BTreeMap::new(),
            log_bytes,
        };
        for name in names {
            nodes.add(name).await;
        }
        nodes
    }

    /// Starts nodes, and forms a cluster of them.
    async fn form(names: &[&str]) -> Self {
        let nodes = Self::start(names, 16 << 20).await;
        nodes
            .of(names[0])
            .node()
            .form(nodes.voters())
            .await
            .unwrap();
        nodes
    }

    fn voters(&self) -> Vec<(NodeId, Member)> {
        self.members
            .values()
            .map(|member| (member.id, member.member.clone()))
            .collect()
    }

    async fn add(&mut self, name: &str) {
        self.add_with(name, |options| options).await;
    }

    async fn add_with(&mut self, name: &str, change: impl FnOnce(NodeOptions) -> NodeOptions) {
        let failure: Failure = Arc::new(|error: &io::Error| eprintln!("the disk failed: {error}"));
        let options = NodeOptions::new(CLUSTER, name, self.place.path().join(name))
            .with_timing(timing())
            .with_log_bytes(self.log_bytes)
            .with_failure(failure);
        let mut member = Running {
            options: change(options),
            node: None,
            table: Seen(Arc::new(Mutex::new(Replica::new(Limits::default())))),
            member: Member {
                name: name.to_owned(),
                address: "127.0.0.1:0".to_owned(),
                clients: String::new(),
            },
            id: 0,
        };
        member.start().await;
        self.members.insert(name.to_owned(), member);
    }

    fn of(&self, name: &str) -> &Running {
        &self.members[name]
    }

    fn of_mut(&mut self, name: &str) -> &mut Running {
        self.members.get_mut(name).unwrap()
    }

    /// Returns the name of the running node that confirms that it leads, other than `except`.
    async fn leader_except(&self, except: &str) -> String {
        let deadline = clock::now().after(PATIENCE);
        loop {
            for (name, member) in &self.members {
                if let Some(node) = &member.node
                    && name != except
                    && node.confirm().await.is_ok()
                {
                    return name.clone();
                }
            }
            assert!(clock::now() < deadline, "no node leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn leader(&self) -> String {
        self.leader_except("").await
    }

    async fn propose(&self, frame: Bytes) -> u64 {
        let leader = self.leader().await;
        let proposed = self.of(&leader).node().propose_now(frame);
        tokio::time::timeout(PATIENCE, proposed)
            .await
            .unwrap()
            .unwrap()
    }

    /// Waits until all running nodes have this many claims.
    async fn all_have(&self, claims: usize) {
        for (name, member) in &self.members {
            if member.node.is_some() {
                eventually(&format!("{name} has {claims} claims"), || {
                    member.claims() == claims
                })
                .await;
            }
        }
    }

    async fn stop(mut self) {
        for member in self.members.values_mut() {
            if member.node.is_some() {
                member.stop().await;
            }
        }
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = clock::now().after(PATIENCE);
    while !condition() {
        assert!(clock::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
