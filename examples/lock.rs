//! Two clients contend for a lock, and the second one waits for its turn: `cargo run --example
//! lock`, or `-- --on URL`.
//!
//! Shows `acquire`, `try_acquire`, a limited wait, a fencing token, and a release.

use std::time::Duration;

use clap::Parser;
use distsync::{ErrorKind, LockOptions, Result, Wait, connect};

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:lock")]
    on: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    // Two handles act like two processes: each has its own session.
    let (first, second) = (connect(&url).await?, connect(&url).await?);

    let guard = first.lock("report", LockOptions::new())?.acquire().await?;
    println!("the first client holds the lock");

    let lock = second.lock("report", LockOptions::new())?;
    if lock.try_acquire().await?.is_none() {
        println!("the second client tries: the lock is taken");
    }
    let patient = LockOptions::new().with_wait(Wait::For(Duration::from_millis(100)));
    match second.lock("report", patient)?.acquire().await {
        Err(error) if error.kind() == ErrorKind::Timeout => {
            println!("the second client waits for 100 ms: the lock is still taken");
        }
        other => drop(other?),
    }

    let earlier = guard.token();
    let (next, released) = tokio::join!(lock.acquire(), async {
        println!("the first client releases it");
        guard.release().await
    });
    released?;
    let next = next?;
    assert!(next.token() > earlier, "a later grant has a greater token");
    println!("the second client holds the lock, with a greater fencing token");
    next.release().await?;

    first.close().await?;
    second.close().await
}
