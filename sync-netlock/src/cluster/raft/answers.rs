//! Answers the requests of other nodes.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use openraft::raft::AppendEntriesResponse;
use openraft::storage::Snapshot;

use super::convert::{self, Invalid};
use super::hand_over::give_up;
use super::snapshots::{SnapshotFile, Snapshots};
use super::types::{Raft, SnapshotMeta, Vote};
use crate::cluster::consensus::{Member, NodeId};
use crate::cluster::observed::Observed;
use crate::cluster::proto::{self, refused::Reason, request, response};

/// Answers the requests of all nodes.
#[derive(Clone)]
pub(crate) struct Answers {
    raft: Raft,
    snapshots: Arc<Snapshots>,
    observed: Arc<Observed>,
}

/// Answers the requests of one connection.
pub(crate) struct Session {
    answers: Answers,
    peer: NodeId,
    receiving: Option<Receiving>,
}

/// A snapshot that is being received.
struct Receiving {
    vote: Vote,
    meta: SnapshotMeta,
    file: SnapshotFile,
    /// The length of the whole snapshot.
    expected: u64,
    checksum: crc32fast::Hasher,
}

/// Why there is no answer.
enum Failed {
    Invalid(&'static str),
    Unavailable(String),
}

impl From<Invalid> for Failed {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid.0)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

pub(crate) fn refusal(reason: Reason, text: impl Into<String>) -> response::Body {
    response::Body::Refused(proto::Refused {
        reason: reason.into(),
        text: text.into(),
    })
}

impl Answers {
    pub(crate) fn new(raft: Raft, snapshots: Arc<Snapshots>, observed: Arc<Observed>) -> Self {
        Self {
            raft,
            snapshots,
            observed,
        }
    }

    /// Returns the members of the cluster, or none if it was not formed yet.
    pub(crate) fn members(&self) -> Vec<proto::Member> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let nodes = metrics.membership_config.membership().nodes();
        let member = |(id, member): (&NodeId, &Member)| proto::Member {
            id: *id,
            name: member.name.clone(),
            address: member.address.clone(),
            clients: member.clients.clone(),
        };
        nodes.map(member).collect()
    }

    pub(crate) fn session(&self, peer: NodeId) -> Session {
        Session {
            answers: self.clone(),
            peer,
            receiving: None,
        }
    }
}

impl Session {
    /// Answers a request. Returns `None` if it has no reply.
    pub(crate) async fn answer(&mut self, body: request::Body) -> Option<response::Body> {
        match self.try_answer(body).await {
            Ok(reply) => reply,
            Err(Failed::Invalid(why)) => Some(refusal(Reason::Invalid, why)),
            Err(Failed::Unavailable(why)) => Some(refusal(Reason::Unavailable, why)),
        }
    }

    async fn try_answer(&mut self, body: request::Body) -> Result<Option<response::Body>, Failed> {
        let raft = &self.answers.raft;
        let unavailable = |error: &dyn std::error::Error| Failed::Unavailable(error.to_string());
        Ok(match body {
            request::Body::Greeting(_) => return Err(Failed::Invalid("a second greeting")),
            request::Body::Vote(request) => {
                let request = convert::to_vote_request(&request)?;
                self.check_sender(&request.vote)?;
                let reply = raft
                    .vote(request)
                    .await
                    .map_err(|error| unavailable(&error))?;
                Some(response::Body::Vote(convert::vote_reply(&reply)))
            }
            request::Body::Append(request) => {
                let request = convert::to_append(request)?;
                self.check_sender(&request.vote)?;
                let committed = request.leader_commit.map_or(0, |committed| committed.index);
                let reply = raft.append_entries(request).await;
                if matches!(reply, Ok(AppendEntriesResponse::Success)) {
                    self.answers.observed.heard(committed);
                }
                let reply = reply.map_err(|error| unavailable(&error))?;
                Some(response::Body::Append(convert::append_reply(&reply)))
            }
            request::Body::Elect(_) => {
                // An election that nobody needs would depose the leader.
                if raft.metrics().borrow().current_leader != Some(self.peer) {
                    return Err(Failed::Unavailable("only a leader hands over".to_owned()));
                }
                raft.trigger()
                    .elect()
                    .await
                    .map_err(|error| unavailable(&error))?;
                Some(response::Body::Electing(proto::Electing {}))
            }
            request::Body::HandOver(hand_over) => {
                self.give_up(hand_over).await?;
                Some(response::Body::Electing(proto::Electing {}))
            }
            request::Body::SnapshotBegin(begin) => {
                self.begin(begin)?;
                None
            }
            request::Body::SnapshotChunk(chunk) => {
                self.receive(chunk).await?;
                None
            }
            request::Body::SnapshotEnd(end) => Some(self.install(&end).await?),
        })
    }

