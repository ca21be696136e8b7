//! The time limits of requests.

use std::time::Duration;

use crate::options::SyncOptions;

/// The timeout of one request, whatever the TTL, if the options set none.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The longest time that a store takes to connect, if the options set no limit.
const CONNECT: Duration = Duration::from_secs(3);

/// The time limits of requests, from the options of a handle.
///
/// The keeper's renewals are not among them: a session that is renewed in time matters more than a
/// quick failure, and a renewal may have to connect first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    connect: Option<Duration>,
    request: Option<Duration>,
}

impl Timeouts {
    pub(crate) fn of(options: &SyncOptions) -> Self {
        Self {
            connect: options.connect_timeout,
            request: options.request_timeout,
        }
    }

    /// Returns the timeout of a request without a session.
    pub(crate) fn request(self) -> Duration {
        self.request.unwrap_or(PATIENCE)
    }

    /// Returns the timeout of a request under a session with this TTL.
    pub(crate) fn request_under(self, ttl: Duration) -> Duration {
        (ttl / 3).min(self.request())
    }

    /// Returns the timeout of one attempt to open a session, which connects first.
    pub(crate) fn opening(self) -> Duration {
        match self {
            Self {
                connect: None,
                request: None,
            } => PATIENCE,
            _ => self.connect.unwrap_or(CONNECT) + self.request(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_given_time_and_at_most_a_third_of_the_ttl() {
        let second = Duration::from_secs(1);
        let none = Timeouts::of(&SyncOptions::new());
        assert_eq!(none.request(), 5 * second);
        assert_eq!(none.request_under(9 * second), 3 * second);
        assert_eq!(none.request_under(60 * second), 5 * second);
        assert_eq!(none.opening(), 5 * second);
        let long = SyncOptions::new().with_request_timeout(10 * second);
        let long = Timeouts::of(&long);
        assert_eq!(long.request_under(60 * second), 10 * second);
        assert_eq!(long.request_under(9 * second), 3 * second);
        let short = SyncOptions::new()
            .with_request_timeout(second)
            .with_connect_timeout(second);
        assert_eq!(Timeouts::of(&short).request_under(60 * second), second);
        assert_eq!(Timeouts::of(&short).opening(), 2 * second);
    }
}
