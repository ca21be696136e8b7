//! Encodes claims as keys `<path of the name>/<mode>-<lease>-<key slot>`. The value holds the
//! claim's id, the client's name and the user's value.
//!
//! The mode is part of the key, so that a queue can be read without its values. A session reuses a
//! few keys per name, one for each key slot: a range read in etcd walks over every key that a
//! prefix has had since the last compaction, so one key per claim would make a busy lock slower
//! over time.

use bytes::Bytes;
use distsync_core::spi::{Claim, ClaimId, Entry, SessionId};
use distsync_core::{LockName, Mode, Token};
use etcd_client::{Compare, CompareOp, KeyValue};

use crate::error::Failure;

/// Returns the prefix of all claims of a name. The `/` at its end keeps `foo` and `foo/bar` apart.
pub(crate) fn prefix(name: &LockName) -> String {
    format!("{}/", name.path())
}

/// Returns the prefix of all keys of a name's namespace.
pub(crate) fn namespace(name: &LockName) -> String {
    format!("{}/", name.path().split('/').next().unwrap_or_default())
}

pub(crate) fn key(claim: &Claim) -> String {
    key_of(&claim.name, claim.mode, claim.session.id, claim.id)
}

pub(crate) fn key_of(name: &LockName, mode: Mode, session: SessionId, claim: ClaimId) -> String {
    format!(
        "{}/{}-{:x}-{:x}",
        name.path(),
        tag(mode),
        session.bits(),
        claim.key_slot()
    )
}

fn tag(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "x".to_owned(),
        Mode::Shared => "s".to_owned(),
        Mode::Permit { of } => format!("p{of}"),
    }
}

/// Returns a condition that is true while the key is the one whose creation gave this token.
pub(crate) fn created_at(key: &str, token: Token) -> Compare {
    // A token is below 2^63 by construction.
    Compare::create_revision(
        key,
        CompareOp::Equal,
        i64::try_from(token.get()).unwrap_or(i64::MAX),
    )
}

/// A claim in a queue, as far as its key shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub(crate) key: String,
    pub(crate) mode: Mode,
    pub(crate) created: i64,
}

/// Parses the mode and the session's lease from a key.
fn read_key(key: &str) -> Option<(&str, i64)> {
    let (tag, seat) = key.rsplit_once('/')?.1.split_once('-')?;
    let (lease, seat) = seat.split_once('-')?;
    let (lease, _) = (
        i64::from_str_radix(lease, 16).ok()?,
        u32::from_str_radix(seat, 16).ok()?,
    );
    Some((tag, lease))
}

/// Returns the lease of a session.
pub(crate) fn lease(session: SessionId) -> i64 {
    i64::try_from(session.bits()).unwrap_or(0)
}

/// Returns the lease of the session that owns a key.
pub(crate) fn lease_of(key: &str) -> Option<i64> {
    read_key(key).map(|(_, lease)| lease)
}

/// Parses a key into an entry of its queue.
pub(crate) fn read_key_entry(kv: &KeyValue) -> Result<KeyEntry, Failure> {
    let key = String::from_utf8_lossy(kv.key()).into_owned();
    let parsed = read_key(&key).and_then(|(tag, _)| {
        Some(match tag {
            "x" => Mode::Exclusive,
            "s" => Mode::Shared,
            permit => Mode::Permit {
                of: permit.strip_prefix('p')?.parse().ok()?,
            },
        })
    });
    match parsed {
        Some(mode) => Ok(KeyEntry {
            key,
            mode,
            created: kv.create_revision(),
        }),
        None => Err(Failure::Foreign(key)),
    }
}

/// Encodes the value of a claim's key: the claim's id and the client's name, which contains no line
/// break, and the user's value from the second line on.
pub(crate) fn value(claim: ClaimId, client: &str, value: &[u8]) -> Vec<u8> {
    [format!("{claim} {client}\n").as_bytes(), value].concat()
}

/// Returns the conditions under which a key belongs to this claim, whatever its user's value: its
/// value begins with the claim's id and a space.
pub(crate) fn belongs_to(key: &str, claim: ClaimId) -> [Compare; 2] {
    // `!` is the character after the space.
    [
        Compare::value(key, CompareOp::Greater, format!("{claim} ")),
        Compare::value(key, CompareOp::Less, format!("{claim}!")),
    ]
}

/// Parses the claim's id from the value of its key.
pub(crate) fn read_claim(value: &[u8]) -> Option<ClaimId> {
    let id = value.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

pub(crate) fn read_entry(kv: &KeyValue, token: Option<Token>) -> Result<Entry, Failure> {
    let KeyEntry { key, mode, .. } = read_key_entry(kv)?;
    let claim = read_claim(kv.value()).ok_or(Failure::Foreign(key))?;
    let mut parts = kv.value().splitn(2, |byte| *byte == b'\n');
    let client = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let client = client
        .split_once(' ')
        .map_or("", |(_, client)| client)
        .to_owned();
    let value = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let mut entry = Entry::new(claim, mode);
    (entry.token, entry.client, entry.value) = (token, client, value);
    Ok(entry)
}
