//! `distsync leader`: the leader of an election.

use std::process::ExitCode;

use clap::Args;
use distsync::{Leadership, Sync};
use serde_json::{Value, json};

use crate::claims::observer;
use crate::exit::{self, Failure};
use crate::output::printable;
use crate::{Common, with_runtime};

/// Show the leader of an election.
///
/// Prints the id of the leader's node, and its value after a tab if it has one. Without a leader,
/// prints nothing and exits with 74.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  distsync leader scheduler\n  \
                  distsync leader scheduler --json | jq -r .value")]
pub(crate) struct Leader {
    /// The name of the election.
    name: String,
}

impl Leader {
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        with_runtime(async {
            let sync = common.connect().await?;
            let leader = observer(&sync, &self.name)?.leader().await?;
            sync.close().await?;
            common.output().show(
                || to_json(&self.name, leader.as_ref()),
                || {
                    leader
                        .as_ref()
                        .map_or_else(String::new, |leader| to_text(leader) + "\n")
                },
            )?;
            Ok(match leader {
                Some(_) => ExitCode::SUCCESS,
                None => ExitCode::from(exit::LOST),
            })
        })
    }
}

/// Returns a leader as JSON. Without a leader, its fields are null.
pub(crate) fn to_json(name: &str, leader: Option<&Leadership>) -> Value {
    json!({
        "name": name,
        "node": leader.map(|leader| leader.node.id()),
        "value": leader.map(|leader| leader.node.value()),
        "token": leader.map(|leader| leader.term.to_string()),
    })
}

/// Returns a leader as text: the id of its node, and its value if it has one.
pub(crate) fn to_text(leader: &Leadership) -> String {
    let (id, value) = (printable(leader.node.id()), printable(leader.node.value()));
    if value.is_empty() {
        id
    } else {
        format!("{id}\t{value}")
    }
}
