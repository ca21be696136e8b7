//! Ten processes need a value that is expensive to compute. One computes it, and the others read it
//! from the cache: `cargo run --example cache_fill`, or `-- --on URL`.
//!
//! Each process reads the cache, acquires the lock if the value is missing, and reads again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use distsync::{DynSync, LockOptions, Result, connect, with_lock};
use tokio::task::JoinSet;

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:cache_fill")]
    on: String,
}

/// A cache that all processes share, such as a Redis server.
#[derive(Default)]
struct Cache {
    value: Mutex<Option<u64>>,
    computed: AtomicU32,
}

impl Cache {
    fn get(&self) -> Option<u64> {
        *self.value.lock().unwrap()
    }

    async fn fill(&self) -> u64 {
        self.computed.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        *self.value.lock().unwrap().insert(42)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    let cache = Arc::new(Cache::default());
    let mut processes: JoinSet<Result<u64>> = JoinSet::new();
    for _ in 0..10 {
        let (url, cache) = (url.clone(), cache.clone());
        processes.spawn(async move {
            let sync = connect(&url).await?;
            let value = price(&*sync, &cache).await?;
            sync.close().await?;
            Ok(value)
        });
    }
    for value in processes.join_all().await {
        assert_eq!(value?, 42);
    }
    let computed = cache.computed.load(Ordering::SeqCst);
    println!("10 processes have the value, which was computed {computed} time");
    assert_eq!(computed, 1);
    Ok(())
}

async fn price(sync: &DynSync, cache: &Cache) -> Result<u64> {
    if let Some(value) = cache.get() {
        return Ok(value);
    }
    let lock = sync.lock("cache of prices", LockOptions::new())?;
    with_lock(&*lock, async |_guard| match cache.get() {
        // Another process has filled the cache while this one waited.
        Some(value) => value,
        None => cache.fill().await,
    })
    .await
}
