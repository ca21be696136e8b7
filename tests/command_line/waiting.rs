//! `distsync run` while it waits for the lock.

use std::time::Duration;

use distsync::{LockOptions, connect};
use distsync_core::spi::clock;
use rustix::process::Signal;

use crate::running::{PATIENCE, Running};
use crate::stores::{Netlock, Redis};

/// The time in which a signal ends the wait.
const AT_ONCE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_signal_while_waiting_leaves_the_queue_and_ends_at_once() {
    let (netlock, redis) = (Netlock::start(), Redis::start());
    for url in [netlock.url(), format!("redis://127.0.0.1:{}", redis.port())] {
        let sync = connect(&url).await.unwrap();
        let lock = sync.lock("a", LockOptions::new()).unwrap();
        let _guard = lock.acquire().await.unwrap();
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
            let mut run = Running::start(&url, &["run", "a", "--", "echo", "started"]);
            let deadline = clock::now().after(PATIENCE);
            while lock.inspect().await.unwrap().entries.len() < 2 {
                assert!(clock::now() < deadline, "no waiter on {url}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let sent = clock::now();
            run.signal(signal);
            assert_eq!(run.code(), Some(code), "{url}");
            assert!(clock::now().since(sent) < AT_ONCE, "{signal:?} on {url}");
            assert_eq!(run.line(), "", "the command was not started");
            assert_eq!(
                lock.inspect().await.unwrap().entries.len(),
                1,
                "{signal:?} on {url}"
            );
        }
    }
}
