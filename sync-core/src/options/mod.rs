//! The options of connections, locks and elections, with their defaults and worst cases.

pub(crate) mod checks;
pub(crate) mod identity;
pub(crate) mod leader;
pub(crate) mod lock;
pub(crate) mod sync;

pub use identity::process_identity;
pub use leader::{LeaderOptions, Node};
pub use lock::{LockOptions, OnDisconnect, OnWait, Wait, Waiting};
pub use sync::{OnLost, SyncOptions};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::error::ErrorKind;

    #[test]
    fn a_node_survives_its_encoding() {
        let node = Node::new("node-1").with_value("10.0.0.1:80\nzone b");
        assert_eq!(Node::decode(&node.encode().unwrap()), node);
        assert_eq!(Node::decode(b"bare").id(), "bare");
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn bad_options_are_named() {
        for (result, reason) in [
            (LockOptions::permit(0).validated().map(drop), "0 permits"),
            (
                LockOptions::new()
                    .with_value(vec![0; 1025])
                    .validated()
                    .map(drop),
                "1025 bytes",
            ),
            (
                (LockOptions::new().with_max_hold(Duration::ZERO).validated()).map(drop),
                "hold of 0",
            ),
            (
                (LockOptions::new().with_max_hold(SECOND).with_ttl(SECOND))
                    .validated()
                    .map(drop),
                "`ttl` and `max_hold`",
            ),
            (
                (LockOptions::new()
                    .with_min_hold(SECOND * 2)
                    .with_max_hold(SECOND))
                .validated()
                .map(drop),
                "exceeds the maximal hold",
            ),
            (
                (LockOptions::new()
                    .with_min_hold(SECOND * 2)
                    .with_ttl(SECOND))
                .validated()
                .map(drop),
                "exceeds the ttl",
            ),
            (
                LockOptions::new()
                    .with_min_hold(SECOND)
                    .with_on_disconnect(OnDisconnect::Release)
                    .validated()
                    .map(drop),
                "after this process has ended",
            ),
            (
                SyncOptions::new().with_client("").validated().map(drop),
                "client is empty",
            ),
            (
                SyncOptions::new()
                    .with_connect_timeout(Duration::from_secs(61))
                    .validated()
                    .map(drop),
                "connect_timeout of 61s is out of range",
            ),
            (
                SyncOptions::new()
                    .with_request_timeout(Duration::from_millis(9))
                    .validated()
                    .map(drop),
                "request_timeout of 9ms is too short",
            ),
            (
                Node::new("a\nb").encode().map(drop),
                "node id has a control",
            ),
            (Node::new("x".repeat(257)).encode().map(drop), "257 bytes"),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
