//! The watch over a command while a lock is held.

use std::pin::pin;
use std::time::Duration;

use distsync::spi::clock;
use distsync::{Loss, Moment};
use rustix::process::{Signal, kill_current_process_group};

use super::held::Held;
use super::limits::Limits;
use super::signals::Signals;
use super::status::Status;
use super::terminal::{Terminal, is_a_job};
use super::tree::{Stopped, Tree};
use crate::exit::{Failure, tell};

/// The time in which killed processes must be gone. One that is not (it waits for a device, or runs
/// as another user) is reported.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// The reason why a command was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The lock was not renewed in time, and is about to be lost.
    AtRisk,
    /// The lock was lost.
    Lost(Loss),
    /// The command has run for as long as it may.
    TooLong,
}

/// How a command has ended, and why.
#[derive(Debug)]
pub(crate) struct Ending {
    /// How the command has ended. `None` if it could not be killed.
    pub(crate) status: Option<Status>,
    /// The reason why it was stopped, if it was.
    pub(crate) reason: Option<Reason>,
    /// The first signal that asked this process to end.
    pub(crate) asked: Option<Signal>,
    /// The signal by a key of the terminal that ended the command.
    pub(crate) key: Option<i32>,
}

/// Starts a command and watches it until it and all processes that it has started have ended.
///
/// When `held` has less than the grace left, or at the limit, they get SIGTERM. When it is lost, or
/// after the grace, they get SIGKILL.
pub(crate) async fn supervise(
    start: impl FnOnce(bool) -> Result<Tree, Failure>,
    held: &(impl Held + ?Sized),
    limits: Limits,
    signals: &mut Signals,
) -> Result<Ending, Failure> {
    signals.listen_for_stops()?;
    let terminal = Terminal::open();
    let has_terminal = terminal.as_ref().is_some_and(Terminal::is_for_the_command);
    let supervisor = Supervisor {
        tree: start(has_terminal)?,
        held,
        limits,
        terminal,
        has_terminal,
        is_to_stop: false,
        is_stopped: false,
        reason: None,
        kill_at: None,
        killed_at: None,
        asked: None,
        key: None,
    };
    Ok(supervisor.watch(signals).await)
}

struct Supervisor<'a, H: ?Sized> {
    tree: Tree,
    held: &'a H,
    limits: Limits,
    terminal: Option<Terminal>,
    /// Whether the command's group may use the terminal.
    has_terminal: bool,
    /// Whether this process was told to stop.
    is_to_stop: bool,
    /// Whether the command is stopped, and this process with it.
    is_stopped: bool,
    reason: Option<Reason>,
    kill_at: Option<Moment>,
    killed_at: Option<Moment>,
    asked: Option<Signal>,
    key: Option<i32>,
}

