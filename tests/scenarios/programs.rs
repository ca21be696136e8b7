//! The programs of this workspace as processes: the examples and netlockd.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};

/// Returns the path of an example after building it. `cargo test --test scenarios` builds no
/// examples, and an earlier build may have left one without all stores.
pub(crate) fn example(name: &str) -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        // `<target folder>/<profile>/deps/<this test>`
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let profile_name = profile.file_name().and_then(OsStr::to_str).unwrap();
        let mut build = Command::new(env!("CARGO"));
        // Cargo sets these variables for this test's package. Passing them on would rerun the build
        // scripts that depend on them.
        let said =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(said)) {
            build.env_remove(name);
        }
        let built = build
            .args([
                "build",
                "--quiet",
                "--examples",
                "--all-features",
                "--package",
                "distsync",
                "--profile",
            ])
            .arg(if profile_name == "debug" {
                "dev"
            } else {
                profile_name
            })
            .arg("--target-dir")
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success(), "the examples do not build");
        profile.join("examples")
    });
    FOLDER.join(name)
}

pub(crate) fn run(name: &str, arguments: &[&str]) -> Output {
    Command::new(example(name))
        .args(arguments)
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The identity of the lock table of each [`Netlockd`].
pub(crate) const TABLE: &str = "00112233445566778899aabbccddeeff";

/// A netlockd process, run through the same main function as the program.
pub(crate) struct Netlockd {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Netlockd {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(example("contenders"))
            .args([
                "netlockd",
                "--listen",
                "127.0.0.1:0",
                "--log",
                "warn",
                "--table",
                TABLE,
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .next()
            .unwrap()
            .unwrap();
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { child, address }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("netlock://{}", self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(),
            signal,
        )
        .unwrap();
    }
}

impl Drop for Netlockd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
