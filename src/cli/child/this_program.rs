//! This program, to be executed again: as the stub, the watchdog, or to die of a signal.

use std::path::PathBuf;

/// Returns the path of this program. On Linux it works even after the file was replaced.
pub(super) fn this_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok("/proc/self/exe".into())
    } else {
        std::env::current_exe()
    }
}