impl<H: Held + ?Sized> Supervisor<'_, H> {
    async fn watch(mut self, signals: &mut Signals) -> Ending {
        let mut revoked = pin!(self.held.revoked());
        let mut loss = None;
        loop {
            let event = tokio::select! {
                biased;
                lost = &mut revoked, if loss.is_none() => {
                    loss = Some(lost);
                    None
                }
                signal = signals.next() => Some(signal),
                () = clock::sleep_until(clock::now().after(self.interval())) => None,
            };
            self.judge(loss);
            match event {
                None => {}
                Some(Signal::CHILD) => self.reap(),
                Some(signal) => self.pass_on(signal),
            }
            if !cfg!(target_os = "linux") {
                // Without adoption nobody reports the end of an orphan.
                self.reap();
            }
            if self.has_ended() {
                self.tree.leave();
                return Ending {
                    status: self.tree.status(),
                    reason: self.reason,
                    asked: self.asked,
                    key: self.key,
                };
            }
        }
    }

    /// Returns how often the lock is looked at: often enough that SIGTERM is late by a tenth of the
    /// grace at most.
    fn interval(&self) -> Duration {
        let (least, most) = (Duration::from_millis(20), Duration::from_millis(250));
        (self.limits.grace / 10).clamp(least, most)
    }

    /// Stops the command if the lock or the time requires it.
    fn judge(&mut self, loss: Option<Loss>) {
        let now = clock::now();
        if let Some(loss) = loss.or_else(|| self.is_lost_unnoticed()) {
            if !matches!(self.reason, Some(Reason::Lost(_))) {
                self.reason = Some(Reason::Lost(loss));
            }
            self.kill(now);
        } else if self.kill_at.is_some_and(|at| at <= now) {
            self.kill(now);
        } else if self.reason.is_none() {
            let is_late = self.limits.stop_at.is_some_and(|at| at <= now);
            if !self.held.lasts(self.limits.grace) {
                self.stop(Reason::AtRisk, now);
            } else if is_late {
                self.stop(Reason::TooLong, now);
            }
        }
    }

    /// Returns the loss if the lock is lost by the clock, although its task has not run yet: this
    /// process may have been stopped.
    fn is_lost_unnoticed(&self) -> Option<Loss> {
        (!self.held.lasts(Duration::ZERO)).then_some(Loss::Expired)
    }

    fn stop(&mut self, reason: Reason, now: Moment) {
        self.reason = Some(reason);
        self.kill_at = Some(now.after(self.limits.grace));
        // Nothing is printed before the end of the command: a write to a terminal that is held, or
        // to a full pipe, would block, and delay SIGKILL.
        self.tree.terminate();
    }

    /// Kills what is alive. Called again until nothing is, because the children of killed processes
    /// are adopted, and become visible, only when those are dead.
    fn kill(&mut self, now: Moment) {
        self.tree.signal(Signal::KILL);
        self.killed_at.get_or_insert(now);
    }

    fn has_ended(&self) -> bool {
        let is_left = self.limits.leave_background && self.reason.is_none();
        let is_stuck = self
            .killed_at
            .is_some_and(|at| at.after(KILLED_WITHIN) <= clock::now());
        if is_stuck && self.tree.is_alive() {
            tell(
                "a process of the command cannot be killed: look for it with ps, it works on without \
                 the lock",
            );
            return true;
        }
        !self.tree.is_alive() || (is_left && self.tree.status().is_some())
    }

    fn reap(&mut self) {
        let stopped = self.tree.reap();
        if self.killed_at.is_some() {
            self.tree.signal(Signal::KILL);
        } else if self.reason.is_some() {
            self.tree.terminate();
        } else if let Some(Stopped(signal)) = stopped {
            self.follow_stop(signal);
        }
        if let Some(status) = self.tree.status() {
            if let (true, Status::Signaled(signal)) = (self.has_terminal, status) {
                let is_key = signal == Signal::INT.as_raw() || signal == Signal::QUIT.as_raw();
                self.key = is_key.then_some(signal);
            }
            self.take_terminal();
        }
    }

    fn take_terminal(&mut self) {
        if std::mem::take(&mut self.has_terminal)
            && let Some(terminal) = &self.terminal
        {
            terminal.take_back();
        }
    }

    /// Gives the terminal to the command, if it is ours. Returns whether it is.
    fn give_terminal(&mut self) -> bool {
        let Some(terminal) = self.terminal.as_ref().filter(|terminal| terminal.is_ours()) else {
            return false;
        };
        terminal.give_to(self.tree.group());
        self.has_terminal = true;
        true
    }

    /// The command has stopped. Stops this process, too, so that the shell shows a stopped job.
    fn follow_stop(&mut self, signal: i32) {
        let asks_for_terminal = signal == Signal::TTIN.as_raw() || signal == Signal::TTOU.as_raw();
        if asks_for_terminal && self.give_terminal() {
            self.tree.signal(Signal::CONT);
            return;
        }
        // A command that was stopped by SIGSTOP, or without a terminal, was stopped on purpose. The
        // lock stays held.
        let is_by_key = asks_for_terminal || signal == Signal::TSTP.as_raw();
        let has_key = is_by_key && self.terminal.is_some();
        let follows = std::mem::take(&mut self.is_to_stop) || has_key;
        if !follows {
            return;
        }
        if !is_a_job() {
            // Nobody would continue us. The system ignores the key in this case.
            if signal == Signal::TSTP.as_raw() {
                self.tree.signal(Signal::CONT);
            }
            return;
        }
        self.take_terminal();
        self.tree.signal(Signal::STOP);
        self.is_stopped = true;
        let _ = kill_current_process_group(Signal::STOP);
    }

    fn pass_on(&mut self, signal: Signal) {
        if self.killed_at.is_some() {
            return;
        }
        match signal {
            Signal::TERM | Signal::INT | Signal::HUP | Signal::QUIT => {
                self.asked.get_or_insert(signal);
            }
            Signal::TSTP => self.is_to_stop = true,
            Signal::CONT => {
                self.is_to_stop = false;
                let is_wanted = self
                    .terminal
                    .as_ref()
                    .is_some_and(Terminal::is_for_the_command);
                if std::mem::take(&mut self.is_stopped) && is_wanted {
                    self.give_terminal();
                }
            }
            _ => {}
        }
        // A process that left the group did so in order not to receive the signals of the terminal.
        // It still has to end with the rest, and to continue after it was stopped here.
        if signal == Signal::TERM || signal == Signal::CONT {
            self.tree.signal(signal);
        } else {
            self.tree.signal_group(signal);
        }
    }
}