    /// Checks that a node speaks for itself.
    fn check_sender(&self, vote: &Vote) -> Result<(), Failed> {
        if vote.leader_id.node_id == self.peer {
            Ok(())
        } else {
            Err(Failed::Invalid("a request in the name of another node"))
        }
    }

    /// Gives up the leader that sends this. The successor is elected.
    async fn give_up(&self, hand_over: proto::HandOver) -> Result<(), Failed> {
        let proto::HandOver { term, successor } = hand_over;
        let unavailable = |error: &dyn std::error::Error| Failed::Unavailable(error.to_string());
        let raft = &self.answers.raft;
        let voted = raft.with_raft_state(|state| *state.vote_ref()).await;
        // Nobody else, and nobody later, may end a leadership.
        if voted.map_err(|error| unavailable(&error))? != Vote::new_committed(term, self.peer) {
            let why = "only a leader hands over, and only in its term";
            return Err(Failed::Unavailable(why.to_owned()));
        }
        let (id, is_voter) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow();
            let mut voters = metrics.membership_config.membership().voter_ids();
            (metrics.id, voters.any(|voter| voter == successor))
        };
        if !is_voter || successor == self.peer {
            return Err(Failed::Invalid("a successor that is no other voter"));
        }
        if successor == id {
            let elected = raft.trigger().elect().await;
            return elected.map_err(|error| unavailable(&error));
        }
        let given_up = give_up(raft, term, successor).await;
        given_up.map_err(|error| unavailable(&error))
    }

    fn begin(&mut self, begin: proto::SnapshotBegin) -> Result<(), Failed> {
        let vote = begin
            .vote
            .ok_or(Failed::Invalid("a snapshot without a vote"))?;
        let meta = begin
            .meta
            .ok_or(Failed::Invalid("a snapshot without a description"))?;
        let vote = convert::to_vote(&vote);
        self.check_sender(&vote)?;
        if !vote.committed {
            return Err(Failed::Invalid(
                "a snapshot from a node that no quorum has elected",
            ));
        }
        self.receiving = Some(Receiving {
            vote,
            meta: convert::to_meta(meta)?,
            file: self.answers.snapshots.receive()?,
            expected: begin.length,
            checksum: crc32fast::Hasher::new(),
        });
        Ok(())
    }

    async fn receive(&mut self, chunk: proto::SnapshotChunk) -> Result<(), Failed> {
        let outside = || Failed::Invalid("a part of no snapshot");
        let receiving = self.receiving.as_mut().ok_or_else(outside)?;
        let proto::SnapshotChunk {
            offset,
            bytes,
            checksum,
        } = chunk;
        let end = offset.checked_add(bytes.len() as u64).ok_or_else(outside)?;
        if offset != receiving.file.length || end > receiving.expected {
            return Err(Failed::Invalid("a part of a snapshot out of its place"));
        }
        if crc32fast::hash(&bytes) != checksum {
            return Err(Failed::Invalid("a damaged part of a snapshot"));
        }
        receiving.checksum.update(&bytes);
        let file = receiving.file.file.clone();
        tokio::task::spawn_blocking(move || file.write_all_at(&bytes, offset))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))?;
        receiving.file.length = end;
        Ok(())
    }

    async fn install(&mut self, end: &proto::SnapshotEnd) -> Result<response::Body, Failed> {
        let outside = Failed::Invalid("the end of no snapshot");
        let received = self.receiving.take().ok_or(outside)?;
        if received.file.length != received.expected {
            return Err(Failed::Invalid("an incomplete snapshot"));
        }
        if received.checksum.finalize() != end.checksum {
            return Err(Failed::Invalid("a damaged snapshot"));
        }
        let snapshot = Snapshot {
            meta: received.meta,
            snapshot: Box::new(received.file),
        };
        let installed = self
            .answers
            .raft
            .install_full_snapshot(received.vote, snapshot)
            .await;
        let reply = installed.map_err(|error| Failed::Unavailable(error.to_string()))?;
        Ok(response::Body::Snapshot(proto::SnapshotReply {
            vote: Some(convert::vote(&reply.vote)),
        }))
    }
}
