//! Batches requests that several tasks make at the same moment.
//!
//! No request is delayed to fill a batch: it is sent at once, together with whatever else is
//! pending. Only while more than [`MOST`] requests are on their way do later ones gather for the
//! next batch. A lone caller sends its request directly, without waking the driver task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, poll};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::spi::counted::Counted;

/// The most requests in a batch. While more than that are on their way, further batches wait.
pub const MOST: usize = 32;
/// How many answers are handed out before the next batch is sent. Fewer make small batches, more
/// leave the store idle meanwhile.
const TURN: usize = MOST / 2;

/// Sends requests to a store.
pub trait BatchTransport: Send + Sync + 'static {
    /// A request.
    type Request: Send + 'static;
    /// The answer of the store.
    type Answer: Send + 'static;

    /// Sends 2 to [`MOST`] requests in order of arrival, and returns an answer to each, in the same
    /// order.
    fn send_all(
        &self,
        requests: Vec<Self::Request>,
    ) -> impl Future<Output = Vec<Self::Answer>> + Send;

    /// Sends a single request.
    fn send(&self, request: Self::Request) -> impl Future<Output = Self::Answer> + Send;
}

struct Asked<C: BatchTransport> {
    request: C::Request,
    answer: oneshot::Sender<C::Answer>,
}

/// Accepts requests. Owns the task that sends those of several callers.
pub struct Batcher<C: BatchTransport> {
    transport: Arc<C>,
    queue: mpsc::UnboundedSender<Asked<C>>,
    crowd: Arc<Crowd>,
    _driver: JoinSet<()>,
}

impl<C: BatchTransport> std::fmt::Debug for Batcher<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("crowd", &self.crowd)
            .finish_non_exhaustive()
    }
}

/// The counters that tell whether a caller is alone, and may send its request directly.
#[derive(Debug, Default)]
struct Crowd {
    /// How many requests have no answer yet.
    unanswered: AtomicUsize,
    /// Whether the last requests were sent as a batch.
    together: AtomicBool,
}

impl<C: BatchTransport> Batcher<C> {
    /// Starts a batcher whose driver task runs on the current runtime.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(transport: C) -> Self {
        let (queue, requests) = mpsc::unbounded_channel();
        let (transport, crowd) = (Arc::new(transport), Arc::new(Crowd::default()));
        let mut driver = JoinSet::new();
        driver.spawn(drive(requests, transport.clone(), crowd.clone()));
        Self {
            transport,
            queue,
            crowd,
            _driver: driver,
        }
    }

    /// Sends a request and waits for its answer. Returns `None` if the runtime of the driver task
    /// is gone, or if the transport gave no answer.
    ///
    /// # Cancel safety
    /// A request whose future is dropped is not sent, unless it is on its way.
    pub async fn ask(&self, request: C::Request) -> Option<C::Answer> {
        let crowd = &self.crowd;
        let _counted = Counted::begin(&crowd.unanswered);
        if crowd.unanswered.load(Ordering::Relaxed) == 1 && !crowd.together.load(Ordering::Relaxed)
        {
            return Some(self.transport.send(request).await);
        }
        let (answer, answered) = oneshot::channel();
        self.queue.send(Asked { request, answer }).ok()?;
        answered.await.ok()
    }
}

async fn drive<C: BatchTransport>(
    mut requests: mpsc::UnboundedReceiver<Asked<C>>,
    transport: Arc<C>,
    crowd: Arc<Crowd>,
) {
    let mut under_way = FuturesUnordered::new();
    let (mut carried, mut answered) = (0, 0);
    let (mut asked, mut is_open) = (Vec::new(), true);
    while is_open || !under_way.is_empty() {
        while answered < TURN
            && let Some(Some(count)) = under_way.next().now_or_never()
        {
            carried -= count;
            answered += count;
        }
        if answered >= TURN {
            tokio::task::yield_now().await;
        }
        answered = 0;
        tokio::select! {
            biased;
            count = requests.recv_many(&mut asked, MOST), if is_open && carried <= MOST => {
                is_open = count > 0;
                // Skip requests whose caller was cancelled before they were sent.
                asked.retain(|asked| !asked.answer.is_closed());
                let count = asked.len();
                crowd.together.store(count > 1, Ordering::Relaxed);
                if count > 0 {
                    let mut batch = Box::pin(hand_out(&*transport, std::mem::take(&mut asked)));
                    // Send it now, before answers are looked at.
                    if poll!(batch.as_mut()).is_pending() {
                        carried += count;
                        under_way.push(batch);
                    }
                }
            }
            Some(count) = under_way.next() => {
                carried -= count;
                answered = count;
            }
        }
    }
}

