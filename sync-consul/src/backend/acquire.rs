//! The steps that queue a claim and wait until others have left.

use std::pin::pin;
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::Claim;
use distsync_core::spi::home::Home;

use super::{Consul, STEPS_MAX, uuid};
use crate::error::Failure;
use crate::http::{Scope, Step};
use crate::keys::{KeyEntry, key, prefix, value};
use crate::queue::QueueView;

/// How often a waiter asks whether the lock-delay of a lost holder has passed, which Consul does
/// not report.
const DELAY_LOOK: Duration = Duration::from_millis(250);

impl Consul {
    /// Adds a claim to its queue and reads the queue. Its key may exist from an earlier attempt of
    /// the same claim.
    async fn join(&self, claim: &Claim) -> Result<QueueView, Failure> {
        let (own, prefix) = (key(claim), prefix(&claim.name));
        if let Some(locked) = &self.locked {
            locked.add(claim.session.id, &own);
        }
        loop {
            let lock = Step::lock(&own, &value(claim, &claim.value), &uuid(claim.session.id));
            let steps = [Step::check_not_exists(&own), lock, Step::get_tree(&prefix)];
            let http = self.arrivals()?.clone();
            let joining = async move { http.transact(&steps).await };
            // If this is cancelled before the request is sent, the keeper would look for the claim
            // for a quarter of an hour.
            match Home::here()?.to_its_end(joining).await {
                Err(failure) if failure.is_there() => {}
                pairs => return QueueView::read(&prefix, &pairs?),
            }
            let view = self.read(self.arrivals()?, &claim.name).await?;
            match view.at(&own) {
                Some(same) if same.view.claim == claim.id && !same.is_lost => return Ok(view),
                // The key is of a claim that has ended: its request was late, or an operator has
                // unlocked its key.
                Some(left) => drop(self.delete(None, &own, left.modified).await?),
                None => {}
            }
        }
    }

    /// Joins the queue, and sweeps it.
    pub(super) async fn arrive(&self, claim: &Claim) -> Result<QueueView, Failure> {
        let mut view = self.join(claim).await?;
        while self.sweep(claim, &view).await? {
            view = self.read(self.arrivals()?, &claim.name).await?;
        }
        Ok(view)
    }

    /// Deletes the keys of lost sessions from a queue, and returns whether there were any. A key
    /// that held has to be locked again for that, which Consul refuses until the lock-delay has
    /// passed.
    pub(super) async fn sweep(&self, claim: &Claim, view: &QueueView) -> Result<bool, Failure> {
        let mut has_gone = false;
        for entry in view.lost() {
            let mut steps = vec![Step::check_index(&entry.key, entry.modified)];
            if entry.view.token.is_some() {
                steps.push(Step::lock(&entry.key, b"", &uuid(claim.session.id)));
            }
            steps.push(Step::delete(&entry.key));
            match self.arrivals()?.transact(&steps).await {
                Err(failure) if failure.is_delayed() => {}
                Err(failure) if !failure.is_changed() => return Err(failure),
                _ => has_gone = true,
            }
        }
        Ok(has_gone)
    }

    /// Waits until one of `awaits`, or the key of the claim, may have changed.
    pub(super) async fn wait_on(
        &self,
        claim: &Claim,
        view: &QueueView,
        awaits: &[&KeyEntry],
    ) -> Result<(), Failure> {
        if awaits.iter().any(|entry| entry.is_lost) {
            tokio::time::sleep(DELAY_LOOK).await;
            return Ok(());
        }
        let links = self.links()?;
        let (scope, after) = match awaits {
            [one] => (Scope::Key(one.key.clone()), one.modified),
            // Any of several claims may end first: wait for a change of the whole queue since this
            // read.
            _ => {
                let prefix = prefix(&claim.name);
                let scope = Scope::Tree(prefix.clone());
                let seen = links.waiters.read(&scope, None).await?;
                if QueueView::read(&prefix, &seen.pairs)? != *view {
                    return Ok(());
                }
                (scope, seen.index)
            }
        };
        let same: Vec<_> = awaits
            .iter()
            .copied()
            .chain(view.find(claim.id))
            .map(|entry| Step::check_index(&entry.key, entry.modified))
            .collect();
        let waiting = self.watches.wait();
        let mut newer = pin!(self.watches.newer(&links.blocking, scope, after));
        loop {
            tokio::select! {
                _ = &mut newer => return Ok(()),
                () = tokio::time::sleep(waiting.pause()) => {}
            }
            // There may be no slot for a query yet, and the query does not report an eviction of
            // this claim.
            for steps in same.chunks(STEPS_MAX) {
                match links.waiters.transact(steps).await {
                    Err(failure) if failure.is_changed() => return Ok(()),
                    answer => drop(answer?),
                }
            }
        }
    }
}
