//! A leader of Consul that was just elected.
//!
//! It serves renewals before it has read its whole log, and does not find sessions that exist. Its
//! consistent reads wait. Only some restarts of a real Consul under load show that, so the test has
//! a server of its own.

use std::time::Duration;

use distsync::ErrorKind;
use distsync::consul::{Config, Consul};
use distsync_core::spi::{Backend, Renewal, Secret, Session, SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Replies to renewals that there is no such session, and to consistent reads with `info`.
async fn reply(mut stream: TcpStream, info: &'static str) {
    let mut request = Vec::new();
    while stream
        .read_buf(&mut request)
        .await
        .is_ok_and(|read| read > 0)
    {
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&request);
        let (status, body) = match text.split_once("/v1/session/") {
            Some(("PUT ", rest)) if rest.starts_with("renew/") => ("404 Not Found", "not found"),
            Some(("GET ", rest)) if rest.starts_with("info/") && rest.contains("?consistent") => {
                ("200 OK", info)
            }
            _ => panic!("an unexpected request: {text}"),
        };
        let length = body.len();
        let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(reply.as_bytes()).await.unwrap();
        request.clear();
    }
}

async fn renew(info: &'static str) -> distsync::Result<Renewal> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("consul://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(reply(stream, info));
        }
    });
    let consul = Consul::new(Config::from_url(url.parse().unwrap()).unwrap());
    let session = Session {
        id: SessionId::from_bits(1),
        secret: Secret::from_bits(1),
        ttl: Duration::from_secs(10),
    };
    consul.renew(&session).await
}

#[tokio::test]
async fn a_session_that_a_new_leader_does_not_find_is_not_lost() {
    let error = renew(r#"[{"ID":"00000000-0000-0000-0000-000000000001"}]"#)
        .await
        .expect_err("the session lives");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable(), "{error}");
    for gone in ["[]", "null"] {
        assert!(matches!(renew(gone).await, Ok(Renewal::Expired)), "{gone}");
    }
}
