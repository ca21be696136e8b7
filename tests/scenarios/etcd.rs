//! Compaction and fenced transactions of etcd.

use std::time::Duration;

use distsync::etcd::etcd_client::{Client, Txn, TxnOp};
use distsync::{LockOptions, connect};

use crate::stores::Etcd;

#[tokio::test]
async fn etcd_compaction_does_not_lose_a_waiter() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let sync = connect(&format!("etcd://{address}?namespace=shop"))
        .await
        .unwrap();
    let admin = Client::connect([&address], None).await.unwrap();
    let guard = sync
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let second = sync.lock("a", LockOptions::new()).unwrap();
    let (next, released) = tokio::join!(second.acquire(), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let revision = admin
            .kv_client()
            .put("elsewhere", "x", None)
            .await
            .unwrap()
            .header()
            .unwrap()
            .revision();
        admin.kv_client().compact(revision, None).await.unwrap();
        guard.release().await
    });
    released.unwrap();
    next.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn an_etcd_transaction_can_be_fenced_by_a_guard() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let sync = connect(&format!("etcd://{address}")).await.unwrap();
    let mut kv = Client::connect([&address], None).await.unwrap().kv_client();
    let guard = sync
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let fence = distsync::etcd::fence(&guard);
    let write = || {
        Txn::new()
            .when([fence.clone()])
            .and_then([TxnOp::put("data", "x", None)])
    };
    assert!(
        kv.txn(write()).await.unwrap().succeeded(),
        "a holder writes"
    );
    guard.release().await.unwrap();
    assert!(
        !kv.txn(write()).await.unwrap().succeeded(),
        "a former holder writes"
    );
}
