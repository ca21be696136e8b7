//! One program, any store: the URL comes from the configuration, and the code stays the same.
//!
//! ```sh
//! cargo run --example swap                                          # memory:
//! DISTSYNC_URL=netlock://127.0.0.1 cargo run --example swap
//! DISTSYNC_URL=redis://127.0.0.1 cargo run --example swap --features redis
//! ```
//!
//! The stores differ in their promises. `capabilities` returns them, and `docs/semantics.md`
//! explains them.

use clap::Parser;
use distsync::{LockOptions, Result, connect};

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, env = "DISTSYNC_URL", default_value = "memory:")]
    on: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let sync = connect(&Flags::parse().on).await?;
    let promises = sync.capabilities();
    println!("store: {}", promises.backend);
    println!("a restart keeps the locks: {}", promises.survives_restart);
    println!(
        "a failure of the store keeps the grants: {}",
        promises.durable_grants
    );

    let guard = sync.lock("report", LockOptions::new())?.acquire().await?;
    println!("the lock is held");
    guard.release().await?;
    sync.close().await
}
