//! An etcd handle is used from several runtimes, one after the other.

use std::sync::Arc;
use std::time::Duration;

use distsync::{LockOptions, Sync, connect};

use super::stores::Etcd;

/// Acquires, watches, waits and releases on this runtime.
fn used_from(runtime: &tokio::runtime::Runtime, sync: &Arc<dyn Sync>) {
    runtime.block_on(async {
        let lock = sync.lock("a", LockOptions::new()).unwrap();
        let mut watch = lock.watch();
        let first = async { futures_util::StreamExt::next(&mut watch).await.unwrap().unwrap() };
        tokio::time::timeout(Duration::from_secs(20), first).await.expect("the watch says nothing");
        let guard = lock.acquire().await.unwrap();
        let waiting = sync.lock("a", LockOptions::new()).unwrap();
        let (next, _) = tokio::join!(waiting.acquire(), async {
            while lock.inspect().await.unwrap().entries.len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            guard.release().await.unwrap()
        });
        next.unwrap().release().await.unwrap();
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn an_etcd_handle_outlives_the_runtime_that_connected() {
    let etcd = Etcd::start();
    let url = format!("etcd://127.0.0.1:{}", etcd.port());
    let first = runtime();
    let sync = first.block_on(connect(&url)).unwrap();
    used_from(&first, &sync);
    drop(first);
    for _ in 0..2 {
        used_from(&runtime(), &sync);
    }
}

#[test]
fn an_etcd_handle_does_not_need_its_first_runtime_to_be_driven() {
    let etcd = Etcd::start();
    let url = format!("etcd://127.0.0.1:{}", etcd.port());
    let (first, second) = (runtime(), runtime());
    let sync = first.block_on(connect(&url)).unwrap();
    used_from(&first, &sync);
    used_from(&second, &sync);
    used_from(&first, &sync);
}
