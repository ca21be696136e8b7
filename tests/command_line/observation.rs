//! `inspect`, `list`, `leader`, `watch` and `break`.

use std::io::{BufRead, BufReader};
use std::sync::Arc;

use distsync::connect;
use distsync::{DynSync, Elected, Error, Guard, LeaderOptions, LockOptions, Loss, Node};
use rustix::process::Signal;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::program::text;
use crate::pty::OnTerminal;
use crate::steps::{assert_code, exits, json, on, signal, start, until_waiting};
use crate::stores::{Etcd, Netlock, Redis};

/// A client that leads the election `e`, holds the lock `l` and waits for it once.
struct Client {
    runtime: Runtime,
    sync: Arc<DynSync>,
    elected: Box<dyn Elected>,
    guard: Guard,
    waiting: JoinHandle<Result<Guard, Error>>,
}

impl Client {
    fn on(url: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let (sync, elected, guard) = runtime.block_on(async {
            let sync = connect(&format!("{url}?client=holder")).await.unwrap();
            let node = Node::new("node-1").with_value("10.0.0.1:80");
            let leader = sync.leader("e", LeaderOptions::new(node)).unwrap();
            let elected = leader.elect().await.unwrap();
            let options = LockOptions::new().with_value("clear\x1b[2J");
            let guard = sync.lock("l", options).unwrap().acquire().await.unwrap();
            (sync, elected, guard)
        });
        let lock = sync.lock("l", LockOptions::new()).unwrap();
        let waiting = runtime.spawn(async move { lock.acquire().await });
        until_waiting(url, "l", 1);
        Self {
            runtime,
            sync,
            elected,
            guard,
            waiting,
        }
    }

    fn close(self) {
        self.runtime.block_on(self.sync.close()).unwrap();
    }
}

fn what_is_held_is_shown(url: &str) {
    assert_eq!(exits(url, &["leader", "e"], 74), "");
    assert_eq!(exits(url, &["list"], 0), "");
    assert!(exits(url, &["inspect", "l"], 0).contains("is free"));
    let client = Client::on(url);

    assert_eq!(exits(url, &["leader", "e"], 0), "node-1\t10.0.0.1:80\n");
    let leader = &json(url, &["leader", "e"])[0];
    assert_eq!(leader["token"], client.elected.token().to_string());

    let both = [
        json!({"kind": "lock", "name": "l"}),
        json!({"kind": "election", "name": "e"}),
    ];
    assert_eq!(json(url, &["list"]), both);
    assert_eq!(json(url, &["list", "--elections", "e"]), both[1..]);
    assert_eq!(exits(url, &["list", "other"], 0), "");

    let queue = &json(url, &["inspect", "l"])[0];
    assert_eq!(
        queue["holders"][0]["token"],
        client.guard.token().to_string()
    );
    assert_eq!(queue["holders"][0]["client"], "holder");
    assert_eq!(queue["waiters"].as_array().unwrap().len(), 1);
    let table = exits(url, &["inspect", "l"], 0);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("STATE"), "{table}");
    assert!(
        lines[1].starts_with("holds") && lines[2].starts_with("waits (1)"),
        "{table}"
    );
    let column = lines[0].find("CLIENT").unwrap();
    assert!(
        lines[1..]
            .iter()
            .all(|line| line[column..].starts_with("holder ")),
        "{table}"
    );
    assert!(
        !table.contains('\x1b'),
        "a pipe has no colours, nor the codes of others: {table}"
    );
    let election = &json(url, &["inspect", "--election", "e"])[0];
    assert_eq!(election["holders"][0]["node"], "node-1");
    client.close();
}

#[test]
fn what_is_held_is_shown_on_netlock() {
    let netlock = Netlock::start();
    what_is_held_is_shown(&netlock.url());
}

#[test]
fn what_is_held_is_shown_on_etcd() {
    let etcd = Etcd::start();
    what_is_held_is_shown(&format!("etcd://127.0.0.1:{}", etcd.port()));
}

#[test]
fn nothing_is_held_in_an_empty_memory() {
    assert_eq!(exits("memory:", &["list"], 0), "");
    assert!(exits("memory:", &["inspect", "l"], 0).contains("is free"));
    assert_eq!(exits("memory:", &["leader", "e"], 74), "");
    assert!(exits("memory:", &["watch", "l", "--count", "1"], 0).contains("free"));
    assert!(exits("memory:", &["break", "l", "--yes"], 0).contains("is free"));
}

#[test]
fn a_watch_prints_each_change_until_a_signal() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    let mut watch = start(&url, &["watch", "--json", "l"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["holders"], json!([]));
    let ticket = exits(&url, &["lock", "l", "--ttl", "30s"], 0);
    assert_eq!(next()["holders"].as_array().unwrap().len(), 1);
    exits(&url, &["unlock", ticket.trim()], 0);
    let free = next();
    assert_eq!(free["holders"], json!([]));
    assert!(free["time_ms"].as_u64().is_some());
    signal(&watch, Signal::INT);
    assert_code(&watch.wait_with_output().unwrap(), &["watch"], 130);
}

