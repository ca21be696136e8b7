//! What several callers ask of a store at the same time, carried to it together.
//!
//! Nobody waits for company: what is asked leaves at once, with all else that is asked at that moment. Only while more than
//! [`MOST`] requests are on their way does the rest gather, and leaves with the next batch. A caller who is alone asks from
//! where he is and wakes nobody; many share what a round trip costs both sides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, poll};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::spi::counted::Counted;

/// The most requests in a batch. While more than that are on their way, further batches wait.
pub const MOST: usize = 32;
/// So many are answered before their next requests leave: fewer make poor batches, and more leave the store idle meanwhile.
const TURN: usize = MOST / 2;

/// What carries requests to a store.
pub trait Carry: Send + Sync + 'static {
    /// What is asked.
    type Request: Send + 'static;
    /// What the store says to it.
    type Answer: Send + 'static;

    /// Carries 2 to [`MOST`] requests in the order in which they came, and gives an answer to each, in the same order.
    fn carry(&self, requests: Vec<Self::Request>) -> impl Future<Output = Vec<Self::Answer>> + Send;

    /// Carries a request that nobody else's travels with.
    fn carry_one(&self, request: Self::Request) -> impl Future<Output = Self::Answer> + Send;
}

struct Asked<C: Carry> {
    request: C::Request,
    answer: oneshot::Sender<C::Answer>,
}

/// Where requests are handed in. Owns the task that carries those of several callers.
pub struct Batcher<C: Carry> {
    carrier: Arc<C>,
    queue: mpsc::UnboundedSender<Asked<C>>,
    crowd: Arc<Crowd>,
    _driver: JoinSet<()>,
}

impl<C: Carry> std::fmt::Debug for Batcher<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").field("crowd", &self.crowd).finish_non_exhaustive()
    }
}

/// Whether a caller is alone: then his request leaves from where he is.
#[derive(Debug, Default)]
struct Crowd {
    /// Requests without an answer.
    unanswered: AtomicUsize,
    /// Whether the last requests travelled together.
    together: AtomicBool,
}

impl<C: Carry> Batcher<C> {
    /// A batcher whose requests are carried by a task on the current runtime, or from where they are asked.
    ///
    /// # Panics
    /// Outside of a runtime of tokio.
    pub fn start(carrier: C) -> Self {
        let (queue, requests) = mpsc::unbounded_channel();
        let (carrier, crowd) = (Arc::new(carrier), Arc::new(Crowd::default()));
        let mut driver = JoinSet::new();
        driver.spawn(drive(requests, carrier.clone(), crowd.clone()));
        Self { carrier, queue, crowd, _driver: driver }
    }

    /// Asks, and waits for the answer. `None`: its runtime is gone, or it was not answered.
    ///
    /// Cancel safety: a request that is dropped is not carried, unless it is on its way.
    pub async fn ask(&self, request: C::Request) -> Option<C::Answer> {
        let crowd = &self.crowd;
        let _counted = Counted::begin(&crowd.unanswered);
        if crowd.unanswered.load(Ordering::Relaxed) == 1 && !crowd.together.load(Ordering::Relaxed) {
            return Some(self.carrier.carry_one(request).await);
        }
        let (answer, answered) = oneshot::channel();
        self.queue.send(Asked { request, answer }).ok()?;
        answered.await.ok()
    }
}

