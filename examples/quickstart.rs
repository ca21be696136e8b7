//! Locks, fencing and an election in a few seconds: `cargo run --example quickstart`, or `-- --on URL` for any store.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use distsync::{Fence, Handle, LeaderOptions, LockOptions, Node, Result, Sync, backend, connect};
use futures_util::StreamExt;
use sync_core::conformance::{Faulty, Network};

/// A tour of distsync.
#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, ...
    #[arg(long, default_value = "memory:quickstart")]
    on: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    println!("Two clients on {}\n", url.split('?').next().unwrap_or_default());
    // As two processes would: each has a session of its own.
    let (one, two) = (connect(&url).await?, connect(&url).await?);

    println!("1. Two tasks contend for a lock. Each grant has a greater fencing token.");
    let ((), ()) = tokio::try_join!(contend("one", &*one), contend("two", &*two))?;

    println!("\n2. A resource refuses a token that is older than the newest it has seen.");
    fence(&*one, &*two).await?;

    println!("\n3. Two candidates stand for election; the leader resigns.");
    elections(&*one, &*two).await?;

    println!("\n4. A leader is cut off: it learns so before the other takes over.");
    cut_off(&url, &*two).await?;

    one.close().await?;
    two.close().await?;
    println!("\nDone.");
    Ok(())
}

async fn contend(name: &str, sync: &dyn Sync) -> Result<()> {
    let lock = sync.lock("report", LockOptions::default())?;
    for _ in 0..2 {
        let guard = lock.acquire().await?;
        println!("   {name} holds with token {}", guard.token());
        tokio::time::sleep(Duration::from_millis(30)).await;
        guard.release().await?;
    }
    Ok(())
}

async fn fence(one: &dyn Sync, two: &dyn Sync) -> Result<()> {
    let mut store = Fence::new();
    let old = one.lock("disk", LockOptions::default())?.acquire().await?;
    store.enter(old.token())?;
    println!("   token {} enters before it reads", old.token());
    let old_token = old.token();
    old.release().await?;
    let new = two.lock("disk", LockOptions::default())?.acquire().await?;
    store.enter(new.token())?;
    println!("   token {} enters before it reads", new.token());
    match store.check(old_token) {
        Ok(()) => println!("   token {old_token} writes: this must not happen"),
        Err(error) => println!("   a late write is refused: {error}"),
    }
    store.check(new.token())?;
    println!("   token {} writes", new.token());
    new.release().await?;
    Ok(())
}

async fn elections(one: &dyn Sync, two: &dyn Sync) -> Result<()> {
    let first = one.leader("scheduler", LeaderOptions::new(Node::new("node-1")))?;
    let second = two.leader("scheduler", LeaderOptions::new(Node::new("node-2")))?;
    let office = first.elect().await?;
    println!("   node-1 leads in term {}", office.token());
    let (next, resigned) = tokio::join!(second.elect(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        println!("   node-1 resigns");
        office.resign().await
    });
    resigned?;
    let next = next?;
    println!("   node-2 leads in term {}", next.token());
    next.resign().await?;
    Ok(())
}

/// Node 1 has a network that can be cut: the test suite's, put around the store's backend.
async fn cut_off(url: &str, two: &dyn Sync) -> Result<()> {
    let (backend, options) = backend(url)?;
    // The shortest TTL that the store grants, so that this does not take long.
    let ttl = backend.capabilities().ttl_min.max(Duration::from_millis(1_500));
    let network = Network::default();
    let faulty = Arc::new(Faulty::new(backend, network.clone()));
    let sync = Handle::open(faulty, options.with_session_ttl(ttl)).await?;
    let first = sync.leader("scheduler", LeaderOptions::new(Node::new("node-1")))?;
    let second = two.leader("scheduler", LeaderOptions::new(Node::new("node-2")))?;
    let mut watch = second.watch();
    let office = first.elect().await?;
    println!("   node-1 leads in term {}", office.token());
    network.cut();
    println!("   node-1 loses its network");
    let ((), next) =
        tokio::join!(async { println!("   node-1 is revoked: {}", office.revoked().await) }, second.elect(),);
    let next = next?;
    println!("   node-2 leads in term {}", next.token());
    while let Some(leadership) = watch.next().await.transpose()? {
        if let Some(leadership) = leadership.filter(|leadership| leadership.term == next.token()) {
            println!("   an observer sees {} in term {}", leadership.node.id(), leadership.term);
            break;
        }
    }
    next.resign().await?;
    Ok(())
}
