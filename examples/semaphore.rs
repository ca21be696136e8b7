//! Six uploads, of which at most two run at the same time: `cargo run --example semaphore`, or `--
//! --on URL`.
//!
//! The limit holds for all processes that use the name. The others wait in the order of arrival.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use distsync::{DynSync, Result, connect};

const LIMIT: u16 = 2;

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:semaphore")]
    on: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    let sync = connect(&url).await?;
    let running = AtomicUsize::new(0);
    tokio::try_join!(
        upload(&*sync, 1, &running),
        upload(&*sync, 2, &running),
        upload(&*sync, 3, &running),
        upload(&*sync, 4, &running),
        upload(&*sync, 5, &running),
        upload(&*sync, 6, &running),
    )?;
    println!("all uploads have ended");
    sync.close().await
}

async fn upload(sync: &DynSync, number: u32, running: &AtomicUsize) -> Result<()> {
    let permit = sync.semaphore("uploads", LIMIT)?.acquire().await?;
    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
    assert!(now <= usize::from(LIMIT), "{now} uploads at the same time");
    println!("upload {number} starts");
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.fetch_sub(1, Ordering::SeqCst);
    permit.release().await?;
    Ok(())
}
