//! What a user can set, with the defaults and their worst cases.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backend::{Entry, VALUE_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::mode::Mode;
use crate::names::Namespace;
use crate::revocation::Loss;

/// Settings of a connection to a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SyncOptions {
    /// Keeps this application's names apart from others' in the same store. Default: `distsync`.
    pub namespace: Namespace,
    /// How long the store waits for a sign of life before it frees what a client holds. Default: 15 s, so a
    /// crashed holder blocks others for 15 s at worst (Consul: 30 s), and a network fault of up to 13.3 s costs no lock.
    pub session_ttl: Duration,
    /// Who this client is, for those who inspect a lock. Default: `host:pid`.
    pub client: String,
    /// What happens when a lock is lost that was held. Default: its holder is notified, and has to stop by himself.
    pub on_lost: OnLost,
    /// How the store's operator can isolate this client (end its process, cut its connections) if it does not renew in time what
    /// it holds; its locks go to others afterwards. At most 4 KiB, and what it means is between you and the operator:
    /// [`process_identity`] is a start. Only on stores that [can](crate::Capabilities::isolates). Default: not at all.
    pub isolation: Bytes,
}

/// Who this process is, as JSON: `host`, `pid`, and `start`, by which a process is told from a later one of the same number (the
/// kernel's ticks since boot; 0 where they are not to be had).
#[must_use]
pub fn process_identity() -> Bytes {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields behind the name, which is in parentheses and can hold anything; the start is the 22nd of all.
    let start =
        stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(19)).unwrap_or("0");
    let host: String =
        host().chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')).collect();
    format!("{{\"host\":\"{host}\",\"pid\":{},\"start\":{start}}}", std::process::id()).into()
}

/// What a client does to itself when a lock is lost while it is held: it was not renewed in time, the store ended its
/// session, or an operator its claim. Not when it is released or detached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLost {
    /// Guards are revoked: [`Guard::revoked`](crate::Guard::revoked) resolves, [`Guard::check`](crate::Guard::check) fails.
    #[default]
    Notify,
    /// The process is aborted (SIGABRT), from the keeper's thread and before the store can grant the lock to another: also
    /// if the code that holds it hangs.
    Abort,
    /// The process exits with this code, in the same way.
    Exit(u8),
}

impl OnLost {
    /// Does it.
    pub(crate) fn act(self, loss: Loss) {
        if matches!(loss, Loss::Released | Loss::Closed | Loss::Detached) {
            return;
        }
        match self {
            Self::Notify => {}
            Self::Abort => {
                tracing::error!(%loss, "a lock was lost while it was held: this process is aborted");
                std::process::abort();
            }
            Self::Exit(code) => {
                tracing::error!(%loss, code, "a lock was lost while it was held: this process exits");
                std::process::exit(i32::from(code));
            }
        }
    }
}

impl FromStr for OnLost {
    type Err = Error;

    /// `notify`, `abort`, or `exit:CODE`.
    fn from_str(text: &str) -> Result<Self> {
        let code = |text: &str| text.strip_prefix("exit:").and_then(|code| code.parse().ok());
        match text {
            "notify" => Ok(Self::Notify),
            "abort" => Ok(Self::Abort),
            text => code(text).map(Self::Exit).ok_or_else(|| {
                let problem = "a client can `notify`, `abort` or `exit:CODE` (0 to 255) when it loses a lock";
                Error::new(ErrorKind::InvalidOption, problem)
            }),
        }
    }
}

/// What becomes of a lock when its holder's connections to the store are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDisconnect {
    /// It is held until the TTL, so that the holder can come back.
    #[default]
    Hold,
    /// It is released as soon as the last connection is gone, a short grace apart: a crashed holder blocks nobody for its
    /// TTL, and a broken network costs the lock. Only on stores that
    /// [can](crate::Capabilities::release_on_disconnect).
    Release,
    /// It is held until its TTL, also when the handle is closed in peace. Dropping or releasing the guard still releases.
    /// The lock has a session to itself.
    Ignore,
}

impl SyncOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets the session TTL.
    #[must_use]
    pub fn with_session_ttl(mut self, ttl: Duration) -> Self {
        self.session_ttl = ttl;
        self
    }

    /// Sets the client's name.
    #[must_use]
    pub fn with_client(mut self, client: impl Into<String>) -> Self {
        self.client = client.into();
        self
    }

    /// Sets how this client can be isolated.
    #[must_use]
    pub fn with_isolation(mut self, isolation: impl Into<Bytes>) -> Self {
        self.isolation = isolation.into();
        self
    }

    /// Sets what happens when a lock is lost that was held.
    #[must_use]
    pub fn with_on_lost(mut self, on_lost: OnLost) -> Self {
        self.on_lost = on_lost;
        self
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names the option.
    pub fn validated(self) -> Result<Self> {
        check_label(&self.client, "client")?;
        Ok(self)
    }
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            namespace: Namespace::default(),
            session_ttl: Duration::from_secs(15),
            client: format!("{}:{}", host(), std::process::id()),
            on_lost: OnLost::default(),
            isolation: Bytes::new(),
        }
    }
}

