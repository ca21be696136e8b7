//! Watchers that do not read in time.

use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::{self, response::Body};

use super::raw::{Raw, enqueue, id, session};
use super::server::Netlockd;

const NAMES: u64 = 100;
/// The claims of each watched name, and of the long queue.
const CLAIMS: u64 = 20;
const LONG: u64 = 1_000;
const ROUNDS: u64 = 30;

fn name(number: u64) -> String {
    format!("name {number}")
}

fn inspect(name: &str) -> Request {
    Request::Inspect(proto::Inspect {
        name: name.to_owned().into(),
    })
}

fn watch(number: u64, after: u64) -> Request {
    Request::Changed(proto::Changed {
        name: name(number).into(),
        after,
    })
}

/// Queues a claim whose value has 1 KiB.
fn fill(raw: &mut Raw, claim: u64, name: &str) {
    let Request::Enqueue(mut request) = enqueue(1, claim, name) else {
        unreachable!()
    };
    request.value = vec![b'v'; 1_024].into();
    raw.send(Request::Enqueue(request));
}

fn queue(answer: Body) -> proto::Queue {
    match answer {
        Body::Queue(queue) => queue,
        other => panic!("{other:?}"),
    }
}

/// The queues of many names change again and again while the client that watches them does not
/// read. It is not cut off when it reads in the end, and has no backlog: each watch has one reply,
/// and the replies for which there was no room have the newest queue.
#[test]
fn a_client_that_is_behind_gets_the_newest_queues() {
    // Less than half of what all queues take at one moment. They have changed thirty times.
    const LIMIT: usize = 16 << 20;
    let server = Netlockd::start(&[]);
    let mut good = Raw::connect(server.address());
    good.open(session());
    for claim in 0..LONG {
        fill(&mut good, NAMES * CLAIMS + claim + 1, "long");
        good.answer();
    }
    for number in 0..NAMES {
        for claim in 0..CLAIMS {
            fill(&mut good, number * CLAIMS + claim + 1, &name(number));
            good.answer();
        }
    }
    let mut slow = Raw::connect(server.address());
    for number in 0..NAMES {
        let known = queue(slow.ask(inspect(&name(number)))).revision;
        slow.send(watch(number, known));
    }
    // The watches are registered. Then more is written than the buffers of the kernel hold.
    slow.ask(Request::Ping(proto::Ping {}));
    server.forget_peak();
    let before = server.resident();
    const INSPECTIONS: u64 = 16;
    for _ in 0..INSPECTIONS {
        slow.send(inspect("long"));
    }
    slow.wait_until_full(32 << 10);
    for round in 0..ROUNDS {
        for number in 0..NAMES {
            good.send(Request::Update(proto::Update {
                session: 1,
                claim: id(number * CLAIMS + 1),
                value: vec![u8::try_from(round).unwrap(); 1_024].into(),
            }));
        }
        for _ in 0..NAMES {
            assert!(matches!(good.answer(), Body::Updated(_)));
        }
    }
    let most = server.peak().saturating_sub(before);
    assert!(most < LIMIT, "{} MiB for queues", most >> 20);
    let (mut long, mut newest) = (0, 0);
    for _ in 0..INSPECTIONS + NAMES {
        let queue = queue(slow.answer());
        if queue.entries.len() as u64 == LONG {
            long += 1;
        } else if queue.entries[0].value[0] == u8::try_from(ROUNDS - 1).unwrap() {
            newest += 1;
        }
    }
    assert_eq!(long, INSPECTIONS);
    assert!(newest > NAMES / 3, "{newest} replies have the newest queue");
    // A watch that knows an older queue gets the newest at once, and then waits.
    slow.send(watch(0, 1));
    let known = queue(slow.answer());
    assert_eq!(u64::from(known.entries[0].value[0]), ROUNDS - 1);
    slow.send(watch(0, known.revision));
    assert!(matches!(
        slow.ask(Request::Ping(proto::Ping {})),
        Body::Pong(_)
    ));
}
