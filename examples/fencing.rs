//! A worker is paused for so long that it loses its lock. The database rejects its late write:
//! `cargo run --example fencing`, or `-- --on URL`.
//!
//! The resource is a table in SQLite (in memory). `docs/fencing.md` has the same two statements for
//! other databases, Redis, etcd and S3.

use clap::Parser;
use distsync::{LockOptions, Result, Token, connect};
use rusqlite::{Connection, OptionalExtension, params};

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:fencing")]
    on: String,
}

/// A bank account whose row has a column for the newest fencing token.
struct Account(Connection);

impl Account {
    fn open() -> rusqlite::Result<Self> {
        let database = Connection::open_in_memory()?;
        database.execute_batch(
            "CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER NOT NULL,
                                   fence INTEGER NOT NULL DEFAULT 0);
             INSERT INTO account (id, balance) VALUES ('a', 100);",
        )?;
        Ok(Self(database))
    }

    /// The first step: enters with a token, and reads. Returns `None` for an outdated token.
    fn enter(&self, token: Token) -> rusqlite::Result<Option<i64>> {
        let enter =
            "UPDATE account SET fence = ?1 WHERE id = 'a' AND fence <= ?1 RETURNING balance";
        self.0
            .query_row(enter, [number(token)], |row| row.get(0))
            .optional()
    }

    /// The second step: writes, if no newer token has entered. Returns whether it did.
    fn write(&self, token: Token, balance: i64) -> rusqlite::Result<bool> {
        let write = "UPDATE account SET balance = ?2 WHERE id = 'a' AND fence = ?1";
        Ok(self.0.execute(write, params![number(token), balance])? == 1)
    }
}

/// Returns a token as SQLite stores it.
fn number(token: Token) -> i64 {
    i64::try_from(token.get()).expect("a token is below 2^63")
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let account = Account::open()?;
    let (balance_then, balance_now, accepted) = late_write(&account, &Flags::parse().on).await?;
    assert!(!accepted, "the database accepts an outdated token");
    println!("the late write on the balance of {balance_then} is rejected: it is {balance_now}");
    Ok(())
}

/// Lets one worker write after another has been granted the lock.
async fn late_write(
    account: &Account,
    url: &str,
) -> std::result::Result<(i64, i64, bool), Box<dyn std::error::Error>> {
    let (one, two) = (connect(url).await?, connect(url).await?);
    let lock =
        |sync: &distsync::DynSync| -> Result<_> { sync.lock("account a", LockOptions::new()) };

    let paused = lock(&*one)?.acquire().await?;
    let balance = account.enter(paused.token())?.ok_or("an outdated token")?;
    println!("worker 1 reads a balance of {balance}, and is paused");

    // An operator ends the lock of the silent worker. Without that, it ends by its TTL.
    lock(&*two)?.evict(paused.claim()).await?;
    let guard = lock(&*two)?.acquire().await?;
    let current = account.enter(guard.token())?.ok_or("an outdated token")?;
    assert!(account.write(guard.token(), current + 10)?);
    println!("worker 2 adds 10");
    guard.release().await?;

    println!("worker 1 continues, and adds 1 to the balance that it has read");
    let accepted = account.write(paused.token(), balance + 1)?;
    let now = account.enter(Token::MAX)?.ok_or("an outdated token")?;
    one.close().await?;
    two.close().await?;
    Ok((balance, now, accepted))
}
