//! The program under test.

use std::process::{Command, Output};

/// Returns the program with no store in its environment.
pub(crate) fn distsync() -> Command {
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
