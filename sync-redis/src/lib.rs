//! The Redis backend of distsync.
//!
//! # Data model
//! Redis has no sessions. A session is a field of a hash with its expiry time, on the server's
//! clock, and a claim is valid while its session is. Lua scripts execute every step of a claim
//! atomically, and publish each grant to the session that was granted the lock. Locks are best
//! effort if Redis replicates: see `docs/semantics.md`.
//!
//! # Key layout
//! All keys are in one hash slot and begin with `distsync:{0}:`.
//! ```text
//! table         hash: name -> record of its only claim, or '*' if the name has a queue;
//!               session -> end of its life; '#' -> last number; '?NAME', '?' -> watched until
//! queue:NAME    sorted set: claim -> number of its arrival
//! claims:NAME   hash: claim -> record
//! held:SESSION  hash: name -> number of the session's claims in its queue
//! on:SESSION    channel: 'granted CLAIM TOKEN' or 'evicted CLAIM'
//! on:watch:NAME channel: the queue of the name has changed
//! ```
//!
//! # Recipes
//! ```text
//! acquire: if the session has expired: gone
//!          if the name is free: table[name] = record with token = max(last + 1, now)   -> granted
//!          else: append to queue:NAME, and table[name] = '*'                           -> waiting
//! release: if table[name] is the record of this claim: delete it                       -> released
//!          else: remove the claim, grant to the new head of the queue and publish it   -> released
//! ```
//! A session that has expired is skipped, and removed when a script finds it at the head of a
//! queue.

mod backend;
mod config;
mod connection;
mod dial;
mod error;
mod inbox;
mod keys;
mod resp;
mod scripts;
mod settings;
mod steps;
mod subscriptions;
mod topology;
mod wire;

pub use backend::Redis;
pub use config::Config;
