//! The start of a connection: the TLS handshake, the greeting and authentication.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tracing::info;
use tracing::warn;

use super::ending::{End, not_leader, refuse};
use super::{Connection, serve};
use crate::engine::{Command, Reply};
use crate::server::access::{Access, Permissions, TokenHash};
use crate::server::hub::{Hub, Registration};
use crate::stream::Stream;
use crate::wire::proto::refused::Code;
use crate::wire::{VERSION, encode, proto};

/// Performs the TLS handshake, if the server uses TLS, and serves the connection.
pub(in crate::server) async fn accept(
    hub: Arc<Hub>,
    registration: Registration,
    stream: TcpStream,
    peer: SocketAddr,
) {
    #[cfg(feature = "tls")]
    if let Some(tls) = &hub.tls {
        let handshake = tokio::time::timeout(hub.options.greeting_timeout, tls.accept(stream));
        let shaken = tokio::select! {
            biased;
            shaken = handshake => shaken,
            // The peer cannot be told the reason before the handshake is done.
            () = registration.outbox.is_displaced() => return,
        };
        match shaken {
            Ok(Ok((stream, principal))) => {
                serve(
                    hub,
                    registration,
                    Stream::Tls(Box::new(stream)),
                    peer,
                    principal,
                )
                .await;
            }
            failed => {
                hub.traffic
                    .failed_handshakes
                    .fetch_add(1, Ordering::Relaxed);
                match failed {
                    Ok(Err(error)) => info!(%peer, %error, "TLS handshake failed"),
                    _ => info!(%peer, "TLS handshake timed out"),
                }
            }
        }
        return;
    }
    serve(hub, registration, Stream::Plain(stream), peer, None).await;
}

/// The authenticated principal of a connection.
pub(super) struct Authenticated {
    pub(super) principal: Arc<str>,
    /// The token that authenticated it. `None` if a certificate did.
    token: Option<TokenHash>,
    access: Arc<Access>,
    permissions: Permissions,
}

impl Authenticated {
    /// Returns whether the token was removed from the file of tokens.
    pub(super) fn is_revoked(&self) -> bool {
        self.token
            .is_some_and(|token| !self.access.still_knows(&token, &self.principal))
    }

    /// Returns whether the principal may administer all names.
    pub(super) fn administers(&self) -> bool {
        self.permissions.administers()
    }

    pub(super) fn allows(&self, command: &Command<'_>) -> bool {
        self.permissions.allows(command)
    }

    /// Removes from a reply what the principal may not see.
    pub(super) fn redact(&self, command: &Command<'_>, reply: Option<Reply>) -> Option<Reply> {
        self.permissions.redact(command, reply)
    }
}

impl Connection {
    /// Answers the greeting. `leadership` is that of the table, if the server leads.
    pub(super) fn greet(
        &mut self,
        request: u64,
        hello: &proto::Hello,
        leadership: Option<u64>,
    ) -> Result<(), End> {
        if hello.version != VERSION {
            let reason = format!(
                "the client uses version {} of the protocol, and the server {VERSION}: upgrade the older one",
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
                warn!(peer = %self.peer, "refused: unknown or missing token");
                let reason = "the server does not know this token: write it into the URL, as in \
                              netlock://:TOKEN@host, and its hash into the server's file of tokens"
                    .to_owned();
                return Err(refuse(request, Code::Denied, reason));
            };
            let max = self.hub.options.connections_per_principal;
            // A second greeting releases the count of the first.
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
                    leader: String::new(),
                });
            }
            let _ = self.registration.outbox.principal.set(principal.clone());
            self.authenticated = Some(Authenticated {
                permissions: access.permissions_of(&principal),
                principal,
                token,
                access: access.clone(),
            });
        }
        if hello.to_member {
            self.greeted = true;
            self.hub.greeted(self.registration.connection);
            return Err(End::Operate { hello: request });
        }
        // Only for clients that may know it.
        self.leadership = leadership.ok_or_else(|| not_leader(&self.hub, request))?;
        self.greeted = true;
        self.hub.greeted(self.registration.connection);
        let body = Some(proto::response::Body::Welcome(self.welcome()));
        encode(&proto::Response { id: request, body }, self.out.end());
        Ok(())
    }

    pub(super) fn welcome(&mut self) -> proto::Welcome {
        self.membership = self.hub.membership();
        let (node, members) = self.hub.members();
        proto::Welcome {
            version: VERSION,
            request_max: u32::try_from(self.hub.options.request_max).unwrap_or(u32::MAX),
            durability: self.hub.durability().into(),
            table: Some(self.hub.table.into()),
            incarnation: self.hub.incarnation,
            node,
            members,
        }
    }

    /// Answers a ping, with the members of the cluster if the client does not know them.
    pub(super) fn pong(&mut self) -> proto::Pong {
        let membership = self.hub.membership();
        if std::mem::replace(&mut self.membership, membership) == membership {
            return proto::Pong::default();
        }
        let (_, members) = self.hub.members();
        proto::Pong { members }
    }
}
