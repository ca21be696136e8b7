//! The faults.

/// A fault of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Sessions of crashed clients expire only after a day.
    NeverExpires,
    /// Sessions expire after half of the TTL that was granted.
    ExpiresEarly,
    /// An exclusive claim is granted although it has to wait.
    GrantsTwice,
    /// A reader is granted although it has to wait.
    ReadersBarge,
    /// Later grants have smaller tokens.
    TokensFall,
    /// All grants have the same token.
    RepeatsTokens,
    /// A release is confirmed but not carried out.
    IgnoresReleases,
    /// A release ends the holder of the name, even if it is another claim.
    ReleasesAnyHolder,
    /// The withdrawal of a waiter is confirmed but not carried out.
    KeepsCancelledWaiters,
    /// A try that finds the name busy remains in the queue.
    TryStays,
    /// A claim whose session has ended is granted.
    GrantsEndedSessions,
    /// A repeated request creates another claim.
    RepeatsClaims,
    /// The part of a name after a `/` is ignored.
    SharesNames,
    /// A lock and an election with the same name share a queue.
    MixesKinds,
    /// Observers are not notified when a name becomes free.
    HidesVacancy,
    /// The update of a holder's value is confirmed but not carried out.
    DropsValues,
    /// Semaphores grant one permit more than their number.
    OnePermitTooMany,
    /// A claim of several names only acquires the first.
    TakesOnlyTheFirst,
    /// An evicted holder is not notified.
    HidesEvictions,
    /// A claim is granted if an earlier read found the queue empty: read and grant are not atomic.
    DecidesOnStaleState,
    /// A waiter that is granted while it is withdrawn is not released.
    KeepsRacingGrants,
    /// Not every change raises the revision.
    CoarseRevisions,
    /// A renewal revives a session that has ended.
    RevivesSessions,
    /// The last character of a prefix matches anything.
    ListsStrangers,
    /// An eviction is reported again and again.
    RepeatsEvictions,
    /// A waiter is told that it is next, wherever it is in the queue.
    MiscountsPositions,
    /// A session is used by those that know its id alone.
    IgnoresSecrets,
    /// A withdrawal of a waiter says that the claim was held.
    MisreportsWithdrawals,
    /// The end of a session is confirmed but not carried out. It ends by its TTL.
    IgnoresClose,
    /// An eviction is confirmed but not carried out.
    IgnoresEvictions,
    /// An eviction for which no call waits is not reported.
    MissesEvictions,
    /// A waiter is not notified of its grant.
    HidesGrants,
    /// A waiter loses its position once others have joined the queue.
    ShufflesWaiters,
    /// A permit is granted although the semaphore has another number of permits.
    AcceptsOtherPermits,
    /// A session outlives its last connection although it was opened to end with it.
    HoldsAfterDisconnect,
    /// A repeated request to open a session is refused.
    OpensOnce,
}
