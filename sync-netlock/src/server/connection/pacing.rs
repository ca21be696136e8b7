//! Whether the replies to many requests are written in pieces.
//!
//! A client on a core of its own works on the first piece while the server works on the next one. A
//! client that has to share the core only gets more system calls. The server cannot know which is
//! the case, and it changes with the load of the machine. It therefore measures both, rarely.

use distsync_core::spi::clock::Moment;

/// The number of requests whose replies are one piece.
const PIECE: usize = 64;
/// The number of requests over which the speed is measured, a few milliseconds' worth.
const WINDOW: usize = 8_192;
/// The number of requests after a change that are not measured, because the client adapts to it.
const SETTLING: usize = 2_048;
/// How much faster the other way has to be, in percent. A smaller difference may be chance.
const FASTER: u128 = 115;
/// The number of windows from one trial of the other way to the next, at first and at most. A trial
/// may take twice the time of a window, so the most costs less than one percent.
const PATIENCE: (u32, u32) = (4, 256);

/// Chooses the way of writing that is faster for one connection.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// The measurement. There is none until a client has sent more than a piece at a time.
    measured: Option<Measured>,
}

#[derive(Debug)]
struct Measured {
    in_pieces: bool,
    /// The duration of the last window the usual way, in nanoseconds, during a trial of the other.
    usual: Option<u64>,
    /// The requests since the start of the window.
    requests: usize,
    /// When the measurement of the window began.
    began: Option<Moment>,
    /// The number of windows until the next trial.
    left: u32,
    patience: u32,
}

impl Pacing {
    /// Returns the number of requests after which replies are written.
    pub(super) fn piece(&self) -> usize {
        match &self.measured {
            Some(measured) if measured.in_pieces => PIECE,
            _ => usize::MAX,
        }
    }

    /// Notes that the replies to so many requests, which arrived together, are written.
    pub(super) fn note(&mut self, requests: usize, now: Moment) {
        if self.measured.is_none() {
            if requests <= PIECE {
                return;
            }
            self.measured = Some(Measured {
                in_pieces: false,
                usual: None,
                requests: 0,
                began: None,
                left: PATIENCE.0,
                patience: PATIENCE.0,
            });
        }
        if let Some(measured) = &mut self.measured {
            measured.note(requests, now);
        }
    }
}

impl Measured {
    fn note(&mut self, requests: usize, now: Moment) {
        self.requests += requests;
        let Some(began) = self.began else {
            if self.requests >= SETTLING {
                (self.began, self.requests) = (Some(now), 0);
            }
            return;
        };
        if self.requests < WINDOW {
            return;
        }
        let nanos = now.as_nanos().saturating_sub(began.as_nanos());
        // The time for exactly one window, so that windows can be compared.
        let took = nanos.saturating_mul(WINDOW as u64) / self.requests as u64;
        (self.began, self.requests) = (Some(now), 0);
        match self.usual.take() {
            Some(usual) => {
                let is_faster = u128::from(usual) * 100 > u128::from(took) * FASTER;
                if is_faster {
                    self.patience = PATIENCE.0;
                } else {
                    self.patience = (self.patience * 2).min(PATIENCE.1);
                    self.change();
                }
                self.left = self.patience;
            }
            None if self.left == 0 => {
                self.usual = Some(took);
                self.change();
            }
            None => self.left -= 1,
        }
    }

    fn change(&mut self) {
        self.in_pieces = !self.in_pieces;
        (self.began, self.requests) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a client with 256 requests in flight, and returns the share of requests whose replies
    /// were written in pieces. A request takes these nanoseconds in pieces and otherwise.
    fn run(pacing: &mut Pacing, now: &mut u64, in_pieces: u64, whole: u64) -> f64 {
        let (mut pieces, rounds) = (0, 20_000);
        for _ in 0..rounds {
            let is_in_pieces = pacing.piece() == PIECE;
            pieces += u32::from(is_in_pieces);
            *now += 256 * if is_in_pieces { in_pieces } else { whole };
            pacing.note(256, Moment::from_nanos(*now));
        }
        f64::from(pieces) / f64::from(rounds)
    }

    #[test]
    fn the_faster_way_is_used_nearly_always_and_again_after_a_change() {
        let (mut pacing, mut now) = (Pacing::default(), 1);
        assert!(run(&mut pacing, &mut now, 500, 250) < 0.02, "one core");
        assert!(run(&mut pacing, &mut now, 250, 500) > 0.5, "two cores");
        assert!(run(&mut pacing, &mut now, 250, 500) > 0.98, "still two");
        assert!(run(&mut pacing, &mut now, 250, 260) > 0.97, "no reason");
    }

    #[test]
    fn a_client_with_few_requests_in_flight_is_not_measured() {
        let mut pacing = Pacing::default();
        for now in 0..10_000 {
            pacing.note(PIECE, Moment::from_nanos(now));
        }
        assert!(pacing.measured.is_none() && pacing.piece() == usize::MAX);
    }
}
