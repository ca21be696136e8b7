//! Permissions: every message of the protocol, for every kind of principal.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{ErrorKind, Handle, LockOptions, Namespace, Sync, SyncOptions};
use distsync_netlock::wire::proto;
use distsync_netlock::wire::proto::change_cluster::Change;
use distsync_netlock::wire::proto::refused::Code;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use distsync_netlock::{Client, Config};
use rustix::process::Signal;

use super::monitoring::get;
use super::raw::{Raw, enqueue, id, session};
use super::server::{NETLOCKD, Netlockd, complaint, run};

pub(crate) const PRINCIPALS: [&str; 4] = ["worker", "observer", "admin", "nobody"];

/// Returns the line of a file of tokens for `token-of-PRINCIPAL`, as the program prints it.
pub(crate) fn token_line(principal: &str) -> String {
    let mut child = Command::new(NETLOCKD)
        .args(["hash-token", principal])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "token-of-{principal}").unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// Starts a server with a token for each principal. Each may do what its name says, to names that
/// begin with `shop/`.
fn start(folder: &Path) -> Netlockd {
    let (tokens, config) = (folder.join("tokens"), folder.join("netlockd.toml"));
    std::fs::write(&tokens, PRINCIPALS.map(token_line).concat()).unwrap();
    let permission = |principal: &str, prefix: &str, verb: &str| {
        format!(
            "[[permissions]]\nprincipal = '{principal}'\nprefix = '{prefix}'\nverbs = ['{verb}']\n"
        )
    };
    let text = [
        format!(
            "tokens = '{}'\naudit_log = '{}'\n",
            tokens.display(),
            folder.join("audit").display()
        ),
        permission("worker", "shop/", "acquire"),
        permission("observer", "shop/", "observe"),
        permission("admin", "", "admin"),
    ];
    std::fs::write(&config, text.concat()).unwrap();
    Netlockd::start(&["--config", config.to_str().unwrap()])
}

fn enqueue_all(names: &[&str]) -> Request {
    let names = names.iter().map(|name| name.to_string().into()).collect();
    Request::EnqueueAll(proto::EnqueueAll {
        session: 1,
        claim: id(3),
        names,
        ..Default::default()
    })
}

/// An entry of the matrix: a message, and the principals that may send it.
const EVERYBODY: &[&str] = &PRINCIPALS;

/// Returns the request of each field of `Request`, and the principals that may send it. A message
/// without an entry fails the test.
fn matrix() -> BTreeMap<&'static str, (Request, &'static [&'static str])> {
    let name = || "shop/l/a".to_owned().into();
    let hello = proto::Hello {
        version: 1,
        token: "token-of-admin".to_owned(),
        ..proto::Hello::default()
    };
    let attach = proto::Attach {
        session: 1,
        id: id(1),
        secret: id(99),
    };
    let update = proto::Update {
        session: 1,
        claim: id(1),
        value: Vec::new().into(),
    };
    BTreeMap::from([
        ("hello", (Request::Hello(hello), EVERYBODY)),
        (
            "open",
            (Request::Open(session()), &["worker", "observer", "admin"]),
        ),
        ("attach", (Request::Attach(attach), EVERYBODY)),
        (
            "detach",
            (Request::Detach(proto::Detach { session: 1 }), EVERYBODY),
        ),
        (
            "renew",
            (Request::Renew(proto::Renew { session: 1 }), EVERYBODY),
        ),
        (
            "close",
            (Request::Close(proto::Close { session: 1 }), EVERYBODY),
        ),
        ("update", (Request::Update(update), EVERYBODY)),
        (
            "withdraw",
            (
                Request::Withdraw(proto::Withdraw {
                    session: 1,
                    claim: id(1),
                }),
                EVERYBODY,
            ),
        ),
        (
            "evictions",
            (
                Request::Evictions(proto::Evictions { session: 2 }),
                EVERYBODY,
            ),
        ),
        ("ping", (Request::Ping(proto::Ping {}), EVERYBODY)),
        // This request has no reply, so a ping follows it.
        (
            "forget",
            (Request::Forget(proto::Forget { request: 1 }), EVERYBODY),
        ),
        ("enqueue", (enqueue(1, 1, "shop/l/a"), &["worker"])),
        (
            "enqueue_all",
            (enqueue_all(&["shop/l/a", "shop/l/b"]), &["worker"]),
        ),
        (
            "inspect",
            (
                Request::Inspect(proto::Inspect { name: name() }),
                &["observer"],
            ),
        ),
        (
            "changed",
            (
                Request::Changed(proto::Changed {
                    name: name(),
                    after: 0,
                }),
                &["observer"],
            ),
        ),
        (
            "list",
            (
                Request::List(proto::List {
                    prefix: "shop/".to_owned().into(),
                    after: Vec::new().into(),
                }),
                &["observer"],
            ),
        ),
        (
            "evict",
            (
                Request::Evict(proto::Evict {
                    name: name(),
                    claim: id(1),
                }),
                &["admin"],
            ),
        ),
        (
            "end_session",
            (
                Request::EndSession(proto::EndSession { id: id(1) }),
                &["admin"],
            ),
        ),
        (
            "confirm_isolated",
            (
                Request::ConfirmIsolated(proto::ConfirmIsolated { id: id(1) }),
                &["admin"],
            ),
        ),
        (
            "release_all",
            (
                Request::ReleaseAll(proto::ReleaseAll { prefix: name() }),
                &["admin"],
            ),
        ),
        (
            "describe_cluster",
            (
                Request::DescribeCluster(proto::DescribeCluster {}),
                &["admin"],
            ),
        ),
        (
            "change_cluster",
            (
                Request::ChangeCluster(proto::ChangeCluster {
                    change: Some(Change::StepDown(proto::StepDown {})),
                }),
                &["admin"],
            ),
        ),
        (
            "list_sessions",
            (
                Request::ListSessions(proto::ListSessions { after: None }),
                &["admin"],
            ),
        ),
    ])
}

