//! netlockd as a process of its own, which ends with the test.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use distsync_core::conformance::secrets;
use distsync_core::spi::clock;
use distsync_core::{Guard, Handle, LockOptions, Sync, SyncOptions, Wait};
use distsync_netlock::{Client, Config};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::NamedTempFile;

pub(crate) const NETLOCKD: &str = env!("CARGO_BIN_EXE_netlockd");

/// A running server.
pub(crate) struct Netlockd {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
    log: Option<NamedTempFile>,
}

impl Netlockd {
    /// Starts a server on a free port with these additional flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", flags)
    }

    /// The log, which is searched for the secrets of the tests when the server has ended.
    pub(crate) fn start_at(address: &str, flags: &[&str]) -> Self {
        secrets::watch_logs();
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(NETLOCKD);
        command
            .args(["--listen", address, "--log", "trace"])
            .args(flags)
            .stderr(log.reopen().unwrap());
        Self::spawn_with(command, Some(log))
    }

    /// Starts a server by any command that becomes netlockd. Returns when it is ready.
    pub(crate) fn spawn(command: Command) -> Self {
        Self::spawn_with(command, None)
    }

    pub(crate) fn spawn_with(mut command: Command, log: Option<NamedTempFile>) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Self {
            child,
            lines,
            address: String::new(),
            log,
        };
        server.address = server.said("listening on ");
        server
    }

    /// Returns the rest of its next line of output, which has to begin with this text.
    pub(crate) fn said(&mut self, start: &str) -> String {
        let line = self.lines.next();
        let Some(Ok(line)) = line else {
            panic!("netlockd ended: {:?}: {}", self.child.wait(), self.logged());
        };
        line.strip_prefix(start)
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns what it has logged so far.
    pub(crate) fn logged(&self) -> String {
        self.log.as_ref().map_or_else(String::new, |log| {
            std::fs::read_to_string(log.path()).unwrap()
        })
    }

    /// Returns the identity of its table. May be called once, and only without metrics.
    pub(crate) fn table(&mut self) -> String {
        self.said("table ")
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Stops the server with SIGSTOP, and returns when all its threads have stopped.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
    }

    /// Sends a signal, waits until the server has ended, and returns whether it exited with
    /// success.
    pub(crate) fn end(mut self, signal: Signal) -> bool {
        self.signal(signal);
        self.child.wait().unwrap().success()
    }

    /// Waits until it has ended by itself, without a signal.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child).unwrap_or_else(|| panic!("netlockd goes on"))
    }

    /// Returns its resident memory, in bytes.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// Returns the peak of its resident memory since the last call of
    /// [`forget_peak`](Self::forget_peak), in bytes.
    pub(crate) fn peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    pub(crate) fn forget_peak(&self) {
        // 5: resets the peak (proc_pid_clear_refs(5)).
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    fn memory(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap();
        line.split_whitespace()
            .next()
            .unwrap()
            .parse::<usize>()
            .unwrap()
            * 1024
    }

    /// Returns a client of the server.
    pub(crate) async fn connect(&self, ttl: Duration) -> Handle {
        let backend = Client::new(Config::new([self.address.clone()]).unwrap()).backend();
        Handle::open(backend, SyncOptions::new().with_session_ttl(ttl))
            .await
            .unwrap()
    }
}

impl Drop for Netlockd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let told = secrets::found_in(&self.logged());
        assert!(
            told.is_none() || std::thread::panicking(),
            "netlockd tells the secret {told:?}: {}",
            self.logged()
        );
    }
}

/// Runs netlockd with these arguments until it exits.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let mut child = Command::new(NETLOCKD)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if ended(&mut child).is_none() {
        let _ = child.kill();
        panic!(
            "netlockd {arguments:?} goes on: {:?}",
            child.wait_with_output()
        );
    }
    child.wait_with_output().unwrap()
}

/// Waits for a program to end, and returns its status. `None` if it still runs after 30 s.
pub(crate) fn ended(child: &mut Child) -> Option<ExitStatus> {
    let deadline = clock::now().after(Duration::from_secs(30));
    loop {
        let status = child.try_wait().unwrap();
        if status.is_some() || clock::now() > deadline {
            return status;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the error output of a program that has to fail.
pub(crate) fn complaint(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} is no mistake");
    String::from_utf8(output.stderr).unwrap()
}

/// Acquires a lock within a minute.
pub(crate) async fn acquire(client: &Handle, name: &str) -> Guard {
    let options = LockOptions::new().with_wait(Wait::For(Duration::from_secs(60)));
    client.lock(name, options).unwrap().acquire().await.unwrap()
}
