//! `distsync inspect`: the holders and waiters of a name.

use std::process::ExitCode;

use clap::Args;
use distsync::Sync;

use crate::claims::{self, Target};
use crate::exit::Failure;
use crate::{Common, with_runtime};

/// Show who holds a name and who waits for it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  distsync inspect nightly\n  \
                  distsync inspect --election scheduler --json")]
pub(crate) struct Inspect {
    #[command(flatten)]
    target: Target,
}

impl Inspect {
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let target = self.target;
        with_runtime(async {
            let sync = common.connect().await?;
            let queue = target.inspect(&sync).await?;
            sync.close().await?;
            common.output().show(
                || claims::to_json(&target, &queue),
                || claims::to_text(&target, &queue),
            )?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
