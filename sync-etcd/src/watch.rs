//! One long-lived watch for each namespace, shared by all waiters of a client and opened before the
//! first of them waits.
//!
//! etcd serves a watch that starts at a past revision from a loop that runs every 100 ms. This
//! watch starts at the current revision, so it never waits for that loop. A waiter registers the
//! keys whose deletion it waits for, with the revision at which it read them. Recent deletions are
//! remembered, so a deletion between the read and the registration is not missed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use distsync_core::spi::home::Home;
use distsync_core::spi::locked;
use etcd_client::{Event, EventType, WatchClient, WatchFilterType, WatchOptions, WatchStream};
use tokio::sync::Notify;
use tracing::debug;

use crate::error::Failure;

/// The number of deletions that are remembered. A waiter that missed more reads the queue again.
const REMEMBERED: usize = 4_096;

/// A key that was deleted.
#[derive(Clone, Debug)]
pub(crate) struct Deleted {
    pub(crate) revision: i64,
    pub(crate) key: String,
}

fn read_deletion(event: &Event) -> Option<Deleted> {
    let kv = event
        .kv()
        .filter(|_| event.event_type() == EventType::Delete)?;
    Some(Deleted {
        revision: kv.mod_revision(),
        key: String::from_utf8_lossy(kv.key()).into_owned(),
    })
}

#[derive(Debug)]
struct State {
    waiters: HashMap<String, Vec<Arc<Notify>>>,
    recent: VecDeque<Deleted>,
    /// Every deletion after this revision is in `recent`.
    complete_after: i64,
    lost: bool,
}

/// A watch, shared by its waiters and the task that drives it.
#[derive(Debug)]
pub(crate) struct Watch {
    state: Mutex<State>,
    /// Notified about every deletion, and when the watch is lost.
    pub(crate) any: Notify,
    /// The runtime whose task drives the watch.
    home: Home,
}

/// The keys that a waiter has registered. Dropping it removes the registration.
pub(crate) struct Registered {
    watch: Arc<Watch>,
    keys: Vec<String>,
    pub(crate) told: Arc<Notify>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        for key in &self.keys {
            if let Some(waiters) = state.waiters.get_mut(key) {
                waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.told));
                if waiters.is_empty() {
                    state.waiters.remove(key);
                }
            }
        }
    }
}

impl Watch {
    /// Opens the watch and waits until etcd has confirmed it. The caller has to
    /// [drive](Self::drive) the stream.
    pub(crate) async fn open(
        mut client: WatchClient,
        prefix: &str,
    ) -> Result<(Arc<Self>, WatchStream), Failure> {
        // Without the previous values: etcd would look them up for each watch, which doubles the
        // time to notification.
        let options = WatchOptions::new()
            .with_prefix()
            .with_filters([WatchFilterType::NoPut]);
        let mut stream = client.watch(prefix, Some(options)).await?;
        let created = stream.message().await?.ok_or(Failure::WatchLost)?;
        let revision = created.header().map_or(0, |header| header.revision());
        if created.canceled() {
            return Err(Failure::WatchLost);
        }
        let state = State {
            waiters: HashMap::new(),
            recent: VecDeque::new(),
            complete_after: revision,
            lost: false,
        };
        let home = Home::here()?;
        Ok((
            Arc::new(Self {
                state: Mutex::new(state),
                any: Notify::new(),
                home,
            }),
            stream,
        ))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.state().lost
    }

    /// Waits for a notification of this watch. The watch is lost if its runtime is not driven.
    pub(crate) async fn at_home(&self, told: impl Future<Output = ()>) {
        if self.home.answer(told).await.is_err() {
            self.lose();
        }
    }

    /// Marks the watch as lost, and wakes all waiters, which then use a new watch.
    pub(crate) fn lose(&self) {
        let mut state = self.state();
        state.lost = true;
        state
            .waiters
            .values()
            .flatten()
            .for_each(|waiter| waiter.notify_one());
        drop(state);
        self.any.notify_waiters();
    }

    /// Passes deletions to the waiters until the stream ends.
    pub(crate) async fn drive(self: Arc<Self>, mut stream: WatchStream) {
        let losing = Losing(self);
        loop {
            match stream.message().await {
                Ok(Some(response)) if !response.canceled() => {
                    losing
                        .0
                        .deleted(response.events().iter().filter_map(read_deletion));
                }
                Ok(Some(response)) => {
                    return debug!(reason = response.cancel_reason(), "watch cancelled");
                }
                Ok(None) => return debug!("watch ended"),
                Err(error) => return debug!(%error, "watch lost"),
            }
        }
    }

