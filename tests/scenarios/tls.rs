//! Stores that require TLS with client certificates, and the errors when the two sides do not
//! agree.

use std::process::Command;
use std::time::Duration;

use distsync::{ErrorKind, Sync, connect};
use distsync_core::conformance::Harness;
use distsync_core::spi::clock;

use super::programs::example;
use super::steps::{pair, refused};
use crate::stores::{Certificates, Consul, Etcd, EtcdTls, Netlock, RedisTls};

/// Asserts that a store accepts the right certificates and no others. `secure` is the scheme with
/// TLS, `plain` the one without.
async fn by_certificate(certificates: &Certificates, secure: &str, plain: &str, address: &str) {
    let path = |name: &str| certificates.path(name).display().to_string();
    let url = |ca: &str| format!("{secure}://{address}?ca={}", path(ca));
    let identity = format!("&cert={}&key={}", path("client.pem"), path("client.key"));

    let sync = connect(&format!("{}{identity}", url("ca.pem")))
        .await
        .unwrap();
    pair(&*sync, "a").await.unwrap();
    sync.close().await.unwrap();

    let denied = ErrorKind::Denied;
    refused(
        &format!("{}{identity}", url("stranger.pem")),
        denied,
        "invalid peer certificate",
    )
    .await;
    // No authority of the system has signed the server's certificate.
    refused(
        &format!("{secure}://{address}?{}", &identity[1..]),
        denied,
        "the TLS handshake failed",
    )
    .await;
    let error = connect(&url("ca.pem")).await.unwrap_err();
    assert!(
        error.to_string().contains("cert"),
        "no word of the certificate that the server wants: {error}"
    );
    let error = connect(&format!("{plain}://{address}")).await.unwrap_err();
    assert!(
        error.to_string().contains("TLS") || error.to_string().contains("HTTPS"),
        "{error}"
    );
}

#[tokio::test]
async fn redis_speaks_tls() {
    let certificates = Certificates::make();
    let redis = RedisTls::start(&certificates);
    by_certificate(
        &certificates,
        "rediss",
        "redis",
        &format!("127.0.0.1:{}", redis.port),
    )
    .await;
    // A Redis port without TLS waits for a line end, which the handshake does not contain.
    let plain = format!("rediss://127.0.0.1:{}", redis.plain);
    refused(&plain, ErrorKind::Unavailable, "speaks TLS at this port").await;
}

#[tokio::test]
async fn etcd_speaks_tls() {
    let certificates = Certificates::make();
    let etcd = EtcdTls::start(&certificates);
    by_certificate(
        &certificates,
        "etcds",
        "etcd",
        &format!("127.0.0.1:{}", etcd.port),
    )
    .await;
    let plain = Etcd::start();
    let plain = format!("etcds://127.0.0.1:{}", plain.port());
    refused(&plain, ErrorKind::Unavailable, "speaks TLS at this port").await;
}

#[tokio::test]
async fn consul_speaks_tls() {
    let certificates = Certificates::make();
    let consul = Consul::start_with_tls(&certificates);
    by_certificate(
        &certificates,
        "consuls",
        "consul",
        &format!("127.0.0.1:{}", consul.https()),
    )
    .await;
    refused(
        &format!("consuls://127.0.0.1:{}", consul.port()),
        ErrorKind::Denied,
        "speaks TLS at this port",
    )
    .await;
}

#[tokio::test]
async fn consul_is_reached_by_a_socket_of_the_file_system() {
    let consul = Consul::start_with_socket();
    let sync = connect(&format!(
        "consul://agent?unix_socket={}",
        consul.socket().display()
    ))
    .await
    .unwrap();
    pair(&*sync, "a").await.unwrap();
    let missing = "consul://agent?unix_socket=/no/such/socket";
    refused(missing, ErrorKind::Unavailable, "is Consul running there").await;
}

/// Asserts that faulty certificates are refused and that the errors name a remedy. `start` starts a
/// server with the certificate of the given name, and returns it with its port.
async fn certificates_that_are_refused<S>(
    certificates: &Certificates,
    scheme: &str,
    start: impl Fn(&str) -> (S, u16),
) {
    let path = |name: &str| certificates.path(name).display().to_string();
    let url = |port: u16, identity: Option<&str>| {
        let identity = identity.map(|name| {
            format!(
                "&cert={}&key={}",
                path(&format!("{name}.pem")),
                path(&format!("{name}.key"))
            )
        });
        format!(
            "{scheme}://127.0.0.1:{port}?ca={}{}",
            path("ca.pem"),
            identity.unwrap_or_default()
        )
    };
    let denied = async |url: &str, remedies: &[&str]| {
        let error = match connect(url).await {
            Ok(sync) => pair(&*sync, "a").await.expect_err(url),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Denied, "{url}: {error}");
        let said = error.to_string();
        assert!(
            remedies.iter().any(|remedy| said.contains(remedy)),
            "{url}: none of {remedies:?} in {said}"
        );
    };
    let (server, port) = start("server");
    denied(&url(port, None), &["`cert` and `key`"]).await;
    denied(
        &url(port, Some("expired")),
        &["has expired", "has not expired"],
    )
    .await;
    denied(
        &url(port, Some("foreign")),
        &["an authority that the server trusts"],
    )
    .await;
    drop(server);
    for (name, remedy) in [
        ("expired", "renew it at the server"),
        ("elsewhere", "is for another host"),
    ] {
        let (_server, port) = start(name);
        denied(&url(port, Some("client")), &[remedy]).await;
    }
}

#[tokio::test]
async fn certificates_that_redis_or_its_client_refuses() {
    let certificates = Certificates::make();
    certificates_that_are_refused(&certificates, "rediss", |name| {
        let redis = RedisTls::start(&certificates);
        redis.restart_as(&certificates, name);
        let port = redis.port;
        (redis, port)
    })
    .await;
}

