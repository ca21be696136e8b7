//! Two builds of netlockd side by side, to measure the cost of a change:
//! `cargo bench --bench netlock -- programs EARLIER LATER`, with the paths of both.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{ROUND, ROUNDS, memory, raw, side};

/// A netlockd that ends with its load.
pub(crate) struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) address: String,
}

impl Program {
    pub(crate) fn start(path: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(path);
        command.args(["--listen", "127.0.0.1:0", "--log", "warn"]);
        Self::spawn(command.args(flags))
    }

    /// Starts the bare echo in a process of its own.
    pub(crate) fn echo() -> Self {
        let this = std::env::current_exe().expect("the path of this program");
        Self::spawn(Command::new(this).arg("echo-server"))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let stdout = child.stdout.take().expect("it is piped");
        let mut program = Self {
            child,
            lines: BufReader::new(stdout).lines(),
            address: String::new(),
        };
        program.address = program.said("listening on ");
        program
    }

    /// Returns the rest of its next line of output, which has to begin with this text.
    pub(crate) fn said(&mut self, start: &str) -> String {
        let line = self.lines.next().expect("it says something").expect("text");
        line.strip_prefix(start).expect("the text").to_owned()
    }

    /// Returns its resident memory, in bytes.
    pub(crate) fn resident(&self) -> usize {
        memory::resident_of(&self.child.id().to_string())
    }

    /// Returns its processor time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.cpu_of_threads().iter().sum()
    }

    /// Returns the processor time of each of its threads so far, in seconds.
    pub(crate) fn cpu_of_threads(&self) -> Vec<f64> {
        side::cpu_of_threads(self.child.id())
    }

    fn round(path: &str, flags: &[&str], connections: usize, window: usize) -> Round {
        let program = Self::start(path, flags);
        let address: SocketAddr = program.address.parse().expect("an address");
        let run = raw::measured(address, connections, window, ROUND, || program.cpu());
        let (pairs_per_second, cpu_per_pair) = run.round();
        Round {
            pairs_per_second,
            cpu_per_pair,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The result of one round.
#[derive(Clone, Copy)]
struct Round {
    pairs_per_second: f64,
    /// The processor time of the server for one pair, in microseconds. It is more reliable than the
    /// speed if other programs use the processors too.
    cpu_per_pair: f64,
}

pub(crate) fn table(earlier: &str, later: &str) {
    println!("two programs, pairs/s and us of processor a pair");
    println!(
        "                       earlier            later   of that   wanted    with a folder   of that   wanted"
    );
    for (connections, window) in [(1, 1), (1, 256), (16, 16)] {
        let load = |path: &str, flags: &[&str]| Program::round(path, flags, connections, window);
        let kept = || {
            let folder = tempfile::tempdir().expect("a folder");
            load(
                later,
                &["--data-dir", folder.path().to_str().expect("a path")],
            )
        };
        let mut rounds = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..3 * ROUNDS {
            for (side, round) in
                rounds
                    .iter_mut()
                    .zip([load(earlier, &[]), load(later, &[]), kept()])
            {
                side.push(round);
            }
        }
        let of = |what: fn(&Round) -> f64| {
            rounds
                .each_ref()
                .map(|side| side::median(side.iter().map(what).collect()))
        };
        let [earlier, later, kept] = of(|round| round.pairs_per_second);
        println!(
            "{connections:>4} x {window:<4} {earlier:>19.0} {later:>16.0} {:>9.2}     0.95 {kept:>16.0} {:>9.2}      0.8",
            later / earlier,
            kept / earlier,
        );
        let [earlier, later, kept] = of(|round| round.cpu_per_pair);
        println!(
            "            {earlier:>18.2} {later:>16.2} {:>9.2}          {kept:>16.2} {:>9.2}",
            earlier / later,
            earlier / kept,
        );
    }
    println!();
}
