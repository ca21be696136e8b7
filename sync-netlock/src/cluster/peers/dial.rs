//! Connects to another node, and greets it.

use std::fmt;
use std::io;
use std::time::Duration;

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[cfg(not(test))]
use super::NEWEST_VERSION;
use super::tls::{TlsSide, is_allowed_plain};
use super::{MESSAGE_MAX, OLDEST_VERSION};
use crate::cluster::consensus::{Member, NodeId};
use crate::cluster::proto::{self, request, response};
use crate::stream::Stream;
use crate::wire::{Frames, encode};

/// How long a connection and its greeting may take. A connection that takes longer is of no use to
/// Raft.
const CONNECT: Duration = Duration::from_secs(2);

/// Who a node is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) cluster: u128,
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) tls: Option<TlsSide>,
    /// Where clients reach the node, as `host:port`.
    pub(crate) clients: String,
    /// Whether a test has cut the node off from the others.
    #[cfg(test)]
    pub(crate) is_cut_off: tokio::sync::watch::Sender<bool>,
    /// The newest version of the protocol that the node speaks in a test.
    #[cfg(test)]
    pub(crate) newest_version: std::sync::atomic::AtomicU32,
}

impl Identity {
    /// Returns the newest version of the protocol that the node speaks.
    pub(super) fn newest_version(&self) -> u32 {
        #[cfg(test)]
        return self
            .newest_version
            .load(std::sync::atomic::Ordering::Relaxed);
        #[cfg(not(test))]
        NEWEST_VERSION
    }

    /// Waits until a test cuts the node off from the others.
    pub(super) async fn cut_off(&self) {
        #[cfg(test)]
        let _ = self
            .is_cut_off
            .subscribe()
            .wait_for(|is_cut_off| *is_cut_off)
            .await;
        #[cfg(not(test))]
        std::future::pending::<()>().await;
    }
}

/// Why another node does not answer.
#[derive(Clone, Debug)]
pub(crate) struct Unreachable(pub(crate) String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

impl From<io::Error> for Unreachable {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Connects to a node and greets it. Returns the version of the protocol that both use, too.
pub(super) async fn dial(
    identity: &Identity,
    id: NodeId,
    member: &Member,
) -> Result<(Stream, u32), Unreachable> {
    let (stream, welcome) = greet(identity, id, member).await?;
    Ok((stream, welcome.version))
}

/// Asks the node at an address which one it is, and which members its cluster has.
pub(crate) async fn who_is(
    identity: &Identity,
    member: &Member,
) -> Result<proto::Welcome, Unreachable> {
    let (_, welcome) = greet(identity, 0, member).await?;
    Ok(welcome)
}

async fn greet(
    identity: &Identity,
    id: NodeId,
    member: &Member,
) -> Result<(Stream, proto::Welcome), Unreachable> {
    let dialed = async {
        let mut stream = connect(identity, member).await?;
        let greeting = request::Body::Greeting(proto::Greeting {
            oldest_version: OLDEST_VERSION,
            newest_version: identity.newest_version(),
            cluster: identity.cluster.to_le_bytes().to_vec().into(),
            from: identity.id,
            from_name: identity.name.clone(),
            to: id,
        });
        match ask(&mut stream, greeting).await? {
            response::Body::Welcome(welcome)
                if (OLDEST_VERSION..=identity.newest_version()).contains(&welcome.version) =>
            {
                Ok((stream, welcome))
            }
            response::Body::Refused(refused) => Err(Unreachable(refused.text)),
            _ => Err(Unreachable(
                "an unexpected reply to the greeting".to_owned(),
            )),
        }
    };
    let of = |why: &dyn fmt::Display| {
        Unreachable(format!(
            "cannot connect to node {} at {}: {why}",
            member.name, member.address
        ))
    };
    tokio::select! {
        biased;
        () = identity.cut_off() => Err(of(&"the node is cut off")),
        dialed = timeout(CONNECT, dialed) => match dialed {
            Ok(dialed) => dialed.map_err(|why| of(&why)),
            Err(_) => Err(of(&"it does not answer")),
        }
    }
}

async fn connect(identity: &Identity, member: &Member) -> Result<Stream, Unreachable> {
    let stream = TcpStream::connect(&member.address).await?;
    stream.set_nodelay(true)?;
    match &identity.tls {
        Some(tls) => Ok(tls.connect(stream, &member.name).await?),
        None if is_allowed_plain(&stream.peer_addr()?) => Ok(Stream::Plain(stream)),
        None => Err(Unreachable(
            "without TLS, nodes can only use loopback addresses: configure certificates".to_owned(),
        )),
    }
}

/// Sends one request, and waits for its reply.
async fn ask(stream: &mut Stream, body: request::Body) -> Result<response::Body, Unreachable> {
    send(stream, 1, body).await?;
    let mut frames = Frames::new();
    loop {
        if let Some(reply) = next_reply(&mut frames)? {
            return reply
                .body
                .ok_or_else(|| Unreachable("an empty reply".to_owned()));
        }
        read_more(stream, &mut frames).await?;
    }
}

/// Connects to a node for one exchange: sends the requests that `requests` returns until it returns
/// none, and waits for the reply to the last one.
pub(crate) async fn exchange<F>(
    identity: &Identity,
    id: NodeId,
    member: &Member,
    mut requests: impl FnMut() -> F,
    patience: Duration,
) -> Result<response::Body, Unreachable>
where
    F: Future<Output = io::Result<Option<request::Body>>>,
{
    let silent = |_| Unreachable(format!("node {} does not answer", member.name));
    let (mut stream, _) = dial(identity, id, member).await?;
    let mut last = None;
    while let Some(body) = requests().await? {
        if let Some(before) = last.replace(body) {
            timeout(patience, send(&mut stream, 1, before))
                .await
                .map_err(silent)??;
        }
    }
    let last = last.ok_or_else(|| Unreachable("nothing to send".to_owned()))?;
    timeout(patience, ask(&mut stream, last))
        .await
        .map_err(silent)?
}

pub(super) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    id: u64,
    body: request::Body,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    encode(
        &proto::Request {
            id,
            body: Some(body),
        },
        &mut bytes,
    );
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads some bytes.
pub(super) async fn read_more(
    stream: &mut (impl AsyncRead + Unpin),
    frames: &mut Frames,
) -> io::Result<()> {
    let room = frames.room();
    room.reserve(16 << 10);
    match stream.read_buf(room).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

pub(super) fn next_reply(frames: &mut Frames) -> Result<Option<proto::Response>, Unreachable> {
    let message = frames
        .take(MESSAGE_MAX)
        .map_err(|long| Unreachable(format!("a message of {} bytes is too long", long.length)))?;
    message
        .map(|message| {
            proto::Response::decode(message)
                .map_err(|_| Unreachable("an invalid message".to_owned()))
        })
        .transpose()
}
