//! The signals that this process receives.

use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::exit::{Failure, OTHER};

/// The signals that are passed on to the command. SIGTSTP follows when the command starts: until
/// then its default action stops this process, as it should.
const PASSED_ON: [Signal; 8] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::CONT,
];

/// The streams of all signals that this process handles.
#[derive(Debug)]
pub(crate) struct Signals {
    /// The numbers of the signals that were ignored at the start, for instance SIGHUP by nohup(1).
    /// They stay ignored, here and in the command.
    ignored: u64,
    streams: Vec<(Signal, unix::Signal)>,
    children: unix::Signal,
}

impl Signals {
    /// Begins to handle the signals.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let mut signals = Self {
            ignored: ignored(),
            streams: Vec::new(),
            children: stream(Signal::CHILD)?,
        };
        for signal in PASSED_ON {
            signals.add(signal)?;
        }
        Ok(signals)
    }

    /// Begins to handle SIGTSTP, which a command has to receive before this process stops.
    pub(crate) fn listen_for_stops(&mut self) -> Result<(), Failure> {
        if self
            .streams
            .iter()
            .any(|(signal, _)| *signal == Signal::TSTP)
        {
            return Ok(());
        }
        self.add(Signal::TSTP)
    }

    fn add(&mut self, signal: Signal) -> Result<(), Failure> {
        if self.ignored & (1 << (signal.as_raw() - 1)) == 0 {
            self.streams.push((signal, stream(signal)?));
        }
        Ok(())
    }

    /// Returns the next signal, or SIGCHLD if the state of a child may have changed.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.streams {
                if let Poll::Ready(Some(())) = stream.poll_recv(context) {
                    return Poll::Ready(*signal);
                }
            }
            match self.children.poll_recv(context) {
                Poll::Ready(Some(())) => Poll::Ready(Signal::CHILD),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Returns the next signal that asks this process to end.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(crate) async fn ending(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if ![Signal::CHILD, Signal::WINCH, Signal::CONT, Signal::TSTP].contains(&signal) {
                return signal;
            }
        }
    }
}

fn stream(signal: Signal) -> Result<unix::Signal, Failure> {
    unix::signal(SignalKind::from_raw(signal.as_raw())).map_err(|error| {
        let problem = format!("cannot handle signals: raise the limit of open files ({error})");
        Failure::new(OTHER, problem)
    })
}

/// Returns the signals that this process ignores, as a bit mask; none where the system does not
/// tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
