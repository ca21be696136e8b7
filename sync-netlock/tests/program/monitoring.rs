//! The port for metrics and health checks.

use std::io::{Read, Write};
use std::net::TcpStream;

use distsync_netlock::wire::proto::response::Body as Response;

use super::raw::{Raw, enqueue, session};
use super::server::{Netlockd, complaint};

/// Starts a server with a port for metrics.
struct Watched {
    server: Netlockd,
    metrics: String,
}

impl Watched {
    fn start() -> Self {
        let mut server = Netlockd::start(&["--admin-listen", "127.0.0.1:0"]);
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
