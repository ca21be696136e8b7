//! The local queue of a handle: of its requests that wait for one name, only the first is in the
//! store's queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use foldhash::fast::RandomState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::locks::unsuccessful::session_ended;
use crate::spi::mutex::locked;
use crate::types::error::Result;
use crate::types::loss::Loss;
use crate::types::names::LockName;

/// The local queues of all names. A name without a waiting request has no entry.
#[derive(Debug, Default)]
pub(crate) struct LocalQueue {
    /// One permit for each name. Tokio's semaphores are first come, first served.
    names: Mutex<HashMap<LockName, Arc<Semaphore>, RandomState>>,
    /// Cancels the requests that wait locally. Replaced when it is cancelled.
    waiting: Mutex<CancellationToken>,
}

/// The permission for one request to wait in the store's queue. The next request of the name gets
/// it when it is dropped.
#[derive(Debug)]
pub(super) struct LocalTurn<'a> {
    queue: &'a LocalQueue,
    name: &'a LockName,
    /// `None` once it is dropped.
    semaphore: Option<Arc<Semaphore>>,
    /// `None` while the request waits locally.
    permit: Option<OwnedSemaphorePermit>,
}

impl LocalQueue {
    /// Waits until no other request of this handle waits for the name in the store.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) when the waiting requests are cancelled.
    ///
    /// # Cancel safety
    /// Safe: dropping the future gives up its position.
    pub(super) async fn turn<'a>(&'a self, name: &'a LockName) -> Result<LocalTurn<'a>> {
        let cancelled = locked(&self.waiting).clone();
        let semaphore = self.semaphore(name);
        let mut turn = LocalTurn {
            queue: self,
            name,
            semaphore: Some(semaphore.clone()),
            permit: None,
        };
        tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(session_ended(Loss::Closed)),
            // The semaphores are never closed.
            permit = semaphore.acquire_owned() => {
                turn.permit = permit.ok();
                Ok(turn)
            }
        }
    }

    /// Cancels the requests that wait locally.
    pub(super) fn cancel(&self) {
        std::mem::take(&mut *locked(&self.waiting)).cancel();
    }

    fn semaphore(&self, name: &LockName) -> Arc<Semaphore> {
        let mut names = locked(&self.names);
        let entry = names.entry(name.clone());
        entry.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }
}

impl Drop for LocalTurn<'_> {
    fn drop(&mut self) {
        // First, because the permit has a reference too.
        self.permit = None;
        let mut names = locked(&self.queue.names);
        self.semaphore = None;
        // References are made under this mutex only, so none is added meanwhile.
        if names
            .get(self.name)
            .is_some_and(|semaphore| Arc::strong_count(semaphore) == 1)
        {
            names.remove(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::types::error::ErrorKind;
    use crate::types::names::{Kind, Namespace};

    fn name(name: &str) -> LockName {
        LockName::new(&Namespace::default(), Kind::Lock, name).unwrap()
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn turns_are_in_the_order_of_arrival_and_leave_nothing() {
        let (queue, a, b) = (LocalQueue::default(), name("a"), name("b"));
        let first = queue.turn(&a).await.unwrap();
        let other = queue.turn(&b).await.unwrap();
        let mut third = pin!(queue.turn(&a));
        let mut fourth = pin!(queue.turn(&a));
        {
            let mut cancelled = pin!(queue.turn(&a));
            assert!(poll(cancelled.as_mut()).is_pending());
            assert!(poll(third.as_mut()).is_pending());
            assert!(poll(fourth.as_mut()).is_pending());
        }
        drop(first);
        assert!(poll(fourth.as_mut()).is_pending(), "the fourth overtakes");
        let Poll::Ready(third) = poll(third.as_mut()) else {
            panic!("a cancelled request blocks the next one");
        };
        drop(third);
        let Poll::Ready(fourth) = poll(fourth.as_mut()) else {
            panic!("the fourth is not served");
        };
        drop((fourth, other));
        assert!(locked(&queue.names).is_empty());
    }

    #[tokio::test]
    async fn waiting_requests_are_cancelled_and_later_ones_are_not() {
        let (queue, a) = (LocalQueue::default(), name("a"));
        let first = queue.turn(&a).await.unwrap();
        let mut second = pin!(queue.turn(&a));
        assert!(poll(second.as_mut()).is_pending());
        queue.cancel();
        let Poll::Ready(Err(error)) = poll(second.as_mut()) else {
            panic!("the request still waits");
        };
        assert_eq!(error.kind(), ErrorKind::Closed);
        drop(first);
        assert!(queue.turn(&a).await.is_ok());
    }
}
