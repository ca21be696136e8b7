//! Inspecting and watching queues, and lists of names and sessions.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use distsync_core::spi::{Entry, Queue, Revision, SessionId};

use super::LockTable;
use super::backlog::READ_PER_STEP;
use crate::engine::command::Requester;
use crate::engine::journal::Journal;
use crate::engine::queue::{Claim, Slot, key};
use crate::engine::refusal::{Bound, Refusal};
use crate::engine::reply::{Effect, Reply, SessionEntry};
use crate::engine::session::Session;
use crate::engine::snapshot::{QueueSnapshot, QueueView, SnapshotEntry};
use crate::engine::watchers::Watched;

/// How many claims are read at most to find the first one whose session is alive.
const DEAD_MAX: usize = 256;

impl<J: Journal> LockTable<J> {
    /// Gives a changed queue a new revision, and notifies its watchers.
    pub(super) fn changed_now(&mut self, index: Slot, effects: &mut Vec<Effect>) {
        self.revision.0 += 1;
        let lock = &mut self.locks[index];
        lock.revision = self.revision;
        if lock.watchers.is_empty() {
            return;
        }
        self.charge_news(index);
        let lock = &mut self.locks[index];
        lock.is_news_charged = false;
        match &mut self.news {
            Some(_) if lock.has_news => {}
            Some(news) => {
                lock.has_news = true;
                news.push(index);
            }
            None => self.notify(index, effects),
        }
    }

    /// Takes the steps of the copy of a queue that its watchers will get, when it is about to
    /// change. The copy is made once for many changes that are noted together.
    pub(super) fn charge_news(&mut self, index: Slot) {
        let lock = &mut self.locks[index];
        if lock.watchers.is_empty() || lock.has_news || lock.is_news_charged {
            return;
        }
        lock.is_news_charged = true;
        self.backlog.charge(lock.claims as usize / READ_PER_STEP);
    }

    /// Begins a batch of commands. Watchers are notified at its end, of all changes together.
    pub fn begin_batch(&mut self) {
        self.news.get_or_insert_default();
    }

    /// Ends a batch, and notifies the watchers of the names that have changed.
    pub fn end_batch(&mut self, effects: &mut Vec<Effect>) {
        for index in self.news.take().unwrap_or_default() {
            self.tell(index, effects);
        }
    }

    /// Notifies the watchers of a name if it has changed in this batch.
    fn tell(&mut self, index: Slot, effects: &mut Vec<Effect>) {
        // The name may have been removed since it was listed.
        if let Some(lock) = self.locks.get_mut(index)
            && std::mem::take(&mut lock.has_news)
        {
            self.notify(index, effects);
        }
    }

    fn notify(&mut self, index: Slot, effects: &mut Vec<Effect>) {
        let watchers = std::mem::take(&mut self.locks[index].watchers);
        if watchers.is_empty() {
            return;
        }
        let queue = self.snapshot(index);
        for to in watchers {
            self.watchers.remove(to);
            effects.push(Effect {
                to,
                reply: Reply::Queue(queue.clone()),
            });
        }
        self.tidy(index);
    }

    /// Returns the longest TTL of all sessions.
    #[must_use]
    pub fn longest_ttl(&self) -> std::time::Duration {
        self.ttls.last().map(|(ttl, _)| *ttl).unwrap_or_default()
    }

    fn entry(&self, claim: &Claim) -> Entry {
        Entry {
            claim: claim.id,
            session: Some(self.sessions[key(claim.session)].id),
            token: claim.token(),
            age: Some(self.now.since(claim.since)),
            is_isolating: self.sessions[key(claim.session)].is_isolating,
            mode: claim.mode,
            client: self.sessions[key(claim.session)].client.to_string(),
            value: claim.value.to_vec().into(),
        }
    }

    /// Returns the first holder of a name. `None` if there is none, or if the claims of many dead
    /// sessions come before it.
    pub(super) fn holder(&self, index: Slot) -> Option<Box<Entry>> {
        let mut claims = self.locks[index].queue.iter(&self.claims).take(DEAD_MAX);
        let first = claims.find(|claim| !self.is_dead(claim))?;
        first.holds().then(|| Box::new(self.entry(first)))
    }

    /// Returns the claims of a queue, except those of dead sessions.
    fn live_claims(&self, index: Slot) -> impl Iterator<Item = &Claim> {
        self.locks[index]
            .queue
            .iter(&self.claims)
            .filter(|claim| !self.is_dead(claim))
    }

