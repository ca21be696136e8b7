//! A client of the cluster, and how the steps of claims travel to it: those of several tasks in one transaction.
//!
//! A transaction of transactions is one proposal to the cluster and one write to its disks. All conditions of such a
//! transaction are looked at before anything in it is done, so it has one step of a name at most: else two that find nobody
//! there would both be granted.

use std::collections::HashSet;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, KvClient, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use futures_util::future::join_all;
use sync_core::LockName;
use sync_core::batch::{Batcher, Carry};

use crate::config::Config;
use crate::error::Failure;
use crate::keys::prefix;
use crate::tls;

/// How long connecting may take.
const DIAL: Duration = Duration::from_secs(3);

/// A client, connected.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Connected,
    /// Absent where etcd may know who we are, and what we may do: before 3.4.42, 3.5.28 and 3.6.9 it does not look at the
    /// permissions for what stands in a transaction inside of another (CVE-2026-33343), and would refuse nothing.
    together: Option<Batcher<Together>>,
}

struct Connected(Client);

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connected")
    }
}

#[derive(Debug)]
struct Step {
    name: LockName,
    transaction: Txn,
}

/// What came of a step.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) response: TxnResponse,
    /// The store's revision after it: that of what it has put.
    pub(crate) revision: i64,
}

impl Connection {
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(DIAL)
            .with_keep_alive(Duration::from_secs(5), Duration::from_secs(5))
            .with_keep_alive_while_idle(true)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((user, password)) = &config.user {
            options = options.with_user(user, password);
        }
        if let Some(tls) = &config.tls {
            tls::agree(&config.endpoints, tls, DIAL).await?;
            options = options.with_tls(tls::settings(tls));
        }
        let client = Client::connect(&config.endpoints, Some(options)).await?;
        let kv = client.kv_client();
        let together = (!config.has_permissions()).then(|| Batcher::start(Together(kv)));
        Ok(Self { client: Connected(client), together })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client.0
    }

    /// Does one step of a name, on its way with those of other names.
    pub(crate) async fn step(&self, name: &LockName, transaction: Txn) -> Result<Done, Failure> {
        match &self.together {
            Some(together) => {
                let step = Step { name: name.clone(), transaction };
                together.ask(step).await.unwrap_or(Err(Failure::ClientGone))
            }
            None => alone(self.client().kv_client(), transaction).await,
        }
    }
}

async fn alone(mut kv: KvClient, transaction: Txn) -> Result<Done, Failure> {
    let response = kv.txn(transaction).await?;
    let revision = response.header().map_or(0, |header| header.revision());
    Ok(Done { response, revision })
}

async fn each(kv: KvClient, steps: Vec<Step>) -> Vec<Result<Done, Failure>> {
    join_all(steps.into_iter().map(|step| alone(kv.clone(), step.transaction))).await
}

/// Carries steps.
struct Together(KvClient);

impl Carry for Together {
    type Request = Step;
    type Answer = Result<Done, Failure>;

    async fn carry(&self, steps: Vec<Step>) -> Vec<Self::Answer> {
        let kv = &self.0;
        let mut names = HashSet::new();
        let is_first: Vec<bool> = steps.iter().map(|step| names.insert(step.name.clone())).collect();
        let (mut first, mut further) = (Vec::new(), Vec::new());
        for (step, is_first) in steps.into_iter().zip(&is_first) {
            if *is_first { &mut first } else { &mut further }.push(step);
        }
        let further = each(kv.clone(), further);
        let (first, further) = tokio::join!(as_one(kv.clone(), first), further);
        let (mut first, mut further) = (first.into_iter(), further.into_iter());
        let answers =
            is_first.into_iter().map(|is_first| if is_first { first.next() } else { further.next() });
        answers.map(|answer| answer.unwrap_or(Err(Failure::Answer("fewer answers than steps")))).collect()
    }

    async fn carry_one(&self, step: Step) -> Self::Answer {
        alone(self.0.clone(), step.transaction).await
    }
}

/// Does steps of different names in one transaction. If etcd refuses it, for one of them perhaps, each is done by itself.
async fn as_one(mut kv: KvClient, steps: Vec<Step>) -> Vec<Result<Done, Failure>> {
    let [first, _, ..] = &steps[..] else { return each(kv, steps).await };
    // Always true; but where users need a password and we have none, etcd says so.
    let known = Compare::version(prefix(&first.name), CompareOp::Greater, -1);
    let all: Vec<TxnOp> = steps.iter().map(|step| TxnOp::txn(step.transaction.clone())).collect();
    let all = Txn::new().when([known]).and_then(all);
    match kv.txn(all).await.map_err(Failure::from) {
        Ok(response) => {
            let revision = response.header().map_or(0, |header| header.revision());
            let done = response.op_responses().into_iter().map(|response| match response {
                TxnOpResponse::Txn(response) => Ok(Done { response, revision }),
                _ => Err(Failure::Answer("no transaction inside of the transaction")),
            });
            done.collect()
        }
        Err(failure) if failure.is_refusal() => each(kv, steps).await,
        Err(failure) => steps.iter().map(|_| Err(failure.clone())).collect(),
    }
}
