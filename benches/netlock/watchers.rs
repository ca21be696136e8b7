//! The cost of the watchers of one name for the server, and of a long queue for others, with two
//! builds of netlockd: `cargo bench --bench netlock -- watchers EARLIER LATER`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Revision, Secret, SessionId};
use distsync_core::{Mode, Token};
use distsync_netlock::engine::{Command, Limits, LockTable, Requester, Terms};
use distsync_netlock::wire::encode_command;

use super::programs::Program;
use super::{ROUNDS, raw, side};

/// The claims in the watched queue, with the holder.
const QUEUED: u64 = 11;
/// The claims in the queue that is inspected.
const LONG: u64 = 10_000;
const INSPECTORS: usize = 4;
const INSPECTING: Duration = Duration::from_millis(1_500);
const SESSION: SessionId = SessionId::from_bits(1 << 64 | 1);

pub(crate) fn table(earlier: &str, later: &str) {
    println!(
        "hand-over, {QUEUED} in the queue: us of the server's processor   earlier     later   each watcher: earlier   later   wanted"
    );
    let mut alone = [0.0; 2];
    for (watchers, connections) in [
        (0, 1),
        (100, 1),
        (100, 10),
        (1_000, 1),
        (1_000, 10),
        (1_000, 100),
    ] {
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (side, path) in rounds.iter_mut().zip([earlier, later]) {
                side.push(hand_overs(path, watchers, connections));
            }
        }
        let costs = rounds.map(side::median);
        if watchers == 0 {
            alone = costs;
        }
        let each = |side: usize| (costs[side] - alone[side]) / (watchers as f64);
        print!(
            "{watchers:>6} watchers on {connections:>3} connections {:>31.1} {:>9.1}",
            costs[0], costs[1]
        );
        if watchers > 0 {
            print!(" {:>23.2} {:>7.2}        2", each(0), each(1));
        }
        println!();
    }
    println!(
        "\n{INSPECTORS} clients inspect {LONG} claims    inspects/s   us of processor each   a good client's wait: median       p99   longest"
    );
    for (name, path) in [("earlier", earlier), ("later", later)] {
        let Inspected {
            rate,
            cost,
            mut waits,
        } = inspected(path);
        waits.sort_by(f64::total_cmp);
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        println!(
            "{name:>10} {rate:>34.0} {cost:>22.0} {:>26.2} ms {:>6.2} ms {:>6.2} ms",
            at(50),
            at(99),
            at(100)
        );
    }
    println!("\nthe visit that copies a queue of {LONG} claims       wanted");
    for value in [0, 1_024] {
        println!(
            "values of {value:>5} bytes {:>24.2} ms         2 ms",
            visit(value)
        );
    }
    println!();
}

/// A connection that sends commands and reads frames.
pub(crate) struct Peer {
    stream: TcpStream,
    out: Vec<u8>,
    frame: Vec<u8>,
    inbox: std::io::BufReader<TcpStream>,
}

impl Peer {
    pub(crate) fn connect(program: &Program) -> Self {
        let stream = TcpStream::connect(&program.address).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let inbox =
            std::io::BufReader::with_capacity(256 << 10, stream.try_clone().expect("a descriptor"));
        let mut peer = Self {
            stream,
            out: raw::hello(),
            frame: Vec::new(),
            inbox,
        };
        peer.send();
        peer.frame();
        peer
    }

    fn open(&mut self, session: SessionId) {
        let open = Command::Open {
            session,
            secret: Secret::from_bits(7),
            terms: Terms::lasting(Duration::from_secs(60)),
            client: "bench",
            isolation: b"",
        };
        self.add(1, open);
        self.send();
        self.frame();
    }

    pub(crate) fn add(&mut self, id: u64, command: Command<'_>) {
        encode_command(id, 1, command, &mut self.out);
    }

    pub(crate) fn send(&mut self) {
        self.stream.write_all(&self.out).expect("write");
        self.out.clear();
    }

    pub(crate) fn frame(&mut self) -> &[u8] {
        let mut length = [0; 4];
        self.inbox.read_exact(&mut length).expect("read");
        self.frame
            .resize(u32::from_be_bytes(length).try_into().expect("a length"), 0);
        self.inbox.read_exact(&mut self.frame).expect("read");
        &self.frame
    }

    /// Reads frames.
    pub(crate) fn skip(&mut self, frames: u32) {
        for _ in 0..frames {
            self.frame();
        }
    }

    /// Returns the revision of a queue, the last field of its frame.
    fn revision(&mut self) -> Revision {
        let frame = self.frame();
        let before = |byte: &&u8| **byte >= 0x80;
        let length = 1 + frame.iter().rev().skip(1).take_while(before).count();
        let number = &frame[frame.len() - length..];
        let bits = |(index, byte): (usize, &u8)| u64::from(byte & 0x7f) << (7 * index);
        Revision(number.iter().enumerate().map(bits).sum())
    }
}

fn enqueue(claim: u64, name: &str) -> Command<'_> {
    Command::Enqueue {
        session: SESSION,
        claim: claim_id(claim),
        name: name.as_bytes(),
        mode: Mode::Exclusive,
        waits: true,
        value: b"",
    }
}

