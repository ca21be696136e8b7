//! Who this process is: the default of `client`, and what an operator needs to isolate it.

use bytes::Bytes;

/// Who this process is, as JSON: `host`, `pid`, and `start`, by which a process is told from a later one of the same number (the
/// kernel's ticks since boot; 0 where they are not to be had).
#[must_use]
pub fn process_identity() -> Bytes {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields behind the name, which is in parentheses and can hold anything; the start is the 22nd of all.
    let start =
        stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(19)).unwrap_or("0");
    let host: String =
        host().chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')).collect();
    format!("{{\"host\":\"{host}\",\"pid\":{},\"start\":{start}}}", std::process::id()).into()
}

/// The machine's name, or `localhost` where it is not to be had.
pub(super) fn host() -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if node.is_empty() { "localhost".to_owned() } else { node }
}
