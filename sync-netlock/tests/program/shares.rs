//! Fair shares of limits: a principal or a stranger that uses up its share does not exclude others.

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_netlock::wire::proto::refused::{Bound, Code};
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use distsync_netlock::wire::{VERSION, proto};

use super::access::{PRINCIPALS, token_line};
use super::raw::{Raw, enqueue, id, session};
use super::server::Netlockd;

/// Starts a server with these limits. Each of its principals may acquire and observe every name.
fn start(folder: &Path, limits: &str) -> Netlockd {
    let (tokens, config) = (folder.join("tokens"), folder.join("netlockd.toml"));
    std::fs::write(&tokens, PRINCIPALS.map(token_line).concat()).unwrap();
    let permission = |principal| {
        format!(
            "[[permissions]]\nprincipal = '{principal}'\nprefix = ''\nverbs = ['acquire', 'observe']\n"
        )
    };
    let text = format!(
        "tokens = '{}'\n{}[limits]\n{limits}",
        tokens.display(),
        PRINCIPALS.map(permission).concat()
    );
    std::fs::write(&config, text).unwrap();
    Netlockd::start(&["--config", config.to_str().unwrap()])
}

fn connect(server: &Netlockd, principal: &str) -> Raw {
    Raw::connect_with(server.address(), &format!("token-of-{principal}"))
}

fn open(number: u32, session_id: u64) -> Request {
    Request::Open(proto::Open {
        session: number,
        id: id(session_id),
        ..session()
    })
}

fn watch(name: &str) -> Request {
    let name = name.to_owned().into();
    Request::Changed(proto::Changed {
        name,
        after: u64::MAX,
    })
}

fn inspect(name: &str) -> Request {
    let name = name.to_owned().into();
    Request::Inspect(proto::Inspect { name })
}

fn bound(response: &Response) -> Option<Bound> {
    match response {
        Response::Refused(refused) if refused.code() == Code::TooMany => Some(refused.bound()),
        _ => None,
    }
}

/// One principal uses up its sessions, claims, entries of one queue, names and watches.
#[test]
fn a_principal_that_uses_up_its_limits_does_not_exclude_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(
        folder.path(),
        "sessions = 20\nsessions_per_principal = 10\nclaims_per_name = 12\n\
         claims_per_name_and_principal = 6\nclaims_per_principal = 40\n\
         watches_per_principal = 40\nnames = 100\n",
    );
    let mut greedy = connect(&server, "worker");
    // Request more until a limit is reached.
    let mut exhaust = |what: Bound, mut request: Box<dyn FnMut(u64) -> Request>| {
        let refusal = (1..=60).find_map(|number| bound(&greedy.ask(request(number))));
        assert_eq!(refusal, Some(what));
    };
    let sessions = |number| open(u32::try_from(number).unwrap(), 1_000 + number);
    exhaust(Bound::SessionsPerPrincipal, Box::new(sessions));
    let one_queue = |number| enqueue(1, number, "popular");
    exhaust(Bound::ClaimsPerNameAndPrincipal, Box::new(one_queue));
    let names = |number| enqueue(1, 100 + number, &format!("name-{number}"));
    exhaust(Bound::ClaimsPerPrincipal, Box::new(names));
    // A watch has no reply without a change, so the only reply is the refusal.
    for number in 0..=40 {
        greedy.send(watch(&format!("watched-{number}")));
    }
    assert_eq!(bound(&greedy.answer()), Some(Bound::WatchesPerPrincipal));

    let mut other = connect(&server, "observer");
    for number in 1..=10 {
        let opened = other.ask(open(number, 2_000 + u64::from(number)));
        assert!(matches!(opened, Response::Opened(_)), "{opened:?}");
    }
    for claim in 0..6 {
        let waiting = other.ask(enqueue(1, 500 + claim, "popular"));
        assert!(matches!(waiting, Response::Waiting(_)), "{waiting:?}");
    }
    for number in 0..10 {
        let granted = other.ask(enqueue(1, 600 + number, &format!("other-{number}")));
        assert!(matches!(granted, Response::Granted(_)), "{granted:?}");
    }
    other.send(watch("a name that nobody has used"));
    let pong = other.ask(Request::Ping(proto::Ping {}));
    assert!(matches!(pong, Response::Pong(_)), "{pong:?}");
}

