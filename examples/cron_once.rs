//! A job that cron starts on three machines in the same minute and that runs once: `cargo run
//! --example cron_once`, or `-- --on URL`.
//!
//! The job is shorter than the difference of the machines' clocks. Without a minimal hold, the
//! machine whose clock is behind would find the lock free and run the job again.

use std::time::Duration;

use clap::Parser;
use distsync::{LockOptions, Result, connect};

/// Longer than the greatest difference of the clocks, shorter than the time between two runs.
const MIN_HOLD: Duration = Duration::from_secs(2);

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:cron_once")]
    on: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    // `memory:NAME` lives as long as a handle on it.
    let sync = connect(&url).await?;
    let mut runs = 0;
    for (machine, clock) in [
        ("a", "on time"),
        ("b", "50 ms behind"),
        ("c", "100 ms behind"),
    ] {
        if start(&url).await? {
            runs += 1;
            println!("machine {machine}, whose clock is {clock}, runs the job");
        } else {
            println!("machine {machine}, whose clock is {clock}, skips it");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(runs, 1, "the job runs once");
    sync.close().await
}

/// Returns whether this machine ran the job.
async fn start(url: &str) -> Result<bool> {
    let sync = connect(url).await?;
    let once = LockOptions::new().with_min_hold(MIN_HOLD);
    let Some(guard) = sync.lock("nightly report", once)?.try_acquire().await? else {
        sync.close().await?;
        return Ok(false);
    };
    // The job would be here. It takes a few milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    guard.release().await?; // the store keeps the lock for the minimal hold at least
    sync.close().await?;
    Ok(true)
}
