//! How claims are keys: `<path of the name>/<claim>`, with mode, client and value inside.

use bytes::Bytes;
use sync_core::backend::{Claim, ClaimId, Entry};
use sync_core::{LockName, Mode, Token};

use crate::error::Failure;
use crate::http::Pair;

/// The prefix of all claims of a name. The `/` at its end keeps `foo` and `foo/bar` apart.
pub(crate) fn prefix(name: &LockName) -> String {
    format!("{}/", name.path())
}

pub(crate) fn key(name: &LockName, claim: ClaimId) -> String {
    format!("{}/{claim}", name.path())
}

/// A claim's value: mode and client on the first line, then what the user wants seen.
pub(crate) fn value(claim: &Claim, value: &[u8]) -> Vec<u8> {
    let mode = match claim.mode {
        Mode::Exclusive => "x".to_owned(),
        Mode::Shared => "s".to_owned(),
        Mode::Permit { of } => format!("p{of}"),
    };
    [mode.as_bytes(), b" ", claim.client.as_bytes(), b"\n", value].concat()
}

/// One claim in a line.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) key: String,
    pub(crate) created: u64,
    pub(crate) modified: u64,
    pub(crate) entry: Entry,
}

pub(crate) fn read_place(pair: &Pair) -> Result<Place, Failure> {
    let bytes = pair.bytes();
    let parsed = pair.key.rsplit_once('/').and_then(|(_, claim)| {
        let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
        let first = String::from_utf8_lossy(parts.next()?).into_owned();
        let (mode, client) = first.split_once(' ')?;
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
    });
    match parsed {
        Some(entry) => Ok(Place {
            key: pair.key.clone(),
            created: pair.create_index,
            modified: pair.modify_index,
            entry,
        }),
        None => Err(Failure::Foreign(pair.key.clone())),
    }
}

/// The line of a name in the order of arrival: its claims, with tokens for those that hold.
pub(crate) fn read_line(prefix: &str, pairs: &[Pair]) -> Result<Vec<Place>, Failure> {
    let mut places = Vec::new();
    for pair in pairs.iter().filter(|pair| pair.key.starts_with(prefix)) {
        // A transaction shows a key once for each step that touched it, and without its value where it did not read.
        let same = |other: &&Pair| other.key == pair.key && other.value.is_some();
        let shown = pairs.iter().find(same).unwrap_or(pair);
        if std::ptr::eq(shown, pair) {
            places.push(read_place(pair)?);
        }
    }
    places.sort_by_key(|place| place.created);
    let mut run = sync_core::order::Run::default();
    for place in &mut places {
        if !run.admit(place.entry.mode) {
            break;
        }
        place.entry.token = Token::new(place.created);
    }
    Ok(places)
}
