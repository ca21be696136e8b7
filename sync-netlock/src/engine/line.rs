//! Claims in memory: one slab of them, threaded twice, as the line of a name and as the list of a
//! session.

use std::time::Duration;

use distsync_core::spi::ClaimId;
use distsync_core::spi::clock::Moment;
use distsync_core::{Mode, Token};
use slab::Slab;

use super::command::Requester;

/// A place in a slab. 32 bits, because claims are many.
pub(super) type Slot = u32;
/// No place.
pub(super) const NONE: Slot = Slot::MAX;

/// The slab's key of a slot.
pub(super) fn key(slot: Slot) -> usize {
    slot as usize
}

/// The slot of a slab's key. The limits keep every slab below [`NONE`].
pub(super) fn slot(key: usize) -> Slot {
    Slot::try_from(key).unwrap_or(NONE)
}

/// The neighbours in a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) previous: Slot,
    pub(super) next: Slot,
}

impl Links {
    pub(super) const ALONE: Self = Self {
        previous: NONE,
        next: NONE,
    };
}

/// Whether a claim stands in one line, or is part of one that stands in several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// The part by which the claim is found.
    First,
    Further,
}

/// One claim, or its part in one of several lines.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) id: ClaimId,
    /// 0 while it waits.
    token: u64,
    pub(super) session: Slot,
    pub(super) lock: Slot,
    pub(super) mode: Mode,
    pub(super) part: Part,
    /// Of several lines, any one is enough.
    pub(super) any: bool,
    /// Whom to tell of the grant.
    pub(super) requester: Requester,
    /// When it came, or when it began to hold.
    pub(super) since: Moment,
    pub(super) value: Box<[u8]>,
    in_line: Links,
    in_session: Links,
}

impl Claim {
    pub(super) fn new(
        id: ClaimId,
        session: Slot,
        lock: Slot,
        mode: Mode,
        requester: Requester,
        value: &[u8],
        now: Moment,
    ) -> Self {
        Self {
            id,
            token: 0,
            session,
            lock,
            mode,
            part: Part::Whole,
            any: false,
            requester,
            since: now,
            value: value.into(),
            in_line: Links::ALONE,
            in_session: Links::ALONE,
        }
    }

    pub(super) fn of_part(self, part: Part, any: bool) -> Self {
        Self { part, any, ..self }
    }

    pub(super) fn holds(&self) -> bool {
        self.token != 0
    }

    /// From now on it holds. How long it has waited.
    pub(super) fn hold(&mut self, token: Token, now: Moment) -> Duration {
        self.token = token.get();
        now.since(std::mem::replace(&mut self.since, now))
    }

    /// Its token, if it holds.
    pub(super) fn token(&self) -> Option<Token> {
        if self.holds() {
            Token::new(self.token)
        } else {
            None
        }
    }
}

/// Which of a claim's two lists.
pub(super) trait Thread {
    fn links(claim: &mut Claim) -> &mut Links;
    fn next(claim: &Claim) -> Slot;
}

/// The line of a name.
#[derive(Debug)]
pub(super) enum InLine {}

impl Thread for InLine {
    fn links(claim: &mut Claim) -> &mut Links {
        &mut claim.in_line
    }

    fn next(claim: &Claim) -> Slot {
        claim.in_line.next
    }
}

/// The list of a session.
#[derive(Debug)]
pub(super) enum InSession {}

impl Thread for InSession {
    fn links(claim: &mut Claim) -> &mut Links {
        &mut claim.in_session
    }

    fn next(claim: &Claim) -> Slot {
        claim.in_session.next
    }
}

/// A list of claims along one of their threads.
#[derive(Debug)]
pub(super) struct List<T> {
    head: Slot,
    tail: Slot,
    thread: std::marker::PhantomData<T>,
}

impl<T: Thread> List<T> {
    pub(super) const fn new() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            thread: std::marker::PhantomData,
        }
    }

    pub(super) fn head(&self) -> Slot {
        self.head
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    pub(super) fn push(&mut self, claims: &mut Slab<Claim>, slot: Slot) {
        *T::links(&mut claims[key(slot)]) = Links {
            previous: self.tail,
            next: NONE,
        };
        match self.tail {
            NONE => self.head = slot,
            tail => T::links(&mut claims[key(tail)]).next = slot,
        }
        self.tail = slot;
    }

    pub(super) fn remove(&mut self, claims: &mut Slab<Claim>, slot: Slot) {
        let links = std::mem::replace(T::links(&mut claims[key(slot)]), Links::ALONE);
        match links.previous {
            NONE => self.head = links.next,
            previous => T::links(&mut claims[key(previous)]).next = links.next,
        }
        match links.next {
            NONE => self.tail = links.previous,
            next => T::links(&mut claims[key(next)]).previous = links.previous,
        }
    }

    pub(super) fn iter<'a>(
        &self,
        claims: &'a Slab<Claim>,
    ) -> impl Iterator<Item = &'a Claim> + use<'a, T> {
        let first = claims.get(key(self.head));
        std::iter::successors(first, move |claim| claims.get(key(T::next(claim))))
    }
}
