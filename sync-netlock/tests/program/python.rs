//! The client in Python, which was written from the protocol's documentation, beside one in Rust.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use distsync_core::{LockOptions, Sync};

use super::server::{Netlockd, acquire};

fn python(server: &Netlockd, name: &str, seconds: &str) -> (Child, BufReader<ChildStdout>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let interpreter = root.join("target/python/bin/python");
    assert!(interpreter.exists(), "no {}: run scripts/python", interpreter.display());
    let mut child = Command::new(interpreter)
        .arg(root.join("examples/python/netlock.py"))
        .args([server.address(), name, seconds])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let words = BufReader::new(child.stdout.take().unwrap());
    (child, words)
}

fn line(words: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    words.read_line(&mut line).unwrap();
    line
}

fn token(said: &str) -> u64 {
    said.trim().rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("no token in `{said}`"))
}

#[tokio::test]
async fn a_client_in_python_shares_locks_with_one_in_rust() {
    let server = Netlockd::start(&[]);
    let rust = server.connect(Duration::from_secs(10)).await;
    let lock = rust.lock("report", LockOptions::new()).unwrap();

    // Longer than its TTL of two seconds: it renews.
    let (mut first, mut words) = python(&server, "distsync/l/report", "3");
    let python_token = token(&line(&mut words));
    assert!(lock.try_acquire().await.unwrap().is_none(), "Python holds it");
    let guard = acquire(&rust, "report").await;
    assert!(guard.token().get() > python_token);
    assert_eq!(line(&mut words), "released\n");
    assert!(first.wait().unwrap().success());

    let (mut second, mut words) = python(&server, "distsync/l/report", "0");
    while lock.inspect().await.unwrap().entries.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    guard.release().await.unwrap();
    assert!(token(&line(&mut words)) > guard.token().get(), "Python waited for it");
    assert!(second.wait().unwrap().success());
}
