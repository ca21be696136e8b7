//! What several callers ask of a store at the same time, carried to it together.
//!
//! Nobody waits for company: what is asked leaves at once, with all else that is asked at that moment. Only while more than
//! [`MOST`] requests are on their way does the rest gather, and leaves with the next batch. So a caller who is alone pays
//! nothing, and many share what a round trip costs both sides.

use std::future::Future;

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, poll};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// The most requests in a batch. While more than that are on their way, further batches wait.
pub const MOST: usize = 32;
/// So many are answered before their next requests leave: fewer make poor batches, and more leave the store idle meanwhile.
const TURN: usize = MOST / 2;

struct Asked<Q, A> {
    request: Q,
    answer: oneshot::Sender<A>,
}

/// Where requests are handed in. Owns the task that carries them.
#[derive(Debug)]
pub struct Batcher<Q, A> {
    queue: mpsc::UnboundedSender<Asked<Q, A>>,
    _carrier: JoinSet<()>,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// A batcher whose requests are carried by a task on the current runtime.
    ///
    /// `carry` takes 1 to [`MOST`] requests in the order in which they came, and gives an answer to each, in the same order.
    ///
    /// # Panics
    /// Outside of a runtime of tokio.
    pub fn start<F>(carry: impl Fn(Vec<Q>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let (queue, requests) = mpsc::unbounded_channel();
        let mut carrier = JoinSet::new();
        carrier.spawn(drive(requests, carry));
        Self { queue, _carrier: carrier }
    }

    /// Asks, and waits for the answer. `None`: its runtime is gone, or it was not answered.
    ///
    /// Cancel safety: a request that is dropped is not carried, unless it is on its way.
    pub async fn ask(&self, request: Q) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Asked { request, answer }).ok()?;
        answered.await.ok()
    }
}

async fn drive<Q, A, F: Future<Output = Vec<A>>>(
    mut requests: mpsc::UnboundedReceiver<Asked<Q, A>>,
    carry: impl Fn(Vec<Q>) -> F,
) {
    let mut under_way = FuturesUnordered::new();
    let (mut carried, mut answered) = (0, 0);
    let (mut asked, mut is_open) = (Vec::with_capacity(MOST), true);
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
                let (batch, askers): (Vec<Q>, Vec<_>) =
                    asked.drain(..).map(|asked| (asked.request, asked.answer)).unzip();
                if count > 0 {
                    let mut batch = Box::pin(hand_out(carry(batch), askers));
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

/// Hands out the answers to a batch, and says how many asked.
async fn hand_out<A>(answers: impl Future<Output = Vec<A>>, askers: Vec<oneshot::Sender<A>>) -> usize {
    let count = askers.len();
    for (asker, answer) in askers.into_iter().zip(answers.await) {
        // Who has gone does not want to know.
        let _ = asker.send(answer);
    }
    count
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    type Sizes = Arc<Mutex<Vec<usize>>>;

    /// A batcher that doubles; what it carried; and the permits of which each batch takes one before it is answered.
    fn doubling() -> (Batcher<usize, usize>, Sizes, Arc<Semaphore>) {
        let (sizes, gate) = (Sizes::default(), Arc::new(Semaphore::new(0)));
        let (noted, opened) = (sizes.clone(), gate.clone());
        let batcher = Batcher::start(move |batch: Vec<usize>| {
            noted.lock().unwrap().push(batch.len());
            let opened = opened.clone();
            async move {
                opened.acquire().await.unwrap().forget();
                batch.into_iter().map(|number| 2 * number).collect()
            }
        });
        (batcher, sizes, gate)
    }

    #[tokio::test]
    async fn each_caller_gets_the_answer_to_its_own_request() {
        let (batcher, _, gate) = doubling();
        gate.add_permits(1_000);
        let answers = join_all((0..500).map(|number| batcher.ask(number))).await;
        assert_eq!(answers, (0..500).map(|number| Some(2 * number)).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nobody_waits_for_company_until_many_are_under_way() {
        let (batcher, sizes, gate) = doubling();
        let total = MOST + 1 + 2 * MOST + 1;
        let asking: Vec<_> = (0..total).map(|number| batcher.ask(number)).collect();
        let mut asking: FuturesUnordered<_> = asking.into_iter().map(Box::pin).collect();
        // Each comes alone.
        for asking in asking.iter_mut() {
            assert!(poll!(asking).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(*sizes.lock().unwrap(), [1; MOST + 1]);
        gate.add_permits(total);
        let mut answers: Vec<_> = asking.collect().await;
        answers.sort_unstable();
        assert_eq!(answers, (0..total).map(|number| Some(2 * number)).collect::<Vec<_>>());
        assert_eq!(sizes.lock().unwrap()[MOST + 1..], [MOST, MOST, 1]);
    }

    #[tokio::test]
    async fn what_is_asked_at_once_leaves_together() {
        let (batcher, sizes, gate) = doubling();
        gate.add_permits(10);
        join_all((0..2 * MOST).map(|number| batcher.ask(number))).await;
        assert_eq!(*sizes.lock().unwrap(), [MOST, MOST]);
    }

    #[tokio::test]
    async fn who_has_gone_keeps_nobody_waiting() {
        let (batcher, sizes, gate) = doubling();
        // One is on its way, and one is not yet.
        let (mut first, mut second) = (Box::pin(batcher.ask(1)), Box::pin(batcher.ask(2)));
        assert!(poll!(first.as_mut()).is_pending());
        tokio::task::yield_now().await;
        assert!(poll!(second.as_mut()).is_pending());
        drop((first, second));
        gate.add_permits(2);
        assert_eq!(batcher.ask(3).await, Some(6));
        assert_eq!(*sizes.lock().unwrap(), [1, 1]);
    }

    #[tokio::test]
    async fn who_is_not_answered_is_told() {
        let batcher = Batcher::start(|_: Vec<usize>| async { Vec::<usize>::new() });
        assert_eq!(batcher.ask(1).await, None);
    }

    #[test]
    fn without_its_runtime_it_says_so() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let first = runtime();
        let batcher = first.block_on(async { Batcher::start(|batch: Vec<usize>| async { batch }) });
        drop(first);
        assert_eq!(runtime().block_on(batcher.ask(1)), None);
    }
}
