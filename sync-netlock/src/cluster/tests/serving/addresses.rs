//! Clients that learn the members from the servers, and check the addresses that they were given.

use distsync_core::{ErrorKind, Handle, LockOptions, Sync, SyncOptions};

use super::*;
use crate::{Client, Config};

async fn connect(addresses: &[&String]) -> distsync_core::Result<Handle> {
    let options = SyncOptions::new().with_session_ttl(Duration::from_secs(6));
    let config = Config::new(addresses.iter().copied()).unwrap();
    Handle::open(Client::new(config).backend(), options).await
}

/// Acquires and releases a lock.
async fn use_once(sync: &Handle) {
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let held = timeout(PATIENCE, lock.acquire()).await.unwrap().unwrap();
    held.release().await.unwrap();
}

async fn refusal(addresses: &[&String]) -> String {
    let error = match connect(addresses).await {
        Err(error) => error,
        Ok(sync) => {
            let lock = sync.lock("a", LockOptions::new()).unwrap();
            lock.acquire().await.map(drop).unwrap_err()
        }
    };
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    error.to_string()
}

/// Returns an address where no server listens.
async fn dead() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_client_with_one_address_outlives_the_server_at_it() {
    let mut cluster = Cluster::form().await;
    let (leader, _) = cluster.leader().await;
    let one = cluster.servers[&leader].address.clone();
    let sync = connect(&[&one]).await.unwrap();
    let lock = sync.lock("held", LockOptions::new()).unwrap();
    let held = lock.acquire().await.unwrap();
    let stopped = cluster.servers.remove(&leader).unwrap();
    stopped.stop.cancel();
    timeout(PATIENCE, stopped.task).await.unwrap().unwrap();
    use_once(&sync).await;
    let before = held.valid_until();
    // The connection of the keeper has learned the members too.
    eventually("the keeper renews the session", || {
        held.valid_until() > before
    })
    .await;
    held.release().await.unwrap();
    sync.close().await.unwrap();
    cluster.stop().await;
}

/// All members that it knew when it connected are gone at the end.
#[tokio::test]
async fn a_client_learns_new_members_while_it_is_connected() {
    let mut cluster = Cluster::form().await;
    let (leader, _) = cluster.leader().await;
    let client = Client::new(Config::new([&cluster.servers[&leader].address]).unwrap());
    let known = client.known_members();
    let options = SyncOptions::new().with_session_ttl(Duration::from_secs(6));
    let sync = Handle::open(client.backend(), options).await.unwrap();
    let lock = sync.lock("held", LockOptions::new()).unwrap();
    let held = lock.acquire().await.unwrap();
    assert_eq!(known().len(), 3);

    let node = cluster.servers[&leader].node.clone();
    let mut expected = vec![cluster.servers[&leader].address.clone()];
    for name in ["d", "e"] {
        let (id, member) = cluster.serve(name).await;
        expected.push(member.clients.clone());
        node.add_learner(id, member).await.unwrap();
        node.promote(id).await.unwrap();
    }
    let others = ["a", "b", "c"].into_iter().filter(|name| **name != leader);
    for name in others {
        node.remove(cluster.servers[name].node.id()).await.unwrap();
        cluster.end(name).await;
    }
    expected.sort();
    eventually("it knows the members", || {
        let mut known = known();
        known.sort();
        known == expected
    })
    .await;
    drop(node);
    cluster.end(&leader).await;
    use_once(&sync).await;
    held.check(Duration::ZERO).unwrap();
    held.release().await.unwrap();
    sync.close().await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn addresses_of_one_cluster_need_no_table() {
    let mut cluster = Cluster::form().await;
    let (leader, _) = cluster.leader().await;
    let addresses: Vec<_> = cluster
        .servers
        .values()
        .map(|of| of.address.clone())
        .collect();
    let all: Vec<_> = addresses.iter().collect();
    let sync = connect(&all).await.unwrap();
    use_once(&sync).await;
    sync.close().await.unwrap();

    // An address that the leader does not list has to answer, with the same table.
    let listed = &cluster.servers[&leader].address;
    let alias = listed.replace("127.0.0.1", "localhost");
    let sync = connect(&[&alias, listed]).await.unwrap();
    sync.close().await.unwrap();
    let dead = dead().await;
    let refused = refusal(&[listed, &dead]).await;
    assert!(refused.contains(&dead), "{refused}");
    assert!(
        refused.contains(&format!("table={CLUSTER:032x}")),
        "{refused}"
    );

    // One that it lists may be dead.
    let stopped = cluster.servers.keys().find(|name| **name != leader);
    let stopped = stopped.unwrap().clone();
    let stopped = cluster.servers.remove(&stopped).unwrap();
    stopped.stop.cancel();
    timeout(PATIENCE, stopped.task).await.unwrap().unwrap();
    let sync = connect(&all).await.unwrap();
    use_once(&sync).await;
    sync.close().await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn addresses_of_two_clusters_are_an_error_that_names_both() {
    const OTHER: u128 = CLUSTER + 1;
    let cluster = Cluster::form().await;
    let (leader, _) = cluster.leader().await;
    let ours = cluster.servers[&leader].address.clone();
    // A member of the other cluster answers, although nobody leads it.
    let place = tempfile::tempdir().unwrap();
    let node = NodeOptions::new(OTHER, "a", place.path()).with_timing(timing());
    let server = Server::member("127.0.0.1:0", ServerOptions::default(), node);
    let server = server.await.unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let member = server.address().to_string();
    let running = tasks.spawn(server.run(stop.clone()));
    let mut options = ServerOptions::new();
    options.table = Some(OTHER);
    let server = Server::bind("127.0.0.1:0", options).await.unwrap();
    let single = server.address().to_string();
    let run_single = tasks.spawn(server.run(stop.clone()));
    for other in [&member, &single] {
        for addresses in [[&ours, other], [other, &ours]] {
            let refused = refusal(&addresses).await;
            for part in [
                &ours,
                other,
                &format!("{CLUSTER:032x}"),
                &format!("{OTHER:032x}"),
            ] {
                assert!(refused.contains(part), "{part}: {refused}");
            }
        }
    }
    stop.cancel();
    for task in [running, run_single] {
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    cluster.stop().await;
}
