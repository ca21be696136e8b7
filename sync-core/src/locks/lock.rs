//! Locks, read-write locks and semaphores: a name, and what to ask of it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::locks::context::Context;
use crate::locks::guard::Guard;
use crate::locks::line::{Turn, Wish, contended};
use crate::locks::observe;
use crate::locks::traits::Lock;
use crate::options::Wait;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::queue::{Queue, Withdrawn};

#[derive(Debug)]
pub(crate) struct NamedLock {
    shared: Arc<Context>,
    id: String,
    wish: Wish,
    wait: Wait,
}

impl NamedLock {
    pub(crate) fn new(shared: Arc<Context>, id: &str, wish: Wish, wait: Wait) -> Self {
        Self { shared, id: id.to_owned(), wish, wait }
    }
}

#[async_trait]
impl Lock for NamedLock {
    fn id(&self) -> &str {
        &self.id
    }

    async fn acquire(&self) -> Result<Guard> {
        match self.wish.stand(&self.shared, self.wait).await? {
            Turn::Held(guard) => Ok(guard),
            Turn::Busy(holder) => {
                Err(self.shared.call("acquire", &self.wish.name).explain(contended(&holder)))
            }
        }
    }

    async fn try_acquire(&self) -> Result<Option<Guard>> {
        match self.wish.stand(&self.shared, Wait::Never).await? {
            Turn::Held(guard) => Ok(Some(guard)),
            Turn::Busy(_) => Ok(None),
        }
    }

    async fn inspect(&self) -> Result<Queue> {
        observe::inspect(&self.shared, &self.wish.name).await
    }

    fn watch(&self) -> BoxStream<'static, Result<Queue>> {
        observe::watch(self.shared.clone(), self.wish.name.clone())
    }

    async fn evict(&self, claim: ClaimId) -> Result<Withdrawn> {
        observe::evict(&self.shared, &self.wish.name, claim).await
    }
}
