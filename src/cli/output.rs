//! The output of commands: text for people, JSON for programs.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::Common;
use crate::exit::{self, Failure};

/// The style of headings.
pub(crate) const HEADING: Style = Style::new().bold();
/// The style of a claim that is held, and of a check that passed.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// The style of a claim that waits, and of a setting that makes the store worse.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
/// The style of a check that failed.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();

/// The exit code of a program that SIGPIPE ends, as shells report it.
const PIPE_CLOSED: u8 = 128 + 13;

/// The form in which a command prints its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Text, coloured on a terminal unless `NO_COLOR` is set.
    Text,
    /// One JSON value per line.
    Json,
}

impl Common {
    /// Returns the form of output that the user has chosen.
    pub(crate) fn output(&self) -> Output {
        if self.json {
            Output::Json
        } else {
            Output::Text
        }
    }
}

impl Output {
    /// Prints a result to standard output: as a line with `json`, or as `text`, which ends its
    /// lines itself.
    ///
    /// The text may contain styles. They are removed unless the output is a terminal that shows
    /// them.
    pub(crate) fn show(
        self,
        json: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = match self {
            Self::Json => format!("{}\n", json()),
            Self::Text => text(),
        };
        let mut out = anstream::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| unwritable(&error))
    }
}

/// Returns the failure to write to standard output. It has no message if the reader, such as
/// `head`, has closed the pipe, because that is no error.
pub(crate) fn unwritable(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::new(PIPE_CLOSED, "");
    }
    let problem = format!("cannot write to standard output: check where it leads ({error})");
    Failure::new(exit::OTHER, problem)
}

/// Returns `text` in this style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns a duration in milliseconds, as JSON and the progress bar have it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns text with its control characters escaped, so that a terminal does not interpret them.
/// Other clients choose their names and values.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
