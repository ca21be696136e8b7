//! Each example runs to its end on `memory:` and on a real store, and checks what it shows itself.

use super::programs::{run, text};
use super::stores::{Consul, Etcd, Netlock, Redis};

/// Runs an example on `url`, or on its default without one. Returns what it printed.
fn succeeds(name: &str, url: Option<&str>) -> String {
    let arguments: Vec<&str> = url.iter().flat_map(|url| ["--on", url]).collect();
    let ended = run(name, &arguments);
    let printed = text(&ended.stdout);
    assert!(
        ended.status.success(),
        "{name} on {url:?}: {printed}{}",
        text(&ended.stderr)
    );
    printed
}

#[test]
fn examples_run_on_the_embedded_store() {
    for name in [
        "at_most_n_jobs",
        "cache_fill",
        "cron_once",
        "fencing",
        "leader",
        "lock",
        "registration",
        "semaphore",
        "swap",
        "ticket",
    ] {
        assert!(!succeeds(name, None).is_empty(), "{name} prints nothing");
    }
}

#[test]
fn examples_run_on_redis() {
    let store = Redis::start();
    let url = format!("redis://127.0.0.1:{}", store.port());
    for name in ["fencing", "lock", "semaphore", "swap", "ticket"] {
        succeeds(name, Some(&url));
    }
}

#[test]
fn examples_run_on_etcd() {
    let store = Etcd::start();
    let url = format!("etcd://127.0.0.1:{}", store.port());
    for name in ["at_most_n_jobs", "cache_fill", "registration"] {
        succeeds(name, Some(&url));
    }
}

#[test]
fn examples_run_on_consul() {
    let store = Consul::start();
    let url = format!("consul://127.0.0.1:{}", store.port());
    for name in ["cron_once", "leader"] {
        succeeds(name, Some(&url));
    }
}

/// The order of events that the example promises.
const READ_WRITE: &str = "waiting r1\ngot r1\nwaiting r2\ngot r2\nwaiting w3\nwaiting r4\n\
                          releasing r1\nreleasing r2\ngot w3\nreleasing w3\ngot r4\nreleasing r4\n";

#[test]
fn readers_and_a_writer_hold_in_the_order_of_the_example() {
    assert_eq!(succeeds("read_write", None), READ_WRITE);
    let (netlock, etcd) = (Netlock::start(), Etcd::start());
    assert_eq!(succeeds("read_write", Some(&netlock.url())), READ_WRITE);
    let url = format!("etcd://127.0.0.1:{}", etcd.port());
    assert_eq!(succeeds("read_write", Some(&url)), READ_WRITE);
}
