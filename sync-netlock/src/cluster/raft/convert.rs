//! Converts between the messages of [`proto`](crate::cluster::proto) and the types of `openraft`.
//!
//! Messages come from other nodes and from the disk, so every conversion from one can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{CommittedLeaderId, EntryPayload, LeaderId};

use super::types::{Entry, LogId, Membership, SnapshotMeta, StoredMembership, Types, Vote};
use crate::cluster::consensus::{Member, NodeId};
use crate::cluster::proto;

/// The error for a message that lacks a field, or that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid(pub(crate) &'static str);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

pub(crate) fn log_id(id: &LogId) -> proto::LogId {
    proto::LogId {
        term: id.leader_id.term,
        node: id.leader_id.node_id,
        index: id.index,
    }
}

pub(crate) fn to_log_id(id: &proto::LogId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term, id.node), id.index)
}

pub(crate) fn vote(vote: &Vote) -> proto::Vote {
    proto::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn to_vote(vote: &proto::Vote) -> Vote {
    Vote {
        leader_id: LeaderId::new(vote.term, vote.node),
        committed: vote.committed,
    }
}

pub(crate) fn membership(membership: &Membership) -> proto::Membership {
    let voters = |nodes: &BTreeSet<NodeId>| proto::Voters {
        nodes: nodes.iter().copied().collect(),
    };
    proto::Membership {
        configurations: membership.get_joint_config().iter().map(voters).collect(),
        members: membership
            .nodes()
            .map(|(id, member)| proto::Member {
                id: *id,
                name: member.name.clone(),
                address: member.address.clone(),
                clients: member.clients.clone(),
            })
            .collect(),
    }
}

pub(crate) fn to_membership(from: proto::Membership) -> Membership {
    let members: BTreeMap<NodeId, Member> = from
        .members
        .into_iter()
        .map(|member| {
            let node = Member {
                name: member.name,
                address: member.address,
                clients: member.clients,
            };
            (member.id, node)
        })
        .collect();
    let configurations = from.configurations.into_iter();
    let voters = configurations.map(|voters| voters.nodes.into_iter().collect());
    Membership::new(voters.collect(), members)
}

pub(crate) fn entry(entry: &Entry) -> proto::Entry {
    use proto::entry::Payload;
    proto::Entry {
        id: Some(log_id(&entry.log_id)),
        payload: Some(match &entry.payload {
            EntryPayload::Blank => Payload::Blank(proto::Nothing {}),
            EntryPayload::Normal(changes) => Payload::Changes(changes.clone()),
            EntryPayload::Membership(change) => Payload::Membership(membership(change)),
        }),
    }
}

pub(crate) fn to_entry(entry: proto::Entry) -> Result<Entry, Invalid> {
    use proto::entry::Payload;
    let id = entry.id.ok_or(Invalid("an entry without an id"))?;
    Ok(Entry {
        log_id: to_log_id(&id),
        payload: match entry.payload.ok_or(Invalid("an entry without content"))? {
            Payload::Blank(_) => EntryPayload::Blank,
            Payload::Changes(changes) => EntryPayload::Normal(changes),
            Payload::Membership(change) => EntryPayload::Membership(to_membership(change)),
        },
    })
}

pub(crate) fn meta(meta: &SnapshotMeta) -> proto::SnapshotMeta {
    proto::SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id),
        membership_log_id: meta.last_membership.log_id().as_ref().map(log_id),
        membership: Some(membership(meta.last_membership.membership())),
        id: meta.snapshot_id.clone(),
    }
}

pub(crate) fn to_meta(meta: proto::SnapshotMeta) -> Result<SnapshotMeta, Invalid> {
    let members = meta
        .membership
        .ok_or(Invalid("a snapshot without a membership"))?;
    Ok(SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(to_log_id),
        last_membership: StoredMembership::new(
            meta.membership_log_id.as_ref().map(to_log_id),
            to_membership(members),
        ),
        snapshot_id: meta.id,
    })
}