#[test]
fn a_watch_of_an_election_prints_its_leaders() {
    let netlock = Netlock::start();
    let url = netlock.url();
    let mut watch = start(&url, &["watch", "--election", "e", "--count", "3"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().ends_with("Z  no leader"));
    let client = Client::on(&url);
    assert!(next().ends_with("Z  node-1\t10.0.0.1:80"));
    client.runtime.block_on(client.elected.resign()).unwrap();
    assert!(next().ends_with("Z  no leader"));
    assert_code(&watch.wait_with_output().unwrap(), &["watch"], 0);
    client.close();
}

/// The reader of a pipe may leave, as `head` does.
#[test]
fn a_watch_ends_in_silence_when_its_reader_has_left() {
    let netlock = Netlock::start();
    let url = netlock.url();
    let mut watch = start(&url, &["watch", "l"]);
    let mut reader = BufReader::new(watch.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    drop(reader);
    exits(&url, &["lock", "l", "--ttl", "30s"], 0);
    let output = watch.wait_with_output().unwrap();
    assert_code(&output, &["watch"], 141);
    assert_eq!(text(&output.stderr), "");
}

fn a_broken_lock_passes_to_the_next_waiter(url: &str) {
    let client = Client::on(url);
    let refused = on(url, &["break", "l"]).output().unwrap();
    assert_code(&refused, &["break"], 64);
    assert!(text(&refused.stderr).contains("--yes"));
    let absent = [
        "break",
        "l",
        "--yes",
        "--claim",
        "00112233445566778899aabbccddeeff",
    ];
    exits(url, &absent, 74);
    assert!(
        client.guard.valid_until().is_some(),
        "nothing was broken so far"
    );

    let broken = &json(url, &["break", "l", "--yes"])[0];
    let claim = client.guard.claim().to_string();
    assert_eq!(broken["ended"], json!([{"claim": claim, "was": "held"}]));
    let loss = client.runtime.block_on(client.guard.revoked());
    assert_eq!(loss, Loss::Evicted);
    let next = client.runtime.block_on(client.waiting).unwrap().unwrap();
    assert!(next.token() > client.guard.token());

    exits(url, &["break", "--election", "e", "--yes"], 0);
    let loss = client.runtime.block_on(client.elected.revoked());
    assert_eq!(loss, Loss::Evicted);
    client.runtime.block_on(client.sync.close()).unwrap();
}

#[test]
fn a_broken_lock_passes_to_the_next_waiter_on_netlock() {
    let netlock = Netlock::start();
    a_broken_lock_passes_to_the_next_waiter(&netlock.url());
}

#[test]
fn a_broken_lock_passes_to_the_next_waiter_on_redis() {
    let redis = Redis::start();
    a_broken_lock_passes_to_the_next_waiter(&format!("redis://127.0.0.1:{}", redis.port()));
}

#[test]
fn a_break_asks_on_a_terminal() {
    let netlock = Netlock::start();
    let url = netlock.url();
    let client = Client::on(&url);
    for (answer, code) in [("n", 1), ("", 1), ("y", 0)] {
        let mut asked = OnTerminal::start(on(&url, &["break", "l"]));
        assert!(client.guard.valid_until().is_some(), "no answer yet");
        asked.line(answer);
        let (ended, shown) = asked.ended();
        assert_eq!(ended, Some(code), "{shown}");
        assert!(
            shown.contains("holder") && shown.contains("[y/N]"),
            "{shown}"
        );
    }
    let loss = client.runtime.block_on(client.guard.revoked());
    assert_eq!(loss, Loss::Evicted);
    client.close();
}

#[test]
fn a_terminal_has_colours_unless_they_are_unwanted() {
    let netlock = Netlock::start();
    let url = netlock.url();
    let client = Client::on(&url);
    let mut command = on(&url, &["inspect", "l"]);
    command.env_remove("NO_COLOR");
    let (code, coloured) = OnTerminal::start(command).ended();
    assert_eq!(code, Some(0));
    assert!(coloured.contains("\x1b[32mholds"), "{coloured:?}");
    assert!(
        !coloured.contains("\x1b[2J"),
        "the value of another client: {coloured:?}"
    );
    let mut command = on(&url, &["inspect", "l"]);
    command.env("NO_COLOR", "1");
    let (_, plain) = OnTerminal::start(command).ended();
    assert!(
        plain.contains("holds") && !plain.contains('\x1b'),
        "{plain:?}"
    );
    client.close();
}

#[test]
fn a_store_out_of_reach_and_a_denied_one_have_codes_of_their_own() {
    let port = crate::stores::free_port();
    exits(&format!("redis://127.0.0.1:{port}"), &["list"], 69);
    let redis = Redis::start();
    redis.tell("CONFIG SET requirepass hidden");
    let url = format!("redis://:wrong@127.0.0.1:{}", redis.port());
    let output = on(&url, &["list"]).output().unwrap();
    assert_code(&output, &["list"], 77);
    assert!(
        !text(&output.stderr).contains("wrong@"),
        "the URL has a secret"
    );
}
