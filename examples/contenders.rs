//! Processes that contend for one lock under faults: `cargo run --example contenders`.
//!
//! Starts a `netlockd` on a free port and four worker processes. Each worker increments a counter
//! in a file: it reads, pauses and writes back, which loses updates if two workers do it at once.
//! One worker is killed (SIGKILL) while it holds the lock. Another is stopped (SIGSTOP) for longer
//! than its TTL and then continues as if nothing had happened. The file refuses outdated tokens.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use distsync::{Fence, LockOptions, Token, connect};
use rustix::process::{Pid, Signal, kill_process};

type Failure = Box<dyn std::error::Error + Send + std::marker::Sync>;

const WORKERS: usize = 4;
/// The number of updates of each worker that is not killed.
const ROUNDS: u64 = 25;
const TTL: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let role: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let outcome = match role.as_slice() {
        // The main function of netlockd, with its usual flags.
        ["netlockd", flags @ ..] => {
            let flags = flags.iter().map(|flag| (*flag).to_owned());
            return distsync_netlock::program::main_with(
                std::iter::once("netlockd".to_owned()).chain(flags),
            );
        }
        ["worker", name, url, file] => work(name, url, Path::new(file)),
        ["holder", url] => hold(url),
        ["leaver", url] => leave(url),
        [] => conduct(),
        _ => Err("usage: contenders".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("contenders: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The protected resource: a counter in a file that also stores the newest token.
struct Counter {
    file: File,
}

impl Counter {
    fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self {
            file: OpenOptions::new().read(true).write(true).open(path)?,
        })
    }

    /// Returns the count and the newest token.
    fn read(&mut self) -> Result<(u64, Option<Token>), Failure> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_string(&mut text)?;
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let count = numbers.next().ok_or("the counter is empty")??;
        let token = numbers.next().transpose()?.and_then(Token::new);
        Ok((count, token))
    }

    /// Enters with a token before the first read, and returns the count. Returns `None` if a newer
    /// token has entered.
    fn enter(&mut self, token: Token) -> Result<Option<u64>, Failure> {
        self.transaction(|counter| {
            let (count, newest) = counter.read()?;
            let mut fence = newest.map_or_else(Fence::new, Fence::starting_at);
            if fence.enter(token).is_err() {
                return Ok(None);
            }
            counter.write(count, token)?;
            Ok(Some(count))
        })
    }

    /// Writes the count unless a newer token has entered. Returns whether it was written.
    fn set(&mut self, count: u64, token: Token) -> Result<bool, Failure> {
        self.transaction(|counter| {
            let (_, newest) = counter.read()?;
            let passes = newest
                .map_or_else(Fence::new, Fence::starting_at)
                .check(token)
                .is_ok();
            if passes {
                counter.write(count, token)?;
            }
            Ok(passes)
        })
    }

    fn write(&mut self, count: u64, token: Token) -> Result<(), Failure> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(self
            .file
            .write_all(format!("{count:020} {:020}\n", token.get()).as_bytes())?)
    }

    /// Runs the steps under a file lock, which makes them atomic like a database transaction.
    fn transaction<T>(
        &mut self,
        steps: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.file.lock()?;
        let outcome = steps(self);
        self.file.unlock()?;
        outcome
    }
}

/// Runs a worker, which increments under the lock and reports each step on standard output.
fn work(name: &str, url: &str, file: &Path) -> Result<(), Failure> {
    let mut counter = Counter::open(file)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let sync = connect(&format!("{url}?client={name}&ttl={}ms", TTL.as_millis())).await?;
        let lock = sync.lock("counter", LockOptions::default())?;
        let mut done = 0;
        while done < ROUNDS {
            let guard = lock.acquire().await?;
            report(name, "holds", guard.token())?;
            let count = counter.enter(guard.token())?;
            // Simulate blocking work. A worker that is stopped here continues later as if nothing
            // had happened.
            std::thread::sleep(Duration::from_millis(15));
            let accepted = match count {
                Some(count) => counter.set(count + 1, guard.token())?,
                None => false,
            };
            if accepted {
                done += 1;
                report(name, "accepted", guard.token())?;
            } else {
                report(name, "refused", guard.token())?;
            }
            guard.release().await?;
        }
        sync.close().await?;
        Ok(())
    })
}

/// Acquires a lock and holds it until it is lost.
fn hold(url: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let sync = connect(url).await?;
        let guard = sync.lock("held", LockOptions::default())?.acquire().await?;
        report("holder", "holds", guard.token())?;
        Err(format!("the lock was lost: {}", guard.revoked().await).into())
    })
}

/// Acquires a lock and ends the process without a release or `close`.
fn leave(url: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let sync = connect(url).await?;
        let guard = sync.lock("left", LockOptions::default())?.acquire().await?;
        report("leaver", "holds", guard.token())
    })
}

fn report(name: &str, event: &str, token: Token) -> Result<(), Failure> {
    println!("{name} {event} {token}");
    std::io::stdout().flush()?;
    Ok(())
}

/// A child process that is killed when this value is dropped.
struct Process {
    child: Child,
}

