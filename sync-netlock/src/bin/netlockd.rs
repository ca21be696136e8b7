//! The lock server of distsync.

fn main() -> std::process::ExitCode {
    distsync_netlock::program::main()
}