/// Returns the fields of `Request` from the descriptor of the protocol.
fn fields() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = protox::compile([root.join("netlock.proto")], [root]).unwrap();
    let request = descriptors.file[0]
        .message_type
        .iter()
        .find(|message| message.name() == "Request")
        .unwrap();
    request
        .field
        .iter()
        .filter(|field| field.oneof_index.is_some())
        .map(|field| field.name().to_owned())
        .collect()
}

fn is_denied(response: &Response) -> bool {
    matches!(response, Response::Refused(refused) if refused.code() == Code::Denied)
}

fn is_without_session(response: &Response) -> bool {
    matches!(response, Response::Refused(refused) if refused.code() == Code::SessionUnknown)
}

#[test]
fn every_message_is_allowed_with_its_permission_and_denied_without() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let fields = fields();
    assert!(fields.len() >= 19);
    for principal in PRINCIPALS {
        let mut matrix = matrix();
        for field in &fields {
            let (request, allowed) = matrix
                .remove(field.as_str())
                .unwrap_or_else(|| panic!("nobody says who may send `{field}`"));
            let token = format!("token-of-{principal}");
            let mut raw = if field.ends_with("_cluster") {
                Raw::connect_to_member(server.address(), &token)
            } else {
                let mut raw = Raw::connect_with(server.address(), &token);
                // A principal without any permission cannot open a session.
                if principal != "nobody" {
                    raw.open(session());
                }
                raw
            };
            raw.send(request);
            if field == "forget" {
                raw.send(Request::Ping(proto::Ping {}));
            }
            let answer = raw.answer();
            // Without a session, requests that need one are refused for that reason.
            if principal == "nobody" && is_without_session(&answer) {
                continue;
            }
            assert_eq!(
                is_denied(&answer),
                !allowed.contains(&principal),
                "{principal}: {field}: {answer:?}"
            );
        }
        assert!(matrix.is_empty(), "no such messages: {:?}", matrix.keys());
    }
    let audit = std::fs::read_to_string(folder.path().join("audit")).unwrap();
    for deed in ["evict", "end session", "release all"] {
        let with = |who: &str, outcome: &str| {
            audit.lines().any(|line| {
                line.contains(&format!("\"deed\":\"{deed}\""))
                    && line.contains(&format!("\"principal\":\"{who}\""))
                    && line.contains("denied") == (outcome == "denied")
            })
        };
        assert!(with("admin", "done") && with("worker", "denied"), "{audit}");
    }
}

#[test]
fn names_outside_the_prefix_are_denied_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let mut worker = Raw::connect_with(server.address(), "token-of-worker");
    worker.open(session());
    // The second is not in canonical form, so the server decodes it by the generic codec.
    let mut long = enqueue(1, 1, "other/l/a");
    if let Request::Enqueue(enqueue) = &mut long {
        enqueue.value = vec![1; 700].into();
    }
    for request in [
        enqueue(1, 1, "other/l/a"),
        long,
        enqueue(1, 1, "sho"),
        enqueue(1, 1, "Shop/l/a"),
        enqueue_all(&["shop/l/a", "other/l/a"]),
    ] {
        assert!(is_denied(&worker.ask(request)));
    }
    let mut observer = Raw::connect_with(server.address(), "token-of-observer");
    for prefix in ["", "sho", "other/"] {
        let list = proto::List {
            prefix: prefix.to_owned().into(),
            after: Vec::new().into(),
        };
        assert!(is_denied(&observer.ask(Request::List(list))), "{prefix}");
    }
}

