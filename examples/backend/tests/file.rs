//! What the file says: a reboot, a file of another program, a path that leads nowhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use distsync::spi::conformance::bare;
use distsync::spi::{Backend, Renewal, Session, Standing, clock};
use distsync::{ErrorKind, Kind, LockName, Namespace, Token};
use distsync_example_sqlite::{Config, Sqlite};
use rusqlite::Connection;

fn backend(file: &Path) -> Arc<dyn Backend> {
    Arc::new(Sqlite::new(Config::new(file)))
}

fn name_of(plain: &str) -> LockName {
    LockName::new(&Namespace::default(), Kind::Lock, plain).unwrap()
}

async fn granted(backend: &dyn Backend) -> (Session, Token) {
    let session = backend
        .open(&bare::spec(Duration::from_secs(60)))
        .await
        .unwrap();
    match backend
        .enqueue(&bare::claim(session, name_of("a")))
        .await
        .unwrap()
    {
        Standing::Granted { token } => (session, token),
        other => panic!("expected a grant: {other:?}"),
    }
}

/// Makes the file one of an earlier boot.
fn reboot(file: &Path) {
    let file = Connection::open(file).unwrap();
    let another_boot = "UPDATE store SET boot = randomblob(16)";
    assert_eq!(file.execute(another_boot, []).unwrap(), 1);
}

/// After a reboot the moments in the file mean nothing, and no process lives that holds a lock.
#[tokio::test]
async fn a_reboot_ends_all_sessions_and_tokens_keep_rising() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("locks.db");
    let (session, before) = granted(&*backend(&file)).await;
    reboot(&file);
    let after_it = backend(&file);
    assert_eq!(after_it.renew(&session).await.unwrap(), Renewal::Expired);
    let (_, after) = granted(&*after_it).await;
    assert!(after > before, "{after} after {before}");
}

/// A power failure takes all steps of a boot but the first, which waited for the disk.
#[tokio::test]
async fn tokens_rise_although_a_power_failure_took_the_latest_grants() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = |name: &str| folder.path().join(name);
    let file = on_disk("locks.db");
    let backend_before = backend(&file);
    backend_before.list("").await.unwrap();
    for name in ["locks.db", "locks.db-wal"] {
        std::fs::copy(on_disk(name), on_disk(&format!("{name}.disk"))).unwrap();
    }
    let (session, _) = granted(&*backend_before).await;
    let mut newest = None;
    for _ in 0..10 {
        let claim = bare::claim(session, name_of("b"));
        match backend_before.enqueue(&claim).await.unwrap() {
            Standing::Granted { token } => newest = Some(token),
            other => panic!("expected a grant: {other:?}"),
        }
        backend_before.withdraw(&claim).await.unwrap();
    }
    drop(backend_before);
    // The thread closes the file some time after the handle was dropped.
    let shm = on_disk("locks.db-shm");
    let deadline = clock::now().after(Duration::from_secs(10));
    while shm.exists() {
        assert!(clock::now() < deadline, "the file is still open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for name in ["locks.db", "locks.db-wal"] {
        std::fs::copy(on_disk(&format!("{name}.disk")), on_disk(name)).unwrap();
    }
    reboot(&file);
    let (_, after) = granted(&*backend(&file)).await;
    assert!(Some(after) > newest, "{after} after {newest:?}");
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
