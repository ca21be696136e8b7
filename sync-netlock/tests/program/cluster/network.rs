//! The connections between the members of a cluster, through proxies that can fall silent.

use std::collections::BTreeSet;
use std::io;
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::members::NAMES;

/// The members that are cut off.
type CutOff = BTreeSet<usize>;

/// A proxy in front of each member, all on one thread.
///
/// What a member that is cut off sends, or is sent, is held up. Its connections stay open, as if
/// packets were lost on their way.
pub(super) struct Network {
    addresses: Vec<String>,
    cut_off: watch::Sender<CutOff>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Starts proxies in front of members at these addresses.
    pub(super) fn start(members: &[String]) -> Self {
        let (cut_off, is_cut_off) = watch::channel(CutOff::new());
        let stop = CancellationToken::new();
        let (tell, told) = std::sync::mpsc::channel();
        let (members, stopping) = (members.to_vec(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut proxies = JoinSet::new();
                for (member, target) in members.into_iter().enumerate() {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    tell.send(listener.local_addr().unwrap().to_string())
                        .unwrap();
                    proxies.spawn(accept(listener, member, target, is_cut_off.clone()));
                }
                drop(tell);
                stopping.cancelled().await;
            });
        });
        Self {
            addresses: told.iter().collect(),
            cut_off,
            stop,
            thread: Some(thread),
        }
    }

    /// Returns the addresses of the proxies.
    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Cuts members off from all others.
    pub(super) fn cut(&self, members: &[usize]) {
        self.cut_off.send_replace(members.iter().copied().collect());
    }

    pub(super) fn heal(&self) {
        self.cut_off.send_replace(CutOff::new());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn accept(
    listener: TcpListener,
    member: usize,
    target: String,
    cut_off: watch::Receiver<CutOff>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (target, cut_off) = (target.clone(), cut_off.clone());
        // An error is a connection that has ended.
        connections.spawn(async move { forward(client, member, &target, cut_off).await.ok() });
        while connections.try_join_next().is_some() {}
    }
}

/// Forwards one connection.
async fn forward(
    mut client: TcpStream,
    to: usize,
    target: &str,
    cut_off: watch::Receiver<CutOff>,
) -> io::Result<()> {
    // The greeting, which is the first frame, names the member that connects.
    let mut greeting = vec![0; 4];
    client.read_exact(&mut greeting).await?;
    let length: [u8; 4] = greeting[..].try_into().unwrap();
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
    greeting.resize(4 + length, 0);
    client.read_exact(&mut greeting[4..]).await?;
    let from = NAMES.iter().position(|name| {
        let mut parts = greeting.windows(name.len());
        parts.any(|part| part == name.as_bytes())
    });
    let ends = [from.expect("the name of a member"), to];
    reachable(&mut cut_off.clone(), ends).await;
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    server.write_all(&greeting).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        carry(from_client, to_server, cut_off.clone(), ends),
        carry(from_server, to_client, cut_off, ends)
    )?;
    Ok(())
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut cut_off: watch::Receiver<CutOff>,
    ends: [usize; 2],
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut bytes).await?;
        reachable(&mut cut_off, ends).await;
        if length == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        to.write_all(&bytes[..length]).await?;
    }
}

/// Waits until neither end is cut off.
async fn reachable(cut_off: &mut watch::Receiver<CutOff>, ends: [usize; 2]) {
    let open = cut_off.wait_for(|cut| ends.iter().all(|end| !cut.contains(end)));
    let _ = open.await;
}
