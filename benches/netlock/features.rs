//! The cost of TLS, tokens, metrics and a data folder, each alone and all together, beside Redis
//! without any of them: `cargo bench --bench netlock -- features NETLOCKD`, with the path of the
//! program. `taskset -c 0` in front of it puts servers and load on one core.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use distsync_netlock::token_line;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::programs::Program;
use super::raw::Target;
use super::redis::{self, Redis, Release};
use super::side::{self, medians};
use super::{ROUND, ROUNDS, raw};

const TOKEN: &str = "a token of a benchmark";
/// How often the metrics are read.
const SCRAPES: Duration = Duration::from_millis(100);

/// The features of one server.
#[derive(Clone, Copy)]
pub(crate) struct Features {
    tokens: bool,
    metrics: bool,
    tls: bool,
    folder: bool,
}

impl Features {
    pub(crate) const PLAIN: Self = Self {
        tokens: false,
        metrics: false,
        tls: false,
        folder: false,
    };
    pub(crate) const TLS: Self = Self {
        tls: true,
        ..Self::PLAIN
    };
}

const CASES: [(&str, Features); 6] = [
    ("plain", Features::PLAIN),
    (
        "tokens",
        Features {
            tokens: true,
            ..Features::PLAIN
        },
    ),
    (
        "metrics",
        Features {
            metrics: true,
            ..Features::PLAIN
        },
    ),
    ("tls", Features::TLS),
    (
        "folder",
        Features {
            folder: true,
            ..Features::PLAIN
        },
    ),
    (
        "all four",
        Features {
            tokens: true,
            metrics: true,
            tls: true,
            folder: true,
        },
    ),
];

/// The files of servers.
pub(crate) struct Files {
    folder: TempDir,
    certificate: CertificateDer<'static>,
}

impl Files {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("a file");
        };
        write("tokens", token_line("bench", TOKEN));
        write("cert.pem", cert.pem());
        write("key.pem", signing_key.serialize_pem());
        Self {
            certificate: cert.der().clone(),
            folder,
        }
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config).into()
    }

    /// Starts a server with these features and flags.
    pub(crate) fn start(
        &self,
        path: &str,
        features: Features,
        data: &Path,
        more: &[&str],
    ) -> (Program, Target) {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let mut flags: Vec<String> = more.iter().map(|flag| (*flag).to_owned()).collect();
        let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
        if features.tokens {
            flag("--tokens", file("tokens"));
        }
        if features.metrics {
            flag("--admin-listen", "127.0.0.1:0".to_owned());
        }
        if features.tls {
            flag("--tls-cert", file("cert.pem"));
            flag("--tls-key", file("key.pem"));
        }
        if features.folder {
            flag("--data-dir", data.display().to_string());
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let program = Program::start(path, &flags);
        let target = Target {
            address: program.address.parse().expect("an address"),
            token: if features.tokens { TOKEN } else { "" }.to_owned(),
            tls: features.tls.then(|| self.connector()),
        };
        (program, target)
    }
}

pub(crate) fn table(path: &str) {
    let files = Files::new();
    println!(
        "features                       pairs/s   of plain   us of processor a pair   of plain    x redis   wanted"
    );
    for (connections, window) in [(1, 64), (1, 256), (4, 64)] {
        let mut rounds = vec![Vec::new(); CASES.len()];
        let mut stored = Vec::new();
        for _ in 0..ROUNDS {
            for ((_, features), rounds) in CASES.iter().zip(&mut rounds) {
                let data = tempfile::tempdir().expect("a folder");
                let (mut program, target) = files.start(path, *features, data.path(), &[]);
                let scraper = features.metrics.then(|| Scraper::start(&mut program));
                let run = raw::measured(target, connections, window, ROUND, || program.cpu());
                rounds.push(run.round());
                drop(scraper);
            }
            let server = Redis::start();
            let run = redis::measured(&server, Release::Delete, connections, window, ROUND);
            stored.push(run.round());
        }
        let redis = medians(&stored);
        let plain = medians(&rounds[0]);
        for ((name, _), rounds) in CASES.iter().zip(&rounds) {
            let (per_second, cpu) = medians(rounds);
            println!(
                "{connections:>4} x {window:<4} {name:<10} {per_second:>17.0} {:>10.2} {cpu:>24.2} {:>10.2} {:>10.2} {:>8}",
                per_second / plain.0,
                cpu / plain.1,
                per_second / redis.0,
                if *name == "all four" { "2" } else { "-" }
            );
        }
        println!(
            "{connections:>4} x {window:<4} redis      {:>17.0} {:>10.2} {:>24.2}",
            redis.0,
            redis.0 / plain.0,
            redis.1
        );
    }
    println!();
}

/// A thread that reads the metrics of a server.
struct Scraper {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Scraper {
    fn start(program: &mut Program) -> Self {
        let metrics = program.said("metrics on ");
        let address: SocketAddr = metrics.parse().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let thread = std::thread::spawn(move || {
            side::runtime().block_on(async {
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(address).await.expect("connect");
                    let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                    stream.write_all(request).await.expect("write");
                    let mut page = Vec::new();
                    stream.read_to_end(&mut page).await.expect("a page");
                    tokio::time::sleep(SCRAPES).await;
                }
            });
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread ends");
        }
    }
}
