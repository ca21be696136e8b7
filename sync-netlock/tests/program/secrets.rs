//! At the finest level of logs, neither the server nor a client tells a secret.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sync_core::{Handle, LockOptions, Sync, SyncOptions};
use sync_netlock::{Client, Config, token_line};
use tracing_subscriber::fmt::MakeWriter;

use super::server::{NETLOCKD, Netlockd};

/// All that a client logs.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

const TOKEN: &str = "a-token-that-nobody-else-has";

#[test]
fn logs_at_their_finest_have_no_secret() {
    let logs = Logs::default();
    // The keeper's thread logs too: the subscriber is this whole process's, and other tests write into it as well.
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(logs.clone());
    subscriber.init();
    let folder = tempfile::tempdir().unwrap();
    let (tokens, output) = (folder.path().join("tokens"), folder.path().join("log"));
    std::fs::write(&tokens, token_line("somebody", TOKEN)).unwrap();
    let mut command = Command::new(NETLOCKD);
    command.args(["--listen", "127.0.0.1:0", "--log", "trace", "--tokens"]).arg(&tokens);
    command.arg("--data-dir").arg(folder.path().join("data"));
    command.stderr(Stdio::from(std::fs::File::create(&output).unwrap()));
    let server = Netlockd::spawn(command);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ticket = runtime.block_on(async {
        let config = Config::new([server.address()]).unwrap().with_token(TOKEN);
        let options = SyncOptions::new().with_session_ttl(Duration::from_secs(2));
        let handle = Handle::open(Client::new(config).backend(), options).await.unwrap();
        let lock = handle.lock("a", LockOptions::new().with_ttl(Duration::from_secs(60))).unwrap();
        let ticket = lock.acquire().await.unwrap().detach().unwrap();
        // A renewal, and a refusal.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let other = handle.resume(&ticket).await.unwrap();
        other.release().await.unwrap();
        handle.resume(&ticket).await.unwrap_err();
        let wrong = Config::new([server.address()]).unwrap().with_token("wrong-and-secret-too");
        Handle::open(Client::new(wrong).backend(), SyncOptions::new()).await.unwrap_err();
        handle.close().await.unwrap();
        ticket.expose()
    });
    drop(server);

    let secret = u128::from_str_radix(ticket.split('.').nth(2).unwrap(), 16).unwrap();
    let (high, low) = ((secret >> 64) as u64, u64::try_from(secret & u128::from(u64::MAX)).unwrap());
    let mine = String::from_utf8_lossy(&logs.0.lock().unwrap()).into_owned();
    let servers = std::fs::read_to_string(&output).unwrap();
    assert!(mine.contains("TRACE") || mine.contains("DEBUG"), "the client logs something: {mine}");
    assert!(servers.contains("DEBUG"), "the server logs something: {servers}");
    for told in [
        TOKEN.to_owned(),
        "wrong-and-secret-too".to_owned(),
        format!("{secret:x}"),
        secret.to_string(),
        format!("{high:x}"),
        high.to_string(),
        format!("{low:x}"),
        low.to_string(),
    ] {
        assert!(!mine.contains(&told), "the client tells {told}: {mine}");
        assert!(!servers.contains(&told), "the server tells {told}: {servers}");
    }
}
