//! Tests of when replies for other connections are delivered.

use std::time::Duration;

use distsync_core::Mode;
use distsync_core::spi::{ClaimId, Secret, SessionId};

use super::*;
use crate::engine::{Limits, Terms};
use crate::storage::StorageOptions;

fn apply(hub: &Hub, registration: &Registration, command: Command<'_>) -> Option<Reply> {
    let from = Requester {
        connection: registration.connection,
        request: 1,
    };
    hub.visit(|state| {
        state
            .table
            .apply(clock::now(), from, command, &mut Vec::new())
    })
    .0
}

fn open(number: u128, ttl: Duration) -> Command<'static> {
    let (session, secret) = (SessionId::from_bits(number), Secret::from_bits(number));
    Command::Open {
        session,
        secret,
        terms: Terms::lasting(ttl),
        client: "",
        isolation: b"",
    }
}

fn enqueue(number: u128) -> Command<'static> {
    let (session, claim) = (SessionId::from_bits(number), ClaimId::from_bits(number));
    Command::Enqueue {
        session,
        claim,
        name: b"a",
        mode: Mode::Exclusive,
        waits: true,
        value: b"",
    }
}

#[tokio::test]
async fn a_grant_caused_by_the_end_of_a_connection_is_delivered_after_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let ttl = Duration::from_millis(1);
    let options = ServerOptions {
        storage: Some(StorageOptions::new(folder.path())),
        limits: Limits {
            ttl_min: ttl,
            ..Limits::default()
        },
        ..ServerOptions::default()
    };
    let hub = Arc::new(Hub::new(options).unwrap());
    let [holder, waiter, third] = [(); 3].map(|()| hub.enter().unwrap());
    apply(&hub, &waiter, open(2, Duration::from_secs(60)));
    apply(&hub, &holder, open(1, ttl));
    let opened = clock::now();
    assert!(matches!(
        apply(&hub, &holder, enqueue(1)),
        Some(Reply::Granted { .. })
    ));
    assert!(matches!(
        apply(&hub, &waiter, enqueue(2)),
        Some(Reply::Waiting { .. })
    ));
    clock::sleep_until(opened.after(2 * ttl)).await;
    drop(third);
    assert_eq!(
        locked(&hub.state).table.stats().sessions,
        1,
        "this visit has ended the holder's session"
    );
    assert!(
        locked(&waiter.outbox.waiting).is_empty(),
        "delivered before the log was written"
    );
    let told = tokio::time::timeout(Duration::from_secs(20), waiter.outbox.filled.notified());
    tokio::select! {
        told = told => told.expect("the grant is delivered"),
        () = expire(hub.clone()) => {}
    }
    assert!(!locked(&waiter.outbox.waiting).is_empty());
}
