//! Two readers share a lock, a writer waits for them, and a reader that comes later waits for the
//! writer: `cargo run --example read_write`, or `-- --on URL`.
//!
//! Four clients, each with its own session, join the queue 100 ms apart and hold for 500 ms. The
//! order of events is always:
//!
//! ```text
//! waiting r1, got r1, waiting r2, got r2, waiting w3, waiting r4,
//! releasing r1, releasing r2, got w3, releasing w3, got r4, releasing r4
//! ```

use std::time::Duration;

use clap::Parser;
use distsync::{LockOptions, Result, Wait, connect};

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:read_write")]
    on: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    let reader = LockOptions::shared();
    let writer = LockOptions::new();
    tokio::try_join!(
        client(&url, "r1", 0, reader.clone()),
        client(&url, "r2", 100, reader.clone()),
        client(&url, "w3", 200, writer),
        client(&url, "r4", 300, reader),
    )?;
    Ok(())
}

/// Acquires the lock after `delay_ms`, holds it for half a second, and releases it.
async fn client(url: &str, name: &str, delay_ms: u64, options: LockOptions) -> Result<()> {
    let sync = connect(url).await?;
    let patient = options.with_wait(Wait::For(Duration::from_secs(2)));
    let lock = sync.lock("mylocks/a", patient)?;

    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    println!("waiting {name}");
    let guard = lock.acquire().await?;
    println!("got {name}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!("releasing {name}");
    guard.release().await?;
    sync.close().await
}
