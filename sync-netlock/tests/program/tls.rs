//! TLS with the real program: authentication by certificates, and changing a certificate while the
//! server runs.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use distsync_core::spi::{StoreUrl, clock};
use distsync_core::{ErrorKind, Handle, LockOptions, Result, Sync, SyncOptions};
use distsync_netlock::{Client, Config};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustix::process::Signal;

use super::monitoring::get;
use super::raw::Raw;
use super::server::{Netlockd, complaint};

/// Creates an authority, with its certificate at `NAME.pem` in a folder.
fn authority(folder: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL treats a certificate as self-signed if issuer and subject have the same name.
    params.distinguished_name.push(DnType::CommonName, name);
    std::fs::write(
        folder.join(format!("{name}.pem")),
        params.self_signed(&key).unwrap().pem(),
    )
    .unwrap();
    Issuer::new(params, key)
}

/// Creates a certificate at `NAME.pem` with its key at `NAME.key`, by an authority of its own at
/// `NAME-ca.pem`.
pub(crate) fn pair(folder: &Path, name: &str) {
    certificate(
        folder,
        name,
        &authority(folder, &format!("{name}-ca")),
        here(),
    );
}

/// Creates a certificate at `NAME.pem` with its key at `NAME.key`.
fn certificate(
    folder: &Path,
    name: &str,
    authority: &Issuer<'static, KeyPair>,
    alternative: SanType,
) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    if name == "outdated" {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    params.subject_alt_names = vec![alternative];
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    std::fs::write(
        folder.join(format!("{name}.pem")),
        params.signed_by(&key, authority).unwrap().pem(),
    )
    .unwrap();
}

fn here() -> SanType {
    SanType::IpAddress("127.0.0.1".parse().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

/// Starts a server that uses TLS and requires certificates of clients.
fn start(folder: &Path, listen: &str, more: &[&str]) -> Netlockd {
    let authority = authority(folder, "ca");
    certificate(folder, "server", &authority, here());
    certificate(folder, "shop", &authority, uri("spiffe://example/shop"));
    certificate(folder, "outdated", &authority, uri("spiffe://example/shop"));
    certificate(
        folder,
        "other",
        &authority,
        SanType::DnsName("other.example".try_into().unwrap()),
    );
    let path = |name: &str| folder.join(name).display().to_string();
    let (cert, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
    let permission =
        "[[permissions]]\nprincipal = 'spiffe://example/shop'\nverbs = ['acquire', 'observe']\n";
    let config = path("netlockd.toml");
    std::fs::write(&config, permission).unwrap();
    let tls = [
        "--config",
        &config,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ];
    Netlockd::start_at(listen, &[&tls, more].concat())
}

async fn connect(
    server: &Netlockd,
    folder: &Path,
    ca: &str,
    identity: Option<&str>,
) -> Result<Handle> {
    let path = |name: &str| folder.join(name).display().to_string();
    let port = server.address().rsplit(':').next().unwrap();
    let mut url = format!("netlocks://127.0.0.1:{port}?ca={}", path(ca));
    if let Some(name) = identity {
        url += &format!(
            "&cert={}&key={}",
            path(&format!("{name}.pem")),
            path(&format!("{name}.key"))
        );
    }
    let config = Config::from_url(url.parse::<StoreUrl>()?)?;
    Handle::open(
        Client::new(config).backend(),
        SyncOptions::new().with_session_ttl(Duration::from_secs(5)),
    )
    .await
}

async fn acquires(handle: &Handle) -> Result<()> {
    handle
        .lock("a", LockOptions::new())?
        .acquire()
        .await?
        .release()
        .await
        .map(drop)
}

#[tokio::test]
async fn a_certificate_authenticates_a_client_and_strangers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "127.0.0.1:0", &[]);
    let shop = connect(&server, folder.path(), "ca.pem", Some("shop"))
        .await
        .unwrap();
    acquires(&shop).await.unwrap();
    let other = connect(&server, folder.path(), "ca.pem", Some("other")).await;
    assert_eq!(
        other.unwrap_err().kind(),
        ErrorKind::Denied,
        "known, without a permission"
    );

    let strangers = authority(folder.path(), "stranger");
    certificate(
        folder.path(),
        "impostor",
        &strangers,
        uri("spiffe://example/shop"),
    );
    for (ca, identity, reason) in [
        ("stranger.pem", Some("shop"), "invalid peer certificate"),
        (
            "ca.pem",
            Some("impostor"),
            "the server rejects the client certificate",
        ),
        (
            "ca.pem",
            Some("outdated"),
            "the client certificate has expired",
        ),
        ("ca.pem", None, "the server asks for a client certificate"),
    ] {
        let error = connect(&server, folder.path(), ca, identity)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains(reason),
            "{ca} {identity:?}: {error}"
        );
        assert_eq!(
            error.kind(),
            ErrorKind::Denied,
            "{ca} {identity:?}: {error}"
        );
    }
    // A client without TLS is refused.
    let plain = Client::new(Config::new([server.address()]).unwrap()).backend();
    let error = Handle::open(plain, SyncOptions::new()).await.unwrap_err();
    assert!(
        error.to_string().contains("use the scheme `netlocks:`"),
        "{error}"
    );
    let without = Netlockd::start(&[]);
    let error = connect(&without, folder.path(), "ca.pem", Some("shop"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test]
async fn a_new_certificate_is_used_after_sighup_and_an_invalid_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "127.0.0.1:0", &[]);
    let before = connect(&server, folder.path(), "ca.pem", Some("shop"))
        .await
        .unwrap();
    std::fs::write(folder.path().join("server.pem"), "no certificate").unwrap();
    server.signal(Signal::HUP);
    acquires(&before).await.unwrap();
    connect(&server, folder.path(), "ca.pem", Some("shop"))
        .await
        .expect("the old certificate stays");

    change_certificate(folder.path());
    server.signal(Signal::HUP);
    wait_for_new_certificate(&server, folder.path()).await;
    acquires(&before)
        .await
        .expect("a connection of before goes on");
}

