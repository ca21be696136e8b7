//! The program netlockd as a process: its flags, signals, files and peers.

mod access;
mod clients;
mod cluster;
mod cluster_admin;
mod cluster_folder;
mod cluster_interrupted;
mod cluster_watch;
mod configuration;
mod crowd;
mod deploy;
mod dev_cluster;
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
