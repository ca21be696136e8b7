//! `distsync bench`: a load on a store, and how long its requests take.

mod load;
mod report;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use distsync::spi::{ClaimId, clock};
use distsync::{Handle, Kind, Namespace, Sync};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Common;
use crate::exit::{self, Failure, tell};
use crate::interrupt::until_signal;
use crate::output::millis;
use crate::request::duration;
use load::{Load, Outcome};

/// Measure how fast a store grants and releases locks.
///
/// Each task acquires and releases its lock again and again. The load slows down the other users of
/// the store. The names are in a namespace of their own, and none of them remains afterwards.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  distsync bench\n  \
                  distsync bench --tasks 64 --names 1 --time 10s --json")]
pub(crate) struct Bench {
    /// The number of tasks that acquire locks at the same time.
    #[arg(long, value_name = "N", default_value = "16")]
    tasks: NonZeroUsize,

    /// The number of locks. Tasks share them evenly, so with 1 all tasks queue for the same lock.
    /// [default: one for each task]
    #[arg(long, value_name = "N")]
    names: Option<NonZeroUsize>,

    /// The number of connections and sessions. Tasks share them evenly.
    #[arg(long, value_name = "N", default_value = "1")]
    clients: NonZeroUsize,

    /// The time for which the load lasts.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    time: Duration,

    /// How the tasks acquire the locks.
    #[arg(long, value_enum, default_value_t = Mode::Lock)]
    mode: Mode,

    /// The namespace of the locks. It replaces that of the URL.
    #[arg(long, value_name = "NAME", default_value = "distsync-bench")]
    namespace: Namespace,
}

/// How the tasks acquire the locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Exclusive. A task waits until its lock is free.
    Lock,
    /// Shared. No task waits.
    Read,
    /// Exclusive. A task that finds its lock taken tries again at once.
    Try,
}

impl Bench {
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        // Several threads, so that the client is not slower than the store.
        let runtime = tokio::runtime::Runtime::new().map_err(|error| {
            let problem = format!("cannot start the runtime: raise the limit of threads ({error})");
            Failure::new(exit::OTHER, problem)
        })?;
        runtime.block_on(async {
            Ok(match until_signal(self.measure(common)).await? {
                Ok(()) => ExitCode::SUCCESS,
                Err(code) => ExitCode::from(code),
            })
        })
    }

    async fn measure(&self, common: &Common) -> Result<(), Failure> {
        let mut handles = Vec::new();
        for _ in 0..self.clients.get() {
            let (backend, options) = common.store()?;
            let options = options.with_namespace(self.namespace.clone());
            handles.push(Arc::new(Handle::open(backend, options).await?));
        }
        let store = handles[0].name();
        tell(format_args!(
            "this load slows down the other users of {store}: Ctrl-C ends it"
        ));
        let load = Load {
            mode: self.mode,
            tasks: self.tasks.get(),
            names: self.names.unwrap_or(self.tasks).get(),
            time: self.time,
            // So that two loads on the same store do not wait for each other.
            prefix: format!("{}-", ClaimId::random()),
        };
        let bar = bar(self.time);
        let outcome = load.run(&handles, |elapsed, done| show_progress(&bar, elapsed, done));
        let outcome = outcome.await;
        bar.finish_and_clear();
        let outcome = outcome?;
        remove(&handles, &load.prefix).await?;
        self.show(common, store, &load, &outcome)
    }

    fn show(
        &self,
        common: &Common,
        store: &str,
        load: &Load,
        outcome: &Outcome,
    ) -> Result<(), Failure> {
        let clients = self.clients.get();
        common.output().show(
            || report::to_json(store, clients, load, outcome),
            || report::to_text(store, clients, load, outcome),
        )
    }
}

/// Returns a bar that is shown only on a terminal.
fn bar(time: Duration) -> ProgressBar {
    let length = millis(time);
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()).with_style(style)
}

fn show_progress(bar: &ProgressBar, elapsed: Duration, done: u64) {
    bar.set_position(millis(elapsed));
    bar.set_message(format!("{}/s", report::rate(done, elapsed)));
}

/// Closes the handles, and waits until the store lists none of their names.
async fn remove(handles: &[Arc<Handle>], prefix: &str) -> Result<(), Failure> {
    let deadline = clock::now().after(Duration::from_secs(5));
    while !handles[0].list(Kind::Lock, prefix).await?.is_empty() {
        if clock::now() > deadline {
            let problem = "some locks of the load are still there after 5s: they end with the TTL \
                           of the session";
            return Err(Failure::new(exit::OTHER, problem));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for handle in handles {
        handle.close().await?;
    }
    Ok(())
}
