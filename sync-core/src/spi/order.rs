//! The order of a queue, as a pure function: first come, first served, and who may hold together.
//!
//! The claims of a name stand in one line. Those that hold are always the head of the line: an exclusive claim
//! alone, or a run of shared ones, or a run of permits up to their number. The first claim that does not fit closes the
//! run, so nobody behind it overtakes.

use crate::types::mode::Mode;
use crate::types::queue::Withdrawn;

/// The run of holders at the head of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    mode: Mode,
    count: u32,
}

impl Run {
    /// Whether one more claim of `mode` fits, if it is next in line.
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

    /// Takes the next in line into the run if it fits.
    pub fn admit(&mut self, mode: Mode) -> bool {
        let fits = self.admits(mode);
        if fits {
            self.mode = mode;
            self.count += 1;
        }
        fits
    }

    /// One of the run has left.
    pub fn leave(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// How many hold.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }
}

/// Where a claim stands in its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place<I> {
    /// It holds.
    Granted,
    /// It waits: `position` claims are ahead of it, and it has to look again when any of `awaits` has ended.
    Behind {
        /// How many claims are ahead, holders included.
        position: u32,
        /// The claims whose end can change this one's place, in line order; never empty.
        awaits: Vec<I>,
    },
    /// It is not in the line.
    Absent,
}

/// The place of the claim `me` in `line`, which is in order of arrival, and known by whatever tells one claim from another.
#[must_use]
pub fn place<I: Copy + PartialEq>(line: &[(I, Mode)], me: I) -> Place<I> {
    let Some(index) = line.iter().position(|(id, _)| *id == me) else { return Place::Absent };
    let (ahead, mode) = (&line[..index], line[index].1);
    let mut run = Run::default();
    if line[..=index].iter().all(|(_, mode)| run.admit(*mode)) {
        return Place::Granted;
    }
    // A claim that can share waits for the last one ahead that it cannot share with, if there is one.
    let last_stranger = ahead.iter().rev().find(|(_, other)| mode == Mode::Exclusive || *other != mode);
    let awaits = match last_stranger {
        Some((id, _)) => vec![*id],
        None => ahead.iter().map(|(id, _)| *id).collect(),
    };
    Place::Behind { position: u32::try_from(index).unwrap_or(u32::MAX), awaits }
}

/// What became of a claim that has been taken out of its line, from where it stood there.
impl<I> From<Place<I>> for Withdrawn {
    fn from(place: Place<I>) -> Self {
        match place {
            Place::Granted => Self::Held,
            Place::Behind { .. } => Self::Waiting,
            Place::Absent => Self::Absent,
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

    fn line(modes: &[Mode]) -> Vec<(ClaimId, Mode)> {
        modes.iter().zip(0u32..).map(|(mode, id)| (ClaimId::from_bits(u128::from(id)), *mode)).collect()
    }

    fn place_of(modes: &[Mode], index: u32) -> Place<ClaimId> {
        place(&line(modes), ClaimId::from_bits(u128::from(index)))
    }

    fn behind(position: u32, awaits: &[u32]) -> Place<ClaimId> {
        let awaits = awaits.iter().map(|id| ClaimId::from_bits(u128::from(*id))).collect();
        Place::Behind { position, awaits }
    }

    #[test]
    fn places_in_a_line() {
        assert_eq!(place_of(&[X, X], 0), Place::Granted);
        assert_eq!(place_of(&[X, X, X], 2), behind(2, &[1]));
        assert_eq!(place_of(&[S, S, S], 2), Place::Granted);
        assert_eq!(place_of(&[S, X, S], 2), behind(2, &[1]), "a reader does not overtake a writer");
        assert_eq!(place_of(&[X, S, S], 2), behind(2, &[0]), "readers wake together");
        assert_eq!(place_of(&[P2, P2, P2], 1), Place::Granted);
        assert_eq!(place_of(&[P2, P2, P2, P2], 3), behind(3, &[0, 1, 2]));
        assert_eq!(place_of(&[P2, X, P2], 2), behind(2, &[1]));
        assert_eq!(place_of(&[X], 7), Place::Absent);
    }

    fn mode() -> impl Strategy<Value = Mode> {
        prop_oneof![Just(X), Just(S), Just(P2)]
    }

    proptest! {
        /// Waiting for `awaits` alone never sleeps through a grant: as long as all of them stand, the place stands.
        #[test]
        fn a_place_changes_only_when_an_awaited_claim_ends(
            modes in prop::collection::vec(mode(), 1..8), keep in prop::collection::vec(any::<bool>(), 8)
        ) {
            let whole = line(&modes);
            let me = whole[whole.len() - 1].0;
            if let Place::Behind { awaits, .. } = place(&whole, me) {
                let rest: Vec<_> = whole.iter().zip(keep)
                    .filter(|((id, _), keep)| *keep || *id == me || awaits.contains(id))
                    .map(|(claim, _)| *claim)
                    .collect();
                prop_assert_ne!(place(&rest, me), Place::Granted);
            }
        }

        /// The holders are the head of the line.
        #[test]
        fn holders_are_a_prefix(modes in prop::collection::vec(mode(), 1..8)) {
            let whole = line(&modes);
            let granted: Vec<bool> = whole.iter().map(|(id, _)| place(&whole, *id) == Place::Granted).collect();
            prop_assert!(granted[0]);
            prop_assert!(granted.is_sorted_by(|earlier, later| earlier >= later));
        }
    }
}
