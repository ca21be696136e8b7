//! Whole processes at one file: each runs a command while it holds a lock.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts a process that runs `script` while it holds the lock `a`.
fn start(folder: &Path, script: &str) -> Child {
    let url = format!("sqlite:{}?ttl=2s", folder.join("locks.db").display());
    Command::new(env!("CARGO_BIN_EXE_distsync-example-sqlite"))
        .args([&url, "a", "sh", "-c", script])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start")
}

/// Processes that start at the same moment, at a file that does not exist yet, hold one after the
/// other: no update of a file is lost.
#[test]
fn processes_exclude_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    std::fs::write(&count, "0").unwrap();
    let update = "read before < count; sleep 0.02; echo $((before + 1)) > count";
    let mut processes: Vec<_> = (0..16).map(|_| start(folder.path(), update)).collect();
    for process in &mut processes {
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(std::fs::read_to_string(&count).unwrap().trim(), "16");
}

/// The lock of a process that was killed passes to the next one, with a greater token.
#[test]
fn the_lock_of_a_killed_process_is_granted_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let token = |process: &mut Child| {
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.trim().parse::<u64>().expect("a token")
    };
    // `cat` ends when this test closes its input.
    let mut holder = start(folder.path(), "echo $FENCING_TOKEN; exec cat");
    let first = token(&mut holder);
    let mut next = start(folder.path(), "echo $FENCING_TOKEN");
    holder.kill().unwrap();
    let second = token(&mut next);
    assert!(second > first, "{second} after {first}");
    assert!(next.wait().unwrap().success());
    drop(holder.stdin.take());
    holder.wait().unwrap();
}
