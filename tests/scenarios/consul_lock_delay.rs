//! The lock-delay of Consul: it keeps the locks of a lost session from all clients for a while, and
//! delays nobody otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use distsync::{ErrorKind, Kind, Lock, LockOptions, Wait, connect};
use distsync_core::conformance::{BreakAt, Proxy, bare};
use distsync_core::spi::{Claim, Gone, Standing, clock};
use distsync_core::{LockName, Namespace, Withdrawn};
use futures_util::StreamExt;
use serde_json::Value;

use super::steps::http;
use crate::stores::Consul;

const DELAY: Duration = Duration::from_secs(3);

/// A limit that is longer than any step takes, and shorter than a lock-delay of `60s`.
const SOON: Duration = Duration::from_secs(20);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("in time")
}

/// Returns the keys of a lock, in order of arrival.
fn keys(consul: &Consul, name: &str) -> Vec<Value> {
    let answer = http(
        consul.port(),
        "GET",
        &format!("/v1/kv/distsync/l/{name}/?recurse"),
        "",
        "",
    );
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let mut keys: Vec<Value> = serde_json::from_str(body).unwrap_or_default();
    keys.sort_by_key(|key| key["CreateIndex"].as_u64());
    keys
}

/// Ends the session of the claim at `position` in a queue, as Consul does when its TTL expires.
fn lose(consul: &Consul, name: &str, position: usize) {
    let line = keys(consul, name);
    let session = line[position]["Session"].as_str().expect("a session");
    http(
        consul.port(),
        "PUT",
        &format!("/v1/session/destroy/{session}"),
        "",
        "",
    );
}

