//! Helpers that several scenarios share.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use distsync::{Error, ErrorKind, Guard, Lock, LockOptions, Sync, Wait, connect};
use distsync_core::conformance::secrets;

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

/// The access control of a Consul, by its management token.
pub(crate) struct ConsulTokens {
    port: u16,
    management: String,
}

impl ConsulTokens {
    pub(crate) async fn bootstrap(port: u16) -> Self {
        // The first leader can take a moment until it accepts the bootstrap.
        let mut boot = String::new();
        for _ in 0..100 {
            boot = http(port, "PUT", "/v1/acl/bootstrap", "", "");
            if boot.contains("SecretID") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let management = format!("X-Consul-Token: {}\r\n", field(&boot, "SecretID"));
        Self { port, management }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        http(self.port, method, path, &self.management, body)
    }

    /// Creates a token with a policy of its own.
    pub(crate) fn create(&self, policy: &str, rules: &str) -> String {
        let rules = rules.replace('"', "\\\"");
        let body = format!(r#"{{"Name":"{policy}","Rules":"{rules}"}}"#);
        self.ask("PUT", "/v1/acl/policy", &body);
        let body = format!(r#"{{"Policies":[{{"Name":"{policy}"}}]}}"#);
        let token = field(&self.ask("PUT", "/v1/acl/token", &body), "SecretID");
        secrets::note(&token);
        token
    }

    /// Deletes a token. Consul rejects its requests from then on.
    pub(crate) fn delete(&self, token: &str) {
        let header = format!("X-Consul-Token: {token}\r\n");
        let found = http(self.port, "GET", "/v1/acl/token/self", &header, "");
        let path = format!("/v1/acl/token/{}", field(&found, "AccessorID"));
        assert!(self.ask("DELETE", &path, "").contains("true"));
        let found = http(self.port, "GET", "/v1/acl/token/self", &header, "");
        assert!(found.contains("ACL not found"), "{found}");
    }
}

/// Returns a field of a reply in JSON.
fn field(answer: &str, name: &str) -> String {
    let start = answer
        .split(&format!("\"{name}\":\""))
        .nth(1)
        .unwrap_or_else(|| panic!("{answer}"));
    start.split('"').next().unwrap().to_owned()
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
