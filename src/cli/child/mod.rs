//! The processes of a command: start, signals, terminal, and end.
//!
//! [`Tree`] starts the command and reaps what ends, [`Signals`] receives the signals of this
//! process, [`Terminal`](terminal::Terminal) decides who may read the keyboard, and [`supervise`]
//! connects them with the lock.

mod death;
mod held;
mod limits;
mod signals;
mod status;
mod stub;
mod supervisor;
mod terminal;
mod this_program;
mod tree;
mod watchdog;

pub(crate) use death::{DEATH, Death, die_of};
pub(crate) use limits::{Limits, grace};
pub(crate) use signals::Signals;
pub(crate) use status::Status;
pub(crate) use stub::{STUB, Stub};
pub(crate) use supervisor::{Ending, Reason, supervise};
pub(crate) use tree::Tree;
pub(crate) use watchdog::{WATCHDOG, run as run_watchdog};
