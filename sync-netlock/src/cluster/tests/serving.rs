//! Servers that are members of a cluster, and what their clients are told.

mod addresses;
mod following;
mod races;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use distsync_core::spi::clock::Moment;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::server::{Observer, Server, ServerOptions};
use crate::wire::proto::refused::Code;
use crate::wire::proto::request::Body as Ask;
use crate::wire::proto::response::Body as Answer;
use crate::wire::{Frames, VERSION, encode, proto as wire};

/// A server that runs.
struct Serving {
    address: String,
    node: Arc<Node>,
    observer: Observer,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Servers, three at first.
struct Cluster {
    servers: BTreeMap<String, Serving>,
    place: TempDir,
}

impl Cluster {
    async fn form() -> Self {
        let mut cluster = Self {
            servers: BTreeMap::new(),
            place: tempfile::tempdir().unwrap(),
        };
        let mut voters = Vec::new();
        for name in ["a", "b", "c"] {
            voters.push(cluster.serve(name).await);
        }
        cluster.servers["a"].node.form(voters).await.unwrap();
        cluster
    }

    /// Starts a server that belongs to no cluster.
    async fn serve(&mut self, name: &str) -> (NodeId, Member) {
        let failure: Failure = Arc::new(|error: &io::Error| eprintln!("disk: {error}"));
        let node = NodeOptions::new(CLUSTER, name, self.place.path().join(name))
            .with_timing(timing())
            .with_failure(failure);
        let options = ServerOptions::default();
        let server = Server::member("127.0.0.1:0", options, node).await.unwrap();
        let stop = CancellationToken::new();
        let serving = Serving {
            address: server.address().to_string(),
            node: server.node().unwrap(),
            observer: server.observer(),
            stop: stop.clone(),
            task: TaskTracker::new().spawn(server.run(stop)),
        };
        let member = Member {
            name: name.to_owned(),
            address: serving.node.address().to_string(),
            clients: serving.address.clone(),
        };
        let id = serving.node.id();
        self.servers.insert(name.to_owned(), serving);
        (id, member)
    }

    /// Stops a server, which does not hand over.
    async fn end(&mut self, name: &str) {
        let stopped = self.servers.remove(name).unwrap();
        stopped.stop.cancel();
        timeout(PATIENCE, stopped.task).await.unwrap().unwrap();
    }

