//! The processes of a command: start, signals, terminal, and end.

mod stub;

pub(crate) use stub::{STUB, Stub};
