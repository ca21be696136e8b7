//! Settings of an election.

use bytes::Bytes;

use crate::options::checks::{check_label, check_value};
use crate::options::lock::Wait;
use crate::types::error::Result;

/// A candidate of an election: who it is, and what it tells those who ask for the leader (an address, say).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    id: String,
    value: String,
}

impl Node {
    /// A candidate named `id`, with an empty value. The id is a label for observers; two candidates may share one and
    /// are still two.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), value: String::new() }
    }

    /// Sets what observers see beside the id.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The form in a claim's value: the id, and on the next line the value. An id has no line break in it.
    pub(crate) fn encode(&self) -> Result<Bytes> {
        check_label(&self.id, "node id")?;
        let bytes = Bytes::from(format!("{}\n{}", self.id, self.value));
        check_value(&bytes)?;
        Ok(bytes)
    }

    /// Reads a claim's value back. What others wrote there is shown as it is.
    pub(crate) fn decode(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        let (id, value) = text.split_once('\n').unwrap_or((&text, ""));
        Self { id: id.to_owned(), value: value.to_owned() }
    }
}

/// Settings of an election.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaderOptions {
    /// Who stands.
    pub node: Node,
    /// How long [`Leader::elect`](crate::Leader::elect) stands in line. Default: for ever.
    pub wait: Wait,
}

impl LeaderOptions {
    /// `node` stands, and waits for ever.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self { node, wait: Wait::Forever }
    }

    /// Sets how long to stand in line.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }
}
