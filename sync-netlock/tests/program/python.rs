//! The Python client, which was written from the documentation of the protocol, beside a Rust
//! client.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use distsync_core::{LockOptions, Sync};
use distsync_netlock::wire::proto;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use rustix::process::Signal;

use super::raw::Raw;
use super::server::{Netlockd, acquire, run};
use super::tls::pair;

/// Runs the client as a program: it holds a name.
pub(crate) fn python(url: &str, name: &str, more: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let client = examples().join("netlock.py");
    let arguments = [&[client.to_str().unwrap(), url, name], more].concat();
    run_python(&arguments)
}

/// Runs the interpreter beside the client.
pub(crate) fn run_python(arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let interpreter = examples().join("../../target/python/bin/python");
    assert!(
        interpreter.exists(),
        "no {}: run scripts/python",
        interpreter.display()
    );
    let mut child = Command::new(interpreter)
        .args(arguments)
        .env("PYTHONPATH", examples())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let words = BufReader::new(child.stdout.take().unwrap());
    (child, words)
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python")
}

fn url(server: &Netlockd) -> String {
    format!("netlock://{}", server.address())
}

pub(crate) fn line(words: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    words.read_line(&mut line).unwrap();
    line
}

pub(crate) fn token(said: &str) -> u64 {
    said.trim()
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap_or_else(|_| panic!("no token in `{said}`"))
}

#[tokio::test]
async fn a_client_in_python_shares_locks_with_one_in_rust() {
    let server = Netlockd::start(&[]);
    let rust = server.connect(Duration::from_secs(10)).await;
    let lock = rust.lock("report", LockOptions::new()).unwrap();

    // This is longer than its TTL of two seconds, so it has to renew.
    let (mut first, mut words) = python(&url(&server), "distsync/l/report", &["3"]);
    let python_token = token(&line(&mut words));
    assert!(
        lock.try_acquire().await.unwrap().is_none(),
        "Python holds it"
    );
    let guard = acquire(&rust, "report").await;
    assert!(guard.token().get() > python_token);
    assert_eq!(line(&mut words), "released\n");
    assert!(first.wait().unwrap().success());

    let (mut second, mut words) = python(&url(&server), "distsync/l/report", &["0"]);
    while lock.inspect().await.unwrap().entries.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    guard.release().await.unwrap();
    assert!(
        token(&line(&mut words)) > guard.token().get(),
        "Python waited for it"
    );
    assert!(second.wait().unwrap().success());
}

/// The Python client checks the replies to its renewals.
#[test]
fn python_detects_that_its_session_has_ended() {
    let server = Netlockd::start(&[]);
    let (mut child, mut words) = python(&url(&server), "distsync/l/report", &["60"]);
    token(&line(&mut words));
    let mut raw = Raw::connect(server.address());
    let inspect = proto::Inspect {
        name: b"distsync/l/report".to_vec().into(),
    };
    let Response::Queue(queue) = raw.ask(Request::Inspect(inspect)) else {
        panic!("no queue")
    };
    let session = queue.entries[0].session.expect("the session of the claim");
    let session = format!("{:016x}{:016x}", session.high, session.low);
    let ended = run(&["admin", "--server", &url(&server), "end-session", &session]);
    assert!(ended.status.success(), "{ended:?}");
    let said = line(&mut words);
    assert!(
        said.starts_with("lost: the server ended the session"),
        "{said}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

/// The Python client has a deadline of its own: it stops before the server can grant the lock to
/// another client.
#[test]
fn python_stops_at_its_own_deadline() {
    let server = Netlockd::start(&[]);
    let (mut child, mut words) = python(&url(&server), "distsync/l/report", &["60"]);
    token(&line(&mut words));
    server.signal(Signal::STOP);
    assert_eq!(line(&mut words), "lost: not renewed in time\n");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    server.signal(Signal::CONT);
}

#[test]
fn python_uses_tls_and_checks_the_table() {
    let folder = tempfile::tempdir().unwrap();
    pair(folder.path(), "server");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut server = Netlockd::start(&[
        "--tls-cert",
        &path("server.pem"),
        "--tls-key",
        &path("server.key"),
    ]);
    let address = server.address().to_owned();
    let use_it = |url: &str| {
        let (mut child, mut words) = python(url, "distsync/l/report", &["0"]);
        let said = line(&mut words);
        (said, child.wait().unwrap().code())
    };
    let table = server.table();
    let secure = format!("netlocks://{address}?ca={}", path("server-ca.pem"));
    let (said, code) = use_it(&format!("{secure}&table={table}"));
    assert!(said.contains("with token"), "{said}");
    assert_eq!(code, Some(0));
    // Another table, and an unknown authority.
    assert_eq!(
        use_it(&format!("{secure}&table={}", "0".repeat(32))),
        (String::new(), Some(1))
    );
    assert_eq!(
        use_it(&format!("netlocks://{address}")),
        (String::new(), Some(1))
    );
}
