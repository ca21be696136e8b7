//! The conformance suite on three members. `DISTSYNC_MEMBERS=5 cargo test -p distsync-netlock
//! --all-features --test program cluster::conformance` runs it on five.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use distsync_core::conformance::{BreakAt, Breaking, Harness, Proxy};
use distsync_core::spi::Backend;
use distsync_netlock::{Client, Config};

use super::members::{Members, TABLE};

/// Members that all cases share, because it takes longer to start them than to run a case.
pub(super) struct Cluster {
    members: Members,
}

/// The members that run now.
static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

impl Cluster {
    /// Returns the members. The first case starts them, and the last one of those that run at the
    /// same time stops them.
    fn shared() -> Arc<Self> {
        let mut running = RUNNING.lock().unwrap();
        running.upgrade().unwrap_or_else(|| {
            let count = std::env::var("DISTSYNC_MEMBERS");
            let count = count.map_or(3, |count| count.parse().unwrap());
            let started = Arc::new(Self {
                members: Members::of(count, &[]),
            });
            *running = Arc::downgrade(&started);
            started
        })
    }
}

#[async_trait]
impl Harness for Cluster {
    async fn backend(&self) -> Arc<dyn Backend> {
        let backend = Client::new(self.members.config()).backend();
        // A server announces its capabilities in its greeting, so connect before a test reads them.
        while backend.list("nobody/").await.is_err() {}
        backend
    }

    async fn breaking(&self, at: BreakAt) -> Breaking {
        let leader = self.members.leader().await;
        let leader: SocketAddr = self.members.address(leader).parse().unwrap();
        let proxy = Proxy::start(leader, at).await.unwrap();
        let config = Config::new([proxy.address().to_string()]).unwrap();
        let client = Client::new(config.with_table(TABLE).unwrap());
        let breaking = Breaking::through(proxy, client.backend());
        // Connect first, as above. This request may be the one that breaks.
        while breaking.backend.list("nobody/").await.is_err() {}
        breaking
    }

    /// Twice as long as an election and a restart take on a busy machine.
    fn ttl(&self) -> Duration {
        Duration::from_secs(3)
    }

    /// Kills the leader, waits for the next one, and starts it again.
    async fn restart(&self) {
        let leader = self.members.leader().await;
        self.members.kill(leader);
        self.members.leader().await;
        self.members.start_one(leader);
    }
}

distsync_core::conformance!(suite, async { Cluster::shared() });
