//! Elections, replication, confirmations, and nodes that come back.

use super::*;

#[tokio::test]
async fn a_majority_replicates_and_survives_its_leader() {
    let mut nodes = Nodes::form(&["a", "b", "c"]).await;
    let (mut author, opened) = Author::new();
    let first = nodes.propose(opened).await;
    let second = nodes.propose(author.acquire()).await;
    assert!(second > first, "indexes rise");
    nodes.all_have(1).await;

    let old = nodes.leader().await;
    let before = nodes.of(&old).node().confirm().await.unwrap();
    assert!(before.index >= second);
    nodes.of_mut(&old).stop().await;
    let new = nodes.leader().await;
    let after = nodes.of(&new).node().confirm().await.unwrap();
    assert!(after.term > before.term, "terms rise");
    nodes.propose(author.acquire()).await;
    nodes.all_have(2).await;

    // The one that was away catches up.
    nodes.of_mut(&old).start().await;
    nodes.all_have(2).await;
    for member in nodes.members.values() {
        assert_eq!(member.last_token(), author.table.last_token());
    }
    nodes.stop().await;
}

#[tokio::test]
async fn all_nodes_restart_with_what_was_committed() {
    let mut nodes = Nodes::form(&["a", "b", "c"]).await;
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    for _ in 0..20 {
        nodes.propose(author.acquire()).await;
    }
    for name in ["a", "b", "c"] {
        nodes.of_mut(name).stop().await;
    }
    for name in ["a", "b", "c"] {
        nodes.of_mut(name).start().await;
    }
    nodes.propose(author.acquire()).await;
    nodes.all_have(21).await;
    nodes.stop().await;
}

/// In the same term, its next table would lack what the earlier run has proposed, which could still
/// be committed.
#[tokio::test]
async fn a_leader_that_restarts_at_once_leads_in_a_later_term_only() {
    let mut nodes = Nodes::form(&["a", "b", "c"]).await;
    let old = nodes.leader().await;
    let before = nodes.of(&old).node().confirm().await.unwrap();
    nodes.of_mut(&old).stop().await;
    nodes.of_mut(&old).start().await;
    let new = nodes.leader().await;
    let after = nodes.of(&new).node().confirm().await.unwrap();
    assert!(
        after.term > before.term,
        "{old} led in term {}, and {new} leads in term {}",
        before.term,
        after.term
    );
    nodes.stop().await;
}

#[tokio::test]
async fn a_node_that_cannot_apply_an_entry_ends() {
    let failed = Arc::new(Mutex::new(None));
    let failure: Failure = Arc::new({
        let failed = failed.clone();
        move |error: &io::Error| *locked(&failed) = Some(error.to_string())
    });
    let mut nodes = Nodes::start(&[], 16 << 20).await;
    nodes
        .add_with("a", |options| options.with_failure(failure))
        .await;
    let node = nodes.of("a").node();
    node.form(nodes.voters()).await.unwrap();
    node.elected(0).await.unwrap();
    let proposed = node.propose_now(Bytes::from_static(b"no changes")).await;
    assert!(proposed.is_err(), "{proposed:?}");
    eventually("the node ends", || locked(&failed).is_some()).await;
    let why = locked(&failed).take().unwrap_or_default();
    assert!(why.contains("is not that of the cluster"), "{why}");
    nodes.stop().await;
}

#[tokio::test]
async fn a_follower_proposes_and_confirms_nothing() {
    let nodes = Nodes::form(&["a", "b", "c"]).await;
    let leader = nodes.leader().await;
    let (_, opened) = Author::new();
    for (name, member) in &nodes.members {
        if *name != leader {
            eventually("it knows the leader", || {
                member.node().status().leader == Some(nodes.of(&leader).id)
            })
            .await;
            let expected = Rejected::NotLeader {
                leader: Some((nodes.of(&leader).id, nodes.of(&leader).member.clone())),
            };
            assert_eq!(
                member.node().propose_now(opened.clone()).await,
                Err(expected.clone())
            );
            assert_eq!(member.node().confirm().await, Err(expected));
        }
    }
    nodes.stop().await;
}

