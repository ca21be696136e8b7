//! Elections: law 12.

use std::time::Duration;

use futures_util::StreamExt;

use crate::conformance::Stage;
use crate::conformance::stage::{Client, SOON, eventually, spawn};
use crate::locks::leadership::{LeaderStatus, Leadership};
use crate::locks::traits::{Leader, Sync};
use crate::options::{LeaderOptions, Node, Wait};
use crate::session::Health;
use crate::types::loss::Loss;

fn candidate(client: &Client, node: &str) -> Box<dyn Leader> {
    client
        .sync
        .leader("office", LeaderOptions::new(Node::new(node)))
        .expect("an election")
}

/// There is one leader at a time, later terms are greater, and a leader that is cut off is notified
/// before the next one is elected.
pub async fn law_12_one_leader_a_term_and_terms_rise(stage: Stage) {
    let (one, two) = (stage.client("one").await, stage.client("two").await);
    let (first, second) = (candidate(&one, "node-1"), candidate(&two, "node-2"));
    assert_eq!(first.status(), LeaderStatus::Follower);
    assert_eq!(first.leader().await.expect("leader"), None);
    let office = first.elect().await.expect("elect");
    assert_eq!(first.status(), LeaderStatus::Elected);
    assert_eq!(office.health(), Health::Held);
    assert!(!office.remaining().is_zero() && office.remaining() <= stage.ttl());
    let leadership = second
        .leader()
        .await
        .expect("leader")
        .expect("expected a leader");
    assert_eq!(
        (leadership.node.id(), leadership.term),
        ("node-1", office.token())
    );

    let impatient = two
        .sync
        .leader(
            "office",
            LeaderOptions::new(Node::new("node-3")).with_wait(Wait::Never),
        )
        .expect("an election");
    assert!(impatient.elect().await.is_err(), "there are two leaders");

    let mut campaign = {
        let second = candidate(&two, "node-2");
        spawn(async move {
            let office = second.elect().await;
            (office, second)
        })
    };
    eventually(SOON, "the second candidate is queued", || async {
        first.inspect().await.expect("inspect").waiters().count() == 1
    })
    .await;
    office.resign().await.expect("resign");
    assert_eq!(first.status(), LeaderStatus::Follower);
    assert_eq!(office.revoked().await, Loss::Released);
    let (next, second) = campaign
        .join_next()
        .await
        .expect("expected a task")
        .expect("a task of this case panicked");
    let next = next.expect("elect");
    assert!(
        next.token() > office.token(),
        "expected a greater token for the next term"
    );
    assert_eq!(second.status(), LeaderStatus::Elected);

    two.network.cut();
    let revoked = next.revoked();
    let lost = spawn(revoked);
    let third = first.elect();
    let third = tokio::time::timeout(stage.freed_by() * 2 + SOON, third)
        .await
        .expect("expected an answer in time")
        .expect("elect");
    assert_eq!(
        second.status(),
        LeaderStatus::Follower,
        "a leader that was cut off still considers itself elected"
    );
    assert!(next.check(Duration::ZERO).is_err());
    assert_eq!(next.health(), Health::Lost(Loss::Expired));
    assert_eq!(
        (next.valid_until(), next.remaining()),
        (None, Duration::ZERO)
    );
    assert_eq!(lost.join_all().await, [Loss::Expired]);
    assert!(third.token() > next.token());
}

/// An observer sees a leader at most once, in the order of terms, and sees when there is none.
pub async fn law_12_observers_see_leaders_in_order_and_vacancy(stage: Stage) {
    let (one, two) = (stage.client("one").await, stage.client("two").await);
    let mut watch = candidate(&two, "observer").watch();
    let mut seen = async || -> Option<Leadership> {
        tokio::time::timeout(SOON, watch.next())
            .await
            .expect("expected an answer in time")
            .expect("expected the watch to go on")
            .expect("watch")
    };
    assert_eq!(seen().await, None, "expected no leader yet");
    let mut last = None;
    for round in 0..3 {
        let node = format!("node-{round}");
        let office = candidate(&one, &node).elect().await.expect("elect");
        let leadership = seen().await.expect("expected a leader");
        assert_eq!(
            (leadership.node.id(), leadership.term),
            (node.as_str(), office.token())
        );
        assert!(Some(leadership.term) > last);
        last = Some(leadership.term);
        office.resign().await.expect("resign");
        assert_eq!(seen().await, None, "expected no leader after a resignation");
    }
}

/// A new value of the leader reaches observers in the same term. A former leader cannot proclaim
/// one.
pub async fn law_12_a_leader_proclaims(stage: Stage) {
    let (one, two) = (stage.client("one").await, stage.client("two").await);
    let office = candidate(&one, "node").elect().await.expect("elect");
    let observer = candidate(&two, "observer");
    let mut watch = observer.watch();
    let first = watch
        .next()
        .await
        .expect("expected the watch to go on")
        .expect("watch")
        .expect("expected a leader");
    assert_eq!(first.node.value(), "");
    office.proclaim("127.0.0.1:80").await.expect("proclaim");
    let second = tokio::time::timeout(SOON, watch.next())
        .await
        .expect("expected an answer in time")
        .expect("expected the watch to go on")
        .expect("watch");
    let second = second.expect("expected a leader");
    assert_eq!(
        (second.node.id(), second.node.value()),
        ("node", "127.0.0.1:80")
    );
    assert_eq!(
        second.term, first.term,
        "expected the same token after a proclamation"
    );
    assert!(
        office.proclaim(&"x".repeat(2_000)).await.is_err(),
        "expected a value over the limit to be rejected"
    );
    office.resign().await.expect("resign");
    assert!(
        office.proclaim("late").await.is_err(),
        "a former leader can proclaim"
    );
    assert_eq!(observer.leader().await.expect("leader"), None);
}
