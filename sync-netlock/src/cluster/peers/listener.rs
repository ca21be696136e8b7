//! Answers the connections of other nodes.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::dial::{Identity, read_more};
use super::tls::is_allowed_plain;
use super::{GREETING_MAX, MESSAGE_MAX, OLDEST_VERSION};
use crate::cluster::proto::{self, refused::Reason, request, response};
use crate::cluster::raft::answers::{Answers, refusal};
use crate::stream::Stream;
use crate::wire::{Frames, encode};

/// How long a node may take to greet.
const GREETING: Duration = Duration::from_secs(5);
/// How long a node may take to read a reply.
const WRITE: Duration = Duration::from_secs(10);
/// How many connections there can be at a time: a few from each node, and some that never greet.
const CONNECTIONS: usize = 128;

/// Accepts connections until `stop` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    identity: Arc<Identity>,
    answers: Answers,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection of another node");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            warn!("too many connections of other nodes: one is refused");
            continue;
        };
        let connection = Connection {
            identity: identity.clone(),
            answers: answers.clone(),
            frames: Frames::new(),
        };
        let (stop, identity) = (stop.clone(), identity.clone());
        tasks.spawn(async move {
            let run = async {
                tokio::select! {
                    biased;
                    () = identity.cut_off() => Err("the node is cut off".to_owned()),
                    ended = connection.run(stream) => ended,
                }
            };
            if let Some(Err(why)) = stop.run_until_cancelled(run).await {
                debug!(%why, "a connection of another node has ended");
            }
            drop(place);
        });
    }
}

struct Connection {
    identity: Arc<Identity>,
    answers: Answers,
    frames: Frames,
}

impl Connection {
    async fn run(mut self, stream: TcpStream) -> Result<(), String> {
        let (mut stream, peer) = timeout(GREETING, self.greeted(stream))
            .await
            .map_err(|_| "it did not greet in time".to_owned())??;
        let mut session = self.answers.session(peer);
        while let Some(request) = self.next(&mut stream, MESSAGE_MAX).await? {
            let reply = match request.body {
                Some(body) => session.answer(body).await,
                None => Some(refusal(Reason::Invalid, "an unknown request")),
            };
            let Some(body) = reply else { continue };
            let ends =
                matches!(&body, response::Body::Refused(why) if why.reason() == Reason::Invalid);
            self.reply(&mut stream, request.id, body).await?;
            if ends {
                return Err("it sent an invalid request".to_owned());
            }
        }
        Ok(())
    }

    /// Performs the handshake, and answers the greeting. Returns the id of the other node too.
    async fn greeted(&mut self, stream: TcpStream) -> Result<(Stream, u64), String> {
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let address = stream.peer_addr().map_err(|error| error.to_string())?;
        let (mut stream, names) = match &self.identity.tls {
            Some(tls) => {
                let (stream, names) = tls
                    .accept(stream)
                    .await
                    .map_err(|error| error.to_string())?;
                (stream, Some(names))
            }
            None if is_allowed_plain(&address) => (Stream::Plain(stream), None),
            None => return Err("it is not on this machine, and uses no TLS".to_owned()),
        };
        let Some(request) = self.next(&mut stream, GREETING_MAX).await? else {
            return Err("it closed the connection".to_owned());
        };
        let (body, peer) = match request.body {
            Some(request::Body::Greeting(greeting)) => (
                self.answer_greeting(&greeting, names.as_deref()),
                Some(greeting.from).filter(|_| greeting.to != 0),
            ),
            _ => (refusal(Reason::Invalid, "greet first"), None),
        };
        let refused = match &body {
            response::Body::Refused(refused) => Some(refused.text.clone()),
            _ => None,
        };
        self.reply(&mut stream, request.id, body).await?;
        match refused {
            None if peer.is_none() => Err("it only asked which node this is".to_owned()),
            None => Ok((stream, peer.unwrap_or_default())),
            Some(why) => {
                warn!(%address, why, "another node was refused");
                Err(why)
            }
        }
    }

    fn answer_greeting(
        &self,
        greeting: &proto::Greeting,
        names: Option<&[String]>,
    ) -> response::Body {
        let identity = &self.identity;
        let (theirs, ours) = (
            greeting.oldest_version..=greeting.newest_version,
            OLDEST_VERSION..=identity.newest_version(),
        );
        let version = *theirs.end().min(ours.end());
        if !theirs.contains(&version) || !ours.contains(&version) {
            let text = format!(
                "node {} speaks the versions {} to {} of the protocol, and node {} the versions {OLDEST_VERSION} to \
                 {}: upgrade the older one",
                greeting.from_name,
                greeting.oldest_version,
                greeting.newest_version,
                identity.name,
                ours.end()
            );
            return refusal(Reason::Version, text);
        }
        if names.is_some_and(|names| !names.contains(&greeting.from_name)) {
            let text = format!(
                "the certificate of node {} is for {}: give each node a certificate with its own name",
                greeting.from_name,
                names.unwrap_or_default().join(", ")
            );
            return refusal(Reason::Certificate, text);
        }
        if *greeting.cluster != identity.cluster.to_le_bytes() {
            let text = format!(
                "node {} is a member of the cluster {:032x}, and node {} of another one: correct its addresses",
                identity.name, identity.cluster, greeting.from_name
            );
            return refusal(Reason::Cluster, text);
        }
        if greeting.to != 0 && greeting.to != identity.id {
            let text = format!(
                "node {} at this address has the id {:016x} instead of {:016x}: a node whose folder was emptied is a \
                 new node, so remove the old one and add it again",
                identity.name, identity.id, greeting.to
            );
            return refusal(Reason::Node, text);
        }
        if greeting.from == identity.id {
            let text = format!(
                "nodes {} and {} have the same id: a data folder was copied, so stop one of them",
                greeting.from_name, identity.name
            );
            return refusal(Reason::Node, text);
        }
        response::Body::Welcome(proto::Welcome {
            version,
            node: identity.id,
            name: identity.name.clone(),
            clients: identity.clients.clone(),
            members: self.answers.members(),
        })
    }

    /// Returns the next request, or `None` if the other node has closed the connection.
    async fn next(
        &mut self,
        stream: &mut Stream,
        max: usize,
    ) -> Result<Option<proto::Request>, String> {
        loop {
            let message = self
                .frames
                .take(max)
                .map_err(|long| format!("a message of {} bytes is too long", long.length))?;
            if let Some(message) = message {
                let request = proto::Request::decode(message);
                return request
                    .map(Some)
                    .map_err(|_| "an invalid message".to_owned());
            }
            match read_more(stream, &mut self.frames).await {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn reply(
        &self,
        stream: &mut Stream,
        id: u64,
        body: response::Body,
    ) -> Result<(), String> {
        let mut bytes = Vec::new();
        encode(
            &proto::Response {
                id,
                body: Some(body),
            },
            &mut bytes,
        );
        let written = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        match timeout(WRITE, written).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("it does not read".to_owned()),
        }
    }
}
