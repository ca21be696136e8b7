//! A store's server program, on a free port with a temporary folder, ended by its pid.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use distsync_core::spi::clock;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// The longest time that a store may take to start, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns a free port on loopback, a different one at each call. The ports are below the range
/// that the system gives to outgoing connections, so no such connection can take the port before
/// the store does.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // `netlockd dev-cluster` takes ports below these.
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;

    // Concurrent test processes begin at different ports.
    let start = u16::try_from(std::process::id() % 1_000).unwrap() * 20;
    loop {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}

/// Removes everything in a store's folder except the files named in `but`.
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

/// Copies a folder recursively.
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

/// Returns the path of a program: in the folder of `scripts/stores` if it is there, else in PATH.
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

/// A running program.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
}

impl Program {
    /// Starts `name` in `folder`, with its output appended to the file `log` there.
    pub(crate) fn start(name: &str, folder: &Path, arguments: &[String]) -> Self {
        Self::start_with(name, folder, arguments, &[])
    }

    /// Like [`start`](Self::start), with environment variables that name files.
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

    /// Waits until `port` accepts connections and `serves` returns true for one of them.
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

    /// Stops the program with SIGTERM and waits until it has ended.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        self.child.wait().unwrap();
    }

    /// Stops the program with SIGSTOP; its connections stay open. Returns when all its threads have
    /// stopped: until then, it may still answer.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }
}

/// A server program that tests can stop and start again.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<Option<Program>>);

impl Running {
    /// Stops the program if it is running, and starts it again.
    pub(crate) fn restart(&self, start: impl FnOnce() -> Program) {
        let mut running = self.0.lock().unwrap();
        if let Some(program) = running.take() {
            program.stop();
        }
        *running = Some(start());
    }

    /// Stops the program with SIGSTOP; its connections stay open.
    pub(crate) fn freeze(&self) {
        self.0.lock().unwrap().as_ref().unwrap().freeze();
    }

    /// Stops the program until a restart.
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
