//! The examples and netlockd, each run as a process.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use distsync::{ErrorKind, LockOptions, connect};
use rustix::process::{Pid, Signal, kill_process};

use super::programs::{Netlockd, example, run, text};
use super::steps::acquired_again;
use crate::stores::{Consul, Etcd, Redis};

/// Returns the quickstart's output without its first line and without digits. The lines are sorted,
/// because the two tasks run in no fixed order.
fn story(url: &str) -> Vec<String> {
    let output = run("quickstart", &["--on", url]);
    assert!(output.status.success(), "{url}: {}", text(&output.stderr));
    let mut lines: Vec<String> = text(&output.stdout)
        .lines()
        .skip(1)
        .map(|line| line.chars().filter(|c| !c.is_ascii_digit()).collect())
        .collect();
    lines.sort();
    lines
}

#[test]
fn the_quickstart_tells_the_same_story_on_every_store() {
    let (netlock, redis, etcd, consul) = (
        Netlockd::start(),
        Redis::start(),
        Etcd::start(),
        Consul::start(),
    );
    let memory = story("memory:quickstart");
    assert!(
        memory
            .iter()
            .any(|line| line.contains("a late write is refused"))
    );
    for url in [
        netlock.url(),
        format!("redis://127.0.0.1:{}", redis.port()),
        format!("etcd://127.0.0.1:{}", etcd.port()),
        format!("consul://127.0.0.1:{}", consul.port()),
    ] {
        assert_eq!(story(&url), memory, "{url}");
    }
}

#[test]
fn contenders_lose_no_update_though_one_is_killed_and_one_stopped() {
    let output = run("contenders", &[]);
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(text(&output.stdout).contains("no update lost"));
}

/// Starts `contenders` in a role and returns once it holds a lock. Also returns its further output.
fn holding(role: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(example("contenders"))
        .args(role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut words, mut said) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    words.read_line(&mut said).unwrap();
    assert!(said.contains(" holds "), "{said}");
    (child, words)
}

#[tokio::test]
async fn a_client_that_is_killed_or_stopped_leaves_a_clean_queue_within_its_ttl() {
    for signal in [Signal::KILL, Signal::STOP] {
        let (server, folder) = (Netlockd::start(), tempfile::tempdir().unwrap());
        let sync = connect(&server.url()).await.unwrap();
        let lock = sync.lock("counter", LockOptions::new()).unwrap();
        let file = folder.path().join("counter");
        std::fs::write(&file, format!("{:020} {:020}\n", 0, 0)).unwrap();
        let (mut worker, _words) =
            holding(&["worker", "worker", &server.url(), file.to_str().unwrap()]);
        let pid = Pid::from_raw(i32::try_from(worker.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        // The workers' TTL is 2 s, counted from a renewal before the signal. The remaining 0.5 s
        // allows for a busy machine.
        let clean = async {
            while !lock.inspect().await.unwrap().entries.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_millis(2_500), clean).await;
        worker.kill().unwrap();
        worker.wait().unwrap();
        in_time
            .unwrap_or_else(|_| panic!("after {signal:?} the queue is not clean within the TTL"));
    }
}

#[test]
fn a_client_can_end_itself_when_it_loses_a_lock() {
    let server = Netlockd::start();
    for (on_lost, code, signal) in [("exit:7", Some(7), None), ("abort", None, Some(6))] {
        let url = format!("{}?ttl=2s&on_lost={on_lost}", server.url());
        let (mut worker, _words) = holding(&["holder", &url]);
        server.signal(Signal::STOP);
        let ended = worker.wait().unwrap();
        server.signal(Signal::CONT);
        assert_eq!((ended.code(), ended.signal()), (code, signal), "{on_lost}");
    }
}

#[tokio::test]
async fn a_stopped_server_is_a_loss_in_time_and_a_continued_one_is_found_again() {
    let server = Netlockd::start();
    let sync = connect(&format!("{}?ttl=1s", server.url())).await.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    server.signal(Signal::STOP);
    tokio::time::timeout(Duration::from_secs(1), guard.revoked())
        .await
        .expect("revoked within the TTL");
    server.signal(Signal::CONT);
    assert!(acquired_again(&*lock).await.token() > guard.token());
}

#[tokio::test]
async fn a_server_that_ends_by_sigterm_says_so_and_a_missing_one_is_unavailable() {
    let mut server = Netlockd::start();
    let url = server.url();
    let sync = connect(&format!("{url}?ttl=1s")).await.unwrap();
    server.signal(Signal::TERM);
    assert!(
        server.child.wait().unwrap().success(),
        "SIGTERM is a graceful end"
    );
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let error = lock.acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("is netlockd running there"),
        "{error}"
    );
}

#[test]
fn netlockd_names_what_is_wrong_with_its_flags() {
    let server = Netlockd::start();
    for (flags, reason) in [
        (["--listen", server.address.as_str()], "is the port in use?"),
        (["--listen", "nonsense"], "give host:port"),
        (
            ["--listen", "0.0.0.0:0"],
            "other machines can reach this address",
        ),
        (["--log", "a=b=c"], "log filter"),
        (["--connections", "many"], "invalid value"),
    ] {
        let output = run("contenders", &[&["netlockd"][..], &flags].concat());
        assert!(!output.status.success(), "{flags:?}");
        assert!(
            text(&output.stderr).contains(reason),
            "{flags:?}: {}",
            text(&output.stderr)
        );
    }
}
