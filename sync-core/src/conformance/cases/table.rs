//! Random requests at several names, compared with a table of what each of them has to do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::conformance::{Stage, bare};
use crate::spi::backend::{Backend, Claim, Gone, Session, Standing};
use crate::spi::order;
use crate::types::error::{ErrorKind, Result};
use crate::types::ids::ClaimId;
use crate::types::mode::Mode;
use crate::types::queue::Withdrawn;
use crate::types::token::Token;

/// The number of names, which is the number of requests at the same moment.
const NAMES: usize = 8;
const ROUNDS: usize = 40;
/// The TTL of the sessions, which nobody renews: longer than the case.
const TTL: Duration = Duration::from_secs(600);

const MODES: [Mode; 5] = [
    Mode::Exclusive,
    Mode::Exclusive,
    Mode::Shared,
    Mode::Permit { of: 2 },
    Mode::Permit { of: 3 },
];

/// A claim, and where it is from.
#[derive(Clone, Debug)]
struct Known {
    claim: Claim,
    name: usize,
    /// Its session has ended.
    is_dead: bool,
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Enqueue,
    Withdraw,
    Evict,
}

/// The outcome of a request, without what differs from store to store.
#[derive(Debug, PartialEq)]
enum Outcome {
    Granted,
    Waiting(u32),
    Busy,
    Gone(Gone),
    Found(Withdrawn),
    Failed(ErrorKind),
}

impl Outcome {
    fn of_enqueue(standing: &Result<Standing>) -> Self {
        match standing {
            Ok(Standing::Granted { .. } | Standing::GrantedAny { .. }) => Self::Granted,
            Ok(Standing::Waiting { position, .. }) => Self::Waiting(*position),
            Ok(Standing::Busy { .. }) => Self::Busy,
            Ok(Standing::Gone { why }) => Self::Gone(*why),
            Err(error) => Self::Failed(error.kind()),
        }
    }
}

/// The queues as they have to be: the claims of each name in order of arrival.
#[derive(Default)]
struct Table([Vec<(ClaimId, Mode)>; NAMES]);

impl Table {
    fn holders(&self, name: usize) -> usize {
        order::holders(self.0[name].iter().map(|(_, mode)| *mode))
    }

    fn enqueue(&mut self, known: &Known) -> Outcome {
        let Claim {
            id, mode, waits, ..
        } = known.claim;
        let queue = &mut self.0[known.name];
        if let Some(index) = queue.iter().position(|(other, _)| *other == id) {
            return match index < self.holders(known.name) {
                true => Outcome::Granted,
                false => Outcome::Waiting(u32::try_from(index).expect("a short queue")),
            };
        }
        if known.is_dead {
            return Outcome::Gone(Gone::SessionLost);
        }
        if queue.iter().any(|(_, other)| other.contradicts(mode)) {
            return Outcome::Failed(ErrorKind::InvalidOption);
        }
        queue.push((id, mode));
        let position = queue.len() - 1;
        match self.holders(known.name) > position {
            true => Outcome::Granted,
            false if waits => Outcome::Waiting(u32::try_from(position).expect("a short queue")),
            false => {
                self.0[known.name].pop();
                Outcome::Busy
            }
        }
    }

    fn remove(&mut self, known: &Known) -> Outcome {
        let holders = self.holders(known.name);
        let queue = &mut self.0[known.name];
        let index = queue.iter().position(|(id, _)| *id == known.claim.id);
        let Some(index) = index else {
            return Outcome::Found(Withdrawn::Absent);
        };
        queue.remove(index);
        Outcome::Found(match index < holders {
            true => Withdrawn::Held,
            false => Withdrawn::Waiting,
        })
    }

    fn apply(&mut self, request: Request, known: &Known) -> Outcome {
        match request {
            Request::Enqueue => self.enqueue(known),
            Request::Withdraw | Request::Evict => self.remove(known),
        }
    }
}

/// The tokens that a store has given.
#[derive(Default)]
struct Tokens {
    of: HashMap<ClaimId, Token>,
    given: HashSet<(usize, Token)>,
}

impl Tokens {
    /// Records that a claim holds by this token.
    fn note(&mut self, name: usize, claim: ClaimId, token: Token) {
        match self.of.insert(claim, token) {
            Some(known) => assert_eq!(known, token, "expected one token for each grant"),
            None => assert!(
                self.given.insert((name, token)),
                "expected a new token, and {token:?} was given at this name before"
            ),
        }
    }
}

async fn send(backend: &dyn Backend, request: Request, known: &Known) -> (Outcome, Option<Token>) {
    match request {
        Request::Enqueue => {
            let standing = backend.enqueue(&known.claim).await;
            let token = match &standing {
                Ok(Standing::Granted { token }) => Some(*token),
                _ => None,
            };
            (Outcome::of_enqueue(&standing), token)
        }
        Request::Withdraw => found(backend.withdraw(&known.claim).await),
        Request::Evict => found(backend.evict(&known.claim.name, known.claim.id).await),
    }
}

