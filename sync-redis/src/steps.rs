//! The steps of claims, which travel together: how they are asked (`scripts/steps.lua`), and how the answers read.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value};
use sync_core::backend::{Claim, ClaimId, Entry, Gone, SessionId, Standing, Withdrawn};
use sync_core::{LockName, Mode, Token};

use crate::error::Failure;

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
pub(crate) struct Step {
    text: Vec<u8>,
    /// Where each word ends.
    ends: [usize; 5],
    words: usize,
}

impl Step {
    pub(crate) fn enqueue(claim: &Claim, intent: Intent) -> Self {
        let (letter, of) = match claim.mode {
            Mode::Exclusive => ('e', 0),
            Mode::Shared => ('s', 0),
            Mode::Permit { of } => ('p', of),
        };
        let intent = match intent {
            Intent::Try => "0",
            Intent::Wait => "1",
            Intent::Look => "2",
        };
        let mut step = Self::of(&claim.name, intent);
        let session = claim.session.id;
        step.word(format_args!("{session}"));
        step.word(format_args!("{}{session}{letter}{of}", claim.id));
        step.write(format_args!("{} {}", claim.client.len(), claim.client));
        step.text.extend_from_slice(&claim.value);
        step.end();
        step
    }

    /// Under its own session only, if one is given.
    pub(crate) fn withdraw(name: &LockName, claim: ClaimId, session: Option<SessionId>) -> Self {
        let mut step = Self::of(name, "w");
        match session {
            Some(session) => step.word(format_args!("{session}")),
            None => step.word(format_args!("*")),
        }
        step.word(format_args!("{claim}"));
        step
    }

    fn of(name: &LockName, what: &str) -> Self {
        let mut step = Self { text: Vec::with_capacity(256), ends: [0; 5], words: 0 };
        step.word(format_args!("{what}"));
        step.word(format_args!("{}", name.path()));
        step
    }

    fn word(&mut self, word: fmt::Arguments<'_>) {
        self.write(word);
        self.end();
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a vector does not fail.
        let _ = self.text.write_fmt(text);
    }

    fn end(&mut self) {
        self.ends[self.words] = self.text.len();
        self.words += 1;
    }

    /// Adds its words to those of a command.
    pub(crate) fn add_to(&self, command: &mut Cmd) {
        let mut start = 0;
        for end in &self.ends[..self.words] {
            command.arg(&self.text[start..*end]);
            start = *end;
        }
    }
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
