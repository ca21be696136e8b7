//! The program with more connections than one process can have both ends of.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use distsync_core::{LockOptions, Sync};
use distsync_netlock::wire::proto::refused::Code;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::{self, response::Body};
use prost::Message;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::raw::{Raw, enqueue, id, session};
use super::server::Netlockd;

const PEERS: usize = 10_000;

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

/// Many waiters on one connection are granted at one moment, while the client does not read. The
/// replies have more bytes than the limit for replies to watches.
#[test]
fn sixty_thousand_grants_at_one_moment_do_not_end_the_connection() {
    const NAMES: u64 = 60_000;
    let server = Netlockd::start(&[]);
    let [mut holder, mut waiter] = [1, 2].map(|number| {
        let mut raw = Raw::connect(server.address());
        raw.open(proto::Open {
            id: id(number),
            ..session()
        });
        raw
    });
    for (raw, number) in [(&mut holder, 1), (&mut waiter, 2)] {
        for chunk in (0..NAMES).collect::<Vec<_>>().chunks(1_000) {
            for name in chunk {
                raw.send(enqueue(1, number * NAMES + name, &format!("name {name}")));
            }
            for _ in chunk {
                match raw.answer() {
                    Body::Granted(_) if number == 1 => {}
                    Body::Waiting(_) if number == 2 => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert!(matches!(
        holder.ask(Request::Close(proto::Close { session: 1 })),
        Body::Closed(_)
    ));
    // All are granted by now, and no grant was read.
    for _ in 0..NAMES {
        let answer = waiter.answer();
        assert!(matches!(answer, Body::Granted(_)), "{answer:?}");
    }
    assert!(matches!(
        waiter.ask(Request::Renew(proto::Renew { session: 1 })),
        Body::Renewed(_)
    ));
}
