//! Connections of operators, to one member of a cluster.

use distsync_core::spi::clock;
use prost::Message;

use super::Connection;
use super::ending::{End, cut, refuse, too_long, unknown};
use crate::server::hub::Hub;
use crate::wire::encode;
use crate::wire::proto::refused::Code;
use crate::wire::proto::{self, change_cluster::Change, request, response};

impl Connection {
    /// Serves a connection that has greeted as that of an operator, until it ends. `hello` is the
    /// id of the greeting.
    pub(super) async fn serve_operator(&mut self, hello: u64) -> Result<(), End> {
        let outbox = self.registration.outbox.clone();
        let welcome = response::Body::Welcome(self.welcome());
        self.reply(hello, welcome);
        loop {
            self.write().await?;
            if let Some(request) = self.next_request()? {
                self.last_request = clock::now();
                let body = self.operate(&request).await?;
                self.reply(request.id, body);
                continue;
            }
            self.update_partial(clock::now());
            if self.hub.is_stopped() {
                return Err(cut(Code::Stopping, "the server is shutting down"));
            }
            self.check_token(&outbox)?;
            let timeout = tokio::time::sleep(self.time_left());
            tokio::select! {
                read = self.inbox.read(&mut self.stream) => if read? == 0 {
                    return Err(End::Closed);
                },
                () = outbox.filled.notified() => {}
                () = timeout => self.check_timeouts()?,
            }
        }
    }

    fn reply(&mut self, id: u64, body: response::Body) {
        let body = Some(body);
        encode(&proto::Response { id, body }, self.out.end());
    }

    fn next_request(&mut self) -> Result<Option<proto::Request>, End> {
        let max = self.hub.options.request_max;
        let taken = self.inbox.take(max);
        let Some(frame) = taken.map_err(|long| too_long(long.length, max))? else {
            return Ok(None);
        };
        match proto::Request::decode(frame) {
            Ok(request) if request.id != 0 => Ok(Some(request)),
            _ => Err(cut(Code::Malformed, "a frame is not a request with an id")),
        }
    }

    async fn operate(&mut self, request: &proto::Request) -> Result<response::Body, End> {
        let change = match &request.body {
            Some(request::Body::Ping(_)) => {
                return Ok(response::Body::Pong(proto::Pong::default()));
            }
            Some(request::Body::DescribeCluster(_)) => None,
            Some(request::Body::ChangeCluster(proto::ChangeCluster {
                change: Some(change),
            })) => Some(change),
            Some(request::Body::ChangeCluster(_)) | None => return Err(unknown(request.id)),
            Some(_) => {
                let reason = "this connection is that of an operator, which reads and changes the cluster only: open \
                              another one without `to_member`";
                return Err(refuse(request.id, Code::Malformed, reason));
            }
        };
        let is_allowed = self
            .authenticated
            .as_ref()
            .is_none_or(super::Authenticated::administers);
        let described = if is_allowed {
            describe_or_change(&self.hub, request.id, change).await?
        } else {
            Err((
                Code::Denied,
                "this principal lacks the permission to administer all names: ask the server's operator for it"
                    .to_owned(),
            ))
        };
        if let Some(change) = change {
            let (deed, name) = match change {
                Change::Add(add) => ("add member", Some(&*add.name)),
                Change::Promote(name) => ("promote member", Some(&**name)),
                Change::Remove(name) => ("remove member", Some(&**name)),
                Change::StepDown(_) => ("step down", None),
            };
            let outcome = described.as_ref().err().map(|(_, why)| &**why);
            let (audit, principal) = (&self.hub.audit, self.principal());
            audit.note_change(principal, self.peer, deed, name, outcome);
        }
        Ok(match described {
            Ok(cluster) => response::Body::Cluster(cluster),
            Err((code, message)) => response::Body::Refused(proto::Refused {
                code: code.into(),
                message,
                ..proto::Refused::default()
            }),
        })
    }
}

/// Makes a change if there is one, and describes the cluster. The inner error is the reason why
/// that is not possible.
#[cfg(feature = "cluster")]
async fn describe_or_change(
    hub: &Hub,
    request: u64,
    change: Option<&Change>,
) -> Result<Result<proto::Cluster, (Code, String)>, End> {
    use crate::cluster::Rejected;

    let Some(member) = &hub.member else {
        return Ok(Err(no_member()));
    };
    if let Some(change) = change {
        match member.change(change).await {
            Ok(()) => {}
            Err(Rejected::NotLeader { .. }) => return Err(super::not_leader(hub, request)),
            Err(why) => return Ok(Err((Code::Cluster, why.to_string()))),
        }
    }
    Ok(Ok(member.describe()))
}

#[cfg(not(feature = "cluster"))]
#[allow(clippy::unused_async, reason = "members only")]
async fn describe_or_change(
    _: &Hub,
    _: u64,
    _: Option<&Change>,
) -> Result<Result<proto::Cluster, (Code, String)>, End> {
    Ok(Err(no_member()))
}

fn no_member() -> (Code, String) {
    let why = "this server is no member of a cluster: give the address of a member, or make one with `netlockd cluster \
               init`";
    (Code::Cluster, why.to_owned())
}
