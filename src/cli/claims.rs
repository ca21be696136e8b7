//! The claims of a name, as commands show them.

use std::time::Duration;

use distsync::{DynSync, Entry, Kind, Mode, Queue, Result};
use serde_json::{Value, json};

use crate::output::{GOOD, WARNING, millis, printable};
use crate::table::{Cell, Table};

/// A lock or an election, as the user names it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Target {
    /// The name of the lock
    pub(crate) name: String,

    /// NAME is an election. A lock and an election with the same name are independent
    #[arg(long)]
    pub(crate) election: bool,
}

impl Target {
    pub(crate) fn kind(&self) -> Kind {
        if self.election {
            Kind::Leader
        } else {
            Kind::Lock
        }
    }

    /// Returns the kind in words, with the name: `lock "x"`.
    pub(crate) fn words(&self) -> String {
        format!("{} \"{}\"", word(self.kind()), printable(&self.name))
    }

    /// Reads the claims.
    pub(crate) async fn inspect(&self, sync: &DynSync) -> Result<Queue> {
        match self.kind() {
            Kind::Lock => sync.lock(&self.name, Default::default())?.inspect().await,
            Kind::Leader => observer(sync, &self.name)?.inspect().await,
        }
    }
}

/// Returns an election of which this process is no candidate.
pub(crate) fn observer(sync: &DynSync, name: &str) -> Result<Box<dyn distsync::Leader>> {
    sync.leader(
        name,
        distsync::LeaderOptions::new(distsync::Node::new("observer")),
    )
}

/// Returns the word for a kind of name.
pub(crate) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Lock => "lock",
        Kind::Leader => "election",
    }
}

/// Returns the claims of a name as JSON.
pub(crate) fn to_json(target: &Target, queue: &Queue) -> Value {
    let claim = |entry: &Entry| claim_to_json(target.kind(), entry);
    json!({
        "name": target.name,
        "kind": word(target.kind()),
        "holders": queue.holders().map(claim).collect::<Vec<_>>(),
        "waiters": queue.waiters().map(claim).collect::<Vec<_>>(),
    })
}

fn claim_to_json(kind: Kind, entry: &Entry) -> Value {
    let (mode, permits) = match entry.mode {
        Mode::Exclusive => ("exclusive", None),
        Mode::Shared => ("shared", None),
        Mode::Permit { of } => ("permit", Some(of)),
    };
    let text = String::from_utf8_lossy(&entry.value);
    let (node, value) = node_and_value(kind, &text);
    let mut claim = json!({
        "claim": entry.claim.to_string(),
        "session": entry.session.map(|session| session.to_string()),
        "client": entry.client,
        // As text: it can be above 2^53, the greatest integer that many JSON readers keep.
        "token": entry.token.map(|token| token.to_string()),
        "mode": mode,
        "age_ms": entry.age.map(millis),
        "isolating": entry.is_isolating,
        "value": value,
    });
    if let Some(permits) = permits {
        claim["permits"] = permits.into();
    }
    if let Some(node) = node {
        claim["node"] = node.into();
    }
    claim
}

/// Returns the id of the node, for an election, and the value of the user.
fn node_and_value(kind: Kind, value: &str) -> (Option<&str>, &str) {
    match kind {
        Kind::Lock => (None, value),
        Kind::Leader => {
            let (node, value) = value.split_once('\n').unwrap_or((value, ""));
            (Some(node), value)
        }
    }
}

/// Returns the claims of a name as a table, holders first. Returns a sentence if there are none.
pub(crate) fn to_text(target: &Target, queue: &Queue) -> String {
    if queue.entries.is_empty() {
        return match target.kind() {
            Kind::Lock => format!("the {} is free\n", target.words()),
            Kind::Leader => format!("the {} has no leader\n", target.words()),
        };
    }
    let mut headings = vec![
        "STATE", "CLIENT", "TOKEN", "MODE", "SINCE", "VALUE", "CLAIM",
    ];
    if target.kind() == Kind::Leader {
        headings.insert(1, "NODE");
    }
    let mut table = Table::new(&headings);
    let mut position = 0;
    for entry in &queue.entries {
        let state = if entry.is_isolating {
            Cell::styled("isolating", WARNING)
        } else if entry.token.is_some() {
            Cell::styled("holds", GOOD)
        } else {
            position += 1;
            Cell::styled(format!("waits ({position})"), WARNING)
        };
        let text = String::from_utf8_lossy(&entry.value);
        let (node, value) = node_and_value(target.kind(), &text);
        let mut cells: Vec<Cell> = vec![state];
        cells.extend(node.map(|node| Cell::from(printable(node))));
        cells.extend([
            printable(&entry.client).into(),
            entry
                .token
                .map_or_else(|| "-".to_owned(), |token| token.to_string())
                .into(),
            entry.mode.to_string().into(),
            entry.age.map_or_else(|| "-".to_owned(), duration).into(),
            printable(value).into(),
            entry.claim.to_string().into(),
        ]);
        table.row(cells);
    }
    table.to_string()
}

/// Returns a duration in words, to the second from ten seconds on.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = millis(duration);
    let shown = if millis < 10_000 {
        Duration::from_millis(millis)
    } else {
        Duration::from_secs(millis / 1_000)
    };
    humantime::format_duration(shown).to_string()
}
