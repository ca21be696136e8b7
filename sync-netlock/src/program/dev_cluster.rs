//! `netlockd dev-cluster`: three members in one process, to try a cluster.

use std::io::Write;
use std::path::PathBuf;

use distsync_core::spi::Secret;
use distsync_core::{Error, ErrorKind, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Consensus, Member, NodeOptions};
use crate::server::{Server, ServerOptions};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A folder that is removed with its content.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs three members on loopback addresses until `stop` is cancelled. Writes their URL to `out`.
pub(super) async fn serve(stop: CancellationToken, out: &mut (dyn Write + Send)) -> Result<()> {
    let table = Secret::random().expose();
    let folder = Temporary(std::env::temp_dir().join(format!("netlockd-{table:032x}")));
    let (mut servers, mut voters, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
    for name in NAMES {
        let node = NodeOptions::new(table, name, folder.0.join(name));
        let server = Server::member("127.0.0.1:0", ServerOptions::new(), node).await?;
        let node = server.node().ok_or_else(unformed)?;
        let address = server.address().to_string();
        addresses.push(address.clone());
        let member = Member {
            name: name.to_owned(),
            address: node.address().to_string(),
            clients: address,
        };
        voters.push((node.id(), member));
        servers.push((server, node));
    }
    let (_, first) = servers.first().ok_or_else(unformed)?;
    let formed = first.form(voters).await;
    formed.map_err(|why| unformed().with_source(std::io::Error::other(why.to_string())))?;
    let mut running = JoinSet::new();
    for (server, _) in servers {
        running.spawn(server.run(stop.clone()));
    }
    // Ignore errors: a parent process may close the pipe after it has read the URL.
    let _ = writeln!(out, "netlock://{}?table={table:032x}", addresses.join(","));
    let _ = out.flush();
    while running.join_next().await.is_some() {}
    Ok(())
}

fn unformed() -> Error {
    let problem = "the cluster was not formed: see the cause";
    Error::new(ErrorKind::Unavailable, problem)
}

#[cfg(test)]
mod tests {
    use distsync_core::{Handle, LockOptions, Sync, SyncOptions};

    use super::*;
    use crate::{Client, Config};

    #[tokio::test]
    async fn the_url_leads_to_the_leader() {
        let stop = CancellationToken::new();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let client = async {
            let url = tokio::task::spawn_blocking(move || {
                let mut url = String::new();
                std::io::BufRead::read_line(&mut std::io::BufReader::new(&mut reader), &mut url)
                    .unwrap();
                url
            });
            let url = url.await.unwrap();
            let config = Config::from_url(url.trim().parse().unwrap()).unwrap();
            let sync = Handle::open(Client::new(config).backend(), SyncOptions::new()).await;
            let sync = sync.unwrap();
            let lock = sync.lock("a", LockOptions::new()).unwrap();
            let held = lock.acquire().await.unwrap();
            held.release().await.unwrap();
            sync.close().await.unwrap();
            stop.cancel();
            let table = url.trim().rsplit_once('=').unwrap().1.to_owned();
            std::env::temp_dir().join(format!("netlockd-{table}"))
        };
        let mut out = writer;
        let (served, folder) = tokio::join!(serve(stop.clone(), &mut out), client);
        served.unwrap();
        assert!(!folder.exists(), "{}", folder.display());
    }
}
