//! Why a connection ends, and the last words to its peer.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::wire::proto::refused::Code;
use crate::wire::{VERSION, encode, proto};

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The peer went away.
    Peer(std::io::Error),
    /// The peer closed its side.
    Closed,
    /// Too much waits for this client and others of its principal. It is in the middle of an
    /// answer, so it is told nothing.
    Unread,
    /// It was cut, for this reason, which the peer is told.
    Cut {
        code: Code,
        reason: String,
        request: u64,
        limit: u64,
    },
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Peer(error)
    }
}

pub(super) fn cut(code: Code, reason: impl Into<String>) -> End {
    refuse(0, code, reason)
}

/// The connection is cut as the answer to this request.
pub(super) fn refuse(request: u64, code: Code, reason: impl Into<String>) -> End {
    End::Cut {
        code,
        reason: reason.into(),
        request,
        limit: 0,
    }
}

/// A frame of `length` bytes, of which `max` are allowed.
pub(super) fn too_long(length: usize, max: usize) -> End {
    let reason = format!("a request of {length} bytes, longer than the {max} that are allowed");
    End::Cut {
        code: Code::FrameTooLong,
        reason,
        request: 0,
        limit: max as u64,
    }
}

pub(super) fn unknown(request: u64) -> End {
    refuse(
        request,
        Code::Malformed,
        format!("a request that version {VERSION} does not know"),
    )
}

/// How long the last words to a connection may take.
pub(super) const COURTESY: Duration = Duration::from_millis(200);

/// Tells a connection that there is no place for it.
pub(in crate::server) async fn turn_away(mut stream: TcpStream) {
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
    let _ = tokio::time::timeout(COURTESY, stream.write_all(&out)).await;
}
