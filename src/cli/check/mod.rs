//! `distsync check`: whether a store is reachable, what it promises, and what is missing.

mod promises;
mod rights;
mod settings;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use distsync::spi::{ClaimId, clock};
use distsync::{Handle, Sync};
use serde_json::json;

use crate::exit::{self, Failure};
use crate::interrupt::until_signal;
use crate::output::{BAD, GOOD, HEADING, WARNING, millis, printable, styled};
use crate::table::{Cell, Table};
use crate::{Common, with_runtime};
use rights::{Outcome, Right};

/// Check that the store is reachable, what it promises, and what is missing.
///
/// Tries each operation on a lock and an election of its own, which are gone afterwards. Exits with
/// 0 if locks and elections work, and with 1 if a permission is missing. Warnings do not change the
/// exit code.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  distsync check\n  \
                  distsync --on 'redis://HOST?namespace=shop' check --json")]
pub(crate) struct Check {
    /// Try the operations on a name that begins with this text, for a user whose permissions are
    /// limited to some names.
    #[arg(long, value_name = "TEXT", default_value = "distsync-check-")]
    prefix: String,
}

/// The results of all checks.
#[derive(Debug)]
struct Report {
    store: &'static str,
    connect: Duration,
    promises: Vec<String>,
    rights: Vec<Right>,
    /// The settings that make the store worse, and the remedies.
    warnings: Vec<String>,
}

impl Check {
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        with_runtime(async {
            let report = match until_signal(self.examine(common)).await? {
                Ok(report) => report,
                Err(code) => return Ok(ExitCode::from(code)),
            };
            common
                .output()
                .show(|| report.to_json(), || report.to_text())?;
            Ok(if report.is_usable() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(exit::OTHER)
            })
        })
    }

    async fn examine(&self, common: &Common) -> Result<Report, Failure> {
        let (backend, options) = common.store()?;
        let ttl = options.session_ttl;
        let asked = clock::now();
        let sync = Handle::open(backend, options).await?;
        let connect = clock::now().since(asked);
        // netlock reports its capabilities when it is connected.
        let capabilities = sync.capabilities();
        let name = format!("{}{}", self.prefix, ClaimId::random());
        let rights = rights::probe(&sync, &name).await?;
        let warnings = settings::warnings(common.url()?, &capabilities).await;
        let store = sync.name();
        sync.close().await?;
        Ok(Report {
            store,
            connect,
            promises: promises::in_words(&capabilities, ttl),
            rights,
            warnings,
        })
    }
}

impl Report {
    /// Returns whether locks and elections work.
    fn is_usable(&self) -> bool {
        let is_missing = |right: &Right| {
            right.is_needed && matches!(right.outcome, Outcome::Denied(_) | Outcome::Untested)
        };
        !self.rights.iter().any(is_missing)
    }

    fn to_json(&self) -> serde_json::Value {
        let right = |right: &Right| {
            let (state, detail) = right.outcome.words();
            json!({"operation": right.operation, "needed": right.is_needed, "state": state, "detail": detail})
        };
        json!({
            "store": self.store,
            "usable": self.is_usable(),
            "connect_ms": millis(self.connect),
            "promises": self.promises,
            "operations": self.rights.iter().map(right).collect::<Vec<_>>(),
            "warnings": self.warnings,
        })
    }

    fn to_text(&self) -> String {
        let mut lines = vec![
            styled(HEADING, &format!("{} is reachable", self.store)),
            format!("  connected in {} ms", self.connect.as_millis()),
            String::new(),
            styled(HEADING, "It promises"),
        ];
        lines.extend(self.promises.iter().map(|promise| format!("  {promise}")));
        let mut operations = Table::new(&["OPERATION", "STATE", ""]);
        for right in &self.rights {
            let (state, detail) = right.outcome.words();
            let style = match right.outcome {
                Outcome::Works => GOOD,
                Outcome::Denied(_) | Outcome::Untested if right.is_needed => BAD,
                _ => WARNING,
            };
            let detail = printable(&detail.unwrap_or_default());
            operations.row([
                right.operation.into(),
                Cell::styled(state, style),
                detail.into(),
            ]);
        }
        lines.extend([String::new(), operations.to_string().trim_end().to_owned()]);
        if !self.warnings.is_empty() {
            lines.extend([String::new(), styled(WARNING, "Warnings")]);
            lines.extend(self.warnings.iter().map(|warning| format!("  {warning}")));
        }
        lines.join("\n") + "\n"
    }
}
