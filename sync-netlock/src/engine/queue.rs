//! Claims in memory. All claims are in one slab. Each is a node of two linked lists: the queue of
//! its name, and the list of its session.

use std::time::Duration;

use distsync_core::spi::ClaimId;
use distsync_core::spi::clock::Moment;
use distsync_core::{Mode, Token};
use slab::Slab;

use super::command::Requester;
use super::snapshot::Value;

/// An index into a slab. It has 32 bits to save memory, because claims are many.
pub(super) type Slot = u32;
/// The absence of a slot.
pub(super) const NONE: Slot = Slot::MAX;

/// Converts a slot to a key of a slab.
pub(super) fn key(slot: Slot) -> usize {
    slot as usize
}

/// Converts a key of a slab to a slot. The limits keep every slab smaller than [`NONE`].
pub(super) fn slot(key: usize) -> Slot {
    Slot::try_from(key).unwrap_or(NONE)
}

/// The memory of an empty slab.
const SLAB_BYTES: usize = 1 << 20;

/// Returns an empty slab that grows without a copy of its entries, which would take milliseconds.
///
/// An allocator requests memory of this size from the kernel separately. When the slab grows, the
/// kernel maps the same pages at another address. Pages that are not used take no memory.
pub(super) fn slab<T>() -> Slab<T> {
    Slab::with_capacity(SLAB_BYTES / size_of::<T>())
}

/// The neighbours of a claim in a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) previous: Slot,
    pub(super) next: Slot,
}

impl Links {
    pub(super) const UNLINKED: Self = Self {
        previous: NONE,
        next: NONE,
    };
}

/// Whether an entry is a whole claim, or the part of a claim that waits in more than one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// The part that the index of claims refers to.
    First,
    Further,
}

/// A claim, or its part in one of its queues.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) id: ClaimId,
    /// The fencing token. 0 while the claim waits.
    token: u64,
    pub(super) session: Slot,
    pub(super) lock: Slot,
    pub(super) mode: Mode,
    pub(super) part: Part,
    /// The claim waits in more than one queue, and is granted in any one of them.
    pub(super) any: bool,
    /// The destination of the second reply.
    pub(super) requester: Requester,
    /// When the claim arrived, or when it was granted.
    pub(super) since: Moment,
    pub(super) value: Value,
    in_queue: Links,
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
            in_queue: Links::UNLINKED,
            in_session: Links::UNLINKED,
        }
    }

    pub(super) fn of_part(self, part: Part, any: bool) -> Self {
        Self { part, any, ..self }
    }

    pub(super) fn holds(&self) -> bool {
        self.token != 0
    }

    /// Marks the claim as held, and returns how long it has waited.
    pub(super) fn hold(&mut self, token: Token, now: Moment) -> Duration {
        self.token = token.get();
        now.since(std::mem::replace(&mut self.since, now))
    }

    /// Returns the token, if the claim is held.
    pub(super) fn token(&self) -> Option<Token> {
        if self.holds() {
            Token::new(self.token)
        } else {
            None
        }
    }
}

/// Selects one of the two lists that a claim is in.
pub(super) trait Thread {
    fn links(claim: &mut Claim) -> &mut Links;
    fn next(claim: &Claim) -> Slot;
}

impl InQueue {
    pub(super) fn previous(claim: &Claim) -> Slot {
        claim.in_queue.previous
    }
}

/// Selects the queue of a name.
#[derive(Debug)]
pub(super) enum InQueue {}

impl Thread for InQueue {
    fn links(claim: &mut Claim) -> &mut Links {
        &mut claim.in_queue
    }

    fn next(claim: &Claim) -> Slot {
        claim.in_queue.next
    }
}

/// Selects the list of a session.
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

/// A doubly linked list of claims.
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
        let links = std::mem::replace(T::links(&mut claims[key(slot)]), Links::UNLINKED);
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
