//! A connection to one member of the cluster, which batches the steps of several tasks into one
//! transaction.
//!
//! A transaction that contains other transactions is one Raft proposal and one disk write. etcd
//! checks all nested conditions before it executes any operation, so a batch contains at most one
//! step of each name: otherwise two steps that both find the queue empty would both be granted.

use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use distsync_core::LockName;
use distsync_core::spi::Tls;
use distsync_core::spi::batch::{BatchTransport, Batcher};
use distsync_core::spi::home::Home;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, GetOptions, KvClient, Txn, TxnOp, TxnOpResponse,
    TxnResponse,
};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::error::Failure;
use crate::keys::prefix;
use crate::tls;

/// The delay after which the next member is tried beside those that have not answered yet.
const STAGGER: Duration = Duration::from_millis(300);
/// The interval between checks of a connection, and the number of checks without any reply after
/// which it is abandoned while replies are outstanding.
const LOOK: Duration = Duration::from_millis(500);
const SILENT_LOOKS: u32 = 3;
/// The interval between pings of a connection that has a stream, for instance of a watch, and the
/// time for their replies. etcd closes a connection after three pings that arrive less than 5 s
/// after the one before, or without any stream.
const PING: Duration = Duration::from_secs(6);
/// The interval of TCP's own probes, which keep an idle connection known to the network.
const TCP_PROBE: Duration = Duration::from_secs(30);

/// A connected client of one member of the cluster.
///
/// It does not connect to all members at once, because the etcd client balances requests over its
/// endpoints, and requests to a dead endpoint fail.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The index of the endpoint in the configuration.
    pub(crate) endpoint: usize,
    client: Connected,
    /// The password that the connection has logged in with.
    password: Option<Arc<str>>,
    pulse: Arc<Pulse>,
    home: Home,
    /// `None` if etcd may apply permissions to this client. Before 3.4.42, 3.5.28 and 3.6.9 etcd
    /// does not check the permissions of nested transactions (CVE-2026-33343), so batches would
    /// bypass them.
    batcher: Option<Batcher<Transport>>,
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

/// The reply to a step.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) response: TxnResponse,
    /// The store's revision after the step, which is the create revision of any key that it
    /// created.
    pub(crate) revision: i64,
}

/// Detects a connection that does not answer. Its member may hang, or the network may drop packets,
/// without closing the connection.
#[derive(Debug, Default)]
struct Pulse {
    owed: AtomicUsize,
    answers: AtomicU64,
    silent: CancellationToken,
}

/// An outstanding request, counted in `owed` until it is dropped.
struct Owed<'a>(&'a Pulse);

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        self.0.owed.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pulse {
    /// Checks the connection until it is dropped. Fails all its requests and returns if no reply
    /// arrives for too long while replies are outstanding.
    async fn look_after(pulse: Weak<Self>) {
        let (mut last, mut silent) = (0, 0);
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(pulse) = pulse.upgrade() else { return };
            let answers = pulse.answers.load(Ordering::Relaxed);
            if answers != last {
                (last, silent) = (answers, 0);
            } else if pulse.owed.load(Ordering::Relaxed) > 0 {
                silent += 1;
            }
            if silent >= SILENT_LOOKS {
                return pulse.silent.cancel();
            }
        }
    }
}

