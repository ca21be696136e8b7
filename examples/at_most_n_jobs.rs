//! Five workers try to run an expensive job. At most two run it at the same time, and the others do
//! something else: `cargo run --example at_most_n_jobs`, or `-- --on URL`.
//!
//! `semaphore` shows the same limit with workers that wait.

use std::time::Duration;

use clap::Parser;
use distsync::{DynSync, Result, connect};

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:at_most_n_jobs")]
    on: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    let sync = connect(&url).await?;
    let outcomes = tokio::try_join!(
        work(&*sync, 1),
        work(&*sync, 2),
        work(&*sync, 3),
        work(&*sync, 4),
        work(&*sync, 5),
    )?;
    let ran = <[bool; 5]>::from(outcomes)
        .iter()
        .filter(|ran| **ran)
        .count();
    println!("{ran} of 5 workers ran the job");
    assert_eq!(ran, 2);
    sync.close().await
}

/// Returns whether this worker ran the job.
async fn work(sync: &DynSync, worker: u32) -> Result<bool> {
    let Some(permit) = sync.semaphore("reindex", 2)?.try_acquire().await? else {
        println!("worker {worker} does something else");
        return Ok(false);
    };
    println!("worker {worker} runs the job");
    tokio::time::sleep(Duration::from_millis(500)).await;
    permit.release().await?;
    Ok(true)
}
