//! A lock that one program acquires, a second extends, and a third releases: `cargo run --example
//! ticket`, or `-- --on URL`.
//!
//! The ticket is text, so it can be passed in a file or a database row. Treat it like a password.

use std::time::Duration;

use clap::Parser;
use distsync::{LockOptions, Result, Ticket, connect};

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:ticket")]
    on: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    // `memory:NAME` lives as long as a handle on it.
    let observer = connect(&url).await?;

    let ticket = begin(&url).await?;
    println!("the first program has ended, and the lock is held");
    assert!(observer.write("import")?.try_acquire().await?.is_none());

    extend(&url, &ticket).await?;
    println!("the second program has extended the lock");

    end(&url, &ticket).await?;
    let guard = observer.write("import")?.try_acquire().await?;
    assert!(guard.is_some(), "the lock is free");
    println!("the third program has released the lock");
    drop(guard);
    observer.close().await
}

/// The first program: acquires the lock for a minute.
async fn begin(url: &str) -> Result<String> {
    let sync = connect(url).await?;
    let minute = LockOptions::new().with_ttl(Duration::from_secs(60));
    let guard = sync.lock("import", minute)?.acquire().await?;
    let ticket = guard.detach()?.expose();
    sync.close().await?;
    Ok(ticket)
}

/// The second program: restarts the minute.
async fn extend(url: &str, ticket: &str) -> Result<()> {
    let sync = connect(url).await?;
    let guard = sync.resume(&ticket.parse::<Ticket>()?).await?;
    guard.extend().await?;
    // A guard releases when it is dropped. Detach it again.
    guard.detach()?;
    sync.close().await
}

/// The third program: releases the lock.
async fn end(url: &str, ticket: &str) -> Result<()> {
    let sync = connect(url).await?;
    let guard = sync.resume(&ticket.parse::<Ticket>()?).await?;
    guard.release().await?;
    sync.close().await
}
