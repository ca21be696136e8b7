//! The faults that a test injects between a client and its store.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::spi::backend::{Backend, Session};
use crate::spi::mutex::locked;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::ids::SessionId;

/// The faults between one client and its store, controlled by a test.
///
/// A fault applies to all requests of the client: those of its locks and elections, and those with
/// which it renews its sessions. It applies from the call on, also to requests that wait, until
/// another fault or [`heal`](Self::heal) takes its place.
///
/// `distsync::testing::faults` returns one with a client.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The store, without faults.
    store: Arc<dyn Backend>,
    network: watch::Sender<Network>,
    /// The sessions that are open in the store.
    open: Mutex<HashMap<SessionId, Session>>,
    /// The sessions that the test has expired.
    expired: watch::Sender<HashSet<SessionId>>,
}

/// The state of the simulated network.
#[derive(Clone, Copy, Debug, Default)]
struct Network {
    fault: Fault,
    delay: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    Fails,
    LosesReplies,
    Silent,
}

impl Faults {
    /// Returns faults of `store`. There are none at first.
    pub(super) fn of(store: Arc<dyn Backend>) -> Self {
        let shared = Shared {
            store,
            network: watch::Sender::default(),
            open: Mutex::default(),
            expired: watch::Sender::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Delays each request by this time before it reaches the store. Requests that are under way
    /// are not delayed.
    pub fn delay(&self, delay: Duration) {
        self.shared
            .network
            .send_modify(|network| network.delay = delay);
    }

    /// Makes each request fail at once, as if nobody listened at the address of the store. Requests
    /// do not reach the store.
    pub fn fail(&self) {
        self.set(Fault::Fails);
    }

    /// Loses the reply of each request. The request reaches the store and takes effect. Its caller
    /// gets an error that [may have been applied](crate::Error::maybe_applied).
    pub fn lose_replies(&self) {
        self.set(Fault::LosesReplies);
    }

    /// Leaves each request without a reply, as a network that drops packets does. Requests do not
    /// reach the store. When the fault ends, requests that still wait fail as on a broken
    /// connection.
    pub fn cut(&self) {
        self.set(Fault::Silent);
    }

    /// Ends all faults and delays.
    pub fn heal(&self) {
        self.shared.network.send_replace(Network::default());
    }

    /// Ends all sessions of the client in the store, as if their TTL had expired. Returns when the
    /// store has released what they held.
    ///
    /// The guards of the client are revoked with [`Loss::SessionLost`](crate::Loss::SessionLost):
    /// at once where the store [reports evictions](crate::Capabilities::reports_evictions),
    /// otherwise at the next renewal. The store may grant the locks to others before that, as a
    /// store does whose clock jumps. The handle can be used afterwards, with a new session.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// Some of the sessions may have ended.
    pub async fn expire_sessions(&self) -> Result<()> {
        let open: Vec<Session> = locked(&self.shared.open).values().copied().collect();
        for session in open {
            self.shared.store.close(&session).await?;
            self.closed(session.id);
            self.shared.expired.send_modify(|expired| {
                expired.insert(session.id);
            });
        }
        Ok(())
    }

    fn set(&self, fault: Fault) {
        self.shared
            .network
            .send_modify(|network| network.fault = fault);
    }

    /// Records that the store has opened a session.
    pub(super) fn opened(&self, session: Session) {
        locked(&self.shared.open).insert(session.id, session);
    }

    /// Records that a session has ended in the store.
    pub(super) fn closed(&self, session: SessionId) {
        locked(&self.shared.open).remove(&session);
    }

    pub(super) fn has_expired(&self, session: SessionId) -> bool {
        self.shared.expired.borrow().contains(&session)
    }

    /// Waits until the test expires a session, and returns the error of a store without it.
    pub(super) async fn expiry(&self, session: SessionId) -> Error {
        let mut expired = self.shared.expired.subscribe();
        // The sender lives as long as `self`.
        let _ = expired.wait_for(|expired| expired.contains(&session)).await;
        Error::new(
            ErrorKind::SessionLost,
            "the test has expired the session: acquire again",
        )
    }

    /// Carries a request to the store and its reply back, with the faults of the moment.
    pub(super) async fn carry<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let mut network = self.shared.network.subscribe();
        let delay = network.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut request = pin!(request);
        loop {
            let fault = network.borrow_and_update().fault;
            match fault {
                Fault::Fails => return Err(unreachable_store()),
                Fault::Silent => {
                    let _ = network.wait_for(|now| now.fault != Fault::Silent).await;
                    return Err(unreachable_store());
                }
                Fault::None | Fault::LosesReplies => {}
            }
            tokio::select! {
                biased;
                reply = &mut request => return match fault {
                    Fault::LosesReplies => Err(lost_reply()),
                    _ => reply,
                },
                _ = network.changed() => {}
            }
        }
    }
}

fn unreachable_store() -> Error {
    let problem = "the test makes the store unreachable: see `Faults::heal`";
    Error::new(ErrorKind::Unavailable, problem).retryable()
}

fn lost_reply() -> Error {
    Error::unanswered("the test loses the replies of the store: see `Faults::heal`")
}
