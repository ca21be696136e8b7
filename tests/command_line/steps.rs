//! Steps that several tests of the command line share.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use distsync_core::spi::clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{distsync, text};

/// Returns the program with a store, and these arguments.
pub(crate) fn on(url: &str, arguments: &[&str]) -> Command {
    let mut command = distsync();
    command.env("DISTSYNC_URL", url).args(arguments);
    command
}

/// Runs the program and asserts its exit code. Returns its standard output.
pub(crate) fn exits(url: &str, arguments: &[&str], code: i32) -> String {
    let output = on(url, arguments).output().unwrap();
    assert_code(&output, arguments, code);
    text(&output.stdout)
}

/// Runs the program with `--json`, and returns the value of each line.
pub(crate) fn json(url: &str, arguments: &[&str]) -> Vec<Value> {
    let lines = exits(url, &[&["--json"], arguments].concat(), 0);
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{lines}"));
    lines.lines().map(parse).collect()
}

pub(crate) fn assert_code(output: &Output, arguments: &[&str], code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// Starts the program with its output in pipes.
pub(crate) fn start(url: &str, arguments: &[&str]) -> Child {
    on(url, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.unwrap(), signal).unwrap();
}

/// Waits until a condition holds, for ten seconds at most.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = clock::now().after(Duration::from_secs(10));
    while !condition() {
        assert!(clock::now() < deadline, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a lock has this many waiters.
pub(crate) fn until_waiting(url: &str, name: &str, count: usize) {
    until("joining the queue", || {
        let queue = json(url, &["inspect", name]);
        queue[0]["waiters"].as_array().unwrap().len() == count
    });
}
