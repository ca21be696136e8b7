//! The HTTP port of a candidate, for programs that do not use distsync.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use distsync::spi::{clock, locked};
use distsync::{Elected, Leader, Leadership, Moment};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::exit::{Failure, OTHER, USAGE, tell};

/// The HTTP server, on a thread and a runtime of its own: requests must not delay the supervisor of
/// the command. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Sidecar {
    view: Arc<View>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The leadership, as the server's replies show it.
#[derive(Debug)]
struct View {
    leader: Arc<dyn Leader>,
    /// The leadership of this candidate, while it has one.
    held: Mutex<Option<Arc<dyn Elected>>>,
    observed: tokio::sync::Mutex<Option<Observation>>,
}

/// An answer of the store.
#[derive(Clone, Debug)]
struct Observation {
    /// The moment before the request was sent.
    at: Moment,
    /// The leader, or why it is not known.
    leader: Result<Option<Leadership>, String>,
}

/// How long an answer of the store serves all requests, so that many clients are one for the store.
const FRESH: Duration = Duration::from_millis(500);

/// The longest time for which a request waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);

impl Sidecar {
    /// Binds the address, prints it to standard error, and serves it.
    pub(super) fn start(address: &str, leader: Arc<dyn Leader>) -> Result<Self, Failure> {
        let (listener, bound) = bind(address).map_err(|error| {
            let problem = format!(
                "cannot serve HTTP at `{}`: give host:port with a port that is not in use ({error})",
                address.escape_debug()
            );
            Failure::new(USAGE, problem)
        })?;
        let view = Arc::new(View {
            leader,
            held: Mutex::default(),
            observed: tokio::sync::Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let served = view.clone();
        let thread = std::thread::Builder::new()
            .name("distsync-http".to_owned())
            .spawn(move || serve(listener, served, stopped))
            .map_err(|error| {
                let problem = format!("cannot start a thread: raise the limit ({error})");
                Failure::new(OTHER, problem)
            })?;
        tell(format_args!("serving http://{bound}"));
        Ok(Self {
            view,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Sets the leadership of this candidate.
    pub(super) fn lead(&self, elected: Option<Arc<dyn Elected>>) {
        *locked(&self.view.held) = elected;
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(address: &str) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

fn serve(listener: TcpListener, view: Arc<View>, stopped: oneshot::Receiver<()>) {
    let router = Router::new()
        .route("/leader", get(leader))
        .route("/am-i-leader", get(am_i_leader))
        .with_state(view);
    let served = crate::with_runtime(async {
        let served = async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, router).await
        };
        tokio::select! {
            served = served => served.map_err(|error| {
                Failure::new(OTHER, format!("the HTTP port has failed: start again ({error})"))
            }),
            _ = stopped => Ok(()),
        }
    });
    if let Err(failure) = served {
        failure.print(false);
    }
}

/// Replies with the leader: 200, 409 if there is none, 503 if it is not known.
async fn leader(State(view): State<Arc<View>>) -> Response {
    match view.observe().await {
        Ok(Some(leader)) => reply(StatusCode::OK, &described(&leader)),
        Ok(None) => reply(
            StatusCode::CONFLICT,
            &json!({ "error": "there is no leader" }),
        ),
        Err(problem) => reply(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "error": problem }),
        ),
    }
}

/// Replies 200 if this candidate is the leader now, by its own clock; otherwise 409 with the
/// leader, or 503 if the store does not answer.
async fn am_i_leader(State(view): State<Arc<View>>) -> Response {
    if let Some(term) = view.term() {
        return reply(StatusCode::OK, &json!({ "is_leader": true, "term": term }));
    }
    match view.observe().await {
        Ok(leader) => {
            let leader = leader.as_ref().map(described);
            reply(
                StatusCode::CONFLICT,
                &json!({ "is_leader": false, "leader": leader }),
            )
        }
        Err(problem) => reply(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "error": problem }),
        ),
    }
}

/// Describes a leader. The term is a string, because many programs read numbers above 2^53 wrongly.
fn described(leader: &Leadership) -> Value {
    json!({
        "node": leader.node.id(), "value": leader.node.value(), "term": leader.term.to_string(),
    })
}

fn reply(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}

impl View {
    /// Returns the term of this candidate, if it leads.
    fn term(&self) -> Option<String> {
        let held = locked(&self.held);
        let token = held.as_ref()?.check(Duration::ZERO).ok()?;
        Some(token.to_string())
    }

    /// Returns the leader as the store knew it at most [`FRESH`] ago.
    async fn observe(&self) -> Result<Option<Leadership>, String> {
        let mut observed = self.observed.lock().await;
        let at = clock::now();
        if let Some(recent) = observed.as_ref().filter(|seen| at.since(seen.at) < FRESH) {
            return recent.leader.clone();
        }
        let asked = clock::until(at.after(PATIENCE), self.leader.leader()).await;
        let (at, leader) = match asked {
            Some(Ok(leader)) => (at, Ok(leader)),
            // A failure counts from now: it may have taken longer than it is kept.
            Some(Err(error)) => (clock::now(), Err(error.to_string())),
            None => (
                clock::now(),
                Err(format!("the store did not answer within {PATIENCE:?}")),
            ),
        };
        observed.insert(Observation { at, leader }).leader.clone()
    }
}
