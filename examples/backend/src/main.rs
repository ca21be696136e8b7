//! Runs a command while it holds a lock, as flock(1) does:
//! `distsync-example-sqlite URL NAME COMMAND [ARGUMENT]...`. Kills the command if the lock is lost.

use std::process::ExitCode;

use distsync::{Error, ErrorKind, LockOptions, Result};
use tokio::process::Command;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, name, command, rest @ ..] = &arguments[..] else {
        eprintln!("usage: distsync-example-sqlite URL NAME COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    match run(url, name, Command::new(command).args(rest)).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(url: &str, name: &str, command: &mut Command) -> Result<u8> {
    distsync_example_sqlite::register()?;
    let sync = distsync::connect(url).await?;
    let guard = sync.lock(name, LockOptions::new())?.acquire().await?;
    let failed = |error: std::io::Error| Error::new(ErrorKind::Store, format!("command: {error}"));
    let mut child = command
        .env("FENCING_TOKEN", guard.token().to_string())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let status = tokio::select! {
        status = child.wait() => status.map_err(failed)?,
        loss = guard.revoked() => {
            return Err(Error::new(ErrorKind::NotHeld, format!("the lock was lost: {loss}")));
        }
    };
    guard.release().await?;
    sync.close().await?;
    // A command that was ended by a signal has no code.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}
