//! A tour of locks, fencing and elections that takes a few seconds: `cargo run --example
//! quickstart`, or `-- --on URL` for any store.

use std::time::Duration;

use clap::Parser;
use distsync::{DynSync, Fence, LeaderOptions, LockOptions, Node, Result, connect};
use futures_util::StreamExt;

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
    println!(
        "Two clients on {}\n",
        url.split('?').next().unwrap_or_default()
    );
    // Two handles act like two processes: each has its own session.
    let (one, two) = (connect(&url).await?, connect(&url).await?);

    println!("1. Two tasks contend for a lock. Each grant has a greater fencing token.");
    let ((), ()) = tokio::try_join!(contend("one", &*one), contend("two", &*two))?;

    println!("\n2. A resource refuses a token that is older than the newest it has seen.");
    fence(&*one, &*two).await?;

    println!("\n3. Two candidates stand for election; the leader resigns.");
    elections(&*one, &*two).await?;

    println!("\n4. A leader loses its office: it is told, and the next one takes over.");
    evict(&*one, &*two).await?;

    one.close().await?;
    two.close().await?;
    println!("\nDone.");
    Ok(())
}

async fn contend(name: &str, sync: &DynSync) -> Result<()> {
    let lock = sync.lock("report", LockOptions::default())?;
    for _ in 0..2 {
        let guard = lock.acquire().await?;
        println!("   {name} holds with token {}", guard.token());
        tokio::time::sleep(Duration::from_millis(30)).await;
        guard.release().await?;
    }
    Ok(())
}

async fn fence(one: &DynSync, two: &DynSync) -> Result<()> {
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

async fn elections(one: &DynSync, two: &DynSync) -> Result<()> {
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

/// Ends the leadership of node 1 as an operator, like `netlockd admin evict` does.
async fn evict(one: &DynSync, two: &DynSync) -> Result<()> {
    let first = one.leader("scheduler", LeaderOptions::new(Node::new("node-1")))?;
    let second = two.leader("scheduler", LeaderOptions::new(Node::new("node-2")))?;
    let mut watch = second.watch();
    let office = first.elect().await?;
    println!("   node-1 leads in term {}", office.token());
    for claim in second.inspect().await?.holders() {
        second.evict(claim.claim).await?;
    }
    println!("   an operator ends its leadership");
    let ((), next) = tokio::join!(
        async { println!("   node-1 is revoked: {}", office.revoked().await) },
        second.elect(),
    );
    let next = next?;
    println!("   node-2 leads in term {}", next.token());
    while let Some(leadership) = watch.next().await.transpose()? {
        if let Some(leadership) = leadership.filter(|leadership| leadership.term == next.token()) {
            println!(
                "   an observer sees {} in term {}",
                leadership.node.id(),
                leadership.term
            );
            break;
        }
    }
    next.resign().await?;
    Ok(())
}
