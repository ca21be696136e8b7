//! Random commands against an oracle: the same rules, written the slow and obvious way.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use sync_core::backend::{Gone, Withdrawn};
use sync_core::order::{Place, place};
use sync_core::{Mode, Token};

use super::rig::Rig;
use crate::engine::{Command, Refusal, Reply};

const NAMES: [&str; 3] = ["a", "b", "a/b"];
const SESSIONS: u128 = 4;
const CLAIMS: u128 = 12;

#[derive(Clone, Debug)]
enum Step {
    Open(u128),
    Close(u128),
    Renew(u128),
    Enqueue { session: u128, claim: u128, name: usize, mode: Mode, waits: bool },
    Withdraw { session: u128, claim: u128 },
    Evict { name: usize, claim: u128 },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![
        3 => Just(Mode::Exclusive),
        3 => Just(Mode::Shared),
        2 => Just(Mode::Permit { of: 2 }),
        1 => Just(Mode::Permit { of: 3 }),
    ];
    prop_oneof![
        2 => (0..SESSIONS).prop_map(Step::Open),
        1 => (0..SESSIONS).prop_map(Step::Close),
        2 => (0..SESSIONS).prop_map(Step::Renew),
        8 => (0..SESSIONS, 0..CLAIMS, 0..NAMES.len(), mode, any::<bool>())
            .prop_map(|(session, claim, name, mode, waits)| Step::Enqueue { session, claim, name, mode, waits }),
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
}

#[derive(Default)]
struct Oracle {
    now: Duration,
    sessions: BTreeMap<u128, Duration>,
    lines: BTreeMap<usize, Vec<Standing>>,
    newest: Option<Token>,
}

/// Which waiters the table is to tell that their claim is gone, and why.
type Told = Vec<(u128, Gone)>;

impl Oracle {
    fn position(&self, claim: u128) -> Option<(usize, usize)> {
        self.lines.iter().find_map(|(name, line)| {
            line.iter().position(|standing| standing.claim == claim).map(|index| (*name, index))
        })
    }

    fn is_granted(line: &[Standing], index: usize) -> bool {
        let modes: Vec<_> = line.iter().map(|standing| (Rig::claim(standing.claim), standing.mode)).collect();
        place(&modes, Rig::claim(line[index].claim)) == Place::Granted
    }

    fn end_sessions(&mut self, ended: &[u128]) -> Told {
        let mut told = Vec::new();
        self.sessions.retain(|session, _| !ended.contains(session));
        for line in self.lines.values_mut() {
            let lost = |standing: &Standing| ended.contains(&standing.session);
            let waiting = line.iter().filter(|standing| lost(standing) && standing.token.is_none());
            told.extend(waiting.map(|standing| (standing.claim, Gone::SessionLost)));
            line.retain(|standing| !lost(standing));
        }
        told
    }

    /// Those who hold now and did not before.
    fn newly_granted(&self) -> Vec<u128> {
        let mut granted = Vec::new();
        for line in self.lines.values() {
            let fresh = (0..line.len())
                .filter(|index| line[*index].token.is_none() && Self::is_granted(line, *index));
            granted.extend(fresh.map(|index| line[index].claim));
        }
        granted
    }

