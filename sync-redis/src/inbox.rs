//! Delivers the messages that Redis publishes to this client: grants, evictions, and changes of
//! watched queues.
//!
//! Messages are lost only if the connection is lost. Waiters are notified of that as well, and ask
//! again on a new connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distsync_core::Token;
use distsync_core::spi::{ClaimId, locked};
use foldhash::fast::RandomState;
use redis::{PushKind, Value};
use tokio::sync::Notify;

use crate::keys::CHANNELS;

/// The number of slots above which no slot is kept for a queued claim before its waiter asks.
const ANTICIPATED: usize = 10_000;
/// The number of messages that are kept for claims without a slot. A waiter that may have missed
/// more asks the server.
const EARLY: usize = 1_024;

/// The number of names above which those that are no longer watched are looked for.
const UNWATCHED: usize = 64;

/// The reason why a waiter is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Granted(Token),
    Evicted,
    /// The connection is lost, and with it possibly messages.
    Lost,
}

#[derive(Debug, Default)]
pub(crate) struct Slot {
    news: Mutex<Option<News>>,
    told: Notify,
    /// The time until the holder's session expires unless renewed. Set only if no message since the
    /// claim was queued can have been missed.
    expiry: Mutex<Option<Duration>>,
}

impl Slot {
    fn tell(&self, news: News) {
        locked(&self.news).get_or_insert(news);
        self.told.notify_one();
    }

    /// Takes the time until the holder's session expires, if no message can have been missed so
    /// far.
    pub(crate) fn take_expiry(&self) -> Option<Duration> {
        locked(&self.expiry).take()
    }

    pub(crate) async fn next(&self) -> News {
        loop {
            let told = self.told.notified();
            if let Some(news) = locked(&self.news).take() {
                return news;
            }
            told.await;
        }
    }
}

/// The messages of one connection.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiters: Mutex<Waiters>,
    /// The evictions of each session, by its id as it appears in the channel's name.
    evictions: Mutex<HashMap<String, Evictions>>,
    watches: Mutex<Watches>,
    lost: Mutex<bool>,
}

#[derive(Debug, Default)]
struct Waiters {
    slots: HashMap<ClaimId, Arc<Slot>, RandomState>,
    /// The last messages for claims without a slot. The grant of a claim can arrive before the
    /// reply that says that it has to wait.
    early: VecDeque<(ClaimId, News)>,
    /// The number of such messages so far.
    count: u64,
}

impl Waiters {
    fn tell(&mut self, claim: ClaimId, news: News) {
        if let Some(slot) = self.slots.get(&claim) {
            return slot.tell(news);
        }
        if self.early.len() == EARLY {
            self.early.pop_front();
        }
        self.early.push_back((claim, news));
        self.count += 1;
    }
}

/// The notifications of changes, by the path of the name.
#[derive(Debug, Default)]
struct Watches {
    told: HashMap<String, Arc<Notify>>,
    /// How many there were after the last sweep.
    swept: usize,
}

#[derive(Debug, Default)]
struct Evictions {
    claims: Vec<ClaimId>,
    told: Arc<Notify>,
}

impl Inbox {
    pub(crate) fn is_lost(&self) -> bool {
        *locked(&self.lost)
    }

    /// Delivers a push message of the connection.
    pub(crate) fn take(&self, kind: &PushKind, data: &[Value]) {
        let (PushKind::Message, [Value::BulkString(channel), Value::BulkString(message)]) =
            (kind, data)
        else {
            return;
        };
        let (channel, message) = (
            String::from_utf8_lossy(channel),
            String::from_utf8_lossy(message),
        );
        if let Some(channel) = channel.strip_prefix(CHANNELS) {
            self.message(channel, &message);
        }
    }

    fn message(&self, channel: &str, message: &str) {
        if let Some(path) = channel.strip_prefix("watch:") {
            if let Some(watch) = locked(&self.watches).told.get(path) {
                watch.notify_waiters();
            }
            return;
        }
        let mut words = message.split(' ');
        let (Some(what), Some(Ok(claim))) = (words.next(), words.next().map(str::parse::<ClaimId>))
        else {
            return;
        };
        let token = words
            .next()
            .and_then(|token| Token::new(token.parse().ok()?));
        match (what, token) {
            ("granted", Some(token)) => locked(&self.waiters).tell(claim, News::Granted(token)),
            ("evicted", _) => {
                locked(&self.waiters).tell(claim, News::Evicted);
                if let Some(evictions) = locked(&self.evictions).get_mut(channel) {
                    evictions.claims.push(claim);
                    evictions.told.notify_one();
                }
            }
            _ => {}
        }
    }

    /// Marks the connection as lost, and wakes all waiters.
    pub(crate) fn lose(&self) {
        *locked(&self.lost) = true;
        locked(&self.waiters)
            .slots
            .values()
            .for_each(|slot| slot.tell(News::Lost));
        locked(&self.watches)
            .told
            .values()
            .for_each(|watch| watch.notify_waiters());
        locked(&self.evictions)
            .values()
            .for_each(|evictions| evictions.told.notify_one());
    }

