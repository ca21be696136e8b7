//! What the file says: a reboot, a file of another program, a path that leads nowhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use distsync::spi::conformance::bare;
use distsync::spi::{Backend, Renewal, Standing};
use distsync::{ErrorKind, Kind, LockName, Namespace, Token};
use distsync_example_sqlite::{Config, Sqlite};
use rusqlite::Connection;

fn backend(file: &Path) -> Arc<dyn Backend> {
    Arc::new(Sqlite::new(Config::new(file)))
}

fn name() -> LockName {
    LockName::new(&Namespace::default(), Kind::Lock, "a").unwrap()
}

async fn granted(backend: &dyn Backend) -> (distsync::spi::Session, Token) {
    let session = backend
        .open(&bare::spec(Duration::from_secs(60)))
        .await
        .unwrap();
    match backend
        .enqueue(&bare::claim(session, name()))
        .await
        .unwrap()
    {
        Standing::Granted { token } => (session, token),
        other => panic!("expected a grant: {other:?}"),
    }
}

/// After a reboot the moments in the file mean nothing, and no process lives that holds a lock.
#[tokio::test]
async fn a_reboot_ends_all_sessions_and_tokens_keep_rising() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("locks.db");
    let (session, before) = granted(&*backend(&file)).await;
    let another_boot = "UPDATE store SET boot = randomblob(16)";
    assert_eq!(
        Connection::open(&file)
            .unwrap()
            .execute(another_boot, [])
            .unwrap(),
        1
    );

    let after_it = backend(&file);
    assert_eq!(after_it.renew(&session).await.unwrap(), Renewal::Expired);
    let (_, after) = granted(&*after_it).await;
    assert!(after > before, "{after} after {before}");
}

/// Another handle of the same boot leaves the sessions alone.
#[tokio::test]
async fn another_handle_of_this_boot_finds_the_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("locks.db");
    let (session, _) = granted(&*backend(&file)).await;
    let renewed = Renewal::Renewed { ttl: session.ttl };
    assert_eq!(backend(&file).renew(&session).await.unwrap(), renewed);
}

#[tokio::test]
async fn errors_name_the_file_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "no database ".repeat(100)).unwrap();
    let missing = folder.path().join("missing/locks.db");
    for (file, kind, remedy) in [
        (&text, ErrorKind::Store, "is this a file of this store?"),
        (&missing, ErrorKind::Unavailable, "does its folder exist"),
    ] {
        let error = backend(file).list("").await.unwrap_err();
        let said = error.to_string();
        assert_eq!(error.kind(), kind, "{said}");
        assert!(!error.is_retryable(), "{said}");
        assert!(said.contains(remedy), "{said}");
        assert!(said.contains(&file.display().to_string()), "{said}");
    }
}
