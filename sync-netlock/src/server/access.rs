//! Authentication by tokens, and the permissions of principals. Permissions are checked in one
//! place, [`Permissions::allows`], after a request is decoded.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use distsync_core::spi::reread::{Files, Reread};
use distsync_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use crate::engine::{Command, NO_PRINCIPAL, Reply};

/// An operation that a permission can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Acquire a name, which includes waiting for it.
    Acquire,
    /// List names, and see their holders and waiters.
    Observe,
    /// End the claims and sessions of others.
    Admin,
}

impl FromStr for Verb {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "acquire" => Ok(Self::Acquire),
            "observe" => Ok(Self::Observe),
            "admin" => Ok(Self::Admin),
            other => Err(format!(
                "unknown verb `{other}`: use acquire, observe or admin"
            )),
        }
    }
}

/// Allows a principal to use the names with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The principal. `*` means every authenticated principal.
    pub principal: String,
    /// The prefix of the names. Empty: all names. The distsync clients use `NAMESPACE/l/NAME` for
    /// locks and `NAMESPACE/e/NAME` for elections.
    pub prefix: String,
    /// The allowed operations.
    pub verbs: Vec<Verb>,
}

impl Permission {
    fn is_for(&self, principal: &str) -> bool {
        self.principal == "*" || self.principal == principal
    }
}

/// The tokens and the permissions of principals.
#[derive(Debug, Default)]
pub struct Access {
    tokens: Option<Reread<TokenFile>>,
    permissions: Vec<Permission>,
}

/// The SHA-256 hash of a token. The server does not store tokens themselves.
pub(super) type TokenHash = [u8; 32];

/// The principals, by the hashes of their tokens.
struct Tokens(HashMap<TokenHash, Arc<str>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

#[derive(Debug)]
struct TokenFile(PathBuf);

impl Files for TokenFile {
    type Content = Tokens;
    const NAME: &str = "the file of tokens";

    fn paths(&self) -> Vec<&Path> {
        vec![&self.0]
    }

    fn read(&self) -> Result<Tokens> {
        let explain = |problem: String| {
            let problem = format!("the file of tokens {}: {problem}", self.0.display());
            Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock")
        };
        let text = std::fs::read_to_string(&self.0).map_err(|error| {
            explain("cannot read it: check the path and its permissions".to_owned())
                .with_source(error)
        })?;
        let mut tokens = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (principal, hash) = parse_token_line(line).ok_or_else(|| {
                explain(format!(
                    "line {} is not `PRINCIPAL sha256:HEX`: make it with `netlockd hash-token PRINCIPAL`",
                    number + 1
                ))
            })?;
            tokens.insert(hash, principal.into());
        }
        Ok(Tokens(tokens))
    }
}

impl Access {
    /// Creates an access control without tokens and permissions, which allows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a permission.
    #[must_use]
    pub fn with_permission(mut self, permission: Permission) -> Self {
        self.permissions.push(permission);
        self
    }

    /// Reads a file of tokens. Each line has the form `PRINCIPAL sha256:HEX`, which [`token_line`]
    /// returns. `#` begins a comment. A running server reads the file again when it has changed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the file cannot be read, or has an invalid line, which the
    /// error names.
    pub fn with_tokens(mut self, file: &Path) -> Result<Self> {
        self.tokens = Some(Reread::new(TokenFile(file.to_owned()))?);
        Ok(self)
    }

    /// Returns the hash of a token, and the principal that it authenticates.
    pub(super) fn principal_of(&self, token: &str) -> Option<(TokenHash, Arc<str>)> {
        // Look the token up by its hash, so that the duration reveals nothing about the token.
        let hash = hash(token);
        let principal = self.tokens.as_ref()?.content().0.get(&hash)?.clone();
        Some((hash, principal))
    }

    /// Returns whether a token still authenticates a principal.
    pub(super) fn still_knows(&self, token: &TokenHash, principal: &str) -> bool {
        self.tokens.as_ref().is_some_and(|tokens| {
            tokens
                .content()
                .0
                .get(token)
                .is_some_and(|owner| **owner == *principal)
        })
    }

    /// Reads the file of tokens again if it has changed, and returns whether it has.
    pub(super) fn reread(&self) -> bool {
        self.tokens.as_ref().is_some_and(Reread::reread)
    }

    /// Returns what a principal may do. That does not change while the server runs.
    pub(super) fn permissions_of(&self, principal: &str) -> Permissions {
        let own = self
            .permissions
            .iter()
            .filter(|permission| permission.is_for(principal));
        Permissions(
            own.map(|permission| Rule {
                prefix: permission.prefix.as_bytes().into(),
                acquire: permission.verbs.contains(&Verb::Acquire),
                observe: permission.verbs.contains(&Verb::Observe),
                admin: permission.verbs.contains(&Verb::Admin),
            })
            .collect(),
        )
    }
}

/// What one principal may do.
#[derive(Debug)]
pub(super) struct Permissions(Vec<Rule>);

/// One permission of the principal, in the form in which each command is checked.
#[derive(Debug)]
struct Rule {
    prefix: Box<[u8]>,
    acquire: bool,
    observe: bool,
    admin: bool,
}

