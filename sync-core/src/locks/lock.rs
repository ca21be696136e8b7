//! Locks, read-write locks and semaphores: a name, and the request that acquires it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::locks::context::Context;
use crate::locks::guard::Guard;
use crate::locks::observe;
use crate::locks::request::{AcquireRequest, Attempt};
use crate::locks::traits::Lock;
use crate::options::Wait;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::queue::{Queue, Withdrawn};

#[derive(Debug)]
pub(crate) struct NamedLock {
    context: Arc<Context>,
    id: String,
    request: AcquireRequest,
    wait: Wait,
}

impl NamedLock {
    pub(crate) fn new(
        context: Arc<Context>,
        id: &str,
        request: AcquireRequest,
        wait: Wait,
    ) -> Self {
        Self {
            context,
            id: id.to_owned(),
            request,
            wait,
        }
    }
}

#[async_trait]
impl Lock for NamedLock {
    fn id(&self) -> &str {
        &self.id
    }

    // Not an `async fn`, which would box a future around that of the request.
    fn acquire<'life0, 'async_trait>(
        &'life0 self,
    ) -> Pin<Box<dyn Future<Output = Result<Guard>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.request.acquire(&self.context, self.wait))
    }

    async fn try_acquire(&self) -> Result<Option<Guard>> {
        match self.request.run(&self.context, Wait::Never).await? {
            Attempt::Held(guard) => Ok(Some(guard)),
            Attempt::Busy(_) => Ok(None),
        }
    }

    async fn inspect(&self) -> Result<Queue> {
        observe::inspect(&self.context, &self.request.name).await
    }

    fn watch(&self) -> BoxStream<'static, Result<Queue>> {
        observe::watch(self.context.clone(), self.request.name.clone())
    }

    async fn evict(&self, claim: ClaimId) -> Result<Withdrawn> {
        observe::evict(&self.context, &self.request.name, claim).await
    }
}
