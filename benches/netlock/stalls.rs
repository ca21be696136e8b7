//! How long others wait while something large happens: a session with a million locks ends, 100,000
//! sessions expire at once, a million names are listed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_core::{Mode, Token};
use distsync_netlock::engine::{Command, Effect, Limits, LockTable, Reply, Requester, Terms};

use super::programs::Program;
use super::watchers::Peer;
use super::{echo, side};

const LOCKS: u64 = 1_000_000;
/// Slightly less than the limit, which leaves room for the good client.
const SESSIONS: u64 = 99_000;
/// Sessions on one connection.
const ON_ONE: usize = 9_000;
const TTL: Duration = Duration::from_secs(8);
const LONG_TTL: Duration = Duration::from_secs(600);

fn session(number: u64) -> SessionId {
    SessionId::from_bits(1 << 64 | u128::from(number))
}

fn claim(number: u64) -> ClaimId {
    ClaimId::from_bits(1 << 64 | u128::from(number))
}

fn open(number: u64, ttl: Duration) -> Command<'static> {
    Command::Open {
        session: session(number),
        secret: Secret::from_bits(7),
        terms: Terms::lasting(ttl),
        client: "bench",
        isolation: b"",
    }
}

fn enqueue(owner: u64, number: u64, name: &str) -> Command<'_> {
    Command::Enqueue {
        session: session(owner),
        claim: claim(number),
        name: name.as_bytes(),
        mode: Mode::Exclusive,
        waits: true,
        value: b"",
    }
}

fn name(number: u64) -> String {
    format!("bench/l/job-{number:07}")
}

/// Visits to a table, and how long they take.
struct Visits {
    table: LockTable,
    now: Moment,
    longest: Duration,
    /// The largest processor time of a visit. The longest visit may have been interrupted.
    busiest: Duration,
    count: u32,
    total: Duration,
}

