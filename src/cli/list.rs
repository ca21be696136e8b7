//! `distsync list`: the names in use.

use std::process::ExitCode;

use clap::Args;
use distsync::{Kind, Sync};
use serde_json::json;

use crate::claims::word;
use crate::exit::Failure;
use crate::output::{Output, printable};
use crate::table::Table;
use crate::{Common, with_runtime};

/// List the names that have a holder or a waiter.
///
/// Only names in the namespace of the URL are listed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  distsync list\n  \
                  distsync list report- --locks --json | jq -r .name")]
pub(crate) struct List {
    /// List only names that begin with this text.
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// List only locks.
    #[arg(long, conflicts_with = "elections")]
    locks: bool,

    /// List only elections.
    #[arg(long)]
    elections: bool,
}

impl List {
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let names = with_runtime(self.names(common))?;
        let output = common.output();
        if output == Output::Json {
            for (kind, name) in names {
                let entry = || json!({"kind": word(kind), "name": name});
                output.show(entry, String::new)?;
            }
        } else if !names.is_empty() {
            let mut table = Table::new(&["KIND", "NAME"]);
            for (kind, name) in names {
                table.row([word(kind).into(), printable(&name).into()]);
            }
            output.show(|| json!(null), || table.to_string())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn names(&self, common: &Common) -> Result<Vec<(Kind, String)>, Failure> {
        let sync = common.connect().await?;
        let mut names = Vec::new();
        for (kind, is_wanted) in [(Kind::Lock, !self.elections), (Kind::Leader, !self.locks)] {
            if is_wanted {
                let found = sync.list(kind, &self.prefix).await?;
                names.extend(found.into_iter().map(|name| (kind, name)));
            }
        }
        sync.close().await?;
        Ok(names)
    }
}
