//! Checks that the generated code equals a fresh generation from the `.proto` files.
//! `UPDATE=1 cargo test -p distsync-netlock --test proto` generates it again.

use std::path::Path;

#[test]
fn the_generated_code_is_up_to_date() {
    for (proto, folder, package) in [
        ("netlock.proto", "wire", "netlock.v1.rs"),
        ("cluster.proto", "cluster", "netlock.cluster.v1.rs"),
    ] {
        check(proto, folder, package);
    }
}

/// Checks the code of one file, in a folder of `src`.
fn check(proto: &str, folder: &str, package: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("src").join(folder).join(package);
    let fresh = tempfile::tempdir().unwrap();
    let descriptors =
        protox::compile([root.join("proto").join(proto)], [root.join("proto")]).unwrap();
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(fresh.path())
        .compile_fds(descriptors)
        .expect("the .proto compiles");
    let generated = std::fs::read_to_string(fresh.path().join(package)).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&target, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&target).unwrap_or_default();
    assert!(
        committed == generated,
        "{proto} has changed: run this test with UPDATE=1"
    );
}
