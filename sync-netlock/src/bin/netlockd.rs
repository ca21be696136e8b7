//! The lock server of distsync.

fn main() -> std::process::ExitCode {
    sync_netlock::program::main()
}