async fn until_in_line(lock: &dyn Lock, count: usize) {
    soon(async {
        while lock.inspect().await.unwrap().entries.len() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn url(consul: &Consul, delay: &str) -> String {
    format!(
        "consul://127.0.0.1:{}?ttl=10s&lock_delay={delay}",
        consul.port()
    )
}

#[tokio::test]
async fn what_a_lost_holder_held_is_kept_from_everybody_for_its_delay() {
    let consul = Consul::start();
    let holder = connect(&url(&consul, "3s")).await.unwrap();
    let other = connect(&url(&consul, "0s")).await.unwrap();
    let guard = holder
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let lock = other.lock("a", LockOptions::new()).unwrap();
    let mut watch = lock.watch();
    let (next, ()) = tokio::join!(soon(lock.acquire()), async {
        until_in_line(&*lock, 2).await;
        let lost = clock::now();
        lose(&consul, "a", 0);
        until_in_line(&*lock, 1).await;
        assert_eq!(lock.inspect().await.unwrap().holders().count(), 0);
        // The former holder is notified of the loss, and cannot acquire sooner than others.
        let own = holder.lock("a", LockOptions::new()).unwrap();
        assert_eq!(
            own.try_acquire().await.unwrap_err().kind(),
            ErrorKind::SessionLost
        );
        soon(guard.revoked()).await;
        assert!(own.try_acquire().await.unwrap().is_none());
        assert!(lock.try_acquire().await.unwrap().is_none());
        soon(async {
            while watch
                .next()
                .await
                .unwrap()
                .unwrap()
                .holders()
                .all(|entry| entry.token == Some(guard.token()))
            {}
        })
        .await;
        let waited = clock::now().since(lost);
        assert!(waited >= DELAY, "granted after {waited:?}");
    });
    let next = next.unwrap();
    assert!(next.token() > guard.token());
    assert_eq!(keys(&consul, "a").len(), 1, "what was lost is swept out");
    next.release().await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_lost_gets_nothing_back() {
    let consul = Consul::start();
    let (backend, _) = distsync::spi::backend(&url(&consul, "60s")).unwrap();
    let session = backend
        .open(&bare::spec(Duration::from_secs(10)))
        .await
        .unwrap();
    let name = LockName::new(&Namespace::default(), Kind::Lock, "a").unwrap();
    let claim = bare::claim(session, name);
    let Standing::Granted { token } = backend.enqueue(&claim).await.unwrap() else {
        panic!("it is free")
    };
    lose(&consul, "a", 0);
    let lost = Standing::Gone {
        why: Gone::SessionLost,
    };
    assert_eq!(backend.enqueue(&claim).await.unwrap(), lost);
    assert_eq!(backend.granted(&claim).await.unwrap(), lost);
    let claim = Claim {
        token: Some(token),
        ..claim
    };
    assert!(!backend.update(&claim, Bytes::new()).await.unwrap());
    assert_eq!(backend.withdraw(&claim).await.unwrap(), Withdrawn::Absent);
    assert_eq!(
        keys(&consul, "a").len(),
        1,
        "and it cannot shorten its delay"
    );
}

#[tokio::test]
async fn a_delay_that_is_over_keeps_nobody_away() {
    let consul = Consul::start();
    let holder = connect(&url(&consul, "1s")).await.unwrap();
    let permits = LockOptions::permit(2);
    let guard = holder
        .lock("a", permits.clone())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    lose(&consul, "a", 0);
    soon(guard.revoked()).await;
    assert!(
        holder.list(Kind::Lock, "").await.unwrap().is_empty(),
        "a lost claim is listed"
    );
    assert_eq!(
        keys(&consul, "a").len(),
        1,
        "nobody has come to sweep it out"
    );
    let lock = holder.lock("a", permits).unwrap();
    // The lost claim takes one of the two permits until its delay is over.
    let one = soon(lock.acquire()).await.unwrap();
    let two = soon(async {
        loop {
            if let Some(two) = lock.try_acquire().await.unwrap() {
                break two;
            }
        }
    })
    .await;
    assert!(
        lock.try_acquire().await.unwrap().is_none(),
        "two of two are taken"
    );
    drop((one, two));
}

#[tokio::test]
async fn a_lock_that_is_given_back_is_free_at_once() {
    let consul = Consul::start();
    let first = connect(&url(&consul, "60s")).await.unwrap();
    let second = connect(&url(&consul, "60s")).await.unwrap();
    let next = second.lock("a", LockOptions::new()).unwrap();
    let lock = first.lock("a", LockOptions::new()).unwrap();

    let guard = lock.acquire().await.unwrap();
    guard.update("written twice").await.unwrap();
    let (got, released) = tokio::join!(soon(next.acquire()), guard.release());
    released.unwrap();
    soon(got.unwrap().release()).await.unwrap();

    drop(lock.acquire().await.unwrap());
    soon(next.acquire()).await.unwrap().release().await.unwrap();

    // A client that is closed while it holds many locks and others wait.
    let held = first.lock("more", LockOptions::shared()).unwrap();
    let mut guards = vec![lock.acquire().await.unwrap()];
    for _ in 0..70 {
        guards.push(held.acquire().await.unwrap());
    }
    first.close().await.unwrap();
    soon(next.acquire()).await.unwrap().release().await.unwrap();
    let more = second
        .lock("more", LockOptions::new().with_wait(Wait::For(SOON)))
        .unwrap();
    more.acquire().await.unwrap().release().await.unwrap();
    assert!(keys(&consul, "a").is_empty() && keys(&consul, "more").is_empty());
}

#[tokio::test]
async fn a_close_that_has_to_be_repeated_frees_the_lock_at_once() {
    let consul = Consul::start();
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, consul.port()));
    // After the opening of the session and the request for the lock.
    let breaks = BreakAt {
        after: 2,
        arrives: false,
    };
    let proxy = Proxy::start(server, breaks).await.unwrap();
    let url_of = |address: SocketAddr| format!("consul://{address}?lock_delay=60s");
    let (backend, _) = distsync::spi::backend(&url_of(proxy.address())).unwrap();
    let session = backend
        .open(&bare::spec(Duration::from_secs(10)))
        .await
        .unwrap();
    let name = LockName::new(&Namespace::default(), Kind::Lock, "a").unwrap();
    let granted = backend.enqueue(&bare::claim(session, name)).await.unwrap();
    assert!(matches!(granted, Standing::Granted { .. }), "{granted:?}");
    backend
        .close(&session)
        .await
        .expect_err("the connection breaks");
    backend.close(&session).await.unwrap();
    let other = connect(&url_of(server)).await.unwrap();
    let lock = other.lock("a", LockOptions::new()).unwrap();
    soon(lock.acquire()).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_waiter_that_is_lost_delays_nobody() {
    let consul = Consul::start();
    let [one, two, three] = [(); 3].map(|()| async {
        let sync = connect(&url(&consul, "60s")).await.unwrap();
        (sync.lock("a", LockOptions::new()).unwrap(), sync)
    });
    let ((first, _one), (second, _two), (third, _three)) = tokio::join!(one, two, three);
    let guard = first.acquire().await.unwrap();
    let (lost, behind, ()) = tokio::join!(
        async {
            let guard = soon(second.acquire()).await.unwrap();
            guard.release().await.unwrap();
            clock::now()
        },
        async {
            until_in_line(&*third, 2).await;
            let guard = soon(third.acquire()).await.unwrap();
            let granted = clock::now();
            guard.release().await.unwrap();
            granted
        },
        async {
            until_in_line(&*first, 3).await;
            lose(&consul, "a", 1);
            // When the waiter behind has read the queue, the lost claim is deleted, and its client
            // has queued again at the end.
            soon(async {
                while keys(&consul, "a")
                    .iter()
                    .filter(|key| key.get("Session").is_some())
                    .count()
                    != 3
                    || keys(&consul, "a").len() != 3
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            guard.release().await.unwrap();
        }
    );
    assert!(behind < lost, "who came again is the last");
}

#[tokio::test]
async fn a_key_that_an_operator_unlocks_is_no_claim_any_more() {
    let consul = Consul::start();
    let sync = connect(&url(&consul, "0s")).await.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    let own = keys(&consul, "a").remove(0);
    let step = serde_json::json!([{"KV": {
        "Verb": "unlock", "Key": own["Key"], "Value": own["Value"], "Session": own["Session"],
    }}]);
    http(consul.port(), "PUT", "/v1/txn", "", &step.to_string());
    assert!(keys(&consul, "a")[0].get("Session").is_none());
    assert!(lock.inspect().await.unwrap().entries.is_empty());
    drop(guard);
    soon(lock.acquire()).await.unwrap().release().await.unwrap();
}