    /// Creates a slot for a claim that is about to wait. Dropping the returned value removes it.
    pub(crate) fn expect(self: &Arc<Self>, claim: ClaimId) -> Expecting {
        let slot = locked(&self.waiters)
            .slots
            .entry(claim)
            .or_default()
            .clone();
        Expecting {
            inbox: self.clone(),
            claim,
            slot,
            kept: false,
        }
    }

    /// Returns a mark for [`expect_since`](Self::expect_since), to be taken before the claim is
    /// queued.
    pub(crate) fn mark(&self) -> u64 {
        locked(&self.waiters).count
    }

    /// Creates a slot for a claim that was queued after the mark, with the message that it has
    /// received since. Returns `None` if messages since the mark were dropped, or if there are too
    /// many slots.
    pub(crate) fn expect_since(self: &Arc<Self>, claim: ClaimId, mark: u64) -> Option<Expecting> {
        let mut waiters = locked(&self.waiters);
        let since = usize::try_from(waiters.count - mark).unwrap_or(usize::MAX);
        if waiters.slots.len() >= ANTICIPATED || since > waiters.early.len() {
            return None;
        }
        let slot = waiters.slots.entry(claim).or_default().clone();
        let mut told = waiters.early.iter().rev().take(since).rev();
        if let Some((_, news)) = told.find(|(early, _)| *early == claim) {
            slot.tell(*news);
        }
        drop(waiters);
        Some(Expecting {
            inbox: self.clone(),
            claim,
            slot,
            kept: false,
        })
    }

    /// Returns the notification of changes of a name's queue. At times also removes and returns the
    /// names to whose notifications there is no reference any more.
    pub(crate) fn watch(&self, path: &str) -> (Arc<Notify>, Vec<String>) {
        let mut watches = locked(&self.watches);
        let told = watches.told.entry(path.to_owned()).or_default().clone();
        if watches.told.len() <= UNWATCHED.max(2 * watches.swept) {
            return (told, Vec::new());
        }
        let is_unwatched = |_: &String, told: &mut Arc<Notify>| Arc::strong_count(told) == 1;
        let unwatched = watches.told.extract_if(is_unwatched);
        let unwatched = unwatched.map(|(path, _)| path).collect();
        watches.swept = watches.told.len();
        (told, unwatched)
    }

    pub(crate) fn listen(&self, session: &str) -> Arc<Notify> {
        locked(&self.evictions)
            .entry(session.to_owned())
            .or_default()
            .told
            .clone()
    }

    pub(crate) fn take_evictions(&self, session: &str) -> Vec<ClaimId> {
        locked(&self.evictions)
            .get_mut(session)
            .map(|evictions| std::mem::take(&mut evictions.claims))
            .unwrap_or_default()
    }

    pub(crate) fn forget_session(&self, session: &str) {
        locked(&self.evictions).remove(session);
    }
}

/// A claim whose messages are delivered to a slot.
#[derive(Debug)]
pub(crate) struct Expecting {
    inbox: Arc<Inbox>,
    claim: ClaimId,
    pub(crate) slot: Arc<Slot>,
    kept: bool,
}

impl Expecting {
    /// Leaves the slot in place for the next waiter of the claim.
    pub(crate) fn keep(mut self, expiry: Duration) {
        *locked(&self.slot.expiry) = Some(expiry);
        self.kept = true;
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        if !self.kept {
            locked(&self.inbox.waiters).slots.remove(&self.claim);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SESSION: &str = "session";

    fn granted(inbox: &Inbox, claim: ClaimId, token: u64) {
        inbox.message(SESSION, &format!("granted {claim} {token}"));
    }

    fn token(token: u64) -> News {
        News::Granted(Token::new(token).unwrap())
    }

    #[test]
    fn a_grant_before_the_wait_is_not_lost() {
        let (inbox, claim) = (Arc::new(Inbox::default()), ClaimId::random());
        granted(&inbox, claim, 1);
        let mark = inbox.mark();
        granted(&inbox, ClaimId::random(), 2);
        let expecting = inbox.expect_since(claim, mark).unwrap();
        assert_eq!(
            expecting.slot.next().now_or_never(),
            None,
            "that was before the mark"
        );
        granted(&inbox, claim, 3);
        assert_eq!(expecting.slot.next().now_or_never(), Some(token(3)));

        let (late, mark) = (ClaimId::random(), inbox.mark());
        granted(&inbox, late, 4);
        inbox
            .expect_since(late, mark)
            .unwrap()
            .keep(Duration::from_secs(1));
        let expecting = inbox.expect(late);
        assert_eq!(expecting.slot.take_expiry(), Some(Duration::from_secs(1)));
        assert_eq!(expecting.slot.next().now_or_never(), Some(token(4)));
    }

    #[test]
    fn missed_messages_are_reported() {
        let (inbox, claim) = (Arc::new(Inbox::default()), ClaimId::random());
        let mark = inbox.mark();
        granted(&inbox, claim, 1);
        for _ in 0..EARLY {
            granted(&inbox, ClaimId::random(), 2);
        }
        assert!(inbox.expect_since(claim, mark).is_none());
        assert!(inbox.expect_since(claim, inbox.mark()).is_some());
    }
}