/// The base of every answer that promises time: a leader that is cut off believes in itself, and
/// must not be able to confirm that.
#[tokio::test]
async fn a_leader_that_is_cut_off_confirms_and_commits_nothing() {
    let nodes = Nodes::form(&["a", "b", "c"]).await;
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    nodes.all_have(0).await;
    let old = nodes.leader().await;
    let node = nodes.of(&old).node();
    node.cut_off(true);
    let lost = author.acquire();
    let (confirmed, proposed) = tokio::join!(
        node.confirm(),
        tokio::time::timeout(timing().election_max * 6, node.propose_now(lost)),
    );
    assert_eq!(confirmed, Err(Rejected::Unconfirmed));
    assert!(
        proposed.is_err(),
        "a minority does not commit: {proposed:?}"
    );
    assert_eq!(node.confirm().await, Err(Rejected::Unconfirmed));
    assert_eq!(
        node.status().leader,
        Some(node.id()),
        "it still believes in itself"
    );

    // The others go on. They have not seen the lost frame, so the next grant is made without it.
    let new = nodes.leader_except(&old).await;
    let (mut author, _) = Author::new();
    let committed = author.acquire_with(b"other");
    tokio::time::timeout(PATIENCE, nodes.of(&new).node().propose_now(committed))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(nodes.of(&old).claims(), 0);

    // Once it is back, it has what was committed, and not what it proposed alone.
    node.cut_off(false);
    nodes.all_have(1).await;
    let dumps: Vec<_> = nodes
        .members
        .values()
        .map(|member| member.table.dump())
        .collect();
    assert!(
        dumps.iter().all(|dump| dump == &dumps[0]),
        "all tables are equal"
    );
    assert!(matches!(
        node.confirm().await,
        Err(Rejected::NotLeader { .. })
    ));
    nodes.stop().await;
}

#[tokio::test]
async fn confirmations_at_the_same_time_share_rounds_and_each_begins_after_its_call() {
    let nodes = Nodes::form(&["a", "b", "c"]).await;
    let leader = nodes.leader().await;
    let node = nodes.of(&leader).node();
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    let confirmed = futures_util::future::join_all((0..1_000).map(|_| node.confirm())).await;
    assert!(confirmed.iter().all(Result::is_ok));
    // What was committed before a confirmation is below its index, also if a round of others is
    // under way when it is asked for.
    let frames: Vec<Vec<_>> = (0..8)
        .map(|_| (0..20).map(|_| author.acquire()).collect())
        .collect();
    let ask = async |frames: Vec<Bytes>| {
        for frame in frames {
            let index = node.propose_now(frame).await.unwrap();
            assert!(node.confirm().await.unwrap().index >= index);
        }
    };
    futures_util::future::join_all(frames.into_iter().map(ask)).await;
    nodes.stop().await;
}