impl Visits {
    fn new() -> Self {
        Self {
            table: LockTable::new(Limits::default(), Token::new(1).expect("a token")),
            now: Moment::from_nanos(1),
            longest: Duration::ZERO,
            busiest: Duration::ZERO,
            count: 0,
            total: Duration::ZERO,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn visit(&mut self, command: Command<'_>) -> Option<Reply> {
        let from = Requester {
            connection: 1,
            request: 1,
        };
        let mut effects: Vec<Effect> = Vec::new();
        let (start, busy) = (Instant::now(), side::processor_time());
        self.table.begin_visit();
        let reply = self.table.apply(self.now, from, command, &mut effects);
        let (took, busy) = (start.elapsed(), side::processor_time() - busy);
        self.longest = self.longest.max(took);
        self.busiest = self.busiest.max(busy);
        self.count += 1;
        self.total += took;
        reply
    }

    /// Does all work that is left.
    fn finish(&mut self) {
        while self.table.has_backlog() {
            self.visit(Command::Tick);
        }
    }

    fn hold(&mut self, owner: u64) {
        self.visit(open(owner, LONG_TTL));
        for number in 0..LOCKS {
            self.visit(enqueue(owner, number, &name(number)));
        }
    }

    fn report(&mut self, what: &str) {
        println!(
            "{what:<42} {:>9.2} ms {:>14.2} ms {:>9} {:>9.0} ms        2 ms",
            self.longest.as_secs_f64() * 1e3,
            self.busiest.as_secs_f64() * 1e3,
            self.count,
            self.total.as_secs_f64() * 1e3
        );
        (self.longest, self.busiest) = (Duration::ZERO, Duration::ZERO);
        (self.count, self.total) = (0, Duration::ZERO);
    }
}

/// Measures visits to a table in this process.
pub(crate) fn visits() {
    println!(
        "visits to the table, a million locks          longest    processor time    visits        all      wanted"
    );
    let mut visits = Visits::new();
    visits.hold(1);
    visits.report("one session acquires them");
    let mut after = String::new();
    while let Some(Reply::Names { names, more }) = visits.visit(Command::List {
        prefix: "bench",
        after: &after,
    }) {
        if !more {
            break;
        }
        after.clone_from(names.last().expect("a page"));
    }
    visits.report("all names are listed");
    visits.visit(Command::Close {
        session: session(1),
    });
    visits.finish();
    visits.report("the session is closed");
    assert_eq!(visits.table.stats().claims, 0);
    visits.hold(2);
    visits.report("another session acquires them");
    visits.visit(Command::ReleaseAll { prefix: "bench" });
    visits.finish();
    visits.report("an operator releases all");
    assert_eq!(visits.table.stats().claims, 0);
    for number in 0..SESSIONS {
        visits.visit(open(10 + number, TTL));
        visits.visit(enqueue(10 + number, number, &name(number)));
    }
    visits.report("99,000 sessions are opened");
    let mut last = SessionId::from_bits(0);
    while let Some(Reply::Sessions { sessions, more }) =
        visits.visit(Command::Sessions { after: last })
    {
        if !more {
            break;
        }
        last = sessions.last().expect("a page").session;
    }
    visits.report("they are listed");
    visits.visit(Command::Disconnected);
    visits.finish();
    visits.report("their connection is lost");
    visits.now = visits.now.after(TTL);
    visits.visit(Command::Tick);
    visits.finish();
    visits.report("they expire at once");
    assert_eq!(visits.table.stats().claims, 0);
    println!();
}

/// A client that makes two requests again and again, and how long it waits for both replies.
struct Good {
    over: Arc<AtomicBool>,
    client: std::thread::JoinHandle<Vec<f64>>,
}

impl Good {
    /// Acquires and releases a lock.
    fn with_a_lock(program: &Program) -> Self {
        let mut peer = Peer::connect(program);
        let mut ask = move |command: Command<'_>| {
            peer.add(1, command);
            peer.send();
            peer.frame();
        };
        ask(open(1, LONG_TTL));
        Self::start(move || {
            ask(enqueue(1, u64::MAX, "bench/l/good"));
            ask(Command::Withdraw {
                session: session(1),
                claim: claim(u64::MAX),
            });
        })
    }

    /// Asks a bare echo in another process. It shares only the machine with the event.
    fn of_an_echo(echo: &Program) -> Self {
        let mut stream = TcpStream::connect(&echo.address).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        Self::start(move || {
            for _ in 0..2 {
                let mut frame = [0; echo::FRAME];
                stream.write_all(&frame).expect("write");
                stream.read_exact(&mut frame).expect("read");
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn start(mut pair: impl FnMut() + Send + 'static) -> Self {
        let over = Arc::<AtomicBool>::default();
        let is_over = over.clone();
        let client = std::thread::spawn(move || {
            let mut waits = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                pair();
                waits.push(asked.elapsed().as_secs_f64() * 1e3);
                std::thread::sleep(Duration::from_micros(200));
            }
            waits
        });
        Self { over, client }
    }

    fn end(self) -> Waits {
        self.over.store(true, Ordering::Relaxed);
        let mut waits = self.client.join().expect("it ends");
        waits.sort_by(f64::total_cmp);
        let at = |thousandth: usize| waits[(waits.len() - 1) * thousandth / 1_000];
        Waits {
            median: at(500),
            rare: at(999),
            longest: at(1_000),
        }
    }
}

#[derive(Clone, Copy)]
struct Waits {
    median: f64,
    rare: f64,
    longest: f64,
}

/// Sends many commands, and reads as many replies.
fn pour<'a>(peer: &mut Peer, commands: impl Iterator<Item = (u64, Command<'a>)>) {
    let mut sent = 0;
    for (number, command) in commands {
        peer.add(number, command);
        sent += 1;
        if sent == 500 {
            peer.send();
            peer.skip(sent);
            sent = 0;
        }
    }
    peer.send();
    peer.skip(sent);
}

fn hold(peer: &mut Peer, owner: u64) {
    peer.add(1, open(owner, LONG_TTL));
    peer.send();
    peer.frame();
    let names: Vec<String> = (0..LOCKS).map(name).collect();
    let enqueues = names.iter().zip(0..);
    pour(
        peer,
        enqueues.map(|(name, number)| (2, enqueue(owner, number, name))),
    );
}

/// An event, and the waits during it.
struct During {
    event: &'static str,
    took: Duration,
    good: Waits,
    echo: Waits,
}

/// Measures how long a good client waits for an acquire and a release during each event.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn program(path: &str, flags: &[&str]) -> Vec<During> {
    let program = Program::start(path, flags);
    let echo = Program::echo();
    let mut peer = Peer::connect(&program);
    let mut all = Vec::new();
    let mut during = |event, work: &mut dyn FnMut()| {
        let (good, bare) = (Good::with_a_lock(&program), Good::of_an_echo(&echo));
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        work();
        let took = start.elapsed();
        std::thread::sleep(Duration::from_millis(50));
        all.push(During {
            event,
            took,
            good: good.end(),
            echo: bare.end(),
        });
    };
    during("a million locks are acquired", &mut || hold(&mut peer, 2));
    during("their names are listed, 20 pages", &mut || {
        for page in 0..20 {
            let after = if page == 0 {
                String::new()
            } else {
                name(1_000 * page - 1)
            };
            let (prefix, after) = ("bench/l/job", &*after);
            peer.add(2, Command::List { prefix, after });
            peer.send();
            assert!(peer.frame().len() > 1_000 * after.len(), "a whole page");
        }
    });
    during("the session is closed", &mut || {
        let close = Command::Close {
            session: session(2),
        };
        peer.add(2, close);
        peer.send();
        peer.frame();
    });
    hold(&mut peer, 3);
    during("an operator releases a million", &mut || {
        peer.add(
            2,
            Command::ReleaseAll {
                prefix: "bench/l/job",
            },
        );
        peer.send();
        peer.frame();
    });
    let names: Vec<String> = (0..SESSIONS).map(name).collect();
    let mut peers = Vec::new();
    let start = Instant::now();
    let mut numbers = 0..;
    for names in names.chunks(ON_ONE) {
        let mut peer = Peer::connect(&program);
        for (name, number) in names.iter().zip(&mut numbers) {
            // The number of a session on its connection is 1, so each replaces the one before.
            peer.add(1, open(10 + number, TTL));
            peer.add(2, enqueue(10 + number, number, name));
            if number % 250 == 249 {
                peer.send();
                peer.skip(500);
            }
        }
        peers.push(peer);
    }
    let opened = start.elapsed();
    during("99,000 sessions expire", &mut || {
        std::thread::sleep(TTL.saturating_sub(start.elapsed()) + opened);
    });
    all
}

pub(crate) fn table(earlier: &str, later: &str) {
    for kept in [false, true] {
        let with = if kept { "with a folder, ms" } else { "ms" };
        println!(
            "a good client waits, {with}; the longest wait for a bare echo meanwhile; wanted: 2 ms"
        );
        let columns = "   median     p99.9   longest      echo     event";
        println!("{:<40} earlier: {columns}     later: {columns}", "");
        let run = |path: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let folder = folder.path().to_str().expect("a path");
            let flags = ["--data-dir", folder];
            program(path, if kept { &flags } else { &[] })
        };
        for (before, after) in run(earlier).into_iter().zip(run(later)) {
            print!("{:<40}", before.event);
            for During {
                took, good, echo, ..
            } in [before, after]
            {
                print!(
                    "          {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.0}",
                    good.median,
                    good.rare,
                    good.longest,
                    echo.longest,
                    took.as_secs_f64() * 1e3
                );
            }
            println!();
        }
        println!();
    }
}
