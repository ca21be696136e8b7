//! Flags, environment variables and the configuration file, and the errors in them.

use std::process::Command;

use distsync_netlock::wire::proto::response::Body as Response;

use super::raw::{Raw, enqueue, session};
use super::server::{NETLOCKD, Netlockd, complaint, run};
use super::tls;

fn printed(file: &str, flags: &[&str], listen: Option<&str>) -> String {
    let place = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(place.path(), file).unwrap();
    let mut command = Command::new(NETLOCKD);
    command
        .arg("--print-config")
        .arg("--config")
        .arg(place.path())
        .args(flags);
    if let Some(listen) = listen {
        command.env("NETLOCKD_LISTEN", listen);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn flags_override_the_environment_the_file_and_the_defaults() {
    let file = "listen = '127.0.0.1:1'\n[limits]\nnames = 5\n";
    for (flags, environment, listen) in [
        (
            &["--listen", "127.0.0.1:3"][..],
            Some("127.0.0.1:2"),
            "127.0.0.1:3",
        ),
        (&[], Some("127.0.0.1:2"), "127.0.0.1:2"),
        (&[], None, "127.0.0.1:1"),
    ] {
        let printed = printed(file, flags, environment);
        assert!(
            printed.contains(&format!("listen = \"{listen}\"")),
            "{printed}"
        );
        assert!(
            printed.contains("names = 5") && printed.contains("sessions = 100000"),
            "{printed}"
        );
    }
    assert!(
        printed("", &["--set", "limits.idle_timeout=2m"], None).contains("idle_timeout = \"2m\"")
    );
    // The output is a configuration file.
    let all = printed("", &[], None);
    assert_eq!(printed(&all, &[], None), all);
}

#[test]
fn the_environment_can_allow_remote_clients() {
    for (value, expected) in [
        ("true", "true"),
        ("1", "true"),
        ("false", "false"),
        ("", "false"),
    ] {
        let mut command = Command::new(NETLOCKD);
        let output = command
            .arg("--print-config")
            .env("NETLOCKD_INSECURE_ALLOW_REMOTE", value)
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(
            printed.contains(&format!("insecure_allow_remote = {expected}")),
            "{value}: {printed}"
        );
    }
}

#[test]
fn every_limit_is_documented() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let operating = std::fs::read_to_string(root.join("docs/operating.md")).unwrap();
    let printed = printed("", &[], None);
    let limits: Vec<_> = printed
        .lines()
        .skip_while(|line| *line != "[limits]")
        .skip(1)
        .collect();
    assert!(limits.len() > 20);
    for line in limits {
        let name = line.split(' ').next().unwrap();
        assert!(
            operating.contains(&format!("`{name}`")),
            "{name} is not in docs/operating.md"
        );
    }
}

#[test]
fn a_configuration_is_checked_with_the_files_that_it_names() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("netlockd.toml");
    let path = file.to_str().unwrap();
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(&["config", "check", "--config", path])
    };
    let good = check("listen = '127.0.0.1:0'\n");
    assert_eq!(
        String::from_utf8_lossy(&good.stdout),
        "the configuration is valid\n"
    );
    let at = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(at("empty.pem"), "").unwrap();
    tls::pair(place.path(), "server");
    tls::pair(place.path(), "other");
    let folder = |name: &str, file: &str, text: &str| {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(place.path().join(name).join(file), text).unwrap();
        format!("data_dir = '{}'\n", at(name))
    };
    let tls = |key: &str, ca: &str| {
        let client_ca = if ca.is_empty() {
            String::new()
        } else {
            format!("client_ca = '{}'\n", at(ca))
        };
        format!(
            "[tls]\ncert = '{}'\nkey = '{}'\n{client_ca}",
            at("server.pem"),
            at(key)
        )
    };
    let kept = folder("kept", "log-1", "something else");
    let of_another = folder("of-another", "table", "0000000000000000000000000000000a\n");
    let strange = folder("strange", "notes", "something else");
    for (text, reason) in [
        ("lisen = 'x'".to_owned(), "lisen"),
        (
            "tokens = '/nowhere'".to_owned(),
            "the file of tokens /nowhere",
        ),
        ("log = 'a=b=c'".to_owned(), "log filter"),
        (
            "[limits]\nttl_max = 'long'".to_owned(),
            "invalid duration `long`",
        ),
        ("durability = 3".to_owned(), "durability"),
        (
            "listen = '0.0.0.0:0'".to_owned(),
            "other machines can reach this address",
        ),
        ("listen = 'here'".to_owned(), "invalid address to listen at"),
        (
            "admin_listen = 'there'".to_owned(),
            "cannot serve metrics here",
        ),
        (
            format!("audit_log = '{}'", at("missing/audit")),
            "the audit log",
        ),
        (tls("missing.key", ""), "missing.key"),
        (tls("other.key", ""), "it does not fit its key"),
        (
            tls("server.key", "empty.pem"),
            "there is no certificate in it",
        ),
        (format!("data_dir = '{path}'"), "cannot be used"),
        (
            format!("durability = 'memory'\n{kept}"),
            "it contains a log",
        ),
        (kept, "is damaged at byte 0"),
        (
            format!("table = '{:032x}'\n{of_another}", 11),
            "the folder of the table",
        ),
        (strange, "is not one that netlock wrote"),
    ] {
        // Use a free port, unless the case is about the port.
        let listen = if text.contains("listen") {
            ""
        } else {
            "listen = '127.0.0.1:0'\n"
        };
        let bad = check(&format!("{listen}{text}"));
        let said = String::from_utf8_lossy(&bad.stderr).into_owned();
        assert!(
            !bad.status.success() && said.contains(reason),
            "{text}: {said}"
        );
        assert!(
            complaint(&["--config", path]).contains(reason),
            "{text}: the start refuses the same"
        );
    }
    assert!(complaint(&["--config", "/nowhere.toml"]).contains("/nowhere.toml cannot be read"));
    assert!(complaint(&["--set", "x"]).contains("KEY=VALUE"));
}

#[test]
fn a_check_while_the_server_runs_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (data, audit) = (place.path().join("data"), place.path().join("audit"));
    let flags = [
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    let check = || {
        let audit = ["--audit-log", audit.to_str().unwrap()];
        let output = run(&[&flags[..], &audit, &["config", "check"]].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    check();
    assert!(!data.exists() && !audit.exists(), "nothing is made");
    let server = Netlockd::start(&flags[..2]);
    check();
    let mut client = Raw::connect(server.address());
    client.open(session());
    assert!(
        matches!(client.ask(enqueue(1, 1, "a")), Response::Granted(_)),
        "the server goes on"
    );
    assert!(!audit.exists());
}