impl Permissions {
    /// Returns whether the principal may execute a command.
    pub(super) fn allows(&self, command: &Command<'_>) -> bool {
        let may = |verb, name: &[u8]| self.allows_verb(verb, name);
        match command {
            // Any permission suffices. A principal without one has no use for a session.
            Command::Open { .. } => !self.0.is_empty(),
            // The connection has attached to the session by its secret, which suffices.
            Command::Attach { .. }
            | Command::Detach { .. }
            | Command::Renew { .. }
            | Command::Close { .. }
            | Command::Update { .. }
            | Command::Withdraw { .. }
            | Command::Evictions { .. }
            | Command::Forget { .. }
            | Command::Introduce { .. }
            | Command::Disconnected
            | Command::Tick => true,
            Command::Enqueue { name, .. } => may(Verb::Acquire, name),
            Command::EnqueueAll { names, .. } => {
                names.iter().all(|name| may(Verb::Acquire, name.as_bytes()))
            }
            Command::Inspect { name } | Command::Changed { name, .. } => {
                may(Verb::Observe, name.as_bytes())
            }
            Command::List { prefix, .. } => may(Verb::Observe, prefix.as_bytes()),
            Command::Evict { name, .. } => may(Verb::Admin, name.as_bytes()),
            Command::ReleaseAll { prefix } => may(Verb::Admin, prefix.as_bytes()),
            Command::EndSession { .. }
            | Command::ConfirmIsolated { .. }
            | Command::Sessions { .. } => self.administers(),
        }
    }

    /// Returns whether the principal may administer all names, and so the server.
    pub(super) fn administers(&self) -> bool {
        self.allows_verb(Verb::Admin, b"")
    }

    /// Removes the holder of a name from a reply, if the principal may acquire the name but not
    /// observe it.
    pub(super) fn redact(&self, command: &Command<'_>, reply: Option<Reply>) -> Option<Reply> {
        // Most replies name no holder, and then nothing has to be checked.
        if !matches!(reply, Some(Reply::Waiting { .. } | Reply::Busy { .. })) {
            return reply;
        }
        let may_see = |name: &[u8]| self.allows_verb(Verb::Observe, name);
        let shows = match command {
            Command::Enqueue { name, .. } => may_see(name),
            Command::EnqueueAll { names, .. } => names.iter().all(|name| may_see(name.as_bytes())),
            _ => true,
        };
        match reply {
            Some(Reply::Waiting { position, .. }) if !shows => Some(Reply::Waiting {
                position,
                holder: None,
            }),
            Some(Reply::Busy { .. }) if !shows => Some(Reply::Busy { holder: None }),
            reply => reply,
        }
    }

    fn allows_verb(&self, verb: Verb, name: &[u8]) -> bool {
        self.0.iter().any(|rule| {
            let has_verb = match verb {
                Verb::Acquire => rule.acquire,
                Verb::Observe => rule.observe,
                Verb::Admin => rule.admin,
            };
            has_verb && name.starts_with(&rule.prefix)
        })
    }
}

/// Returns a number for a principal: its hash, which stays the same over restarts.
pub(super) fn number_of(principal: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(principal.as_bytes()).into();
    digest
        .first_chunk()
        .map_or(1, |first| u64::from_le_bytes(*first))
        .max(NO_PRINCIPAL + 1)
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// Returns the line of a file of tokens by which a token authenticates a principal. The line
/// contains a hash of the token, not the token itself.
#[must_use]
pub fn token_line(principal: &str, token: &str) -> String {
    use fmt::Write;

    let mut line = format!("{principal} sha256:");
    for byte in hash(token) {
        // Writing to a string does not fail.
        let _ = write!(line, "{byte:02x}");
    }
    line
}

fn parse_token_line(line: &str) -> Option<(&str, TokenHash)> {
    let (principal, hash) = line.split_once(char::is_whitespace)?;
    let hex = hash
        .trim()
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.is_ascii())?;
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some((principal, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(principal: &str, prefix: &str, verbs: &[Verb]) -> Permission {
        Permission {
            principal: principal.to_owned(),
            prefix: prefix.to_owned(),
            verbs: verbs.to_vec(),
        }
    }

    #[test]
    fn a_permission_is_for_a_principal_a_prefix_and_its_verbs() {
        let access = Access::new()
            .with_permission(permission("shop", "shop/", &[Verb::Acquire]))
            .with_permission(permission("*", "public/", &[Verb::Observe]));
        for (principal, verb, name, allowed) in [
            ("shop", Verb::Acquire, "shop/l/a", true),
            ("shop", Verb::Acquire, "shops/l/a", false),
            ("shop", Verb::Observe, "shop/l/a", false),
            ("other", Verb::Acquire, "shop/l/a", false),
            ("other", Verb::Observe, "public/l/a", true),
            ("other", Verb::Observe, "", false),
            ("shop", Verb::Admin, "shop/l/a", false),
        ] {
            assert_eq!(
                access
                    .permissions_of(principal)
                    .allows_verb(verb, name.as_bytes()),
                allowed,
                "{principal} {verb:?} {name}"
            );
        }
    }

    #[test]
    fn tokens_are_known_by_their_hashes_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = format!(
            "# who\n\n{}\n{} # the other\n",
            token_line("a", "secret-a"),
            token_line("b", "secret-b")
        );
        assert!(!lines.contains("secret-a"));
        std::fs::write(file.path(), lines).unwrap();
        let access = Access::new().with_tokens(file.path()).unwrap();
        let (token, principal) = access.principal_of("secret-a").unwrap();
        assert_eq!((&*principal, access.principal_of("secret-c")), ("a", None));
        assert_eq!(access.principal_of("secret-b").unwrap().1.as_ref(), "b");
        assert!(access.still_knows(&token, "a") && !access.still_knows(&token, "b"));
        std::fs::write(file.path(), token_line("b", "secret-b")).unwrap();
        assert!(access.reread() && !access.reread(), "once");
        assert!(!access.still_knows(&token, "a"));
        std::fs::write(file.path(), "a secret-a\n").unwrap();
        assert!(
            !access.reread() && access.principal_of("secret-b").is_some(),
            "an invalid file changes nothing"
        );
        let error = Access::new()
            .with_tokens(file.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 1") && !error.contains("secret-a"),
            "{error}"
        );
    }
}
