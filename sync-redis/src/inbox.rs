//! What Redis publishes to this client: grants, evictions, and that a watched line has changed.
//!
//! Messages are lost with the connection, and only then: who waits is told of that too, and asks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use redis::{PushInfo, PushKind, Value};
use sync_core::Token;
use sync_core::backend::ClaimId;
use tokio::sync::Notify;

/// With more slots than this, claims are looked up again once their messages are heard.
const ANTICIPATED: usize = 10_000;

/// Why a waiter is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Granted(Token),
    Evicted,
    /// The connection is gone, and messages with it.
    Lost,
}

#[derive(Debug, Default)]
pub(crate) struct Slot {
    news: Mutex<Option<News>>,
    told: Notify,
    /// Set if all news since the claim came into line are heard: when the holder's session ends without a renewal.
    expiry: Mutex<Option<Duration>>,
}

impl Slot {
    fn tell(&self, news: News) {
        locked(&self.news).get_or_insert(news);
        self.told.notify_one();
    }

    /// Once: how long the holder's session lives, if nothing can have been missed so far.
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
    waiters: Mutex<HashMap<ClaimId, Arc<Slot>, RandomState>>,
    /// By session, in the words of its channel.
    evictions: Mutex<HashMap<String, Evictions>>,
    watches: Mutex<HashMap<String, Arc<Notify>>>,
    lost: Mutex<bool>,
}

#[derive(Debug, Default)]
struct Evictions {
    claims: Vec<ClaimId>,
    told: Arc<Notify>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inbox {
    pub(crate) fn is_lost(&self) -> bool {
        *locked(&self.lost)
    }

    /// Takes what the connection pushes.
    pub(crate) fn take(&self, channels: &str, push: &PushInfo) {
        match push.kind {
            PushKind::Message => {
                let [Value::BulkString(channel), Value::BulkString(message)] = push.data.as_slice() else {
                    return;
                };
                let (channel, message) = (String::from_utf8_lossy(channel), String::from_utf8_lossy(message));
                if let Some(channel) = channel.strip_prefix(channels) {
                    self.message(channel, &message);
                }
            }
            PushKind::Disconnection => self.lose(),
            _ => {}
        }
    }

    fn message(&self, channel: &str, message: &str) {
        if let Some(path) = channel.strip_prefix("watch:") {
            if let Some(watch) = locked(&self.watches).get(path) {
                watch.notify_waiters();
            }
            return;
        }
        let mut words = message.split(' ');
        let (Some(what), Some(Ok(claim))) = (words.next(), words.next().map(str::parse::<ClaimId>)) else {
            return;
        };
        let token = words.next().and_then(|token| Token::new(token.parse().ok()?));
        let slot = locked(&self.waiters).get(&claim).cloned();
        match (what, token) {
            ("granted", Some(token)) => {
                if let Some(slot) = slot {
                    slot.tell(News::Granted(token));
                }
            }
            ("evicted", _) => {
                if let Some(slot) = slot {
                    slot.tell(News::Evicted);
                }
                if let Some(evictions) = locked(&self.evictions).get_mut(channel) {
                    evictions.claims.push(claim);
                    evictions.told.notify_one();
                }
            }
            _ => {}
        }
    }

    /// The connection is gone.
    pub(crate) fn lose(&self) {
        *locked(&self.lost) = true;
        locked(&self.waiters).values().for_each(|slot| slot.tell(News::Lost));
        locked(&self.watches).values().for_each(|watch| watch.notify_waiters());
        locked(&self.evictions).values().for_each(|evictions| evictions.told.notify_one());
    }

    /// A slot for a claim that is about to stand in line; it goes with the returned value.
    pub(crate) fn expect(self: &Arc<Self>, claim: ClaimId) -> Expecting {
        let slot = locked(&self.waiters).entry(claim).or_default().clone();
        Expecting { inbox: self.clone(), claim, slot, kept: false }
    }

    /// A slot for a claim that is sent into line with its messages heard already; `None` if there are too many.
    pub(crate) fn anticipate(self: &Arc<Self>, claim: ClaimId) -> Option<Expecting> {
        if locked(&self.waiters).len() >= ANTICIPATED { None } else { Some(self.expect(claim)) }
    }

    /// What is heard of a line's changes.
    pub(crate) fn watch(&self, path: &str) -> Arc<Notify> {
        locked(&self.watches).entry(path.to_owned()).or_default().clone()
    }

    pub(crate) fn listen(&self, session: &str) -> Arc<Notify> {
        locked(&self.evictions).entry(session.to_owned()).or_default().told.clone()
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

/// A claim whose messages are heard.
#[derive(Debug)]
pub(crate) struct Expecting {
    inbox: Arc<Inbox>,
    claim: ClaimId,
    pub(crate) slot: Arc<Slot>,
    kept: bool,
}

impl Expecting {
    /// Leaves the slot in place for whoever waits for the claim next.
    pub(crate) fn keep(mut self, expiry: Duration) {
        *locked(&self.slot.expiry) = Some(expiry);
        self.kept = true;
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        if !self.kept {
            locked(&self.inbox.waiters).remove(&self.claim);
        }
    }
}
