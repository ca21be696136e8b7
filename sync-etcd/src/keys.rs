//! How claims are keys: `<path of the name>/<mode>-<claim>`, with who it is and its value inside.
//!
//! The mode stands in the key, so that the order of a line can be read without its values.

use bytes::Bytes;
use etcd_client::KeyValue;
use sync_core::backend::{Claim, ClaimId, Entry};
use sync_core::{LockName, Mode};

use crate::error::Failure;

/// The prefix of all claims of a name. The `/` at its end keeps `foo` and `foo/bar` apart.
pub(crate) fn prefix(name: &LockName) -> String {
    format!("{}/", name.path())
}

pub(crate) fn key(claim: &Claim) -> String {
    key_of(&claim.name, claim.mode, claim.id)
}

pub(crate) fn key_of(name: &LockName, mode: Mode, claim: ClaimId) -> String {
    format!("{}/{}-{claim}", name.path(), tag(mode))
}

fn tag(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "x".to_owned(),
        Mode::Shared => "s".to_owned(),
        Mode::Permit { of } => format!("p{of}"),
    }
}

/// One claim in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: String,
    pub(crate) claim: ClaimId,
    pub(crate) mode: Mode,
    pub(crate) created: i64,
}

/// Reads the place that a key stands for.
pub(crate) fn read_place(kv: &KeyValue) -> Result<Place, Failure> {
    let key = String::from_utf8_lossy(kv.key()).into_owned();
    let parsed = key.rsplit_once('/').and_then(|(_, last)| {
        let (tag, claim) = last.split_once('-')?;
        let mode = match tag {
            "x" => Mode::Exclusive,
            "s" => Mode::Shared,
            permit => Mode::Permit { of: permit.strip_prefix('p')?.parse().ok()? },
        };
        Some((claim.parse().ok()?, mode))
    });
    match parsed {
        Some((claim, mode)) => Ok(Place { key, claim, mode, created: kv.create_revision() }),
        None => Err(Failure::Foreign(key)),
    }
}

/// A claim's value: the client's name, which has no line break, and on the next line what the user wants seen.
pub(crate) fn value(client: &str, value: &[u8]) -> Vec<u8> {
    [client.as_bytes(), b"\n", value].concat()
}

pub(crate) fn read_entry(kv: &KeyValue, token: Option<sync_core::Token>) -> Result<Entry, Failure> {
    let place = read_place(kv)?;
    let mut parts = kv.value().splitn(2, |byte| *byte == b'\n');
    let client = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let value = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    Ok(Entry { claim: place.claim, token, age: None, is_isolating: false, mode: place.mode, client, value })
}
