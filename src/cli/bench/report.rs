//! The result of a load, as text and as JSON.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::load::{Load, Outcome};
use crate::output::millis;
use crate::table::{Cell, Table};

/// The percentiles that are reported, with their names.
const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("max", 100.0),
];
/// The length of the longest bar of the histogram.
const BAR: u64 = 50;

pub(super) fn to_json(store: &str, clients: usize, load: &Load, outcome: &Outcome) -> Value {
    let grants = outcome.acquire.len();
    json!({
        "store": store,
        "mode": format!("{:?}", load.mode).to_lowercase(),
        "clients": clients,
        "tasks": load.tasks,
        "names": load.names,
        "elapsed_ms": millis(outcome.elapsed),
        "grants": grants,
        "grants_per_second": rate(grants, outcome.elapsed),
        "busy": outcome.busy,
        "acquire_us": percentiles(&outcome.acquire),
        "release_us": percentiles(&outcome.release),
        "histogram_us": buckets(&outcome.acquire)
            .into_iter()
            .map(|(below, count)| json!({"below": below, "count": count}))
            .collect::<Vec<_>>(),
    })
}

pub(super) fn to_text(store: &str, clients: usize, load: &Load, outcome: &Outcome) -> String {
    let (grants, elapsed) = (outcome.acquire.len(), outcome.elapsed);
    let mut text = format!(
        "{store}: {} tasks on {} names over {clients} connections for {}\n",
        load.tasks,
        load.names,
        micros(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)),
    );
    let per_second = rate(grants, elapsed);
    // Writing to a string does not fail.
    let _ = writeln!(text, "{grants} grants, {per_second} per second");
    if outcome.busy > 0 {
        let per_second = rate(outcome.busy, elapsed);
        let _ = writeln!(text, "{} busy tries, {per_second} per second", outcome.busy);
    }
    let mut headings = vec![""];
    headings.extend(PERCENTILES.map(|(name, _)| name));
    let mut table = Table::new(&headings);
    for (what, histogram) in [("acquire", &outcome.acquire), ("release", &outcome.release)] {
        let mut row: Vec<Cell> = vec![what.into()];
        row.extend(
            PERCENTILES.map(|(_, percent)| micros(histogram.value_at_percentile(percent)).into()),
        );
        table.row(row);
    }
    let _ = write!(text, "\n{table}\n{}", chart(&outcome.acquire));
    text
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    PERCENTILES
        .iter()
        .map(|(name, percent)| {
            let value = histogram.value_at_percentile(*percent);
            ((*name).to_owned(), json!(value))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Returns the number of values in each bucket, with the bound below which they are. Each bound is
/// twice the one before. Empty buckets at both ends are left out.
fn buckets(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let mut buckets: Vec<(u64, u64)> = histogram
        .iter_log(1, 2.0)
        .map(|bucket| {
            (
                bucket.value_iterated_to() + 1,
                bucket.count_since_last_iteration(),
            )
        })
        .collect();
    let first = buckets.iter().position(|(_, count)| *count > 0);
    buckets.drain(..first.unwrap_or(buckets.len()));
    let end = buckets.iter().rposition(|(_, count)| *count > 0);
    buckets.truncate(end.map_or(0, |last| last + 1));
    buckets
}

/// Returns the histogram as bars.
fn chart(histogram: &Histogram<u64>) -> String {
    let buckets = buckets(histogram);
    let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let mut table = Table::new(&["acquired within", "grants", ""]);
    for (below, count) in buckets {
        // A bucket that is not empty shows at least one character.
        let length = (count * BAR).div_ceil(most);
        let bar = "#".repeat(usize::try_from(length).unwrap_or(0));
        table.row([micros(below).into(), count.to_string().into(), bar.into()]);
    }
    table.to_string()
}

/// Returns a number of events per second.
pub(super) fn rate(count: u64, elapsed: Duration) -> u64 {
    let micros = elapsed.as_micros().max(1);
    u64::try_from(u128::from(count) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

/// Returns a time with three digits and its unit.
fn micros(micros: u64) -> String {
    let (unit, thousand) = match micros {
        0..1_000 => return format!("{micros} us"),
        1_000..1_000_000 => ("ms", 1_000),
        _ => ("s", 1_000_000),
    };
    let (whole, rest) = (micros / thousand, micros % thousand);
    let hundredths = rest * 100 / thousand;
    match whole {
        0..10 => format!("{whole}.{hundredths:02} {unit}"),
        10..100 => format!("{whole}.{} {unit}", hundredths / 10),
        _ => format!("{whole} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        for (value, shown) in [
            (0, "0 us"),
            (999, "999 us"),
            (1_234, "1.23 ms"),
            (99_999, "99.9 ms"),
            (123_456, "123 ms"),
            (5_000_000, "5.00 s"),
        ] {
            assert_eq!(micros(value), shown);
        }
    }

    #[test]
    fn buckets_hold_every_value_once_and_none_is_empty_at_the_ends() {
        let mut histogram = Histogram::new(3).unwrap();
        for value in [5, 6, 7, 100, 3_000] {
            histogram.record(value).unwrap();
        }
        let buckets = buckets(&histogram);
        assert_eq!(buckets.first(), Some(&(8, 3)));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 5);
        assert!(buckets.last().unwrap().1 > 0);
    }
}
