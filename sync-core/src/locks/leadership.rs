//! What an election shows: a candidate's status, and who leads.

use crate::options::Node;
use crate::types::token::Token;

/// What a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaderStatus {
    /// It does not stand.
    Follower,
    /// It stands, and is not elected yet.
    Candidate,
    /// It leads.
    Elected,
}

/// A leader, and the term of its office.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Who leads.
    pub node: Node,
    /// The term: the fencing token of the office.
    pub term: Token,
}
