//! The library's reports about locks and elections: events, and metrics through the facade.
//!
//! The recorder and the subscriber are those of the process, so these tests have a process of their
//! own, and one test uses both.
#![cfg(all(feature = "memory", feature = "metrics"))]

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distsync::{LeaderOptions, LockOptions, Node, Wait, connect};
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};
use tracing_subscriber::fmt::MakeWriter;

/// Uses a lock and an election in every way that is reported. Returns an identifying name.
async fn use_locks(name: &str) {
    let url = format!("memory:{name}?ttl=300ms");
    let (one, two) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    let guard = one.write(name).unwrap().acquire().await.unwrap();
    assert!(
        two.write(name)
            .unwrap()
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    let short = LockOptions::new().with_wait(Wait::For(Duration::from_millis(10)));
    assert!(two.lock(name, short).unwrap().acquire().await.is_err());
    two.write(name).unwrap().evict(guard.claim()).await.unwrap();
    guard.revoked().await;
    let leader = one.leader(name, LeaderOptions::new(Node::new("node-1")));
    let elected = leader.unwrap().elect().await.unwrap();
    // At least one renewal.
    tokio::time::sleep(Duration::from_millis(250)).await;
    elected.resign().await.unwrap();
    // A name that the store refuses: a semaphore of another size.
    let _permit = one
        .semaphore("permits", 2)
        .unwrap()
        .acquire()
        .await
        .unwrap();
    assert!(
        two.semaphore("permits", 3)
            .unwrap()
            .acquire()
            .await
            .is_err()
    );
    one.close().await.unwrap();
    two.close().await.unwrap();
}

/// Returns the names of the metrics that a file of `deploy/` mentions.
fn mentioned(text: &str, prefix: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let words = words.filter(|word| word.starts_with(prefix));
    words.map(str::to_owned).collect()
}

/// Returns the names in the table of the page about observability.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../docs/observability.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    let names = names.filter(|name| name.starts_with("distsync_"));
    names.map(str::to_owned).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_of_the_page() {
    let documented = documented();
    for page in [
        include_str!("../../deploy/grafana-dashboard.json"),
        include_str!("../../deploy/prometheus-alerts.yml"),
    ] {
        let named = mentioned(page, "distsync_");
        assert!(!named.is_empty());
        for name in named {
            let suffixes = ["_bucket", "_count", "_sum"];
            let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
            let base = base.unwrap_or(&name);
            assert!(documented.contains(base), "there is no metric `{name}`");
        }
    }
}

/// A writer that keeps what was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn locks_and_elections_are_logged_and_measured() {
    // The metrics of a store are registered again after this: a recorder is installed later.
    let before = connect("memory:before").await.unwrap();
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    recorder.install().unwrap();
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(log.clone())
        .init();
    use_locks("shop").await;
    before.close().await.unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    check_events(&text);
    check_metrics(&metrics);
}

fn check_events(text: &str) {
    let has = |parts: &[&str]| {
        let mut lines = text.lines();
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    };
    for parts in [
        &[
            "acquire{",
            "kind=\"lock\"",
            "name=shop",
            "granted",
            "token=",
        ][..],
        &["acquire{", "waiting", "position=1"],
        &["busy", "name=shop"],
        &["not granted", "held by"],
        &["acquire{", "kind=\"leader\"", "granted"],
        &["no longer held", "name=shop", "held=", "loss=released"],
        &["WARN", "lost", "name=shop", "loss=evicted"],
    ] {
        assert!(has(parts), "no line has {parts:?}:\n{text}");
    }
}

/// The recorded metrics are those of the page.
fn check_metrics(metrics: &Snapshotter) {
    let mut recorded = BTreeSet::new();
    for (key, ..) in metrics.snapshot().into_vec() {
        recorded.insert(key.key().name().to_owned());
    }
    assert_eq!(recorded, documented());
}
