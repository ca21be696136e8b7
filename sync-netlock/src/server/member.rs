//! A server that is a member of a cluster: it serves while it leads.
//!
//! The node of a member restores committed changes in a replica. When the node is elected, the
//! server makes a table from the replica, which executes requests ahead of the commit. Visits to
//! this table form *batches*. The changes of a batch are proposed when those of the batch before
//! are committed. For a batch without changes, a majority confirms that the node still leads. Both
//! begin after all visits of the batch, and no reply is sent before. So every reply was true after
//! its request arrived, and the timers of a later leader begin after each renewal that was
//! acknowledged.
//!
//! A server that is deposed drops its table, the replies that wait, and its connections. It expires
//! nothing: what its table has changed since is never committed.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use distsync_core::spi::clock::{self, Moment};
use distsync_core::spi::locked;
use distsync_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::hub::{Hub, NotLeading};
use super::isolator::prepare_isolation;
use super::options::ServerOptions;
use crate::cluster::{Consensus, Node, NodeOptions, Recovered, Rejected, SharedReplica};
use crate::engine::{Freeze, LockTable};
use crate::storage::{LogPosition, LogWriter};

type Table = LockTable<LogWriter>;

/// The size of changes from which on later visits begin a new frame, in bytes. The changes of one
/// visit are shorter than the rest of a frame.
const FRAME: usize = 512 << 10;
/// The pause before the next attempt to begin or to continue a leadership.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a client that this server cannot serve waits for the name of a server that can. During
/// a hand-over, it takes a few milliseconds until there is one.
const SETTLE: Duration = Duration::from_millis(200);

/// What a member has besides the hub of a single server.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) consensus: Arc<dyn Consensus>,
    replica: SharedReplica,
    progress: watch::Sender<Progress>,
    /// Wakes the task that completes batches.
    to_complete: Notify,
    /// The term in which the server serves, or 0.
    term: AtomicU64,
    /// Wakes those that wait until the server serves.
    begun: Notify,
    /// A leader that no majority has confirmed for this long sends its clients away.
    patience: Duration,
    /// What the data folder notes about the files that the node was made from.
    recovered: Mutex<Recovered>,
    folder: PathBuf,
    /// Held while an operator changes the cluster.
    pub(super) changing: tokio::sync::Mutex<()>,
    stop: CancellationToken,
}

/// Which batches are complete.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The first batch of this leadership. Those before it were completed or given up.
    first: u64,
    /// The last batch that is complete.
    done: u64,
}

/// The changes that were not proposed yet.
#[derive(Debug)]
pub(super) struct Batches {
    /// The term of the table, or 0 if there is none.
    term: u64,
    /// Whether clients were sent away, because no majority confirms the leadership.
    is_suspended: bool,
    /// The number of the batch that gathers visits.
    current: u64,
    /// Whether it has a visit.
    is_asked: bool,
    /// Its frames, except for the last one, which the table's journal has.
    frames: Vec<Bytes>,
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            term: 0,
            is_suspended: false,
            current: 1,
            is_asked: false,
            frames: Vec::new(),
        }
    }
}

impl Batches {
    pub(super) fn leadership(&self) -> Option<u64> {
        self.term().filter(|_| !self.is_suspended)
    }

    /// Returns the term of the table, also while clients are sent away.
    pub(super) fn term(&self) -> Option<u64> {
        (self.term != 0).then_some(self.term)
    }
}

/// A batch that gathers no more visits.
struct Batch {
    number: u64,
    frames: Vec<Bytes>,
}

/// Checks the options of a member, and completes them.
pub(super) fn options(options: ServerOptions, cluster: u128) -> Result<ServerOptions> {
    if options.storage.is_some() {
        let problem = "a member of a cluster stores its table in the folder of its node, always with fsync: remove the \
                       storage";
        return Err(Error::new(ErrorKind::InvalidOption, problem));
    }
    Ok(ServerOptions {
        table: Some(cluster),
        ..options
    })
}

