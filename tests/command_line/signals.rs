//! Signals to `distsync run` while the command runs.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::program::distsync;
use crate::running::{Running, runs, until};
use crate::stores::Netlock;

#[test]
fn signals_reach_the_command() {
    let netlock = Netlock::start();
    let script = "
        for signal in TERM INT HUP QUIT USR1 USR2 WINCH CONT; do
            trap \"echo $signal\" $signal
        done
        trap 'exit 7' USR2
        echo ready
        while :; do sleep 0.02; done";
    let mut run = Running::script(&netlock.url(), &[], script);
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::WINCH, "WINCH"),
        (Signal::CONT, "CONT"),
    ] {
        run.signal(signal);
        assert_eq!(run.line(), name);
    }
    run.signal(Signal::USR2);
    assert_eq!(run.code(), Some(7));
}

/// Sends a signal to `distsync`, whose shell runs a program in the background and another in the
/// foreground. All of them have to end.
fn ends_all(signal: Signal, code: i32) {
    let netlock = Netlock::start();
    let script = "sleep 100 & echo ready; echo $$; echo $!; sleep 100; echo after";
    let mut run = Running::script(&netlock.url(), &[], script);
    let processes: Vec<i32> = (0..2).map(|_| run.line().parse().unwrap()).collect();
    run.signal(signal);
    assert_eq!(run.code(), Some(code));
    assert_eq!(run.line(), "", "the shell did not go on");
    assert!(!processes.into_iter().any(runs));
}

#[test]
fn sigterm_ends_the_children_of_a_shell_and_not_the_shell_alone() {
    ends_all(Signal::TERM, 143);
}

#[test]
fn a_hangup_orphans_nobody() {
    ends_all(Signal::HUP, 129);
}

#[test]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    let netlock = Netlock::start();
    let program = distsync().get_program().to_owned();
    let script = "trap '' HUP; exec \"$0\" run a -- sh -c 'echo ready; read x; exit 5'";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(program)
        .env("DISTSYNC_URL", netlock.url());
    let mut run = Running::spawn(command.stdin(Stdio::piped()));
    assert_eq!(run.line(), "ready");
    run.signal(Signal::HUP);
    run.end_input();
    assert_eq!(run.code(), Some(5));
}

#[test]
fn a_killed_distsync_leaves_no_command() {
    let netlock = Netlock::start();
    let script = "sleep 100 & echo ready; echo $$; echo $!; sleep 100";
    let mut run = Running::script(&netlock.url(), &[], script);
    let processes: Vec<i32> = (0..2).map(|_| run.line().parse().unwrap()).collect();
    run.signal(Signal::KILL);
    assert_eq!(run.ended().signal(), Some(9));
    until("the end of the command", || {
        (!processes.iter().any(|pid| runs(*pid))).then_some(())
    });
}
