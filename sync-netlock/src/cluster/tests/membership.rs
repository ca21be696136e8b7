//! Members that are added and removed.

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
