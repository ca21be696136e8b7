//! The state of one name: its queue, its holders and its watchers.

use distsync_core::spi::Revision;
use distsync_core::spi::order::Run;
use distsync_core::{Mode, Token};

use super::command::Requester;
use super::queue::{InQueue, List, NONE, Slot};

/// Where a name is found when names are listed in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ordered {
    /// Nowhere: it has no claims.
    No,
    /// In the list of new names.
    New,
    /// In the ordered index.
    Indexed,
}

#[derive(Debug)]
pub(super) struct Lock {
    pub(super) name: Box<str>,
    /// The hash of the name, stored so that removing the name does not compute it again.
    pub(super) hash: u64,
    pub(super) queue: List<InQueue>,
    /// The first waiter in the queue.
    pub(super) next: Slot,
    /// The number of claims, holders included.
    pub(super) claims: u32,
    /// The mode and the number of the holders.
    pub(super) run: Run,
    /// The number of permits. Valid while a permit is held or waited for.
    permits: u16,
    permit_claims: u32,
    pub(super) revision: Revision,
    pub(super) watchers: Vec<Requester>,
    /// The watchers have to be notified at the end of the batch.
    pub(super) has_news: bool,
    /// The steps of the next notification are taken.
    pub(super) is_news_charged: bool,
    /// A task of the backlog settles the queue.
    pub(super) is_unsettled: bool,
    /// The name is unused. [`Names`](super::names::Names) maintains this and the next field.
    pub(super) idle: bool,
    /// The name is in the list of idle names.
    pub(super) is_listed_idle: bool,
    /// Where the name is found in the order of names. Also maintained by `Names`.
    pub(super) ordered: Ordered,
}

impl Lock {
    pub(super) fn new(name: &str, hash: u64, revision: Revision) -> Self {
        Self {
            name: name.into(),
            hash,
            queue: List::new(),
            next: NONE,
            claims: 0,
            run: Run::default(),
            permits: 0,
            permit_claims: 0,
            revision,
            watchers: Vec::new(),
            has_news: false,
            is_news_charged: false,
            is_unsettled: false,
            idle: false,
            is_listed_idle: false,
            ordered: Ordered::No,
        }
    }

    /// Returns whether the name has neither claims nor watchers.
    pub(super) fn is_unused(&self) -> bool {
        self.queue.is_empty() && self.watchers.is_empty()
    }

    /// Returns whether a new claim of this mode would be granted at once.
    pub(super) fn admits(&self, mode: Mode) -> bool {
        self.next == NONE && self.run.admits(mode)
    }

    /// Returns the number of permits of the name, if `mode` has another one.
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

/// The source of fencing tokens. One counter serves all names, so the tokens of each name rise too.
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

    /// Continues above this token.
    pub(super) fn skip_to(&mut self, token: Token) {
        self.last = self.last.max(token.get());
    }

    pub(super) fn last(&self) -> Token {
        Token::new(self.last).unwrap_or(Token::MAX)
    }
}
