//! The baseline: a bare TCP echo of 64-byte frames.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::side;

const FRAME: usize = 64;

pub(crate) async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("nodelay");
        connections.spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Returns frames per second, with `window` of them in flight on each of `connections`.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn load(address: SocketAddr, connections: usize, window: usize, time: Duration) -> f64 {
    side::runtime().block_on(async {
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for _ in 0..connections {
            let mut stream = TcpStream::connect(address).await.expect("connect");
            stream.set_nodelay(true).expect("nodelay");
            tasks.spawn(async move {
                let mut buffer = vec![7; (64 << 10).max(window * FRAME)];
                stream
                    .write_all(&buffer[..window * FRAME])
                    .await
                    .expect("write");
                let (mut frames, mut partial) = (0, 0);
                while start.elapsed() < time {
                    let read = stream.read(&mut buffer).await.expect("read");
                    let whole = (partial + read) / FRAME;
                    partial = (partial + read) % FRAME;
                    frames += whole;
                    stream
                        .write_all(&buffer[..whole * FRAME])
                        .await
                        .expect("write");
                }
                frames
            });
        }
        let frames: usize = tasks.join_all().await.into_iter().sum();
        frames as f64 / start.elapsed().as_secs_f64()
    })
}
