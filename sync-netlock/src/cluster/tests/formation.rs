//! How the first members find each other.

use tokio::time::timeout;

use super::*;

/// Returns the address of a port that is free.
fn free() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn named(name: &str, address: &str) -> Member {
    Member {
        name: name.to_owned(),
        address: address.to_owned(),
        clients: String::new(),
    }
}

async fn start(place: &TempDir, folder: &str, member: &Member) -> Node {
    let failure: Failure = Arc::new(|error: &io::Error| eprintln!("the disk failed: {error}"));
    let options = NodeOptions::new(CLUSTER, &member.name, place.path().join(folder))
        .with_listen(&member.address)
        .with_clients(format!("{}:7420", member.name))
        .with_timing(timing())
        .with_failure(failure);
    let replica = Seen(Arc::new(Mutex::new(Replica::new(Limits::default()))));
    Node::start(options, Box::new(replica)).await.unwrap()
}

#[tokio::test]
async fn the_first_members_form_a_cluster_and_refuse_an_emptied_folder() {
    let place = tempfile::tempdir().unwrap();
    let first: Vec<_> = ["a", "b", "c"].map(|name| named(name, &free())).into();
    let (a, b) = (
        start(&place, "a", &first[0]).await,
        start(&place, "b", &first[1]).await,
    );
    // Nothing is formed while one of them is missing.
    let early = async { tokio::join!(a.join(&first), b.join(&first)) };
    assert!(timeout(Duration::from_millis(700), early).await.is_err());
    assert!(a.status().members.is_empty());
    let c = start(&place, "c", &first[2]).await;
    let joined = async { tokio::join!(a.join(&first), b.join(&first), c.join(&first)) };
    let (one, two, three) = timeout(PATIENCE, joined).await.unwrap();
    one.and(two).and(three).unwrap();
    eventually("a leader is known", || c.status().leader.is_some()).await;
    let members = c.status().members;
    let known: Vec<_> = members.iter().map(|state| &state.member).collect();
    assert_eq!(members.len(), 3);
    for member in &first {
        let clients = format!("{}:7420", member.name);
        let wanted = Member {
            clients,
            ..member.clone()
        };
        assert!(known.contains(&&wanted), "{known:?}");
    }
    // It belongs to the cluster after a restart too, and alone.
    c.shutdown().await;
    let c = start(&place, "c", &first[2]).await;
    timeout(PATIENCE, c.join(&first)).await.unwrap().unwrap();
    c.shutdown().await;

    let emptied = start(&place, "empty", &first[2]).await;
    let error = timeout(PATIENCE, emptied.join(&first)).await.unwrap();
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("the folder of this node was emptied"),
        "{error}"
    );
    emptied.shutdown().await;
    // The folder of c under another name.
    let renamed = start(&place, "c", &self::named("d", &first[2].address)).await;
    let error = timeout(PATIENCE, renamed.join(&first)).await.unwrap();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("belongs to node c"), "{error}");
    renamed.shutdown().await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn addresses_that_are_mixed_up_form_no_cluster() {
    let place = tempfile::tempdir().unwrap();
    let right: Vec<_> = ["a", "b", "c"].map(|name| named(name, &free())).into();
    let a = start(&place, "a", &right[0]).await;
    let b = start(&place, "b", &right[1]).await;
    let mut mixed = right.clone();
    mixed[2].address = right[1].address.clone();
    let error = timeout(PATIENCE, a.join(&mixed)).await.unwrap();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("node b is at the address"), "{error}");
    assert!(a.status().members.is_empty());
    a.shutdown().await;
    b.shutdown().await;
}
