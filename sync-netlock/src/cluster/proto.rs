//! The messages between nodes and the records of their logs, generated from `proto/cluster.proto`.

include!("netlock.cluster.v1.rs");
