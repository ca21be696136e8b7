//! One connection to each other node, on which all requests to it are pipelined.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distsync_core::spi::locked;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::dial::{Identity, Unreachable, dial, next_reply, read_more, send};
use crate::cluster::consensus::{Member, NodeId};
use crate::cluster::proto::{request, response};
use crate::stream::Stream;
use crate::wire::Frames;

/// How many requests can wait for a connection. Raft has a few at a time.
const QUEUE: usize = 64;

/// The connections of a node to the others.
#[derive(Debug)]
pub(crate) struct Links {
    identity: Arc<Identity>,
    links: Mutex<HashMap<NodeId, Link>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// A connection on which no reply arrives for this long is given up.
    silence: Duration,
}

/// A handle to the connection to one node.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    member: Member,
    calls: mpsc::Sender<Call>,
    /// The version of the protocol that both nodes use, or 0 while there is no connection.
    version: Arc<AtomicU32>,
}

/// A request, and where its reply goes.
struct Call {
    body: request::Body,
    reply: Reply,
}

type Reply = oneshot::Sender<Result<response::Body, Unreachable>>;

impl Links {
    pub(crate) fn new(
        identity: Arc<Identity>,
        tasks: TaskTracker,
        stop: CancellationToken,
        silence: Duration,
    ) -> Self {
        Self {
            identity,
            links: Mutex::default(),
            tasks,
            stop,
            silence,
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the link to a node. It connects when it is used.
    pub(crate) fn to(&self, id: NodeId, member: &Member) -> Link {
        let mut links = locked(&self.links);
        if let Some(link) = links.get(&id)
            && link.member == *member
        {
            return link.clone();
        }
        let (calls, waiting) = mpsc::channel(QUEUE);
        let link = Link {
            member: member.clone(),
            calls,
            version: Arc::default(),
        };
        let task = serve(
            self.identity.clone(),
            id,
            link.member.clone(),
            waiting,
            link.version.clone(),
            self.silence,
        );
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { stop.run_until_cancelled(task).await });
        links.insert(id, link.clone());
        link
    }
}

impl Link {
    /// Returns the version of the protocol that both nodes use, or 0 while there is no connection.
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Ordering::Relaxed)
    }

    /// Sends a request, and waits for its reply.
    pub(crate) async fn call(&self, body: request::Body) -> Result<response::Body, Unreachable> {
        let gone = || {
            Unreachable(format!(
                "the connection to node {} is lost",
                self.member.name
            ))
        };
        let (reply, replied) = oneshot::channel();
        self.calls
            .send(Call { body, reply })
            .await
            .map_err(|_| gone())?;
        replied.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Connects whenever there is a request, until the link is dropped.
async fn serve(
    identity: Arc<Identity>,
    id: NodeId,
    member: Member,
    mut calls: mpsc::Receiver<Call>,
    version: Arc<AtomicU32>,
    silence: Duration,
) {
    // Each change is logged once. Raft tries again many times a second.
    let mut is_reachable = true;
    while let Some(first) = calls.recv().await {
        let why = match dial(&identity, id, &member).await {
            Ok((stream, common)) => {
                version.store(common, Ordering::Relaxed);
                if !std::mem::replace(&mut is_reachable, true) {
                    info!(node = member.name, "another node is reachable again");
                }
                let why = tokio::select! {
                    biased;
                    () = identity.cut_off() => Unreachable("the node is cut off".to_owned()),
                    why = carry(stream, first, &mut calls, silence) => why,
                };
                version.store(0, Ordering::Relaxed);
                debug!(node = member.name, %why, "the connection to another node has ended");
                continue;
            }
            Err(why) => why,
        };
        if std::mem::replace(&mut is_reachable, false) {
            warn!(%why, "another node is unreachable");
        }
        // Those that waited for the connection. Raft asks again after a pause.
        let _ = first.reply.send(Err(why.clone()));
        while let Ok(call) = calls.try_recv() {
            let _ = call.reply.send(Err(why.clone()));
        }
    }
}

/// Carries requests and replies until the connection ends. Returns why it did. Requests without a
/// reply fail then, because their senders are dropped.
async fn carry(
    stream: Stream,
    first: Call,
    calls: &mut mpsc::Receiver<Call>,
    silence: Duration,
) -> Unreachable {
    let pending: Mutex<HashMap<u64, Reply>> = Mutex::default();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        let (mut last_id, mut next) = (1, Some(first));
        while let Some(Call { body, reply }) = next {
            last_id += 1;
            locked(&pending).insert(last_id, reply);
            if let Err(error) = send(&mut write, last_id, body).await {
                return error.into();
            }
            next = calls.recv().await;
        }
        Unreachable("the node is stopping".to_owned())
    };
    let reading = async {
        let mut frames = Frames::new();
        loop {
            loop {
                match next_reply(&mut frames) {
                    Ok(None) => break,
                    Err(why) => return why,
                    Ok(Some(reply)) => {
                        let caller = locked(&pending).remove(&reply.id);
                        let (Some(caller), Some(body)) = (caller, reply.body) else {
                            return Unreachable("a reply to no request".to_owned());
                        };
                        // The caller may have given up.
                        let _ = caller.send(Ok(body));
                    }
                }
            }
            match timeout(silence, read_more(&mut read, &mut frames)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) if locked(&pending).is_empty() => {}
                Err(_) => return Unreachable("it does not answer".to_owned()),
            }
        }
    };
    tokio::select! {
        why = writing => why,
        why = reading => why,
    }
}