#[test]
fn a_principal_that_may_only_acquire_does_not_see_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let mut worker = Raw::connect_with(server.address(), "token-of-worker");
    worker.open(session());
    assert!(matches!(
        worker.ask(enqueue(1, 1, "shop/l/a")),
        Response::Granted(_)
    ));
    for request in [
        enqueue(1, 2, "shop/l/a"),
        enqueue_all(&["shop/l/b", "shop/l/a"]),
    ] {
        match worker.ask(request) {
            Response::Waiting(waiting) => assert!(waiting.position > 0 && waiting.holder.is_none()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn removing_a_token_closes_its_connections_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let mut worker = Raw::connect_with(server.address(), "token-of-worker");
    let mut admin = Raw::connect_with(server.address(), "token-of-admin");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, token_line("admin") + &token_line("newcomer")).unwrap();
    server.signal(Signal::HUP);
    match worker.answer() {
        Response::Refused(refused) => {
            assert_eq!(refused.code(), Code::Denied);
            assert!(
                refused
                    .message
                    .contains("does not know this token any more"),
                "{}",
                refused.message
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        admin.ask(Request::Ping(proto::Ping {})),
        Response::Pong(_)
    ));
    Raw::connect_with(server.address(), "token-of-newcomer");
}

#[tokio::test]
async fn a_client_reads_its_token_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let file = folder.path().join("token");
    std::fs::write(&file, "token-of-worker\n").unwrap();
    let url = format!(
        "netlock://{}?token_file={}",
        server.address(),
        file.display()
    );
    let config = Config::from_url(url.parse().unwrap()).unwrap();
    let ttl = Duration::from_secs(2);
    let options = SyncOptions::new()
        .with_namespace(Namespace::new("shop").unwrap())
        .with_session_ttl(ttl);
    let sync = Handle::open(Client::new(config).backend(), options).await;
    let sync = sync.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    // The principal gets another token, and the server closes the connections of the old one.
    std::fs::write(&file, "token-of-newcomer\n").unwrap();
    let renamed = token_line("newcomer").replace("newcomer", "worker");
    std::fs::write(folder.path().join("tokens"), renamed).unwrap();
    server.signal(Signal::HUP);
    let lost = tokio::time::timeout(ttl, guard.revoked()).await;
    assert!(lost.is_err(), "{lost:?}");
    assert!(guard.release().await.is_ok());
}

#[tokio::test]
async fn clients_get_errors_for_unknown_tokens_and_missing_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let open = |token: Option<&str>| {
        let config = Config::new([server.address()]).unwrap();
        let config = match token {
            Some(token) => config.with_token(token),
            None => config,
        };
        let options = SyncOptions::new().with_session_ttl(Duration::from_secs(5));
        Handle::open(Client::new(config).backend(), options)
    };
    for token in [None, Some("wrong")] {
        let error = open(token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(
            error.to_string().contains("does not know this token"),
            "{error}"
        );
    }
    let worker = open(Some("token-of-worker")).await.unwrap();
    // The namespace is `distsync` instead of `shop`.
    let error = worker
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(
        error.to_string().contains("`a`") && error.to_string().contains("permission"),
        "{error}"
    );
}

#[test]
fn an_operator_inspects_and_evicts_from_the_command_line() {
    let server = Netlockd::start(&[]);
    let url = format!("netlock://{}", server.address());
    let operate = |arguments: &[&str]| {
        let output = run(&[&["admin", "--server", &url], arguments].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let mut holder = Raw::connect(server.address());
    holder.open(session());
    let mut waiter = Raw::connect(server.address());
    waiter.attach();
    for (claim, name) in [(1, "n/l/a"), (2, "n/l/b"), (3, "m/l/a")] {
        assert!(matches!(
            holder.ask(enqueue(1, claim, name)),
            Response::Granted(_)
        ));
    }
    assert!(matches!(
        waiter.ask(enqueue(1, 4, "n/l/a")),
        Response::Waiting(_)
    ));
    let sessions = operate(&["sessions"]);
    assert!(
        sessions.contains("raw") && sessions.contains("claims 4 connections 2"),
        "{sessions}"
    );
    assert_eq!(operate(&["names", "n/"]), "n/l/a\nn/l/b\n");
    let inspected = operate(&["inspect", "n/l/a"]);
    assert!(
        inspected.contains("holds with token") && inspected.contains("raw waits"),
        "{inspected}"
    );
    assert!(
        inspected.contains(" exclusive value \"\"") && inspected.contains(" for "),
        "{inspected}"
    );
    // The argument of `end-session`.
    let session = sessions.split(' ').next().unwrap();
    let of_session = |line: &str| line.contains(&format!(" session {session} "));
    assert!(
        inspected.lines().count() == 2 && inspected.lines().all(of_session),
        "{inspected}"
    );
    let claim = inspected.split(' ').next().unwrap();
    assert_eq!(
        operate(&["evict", "n/l/a", claim]),
        "ended a claim that was held\n"
    );
    assert!(matches!(waiter.answer(), Response::Granted(_)));
    assert_eq!(operate(&["release-all", "n/"]), "ended 2 claims\n");
    assert_eq!(operate(&["names"]), "m/l/a\n");
    assert_eq!(operate(&["end-session", session]), "ended the session\n");
    assert_eq!(
        (operate(&["names"]), operate(&["sessions"])),
        (String::new(), String::new())
    );
    for gone in [
        &["end-session", session][..],
        &["confirm-isolated", session],
        &["evict", "n/l/a", claim],
    ] {
        let absent = run(&[&["admin", "--server", &url], gone].concat());
        let complaint = String::from_utf8_lossy(&absent.stderr);
        assert!(
            !absent.status.success() && complaint.contains(gone[gone.len() - 1]),
            "{gone:?}: {complaint}"
        );
    }
    let wrong = run(&["admin", "--server", &url, "end-session", "x"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("32 hexadecimal digits"));
}

#[test]
fn refused_tokens_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, token_line("worker")).unwrap();
    let mut server = Netlockd::start(&[
        "--tokens",
        tokens.to_str().unwrap(),
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    let metrics = server.said("metrics on ");
    let hello = Request::Hello(proto::Hello {
        version: 1,
        token: "wrong".to_owned(),
        ..proto::Hello::default()
    });
    assert!(is_denied(
        &Raw::connect_without_greeting(server.address()).ask(hello)
    ));
    Raw::connect_with(server.address(), "token-of-worker");
    let told = get(&metrics, "/metrics");
    assert!(told.contains("netlock_refused_tokens_total 1\n"), "{told}");
}

/// Returns the records of administrator actions in the log of a server.
fn audited(server: &Netlockd) -> Vec<String> {
    let logged = server.logged();
    logged
        .lines()
        .filter(|line| line.contains("netlock::audit"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn administrator_actions_are_logged_as_fields() {
    for format in ["text", "json"] {
        let server = Netlockd::start(&["--log-format", format]);
        let evict = proto::Evict {
            name: "shop/l/a".to_owned().into(),
            claim: id(1),
        };
        Raw::connect(server.address()).ask(Request::Evict(evict));
        let records = audited(&server);
        let [record] = &*records else {
            panic!("{records:?}")
        };
        if format == "json" {
            let record: serde_json::Value = serde_json::from_str(record).unwrap();
            let fields = &record["fields"];
            assert_eq!(
                (&fields["deed"], &fields["name"]),
                (&"evict".into(), &"shop/l/a".into()),
                "{record}"
            );
            assert_eq!(
                (&fields["outcome"], &fields["principal"]),
                (&"absent".into(), &().into()),
                "{record}"
            );
        } else {
            for field in ["deed=\"evict\"", "name=\"shop/l/a\"", "outcome=\"absent\""] {
                assert!(record.contains(field), "{field}: {record}");
            }
            assert!(!record.contains("Some("), "{record}");
        }
    }
}

#[test]
fn an_audit_log_that_was_moved_away_is_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, moved) = (folder.path().join("audit"), folder.path().join("audit.1"));
    let server = Netlockd::start(&["--audit-log", audit.to_str().unwrap()]);
    let mut operator = Raw::connect(server.address());
    let mut evict = |name: &str| {
        operator.ask(Request::Evict(proto::Evict {
            name: name.to_owned().into(),
            claim: id(1),
        }));
    };
    evict("first");
    std::fs::rename(&audit, &moved).unwrap();
    server.signal(Signal::HUP);
    let deadline = clock::now().after(Duration::from_secs(20));
    while !audit.exists() {
        assert!(
            clock::now() < deadline,
            "the server writes on to the old file"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    evict("second");
    let read = |path| std::fs::read_to_string(path).unwrap();
    let (old, new) = (read(&moved), read(&audit));
    assert!(old.contains("first") && old.lines().count() == 1, "{old}");
    assert!(new.contains("second") && new.lines().count() == 1, "{new}");
}

#[test]
fn the_error_for_a_wrong_scheme_does_not_contain_the_token() {
    for server in [
        "redis://:TOKEN-OF-MINE@host",
        "http://:TOKEN-OF-MINE@host/x",
        "netlock:/TOKEN-OF-MINE",
    ] {
        let said = complaint(&["admin", "--server", server, "sessions"]);
        assert!(!said.contains("TOKEN-OF-MINE"), "{said}");
        assert!(said.contains("netlock:"), "{said}");
    }
}
