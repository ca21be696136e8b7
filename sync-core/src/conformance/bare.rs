//! Sessions and claims at the store, without the core.

use std::time::Duration;

use bytes::Bytes;

use crate::spi::backend::{Claim, Session, SessionSpec};
use crate::types::ids::{ClaimId, SessionId};
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::nonce::Secret;

/// A session that nobody renews.
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

/// An exclusive claim, which waits.
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
