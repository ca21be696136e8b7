//! Work that runs for as long as its candidate is elected: `run_as_leader`.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use distsync::{
    ErrorKind, Leader, LeaderOptions, Loss, Node, Result, StopReason, Sync, Term, Token, Wait,
    run_as_leader,
};
use distsync_core::spi::clock::{self, Moment};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::every_store::{SOON, Store, eventually, on_every_store};

on_every_store!(
    a_leader_resigns_on_shutdown_and_campaigns_again_after_a_loss,
    a_leader_that_is_cut_off_stops_before_the_next_is_elected,
);

fn candidate(sync: &dyn Sync, office: &str, node: &str) -> Arc<dyn Leader> {
    let options = LeaderOptions::new(Node::new(node));
    sync.leader(office, options).unwrap().into()
}

/// A candidate whose work reports its terms and its stops, and takes a moment to stop.
struct Running {
    terms: mpsc::UnboundedReceiver<Token>,
    stops: mpsc::UnboundedReceiver<(StopReason, bool)>,
    shutdown: oneshot::Sender<()>,
    tasks: JoinSet<Result<Option<&'static str>>>,
}

impl Running {
    fn start(leader: Arc<dyn Leader>) -> Self {
        let (begun, terms) = mpsc::unbounded_channel();
        let (stopped, stops) = mpsc::unbounded_channel();
        let (shutdown, shuts_down) = oneshot::channel();
        let mut tasks = JoinSet::new();
        // In a task, which shows that the future is `Send`.
        tasks.spawn(async move {
            let work = async |term: Term| {
                begun.send(term.token()).unwrap();
                let reason = term.stopping().await;
                assert_eq!(term.stop_reason(), Some(reason));
                tokio::time::sleep(Duration::from_millis(50)).await;
                let is_leader = term.check(Duration::ZERO).is_ok();
                stopped.send((reason, is_leader)).unwrap();
                "ended in order"
            };
            run_as_leader(&*leader, shuts_down, work).await
        });
        Self {
            terms,
            stops,
            shutdown,
            tasks,
        }
    }

    async fn elected(&mut self) -> Token {
        let next = tokio::time::timeout(SOON, self.terms.recv()).await;
        next.expect("elected in time").expect("the work runs")
    }

    async fn shut_down(mut self) -> Option<&'static str> {
        self.shutdown.send(()).unwrap();
        let ended = tokio::time::timeout(SOON, self.tasks.join_next()).await;
        let ended = ended.expect("ended in time").expect("a task");
        ended.expect("no panic").expect("no error")
    }
}

