//! Whether a short frame waits for the visits of other connections, so that one write covers all.

/// After so many frames that waited in vain, frames are written at the end of their visit. Waiting
/// costs a system call.
const ALONE: u32 = 8;
/// One of so many frames waits then, to find out whether there are other visits now.
const TRIAL: u32 = 16;

/// Decides it by what came of earlier frames.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// The number of frames, one after the other, that waited in vain.
    alone: u32,
    /// The number of frames since the last one that waited.
    written: u32,
}

impl Gathering {
    /// Returns whether the next frame should wait.
    pub(super) fn waits(&mut self) -> bool {
        self.written += 1;
        if self.alone < ALONE || self.written >= TRIAL {
            self.written = 0;
        }
        self.written == 0
    }

    /// Notes that a frame has waited, and whether there were other visits meanwhile.
    pub(super) fn note(&mut self, gathered: bool) {
        self.alone = if gathered {
            0
        } else {
            self.alone.saturating_add(1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_wait_while_that_gathers_visits() {
        let mut gathering = Gathering::default();
        let mut run = |frames: u32, gathered: bool| {
            let waited = (0..frames).filter(|_| {
                let waits = gathering.waits();
                if waits {
                    gathering.note(gathered);
                }
                waits
            });
            waited.count()
        };
        assert_eq!(run(100, true), 100);
        assert_eq!(run(ALONE, false), ALONE as usize);
        assert_eq!(run(10 * TRIAL, false), 10, "only trials");
        assert!(run(100 + TRIAL, true) > 100, "a trial finds the others");
    }
}
