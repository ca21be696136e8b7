//! Connections that break once, at a chosen message.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Faulty, Network};
use crate::spi::backend::Backend;

/// The message at which a connection breaks.
#[derive(Clone, Copy, Debug)]
pub struct BreakAt {
    /// The number of messages from the client that are delivered before.
    pub after: u32,
    /// Whether the next message is delivered too, so that only its reply is lost.
    pub arrives: bool,
}

/// A backend whose connection to the store breaks once.
#[derive(Debug)]
pub struct Breaking {
    /// The backend.
    pub backend: Arc<dyn Backend>,
    breaks: Arc<Countdown>,
    /// Forwards the connections of the backend until it is dropped.
    _proxy: Option<Proxy>,
}

impl Breaking {
    /// Returns a backend whose connection breaks at a request.
    ///
    /// Nothing inside a request is interrupted: for stores without a connection.
    #[must_use]
    pub fn between_requests(inner: Arc<dyn Backend>, at: BreakAt) -> Self {
        let network = Network::default();
        let breaks = network.breaks().clone();
        breaks.set(at);
        Self {
            backend: Arc::new(Faulty::new(inner, network)),
            breaks,
            _proxy: None,
        }
    }

    /// Returns a backend that reaches its store through `proxy`.
    #[must_use]
    pub fn through(proxy: Proxy, backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            breaks: proxy.breaks.clone(),
            _proxy: Some(proxy),
        }
    }

    /// Returns whether the connection has broken.
    #[must_use]
    pub fn has_broken(&self) -> bool {
        self.breaks.has_happened()
    }
}

/// Counts messages until the break.
#[derive(Debug)]
pub(super) struct Countdown {
    left: AtomicU32,
    arrives: AtomicBool,
    happened: AtomicBool,
}

impl Default for Countdown {
    /// Never breaks.
    fn default() -> Self {
        Self {
            left: AtomicU32::new(u32::MAX),
            arrives: AtomicBool::new(false),
            happened: AtomicBool::new(false),
        }
    }
}

impl Countdown {
    pub(super) fn set(&self, at: BreakAt) {
        self.arrives.store(at.arrives, Ordering::SeqCst);
        self.left.store(at.after, Ordering::SeqCst);
    }

    /// Counts a message. Returns whether the connection breaks now, and whether this message
    /// arrives nevertheless.
    pub(super) fn breaks_now(&self) -> Option<bool> {
        let down = |left: u32| (left != u32::MAX).then(|| left.checked_sub(1).unwrap_or(u32::MAX));
        let before = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, down);
        (before == Ok(0)).then(|| {
            self.happened.store(true, Ordering::SeqCst);
            self.arrives.load(Ordering::SeqCst)
        })
    }

    pub(super) fn has_happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst)
    }
}

/// A TCP proxy in front of a store, which breaks one connection at a chosen message and forwards
/// everything else.
///
/// A message is what a client writes at once. A store that needs several for one request is then
/// left between two of them. Dropping the proxy ends it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    breaks: Arc<Countdown>,
    _connections: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy in front of the server at `target`, on a free port of this machine.
    ///
    /// # Errors
    /// If no port can be opened.
    ///
    /// # Cancel safety
    /// Safe: nothing is started.
    pub async fn start(target: SocketAddr, at: BreakAt) -> io::Result<Self> {
        let listener = TcpListener::bind((target.ip(), 0)).await?;
        let address = listener.local_addr()?;
        let breaks = Arc::new(Countdown::default());
        breaks.set(at);
        let mut accepting = JoinSet::new();
        let counted = breaks.clone();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let breaks = counted.clone();
                // An error is a connection that has ended.
                connections.spawn(async move { forward(client, target, &breaks).await.ok() });
            }
        });
        Ok(Self {
            address,
            breaks,
            _connections: accepting,
        })
    }

    /// Returns the address for the client.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Forwards one connection until it ends or breaks.
async fn forward(client: TcpStream, target: SocketAddr, breaks: &Countdown) -> io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut message = vec![0; 64 * 1024];
        loop {
            let length = from_client.read(&mut message).await?;
            if length == 0 {
                return to_server.shutdown().await;
            }
            match breaks.breaks_now() {
                Some(false) => return Err(io::ErrorKind::ConnectionReset.into()),
                broken => {
                    to_server.write_all(&message[..length]).await?;
                    if broken.is_some() {
                        return Err(io::ErrorKind::ConnectionReset.into());
                    }
                }
            }
        }
    };
    let replies = async { tokio::io::copy(&mut from_server, &mut to_client).await };
    tokio::try_join!(requests, replies)?;
    Ok(())
}
