//! A SQLite store for distsync, for processes of one machine.
//!
//! It is the running example of [docs/backends.md][guide]. It is also useful by itself: processes
//! of one machine share locks without a server. [`register`] makes it reachable by
//! [`distsync::connect`]:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> distsync::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let file = folder.path().join("locks.db");
//! # let file = file.display();
//! distsync_example_sqlite::register()?;
//! // For example sqlite:/var/lib/shop/locks.db
//! let sync = distsync::connect(&format!("sqlite:{file}?ttl=5s")).await?;
//! let guard = sync.lock("nightly report", distsync::LockOptions::new())?.acquire().await?;
//! guard.release().await?;
//! sync.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! A session is a row with the moment at which it expires, a claim a row that refers to it, and a
//! queue the claims of a name in order of arrival (`schema.sql`). Each step that changes something
//! is one transaction that has locked the file before it reads (`BEGIN IMMEDIATE`), so no step
//! decides on outdated rows. A step that only reads does so on one snapshot, and waits for nobody:
//!
//! ```text
//! every step: if a session has expired, delete it, and with it its claims
//! acquire:    insert the claim; grant the head of the queue as far as the modes fit together
//! wait:       look again after each change of the file
//! release:    delete the claim; grant the head of the queue
//! grant:      raise the number in `store` by one: it is the token, and the revision of the queue
//! ```
//!
//! SQLite does not notify other processes of a change. While a handle has an open session, its
//! thread reads one row at each [interval](Config::poll), and checks whether a session has expired.
//!
//! # Limits
//!
//! - All processes must be on one machine and share its boot-time clock. A network file system, or
//!   containers with time namespaces of their own, break the locks.
//! - Anyone who can write the file can take every lock. Deleting the file while it is in use breaks
//!   all of them.
//! - All sessions end at a reboot of the machine, like the processes that opened them. No step but
//!   the first of a boot waits for the disk. A power failure can take the latest grants from the
//!   file, so tokens go on far above them after a reboot.
//!
//! [guide]: https://github.com/distsync/distsync/blob/main/docs/backends.md

mod backend;
mod config;
mod database;
mod error;
mod rows;

use std::sync::Arc;

pub use backend::Sqlite;
pub use config::Config;

/// Registers the scheme `sqlite:` in this process, for [`distsync::connect`]. Call it once.
///
/// # Errors
/// [`InvalidOption`](distsync::ErrorKind::InvalidOption) if the scheme is registered already.
pub fn register() -> distsync::Result<()> {
    distsync::spi::register("sqlite", |url| {
        Ok(Arc::new(Sqlite::new(Config::from_url(url)?)))
    })
}
