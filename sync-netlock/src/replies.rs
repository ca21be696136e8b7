//! Where answers meet those who asked: one slot a request, without an allocation of its own.
//!
//! A slot's number is its place in a slab and a generation, so that a late answer to a request that
//! was given up cannot reach the next one in the same place. An `Enqueue` that was answered
//! `Waiting` keeps its slot for the second answer, found by the claim.

use std::collections::HashMap;
use std::task::{Context, Poll, Waker};

use distsync_core::spi::{ClaimId, Gone};
use foldhash::fast::RandomState;
use slab::Slab;

use crate::engine::Reply;

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// The claim of an `Enqueue`, which may be answered twice.
    claim: Option<ClaimId>,
    reply: Option<Reply>,
    waker: Option<Waker>,
}

/// All requests under way on one connection.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    slots: Slab<Slot>,
    generation: u32,
    in_line: HashMap<ClaimId, u64, RandomState>,
}

impl Replies {
    /// A slot for a new request; the number is its request id, never 0.
    pub(crate) fn open(&mut self, claim: Option<ClaimId>) -> u64 {
        self.generation = self.generation.wrapping_add(1).max(1);
        let slot = Slot {
            generation: self.generation,
            claim,
            reply: None,
            waker: None,
        };
        (u64::from(self.generation) << 32) | self.slots.insert(slot) as u64
    }

    fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key(id))?;
        (u64::from(slot.generation) == id >> 32).then_some(slot)
    }

    fn remove(&mut self, id: u64) {
        if self.slot(id).is_some() {
            let slot = self.slots.remove(key(id));
            if let Some(claim) = slot.claim
                && self.in_line.get(&claim) == Some(&id)
            {
                self.in_line.remove(&claim);
            }
        }
    }

    /// Puts an answer into its slot; returns whom to wake. Answers to requests that were given up
    /// are dropped.
    pub(crate) fn deliver(&mut self, id: u64, reply: Reply) -> Option<Waker> {
        let slot = self.slot(id)?;
        let waker = slot.waker.take();
        // Nobody asks for the second answer of a claim that was withdrawn.
        if waker.is_none()
            && matches!(
                reply,
                Reply::Gone {
                    why: Gone::Withdrawn
                }
            )
        {
            self.remove(id);
            return None;
        }
        slot.reply = Some(reply);
        waker
    }

    /// The first answer to a request.
    pub(crate) fn poll_first(&mut self, id: u64, cx: &Context<'_>) -> Poll<Option<Reply>> {
        let Some(slot) = self.slot(id) else {
            return Poll::Ready(None);
        };
        let Some(reply) = slot.reply.take() else {
            remember(&mut slot.waker, cx);
            return Poll::Pending;
        };
        match (slot.claim, &reply) {
            (Some(claim), Reply::Waiting { .. }) => {
                if let Some(former) = self.in_line.insert(claim, id) {
                    self.remove(former);
                    self.in_line.insert(claim, id);
                }
            }
            _ => self.remove(id),
        }
        Poll::Ready(Some(reply))
    }

    /// The second answer to an `Enqueue`; `None` if this connection does not wait for one.
    pub(crate) fn poll_second(&mut self, claim: ClaimId, cx: &Context<'_>) -> Poll<Option<Reply>> {
        let Some(&id) = self.in_line.get(&claim) else {
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
                remember(&mut slot.waker, cx);
                Poll::Pending
            }
        }
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn give_up(&mut self, id: u64) {
        self.remove(id);
    }

    /// No answers will come; returns whom to tell.
    pub(crate) fn close(&mut self) -> Vec<Waker> {
        self.in_line.clear();
        self.slots.drain().filter_map(|slot| slot.waker).collect()
    }

    /// How many requests are under way.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

fn key(id: u64) -> usize {
    usize::try_from(id & u64::from(u32::MAX)).unwrap_or(usize::MAX)
}

fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
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

    #[test]
    fn a_late_answer_does_not_reach_the_next_request_in_its_place() {
        let mut replies = Replies::default();
        let first = replies.open(None);
        replies.give_up(first);
        let second = replies.open(None);
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
    fn a_claim_in_line_is_answered_twice() {
        let mut replies = Replies::default();
        let claim = ClaimId::from_bits(7);
        let id = replies.open(Some(claim));
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
    fn a_grant_that_overtakes_the_wait_is_the_answer() {
        let mut replies = Replies::default();
        let id = replies.open(Some(ClaimId::from_bits(7)));
        replies.deliver(id, waiting());
        replies.deliver(id, granted());
        assert_eq!(replies.poll_first(id, &cx()), Poll::Ready(Some(granted())));
        assert_eq!(replies.len(), 0);
    }

    #[test]
    fn a_withdrawn_claim_leaves_no_slot() {
        let mut replies = Replies::default();
        let claim = ClaimId::from_bits(7);
        let id = replies.open(Some(claim));
        replies.deliver(id, waiting());
        assert!(replies.poll_first(id, &cx()).is_ready());
        replies.deliver(
            id,
            Reply::Gone {
                why: Gone::Withdrawn,
            },
        );
        assert_eq!(replies.len(), 0);
        assert_eq!(replies.poll_second(claim, &cx()), Poll::Ready(None));
    }

    #[test]
    fn a_second_enqueue_of_a_claim_takes_the_place_of_the_first() {
        let mut replies = Replies::default();
        let claim = ClaimId::from_bits(7);
        for _ in 0..2 {
            let id = replies.open(Some(claim));
            replies.deliver(id, waiting());
            assert!(replies.poll_first(id, &cx()).is_ready());
        }
        assert_eq!(replies.len(), 1);
    }
}
