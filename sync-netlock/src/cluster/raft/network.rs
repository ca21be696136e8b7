//! Sends the requests of `openraft` to other nodes.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use distsync_core::spi::clock::{self, Moment};
use openraft::OptionalSend;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;

use super::convert::{self, Invalid};
use super::log::NodeLog;
use super::snapshots::SnapshotFile;
use super::types::{LogId, Types, Vote};
use crate::cluster::consensus::{Member, NodeId};
use crate::cluster::peers::{Link, Links, Unreachable, exchange};
use crate::cluster::proto::{self, request, response};

/// The size of the parts of a snapshot, in bytes.
const CHUNK: usize = 512 << 10;
/// How long another node may take to receive a part of a snapshot, or to install it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The network of a node.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) links: Arc<Links>,
    pub(crate) log: NodeLog,
    /// How long to wait before an unreachable node is asked again.
    pub(crate) pause: Duration,
}

/// The connection to one node.
#[derive(Debug)]
pub(crate) struct Remote {
    network: Network,
    id: NodeId,
    member: Member,
    link: Link,
    /// The last append on this stream that the node has accepted.
    accepted: Option<Accepted>,
}

/// An append that a node has accepted.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    vote: Vote,
    last: Option<LogId>,
    /// When it was sent.
    at: Moment,
}

/// A message without entries is not sent if an append was accepted within this part of the time
/// between two heartbeats.
const RECENT: u32 = 4;

type CallError = RPCError<NodeId, Member, RaftError<NodeId>>;

fn unreachable(why: &Unreachable) -> CallError {
    openraft::error::Unreachable::new(why).into()
}

/// Returns the error for a reply that has no use.
fn unexpected(reply: response::Body) -> Unreachable {
    match reply {
        response::Body::Refused(refused) => Unreachable(refused.text),
        _ => Unreachable("a reply to another request".to_owned()),
    }
}

fn invalid(why: Invalid) -> Unreachable {
    Unreachable(format!("an invalid reply: {why}"))
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Remote;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Remote {
        Remote {
            link: self.links.to(target, node),
            network: self.clone(),
            id: target,
            member: node.clone(),
            accepted: None,
        }
    }
}

impl Remote {
    /// Returns whether a request tells the node nothing but the last entry that is committed, right
    /// after it has accepted an append. openraft sends one after each commit. The next append would
    /// wait for its reply, and tells the same.
    ///
    /// A stream that is used for the first time sends everything, and so does each confirmation of
    /// the leadership, which has streams of its own.
    fn is_needless(&self, request: &AppendEntriesRequest<Types>) -> bool {
        self.accepted.is_some_and(|accepted| {
            request.entries.is_empty()
                && (request.vote, request.prev_log_id) == (accepted.vote, accepted.last)
                && clock::now().since(accepted.at) < self.network.pause / RECENT
        })
    }

    async fn append(
        &mut self,
        request: AppendEntriesRequest<Types>,
    ) -> Result<AppendEntriesResponse<NodeId>, Unreachable> {
        if self.is_needless(&request) {
            return Ok(AppendEntriesResponse::Success);
        }
        let at = clock::now();
        self.accepted = None;
        let body = request::Body::Append(convert::append(&request));
        let last = request.entries.last().map(|entry| entry.log_id);
        let last = last.or(request.prev_log_id);
        let reply = match self.link.call(body).await? {
            response::Body::Append(reply) => {
                convert::to_append_reply(reply, &request.vote).map_err(invalid)
            }
            other => Err(unexpected(other)),
        };
        // The entries may count as committed from here on, so they have to be on this disk too.
        if let Some(last) = last {
            self.network.log.synced(last.index).await;
        }
        if matches!(reply, Ok(AppendEntriesResponse::Success)) {
            let vote = request.vote;
            self.accepted = Some(Accepted { vote, last, at });
        }
        reply
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot<Types>,
    ) -> Result<SnapshotResponse<NodeId>, Unreachable> {
        let file = *snapshot.snapshot;
        let begin = request::Body::SnapshotBegin(proto::SnapshotBegin {
            vote: Some(convert::vote(&vote)),
            meta: Some(convert::meta(&snapshot.meta)),
            length: file.length,
        });
        let parts = Arc::new(tokio::sync::Mutex::new(Parts {
            begin: Some(begin),
            file,
            offset: 0,
            checksum: crc32fast::Hasher::new(),
            is_over: false,
        }));
        let next = || {
            let parts = parts.clone();
            async move { parts.lock().await.next().await }
        };
        let identity = self.network.links.identity();
        match exchange(identity, self.id, &self.member, next, PATIENCE).await? {
            response::Body::Snapshot(proto::SnapshotReply { vote: Some(vote) }) => {
                Ok(SnapshotResponse::new(convert::to_vote(&vote)))
            }
            other => Err(unexpected(other)),
        }
    }
}

/// The requests that send a snapshot.
struct Parts {
    begin: Option<request::Body>,
    file: SnapshotFile,
    offset: u64,
    checksum: crc32fast::Hasher,
    is_over: bool,
}

impl Parts {
    async fn next(&mut self) -> io::Result<Option<request::Body>> {
        if let Some(begin) = self.begin.take() {
            return Ok(Some(begin));
        }
        let left = self.file.length - self.offset;
        if left == 0 {
            let checksum = self.checksum.clone().finalize();
            let end = request::Body::SnapshotEnd(proto::SnapshotEnd { checksum });
            return Ok((!std::mem::replace(&mut self.is_over, true)).then_some(end));
        }
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let (file, offset) = (self.file.file.clone(), self.offset);
        let read = move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset).map(|()| bytes)
        };
        let bytes = tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))?;
        self.offset += length as u64;
        self.checksum.update(&bytes);
        Ok(Some(request::Body::SnapshotChunk(proto::SnapshotChunk {
            offset,
            checksum: crc32fast::hash(&bytes),
            bytes: bytes.into(),
        })))
    }
}

impl RaftNetwork<Types> for Remote {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, CallError> {
        self.append(request).await.map_err(|why| unreachable(&why))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<NodeId>,
        _: RPCOption,
    ) -> Result<VoteResponse<NodeId>, CallError> {
        let body = request::Body::Vote(convert::vote_request(&request));
        match self.link.call(body).await {
            Ok(response::Body::Vote(reply)) => convert::to_vote_reply(&reply).map_err(invalid),
            Ok(other) => Err(unexpected(other)),
            Err(why) => Err(why),
        }
        .map_err(|why| unreachable(&why))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<Types, Fatal<NodeId>>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => {
                sent.map_err(|why| openraft::error::Unreachable::new(&why).into())
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.network.pause))
    }
}
