//! Settings of an election.

use bytes::Bytes;

use crate::options::checks::{check_label, check_value};
use crate::options::lock::{OnDisconnect, Wait};
use crate::types::error::Result;

/// A candidate of an election: its id, and a value for observers, for instance its address.
///
/// # Examples
/// ```
/// use distsync_core::{LeaderOptions, Node};
///
/// let options = LeaderOptions::new(Node::new("node-1").with_value("10.0.0.1:8080"));
/// assert_eq!(options.node.id(), "node-1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    id: String,
    value: String,
}

impl Node {
    /// Returns a candidate with this id and an empty value. The id is a label for observers:
    /// candidates with the same id are still independent.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            value: String::new(),
        }
    }

    /// Sets the value that observers see beside the id.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Encodes the node as the value of a claim: the id, a line break, and the value. An id
    /// contains no line break.
    pub(crate) fn encode(&self) -> Result<Bytes> {
        check_label(&self.id, "node id")?;
        let bytes = Bytes::from(format!("{}\n{}", self.id, self.value));
        check_value(&bytes)?;
        Ok(bytes)
    }

    /// Decodes the value of a claim. A value that other programs wrote becomes an id.
    pub(crate) fn decode(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        let (id, value) = text.split_once('\n').unwrap_or((&text, ""));
        Self {
            id: id.to_owned(),
            value: value.to_owned(),
        }
    }
}

/// Settings of an election. See [`Node`] for an example.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaderOptions {
    /// The candidate.
    pub node: Node,
    /// The time for which [`Leader::elect`](crate::Leader::elect) waits. Default: for ever.
    pub wait: Wait,
    /// The treatment of the leadership when the connections of the leader have ended. Default: it
    /// is held until its TTL expires, which is also how long a crash delays the next election.
    pub on_disconnect: OnDisconnect,
}

impl LeaderOptions {
    /// Returns the default options of a candidate, which wait for ever.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self {
            node,
            wait: Wait::Forever,
            on_disconnect: OnDisconnect::Hold,
        }
    }

    /// Sets the time to wait in the queue.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Sets what happens to the leadership when the connections of the leader have ended.
    #[must_use]
    pub fn with_on_disconnect(mut self, on_disconnect: OnDisconnect) -> Self {
        self.on_disconnect = on_disconnect;
        self
    }
}