async fn drive<C: Carry>(
    mut requests: mpsc::UnboundedReceiver<Asked<C>>,
    carrier: Arc<C>,
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
                // Who has gone before it left is spared the trip.
                asked.retain(|asked| !asked.answer.is_closed());
                let count = asked.len();
                crowd.together.store(count > 1, Ordering::Relaxed);
                if count > 0 {
                    let mut batch = Box::pin(hand_out(&*carrier, std::mem::take(&mut asked)));
                    // It leaves now, before any that are back are looked at.
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

/// Carries requests together and hands out the answers. Says how many asked.
async fn hand_out<C: Carry>(carrier: &C, mut asked: Vec<Asked<C>>) -> usize {
    let count = asked.len();
    // Who has gone does not want to know.
    if count == 1 {
        if let Some(Asked { request, answer }) = asked.pop() {
            let _ = answer.send(carrier.carry_one(request).await);
        }
        return count;
    }
    let (requests, askers): (Vec<_>, Vec<_>) =
        asked.into_iter().map(|asked| (asked.request, asked.answer)).unzip();
    for (asker, answer) in askers.into_iter().zip(carrier.carry(requests).await) {
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

    /// Doubles. Notes how many travel together, and takes a permit for each such trip before it is answered.
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

    impl Carry for Doubler {
        type Request = usize;
        type Answer = usize;

        async fn carry(&self, numbers: Vec<usize>) -> Vec<usize> {
            self.travel(numbers.len()).await;
            numbers.into_iter().map(|number| 2 * number).collect()
        }

        async fn carry_one(&self, number: usize) -> usize {
            self.travel(1).await;
            2 * number
        }
    }

    fn doubling(permits: usize) -> Batcher<Doubler> {
        Batcher::start(Doubler { sizes: Mutex::default(), gate: Semaphore::new(permits) })
    }

    /// Answers to so many who ask at once, all before the first is answered.
    async fn crowd(batcher: &Batcher<Doubler>, count: usize) -> Vec<Option<usize>> {
        let mut asking = Box::pin(join_all((0..count).map(|number| batcher.ask(number))));
        assert!(poll!(asking.as_mut()).is_pending());
        batcher.carrier.gate.add_permits(count);
        asking.await
    }

    fn sizes(batcher: &Batcher<Doubler>) -> Vec<usize> {
        batcher.carrier.sizes.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn each_caller_gets_the_answer_to_its_own_request() {
        let batcher = doubling(0);
        let answers = crowd(&batcher, 500).await;
        assert_eq!(answers, (0..500).map(|number| Some(2 * number)).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_is_alone_needs_no_other_task() {
        let batcher = doubling(1);
        assert_eq!(batcher.ask(1).now_or_never(), Some(Some(2)));
        // After a crowd, the first who is alone again is not known to be.
        crowd(&batcher, 3).await;
        batcher.carrier.gate.add_permits(2);
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
        let mut asking: FuturesUnordered<_> =
            (0..total).map(|number| Box::pin(batcher.ask(number))).collect();
        for asking in asking.iter_mut() {
            assert!(poll!(asking).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(sizes(&batcher), vec![1; alone]);
        batcher.carrier.gate.add_permits(total);
        let mut answers: Vec<_> = asking.collect().await;
        answers.sort_unstable();
        assert_eq!(answers, (0..total).map(|number| Some(2 * number)).collect::<Vec<_>>());
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
        batcher.carrier.gate.add_permits(3);
        assert_eq!(batcher.ask(4).await, Some(8));
        tokio::task::yield_now().await;
        assert_eq!(sizes(&batcher), [1, 1, 1]);
    }

    #[tokio::test]
    async fn who_is_not_answered_is_told() {
        struct Silent;
        impl Carry for Silent {
            type Request = usize;
            type Answer = usize;

            async fn carry(&self, _: Vec<usize>) -> Vec<usize> {
                Vec::new()
            }

            async fn carry_one(&self, number: usize) -> usize {
                tokio::task::yield_now().await;
                number
            }
        }
        let batcher = Batcher::start(Silent);
        assert_eq!(join_all([1, 2, 3].map(|number| batcher.ask(number))).await, [Some(1), None, None]);
    }

    #[test]
    fn without_its_runtime_it_says_so() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let first = runtime();
        let batcher = first.block_on(async { doubling(0) });
        drop(first);
        runtime().block_on(async {
            let mut alone = Box::pin(batcher.ask(1));
            assert!(poll!(alone.as_mut()).is_pending());
            assert_eq!(batcher.ask(2).await, None);
            batcher.carrier.gate.add_permits(1);
            assert_eq!(alone.await, Some(2), "who is alone needs no task of it");
        });
    }
}