async fn a_leader_resigns_on_shutdown_and_campaigns_again_after_a_loss(store: &Store) {
    let (one, two) = (store.client().await, store.client().await);
    let observer = candidate(&*one, "office", "observer");
    let mut first = Running::start(candidate(&*one, "office", "node-1"));
    let term = first.elected().await;
    let mut second = Running::start(candidate(&*two, "office", "node-2"));
    let waits = async || observer.inspect().await.unwrap().waiters().count() == 1;
    eventually("the second candidate is queued", waits).await;

    // An eviction is a loss, and the candidate queues behind the other one.
    let leader = observer
        .inspect()
        .await
        .unwrap()
        .holders()
        .next()
        .unwrap()
        .claim;
    observer.evict(leader).await.unwrap();
    let next = second.elected().await;
    assert!(next > term);
    eventually("the first candidate is queued again", waits).await;
    assert!(first.stops.try_recv().is_err(), "the work had time to stop");

    // The leader is asked to stop, leads until it has stopped, and resigns.
    let asked = clock::now();
    let mut stops = std::mem::replace(&mut second.stops, mpsc::unbounded_channel().1);
    assert_eq!(second.shut_down().await, Some("ended in order"));
    assert_eq!(stops.recv().await, Some((StopReason::Shutdown, true)));
    let again = first.elected().await;
    assert!(again > next);
    let took = clock::now().since(asked);
    assert!(took < store.ttl * 3 / 4, "the fail-over took {took:?}");

    // A candidate that waits leaves the queue.
    let third = Running::start(candidate(&*two, "office", "node-3"));
    eventually("the third candidate is queued", waits).await;
    assert_eq!(third.shut_down().await, None);
    let is_alone = async || observer.inspect().await.unwrap().entries.len() == 1;
    eventually("the third candidate has left the queue", is_alone).await;

    // A dropped future resigns.
    drop(first);
    let is_vacant = async || observer.inspect().await.unwrap().entries.is_empty();
    eventually("the dropped leader has resigned", is_vacant).await;

    // Work that ends by itself ends the function.
    let leader = candidate(&*two, "office", "node-4");
    let ended = run_as_leader(&*leader, pending::<()>(), async |term| term.token()).await;
    assert!(ended.unwrap().unwrap() > again);
    assert!(is_vacant().await, "it has not resigned");

    // Work that resigns itself ends its term, and leads again.
    let mut terms = Vec::new();
    let leads_again = Notify::new();
    let twice = run_as_leader(&*leader, leads_again.notified(), |term| {
        terms.push(term.token());
        let (is_first, leads_again) = (terms.len() == 1, &leads_again);
        async move {
            if is_first {
                term.resign().await.unwrap();
            } else {
                leads_again.notify_one();
            }
            term.stopping().await
        }
    });
    let ended = tokio::time::timeout(SOON, twice).await.expect("in time");
    assert_eq!(ended.unwrap(), Some(StopReason::Shutdown));
    assert!(terms.len() == 2 && terms[0] < terms[1], "{terms:?}");

    // Work that does not stop is dropped when what is left of the lease is over.
    let (begun, begins) = oneshot::channel();
    let mut begun = Some(begun);
    let shuts_down = async { begins.await.unwrap() };
    let stubborn = run_as_leader(&*leader, shuts_down, |_| {
        begun.take().unwrap().send(()).unwrap();
        pending::<()>()
    });
    let limit = store.ttl + SOON;
    let ended = tokio::time::timeout(limit, stubborn).await;
    assert_eq!(ended.expect("ended in time").unwrap(), None);
    assert!(is_vacant().await, "it has not resigned");

    // A wait limit is no reason to give up, and a closed handle is one.
    let impatient = LeaderOptions::new(Node::new("node-5")).with_wait(Wait::Never);
    let impatient = two.leader("office", impatient).unwrap();
    let leads = observer.elect().await.unwrap();
    let work = async |term: Term| {
        two.close().await.unwrap();
        term.stopping().await;
    };
    let closed = run_as_leader(&*impatient, pending::<()>(), work);
    let busy_for_a_while = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        leads.resign().await.unwrap();
    };
    let both = async { tokio::join!(closed, busy_for_a_while).0 };
    let ended = tokio::time::timeout(SOON, both).await.expect("in time");
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
}

/// Sends the time at which it is dropped.
struct TellsItsEnd(mpsc::UnboundedSender<Moment>);

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        let _ = self.0.send(clock::now());
    }
}

/// Work that ends in order has the margin for it. Work that does not is dropped within the margin.
async fn a_leader_that_is_cut_off_stops_before_the_next_is_elected(store: &Store) {
    let (cut_off, network) = store.client_with_network().await;
    let other = store.client().await;
    let (orderly, stubborn) = (
        candidate(&*cut_off, "orderly", "node-1"),
        candidate(&*cut_off, "stubborn", "node-1"),
    );
    let mut first = Running::start(orderly);
    first.elected().await;
    let (ends, mut ended) = mpsc::unbounded_channel();
    let (begun, mut begins) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let work = async |term: Term| {
            let _end = TellsItsEnd(ends.clone());
            begun.send(term.token()).unwrap();
            pending::<()>().await;
        };
        let _ = run_as_leader(&*stubborn, pending::<()>(), work).await;
    });
    let term = begins.recv().await.unwrap();
    let (next_orderly, next_stubborn) = (
        candidate(&*other, "orderly", "node-2"),
        candidate(&*other, "stubborn", "node-2"),
    );
    network.cut();
    let elections = async {
        let both = tokio::join!(next_orderly.elect(), next_stubborn.elect());
        (both.0.unwrap(), both.1.unwrap(), clock::now())
    };
    let elections = tokio::time::timeout(store.ttl * 2 + SOON, elections);
    let (orderly, stubborn, elected_at) = elections.await.expect("elected in time");
    assert!(stubborn.token() > term);
    let stopped = first.stops.try_recv().expect("the work had time to stop");
    assert_eq!(stopped, (StopReason::Lost(Loss::Expired), false));
    let dropped_at = ended.try_recv().expect("the work was dropped");
    assert!(dropped_at < elected_at, "it worked into the next term");

    // The lost leader campaigns again when its network is back.
    network.heal();
    orderly.resign().await.unwrap();
    stubborn.resign().await.unwrap();
    first.elected().await;
}
