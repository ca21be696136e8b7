//! The program under test.

use std::process::{Command, Output};
use std::sync::Once;

use tokio::signal::unix::{SignalKind, signal};

/// The signals that the tests send, and that a shell ignores in a background job.
const IGNORED_IN_THE_BACKGROUND: [SignalKind; 3] = [
    SignalKind::hangup(),
    SignalKind::interrupt(),
    SignalKind::quit(),
];

/// Gives the programs that this process starts the default reaction to signals, even if this
/// process was started with some of them ignored, as a background job is. An ignored signal is
/// inherited, and a signal with a handler is not.
pub(crate) fn react_to_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            for kind in IGNORED_IN_THE_BACKGROUND.into_iter().filter(is_ignored) {
                // The handler stays after the receiver is dropped.
                drop(signal(kind).unwrap());
            }
        });
    });
}

/// Whether this process ignores a signal.
fn is_ignored(kind: &SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

/// Returns the program with no store in its environment.
pub(crate) fn distsync() -> Command {
    react_to_signals();
    let mut command = Command::new(env!("CARGO_BIN_EXE_distsync"));
    command.env_remove("DISTSYNC_URL");
    command
}

/// Runs the program with these arguments to its end.
pub(crate) fn distsync_with(arguments: &[&str]) -> Output {
    distsync().args(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
