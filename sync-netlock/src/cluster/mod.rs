//! Several servers as one lock service: the changes of the table are replicated with Raft.
//!
//! The leader executes requests and proposes the changes of each visit to its table as one
//! *frame*, which is one entry of the replicated log. The other members restore committed frames
//! in tables of their own ([`Replica`]). docs/decisions has the reasons.
//!
//! Start with [`Consensus`], the interface between the server and the replication, and with
//! [`Node`], its implementation with the crate `openraft`. The parts of a node are:
//!
//! - `peers`: connections to and from the other nodes;
//! - `raft`: the adapters for `openraft`, with the log, the vote and the snapshots of the node in
//!   the format of netlock's log.
//!
//! The server of a member is [`Server::member`](crate::server::Server::member). Nothing of this
//! module is part of the API yet.

mod consensus;
mod formation;
mod machine;
mod node;
mod observed;
mod options;
mod peers;
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod proto;
mod raft;
mod recovered;
#[cfg(test)]
mod tests;

pub use consensus::{
    Confirmed, Consensus, FRAME_MAX, Failure, Member, MemberState, NodeId, Rejected, Status,
};
#[cfg(feature = "program")]
pub(crate) use machine::dump_of;
pub use machine::{Diverged, Machine, Replica, SharedReplica};
pub use node::Node;
pub use observed::Observations;
pub use options::{NodeOptions, Timing};
pub use peers::PeerTls;
#[cfg(feature = "program")]
pub(crate) use raft::offline::{self, Position, Replacement};
pub(crate) use recovered::Recovered;
