//! The service of `examples/microservice`, as three processes on each store: a killed leader is
//! replaced within the bound of the store, and one that gets SIGTERM is replaced at once.
//!
//! `DISTSYNC_KILLS=10 cargo test --all-features --test scenarios microservice -- --nocapture` kills
//! the leader ten times on each store, and prints the times.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use distsync_core::spi::clock::{self, Moment};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::programs::example;
use super::stores::{Consul, Etcd, Netlock, Redis};

/// Three processes of the service, and the file to which the leaders append their terms.
struct Service {
    url: String,
    journal: PathBuf,
    processes: Vec<(String, Child)>,
    started: usize,
    _folder: TempDir,
}

impl Service {
    fn start(url: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut service = Self {
            url,
            journal: folder.path().join("journal"),
            processes: Vec::new(),
            started: 0,
            _folder: folder,
        };
        for _ in 0..3 {
            service.start_one();
        }
        service
    }

    fn start_one(&mut self) {
        self.started += 1;
        let id = format!("node-{}", self.started);
        let mut command = Command::new(example("microservice"));
        command.args(["--on", &self.url, "--id", &id, "--journal"]);
        command.arg(&self.journal).stdout(Stdio::null());
        self.processes.push((id, command.spawn().unwrap()));
    }

    /// Waits for a leader in a later term than `after`. Returns its term, its id, and the moment.
    fn leader_after(&self, after: u64, within: Duration) -> (u64, String, Moment) {
        let deadline = clock::now().after(within);
        loop {
            if let Some((term, id)) = terms(&self.journal).pop().filter(|(term, _)| *term > after) {
                return (term, id, clock::now());
            }
            assert!(
                clock::now() < deadline,
                "no leader after term {after} within {within:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal to the process with this id, and waits for its end. Returns whether it
    /// succeeded.
    fn signal(&mut self, id: &str, signal: Signal) -> bool {
        let found = self.processes.iter().position(|(other, _)| other == id);
        let (_, mut process) = self.processes.remove(found.unwrap());
        kill_process(Pid::from_child(&process), signal).unwrap();
        process.wait().unwrap().success()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for (_, process) in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Returns the terms in the journal, each with its leader. A line that is being written is left
/// out.
fn terms(journal: &Path) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |line: &str| -> (u64, String) {
        let (term, id) = line.split_once(' ').unwrap();
        (term.parse().unwrap(), id.to_owned())
    };
    whole.lines().map(line).collect()
}

/// Kills the leader several times, then stops one with SIGTERM. `bound` is the time within which
/// the store frees the claims of a crashed client.
fn leaders_follow_each_other(store: &str, url: String, bound: Duration, kills: usize) {
    // A busy machine may be late on top of what the store promises.
    const BUSY: Duration = Duration::from_secs(5);
    let kills = std::env::var("DISTSYNC_KILLS").map_or(kills, |kills| kills.parse().unwrap());
    let mut service = Service::start(url);
    let (mut term, mut id, _) = service.leader_after(0, BUSY * 4);
    let mut times = Vec::new();
    for _ in 0..kills {
        let killed = clock::now();
        service.signal(&id, Signal::KILL);
        service.start_one();
        let (next, next_id, at) = service.leader_after(term, bound + BUSY);
        times.push(at.since(killed));
        (term, id) = (next, next_id);
    }
    let told = clock::now();
    assert!(service.signal(&id, Signal::TERM), "{id} does not end well");
    let (_, _, at) = service.leader_after(term, BUSY);
    let handed_over = at.since(told);
    times.sort();
    println!(
        "| {store} | {:?} | {:?} | {bound:?} | {handed_over:?} |",
        times[times.len() / 2],
        times[times.len() - 1]
    );

    // No process writes in a term that is over, and no term has two leaders.
    let terms = terms(&service.journal);
    for pair in terms.windows(2) {
        let ((earlier, before), (later, after)) = (&pair[0], &pair[1]);
        assert!(
            earlier <= later,
            "{before} wrote {earlier} after {later} of {after}"
        );
        assert!(
            earlier < later || before == after,
            "two leaders in term {later}"
        );
    }
}

const TTL: Duration = Duration::from_secs(2);

#[test]
fn a_microservice_on_netlock() {
    let store = Netlock::start();
    let url = format!("{}?ttl=2s", store.url());
    leaders_follow_each_other("netlock", url, TTL + Duration::from_millis(20), 2);
}

#[test]
fn a_microservice_on_redis() {
    let store = Redis::start();
    let url = format!("redis://127.0.0.1:{}?ttl=2s", store.port());
    leaders_follow_each_other("Redis", url, TTL + Duration::from_millis(50), 2);
}

#[test]
fn a_microservice_on_etcd() {
    let store = Etcd::start();
    let url = format!("etcd://127.0.0.1:{}?ttl=2s", store.port());
    leaders_follow_each_other("etcd", url, TTL + Duration::from_millis(1_500), 2);
}

#[test]
fn a_microservice_on_consul() {
    let store = Consul::start();
    let url = format!("consul://127.0.0.1:{}?ttl=10s", store.port());
    leaders_follow_each_other("Consul", url, Duration::from_secs(21), 1);
}
