//! Two nodes of a service, of which one leads. The leader shuts down, and the other node takes over
//! at once: `cargo run --example leader`, or `-- --on URL`.
//!
//! Shows `run_as_leader`, which campaigns, runs the work, stops it, and resigns.

use std::time::Duration;

use clap::Parser;
use distsync::{LeaderOptions, Node, Result, Term, connect, run_as_leader};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:leader")]
    on: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    // In a service, the shutdown is a signal: `tokio::signal::ctrl_c()`.
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let operator = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        println!("an operator stops node-1");
        first.cancel();
        tokio::time::sleep(Duration::from_millis(500)).await;
        second.cancel();
        Ok(())
    };
    tokio::try_join!(
        node(&url, "node-1", Duration::ZERO, &first),
        node(&url, "node-2", Duration::from_millis(200), &second),
        operator,
    )?;
    Ok(())
}

async fn node(url: &str, id: &str, delay: Duration, shutdown: &CancellationToken) -> Result<()> {
    tokio::time::sleep(delay).await;
    let sync = connect(url).await?;
    let leader = sync.leader("scheduler", LeaderOptions::new(Node::new(id)))?;
    run_as_leader(&*leader, shutdown.cancelled(), async |term: Term| {
        println!("{id} leads");
        while term.stop_reason().is_none() {
            // Each step presents `term.token()` to what it changes.
            tokio::select! {
                _ = term.stopping() => {}
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
        println!("{id} has ended its work");
    })
    .await?;
    sync.close().await
}
