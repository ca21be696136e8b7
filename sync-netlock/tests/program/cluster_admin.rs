//! The commands for operators of a cluster, on processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Handle, LockOptions, Sync, SyncOptions, Token};
use distsync_netlock::wire::proto;
use distsync_netlock::wire::proto::refused::Code;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use distsync_netlock::{Client, Config};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::cluster::members::{free, greets};
use super::python::{line, python, run_python, token};
use super::raw::{Raw, enqueue};
use super::server::{NETLOCKD, Netlockd, complaint, run};

pub(crate) const TABLE: &str = "000000000000000000000000000000c2";
/// How long to wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node of a cluster, as its operator starts it.
pub(crate) struct Node {
    pub(crate) name: String,
    /// Where clients reach it, and where the other nodes do.
    pub(crate) clients: String,
    pub(crate) peers: String,
    pub(crate) folder: PathBuf,
    pub(crate) running: Option<Netlockd>,
}

impl Node {
    pub(crate) fn new(name: &str, place: &Path) -> Self {
        Self {
            name: name.to_owned(),
            clients: free(),
            peers: free(),
            folder: place.join(name),
            running: None,
        }
    }

    pub(crate) fn as_peer(&self) -> String {
        format!("{}={}", self.name, self.peers)
    }

    /// The flags of the node, in a cluster with these first members.
    pub(crate) fn flags(&self, first: &[String]) -> Vec<String> {
        let peers: Vec<_> = first.iter().map(|peer| format!("'{peer}'")).collect();
        let set = |setting: String| ["--set".to_owned(), setting];
        let mut flags = ["--listen", &self.clients, "--table", TABLE, "--log", "info"]
            .map(str::to_owned)
            .to_vec();
        flags.extend(["--data-dir".to_owned(), self.folder.display().to_string()]);
        flags.extend(set(format!("cluster.name={}", self.name)));
        flags.extend(set(format!("cluster.listen={}", self.peers)));
        flags.extend(set(format!("cluster.peers=[{}]", peers.join(","))));
        flags
    }

    pub(crate) fn start(&mut self, first: &[String], more: &[&str]) {
        let mut command = Command::new(NETLOCKD);
        command.args(self.flags(first)).args(more);
        self.running = Some(Netlockd::spawn(command));
    }

