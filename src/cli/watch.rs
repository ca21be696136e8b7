//! `distsync watch`: each change of the claims of a name.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Args;
use distsync::spi::clock;
use distsync::{DynSync, Entry, Kind, Leadership, LockOptions, Queue, Result, Sync};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};

use crate::claims::{self, Target, observer};
use crate::exit::Failure;
use crate::interrupt::until_signal;
use crate::output::{GOOD, WARNING, printable, styled};
use crate::{Common, leader, with_runtime};

/// Print the state of a name, and print it again after each change.
///
/// The state of a lock is its holders and the number of waiters, that of an election its leader.
/// Changes in quick succession may be one line. The command waits while the store is out of reach.
/// It ends by a signal, or after --count lines.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  distsync watch nightly\n  \
                  distsync watch --election scheduler --json | jq --unbuffered -r .node")]
pub(crate) struct Watch {
    #[command(flatten)]
    target: Target,

    /// End after this many lines. The first one is the current state.
    #[arg(long, value_name = "N")]
    count: Option<NonZeroUsize>,
}

/// A state in both forms of output.
struct State {
    json: Value,
    text: String,
}

impl Watch {
    pub(crate) fn execute(self, common: &Common) -> std::result::Result<ExitCode, Failure> {
        with_runtime(async {
            Ok(match until_signal(self.watch(common)).await? {
                Ok(()) => ExitCode::SUCCESS,
                Err(code) => ExitCode::from(code),
            })
        })
    }

    async fn watch(&self, common: &Common) -> std::result::Result<(), Failure> {
        let sync = common.connect().await?;
        let states = states(&self.target, &sync)?;
        let mut states = states.take(self.count.map_or(usize::MAX, NonZeroUsize::get));
        while let Some(state) = states.next().await {
            show(common, state?)?;
        }
        drop(states);
        sync.close().await?;
        Ok(())
    }
}

/// Prints a state with the time of day.
fn show(common: &Common, State { mut json, text }: State) -> std::result::Result<(), Failure> {
    let millis = clock::wall_millis();
    common.output().show(
        || {
            json["time_ms"] = json!(millis);
            json
        },
        || format!("{}  {text}\n", time_of_day(millis)),
    )
}

/// Returns a wall-clock time as `HH:MM:SSZ`.
fn time_of_day(millis: u64) -> String {
    let seconds = millis / 1_000 % 86_400;
    format!(
        "{:02}:{:02}:{:02}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn states(target: &Target, sync: &DynSync) -> Result<BoxStream<'static, Result<State>>> {
    let target = target.clone();
    Ok(match target.kind() {
        Kind::Lock => {
            let queues = sync.lock(&target.name, LockOptions::new())?.watch();
            let state = move |queue: Queue| State {
                json: claims::to_json(&target, &queue),
                text: summary(&queue),
            };
            queues.map(move |queue| queue.map(&state)).boxed()
        }
        Kind::Leader => {
            let leaders = observer(sync, &target.name)?.watch();
            let state = move |leader: Option<Leadership>| State {
                json: leader::to_json(&target.name, leader.as_ref()),
                text: match &leader {
                    Some(leader) => styled(GOOD, &leader::to_text(leader)),
                    None => styled(WARNING, "no leader"),
                },
            };
            leaders.map(move |leader| leader.map(&state)).boxed()
        }
    })
}

/// Returns the holders of a lock and the number of its waiters in one line.
fn summary(queue: &Queue) -> String {
    let holder = |entry: &Entry| match entry.token {
        Some(token) => format!("{} (token {token})", printable(&entry.client)),
        None => printable(&entry.client),
    };
    let holders: Vec<String> = queue.holders().map(holder).collect();
    let state = if holders.is_empty() {
        styled(WARNING, "free")
    } else {
        styled(GOOD, &format!("held by {}", holders.join(", ")))
    };
    match queue.waiters().count() {
        0 => state,
        1 => format!("{state}, 1 waits"),
        waiters => format!("{state}, {waiters} wait"),
    }
}
