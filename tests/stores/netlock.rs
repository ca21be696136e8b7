//! A netlock server on a free port, on its own thread.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::proxy::through_a_proxy;
use async_trait::async_trait;
use distsync_core::ErrorKind;
use distsync_core::conformance::{BreakAt, Breaking, Harness};
use distsync_core::spi::Backend;
#[cfg(feature = "full")]
use distsync_netlock::ServerTls;
use distsync_netlock::{Client, Config, Server, ServerOptions, StorageOptions};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "full")]
use super::Certificates;

/// One server; a restart starts a new one at the same address.
#[derive(Debug)]
pub(crate) struct Netlock {
    address: String,
    options: ServerOptions,
    running: Mutex<Option<Running>>,
    /// The folder of the lock table, if it is persistent.
    _folder: Option<TempDir>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Running {
    /// Starts a server and returns once it listens.
    fn start(address: String, options: ServerOptions) -> (String, Self) {
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                // The port of a server that has just stopped can stay in use for a moment.
                let server = loop {
                    match Server::bind(&address, options.clone()).await {
                        Ok(server) => break server,
                        Err(error) if error.kind() == ErrorKind::Unavailable => {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                };
                tell.send(server.address().to_string()).unwrap();
                server.run(stopping).await;
            });
        });
        (told.recv().unwrap(), Self { stop, thread })
    }

    fn stop(self) {
        self.stop.cancel();
        self.thread.join().unwrap();
    }
}

impl Netlock {
    /// Starts a server on a free port that keeps its table in memory only.
    pub(crate) fn start() -> Arc<Self> {
        Self::with(ServerOptions::default(), None)
    }

    /// Starts a server that keeps its table in a folder.
    pub(crate) fn with_a_folder() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let storage = Some(StorageOptions::new(folder.path()));
        let options = ServerOptions {
            storage,
            ..ServerOptions::default()
        };
        Self::with(options, Some(folder))
    }

    pub(crate) fn url(&self) -> String {
        format!("netlock://{}", self.address)
    }

    /// Starts a server that speaks TLS with the certificate `name` and requires a client
    /// certificate.
    #[cfg(feature = "full")]
    pub(crate) fn start_with_tls_as(certificates: &Certificates, name: &str) -> Arc<Self> {
        let path = |name: &str| certificates.path(name);
        let (certificate, key) = (path(&format!("{name}.pem")), path(&format!("{name}.key")));
        let tls = Some(ServerTls {
            certificate,
            key,
            client_ca: Some(path("ca.pem")),
        });
        Self::with(
            ServerOptions {
                tls,
                ..ServerOptions::default()
            },
            None,
        )
    }

    #[cfg(feature = "full")]
    pub(crate) fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    fn with(options: ServerOptions, folder: Option<TempDir>) -> Arc<Self> {
        let (address, running) = Running::start("127.0.0.1:0".to_owned(), options.clone());
        Arc::new(Self {
            address,
            options,
            running: Mutex::new(Some(running)),
            _folder: folder,
        })
    }
}

#[async_trait]
impl Harness for Netlock {
    async fn backend(&self) -> Arc<dyn Backend> {
        let backend = Client::new(Config::new([&self.address]).unwrap()).backend();
        // The server announces its capabilities in its greeting, so connect before a test reads
        // them.
        backend.list("nobody/").await.unwrap();
        backend
    }

    async fn breaking(&self, at: BreakAt) -> Breaking {
        let port = self.address.rsplit_once(':').unwrap().1.parse().unwrap();
        let breaking = through_a_proxy("netlock", port, at).await;
        // Connect first, as above. This request may be the one that breaks.
        while breaking.backend.list("nobody/").await.is_err() {}
        breaking
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(1_500)
    }

    async fn restart(&self) {
        let mut running = self.running.lock().unwrap();
        running.take().unwrap().stop();
        *running = Some(Running::start(self.address.clone(), self.options.clone()).1);
    }

    fn is_shared() -> bool {
        false
    }
}

impl Drop for Netlock {
    fn drop(&mut self) {
        if let Some(running) = self.running.lock().unwrap().take() {
            running.stop();
        }
    }
}