#[tokio::test]
async fn a_new_certificate_is_detected_on_a_busy_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "127.0.0.1:0", &["--set", "reread=500ms"]);
    let busy = connect(&server, folder.path(), "ca.pem", Some("shop"))
        .await
        .unwrap();
    change_certificate(folder.path());
    let work = async {
        loop {
            acquires(&busy).await.unwrap();
        }
    };
    tokio::select! {
        () = work => {}
        () = wait_for_new_certificate(&server, folder.path()) => {}
    }
}

fn change_certificate(folder: &Path) {
    certificate(folder, "server", &authority(folder, "next"), here());
}

/// Waits until the server uses the certificate of [`change_certificate`], for less than the default
/// interval at which the server checks its files.
async fn wait_for_new_certificate(server: &Netlockd, folder: &Path) {
    let deadline = clock::now().after(Duration::from_secs(20));
    while connect(server, folder, "next.pem", Some("shop"))
        .await
        .is_err()
    {
        assert!(clock::now() < deadline, "the new certificate is not taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_with_tls_and_authentication_may_listen_for_other_machines() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = ["--listen", "0.0.0.0:0"];
    assert!(complaint(&everywhere).contains("other machines can reach this address"));
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, distsync_netlock::token_line("a", "secret")).unwrap();
    let with_tokens = [&everywhere[..], &["--tokens", tokens.to_str().unwrap()]].concat();
    assert!(
        complaint(&with_tokens).contains("other machines can reach this address"),
        "tokens could be overheard"
    );
    let server = start(folder.path(), "0.0.0.0:0", &[]);
    acquires(
        &connect(&server, folder.path(), "ca.pem", Some("shop"))
            .await
            .unwrap(),
    )
    .await
    .unwrap();
    drop(server);
    Raw::connect(Netlockd::start_at("0.0.0.0:0", &["--insecure-allow-remote"]).address());
}

#[test]
fn half_of_tls_is_a_mistake() {
    let said = complaint(&["--listen", "127.0.0.1:0", "--tls-cert", "/nowhere.pem"]);
    assert!(said.contains("both `tls.cert` and `tls.key`"), "{said}");
    let said = complaint(&[
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        "/nowhere.pem",
        "--tls-key",
        "/nowhere.key",
    ]);
    assert!(said.contains("the file `/nowhere.key`"), "{said}");
}

#[test]
fn failed_handshakes_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(
        folder.path(),
        "127.0.0.1:0",
        &["--admin-listen", "127.0.0.1:0"],
    );
    let metrics = server.said("metrics on ");
    let mut stranger = TcpStream::connect(server.address()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let deadline = clock::now().after(Duration::from_secs(20));
    while !get(&metrics, "/metrics").contains("netlock_failed_handshakes_total 1\n") {
        assert!(clock::now() < deadline, "{}", get(&metrics, "/metrics"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Peers that use all connections and never do the handshake make room for a client.
#[tokio::test]
async fn peers_without_a_handshake_make_room_for_clients() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--connections", "5"];
    let server = start(folder.path(), "127.0.0.1:0", &flags);
    let strangers: Vec<_> = (0..10)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    let client = connect(&server, folder.path(), "ca.pem", Some("shop"))
        .await
        .unwrap();
    acquires(&client).await.unwrap();
    client.close().await.unwrap();
    drop(strangers);
}
