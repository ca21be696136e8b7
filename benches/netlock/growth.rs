//! What a pair costs the server when many locks are held and when many connections are busy:
//! `cargo bench --bench netlock -- growth EARLIER LATER [PLOT.svg]`, with the paths of two builds
//! of netlockd.
//!
//! The pairs use other names than the held locks. Processor time is compared, because the load may
//! be slower than the server.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use distsync_core::Mode;
use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_netlock::engine::{Command, Terms};
use distsync_netlock::wire::encode_command;

use super::programs::Program;
use super::{busy, plot, raw, side};

const HELD: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// The requests in flight.
const WINDOW: usize = 256;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(400);
/// The number of names that are used again and again.
const AGAIN: u64 = 1_024;

/// Which names the pairs use.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Names {
    /// A thousand names, again and again.
    Again,
    /// A new name for each pair.
    New,
    /// A random one of a million names.
    Random,
}

/// A connection without an async runtime.
struct Client {
    stream: TcpStream,
    inbox: Vec<u8>,
    out: Vec<u8>,
    /// A generator of random numbers (xorshift).
    random: u64,
}

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let mut client = Self {
            stream,
            inbox: Vec::new(),
            out: raw::hello(),
            random: 0x9e37_79b9_7f4a_7c15,
        };
        client.exchange(1, |_, _| {});
        client
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn claim(&mut self) -> ClaimId {
        let (high, low) = (self.random() | 1, self.random() | 1);
        ClaimId::from_bits(u128::from(high) << 64 | u128::from(low))
    }

    fn open(&mut self, number: u32) {
        let open = Command::Open {
            session: SessionId::from_bits(u128::from(number)),
            secret: Secret::from_bits(7),
            terms: Terms::lasting(Duration::from_secs(600)),
            client: "bench",
            isolation: b"",
        };
        encode_command(2, number, open, &mut self.out);
        self.exchange(1, |_, _| {});
    }

    fn acquire(&mut self, request: u64, session: u32, claim: ClaimId, name: &str) {
        let enqueue = Command::Enqueue {
            session: SessionId::from_bits(u128::from(session)),
            claim,
            name: name.as_bytes(),
            mode: Mode::Exclusive,
            waits: true,
            value: b"",
        };
        encode_command(request, session, enqueue, &mut self.out);
    }

    /// Sends what is pending, and hands over the next `replies` replies, or more that have arrived
    /// with them.
    fn exchange(&mut self, replies: usize, mut each: impl FnMut(&mut Self, &[u8])) {
        let out = std::mem::take(&mut self.out);
        self.stream.write_all(&out).expect("write");
        let (mut seen, mut bytes) = (0, vec![0; 64 << 10]);
        while seen < replies {
            let read = self.stream.read(&mut bytes).expect("read");
            assert!(read > 0, "the server closed the connection");
            let mut inbox = std::mem::take(&mut self.inbox);
            inbox.extend_from_slice(&bytes[..read]);
            let mut at = 0;
            while let Some(header) = inbox.get(at..at + 4) {
                let length = u32::from_be_bytes(header.try_into().expect("4 bytes")) as usize;
                let Some(reply) = inbox.get(at + 4..at + 4 + length) else {
                    break;
                };
                each(self, reply);
                seen += 1;
                at += 4 + length;
            }
            inbox.drain(..at);
            self.inbox = inbox;
        }
    }

    /// Acquires locks in sessions of `each` claims, and keeps them.
    fn hold(&mut self, count: u64, each: u64) {
        for first in (0..count).step_by(1_000) {
            let session = u32::try_from(first / each + 1).expect("few sessions");
            if first % each == 0 {
                self.open(session);
            }
            for number in first..count.min(first + 1_000) {
                let claim = self.claim();
                self.acquire(3, session, claim, &format!("bench/l/held-{number:07}"));
            }
            let replies = usize::try_from(count.min(first + 1_000) - first).expect("a thousand");
            self.exchange(replies, |_, reply| {
                assert_eq!(reply[2] >> 3, 7, "the lock is granted")
            });
        }
    }

    /// Makes pairs for a while, and returns their number.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn pairs(&mut self, session: u32, names: Names, time: Duration) -> usize {
        let start = Instant::now();
        let mut held: Vec<Option<ClaimId>> = vec![None; WINDOW];
        let mut pairs = 0;
        (0..WINDOW).for_each(|slot| self.next(slot, session, names, &mut held));
        while start.elapsed() < time {
            self.exchange(1, |client, reply| {
                // The tag and two bytes of the id.
                let id = usize::from(reply[1] & 0x7f) | usize::from(reply[2]) << 7;
                let slot = id - 128;
                pairs += usize::from(held[slot].is_none());
                client.next(slot, session, names, &mut held);
            });
        }
        // Release what is held, so that the next round starts from the same table.
        let mut pending = WINDOW;
        while pending > 0 {
            let mut answered = 0;
            self.exchange(1, |client, reply| {
                let slot = (usize::from(reply[1] & 0x7f) | usize::from(reply[2]) << 7) - 128;
                answered += 1;
                if held[slot].is_some() {
                    client.next(slot, session, names, &mut held);
                    answered -= 1;
                }
            });
            pending -= answered;
        }
        pairs
    }

    /// Appends the next request of a slot: a release if it holds a lock, and an acquire otherwise.
    fn next(&mut self, slot: usize, session: u32, names: Names, held: &mut [Option<ClaimId>]) {
        let request = 128 + slot as u64;
        if let Some(claim) = held[slot].take() {
            let session_id = SessionId::from_bits(u128::from(session));
            let withdraw = Command::Withdraw {
                session: session_id,
                claim,
            };
            return encode_command(request, session, withdraw, &mut self.out);
        }
        let (claim, random) = (self.claim(), self.random());
        // Slots have names of their own, so that no request waits for another one.
        let of_slot = |count: u64| random % (count / WINDOW as u64) * WINDOW as u64 + slot as u64;
        let name = match names {
            Names::Again => format!("bench/l/again-{:04}", of_slot(AGAIN)),
            Names::New => format!("bench/l/new-{random:016x}"),
            Names::Random => format!("bench/l/random-{:07}", of_slot(1_000_000)),
        };
        held[slot] = Some(claim);
        self.acquire(request, session, claim, &name);
    }
}

