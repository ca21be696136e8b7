//! `distsync run` in a terminal, as a job of an interactive shell.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use distsync::{LockOptions, connect};

use crate::program::{distsync, react_to_signals};
use crate::running::until;
use crate::stores::Netlock;

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// An interactive shell in a terminal of its own.
#[derive(Debug)]
struct Shell {
    script: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
    /// How much of what was shown is expected already.
    seen: usize,
}

impl Shell {
    /// Starts a shell in which `d` is `distsync` on this store.
    fn start(url: &str) -> Self {
        react_to_signals();
        let mut script = Command::new("script")
            .args([
                "--quiet",
                "--flush",
                "--command",
                "bash --norc --noprofile -i",
                "/dev/null",
            ])
            .env("DISTSYNC_URL", url)
            .env("D", distsync().get_program())
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(String::new()));
        let all = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                all.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        let mut shell = Self {
            script,
            keys,
            shown,
            seen: 0,
        };
        shell.types("echo up-$((1+1))-\n");
        shell.expect("up-2-");
        shell
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text is shown, after all that was expected before.
    fn expect(&mut self, text: &str) {
        let (shown, seen) = (self.shown.clone(), self.seen);
        let found = until(&format!("`{text}` on the terminal"), || {
            let shown = shown.lock().unwrap();
            shown[seen..].find(text)
        });
        self.seen += found + text.len();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("on the terminal: {}", self.shown.lock().unwrap());
        }
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn the_keyboard_and_ctrl_c_work_as_without_distsync() {
    let netlock = Netlock::start();
    let mut shell = Shell::start(&netlock.url());
    shell.types("$D run a -- sh -c 'read x; echo got-$x-; exec sleep 100'\n");
    shell.types("word\n");
    shell.expect("got-word-");
    shell.types(CTRL_C);
    shell.types("echo code-$?-\n");
    shell.expect("code-130-");
    // The shell has the terminal again, and so has a script that cannot take it by itself.
    shell.types("read y; echo shell-$y-\nmore\n");
    shell.expect("shell-more-");
    shell.types("bash -c '$D run a -- true; read z; echo script-$z-'\nlast\n");
    shell.expect("script-last-");
}

#[test]
fn ctrl_z_stops_the_job_and_fg_continues_it() {
    let netlock = Netlock::start();
    let mut shell = Shell::start(&netlock.url());
    shell.types("$D run a -- sh -c 'echo ready-$((1+1)); read x; echo got-$x-'\n");
    shell.expect("ready-2");
    shell.types(CTRL_Z);
    shell.expect("Stopped");
    shell.types("fg\nword\n");
    shell.expect("got-word-");
    shell.types("echo code-$?-\n");
    shell.expect("code-0-");
}

#[test]
fn a_program_in_a_pipeline_gets_the_terminal_when_it_asks_for_it() {
    let netlock = Netlock::start();
    let mut shell = Shell::start(&netlock.url());
    shell.types("$D run a -- sh -c 'read x; echo got-$x-' | cat; echo code-$?-\n");
    shell.types("word\n");
    shell.expect("got-word-");
    shell.expect("code-0-");
    shell.types("$D run a -- sh -c 'echo ready-$((1+1)) >&2; exec sleep 100' | cat\n");
    shell.expect("ready-2");
    shell.types(CTRL_C);
    shell.types("echo code-${PIPESTATUS[0]}-\n");
    shell.expect("code-130-");
}

#[tokio::test]
async fn ctrl_c_ends_the_wait() {
    let netlock = Netlock::start();
    let sync = connect(&netlock.url()).await.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let _guard = lock.acquire().await.unwrap();
    let mut shell = Shell::start(&netlock.url());
    shell.types("$D run a -- true\n");
    shell.expect("waiting for `a`, 1 ahead");
    shell.types(CTRL_C);
    shell.types("echo code-$?-\n");
    shell.expect("code-130-");
    assert_eq!(lock.inspect().await.unwrap().entries.len(), 1);
}

#[test]
fn ctrl_c_ends_a_script_that_runs_distsync() {
    let netlock = Netlock::start();
    let mut shell = Shell::start(&netlock.url());
    let wait = "$D run a -- sh -c \"echo ready-\\$((1+1)); exec sleep 100\"";
    shell.types(&format!(
        "bash -c 'for i in 1 2; do {wait}; echo next-$i-; done'; echo end-$?-\n"
    ));
    shell.expect("ready-2");
    shell.types(CTRL_C);
    shell.types("echo end-$?-\n");
    shell.expect("end-130-");
    assert!(!shell.shown.lock().unwrap().contains("next-1-"));
}
