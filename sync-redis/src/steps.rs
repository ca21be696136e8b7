//! The steps of claims, which travel together: how they are asked (`scripts/steps.lua`), and how the answers read.

use std::time::Duration;

use redis::{FromRedisValue, Value};
use sync_core::backend::{Claim, ClaimId, Entry, Gone, SessionId, Standing, Withdrawn};
use sync_core::{LockName, Mode, Token};

use crate::error::Failure;
use crate::resp::Words;

/// What is to be done with a claim that is not in line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Intent {
    /// Take the name if it is free.
    Try,
    /// Stand in line.
    Wait,
    /// Nothing: somebody has ended it.
    Look,
}

/// What one claim asks for, in the words of the script.
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
        let mut words = words_of(&claim.name, intent, claim.client.len() + claim.value.len());
        let (session, client) = (claim.session.id.digits(), claim.client.as_bytes());
        words.word(&session);
        words.join(&[&claim.id.digits(), &session, letter, itoa::Buffer::new().format(of).as_bytes()]);
        words.join(&[itoa::Buffer::new().format(client.len()).as_bytes(), b" ", client, &claim.value]);
        Self(words)
    }

    /// Under its own session only, if one is given.
    pub(crate) fn withdraw(name: &LockName, claim: ClaimId, session: Option<SessionId>) -> Self {
        let mut words = words_of(name, b"w", 0);
        match session {
            Some(session) => words.word(&session.digits()),
            None => words.word(b"*"),
        }
        words.word(&claim.digits());
        Self(words)
    }

    pub(crate) fn words(&self) -> &Words {
        &self.0
    }
}

fn words_of(name: &LockName, what: &[u8], more: usize) -> Words {
    let path = name.path();
    let mut words = Words::with_capacity(192 + path.len() + more);
    words.word(what);
    words.word(path.as_bytes());
    words
}

/// Where a claim stands that was enqueued.
pub(crate) enum Answer {
    Is(Standing),
    /// In line; and when the holder's session ends without a renewal.
    Waits {
        standing: Standing,
        expiry: Duration,
    },
}

fn unknown(answer: &Value) -> Failure {
    Failure::Answer(format!("{answer:?}"))
}

fn text(value: &Value) -> Option<String> {
    String::from_redis_value_ref(value).ok()
}

pub(crate) fn read_standing(answer: &Value) -> Result<Answer, Failure> {
    let standing = match answer {
        Value::Array(words) => match words.as_slice() {
            [word, rest @ ..] => read_words(&text(word).unwrap_or_default(), rest)?,
            [] => None,
        },
        token => text(token)
            .and_then(|token| Token::new(token.parse().ok()?))
            .map(|token| Answer::Is(Standing::Granted { token })),
    };
    standing.ok_or_else(|| unknown(answer))
}

fn read_words(word: &str, rest: &[Value]) -> Result<Option<Answer>, Failure> {
    let number = |index: usize| text(rest.get(index)?)?.parse::<u64>().ok();
    let holder = |index: usize| rest.get(index).and_then(read_entry).map(Box::new);
    Ok(match word {
        "waiting" => match (number(0), number(1)) {
            (Some(position), Some(expiry)) => Some(Answer::Waits {
                standing: Standing::Waiting {
                    position: u32::try_from(position).unwrap_or(u32::MAX),
                    holder: holder(2),
                },
                expiry: Duration::from_micros(expiry),
            }),
            _ => None,
        },
        "busy" => Some(Answer::Is(Standing::Busy { holder: holder(0) })),
        "evicted" => Some(Answer::Is(Standing::Gone { why: Gone::Evicted })),
        "gone" => Some(Answer::Is(Standing::Gone { why: Gone::SessionLost })),
        "permits" => return Err(Failure::Permits(number(0).unwrap_or_default())),
        "error" => return Err(Failure::Refused(rest.first().and_then(text).unwrap_or_default())),
        _ => None,
    })
}

pub(crate) fn read_withdrawn(answer: &Value) -> Result<Withdrawn, Failure> {
    match answer {
        Value::Array(words) => {
            let reason = words.get(1).and_then(text).ok_or_else(|| unknown(answer))?;
            Err(Failure::Refused(reason))
        }
        word => match text(word).as_deref() {
            Some("held") => Ok(Withdrawn::Held),
            Some("waiting") => Ok(Withdrawn::Waiting),
            Some("absent") => Ok(Withdrawn::Absent),
            _ => Err(unknown(answer)),
        },
    }
}

pub(crate) fn read_entry(value: &Value) -> Option<Entry> {
    let Value::Array(fields) = value else { return None };
    let text = |index: usize| text(fields.get(index)?);
    let of = text(3)?.parse().ok()?;
    Some(Entry {
        claim: text(0)?.parse().ok()?,
        age: None,
        is_isolating: false,
        token: text(1)?.parse().ok().and_then(Token::new),
        mode: match text(2)?.as_str() {
            "exclusive" => Mode::Exclusive,
            "shared" => Mode::Shared,
            "permit" => Mode::Permit { of },
            _ => return None,
        },
        client: text(4)?,
        value: Vec::<u8>::from_redis_value_ref(fields.get(5)?).ok()?.into(),
    })
}
