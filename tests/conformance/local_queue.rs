//! The suite with a local queue in each client, which keeps all laws but the order between
//! processes. The queue does not depend on the store, so one store is enough.

use std::sync::Arc;
use std::time::Duration;

use distsync_core::SyncOptions;
use distsync_core::conformance::{Harness, cases, run, run_alone};
use distsync_core::spi::{Backend, async_trait};

use super::stores::Memory;

/// A store whose clients have local queues.
struct WithLocalQueues<H>(Arc<H>);

#[async_trait]
impl<H: Harness> Harness for WithLocalQueues<H> {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.0.backend().await
    }

    fn ttl(&self) -> Duration {
        self.0.ttl()
    }

    async fn restart(&self) {
        self.0.restart().await;
    }

    fn options(&self, options: SyncOptions) -> SyncOptions {
        self.0.options(options).with_local_queue(true)
    }

    fn is_shared() -> bool {
        H::is_shared()
    }
}

/// Expands into a test for each case.
macro_rules! case {
    // A request that waits locally is not in the store's queue.
    (law_03_first_come_first_served $run:ident) => {
        #[test]
        #[should_panic(expected = "the waiter is queued")]
        fn law_03_first_come_first_served() {
            $run(store(), cases::law_03_first_come_first_served);
        }
    };
    ($case:ident $run:ident) => {
        #[test]
        fn $case() {
            $run(store(), cases::$case);
        }
    };
}

async fn store() -> Arc<WithLocalQueues<Memory>> {
    Arc::new(WithLocalQueues(Memory::start()))
}

distsync_core::conformance_cases!(case);
