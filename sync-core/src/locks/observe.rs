//! Inspecting and watching the queues of names.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt};

use crate::locks::context::Context;
use crate::locks::leadership::Leadership;
use crate::options::Node;
use crate::session::call::pause_briefly;
use crate::spi::clock::{self, Moment};
use crate::spi::home::runtime;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::names::LockName;
use crate::types::queue::{Queue, Withdrawn};
use crate::types::token::Token;

pub(crate) async fn inspect(context: &Context, name: &LockName) -> Result<Queue> {
    context
        .call("inspect", name)
        .once(|| context.backend.queue(name))
        .await
}

pub(crate) async fn evict(context: &Context, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
    context
        .call("evict", name)
        .once(|| context.backend.evict(name, claim))
        .await
}

/// Returns a stream of the queue: its current state and its state after each change. Ends with the
/// first error that is not transient.
pub(crate) fn watch(context: Arc<Context>, name: LockName) -> BoxStream<'static, Result<Queue>> {
    observations(context, name)
        .map(|observed| observed.map(|observed| observed.queue))
        .boxed()
}

/// An observed state of a queue.
struct Observation {
    queue: Queue,
    /// Whether watching was interrupted before this observation. The store may have been emptied or
    /// restored since the previous one, so revisions and terms may have started again.
    interrupted: bool,
}

fn observations(
    context: Arc<Context>,
    name: LockName,
) -> impl Stream<Item = Result<Observation>> + Send + 'static {
    let start = Watching {
        context,
        name,
        last: None,
        last_at: clock::now(),
        interrupted: false,
        ended: false,
    };
    stream::unfold(start, |mut watching| async move {
        let item = watching.next().await?;
        watching.ended = item.is_err();
        Some((item, watching))
    })
}

/// A watcher that has not been polled for this long reads the queue again before it waits for
/// changes: the connection, and the store behind it, may have been replaced without its notice.
const IDLE_LIMIT: Duration = Duration::from_millis(250);

struct Watching {
    context: Arc<Context>,
    name: LockName,
    last: Option<Queue>,
    /// The time at which the last reply arrived.
    last_at: Moment,
    interrupted: bool,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<Observation>> {
        if self.ended {
            return None;
        }
        if let Err(error) = runtime() {
            return Some(Err(self.context.call("watch", &self.name).explain(error)));
        }
        let mut was_idle = clock::now().since(self.last_at) > IDLE_LIMIT;
        loop {
            let call = self.context.call("watch", &self.name);
            let backend = &self.context.backend;
            let answer = match &self.last {
                Some(last) if !self.interrupted && !was_idle => {
                    let changed = backend.changed(&self.name, last.revision).await;
                    changed.map_err(|error| call.explain(error))
                }
                // A revision from before an interruption is meaningless: a store that was emptied
                // may take long to reach it.
                _ => call.once(|| backend.queue(&self.name)).await,
            };
            match answer {
                Ok(queue) => {
                    (self.last_at, was_idle) = (clock::now(), false);
                    let last = self.last.replace(queue.clone());
                    let went_back = last
                        .as_ref()
                        .is_some_and(|last| queue.revision < last.revision);
                    let interrupted = std::mem::take(&mut self.interrupted) || went_back;
                    if last.is_none_or(|last| last.entries != queue.entries) {
                        return Some(Ok(Observation { queue, interrupted }));
                    }
                }
                Err(error) if error.is_retryable() => {
                    self.interrupted = true;
                    pause_briefly().await;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Returns the leader according to a queue.
pub(crate) fn leader_of(queue: &Queue) -> Option<Leadership> {
    let entry = queue.holders().next()?;
    Some(Leadership {
        node: Node::decode(&entry.value),
        term: entry.token?,
    })
}

/// Returns a stream of the leader: the current one, and the new one after each change. Terms never
/// decrease, unless the store was emptied or restored.
pub(crate) fn leaders(
    context: Arc<Context>,
    name: LockName,
) -> BoxStream<'static, Result<Option<Leadership>>> {
    let mut newest: Option<Token> = None;
    let mut yielded: Option<Option<Leadership>> = None;
    observations(context, name)
        .filter_map(move |observed| {
            let item = match observed {
                Err(error) => Some(Err(error)),
                Ok(Observation { queue, interrupted }) => {
                    if interrupted {
                        newest = None;
                    }
                    let leader = leader_of(&queue);
                    let stale = leader
                        .as_ref()
                        .is_some_and(|leader| Some(leader.term) < newest);
                    if stale || yielded.as_ref() == Some(&leader) {
                        None
                    } else {
                        newest = newest.max(leader.as_ref().map(|leader| leader.term));
                        yielded = Some(leader.clone());
                        Some(Ok(leader))
                    }
                }
            };
            std::future::ready(item)
        })
        .boxed()
}
