//! How claims are keys: `<path of the name>/<mode>-<lease>-<seat>`, with the claim's id, who it is and its value inside.
//!
//! The mode stands in the key, so that the order of a line can be read without its values. A session uses few keys at a name,
//! one for each seat: etcd walks over all keys that a prefix ever had since the last compaction, so a key for each claim would
//! make a busy lock slower and slower.

use bytes::Bytes;
use distsync_core::spi::{Claim, ClaimId, Entry, SessionId};
use distsync_core::{LockName, Mode, Token};
use etcd_client::{Compare, CompareOp, KeyValue};

use crate::error::Failure;

/// The prefix of all claims of a name. The `/` at its end keeps `foo` and `foo/bar` apart.
pub(crate) fn prefix(name: &LockName) -> String {
    format!("{}/", name.path())
}

/// The prefix of all keys of a name's namespace.
pub(crate) fn namespace(name: &LockName) -> String {
    format!("{}/", name.path().split('/').next().unwrap_or_default())
}

pub(crate) fn key(claim: &Claim) -> String {
    key_of(&claim.name, claim.mode, claim.session.id, claim.id)
}

pub(crate) fn key_of(name: &LockName, mode: Mode, session: SessionId, claim: ClaimId) -> String {
    format!("{}/{}-{:x}-{:x}", name.path(), tag(mode), session.bits(), claim.key_slot())
}

fn tag(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "x".to_owned(),
        Mode::Shared => "s".to_owned(),
        Mode::Permit { of } => format!("p{of}"),
    }
}

/// Holds while the key is the one that was created with this token.
pub(crate) fn created_at(key: &str, token: Token) -> Compare {
    // A token is below 2^63 by construction.
    Compare::create_revision(key, CompareOp::Equal, i64::try_from(token.get()).unwrap_or(i64::MAX))
}

/// One claim in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub(crate) key: String,
    pub(crate) mode: Mode,
    pub(crate) created: i64,
}

/// The mode that a key says, and its session's lease.
fn read_key(key: &str) -> Option<(&str, i64)> {
    let (tag, seat) = key.rsplit_once('/')?.1.split_once('-')?;
    let (lease, seat) = seat.split_once('-')?;
    let (lease, _) = (i64::from_str_radix(lease, 16).ok()?, u32::from_str_radix(seat, 16).ok()?);
    Some((tag, lease))
}

/// The lease that a session is.
pub(crate) fn lease(session: SessionId) -> i64 {
    i64::try_from(session.bits()).unwrap_or(0)
}

/// The lease of the session whose key it is.
pub(crate) fn lease_of(key: &str) -> Option<i64> {
    read_key(key).map(|(_, lease)| lease)
}

/// Reads the place that a key stands for.
pub(crate) fn read_key_entry(kv: &KeyValue) -> Result<KeyEntry, Failure> {
    let key = String::from_utf8_lossy(kv.key()).into_owned();
    let parsed = read_key(&key).and_then(|(tag, _)| {
        Some(match tag {
            "x" => Mode::Exclusive,
            "s" => Mode::Shared,
            permit => Mode::Permit { of: permit.strip_prefix('p')?.parse().ok()? },
        })
    });
    match parsed {
        Some(mode) => Ok(KeyEntry { key, mode, created: kv.create_revision() }),
        None => Err(Failure::Foreign(key)),
    }
}

/// What a claim's key holds: its id and the client's name, which has no line break, and on the next line what the user wants seen.
pub(crate) fn value(claim: ClaimId, client: &str, value: &[u8]) -> Vec<u8> {
    [format!("{claim} {client}\n").as_bytes(), value].concat()
}

/// The claim whose key holds this.
pub(crate) fn read_claim(value: &[u8]) -> Option<ClaimId> {
    let id = value.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

pub(crate) fn read_entry(kv: &KeyValue, token: Option<Token>) -> Result<Entry, Failure> {
    let KeyEntry { key, mode, .. } = read_key_entry(kv)?;
    let claim = read_claim(kv.value()).ok_or(Failure::Foreign(key))?;
    let mut parts = kv.value().splitn(2, |byte| *byte == b'\n');
    let client = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let client = client.split_once(' ').map_or("", |(_, client)| client).to_owned();
    let value = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    Ok(Entry { claim, session: None, token, age: None, is_isolating: false, mode, client, value })
}
