//! The program `distsync`, run as a process against real stores.

mod arguments;
mod program;
