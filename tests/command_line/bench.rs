//! `bench`: a load on a store.

use distsync::Kind;

use crate::program::text;
use crate::pty::OnTerminal;
use crate::steps::{assert_code, json, on};
use crate::stores::{Netlock, Redis};

/// Runs a short load in each mode, and checks the report and that no name remains.
fn a_load_is_measured(url: &str) {
    let short = ["bench", "--time", "200ms", "--tasks", "4"];
    for mode in [
        &["--mode", "lock", "--names", "1"][..],
        &["--mode", "read", "--clients", "2"],
        &["--mode", "try", "--names", "1"],
    ] {
        let report = &json(url, &[&short, mode].concat())[0];
        let grants = report["grants"].as_u64().unwrap();
        assert!(grants > 0, "{report}");
        let times = &report["acquire_us"];
        let percentile = |name: &str| times[name].as_u64().unwrap();
        assert!(percentile("p50") <= percentile("p99") && percentile("p99") <= percentile("max"));
        assert!(percentile("max") > 0, "{report}");
        let histogram = report["histogram_us"].as_array().unwrap();
        let counted = histogram
            .iter()
            .map(|bucket| bucket["count"].as_u64().unwrap());
        assert_eq!(counted.sum::<u64>(), grants, "{report}");
        let elapsed = report["elapsed_ms"].as_u64().unwrap();
        let rate = report["grants_per_second"].as_u64().unwrap();
        assert!(
            rate.abs_diff(grants * 1_000 / elapsed) <= 1 + rate / 50,
            "{report}"
        );
    }
}

#[test]
fn a_load_is_measured_in_memory() {
    a_load_is_measured("memory:");
}

#[test]
fn a_load_on_redis_leaves_nothing() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    a_load_is_measured(&url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = format!("{url}?namespace=distsync-bench");
        let sync = distsync::connect(&url).await.unwrap();
        let none: [&str; 0] = [];
        assert_eq!(sync.list(Kind::Lock, "").await.unwrap(), none);
        sync.close().await.unwrap();
    });
}

#[test]
fn a_progress_bar_is_on_a_terminal_only() {
    let netlock = Netlock::start();
    let arguments = ["bench", "--time", "500ms"];
    let (code, shown) = OnTerminal::start(on(&netlock.url(), &arguments)).ended();
    assert_eq!(code, Some(0), "{shown}");
    // The bar is drawn several times, and erased at the end.
    assert!(shown.contains("░") && shown.contains("█"), "{shown:?}");
    assert!(
        shown.contains("%  ") && shown.contains("\x1b[2K"),
        "{shown:?}"
    );
    assert!(
        shown.contains("grants, ") && shown.contains("p99.9"),
        "{shown}"
    );
    assert!(shown.contains("####"), "a histogram: {shown}");

    let output = on(&netlock.url(), &arguments).output().unwrap();
    assert_code(&output, &arguments, 0);
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "only the warning: {said:?}");
    assert!(said.contains("slows down"), "{said}");
}
