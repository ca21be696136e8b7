//! Reads in advance what commands will use.
//!
//! A command on a large table waits several times for the memory. The processor loads what several
//! commands use at the same time, if it meets the loads shortly after each other. Nothing depends
//! on what is read here.

use std::hash::BuildHasher;
use std::hint::black_box;

use super::LockTable;
use crate::engine::command::Command;
use crate::engine::journal::Journal;
use crate::engine::queue::{NONE, key};

/// The number of claims from which reading ahead pays. The caches of the processor contain most of
/// a smaller table.
const LARGE: usize = 32 << 10;

/// The most commands for which [`LockTable::read_ahead`] reads. The processor does not do many more
/// loads at the same time.
pub const AHEAD: usize = 16;

impl<J: Journal> LockTable<J> {
    /// Returns whether the table is so large that [`read_ahead`](Self::read_ahead) makes commands
    /// faster.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.claims.len() >= LARGE
    }

    /// Reads what the next commands will use, and changes nothing. The commands need not be applied
    /// afterwards.
    pub fn read_ahead<'a>(&self, commands: impl Iterator<Item = Command<'a>>) {
        // The loads of one loop do not depend on each other. `black_box` keeps the compiler from
        // removing them.
        let mut seen = 0;
        let (mut claims, mut names) = ([None; AHEAD], [None; AHEAD]);
        let mut releases = 0;
        for (at, command) in commands.take(AHEAD).enumerate() {
            match command {
                Command::Enqueue { claim, name, .. } => {
                    let hash = self.locks.hash_one(name);
                    seen ^= self.by_claim.touch(self.hasher.hash_one(claim));
                    seen ^= self.locks.index().touch(hash);
                    names[at] = Some(hash);
                }
                Command::Withdraw { claim, .. } => {
                    let hash = self.hasher.hash_one(claim);
                    seen ^= self.by_claim.touch(hash);
                    claims[at] = Some(hash);
                    releases += 1;
                }
                _ => {}
            }
        }
        for hash in self.locks.next_removed(releases) {
            seen ^= self.locks.index().touch(hash);
        }
        let claims = claims.map(|hash| hash.map_or(NONE, |hash| self.by_claim.guess(hash)));
        let names = names.map(|hash| hash.map_or(NONE, |hash| self.locks.index().guess(hash)));
        let of_claims = claims.map(|claim| self.claims.get(key(claim)).map_or(NONE, |it| it.lock));
        for name in names.into_iter().chain(of_claims) {
            seen ^= self.locks.touch(name);
        }
        black_box(seen);
    }
}
