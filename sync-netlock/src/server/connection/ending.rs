//! The reasons why a connection ends, and the last reply to its peer.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::server::hub::Hub;
use crate::wire::proto::refused::Code;
use crate::wire::{VERSION, encode, proto};

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Snapshot or writing failed.
    Io(std::io::Error),
    /// The peer closed the connection.
    Closed,
    /// The peer does not read, or too many unread replies wait for clients of its principal. The
    /// peer is not told, because the connection is in the middle of a reply.
    Unread(&'static str),
    /// The peer has greeted as an operator, with a request of this id. The connection goes on as
    /// that of an operator.
    Operate { hello: u64 },
    /// The server ends the connection, and tells the peer this reason.
    Cut {
        code: Code,
        reason: String,
        request: u64,
        limit: u64,
        /// Where to connect instead, if the server does not lead.
        leader: String,
    },
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

pub(super) fn cut(code: Code, reason: impl Into<String>) -> End {
    refuse(0, code, reason)
}

/// Returns the end of a connection, with its reason as the reply to this request.
pub(super) fn refuse(request: u64, code: Code, reason: impl Into<String>) -> End {
    End::Cut {
        code,
        reason: reason.into(),
        request,
        limit: 0,
        leader: String::new(),
    }
}

/// Returns the end for a connection to a server that does not lead its cluster, as the reply to
/// this request.
pub(super) fn not_leader(hub: &Hub, request: u64) -> End {
    let (leader, reason) = hub.leader();
    End::Cut {
        code: Code::NotLeader,
        reason,
        request,
        limit: 0,
        leader,
    }
}

/// Returns the end for a frame of `length` bytes, which is longer than `max`.
pub(super) fn too_long(length: usize, max: usize) -> End {
    let reason = format!("a request has {length} bytes: the server accepts at most {max}");
    End::Cut {
        code: Code::FrameTooLong,
        reason,
        request: 0,
        limit: max as u64,
        leader: String::new(),
    }
}

pub(super) fn unknown(request: u64) -> End {
    refuse(
        request,
        Code::Malformed,
        format!("version {VERSION} of the protocol does not have this request: upgrade the server"),
    )
}

/// How long the last write to a connection may take.
pub(super) const LAST_WRITE: Duration = Duration::from_millis(200);

/// Refuses a connection because the server has too many.
pub(in crate::server) async fn reject(mut stream: TcpStream) {
    let refused = proto::Refused {
        code: Code::Overloaded.into(),
        message: "the server has too many connections: try later, or raise its limit".to_owned(),
        ..proto::Refused::default()
    };
    let mut out = Vec::new();
    encode(
        &proto::Response {
            id: 0,
            body: Some(proto::response::Body::Refused(refused)),
        },
        &mut out,
    );
    let _ = tokio::time::timeout(LAST_WRITE, stream.write_all(&out)).await;
}