/// Starts the node of a member, and creates its hub.
pub(super) async fn start(options: ServerOptions, node: NodeOptions) -> Result<(Hub, Arc<Node>)> {
    let replica = SharedReplica::new(options.limits.clone());
    let patience = node.timing.election_max * 2;
    let folder = node.folder.clone();
    let recovered = Recovered::read(&folder).map_err(|error| {
        let problem = format!(
            "cannot read the file `recovered` of the data folder {}: restore it from a backup",
            folder.display()
        );
        Error::new(ErrorKind::Store, problem).with_source(error)
    })?;
    let node = Arc::new(Node::start(node, Box::new(replica.clone())).await?);
    let member = Member {
        consensus: node.clone(),
        replica,
        progress: watch::Sender::new(Progress { first: 1, done: 0 }),
        to_complete: Notify::new(),
        term: AtomicU64::new(0),
        begun: Notify::new(),
        patience,
        recovered: Mutex::new(recovered),
        folder,
        changing: tokio::sync::Mutex::new(()),
        stop: CancellationToken::new(),
    };
    Ok((Hub::of_member(options, member)?, node))
}

impl Member {
    pub(super) fn no_table(&self) -> Table {
        self.replica.none()
    }

    /// See `Welcome.incarnation`.
    pub(super) fn incarnation(&self) -> u64 {
        locked(&self.recovered).incarnation
    }

    /// Returns for how long clients may hold locks that the table lacks. Zero if they may not.
    pub(super) fn settling(&self) -> Duration {
        locked(&self.recovered).settling
    }

    /// Waits until the grace period that has begun is over, and notes that. Never returns.
    async fn settle(&self) {
        let settling = self.settling();
        if !settling.is_zero() {
            tokio::time::sleep(settling).await;
            info!("the sessions of all earlier clients have ended, and locks are granted again");
            let recovered = Recovered {
                settling: Duration::ZERO,
                ..*locked(&self.recovered)
            };
            *locked(&self.recovered) = recovered;
            if let Err(error) = recovered.write(&self.folder) {
                warn!(%error, "cannot note that the grace period is over: it is repeated at the next start");
            }
        }
        std::future::pending().await
    }

    pub(super) fn leads_in(&self, term: u64) -> bool {
        self.term.load(Ordering::Acquire) == term
    }

    /// Waits for a moment, until this server serves clients or knows another one that leads.
    pub(super) async fn settled(&self) {
        let serves = async {
            loop {
                let mut begun = pin!(self.begun.notified());
                begun.as_mut().enable();
                if !self.leads_in(0) {
                    break;
                }
                begun.await;
            }
        };
        let settled = async {
            tokio::select! {
                biased;
                () = serves => {}
                () = self.consensus.led_by_another() => {}
                () = self.stop.cancelled() => {}
            }
        };
        let _ = tokio::time::timeout(SETTLE, settled).await;
    }