impl Connection {
    /// Connects to the first member that serves. The `preferred` one is tried first, and each
    /// further member starts [`STAGGER`] after the one before it.
    pub(crate) async fn open(
        config: &Config,
        preferred: usize,
        tasks: &TaskTracker,
    ) -> Result<Self, Failure> {
        let count = config.endpoints.len();
        let mut attempts: FuturesUnordered<_> = (0..count)
            .map(|turn| Self::open_in_turn(config, (preferred + turn) % count, turn))
            .collect();
        let mut first = None;
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(connection) => {
                    tasks.spawn(Pulse::look_after(Arc::downgrade(&connection.pulse)));
                    return Ok(connection);
                }
                Err(failure) => first = first.or(Some(failure)),
            }
        }
        Err(first.unwrap_or(Failure::Answer("no endpoint")))
    }

    async fn open_in_turn(config: &Config, endpoint: usize, turn: usize) -> Result<Self, Failure> {
        tokio::time::sleep(STAGGER * u32::try_from(turn).unwrap_or(u32::MAX)).await;
        let attempt = Self::open_at(config, endpoint);
        tokio::time::timeout(config.connect_timeout, attempt)
            .await
            .unwrap_or(Err(Failure::Silent))
    }

    async fn open_at(config: &Config, endpoint: usize) -> Result<Self, Failure> {
        let address = &config.endpoints[endpoint..=endpoint];
        let mut options = ConnectOptions::new()
            .with_connect_timeout(config.connect_timeout)
            .with_keep_alive(PING, PING)
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(TCP_PROBE)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        // The file of the password may have changed since the last connection.
        let password = config.password();
        if let (Some((user, _)), Some(password)) = (&config.user, &password) {
            options = options.with_user(user, &**password);
        }
        // The certificate files may have changed since the last connection.
        if let Some(tls) = config.tls.as_ref().map(Tls::latest) {
            tls::agree(&config.endpoints[endpoint], &tls).await?;
            options = options.with_tls(tls::settings(&tls));
        }
        let client = Client::connect(address, Some(options)).await?;
        // This read requires a leader, and a member without a leader cannot serve. A permission
        // error also shows that the member answers.
        let question = GetOptions::new().with_count_only();
        match client
            .kv_client()
            .get("distsync", Some(question))
            .await
            .map_err(Failure::from)
        {
            Err(failure) if !failure.is_permission_denied() => return Err(failure),
            _ => {}
        }
        let kv = client.kv_client();
        let batcher = (!config.has_permissions()).then(|| Batcher::start(Transport(kv)));
        let home = Home::here()?;
        Ok(Self {
            endpoint,
            client: Connected(client),
            password,
            pulse: Arc::default(),
            home,
            batcher,
        })
    }

    /// Waits for the reply to a request. Fails with `Silent` if the connection stops answering.
    pub(crate) async fn answer<T, E: Into<Failure>>(
        &self,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        self.pulse.owed.fetch_add(1, Ordering::Relaxed);
        let _owed = Owed(&self.pulse);
        let answered = async {
            tokio::select! {
                biased;
                answer = request => {
                    self.pulse.answers.fetch_add(1, Ordering::Relaxed);
                    answer.map_err(Into::into)
                }
                () = self.pulse.silent.cancelled() => Err(Failure::Silent),
            }
        };
        self.home
            .answer(answered)
            .await
            .unwrap_or_else(|error| Err(error.into()))
    }

    /// Makes a request to its end, even if the returned future is dropped.
    pub(crate) fn to_its_end<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        self.home.to_its_end(request)
    }

    /// Returns whether the configuration has another password now.
    pub(crate) fn has_old_password(&self, config: &Config) -> bool {
        self.password != config.password()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client.0
    }

    /// Executes one step of a name, batched with the steps of other names.
    pub(crate) async fn step(&self, name: LockName, transaction: Txn) -> Result<Done, Failure> {
        match &self.batcher {
            Some(batcher) => {
                let step = Step { name, transaction };
                batcher.ask(step).await.unwrap_or(Err(Failure::ClientGone))
            }
            None => send_single(self.client().kv_client(), transaction).await,
        }
    }
}

async fn send_single(mut kv: KvClient, transaction: Txn) -> Result<Done, Failure> {
    let response = kv.txn(transaction).await?;
    let revision = response.header().map_or(0, |header| header.revision());
    Ok(Done { response, revision })
}

async fn send_each(kv: KvClient, steps: Vec<Step>) -> Vec<Result<Done, Failure>> {
    join_all(
        steps
            .into_iter()
            .map(|step| send_single(kv.clone(), step.transaction)),
    )
    .await
}

/// Sends batches of steps to etcd.
struct Transport(KvClient);

impl BatchTransport for Transport {
    type Request = Step;
    type Answer = Result<Done, Failure>;

    async fn send_all(&self, steps: Vec<Step>) -> Vec<Self::Answer> {
        let kv = &self.0;
        let mut names = HashSet::new();
        let is_first: Vec<bool> = steps
            .iter()
            .map(|step| names.insert(step.name.clone()))
            .collect();
        let (mut first, mut further) = (Vec::new(), Vec::new());
        for (step, is_first) in steps.into_iter().zip(&is_first) {
            if *is_first { &mut first } else { &mut further }.push(step);
        }
        let further = send_each(kv.clone(), further);
        let (first, further) = tokio::join!(send_batched(kv.clone(), first), further);
        let (mut first, mut further) = (first.into_iter(), further.into_iter());
        let answers = is_first.into_iter().map(|is_first| {
            if is_first {
                first.next()
            } else {
                further.next()
            }
        });
        answers
            .map(|answer| answer.unwrap_or(Err(Failure::Answer("fewer replies than steps"))))
            .collect()
    }

    async fn send(&self, step: Step) -> Self::Answer {
        send_single(self.0.clone(), step.transaction).await
    }
}

/// Executes steps of different names in one transaction. If etcd refuses the transaction, which may
/// be the fault of one step, each step is sent on its own.
async fn send_batched(mut kv: KvClient, steps: Vec<Step>) -> Vec<Result<Done, Failure>> {
    let [first, _, ..] = &steps[..] else {
        return send_each(kv, steps).await;
    };
    // This condition is always true, but etcd checks the permission to read the key. If users are
    // enabled and this client has no credentials, etcd therefore refuses the batch.
    let known = Compare::version(prefix(&first.name), CompareOp::Greater, -1);
    let all: Vec<TxnOp> = steps
        .iter()
        .map(|step| TxnOp::txn(step.transaction.clone()))
        .collect();
    let all = Txn::new().when([known]).and_then(all);
    match kv.txn(all).await.map_err(Failure::from) {
        Ok(response) => {
            let revision = response.header().map_or(0, |header| header.revision());
            let done = response
                .op_responses()
                .into_iter()
                .map(|response| match response {
                    TxnOpResponse::Txn(response) => Ok(Done { response, revision }),
                    _ => Err(Failure::Answer("no nested transaction in the reply")),
                });
            done.collect()
        }
        Err(failure) if failure.is_refusal() => send_each(kv, steps).await,
        Err(failure) => steps.iter().map(|_| Err(failure.clone())).collect(),
    }
}
