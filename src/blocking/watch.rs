//! Iterators over the changes of a name.

use std::fmt;
use std::sync::Arc;

use distsync_core::Result;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::driver::Driver;

/// An iterator over the states of a name. Each call of `next` waits for a change.
///
/// Passing faults are waited out; any other error is the last item.
pub struct Watch<T> {
    items: BoxStream<'static, Result<T>>,
    driver: Arc<Driver>,
}

impl<T> Watch<T> {
    pub(super) fn new(items: BoxStream<'static, Result<T>>, driver: &Arc<Driver>) -> Self {
        let driver = driver.clone();
        Self { items, driver }
    }
}

impl<T> Iterator for Watch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.driver
            .wait_for(self.items.next())
            .unwrap_or_else(|error| Some(Err(error.with_operation("watch"))))
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch(..)")
    }
}
