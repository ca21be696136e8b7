//! The messages, generated from `proto/netlock.proto`.

include!("netlock.v1.rs");
