//! Random commands against an oracle, which implements the same rules in a slow and obvious way.
//!
//! The claims of an ended session stay in the oracle as ghosts until the table has removed them:
//! they still take their places, but they are nobody's and are never granted.

use std::collections::BTreeMap;
use std::time::Duration;

use distsync_core::spi::order::{Position, position};
use distsync_core::spi::{Gone, SessionId, Withdrawn};
use distsync_core::{Mode, Token};
use proptest::prelude::*;

use super::rig::Rig;
use crate::engine::{Command, Refusal, Reply};

/// In ascending order.
const NAMES: [&str; 3] = ["a", "a/b", "b"];
const SESSIONS: u128 = 4;
const CLAIMS: u128 = 12;

#[derive(Clone, Debug)]
enum Step {
    Open(u128),
    Close(u128),
    Renew(u128),
    Enqueue(Wish),
    /// A claim for any number of names, including none, one and all.
    EnqueueAll(Wish),
    Withdraw {
        session: u128,
        claim: u128,
    },
    Evict {
        name: usize,
        claim: u128,
    },
    Pass(u64),
}

#[derive(Clone, Debug)]
struct Wish {
    session: u128,
    claim: u128,
    names: Vec<usize>,
    /// Whether one of the names is enough.
    any: bool,
    mode: Mode,
    waits: bool,
}

