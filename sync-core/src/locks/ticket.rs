//! Tickets of detached locks: anyone with the ticket can resume the lock, in any process.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::spi::backend::Session;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::ids::{ClaimId, SessionId};
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::nonce::Secret;
use crate::types::token::Token;

/// The ticket of a detached lock: [`Guard::detach`](crate::Guard::detach) returns it, and
/// [`Sync::resume`](crate::Sync::resume) makes a guard of it.
///
/// As text ([`expose`](Self::expose), [`FromStr`]) it fits an environment variable or a file.
/// Anyone with the ticket can extend and release the lock, so keep it like a password. `Debug` and
/// `Display` do not show its secret.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use distsync_core::{DynSync, LockOptions, Result, Ticket};
/// async fn begin(sync: &DynSync) -> Result<String> {
///     let minute = LockOptions::new().with_ttl(Duration::from_secs(60));
///     let guard = sync.lock("import", minute)?.acquire().await?;
///     Ok(guard.detach()?.expose())
/// }
///
/// // Later, perhaps in another process.
/// async fn end(sync: &DynSync, ticket: &str) -> Result<()> {
///     let ticket: Ticket = ticket.parse()?;
///     sync.resume(&ticket).await?.release().await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) session: Session,
    pub(crate) claim: ClaimId,
    pub(crate) mode: Mode,
    pub(crate) token: Token,
    pub(crate) name: LockName,
}

/// The first field of the text.
const START: &str = "distsync1";

impl Ticket {
    /// Returns the name of the lock.
    #[must_use]
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Returns the fencing token of the lock.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// Returns the ticket as text, including its secret: printable ASCII without spaces.
    #[must_use]
    pub fn expose(&self) -> String {
        let Self {
            session: Session { id, secret, ttl },
            claim,
            mode,
            token,
            name,
        } = self;
        let mode = match mode {
            Mode::Exclusive => "x".to_owned(),
            Mode::Shared => "s".to_owned(),
            Mode::Permit { of } => format!("p{of}"),
        };
        // The name is the last field, because it may contain full stops.
        let (secret, ttl_ms) = (secret.expose(), ttl.as_millis());
        format!(
            "{START}.{id}.{secret:032x}.{ttl_ms}.{claim}.{mode}.{token}.{}",
            name.path()
        )
    }
}

impl FromStr for Ticket {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the text is no ticket. The error does not repeat the text,
    /// which may be part of a secret.
    fn from_str(text: &str) -> Result<Self> {
        parse(text.trim()).ok_or_else(|| {
            let problem =
                "this is no ticket: give the whole text of the ticket, which begins with `distsync1.`";
            Error::new(ErrorKind::InvalidOption, problem)
        })
    }
}

fn parse(text: &str) -> Option<Ticket> {
    let mut fields = text.splitn(8, '.');
    let mut next = || fields.next();
    if next()? != START {
        return None;
    }
    let id: SessionId = next()?.parse().ok()?;
    let secret = Secret::from_bits(u128::from_str_radix(next()?, 16).ok()?);
    let ttl = Duration::from_millis(next()?.parse().ok()?);
    let claim = next()?.parse().ok()?;
    let mode = match next()? {
        "x" => Mode::Exclusive,
        "s" => Mode::Shared,
        permits => Mode::Permit {
            of: permits.strip_prefix('p')?.parse().ok()?,
        },
    };
    let token = Token::new(next()?.parse().ok()?)?;
    let name = LockName::from_path(next()?).ok()?;
    Some(Ticket {
        session: Session { id, secret, ttl },
        claim,
        mode: mode.validated().ok()?,
        token,
        name,
    })
}

impl fmt::Display for Ticket {
    /// Formats the name and the claim, without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ticket for `{}` (claim {})", self.name, self.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::names::{Kind, Namespace};

    fn ticket(mode: Mode) -> Ticket {
        Ticket {
            session: Session {
                id: SessionId::from_bits(1),
                secret: Secret::from_bits(0xfeed),
                ttl: Duration::from_secs(60),
            },
            claim: ClaimId::from_bits(2),
            mode,
            token: Token::new(3).unwrap(),
            name: LockName::new(&Namespace::default(), Kind::Lock, "a.b/c d ä").unwrap(),
        }
    }

    #[test]
    fn a_ticket_survives_as_text() {
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { of: 7 }] {
            let text = ticket(mode).expose();
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            assert_eq!(text.parse::<Ticket>().unwrap(), ticket(mode));
        }
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        let ticket = ticket(Mode::Exclusive);
        assert!(!format!("{ticket:?} {ticket}").contains("feed"));
        for text in ["", "distsync1", "distsync2.1.2.3", &ticket.expose()[..60]] {
            let error = text.parse::<Ticket>().unwrap_err();
            assert!(
                error.to_string().contains("no ticket") && !error.to_string().contains("feed"),
                "{error}"
            );
        }
    }
}
