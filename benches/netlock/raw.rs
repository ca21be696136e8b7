//! The netlock server under a load that sends raw frames, which are built once and then patched.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use distsync_core::Mode;
use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_netlock::engine::{Command, Terms};
use distsync_netlock::wire::{VERSION, encode, encode_command, proto};
use distsync_netlock::{Server, ServerOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::side::{self, Run};

pub(crate) async fn serve(listener: TcpListener) {
    Server::on(listener, ServerOptions::default())
        .expect("a server")
        .run(CancellationToken::new())
        .await;
}

/// One name, acquired and released alternately.
struct Slot {
    acquire: Vec<u8>,
    release: Vec<u8>,
    holds: bool,
}

/// The offset of the low half of the claim id in a frame. Only these bytes change.
fn claim_offset(frame: &[u8], marker: u64) -> usize {
    let marker = marker.to_le_bytes();
    frame
        .windows(8)
        .rposition(|window| window == marker)
        .expect("the claim's id is in the frame")
}

const MARKER: u64 = 0x1122_3344_5566_7788;

struct Load {
    slots: Vec<Slot>,
    offsets: (usize, usize),
    connection: u64,
    claims: u64,
    pairs: usize,
}

impl Load {
    fn new(connection: usize, window: usize) -> Self {
        let session = SessionId::from_bits(1);
        // Like the random ids of a client, no half is 0.
        let claim = ClaimId::from_bits(u128::from(MARKER) << 64 | u128::from(MARKER));
        let slots: Vec<Slot> = (0..window)
            .map(|slot| {
                let name = format!("bench/l/c{connection}-n{slot}");
                // All ids take two bytes, so that all frames of a kind have one length.
                let id = 128 + slot as u64;
                let (mut acquire, mut release) = (Vec::new(), Vec::new());
                let enqueue = Command::Enqueue {
                    session,
                    claim,
                    name: name.as_bytes(),
                    mode: Mode::Exclusive,
                    waits: true,
                    value: b"",
                };
                encode_command(id, 1, enqueue, &mut acquire);
                encode_command(id, 1, Command::Withdraw { session, claim }, &mut release);
                Slot {
                    acquire,
                    release,
                    holds: false,
                }
            })
            .collect();
        let offsets = (
            claim_offset(&slots[0].acquire, MARKER),
            claim_offset(&slots[0].release, MARKER),
        );
        Self {
            slots,
            offsets,
            connection: connection as u64,
            claims: 0,
            pairs: 0,
        }
    }

    /// Appends the next acquire of a slot.
    fn acquire(&mut self, slot: usize, out: &mut Vec<u8>) {
        self.claims += 1;
        let id = ((self.connection << 40) | self.claims).to_le_bytes();
        let slot = &mut self.slots[slot];
        slot.acquire[self.offsets.0..][..8].copy_from_slice(&id);
        slot.release[self.offsets.1..][..8].copy_from_slice(&id);
        slot.holds = true;
        out.extend_from_slice(&slot.acquire);
    }

    /// Handles one response, and appends the request that follows.
    fn answered(&mut self, response: &[u8], out: &mut Vec<u8>) {
        // Tag and varint of the id (two bytes), then the tag of the reply.
        let id = usize::from(response[1] & 0x7f) | usize::from(response[2]) << 7;
        let slot = id - 128;
        match (response[3] >> 3, self.slots[slot].holds) {
            (7, true) => {
                self.slots[slot].holds = false;
                out.extend_from_slice(&self.slots[slot].release);
            }
            (12, false) => {
                self.pairs += 1;
                self.acquire(slot, out);
            }
            _ => panic!("an unexpected answer: {response:?}"),
        }
    }
}

/// Returns the encoded greeting of a client, the first request of a connection.
pub(crate) fn hello() -> Vec<u8> {
    hello_with(String::new())
}

fn hello_with(token: String) -> Vec<u8> {
    let hello = proto::request::Body::Hello(proto::Hello {
        version: VERSION,
        token,
        ..proto::Hello::default()
    });
    let request = proto::Request {
        id: 1,
        body: Some(hello),
    };
    let mut out = Vec::new();
    encode(&request, &mut out);
    out
}

/// A server, and the way to connect to it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The token of the greeting.
    pub(crate) token: String,
    pub(crate) tls: Option<TlsConnector>,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            token: String::new(),
            tls: None,
        }
    }
}

/// Returns pairs per second, with `window` requests in flight on each of `connections`.
pub(crate) fn load(
    target: impl Into<Target>,
    connections: usize,
    window: usize,
    time: Duration,
) -> f64 {
    measured(target, connections, window, time, || ()).per_second
}

/// Counts pairs, and measures the processor time of the server.
pub(crate) fn measured<C>(
    target: impl Into<Target>,
    connections: usize,
    window: usize,
    time: Duration,
    cpu: impl Fn() -> C,
) -> Run<C> {
    let target = target.into();
    side::together(connections, time, cpu, |number, start| {
        let target = target.clone();
        async move {
            let greet = async |stream| {
                let mut stream: Box<dyn Connection> = match &target.tls {
                    Some(tls) => {
                        let host = "127.0.0.1".try_into().expect("a name");
                        Box::new(tls.connect(host, stream).await.expect("a handshake"))
                    }
                    None => Box::new(stream),
                };
                greet(&mut stream, &target.token, number).await;
                stream
            };
            let mut stream = start.connect(target.address, greet).await;
            let end = start.wait().await;
            (pairs(&mut stream, number, window, end).await, stream)
        }
    })
}

/// A TCP connection, with TLS or without it.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Greets the server and opens a session.
pub(crate) async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    token: &str,
    connection: usize,
) {
    let open = Command::Open {
        session: SessionId::from_bits(connection as u128 + 1),
        secret: Secret::from_bits(7),
        terms: Terms::lasting(Duration::from_secs(60)),
        client: "bench",
        isolation: b"",
    };
    let mut out = hello_with(token.to_owned());
    encode_command(2, 1, open, &mut out);
    send(stream, &out).await;
    for _ in 0..2 {
        let length = stream.read_u32().await.expect("read");
        let mut reply = vec![0; length as usize];
        stream.read_exact(&mut reply).await.expect("read");
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
async fn pairs(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    connection: usize,
    window: usize,
    end: Instant,
) -> usize {
    let (mut out, mut inbox) = (Vec::new(), BytesMut::with_capacity(2 << 10));
    let mut load = Load::new(connection, window);
    (0..window).for_each(|slot| load.acquire(slot, &mut out));
    while Instant::now() < end {
        send(stream, &out).await;
        out.clear();
        // Room for the replies to all requests in flight.
        inbox.reserve((32 * window).max(1 << 10));
        stream.read_buf(&mut inbox).await.expect("read");
        while let Some(header) = inbox.get(..4) {
            let length = u32::from_be_bytes(header.try_into().expect("4 bytes")) as usize;
            if inbox.len() < 4 + length {
                break;
            }
            load.answered(&inbox[4..4 + length], &mut out);
            inbox.advance(4 + length);
        }
    }
    load.pairs
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    stream.write_all(bytes).await.expect("write");
    stream.flush().await.expect("flush");
}
