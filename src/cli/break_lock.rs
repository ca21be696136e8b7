//! `distsync break`: ends the claims of other clients.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use distsync::{ClaimId, DynSync, Kind, LockOptions, Queue, Sync, Withdrawn};
use serde_json::json;

use crate::claims::{self, Target, observer};
use crate::exit::{self, Failure, USAGE};
use crate::output::Output;
use crate::{Common, with_runtime};

/// End the claims of the holders of a lock, or of the leader of an election.
///
/// Shows who holds and who waits, and asks first. The next waiter is granted the lock at once. A
/// holder that still works learns of it from the store, or at its next check, and until then two
/// clients can believe that they hold: break a lock only if its holder is dead, or if the resource
/// checks tokens. A crashed holder needs no break, because its lock ends with its TTL.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  distsync break nightly\n  \
                  distsync break nightly --yes --claim 0f1e2d3c4b5a69788796a5b4c3d2e1f0")]
pub(crate) struct Break {
    #[command(flatten)]
    target: Target,

    /// End only this claim, as `distsync inspect` shows it. It may also be one that waits.
    #[arg(long, value_name = "ID")]
    claim: Option<ClaimId>,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

impl Break {
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        with_runtime(async {
            let sync = common.connect().await?;
            let queue = self.target.inspect(&sync).await?;
            let chosen = self.chosen(&queue)?;
            if common.output() == Output::Text {
                let shown = || claims::to_text(&self.target, &queue);
                common.output().show(|| json!(null), shown)?;
            }
            if !chosen.is_empty() && !self.yes && !self.confirm(chosen.len())? {
                sync.close().await?;
                let problem = "nothing was changed: answer y to break the lock";
                return Err(Failure::new(exit::OTHER, problem));
            }
            let mut ended = Vec::new();
            for claim in chosen {
                ended.push((claim, self.evict(&sync, claim).await?));
            }
            sync.close().await?;
            self.show(common, &ended)?;
            Ok(ExitCode::SUCCESS)
        })
    }

    /// Returns the claims to end.
    fn chosen(&self, queue: &Queue) -> Result<Vec<ClaimId>, Failure> {
        let Some(wanted) = self.claim else {
            return Ok(queue.holders().map(|entry| entry.claim).collect());
        };
        if !queue.entries.iter().any(|entry| entry.claim == wanted) {
            let problem = format!(
                "the {} has no claim {wanted}: `distsync inspect` shows its claims",
                self.target.words()
            );
            return Err(Failure::new(exit::LOST, problem));
        }
        Ok(vec![wanted])
    }

    /// Asks the user, on the terminal.
    fn confirm(&self, count: usize) -> Result<bool, Failure> {
        if !std::io::stdin().is_terminal() {
            let problem = "there is no terminal to ask for a confirmation: use --yes";
            return Err(Failure::new(USAGE, problem));
        }
        let claims = if count == 1 { "claim" } else { "claims" };
        let mut terminal = std::io::stderr().lock();
        let mut answer = String::new();
        let asked = write!(
            terminal,
            "End {count} {claims} of the {}? [y/N] ",
            self.target.words()
        )
        .and_then(|()| terminal.flush())
        .and_then(|()| std::io::stdin().lock().read_line(&mut answer));
        asked.map_err(|error| {
            let problem = format!("cannot ask for a confirmation: use --yes ({error})");
            Failure::new(exit::OTHER, problem)
        })?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    async fn evict(&self, sync: &DynSync, claim: ClaimId) -> distsync::Result<Withdrawn> {
        let name = &self.target.name;
        match self.target.kind() {
            Kind::Lock => sync.lock(name, LockOptions::new())?.evict(claim).await,
            Kind::Leader => observer(sync, name)?.evict(claim).await,
        }
    }

    fn show(&self, common: &Common, ended: &[(ClaimId, Withdrawn)]) -> Result<(), Failure> {
        let was = |withdrawn: &Withdrawn| match withdrawn {
            Withdrawn::Held => "held",
            Withdrawn::Waiting => "waiting",
            Withdrawn::Absent => "gone",
        };
        let claims = || -> Vec<_> {
            let claim = |(claim, found): &(ClaimId, Withdrawn)| json!({"claim": claim.to_string(), "was": was(found)});
            ended.iter().map(claim).collect()
        };
        common.output().show(
            || json!({"name": self.target.name, "ended": claims()}),
            || {
                let line = |(claim, found): &(ClaimId, Withdrawn)| match found {
                    Withdrawn::Held => format!("ended the claim {claim}, which held\n"),
                    Withdrawn::Waiting => format!("ended the claim {claim}, which waited\n"),
                    Withdrawn::Absent => format!("the claim {claim} had ended before\n"),
                };
                ended.iter().map(line).collect()
            },
        )
    }
}
