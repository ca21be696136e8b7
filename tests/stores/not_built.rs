//! Stands for a store that this build is without: no case passes that did not run.

use std::sync::Arc;

use super::Memory;

pub(crate) struct NotBuilt;

impl NotBuilt {
    pub(crate) fn start() -> Arc<Memory> {
        panic!("this build is without the store: `cargo test --all-features --test conformance`")
    }
}
