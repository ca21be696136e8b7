//! Metrics of this process, under the names that Prometheus recommends. Linux reports the values in
//! `/proc/self`.

use std::fmt::Write;

/// Returns the metrics in the text format of Prometheus, without its end.
pub(super) fn metrics() -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        let Some(value) = value else { return };
        // OpenMetrics names a counter without the suffix of its sample.
        let family = name.trim_end_matches("_total");
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "# HELP {family} {help}.\n# TYPE {family} {kind}\n{name} {value}\n"
        );
    };
    add(
        "process_cpu_seconds_total",
        "counter",
        "Processor time of the process",
        cpu_seconds(),
    );
    add(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory of the process",
        resident_bytes(),
    );
    add(
        "process_open_fds",
        "gauge",
        "Open file descriptors of the process",
        open_files(),
    );
    text
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Skip the process name, which is in parentheses and can hold anything. User and system time
    // are the 14th and 15th field of all.
    let fields = stat.rsplit_once(')')?.1;
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = times.filter_map(|time| time.parse::<f64>().ok()).sum();
    // A lossless conversion: there are 100 ticks a second on every common system.
    let second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some(ticks / f64::from(second))
}

fn resident_bytes() -> Option<f64> {
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = sizes.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * f64::from(u32::try_from(rustix::param::page_size()).ok()?))
}

fn open_files() -> Option<f64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(f64::from(u32::try_from(count).ok()?))
}
