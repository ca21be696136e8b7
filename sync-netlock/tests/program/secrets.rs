//! Neither the server nor a client logs a secret, also at the most detailed level. Every test in
//! this folder checks that for its server; this one uses all secrets at once.

use std::time::Duration;

use distsync_core::conformance::secrets;
use distsync_core::{Handle, LockOptions, Sync, SyncOptions};
use distsync_netlock::{Client, Config, token_line};

use super::server::Netlockd;

const TOKEN: &str = "a-token-that-nobody-else-has";
const WRONG: &str = "wrong-and-secret-too";

#[tokio::test]
async fn logs_contain_no_secret_at_any_level() {
    secrets::note(TOKEN);
    secrets::note(WRONG);
    let folder = tempfile::tempdir().unwrap();
    let (tokens, data) = (folder.path().join("tokens"), folder.path().join("data"));
    std::fs::write(&tokens, token_line("somebody", TOKEN)).unwrap();
    let server = Netlockd::start(&[
        "--tokens",
        tokens.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    let before = secrets::searched();

    let config = Config::new([server.address()]).unwrap().with_token(TOKEN);
    let options = SyncOptions::new().with_session_ttl(Duration::from_secs(2));
    let handle = Handle::open(Client::new(config).backend(), options)
        .await
        .unwrap();
    let lock = handle
        .lock("a", LockOptions::new().with_ttl(Duration::from_secs(60)))
        .unwrap();
    let ticket = lock.acquire().await.unwrap().detach().unwrap();
    assert!(
        secrets::found_in(&ticket.expose()).is_some(),
        "what is looked for is what is secret"
    );
    // Cause a renewal and a refusal.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = handle.resume(&ticket).await.unwrap();
    other.release().await.unwrap();
    handle.resume(&ticket).await.unwrap_err();
    let wrong = Config::new([server.address()]).unwrap().with_token(WRONG);
    Handle::open(Client::new(wrong).backend(), SyncOptions::new())
        .await
        .unwrap_err();
    handle.close().await.unwrap();

    assert!(secrets::searched() > before, "the client logs something");
    assert!(
        server.logged().contains("DEBUG"),
        "the server logs something: {}",
        server.logged()
    );
}
