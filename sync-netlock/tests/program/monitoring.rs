//! The port for metrics and health checks.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use distsync_netlock::wire::proto::response::Body as Response;

use super::raw::{Raw, enqueue, session};
use super::server::{Netlockd, complaint};
use super::tls::pair;

/// Starts a server with a port for metrics.
struct Watched {
    server: Netlockd,
    metrics: String,
}

impl Watched {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        let flags = [&["--admin-listen", "127.0.0.1:0"], more].concat();
        let mut server = Netlockd::start(&flags);
        let metrics = server.said("metrics on ");
        Self { server, metrics }
    }

    fn get(&self, path: &str) -> String {
        get(&self.metrics, path)
    }
}

/// Returns the response for a path of the port for metrics.
pub(crate) fn get(metrics: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(metrics).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_count_sessions_claims_and_events() {
    let server = Watched::start();
    let mut client = Raw::connect(server.server.address());
    client.open(session());
    assert!(matches!(
        client.ask(enqueue(1, 1, "a")),
        Response::Granted(_)
    ));
    assert!(matches!(
        client.ask(enqueue(1, 2, "a")),
        Response::Waiting(_)
    ));
    assert!(matches!(
        client.ask(enqueue(1, 3, "")),
        Response::Refused(_)
    ));
    let metrics = server.get("/metrics");
    for line in [
        "netlock_sessions 1",
        "netlock_holders 1",
        "netlock_waiters 1",
        "netlock_connections 1",
        "netlock_grants_enabled 1",
        "netlock_refusals_total{reason=\"name_invalid\"} 1",
        "netlock_wait_seconds_count 1",
        "netlock_wait_seconds_bucket{le=\"+Inf\"} 1",
        "netlock_hold_seconds_count 0",
        "# EOF",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "no `{line}` in {metrics}"
        );
    }
    assert!(server.get("/livez").starts_with("HTTP/1.1 200"));
    assert!(server.get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(server.get("/nothing").starts_with("HTTP/1.1 404"));
}

#[test]
fn the_error_for_a_port_in_use_names_it() {
    let server = Watched::start();
    let said = complaint(&["--listen", "127.0.0.1:0", "--admin-listen", &server.metrics]);
    assert!(
        said.contains(&server.metrics) && said.contains("cannot serve metrics here"),
        "{said}"
    );
}

/// Returns the names of metrics in a text, without the suffixes of their samples.
pub(crate) fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let words = words.filter(|word| word.starts_with("netlock_") || word.starts_with("process_"));
    words
        .map(|word| {
            let suffixes = ["_bucket", "_count", "_sum", "_total"];
            let base = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    pair(folder.path(), "server");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, cert, key) = (path("data"), path("server.pem"), path("server.key"));
    let server =
        Watched::start_with(&["--data-dir", &data, "--tls-cert", &cert, "--tls-key", &key]);
    let metrics = server.get("/metrics");
    let served = names(&metrics);
    for page in [
        include_str!("../../../deploy/grafana-dashboard.json"),
        include_str!("../../../deploy/prometheus-alerts.yml"),
        include_str!("../../../docs/operating.md"),
    ] {
        let mut named = names(page);
        // A function of the library.
        named.remove("process_identity");
        // Those of a member of a cluster have a test of their own.
        named.retain(|name| !name.starts_with("netlock_cluster_"));
        let unknown: Vec<_> = named.difference(&served).cloned().collect();
        assert!(unknown.is_empty(), "not served: {unknown:?}\n{metrics}");
    }
    let version = format!(
        "netlock_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    assert!(metrics.contains(&version), "no `{version}` in {metrics}");
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(value("process_open_fds ") > 3.0);
    // The certificate of the test is valid for decades.
    assert!(value("netlock_certificate_expiry_timestamp_seconds ") > 1.8e9);
    assert!(
        metrics.contains("netlock_log_sync_seconds_bucket"),
        "{metrics}"
    );
}
