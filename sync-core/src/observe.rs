//! Looking at queues, and at their changes, from outside.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use crate::backend::{ClaimId, Queue, Revision, Withdrawn};
use crate::call::breathe;
use crate::election::Leadership;
use crate::error::Result;
use crate::handle::Shared;
use crate::names::LockName;
use crate::options::Node;
use crate::token::Token;

pub(crate) async fn inspect(shared: &Shared, name: &LockName) -> Result<Queue> {
    shared.call("inspect", name).once(|| shared.backend.queue(name)).await
}

pub(crate) async fn evict(shared: &Shared, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
    shared.call("evict", name).once(|| shared.backend.evict(name, claim)).await
}

/// The queue now and after each change, until an error that does not pass.
pub(crate) fn watch(shared: Arc<Shared>, name: LockName) -> BoxStream<'static, Result<Queue>> {
    let start = Watching { shared, name, seen: None, ended: false };
    stream::unfold(start, |mut watching| async move {
        let item = watching.next().await?;
        watching.ended = item.is_err();
        Some((item, watching))
    })
    .boxed()
}

struct Watching {
    shared: Arc<Shared>,
    name: LockName,
    seen: Option<Queue>,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<Queue>> {
        if self.ended {
            return None;
        }
        loop {
            let call = self.shared.call("watch", &self.name);
            let answer = match &self.seen {
                None => call.once(|| self.shared.backend.queue(&self.name)).await,
                Some(seen) => self
                    .shared
                    .backend
                    .changed(&self.name, seen.revision)
                    .await
                    .map_err(|error| call.explain(error)),
            };
            match answer {
                Ok(queue) if self.is_news(&queue) => {
                    self.seen = Some(queue.clone());
                    return Some(Ok(queue));
                }
                Ok(queue) => self.catch_up(queue.revision),
                Err(error) if error.is_retryable() => breathe().await,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn is_news(&self, queue: &Queue) -> bool {
        self.seen.as_ref().is_none_or(|seen| seen.entries != queue.entries && queue.revision >= seen.revision)
    }

    /// The same queue at a later revision.
    fn catch_up(&mut self, revision: Revision) {
        if let Some(seen) = &mut self.seen {
            seen.revision = seen.revision.max(revision);
        }
    }
}

/// The leader that a queue shows.
pub(crate) fn leader_of(queue: &Queue) -> Option<Leadership> {
    let entry = queue.holders().next()?;
    Some(Leadership { node: Node::decode(&entry.value), term: entry.token? })
}

/// The leader now and after each change; terms never go back.
pub(crate) fn leaders(shared: Arc<Shared>, name: LockName) -> BoxStream<'static, Result<Option<Leadership>>> {
    let mut newest: Option<Token> = None;
    let mut shown: Option<Option<Leadership>> = None;
    watch(shared, name)
        .filter_map(move |queue| {
            let item = match queue {
                Err(error) => Some(Err(error)),
                Ok(queue) => {
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
