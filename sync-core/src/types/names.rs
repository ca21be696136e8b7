//! Names of locks and elections, and their encoding as keys.
//!
//! A name's *path* is `<namespace>/<kind>/<name>`, with namespace and name percent-encoded. The
//! encoding is injective and leaves no `/` inside of a part, so two names never share a key or a
//! prefix: the path of `foo` followed by a `/` is not a prefix of the path of `foo/bar`.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::types::error::{Error, ErrorKind, Result};

/// The longest name of a lock or election, in bytes of UTF-8.
pub const NAME_MAX: usize = 512;
/// The longest namespace, in bytes of UTF-8.
pub const NAMESPACE_MAX: usize = 128;

/// The bytes that are written as `%XX` in a path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b':')
    .remove(b'@');

/// The kind of a name. A lock and an election with the same name are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A lock, read-write lock or semaphore.
    Lock,
    /// An election.
    Leader,
}

impl Kind {
    const fn tag(self) -> &'static str {
        match self {
            Self::Lock => "l",
            Self::Leader => "e",
        }
    }
}

/// A namespace, which separates the names of applications or environments that share a store.
///
/// # Examples
/// ```
/// use distsync_core::Namespace;
///
/// let namespace: Namespace = "shop-staging".parse()?;
/// assert_eq!(namespace.as_str(), "shop-staging");
/// assert!(Namespace::new("").is_err());
/// # Ok::<(), distsync_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace {
    plain: String,
    escaped: String,
}

impl Namespace {
    /// Creates a namespace of 1 to 128 bytes without control characters.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] if it is empty, too long, or has a control character.
    pub fn new(namespace: &str) -> Result<Self> {
        check(namespace, "namespace", NAMESPACE_MAX)?;
        Ok(Self {
            plain: namespace.to_owned(),
            escaped: utf8_percent_encode(namespace, ESCAPED).to_string(),
        })
    }

    /// Returns the namespace as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.plain
    }

    /// Returns the prefix that the paths of all names of `kind` in this namespace share, with the
    /// `/` at its end.
    #[must_use]
    pub fn prefix(&self, kind: Kind) -> String {
        format!("{}/{}/", self.escaped, kind.tag())
    }

    /// Returns the prefix that the paths of all names of `kind` beginning with `start` share.
    #[must_use]
    pub fn path_prefix(&self, kind: Kind, start: &str) -> String {
        let mut path = self.prefix(kind);
        path.extend(utf8_percent_encode(start, ESCAPED));
        path
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            plain: "distsync".to_owned(),
            escaped: "distsync".to_owned(),
        }
    }
}

impl FromStr for Namespace {
    type Err = Error;

    fn from_str(namespace: &str) -> Result<Self> {
        Self::new(namespace)
    }
}

/// A valid name of a lock or election, with its namespace and kind.
///
/// A name has 1 to 512 bytes of UTF-8 without control characters. Cloning only increments a
/// reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockName {
    /// UTF-8 by construction.
    path: Bytes,
    kind: Kind,
    /// The offset of the escaped name in `path`.
    start: usize,
}

impl LockName {
    /// Creates the name `name` of `kind` in `namespace`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] if it is empty, longer than 512 bytes, or has a control
    /// character.
    pub fn new(namespace: &Namespace, kind: Kind, name: &str) -> Result<Self> {
        check(name, "name", NAME_MAX).map_err(|error| error.with_name(name))?;
        let path = namespace.path_prefix(kind, name);
        let start = namespace.prefix(kind).len();
        Ok(Self {
            path: Bytes::from(path),
            kind,
            start,
        })
    }

