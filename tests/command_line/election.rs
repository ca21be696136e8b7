//! `distsync elect`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use distsync::{DynSync, LeaderOptions, Node, connect};
use rustix::process::Signal;
use serde_json::Value;

use crate::partition::Partition;
use crate::running::{Running, until};
use crate::stores::{Consul, Netlock, free_port};

fn elect(url: &str, options: &[&str], script: &str) -> Running {
    let command = ["--", "sh", "-c", script];
    Running::start(url, &[&["elect", "e"], options, &command].concat())
}

async fn leader(sync: &DynSync) -> Option<String> {
    let election = sync
        .leader("e", LeaderOptions::new(Node::new("observer")))
        .unwrap();
    election
        .leader()
        .await
        .unwrap()
        .map(|leader| leader.node.id().to_owned())
}

#[tokio::test]
async fn a_candidate_campaigns_again_after_a_loss_and_resigns_after_sigterm() {
    let netlock = Netlock::start();
    let url = netlock.url();
    let sync = connect(&url).await.unwrap();
    let script = "echo $DISTSYNC_TOKEN $DISTSYNC_NAME $DISTSYNC_NODE; exec sleep 100";
    let mut candidate = elect(&url, &["--node", "one"], script);
    let line = candidate.line();
    let (term, rest) = line.split_once(' ').unwrap();
    assert_eq!(rest, "e one");
    let election = sync
        .leader("e", LeaderOptions::new(Node::new("operator")))
        .unwrap();
    let claim = election.inspect().await.unwrap().entries[0].claim;
    election.evict(claim).await.unwrap();
    let line = candidate.line();
    let (later, _) = line.split_once(' ').unwrap();
    assert!(
        later.parse::<u64>().unwrap() > term.parse::<u64>().unwrap(),
        "{term}, {later}"
    );
    candidate.signal(Signal::TERM);
    assert_eq!(candidate.code(), Some(143));
    assert_eq!(leader(&*sync).await, None);
}

#[tokio::test]
async fn a_command_that_ends_by_itself_ends_the_campaign_unless_it_is_to_go_on() {
    let consul = Consul::start();
    let url = format!("consul://127.0.0.1:{}", consul.port());
    let sync = connect(&url).await.unwrap();
    let mut candidate = elect(&url, &[], "exit 5");
    assert_eq!(candidate.code(), Some(5));
    assert_eq!(leader(&*sync).await, None);
    let mut candidate = elect(&url, &["--again"], "echo started; exit 5");
    assert_eq!(
        (candidate.line(), candidate.line()),
        ("started".into(), "started".into())
    );
    candidate.signal(Signal::INT);
    assert!(candidate.code().is_some());
}

/// Returns the status and the body of a reply.
fn get(port: u16, path: &str) -> (u16, Value) {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn a_sidecar_learns_who_leads_or_that_nobody_knows() {
    let netlock = Netlock::start();
    let partition = Partition::before(netlock.port());
    let cut_off = format!("netlock://127.0.0.1:{}?ttl=3s", partition.port());
    let (first, second) = (free_port(), free_port());
    let http = [format!("127.0.0.1:{first}"), format!("127.0.0.1:{second}")];
    let script = "echo ready; exec sleep 100";
    let mut one = elect(
        &netlock.url(),
        &["--node", "one", "--http", &http[0]],
        script,
    );
    assert_eq!(one.line(), "ready");
    let mut two = elect(&cut_off, &["--node", "two", "--http", &http[1]], script);
    until("the port of the second candidate", || {
        TcpStream::connect(("127.0.0.1", second)).ok()
    });

    assert_eq!(get(first, "/am-i-leader").0, 200);
    let (status, body) = get(second, "/am-i-leader");
    assert_eq!(
        (status, &body["leader"]["node"]),
        (409, &Value::from("one"))
    );
    for port in [first, second] {
        let (status, body) = get(port, "/leader");
        assert_eq!((status, &body["node"]), (200, &Value::from("one")));
    }

    one.signal(Signal::TERM);
    assert_eq!(one.code(), Some(143));
    assert_eq!(two.line(), "ready");
    assert_eq!(get(second, "/am-i-leader").0, 200);
    partition.cut();
    // The leadership ends before anyone else can be elected, and nothing is known afterwards.
    let mut statuses = Vec::new();
    while statuses.last() != Some(&503) {
        statuses.push(get(second, "/am-i-leader").0);
        assert!(statuses.len() < 500, "{statuses:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    statuses.dedup();
    assert_eq!(statuses, [200, 503]);
    assert_eq!(get(second, "/leader").0, 503);
    two.signal(Signal::TERM);
    assert!(
        two.code().is_some(),
        "a signal ends the campaign while the store is out of reach"
    );
}
