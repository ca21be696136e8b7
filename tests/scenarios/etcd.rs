//! Compaction, fenced transactions and connections of etcd.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use distsync::etcd::etcd_client::{Client, Txn, TxnOp};
use distsync::{ErrorKind, LockOptions, connect};
use distsync_core::conformance::bare;
use distsync_core::spi::Renewal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::stores::Etcd;

#[tokio::test]
async fn etcd_compaction_does_not_lose_a_waiter() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let sync = connect(&format!("etcd://{address}?namespace=shop"))
        .await
        .unwrap();
    let admin = Client::connect([&address], None).await.unwrap();
    let guard = sync
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let second = sync.lock("a", LockOptions::new()).unwrap();
    let (next, released) = tokio::join!(second.acquire(), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let revision = admin
            .kv_client()
            .put("elsewhere", "x", None)
            .await
            .unwrap()
            .header()
            .unwrap()
            .revision();
        admin.kv_client().compact(revision, None).await.unwrap();
        guard.release().await
    });
    released.unwrap();
    next.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn an_etcd_transaction_can_be_fenced_by_a_guard() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let sync = connect(&format!("etcd://{address}")).await.unwrap();
    let mut kv = Client::connect([&address], None).await.unwrap().kv_client();
    let guard = sync
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let fence = distsync::etcd::fence(&guard);
    let write = || {
        Txn::new()
            .when([fence.clone()])
            .and_then([TxnOp::put("data", "x", None)])
    };
    assert!(
        kv.txn(write()).await.unwrap().succeeded(),
        "a holder writes"
    );
    guard.release().await.unwrap();
    assert!(
        !kv.txn(write()).await.unwrap().succeeded(),
        "a former holder writes"
    );
}

/// Forwards what a client of HTTP/2 sends, and counts the streams that it resets.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    resets: &AtomicUsize,
) -> std::io::Result<()> {
    let mut preface = [0; 24];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    loop {
        // Three bytes for the length of the rest, one for the type, five for flags and stream.
        let mut frame = vec![0; 9];
        from.read_exact(&mut frame).await?;
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
        frame.resize(9 + usize::try_from(length).unwrap(), 0);
        from.read_exact(&mut frame[9..]).await?;
        if frame[3] == 3 {
            resets.fetch_add(1, Ordering::SeqCst);
        }
        to.write_all(&frame).await?;
    }
}

async fn serve(client: TcpStream, port: u16, resets: &AtomicUsize) {
    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    // Each ends with its connection.
    tokio::select! {
        _ = forward(from_client, to_server, resets) => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

/// A proxy in front of etcd that counts.
struct Counting {
    url: String,
    connections: Arc<AtomicUsize>,
    resets: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Counting {
    async fn start(etcd: &Etcd) -> Self {
        let port = etcd.port();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("etcd://{}", listener.local_addr().unwrap());
        let [connections, resets] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let counted = (connections.clone(), resets.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                counted.0.fetch_add(1, Ordering::SeqCst);
                let resets = counted.1.clone();
                open.spawn(async move { serve(client, port, &resets).await });
            }
        });
        Self {
            url,
            connections,
            resets,
            _serving: serving,
        }
    }
}

/// A client of HTTP/2 forgets a stream that it resets if it has reset 50 others within a second,
/// and it closes a connection after a thousand replies to forgotten streams.
#[tokio::test]
async fn a_renewal_resets_no_stream() {
    let etcd = Etcd::start();
    let proxy = Counting::start(&etcd).await;
    let (backend, _) = distsync::spi::backend(&proxy.url).unwrap();
    let session = backend
        .open(&bare::spec(Duration::from_secs(60)))
        .await
        .unwrap();
    for _ in 0..100 {
        let renewed = backend.renew(&session).await.unwrap();
        assert!(matches!(renewed, Renewal::Renewed { .. }));
    }
    backend.close(&session).await.unwrap();
    assert_eq!(proxy.resets.load(Ordering::SeqCst), 0);
}

/// etcd closes a connection without requests after three pings.
#[tokio::test]
async fn an_idle_connection_stays_open() {
    let etcd = Etcd::start();
    let proxy = Counting::start(&etcd).await;
    let sync = connect(&proxy.url).await.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    lock.acquire().await.unwrap().release().await.unwrap();
    let before = proxy.connections.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(30)).await;
    lock.acquire().await.unwrap().release().await.unwrap();
    assert_eq!(proxy.connections.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn a_connection_that_the_other_end_closes_is_not_a_reply_of_etcd() {
    // The error codes of HTTP/2: no error, internal error, and too many requests.
    for code in [0, 2, 11] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _serving = JoinSet::from_iter([async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.read_u8().await.ok();
                // The frames SETTINGS and GOAWAY.
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.ok();
                let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, code];
                stream.write_all(&go_away).await.ok();
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.ok();
            }
        }]);
        let error = connect(&format!("etcd://{address}"))
            .await
            .expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{code}: {error:?}");
        assert!(error.is_retryable(), "{code}: {error:?}");
    }
}