    /// Serves clients in this term.
    fn serve_in(&self, term: u64) {
        self.term.store(term, Ordering::Release);
        self.begun.notify_waiters();
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Returns where clients reach the leader, and a text that says so.
    pub(super) fn leader(&self) -> (String, String) {
        let status = self.consensus.status();
        // This server, if it does not serve yet, or any more, is of no use to a client.
        let leader = status
            .leader
            .filter(|leader| self.leads_in(0) && *leader != self.consensus.id());
        let member = status
            .members
            .iter()
            .find(|member| Some(member.id) == leader);
        match member.map(|member| member.member.clients.clone()) {
            Some(clients) if !clients.is_empty() => {
                let text = format!("this server does not lead its cluster: connect to {clients}");
                (clients, text)
            }
            _ => {
                let text = "this server does not lead its cluster, and knows no other leader: try again, at all \
                            addresses of the cluster";
                (String::new(), text.to_owned())
            }
        }
    }

    /// Returns the name of this member, and where clients reach all members.
    pub(super) fn members(&self) -> (String, Vec<String>) {
        let (id, members) = (self.consensus.id(), self.consensus.status().members);
        let this = members.iter().find(|of| of.id == id);
        let name = this.map(|this| this.member.name.clone());
        let clients = members.into_iter().map(|of| of.member.clients);
        let known = clients.filter(|clients| !clients.is_empty());
        (name.unwrap_or_default(), known.collect())
    }

    /// Ends a visit to the table. Returns the batch that has to be complete before its replies are
    /// sent.
    pub(super) fn end_visit(&self, batches: &mut Batches, table: &mut Table) -> LogPosition {
        if batches.term == 0 {
            return LogPosition::of_batch(0);
        }
        if table.journal().records_len() >= FRAME {
            let frame = table.journal().take_records();
            batches.frames.push(frame.into());
        }
        if !std::mem::replace(&mut batches.is_asked, true) {
            self.to_complete.notify_one();
        }
        LogPosition::of_batch(batches.current)
    }

    /// Waits until a batch is complete.
    ///
    /// # Errors
    /// Its leadership is over.
    pub(super) async fn completed(
        &self,
        position: LogPosition,
    ) -> std::result::Result<(), NotLeading> {
        let batch = position.batch();
        let mut progress = self.progress.subscribe();
        let reached = progress
            .wait_for(|progress| batch < progress.first || batch <= progress.done)
            .await;
        match reached {
            Ok(progress) if batch >= progress.first => Ok(()),
            _ => Err(NotLeading),
        }
    }

    /// Commits the changes of a batch, or has the leadership confirmed if it has none.
    async fn complete(&self, term: u64, batch: &Batch) -> std::result::Result<(), Rejected> {
        if batch.frames.is_empty() {
            return self.confirm(term).await.map(drop);
        }
        for frame in &batch.frames {
            loop {
                match self.consensus.propose(term, frame.clone()).await {
                    Ok(_) => break,
                    // It hands its leadership over, and has not proposed the frame.
                    Err(Rejected::NotLeader { .. }) if self.still_leads(term) => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(why) => return Err(why),
                }
            }
        }
        Ok(())
    }

    /// Returns the index of a confirmation in this term.
    async fn confirm(&self, term: u64) -> std::result::Result<u64, Rejected> {
        loop {
            match self.consensus.confirm().await {
                Ok(confirmed) if confirmed.term == term => return Ok(confirmed.index),
                Ok(_) => return Err(Rejected::NotLeader { leader: None }),
                Err(Rejected::Unconfirmed) => {}
                Err(Rejected::NotLeader { .. }) if self.still_leads(term) => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(why) => return Err(why),
            }
        }
    }

    /// Returns whether the node seems to lead in this term. It can be late, so it proves nothing.
    fn still_leads(&self, term: u64) -> bool {
        let status = self.consensus.status();
        status.term == term && status.leader == Some(self.consensus.id())
    }
}

/// Serves whenever the node leads, until the server stops.
pub(super) async fn serve(hub: Arc<Hub>) {
    let Some(member) = &hub.member else { return };
    member
        .stop
        .run_until_cancelled(serve_terms(&hub, member))
        .await;
    end(&hub, member);
}

async fn serve_terms(hub: &Hub, member: &Member) {
    let mut served = 0;
    while let Ok(term) = member.consensus.elected(served).await {
        // A term is served once: frames of an earlier table of the same term could still be
        // committed.
        let begun = tokio::select! {
            () = member.consensus.deposed(term) => Err(Rejected::NotLeader { leader: None }),
            begun = begin(hub, member, term) => begun,
        };
        match begun {
            Ok(()) => {}
            Err(Rejected::Stopped) => return,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        served = term;
        info!(term, "this server leads its cluster");
        let why = tokio::select! {
            () = member.consensus.deposed(term) => Rejected::NotLeader { leader: None },
            why = complete_batches(hub, member, term) => why,
            () = member.settle() => Rejected::Stopped,
        };
        end(hub, member);
        match why {
            Rejected::NotLeader { .. } => info!(term, "this server does not lead any more"),
            Rejected::Stopped => return,
            why => {
                error!(term, %why, "this server cannot lead: its leadership ends");
                // Another one can, or this one in another term.
                if let Err(why) = member.consensus.step_down().await {
                    error!(%why, "no other server takes over: restart this one");
                }
            }
        }
    }
}

/// Makes the table of a leadership, and begins to serve.
async fn begin(hub: &Hub, member: &Member, term: u64) -> std::result::Result<(), Rejected> {
    let index = member.confirm(term).await?;
    member.consensus.applied(index).await?;
    let replica = member.replica.clone();
    let made = tokio::task::spawn_blocking(move || replica.lead(index)).await;
    let mut table = match made {
        Ok(Ok(table)) => table,
        Ok(Err(why)) => {
            error!(%why, "this server cannot lead");
            return Err(Rejected::Stopped);
        }
        Err(_) => return Err(Rejected::Stopped),
    };
    prepare_isolation(&hub.options, &mut table);
    {
        let mut state = hub.state();
        let Some(batches) = &mut state.batches else {
            return Err(Rejected::Stopped);
        };
        (batches.term, batches.is_suspended) = (term, false);
        let first = batches.current;
        member.progress.send_replace(Progress {
            first,
            done: first - 1,
        });
        state.table = table;
    }
    member.serve_in(term);
    // The last leader may have committed a release, and not the grant that follows from it. The
    // waiters' connections are gone.
    let settling = member.settling();
    hub.visit(|state| match settling {
        Duration::ZERO => state.table.thaw(&mut Vec::new()),
        _ => state.table.freeze(Freeze::Grace {
            until: clock::now().after(settling),
        }),
    });
    if !settling.is_zero() {
        warn!(
            ?settling,
            "locks may have been lost with other members: nothing is granted until their sessions have ended"
        );
    }
    Ok(())
}

/// Completes one batch after another. Returns why the leadership ends.
async fn complete_batches(hub: &Hub, member: &Member, term: u64) -> Rejected {
    loop {
        member.to_complete.notified().await;
        // Other connections visit the table first, so that one round covers all of them.
        tokio::task::yield_now().await;
        let Some(batch) = close(hub) else { continue };
        let mut completing = pin!(member.complete(term, &batch));
        let completed = match tokio::time::timeout(member.patience, &mut completing).await {
            Ok(completed) => completed,
            Err(_) => {
                warn!(
                    term,
                    "no majority confirms that this server leads: its clients are sent away"
                );
                suspend(hub, member, true);
                completing.await
            }
        };
        if let Err(why) = completed {
            return why;
        }
        member
            .progress
            .send_modify(|progress| progress.done = batch.number);
        if !member.leads_in(term) {
            info!(term, "a majority confirms again that this server leads");
            suspend(hub, member, false);
            member.serve_in(term);
        }
    }
}

/// Closes the batch that gathers visits, if it has any.
fn close(hub: &Hub) -> Option<Batch> {
    let mut state = hub.state();
    let state = &mut *state;
    let batches = state.batches.as_mut()?;
    if batches.term == 0 || !std::mem::take(&mut batches.is_asked) {
        return None;
    }
    let mut frames = std::mem::take(&mut batches.frames);
    let last = state.table.journal().take_records();
    if !last.is_empty() {
        frames.push(last.into());
    }
    let number = batches.current;
    batches.current += 1;
    Some(Batch { number, frames })
}

/// Sends all clients away, or lets them come again.
fn suspend(hub: &Hub, member: &Member, is_suspended: bool) {
    if let Some(batches) = &mut hub.state().batches {
        batches.is_suspended = is_suspended;
        if is_suspended {
            // Connections that wait for a batch end too.
            batches.current += 1;
            let first = batches.current;
            member
                .progress
                .send_modify(|progress| progress.first = first);
        }
    }
    if is_suspended {
        member.term.store(0, Ordering::Release);
        hub.wake_connections();
    }
}

/// Ends the leadership: drops the table, and everything that waits for it.
fn end(hub: &Hub, member: &Member) {
    let dropped = {
        let mut state = hub.state();
        let state = &mut *state;
        let Some(batches) = &mut state.batches else {
            return;
        };
        batches.term = 0;
        batches.is_asked = false;
        batches.frames = Vec::new();
        batches.current += 1;
        member.progress.send_replace(Progress {
            first: batches.current,
            done: batches.current - 1,
        });
        state.next_run = Moment::from_nanos(u64::MAX);
        std::mem::replace(&mut state.table, member.no_table())
    };
    member.term.store(0, Ordering::Release);
    hub.wake_connections();
    // Freeing a large table takes long.
    drop(tokio::task::spawn_blocking(move || drop(dropped)));
}
