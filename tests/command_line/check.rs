//! `check`: a report on a store.

use std::sync::Arc;

use serde_json::Value;

use crate::steps::{exits, json};
use crate::stores::{Consul, Etcd, Netlock, Redis};

/// Checks a store that has everything. Returns the report.
fn report(url: &str) -> Value {
    let text = exits(url, &["check"], 0);
    assert!(
        text.contains("is reachable") && text.contains("crashed holder"),
        "{text}"
    );
    let report = json(url, &["check"]).remove(0);
    for operation in report["operations"].as_array().unwrap() {
        assert_eq!(operation["state"], "works", "{operation}");
    }
    assert!(report["promises"].as_array().unwrap().len() >= 3);
    // The probes are gone.
    assert_eq!(exits(url, &["list"], 0), "");
    report
}

fn warns(report: &Value, of: &str) -> bool {
    let warnings = report["warnings"].as_array().unwrap();
    warnings
        .iter()
        .any(|warning| warning.as_str().unwrap().contains(of))
}

#[test]
fn memory_has_everything() {
    let report = report("memory:?ttl=11s");
    let promises = report["promises"].as_array().unwrap();
    assert!(
        promises[0].as_str().unwrap().contains("within 11s 20ms"),
        "{report}"
    );
}

#[test]
fn a_netlock_server_without_a_folder_is_named() {
    assert!(warns(&report(&Netlock::start().url()), "--data-dir"));
    assert!(!warns(
        &report(&Netlock::with_a_folder().url()),
        "--data-dir"
    ));
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}")
}

#[test]
fn an_etcd_server_has_everything_but_members_and_users() {
    let etcd: Arc<Etcd> = Etcd::start();
    let report = report(&url("etcd", etcd.port()));
    assert!(warns(&report, "1 member") && warns(&report, "without a user"));
}

#[test]
fn a_consul_server_has_everything_but_more_servers() {
    let consul: Arc<Consul> = Consul::start();
    assert!(warns(&report(&url("consul", consul.port())), "1 server"));
}

#[test]
fn the_settings_of_a_redis_server_are_named() {
    let redis: Arc<Redis> = Redis::start();
    let url = url("redis", redis.port());
    assert_eq!(report(&url)["warnings"], serde_json::json!([]));
    redis.tell("CONFIG SET appendonly no");
    redis.tell("CONFIG SET maxmemory-policy allkeys-lru");
    let worse = report(&url);
    assert!(warns(&worse, "append-only") && warns(&worse, "allkeys-lru evicts"));
    redis.tell("ACL SETUSER default -info");
    assert!(warns(&report(&url), "cannot be read"));
}
