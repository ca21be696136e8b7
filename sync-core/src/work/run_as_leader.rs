//! Campaigning, working and resigning, again and again.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::locks::traits::Leader;
use crate::session::call::pause_briefly;
use crate::spi::clock;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::loss::Loss;
use crate::types::nonce::jitter;
use crate::work::bounded::{before, while_held};
use crate::work::term::Term;

/// The first pause after a failed campaign; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Short enough that a candidate is back soon after an outage, and long enough that a thousand
/// candidates are no load meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Campaigns, runs `work` in each term, and campaigns again after a loss, until the work ends by
/// itself or `shutdown` resolves.
///
/// Returns the output of the work, or `None` if the shutdown came while this candidate was not
/// leader or the work did not stop in time.
///
/// # Stopping
///
/// The work gets a [`Term`]. [`Term::stopping`] tells it to stop, and the work should then end in
/// order. If it does not, it is dropped:
///
/// | reason | the work has | then |
/// |---|---|---|
/// | `shutdown` | what is left of the lease at that moment; renewals continue meanwhile | resigns and returns |
/// | a renewal was missed | the margin between the revocation and the end of the lease (10 % of the TTL, at least 250 ms, at most a third) | campaigns again |
/// | another loss, such as an eviction | no time: the store may have elected another leader already | campaigns again |
/// | the work [resigned](crate::Elected::resign) | no time, for the same reason | campaigns again, behind the candidates that wait |
///
/// Dropping a future stops it at its current `.await`. Code that blocks a thread, and tasks that
/// the work has spawned, continue: let them look at [`Term::stop_reason`], and present the
/// [token](crate::Elected::token) to the resource.
///
/// If the work ends while the leadership is held, the leader resigns and the output is returned.
/// The output of a term that was lost is discarded.
///
/// Hand in the signals that end the process as `shutdown`, for instance `tokio::signal::ctrl_c()`.
/// A process that ends without resigning delays the next election by the whole TTL.
/// [`std::future::pending::<()>()`](std::future::pending) never shuts down.
///
/// # Campaigns
///
/// A campaign that fails because the store is unreachable, because the wait limit of the options
/// is over, or because an operator removed the candidate is repeated after a random pause of up to
/// 5 s. After a lost term, the next campaign begins at once.
///
/// # Errors
/// As [`Leader::elect`], for errors that do not pass by themselves, such as
/// [`Denied`](ErrorKind::Denied), [`Isolated`](ErrorKind::Isolated) and
/// [`Closed`](ErrorKind::Closed).
///
/// # Cancel safety
/// When the future is dropped, the work is dropped and the leader resigns in the background.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use distsync_core::{DynSync, LeaderOptions, Node, Result, Term, run_as_leader};
/// # async fn schedule(_: distsync_core::Token) {}
/// async fn serve(sync: &DynSync, shutdown: impl Future) -> Result<()> {
///     let leader = sync.leader("scheduler", LeaderOptions::new(Node::new("node-1")))?;
///     run_as_leader(&*leader, shutdown, async |term: Term| {
///         while term.stop_reason().is_none() {
///             schedule(term.token()).await;
///             tokio::select! {
///                 reason = term.stopping() => println!("stopping: {reason:?}"),
///                 () = tokio::time::sleep(Duration::from_secs(1)) => {}
///             }
///         }
///     })
///     .await?;
///     Ok(())
/// }
/// ```
pub async fn run_as_leader<W: Future>(
    leader: &dyn Leader,
    shutdown: impl Future,
    mut work: impl FnMut(Term) -> W,
) -> Result<Option<W::Output>> {
    let mut shutdown = pin!(shutdown);
    let mut pause = FIRST_PAUSE;
    loop {
        let campaign = tokio::select! {
            biased;
            _ = shutdown.as_mut() => return Ok(None),
            campaign = leader.elect() => campaign,
        };
        let wait = match campaign {
            Ok(elected) => {
                pause = FIRST_PAUSE;
                let term = Term::new(elected);
                let _resigned = ResignsAtTheEnd(&term);
                // The work is dropped before the leader resigns.
                let end = {
                    let work = pin!(work(term.clone()));
                    lead(&term, shutdown.as_mut(), work).await
                };
                resign(leader, &term).await;
                match end {
                    TermEnd::Ended(output) => return Ok(Some(output)),
                    TermEnd::ShutDown => return Ok(None),
                    TermEnd::Lost(loss) => {
                        info!(name = leader.id(), %loss, "no longer leader: campaigning again");
                    }
                }
                None
            }
            Err(error) if passes(&error) => {
                match error.kind() {
                    ErrorKind::Timeout | ErrorKind::Contended => {
                        debug!(name = leader.id(), %error, "not elected: campaigning again");
                    }
                    _ => warn!(name = leader.id(), %error, "cannot campaign: trying again"),
                }
                let wait = pause.mul_f64(0.5 + jitter() / 2.0);
                pause = (pause * 2).min(LONGEST_PAUSE);
                Some(wait)
            }
            Err(error) => return Err(error),
        };
        let waiting = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => pause_briefly().await,
            }
        };
        tokio::select! {
            biased;
            _ = shutdown.as_mut() => return Ok(None),
            () = waiting => {}
        }
    }
}

/// How a term ended.
enum TermEnd<T> {
    /// The work ended while the leadership was held.
    Ended(T),
    /// The caller shut down, and the work did not end in time.
    ShutDown,
    /// The leadership was lost before the work ended.
    Lost(Loss),
}

/// Runs the work of one term, which is not polled after this returns.
async fn lead<W: Future>(
    term: &Term,
    shutdown: Pin<&mut impl Future>,
    mut work: Pin<&mut W>,
) -> TermEnd<W::Output> {
    let ended = tokio::select! {
        biased;
        _ = shutdown => None,
        ended = while_held(term.hold(), work.as_mut()) => Some(ended),
    };
    match ended {
        Some(Ok(output)) => TermEnd::Ended(output),
        Some(Err(loss)) => {
            wind_down(term, loss, work).await;
            TermEnd::Lost(loss)
        }
        None => {
            let deadline = clock::now().after(term.remaining());
            term.shut_down();
            let ended = {
                let stopping = pin!(while_held(term.hold(), work.as_mut()));
                before(deadline, stopping).await
            };
            match ended {
                Some(Ok(output)) => TermEnd::Ended(output),
                Some(Err(loss)) => {
                    wind_down(term, loss, work).await;
                    TermEnd::ShutDown
                }
                None => TermEnd::ShutDown,
            }
        }
    }
}

/// Gives the work the time for which the store certainly elects no other leader.
async fn wind_down<W: Future>(term: &Term, loss: Loss, work: Pin<&mut W>) {
    if before(term.hold().kept_until(loss), work).await.is_none() {
        debug!(token = %term.token(), %loss, "the work of a leader was dropped: it did not stop in time");
    }
}

async fn resign(leader: &dyn Leader, term: &Term) {
    if let Err(error) = term.resign().await {
        debug!(name = leader.id(), %error, "cannot resign yet: the keeper continues");
    }
}

/// Whether the same campaign may succeed later.
fn passes(error: &Error) -> bool {
    let kind = error.kind();
    error.is_retryable()
        || matches!(
            kind,
            ErrorKind::Timeout | ErrorKind::Contended | ErrorKind::NotHeld
        )
}

/// Resigns in the background when it is dropped, even if the work has kept its term.
struct ResignsAtTheEnd<'a>(&'a Term);

impl Drop for ResignsAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.resign_in_the_background();
    }
}
