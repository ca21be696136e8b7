//! Stores that speak TLS with those they know, and what it looks like when the two sides do not agree.

use distsync::{ErrorKind, connect};

use super::bad_days::{pair, refused};
use super::stores::{Certificates, Consul, Etcd, EtcdTls, RedisTls};

/// Works with the right certificates, and with no others. `secure` speaks TLS at `address`, `plain` does not.
async fn by_certificate(certificates: &Certificates, secure: &str, plain: &str, address: &str) {
    let path = |name: &str| certificates.path(name).display().to_string();
    let url = |ca: &str| format!("{secure}://{address}?ca={}", path(ca));
    let identity = format!("&cert={}&key={}", path("client.pem"), path("client.key"));

    let sync = connect(&format!("{}{identity}", url("ca.pem"))).await.unwrap();
    pair(&*sync, "a").await.unwrap();
    sync.close().await.unwrap();

    let denied = ErrorKind::Denied;
    refused(&format!("{}{identity}", url("stranger.pem")), denied, "invalid peer certificate").await;
    // Nobody in the system's list has signed for this server.
    refused(&format!("{secure}://{address}?{}", &identity[1..]), denied, "by TLS").await;
    let error = connect(&url("ca.pem")).await.unwrap_err();
    assert!(error.to_string().contains("cert"), "no word of the certificate that the server wants: {error}");
    let error = connect(&format!("{plain}://{address}")).await.unwrap_err();
    assert!(error.to_string().contains("TLS") || error.to_string().contains("HTTPS"), "{error}");
}

#[tokio::test]
async fn redis_speaks_tls() {
    let certificates = Certificates::make();
    let redis = RedisTls::start(&certificates);
    by_certificate(&certificates, "rediss", "redis", &format!("127.0.0.1:{}", redis.port)).await;
    // Redis without TLS waits for the end of a line that never comes.
    let plain = format!("rediss://127.0.0.1:{}", redis.plain);
    refused(&plain, ErrorKind::Unavailable, "speak TLS at this port").await;
}

#[tokio::test]
async fn etcd_speaks_tls() {
    let certificates = Certificates::make();
    let etcd = EtcdTls::start(&certificates);
    by_certificate(&certificates, "etcds", "etcd", &format!("127.0.0.1:{}", etcd.port)).await;
    let plain = Etcd::start();
    let plain = format!("etcds://127.0.0.1:{}", plain.port());
    refused(&plain, ErrorKind::Unavailable, "does it want TLS or not").await;
}

#[tokio::test]
async fn consul_speaks_tls() {
    let certificates = Certificates::make();
    let consul = Consul::start_with_tls(&certificates);
    by_certificate(&certificates, "consuls", "consul", &format!("127.0.0.1:{}", consul.https())).await;
    refused(&format!("consuls://127.0.0.1:{}", consul.port()), ErrorKind::Denied, "speaks TLS at this port")
        .await;
}

#[tokio::test]
async fn consul_is_reached_by_a_socket_of_the_file_system() {
    let consul = Consul::start_with_socket();
    let sync = connect(&format!("consul://agent?unix_socket={}", consul.socket().display())).await.unwrap();
    pair(&*sync, "a").await.unwrap();
    let missing = "consul://agent?unix_socket=/no/such/socket";
    refused(missing, ErrorKind::Unavailable, "is Consul running there").await;
}
