//! Ten requests register the same address at the same moment, and one account is created: `cargo
//! run --example registration`, or `-- --on URL`.
//!
//! The accounts are in a service without unique keys or transactions. A lock for each address makes
//! the lookup and the creation one step for all processes. Different addresses do not block each
//! other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use distsync::{DynSync, LockOptions, Result, connect, with_lock};
use tokio::task::JoinSet;

#[derive(Debug, Parser)]
struct Flags {
    /// The store: memory:NAME, netlock://HOST:PORT, etcd://HOST:PORT, ...
    #[arg(long, default_value = "memory:registration")]
    on: String,
}

/// The accounts, as a slow service stores them.
#[derive(Default)]
struct Accounts(Mutex<HashMap<String, Vec<u32>>>);

impl Accounts {
    async fn exists(&self, address: &str) -> bool {
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.0.lock().unwrap().contains_key(address)
    }

    async fn create(&self, address: &str, request: u32) {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut accounts = self.0.lock().unwrap();
        accounts
            .entry(address.to_owned())
            .or_default()
            .push(request);
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = Flags::parse().on;
    let sync = connect(&url).await?;
    let accounts = Arc::new(Accounts::default());
    let mut requests = JoinSet::new();
    for request in 0..10 {
        let (sync, accounts) = (sync.clone(), accounts.clone());
        requests
            .spawn(async move { register(&*sync, &accounts, "ada@example.org", request).await });
    }
    let mut created = 0;
    for outcome in requests.join_all().await {
        created += u32::from(outcome?);
    }
    assert_eq!(created, 1, "one request creates the account");
    assert_eq!(accounts.0.lock().unwrap()["ada@example.org"].len(), 1);
    println!("10 requests, {created} account");
    sync.close().await
}

/// Returns whether this request created the account.
async fn register(
    sync: &DynSync,
    accounts: &Accounts,
    address: &str,
    request: u32,
) -> Result<bool> {
    let lock = sync.lock(&format!("accounts/{address}"), LockOptions::new())?;
    with_lock(&*lock, async |_guard| {
        if accounts.exists(address).await {
            return false;
        }
        accounts.create(address, request).await;
        true
    })
    .await
}
