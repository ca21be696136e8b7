//! Members that are added and removed, and leaders that hand over.

use std::sync::atomic::Ordering;

use super::*;

#[tokio::test]
async fn a_member_is_added_promoted_and_removed() {
    let mut nodes = Nodes::form(&["a", "b", "c"]).await;
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    nodes.propose(author.acquire()).await;
    nodes.add("d").await;
    let (id, member) = (nodes.of("d").id, nodes.of("d").member.clone());
    let leader = nodes.leader().await;
    let node = nodes.of(&leader).node();

    // Nobody is promoted who has not caught up.
    let early = node.promote(id).await.unwrap_err();
    assert!(early.to_string().contains("add it first"), "{early}");
    let twin = Member {
        name: "a".to_owned(),
        ..member.clone()
    };
    assert!(matches!(
        node.add_learner(id, twin).await,
        Err(Rejected::Membership(_))
    ));
    node.add_learner(id, member).await.unwrap();
    nodes.all_have(1).await;
    node.promote(id).await.unwrap();
    let is_voter = || {
        let members = nodes.of("d").node().status().members;
        members.iter().filter(|member| member.is_voter).count() == 4
    };
    eventually("d votes", is_voter).await;

    // Three of four voters commit without the one that is removed.
    let gone = ["a", "b", "c"]
        .into_iter()
        .find(|name| **name != leader)
        .unwrap();
    let gone_id = nodes.of(gone).id;
    let node = nodes.of(&leader).node();
    node.remove(gone_id).await.unwrap();
    assert!(
        node.status()
            .members
            .iter()
            .all(|member| member.id != gone_id)
    );
    nodes.of_mut(gone).stop().await;
    nodes.propose(author.acquire()).await;
    nodes.all_have(2).await;

    let node = nodes.of(&leader).node();
    let refused = node.remove(node.id()).await.unwrap_err();
    assert!(refused.to_string().contains("step down first"), "{refused}");
    nodes.stop().await;
}

/// Forms a cluster of nodes that wait too long for a vote against a leader, and elect none
/// themselves within a test.
async fn patient() -> Nodes {
    let mut nodes = Nodes::start(&[], 16 << 20).await;
    let mut slow = timing();
    (slow.election_min, slow.election_max) = (PATIENCE * 2, PATIENCE * 3);
    for name in ["a", "b", "c"] {
        nodes
            .add_with(name, |options| options.with_timing(slow))
            .await;
    }
    nodes.of("a").node().form(nodes.voters()).await.unwrap();
    nodes
}

#[tokio::test]
async fn a_leader_hands_over_at_once_and_loses_nothing() {
    let nodes = patient().await;
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
    let mut nodes = patient().await;
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

#[tokio::test]
async fn a_cluster_is_formed_once_of_distinct_nodes() {
    let nodes = Nodes::start(&["a", "b", "c"], 16 << 20).await;
    let node = nodes.of("a").node();
    let mut twins = nodes.voters();
    twins[1].1.name = "a".to_owned();
    assert!(matches!(
        node.form(twins).await,
        Err(Rejected::Membership(_))
    ));
    let others = nodes.voters()[1..].to_vec();
    let refused = node.form(others).await.unwrap_err();
    assert!(
        refused.to_string().contains("not one of the first members"),
        "{refused}"
    );
    node.form(nodes.voters()).await.unwrap();
    nodes.leader().await;
    let again = node.form(nodes.voters()).await.unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");
    nodes.stop().await;
}