/// A node that was away for so long that the entries it lacks are gone gets a snapshot.
#[tokio::test]
async fn a_node_that_was_away_gets_a_snapshot() {
    let log_bytes = 64 << 10;
    let mut nodes = Nodes::start(&["a", "b", "c"], log_bytes).await;
    nodes.of("a").node().form(nodes.voters()).await.unwrap();
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    nodes.all_have(0).await;
    let leader = nodes.leader().await;
    let away = ["a", "b", "c"]
        .into_iter()
        .find(|name| **name != leader)
        .unwrap();
    nodes.of_mut(away).stop().await;
    let first = 2;
    for _ in 0..400 {
        nodes.propose(author.acquire_with(&[7; 1_000])).await;
    }
    for claim in 1..=100 {
        nodes.propose(author.release(claim)).await;
    }
    // Until what the node has is followed by nothing that the others have.
    let is_purged = || {
        nodes
            .members
            .values()
            .filter(|member| member.node.is_some())
            .all(|member| {
                member
                    .node()
                    .purged()
                    .is_some_and(|purged| purged > first + 50)
            })
    };
    eventually("the entries are purged", is_purged).await;
    nodes.of_mut(away).start().await;
    nodes.all_have(300).await;
    let away = nodes.of(away);
    assert_eq!(away.last_token(), author.table.last_token());
    assert!(
        away.node()
            .purged()
            .is_some_and(|purged| purged > first + 50),
        "it got a snapshot"
    );
    // And it continues with entries.
    nodes.propose(author.acquire()).await;
    nodes.all_have(301).await;
    nodes.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_refused_and_the_longest_one_is_replicated() {
    let nodes = Nodes::form(&["a", "b", "c"]).await;
    let leader = nodes.leader().await;
    let node = nodes.of(&leader).node();
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    let length = FRAME_MAX + 1;
    let long = Bytes::from(vec![0; length]);
    assert_eq!(
        node.propose_now(long).await,
        Err(Rejected::TooLong { length })
    );
    let mut frame = Vec::new();
    while frame.len() < FRAME_MAX - 2_000 {
        // The records of several visits. Only the first one of a frame may omit nothing.
        author.claims += 1;
        let name = format!("n/l/{}", author.claims);
        author.table.apply(
            clock::now(),
            Requester::HOST,
            Command::Enqueue {
                session: SessionId::from_bits(1),
                claim: ClaimId::from_bits(author.claims),
                name: name.as_bytes(),
                mode: Mode::Exclusive,
                waits: true,
                value: &[5; 1_000],
            },
            &mut Vec::new(),
        );
        if author.table.journal().records_len() >= FRAME_MAX - 2_000 {
            frame = author.table.journal().take_records();
        }
    }
    let claims = usize::try_from(author.claims).unwrap();
    nodes.propose(frame.into()).await;
    nodes.all_have(claims).await;
    nodes.stop().await;
}

/// A leader sends its entries while it writes them.
#[tokio::test]
async fn an_entry_is_committed_when_it_is_on_the_disk_of_its_leader_too() {
    let nodes = super::hand_over::patient(&["a", "b", "c"]).await;
    let (_, opened) = Author::new();
    let leader = nodes.leader().await;
    let node = nodes.of(&leader).node();
    let unblock = (node.hang)();
    let before = node.status();
    let mut proposed = Box::pin(node.propose_now(opened));
    let early = tokio::time::timeout(timing().heartbeat * 5, &mut proposed).await;
    assert!(early.is_err(), "it is committed too early: {early:?}");
    for (name, member) in &nodes.members {
        let status = member.node().status();
        if *name != leader {
            assert!(
                status.last_index > before.last_index,
                "{name} has the entry"
            );
        }
        assert_eq!(status.applied, before.applied, "{name} has not applied it");
    }
    drop(unblock);
    tokio::time::timeout(PATIENCE, proposed)
        .await
        .unwrap()
        .unwrap();
    nodes.stop().await;
}

#[tokio::test]
async fn a_folder_without_the_snapshot_that_its_log_needs_is_refused() {
    let mut nodes = Nodes::start(&["a"], 16 << 10).await;
    nodes.of("a").node().form(nodes.voters()).await.unwrap();
    let (mut author, opened) = Author::new();
    nodes.propose(opened).await;
    for _ in 0..100 {
        nodes.propose(author.acquire_with(&[7; 1_000])).await;
    }
    eventually("entries are purged", || {
        nodes.of("a").node().purged().is_some()
    })
    .await;
    nodes.of_mut("a").stop().await;
    let options = nodes.of("a").options.clone();
    std::fs::remove_dir_all(options.folder.join("snapshots")).unwrap();
    let refused = Node::start(options, Box::new(Replica::new(Limits::default())))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("the snapshot that includes them is missing"),
        "{refused}"
    );
}

#[test]
fn a_dump_and_the_last_token_make_the_same_table_again() {
    let (mut author, opened) = Author::new();
    let mut replica = Replica::new(Limits::default());
    replica.apply(1, &opened).unwrap();
    for index in 2..10 {
        replica.apply(index, &author.acquire()).unwrap();
    }
    // The greatest token is of a claim that has ended.
    replica.apply(10, &author.release(8)).unwrap();
    let (dump, last_token) = (replica.dump(), replica.last_token());
    assert_eq!(last_token, author.table.last_token());
    let mut loaded = Replica::new(Limits::default());
    loaded.load(&dump, last_token).unwrap();
    assert_eq!(
        (loaded.dump(), loaded.last_token()),
        (dump.clone(), last_token)
    );
    // Each has to be a whole dump.
    for length in 0..dump.len() {
        loaded.load(&dump[..length], last_token).unwrap_err();
    }
    loaded
        .load(&[&dump[..], &[1]].concat(), last_token)
        .unwrap_err();
    assert_eq!(loaded.dump(), dump, "a failed load changes nothing");
    // A frame that does not fit is refused.
    loaded.apply(11, &author.release(7)).unwrap();
    loaded.apply(12, &opened).unwrap_err();
    loaded.apply(12, b"nonsense").unwrap_err();
}
