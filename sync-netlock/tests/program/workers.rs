//! A server with one worker and with four.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_netlock::wire::proto;
use distsync_netlock::wire::proto::refused::Code;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use rustix::process::Signal;

use super::raw::{Raw, enqueue, id, session};
use super::server::{NETLOCKD, Netlockd, complaint};

const EACH: [&str; 2] = ["1", "4"];

/// Connects a client with a session of its own, which ends with its connection.
fn client(server: &Netlockd, number: u64) -> Raw {
    let mut raw = Raw::connect(server.address());
    raw.open(proto::Open {
        id: id(number),
        release_on_disconnect: true,
        ..session()
    });
    raw
}

fn withdraw(claim: u64) -> Request {
    Request::Withdraw(proto::Withdraw {
        session: 1,
        claim: id(claim),
    })
}

#[test]
fn a_name_is_handed_over_in_order_whichever_workers_serve_the_clients() {
    for workers in EACH {
        let grace = "limits.reconnect_grace=10ms";
        let server = Netlockd::start(&["--workers", workers, "--set", grace]);
        let mut clients: Vec<_> = (1..=24)
            .map(|number| {
                let mut raw = client(&server, number);
                let reply = raw.ask(enqueue(1, number, "a"));
                let is_granted = matches!(reply, Response::Granted(_));
                assert_eq!(is_granted, number == 1, "{reply:?}");
                (number, raw)
            })
            .collect();
        clients.reverse();
        let mut last = 0;
        let (number, mut holder) = clients.pop().unwrap();
        assert_eq!(number, 1);
        while let Some((number, mut next)) = clients.pop() {
            // Half of the holders release the name. The other half are gone.
            if number % 2 == 0 {
                let reply = holder.ask(withdraw(number - 1));
                assert!(matches!(reply, Response::Withdrawn(_)), "{reply:?}");
            }
            drop(holder);
            match next.answer() {
                Response::Granted(granted) if granted.token > last => last = granted.token,
                other => panic!("{workers} workers, client {number}: {other:?}"),
            }
            holder = next;
        }
    }
}

#[test]
fn a_server_that_stops_under_load_tells_all_clients_and_ends() {
    for workers in EACH {
        let server = Netlockd::start(&["--workers", workers]);
        let pairs: Arc<[AtomicUsize]> = (0..16).map(|_| AtomicUsize::new(0)).collect();
        let clients: Vec<_> = (0..pairs.len())
            .map(|number| {
                let (done, number_of) = (pairs.clone(), number as u64 + 1);
                let mut raw = client(&server, number_of);
                std::thread::spawn(move || {
                    let name = format!("n{number}");
                    for count in 1.. {
                        let claim = number_of << 32 | count;
                        for request in [enqueue(1, claim, &name), withdraw(claim)] {
                            if raw.try_send(request).is_err() {
                                return false;
                            }
                            match raw.try_answer() {
                                Ok(Response::Granted(_) | Response::Withdrawn(_)) => {}
                                Ok(Response::Refused(refused)) => {
                                    return refused.code() == Code::Stopping;
                                }
                                // The request crossed the last reply, and the socket was closed
                                // with unread data, which resets the connection.
                                other => return matches!(other, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset),
                            }
                        }
                        done[number].fetch_add(1, Ordering::Relaxed);
                    }
                    false
                })
            })
            .collect();
        let deadline = clock::now().after(Duration::from_secs(20));
        while pairs.iter().any(|done| done.load(Ordering::Relaxed) < 10) {
            assert!(clock::now() < deadline, "a client does not get on");
            std::thread::sleep(Duration::from_millis(5));
        }
        let start = clock::now();
        assert!(server.end(Signal::TERM), "{workers} workers: not a success");
        let took = clock::now().since(start);
        assert!(took < Duration::from_secs(1), "{workers} workers: {took:?}");
        for client in clients {
            assert!(client.join().unwrap(), "{workers} workers: no reason given");
        }
    }
}

#[test]
fn all_cores_but_one_get_a_worker_unless_a_number_is_given() {
    let printed = |flags: &[&str], environment: Option<&str>| {
        let mut command = Command::new(NETLOCKD);
        command.arg("--print-config").args(flags);
        if let Some(workers) = environment {
            command.env("NETLOCKD_WORKERS", workers);
        }
        let output = command.output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let line = printed.lines().find(|line| line.starts_with("workers"));
        line.unwrap_or_default().to_owned()
    };
    let cores = std::thread::available_parallelism().unwrap();
    let workers = (cores.get() - 1).max(1);
    assert_eq!(printed(&[], None), format!("workers = {workers}"));
    assert_eq!(printed(&[], Some("5")), "workers = 5");
    assert_eq!(printed(&["--workers", "3"], Some("5")), "workers = 3");
    for (number, problem) in [("0", "`workers` is 0"), ("9999", "`workers` is 9999")] {
        for command in [&[][..], &["config", "check"]] {
            let arguments = [&["--workers", number, "--listen", "127.0.0.1:0"], command].concat();
            let complaint = complaint(&arguments);
            assert!(complaint.contains(problem), "{complaint}");
        }
    }
}
