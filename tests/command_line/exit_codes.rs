//! The exit code of `distsync run`.

use std::time::Duration;

use distsync::{LockOptions, connect};
use distsync_core::spi::clock;
use rustix::process::Signal;

use crate::program::{distsync, text};
use crate::running::{Running, runs};
use crate::stores::{Netlock, Redis};

fn code(url: &str, arguments: &[&str]) -> Option<i32> {
    let output = distsync()
        .env("DISTSYNC_URL", url)
        .arg("run")
        .args(arguments)
        .output();
    output.unwrap().status.code()
}

#[test]
fn the_exit_status_is_the_one_of_the_command() {
    let (netlock, redis) = (Netlock::start(), Redis::start());
    for url in [netlock.url(), format!("redis://127.0.0.1:{}", redis.port())] {
        for (script, expected) in [
            ("exit 0", 0),
            ("exit 3", 3),
            ("exit 255", 255),
            ("kill -TERM $$", 143),
            ("kill -KILL $$", 137),
            // A background child does not change it.
            ("(sleep 0.1; exit 5) & exit 4", 4),
        ] {
            let command = ["a", "--", "sh", "-c", script];
            assert_eq!(code(&url, &command), Some(expected), "{script} on {url}");
        }
    }
    let url = netlock.url();
    assert_eq!(code(&url, &["a", "--", "no-such-program"]), Some(127));
    assert_eq!(code(&url, &["a", "--", "/etc/passwd"]), Some(126));
}

#[test]
fn arguments_reach_the_command_as_they_are() {
    let netlock = Netlock::start();
    let arguments = [
        "run", "a", "--", "printf", "%s\n", "a b", "$HOME", "*", "--on", "",
    ];
    let output = distsync()
        .env("DISTSYNC_URL", netlock.url())
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "a b\n$HOME\n*\n--on\n\n");
}

#[tokio::test]
async fn a_taken_lock_is_75_or_the_code_of_the_caller() {
    let netlock = Netlock::start();
    let url = netlock.url();
    let sync = connect(&url).await.unwrap();
    let guard = sync
        .lock("a", LockOptions::shared())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    assert_eq!(code(&url, &["a", "--no-wait", "--", "true"]), Some(75));
    assert_eq!(code(&url, &["a", "--wait", "50ms", "--", "true"]), Some(75));
    assert_eq!(
        code(&url, &["a", "--no-wait", "-E", "0", "--", "false"]),
        Some(0)
    );
    assert_eq!(
        code(&url, &["a", "--no-wait", "--shared", "--", "true"]),
        Some(0)
    );
    guard.release().await.unwrap();
    assert_eq!(
        code(&url, &["a", "--no-wait", "--permits", "2", "--", "true"]),
        Some(0)
    );
}

#[test]
fn a_store_out_of_reach_is_69_and_a_short_ttl_is_64() {
    assert_eq!(
        code("netlock://127.0.0.1:1", &["a", "--", "true"]),
        Some(69)
    );
    let arguments = ["run", "a", "--", "true"];
    let url = "netlock://127.0.0.1:1?ttl=500ms";
    let output = distsync()
        .env("DISTSYNC_URL", url)
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        text(&output.stderr).contains("ttl=1s100ms"),
        "{}",
        text(&output.stderr)
    );
    let arguments = ["a", "--", "true"];
    assert_eq!(
        code("netlock://127.0.0.1:1?on_lost=abort", &arguments),
        Some(64)
    );
}

#[test]
fn a_command_that_takes_too_long_is_124() {
    let netlock = Netlock::start();
    let mut run = Running::script(
        &netlock.url(),
        &["--max-hold", "2s", "--grace", "300ms"],
        "trap 'echo asked' TERM; echo ready; echo $$; while :; do sleep 0.05; done",
    );
    let command: i32 = run.line().parse().unwrap();
    assert_eq!(run.line(), "asked", "SIGTERM comes first");
    assert_eq!(run.code(), Some(124));
    assert!(!runs(command), "SIGKILL follows");
}

#[test]
fn a_lock_is_held_for_the_least_time_and_until_background_children_have_ended() {
    let netlock = Netlock::start();
    let url = netlock.url();
    for (options, script, least) in [
        (&["--min-hold", "600ms"][..], "echo ready", 600),
        (&[], "sleep 0.6 >&- & echo ready", 600),
        // This one has left the group.
        (&[], "setsid sleep 0.6 >&- & echo ready", 600),
        (&["--leave-background"], "sleep 5 >&- & echo ready", 0),
    ] {
        let start = clock::now();
        let mut run = Running::script(&url, options, script);
        assert_eq!(run.code(), Some(0));
        let took = clock::now().since(start);
        let range = Duration::from_millis(least)..Duration::from_millis(least + 2_000);
        assert!(range.contains(&took), "{options:?} {script}: {took:?}");
    }
    let mut run = Running::script(&url, &["--min-hold", "1m"], "echo ready");
    run.signal(Signal::TERM);
    assert!(run.code().is_some(), "a signal ends the least time");
}
