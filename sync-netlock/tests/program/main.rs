//! The program netlockd as an operator has it: a process, with its flags, its signals, its files
//! and its peers.

mod access;
mod clients;
mod configuration;
mod crowd;
mod deploy;
mod isolation;
mod losing_disk;
mod python;
mod raw;
mod restart;
mod secrets;
mod server;
mod shares;
mod tables;
mod tls;
mod watch;
