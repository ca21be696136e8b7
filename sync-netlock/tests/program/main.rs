//! The program netlockd as a process: its flags, signals, files and peers.

mod access;
mod clients;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod cluster_admin;
#[cfg(feature = "cluster")]
mod cluster_folder;
#[cfg(feature = "cluster")]
mod cluster_interrupted;
#[cfg(feature = "cluster")]
mod cluster_watch;
mod configuration;
mod crowd;
mod deploy;
mod isolation;
mod losing_disk;
mod monitoring;
mod python;
mod raw;
mod restart;
mod secrets;
mod server;
mod shares;
mod tables;
mod tls;
mod watchers;
mod workers;
