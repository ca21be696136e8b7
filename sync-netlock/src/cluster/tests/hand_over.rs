//! Leaders that hand over.

use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::peers::identity;
use super::*;
use crate::cluster::peers::Links;
use crate::cluster::proto::{self, refused::Reason, request, response};

/// Forms a cluster of nodes that wait too long for a vote against a leader, and elect none
/// themselves within a test.
pub(super) async fn patient(names: &[&str]) -> Nodes {
    let mut nodes = Nodes::start(&[], 16 << 20).await;
    let mut slow = timing();
    (slow.election_min, slow.election_max) = (PATIENCE * 2, PATIENCE * 3);
    for name in names {
        nodes
            .add_with(name, |options| options.with_timing(slow))
            .await;
    }
    nodes.of("a").node().form(nodes.voters()).await.unwrap();
    nodes
}

#[tokio::test]
async fn a_leader_hands_over_at_once_and_loses_nothing() {
    // The leader and its successor are no majority.
    let nodes = patient(&["a", "b", "c", "d", "e"]).await;
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    let old = nodes.leader().await;
    let node = nodes.of(&old).node();
    let term = node.status().term;
    let mut committed = 0;
    let load = async {
        loop {
            match node.propose(term, author.acquire()).await {
                Ok(_) => committed += 1,
                Err(why) => return why,
            }
        }
    };
    let handed_over = async {
        tokio::time::sleep(timing().heartbeat).await;
        node.step_down().await
    };
    let both = async { tokio::join!(load, handed_over) };
    let (refused, handed) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    handed.unwrap();
    assert!(
        matches!(refused, Rejected::NotLeader { .. }),
        "it proposes nothing meanwhile: {refused:?}"
    );
    assert!(committed > 0);
    let next = nodes.leader_except(&old).await;
    let status = nodes.of(&next).node().status();
    assert_eq!(status.term, term + 1, "the first election succeeds");
    nodes.all_have(committed).await;
    nodes.stop().await;
}

/// Without the voter that answers first, the one that is left has to be elected.
#[tokio::test]
async fn a_leader_hands_over_while_a_voter_is_away() {
    let mut nodes = patient(&["a", "b", "c"]).await;
    let (_, opened) = Author::new();
    nodes.propose(opened).await;
    let old = nodes.leader().await;
    let away = ["a", "b", "c"].into_iter().find(|name| **name != old);
    nodes.of_mut(away.unwrap()).stop().await;
    let handed = nodes.of(&old).node().step_down();
    let handed = tokio::time::timeout(PATIENCE, handed).await.unwrap();
    handed.unwrap();
    let next = nodes.leader_except(&old).await;
    assert_ne!(Some(&*next), away);
    nodes.stop().await;
}

#[tokio::test]
async fn a_leader_hands_over_to_nodes_of_the_version_before() {
    let nodes = Nodes::start(&["a", "b", "c"], 16 << 20).await;
    for name in ["a", "b", "c"] {
        let identity = nodes.of(name).node().links.identity();
        identity.newest_version.store(1, Ordering::Relaxed);
    }
    nodes.of("a").node().form(nodes.voters()).await.unwrap();
    let (_, opened) = Author::new();
    nodes.propose(opened).await;
    let old = nodes.leader().await;
    nodes.of(&old).node().step_down().await.unwrap();
    assert_ne!(nodes.leader().await, old);
    nodes.stop().await;
}

/// Nobody but the leader can end its leadership, and only in its term.
#[tokio::test]
async fn a_hand_over_by_others_or_in_another_term_is_refused() {
    let nodes = Nodes::form(&["a", "b", "c"]).await;
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    let leader = nodes.leader().await;
    let term = nodes.of(&leader).node().status().term;
    let mut followers = nodes.members.values().filter(|of| of.member.name != leader);
    let (asked, other) = (followers.next().unwrap(), followers.next().unwrap());
    eventually("it knows the leader", || {
        asked.node().status().leader == Some(nodes.of(&leader).id)
    })
    .await;
    for (from, name, term, successor, reason) in [
        (5, "d", term, other.id, Reason::Unavailable),
        (5, "d", term, asked.id, Reason::Unavailable),
        (other.id, "other", term, other.id, Reason::Unavailable),
        (
            nodes.of(&leader).id,
            "l",
            term - 1,
            asked.id,
            Reason::Unavailable,
        ),
        (
            nodes.of(&leader).id,
            "l",
            term + 1,
            other.id,
            Reason::Unavailable,
        ),
        (nodes.of(&leader).id, "l", term, 5, Reason::Invalid),
        (
            nodes.of(&leader).id,
            "l",
            term,
            nodes.of(&leader).id,
            Reason::Invalid,
        ),
    ] {
        let stop = CancellationToken::new();
        let who = identity(CLUSTER, from, name, None);
        let links = Links::new(who, TaskTracker::new(), stop.clone(), PATIENCE);
        let body = request::Body::HandOver(proto::HandOver { term, successor });
        let reply = links.to(asked.id, &asked.member).call(body).await.unwrap();
        assert!(
            matches!(&reply, response::Body::Refused(why) if why.reason() == reason),
            "{name} {term} {successor}: {reply:?}"
        );
        stop.cancel();
    }
    // It leads in the same term.
    let proposed = nodes.of(&leader).node().propose(term, author.acquire());
    proposed.await.unwrap();
    assert_eq!(nodes.of(&leader).node().status().term, term);
    nodes.stop().await;
}

/// It may lack entries that it had sent. Then the others refuse it, and its vote is missing in the
/// term in which they are candidates.
#[tokio::test]
async fn a_leader_that_starts_again_lets_others_lead_first() {
    let mut nodes = Nodes::form(&["a", "b", "c"]).await;
    let (_, opened) = Author::new();
    nodes.propose(opened).await;
    let old = nodes.leader().await;
    let term = nodes.of(&old).node().status().term;
    let others = ["a", "b", "c"].into_iter().filter(|name| **name != old);
    for name in others.chain([&*old]) {
        nodes.of_mut(name).stop().await;
    }
    let end = clock::now().after(timing().election_max * 2);
    nodes.of_mut(&old).start().await;
    let node = nodes.of(&old).node();
    loop {
        let seen = node.status().term;
        if clock::now() > end {
            break;
        }
        assert!(seen <= term, "it is a candidate too early");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eventually("it is a candidate", || node.status().term > term).await;
    nodes.stop().await;
}
