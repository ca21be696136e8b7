//! A running `distsync run`.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use distsync_core::spi::clock;
use rustix::process::{Pid, Signal, kill_process};

use crate::program::distsync;

/// The longest time that a step may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running program, whose output is read line by line.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts `distsync` on a store.
    pub(crate) fn start(url: &str, arguments: &[&str]) -> Self {
        Self::spawn(distsync().env("DISTSYNC_URL", url).args(arguments))
    }

    /// Starts a command that becomes `distsync`.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Starts `distsync run a` with a script, and waits for the line `ready` of the script.
    pub(crate) fn script(url: &str, options: &[&str], script: &str) -> Self {
        let command = ["--", "sh", "-c", script];
        let mut running = Self::start(url, &[&["run", "a"], options, &command].concat());
        assert_eq!(running.line(), "ready");
        running
    }

    /// Returns the next line of the output, or an empty one at its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Leaves the standard error unread until the returned sender is dropped, for ten seconds at
    /// most, so that a test that fails does not wait for ever. It is closed then.
    pub(crate) fn leave_errors_unread(&mut self) -> Sender<()> {
        let errors = self.child.stderr.take();
        let (sender, dropped) = channel();
        std::thread::spawn(move || {
            let _ = dropped.recv_timeout(Duration::from_secs(10));
            drop(errors);
        });
        sender
    }

    /// Closes the standard input.
    pub(crate) fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }

    /// Waits until the program has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the end of the program", || self.child.try_wait().unwrap())
    }

    /// Waits until the program has ended, and returns its exit code.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.ended().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until there is a value.
pub(crate) fn until<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::now().after(PATIENCE);
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(
            clock::now() < deadline,
            "{what} takes more than {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns whether a process runs. One that has ended and was not reaped does not.
pub(crate) fn runs(process: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, fields)| !fields.trim_start().starts_with('Z'))
}
