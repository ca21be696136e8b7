//! The order of a queue, as a pure function: first come, first served, and who may hold together.
//!
//! The claims of a name are one queue, in order of arrival. The holders are always its head: one
//! exclusive claim, or a run of shared claims, or a run of permits up to their number. The first
//! claim that does not fit ends the run, so no later claim overtakes it.

use crate::types::mode::Mode;
use crate::types::queue::Withdrawn;

/// The run of holders at the head of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    mode: Mode,
    count: u32,
}

impl Run {
    /// Returns whether one more claim of `mode` fits, if it is the next of the queue.
    #[must_use]
    pub fn admits(&self, mode: Mode) -> bool {
        self.count == 0
            || mode == self.mode
                && match mode {
                    Mode::Exclusive => false,
                    Mode::Shared => true,
                    Mode::Permit { of } => self.count < u32::from(of),
                }
    }

    /// Adds the next claim of the queue to the run if it fits, and returns whether it does.
    pub fn admit(&mut self, mode: Mode) -> bool {
        let fits = self.admits(mode);
        if fits {
            self.mode = mode;
            self.count += 1;
        }
        fits
    }

    /// Removes one claim from the run.
    pub fn leave(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// Returns how many claims hold.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }
}

/// Returns how many claims of a queue hold. `queue` has the modes of the claims in order of
/// arrival.
pub fn holders(queue: impl IntoIterator<Item = Mode>) -> usize {
    let mut run = Run::default();
    queue
        .into_iter()
        .take_while(|mode| run.admit(*mode))
        .count()
}

/// The position of a claim in its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position<I> {
    /// The claim holds.
    Granted,
    /// The claim waits.
    Behind {
        /// The number of claims ahead, including holders.
        position: u32,
        /// The claims whose end can change this position, in queue order. The position need not be
        /// computed again before one of them has ended. Never empty.
        awaits: Vec<I>,
    },
    /// The claim is not in the queue.
    Absent,
}

/// Returns the position of the claim `me` in `queue`, which is in order of arrival. `I` is anything
/// that tells one claim from another.
#[must_use]
pub fn position<I: Copy + PartialEq>(queue: &[(I, Mode)], me: I) -> Position<I> {
    let Some(index) = queue.iter().position(|(id, _)| *id == me) else {
        return Position::Absent;
    };
    let (ahead, mode) = (&queue[..index], queue[index].1);
    if holders(queue[..=index].iter().map(|(_, mode)| *mode)) > index {
        return Position::Granted;
    }
    // A claim that can share awaits the last claim ahead that it cannot share with, if there is
    // one.
    let last_conflict = ahead
        .iter()
        .rev()
        .find(|(_, other)| mode == Mode::Exclusive || *other != mode);
    let awaits = match last_conflict {
        Some((id, _)) => vec![*id],
        None => ahead.iter().map(|(id, _)| *id).collect(),
    };
    Position::Behind {
        position: u32::try_from(index).unwrap_or(u32::MAX),
        awaits,
    }
}

/// Converts the position that a claim had into the outcome of its withdrawal.
impl<I> From<Position<I>> for Withdrawn {
    fn from(position: Position<I>) -> Self {
        match position {
            Position::Granted => Self::Held,
            Position::Behind { .. } => Self::Waiting,
            Position::Absent => Self::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::ids::ClaimId;

    const X: Mode = Mode::Exclusive;
    const S: Mode = Mode::Shared;
    const P2: Mode = Mode::Permit { of: 2 };

    fn queue(modes: &[Mode]) -> Vec<(ClaimId, Mode)> {
        modes
            .iter()
            .zip(0u32..)
            .map(|(mode, id)| (ClaimId::from_bits(u128::from(id)), *mode))
            .collect()
    }

    fn position_of(modes: &[Mode], index: u32) -> Position<ClaimId> {
        position(&queue(modes), ClaimId::from_bits(u128::from(index)))
    }

    fn behind(position: u32, awaits: &[u32]) -> Position<ClaimId> {
        let awaits = awaits
            .iter()
            .map(|id| ClaimId::from_bits(u128::from(*id)))
            .collect();
        Position::Behind { position, awaits }
    }

    #[test]
    fn positions_in_a_queue() {
        assert_eq!(position_of(&[X, X], 0), Position::Granted);
        assert_eq!(position_of(&[X, X, X], 2), behind(2, &[1]));
        assert_eq!(position_of(&[S, S, S], 2), Position::Granted);
        assert_eq!(
            position_of(&[S, X, S], 2),
            behind(2, &[1]),
            "a reader does not overtake a writer"
        );
        assert_eq!(
            position_of(&[X, S, S], 2),
            behind(2, &[0]),
            "readers wake together"
        );
        assert_eq!(position_of(&[P2, P2, P2], 1), Position::Granted);
        assert_eq!(position_of(&[P2, P2, P2, P2], 3), behind(3, &[0, 1, 2]));
        assert_eq!(position_of(&[P2, X, P2], 2), behind(2, &[1]));
        assert_eq!(position_of(&[X], 7), Position::Absent);
    }

    fn mode() -> impl Strategy<Value = Mode> {
        prop_oneof![Just(X), Just(S), Just(P2)]
    }

    proptest! {
        /// Waiting for `awaits` alone never sleeps through a grant: as long as none of them ends,
        /// the position stays.
        #[test]
        fn a_position_changes_only_when_an_awaited_claim_ends(
            modes in prop::collection::vec(mode(), 1..8), keep in prop::collection::vec(any::<bool>(), 8)
        ) {
            let whole = queue(&modes);
            let me = whole[whole.len() - 1].0;
            if let Position::Behind { awaits, .. } = position(&whole, me) {
                let rest: Vec<_> = whole.iter().zip(keep)
                    .filter(|((id, _), keep)| *keep || *id == me || awaits.contains(id))
                    .map(|(claim, _)| *claim)
                    .collect();
                prop_assert_ne!(position(&rest, me), Position::Granted);
            }
        }

        /// The holders are the head of the queue.
        #[test]
        fn holders_are_a_prefix(modes in prop::collection::vec(mode(), 1..8)) {
            let whole = queue(&modes);
            let granted: Vec<bool> = whole.iter().map(|(id, _)| position(&whole, *id) == Position::Granted).collect();
            prop_assert!(granted[0]);
            prop_assert!(granted.is_sorted_by(|earlier, later| earlier >= later));
        }
    }
}
