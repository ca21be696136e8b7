//! The program with more connections than one process can have both ends of.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{LockOptions, Sync, Wait};
use distsync_netlock::wire::proto::refused::Code;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::{self, response::Body};
use prost::Message;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::raw::{self, Raw, enqueue, id};
use super::server::Netlockd;

const PEERS: usize = 10_000;

/// Keeps the tests of this file apart. Each of them uses all processors for a while, and some
/// measure waits or memory.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Returns a request for a session that outlives its test on a busy machine. Nothing renews it.
fn session() -> proto::Open {
    proto::Open {
        ttl_ms: 3_600_000,
        ..raw::session()
    }
}

/// Raises the limit of open files of this process, for one per peer.
fn make_room() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Some(PEERS as u64 + 500);
    if limit.current.is_some_and(|current| Some(current) < wanted) {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: wanted,
                maximum: limit.maximum,
            },
        )
        .expect("10,500 open files: raise the hard limit (ulimit -Hn)");
    }
}

/// Returns the reason that the server gives before it closes the connection.
fn refused(peer: &mut TcpStream) -> Code {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    let response = proto::Response::decode(&bytes[4..]).unwrap();
    match response.body {
        Some(Body::Refused(refused)) => refused.code(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn ten_thousand_idle_or_slow_peers_cost_little_and_are_told_why_they_are_closed() {
    let _alone = ALONE.lock().await;
    make_room();
    let server = Netlockd::start(&[]);
    let good = server.connect(Duration::from_secs(15)).await;
    let lock = good.lock("a", LockOptions::new()).unwrap();
    let pair = async || {
        let pair = async { lock.acquire().await.unwrap().release().await.unwrap() };
        tokio::time::timeout(Duration::from_secs(5), pair)
            .await
            .expect("a good client waits for bad ones")
    };
    pair().await;

    let before = server.resident();
    let mut peers = Vec::new();
    for number in 0..PEERS {
        let peer = TcpStream::connect(server.address()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        peers.push(peer);
        // Wait for the server: if the kernel's queue of new connections is full, it may drop one
        // that sends nothing.
        if number % 100 == 0 {
            pair().await;
        }
    }
    for _ in 0..3 {
        // Every other peer sends a frame byte by byte. The server may have closed the connection by
        // now.
        for peer in peers.iter_mut().step_by(2) {
            let _ = peer.write_all(&[0]);
        }
        pair().await;
    }
    let each = server.resident().saturating_sub(before) / PEERS;
    assert!(each < 16 << 10, "{each} bytes for each peer");

    for peer in &mut peers {
        assert_eq!(refused(peer), Code::TooSlow);
    }
    pair().await;
    good.close().await.unwrap();
}

/// Connections that inspect or watch a long queue and do not read cost the server a bounded amount
/// of memory, and a client that reads is served meanwhile.
#[test]
fn unread_replies_use_a_bounded_amount_of_memory() {
    const CLAIMS: u64 = 10_000;
    const PEERS: usize = 100;
    // 64 MiB of waiting replies, and one that is being encoded for each thread.
    const LIMIT: usize = 192 << 20;
    let _alone = ALONE.blocking_lock();
    let server = Netlockd::start(&[]);
    let mut good = Raw::connect(server.address());
    good.open(session());
    for chunk in (0..CLAIMS).collect::<Vec<_>>().chunks(500) {
        for claim in chunk {
            let Request::Enqueue(mut request) = enqueue(1, *claim, "a") else {
                unreachable!()
            };
            request.value = vec![b'v'; 1_024].into();
            good.send(Request::Enqueue(request));
        }
        for _ in chunk {
            assert!(matches!(good.answer(), Body::Granted(_) | Body::Waiting(_)));
        }
    }
    let name = || b"a".to_vec().into();
    let inspect = |_: u64| Request::Inspect(proto::Inspect { name: name() });
    let watch = |after: u64| {
        Request::Changed(proto::Changed {
            name: name(),
            after,
        })
    };
    for (round, request) in (1..).zip([&inspect as &dyn Fn(u64) -> Request, &watch]) {
        let Body::Queue(queue) = good.ask(inspect(0)) else {
            panic!("no queue")
        };
        server.forget_peak();
        let before = server.resident();
        let peers: Vec<_> = (0..PEERS)
            .map(|_| {
                let mut raw = Raw::connect(server.address());
                for _ in 0..3 {
                    raw.send(request(queue.revision));
                }
                if round == 2 {
                    // The watch is registered.
                    raw.ask(Request::Renew(proto::Renew { session: 1 }));
                }
                raw
            })
            .collect();
        // Change the queue, which notifies its watchers.
        good.send(Request::Withdraw(proto::Withdraw {
            session: 1,
            claim: id(CLAIMS - round),
        }));
        // The reply to its Enqueue has arrived too, so it no longer waits.
        let answers = [good.answer(), good.answer()];
        assert!(
            answers
                .iter()
                .any(|answer| matches!(answer, Body::Withdrawn(_))),
            "{answers:?}"
        );
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(50));
            assert!(matches!(
                good.ask(Request::Renew(proto::Renew { session: 1 })),
                Body::Renewed(_)
            ));
        }
        let most = server.peak().saturating_sub(before);
        assert!(
            most < LIMIT,
            "{} MiB for answers that nobody reads",
            most >> 20
        );
        drop(peers);
    }
}

/// Returns a request of claim `number` for one of two names, of which the first is long. The reply
/// that grants it contains the name.
fn enqueue_any(number: u64, group: &str) -> Request {
    let names = [
        long_name(number, group),
        format!("{group} {}", number / 100),
    ];
    Request::EnqueueAll(proto::EnqueueAll {
        session: 1,
        claim: id(number + 1),
        names: names.map(|name| name.into_bytes().into()).to_vec(),
        any: true,
        ..proto::EnqueueAll::default()
    })
}

fn long_name(number: u64, group: &str) -> String {
    format!("{group} {number} {}", "n".repeat(250))
}

/// Sends these requests many at a time, and passes the replies to `check`.
fn send_all(raw: &mut Raw, requests: impl IntoIterator<Item = Request>, check: fn(&Body) -> bool) {
    let mut requests = requests.into_iter().peekable();
    while requests.peek().is_some() {
        let mut sent = 0;
        for request in requests.by_ref().take(500) {
            raw.send(request);
            sent += 1;
        }
        for _ in 0..sent {
            let answer = raw.answer();
            assert!(check(&answer), "{answer:?}");
        }
    }
}

/// Many waiters on one connection are granted at one moment. The replies have more bytes than the
/// limit for replies to watches and than the buffers of the kernel. A client that reads them slowly
/// gets all of them, although that takes several times the write timeout. One that reads nothing is
/// cut off. The memory is bounded.
#[test]
fn a_crowd_of_grants_ends_the_connection_only_if_the_client_does_not_read() {
    const SLOW: u64 = 60_000;
    const DEAF: u64 = 30_000;
    // The replies that are not encoded yet, the names in them, and the claims themselves.
    const LIMIT: usize = 96 << 20;
    let _alone = ALONE.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("netlockd.toml");
    std::fs::write(&config, "[limits]\nwrite_timeout = \"1s\"\n").unwrap();
    let server = Netlockd::start(&["--config", config.to_str().unwrap()]);
    let [mut holder, mut slow, mut deaf] = [1, 2, 3].map(|number| {
        let mut raw = Raw::connect(server.address());
        raw.open(proto::Open {
            id: id(number),
            ..session()
        });
        raw
    });
    let groups = [("slow", SLOW), ("deaf", DEAF)];
    let names = groups.iter().flat_map(|(group, count)| {
        let shared = (0..count.div_ceil(100)).map(move |number| format!("{group} {number}"));
        shared.chain((0..*count).map(move |number| long_name(number, group)))
    });
    let held = (1..)
        .zip(names)
        .map(|(number, name)| enqueue(1, 1 << 40 | number, &name));
    send_all(&mut holder, held, |answer| {
        matches!(answer, Body::Granted(_))
    });
    for (raw, first, (group, count)) in [(&mut slow, 0, groups[0]), (&mut deaf, SLOW, groups[1])] {
        let waiting = (0..count).map(|number| {
            let Request::EnqueueAll(mut request) = enqueue_any(number, group) else {
                unreachable!()
            };
            request.claim = id(first + number + 1);
            Request::EnqueueAll(request)
        });
        send_all(raw, waiting, |answer| matches!(answer, Body::Waiting(_)));
    }
    server.forget_peak();
    let before = server.resident();
    assert!(matches!(
        holder.ask(Request::Close(proto::Close { session: 1 })),
        Body::Closed(_)
    ));
    // All are granted by now, and no grant was read.
    let closed = clock::now();
    for number in 0..SLOW {
        let answer = slow.answer();
        assert!(matches!(answer, Body::Granted(_)), "{answer:?}");
        if number % 1_000 == 0 {
            std::thread::sleep(Duration::from_millis(60));
        }
    }
    assert!(
        clock::now().since(closed) > Duration::from_secs(3),
        "slowly"
    );
    assert!(matches!(
        slow.ask(Request::Renew(proto::Renew { session: 1 })),
        Body::Renewed(_)
    ));
    let most = server.peak().saturating_sub(before);
    assert!(most < LIMIT, "{} MiB for grants", most >> 20);
    let read = (0..DEAF).take_while(|_| deaf.try_answer().is_ok()).count();
    assert!(read < 30_000, "cut off, and not after it began to read");
}

/// Many tasks of one client wait for a name each, and are granted at one moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_thousand_waiters_of_one_handle_are_granted_at_one_moment() {
    const NAMES: u64 = 60_000;
    let _alone = ALONE.lock().await;
    let server = Netlockd::start(&[]);
    let mut holder = Raw::connect(server.address());
    holder.open(session());
    let held = (1..=NAMES).map(|number| enqueue(1, number, &format!("distsync/l/{number}")));
    send_all(&mut holder, held, |answer| {
        matches!(answer, Body::Granted(_))
    });
    let handle = server.connect(Duration::from_secs(60)).await;
    let queued = Arc::new(AtomicU64::new(0));
    let mut waiters = JoinSet::new();
    for number in 1..=NAMES {
        let told = queued.clone();
        let options = LockOptions::new()
            .with_wait(Wait::For(Duration::from_secs(120)))
            .with_on_wait(move |_| {
                told.fetch_add(1, Ordering::Relaxed);
            });
        let lock = handle.lock(&number.to_string(), options).unwrap();
        waiters.spawn(async move { lock.acquire().await });
        while queued.load(Ordering::Relaxed) + 1_000 < number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    while queued.load(Ordering::Relaxed) < NAMES {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    holder.send(Request::Close(proto::Close { session: 1 }));
    let all = async {
        let mut guards = Vec::new();
        while let Some(guard) = waiters.join_next().await {
            guards.push(guard.unwrap().expect("granted"));
        }
        guards
    };
    let guards = tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("no grant is lost");
    assert!(
        guards
            .iter()
            .all(|guard| guard.check(Duration::ZERO).is_ok())
    );
    assert_eq!(
        queued.load(Ordering::Relaxed),
        NAMES,
        "no request was repeated"
    );
    handle.close().await.unwrap();
}
