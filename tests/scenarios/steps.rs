//! Helpers that several scenarios share.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use distsync::{Error, ErrorKind, Guard, Lock, LockOptions, Sync, Wait, connect};

/// Acquires and releases once, and waits for at most five seconds.
pub(crate) async fn pair(sync: &dyn Sync, name: &str) -> Result<(), Error> {
    let options = LockOptions::new().with_wait(Wait::For(Duration::from_secs(5)));
    sync.lock(name, options)?
        .acquire()
        .await?
        .release()
        .await
        .map(drop)
}

pub(crate) async fn refused(url: &str, kind: ErrorKind, reason: &str) {
    let error = match connect(url).await {
        Ok(sync) => pair(&*sync, "a").await.expect_err("it works"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), kind, "{error:?} for {url}");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(error.backend().is_some(), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hidden"), "a secret shows: {shown}");
}

/// Sends a plain HTTP request and returns the reply.
pub(crate) fn http(port: u16, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Acquires from a store that is coming back, and asserts that every error until then is retryable.
pub(crate) async fn acquired_again(lock: &dyn Lock) -> Guard {
    let again = async {
        loop {
            match lock.acquire().await {
                Ok(guard) => break guard,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    };
    // Consul keeps sessions for up to twice their TTL, and restarts that time after its own
    // restart.
    tokio::time::timeout(Duration::from_secs(40), again)
        .await
        .expect("the store is found again in time")
}
