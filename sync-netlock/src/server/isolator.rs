//! Isolates clients whose session ended while it held claims, before the claims are granted to
//! others. A program of the operator does it, for example by ending the client's process, closing
//! its connections or powering off its host.
//!
//! In a cluster, the leader runs the program, and only after a majority has committed that the
//! session has ended. Before each run, a majority confirms that this server still leads. The next
//! leader runs the program again.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use distsync_core::spi::{SessionId, clock};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command as Program;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::hub::{Hub, NotLeading};
use super::options::{IsolationOptions, OnFailure, ServerOptions};
use crate::engine::{Command, Isolation, Journal, LockTable, Reason, Requester};

/// The input of the program, as JSON, without the field `locks`.
#[derive(Serialize)]
struct Event<'a> {
    event: String,
    session: String,
    client: &'a str,
    isolation: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct Held<'a> {
    name: &'a str,
    token: u64,
    value: String,
}

/// How many locks are encoded at once, so that other tasks do not wait for a long list.
const LOCKS_AT_ONCE: usize = 1_000;

/// Encodes the input of the program. Takes the locks of the isolation.
///
/// # Cancel safety
/// Not safe: some of the locks are taken.
async fn event(isolation: &mut Isolation) -> Vec<u8> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut locks = std::mem::take(&mut isolation.locks).into_iter();
    let mut list = Vec::new();
    loop {
        // Serializing strings and numbers cannot fail.
        for (name, token, value) in locks.by_ref().take(LOCKS_AT_ONCE) {
            if !list.is_empty() {
                list.push(b',');
            }
            let held = Held {
                name: &name,
                token: token.get(),
                value: text(&value),
            };
            let _ = serde_json::to_writer(&mut list, &held);
        }
        if locks.len() == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let Isolation {
        session,
        client,
        info,
        reason,
        ..
    } = isolation;
    let event = Event {
        event: session.to_string(),
        session: session.to_string(),
        client,
        isolation: text(info),
        reason: match reason {
            Reason::Expired => "expired",
            Reason::Ended => "ended",
        },
    };
    let mut input = serde_json::to_vec(&event).unwrap_or_default();
    // The list of locks is the last field.
    input.pop();
    input.extend_from_slice(b",\"locks\":[");
    input.append(&mut list);
    input.extend_from_slice(b"]}");
    input
}

/// Isolates the clients that the table names, until the server stops. Stopping kills the running
/// programs, as does the end of a leadership. They run again after a restart, or at the next
/// leader.
pub(super) async fn serve(hub: Arc<Hub>) {
    let Some(options) = hub.options.isolation.clone().map(Arc::new) else {
        return;
    };
    let permits = Arc::new(Semaphore::new(options.parallel));
    let mut running = JoinSet::new();
    let mut last = None;
    while !hub.is_stopped() {
        let ((leadership, isolations), _) =
            hub.visit(|state| (state.table_of(), state.table.take_isolations()));
        if leadership != last {
            running.shutdown().await;
            last = leadership;
        }
        for isolation in isolations {
            running.spawn(isolate(
                hub.clone(),
                options.clone(),
                permits.clone(),
                leadership,
                isolation,
            ));
        }
        tokio::select! {
            () = hub.to_isolate.notified() => {}
            Some(_) = running.join_next() => {}
        }
    }
}

/// Enables isolation in a table that executes requests, if the options say so.
pub(super) fn prepare_isolation<J: Journal>(options: &ServerOptions, table: &mut LockTable<J>) {
    if options.isolation.is_some() {
        table.enable_isolation();
    } else if table.isolating() > 0 {
        warn!(
            clients = table.isolating(),
            "clients are being isolated, and there is no program for it: configure one, or run `confirm-isolated`"
        );
    }
}

/// Returns whether a client still has to be isolated. In a cluster, a majority has confirmed that
/// this server leads, and has committed that the session has ended.
async fn is_due(hub: &Hub, leadership: Option<u64>, session: SessionId) -> bool {
    loop {
        let (is_isolating, position) =
            hub.visit(|state| state.table_of() == leadership && state.table.is_isolating(session));
        match hub.stored(position).await {
            Ok(()) => return is_isolating,
            // This server does not lead, or no majority confirms it. It can be confirmed later.
            Err(NotLeading) if is_isolating => {}
            Err(NotLeading) => return false,
        }
    }
}

async fn isolate(
    hub: Arc<Hub>,
    options: Arc<IsolationOptions>,
    permits: Arc<Semaphore>,
    leadership: Option<u64>,
    mut isolation: Isolation,
) {
    let session = isolation.session;
    let input = event(&mut isolation).await;
    let mut pause = Duration::from_secs(1);
    for attempt in 0..=options.retries {
        let Ok(permit) = permits.acquire().await else {
            return;
        };
        if !is_due(&hub, leadership, session).await {
            return;
        }
        match run(&options, &input).await {
            Ok(()) => {
                info!(%session, client = isolation.client, "client isolated: its locks are released");
                hub.traffic.isolations.fetch_add(1, Ordering::Relaxed);
                return confirm(&hub, session).await;
            }
            Err(why) => {
                warn!(%session, client = isolation.client, attempt, why, "cannot isolate the client");
                hub.traffic
                    .isolation_failures
                    .fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(permit);
        if attempt < options.retries {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
    match options.on_failure {
        OnFailure::Hold => error!(
            %session,
            client = isolation.client,
            "cannot isolate the client: its locks stay held until an operator runs `confirm-isolated`"
        ),
        OnFailure::GrantAfter(time) => {
            error!(
                %session,
                client = isolation.client,
                ?time,
                "cannot isolate the client: its locks are released after this time"
            );
            tokio::time::sleep(time).await;
            confirm(&hub, session).await;
        }
    }
}

/// Kills a program and its children when it is dropped.
struct Running(Option<Pid>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Ignore errors: the program may have ended in the meantime.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn confirm(hub: &Hub, session: SessionId) {
    let mut effects = Vec::new();
    let command = Command::ConfirmIsolated { session };
    let (_, position) = hub.visit(|state| {
        state
            .table
            .apply(clock::now(), Requester::HOST, command, &mut effects)
    });
    if hub.stored(position).await.is_ok() {
        hub.post(&mut effects);
    }
}

/// Runs the program once.
async fn run(options: &IsolationOptions, input: &[u8]) -> Result<(), String> {
    let Some((program, arguments)) = options.command.split_first() else {
        return Err("no program is configured".to_owned());
    };
    let mut child = Program::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // A group of its own, so that its children can be killed with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start `{program}` ({error})"))?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let mut running = Running(group);
    let mut stdin = child.stdin.take();
    let work = async {
        if let Some(stdin) = &mut stdin {
            // The program need not read its input.
            let _ = stdin.write_all(input).await;
        }
        drop(stdin);
        child.wait().await
    };
    let Ok(ended) = tokio::time::timeout(options.timeout, work).await else {
        return Err(format!(
            "`{program}` took longer than {:?}",
            options.timeout
        ));
    };
    // Its children may go on, and another process can get its number.
    running.0 = None;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{program}` ended with {status}")),
        Err(error) => Err(format!("cannot wait for `{program}` ({error})")),
    }
}