/// Connections of one principal request long replies and read none.
#[test]
fn unread_replies_of_a_principal_do_not_affect_others() {
    const CLAIMS: u64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "unread_bytes_per_principal = 1_000_000\n");
    let mut other = connect(&server, "observer");
    other.open(session());
    for claim in 0..CLAIMS {
        let Request::Enqueue(mut request) = enqueue(1, claim, "a") else {
            unreachable!()
        };
        request.value = vec![b'v'; 1_024].into();
        let answer = other.ask(Request::Enqueue(request));
        assert!(matches!(
            answer,
            Response::Granted(_) | Response::Waiting(_)
        ));
    }
    // For each connection, more than the buffers of the system hold.
    let greedy: Vec<_> = (0..8)
        .map(|_| {
            let mut raw = connect(&server, "worker");
            // The server may close the connection in the meantime.
            for _ in 0..40 {
                let _ = raw.try_send(inspect("a"));
            }
            raw
        })
        .collect();
    let deadline = clock::now().after(Duration::from_secs(20));
    while clock::now() < deadline && !server.logged().contains("too much waits for clients") {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(
        server.logged().contains("too much waits for clients"),
        "the principal is within its limit"
    );
    // The other client reads late, so its replies wait too.
    (0..20).for_each(|_| other.send(inspect("a")));
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..20 {
        match other.answer() {
            Response::Queue(queue) => assert_eq!(queue.entries.len() as u64, CLAIMS),
            answer => panic!("{answer:?}"),
        }
    }
    drop(greedy);
}

/// Strangers use all connections, and never send a greeting.
#[test]
fn connections_that_have_not_greeted_make_room_for_others() {
    let server = Netlockd::start(&["--connections", "20"]);
    let mut clients = vec![Raw::connect(server.address())];
    let mut strangers: Vec<_> = (0..19)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    // Connect one client for each of the strangers.
    for _ in 0..strangers.len() {
        clients.push(Raw::connect(server.address()));
    }
    for client in &mut clients {
        let pong = client.ask(Request::Ping(proto::Ping {}));
        assert!(matches!(pong, Response::Pong(_)), "{pong:?}");
    }
    for stranger in &mut strangers {
        stranger
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut words = Vec::new();
        stranger.read_to_end(&mut words).unwrap();
        let words = String::from_utf8_lossy(&words);
        assert!(words.contains("has not greeted"), "{words}");
    }
    // Connections that have greeted stay open.
    let mut late = TcpStream::connect(server.address()).unwrap();
    let mut words = Vec::new();
    late.read_to_end(&mut words).unwrap();
    let words = String::from_utf8_lossy(&words);
    assert!(words.contains("too many connections"), "{words}");
}

/// A principal that uses all its connections does not exclude other principals.
#[test]
fn a_principal_has_a_limited_number_of_connections() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "connections_per_principal = 3\n");
    let greet = |principal: &str| {
        let mut raw = Raw::connect_without_greeting(server.address());
        let token = format!("token-of-{principal}");
        let answer = raw.ask(Request::Hello(proto::Hello {
            version: VERSION,
            token,
            ..proto::Hello::default()
        }));
        (raw, answer)
    };
    let mut connections: Vec<_> = (0..3).map(|_| greet("worker")).collect();
    assert!(
        connections
            .iter()
            .all(|(_, answer)| matches!(answer, Response::Welcome(_)))
    );
    match greet("worker").1 {
        Response::Refused(refused) => {
            assert_eq!((refused.code(), refused.limit), (Code::Overloaded, 3));
            assert!(
                refused.message.contains("`worker` has 3 connections"),
                "{}",
                refused.message
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(greet("observer").1, Response::Welcome(_)),
        "another principal is kept out"
    );
    connections.pop();
    let deadline = clock::now().after(Duration::from_secs(20));
    while !matches!(greet("worker").1, Response::Welcome(_)) {
        assert!(
            clock::now() < deadline,
            "a connection that has ended counts on"
        );
    }
}
