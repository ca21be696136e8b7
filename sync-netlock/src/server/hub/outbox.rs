//! Replies for a connection that other tasks produce.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
#[cfg(feature = "tls")]
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

use distsync_core::spi::locked;
use tokio::sync::Notify;

use super::super::principal_counts::Share;
use crate::engine::{QueueSnapshot, QueueView, Reply};
use crate::wire::Outgoing;

/// The replies that wait for a connection, and what it has to be told besides.
#[derive(Debug, Default)]
pub(in crate::server) struct Outbox {
    pub(super) waiting: Mutex<Waiting>,
    /// The principal of the connection, once it has greeted.
    pub(in crate::server) principal: OnceLock<Arc<str>>,
    pub(in crate::server) filled: Notify,
    pub(in crate::server) overflowed: AtomicBool,
    /// The connection has not greeted, and has to make room for a new one.
    pub(in crate::server) displaced: AtomicBool,
    /// The tokens have changed, so the connection has to check its own.
    pub(in crate::server) recheck_token: AtomicBool,
}

/// A reply from this size on is long. It counts for the principal of its connection.
const LONG: usize = 64 << 10;

/// The most replies for which an empty outbox keeps memory.
const KEPT: usize = 1 << 10;

/// Replies that wait for a connection. They are encoded when the connection writes them, so that a
/// queue is encoded once for all connections.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    replies: VecDeque<Waited>,
    /// The memory of the replies, without second replies, which end the wait of a claim. The limits
    /// on claims bound those. They do not count as unread, because a client that is granted many
    /// locks at one moment is not slow. A queue that several replies share counts once.
    unread: usize,
    /// The shares of the long replies among them, in the same order.
    shares: VecDeque<Share>,
    /// Watches whose queue has changed again and again, or that have too much before them. Their
    /// connection reads the newest queue when it gets there. The limit on watches bounds them.
    behind: VecDeque<Behind>,
}

#[derive(Debug)]
struct Waited {
    request: u64,
    reply: Reply,
    /// The part of `unread` that this reply accounts for.
    counted: usize,
}

/// A watch of a connection that is behind.
#[derive(Debug)]
pub(in crate::server) struct Behind {
    pub(in crate::server) request: u64,
    pub(in crate::server) name: Box<str>,
}

/// A part of an outbox that its connection has taken.
#[derive(Debug, Default)]
pub(in crate::server) struct Taken {
    /// The shares of long replies, to be kept until these are written.
    pub(in crate::server) shares: Vec<Share>,
    /// Watches for which the connection has to read the newest queue, after the replies.
    pub(in crate::server) behind: Vec<Behind>,
    /// Whether there is more in the outbox.
    pub(in crate::server) more: bool,
}

impl Waiting {
    /// Adds a reply, and returns whether there was room for it. There is room for `max` bytes
    /// besides second replies. A long reply also has to get a share of the principal's unread
    /// bytes, which `share` takes for an amount and the identity of what is shared. There always is
    /// room for a queue, which is replaced by the newest one if there is no other room for it.
    pub(super) fn add(
        &mut self,
        request: u64,
        reply: Reply,
        max: usize,
        share: impl FnOnce(usize, usize) -> Option<Share>,
    ) -> bool {
        let counted = match &reply {
            Reply::Granted { .. } | Reply::GrantedAny { .. } | Reply::Gone { .. } => 0,
            Reply::Queue(view) => {
                self.add_queue(request, view.clone(), max, share);
                return true;
            }
            Reply::Evictions(claims) => size_of::<Waited>() + size_of_val(&**claims),
            _ => size_of::<Waited>(),
        };
        if counted > 0 && self.unread > max {
            return false;
        }
        if counted > LONG {
            // Nothing shares this reply, so its request identifies it.
            let Some(share) = share(counted, 0) else {
                return false;
            };
            self.shares.push_back(share);
        }
        self.push(request, reply, counted);
        true
    }

    fn add_queue(
        &mut self,
        request: u64,
        view: QueueView,
        max: usize,
        share: impl FnOnce(usize, usize) -> Option<Share>,
    ) {
        let Some((queue, _)) = view.snapshot() else {
            return self.push(request, Reply::Queue(view), size_of::<Waited>());
        };
        let (queue, own) = (queue.clone(), size_of::<Waited>());
        // The last of the replies that share a queue accounts for it, because it is sent last.
        if let Some(last) = self.replies.back_mut()
            && shares_queue(&last.reply, &queue)
        {
            let counted = std::mem::replace(&mut last.counted, own);
            self.unread -= counted;
            self.unread += own;
            return self.push(request, Reply::Queue(view), counted);
        }
        let counted = own + queue.memory();
        if self.unread > max || !self.behind.is_empty() {
            return self.add_behind(request, &queue);
        }
        if counted > LONG {
            let Some(share) = share(counted, identity(&queue)) else {
                return self.add_behind(request, &queue);
            };
            self.shares.push_back(share);
        }
        self.push(request, Reply::Queue(view), counted);
    }

    fn add_behind(&mut self, request: u64, queue: &QueueSnapshot) {
        let name = queue.name.clone();
        self.behind.push_back(Behind { request, name });
    }

    fn push(&mut self, request: u64, reply: Reply, counted: usize) {
        self.unread += counted;
        self.replies.push_back(Waited {
            request,
            reply,
            counted,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.behind.is_empty()
    }
}

/// Returns what identifies a queue that replies share, while it exists.
fn identity(queue: &Arc<QueueSnapshot>) -> usize {
    Arc::as_ptr(queue).addr()
}

fn shares_queue(reply: &Reply, queue: &Arc<QueueSnapshot>) -> bool {
    match reply {
        Reply::Queue(view) => view
            .snapshot()
            .is_some_and(|(other, _)| Arc::ptr_eq(other, queue)),
        _ => false,
    }
}

impl Outbox {
    /// Waits until the connection has to make room for a new one.
    ///
    /// # Cancel safety
    /// Safe.
    #[cfg(feature = "tls")]
    pub(in crate::server) async fn is_displaced(&self) {
        while !self.displaced.load(Ordering::Relaxed) {
            self.filled.notified().await;
        }
    }

    /// Moves waiting replies to the end of `out`, until it has `size` bytes. Returns `None` if
    /// nothing waits.
    pub(in crate::server) fn empty_into(&self, out: &mut Outgoing, size: usize) -> Option<Taken> {
        let mut waiting = locked(&self.waiting);
        if waiting.is_empty() {
            return None;
        }
        let mut taken = Taken::default();
        while out.size() < size
            && let Some(reply) = waiting.replies.pop_front()
        {
            waiting.unread -= reply.counted;
            if reply.counted > LONG {
                taken.shares.extend(waiting.shares.pop_front());
            }
            out.push(reply.request, reply.reply);
        }
        if waiting.replies.is_empty() {
            waiting.replies.shrink_to(KEPT);
            let few = waiting.behind.len().min(BEHIND_MAX);
            taken.behind.extend(waiting.behind.drain(..few));
            if waiting.behind.is_empty() {
                waiting.behind.shrink_to(KEPT);
            }
        }
        taken.more = !waiting.is_empty();
        Some(taken)
    }
}

/// The most queues that a connection reads in one visit to the table.
const BEHIND_MAX: usize = 64;
