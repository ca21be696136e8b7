//! The operations of an operator on a cluster. Each has a connection of its own, to one member.

use std::time::Duration;

use distsync_core::spi::{Credential, clock};
use distsync_core::{Error, ErrorKind, Result};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::dial::unreachable;
use super::{Admin, Client};
use crate::stream::Stream;
use crate::wire::proto::change_cluster::Change;
use crate::wire::proto::{self, refused::Code, request, response};
use crate::wire::{Frames, RESPONSE_MAX, VERSION, encode};

/// How long to wait for a reply. A server takes at most 10 s for a change.
const REPLY: Duration = Duration::from_secs(15);
/// How long to look for the leader. An election takes about a second.
const FIND_LEADER: Duration = Duration::from_secs(5);
/// The pause before the members are asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a member did not do what it was asked for.
enum Failure {
    /// Another member leads, at this address for clients if it is known.
    NotLeader(String, Error),
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::NotLeader(_, error) | Self::Error(error) => error,
        }
    }
}

impl Admin {
    /// Returns what the leader of the cluster knows about it. If no leader can be reached, returns
    /// what another member knows. Asks the configured addresses in their order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the server is no member of a cluster,
    /// [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn cluster(&self) -> Result<proto::Cluster> {
        let client = self.client();
        let described = client.ask_first(&describe()).await;
        let described = described.map_err(|failure| explained(failure.into_error()))?;
        let leads = |member: &&proto::ClusterMember| {
            member.id == described.leader && !member.clients.is_empty()
        };
        let leader = described.members.iter().find(leads);
        let Some(leader) = leader.filter(|leader| leader.id != described.node) else {
            return Ok(described);
        };
        let by_leader = client.ask_member(&leader.clients, &describe()).await;
        Ok(by_leader.unwrap_or(described))
    }

    /// Changes the cluster, and returns it after the change. Finds the leader by itself.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the change is not possible, or the server is no member of a
    /// cluster. [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// The change may or may not have been made.
    pub async fn change_cluster(&self, change: Change) -> Result<proto::Cluster> {
        let client = self.client();
        let body = request::Body::ChangeCluster(proto::ChangeCluster {
            change: Some(change),
        });
        let end = clock::now().after(FIND_LEADER);
        let mut leader = String::new();
        loop {
            let asked = if leader.is_empty() {
                client.ask_first(&body).await
            } else {
                client.ask_member(&leader, &body).await
            };
            match asked {
                Ok(cluster) => return Ok(cluster),
                Err(Failure::NotLeader(next, _)) if clock::now() < end => {
                    if next.is_empty() || next == leader {
                        tokio::time::sleep(PAUSE).await;
                    }
                    leader = next;
                }
                // The named leader may be dead, and another one elected.
                Err(Failure::Error(error))
                    if !leader.is_empty() && is_unsent(&error) && clock::now() < end =>
                {
                    tokio::time::sleep(PAUSE).await;
                    leader.clear();
                }
                Err(failure) => return Err(explained(failure.into_error())),
            }
        }
    }
}

fn describe() -> request::Body {
    request::Body::DescribeCluster(proto::DescribeCluster {})
}

fn explained(error: Error) -> Error {
    error.with_backend("netlock").with_operation("cluster")
}

/// Returns whether a request has not reached a server.
fn is_unsent(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && !error.maybe_applied()
}

impl Client {
    /// Asks the first configured address that answers.
    async fn ask_first(
        &self,
        body: &request::Body,
    ) -> std::result::Result<proto::Cluster, Failure> {
        let mut first = None;
        for address in &self.config.addresses {
            match self.ask_member(address, body).await {
                Err(Failure::Error(error)) if is_unsent(&error) => {
                    first = first.or(Some(error));
                }
                answered => return answered,
            }
        }
        Err(first
            .unwrap_or_else(|| unreachable("no address", "no connection"))
            .into())
    }

    /// Asks the server at one address.
    async fn ask_member(
        &self,
        address: &str,
        body: &request::Body,
    ) -> std::result::Result<proto::Cluster, Failure> {
        let dialed = timeout(self.config.connect_timeout, self.dial_member(address)).await;
        let (mut stream, mut frames) =
            dialed.unwrap_or_else(|_| Err(unreachable(address, "no greeting")))?;
        let exchanged = timeout(REPLY, exchange(&mut stream, &mut frames, body.clone())).await;
        let unanswered = |error: Error| Failure::Error(error.with_maybe_applied());
        match exchanged {
            Ok(Ok(response::Body::Cluster(cluster))) => Ok(cluster),
            Ok(Ok(response::Body::Refused(refused))) => Err(refusal(refused)),
            Ok(Ok(_)) => Err(unexpected().into()),
            Ok(Err(error)) => Err(unanswered(
                unreachable(address, "the connection broke").with_source(error),
            )),
            Err(_) => Err(unanswered(unreachable(address, "no reply in time"))),
        }
    }

    /// Connects to a server, and greets it as an operator.
    async fn dial_member(&self, address: &str) -> Result<(Stream, Frames)> {
        let broken = |error| unreachable(address, "no connection").with_source(error);
        let mut last = None;
        for resolved in lookup_host(address).await.map_err(broken)? {
            match self.connect(address, resolved).await {
                Ok(stream) => {
                    last = Some(Ok(stream));
                    break;
                }
                Err(error) => last = Some(Err(error)),
            }
        }
        let connected = last.unwrap_or_else(|| Err(unreachable(address, "no connection")));
        let (mut stream, mut frames) = (connected?, Frames::new());
        let token = self.config.token.as_ref().map(Credential::latest);
        let hello = request::Body::Hello(proto::Hello {
            version: VERSION,
            token: token.as_deref().unwrap_or_default().to_owned(),
            to_member: true,
        });
        let greeted = exchange(&mut stream, &mut frames, hello).await;
        match greeted.map_err(broken)? {
            response::Body::Welcome(welcome) => self.check_table(address, &welcome)?,
            response::Body::Refused(refused) => return Err(refusal(refused).into_error()),
            _ => return Err(unexpected()),
        }
        Ok((stream, frames))
    }
}

fn unexpected() -> Error {
    let problem = "an unexpected reply: upgrade the server";
    Error::new(ErrorKind::Protocol, problem).with_backend("netlock")
}

fn refusal(refused: proto::Refused) -> Failure {
    let (code, leader) = (refused.code(), refused.leader);
    let kind = match code {
        Code::Denied => ErrorKind::Denied,
        Code::Cluster => ErrorKind::InvalidOption,
        Code::NotLeader => ErrorKind::Unavailable,
        _ => ErrorKind::Protocol,
    };
    let error = Error::new(kind, refused.message).with_backend("netlock");
    match code {
        Code::NotLeader => Failure::NotLeader(leader, error.retryable()),
        _ => Failure::Error(error),
    }
}

/// Sends a request, and waits for its reply.
async fn exchange(
    stream: &mut Stream,
    frames: &mut Frames,
    body: request::Body,
) -> std::io::Result<response::Body> {
    let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let mut bytes = Vec::new();
    let body = Some(body);
    encode(&proto::Request { id: 1, body }, &mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    loop {
        if let Some(message) = frames.take(RESPONSE_MAX).map_err(|_| invalid())? {
            let reply = proto::Response::decode(message).map_err(|_| invalid())?;
            return reply.body.ok_or_else(invalid);
        }
        let room = frames.room();
        if stream.read_buf(room).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