    /// Waits until it greets clients.
    pub(crate) fn wait_until_it_leads(&self) {
        let deadline = clock::now().after(PATIENCE);
        while !greets(&self.clients).unwrap_or(false) {
            assert!(clock::now() < deadline, "{} does not lead", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the process of the node by a signal. Returns whether it has ended by itself, in order.
    pub(crate) fn end(&mut self, signal: Signal) -> bool {
        self.running.take().expect("it runs").end(signal)
    }
}

/// Nodes that form a cluster.
pub(crate) struct Nodes {
    pub(crate) place: TempDir,
    pub(crate) nodes: Vec<Node>,
    pub(crate) first: Vec<String>,
}

impl Nodes {
    /// Returns nodes that do not run yet.
    pub(crate) fn new(names: &[&str]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let nodes: Vec<_> = names
            .iter()
            .map(|name| Node::new(name, place.path()))
            .collect();
        let first = nodes.iter().map(Node::as_peer).collect();
        Self {
            place,
            nodes,
            first,
        }
    }

    pub(crate) fn start(names: &[&str], more: &[&str]) -> Self {
        let mut nodes = Self::new(names);
        for node in &mut nodes.nodes {
            node.start(&nodes.first, more);
        }
        nodes
    }

    /// Starts one more node, which waits until it is added.
    pub(crate) fn start_another(&mut self, name: &str) {
        let mut node = Node::new(name, self.place.path());
        node.start(&self.first, &[]);
        self.nodes.push(node);
    }

    pub(crate) fn node(&mut self, name: &str) -> &mut Node {
        let found = self.nodes.iter_mut().find(|node| node.name == name);
        found.unwrap()
    }

    pub(crate) fn url(&self) -> String {
        let running = self.nodes.iter().filter(|node| node.running.is_some());
        let addresses: Vec<_> = running.map(|node| &*node.clients).collect();
        format!("netlock://{}?table={TABLE}", addresses.join(","))
    }

    pub(crate) fn config(&self) -> Config {
        Config::from_url(self.url().parse().unwrap()).unwrap()
    }

    /// Executes a command on the cluster, and returns its output.
    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        let url = self.url();
        let all = [&["admin", "--server", &url, "cluster"], arguments].concat();
        let output = run(&all);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Executes a command that has to fail, and returns its error.
    pub(crate) fn refusal(&self, arguments: &[&str]) -> String {
        let url = self.url();
        complaint(&[&["admin", "--server", &url, "cluster"], arguments].concat())
    }

    /// Waits until a member leads, and returns its name.
    pub(crate) fn leader(&self) -> String {
        let deadline = clock::now().after(PATIENCE);
        loop {
            let status = self.admin(&["status"]);
            let leader = status.split_whitespace().nth(1).unwrap();
            if !leader.starts_with("unknown") {
                return leader.to_owned();
            }
            assert!(clock::now() < deadline, "no member leads: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Acquires and releases until it `is_over`. Returns the tokens.
async fn work(config: Config, is_over: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Vec<Token> {
    let options = SyncOptions::new().with_session_ttl(Duration::from_secs(10));
    let sync = Handle::open(Client::new(config).backend(), options).await;
    let (sync, mut tokens) = (sync.unwrap(), Vec::new());
    let lock = sync.lock("shared", LockOptions::new()).unwrap();
    while !is_over.load(Ordering::Relaxed) {
        let Ok(guard) = lock.acquire().await else {
            continue;
        };
        if guard.check(Duration::ZERO).is_ok() {
            tokens.push(guard.token());
            done.fetch_add(1, Ordering::Relaxed);
        }
        let _ = guard.release().await;
    }
    let _ = sync.close().await;
    tokens
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_added_promoted_and_removed_under_load() {
    let mut nodes = Nodes::start(&["a", "b", "c"], &[]);
    let old = nodes.leader();
    let status = nodes.admin(&["status"]);
    assert!(status.contains("voters 3"), "{status}");
    assert!(!status.contains("warning"), "{status}");
    let (is_over, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let tasks = TaskTracker::new();
    let workers: Vec<_> = (0..3)
        .map(|_| tasks.spawn(work(nodes.config(), is_over.clone(), done.clone())))
        .collect();
    let goes_on = |when: &str| {
        let (at, before) = (clock::now(), done.load(Ordering::Relaxed));
        while done.load(Ordering::Relaxed) < before + 5 {
            assert!(clock::now() < at.after(PATIENCE), "no grants after {when}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    goes_on("the start");

    nodes.start_another("d");
    let peers = nodes.node("d").peers.clone();
    let added = nodes.admin(&["add", &format!("d={peers}")]);
    assert!(
        added.contains("added d, which does not vote yet"),
        "{added}"
    );
    assert!(nodes.admin(&["status"]).contains("learner"));
    goes_on("an addition");
    let promoted = nodes.admin(&["promote", "d"]);
    assert!(promoted.contains("d votes now"), "{promoted}");
    assert!(
        promoted.contains("warning: a cluster with 4 voters"),
        "{promoted}"
    );
    goes_on("a promotion");

    // The leader stays until it has stepped down.
    let refused = nodes.refusal(&["remove", &old]);
    assert!(refused.contains("step down first"), "{refused}");
    let next = nodes.admin(&["step-down"]);
    assert!(
        next.contains("leads now") && !next.starts_with(&old),
        "{next}"
    );
    goes_on("a hand-over");
    let removed = nodes.admin(&["remove", &old]);
    assert!(removed.contains(&format!("removed {old}")), "{removed}");
    assert!(!removed.contains("warning"), "3 voters again: {removed}");
    assert!(nodes.node(&old).end(Signal::TERM));
    goes_on("a removal");

    let json: serde_json::Value =
        serde_json::from_str(&nodes.admin(&["status", "--json"])).unwrap();
    let members = json["members"].as_array().unwrap();
    let names: Vec<_> = members
        .iter()
        .map(|of| of["name"].as_str().unwrap())
        .collect();
    assert!(members.iter().all(|of| of["votes"] == true), "{json}");
    assert!(names.contains(&"d") && !names.contains(&&*old), "{json}");
    is_over.store(true, Ordering::Relaxed);
    let mut tokens = Vec::new();
    for worker in workers {
        let worked = tokio::time::timeout(PATIENCE, worker).await.unwrap();
        tokens.extend(worked.unwrap());
    }
    let count = tokens.len();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), count, "no token was granted twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_not_possible_names_the_reason_and_the_remedy() {
    let mut nodes = Nodes::start(&["a", "b", "c"], &[]);
    let leader = nodes.leader();
    let other = ["a", "b", "c"].into_iter().find(|name| **name != leader);
    let other = other.unwrap();
    nodes.start_another("d");
    let (d, b) = (nodes.node("d").peers.clone(), nodes.node("b").peers.clone());
    let nobody = free();
    for (arguments, reason) in [
        (vec!["add", "d"], "write it as NAME=HOST:PORT"),
        (vec!["add", &format!("b={d}")], "the member b at"),
        (vec!["add", &format!("d={b}")], "the member b at"),
        (vec!["add", &format!("e={d}")], "node d is at"),
        (vec!["add", &format!("e={nobody}")], "start the node"),
        (
            vec!["promote", "e"],
            "no member `e`: its members are a, b, c",
        ),
        (vec!["promote", other], "votes already"),
        (vec!["remove", "e"], "no member `e`"),
        (vec!["remove", &leader], "step down first"),
    ] {
        let refused = nodes.refusal(&arguments);
        assert!(refused.contains(reason), "{arguments:?}: {refused}");
    }

    // A learner that does not run or is far behind is not promoted, and can be removed.
    nodes.admin(&["add", &format!("d={d}")]);
    assert!(nodes.node("d").end(Signal::TERM));
    let refused = nodes.refusal(&["promote", "d"]);
    assert!(
        refused.contains("cannot be promoted") && refused.contains("start it"),
        "{refused}"
    );
    let client = Handle::open(Client::new(nodes.config()).backend(), SyncOptions::new());
    let client = client.await.unwrap();
    for _ in 0..50 {
        let lock = client.lock("many", LockOptions::new()).unwrap();
        lock.acquire().await.unwrap().release().await.unwrap();
    }
    std::thread::scope(|scope| {
        let nodes = &nodes;
        let promoting = scope.spawn(|| nodes.refusal(&["promote", "d"]));
        // It waits until the learner has caught up, and another change is refused meanwhile.
        let deadline = clock::now().after(PATIENCE);
        loop {
            let refused = nodes.refusal(&["remove", "e"]);
            if refused.contains("another change of the cluster is under way: wait") {
                break;
            }
            assert!(clock::now() < deadline, "{refused}");
        }
        let refused = promoting.join().unwrap();
        assert!(refused.contains("entries behind"), "{refused}");
    });
    nodes.node(other).end(Signal::KILL);
    let removed = nodes.admin(&["remove", "d"]);
    assert!(removed.contains("removed d"), "{removed}");

    // Without a majority, the last one still tells what it knows.
    let more = ["a", "b", "c"].into_iter();
    let last = more.clone().find(|name| *name != other && **name != leader);
    nodes
        .node(last.unwrap())
        .running
        .take()
        .unwrap()
        .end(Signal::KILL);
    let refused = nodes.refusal(&["remove", other]);
    assert!(refused.contains("majority"), "{refused}");
    let status = nodes.admin(&["status"]);
    assert!(status.contains("voters 3"), "{status}");
}

/// It knows one follower, and its session lives on while it connects to the next leader.
#[test]
fn python_follows_the_leader_and_keeps_its_lock() {
    let mut nodes = Nodes::start(&["a", "b", "c"], &[]);
    let leader = nodes.leader();
    let follower = nodes.nodes.iter().find(|node| node.name != leader);
    let url = format!("netlock://{}", follower.unwrap().clients);
    let (mut child, mut words) = python(&url, "distsync/l/report", &["4", "10"]);
    let first = token(&line(&mut words));
    // This one waits, and its place is kept.
    let (mut waiting, mut later) = python(&nodes.url(), "distsync/l/report", &["0", "10"]);
    std::thread::sleep(Duration::from_millis(500));
    nodes.node(&leader).end(Signal::KILL);
    assert_eq!(line(&mut words), "released\n");
    assert!(child.wait().unwrap().success());
    assert!(token(&line(&mut later)) > first, "it waited");
    assert_eq!(line(&mut later), "released\n");
    assert!(waiting.wait().unwrap().success());
    // It does not mistake another server for a member.
    let single = Netlockd::start(&[]);
    let mixed = format!(
        "{},{}",
        nodes.url().split_once('?').unwrap().0,
        single.address()
    );
    let (mut refused, mut nothing) = python(&mixed, "distsync/l/report", &["0"]);
    assert_eq!(line(&mut nothing), "");
    assert_eq!(refused.wait().unwrap().code(), Some(1));
}

#[test]
fn python_learns_of_new_members_while_it_is_connected() {
    let mut nodes = Nodes::start(&["a"], &[]);
    let url = nodes.url();
    nodes.leader();
    let program = "\
import sys, time
import netlock
session = netlock.Session(sys.argv[1], 'python', ttl_seconds=1)
print('connected', flush=True)
end = time.monotonic() + 30
while len(session._target.members) < 2 and time.monotonic() < end:
    time.sleep(0.01)
print('members', *sorted(session._target.members), flush=True)
session.close()
";
    let (mut child, mut words) = run_python(&["-c", program, &url]);
    assert_eq!(line(&mut words), "connected\n");
    nodes.start_another("b");
    let peers = nodes.node("b").peers.clone();
    nodes.admin(&["add", &format!("b={peers}")]);
    let mut all: Vec<_> = nodes.nodes.iter().map(|node| &*node.clients).collect();
    all.sort_unstable();
    assert_eq!(line(&mut words), format!("members {}\n", all.join(" ")));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_single_server_is_no_cluster() {
    let server = Netlockd::start(&[]);
    let url = format!("netlock://{}", server.address());
    let refused = complaint(&["admin", "--server", &url, "cluster", "status"]);
    assert!(refused.contains("no member of a cluster"), "{refused}");

    // The connections of operators are for nothing else, and the others are not for operators.
    let describe = Request::DescribeCluster(proto::DescribeCluster {});
    for (mut raw, request, reason) in [
        (Raw::connect(server.address()), describe, "`to_member`"),
        (
            Raw::connect_to_member(server.address(), ""),
            enqueue(1, 1, "a"),
            "without `to_member`",
        ),
    ] {
        let Response::Refused(refused) = raw.ask(request) else {
            panic!("it is no request of this connection")
        };
        assert_eq!(refused.code(), Code::Malformed);
        assert!(refused.message.contains(reason), "{refused:?}");
    }
}
