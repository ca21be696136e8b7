//! The environment variables of a command that runs under a lock.

use std::collections::BTreeMap;

use distsync_core::spi::clock;

use crate::program::{distsync, text};
use crate::stores::{Netlock, Redis};

fn environment(url: &str, options: &[&str]) -> BTreeMap<String, String> {
    let mut command = distsync();
    command
        .env("DISTSYNC_URL", url)
        .env("REDIS_PW", "hunter2")
        .args(["run", "a b"])
        .args(options)
        .args(["--", "env"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = text(&output.stdout);
    let variables = lines.lines().filter_map(|line| line.split_once('='));
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn a_command_sees_the_name_the_token_the_claim_and_the_deadline() {
    let netlock = Netlock::start();
    let now = clock::wall_millis() / 1_000;
    let seen = environment(&netlock.url(), &[]);
    assert_eq!(seen["DISTSYNC_NAME"], "a b");
    assert_eq!(seen["DISTSYNC_CLAIM"].len(), 32);
    assert_eq!(seen["DISTSYNC_URL"], netlock.url());
    let deadline: u64 = seen["DISTSYNC_DEADLINE"].parse().unwrap();
    assert!(
        (now..now + 16).contains(&deadline),
        "within the TTL: {deadline}, now {now}"
    );
    let token: u64 = seen["DISTSYNC_TOKEN"].parse().unwrap();

    let later = environment(&netlock.url(), &["--max-hold", "1h"]);
    assert!(later["DISTSYNC_TOKEN"].parse::<u64>().unwrap() > token);
    let deadline: u64 = later["DISTSYNC_DEADLINE"].parse().unwrap();
    assert!(
        (now + 3_590..now + 3_660).contains(&deadline),
        "{deadline}, now {now}"
    );
}

#[test]
fn a_command_sees_no_secret() {
    let redis = Redis::start();
    redis.tell("ACL SETUSER worker on >hunter2 ~* &* +@all");
    let url = format!("redis://worker:hunter2@127.0.0.1:{}", redis.port());
    let named = format!(
        "redis://worker@127.0.0.1:{}?password_env=REDIS_PW",
        redis.port()
    );
    let seen = environment(&url, &[]);
    assert!(!seen.contains_key("DISTSYNC_URL"));
    assert!(!format!("{seen:?}").contains("worker"));
    // REDIS_PW is only a secret if the URL names it.
    assert!(!format!("{:?}", environment(&named, &[])).contains("hunter2"));
    assert!(seen.contains_key("PATH"), "the rest is inherited");
}
