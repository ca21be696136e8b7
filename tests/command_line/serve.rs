//! `serve`: a lock server, and the commands of `check` against its permissions.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;

use crate::program::{distsync, text};
use crate::steps::{assert_code, exits, on, signal};

/// A running `distsync serve`.
pub(crate) struct Serve {
    child: Child,
    pub(crate) address: String,
}

impl Serve {
    /// Starts a server on a free port with these additional flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut command = distsync();
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(flags);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("netlock://{}", self.address)
    }

    /// Ends the server, and returns what it has logged.
    pub(crate) fn end(mut self) -> String {
        signal(&self.child, Signal::TERM);
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut log).unwrap();
        assert!(self.child.wait().unwrap().success(), "{log}");
        log
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_says_what_it_does_not_promise_and_ends_on_sigterm() {
    let server = Serve::start(&[]);
    exits(&server.url(), &["list"], 0);
    let log = server.end();
    assert!(
        log.contains("use --data-dir") && log.contains("only programs on this machine"),
        "{log}"
    );
}

#[test]
fn a_server_with_a_folder_keeps_a_lock_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let server = Serve::start(&["--data-dir", data]);
    let ticket = exits(&server.url(), &["lock", "a", "--ttl", "60s"], 0);
    assert!(!server.end().contains("use --data-dir"));
    let server = Serve::start(&["--data-dir", data]);
    exits(&server.url(), &["unlock", ticket.trim()], 0);
}

#[test]
fn a_wrong_setting_is_a_usage_error_of_distsync() {
    let output = distsync()
        .args(["serve", "--set", "lisen=x"])
        .output()
        .unwrap();
    assert_code(&output, &["serve"], 64);
    let said = text(&output.stderr);
    assert!(
        said.starts_with("distsync: ") && said.contains("lisen"),
        "{said}"
    );
}

/// Returns a server with the principals `all`, `own` (only names that begin with `own-`) and `user`
/// (only acquires), whose tokens are their names.
fn with_permissions(folder: &tempfile::TempDir) -> Serve {
    let path = |name: &str| folder.path().join(name);
    let mut tokens = std::fs::File::create(path("tokens")).unwrap();
    for principal in ["all", "own", "user"] {
        let line = {
            let mut command = distsync();
            command.args(["serve", "hash-token", principal]);
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            writeln!(stdin, "{principal}").unwrap();
            drop(stdin);
            child.wait_with_output().unwrap().stdout
        };
        tokens.write_all(&line).unwrap();
    }
    let settings = "
        [[permissions]]
        principal = 'all'
        verbs = ['acquire', 'observe', 'admin']
        [[permissions]]
        principal = 'own'
        prefix = 'distsync/l/own-'
        verbs = ['acquire', 'observe', 'admin']
        [[permissions]]
        principal = 'user'
        verbs = ['acquire']";
    std::fs::write(path("settings.toml"), settings).unwrap();
    let (tokens, settings) = (path("tokens"), path("settings.toml"));
    Serve::start(&[
        "--tokens",
        tokens.to_str().unwrap(),
        "--config",
        settings.to_str().unwrap(),
    ])
}

/// Returns the operations in this state, according to `check`.
fn operations(url: &str, arguments: &[&str], code: i32, state: &str) -> Vec<String> {
    let arguments = [&["check", "--json"], arguments].concat();
    let output = on(url, &arguments).output().unwrap();
    assert_code(&output, &arguments, code);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["usable"], code == 0, "{report}");
    let operations = report["operations"].as_array().unwrap();
    operations
        .iter()
        .filter(|operation| operation["state"] == state)
        .map(|operation| operation["operation"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_check_names_the_permissions_that_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_permissions(&folder);
    let url = |principal: &str| format!("netlock://:{principal}@{}", server.address);
    let none: [&str; 0] = [];
    assert_eq!(operations(&url("all"), &[], 0, "denied"), none);
    // Locks and elections need no permission to observe and to evict.
    let denied = operations(&url("user"), &[], 0, "denied");
    assert_eq!(denied, ["inspect", "watch", "list", "break"]);
    let denied = operations(&url("own"), &[], 1, "denied");
    assert!(denied.contains(&"acquire".to_owned()), "{denied:?}");
    assert_eq!(
        operations(&url("own"), &[], 1, "untested"),
        ["queue", "update", "break"]
    );
    // The election has another prefix on the server.
    let denied = operations(&url("own"), &["--prefix", "own-"], 1, "denied");
    assert_eq!(denied, ["campaign"]);
    exits(&url("nobody"), &["check"], 77);
}

/// Returns the first code block below a heading of a page.
fn code_below(page: &str, heading: &str) -> String {
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

/// Runs a script with `distsync` in the path, in a folder.
fn script(text: &str, folder: &Path) -> Output {
    let program = PathBuf::from(distsync().get_program());
    let path = std::env::var("PATH").unwrap();
    Command::new("sh")
        .args(["-c", text])
        .current_dir(folder)
        .env(
            "PATH",
            format!("{}:{path}", program.parent().unwrap().display()),
        )
        .output()
        .unwrap()
}

#[test]
fn the_scripts_of_the_readme_and_the_docs_hold_their_locks() {
    const URL: &str = "netlock://127.0.0.1:7420";
    let (server, folder) = (Serve::start(&[]), tempfile::tempdir().unwrap());
    let docs = include_str!("../../docs/command-line.md");
    let held = code_below(docs, "A lock that a script holds");
    let readme = include_str!("../../README.md");
    let run = readme.split("## From a shell script").nth(1).unwrap();
    let run = run.split("```sh\n").nth(2).unwrap().split("```").next();
    let run = run.unwrap();
    for (text, name, steps) in [
        (&*held, "deploy", &["step-1", "step-2"][..]),
        (run, "nightly", &["backup.sh"]),
    ] {
        assert!(text.contains(URL), "{text}");
        for step in steps {
            let shows = format!("#!/bin/sh\ndistsync inspect {name} > {step}.seen\n");
            std::fs::write(folder.path().join(step), shows).unwrap();
            script(&format!("chmod +x {step}"), folder.path());
        }
        let output = script(&text.replace(URL, &server.url()), folder.path());
        assert!(output.status.success(), "{text}: {}", text_of(&output));
        for step in steps {
            let seen = folder.path().join(format!("{step}.seen"));
            let seen = std::fs::read_to_string(seen).unwrap();
            assert!(seen.contains("holds"), "{step}: {seen}");
        }
        assert!(exits(&server.url(), &["inspect", name], 0).contains("is free"));
    }
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}
