//! The status of a candidate, and the leader of an election.

use crate::options::Node;
use crate::types::token::Token;

/// The status of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaderStatus {
    /// The candidate does not campaign.
    Follower,
    /// The candidate campaigns and is not elected yet.
    Candidate,
    /// The candidate is the leader.
    Elected,
}

/// A leader and its term.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leadership {
    /// The node of the leader.
    pub node: Node,
    /// The term, which is the fencing token.
    pub term: Token,
}
