//! Checks that the generated code in `src/wire/` equals a fresh generation from the `.proto`.
//! `UPDATE=1 cargo test -p distsync-netlock --test proto` generates it again.

use std::path::Path;

#[test]
fn the_generated_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("src/wire/netlock.v1.rs");
    let fresh = tempfile::tempdir().unwrap();
    let descriptors =
        protox::compile([root.join("proto/netlock.proto")], [root.join("proto")]).unwrap();
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(fresh.path())
        .compile_fds(descriptors)
        .expect("the .proto compiles");
    let generated = std::fs::read_to_string(fresh.path().join("netlock.v1.rs")).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&target, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&target).unwrap_or_default();
    assert!(
        committed == generated,
        "netlock.proto has changed: run this test with UPDATE=1"
    );
}
