//! Clients with several connections, and their locks when the connections close.

use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{ErrorKind, Handle, LockOptions, Sync, SyncOptions};
use distsync_netlock::wire::proto;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;

use distsync_netlock::{Client, Config};
use futures_util::future::join_all;
use rustix::process::Signal;

use super::raw::{Raw, enqueue, id, session};
use super::server::Netlockd;

/// Waits until a name is free, and returns how long that took.
fn freed(observer: &mut Raw, name: &str) -> Duration {
    let start = clock::now();
    while observer.is_held(name) {
        assert!(
            clock::now().since(start) < Duration::from_secs(20),
            "held for ever"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    clock::now().since(start)
}

#[tokio::test]
async fn a_request_to_a_stopped_server_ends_in_the_given_time() {
    let server = Netlockd::start(&[]);
    let config = Config::new([server.address()]).unwrap();
    let limit = Duration::from_millis(300);
    let options = SyncOptions::new().with_request_timeout(limit);
    let sync = Handle::open(Client::new(config).backend(), options).await;
    let sync = sync.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    server.freeze();
    let start = clock::now();
    let error = lock.acquire().await.unwrap_err();
    let took = clock::now().since(start);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(took >= limit && took < 3 * limit, "{took:?}");
    server.signal(Signal::CONT);
}

#[test]
fn a_lock_is_released_when_its_last_connection_closes_and_not_before() {
    let server = Netlockd::start(&[]);
    let mut observer = Raw::connect(server.address());
    let mut first = Raw::connect(server.address());
    first.open(proto::Open {
        release_on_disconnect: true,
        ..session()
    });
    assert!(matches!(
        first.ask(enqueue(1, 1, "a")),
        Response::Granted(_)
    ));
    let mut second = Raw::connect(server.address());
    second.attach();
    drop(first);
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(observer.is_held("a"), "a connection is left");
    assert!(matches!(
        second.ask(Request::Detach(proto::Detach { session: 1 })),
        Response::Detached(_)
    ));
    // A new connection within one second keeps the session.
    let mut third = Raw::connect(server.address());
    third.attach();
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(observer.is_held("a"), "it came back in time");
    drop(third);
    // The TTL is a minute.
    assert!(freed(&mut observer, "a") < Duration::from_secs(10));
}

#[test]
fn a_lock_without_release_on_disconnect_is_held_without_connections() {
    let server = Netlockd::start(&[]);
    let mut observer = Raw::connect(server.address());
    let mut client = Raw::connect(server.address());
    client.open(session());
    assert!(matches!(
        client.ask(enqueue(1, 1, "a")),
        Response::Granted(_)
    ));
    drop(client);
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(observer.is_held("a"));
    let mut later = Raw::connect(server.address());
    later.attach();
    assert!(
        matches!(later.ask(enqueue(1, 1, "a")), Response::Granted(_)),
        "the same claim"
    );
}

/// If the number of a session is in use, a successful request gives it to the new session and
/// detaches the earlier one. A refused request changes nothing.
#[test]
fn a_session_number_is_replaced_by_a_request_that_succeeds() {
    let server = Netlockd::start(&[]);
    let mut raw = Raw::connect(server.address());
    raw.open(proto::Open {
        release_on_disconnect: true,
        ..session()
    });
    assert!(matches!(raw.ask(enqueue(1, 1, "a")), Response::Granted(_)));

    let refused = raw.ask(Request::Open(proto::Open {
        id: id(2),
        ttl_ms: 0,
        ..session()
    }));
    assert!(matches!(refused, Response::Refused(_)), "{refused:?}");
    assert!(matches!(
        raw.ask(Request::Renew(proto::Renew { session: 1 })),
        Response::Renewed(_)
    ));

    raw.open(proto::Open {
        id: id(2),
        ..session()
    });
    assert!(matches!(raw.ask(enqueue(1, 2, "b")), Response::Granted(_)));
    freed(&mut raw, "a");
    assert!(raw.is_held("b"), "the new session goes on");
}

/// A lock with a TTL has a session of its own, whose number on the connections of the client is
/// free again when it has ended.
#[tokio::test]
async fn ended_sessions_do_not_count_towards_the_limit_of_a_connection() {
    const LIMIT: usize = 64;
    let server = Netlockd::start(&["--set", &format!("limits.sessions_per_connection={LIMIT}")]);
    let work = use_many_sessions(&server, LIMIT);
    let worked = tokio::time::timeout(Duration::from_secs(60), work).await;
    worked.expect("all locks are acquired");
}

async fn use_many_sessions(server: &Netlockd, limit: usize) {
    let sync = server.connect(Duration::from_secs(10)).await;
    let with_ttl = |name: &str, ttl| {
        let options = LockOptions::new().with_ttl(ttl);
        sync.lock(name, options).unwrap()
    };
    for _ in 0..3 * limit {
        let lock = with_ttl("released", Duration::from_secs(10));
        lock.acquire().await.unwrap().release().await.unwrap();
        let lock = with_ttl("dropped", Duration::from_secs(10));
        drop(lock.acquire().await.unwrap());
    }
    for _ in 0..5 {
        let held = (0..limit / 2).map(|at| {
            let lock = with_ttl(&format!("expired-{at}"), Duration::from_secs(1));
            async move { lock.acquire().await.unwrap() }
        });
        for held in join_all(held).await {
            held.revoked().await;
        }
    }
    sync.close().await.unwrap();
}
