//! Makes sure that a client whose session ended by itself can do nothing more, before what it held
//! goes to others: by a program of the operator's, which knows how (end the process, cut its
//! connections, power off its host).

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

use super::hub::Hub;
use super::options::{IsolationOptions, OnFailure};
use crate::engine::{Command, Isolation, Reason, Requester};

/// What the program is told.
#[derive(Serialize)]
struct Told<'a> {
    event: String,
    session: String,
    client: &'a str,
    isolation: String,
    reason: &'static str,
    locks: Vec<Held<'a>>,
}

#[derive(Serialize)]
struct Held<'a> {
    name: &'a str,
    token: u64,
    value: String,
}

fn told(isolation: &Isolation) -> Vec<u8> {
    let Isolation {
        session,
        client,
        info,
        reason,
        locks,
    } = isolation;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = Told {
        event: session.to_string(),
        session: session.to_string(),
        client,
        isolation: text(info),
        reason: match reason {
            Reason::Expired => "expired",
            Reason::Ended => "ended",
        },
        locks: locks
            .iter()
            .map(|(name, token, value)| Held {
                name,
                token: token.get(),
                value: text(value),
            })
            .collect(),
    };
    // Strings and numbers are always JSON.
    serde_json::to_vec(&told).unwrap_or_default()
}

/// Isolates whom the table names, until the server stops. What is under way then is left: the
/// program is killed, and asked again after a restart, when the session has ended anew.
pub(super) async fn serve(hub: Arc<Hub>) {
    let Some(options) = hub.options.isolation.clone().map(Arc::new) else {
        return;
    };
    let turns = Arc::new(Semaphore::new(options.parallel));
    let mut underway = JoinSet::new();
    while !hub.is_stopped() {
        let (isolations, _) = hub.visit(|desk| desk.table.take_isolations());
        for isolation in isolations {
            underway.spawn(isolate(
                hub.clone(),
                options.clone(),
                turns.clone(),
                isolation,
            ));
        }
        tokio::select! {
            () = hub.to_isolate.notified() => {}
            Some(_) = underway.join_next() => {}
        }
    }
}

async fn isolate(
    hub: Arc<Hub>,
    options: Arc<IsolationOptions>,
    turns: Arc<Semaphore>,
    isolation: Isolation,
) {
    let session = isolation.session;
    let input = told(&isolation);
    let mut pause = Duration::from_secs(1);
    for attempt in 0..=options.retries {
        let Ok(turn) = turns.acquire().await else {
            return;
        };
        match run(&options, &input).await {
            Ok(()) => {
                info!(%session, client = isolation.client, "isolated: its locks go to others");
                hub.traffic.isolations.fetch_add(1, Ordering::Relaxed);
                return confirm(&hub, session).await;
            }
            Err(why) => {
                warn!(%session, client = isolation.client, attempt, why, "not isolated");
                hub.traffic
                    .isolation_failures
                    .fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(turn);
        if attempt < options.retries {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
    match options.on_failure {
        OnFailure::Hold => error!(
            %session,
            client = isolation.client,
            "cannot be isolated: its locks are held until an operator says `confirm-isolated`"
        ),
        OnFailure::GrantAfter(time) => {
            error!(%session, client = isolation.client, ?time, "cannot be isolated: its locks go to others after this time");
            tokio::time::sleep(time).await;
            confirm(&hub, session).await;
        }
    }
}

async fn confirm(hub: &Hub, session: SessionId) {
    let mut effects = Vec::new();
    let command = Command::ConfirmIsolated { session };
    let (_, mark) = hub.visit(|desk| {
        desk.table
            .apply(clock::now(), Requester::HOST, command, &mut effects)
    });
    hub.kept(mark).await;
    hub.post(&mut effects);
}

/// Runs the program once.
async fn run(options: &IsolationOptions, input: &[u8]) -> Result<(), String> {
    let Some((program, arguments)) = options.command.split_first() else {
        return Err("no program is given".to_owned());
    };
    let mut child = Program::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // What it starts ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{program}` cannot be started ({error})"))?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let mut stdin = child.stdin.take();
    let work = async {
        if let Some(stdin) = &mut stdin {
            // A program that does not read is fine.
            let _ = stdin.write_all(input).await;
        }
        drop(stdin);
        child.wait().await
    };
    match tokio::time::timeout(options.timeout, work).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("`{program}` ended with {status}")),
        Ok(Err(error)) => Err(format!("`{program}` cannot be waited for ({error})")),
        Err(_) => {
            if let Some(group) = group {
                // It may have ended by now.
                let _ = kill_process_group(group, Signal::KILL);
            }
            Err(format!(
                "`{program}` took longer than {:?}",
                options.timeout
            ))
        }
    }
}