fn claim_id(claim: u64) -> ClaimId {
    ClaimId::from_bits(1 << 64 | u128::from(claim))
}

fn withdraw(claim: u64) -> Command<'static> {
    Command::Withdraw {
        session: SESSION,
        claim: claim_id(claim),
    }
}

/// Returns the processor time of the server for one hand-over, in microseconds.
fn hand_overs(path: &str, watchers: usize, connections: usize) -> f64 {
    let count = if watchers < 1_000 { 200 } else { 40 };
    let program = Program::start(path, &[]);
    let mut holder = Peer::connect(&program);
    holder.open(SESSION);
    for claim in 1..=QUEUED {
        holder.add(claim, enqueue(claim, "hot"));
        holder.send();
        holder.frame();
    }
    let each = watchers / connections;
    let mut peers: Vec<_> = (0..if watchers == 0 { 0 } else { connections })
        .map(|_| Peer::connect(&program))
        .collect();
    let mut known = vec![vec![Revision(0); each]; peers.len()];
    let name = "hot";
    // All watchers know the newest queue, and wait for the next one.
    let mut catch_up = |newest: Revision| {
        for (peer, known) in peers.iter_mut().zip(&mut known) {
            while known.iter().any(|revision| *revision < newest) {
                for after in known.iter() {
                    let after = *after;
                    peer.add(9, Command::Changed { name, after });
                }
                peer.send();
                for revision in known.iter_mut() {
                    *revision = peer.revision();
                }
            }
        }
    };
    let newest = |holder: &mut Peer| {
        holder.add(5, Command::Inspect { name });
        holder.send();
        holder.revision()
    };
    catch_up(newest(&mut holder));
    let busy = program.cpu();
    for claim in 1..=count {
        holder.add(5, withdraw(claim));
        holder.add(5, enqueue(claim + QUEUED, name));
        holder.send();
        // The grant of the next claim, and both replies.
        for _ in 0..3 {
            holder.frame();
        }
        let newest = newest(&mut holder);
        catch_up(newest);
    }
    (program.cpu() - busy) * 1e6 / count as f64
}

struct Inspected {
    rate: f64,
    /// The processor time of the server for one request, in microseconds.
    cost: f64,
    /// How long the good client waits for an acquire and a release, in milliseconds.
    waits: Vec<f64>,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn inspected(path: &str) -> Inspected {
    let program = Program::start(path, &[]);
    let mut holder = Peer::connect(&program);
    holder.open(SESSION);
    for claim in 1..=LONG {
        holder.add(claim, enqueue(claim, "hot"));
        if claim % 100 == 0 {
            holder.send();
            for _ in 0..100 {
                holder.frame();
            }
        }
    }
    let (over, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (busy, start) = (program.cpu(), Instant::now());
    let inspectors: Vec<_> = (0..INSPECTORS)
        .map(|_| {
            let (mut peer, over, count) = (Peer::connect(&program), over.clone(), count.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    peer.add(5, Command::Inspect { name: "hot" });
                    peer.send();
                    peer.frame();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut waits = Vec::new();
    for claim in LONG.. {
        let asked = Instant::now();
        holder.add(5, enqueue(claim + 1, "good"));
        holder.send();
        holder.frame();
        holder.add(5, withdraw(claim + 1));
        holder.send();
        holder.frame();
        waits.push(asked.elapsed().as_secs_f64() * 1e3);
        if start.elapsed() > INSPECTING {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    over.store(true, Ordering::Relaxed);
    inspectors
        .into_iter()
        .for_each(|inspector| inspector.join().expect("it ends"));
    let count = count.load(Ordering::Relaxed) as f64;
    Inspected {
        rate: count / start.elapsed().as_secs_f64(),
        cost: (program.cpu() - busy) * 1e6 / count,
        waits,
    }
}

/// Returns how long the table takes to copy a changed queue whose claims have values of this
/// length, in milliseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn visit(value: usize) -> f64 {
    let mut table = LockTable::new(Limits::default(), Token::new(1).expect("a token"));
    let (now, from, mut effects) = (Moment::default(), Requester::HOST, Vec::new());
    let open = Command::Open {
        session: SESSION,
        secret: Secret::from_bits(7),
        terms: Terms::lasting(Duration::from_secs(60)),
        client: "bench",
        isolation: b"",
    };
    table.apply(now, from, open, &mut effects);
    let value = vec![7; value];
    for claim in 1..LONG {
        let Command::Enqueue {
            session,
            claim,
            name,
            mode,
            waits,
            ..
        } = enqueue(claim, "hot")
        else {
            unreachable!()
        };
        let enqueue = Command::Enqueue {
            session,
            claim,
            name,
            mode,
            waits,
            value: &value,
        };
        table.apply(now, from, enqueue, &mut effects);
    }
    let times = (0..50).map(|round| {
        // A change, so that no earlier copy is used.
        table.apply(now, from, enqueue(LONG + round, "hot"), &mut effects);
        let start = Instant::now();
        let reply = table.apply(now, from, Command::Inspect { name: "hot" }, &mut effects);
        let time = start.elapsed().as_secs_f64() * 1e3;
        drop(reply);
        table.apply(now, from, withdraw(LONG + round), &mut effects);
        time
    });
    side::median(times.collect())
}
