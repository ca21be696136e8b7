//! Consul sessions and keys that an operator deletes.

use std::time::Duration;

use distsync::{LockOptions, connect};

use super::steps::http;
use crate::stores::Consul;

#[tokio::test]
async fn a_consul_session_that_is_destroyed_from_outside_is_lost() {
    let consul = Consul::start();
    let sync = connect(&format!("consul://127.0.0.1:{}?ttl=10s", consul.port()))
        .await
        .unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    let sessions = http(consul.port(), "GET", "/v1/session/list", "", "");
    let id = sessions
        .split("\"ID\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap();
    http(
        consul.port(),
        "PUT",
        &format!("/v1/session/destroy/{id}"),
        "",
        "",
    );
    let loss = tokio::time::timeout(Duration::from_secs(5), guard.revoked())
        .await
        .expect("told in time");
    assert_eq!(loss, distsync::Loss::SessionLost);
    assert!(lock.acquire().await.unwrap().token() > guard.token());
}

#[tokio::test]
async fn a_key_that_is_deleted_under_its_consul_session_is_reported() {
    let consul = Consul::start();
    let sync = connect(&format!("consul://127.0.0.1:{}?ttl=30s", consul.port()))
        .await
        .unwrap();
    let acquire = async |name: &str| {
        sync.lock(name, LockOptions::new())
            .unwrap()
            .acquire()
            .await
            .unwrap()
    };
    let guard = acquire("a").await;
    // Hold more keys than one transaction can check, and release one key ourselves.
    let mut others = Vec::new();
    for number in 0..100 {
        others.push(acquire(&format!("other-{number}")).await);
    }
    acquire("released").await.release().await.unwrap();
    http(
        consul.port(),
        "DELETE",
        "/v1/kv/distsync/l/a?recurse",
        "",
        "",
    );
    let loss = tokio::time::timeout(Duration::from_secs(15), guard.revoked())
        .await
        .expect("told in time");
    assert_eq!(loss, distsync::Loss::Evicted);
    assert!(
        others
            .iter()
            .all(|guard| guard.check(Duration::ZERO).is_ok()),
        "the others are held"
    );
}
