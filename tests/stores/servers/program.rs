//! A store's own program, on a free port with a temporary folder, stopped by its pid.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use distsync_core::spi::clock;
use rustix::process::{Pid, Signal, kill_process};

/// How long a store may take to serve, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port on loopback that nobody uses: below those that the system gives to outgoing connections,
/// so that none of them takes it before the store does, and never the same one twice.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;

    // Another run of the tests on this machine begins elsewhere.
    let start = u16::try_from(std::process::id() % 1_000).unwrap() * 22;
    loop {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}

/// Removes what a store keeps in its folder, but for these files.
pub(crate) fn empty(folder: &Path, but: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if but.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.unwrap_or_else(|error| panic!("cannot remove {}: {error}", path.display()));
    }
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            std::fs::copy(&path, &copied)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// Where `scripts/stores` puts what is not in PATH.
fn path_of(name: &str) -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/stores/bin")
        .join(name);
    if ours.exists() {
        ours
    } else {
        PathBuf::from(name)
    }
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
}

impl Program {
    /// Starts `name` in `folder`; its output goes into a file there.
    pub(crate) fn start(name: &str, folder: &Path, arguments: &[String]) -> Self {
        Self::start_with(name, folder, arguments, &[])
    }

    /// As [`start`](Self::start), with files in its environment.
    pub(crate) fn start_with(
        name: &str,
        folder: &Path,
        arguments: &[String],
        environment: &[(&str, &Path)],
    ) -> Self {
        distsync_core::conformance::secrets::watch_logs();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let child = Command::new(path_of(name))
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} is missing ({error}): run scripts/stores"));
        Self {
            name: name.to_owned(),
            child,
        }
    }

    /// Waits until something accepts connections at `port` and `serves` says that it does its work.
    pub(crate) fn wait_until(&mut self, port: u16, serves: impl Fn(TcpStream) -> bool) {
        let deadline = clock::now().after(PATIENCE);
        while !TcpStream::connect(("127.0.0.1", port)).is_ok_and(&serves) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} has ended: {status}", self.name);
            }
            assert!(
                clock::now() < deadline,
                "{} does not serve within {PATIENCE:?}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it by SIGTERM, and waits until it has ended.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        self.child.wait().unwrap();
    }

    /// Lets it stand still, with its connections open.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .unwrap();
        kill_process(pid, signal).unwrap();
    }
}

/// The program of a server that tests stop and start again.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<Option<Program>>);

impl Running {
    /// Stops it, if it runs, and starts it again.
    pub(crate) fn restart(&self, start: impl FnOnce() -> Program) {
        let mut running = self.0.lock().unwrap();
        if let Some(program) = running.take() {
            program.stop();
        }
        *running = Some(start());
    }

    /// Stops it, until a restart.
    pub(crate) fn stop(&self) {
        self.0.lock().unwrap().take().unwrap().stop();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
