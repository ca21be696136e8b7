//! How claims are keys: `<path of the name>/<session>-<slot>`, with the claim's id, mode, client
//! and value inside.
//!
//! A session uses few keys of a name, one for each key slot. Consul remembers deleted keys for 15
//! minutes and visits all of them below a prefix when it reads the prefix, so a key for each claim
//! would slow a busy lock down.

use bytes::Bytes;
use distsync_core::spi::{Claim, Entry};
use distsync_core::{LockName, Mode};

use crate::error::Failure;
use crate::http::Pair;

/// The entry of one claim in a queue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyEntry {
    pub(crate) key: String,
    pub(crate) created: u64,
    pub(crate) modified: u64,
    /// Whether its session expired and had a lock-delay: the claim has ended, and its key stays
    /// until it is swept.
    pub(crate) is_lost: bool,
    /// The entry as observers see it.
    pub(crate) view: Entry,
}

/// Returns the prefix of all claims of a name. The `/` at its end keeps `foo` and `foo/bar` apart.
pub(crate) fn prefix(name: &LockName) -> String {
    format!("{}/", path(name))
}

pub(crate) fn key(claim: &Claim) -> String {
    format!(
        "{}/{}-{:x}",
        path(&claim.name),
        claim.session.id,
        claim.id.key_slot()
    )
}

/// Path segments that Consul's server resolves even where they are percent-encoded, and their
/// replacements. No name contains a replacement in its path, because a `%` of a name is `%25`
/// there.
const DOTS: [(&str, &str); 2] = [(".", "%2E"), ("..", "%2E%2E")];

fn path(name: &LockName) -> String {
    translate(name.path(), escape)
}

fn escape(segment: &str) -> Option<&'static str> {
    DOTS.iter()
        .find(|(dots, _)| *dots == segment)
        .map(|(_, escaped)| *escaped)
}

/// Returns the name whose claims have keys below `path`.
pub(crate) fn name(path: &str) -> distsync_core::Result<LockName> {
    LockName::from_path(&translate(path, |segment| {
        DOTS.iter()
            .find(|(_, escaped)| *escaped == segment)
            .map(|(dots, _)| *dots)
    }))
}

/// Returns the prefix of the keys of all names whose path begins with `start`. Other keys may share
/// it.
pub(crate) fn tree_of(start: &str) -> String {
    let Some((folder, last)) = start.rsplit_once('/') else {
        return start.to_owned();
    };
    let folder = translate(folder, escape);
    let last = if DOTS.iter().any(|(dots, _)| *dots == last) {
        ""
    } else {
        last
    };
    format!("{folder}/{last}")
}

fn translate<'a>(path: &'a str, other: impl Fn(&'a str) -> Option<&'static str>) -> String {
    let segments: Vec<_> = path
        .split('/')
        .map(|segment| other(segment).unwrap_or(segment))
        .collect();
    segments.join("/")
}

/// Encodes the value of a claim's key: its id, mode and client on the first line, then the value
/// for observers.
pub(crate) fn value(claim: &Claim, value: &[u8]) -> Vec<u8> {
    let mode = match claim.mode {
        Mode::Exclusive => "x".to_owned(),
        Mode::Shared => "s".to_owned(),
        Mode::Permit { of } => format!("p{of}"),
    };
    [
        format!("{} {mode} {}\n", claim.id, claim.client).as_bytes(),
        value,
    ]
    .concat()
}

/// Decodes what [`value`] has encoded.
pub(crate) fn read_entry(pair: &Pair) -> Result<KeyEntry, Failure> {
    let bytes = pair.bytes();
    let parsed = (|| {
        let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
        let first = String::from_utf8_lossy(parts.next()?).into_owned();
        let (claim, rest) = first.split_once(' ')?;
        let (mode, client) = rest.split_once(' ')?;
        let mode = match mode {
            "x" => Mode::Exclusive,
            "s" => Mode::Shared,
            permit => Mode::Permit {
                of: permit.strip_prefix('p')?.parse().ok()?,
            },
        };
        let value = Bytes::copy_from_slice(parts.next()?);
        let mut entry = Entry::new(claim.parse().ok()?, mode);
        (entry.client, entry.value) = (client.to_owned(), value);
        Some(entry)
    })();
    match parsed {
        Some(entry) => Ok(KeyEntry {
            key: pair.key.clone(),
            created: pair.create_index,
            modified: pair.modify_index,
            is_lost: pair.session.is_none(),
            view: entry,
        }),
        None => Err(Failure::Foreign(pair.key.clone())),
    }
}

#[cfg(test)]
mod tests {
    use distsync_core::{Kind, Namespace};

    use super::*;

    #[test]
    fn dots_alone_are_escaped_and_nothing_else_is() {
        for (space, plain, path_there) in [
            ("a", "b", "a/l/b"),
            ("a", ".", "a/l/%2E"),
            ("a", "..", "a/l/%2E%2E"),
            ("..", ".", "%2E%2E/l/%2E"),
            ("a", "...", "a/l/..."),
            ("a", ".b", "a/l/.b"),
            ("a", "../b", "a/l/..%2Fb"),
            ("a", "%2E", "a/l/%252E"),
            ("a", "//", "a/l/%2F%2F"),
        ] {
            let lock = LockName::new(&Namespace::new(space).unwrap(), Kind::Lock, plain).unwrap();
            assert_eq!(path(&lock), path_there);
            assert_eq!(name(path_there).unwrap(), lock);
            assert!(path_there.starts_with(&tree_of(&format!(
                "{}/l/",
                Namespace::new(space).unwrap().as_str()
            ))));
        }
        assert_eq!(tree_of("a/l/."), "a/l/");
        assert_eq!(tree_of("a/l/.b"), "a/l/.b");
    }
}
