//! Peers that violate the protocol or its limits: the server refuses them or closes the connection,
//! and other clients are not affected.

use std::io::{ErrorKind as Io, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Handle, LockOptions, Sync, SyncOptions};
use distsync_netlock::wire::proto::refused::Code;
use distsync_netlock::wire::proto::{self, request::Body as Request, response::Body as Response};
use distsync_netlock::wire::{VERSION, encode};
use distsync_netlock::{Client, Config, Server, ServerOptions};
use prost::Message;
use tokio_util::sync::CancellationToken;

struct Running {
    address: SocketAddr,
    observer: distsync_netlock::Observer,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(options: ServerOptions) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Server::bind("127.0.0.1:0", options).await.unwrap();
                tell.send((server.address(), server.observer())).unwrap();
                server.run(stopping).await;
            });
        });
        let (address, observer) = told.recv().unwrap();
        Self {
            address,
            observer,
            stop,
            thread: Some(thread),
        }
    }

    fn raw(&self) -> Raw {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Raw { stream }
    }

    fn greeted(&self) -> Raw {
        let mut raw = self.raw();
        raw.send(
            1,
            Request::Hello(proto::Hello {
                version: VERSION,
                token: String::new(),
                ..proto::Hello::default()
            }),
        );
        assert!(matches!(
            raw.receive().unwrap().body,
            Some(Response::Welcome(_))
        ));
        raw
    }

    async fn good(&self) -> Handle {
        let backend = Client::new(Config::new([self.address.to_string()]).unwrap()).backend();
        Handle::open(backend, SyncOptions::new()).await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A peer that sends raw bytes.
struct Raw {
    stream: TcpStream,
}

impl Raw {
    fn send(&mut self, id: u64, body: Request) {
        let mut out = Vec::new();
        encode(
            &proto::Request {
                id,
                body: Some(body),
            },
            &mut out,
        );
        self.stream.write_all(&out).unwrap();
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // The server may have closed the connection by now.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the next response. `None` after the server has closed the connection.
    fn receive(&mut self) -> Option<proto::Response> {
        let mut header = [0; 4];
        match self.stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), Io::UnexpectedEof | Io::ConnectionReset) => {
                return None;
            }
            Err(error) => panic!("{error}"),
        }
        let mut body = vec![0; u32::from_be_bytes(header) as usize];
        self.stream.read_exact(&mut body).unwrap();
        Some(proto::Response::decode(&*body).unwrap())
    }

    /// Checks that the server refuses with `code`, and closes the connection if `closes`.
    fn refused(&mut self, code: Code) -> proto::Refused {
        match self.receive().expect("an answer").body {
            Some(Response::Refused(refused)) => {
                assert_eq!(refused.code(), code, "{}", refused.message);
                assert!(!refused.message.is_empty());
                refused
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    fn closed(&mut self) {
        assert!(self.receive().is_none(), "the server goes on");
    }
}

fn open(ttl_ms: u64) -> Request {
    let id = Some(proto::Id {
        high: 1,
        low: ttl_ms,
    });
    Request::Open(proto::Open {
        session: 1,
        id,
        secret: id,
        ttl_ms,
        client: "raw".to_owned(),
        release_on_disconnect: false,
        isolation: Vec::new().into(),
    })
}

fn enqueue(name: &[u8], mode: i32, permits: u32) -> Request {
    Request::Enqueue(proto::Enqueue {
        session: 1,
        claim: Some(proto::Id {
            high: 2,
            low: u64::from(permits),
        }),
        name: name.to_vec().into(),
        mode,
        permits,
        r#try: true,
        value: Vec::new().into(),
    })
}

#[test]
fn a_peer_that_violates_the_protocol_is_refused_and_disconnected() {
    let server = Running::start(ServerOptions::default());

    let mut raw = server.raw();
    raw.send(7, Request::Ping(proto::Ping {}));
    raw.refused(Code::NotGreeted);
    raw.closed();

    let mut raw = server.raw();
    raw.send(
        7,
        Request::Hello(proto::Hello {
            version: 9,
            token: String::new(),
            ..proto::Hello::default()
        }),
    );
    assert!(
        raw.refused(Code::VersionUnknown)
            .message
            .contains("version 9")
    );
    raw.closed();

    let mut raw = server.raw();
    raw.bytes(&5_000u32.to_be_bytes());
    let refused = raw.refused(Code::FrameTooLong);
    assert!(refused.message.contains("5000 bytes"), "{refused:?}");
    assert_eq!(refused.limit, 4_096, "before the greeting");
    raw.closed();

    let mut raw = server.greeted();
    raw.bytes(&u32::MAX.to_be_bytes());
    raw.refused(Code::FrameTooLong);
    raw.closed();

    for bad in [
        &b"\xff\xff\xff\xff"[..],
        b"\x08\x01\xa2\x06\x00",
        b"\x08\x01",
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut raw = server.greeted();
        raw.bytes(&u32::try_from(bad.len()).unwrap().to_be_bytes());
        raw.bytes(bad);
        raw.refused(Code::Malformed);
        raw.closed();
    }

    // A claim without an id is invalid.
    let mut raw = server.greeted();
    raw.send(2, open(1_000));
    raw.receive().unwrap();
    raw.send(
        3,
        Request::Withdraw(proto::Withdraw {
            session: 1,
            claim: None,
        }),
    );
    raw.refused(Code::Malformed);
    raw.closed();
}

#[test]
fn an_invalid_request_is_refused_and_the_connection_stays_open() {
    let server = Running::start(ServerOptions::default());
    let mut raw = server.greeted();
    raw.send(2, open(0));
    let refused = raw.refused(Code::TtlOutOfRange);
    assert_eq!((refused.floor, refused.limit), (100, 86_400_000));
    raw.send(2, open(u64::MAX));
    raw.refused(Code::TtlOutOfRange);
    raw.send(3, enqueue(b"a", 0, 0));
    raw.refused(Code::SessionUnknown);
    raw.send(2, open(10_000));
    assert!(matches!(
        raw.receive().unwrap().body,
        Some(Response::Opened(_))
    ));
    for name in [&b""[..], b"a\nb", b"\xff\xfe", &[b'x'; 3_000]] {
        raw.send(3, enqueue(name, 0, 0));
        raw.refused(Code::NameInvalid);
    }
    for (mode, permits) in [(2, 0), (2, 65_536), (2, u32::MAX), (3, 0), (-1, 1)] {
        raw.send(3, enqueue(b"a", mode, permits));
        raw.refused(Code::NoPermits);
    }
    raw.send(4, enqueue(b"a", 2, 2));
    assert!(matches!(
        raw.receive().unwrap().body,
        Some(Response::Granted(_))
    ));
    raw.send(5, enqueue(b"a", 2, 3));
    assert_eq!(raw.refused(Code::PermitsDiffer).limit, 2);

    // The session of another client, without its secret.
    let mut thief = server.greeted();
    let (id, wrong) = (
        Some(proto::Id {
            high: 1,
            low: 10_000,
        }),
        Some(proto::Id { high: 9, low: 9 }),
    );
    thief.send(
        2,
        Request::Attach(proto::Attach {
            session: 1,
            id,
            secret: wrong,
        }),
    );
    thief.refused(Code::SessionUnknown);
    thief.send(3, Request::Close(proto::Close { session: 1 }));
    thief.refused(Code::SessionUnknown);
    assert_eq!(server.observer.stats().sessions, 1);
}

#[test]
fn a_truncated_frame_a_silent_peer_and_a_partial_greeting_time_out() {
    let options = ServerOptions {
        greeting_timeout: Duration::from_millis(300),
        request_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(900),
        ..ServerOptions::default()
    };
    let server = Running::start(options);
    let start = clock::now();
    let mut silent = server.raw();
    let mut half = server.raw();
    half.bytes(&[0, 0]);
    let mut truncated = server.greeted();
    truncated.bytes(&[0, 0, 0, 9, 8]);
    let mut idle = server.greeted();
    for (raw, reason) in [
        (&mut silent, "no greeting"),
        (&mut half, "no greeting"),
        (&mut truncated, "not completed"),
        (&mut idle, "silent"),
    ] {
        assert!(raw.refused(Code::TooSlow).message.contains(reason));
        raw.closed();
    }
    assert!(clock::now().since(start) >= Duration::from_millis(900));
}

#[test]
fn one_connection_too_many_is_refused() {
    let server = Running::start(ServerOptions {
        connections: 2,
        ..ServerOptions::default()
    });
    let (first, _second) = (server.greeted(), server.greeted());
    let mut third = server.raw();
    third.refused(Code::Overloaded);
    third.closed();
    drop(first);
    let deadline = clock::now().after(Duration::from_secs(5));
    loop {
        let mut again = server.raw();
        again.send(
            1,
            Request::Hello(proto::Hello {
                version: VERSION,
                token: String::new(),
                ..proto::Hello::default()
            }),
        );
        if let Some(proto::Response {
            body: Some(Response::Welcome(_)),
            ..
        }) = again.receive()
        {
            break;
        }
        assert!(
            clock::now() < deadline,
            "a place that was given up is not given again"
        );
    }
}

/// Returns the resident memory of this process, which includes the server, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[tokio::test]
async fn peers_that_never_read_are_disconnected_and_do_not_affect_others() {
    let options = ServerOptions {
        write_timeout: Duration::from_millis(500),
        ..ServerOptions::default()
    };
    let server = Running::start(options);
    let good = server.good().await;
    // A queue with a long reply: 40 readers with 1 KiB each.
    let readers = good
        .lock(
            "some name",
            LockOptions::shared().with_value(vec![7; 1_024]),
        )
        .unwrap();
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(readers.acquire().await.unwrap());
    }
    let before = resident();
    let address = server.address;
    // 256 peers request it again and again and read nothing, until the server closes the
    // connections.
    let floods: Vec<_> = (0..256)
        .map(|_| {
            std::thread::spawn(move || {
                let mut out = Vec::new();
                let hello = Request::Hello(proto::Hello {
                    version: VERSION,
                    token: String::new(),
                    ..proto::Hello::default()
                });
                encode(
                    &proto::Request {
                        id: 1,
                        body: Some(hello),
                    },
                    &mut out,
                );
                for id in 2..2_000 {
                    let inspect = Request::Inspect(proto::Inspect {
                        name: b"distsync/l/some%20name".to_vec().into(),
                    });
                    encode(
                        &proto::Request {
                            id,
                            body: Some(inspect),
                        },
                        &mut out,
                    );
                }
                let mut stream = TcpStream::connect(address).unwrap();
                stream
                    .set_write_timeout(Some(Duration::from_secs(30)))
                    .unwrap();
                let start = clock::now();
                while stream.write_all(&out).is_ok() {
                    assert!(
                        clock::now().since(start) < Duration::from_secs(30),
                        "a peer that reads nothing is not cut"
                    );
                }
            })
        })
        .collect();
    let lock = good.lock("a", LockOptions::new()).unwrap();
    while floods.iter().any(|flood| !flood.is_finished()) {
        let pair = async { lock.acquire().await.unwrap().release().await.unwrap() };
        // The threads of the peers also compete with it for processors.
        tokio::time::timeout(Duration::from_secs(15), pair)
            .await
            .expect("a good client waits for bad ones");
    }
    for flood in floods {
        flood.join().unwrap();
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 20, "memory grew by {} MiB", grown >> 20);
    good.close().await.unwrap();
}
