//! `netlockd cluster init` and `netlockd cluster recover`, killed before each of their steps. A
//! repetition has to complete them, and nothing is lost.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output};

use distsync_core::Token;
use distsync_netlock::wire::proto;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use rustix::process::Signal;

use super::cluster_admin::{Node, Nodes, TABLE};
use super::losing_disk::LosingDisk;
use super::raw::{Raw, enqueue, id, session};
use super::server::{NETLOCKD, Netlockd};

/// More steps than any of the commands has.
const STEPS_MAX: usize = 500;
/// The command is killed before every so many steps that prepare the new files.
const PREPARING_EVERY: usize = 6;
/// After every so many steps, the member is started.
const STARTED_EVERY: usize = 5;

/// A folder of a node, from which the folder for each attempt is copied.
struct Attempts<'a> {
    node: &'a mut Node,
    first: &'a [String],
    original: &'a Path,
    /// The token of the lock that is held.
    token: Token,
    command: &'a [&'a str],
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Opens a session and acquires `held`. Returns the token.
fn hold(address: &str) -> Token {
    let mut raw = Raw::connect(address);
    raw.open(session());
    match raw.ask(enqueue(1, 1, "held")) {
        Response::Granted(granted) => Token::new(granted.token).unwrap(),
        other => panic!("{other:?}"),
    }
}

impl Attempts<'_> {
    fn run(&self, command: &[&str], disk: Option<(&LosingDisk, usize)>) -> Output {
        let mut netlockd = Command::new(NETLOCKD);
        netlockd.args(self.node.flags(self.first)).args(command);
        if let Some((disk, step)) = disk {
            disk.put_under(&mut netlockd);
            let folder = self.node.folder.display();
            netlockd.env("LOSING_KILL", format!("any {folder} before {step}"));
        }
        netlockd.output().unwrap()
    }

    /// Kills the command before its steps, and repeats it each time: before some of those that
    /// prepare the new files, and before each one that replaces files.
    fn all(&mut self) {
        let disk = LosingDisk::new("fsync");
        let (mut step, mut stride) = (1, PREPARING_EVERY);
        while step < STEPS_MAX {
            copy(self.original, &self.node.folder);
            let killed = self.run(self.command, Some((&disk, step)));
            let is_complete = killed.status.success();
            let is_replacing = self.node.folder.join("unfinished").exists();
            if stride > 1 && (is_replacing || is_complete) {
                (step, stride) = (step.saturating_sub(stride) + 1, 1);
                continue;
            }
            if !is_complete {
                is_killed(killed.status);
                self.repeated(step);
            }
            if is_complete || step % STARTED_EVERY == 0 {
                self.read(step);
                self.started(step);
            }
            if is_complete {
                assert!(step > 20, "only {step} steps");
                return;
            }
            step += stride;
        }
        panic!("the command has too many steps");
    }

    fn repeated(&self, step: usize) {
        let repeated = self.run(self.command, None);
        let told = String::from_utf8_lossy(&repeated.stderr);
        // It may have been killed after its last step.
        let was_complete = told.contains("a member already") || told.contains("the only member");
        assert!(repeated.status.success() || was_complete, "{step}: {told}");
        let left = std::fs::read_dir(&self.node.folder).unwrap();
        for entry in left {
            let name = entry.unwrap().file_name().display().to_string();
            let is_left = name == "unfinished" || name.starts_with("new-");
            assert!(!is_left, "{step}: {name} is left");
        }
    }

    /// Checks that the files are those of the only member.
    fn read(&self, step: usize) {
        let read = self.run(&["cluster", "recover", "--yes"], None);
        let told = String::from_utf8_lossy(&read.stderr);
        assert!(
            told.contains("this node is the only member of its cluster"),
            "{step}: {told}"
        );
    }

    /// Checks that the member has the lock.
    fn started(&mut self, step: usize) {
        self.node.start(self.first, &[]);
        self.node.wait_until_it_leads();
        let mut raw = Raw::connect(&self.node.clients);
        let inspect = Request::Inspect(proto::Inspect {
            name: "held".to_owned().into(),
        });
        match raw.ask(inspect) {
            Response::Queue(queue) => {
                let tokens: Vec<_> = queue.entries.iter().map(|entry| entry.token).collect();
                assert_eq!(tokens, [self.token.get()], "{step}");
            }
            other => panic!("{step}: {other:?}"),
        }
        self.node.end(Signal::KILL);
    }
}

fn is_killed(status: ExitStatus) {
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
}

#[test]
fn an_interrupted_init_is_completed_by_repeating_it() {
    let place = tempfile::tempdir().unwrap();
    let mut node = Node::new("a", place.path());
    let folder = node.folder.display().to_string();
    let server = Netlockd::start(&["--data-dir", &folder, "--table", TABLE]);
    let token = hold(server.address());
    assert!(server.end(Signal::TERM));
    let original = place.path().join("original");
    copy(&node.folder, &original);
    let first = [node.as_peer()];
    let mut attempts = Attempts {
        node: &mut node,
        first: &first,
        original: &original,
        token,
        command: &["cluster", "init"],
    };
    attempts.all();
}

#[test]
fn an_interrupted_recovery_is_completed_by_repeating_it() {
    // The lock is in the snapshot, and not in the log.
    let mut nodes = Nodes::start(&["a", "b", "c"], &["--set", "log_bytes=4000"]);
    let leader = nodes.leader();
    nodes.node(&leader).wait_until_it_leads();
    let address = nodes.node(&leader).clients.clone();
    let token = hold(&address);
    let mut raw = Raw::connect(&address);
    raw.open(proto::Open {
        id: id(2),
        ..session()
    });
    for claim in 2..200 {
        raw.ask(enqueue(1, claim, "other"));
        raw.ask(Request::Withdraw(proto::Withdraw {
            session: 1,
            claim: id(claim),
        }));
    }
    let first = nodes.first.clone();
    for node in &mut nodes.nodes {
        node.end(Signal::KILL);
    }
    let original = nodes.place.path().join("original");
    let node = nodes.node(&leader);
    copy(&node.folder, &original);
    let snapshots = std::fs::read_dir(original.join("snapshots")).unwrap();
    assert!(snapshots.count() > 0, "no snapshot");
    let mut attempts = Attempts {
        node,
        first: &first,
        original: &original,
        token,
        command: &["cluster", "recover", "--longest-ttl", "1s", "--yes"],
    };
    attempts.all();
}
