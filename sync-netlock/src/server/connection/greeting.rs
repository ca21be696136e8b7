//! How a connection begins: the TLS handshake, the greeting, and whom the server takes the peer
//! for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tracing::info;
use tracing::warn;

use super::ending::{End, refuse};
use super::{Connection, serve};
use crate::engine::{Command, Reply};
use crate::server::access::{Access, TokenHash, Verb};
use crate::server::hub::{Hub, Place};
use crate::stream::Stream;
use crate::wire::proto::refused::Code;
use crate::wire::{VERSION, encode, proto};

/// Shakes hands with a peer, where the server speaks TLS, and serves it.
pub(in crate::server) async fn welcome(
    hub: Arc<Hub>,
    place: Place,
    stream: TcpStream,
    peer: SocketAddr,
) {
    #[cfg(feature = "tls")]
    if let Some(tls) = &hub.tls {
        let handshake = tokio::time::timeout(hub.options.greeting_timeout, tls.accept(stream));
        let shaken = tokio::select! {
            biased;
            shaken = handshake => shaken,
            // It cannot be told before the handshake is done.
            () = place.outbox.is_displaced() => return,
        };
        match shaken {
            Ok(Ok((stream, principal))) => {
                serve(hub, place, Stream::Tls(Box::new(stream)), peer, principal).await;
            }
            failed => {
                hub.traffic
                    .failed_handshakes
                    .fetch_add(1, Ordering::Relaxed);
                match failed {
                    Ok(Err(error)) => info!(%peer, %error, "no connection by TLS"),
                    _ => info!(%peer, "no TLS handshake in time"),
                }
            }
        }
        return;
    }
    serve(hub, place, Stream::Plain(stream), peer, None).await;
}

/// A principal whom the server knows.
pub(super) struct Known {
    pub(super) principal: Arc<str>,
    /// The token that says so; none: a certificate does.
    token: Option<TokenHash>,
    access: Arc<Access>,
}

impl Known {
    /// Whether it is known no more.
    pub(super) fn is_forgotten(&self) -> bool {
        self.token
            .is_some_and(|token| !self.access.still_knows(&token, &self.principal))
    }

    pub(super) fn allows(&self, command: &Command<'_>) -> bool {
        self.access.allows(&self.principal, command)
    }

    /// Removes from a reply what this principal may not see: the holder of a name that it may only
    /// acquire.
    pub(super) fn veil(&self, command: &Command<'_>, reply: Option<Reply>) -> Option<Reply> {
        let may_see = |name: &[u8]| {
            self.access
                .allows_verb(&self.principal, Verb::Observe, name)
        };
        let shows = match command {
            Command::Enqueue { name, .. } => may_see(name),
            Command::EnqueueAll { names, .. } => names.iter().all(|name| may_see(name.as_bytes())),
            _ => true,
        };
        match reply {
            Some(Reply::Waiting { position, .. }) if !shows => Some(Reply::Waiting {
                position,
                holder: None,
            }),
            Some(Reply::Busy { .. }) if !shows => Some(Reply::Busy { holder: None }),
            reply => reply,
        }
    }
}

impl Connection {
    pub(super) fn greet(&mut self, request: u64, hello: &proto::Hello) -> Result<(), End> {
        if hello.version != VERSION {
            let reason = format!(
                "the client speaks version {} of the protocol, the server {VERSION}: upgrade the older one",
                hello.version
            );
            return Err(refuse(request, Code::VersionUnknown, reason));
        }
        if let Some(access) = &self.hub.options.access {
            let named = match &self.certified {
                Some(principal) => Some((None, principal.clone())),
                None => access
                    .principal_of(&hello.token)
                    .map(|(hash, principal)| (Some(hash), principal)),
            };
            let Some((token, principal)) = named else {
                self.hub
                    .traffic
                    .refused_tokens
                    .fetch_add(1, Ordering::Relaxed);
                warn!(peer = %self.peer, "refused: no token that is known");
                let reason = "the server does not know this token: write it into the URL, as in \
                              netlock://:TOKEN@host, and its hash into the server's file of tokens"
                    .to_owned();
                return Err(refuse(request, Code::Denied, reason));
            };
            let max = self.hub.options.connections_per_principal;
            // A second greeting gives its first share back.
            self.share = None;
            self.share = self.hub.connected.share(Some(principal.clone()), 1, max);
            if self.share.is_none() {
                let reason = format!(
                    "`{principal}` has {max} connections: close some, or raise the server's limit"
                );
                return Err(End::Cut {
                    code: Code::Overloaded,
                    reason,
                    request,
                    limit: max as u64,
                });
            }
            let _ = self.place.outbox.principal.set(principal.clone());
            self.known = Some(Known {
                principal,
                token,
                access: access.clone(),
            });
        }
        self.greeted = true;
        self.hub.greeted(self.place.connection);
        let request_max = u32::try_from(self.hub.options.request_max).unwrap_or(u32::MAX);
        let body = Some(proto::response::Body::Welcome(proto::Welcome {
            version: VERSION,
            request_max,
            durability: self.hub.durability().into(),
            table: Some(self.hub.table.into()),
            incarnation: self.hub.incarnation,
        }));
        encode(&proto::Response { id: request, body }, &mut self.out);
        Ok(())
    }
}