    /// Returns a copy of a queue. Requests for an unchanged queue share one while it is in use.
    fn snapshot(&mut self, index: Slot) -> QueueView {
        let lock = &self.locks[index];
        if let Some(recent) = self.snapshots.get(&lock.name, lock.revision) {
            return QueueView::shared(recent, self.now);
        }
        let claims = lock.claims as usize;
        self.backlog.charge(claims / READ_PER_STEP);
        let lock = &self.locks[index];
        let entry = |claim: &Claim| {
            let session = &self.sessions[key(claim.session)];
            SnapshotEntry {
                claim: claim.id,
                session: session.id,
                token: claim.token(),
                since: claim.since,
                mode: claim.mode,
                is_isolating: session.is_isolating,
                client: session.client.clone(),
                value: claim.value.clone(),
            }
        };
        let entries = self.live_claims(index).map(entry);
        let queue = Arc::new(QueueSnapshot::new(
            &lock.name,
            claims,
            entries,
            lock.revision,
        ));
        // Only a queue with claims has a revision that no other queue has.
        if claims > 0 {
            self.snapshots.put(&queue);
        }
        QueueView::shared(queue, self.now)
    }

    /// Returns the claims of a queue whose session has ended, but that are not removed yet, and
    /// whether the end of the session is recorded.
    #[cfg(test)]
    pub(in crate::engine) fn ghosts(&self, name: &str) -> Vec<(distsync_core::spi::ClaimId, bool)> {
        let Some(found) = self.locks.find(name) else {
            return Vec::new();
        };
        let queue = self.locks[found].queue.iter(&self.claims);
        queue
            .map(|claim| (claim.id, claim.session))
            .filter_map(|(id, session)| {
                let is_dead = self.sessions[key(session)].is_dead;
                (is_dead || self.has_expired(session)).then_some((id, is_dead))
            })
            .collect()
    }

    pub(super) fn queue(&mut self, name: &str) -> QueueView {
        match self.locks.find(name) {
            Some(found) => self.snapshot(found),
            None => Queue {
                entries: Vec::new(),
                revision: self.removed_revision,
            }
            .into(),
        }
    }

    pub(super) fn changed(
        &mut self,
        from: Requester,
        name: &str,
        after: Revision,
        effects: &mut Vec<Effect>,
    ) -> Option<Reply> {
        // A new watch may not be notified of a change before it.
        if self.news.is_some()
            && let Some(found) = self.locks.find(name)
        {
            self.tell(found, effects);
        }
        let known = self
            .locks
            .find(name)
            .map_or(self.removed_revision, |found| self.locks[found].revision);
        if known > after {
            return Some(Reply::Queue(self.queue(name)));
        }
        match self.watch(from, name, after) {
            Ok(()) => None,
            Err(refusal) => Some(Reply::Refused(refusal)),
        }
    }

    fn watch(&mut self, from: Requester, name: &str, after: Revision) -> Result<(), Refusal> {
        let max = self.limits.watches_per_connection;
        if self.watchers.count(from.connection) >= max {
            return Err(Refusal::TooMany {
                what: Bound::WatchesPerConnection,
                max,
            });
        }
        let (principal, max) = (
            self.shares.principal_of(from.connection),
            self.limits.watches_per_principal,
        );
        if self.watchers.count_of_principal(principal) >= max {
            return Err(Refusal::TooMany {
                what: Bound::WatchesPerPrincipal,
                max,
            });
        }
        let index = self.lock_of(name.as_bytes(), after)?;
        if self.watchers.contains(from) {
            // A request that repeats the id of an earlier one replaces it.
            self.forget(from);
        }
        let watchers = &mut self.locks[index].watchers;
        let (name, at) = (index, watchers.len());
        watchers.push(from);
        self.watchers
            .insert(from, principal, Watched::Name { name, at });
        Ok(())
    }

    /// Cancels a request that waits for an event.
    pub(super) fn forget(&mut self, requester: Requester) {
        match self.watchers.remove(requester) {
            Some(Watched::Name { name, at }) => {
                let watchers = &mut self.locks[name].watchers;
                watchers.swap_remove(at);
                if let Some(moved) = watchers.get(at) {
                    self.watchers.moved(*moved, at);
                }
                self.tidy(name);
            }
            Some(Watched::Session(index)) => self.sessions[key(index)].listener = None,
            None => {}
        }
    }

    pub(super) fn list_sessions(&mut self, after: SessionId) -> Reply {
        let after = (Excluded((after, Slot::MAX)), Unbounded);
        let mut found = self.listed_sessions.range(after);
        let page: Vec<&Session> = found
            .by_ref()
            .take(self.limits.page)
            .map(|(_, index)| &self.sessions[key(*index)])
            .collect();
        let more = found.next().is_some();
        self.backlog.charge(page.len() / READ_PER_STEP);
        let entry = |session: &Session| SessionEntry {
            session: session.id,
            client: session.client.to_string(),
            left: session.expires.since(self.now),
            claims: session.claim_count as u64,
            connections: u32::try_from(session.connections.len()).unwrap_or(u32::MAX),
        };
        Reply::Sessions {
            sessions: page.into_iter().map(entry).collect(),
            more,
        }
    }

    pub(super) fn list(&mut self, prefix: &str, after: &str) -> Reply {
        let (page, more) = self.locks.page(prefix, after, self.limits.page);
        self.backlog
            .charge((self.locks.read_by_page() + 2 * page.len()) / READ_PER_STEP);
        Reply::Names {
            names: page
                .into_iter()
                .map(|index| self.locks[index].name.to_string())
                .collect(),
            more,
        }
    }
}
