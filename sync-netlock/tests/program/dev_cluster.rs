//! `netlockd dev-cluster`: three members that a new user can kill.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use distsync_core::{Handle, LockOptions, Sync, SyncOptions};
use distsync_netlock::{Client, Config};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::server::{NETLOCKD, ended, run};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster. Its members end with it.
struct DevCluster {
    process: Child,
    said: UnboundedReceiver<String>,
}

/// A member, as the cluster has printed it.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    address: String,
    process: Pid,
}

impl Member {
    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.strip_prefix("member ")?.split_once(": ")?;
        let (address, process) = rest.split_once(", process ")?;
        Some(Self {
            name: name.to_owned(),
            address: address.to_owned(),
            process: Pid::from_raw(process.parse().ok()?)?,
        })
    }

    fn is_running(&self) -> bool {
        test_kill_process(self.process).is_ok()
    }
}

impl DevCluster {
    fn start() -> Self {
        let mut command = Command::new(NETLOCKD);
        command.arg("dev-cluster").stderr(Stdio::null());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, said) = unbounded_channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { process, said }
    }

    /// Waits for a line that `parse` accepts.
    async fn said<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> T {
        let search = async {
            loop {
                let line = self.said.recv().await.expect("the cluster has ended");
                if let Some(found) = parse(&line) {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.expect("the cluster is silent")
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.process);
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn the_lock_service_goes_on_when_any_of_its_members_is_killed() {
    let mut cluster = DevCluster::start();
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(cluster.said(Member::parse).await);
    }
    let url = |line: &str| line.starts_with("netlock://").then(|| line.to_owned());
    let url = cluster.said(url).await;
    let config = Config::from_url(url.parse().unwrap()).unwrap();
    let options = SyncOptions::new().with_session_ttl(Duration::from_secs(20));
    let sync = Handle::open(Client::new(config).backend(), options).await;
    let sync = sync.unwrap();
    let held = sync.lock("held", LockOptions::new()).unwrap();
    let held = held.acquire().await.unwrap();
    let job = sync.lock("job", LockOptions::new()).unwrap();

    for member in &mut members {
        kill_process(member.process, Signal::KILL).unwrap();
        job.acquire().await.unwrap().release().await.unwrap();
        held.check(Duration::ZERO).unwrap();
        let again = cluster.said(Member::parse).await;
        assert_eq!(
            (&again.name, &again.address),
            (&member.name, &member.address)
        );
        assert_ne!(again.process, member.process);
        *member = again;
    }
    held.release().await.unwrap();
    sync.close().await.unwrap();

    kill_process(Pid::from_child(&cluster.process), Signal::TERM).unwrap();
    assert!(ended(&mut cluster.process).expect("it stops").success());
    assert!(members.iter().all(|member| !member.is_running()));
}

#[test]
fn other_settings_than_those_of_the_log_are_an_error() {
    let output = run(&["--data-dir", "folder", "dev-cluster"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("own settings: remove"),
        "{said}"
    );
}
