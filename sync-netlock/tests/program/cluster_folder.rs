//! `netlockd cluster init` and `netlockd cluster recover`, on processes.

use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Handle, LockOptions, Sync, SyncOptions, Wait};
use distsync_netlock::{Client, Config};
use rustix::process::Signal;

use super::cluster_admin::{Node, Nodes, TABLE};
use super::server::{Netlockd, acquire, complaint, run};

/// How long nothing is granted after a recovery.
const SETTLING: Duration = Duration::from_secs(4);

/// Runs a command for the folder of a node, and returns its output.
fn folder_command(node: &Node, first: &[String], command: &[&str]) -> String {
    let output = run(&arguments(node, first, command));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(node: &Node, first: &[String], command: &[&str]) -> String {
    complaint(&arguments(node, first, command))
}

fn arguments<'a>(node: &Node, first: &[String], command: &[&'a str]) -> Vec<&'a str> {
    let flags = node.flags(first).into_iter();
    // They live as long as the test.
    let flags = flags.map(|flag| &*Box::leak(flag.into_boxed_str()));
    flags.chain(command.iter().copied()).collect()
}

async fn connect(config: Config) -> Handle {
    let options = SyncOptions::new().with_session_ttl(Duration::from_secs(20));
    Handle::open(Client::new(config).backend(), options)
        .await
        .unwrap()
}

/// Returns whether a lock is granted within a moment.
async fn is_granted(client: &Handle, name: &str) -> bool {
    let options = LockOptions::new().with_wait(Wait::For(Duration::from_millis(200)));
    let lock = client.lock(name, options).unwrap();
    lock.acquire().await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_server_becomes_the_first_member_and_keeps_its_locks() {
    let place = tempfile::tempdir().unwrap();
    let mut node = Node::new("a", place.path());
    let first = vec![node.as_peer()];
    let folder = node.folder.to_str().unwrap().to_owned();

    let empty = refused(&node, &first, &["cluster", "init"]);
    assert!(empty.contains("no table of a single server"), "{empty}");
    let single = ["--data-dir", &folder, "--table", TABLE];
    let server = Netlockd::start_at(&node.clients, &single);
    let client = connect(Config::new([&node.clients]).unwrap()).await;
    // Its token is the greatest one, and its claim is gone.
    let held = acquire(&client, "held").await;
    let greatest = acquire(&client, "other").await;
    let token = greatest.token();
    greatest.release().await.unwrap();
    let running = refused(&node, &first, &["cluster", "init"]);
    assert!(running.contains("another server"), "{running}");
    assert!(server.end(Signal::TERM));
    let member = refused(&node, &first, &[]);
    assert!(member.contains("netlockd cluster init"), "{member}");

    let made = folder_command(&node, &first, &["cluster", "init"]);
    assert!(made.contains(&format!("table {TABLE}")), "{made}");
    assert!(made.contains("1 sessions and 1 claims"), "{made}");
    // As if the command had been interrupted at its end.
    std::fs::write(node.folder.join("unfinished"), "").unwrap();
    let unfinished = refused(&node, &first, &[]);
    assert!(unfinished.contains("repeat the command"), "{unfinished}");
    let completed = folder_command(&node, &first, &["cluster", "init"]);
    assert!(completed.contains("completed"), "{completed}");
    let again = refused(&node, &first, &["cluster", "init"]);
    assert!(again.contains("a member already"), "{again}");
    let alone = complaint(&[&["--listen", "127.0.0.1:0"], &single[..]].concat());
    assert!(alone.contains("that of a member of a cluster"), "{alone}");

    node.start(&first, &[]);
    let granted = acquire(&client, "other").await;
    assert!(granted.token() > token, "tokens rise");
    held.check(Duration::ZERO).unwrap();
    assert!(!is_granted(&connect(client_of(&node)).await, "held").await);

    // It is a cluster: the lock is on the next members too.
    let mut nodes = Nodes {
        place,
        nodes: vec![node],
        first,
    };
    for name in ["b", "c"] {
        nodes.start_another(name);
        let peer = nodes.node(name).as_peer();
        nodes.admin(&["add", &peer]);
        nodes.admin(&["promote", name]);
    }
    // It knows one address, and learns the others when it connects.
    let late = connect(client_of(nodes.node("a"))).await;
    nodes.node("a").end(Signal::KILL);
    drop(acquire(&late, "third").await);
    assert!(!is_granted(&late, "held").await);
    drop((held, granted));
}

fn client_of(node: &Node) -> Config {
    Config::new([&node.clients]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_member_becomes_a_cluster_that_grants_after_the_longest_ttl() {
    let mut nodes = Nodes::start(&["a", "b", "c"], &[]);
    nodes.leader();
    let first = nodes.first.clone();
    let client = connect(nodes.config()).await;
    let held = acquire(&client, "held").await;
    let free = acquire(&client, "free").await;
    let token = free.token();
    free.release().await.unwrap();
    let recover = ["cluster", "recover", "--longest-ttl", "4s"];
    let running = refused(nodes.node("c"), &first, &recover);
    assert!(running.contains("another server"), "{running}");
    for node in &mut nodes.nodes {
        node.end(Signal::KILL);
    }

    let unconfirmed = refused(nodes.node("c"), &first, &recover);
    for part in ["removes the members a, b", "are lost", "for 4s", "--yes"] {
        assert!(unconfirmed.contains(part), "{part}: {unconfirmed}");
    }
    let other = Node::new("d", nodes.place.path());
    let empty = refused(&other, &[&first[..], &[other.as_peer()]].concat(), &recover);
    assert!(empty.contains("is not that of a member"), "{empty}");
    let confirmed = [&recover[..], &["--yes"]].concat();
    let told = folder_command(nodes.node("c"), &first, &confirmed);
    assert!(
        told.contains("the only member of the cluster now"),
        "{told}"
    );
    // As if the command had been interrupted at its end.
    let mark = nodes.node("c").folder.join("unfinished");
    std::fs::write(&mark, "").unwrap();
    let unfinished = refused(nodes.node("c"), &first, &[]);
    assert!(unfinished.contains("repeat the command"), "{unfinished}");
    folder_command(nodes.node("c"), &first, &confirmed);
    assert!(!mark.exists());
    let again = refused(nodes.node("c"), &first, &confirmed);
    assert!(again.contains("the only member of its cluster"), "{again}");

    nodes.node("c").start(&first, &[]);
    nodes.nodes.retain(|node| node.running.is_some());
    nodes.leader();
    let started = clock::now();
    let another = connect(nodes.config()).await;
    assert!(!is_granted(&another, "free").await, "the grace period");
    let refused = nodes.refusal(&["add", "d=127.0.0.1:1"]);
    assert!(refused.contains("was recovered"), "{refused}");
    let granted = acquire(&another, "free").await;
    let waited = clock::now().since(started);
    assert!(waited > SETTLING - Duration::from_secs(1), "{waited:?}");
    assert!(granted.token() > token, "tokens rise");
    assert!(
        granted.token().get() >> 36 > token.get() >> 36,
        "above all that the lost members may have granted"
    );
    held.check(Duration::ZERO).unwrap();
    assert!(!is_granted(&another, "held").await, "the lock was not lost");

    // The grace period is over for good, and the cluster grows again.
    nodes.start_another("d");
    let peer = nodes.node("d").as_peer();
    nodes.admin(&["add", &peer]);
    nodes.admin(&["promote", "d"]);
    nodes.admin(&["step-down"]);
    assert!(is_granted(&another, "more").await);
}
