//! Flags, environment and file, and what is said of mistakes in them.

use std::process::Command;

use super::server::{NETLOCKD, complaint, run};

fn printed(file: &str, flags: &[&str], listen: Option<&str>) -> String {
    let place = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(place.path(), file).unwrap();
    let mut command = Command::new(NETLOCKD);
    command.arg("--print-config").arg("--config").arg(place.path()).args(flags);
    if let Some(listen) = listen {
        command.env("NETLOCKD_LISTEN", listen);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn flags_go_over_the_environment_the_file_and_the_defaults() {
    let file = "listen = '127.0.0.1:1'\n[limits]\nnames = 5\n";
    for (flags, environment, listen) in [
        (&["--listen", "127.0.0.1:3"][..], Some("127.0.0.1:2"), "127.0.0.1:3"),
        (&[], Some("127.0.0.1:2"), "127.0.0.1:2"),
        (&[], None, "127.0.0.1:1"),
    ] {
        let printed = printed(file, flags, environment);
        assert!(printed.contains(&format!("listen = \"{listen}\"")), "{printed}");
        assert!(printed.contains("names = 5") && printed.contains("sessions = 100000"), "{printed}");
    }
    assert!(printed("", &["--set", "limits.idle_timeout=2m"], None).contains("idle_timeout = \"2m\""));
    // What is printed is a configuration file.
    let all = printed("", &[], None);
    assert_eq!(printed(&all, &[], None), all);
}

#[test]
fn remote_clients_are_allowed_by_the_environment_too() {
    for (value, expected) in [("true", "true"), ("1", "true"), ("false", "false"), ("", "false")] {
        let mut command = Command::new(NETLOCKD);
        let output =
            command.arg("--print-config").env("NETLOCKD_INSECURE_ALLOW_REMOTE", value).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains(&format!("insecure_allow_remote = {expected}")), "{value}: {printed}");
    }
}

#[test]
fn every_limit_is_documented() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let operating = std::fs::read_to_string(root.join("docs/operating.md")).unwrap();
    let printed = printed("", &[], None);
    let limits: Vec<_> = printed.lines().skip_while(|line| *line != "[limits]").skip(1).collect();
    assert!(limits.len() > 20);
    for line in limits {
        let name = line.split(' ').next().unwrap();
        assert!(operating.contains(&format!("`{name}`")), "{name} is not in docs/operating.md");
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
    assert_eq!(String::from_utf8_lossy(&good.stdout), "the configuration is good\n");
    for (text, reason) in [
        ("lisen = 'x'", "lisen"),
        ("tokens = '/nowhere'", "the file of tokens /nowhere"),
        ("log = 'a=b=c'", "log filter"),
        ("[limits]\nttl_max = 'long'", "`long` is no duration"),
        ("durability = 3", "durability"),
    ] {
        let bad = check(text);
        let said = String::from_utf8_lossy(&bad.stderr).into_owned();
        assert!(!bad.status.success() && said.contains(reason), "{text}: {said}");
    }
    assert!(complaint(&["--config", "/nowhere.toml"]).contains("/nowhere.toml cannot be read"));
    assert!(complaint(&["--set", "x"]).contains("KEY=VALUE"));
}