    /// Parses a path as it is stored.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if it is not a path that [`LockName::new`] creates, but the key of
    /// another program.
    pub fn from_path(path: &str) -> Result<Self> {
        let foreign = || {
            Error::new(
                ErrorKind::Protocol,
                format!(
                    "`{}` is not a key of distsync: remove it or use another namespace",
                    path.escape_debug()
                ),
            )
        };
        let mut parts = path.splitn(3, '/');
        let (namespace, tag, name) = (
            parts.next().ok_or_else(foreign)?,
            parts.next().ok_or_else(foreign)?,
            parts.next().ok_or_else(foreign)?,
        );
        let kind = match tag {
            "l" => Kind::Lock,
            "e" => Kind::Leader,
            _ => return Err(foreign()),
        };
        let decode = |part: &str| {
            percent_decode_str(part)
                .decode_utf8()
                .map(String::from)
                .map_err(|_| foreign())
        };
        let namespace = Namespace::new(&decode(namespace)?).map_err(|_| foreign())?;
        let parsed = Self::new(&namespace, kind, &decode(name)?).map_err(|_| foreign())?;
        // Only the canonical encoding is accepted: `%66oo` must not become a second key of `foo`.
        if parsed.path() == path {
            Ok(parsed)
        } else {
            Err(foreign())
        }
    }

    /// Returns the name as the user gave it.
    #[must_use]
    pub fn plain(&self) -> String {
        percent_decode_str(&self.path()[self.start..])
            .decode_utf8_lossy()
            .into_owned()
    }

    /// Returns the bytes of the [path](Self::path), without the check that they are UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.path
    }

    /// Returns the path: the key, or the prefix of the keys, in a store.
    #[must_use]
    pub fn path(&self) -> &str {
        std::str::from_utf8(&self.path).unwrap_or_default()
    }

    /// Returns the path, without a copy.
    #[must_use]
    pub fn path_bytes(&self) -> Bytes {
        self.path.clone()
    }

    /// Returns whether this is the name of a lock or of an election.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockName({})", self.path())
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain())
    }
}

fn check(text: &str, what: &str, max: usize) -> Result<()> {
    let problem = if text.is_empty() {
        format!("the {what} is empty: give it at least one character")
    } else if text.len() > max {
        format!(
            "the {what} has {} bytes: at most {max} are allowed",
            text.len()
        )
    } else if let Some(bad) = text.chars().find(|c| c.is_control()) {
        format!("the {what} has the control character {bad:?}: leave it out")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidName, problem))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lock(name: &str) -> Result<LockName> {
        LockName::new(&Namespace::default(), Kind::Lock, name)
    }

    #[test]
    fn a_bad_name_is_refused_with_its_reason() {
        for (name, reason) in [
            ("", "empty"),
            ("a\nb", "control character"),
            (&"x".repeat(513), "513 bytes"),
        ] {
            let error = lock(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName);
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert!(lock(&"x".repeat(512)).is_ok());
        assert!(Namespace::new("").is_err());
    }

    #[test]
    fn a_name_is_not_a_prefix_of_another() {
        let (foo, foobar) = (lock("foo").unwrap(), lock("foo/bar").unwrap());
        assert_eq!(foo.path(), "distsync/l/foo");
        assert_eq!(foobar.path(), "distsync/l/foo%2Fbar");
        assert!(!foobar.path().starts_with(&format!("{}/", foo.path())));
        let leader = LockName::new(&Namespace::default(), Kind::Leader, "foo").unwrap();
        assert_ne!(leader.path(), foo.path());
    }

    #[test]
    fn a_foreign_path_is_refused() {
        for path in [
            "",
            "a",
            "a/l",
            "a/l/",
            "a/x/foo",
            "a/l/%66oo",
            "a/l/foo/bar",
            "a/l/%FF",
            "/l/foo",
        ] {
            assert!(LockName::from_path(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn every_valid_name_survives_its_path(name in "\\PC{1,100}", space in "\\PC{1,20}") {
            let namespace = Namespace::new(&space).unwrap();
            let name_of = LockName::new(&namespace, Kind::Leader, &name).unwrap();
            let back = LockName::from_path(name_of.path()).unwrap();
            prop_assert_eq!(&back, &name_of);
            prop_assert_eq!(back.plain(), name);
        }
    }
}