    /// Records the deletions of one response. A response contains all deletions of a revision, and
    /// the lock is held throughout, so a reader sees all deletions of a revision or none.
    fn deleted(&self, deleted: impl Iterator<Item = Deleted>) {
        let mut state = self.state();
        for deleted in deleted {
            if let Some(waiters) = state.waiters.get(&deleted.key) {
                waiters.iter().for_each(|waiter| waiter.notify_one());
            }
            state.recent.push_back(deleted);
        }
        while state.recent.len() > REMEMBERED
            && let Some(oldest) = state.recent.pop_front()
        {
            state.complete_after = oldest.revision;
        }
        drop(state);
        self.any.notify_waiters();
    }

    /// Registers interest in the deletion of any of `keys` after `revision`.
    pub(crate) fn register(self: &Arc<Self>, keys: Vec<String>, revision: i64) -> Registered {
        let told = Arc::new(Notify::new());
        let mut state = self.state();
        for key in &keys {
            state
                .waiters
                .entry(key.clone())
                .or_default()
                .push(told.clone());
        }
        let missed = state.lost
            || revision < state.complete_after
            || state
                .recent
                .iter()
                .rev()
                .take_while(|gone| gone.revision > revision)
                .any(|gone| keys.contains(&gone.key));
        drop(state);
        if missed {
            told.notify_one();
        }
        Registered {
            watch: self.clone(),
            keys,
            told,
        }
    }

    /// Returns the keys that were deleted after `revision`, and the revision up to which the list
    /// is complete. Returns `None` if deletions after `revision` have been forgotten.
    pub(crate) fn gone_since(&self, revision: i64) -> Option<(HashSet<String>, i64)> {
        let state = self.state();
        if revision < state.complete_after {
            return None;
        }
        let gone = state
            .recent
            .iter()
            .rev()
            .take_while(|gone| gone.revision > revision);
        let keys = gone.map(|gone| gone.key.clone()).collect();
        Some((
            keys,
            state
                .recent
                .back()
                .map_or(revision, |last| last.revision.max(revision)),
        ))
    }

    /// Returns the deletions after `revision` that are still remembered.
    pub(crate) fn since(&self, revision: i64) -> Vec<Deleted> {
        self.state()
            .recent
            .iter()
            .filter(|gone| gone.revision > revision)
            .cloned()
            .collect()
    }

    /// Returns whether all deletions after `revision` are remembered.
    pub(crate) fn knows(&self, revision: i64) -> bool {
        self.state().complete_after <= revision
    }

    /// Returns the revision of the last deletion that was seen.
    pub(crate) fn seen(&self) -> i64 {
        let state = self.state();
        state
            .recent
            .back()
            .map_or(state.complete_after, |gone| gone.revision)
    }
}

/// Marks the watch as lost when its stream or its runtime ends.
struct Losing(Arc<Watch>);

impl Drop for Losing {
    fn drop(&mut self) {
        self.0.lose();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Arc<Watch> {
        let (waiters, recent) = (HashMap::new(), VecDeque::new());
        let state = Mutex::new(State {
            waiters,
            recent,
            complete_after: 10,
            lost: false,
        });
        Arc::new(Watch {
            state,
            any: Notify::new(),
            home: Home::here().unwrap(),
        })
    }

    fn gone(key: &str, revision: i64) -> Deleted {
        Deleted {
            revision,
            key: key.to_owned(),
        }
    }

    #[tokio::test]
    async fn deletions_of_one_revision_are_seen_together() {
        let watch = watch();
        let registered = watch.register(vec!["b".to_owned()], 10);
        watch.deleted([gone("a", 12), gone("b", 12)].into_iter());
        registered.told.notified().await;
        let (keys, revision) = watch.gone_since(10).unwrap();
        assert_eq!(
            (keys, revision),
            (HashSet::from(["a".to_owned(), "b".to_owned()]), 12)
        );
        assert_eq!(watch.gone_since(12), Some((HashSet::new(), 12)));
        assert_eq!(
            watch.gone_since(15),
            Some((HashSet::new(), 15)),
            "a read at a later revision than the watch has seen"
        );
    }

    #[tokio::test]
    async fn late_registration_is_notified_at_once() {
        let watch = watch();
        watch.deleted([gone("a", 12)].into_iter());
        watch
            .register(vec!["a".to_owned()], 11)
            .told
            .notified()
            .await;
        let mut patient = Box::pin(
            watch
                .register(vec!["a".to_owned()], 12)
                .told
                .clone()
                .notified_owned(),
        );
        assert!(futures_util::poll!(&mut patient).is_pending());
    }

    #[tokio::test]
    async fn forgotten_deletions_are_not_known() {
        let watch = watch();
        watch.deleted(
            (11..)
                .take(REMEMBERED + 1)
                .map(|revision| gone("x", revision)),
        );
        assert_eq!(watch.gone_since(10), None);
        assert!(!watch.knows(10) && watch.knows(11));
        assert_eq!(watch.since(11).len(), REMEMBERED);
        watch
            .register(vec!["a".to_owned()], 10)
            .told
            .notified()
            .await;
    }
}
