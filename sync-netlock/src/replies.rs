//! Pending requests of one connection, and their replies until the callers take them.
//!
//! Each pending request has a slot in a slab, so it needs no allocation of its own. The id of a
//! request consists of the index of its slot and a generation. A late reply to a cancelled request
//! therefore cannot reach a newer request in the same slot. An `Enqueue` whose first reply is
//! `Waiting` keeps its slot for the second reply, which is found by the claim.

use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use distsync_core::spi::{ClaimId, Departure, Gone, Withdrawn};
use foldhash::fast::RandomState;
use slab::Slab;

use crate::engine::{Refusal, Reply};

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// The claim of an `Enqueue`, which may have two replies.
    claim: Option<ClaimId>,
    reply: Option<Reply>,
    waker: Option<Waker>,
    /// The departure whose withdrawal this is. No caller waits for the reply.
    departure: Option<Departure>,
    /// Whether the caller has stopped waiting for the second reply.
    is_abandoned: bool,
}

/// A connection with a mutex around its replies.
pub(crate) trait Replying: Sized + Sync {
    /// Locks the replies for `act`.
    fn with_replies<T>(&self, act: impl FnOnce(&mut Replies) -> T) -> T;

    /// Waits for the second reply to an `Enqueue`. `None` if this claim does not wait for one here.
    ///
    /// # Cancel safety
    /// Safe, but a reply that has arrived is dropped with the future.
    fn take_second(&self, claim: ClaimId) -> impl Future<Output = Option<Reply>> + Send {
        async move {
            let waiting = Waiting {
                connection: self,
                claim,
            };
            let poll = |cx: &mut Context<'_>| self.with_replies(|all| all.poll_second(claim, cx));
            let reply = poll_fn(poll).await;
            std::mem::forget(waiting);
            reply
        }
    }
}

/// A caller that waits for a second reply. Dropping it tells the replies that it has stopped.
struct Waiting<'a, R: Replying> {
    connection: &'a R,
    claim: ClaimId,
}

impl<R: Replying> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        self.connection
            .with_replies(|replies| replies.abandon_second(self.claim));
    }
}

/// What remains to be done for a delivered reply, after the mutex of the replies is unlocked.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// The caller has to be woken.
    Wake(Waker),
    /// The withdrawal of a departure has a reply.
    Departed(Departure, Reply),
}

impl Delivered {
    /// Wakes the caller, or confirms the departure. An error leaves it to the core.
    pub(crate) fn finish(self) {
        match self {
            Self::Wake(waker) => waker.wake(),
            Self::Departed(departure, reply) => match reply {
                Reply::Withdrawn(withdrawn) => departure.confirm(withdrawn),
                Reply::Refused(Refusal::SessionUnknown) => departure.confirm(Withdrawn::Absent),
                _ => drop(departure),
            },
        }
    }
}

/// The pending requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    slots: Slab<Slot>,
    generation: u32,
    /// The requests of claims that wait for their second reply.
    waiting: HashMap<ClaimId, u64, RandomState>,
    /// The number of departures.
    departures: usize,
}

impl Replies {
    /// Adds a slot for a new request and returns the id of the request, which is never 0. `waker`
    /// wakes the caller.
    pub(crate) fn open(&mut self, claim: Option<ClaimId>, waker: Option<Waker>) -> u64 {
        self.insert(claim, waker, None)
    }

    /// Adds a slot for the withdrawal of a departure.
    pub(crate) fn depart(&mut self, departure: Departure) -> u64 {
        self.departures += 1;
        self.insert(None, None, Some(departure))
    }

    fn insert(
        &mut self,
        claim: Option<ClaimId>,
        waker: Option<Waker>,
        departure: Option<Departure>,
    ) -> u64 {
        self.generation = self.generation.wrapping_add(1).max(1);
        let slot = Slot {
            generation: self.generation,
            claim,
            reply: None,
            waker,
            departure,
            is_abandoned: false,
        };
        id(self.generation, self.slots.insert(slot))
    }

    /// Removes the departures, which have no reply yet.
    pub(crate) fn take_departures(&mut self) -> Vec<Departure> {
        let mut taken = Vec::with_capacity(self.departures);
        if self.departures > 0 {
            self.slots.retain(|_, slot| match slot.departure.take() {
                Some(departure) => {
                    taken.push(departure);
                    false
                }
                None => true,
            });
        }
        self.departures = 0;
        taken
    }

    fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key(id))?;
        (slot.generation == generation(id)).then_some(slot)
    }

    fn remove(&mut self, id: u64) {
        if self.slot(id).is_some() {
            let slot = self.slots.remove(key(id));
            if let Some(claim) = slot.claim
                && self.waiting.get(&claim) == Some(&id)
            {
                self.waiting.remove(&claim);
            }
        }
    }

    /// Stores a reply in the slot of its request, and returns what remains to be done for it. Drops
    /// the reply if the request was cancelled.
    pub(crate) fn deliver(&mut self, id: u64, reply: Reply) -> Option<Delivered> {
        let slot = self.slot(id)?;
        if let Some(departure) = slot.departure.take() {
            self.slots.remove(key(id));
            self.departures -= 1;
            return Some(Delivered::Departed(departure, reply));
        }
        let waker = slot.waker.take();
        // No caller takes the second reply of a claim that it has withdrawn.
        let is_withdrawn = matches!(
            reply,
            Reply::Gone {
                why: Gone::Withdrawn
            }
        );
        if slot.is_abandoned || (waker.is_none() && is_withdrawn) {
            self.remove(id);
            return None;
        }
        slot.reply = Some(reply);
        waker.map(Delivered::Wake)
    }

    /// Polls for the first reply to a request. `None` if the request is not pending.
    pub(crate) fn poll_first(&mut self, id: u64, cx: &Context<'_>) -> Poll<Option<Reply>> {
        let Some(slot) = self.slot(id) else {
            return Poll::Ready(None);
        };
        let Some(reply) = slot.reply.take() else {
            set_waker(&mut slot.waker, cx);
            return Poll::Pending;
        };
        match (slot.claim, &reply) {
            (Some(claim), Reply::Waiting { .. }) => {
                if let Some(former) = self.waiting.insert(claim, id) {
                    self.remove(former);
                    self.waiting.insert(claim, id);
                }
            }
            (None, _) => drop(self.slots.remove(key(id))),
            _ => self.remove(id),
        }
        Poll::Ready(Some(reply))
    }

    /// Polls for the second reply to an `Enqueue`. `None` if this claim does not wait for one here.
    fn poll_second(&mut self, claim: ClaimId, cx: &Context<'_>) -> Poll<Option<Reply>> {
        let Some(&id) = self.waiting.get(&claim) else {
            return Poll::Ready(None);
        };
        let Some(slot) = self.slot(id) else {
            return Poll::Ready(None);
        };
        match slot.reply.take() {
            Some(reply) => {
                self.remove(id);
                Poll::Ready(Some(reply))
            }
            None => {
                slot.is_abandoned = false;
                set_waker(&mut slot.waker, cx);
                Poll::Pending
            }
        }
    }

    /// Drops the second reply to an `Enqueue`, when it arrives or if it has arrived, unless it is
    /// [polled for](Self::poll_second) again before.
    fn abandon_second(&mut self, claim: ClaimId) {
        let Some(&id) = self.waiting.get(&claim) else {
            return;
        };
        match self.slot(id) {
            Some(slot) if slot.reply.is_none() => (slot.waker, slot.is_abandoned) = (None, true),
            _ => self.remove(id),
        }
    }

    /// Removes a request whose caller no longer waits for the reply.
    pub(crate) fn cancel(&mut self, id: u64) {
        self.remove(id);
    }

    /// Removes all requests, because no more replies will arrive. Returns the wakers of their
    /// callers, and the departures.
    pub(crate) fn close(&mut self) -> (Vec<Waker>, Vec<Departure>) {
        self.waiting.clear();
        let departures = self.take_departures();
        let wakers = self.slots.drain().filter_map(|slot| slot.waker).collect();
        (wakers, departures)
    }

    /// Returns the number of pending requests.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// The number of low bits of an id that are the low bits of its slot. The generation is in the 32
/// bits above them, and the rest of the slot above that. The id of a request among fewer than 4,096
/// is therefore a small number, which the wire encodes in few bytes.
const LOW_BITS: u32 = 12;

fn id(generation: u32, slot: usize) -> u64 {
    let slot = slot as u64;
    let low = slot & ((1 << LOW_BITS) - 1);
    (slot >> LOW_BITS) << (LOW_BITS + 32) | u64::from(generation) << LOW_BITS | low
}

fn key(id: u64) -> usize {
    let low = id & ((1 << LOW_BITS) - 1);
    let slot = id >> (LOW_BITS + 32) << LOW_BITS | low;
    usize::try_from(slot).unwrap_or(usize::MAX)
}

fn generation(id: u64) -> u32 {
    u32::try_from(id >> LOW_BITS & u64::from(u32::MAX)).unwrap_or(0)
}

fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn granted() -> Reply {
        Reply::Granted {
            token: distsync_core::Token::MAX,
        }
    }

    fn waiting() -> Reply {
        Reply::Waiting {
            position: 1,
            holder: None,
        }
    }

    fn withdrawn() -> Reply {
        Reply::Gone {
            why: Gone::Withdrawn,
        }
    }

    /// Makes the request of a claim that has to wait, and takes its first reply.
    fn wait_with(replies: &mut Replies, claim: ClaimId) -> u64 {
        let id = replies.open(Some(claim), None);
        replies.deliver(id, waiting());
        assert!(replies.poll_first(id, &cx()).is_ready());
        id
    }

    #[test]
    fn an_id_has_a_generation_and_a_slot() {
        for slot in [0, 1, 4_095, 4_096, 4_097, (1 << 32) - 1] {
            for number in [1, 2, u32::MAX] {
                let id = id(number, slot);
                assert_eq!((generation(id), key(id)), (number, slot));
            }
        }
        assert!(id(1, 0) > 4_000, "the ids of the connection are smaller");
        assert!(id(1 << 20, 63) < 1 << 35, "five bytes");
    }

    #[test]
    fn a_late_reply_does_not_reach_the_next_request_in_its_slot() {
        let mut replies = Replies::default();
        let first = replies.open(None, None);
        replies.cancel(first);
        let second = replies.open(None, None);
        assert_eq!(key(first), key(second));
        assert!(replies.deliver(first, Reply::Closed).is_none());
        assert!(replies.poll_first(second, &cx()).is_pending());
        assert!(replies.deliver(second, Reply::Attached).is_some());
        assert_eq!(
            replies.poll_first(second, &cx()),
            Poll::Ready(Some(Reply::Attached))
        );
        assert_eq!(replies.len(), 0);
    }

    #[test]
    fn a_claim_that_waits_gets_two_replies() {
        let mut replies = Replies::default();
        let claim = ClaimId::from_bits(7);
        let id = replies.open(Some(claim), None);
        replies.deliver(id, waiting());
        assert_eq!(replies.poll_first(id, &cx()), Poll::Ready(Some(waiting())));
        assert!(replies.poll_second(claim, &cx()).is_pending());
        replies.deliver(id, granted());
        assert_eq!(
            replies.poll_second(claim, &cx()),
            Poll::Ready(Some(granted()))
        );
        assert_eq!(replies.poll_second(claim, &cx()), Poll::Ready(None));
        assert_eq!(replies.len(), 0);
    }

    #[test]
    fn a_grant_replaces_a_first_reply_that_was_not_taken() {
        let mut replies = Replies::default();
        let id = replies.open(Some(ClaimId::from_bits(7)), None);
        replies.deliver(id, waiting());
        replies.deliver(id, granted());
        assert_eq!(replies.poll_first(id, &cx()), Poll::Ready(Some(granted())));
        assert_eq!(replies.len(), 0);
    }

    #[test]
    fn a_withdrawn_claim_leaves_no_slot() {
        let mut replies = Replies::default();
        let claim = ClaimId::from_bits(7);
        let id = wait_with(&mut replies, claim);
        replies.deliver(id, withdrawn());
        assert_eq!(replies.len(), 0);
        assert_eq!(replies.poll_second(claim, &cx()), Poll::Ready(None));
    }

    /// An acquire that is cancelled, whose claim is granted or withdrawn afterwards.
    #[test]
    fn a_wait_that_is_cancelled_leaves_no_slot() {
        for reply in [granted(), withdrawn()] {
            for is_early in [false, true] {
                let mut replies = Replies::default();
                let claim = ClaimId::from_bits(7);
                let id = wait_with(&mut replies, claim);
                assert!(replies.poll_second(claim, &cx()).is_pending());
                if is_early {
                    replies.deliver(id, reply.clone());
                    replies.abandon_second(claim);
                } else {
                    replies.abandon_second(claim);
                    assert!(replies.deliver(id, reply.clone()).is_none());
                }
                assert_eq!((replies.len(), replies.waiting.len()), (0, 0));
            }
        }
    }

    #[test]
    fn a_wait_can_be_continued() {
        let mut replies = Replies::default();
        let claim = ClaimId::from_bits(7);
        let id = wait_with(&mut replies, claim);
        replies.abandon_second(claim);
        assert!(replies.poll_second(claim, &cx()).is_pending());
        assert!(replies.deliver(id, granted()).is_some());
        assert_eq!(
            replies.poll_second(claim, &cx()),
            Poll::Ready(Some(granted()))
        );
    }

    #[test]
    fn a_second_enqueue_of_a_claim_replaces_the_first() {
        let mut replies = Replies::default();
        let claim = ClaimId::from_bits(7);
        for _ in 0..2 {
            wait_with(&mut replies, claim);
        }
        assert_eq!(replies.len(), 1);
    }
}
