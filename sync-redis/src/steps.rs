//! Encodes the steps of claims as arguments of `scripts/steps.lua`, and parses its replies.

use std::str::FromStr;
use std::time::Duration;

use distsync_core::spi::{Claim, ClaimId, Entry, Gone, SessionId, Standing, Withdrawn};
use distsync_core::{LockName, Mode, Token};
use redis::Value;

use crate::error::Failure;
use crate::resp::Words;

/// The action for a claim that is not queued.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Intent {
    /// Acquire the name if it is free.
    Try,
    /// Join the queue.
    Wait,
    /// None: the claim was evicted.
    Look,
}

/// The arguments of one step of a claim.
#[derive(Debug)]
pub(crate) struct Step(Words);

impl Step {
    pub(crate) fn enqueue(claim: &Claim, intent: Intent) -> Self {
        let (letter, of) = match claim.mode {
            Mode::Exclusive => (b"e", 0),
            Mode::Shared => (b"s", 0),
            Mode::Permit { of } => (b"p", of),
        };
        let intent = match intent {
            Intent::Try => b"0",
            Intent::Wait => b"1",
            Intent::Look => b"2",
        };
        let client = claim.client.as_bytes();
        let mut words = words_of(&claim.name, client.len() + claim.value.len());
        words.join(&[
            &claim.id.digits(),
            &claim.session.id.digits(),
            letter,
            itoa::Buffer::new().format(of).as_bytes(),
        ]);
        words.join(&[
            itoa::Buffer::new().format(client.len()).as_bytes(),
            b" ",
            client,
            &claim.value,
        ]);
        words.word(intent);
        Self(words)
    }

    /// Encodes a withdrawal. If a session is given, the claim is withdrawn only if it is of that
    /// session.
    pub(crate) fn withdraw(name: &LockName, claim: ClaimId, session: Option<SessionId>) -> Self {
        let mut words = words_of(name, 0);
        match session {
            Some(session) => words.join(&[&claim.digits(), &session.digits()]),
            None => words.join(&[&claim.digits(), b"*"]),
        }
        Self(words)
    }

    pub(crate) fn words(&self) -> &Words {
        &self.0
    }
}

fn words_of(name: &LockName, more: usize) -> Words {
    let path = name.path();
    let mut words = Words::with_capacity(160 + path.len() + more);
    words.word(path.as_bytes());
    words
}

/// The reply to an enqueue.
pub(crate) enum Answer {
    Is(Standing),
    /// The claim is queued. `expiry` is the time until the holder's session expires unless renewed.
    Waits {
        standing: Standing,
        expiry: Duration,
    },
}

fn unknown(answer: &Value) -> Failure {
    Failure::Answer(format!("{answer:?}"))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

fn number<N: TryFrom<i64> + FromStr>(value: &Value) -> Option<N> {
    match value {
        Value::Int(number) => N::try_from(*number).ok(),
        value => text(value)?.parse().ok(),
    }
}

pub(crate) fn read_standing(answer: &Value) -> Result<Answer, Failure> {
    let standing = match answer {
        Value::Array(words) => match words.as_slice() {
            [word, rest @ ..] => read_words(text(word).unwrap_or_default(), rest)?,
            [] => None,
        },
        token => number(token)
            .and_then(Token::new)
            .map(|token| Answer::Is(Standing::Granted { token })),
    };
    standing.ok_or_else(|| unknown(answer))
}

fn read_words(word: &str, rest: &[Value]) -> Result<Option<Answer>, Failure> {
    let holder = |index: usize| rest.get(index).and_then(read_entry).map(Box::new);
    Ok(match (word, rest) {
        ("waiting", [position, expiry, ..]) => match (number::<u64>(position), number(expiry)) {
            (Some(position), Some(expiry)) => Some(Answer::Waits {
                standing: Standing::Waiting {
                    position: u32::try_from(position).unwrap_or(u32::MAX),
                    holder: holder(2),
                },
                expiry: Duration::from_micros(expiry),
            }),
            _ => None,
        },
        ("busy", _) => Some(Answer::Is(Standing::Busy { holder: holder(0) })),
        ("evicted", _) => Some(Answer::Is(Standing::Gone { why: Gone::Evicted })),
        ("gone", _) => Some(Answer::Is(Standing::Gone {
            why: Gone::SessionLost,
        })),
        ("permits", [force, ..]) => {
            return Err(Failure::Permits(number(force).unwrap_or_default()));
        }
        ("error", [reason, ..]) => return Err(refused(reason)),
        _ => None,
    })
}

pub(crate) fn read_withdrawn(answer: &Value) -> Result<Withdrawn, Failure> {
    match answer {
        Value::Array(words) => Err(words.get(1).map_or_else(|| unknown(answer), refused)),
        word => match text(word) {
            Some("held") => Ok(Withdrawn::Held),
            Some("waiting") => Ok(Withdrawn::Waiting),
            Some("absent") => Ok(Withdrawn::Absent),
            _ => Err(unknown(answer)),
        },
    }
}

/// Returns the reason if the script failed to execute this step.
pub(crate) fn refusal(answer: &Value) -> Option<&str> {
    match answer {
        Value::Array(words) => match words.as_slice() {
            [word, reason] if text(word) == Some("error") => text(reason),
            _ => None,
        },
        _ => None,
    }
}

fn refused(reason: &Value) -> Failure {
    Failure::Refused(text(reason).unwrap_or_default().to_owned())
}

pub(crate) fn read_entry(value: &Value) -> Option<Entry> {
    let Value::Array(fields) = value else {
        return None;
    };
    let [claim, token, mode, of, client, Value::BulkString(value)] = fields.as_slice() else {
        return None;
    };
    let mode = match text(mode)? {
        "exclusive" => Mode::Exclusive,
        "shared" => Mode::Shared,
        "permit" => Mode::Permit { of: number(of)? },
        _ => return None,
    };
    let mut entry = Entry::new(text(claim)?.parse().ok()?, mode);
    entry.token = number(token).and_then(Token::new);
    entry.client = text(client)?.to_owned();
    entry.value = value.clone().into();
    Some(entry)
}
