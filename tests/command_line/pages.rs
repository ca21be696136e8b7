//! The help of each command, and the completions and man pages in `deploy/`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::program::{distsync_with, text};

/// Returns the content of each file in two folders of a folder.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for kind in ["completions", "man"] {
        let entries = std::fs::read_dir(folder.join(kind)).unwrap();
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let content = std::fs::read_to_string(&path).unwrap();
            files.insert(format!("{kind}/{name}"), content);
        }
    }
    files
}

#[test]
fn the_pages_in_deploy_are_those_of_this_program() {
    let fresh = tempfile::tempdir().unwrap();
    let output = distsync_with(&["__pages", fresh.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let fresh = files(fresh.path());
    let deployed = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"));
    let stale: Vec<&String> = fresh
        .keys()
        .chain(deployed.keys())
        .filter(|name| fresh.get(*name) != deployed.get(*name))
        .collect();
    assert!(
        stale.is_empty(),
        "out of date: run `cargo run --features cli,full -- __pages deploy`: {stale:?}"
    );
    assert!(fresh.contains_key("man/distsync-run.1") && fresh.len() > 15);
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = distsync_with(&["completions", shell]);
        let printed = text(&output.stdout);
        assert!(
            output.status.success() && printed.contains("unlock"),
            "{shell}"
        );
        assert!(
            !printed.contains("__pages "),
            "a hidden command is offered: {shell}"
        );
    }
}

#[test]
fn the_help_of_each_command_has_an_example() {
    let help = text(&distsync_with(&["--help"]).stdout);
    let commands = help.split("Commands:").nth(1).unwrap();
    let commands = commands.split("Options:").next().unwrap();
    let mut count = 0;
    for line in commands.lines().filter(|line| !line.trim().is_empty()) {
        let command = line.split_whitespace().next().unwrap();
        if command == "help" {
            continue;
        }
        let help = text(&distsync_with(&[command, "--help"]).stdout);
        let examples = help.split("Example").nth(1).unwrap_or_default();
        assert!(examples.contains("distsync "), "{command}: {help}");
        count += 1;
    }
    assert!(count >= 14, "{help}");
}
