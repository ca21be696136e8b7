//! Arguments, and the exit codes of mistakes in them.

use crate::program::{distsync_with, text};

#[test]
fn a_missing_store_is_a_usage_error_that_names_both_ways_to_give_it() {
    let output = distsync_with(&["run", "a", "--", "true"]);
    assert_eq!(output.status.code(), Some(64));
    let said = text(&output.stderr);
    assert!(
        said.contains("--on URL") && said.contains("DISTSYNC_URL"),
        "{said}"
    );
}

#[test]
fn wrong_arguments_exit_with_64_and_help_with_0() {
    for arguments in [
        &["run", "a"][..],
        &["run", "a", "--wait", "ten", "--", "true"],
        &["run", "a", "--wait", "1s", "--no-wait", "--", "true"],
        &["--on", "nats://127.0.0.1", "run", "a", "--", "true"],
    ] {
        let output = distsync_with(arguments);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
    for command in ["run", "elect"] {
        let output = distsync_with(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Example"), "{command}");
    }
}

#[test]
fn an_error_is_json_on_demand() {
    let output = distsync_with(&["--json", "--on", "memory:?x=1", "run", "a", "--", "true"]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["exit"], 64);
    assert_eq!(error["kind"], "invalid option");
}
