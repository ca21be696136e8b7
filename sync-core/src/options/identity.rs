//! The identity of this process: the default of `client`, and the data that an operator needs to
//! isolate the process.

use bytes::Bytes;

/// Returns the identity of this process as JSON, for
/// [`SyncOptions::isolation`](crate::SyncOptions::isolation): `host`, `pid`, and `start`, which
/// tells the process from a later one with the same pid.
///
/// `start` is in kernel ticks since boot, and 0 where the kernel does not tell.
#[must_use]
pub fn process_identity() -> Bytes {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Skip the process name, which is in parentheses and can hold anything. The start is the 22nd
    // field of all.
    let start = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(19))
        .unwrap_or("0");
    let host: String = host()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        .collect();
    format!(
        "{{\"host\":\"{host}\",\"pid\":{},\"start\":{start}}}",
        std::process::id()
    )
    .into()
}

/// Returns the name of the machine, or `localhost` if it has none.
pub(super) fn host() -> String {
    #[cfg(unix)]
    let node = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    let node = std::env::var("COMPUTERNAME").unwrap_or_default();
    if node.is_empty() {
        "localhost".to_owned()
    } else {
        node
    }
}