/// The session of the pairs.
const SESSION: u32 = 1 << 20;

/// Returns the microseconds of the server for a pair, for both programs.
fn held_costs(paths: &[&str; 2], held: u64, each: u64) -> [[f64; 2]; 3] {
    let sides = paths.map(|path| {
        let program = Program::start(path, &[]);
        let mut client = Client::connect(&program.address);
        client.hold(held, each);
        client.open(SESSION);
        (program, client)
    });
    let mut sides = sides;
    [Names::Again, Names::New, Names::Random].map(|names| {
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ((program, client), rounds) in sides.iter_mut().zip(&mut rounds) {
                let before = program.cpu();
                let pairs = client.pairs(SESSION, names, ROUND);
                let time = program.cpu() - before;
                rounds.push(time * 1e6 / pairs as f64);
            }
        }
        rounds.map(side::median)
    })
}

/// Returns the microseconds of the least that a pair with a new name needs: an entry in a map of
/// names and one in a map of claims, which already have `held` entries.
fn bare_maps(held: u64) -> f64 {
    let claim = |number: u64| u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | 1;
    let mut names: HashMap<Box<str>, u32> = HashMap::new();
    let mut claims: HashMap<u128, u32> = HashMap::new();
    for number in 0..held {
        names.insert(format!("bench/l/held-{number:07}").into(), 1);
        claims.insert(claim(number), 1);
    }
    let mut numbers = held..;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let new: Vec<(Box<str>, u128)> = (&mut numbers)
            .take(200_000)
            .map(|number| {
                let claim = claim(number);
                (format!("bench/l/new-{:016x}", claim >> 64).into(), claim)
            })
            .collect();
        let before = side::processor_time();
        for (index, (name, claim)) in new.iter().enumerate() {
            names.insert(name.clone(), 2);
            claims.insert(*claim, 2);
            claims.remove(claim);
            // The server keeps a thousand names that are not in use.
            if let Some(idle) = index.checked_sub(1_024) {
                names.remove(&new[idle].0);
            }
        }
        let took = side::processor_time() - before;
        for (name, _) in &new {
            names.remove(name);
        }
        rounds.push(took.as_secs_f64() * 1e6 / new.len() as f64);
    }
    side::median(rounds)
}

pub(crate) fn table(earlier: &str, later: &str, file: Option<&str>) {
    let paths = [earlier, later];
    println!("growth, us of the server's processor a pair, 1 x {WINDOW}");
    println!(
        "names held                     names of the pairs   earlier    of 1,000     later    of 1,000   wanted"
    );
    let mut curves: [[Vec<(f64, f64)>; 2]; 3] = Default::default();
    let each = HELD.map(|held| (held, 1_000));
    for (held, each) in each.into_iter().chain([(1_000_000, 1_000_000)]) {
        let costs = held_costs(&paths, held, each);
        for ((names, curve), [earlier, later]) in ["again", "new", "random"]
            .iter()
            .zip(&mut curves)
            .zip(costs)
        {
            if each == 1_000 {
                curve[0].push((held as f64, earlier));
                curve[1].push((held as f64, later));
            }
            println!(
                "{held:>9} by {:>5} sessions {names:>20} {earlier:>15.2} {:>11.2} {later:>9.2} {:>11.2} {:>8}",
                held / each,
                earlier / curve[0][0].1,
                later / curve[1][0].1,
                if held == 1_000_000 { "1.5" } else { "-" },
            );
        }
    }
    for held in [1_000, 1_000_000] {
        println!(
            "{held:>9} in bare maps       {:>20} {:>15.2}",
            "new",
            bare_maps(held)
        );
    }
    println!();
    let mut connections = [Vec::new(), Vec::new()];
    // The later build is first there.
    for costs in busy::table(&[later, earlier]) {
        for (curve, cost) in connections.iter_mut().zip(costs.programs.iter().rev()) {
            curve.push((costs.connections as f64, *cost));
        }
    }
    if let Some(file) = file {
        let [again, new, _] = &curves;
        let panels = [
            plot::Panel {
                title: "locks held, pairs on a thousand names",
                curves: again,
            },
            plot::Panel {
                title: "locks held, pairs on ever new names",
                curves: new,
            },
            plot::Panel {
                title: "busy connections",
                curves: &connections,
            },
        ];
        std::fs::write(file, plot::svg(&panels)).expect("the plot can be written");
    }
}
