//! What the members of a cluster tell their operator: metrics, health and logs.

use std::process::Command;
use std::time::Duration;

use distsync_core::spi::clock;
use rustix::process::Signal;
use tempfile::NamedTempFile;

use super::cluster_admin::{Node, Nodes};
use super::monitoring::{get, names};
use super::server::{NETLOCKD, Netlockd};

/// How long to wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A member with a port for metrics and a log.
struct Watched {
    name: String,
    metrics: String,
    log: NamedTempFile,
}

impl Watched {
    fn start(node: &mut Node, first: &[String]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut command = Command::new(NETLOCKD);
        command
            .args(node.flags(first))
            .args(["--admin-listen", "127.0.0.1:0"])
            .stderr(log.reopen().unwrap());
        let mut server = Netlockd::spawn(command);
        let metrics = server.said("metrics on ");
        node.running = Some(server);
        let name = node.name.clone();
        Self { name, metrics, log }
    }

    fn get(&self, path: &str) -> String {
        get(&self.metrics, path)
    }

    fn is_ok(&self, path: &str) -> bool {
        self.get(path).starts_with("HTTP/1.1 200")
    }

    /// Returns the value of a metric.
    fn value(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
        value.trim().parse().unwrap()
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = clock::now().after(PATIENCE);
    while !is_so() {
        assert!(clock::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Starts three members, and returns them with the leader in front.
fn three() -> (Nodes, Vec<Watched>) {
    let mut nodes = Nodes::new(&["a", "b", "c"]);
    let first = nodes.first.clone();
    let start = |node| Watched::start(node, &first);
    let mut watched: Vec<_> = nodes.nodes.iter_mut().map(start).collect();
    let leader = nodes.leader();
    watched.sort_by_key(|of| of.name != leader);
    (nodes, watched)
}

#[test]
fn a_member_tells_who_leads_and_how_far_it_is_behind() {
    let (mut nodes, mut watched) = three();
    let leader = watched.remove(0);
    eventually("the leader serves", || leader.is_ok("/readyz"));
    assert!(leader.is_ok("/memberz"));
    let address = nodes.node(&leader.name).clients.clone();
    for follower in &watched {
        eventually("a follower follows", || follower.is_ok("/memberz"));
        let told = follower.get("/readyz");
        assert!(told.starts_with("HTTP/1.1 503"), "{told}");
        let leads = format!("follows {} at {address}, is 0 entries behind", leader.name);
        assert!(told.contains(&leads), "{told}");
        assert_eq!(follower.value("netlock_cluster_leads "), 0);
        assert_eq!(follower.value("netlock_cluster_leader_known "), 1);
        assert_eq!(follower.value("netlock_cluster_lag_entries "), 0);
        assert!(follower.value("netlock_log_sync_seconds_count ") >= 1);
    }
    assert!(leader.value("netlock_log_sync_seconds_count ") >= 1);
    assert_eq!(leader.value("netlock_cluster_leads "), 1);
    assert_eq!(leader.value("netlock_cluster_voters "), 3);
    assert!(leader.value("netlock_cluster_elections_total ") >= 1);
    assert!(leader.value("netlock_cluster_confirmations_total ") >= 1);
    let member = &watched[0].name;
    let lag = format!("netlock_cluster_member_lag_entries{{member=\"{member}\"}} ");
    assert!(leader.value(&lag) < 64);

    // Each metric that the documents name exists.
    let served: Vec<_> = names(&leader.get("/metrics")).into_iter().collect();
    for page in [
        include_str!("../../../deploy/grafana-dashboard.json"),
        include_str!("../../../deploy/prometheus-alerts.yml"),
        include_str!("../../../docs/operating.md"),
    ] {
        let named = names(page).into_iter();
        for name in named.filter(|name| name.starts_with("netlock_cluster_")) {
            assert!(served.contains(&name), "{name} is not served: {served:?}");
        }
    }

    // A member that is alone takes no part.
    let term = leader.value("netlock_cluster_term ");
    nodes.node(&leader.name).end(Signal::KILL);
    let next = || watched.iter().position(|of| of.is_ok("/readyz"));
    eventually("another one leads", || next().is_some());
    let next = watched.remove(next().unwrap());
    assert!(next.value("netlock_cluster_term ") > term);
    nodes.node(&next.name).end(Signal::KILL);
    let alone = &watched[0];
    eventually("it takes no part", || !alone.is_ok("/memberz"));
    assert!(alone.is_ok("/livez"));
    assert!(!alone.is_ok("/readyz"));
}

#[test]
fn the_log_tells_the_story_of_an_election_and_not_more() {
    let (mut nodes, watched) = three();
    let (leader, follower) = (&watched[0], &watched[1]);
    eventually("the leader serves", || leader.is_ok("/readyz"));
    for part in ["this node was elected", "this server leads its cluster"] {
        assert!(
            leader.logged().contains(part),
            "{part}: {}",
            leader.logged()
        );
    }
    let follows = |name: &str| {
        let told = follower.logged();
        told.lines().any(|line| {
            line.contains("this node follows another one")
                && line.contains(&format!("leader=\"{name}\""))
        })
    };
    eventually("it is told who leads", || follows(&leader.name));
    nodes.node(&leader.name).end(Signal::KILL);
    let others = &watched[1..];
    eventually("another one leads", || {
        others.iter().any(|of| of.is_ok("/readyz"))
    });
    // The leader tries to reach the lost member many times meanwhile.
    std::thread::sleep(Duration::from_secs(2));
    let next = others.iter().find(|of| of.is_ok("/readyz")).unwrap();
    let told = next.logged();
    let unreachable = told.matches("another node is unreachable").count();
    assert_eq!(unreachable, 1, "{told}");
    assert!(told.contains(&format!("node {} at", leader.name)), "{told}");
    assert!(!told.contains("openraft"), "{told}");
    let first = nodes.first.clone();
    nodes.node(&leader.name).start(&first, &[]);
    eventually("it is reachable again", || {
        next.logged().contains("another node is reachable again")
    });
}