    fn grant(&mut self, claim: u128, token: Token) {
        assert!(Some(token) > self.newest, "tokens rise");
        self.newest = Some(token);
        let (name, index) = self.position(claim).expect("granted to nobody");
        self.lines.get_mut(&name).unwrap()[index].token = Some(token);
    }
}

fn run(steps: &[Step]) {
    let mut rig = Rig::with_sessions(0);
    let mut oracle = Oracle::default();
    for step in steps {
        let mut told = Vec::new();
        match *step {
            Step::Open(session) => {
                assert_eq!(rig.open(session, session), Reply::Opened { ttl: Rig::TTL });
                oracle.sessions.insert(session, oracle.now + Rig::TTL);
            }
            Step::Close(session) => {
                assert_eq!(rig.close(session), Reply::Closed);
                told = oracle.end_sessions(&[session]);
            }
            Step::Renew(session) => {
                let reply = rig.renew(session);
                match oracle.sessions.get_mut(&session) {
                    Some(expires) => {
                        *expires = oracle.now + Rig::TTL;
                        assert_eq!(reply, Reply::Renewed { ttl: Rig::TTL });
                    }
                    None => assert_eq!(reply, Reply::Refused(Refusal::SessionUnknown)),
                }
            }
            Step::Pass(millis) => {
                let time = Duration::from_millis(millis);
                oracle.now += time;
                rig.pass(time);
                let now = oracle.now;
                let ended: Vec<u128> =
                    oracle.sessions.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
                told = oracle.end_sessions(&ended);
            }
            Step::Withdraw { session, claim } => {
                let reply = rig.withdraw(session, claim);
                let own = oracle
                    .position(claim)
                    .filter(|(name, index)| oracle.lines[name][*index].session == session);
                let expected = match own {
                    Some((name, index)) => {
                        let standing = oracle.lines.get_mut(&name).unwrap().remove(index);
                        match standing.token {
                            Some(_) => Withdrawn::Held,
                            None => {
                                told.push((claim, Gone::Withdrawn));
                                Withdrawn::Waiting
                            }
                        }
                    }
                    None => Withdrawn::Absent,
                };
                assert_eq!(reply, Reply::Withdrawn(expected));
            }
            Step::Evict { name, claim } => {
                let reply = rig.evict(NAMES[name], claim);
                let expected = match oracle.position(claim).filter(|(at, _)| *at == name) {
                    Some((name, index)) => {
                        let standing = oracle.lines.get_mut(&name).unwrap().remove(index);
                        match standing.token {
                            Some(_) => Withdrawn::Held,
                            None => {
                                told.push((claim, Gone::Evicted));
                                Withdrawn::Waiting
                            }
                        }
                    }
                    None => Withdrawn::Absent,
                };
                assert_eq!(reply, Reply::Withdrawn(expected));
            }
            Step::Enqueue { session, claim, name, mode, waits } => {
                let reply = if waits {
                    rig.acquire(session, claim, NAMES[name], mode)
                } else {
                    rig.try_acquire(session, claim, NAMES[name], mode)
                };
                enqueue(&mut oracle, &reply, session, claim, name, mode, waits);
            }
        }
        for (claim, why) in told {
            assert_eq!(rig.told(claim), Reply::Gone { why });
        }
        settle(&mut rig, &mut oracle);
        assert_eq!(rig.told_any(), None, "nobody else is told anything");
        compare(&mut rig, &oracle);
    }
    drain(&mut rig);
}

/// The waiters that the oracle finds granted are told so by the table, those of one name in line order.
fn settle(rig: &mut Rig, oracle: &mut Oracle) {
    let granted = oracle.newly_granted();
    let mut told: Vec<_> = granted.iter().map(|claim| (rig.told(*claim).token(), *claim)).collect();
    let in_line_order = |(_, earlier): &(Token, u128), (_, later): &(Token, u128)| {
        let (earlier, later) = (oracle.position(*earlier).unwrap(), oracle.position(*later).unwrap());
        earlier.0 != later.0 || earlier.1 < later.1
    };
    told.sort_unstable();
    assert!(told.is_sorted_by(in_line_order));
    for (token, claim) in told {
        oracle.grant(claim, token);
    }
}

fn enqueue(
    oracle: &mut Oracle,
    reply: &Reply,
    session: u128,
    claim: u128,
    name: usize,
    mode: Mode,
    waits: bool,
) {
    if !oracle.sessions.contains_key(&session) {
        return assert_eq!(*reply, Reply::Refused(Refusal::SessionUnknown));
    }
    if let Some((at, index)) = oracle.position(claim) {
        let standing = &oracle.lines[&at][index];
        if at != name || standing.session != session {
            return assert_eq!(*reply, Reply::Refused(Refusal::ClaimTaken));
        }
        return match standing.token {
            Some(token) => assert_eq!(*reply, Reply::Granted { token }),
            None => assert_eq!(reply.position() as usize, index),
        };
    }
    let line = oracle.lines.entry(name).or_default();
    let permits = line.iter().find_map(|standing| match standing.mode {
        Mode::Permit { of } => Some(of),
        _ => None,
    });
    if let (Some(of), Mode::Permit { of: wanted }) = (permits, mode)
        && of != wanted
    {
        return assert_eq!(*reply, Reply::Refused(Refusal::PermitsDiffer { of }));
    }
    line.push(Standing { claim, session, mode, token: None });
    let index = line.len() - 1;
    if Oracle::is_granted(line, index) {
        oracle.grant(claim, reply.token());
    } else if waits {
        assert_eq!(reply.position() as usize, index);
    } else {
        line.pop();
        assert!(matches!(reply, Reply::Busy { .. }), "{reply:?}");
    }
}

/// The table shows exactly the oracle's lines.
fn compare(rig: &mut Rig, oracle: &Oracle) {
    let mut seen = HashSet::new();
    for (index, name) in NAMES.iter().enumerate() {
        let shown: Vec<_> = rig
            .inspect(name)
            .entries
            .iter()
            .map(|entry| (entry.claim, entry.mode, entry.token))
            .inspect(|(claim, ..)| assert!(seen.insert(*claim), "a claim stands twice"))
            .collect();
        let expected: Vec<_> = oracle
            .lines
            .get(&index)
            .into_iter()
            .flatten()
            .map(|standing| (Rig::claim(standing.claim), standing.mode, standing.token))
            .collect();
        assert_eq!(shown, expected, "the line of {name}");
    }
    assert_eq!(rig.stats().sessions, oracle.sessions.len());
}

/// After all sessions have ended nothing is left.
fn drain(rig: &mut Rig) {
    rig.send(Command::Tick);
    for session in 0..SESSIONS {
        rig.close(session);
    }
    assert_eq!(rig.stats(), crate::engine::Stats::default());
    assert_eq!(rig.next_deadline(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn the_table_does_what_the_oracle_does(steps in prop::collection::vec(step(), 200)) {
        run(&steps);
    }
}