impl Process {
    fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { child })
    }

    fn lines(&mut self) -> Result<impl Iterator<Item = std::io::Result<String>> + use<>, Failure> {
        let output = self.child.stdout.take().ok_or("no output")?;
        Ok(BufReader::new(output).lines())
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("no pid")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A report of a worker: its number, the event and the token.
struct Said {
    worker: usize,
    event: String,
    token: u64,
}

/// A summary of the workers' reports.
#[derive(Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    /// The newest token by worker. The reports of different workers arrive in no fixed order.
    newest: [u64; WORKERS],
    out_of_order: u64,
}

impl Tally {
    fn note(&mut self, said: &Said) {
        match said.event.as_str() {
            "accepted" => {
                self.accepted += 1;
                let newest = &mut self.newest[said.worker];
                self.out_of_order += u64::from(said.token <= *newest);
                *newest = said.token;
            }
            "refused" => self.refused += 1,
            _ => {}
        }
    }
}

fn conduct() -> Result<(), Failure> {
    let mut server = Process::start(&["netlockd", "--listen", "127.0.0.1:0", "--log", "warn"])?;
    let ready = server.lines()?.next().ok_or("netlockd did not start")??;
    let address = ready
        .strip_prefix("listening on ")
        .ok_or("netlockd did not say where it listens")?;
    let url = format!("netlock://{address}");
    println!("netlockd listens on {address}");

    let folder = Folder::new()?;
    let file = folder.0.join("counter");
    std::fs::write(&file, format!("{:020} {:020}\n", 0, 0))?;
    let (tell, told) = channel();
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let name = format!("worker-{worker}");
        let path = file
            .to_str()
            .ok_or("the temporary folder has an odd name")?;
        let mut process = Process::start(&["worker", &name, &url, path])?;
        let (lines, tell) = (process.lines()?, tell.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut words = line.split_whitespace();
                if let (Some(event), Some(Ok(token))) = (words.nth(1), words.next().map(str::parse))
                {
                    let _ = tell.send(Said {
                        worker,
                        event: event.to_owned(),
                        token,
                    });
                }
            }
        });
        workers.push(Some(process));
    }
    drop(tell);
    println!("{WORKERS} workers add to one counter, session TTL {TTL:?}");

    let mut tally = Tally::default();
    wait_for(&told, &mut tally, |said, tally| {
        said.event == "holds" && said.worker == 0 && tally.accepted >= 10
    })?;
    if let Some(process) = workers[0].take() {
        process.signal(Signal::KILL)?;
        println!("worker-0 is killed (SIGKILL) while it holds");
    }
    let stopped = workers[1].as_ref().ok_or("worker-1 is gone")?;
    // Repeat until the signal stops the worker between its acquire and its write, usually at once.
    while !stop_while_it_holds(stopped, &told, &mut tally)? {
        stopped.signal(Signal::CONT)?;
    }
    println!(
        "worker-1 was stopped (SIGSTOP) while it held, for longer than its TTL; others went on"
    );
    std::thread::sleep(TTL / 2);
    stopped.signal(Signal::CONT)?;
    println!("worker-1 continues (SIGCONT), and writes what it had in mind");

    // Read the remaining reports until all workers have ended.
    for said in &told {
        tally.note(&said);
    }
    for process in workers.iter_mut().flatten() {
        let status = process.child.wait()?;
        if !status.success() {
            return Err(format!("a worker failed: {status}").into());
        }
    }
    let (count, _) = Counter::open(&file)?.read()?;
    println!(
        "\ncount {count}, writes accepted {}, refused {}",
        tally.accepted, tally.refused
    );
    // The killed worker may have written without reporting it.
    let unsaid = count.wrapping_sub(tally.accepted);
    if unsaid > 1
        || tally.out_of_order > 0
        || tally.refused == 0
        || count < (WORKERS as u64 - 1) * ROUNDS
    {
        return Err("an update was lost, or no late write came".into());
    }
    println!("no update lost");
    Ok(())
}

/// Stops worker 1 when it reports that it holds the lock, and waits until another worker has
/// written with a newer token. Returns `false` if worker 1 had already written, or was stopped
/// while it kept the file locked.
fn stop_while_it_holds(
    process: &Process,
    told: &Receiver<Said>,
    tally: &mut Tally,
) -> Result<bool, Failure> {
    let mut held = 0;
    wait_for(told, tally, |said, tally| {
        held = said.token;
        said.event == "holds" && said.worker == 1 && tally.accepted >= 30
    })?;
    process.signal(Signal::STOP)?;
    let mut written = false;
    let others_go_on = wait_for(told, tally, |said, _| {
        written |= said.worker == 1 && said.event == "accepted" && said.token == held;
        said.event == "accepted" && said.worker != 1 && said.token > held
    });
    Ok(others_go_on.is_ok() && !written)
}

/// Reads reports until `wanted` returns true.
fn wait_for(
    told: &Receiver<Said>,
    tally: &mut Tally,
    mut wanted: impl FnMut(&Said, &Tally) -> bool,
) -> Result<(), Failure> {
    loop {
        match told.recv_timeout(TTL * 10) {
            Ok(said) => {
                tally.note(&said);
                if wanted(&said, tally) {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => return Err("the workers do not get on".into()),
            Err(RecvTimeoutError::Disconnected) => return Err("the workers ended early".into()),
        }
    }
}

/// A temporary folder that is removed when this value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("distsync-contenders-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
