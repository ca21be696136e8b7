//! A service of several processes that elect a leader, with HTTP endpoints: `cargo run --example
//! microservice -- --on URL --id node-1`.
//!
//! Start a server and three processes with different ids, each in its own terminal. Each process
//! prints its port. Then kill the process that leads.
//!
//! ```sh
//! cargo run -p distsync-netlock --features program --bin netlockd
//! cargo run --example microservice -- --on 'netlock://127.0.0.1?ttl=3s' --id node-1
//! curl http://127.0.0.1:PORT/leader
//! ```
//!
//! A killed leader is replaced when its session expires, after the TTL. A leader that gets SIGTERM
//! or Ctrl-C ends its work, resigns, and is replaced at once.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use clap::Parser;
use distsync::{Leader, LeaderOptions, Node, Term, Token, connect, run_as_leader};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error + Send + std::marker::Sync>;

/// One process of the service.
#[derive(Debug, Parser)]
struct Flags {
    /// The store, which all processes share: netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, env = "DISTSYNC_URL", hide_env_values = true)]
    on: String,
    /// The name of this process. In a pod, its host name.
    #[arg(long, env = "HOSTNAME")]
    id: String,
    /// The address of the HTTP endpoints.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A file to which the leader appends its term and its name.
    #[arg(long)]
    journal: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let flags = Flags::parse();
    let sync = connect(&flags.on).await?;
    let listener = TcpListener::bind(flags.listen).await?;
    let address = listener.local_addr()?;
    let node = Node::new(&flags.id).with_value(address.to_string());
    let leader: Arc<dyn Leader> = sync
        .leader("microservice", LeaderOptions::new(node))?
        .into();
    println!("{} listens on http://{address}", flags.id);

    let stop = CancellationToken::new();
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/leader", get(who_leads))
        .with_state(leader.clone());
    let serving = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
    let leading = run_as_leader(&*leader, stop.cancelled(), async |term: Term| {
        lead(&term, &flags).await
    });
    let (served, led, stopped) = tokio::join!(serving, leading, stop_on_a_signal(&stop));
    sync.close().await?;
    stopped?;
    served?;
    led?.unwrap_or(Ok(()))
}

/// The work of the leader: a step every 20 ms, until the term ends.
async fn lead(term: &Term, flags: &Flags) -> Result<(), Failure> {
    println!("{} leads in term {}", flags.id, term.token());
    while term.stop_reason().is_none() {
        // While renewals fail, a step begins only if enough of the lease is left for it.
        if let Ok(token) = term.check(Duration::from_millis(100)) {
            step(token, flags)?;
        }
        tokio::select! {
            _ = term.stopping() => {}
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    println!("{} no longer leads", flags.id);
    Ok(())
}

/// One step of the work. The term is the fencing token: a real resource rejects an outdated one.
fn step(token: Token, flags: &Flags) -> Result<(), Failure> {
    if let Some(path) = &flags.journal {
        let mut journal = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)?;
        journal.write_all(format!("{token} {}\n", flags.id).as_bytes())?;
    }
    Ok(())
}

/// Returns the leader, from any process of the service.
async fn who_leads(State(leader): State<Arc<dyn Leader>>) -> (StatusCode, String) {
    match leader.leader().await {
        Ok(Some(found)) => {
            let (id, address) = (found.node.id(), found.node.value());
            (
                StatusCode::OK,
                format!("{id} at {address}, term {}\n", found.term),
            )
        }
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "no leader\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// Asks the process to stop at SIGTERM or SIGINT.
async fn stop_on_a_signal(stop: &CancellationToken) -> std::io::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = stop.cancelled() => {}
    }
    stop.cancel();
    Ok(())
}
