//! Looking at queues, and at their changes, from outside.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt};

use crate::locks::context::Context;
use crate::locks::leadership::Leadership;
use crate::options::Node;
use crate::session::call::breathe;
use crate::spi::clock::{self, Moment};
use crate::spi::home::runtime;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::names::LockName;
use crate::types::queue::{Queue, Withdrawn};
use crate::types::token::Token;

pub(crate) async fn inspect(context: &Context, name: &LockName) -> Result<Queue> {
    context.call("inspect", name).once(|| context.backend.queue(name)).await
}

pub(crate) async fn evict(context: &Context, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
    context.call("evict", name).once(|| context.backend.evict(name, claim)).await
}

/// The queue now and after each change, until an error that does not pass.
pub(crate) fn watch(context: Arc<Context>, name: LockName) -> BoxStream<'static, Result<Queue>> {
    sightings(context, name).map(|sighting| sighting.map(|sighting| sighting.queue)).boxed()
}

/// A queue as it was seen.
struct Sighting {
    queue: Queue,
    /// Watching was interrupted before it. The store may have been emptied or restored since the last one, so revisions and
    /// terms may have begun again.
    interrupted: bool,
}

fn sightings(context: Arc<Context>, name: LockName) -> impl Stream<Item = Result<Sighting>> + Send + 'static {
    let start =
        Watching { context, name, seen: None, seen_at: clock::now(), interrupted: false, ended: false };
    stream::unfold(start, |mut watching| async move {
        let item = watching.next().await?;
        watching.ended = item.is_err();
        Some((item, watching))
    })
}

/// A watcher that was not polled for so long reads the queue before it waits for changes: the connection, and the store behind it, may
/// have been replaced meanwhile, with nobody there to be told.
const ABSENCE: Duration = Duration::from_millis(250);

struct Watching {
    context: Arc<Context>,
    name: LockName,
    seen: Option<Queue>,
    /// When the last answer came.
    seen_at: Moment,
    interrupted: bool,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<Sighting>> {
        if self.ended {
            return None;
        }
        if let Err(error) = runtime() {
            return Some(Err(self.context.call("watch", &self.name).explain(error)));
        }
        let mut was_absent = clock::now().since(self.seen_at) > ABSENCE;
        loop {
            let call = self.context.call("watch", &self.name);
            let backend = &self.context.backend;
            let answer = match &self.seen {
                Some(seen) if !self.interrupted && !was_absent => {
                    let changed = backend.changed(&self.name, seen.revision).await;
                    changed.map_err(|error| call.explain(error))
                }
                // After an interruption a revision of before says nothing: a store that was emptied may take long to reach it.
                _ => call.once(|| backend.queue(&self.name)).await,
            };
            match answer {
                Ok(queue) => {
                    (self.seen_at, was_absent) = (clock::now(), false);
                    let seen = self.seen.replace(queue.clone());
                    let went_back = seen.as_ref().is_some_and(|seen| queue.revision < seen.revision);
                    let interrupted = std::mem::take(&mut self.interrupted) || went_back;
                    if seen.is_none_or(|seen| seen.entries != queue.entries) {
                        return Some(Ok(Sighting { queue, interrupted }));
                    }
                }
                Err(error) if error.is_retryable() => {
                    self.interrupted = true;
                    breathe().await;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The leader that a queue shows.
pub(crate) fn leader_of(queue: &Queue) -> Option<Leadership> {
    let entry = queue.holders().next()?;
    Some(Leadership { node: Node::decode(&entry.value), term: entry.token? })
}

/// The leader now and after each change. Terms never go back, unless the store was emptied or restored.
pub(crate) fn leaders(
    context: Arc<Context>,
    name: LockName,
) -> BoxStream<'static, Result<Option<Leadership>>> {
    let mut newest: Option<Token> = None;
    let mut shown: Option<Option<Leadership>> = None;
    sightings(context, name)
        .filter_map(move |sighting| {
            let item = match sighting {
                Err(error) => Some(Err(error)),
                Ok(Sighting { queue, interrupted }) => {
                    if interrupted {
                        newest = None;
                    }
                    let leader = leader_of(&queue);
                    let stale = leader.as_ref().is_some_and(|leader| Some(leader.term) < newest);
                    if stale || shown.as_ref() == Some(&leader) {
                        None
                    } else {
                        newest = newest.max(leader.as_ref().map(|leader| leader.term));
                        shown = Some(leader.clone());
                        Some(Ok(leader))
                    }
                }
            };
            std::future::ready(item)
        })
        .boxed()
}
