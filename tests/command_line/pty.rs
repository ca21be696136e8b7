//! The program on a terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A program whose input and output are a terminal.
#[derive(Debug)]
pub(crate) struct OnTerminal {
    terminal: File,
    child: Child,
}

impl OnTerminal {
    pub(crate) fn start(mut command: Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let path = ptsname(&terminal, Vec::new()).unwrap();
        let end = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path.to_str().unwrap())
            .unwrap();
        let child = command
            .env("TERM", "xterm")
            .stdin(end.try_clone().unwrap())
            .stdout(end.try_clone().unwrap())
            .stderr(end)
            .spawn()
            .unwrap();
        // Otherwise the terminal would stay open when the program has ended.
        drop(command);
        Self {
            terminal: File::from(terminal),
            child,
        }
    }

    /// Types a line.
    pub(crate) fn line(&mut self, text: &str) {
        writeln!(self.terminal, "{text}").unwrap();
    }

    /// Waits until the program has ended. Returns its exit code, and what the terminal showed.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let mut shown = Vec::new();
        // Linux reports an error at the end of the terminal, not the end of a file.
        let _ = self.terminal.read_to_end(&mut shown);
        let status = self.child.wait().unwrap();
        (status.code(), String::from_utf8_lossy(&shown).into_owned())
    }
}
