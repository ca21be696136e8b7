//! The least that a client with a task for each caller can do: the tasks encode their requests into
//! one buffer, one task writes the buffer and reads the replies, and each reply wakes its caller.
//!
//! No sessions, guards, timeouts, boxed futures or telemetry. What it costs beside a load of raw
//! frames is the cost of the tasks, of the codec, and of what the tasks share.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use distsync_core::Mode;
use distsync_core::spi::{ClaimId, SessionId, locked};
use distsync_netlock::engine::{Command, Reply};
use distsync_netlock::wire::{Frames, RESPONSE_MAX, encode_command, read_reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{raw, side};

/// The requests that were not written yet, and a slot for the reply to each task.
struct Shared {
    out: Vec<u8>,
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    reply: Option<Reply>,
    waker: Option<Waker>,
}

/// The first id of a request. The ids take two bytes, as in the raw load.
const FIRST_ID: u64 = 128;

/// Returns pairs per second of `tasks` tasks on one connection, on a runtime of one thread.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn load(address: SocketAddr, tasks: usize, time: Duration) -> f64 {
    side::runtime().block_on(async move {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        raw::greet(&mut stream, "", 0).await;
        let shared = Arc::new(Mutex::new(Shared {
            out: Vec::new(),
            slots: (0..tasks).map(|_| Slot::default()).collect(),
        }));
        let (mut callers, mut driver) = (JoinSet::new(), JoinSet::new());
        let over = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        for task in 0..tasks {
            callers.spawn(call(shared.clone(), task, over.clone()));
        }
        driver.spawn(drive(shared, stream));
        tokio::time::sleep(time).await;
        over.store(true, Ordering::Relaxed);
        let pairs: usize = callers.join_all().await.into_iter().sum();
        pairs as f64 / start.elapsed().as_secs_f64()
    })
}

/// Acquires and releases one name until the round is over. Returns the number of pairs.
async fn call(shared: Arc<Mutex<Shared>>, task: usize, over: Arc<AtomicBool>) -> usize {
    let (session, name) = (SessionId::from_bits(1), format!("bench/l/n{task}"));
    let mut pairs = 0;
    while !over.load(Ordering::Relaxed) {
        let number = (task as u128 + 1) << 64 | (pairs as u128 + 1);
        let claim = ClaimId::from_bits(number);
        let acquire = Command::Enqueue {
            session,
            claim,
            name: name.as_bytes(),
            mode: Mode::Exclusive,
            waits: true,
            value: b"",
        };
        let granted = request(&shared, task, acquire).await;
        assert!(matches!(granted, Reply::Granted { .. }), "{granted:?}");
        let release = Command::Withdraw { session, claim };
        let withdrawn = request(&shared, task, release).await;
        assert!(matches!(withdrawn, Reply::Withdrawn(_)), "{withdrawn:?}");
        pairs += 1;
    }
    pairs
}

async fn request(shared: &Mutex<Shared>, task: usize, command: Command<'_>) -> Reply {
    let mut command = Some(command);
    poll_fn(|cx| {
        let shared = &mut *locked(shared);
        let slot = &mut shared.slots[task];
        if let Some(command) = command.take() {
            encode_command(FIRST_ID + task as u64, 1, command, &mut shared.out);
            match &mut slot.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => slot.waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        slot.reply.take().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Writes the requests and delivers the replies.
async fn drive(shared: Arc<Mutex<Shared>>, mut stream: TcpStream) {
    let (mut writing, mut frames) = (Vec::new(), Frames::new());
    loop {
        std::mem::swap(&mut locked(&shared).out, &mut writing);
        stream.write_all(&writing).await.expect("write");
        writing.clear();
        let room = frames.room();
        stream.read_buf(room).await.expect("read");
        if room.len() == room.capacity() {
            frames.grow();
        }
        {
            let shared = &mut *locked(&shared);
            while let Some(frame) = frames.take(RESPONSE_MAX).expect("a frame") {
                let (id, reply) = read_reply(frame).expect("a reply");
                let task = usize::try_from(id - FIRST_ID).expect("the number of a task");
                let slot = &mut shared.slots[task];
                slot.reply = Some(reply);
                slot.waker.as_ref().expect("a caller").wake_by_ref();
            }
        }
        callers_first().await;
    }
}

/// Lets the tasks that were woken before run first.
async fn callers_first() {
    let mut waits = true;
    poll_fn(|cx| {
        if std::mem::take(&mut waits) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}
