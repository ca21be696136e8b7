//! Clients whose session expires while they hold locks are isolated before the locks are released.

use std::path::Path;
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{ErrorKind, Handle, LockOptions, Loss, Sync, SyncOptions, process_identity};
use distsync_netlock::wire::proto;
use distsync_netlock::wire::proto::refused::Code;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use distsync_netlock::{Client, Config};

use super::raw::{Raw, enqueue, id, session};
use super::server::{Netlockd, run};

/// Starts a server that isolates clients by a shell script, which reads the event from its input.
fn start(folder: &Path, script: &str, more: &str) -> Netlockd {
    let config = folder.join("netlockd.toml");
    let text = format!("[isolation]\ncommand = ['/bin/sh', '-c', '''{script}''']\n{more}");
    std::fs::write(&config, text).unwrap();
    Netlockd::start(&["--config", config.to_str().unwrap()])
}

/// Starts a client that holds `a` and can be isolated. Its TTL is half a second.
fn holder(server: &Netlockd) -> Raw {
    let mut raw = Raw::connect(server.address());
    let (client, isolation) = ("holder".to_owned(), "how to".to_owned().into());
    raw.open(proto::Open {
        ttl_ms: 500,
        client,
        isolation,
        ..session()
    });
    assert!(matches!(raw.ask(enqueue(1, 1, "a")), Response::Granted(_)));
    raw
}

/// Starts another client that waits for `a`.
fn waiter(server: &Netlockd) -> Raw {
    let mut raw = Raw::connect(server.address());
    raw.open(proto::Open {
        id: id(2),
        secret: id(98),
        ..session()
    });
    assert!(matches!(raw.ask(enqueue(1, 2, "a")), Response::Waiting(_)));
    raw
}

/// Waits until a condition is true.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = clock::now().after(Duration::from_secs(20));
    while !condition() {
        assert!(clock::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns whether the holder of `a` is being isolated.
fn is_isolating(observer: &mut Raw) -> bool {
    match observer.ask(Request::Inspect(proto::Inspect {
        name: "a".to_owned().into(),
    })) {
        Response::Queue(queue) => queue.entries.iter().any(|entry| entry.isolating),
        other => panic!("{other:?}"),
    }
}

fn code(response: &Response) -> Option<Code> {
    match response {
        Response::Refused(refused) => Some(refused.code()),
        _ => None,
    }
}

#[test]
fn a_lock_is_released_after_its_silent_holder_was_isolated_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let (event, go) = (folder.path().join("event"), folder.path().join("go"));
    let script = format!(
        "cat > {0}.new && mv {0}.new {0} && test -e {1}",
        event.display(),
        go.display()
    );
    // The server retries until the test lets the script succeed.
    let server = start(folder.path(), &script, "retries = 10\n");
    let (mut holder, mut waiter) = (holder(&server), waiter(&server));
    let mut observer = Raw::connect(server.address());
    eventually("the program is asked", || event.exists());
    assert!(is_isolating(&mut observer), "waiters see why they wait");
    assert_eq!(
        code(&holder.ask(Request::Renew(proto::Renew { session: 1 }))),
        Some(Code::Isolated)
    );
    assert_eq!(code(&holder.ask(enqueue(1, 9, "b"))), Some(Code::Isolated));
    match holder.ask(Request::Withdraw(proto::Withdraw {
        session: 1,
        claim: id(1),
    })) {
        Response::Withdrawn(withdrawn) => {
            assert_eq!(withdrawn.found(), proto::withdrawn::Found::Absent)
        }
        other => panic!("{other:?}"),
    }
    assert!(is_isolating(&mut observer), "held still");
    std::fs::write(&go, "").unwrap();
    assert!(matches!(waiter.answer(), Response::Granted(_)));
    let told = std::fs::read_to_string(&event).unwrap();
    for part in [
        "\"client\":\"holder\"",
        "\"isolation\":\"how to\"",
        "\"reason\":\"expired\"",
        "\"name\":\"a\"",
        "\"token\":",
    ] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    let attach = proto::Attach {
        session: 1,
        id: id(1),
        secret: id(99),
    };
    assert_eq!(
        code(&holder.ask(Request::Attach(attach))),
        Some(Code::Isolated),
        "for good"
    );
}

#[test]
fn a_client_that_cannot_be_isolated_holds_until_an_operator_confirms() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "false", "retries = 0\n");
    let (_holder, mut waiter) = (holder(&server), waiter(&server));
    let mut observer = Raw::connect(server.address());
    eventually("it is being isolated", || is_isolating(&mut observer));
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        is_isolating(&mut observer),
        "held, though the program has failed"
    );
    let session = format!("{:032x}", 7_u128 << 64 | 1);
    let url = format!("netlock://{}", server.address());
    let confirmed = run(&["admin", "--server", &url, "confirm-isolated", &session]);
    assert!(
        confirmed.status.success(),
        "{}",
        String::from_utf8_lossy(&confirmed.stderr)
    );
    assert!(matches!(waiter.answer(), Response::Granted(_)));
}

#[test]
fn a_program_that_hangs_is_killed_and_the_lock_is_released_if_configured() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(
        folder.path(),
        "sleep 600",
        "retries = 0\ntimeout = '200ms'\non_failure = '300ms'\n",
    );
    let (_holder, mut waiter) = (holder(&server), waiter(&server));
    assert!(matches!(waiter.answer(), Response::Granted(_)));
}

#[tokio::test]
async fn an_isolated_client_is_notified_at_once_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("asked");
    let server = start(folder.path(), &format!("touch {}", asked.display()), "");
    let options = SyncOptions::new()
        .with_session_ttl(Duration::from_secs(30))
        .with_isolation(process_identity());
    let client = || Client::new(Config::new([server.address()]).unwrap()).backend();
    // A client that closes its session is not isolated.
    let peaceful = Handle::open(client(), options.clone()).await.unwrap();
    let _held = peaceful
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    peaceful.close().await.unwrap();
    assert!(!asked.exists());

    let handle = Handle::open(client(), options).await.unwrap();
    let lock = handle.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    let url = format!("netlock://{}", server.address());
    let sessions = String::from_utf8(run(&["admin", "--server", &url, "sessions"]).stdout).unwrap();
    let session = sessions.split(' ').next().unwrap();
    assert!(
        run(&["admin", "--server", &url, "end-session", session])
            .status
            .success()
    );
    let loss = tokio::time::timeout(Duration::from_secs(10), guard.revoked())
        .await
        .expect("told");
    assert_eq!(loss, Loss::Isolated);
    assert_eq!(
        guard.check(Duration::ZERO).unwrap_err().kind(),
        ErrorKind::Isolated
    );
    let error = lock.acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Isolated, "{error}");
    let other = server.connect(Duration::from_secs(5)).await;
    let _granted = super::server::acquire(&other, "a").await;
    assert!(asked.exists(), "isolated before it was granted");
}
