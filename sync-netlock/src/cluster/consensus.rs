//! The interface between the server and the replication of its changes.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::observed::Observations;

/// The id of a node. It is drawn with the data folder of the node, and is never used for another
/// folder: a node that votes again after it has forgotten what it acknowledged can lose changes.
pub type NodeId = u64;

/// The longest frame of changes, in bytes. With its envelope it fits into a message of 1 MiB, so
/// that it does not delay heartbeats for long.
pub const FRAME_MAX: usize = (1 << 20) - (16 << 10);

/// What to do when the disk of the node fails or hangs. The node must end: it cannot know what is
/// on its disk. The default aborts the process.
pub type Failure = Arc<dyn Fn(&io::Error) + Send + Sync>;

/// A node as the others know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The name of the node. Its certificate has to name it.
    pub name: String,
    /// Where the other nodes reach it, as `host:port`.
    pub address: String,
    /// Where clients reach it, as `host:port`.
    pub clients: String,
}

/// Why the replication did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The node does not lead, or does not lead any more.
    NotLeader {
        /// The node that leads, if this one knows it.
        leader: Option<(NodeId, Member)>,
    },
    /// The node led, and cannot reach a majority.
    Unconfirmed,
    /// The frame is longer than [`FRAME_MAX`].
    TooLong {
        /// The length of the frame in bytes.
        length: usize,
    },
    /// The change of the membership is not possible. The text says why, and what to do.
    Membership(String),
    /// The node has stopped, or its disk failed.
    Stopped,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader {
                leader: Some((_, leader)),
            } => write!(
                f,
                "this node does not lead: ask {} at {}",
                leader.name, leader.address
            ),
            Self::NotLeader { leader: None } => {
                f.write_str("this node does not lead, and knows of no leader: try again")
            }
            Self::Unconfirmed => f.write_str(
                "this node cannot reach a majority of the cluster: check its network, and try again",
            ),
            Self::TooLong { length } => write!(
                f,
                "a frame of {length} bytes is too long: split it into frames of at most {FRAME_MAX}"
            ),
            Self::Membership(why) => f.write_str(why),
            Self::Stopped => f.write_str("this node has stopped: ask another one"),
        }
    }
}

impl std::error::Error for Rejected {}

/// A confirmation that the node led at some moment after it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The term in which the node leads.
    pub term: u64,
    /// Everything that was committed before the confirmation has this index or a lower one. A
    /// reader has to wait until the table has applied it.
    pub index: u64,
}

/// A member as its cluster's status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// Its id.
    pub id: NodeId,
    /// Its name and address.
    pub member: Member,
    /// Whether it votes. A learner does not.
    pub is_voter: bool,
    /// The last entry that the leader knows to be on its disk. `None` on nodes that do not lead.
    pub matched: Option<u64>,
}

/// What a node knows about its cluster. It can be late: decide nothing by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The current term.
    pub term: u64,
    /// The node that leads, if one is known.
    pub leader: Option<NodeId>,
    /// The last entry of the node's log.
    pub last_index: Option<u64>,
    /// The last entry that the table has applied.
    pub applied: Option<u64>,
    /// All members.
    pub members: Vec<MemberState>,
}

/// Replicates frames of changes to a majority of the members of a cluster.
///
/// The frames that are committed go to the [`Machine`](super::Machine) of the node, in their order,
/// on each node.
#[async_trait]
pub trait Consensus: fmt::Debug + Send + Sync {
    /// Forms a new cluster with these voters. Called once, on any node with an empty folder. Calls
    /// on several nodes do no harm if they name the same voters.
    ///
    /// # Errors
    /// [`Rejected::Membership`] if the node belongs to a formed cluster, or is not one of the
    /// voters.
    ///
    /// # Cancel safety
    /// If the future is dropped, the cluster may be formed or not.
    async fn form(&self, voters: Vec<(NodeId, Member)>) -> Result<(), Rejected>;

    /// Proposes a frame: the records of the changes of one visit. Returns its index when a majority
    /// has it on the disk, and the machine of this node has applied it.
    ///
    /// `term` is that of the leadership whose table has made the changes. If the node has been
    /// deposed since, and leads again in a later term, the frame changes nothing on any node,
    /// because others may have changed the table in between.
    ///
    /// # Errors
    /// [`Rejected::NotLeader`] or [`Rejected::Stopped`]. If the node led in this term when it was
    /// called, the frame may still be committed: another node that has it may be elected later.
    /// Nobody may be told that it is not.
    ///
    /// # Cancel safety
    /// If the future is dropped, the frame may be committed or not. A leader that is cut off from
    /// the majority waits until it is deposed, so bound the wait.
    async fn propose(&self, term: u64, frame: Bytes) -> Result<u64, Rejected>;