fn wish(names: impl Strategy<Value = Vec<usize>>) -> impl Strategy<Value = Wish> {
    let mode = prop_oneof![
        3 => Just(Mode::Exclusive),
        3 => Just(Mode::Shared),
        2 => Just(Mode::Permit { of: 2 }),
        1 => Just(Mode::Permit { of: 3 }),
    ];
    (
        0..SESSIONS,
        0..CLAIMS,
        names,
        any::<bool>(),
        mode,
        any::<bool>(),
    )
        .prop_map(|(session, claim, names, any, mode, waits)| Wish {
            session,
            claim,
            names,
            any,
            mode,
            waits,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let names = prop::sample::subsequence(vec![0, 1, 2], 0..=3);
    prop_oneof![
        2 => (0..SESSIONS).prop_map(Step::Open),
        1 => (0..SESSIONS).prop_map(Step::Close),
        2 => (0..SESSIONS).prop_map(Step::Renew),
        6 => wish((0..NAMES.len()).prop_map(|name| vec![name])).prop_map(Step::Enqueue),
        3 => wish(names).prop_map(Step::EnqueueAll),
        6 => (0..SESSIONS, 0..CLAIMS).prop_map(|(session, claim)| Step::Withdraw { session, claim }),
        1 => (0..NAMES.len(), 0..CLAIMS).prop_map(|(name, claim)| Step::Evict { name, claim }),
        2 => (0u64..6_000).prop_map(Step::Pass),
    ]
}

#[derive(Clone, Debug)]
struct Standing {
    claim: u128,
    session: u128,
    mode: Mode,
    token: Option<Token>,
    /// It waits in more than one queue, and one is enough.
    any: bool,
    /// Which of the sessions with its id the session is.
    life: u64,
    /// The request of a claim whose session has ended.
    ghost: Option<u64>,
}

#[derive(Default)]
struct Oracle {
    now: Duration,
    /// When each session ends, and which of the sessions with its id it is.
    sessions: BTreeMap<u128, (Duration, u64)>,
    lives: u64,
    queues: BTreeMap<usize, Vec<Standing>>,
    newest: Option<Token>,
    /// The requests to close a session that have no reply yet.
    closing: Vec<(u64, u64)>,
}

/// The requests of waiters that the table has to notify that their claim has ended, and the
/// reasons.
type Told = Vec<(u64, Gone)>;

impl Oracle {
    /// Returns the queues that contain a claim, and its positions in them.
    fn positions(&self, claim: u128) -> Vec<(usize, usize)> {
        let is_this = |standing: &Standing| standing.claim == claim && standing.ghost.is_none();
        let position = |queue: &[Standing]| queue.iter().position(is_this);
        self.queues
            .iter()
            .filter_map(|(name, queue)| Some((*name, position(queue)?)))
            .collect()
    }

    fn standing(&self, claim: u128) -> Option<&Standing> {
        self.queues
            .values()
            .flatten()
            .find(|standing| standing.claim == claim && standing.ghost.is_none())
    }

    fn remove(&mut self, claim: u128) -> Option<Standing> {
        let standing = self.standing(claim).cloned();
        self.queues.values_mut().for_each(|queue| {
            queue.retain(|standing| standing.claim != claim || standing.ghost.is_some())
        });
        standing
    }

    /// Returns whether a claim is held in a queue, or is its first waiter and can be granted.
    fn is_granted(&self, (name, index): (usize, usize)) -> bool {
        let queue = &self.queues[&name];
        let modes: Vec<_> = queue
            .iter()
            .map(|standing| (Rig::claim(standing.claim), standing.mode))
            .collect();
        position(&modes, Rig::claim(queue[index].claim)) == Position::Granted
            && queue[..index].iter().all(|ahead| ahead.token.is_some())
    }

    /// Returns whether a waiting claim has to be granted. With `any`, it is granted this name.
    fn is_due(&self, claim: u128, chosen: Option<usize>) -> bool {
        let any = self.standing(claim).expect("granted to nobody").any;
        let mut positions = self.positions(claim).into_iter();
        assert!(chosen.is_none() || any);
        match chosen {
            Some(chosen) => {
                positions.any(|position| position.0 == chosen && self.is_granted(position))
            }
            None if any => positions.any(|position| self.is_granted(position)),
            None => positions.all(|position| self.is_granted(position)),
        }
    }

    /// Makes ghosts of the claims of these sessions.
    fn end_sessions(&mut self, ended: &[u128], rig: &Rig) {
        self.sessions.retain(|session, _| !ended.contains(session));
        for standing in self.queues.values_mut().flatten() {
            if standing.ghost.is_none() && ended.contains(&standing.session) {
                standing.ghost = Some(rig.request_of(standing.claim));
            }
        }
    }

    /// Removes the ghosts for which `is_gone`. Returns who has to be told.
    fn remove_ghosts(&mut self, is_gone: impl Fn(usize, &Standing) -> bool) -> Told {
        let mut told = Vec::new();
        for (name, queue) in &mut self.queues {
            queue.retain(|standing| {
                let Some(request) = standing.ghost.filter(|_| is_gone(*name, standing)) else {
                    return true;
                };
                if standing.token.is_none() {
                    told.push((request, Gone::SessionLost));
                }
                false
            });
        }
        // Each claim once, also if it was in more than one queue.
        told.sort_unstable_by_key(|(request, _)| *request);
        told.dedup_by_key(|(request, _)| *request);
        told
    }

    /// Removes the ghosts that the table has removed.
    fn follow(&mut self, rig: &mut Rig) {
        let left: Vec<Vec<_>> = NAMES.iter().map(|name| rig.ghosts(name)).collect();
        let is_left =
            |name: usize, claim: u128| left[name].iter().any(|(id, _)| *id == Rig::claim(claim));
        let told = self.remove_ghosts(|name, standing| !is_left(name, standing.claim));
        tell(rig, told);
        for (name, left) in left.iter().enumerate() {
            let mine = self.queues.get(&name).into_iter().flatten();
            let mine = mine.filter(|standing| standing.ghost.is_some());
            assert_eq!(mine.count(), left.len(), "ghosts of {name}");
        }
        let queues = &self.queues;
        self.closing.retain(|(request, life)| {
            let Some(reply) = rig.told_to(*request) else {
                return true;
            };
            assert_eq!(reply, Reply::Closed);
            let is_left = queues
                .values()
                .flatten()
                .any(|standing| standing.life == *life);
            assert!(!is_left, "closed before its claims were removed");
            false
        });
    }

    /// Removes the ghost whose id a new claim uses again.
    fn former(&mut self, wish: &Wish) -> Told {
        if !self.sessions.contains_key(&wish.session) {
            return Vec::new();
        }
        self.remove_ghosts(|_, standing| standing.claim == wish.claim)
    }

    fn grant(&mut self, claim: u128, token: Token, chosen: Option<usize>) {
        assert!(Some(token) > self.newest, "tokens rise");
        self.newest = Some(token);
        if let Some(chosen) = chosen {
            for (_, queue) in self.queues.iter_mut().filter(|(name, _)| **name != chosen) {
                queue.retain(|standing| standing.claim != claim || standing.ghost.is_some());
            }
        }
        let standing = self
            .queues
            .values_mut()
            .flatten()
            .filter(|standing| standing.claim == claim && standing.ghost.is_none());
        let hold = |standing: &mut Standing| (standing.token, standing.any) = (Some(token), false);
        assert!(standing.map(hold).count() > 0, "granted to nobody");
    }
}

fn tell(rig: &mut Rig, told: Told) {
    for (request, why) in told {
        assert_eq!(rig.told_to(request), Some(Reply::Gone { why }));
    }
}

/// Runs the steps, each after a number of slices. Without a size, slices are so long that no work
/// is left.
fn run(slice: Option<u32>, steps: &[(Step, u8)]) {
    let mut rig = Rig::with_sessions(0);
    if let Some(slice) = slice {
        rig.set_slice(slice);
    }
    let mut oracle = Oracle::default();
    for (step, slices) in steps {
        for _ in 0..*slices {
            rig.slice();
        }
        // Use up the visit, so that the next command finds what is here now.
        rig.send(Command::Tick);
        oracle.follow(&mut rig);
        settle(&mut rig, &mut oracle);
        let mut told = Vec::new();
        match *step {
            Step::Open(session) => {
                assert_eq!(rig.open(session, session), Reply::Opened { ttl: Rig::TTL });
                oracle.lives += 1;
                let (ends, life) = (oracle.now + Rig::TTL, oracle.lives);
                let open = oracle.sessions.entry(session).or_insert((ends, life));
                open.0 = ends;
            }
            Step::Close(session) => {
                let life = oracle.sessions.get(&session).map(|(_, life)| *life);
                oracle.end_sessions(&[session], &rig);
                let request = rig.send(Command::Close {
                    session: SessionId::from_bits(session),
                });
                // Without a life, the reply waits for an earlier end of the session, if at all.
                oracle.closing.push((request, life.unwrap_or(0)));
            }
            Step::Renew(session) => {
                let reply = rig.renew(session);
                match oracle.sessions.get_mut(&session) {
                    Some((expires, _)) => {
                        *expires = oracle.now + Rig::TTL;
                        assert_eq!(reply, Reply::Renewed { ttl: Rig::TTL });
                    }
                    None => assert_eq!(reply, Reply::Refused(Refusal::SessionUnknown)),
                }
            }
            Step::Pass(millis) => {
                let time = Duration::from_millis(millis);
                oracle.now += time;
                let now = oracle.now;
                let ended: Vec<u128> = oracle
                    .sessions
                    .iter()
                    .filter(|(_, (at, _))| *at <= now)
                    .map(|(id, _)| *id)
                    .collect();
                oracle.end_sessions(&ended, &rig);
                rig.pass(time);
            }
            Step::Withdraw { session, claim } => {
                let reply = rig.withdraw(session, claim);
                let is_own = oracle
                    .standing(claim)
                    .is_some_and(|standing| standing.session == session);
                let found = if is_own { oracle.remove(claim) } else { None };
                told.extend(ended(&rig, &reply, found, Gone::Withdrawn));
            }
            Step::Evict { name, claim } => {
                let reply = rig.evict(NAMES[name], claim);
                let is_here = oracle.positions(claim).iter().any(|(at, _)| *at == name);
                let found = if is_here { oracle.remove(claim) } else { None };
                told.extend(ended(&rig, &reply, found, Gone::Evicted));
            }
            Step::Enqueue(ref wish) => {
                let Wish {
                    session,
                    claim,
                    mode,
                    waits,
                    ..
                } = *wish;
                let name = NAMES[wish.names[0]];
                let former = oracle.former(wish);
                let reply = if waits {
                    rig.acquire(session, claim, name, mode)
                } else {
                    rig.try_acquire(session, claim, name, mode)
                };
                tell(&mut rig, former);
                oracle.follow(&mut rig);
                accept(&mut rig, &mut oracle);
                enqueue(&mut oracle, &reply, wish);
            }
            Step::EnqueueAll(ref wish) => {
                let Wish {
                    session,
                    claim,
                    any,
                    mode,
                    waits,
                    ..
                } = *wish;
                // Repeat the names in another order, and one of them twice.
                let mut names: Vec<_> = wish.names.iter().rev().map(|name| NAMES[*name]).collect();
                names.extend(names.first().copied());
                let former = oracle.former(wish);
                let reply = rig.enqueue_all(session, claim, &names, any, mode, waits);
                tell(&mut rig, former);
                oracle.follow(&mut rig);
                accept(&mut rig, &mut oracle);
                enqueue(&mut oracle, &reply, wish);
            }
        }
        tell(&mut rig, told);
        oracle.follow(&mut rig);
        settle(&mut rig, &mut oracle);
        assert_eq!(rig.told_any(), None, "nobody else is told anything");
        compare(&mut rig, &oracle);
    }
    drain(&mut rig, &mut oracle);
}

/// Checks the reply to the end of a claim. Returns the waiter that has to be notified of it.
fn ended(rig: &Rig, reply: &Reply, found: Option<Standing>, why: Gone) -> Option<(u64, Gone)> {
    let (withdrawn, told) = match found {
        Some(Standing { token: Some(_), .. }) => (Withdrawn::Held, None),
        Some(Standing { claim, .. }) => (Withdrawn::Waiting, Some((rig.request_of(claim), why))),
        None => (Withdrawn::Absent, None),
    };
    assert_eq!(*reply, Reply::Withdrawn(withdrawn));
    told
}

/// Checks that the table grants exactly the claims that the oracle grants, if no work is left.
fn settle(rig: &mut Rig, oracle: &mut Oracle) {
    accept(rig, oracle);
    if rig.has_backlog() {
        return;
    }
    let standing = oracle.queues.values().flatten();
    let waiting = standing.filter(|standing| standing.token.is_none());
    for claim in waiting.map(|standing| standing.claim) {
        assert!(!oracle.is_due(claim, None), "{claim} is left out");
    }
}

/// Checks that the table grants only claims that the oracle grants.
fn accept(rig: &mut Rig, oracle: &mut Oracle) {
    for (token, claim, name) in rig.grants() {
        let chosen = name.map(|name| number_of(&name));
        assert!(
            oracle.is_due(claim, chosen),
            "{claim} holds {chosen:?} out of turn"
        );
        oracle.grant(claim, token, chosen);
    }
}

fn number_of(name: &str) -> usize {
    NAMES
        .iter()
        .position(|known| *known == name)
        .expect("a name that was asked for")
}

fn enqueue(oracle: &mut Oracle, reply: &Reply, wish: &Wish) {
    let Wish {
        session,
        claim,
        ref names,
        any,
        mode,
        waits,
    } = *wish;
    let any = any && names.len() > 1;
    if !oracle.sessions.contains_key(&session) {
        return assert_eq!(*reply, Reply::Refused(Refusal::SessionUnknown));
    }
    let positions = oracle.positions(claim);
    let farthest = positions.iter().map(|(_, index)| *index).max();
    if let Some(standing) = oracle.standing(claim) {
        if let (true, false, Some(token)) = (any, standing.any, standing.token)
            && standing.session == session
            && let [(name, _)] = *positions
            && names.contains(&name)
        {
            return assert_eq!(
                *reply,
                Reply::GrantedAny {
                    token,
                    name: NAMES[name].into()
                }
            );
        }
        let is_same = positions.iter().map(|(name, _)| name).eq(names) && standing.any == any;
        if standing.session != session || !is_same {
            return assert_eq!(*reply, Reply::Refused(Refusal::ClaimTaken));
        }
        return match standing.token {
            Some(token) => assert_eq!(*reply, Reply::Granted { token }),
            None => assert_eq!(Some(reply.position() as usize), farthest),
        };
    }
    if names.is_empty() {
        return assert_eq!(*reply, Reply::Refused(Refusal::NameInvalid));
    }
    for name in names {
        let mut queue = oracle.queues.get(name).into_iter().flatten();
        let permits = queue.find_map(|standing| match standing.mode {
            Mode::Permit { of } => Some(of),
            _ => None,
        });
        if let (Some(of), Mode::Permit { of: wanted }) = (permits, mode)
            && of != wanted
        {
            return assert_eq!(*reply, Reply::Refused(Refusal::PermitsDiffer { of }));
        }
    }
    for name in names {
        oracle.queues.entry(*name).or_default().push(Standing {
            claim,
            session,
            mode,
            token: None,
            any,
            life: oracle.sessions[&session].1,
            ghost: None,
        });
    }
    let positions = oracle.positions(claim);
    if oracle.is_due(claim, None) {
        // The first free name in the order of the request.
        let is_free = |position: &&(usize, usize)| oracle.is_granted(**position);
        let chosen = positions
            .iter()
            .rev()
            .find(is_free)
            .filter(|_| any)
            .map(|(name, _)| *name);
        match (reply, chosen) {
            (Reply::GrantedAny { name, .. }, Some(chosen)) => assert_eq!(number_of(name), chosen),
            (reply, chosen) => assert_eq!(
                (reply, chosen),
                (
                    &Reply::Granted {
                        token: reply.token()
                    },
                    None
                )
            ),
        }
        oracle.grant(claim, reply.token(), chosen);
    } else if waits {
        assert_eq!(
            reply.position() as usize,
            positions.iter().map(|(_, index)| *index).max().unwrap()
        );
    } else {
        oracle.remove(claim);
        assert!(matches!(reply, Reply::Busy { .. }), "{reply:?}");
    }
}

/// Checks that the queues of the table are those of the oracle.
fn compare(rig: &mut Rig, oracle: &Oracle) {
    let mut expiring = 0;
    for (index, name) in NAMES.iter().enumerate() {
        let queue = rig.inspect(name);
        let ghosts = rig.ghosts(name);
        let is_ghost = |claim| ghosts.iter().any(|(ghost, _)| *ghost == claim);
        assert!(
            ghosts
                .iter()
                .filter(|(_, is_dead)| *is_dead)
                .all(|(ghost, _)| queue.entries.iter().all(|entry| entry.claim != *ghost)),
            "the claims of a dead session are not shown"
        );
        expiring += ghosts.iter().filter(|(_, is_dead)| !is_dead).count();
        let shown: Vec<_> = queue
            .entries
            .iter()
            .filter(|entry| !is_ghost(entry.claim))
            .map(|entry| (entry.claim, entry.mode, entry.token))
            .collect();
        assert!(
            shown
                .iter()
                .filter_map(|(.., token)| *token)
                .is_sorted_by(|a, b| a < b),
            "in queue order"
        );
        let expected: Vec<_> = oracle
            .queues
            .get(&index)
            .into_iter()
            .flatten()
            .filter(|standing| standing.ghost.is_none())
            .map(|standing| (Rig::claim(standing.claim), standing.mode, standing.token))
            .collect();
        assert_eq!(shown, expected, "the queue of {name}");
    }
    let stats = rig.stats();
    if !rig.has_backlog() {
        assert_eq!(stats.sessions, oracle.sessions.len());
    }
    let standing = oracle.queues.values().flatten();
    let live = standing.filter(|standing| standing.ghost.is_none()).count();
    assert_eq!(stats.claims, live + expiring);
}

/// Ends all sessions, and checks that nothing is left.
fn drain(rig: &mut Rig, oracle: &mut Oracle) {
    while rig.slice() {}
    oracle.follow(rig);
    accept(rig, oracle);
    for session in 0..SESSIONS {
        let request = rig.send(Command::Close {
            session: SessionId::from_bits(session),
        });
        let life = oracle.sessions.get(&session).map_or(0, |(_, life)| *life);
        oracle.end_sessions(&[session], rig);
        oracle.closing.push((request, life));
        oracle.follow(rig);
        accept(rig, oracle);
    }
    while rig.slice() {}
    oracle.follow(rig);
    assert!(oracle.closing.is_empty(), "every request has a reply");
    assert_eq!(rig.stats(), crate::engine::Stats::default());
    assert_eq!(rig.next_deadline(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn the_table_does_what_the_oracle_does(steps in prop::collection::vec((step(), 0..1u8), 200)) {
        run(None, &steps);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn a_table_that_works_in_slices_does_what_the_oracle_does(
        slice in 1..4u32,
        steps in prop::collection::vec((step(), 0..4u8), 200)
    ) {
        run(Some(slice), &steps);
    }
}
