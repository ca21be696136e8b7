//! `lock`, `extend` and `unlock`: a lock that a shell script holds by its ticket.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use rustix::process::Signal;

use crate::program::text;
use crate::steps::{assert_code, exits, json, on, signal, start, until, until_waiting};
use crate::stores::{Consul, Etcd, Netlock, Redis};

/// Runs the program with this standard input.
fn with_input(url: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = on(url, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// Holds a lock from a script: acquires, extends and releases it, each in a process of its own.
fn a_script_holds_a_lock(url: &str) {
    let ticket = exits(url, &["lock", "a", "--ttl", "30s", "--value", "v1"], 0);
    assert!(ticket.starts_with("distsync1."), "{ticket}");
    let held = &json(url, &["inspect", "a"])[0];
    assert_eq!(held["holders"][0]["value"], "v1");
    exits(url, &["lock", "a", "--ttl", "30s", "--no-wait"], 75);
    exits(url, &["lock", "a", "--ttl", "30s", "--wait", "50ms"], 75);

    let extended = with_input(url, &["--json", "extend", "-"], &ticket);
    assert_code(&extended, &["extend"], 0);
    let extended: serde_json::Value = serde_json::from_slice(&extended.stdout).unwrap();
    assert!(extended["left_ms"].as_u64().unwrap() > 20_000, "{extended}");
    assert_eq!(extended["token"], held["holders"][0]["token"]);

    // An ordinary argument works too.
    exits(url, &["unlock", ticket.trim()], 0);
    for command in ["extend", "unlock"] {
        let output = with_input(url, &[command, "-"], &ticket);
        assert_code(&output, &[command], 74);
        assert!(text(&output.stderr).contains("not held"));
    }
    assert_eq!(
        json(url, &["inspect", "a"])[0]["holders"],
        serde_json::json!([])
    );
}

#[test]
fn a_script_holds_a_lock_on_netlock() {
    let netlock = Netlock::start();
    a_script_holds_a_lock(&netlock.url());
}

#[test]
fn a_script_holds_a_lock_on_redis() {
    let redis = Redis::start();
    a_script_holds_a_lock(&format!("redis://127.0.0.1:{}", redis.port()));
}

#[test]
fn a_script_holds_a_lock_on_etcd() {
    let etcd = Etcd::start();
    a_script_holds_a_lock(&format!("etcd://127.0.0.1:{}", etcd.port()));
}

#[test]
fn a_script_holds_a_lock_on_consul() {
    let consul = Consul::start();
    a_script_holds_a_lock(&format!("consul://127.0.0.1:{}", consul.port()));
}

#[test]
fn a_lock_of_another_process_is_not_in_memory() {
    let ticket = exits("memory:", &["lock", "a", "--ttl", "30s"], 0);
    exits("memory:", &["unlock", ticket.trim()], 74);
}

#[test]
fn a_ticket_file_is_for_its_owner_only_and_is_complete() {
    let netlock = Netlock::start();
    let (url, folder) = (netlock.url(), tempfile::tempdir().unwrap());
    let path = folder.path().join("ticket");
    let shown = path.to_str().unwrap();
    std::fs::write(&path, "old").unwrap();
    let output = exits(
        &url,
        &["lock", "a", "--ttl", "30s", "--ticket-file", shown],
        0,
    );
    assert_eq!(output, "", "the secret is in the file alone");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let entries = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 1, "no draft remains");
    exits(&url, &["extend", &format!("@{shown}")], 0);
    exits(&url, &["unlock", &format!("@{shown}")], 0);
}

#[test]
fn a_lock_is_not_held_if_its_ticket_reaches_nobody() {
    let netlock = Netlock::start();
    let url = netlock.url();
    let missing = [
        "lock",
        "a",
        "--ttl",
        "30s",
        "--ticket-file",
        "/missing/ticket",
    ];
    exits(&url, &missing, 1);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = on(&url, &["lock", "a", "--ttl", "30s"])
        .stdout(full)
        .output()
        .unwrap();
    assert_code(&output, &["lock"], 1);
    assert!(text(&output.stderr).contains("standard output"));
    assert_eq!(
        json(&url, &["inspect", "a"])[0]["holders"],
        serde_json::json!([])
    );
}

#[test]
fn an_expired_lock_is_reported_as_lost() {
    let netlock = Netlock::start();
    let url = netlock.url();
    let ticket = exits(&url, &["lock", "a", "--ttl", "300ms"], 0);
    until("the end of the lock", || {
        json(&url, &["inspect", "a"])[0]["holders"] == serde_json::json!([])
    });
    exits(&url, &["unlock", ticket.trim()], 74);
}

#[test]
fn an_error_about_a_ticket_shows_none_of_it() {
    let ticket = exits("memory:", &["lock", "a", "--ttl", "30s"], 0);
    let broken = &ticket.trim()[..60];
    let output = on("memory:", &["unlock", broken]).output().unwrap();
    assert_code(&output, &["unlock"], 64);
    let secret = broken.split('.').nth(2).unwrap();
    assert!(!text(&output.stderr).contains(&secret[..8]));
    exits("memory:", &["unlock", "@/missing"], 64);
}

#[test]
fn a_signal_ends_a_waiting_lock_and_leaves_the_queue() {
    let netlock = Netlock::start();
    let url = netlock.url();
    exits(&url, &["lock", "a", "--ttl", "30s"], 0);
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let waiting = start(&url, &["lock", "a", "--ttl", "30s"]);
        until_waiting(&url, "a", 1);
        signal(&waiting, sent);
        let output = waiting.wait_with_output().unwrap();
        assert_code(&output, &["lock"], code);
        let queue = &json(&url, &["inspect", "a"])[0];
        assert_eq!(
            queue["waiters"],
            serde_json::json!([]),
            "at once, not after its TTL"
        );
    }
}

#[test]
fn readers_and_permits_hold_together() {
    let netlock = Netlock::start();
    let url = netlock.url();
    for (name, flags) in [("read", &["--shared"][..]), ("permit", &["--permits", "2"])] {
        let arguments = [&["lock", name, "--ttl", "30s", "--no-wait"], flags].concat();
        exits(&url, &arguments, 0);
        exits(&url, &arguments, 0);
        exits(&url, &["lock", name, "--ttl", "30s", "--no-wait"], 75);
    }
    exits(
        &url,
        &[
            "lock",
            "permit",
            "--ttl",
            "30s",
            "--no-wait",
            "--permits",
            "2",
        ],
        75,
    );
}
