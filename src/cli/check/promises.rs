//! The capabilities of a store in words.

use std::time::Duration;

use distsync::Capabilities;

/// Returns what a store promises to a client with this session TTL, one sentence each.
pub(super) fn in_words(capabilities: &Capabilities, ttl: Duration) -> Vec<String> {
    // Exact, because a bound that is rounded down is not true.
    let freed = humantime::format_duration(capabilities.freed_within(ttl));
    let ttl = humantime::format_duration(ttl);
    let mut words = vec![format!(
        "A crashed holder frees its locks within {freed} (session TTL {ttl})."
    )];
    words.push(if capabilities.durable_grants {
        "Every failure that the store is designed for keeps all locks.".to_owned()
    } else {
        format!("A restart or fail-over can lose a lock. Two clients can then believe in it for up to {ttl}.")
    });
    words.push(if capabilities.survives_restart {
        format!("A restart of the store keeps all locks, if it takes less than half of {ttl}.")
    } else {
        "A restart of the store forgets all locks.".to_owned()
    });
    if capabilities.sessions_follow_wall_clock {
        let jump = "If the store's clock jumps, sessions end early or late.";
        words.push(jump.to_owned());
    }
    words.push(match (capabilities.evict, capabilities.reports_evictions) {
        (false, _) => "Operators cannot break locks.".to_owned(),
        (true, true) => "A holder learns at once that its lock was broken.".to_owned(),
        (true, false) => "A holder learns late that its lock was broken.".to_owned(),
    });
    for (can, what) in [
        (
            capabilities.release_on_disconnect,
            "A lock can be released when its holder disconnects.",
        ),
        (
            capabilities.isolates,
            "A silent holder can be isolated, if the operator has configured how.",
        ),
        (
            capabilities.several_at_once,
            "Several locks can be acquired in one step.",
        ),
    ] {
        if can {
            words.push(what.to_owned());
        }
    }
    words
}
