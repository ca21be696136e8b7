//! The metrics of a server, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use distsync_core::spi::locked;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::engine::{Counters, Durations, Refusal, Stats};

/// Counters that connections increment.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    bytes: [Bytes; THREADS],
    pub(super) isolations: AtomicU64,
    pub(super) isolation_failures: AtomicU64,
    pub(super) refused_tokens: AtomicU64,
    pub(super) failed_handshakes: AtomicU64,
    refusals: Mutex<Refusals>,
}

/// The number of threads that count bytes in memory of their own. Further threads share it.
const THREADS: usize = 32;

/// Bytes read and written by one thread. The alignment keeps two threads from writing to the same
/// line of the cache, which would cost each request more than its encoding.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Bytes {
    read: AtomicU64,
    written: AtomicU64,
}

thread_local! {
    /// The place of this thread in [`Traffic::bytes`].
    static PLACE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % THREADS
    };
}

/// The number of refusals by reason.
type Refusals = BTreeMap<&'static str, u64>;

impl Traffic {
    pub(super) fn snapshot(&self) -> TrafficSnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrafficSnapshot {
            read: self.bytes.iter().map(|bytes| count(&bytes.read)).sum(),
            written: self.bytes.iter().map(|bytes| count(&bytes.written)).sum(),
            isolations: count(&self.isolations),
            isolation_failures: count(&self.isolation_failures),
            refused_tokens: count(&self.refused_tokens),
            failed_handshakes: count(&self.failed_handshakes),
            refusals: locked(&self.refusals).clone(),
        }
    }

    fn bytes(&self) -> &Bytes {
        &self.bytes[PLACE.with(|place| *place)]
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes().read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn written(&self, bytes: usize) {
        self.bytes()
            .written
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        *locked(&self.refusals).entry(refusal.reason()).or_default() += 1;
    }
}

/// The values of all metrics at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) stats: Stats,
    pub(super) counters: Counters,
    pub(super) connections: usize,
    /// Bytes of the log that are not on the disk.
    pub(super) log_lag: u64,
    /// How long the syncs of the log have taken, if there is a log.
    pub(super) syncs: Option<Durations>,
    /// When the server's certificate expires, as a Unix timestamp, if there is one.
    pub(super) certificate_expiry: Option<i64>,
    pub(super) isolating: usize,
    pub(super) grants: bool,
    pub(super) traffic: TrafficSnapshot,
    pub(super) cluster: Option<ClusterSnapshot>,
}

/// What a member of a cluster reports about it.
#[derive(Debug, Default)]
pub(super) struct ClusterSnapshot {
    pub(super) term: u64,
    /// Whether this server serves the table.
    pub(super) leads: bool,
    /// The name of the leader, and where clients reach it.
    pub(super) leader: Option<(String, String)>,
    pub(super) voters: usize,
    pub(super) members: usize,
    pub(super) last_index: u64,
    /// How many entries are committed, as far as this server knows, and not in its table.
    pub(super) lag: u64,
    /// By how many entries each other member is behind, if this server leads.
    pub(super) member_lags: Vec<(String, u64)>,
    pub(super) elections: u64,
    pub(super) confirmations: u64,
    pub(super) failed_confirmations: u64,
    /// How long ago the leader has sent a message.
    pub(super) heard: Option<Duration>,
    /// Whether the server leads, or follows a leader closely.
    pub(super) takes_part: bool,
}

/// The values of [`Traffic`] at one moment.
#[derive(Debug)]
pub(super) struct TrafficSnapshot {
    read: u64,
    written: u64,
    isolations: u64,
    isolation_failures: u64,
    refused_tokens: u64,
    failed_handshakes: u64,
    refusals: Refusals,
}

