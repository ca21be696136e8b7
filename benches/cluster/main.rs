//! `cargo bench --features full --bench cluster -- NETLOCKD [SECTION...]`, with the path of a build
//! of netlockd: three nodes of netlock beside three of etcd, all of them on this machine and with
//! their folders on its disk. The sides of a comparison take turns, and the table shows the median
//! of their rounds. The folders are in the folder for temporary files, so `TMPDIR` selects the
//! disk.

#[path = "../stores/bare.rs"]
#[allow(dead_code, reason = "the clients of other stores are not used here")]
mod bare;
mod followers;
mod nodes;
#[path = "../netlock/raw.rs"]
#[allow(dead_code, reason = "some loads are used by the other benchmark only")]
mod raw;
#[path = "../netlock/side.rs"]
#[allow(
    dead_code,
    reason = "some measurements are used by the other benchmark"
)]
mod side;
#[path = "../../tests/stores/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests' own stores; the benchmark uses one of them"
)]
mod stores;
mod succession;

use std::sync::Arc;
use std::time::{Duration, Instant};

use distsync::etcd::etcd_client::Client;
use distsync::{LockOptions, connect};
use tokio::task::JoinSet;

use nodes::Nodes;
use stores::EtcdCluster;

/// The number of rounds of each side of a comparison.
const ROUNDS: usize = 5;
/// The duration of one round.
const ROUND: Duration = Duration::from_secs(2);

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let Some((program, sections)) = arguments.split_first() else {
        println!("nothing is measured: give the path of a netlockd with the feature `cluster`");
        return;
    };
    let section = |name: &str| sections.is_empty() || sections.iter().any(|other| other == name);
    if section("pairs") {
        pairs(program);
    }
    if section("latency") {
        latency(program);
    }
    if section("followers") {
        followers::table(program);
    }
    if section("succession") {
        succession::table(program);
    }
}

/// Returns the addresses of etcd's members, the leader first.
async fn leader_first(etcd: &EtcdCluster) -> Vec<String> {
    let mut addresses = etcd.addresses();
    for member in 0..addresses.len() {
        let client = Client::connect([&addresses[member]], None).await;
        let status = client.expect("connect").status().await.expect("its status");
        let id = status.header().expect("a header").member_id();
        if status.leader() == id {
            addresses.swap(0, member);
            break;
        }
    }
    addresses
}

/// Connects bare clients to the leader of etcd.
async fn clients_of(etcd: &EtcdCluster, count: usize) -> Vec<Arc<bare::Etcd>> {
    let address = leader_first(etcd).await.remove(0);
    let (_, port) = address.rsplit_once(':').expect("a port");
    let port = port.parse().expect("a port");
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Arc::new(bare::Etcd::connect(port).await));
    }
    clients
}

fn pairs(program: &str) {
    println!("three nodes, pairs/s      etcd, bare client        netlock    x etcd   wanted");
    let etcd = EtcdCluster::start();
    for (connections, window, wanted) in [(1, 1, "-"), (1, 64, "-"), (4, 64, "20")] {
        let (theirs, ours) = side::interleaved(
            || side::runtime().block_on(etcd_pairs(&etcd, connections, window)),
            || {
                // The load leaves locks behind, so each round has a cluster of its own.
                let nodes = Nodes::start(program);
                let leader = nodes.clients[nodes.leader()];
                raw::load(leader, connections, window, ROUND)
            },
        );
        println!(
            "{connections:>4} x {window:<4} {theirs:>32.0} {ours:>14.0} {:>9.1} {wanted:>8}",
            ours / theirs
        );
    }
    println!();
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
async fn etcd_pairs(etcd: &EtcdCluster, connections: usize, window: usize) -> f64 {
    let clients = clients_of(etcd, connections).await;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (connection, client) in clients.iter().enumerate() {
        for task in 0..window {
            let client = client.clone();
            tasks.spawn(async move {
                let (name, mut pairs) = (format!("bench-{connection}-{task}"), 0);
                while start.elapsed() < ROUND {
                    client.pair(&name).await;
                    pairs += 1;
                }
                pairs
            });
        }
    }
    let pairs: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(pairs) / start.elapsed().as_secs_f64()
}

/// Times pairs of one client with one request in flight, in milliseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
async fn times(mut pair: impl AsyncFnMut()) -> Vec<f64> {
    let start = Instant::now();
    let mut took = Vec::new();
    while start.elapsed() < ROUND {
        let begun = Instant::now();
        pair().await;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took
}

/// Compares our whole client with a bare one of etcd.
fn latency(program: &str) {
    println!(
        "three nodes, one in flight, ms a pair       p50        p99    p50 of etcd's   wanted"
    );
    let (etcd, nodes) = (EtcdCluster::start(), Nodes::start(program));
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    side::runtime().block_on(async {
        let client = clients_of(&etcd, 1).await.remove(0);
        let sync = connect(&nodes.url()).await.expect("connect");
        let lock = sync.lock("bench", LockOptions::new()).expect("a lock");
        for _ in 0..ROUNDS {
            theirs.extend(times(async || client.pair("bench").await).await);
            let pair = async || {
                let guard = lock.acquire().await.expect("acquire");
                guard.release().await.expect("release");
            };
            ours.extend(times(pair).await);
        }
        sync.close().await.expect("close");
    });
    let [theirs, ours] = [theirs, ours].map(|mut times| {
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[times.len() * 99 / 100])
    });
    println!("etcd, bare client {:>29.2} {:>10.2}", theirs.0, theirs.1);
    println!(
        "netlock, distsync {:>29.2} {:>10.2} {:>16.2}      0.5\n",
        ours.0,
        ours.1,
        ours.0 / theirs.0
    );
}