/// Sends requests together and hands out the answers. Returns how many requests there were.
async fn hand_out<C: BatchTransport>(transport: &C, mut asked: Vec<Asked<C>>) -> usize {
    let count = asked.len();
    // A caller that was cancelled does not receive its answer.
    if count == 1 {
        if let Some(Asked { request, answer }) = asked.pop() {
            let _ = answer.send(transport.send(request).await);
        }
        return count;
    }
    let (requests, askers): (Vec<_>, Vec<_>) = asked
        .into_iter()
        .map(|asked| (asked.request, asked.answer))
        .unzip();
    for (asker, answer) in askers.into_iter().zip(transport.send_all(requests).await) {
        let _ = asker.send(answer);
    }
    count
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// Doubles. Notes how many travel together, and takes a permit for each such trip before it is
    /// answered.
    struct Doubler {
        sizes: Mutex<Vec<usize>>,
        gate: Semaphore,
    }

    impl Doubler {
        async fn travel(&self, size: usize) {
            self.sizes.lock().unwrap().push(size);
            self.gate.acquire().await.unwrap().forget();
        }
    }

    impl BatchTransport for Doubler {
        type Request = usize;
        type Answer = usize;

        async fn send_all(&self, numbers: Vec<usize>) -> Vec<usize> {
            self.travel(numbers.len()).await;
            numbers.into_iter().map(|number| 2 * number).collect()
        }

        async fn send(&self, number: usize) -> usize {
            self.travel(1).await;
            2 * number
        }
    }

    fn doubling(permits: usize) -> Batcher<Doubler> {
        Batcher::start(Doubler {
            sizes: Mutex::default(),
            gate: Semaphore::new(permits),
        })
    }

    /// Answers to so many who ask at once, all before the first is answered.
    async fn crowd(batcher: &Batcher<Doubler>, count: usize) -> Vec<Option<usize>> {
        let mut asking = Box::pin(join_all((0..count).map(|number| batcher.ask(number))));
        assert!(poll!(asking.as_mut()).is_pending());
        batcher.transport.gate.add_permits(count);
        asking.await
    }

    fn sizes(batcher: &Batcher<Doubler>) -> Vec<usize> {
        batcher.transport.sizes.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn each_caller_gets_the_answer_to_its_own_request() {
        let batcher = doubling(0);
        let answers = crowd(&batcher, 500).await;
        assert_eq!(
            answers,
            (0..500).map(|number| Some(2 * number)).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn who_is_alone_needs_no_other_task() {
        let batcher = doubling(1);
        assert_eq!(batcher.ask(1).now_or_never(), Some(Some(2)));
        // After a crowd, the first who is alone again is not known to be.
        crowd(&batcher, 3).await;
        batcher.transport.gate.add_permits(2);
        assert_eq!(batcher.ask(2).await, Some(4));
        assert_eq!(batcher.ask(3).now_or_never(), Some(Some(6)));
        assert_eq!(sizes(&batcher), [1, 1, 2, 1, 1]);
    }

    #[tokio::test]
    async fn nobody_waits_for_company_until_many_are_under_way() {
        let batcher = doubling(0);
        // One from where it is asked, and the others one by one.
        let alone = 1 + MOST + 1;
        let total = alone + 2 * MOST + 1;
        let mut asking: FuturesUnordered<_> = (0..total)
            .map(|number| Box::pin(batcher.ask(number)))
            .collect();
        for asking in asking.iter_mut() {
            assert!(poll!(asking).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(sizes(&batcher), vec![1; alone]);
        batcher.transport.gate.add_permits(total);
        let mut answers: Vec<_> = asking.collect().await;
        answers.sort_unstable();
        assert_eq!(
            answers,
            (0..total)
                .map(|number| Some(2 * number))
                .collect::<Vec<_>>()
        );
        assert_eq!(sizes(&batcher)[alone..], [MOST, MOST, 1]);
    }

    #[tokio::test]
    async fn what_is_asked_at_once_leaves_together() {
        let batcher = doubling(0);
        crowd(&batcher, 1 + 2 * MOST).await;
        assert_eq!(sizes(&batcher), [1, MOST, MOST]);
    }

    #[tokio::test]
    async fn who_has_gone_keeps_nobody_waiting() {
        let batcher = doubling(0);
        // Two are on their way, and one is not yet.
        let mut asking = [1, 2, 3].map(|number| Box::pin(batcher.ask(number)));
        for asking in &mut asking {
            assert!(poll!(asking.as_mut()).is_pending());
            if sizes(&batcher).len() < 2 {
                tokio::task::yield_now().await;
            }
        }
        drop(asking);
        batcher.transport.gate.add_permits(3);
        assert_eq!(batcher.ask(4).await, Some(8));
        tokio::task::yield_now().await;
        assert_eq!(sizes(&batcher), [1, 1, 1]);
    }

    #[tokio::test]
    async fn who_is_not_answered_is_told() {
        struct Silent;
        impl BatchTransport for Silent {
            type Request = usize;
            type Answer = usize;

            async fn send_all(&self, _: Vec<usize>) -> Vec<usize> {
                Vec::new()
            }

            async fn send(&self, number: usize) -> usize {
                tokio::task::yield_now().await;
                number
            }
        }
        let batcher = Batcher::start(Silent);
        assert_eq!(
            join_all([1, 2, 3].map(|number| batcher.ask(number))).await,
            [Some(1), None, None]
        );
    }

    #[test]
    fn without_its_runtime_it_says_so() {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
        };
        let first = runtime();
        let batcher = first.block_on(async { doubling(0) });
        drop(first);
        runtime().block_on(async {
            let mut alone = Box::pin(batcher.ask(1));
            assert!(poll!(alone.as_mut()).is_pending());
            assert_eq!(batcher.ask(2).await, None);
            batcher.transport.gate.add_permits(1);
            assert_eq!(alone.await, Some(2), "who is alone needs no task of it");
        });
    }
}
