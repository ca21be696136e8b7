//! Sessions and claims for direct requests to a backend, without the core.

use std::time::Duration;

use bytes::Bytes;

use crate::spi::backend::{Claim, Session, SessionSpec};
use crate::types::ids::{ClaimId, SessionId};
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::nonce::Secret;

/// Returns the specification of a session. Without the core, it is not renewed.
#[must_use]
pub fn spec(ttl: Duration) -> SessionSpec {
    SessionSpec {
        nonce: SessionId::random(),
        secret: Secret::random(),
        ttl,
        client: "bare".to_owned(),
        release_on_disconnect: false,
        isolation: Bytes::new(),
    }
}

/// Returns an exclusive claim that waits.
#[must_use]
pub fn claim(session: Session, name: LockName) -> Claim {
    Claim {
        id: ClaimId::random(),
        session,
        name,
        also: Vec::new(),
        any: false,
        mode: Mode::Exclusive,
        waits: true,
        client: "bare".into(),
        value: Bytes::new(),
        token: None,
    }
}