/// The machine's name, or `localhost` where it is not to be had.
fn host() -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if node.is_empty() { "localhost".to_owned() } else { node }
}

/// How long to stand in line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Until granted. Cancel by dropping the future.
    #[default]
    Forever,
    /// Not at all: a try.
    Never,
    /// This long, then [`ErrorKind::Timeout`].
    For(Duration),
}

/// Settings of a lock.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LockOptions {
    /// Exclusive (the default), shared, or a permit.
    pub mode: Mode,
    /// How long to stand in line. Default: for ever.
    pub wait: Wait,
    /// Unset (the default): the claim lives with the session, which is renewed for you. Set: a hold limit that runs out
    /// unless [`Guard::extend`](crate::Guard::extend) is called, against work that hangs for ever.
    pub ttl: Option<Duration>,
    /// Seen by those who inspect the lock; at most 1 KiB. Default: empty.
    pub value: Bytes,
    /// What becomes of it when its holder's connections are gone. Default: it is held until the TTL.
    pub on_disconnect: OnDisconnect,
    /// Told each time it stands in line. Default: nobody.
    pub on_wait: Option<OnWait>,
}

/// Where a claim stands that has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many claims are ahead of it, holders included.
    pub position: u32,
    /// The first holder, where the store tells.
    pub holder: Option<Entry>,
}

/// Hears where a claim stands, once it is in line, and again if it had to go to the end of the line. To be quick: the acquire
/// that it belongs to goes on afterwards.
#[derive(Clone)]
pub struct OnWait(Arc<dyn Fn(Waiting) + Send + std::marker::Sync>);

impl OnWait {
    pub(crate) fn tell(&self, waiting: Waiting) {
        (self.0)(waiting);
    }
}

impl fmt::Debug for OnWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnWait(..)")
    }
}

impl LockOptions {
    /// The defaults: exclusive, wait for ever, renewed with the session, no value.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader of a read-write lock.
    #[must_use]
    pub fn shared() -> Self {
        Self::new().with_mode(Mode::Shared)
    }

    /// One of `of` permits of a semaphore.
    #[must_use]
    pub fn permit(of: u16) -> Self {
        Self::new().with_mode(Mode::Permit { of })
    }

    /// Sets the mode.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets how long to stand in line.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Sets a hold limit.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets who is told each time it stands in line.
    #[must_use]
    pub fn with_on_wait(mut self, told: impl Fn(Waiting) + Send + std::marker::Sync + 'static) -> Self {
        self.on_wait = Some(OnWait(Arc::new(told)));
        self
    }

    /// Sets what becomes of it when its holder's connections are gone.
    #[must_use]
    pub fn with_on_disconnect(mut self, on_disconnect: OnDisconnect) -> Self {
        self.on_disconnect = on_disconnect;
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = value.into();
        self
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names the option.
    pub fn validated(self) -> Result<Self> {
        self.mode.validated()?;
        check_value(&self.value)?;
        Ok(self)
    }
}

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

/// The longest label (a client's name, a node's id), in bytes.
const LABEL_MAX: usize = 256;

fn check_label(label: &str, what: &str) -> Result<()> {
    let problem = if label.is_empty() {
        "is empty: give it at least one character".to_owned()
    } else if label.len() > LABEL_MAX {
        format!("has {} bytes: at most {LABEL_MAX} are allowed", label.len())
    } else if label.chars().any(char::is_control) {
        "has a control character: leave it out".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidOption, format!("the {what} {problem}")))
}

pub(crate) fn check_value(value: &[u8]) -> Result<()> {
    if value.len() <= VALUE_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidOption,
        format!("the value has {} bytes: at most {VALUE_MAX} are allowed", value.len()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_survives_its_encoding() {
        let node = Node::new("node-1").with_value("10.0.0.1:80\nzone b");
        assert_eq!(Node::decode(&node.encode().unwrap()), node);
        assert_eq!(Node::decode(b"bare").id(), "bare");
    }

    #[test]
    fn bad_options_are_named() {
        for (result, reason) in [
            (LockOptions::permit(0).validated().map(drop), "0 permits"),
            (LockOptions::new().with_value(vec![0; 1025]).validated().map(drop), "1025 bytes"),
            (SyncOptions::new().with_client("").validated().map(drop), "client is empty"),
            (Node::new("a\nb").encode().map(drop), "node id has a control"),
            (Node::new("x".repeat(257)).encode().map(drop), "257 bytes"),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