    /// Connects to the server that leads, other than `except`. Returns its name too.
    async fn leader_except(&self, except: &str) -> (String, Raw) {
        let deadline = clock::now().after(PATIENCE);
        loop {
            for (name, serving) in &self.servers {
                if name != except
                    && let Ok(raw) = Raw::connect(&serving.address).await
                {
                    return (name.clone(), raw);
                }
            }
            assert!(clock::now() < deadline, "no server leads");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn leader(&self) -> (String, Raw) {
        self.leader_except("").await
    }

    async fn stop(self) {
        for serving in self.servers.values() {
            serving.stop.cancel();
        }
        for (_, serving) in self.servers {
            timeout(PATIENCE, serving.task).await.unwrap().unwrap();
        }
    }
}

/// A connection of a client.
struct Raw {
    stream: TcpStream,
    frames: Frames,
    last: u64,
}

/// What the server sends instead of a reply, or `None` if it closed the connection.
type Ended = Option<wire::Refused>;

fn id(low: u64) -> Option<wire::Id> {
    Some(wire::Id { high: 7, low })
}

fn open(session: u64, ttl: Duration) -> Ask {
    Ask::Open(wire::Open {
        session: 1,
        id: id(session),
        secret: id(99),
        ttl_ms: u64::try_from(ttl.as_millis()).unwrap(),
        client: "raw".to_owned(),
        release_on_disconnect: false,
        isolation: Bytes::new(),
    })
}

fn attach(session: u64) -> Ask {
    Ask::Attach(wire::Attach {
        session: 1,
        id: id(session),
        secret: id(99),
    })
}

fn enqueue(claim: u64, name: &str) -> Ask {
    Ask::Enqueue(wire::Enqueue {
        session: 1,
        claim: id(claim),
        name: Bytes::copy_from_slice(name.as_bytes()),
        ..wire::Enqueue::default()
    })
}

fn withdraw(claim: u64) -> Ask {
    Ask::Withdraw(wire::Withdraw {
        session: 1,
        claim: id(claim),
    })
}

fn renew() -> Ask {
    Ask::Renew(wire::Renew { session: 1 })
}

fn inspect(name: &str) -> Ask {
    Ask::Inspect(wire::Inspect {
        name: Bytes::copy_from_slice(name.as_bytes()),
    })
}

impl Raw {
    /// Connects, and greets the server.
    async fn connect(address: &str) -> Result<Self, Ended> {
        let address: SocketAddr = address.parse().unwrap();
        let stream = TcpStream::connect(address).await.map_err(|_| None)?;
        stream.set_nodelay(true).unwrap();
        let mut raw = Self {
            stream,
            frames: Frames::new(),
            last: 0,
        };
        let hello = Ask::Hello(wire::Hello {
            version: VERSION,
            token: String::new(),
            ..wire::Hello::default()
        });
        match raw.ask(hello).await? {
            Answer::Welcome(welcome) => {
                assert_eq!(welcome.table, Some(CLUSTER.into()));
                assert_eq!(welcome.durability(), wire::Durability::Fsync);
                Ok(raw)
            }
            other => panic!("not a welcome: {other:?}"),
        }
    }

    async fn send(&mut self, body: Ask) -> u64 {
        self.last += 1;
        let (id, body) = (self.last, Some(body));
        let mut out = Vec::new();
        encode(&wire::Request { id, body }, &mut out);
        // An error is found when the reply is read.
        let _ = self.stream.write_all(&out).await;
        id
    }

    /// Returns the next reply.
    async fn next(&mut self) -> Result<(u64, Answer), Ended> {
        loop {
            if let Some(frame) = self.frames.take(1 << 20).unwrap() {
                let reply = wire::Response::decode(frame).unwrap();
                return match reply.body.unwrap() {
                    Answer::Refused(refused) if refused.code >= Code::NotGreeted.into() => {
                        Err(Some(refused))
                    }
                    body => Ok((reply.id, body)),
                };
            }
            match self.stream.read_buf(self.frames.room()).await {
                Ok(0) | Err(_) => return Err(None),
                Ok(_) => {}
            }
        }
    }

    /// Sends a request, and returns its first reply. Drops replies to earlier requests.
    async fn ask(&mut self, body: Ask) -> Result<Answer, Ended> {
        let id = self.send(body).await;
        let reply = async {
            loop {
                let (of, body) = self.next().await?;
                if of == id {
                    return Ok(body);
                }
            }
        };
        timeout(PATIENCE, reply).await.expect("a reply in time")
    }

    /// Acquires a lock, and returns its token.
    async fn acquire(&mut self, claim: u64, name: &str) -> Result<u64, Ended> {
        let id = self.send(enqueue(claim, name)).await;
        loop {
            match self.next().await? {
                (of, Answer::Granted(granted)) if of == id => return Ok(granted.token),
                (of, Answer::Waiting(_)) if of == id => {}
                (of, other) => assert_ne!(of, id, "{other:?}"),
            }
        }
    }
}

/// Waits until the follower at this address knows the leader, and returns its refusal.
async fn named_leader(follower: &str) -> wire::Refused {
    let deadline = clock::now().after(PATIENCE);
    loop {
        let Err(Some(refused)) = Raw::connect(follower).await else {
            panic!("{follower} does not lead");
        };
        assert_eq!(refused.code(), Code::NotLeader);
        if !refused.leader.is_empty() {
            return refused;
        }
        assert!(clock::now() < deadline, "it knows no leader");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_follower_names_the_leader_and_the_leader_serves() {
    let cluster = Cluster::form().await;
    let (leader, mut raw) = cluster.leader().await;
    let opened = raw.ask(open(1, Duration::from_secs(60))).await;
    assert!(matches!(opened, Ok(Answer::Opened(_))), "{opened:?}");
    let first = raw.acquire(1, "a").await.unwrap();
    let renewed = raw.ask(renew()).await;
    assert!(matches!(renewed, Ok(Answer::Renewed(_))), "{renewed:?}");
    for (name, serving) in &cluster.servers {
        if *name != leader {
            let refused = named_leader(&serving.address).await;
            assert_eq!(refused.leader, cluster.servers[&leader].address);
            assert!(refused.message.contains(&refused.leader), "{refused:?}");
        }
    }
    // The lock moves with the leadership, and tokens and revisions rise.
    let Ok(Answer::Queue(before)) = raw.ask(inspect("a")).await else {
        panic!("no queue");
    };
    cluster.servers[&leader].node.step_down().await.unwrap();
    // The connection ends although it asks nothing.
    let ended = timeout(PATIENCE, raw.next()).await.unwrap();
    let ended = ended.unwrap_err().unwrap();
    assert_eq!(ended.code(), Code::NotLeader);
    let (next, mut raw) = cluster.leader_except(&leader).await;
    assert_ne!(next, leader);
    let attached = raw.ask(attach(1)).await;
    assert!(matches!(attached, Ok(Answer::Attached(_))), "{attached:?}");
    assert_eq!(
        raw.acquire(1, "a").await.unwrap(),
        first,
        "it is still held"
    );
    let Ok(Answer::Queue(after)) = raw.ask(inspect("a")).await else {
        panic!("no queue");
    };
    assert!(after.revision > before.revision);
    assert_eq!(after.entries.len(), 1);
    assert!(raw.acquire(2, "b").await.unwrap() > first);
    cluster.stop().await;
}

/// A leader that is cut off believes in itself. A renewal that it acknowledged would let its client
/// work on, while the session ends at the next leader.
#[tokio::test]
async fn a_renewal_that_an_old_leader_acknowledges_counts_at_the_next_one() {
    let ttl = Duration::from_millis(1_500);
    let cluster = Cluster::form().await;
    let (old, mut holder) = cluster.leader().await;
    holder.ask(open(1, ttl)).await.unwrap();
    let token = holder.acquire(1, "a").await.unwrap();
    let renewed = holder.ask(renew()).await;
    assert!(matches!(renewed, Ok(Answer::Renewed(_))), "{renewed:?}");
    let last_sent = Arc::new(AtomicU64::new(clock::now().as_nanos()));
    cluster.servers[&old].node.cut_off(true);
    let is_over = Arc::new(AtomicBool::new(false));
    let renewing = {
        let (last_sent, is_over) = (last_sent.clone(), is_over.clone());
        let address = cluster.servers[&old].address.clone();
        TaskTracker::new().spawn(async move {
            let mut last = None;
            while last.is_none() || !is_over.load(Ordering::Relaxed) {
                let sent = clock::now();
                let renewed = timeout(Duration::from_millis(300), holder.ask(renew())).await;
                match renewed {
                    Ok(Ok(Answer::Renewed(_))) => {
                        last_sent.store(sent.as_nanos(), Ordering::Relaxed);
                    }
                    Ok(Err(ended)) => {
                        last = last.or(ended);
                        // It serves nobody else either.
                        match Raw::connect(&address).await {
                            Ok(again) => {
                                holder = again;
                                let _ = holder.ask(attach(1)).await;
                            }
                            Err(ended) => last = last.or(ended),
                        }
                    }
                    _ => {}
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            last
        })
    };
    let (new, mut waiter) = cluster.leader_except(&old).await;
    waiter.ask(open(2, Duration::from_secs(60))).await.unwrap();
    let next = timeout(PATIENCE, waiter.acquire(2, "a")).await;
    let next = next.expect("the session ends").unwrap();
    let granted = clock::now();
    let last_sent = Moment::from_nanos(last_sent.load(Ordering::Relaxed));
    assert!(next > token, "tokens rise");
    assert!(
        granted.since(last_sent) >= ttl,
        "granted {:?} after the last renewal that was acknowledged",
        granted.since(last_sent)
    );
    is_over.store(true, Ordering::Relaxed);
    let told = timeout(PATIENCE, renewing).await.unwrap().unwrap();
    let told = told.expect("the old leader sends its clients away");
    assert_eq!(told.code(), Code::NotLeader);

    // The old leader returns, and has nothing to say. A late release does not touch the new holder.
    cluster.servers[&old].node.cut_off(false);
    let (_, mut late) = cluster.leader().await;
    for (request, what) in [(attach(1), "attach"), (withdraw(1), "release")] {
        let refused = late.ask(request).await.unwrap();
        let Answer::Refused(refused) = refused else {
            panic!("{what}: {refused:?}");
        };
        assert_eq!(refused.code(), Code::SessionUnknown, "{what}");
    }
    let Ok(Answer::Queue(queue)) = late.ask(inspect("a")).await else {
        panic!("no queue");
    };
    assert_eq!(queue.entries.len(), 1);
    assert_eq!(queue.entries[0].token, next);
    drop((new, waiter));
    cluster.stop().await;
}

/// The timers of a leader that is cut off go on. What they end must not end at the next leader.
#[tokio::test]
async fn a_leader_that_is_deposed_without_noticing_expires_nothing() {
    let ttl = Duration::from_millis(2_000);
    let cluster = Cluster::form().await;
    let (old, mut raw) = cluster.leader().await;
    raw.ask(open(1, ttl)).await.unwrap();
    let token = raw.acquire(1, "a").await.unwrap();
    cluster.servers[&old].node.cut_off(true);
    let cut = clock::now();
    let (_, mut raw) = cluster.leader_except(&old).await;
    let attached = raw.ask(attach(1)).await;
    assert!(matches!(attached, Ok(Answer::Attached(_))), "{attached:?}");
    // Until the old leader has ended the session in its own table.
    while clock::now() < cut.after(ttl * 3 / 2) {
        let renewed = raw.ask(renew()).await;
        assert!(matches!(renewed, Ok(Answer::Renewed(_))), "{renewed:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.servers[&old].node.cut_off(false);
    eventually("the old leader drops its table", || {
        cluster.servers[&old].observer.stats().names == 0
    })
    .await;
    assert!(!cluster.servers[&old].observer.grants());
    let (_, mut raw) = cluster.leader().await;
    let attached = raw.ask(attach(1)).await;
    assert!(matches!(attached, Ok(Answer::Attached(_))), "{attached:?}");
    assert_eq!(raw.acquire(1, "a").await.unwrap(), token);
    cluster.stop().await;
}

/// What a client has seen of one hold.
#[derive(Debug)]
struct Hold {
    name: usize,
    token: u64,
    from: Moment,
    until: Moment,
}

/// Clients acquire and release, and repeat what they got no reply for, while one leader after the
/// other is cut off.
#[tokio::test]
async fn no_lock_has_two_holders_while_leaders_change() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let cluster = Cluster::form().await;
    let addresses: Vec<_> = cluster
        .servers
        .values()
        .map(|s| s.address.clone())
        .collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let tasks = TaskTracker::new();
    let clients: Vec<_> = (1..=6_u64)
        .map(|client| {
            let (addresses, is_over) = (addresses.clone(), is_over.clone());
            tasks.spawn(work(client, addresses, is_over, &NAMES))
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let (leader, _) = cluster.leader().await;
        cluster.servers[&leader].node.cut_off(true);
        cluster.leader_except(&leader).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.servers[&leader].node.cut_off(false);
    }
    is_over.store(true, Ordering::Relaxed);
    let mut holds = Vec::new();
    for client in clients {
        let held = timeout(PATIENCE, client).await.expect("it ends").unwrap();
        assert!(!held.is_empty(), "a client made no progress");
        holds.extend(held);
    }
    holds.sort_by_key(|hold| hold.token);
    let mut last: HashMap<usize, &Hold> = HashMap::new();
    let mut tokens = 0;
    for hold in &holds {
        assert!(hold.token > tokens, "a token was granted twice: {hold:?}");
        tokens = hold.token;
        if let Some(before) = last.insert(hold.name, hold) {
            assert!(
                hold.from >= before.until,
                "two holders: {before:?}, {hold:?}"
            );
        }
    }
    cluster.stop().await;
}

async fn work(
    client: u64,
    addresses: Vec<String>,
    is_over: Arc<AtomicBool>,
    names: &[&str],
) -> Vec<Hold> {
    let (mut holds, mut connection, mut claim) = (Vec::new(), None, client << 32);
    while !is_over.load(Ordering::Relaxed) {
        claim += 1;
        let name = usize::try_from(claim).unwrap() % names.len();
        // The same claim until it is granted, and then until it is released.
        let (mut granted, mut released) = (None, None);
        loop {
            let raw = connected(&mut connection, client, &addresses).await;
            let done = match granted {
                None => raw.acquire(claim, names[name]).await.map(|token| {
                    granted = Some((token, clock::now()));
                    false
                }),
                Some((token, from)) => {
                    // The first request may have been executed although its reply was lost.
                    let until = *released.get_or_insert_with(clock::now);
                    raw.ask(withdraw(claim)).await.map(|reply| {
                        assert!(matches!(reply, Answer::Withdrawn(_)), "{reply:?}");
                        holds.push(Hold {
                            name,
                            token,
                            from,
                            until,
                        });
                        true
                    })
                }
            };
            match done {
                Ok(true) => break,
                Ok(false) => {}
                Err(_) => connection = None,
            }
        }
    }
    holds
}

/// Connects to the leader, and opens the session, if there is no connection.
async fn connected<'a>(
    connection: &'a mut Option<Raw>,
    client: u64,
    addresses: &[String],
) -> &'a mut Raw {
    while connection.is_none() {
        for address in addresses {
            if let Ok(mut raw) = Raw::connect(address).await
                && raw.ask(open(client, PATIENCE)).await.is_ok()
            {
                *connection = Some(raw);
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    connection.as_mut().unwrap()
}
