//! A client uses one table: servers that share no locks are never mistaken for one server.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Error, ErrorKind, Handle, LockOptions, Result, Sync, SyncOptions, Wait};
use distsync_netlock::{Client, Config};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::server::{Netlockd, acquire, complaint};

const TTL: Duration = Duration::from_secs(20);

/// Connects, acquires, releases and closes.
async fn use_once(addresses: &[&str], table: Option<&str>) -> Result<()> {
    let mut config = Config::new(addresses.iter().copied())?;
    if let Some(table) = table {
        config = config.with_table(table)?;
    }
    let handle = Handle::open(
        Client::new(config).backend(),
        SyncOptions::new().with_session_ttl(TTL),
    )
    .await?;
    let options = LockOptions::new().with_wait(Wait::For(Duration::from_secs(10)));
    handle
        .lock("name", options)?
        .acquire()
        .await?
        .release()
        .await?;
    handle.close().await
}

async fn refusal(addresses: &[&str], table: Option<&str>) -> Error {
    let error = use_once(addresses, table).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    error
}

/// Returns an address that accepts connections and never replies.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Returns an address where no server listens.
fn dead() -> String {
    silent().1
}

#[tokio::test]
async fn two_servers_are_never_one_table() {
    let (mut a, mut b) = (Netlockd::start(&[]), Netlockd::start(&[]));
    let (table_a, table_b) = (a.table(), b.table());
    let error = refusal(&[a.address(), b.address()], None).await.to_string();
    assert!(
        error.contains(&table_a) && error.contains(&table_b),
        "{error}"
    );
    // One of them does not reply, so the client cannot know whether it is another server.
    a.signal(Signal::STOP);
    for addresses in [[a.address(), b.address()], [b.address(), a.address()]] {
        let error = refusal(&addresses, None).await.to_string();
        assert!(error.contains(&format!("table={table_b}")), "{error}");
    }
    a.signal(Signal::CONT);
    let error = refusal(&[&dead(), &dead()], None).await.to_string();
    assert!(error.contains("table=ID"), "{error}");
    // The client uses only the table that its URL names.
    refusal(&[b.address()], Some(&table_a)).await;
    for addresses in [[a.address(), b.address()], [b.address(), a.address()]] {
        use_once(&addresses, Some(&table_a)).await.unwrap();
    }
    a.signal(Signal::KILL);
    a.ended();
    refusal(&[a.address(), b.address()], Some(&table_a)).await;
}

#[tokio::test]
async fn a_dead_or_silent_address_does_not_delay_the_client() {
    let mut server = Netlockd::start(&[]);
    let table = server.table();
    let (_listener, silent) = silent();
    for other in [dead(), silent] {
        for addresses in [[server.address(), &other], [&other, server.address()]] {
            let start = clock::now();
            for _ in 0..25 {
                use_once(&addresses, Some(&table)).await.unwrap();
            }
            let taken = clock::now().since(start);
            assert!(taken < Duration::from_secs(25), "{addresses:?}: {taken:?}");
        }
    }
}

#[tokio::test]
async fn a_table_stays_with_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--data-dir", folder.path().to_str().unwrap()];
    let mut server = Netlockd::start(&flags);
    let table = server.table();
    server.end(Signal::TERM);
    let mut server = Netlockd::start(&flags);
    assert_eq!(server.table(), table);
    server.end(Signal::TERM);
    let other = "00000000000000000000000000000001";
    let said = complaint(&[&["--listen", "127.0.0.1:0", "--table", other], &flags[..]].concat());
    assert!(said.contains(&table) && said.contains(other), "{said}");
    let mut given = Netlockd::start(&["--table", other]);
    assert_eq!(given.table(), other);
    assert!(complaint(&["--table", "mine"]).contains("`mine` is not the identity"));
}

#[tokio::test]
async fn a_server_without_a_folder_has_a_new_table_after_a_restart() {
    let mut server = Netlockd::start(&[]);
    let (table, address) = (server.table(), server.address().to_owned());
    let free = server.connect(TTL).await;
    let held = acquire(&free, "name").await;
    server.end(Signal::KILL);
    let mut server = Netlockd::start_at(&address, &[]);
    assert_ne!(server.table(), table);
    // With one address and no table in the URL, the client continues with the new table, after it
    // has lost its locks.
    tokio::time::timeout(TTL * 2, held.revoked()).await.unwrap();
    drop(acquire(&free, "name").await);
    refusal(&[&address], Some(&table)).await;
}

/// A proxy to a server that can be cut: its connections close, and new ones are refused.
struct Way {
    address: String,
    open: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (open, is_open) = watch::channel(true);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut is_open) = (server.clone(), is_open.clone());
                carried.spawn(async move {
                    if *is_open.borrow() {
                        let mut far = TcpStream::connect(server).await.unwrap();
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                            _ = is_open.wait_for(|open| !open) => {}
                        }
                    }
                });
            }
        });
        Self {
            address,
            open,
            _task: task,
        }
    }
}

/// Acquires and releases until it is stopped, and counts the holders. A holder counts if the check
/// of its guard succeeds.
async fn hold_in_turn(
    handle: Handle,
    holders: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> (usize, usize) {
    let (mut grants, mut overlaps) = (0, 0);
    let lock = handle.lock("name", LockOptions::new()).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let guard = match tokio::time::timeout(Duration::from_millis(500), lock.acquire()).await {
            Ok(Ok(guard)) => guard,
            _ => continue,
        };
        if guard.check(Duration::ZERO).is_ok() {
            grants += 1;
            let others = holders.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            if others > 0 && guard.check(Duration::ZERO).is_ok() {
                overlaps += 1;
            }
            holders.fetch_sub(1, Ordering::SeqCst);
        }
        drop(guard);
    }
    (grants, overlaps)
}

/// The connections of one client are cut for a second, while the other address leads to a server
/// with another table. The client waits for its own.
#[tokio::test]
async fn a_client_that_is_cut_off_for_a_second_does_not_use_another_table() {
    let (mut a, b) = (Netlockd::start(&[]), Netlockd::start(&[]));
    let table = a.table();
    let way = Way::to(a.address().to_owned()).await;
    let (holders, stop) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut clients = JoinSet::new();
    for first in [way.address.clone(), a.address().to_owned()] {
        let config = Config::new([first, b.address().to_owned()])
            .unwrap()
            .with_table(&table)
            .unwrap();
        let options = SyncOptions::new().with_session_ttl(Duration::from_secs(4));
        let handle = Handle::open(Client::new(config).backend(), options)
            .await
            .unwrap();
        clients.spawn(hold_in_turn(handle, holders.clone(), stop.clone()));
    }
    for open in [true, false, true, false, true] {
        way.open.send_replace(open);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for (grants, overlaps) in clients.join_all().await {
        assert!(grants > 0, "one of the clients was never granted");
        assert_eq!(overlaps, 0, "two hold at one moment ({grants} grants)");
    }
}
