//! The addresses of one name, as a resolver gives them.

use std::net::{Ipv6Addr, TcpListener};

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
    // It accepts connections, and nothing is ever said there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    // What `localhost` resolves to where the server listens on 127.0.0.1 alone.
    let dead = SocketAddr::from((Ipv6Addr::LOCALHOST, alive.port()));

    let client = Client::new(Config::new(["name:1"]).unwrap());
    for resolved in [[silent, alive], [alive, silent], [dead, alive]] {
        let dialed = client.dial_resolved("name:1", resolved);
        let dialed = tokio::time::timeout(DIAL, dialed).await;
        dialed
            .expect("in time")
            .map(drop)
            .unwrap_or_else(|error| panic!("{resolved:?}: {error}"));
    }
    let error = client
        .dial_resolved("name:1", [dead])
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("name:1"), "{error}");
}
