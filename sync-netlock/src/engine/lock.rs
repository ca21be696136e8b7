//! One name: its line, who of it holds, and who watches.

use distsync_core::spi::Revision;
use distsync_core::spi::order::Run;
use distsync_core::{Mode, Token};

use super::command::Requester;
use super::line::{InLine, List, NONE, Slot};

#[derive(Debug)]
pub(super) struct Lock {
    pub(super) name: Box<str>,
    /// The name's hash, so that leaving the index does not compute it again.
    pub(super) hash: u64,
    pub(super) line: List<InLine>,
    /// The first in line that does not hold.
    pub(super) next: Slot,
    /// All claims, holders included.
    pub(super) claims: u32,
    /// The holders.
    pub(super) run: Run,
    /// How many permits there are, while any permit is held or waited for.
    permits: u16,
    permit_claims: u32,
    pub(super) revision: Revision,
    pub(super) watchers: Vec<Requester>,
    /// Nobody is at it; see [`Names`](super::names::Names), to which this and `rests` belong.
    pub(super) idle: bool,
    /// It is in the line of those that rest.
    pub(super) rests: bool,
}

impl Lock {
    pub(super) fn new(name: &str, hash: u64, revision: Revision) -> Self {
        Self {
            name: name.into(),
            hash,
            line: List::new(),
            next: NONE,
            claims: 0,
            run: Run::default(),
            permits: 0,
            permit_claims: 0,
            revision,
            watchers: Vec::new(),
            idle: false,
            rests: false,
        }
    }

    /// Nobody is here.
    pub(super) fn is_deserted(&self) -> bool {
        self.line.is_empty() && self.watchers.is_empty()
    }

    /// Whether a claim that comes now would hold at once.
    pub(super) fn admits(&self, mode: Mode) -> bool {
        self.next == NONE && self.run.admits(mode)
    }

    /// The number of permits in force, if `mode` contradicts it.
    pub(super) fn other_permits(&self, mode: Mode) -> Option<u16> {
        match mode {
            Mode::Permit { of } if self.permit_claims > 0 && of != self.permits => {
                Some(self.permits)
            }
            _ => None,
        }
    }

    pub(super) fn arrived(&mut self, mode: Mode) {
        self.claims += 1;
        if let Mode::Permit { of } = mode {
            self.permits = of;
            self.permit_claims += 1;
        }
    }

    pub(super) fn left(&mut self, mode: Mode) {
        self.claims -= 1;
        if let Mode::Permit { .. } = mode {
            self.permit_claims -= 1;
        }
    }
}

/// The fencing tokens of a table: one counter for all names, so each name's tokens rise too.
#[derive(Debug)]
pub(super) struct Tokens {
    last: u64,
}

impl Tokens {
    pub(super) fn after(last: Token) -> Self {
        Self { last: last.get() }
    }

    pub(super) fn next(&mut self) -> Token {
        self.last += 1;
        Token::new(self.last).unwrap_or(Token::MAX)
    }

    /// No token up to this one is given any more.
    pub(super) fn follow(&mut self, token: Token) {
        self.last = self.last.max(token.get());
    }

    pub(super) fn last(&self) -> Token {
        Token::new(self.last).unwrap_or(Token::MAX)
    }
}