pub(crate) fn append(request: &AppendEntriesRequest<Types>) -> proto::AppendRequest {
    proto::AppendRequest {
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id),
        entries: request.entries.iter().map(entry).collect(),
        committed: request.leader_commit.as_ref().map(log_id),
    }
}

/// Converts a request, and checks that its entries follow each other. `openraft` relies on that.
pub(crate) fn to_append(
    request: proto::AppendRequest,
) -> Result<AppendEntriesRequest<Types>, Invalid> {
    let vote = request.vote.ok_or(Invalid("a request without a vote"))?;
    if !vote.committed {
        return Err(Invalid("entries from a node that no quorum has elected"));
    }
    let mut next = request
        .previous
        .as_ref()
        .map_or(Some(0), |id| id.index.checked_add(1));
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        let entry = to_entry(entry)?;
        if next != Some(entry.log_id.index) {
            return Err(Invalid("entries that do not follow each other"));
        }
        next = entry.log_id.index.checked_add(1);
        entries.push(entry);
    }
    Ok(AppendEntriesRequest {
        vote: to_vote(&vote),
        prev_log_id: request.previous.as_ref().map(to_log_id),
        entries,
        leader_commit: request.committed.as_ref().map(to_log_id),
    })
}

pub(crate) fn append_reply(reply: &AppendEntriesResponse<NodeId>) -> proto::AppendReply {
    use proto::append_reply::Result;
    let result = match reply {
        AppendEntriesResponse::Success => Result::Success(proto::Nothing {}),
        // A node appends all entries of a request or none. Claiming less is safe.
        AppendEntriesResponse::PartialSuccess(_) | AppendEntriesResponse::Conflict => {
            Result::Conflict(proto::Nothing {})
        }
        AppendEntriesResponse::HigherVote(higher) => Result::HigherVote(vote(higher)),
    };
    proto::AppendReply {
        result: Some(result),
    }
}

/// Converts the reply to a request with this vote.
pub(crate) fn to_append_reply(
    reply: proto::AppendReply,
    asked: &Vote,
) -> Result<AppendEntriesResponse<NodeId>, Invalid> {
    use proto::append_reply::Result;
    Ok(match reply.result.ok_or(Invalid("an empty reply"))? {
        Result::Success(_) => AppendEntriesResponse::Success,
        Result::Conflict(_) => AppendEntriesResponse::Conflict,
        Result::HigherVote(higher) => {
            let higher = to_vote(&higher);
            if !matches!(higher.partial_cmp(asked), Some(std::cmp::Ordering::Greater)) {
                return Err(Invalid("a refusal by a vote that is not later"));
            }
            AppendEntriesResponse::HigherVote(higher)
        }
    })
}

pub(crate) fn vote_request(request: &VoteRequest<NodeId>) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(vote(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id),
    }
}

pub(crate) fn to_vote_request(
    request: &proto::VoteRequest,
) -> Result<VoteRequest<NodeId>, Invalid> {
    let vote = request
        .vote
        .as_ref()
        .ok_or(Invalid("a request without a vote"))?;
    if vote.committed {
        return Err(Invalid("a candidate with a committed vote"));
    }
    Ok(VoteRequest::new(
        to_vote(vote),
        request.last_log_id.as_ref().map(to_log_id),
    ))
}

pub(crate) fn vote_reply(reply: &VoteResponse<NodeId>) -> proto::VoteReply {
    proto::VoteReply {
        vote: Some(vote(&reply.vote)),
        granted: reply.vote_granted,
        last_log_id: reply.last_log_id.as_ref().map(log_id),
    }
}

pub(crate) fn to_vote_reply(reply: &proto::VoteReply) -> Result<VoteResponse<NodeId>, Invalid> {
    let vote = reply
        .vote
        .as_ref()
        .ok_or(Invalid("a reply without a vote"))?;
    Ok(VoteResponse {
        vote: to_vote(vote),
        vote_granted: reply.granted,
        last_log_id: reply.last_log_id.as_ref().map(to_log_id),
    })
}