#[tokio::test]
async fn certificates_that_etcd_or_its_client_refuses() {
    let certificates = Certificates::make();
    certificates_that_are_refused(&certificates, "etcds", |name| {
        let etcd = EtcdTls::start(&certificates);
        etcd.restart_as(&certificates, name);
        let port = etcd.port;
        (etcd, port)
    })
    .await;
}

#[tokio::test]
async fn certificates_that_consul_or_its_client_refuses() {
    let certificates = Certificates::make();
    certificates_that_are_refused(&certificates, "consuls", |name| {
        let consul = Consul::start_with_tls_as(&certificates, name);
        let port = consul.https();
        (consul, port)
    })
    .await;
}

#[tokio::test]
async fn certificates_that_netlock_or_its_client_refuses() {
    let certificates = Certificates::make();
    certificates_that_are_refused(&certificates, "netlocks", |name| {
        let netlock = Netlock::start_with_tls_as(&certificates, name);
        let port = netlock.port();
        (netlock, port)
    })
    .await;
}

/// Runs in a separate process, because the system's authorities are read from its environment.
#[test]
fn authorities_of_the_system_that_cannot_be_loaded_are_named() {
    let certificates = Certificates::make();
    certificates.write("empty", "");
    let empty = certificates.path("empty");
    for scheme in ["etcds", "consuls", "rediss", "netlocks"] {
        let url = format!("{scheme}://127.0.0.1:1");
        let output = Command::new(example("quickstart"))
            .args(["--on", &url])
            .env("SSL_CERT_FILE", &empty)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{url} works");
        for word in [
            "certificate authorities of this system",
            "SSL_CERT_FILE",
            "InvalidOption",
        ] {
            assert!(said.contains(word), "{url}: no `{word}` in {said}");
        }
    }
}

/// Asserts that faulty files are reported before a connection is made, so no store is needed.
#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let certificates = Certificates::make();
    certificates.write("empty", "");
    certificates.write("text", "no certificate, and no key");
    let path = |name: &str| certificates.path(name).display().to_string();
    let ca = path("ca.pem");
    for scheme in ["etcds", "consuls", "rediss", "netlocks"] {
        for (query, file, problem) in [
            (
                format!("ca={}", path("absent")),
                "absent",
                "it cannot be read",
            ),
            (
                format!("ca={}", path("empty")),
                "empty",
                "there is no certificate in it",
            ),
            (
                format!("ca={}", path("text")),
                "text",
                "there is no certificate in it",
            ),
            (
                format!("ca={}", path("client.key")),
                "client.key",
                "there is no certificate in it",
            ),
            (
                format!("ca={ca}&cert={}&key={}", path("text"), path("client.key")),
                "text",
                "there is no certificate in it",
            ),
            (
                format!(
                    "ca={ca}&cert={}&key={}",
                    path("client.pem"),
                    path("client.pem")
                ),
                "client.pem",
                "there is no private key in it",
            ),
            (
                format!(
                    "ca={ca}&cert={}&key={}",
                    path("client.pem"),
                    path("server.key")
                ),
                "server.key",
                "it does not belong to the certificate",
            ),
        ] {
            let url = format!("{scheme}://127.0.0.1:1?{query}");
            let error = connect(&url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{url}: {error}");
            for said in [&path(file), problem] {
                assert!(
                    error.to_string().contains(said),
                    "{url}: no `{said}` in {error}"
                );
            }
        }
    }
}

/// Retries until an acquire and release succeed.
async fn works_again(sync: &dyn Sync) {
    let deadline = clock::now().after(Duration::from_secs(40));
    while let Err(error) = pair(sync, "a").await {
        assert!(clock::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn consul_is_reached_with_the_certificates_of_now() {
    let certificates = Certificates::make();
    let consul = Consul::start_with_tls(&certificates);
    let sync = connect(&own_url(&certificates, "consuls", consul.https()))
        .await
        .unwrap();
    pair(&*sync, "a").await.unwrap();
    // Files that cannot be loaded change nothing.
    certificates.write("client.key", "no key");
    pair(&*sync, "a").await.unwrap();
    certificates.make_again();
    consul.restart().await;
    works_again(&*sync).await;
}

#[tokio::test]
async fn etcd_is_reached_with_the_certificates_of_now() {
    let certificates = Certificates::make();
    let etcd = EtcdTls::start(&certificates);
    let sync = connect(&own_url(&certificates, "etcds", etcd.port))
        .await
        .unwrap();
    pair(&*sync, "a").await.unwrap();
    certificates.write("client.key", "no key");
    etcd.restart_as(&certificates, "server");
    works_again(&*sync).await;
    certificates.make_again();
    etcd.restart_as(&certificates, "server");
    works_again(&*sync).await;
}

#[tokio::test]
async fn redis_is_reached_with_the_certificates_of_now() {
    let certificates = Certificates::make();
    let redis = RedisTls::start(&certificates);
    let sync = connect(&own_url(&certificates, "rediss", redis.port))
        .await
        .unwrap();
    pair(&*sync, "a").await.unwrap();
    certificates.write("client.key", "no key");
    redis.cut_all();
    works_again(&*sync).await;
    certificates.make_again();
    redis.restart(&certificates);
    works_again(&*sync).await;
}

/// Returns the URL of a store at `port` on loopback, with the client certificate.
fn own_url(certificates: &Certificates, scheme: &str, port: u16) -> String {
    let path = |name: &str| certificates.path(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    format!("{scheme}://127.0.0.1:{port}?ca={ca}&cert={cert}&key={key}")
}
