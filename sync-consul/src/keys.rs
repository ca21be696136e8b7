//! How claims are keys: `<path of the name>/<session>-<seat>`, with the claim's id, mode, client and value inside.
//!
//! A session uses few keys at a name, one for each seat: Consul remembers for 15 minutes which keys were deleted, and walks over
//! all of those under a prefix when it reads it, so a key for each claim would make a busy lock slower and slower.

use bytes::Bytes;
use sync_core::backend::{Claim, Entry};
use sync_core::{LockName, Mode};

use crate::error::Failure;
use crate::http::Pair;
use crate::line::Place;

/// The prefix of all claims of a name. The `/` at its end keeps `foo` and `foo/bar` apart.
pub(crate) fn prefix(name: &LockName) -> String {
    format!("{}/", name.path())
}

pub(crate) fn key(claim: &Claim) -> String {
    format!("{}/{}-{:x}", claim.name.path(), claim.session.id, claim.id.seat())
}

/// A claim's value: its id, mode and client on the first line, then what the user wants seen.
pub(crate) fn value(claim: &Claim, value: &[u8]) -> Vec<u8> {
    let mode = match claim.mode {
        Mode::Exclusive => "x".to_owned(),
        Mode::Shared => "s".to_owned(),
        Mode::Permit { of } => format!("p{of}"),
    };
    [format!("{} {mode} {}\n", claim.id, claim.client).as_bytes(), value].concat()
}

/// Reads what [`value`] wrote.
pub(crate) fn read_place(pair: &Pair) -> Result<Place, Failure> {
    let bytes = pair.bytes();
    let parsed = (|| {
        let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
        let first = String::from_utf8_lossy(parts.next()?).into_owned();
        let (claim, rest) = first.split_once(' ')?;
        let (mode, client) = rest.split_once(' ')?;
        let mode = match mode {
            "x" => Mode::Exclusive,
            "s" => Mode::Shared,
            permit => Mode::Permit { of: permit.strip_prefix('p')?.parse().ok()? },
        };
        let value = Bytes::copy_from_slice(parts.next()?);
        Some(Entry {
            claim: claim.parse().ok()?,
            token: None,
            age: None,
            is_isolating: false,
            mode,
            client: client.to_owned(),
            value,
        })
    })();
    match parsed {
        Some(entry) => Ok(Place {
            key: pair.key.clone(),
            created: pair.create_index,
            modified: pair.modify_index,
            is_lost: pair.session.is_none(),
            entry,
        }),
        None => Err(Failure::Foreign(pair.key.clone())),
    }
}
