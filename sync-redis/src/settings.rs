//! The settings of a server that make locks on it worse.

use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::clock;

use crate::backend::Redis;

/// The least difference of the clocks that is reported. A smaller one can be the time that the
/// reply took.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(1);

impl Redis {
    /// Returns the settings of the server that make locks on it worse, each as a problem and its
    /// remedy. Reports only what `INFO` and `TIME` show.
    ///
    /// # Errors
    /// [`Denied`](distsync_core::ErrorKind::Denied) if the user lacks the permission `+info`, which
    /// locks do not need; [`Unavailable`](distsync_core::ErrorKind::Unavailable).
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn weaknesses(&self) -> Result<Vec<String>> {
        let connection = self.connection().await?;
        let (seconds, micros): (u64, u64) = connection.command(&redis::cmd("TIME")).await?;
        let here = Duration::from_millis(clock::wall_millis());
        let there = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let info: String = connection.command(&redis::cmd("INFO")).await?;
        let mut found = of_info(&info, self.waits_for_replicas());
        let difference = there.abs_diff(here);
        if difference >= CLOCK_DIFFERENCE {
            found.push(format!(
                "the clock of the server differs from that of this machine by {} s: let NTP slew both",
                difference.as_secs()
            ));
        }
        Ok(found)
    }
}

/// Returns the problems that the reply to `INFO` shows.
fn of_info(info: &str, waits_for_replicas: bool) -> Vec<String> {
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(field, value)| (field == name).then_some(value.trim()))
    };
    let mut found = Vec::new();
    if field("aof_enabled") == Some("0") {
        found.push(
            "there is no append-only file, so a crash of the server forgets locks: set `appendonly yes` and \
             `appendfsync always`"
                .to_owned(),
        );
    }
    if let Some(policy) = field("maxmemory_policy").filter(|policy| policy.starts_with("allkeys")) {
        found.push(format!(
            "the maxmemory-policy {policy} evicts locks when the memory is full: set noeviction or volatile-*"
        ));
    }
    let replicas = field("connected_slaves").unwrap_or("0");
    if replicas != "0" && !waits_for_replicas {
        found.push(format!(
            "the server has {replicas} replicas and a fail-over can lose a lock: add `wait_replicas=1` to the URL, which \
             makes it unlikely"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::of_info;

    #[test]
    fn each_weakness_is_found_and_a_good_server_has_none() {
        let good = "aof_enabled:1\r\nmaxmemory_policy:volatile-lru\r\nconnected_slaves:0\r\n";
        assert_eq!(of_info(good, false), Vec::<String>::new());
        for (bad, reason) in [
            ("aof_enabled:0", "append-only"),
            ("maxmemory_policy:allkeys-lru", "allkeys-lru evicts"),
            ("connected_slaves:2", "has 2 replicas"),
        ] {
            let found = of_info(&format!("# Section\r\n{bad}\r\n"), false);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(reason), "{found:?}");
        }
        let replicated = "connected_slaves:2\r\n";
        assert_eq!(of_info(replicated, true), Vec::<String>::new());
    }
}