fn found(withdrawn: Result<Withdrawn>) -> (Outcome, Option<Token>) {
    let outcome = withdrawn.map_or_else(|error| Outcome::Failed(error.kind()), Outcome::Found);
    (outcome, None)
}

/// Requests at different names, sent at the same moment by two clients, have the outcomes that the
/// rules of the SPI give them, and leave the queues that follow from them.
pub async fn spi_random_requests_do_what_a_table_does(stage: Stage) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let clients = [stage.backend().await, stage.backend().await];
    let open = async |client: &Arc<dyn Backend>| client.open(&bare::spec(TTL)).await;
    let mut sessions: Vec<(usize, Session)> = Vec::new();
    for client in [0, 0, 1, 1, 1] {
        sessions.push((client, open(&clients[client]).await.expect("a session")));
    }
    let (_, dead) = sessions[4];
    clients[1].close(&dead).await.expect("close");

    let (mut table, mut tokens) = (Table::default(), Tokens::default());
    let mut known: Vec<Known> = Vec::new();
    let can_evict = stage.capabilities().evict;
    for round in 0..ROUNDS {
        // One request for each name, so that no order among them decides.
        let mut requests = Vec::new();
        for name in 0..NAMES {
            // A store may answer anything to the withdrawal of a claim whose session has ended.
            let is_here = |known: &&Known| known.name == name && !known.is_dead;
            let here = || known.iter().filter(is_here);
            let queued: Vec<_> = table.0[name].iter().map(|(id, _)| *id).collect();
            let is_queued = |known: &&Known| queued.contains(&known.claim.id);
            let old: Vec<&Known> = match random.random_range(0..8) {
                0 => here().collect(),
                _ => here().filter(is_queued).collect(),
            };
            let old = old.choose(&mut random).map(|known| (*known).clone());
            // As many leave as arrive, so that names become free again.
            requests.push(match (random.random_range(0..8), old) {
                (0, Some(old)) if can_evict => (Request::Evict, old),
                (0..=3, Some(old)) => (Request::Withdraw, old),
                (4, Some(old)) if queued.contains(&old.claim.id) => (Request::Enqueue, old),
                _ => {
                    let is_dead = random.random_range(0..16) == 0;
                    let session = match is_dead {
                        true => dead,
                        false => sessions[random.random_range(0..4)].1,
                    };
                    let claim = Claim {
                        // It contradicts none, so its session alone decides.
                        mode: match is_dead {
                            true => Mode::Exclusive,
                            false => *MODES.choose(&mut random).expect("a mode"),
                        },
                        // A store may refuse a try without looking at its session.
                        waits: is_dead || random.random_range(0..3) > 0,
                        ..stage.claim(session, &format!("name {name}"))
                    };
                    let new = Known {
                        claim,
                        name,
                        is_dead,
                    };
                    known.push(new.clone());
                    (Request::Enqueue, new)
                }
            });
        }
        for (_, known) in &mut requests {
            known.claim.token = tokens.of.get(&known.claim.id).copied();
        }
        let sent = requests.iter().map(|(request, known)| {
            let session = known.claim.session.id;
            let own = sessions
                .iter()
                .find(|(_, session_of)| session_of.id == session);
            send(&*clients[own.expect("a session").0], *request, known)
        });
        let seen = join_all(sent).await;
        for ((request, known), (seen, token)) in requests.iter().zip(seen) {
            let expected = table.apply(*request, known);
            assert_eq!(
                seen, expected,
                "{request:?} of {known:?}: expected {expected:?} in round {round}, seed {seed}"
            );
            if let Some(token) = token {
                tokens.note(known.name, known.claim.id, token);
            }
        }
        let names = (0..NAMES).map(|name| format!("name {name}"));
        let queues = names.map(|name| {
            let (client, name) = (clients[round % 2].clone(), stage.claim(dead, &name).name);
            async move { client.queue(&name).await.expect("queue") }
        });
        for (name, queue) in join_all(queues).await.into_iter().enumerate() {
            let entries = queue.entries.iter();
            let seen: Vec<_> = entries.map(|entry| (entry.claim, entry.mode)).collect();
            assert_eq!(
                seen, table.0[name],
                "expected this queue of name {name} after round {round}, seed {seed}"
            );
            let holders: Vec<_> = queue.holders().collect();
            assert_eq!(
                holders.len(),
                table.holders(name),
                "expected as many holders of name {name} after round {round}, seed {seed}"
            );
            for holder in holders {
                let token = holder.token.expect("a holder has a token");
                tokens.note(name, holder.claim, token);
            }
        }
    }
    for (client, session) in &sessions[..4] {
        clients[*client].close(session).await.expect("close");
    }
}
