//! Tests that replies are the same, however long their queues are and however they are written.

use std::time::Duration;

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_core::{Mode, Token};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::engine::{Command, Limits, LockTable, Requester, Terms};
use crate::wire::reply::{from_reply, to_reply};
use crate::wire::{encode, proto};

/// Returns the reply to a request for a queue, with claims whose values have these lengths.
fn queue(claims: &[(u128, usize, bool)], client: &str, age: Duration) -> Reply {
    let mut table = LockTable::new(Limits::default(), Token::new(1 << 40).unwrap());
    let (now, mut effects) = (Moment::default(), Vec::new());
    let session = SessionId::from_bits(3);
    let mut ask =
        |now, command: Command<'_>| table.apply(now, Requester::HOST, command, &mut effects);
    ask(
        now,
        Command::Open {
            session,
            secret: Secret::from_bits(1),
            terms: Terms::lasting(Duration::from_secs(80_000)),
            client,
            isolation: b"",
        },
    );
    for (claim, value, is_permit) in claims {
        let mode = match is_permit {
            true => Mode::Permit { of: 300 },
            false => Mode::Exclusive,
        };
        let value = vec![7; *value];
        ask(
            now,
            Command::Enqueue {
                session,
                claim: ClaimId::from_bits(*claim),
                name: b"a",
                mode,
                waits: true,
                value: &value,
            },
        );
    }
    ask(now.after(age), Command::Inspect { name: "a" }).expect("a queue")
}

/// Returns what is written if each write takes `step` bytes.
fn written(out: &mut Outgoing, step: usize) -> Vec<u8> {
    let (length, mut all) = (out.encode(), Vec::new());
    loop {
        let (pieces, count) = out.pieces::<3>(all.len());
        let before = all.len();
        for piece in &pieces[..count] {
            let left = step - (all.len() - before);
            all.extend_from_slice(&piece[..left.min(piece.len())]);
        }
        if all.len() == before {
            assert_eq!(all.len(), length);
            return all;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn queues_are_written_as_by_the_generic_codec(
        queues in prop::collection::vec(
            (
                prop::collection::vec((any::<u128>(), 0usize..900, any::<bool>()), 0..20),
                "\\PC{0,20}",
                0u64..70_000_000,
                1u64..,
            ),
            1..4,
        ),
        step in 1usize..3_000,
    ) {
        let (mut out, mut generic) = (Outgoing::default(), Vec::new());
        for (claims, client, age, id) in queues {
            let reply = queue(&claims, &client, Duration::from_millis(age));
            let response = from_reply(id, reply.clone());
            encode(&response, &mut generic);
            prop_assert_eq!(to_reply(response.body.unwrap()), Some(reply.clone()));
            out.push(id, reply);
            out.push(id, Reply::Attached);
            encode(&from_reply(id, Reply::Attached), &mut generic);
        }
        prop_assert!(out.size() + 40 >= generic.len(), "an upper bound");
        prop_assert_eq!(written(&mut out, step), generic);
        out.clear(0);
        prop_assert!(out.is_empty() && out.encode() == 0);
    }
}

#[test]
fn replies_share_the_bytes_of_a_long_queue() {
    let claims: Vec<_> = (1..100).map(|claim| (claim, 500, false)).collect();
    let reply = queue(&claims, "client", Duration::ZERO);
    let mut outs = [(); 3].map(|()| Outgoing::default());
    let bodies: Vec<_> = outs
        .iter_mut()
        .enumerate()
        .map(|(id, out)| {
            out.push(id as u64 + 1, reply.clone());
            out.encode();
            assert!(out.own_size() < 16, "only the head");
            out.queues().next().expect("a queue").as_ptr()
        })
        .collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    let mut frame = written(&mut outs[1], 1_000);
    let response = proto::Response::decode(&*frame.split_off(4)).unwrap();
    assert_eq!(
        (response.id, to_reply(response.body.unwrap())),
        (2, Some(reply))
    );
}