    /// Confirms that this node leads, by a round of messages to a majority that began after the
    /// call. Calls at the same time share a round.
    ///
    /// # Errors
    /// [`Rejected::NotLeader`], or [`Rejected::Unconfirmed`] if no majority replies within the
    /// election timeout.
    ///
    /// # Cancel safety
    /// Safe.
    async fn confirm(&self) -> Result<Confirmed, Rejected>;

    /// Returns the id of this node.
    fn id(&self) -> NodeId;

    /// Waits until this node seems to lead in a term after `after`, and returns the term. Only a
    /// [confirmation](Self::confirm) proves it.
    ///
    /// # Errors
    /// [`Rejected::Stopped`].
    ///
    /// # Cancel safety
    /// Safe.
    async fn elected(&self, after: u64) -> Result<u64, Rejected>;

    /// Waits until this node knows that another one leads, or until it stops. It can be late.
    ///
    /// # Cancel safety
    /// Safe.
    async fn led_by_another(&self);

    /// Waits until this node knows that it does not lead in this term any more, or until it stops.
    ///
    /// # Cancel safety
    /// Safe.
    async fn deposed(&self, term: u64);

    /// Waits until the machine of this node has applied the entry with this index.
    ///
    /// # Errors
    /// [`Rejected::Stopped`].
    ///
    /// # Cancel safety
    /// Safe.
    async fn applied(&self, index: u64) -> Result<(), Rejected>;

    /// Returns what this node knows about the cluster.
    fn status(&self) -> Status;

    /// Returns the index of the entry with the members in [`status`](Self::status).
    fn membership(&self) -> u64;

    /// Returns what this node has seen since it was started.
    fn observations(&self) -> Observations;

    /// Asks the node at an address who it is. A node of this name has to be there, which belongs to
    /// no cluster.
    ///
    /// # Errors
    /// [`Rejected::Membership`].
    ///
    /// # Cancel safety
    /// Safe.
    async fn find(&self, name: &str, address: &str) -> Result<(NodeId, Member), Rejected>;

    /// Adds a node that receives all changes and does not vote. Returns when it has caught up.
    ///
    /// # Errors
    /// [`Rejected::NotLeader`]. [`Rejected::Membership`] if another change is under way, or another
    /// member has the name or the address.
    ///
    /// # Cancel safety
    /// If the future is dropped, the learner may be added or not. Calling again is safe.
    async fn add_learner(&self, id: NodeId, member: Member) -> Result<(), Rejected>;

    /// Makes a learner a voter. Waits until the learner has caught up.
    ///
    /// # Errors
    /// [`Rejected::NotLeader`]. [`Rejected::Membership`] if another change is under way, if the
    /// node is not a learner, or if it does not catch up in time.
    ///
    /// # Cancel safety
    /// If the future is dropped, the change may be made, not made, or half made. Calling again
    /// completes it.
    async fn promote(&self, id: NodeId) -> Result<(), Rejected>;

    /// Removes a member.
    ///
    /// # Errors
    /// [`Rejected::NotLeader`]. [`Rejected::Membership`] if another change is under way, or the
    /// node is the leader, which has to step down first, or the last voter.
    ///
    /// # Cancel safety
    /// As [`promote`](Self::promote).
    async fn remove(&self, id: NodeId) -> Result<(), Rejected>;

    /// Hands the leadership over to another voter, the first one that has stored all entries.
    ///
    /// # Errors
    /// [`Rejected::NotLeader`]. [`Rejected::Membership`] if no other voter has taken over in time.
    /// The voters then elect a leader, which can be this node.
    ///
    /// # Cancel safety
    /// If the future is dropped, the leadership may be handed over or not.
    async fn step_down(&self) -> Result<(), Rejected>;

    /// Stops the node. Returns when it has written its last entry and closed its connections.
    ///
    /// # Cancel safety
    /// If the future is dropped, the node stops in the background.
    async fn shutdown(&self);
}
