//! Connecting to a host name that resolves to more than one address.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use distsync_core::ErrorKind;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::server::{Server, ServerOptions};

#[tokio::test]
async fn a_silent_or_dead_address_of_a_name_does_not_hide_the_others() {
    let server = Server::bind("127.0.0.1:0", ServerOptions::new())
        .await
        .unwrap();
    let alive = server.address();
    let mut tasks = JoinSet::new();
    tasks.spawn(server.run(CancellationToken::new()));
    // Accepts connections and never sends anything.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    // `localhost` resolves to this address too, where the server listens on 127.0.0.1 only.
    let dead = SocketAddr::from((Ipv6Addr::LOCALHOST, alive.port()));

    let client = Client::new(Config::new(["name:1"]).unwrap());
    for resolved in [[silent, alive], [alive, silent], [dead, alive]] {
        let dialed = client.dial_resolved("name:1", resolved);
        let dialed = tokio::time::timeout(config::CONNECT_TIMEOUT, dialed).await;
        dialed
            .expect("in time")
            .map(drop)
            .unwrap_or_else(|error| panic!("{resolved:?}: {error:?}"));
    }
    let error = client
        .dial_resolved("name:1", [dead])
        .await
        .map(drop)
        .unwrap_err()
        .error;
    assert!(error.to_string().contains("name:1"), "{error}");
}

/// A name that leads to two servers, as that of a service with two replicas may.
#[tokio::test]
async fn a_name_that_leads_to_two_tables_is_refused_unless_one_is_named() {
    let mut tasks = JoinSet::new();
    let mut start = async |table: u128| {
        let mut options = ServerOptions::new();
        options.table = Some(table);
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let address = server.address();
        tasks.spawn(server.run(CancellationToken::new()));
        address
    };
    let (one, same, other) = (start(1).await, start(1).await, start(2).await);
    let config = || Config::new(["name:1"]).unwrap();
    let any = Client::new(config());
    for resolved in [[one, other], [other, one]] {
        let error = any.dial_resolved("name:1", resolved).await.map(drop);
        let error = error.unwrap_err().error;
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
        let said = error.to_string();
        assert!(said.contains("name:1"), "{said}");
        assert!(said.contains(&one.to_string()), "{said}");
        assert!(said.contains(&other.to_string()), "{said}");
    }
    any.dial_resolved("name:1", [one, same])
        .await
        .map(drop)
        .unwrap();
    // The named table is found, whichever of them is asked first.
    let named = Client::new(config().with_table(&format!("{:032x}", 2)).unwrap());
    for resolved in [[one, other], [other, one]] {
        let (_, welcome) = named.dial_resolved("name:1", resolved).await.unwrap();
        assert_eq!(welcome.table.map(u128::from), Some(2));
    }
}