impl Snapshot {
    /// Returns the metrics in the text format of Prometheus.
    pub(super) fn into_text(self) -> String {
        let mut registry = Registry::with_prefix("netlock");
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

fn size(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = self.stats;
        for (name, help, value) in [
            ("sessions", "Open sessions", size(stats.sessions)),
            (
                "names",
                "Names that are held, waited for or watched",
                size(stats.names),
            ),
            ("holders", "Claims that are held", size(stats.holders)),
            (
                "waiters",
                "Claims that wait",
                size(stats.claims - stats.holders),
            ),
            (
                "connections",
                "Connections of clients",
                size(self.connections),
            ),
            (
                "isolating",
                "Clients that are being isolated",
                size(self.isolating),
            ),
            (
                "log_lag_bytes",
                "Bytes of the log that are not on the disk yet",
                whole(self.log_lag),
            ),
            (
                "grants_enabled",
                "1, or 0 while nothing is granted: during a grace period, or with a full disk",
                i64::from(self.grants),
            ),
        ] {
            ConstGauge::new(value).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        if let Some(cluster) = &self.cluster {
            cluster.encode(&mut encoder)?;
        }
        if let Some(expiry) = self.certificate_expiry {
            ConstGauge::new(expiry).encode(encoder.encode_descriptor(
                "certificate_expiry_timestamp_seconds",
                "When the server's certificate expires",
                None,
                MetricType::Gauge,
            )?)?;
        }
        let mut build = encoder.encode_descriptor(
            "build_info",
            "1, with the version of the server",
            None,
            MetricType::Gauge,
        )?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        ConstGauge::new(1).encode(build.encode_family(&version)?)?;
        let (counters, traffic) = (self.counters, &self.traffic);
        for (name, help, value) in [
            ("expiries", "Sessions that expired", counters.expiries),
            ("evictions", "Claims that were evicted", counters.evictions),
            (
                "isolations",
                "Clients that were isolated",
                traffic.isolations,
            ),
            (
                "isolation_failures",
                "Failures of the program that isolates clients",
                traffic.isolation_failures,
            ),
            (
                "refused_tokens",
                "Connections refused for an unknown token",
                traffic.refused_tokens,
            ),
            (
                "failed_handshakes",
                "TLS handshakes that failed",
                traffic.failed_handshakes,
            ),
            ("read_bytes", "Bytes read from clients", traffic.read),
            ("written_bytes", "Bytes written to clients", traffic.written),
        ] {
            ConstCounter::new(value).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let mut refusals = encoder.encode_descriptor(
            "refusals",
            "Requests that were refused, by reason",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in &traffic.refusals {
            ConstCounter::new(*count).encode(refusals.encode_family(&[("reason", *reason)])?)?;
        }
        for (name, help, durations) in [
            (
                "wait_seconds",
                "How long granted claims have waited, including those granted at once",
                counters.waits,
            ),
            (
                "hold_seconds",
                "How long released claims were held",
                counters.holds,
            ),
        ] {
            encode_durations(
                &durations,
                encoder.encode_descriptor(name, help, None, MetricType::Histogram)?,
            )?;
        }
        if let Some(syncs) = self.syncs {
            encode_durations(
                &syncs,
                encoder.encode_descriptor(
                    "log_sync_seconds",
                    "How long it takes to write the log to the disk",
                    None,
                    MetricType::Histogram,
                )?,
            )?;
        }
        Ok(())
    }
}

impl ClusterSnapshot {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, value) in [
            (
                "cluster_term",
                "The term of the last election",
                whole(self.term),
            ),
            (
                "cluster_leads",
                "1 if this member serves the table, otherwise 0",
                i64::from(self.leads),
            ),
            (
                "cluster_leader_known",
                "1 if this member knows the leader, otherwise 0",
                i64::from(self.leader.is_some()),
            ),
            (
                "cluster_members",
                "Members, voters and others",
                size(self.members),
            ),
            ("cluster_voters", "Members that vote", size(self.voters)),
            (
                "cluster_last_entry",
                "The last entry in the log of this member",
                whole(self.last_index),
            ),
            (
                "cluster_lag_entries",
                "Entries that are committed and not in the table of this member yet",
                whole(self.lag),
            ),
        ] {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(descriptor)?;
        }
        if !self.member_lags.is_empty() {
            let mut lags = encoder.encode_descriptor(
                "cluster_member_lag_entries",
                "Entries that another member has not stored, reported by the leader",
                None,
                MetricType::Gauge,
            )?;
            for (member, lag) in &self.member_lags {
                let labels = [("member", member.as_str())];
                ConstGauge::new(whole(*lag)).encode(lags.encode_family(&labels)?)?;
            }
        }
        for (name, help, value) in [
            (
                "cluster_elections",
                "Leaders that were elected since this member was started",
                self.elections,
            ),
            (
                "cluster_confirmations",
                "Rounds in which a majority confirmed that this member leads",
                self.confirmations,
            ),
            (
                "cluster_failed_confirmations",
                "Rounds in which no majority confirmed that this member leads",
                self.failed_confirmations,
            ),
        ] {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(descriptor)?;
        }
        Ok(())
    }
}

fn encode_durations(
    durations: &Durations,
    mut encoder: prometheus_client::encoding::MetricEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let buckets: Vec<(f64, u64)> = durations
        .buckets()
        .map(|(bound, count)| (bound.map_or(f64::MAX, |bound| bound.as_secs_f64()), count))
        .collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    encoder.encode_histogram::<NoLabelSet>(durations.total().as_secs_f64(), count, &buckets, None)
}
