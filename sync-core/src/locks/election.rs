//! Elections: a leader is the exclusive claim of a candidate, whose value is the candidate's node.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::locks::context::Context;
use crate::locks::guard::{Guard, Release};
use crate::locks::leadership::{LeaderStatus, Leadership};
use crate::locks::observe;
use crate::locks::request::AcquireRequest;
use crate::locks::traits::{Elected, Leader};
use crate::options::{LeaderOptions, Node, Wait};
use crate::session::Health;
use crate::session::hold::Hold;
use crate::session::revocation::Revoked;
use crate::spi::clock::Moment;
use crate::spi::counted::Counted;
use crate::spi::mutex::locked;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::queue::{Queue, Withdrawn};
use crate::types::token::Token;

#[derive(Debug)]
pub(crate) struct Candidate {
    context: Arc<Context>,
    id: String,
    request: AcquireRequest,
    node: Node,
    wait: Wait,
    /// The number of calls of `elect` in progress.
    campaigns: AtomicUsize,
    /// The last leadership that was won through this object.
    last_won: Mutex<Weak<Hold>>,
}

impl Candidate {
    pub(crate) fn new(
        context: Arc<Context>,
        id: &str,
        request: AcquireRequest,
        options: LeaderOptions,
    ) -> Self {
        Self {
            context,
            id: id.to_owned(),
            request,
            node: options.node,
            wait: options.wait,
            campaigns: AtomicUsize::new(0),
            last_won: Mutex::default(),
        }
    }
}

#[async_trait]
impl Leader for Candidate {
    fn id(&self) -> &str {
        &self.id
    }

    async fn leader(&self) -> Result<Option<Leadership>> {
        Ok(observe::leader_of(&self.inspect().await?))
    }

    async fn elect(&self) -> Result<Box<dyn Elected>> {
        let _campaign = Counted::begin(&self.campaigns);
        let guard = self.request.acquire(&self.context, self.wait).await?;
        *locked(&self.last_won) = Arc::downgrade(guard.hold());
        Ok(Box::new(HeldLeadership {
            guard,
            node: self.node.clone(),
        }))
    }

    fn status(&self) -> LeaderStatus {
        if locked(&self.last_won)
            .upgrade()
            .is_some_and(|hold| hold.valid_until().is_some())
        {
            LeaderStatus::Elected
        } else if self.campaigns.load(Ordering::Relaxed) > 0 {
            LeaderStatus::Candidate
        } else {
            LeaderStatus::Follower
        }
    }

    fn watch(&self) -> BoxStream<'static, Result<Option<Leadership>>> {
        observe::leaders(self.context.clone(), self.request.name.clone())
    }

    async fn inspect(&self) -> Result<Queue> {
        observe::inspect(&self.context, &self.request.name).await
    }

    async fn evict(&self, claim: ClaimId) -> Result<Withdrawn> {
        observe::evict(&self.context, &self.request.name, claim).await
    }
}

/// A leadership that is held.
#[derive(Debug)]
struct HeldLeadership {
    guard: Guard,
    node: Node,
}

#[async_trait]
impl Elected for HeldLeadership {
    fn token(&self) -> Token {
        self.guard.token()
    }

    fn revoked(&self) -> Revoked {
        self.guard.revoked()
    }

    fn check(&self, min_remaining: Duration) -> Result<Token> {
        self.guard.check(min_remaining)
    }

    fn health(&self) -> Health {
        self.guard.health()
    }

    fn valid_until(&self) -> Option<Moment> {
        self.guard.valid_until()
    }

    fn remaining(&self) -> Duration {
        self.guard.remaining()
    }

    async fn proclaim(&self, value: &str) -> Result<()> {
        self.guard
            .update(self.node.clone().with_value(value).encode()?)
            .await
    }

    async fn resign(&self) -> Result<Release> {
        self.guard.release().await
    }

    fn resign_in_the_background(&self) {
        self.guard.hand_over();
    }
}
