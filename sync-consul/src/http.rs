//! A typed client of the calls of Consul's HTTP API that locks need.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use distsync_core::spi::tls::{self, Tls, choose_cryptography};
use distsync_core::spi::{home, locked};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::runtime;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::Config;
use crate::error::Failure;

/// The longest time that Consul may hold a blocking query.
pub(crate) const HOLD: Duration = Duration::from_secs(10);
/// The time limit of a whole read. Consul adds up to a sixteenth to the [`HOLD`] of a blocking
/// query, and a dead network never replies.
const HOLD_MAX: Duration = Duration::from_secs(15);

/// An HTTP client of one agent.
#[derive(Debug)]
pub(crate) struct Http {
    current: Mutex<Current>,
    /// A limit on the requests in flight, granted in order of arrival.
    turns: Semaphore,
    config: Config,
}

/// The number of runtimes that keep connections of their own. It is small because an agent serves
/// 200 connections per client address by default.
const RUNTIMES: usize = 4;

/// The connections and the TLS settings that they were made with.
#[derive(Debug)]
struct Current {
    /// One client per runtime, the newest last. A connection is driven by a task on the runtime
    /// that made it, so it stalls while that runtime is not driven.
    clients: Vec<(runtime::Id, Client)>,
    tls: Option<Arc<Tls>>,
}

/// A key with its value.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    /// The session that has locked the key.
    pub(crate) session: Option<String>,
}

impl Pair {
    /// Returns the decoded value, or nothing if there is no valid one.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.value
            .as_ref()
            .and_then(|value| BASE64_STANDARD.decode(value).ok())
            .unwrap_or_default()
    }
}

/// One step of a transaction.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    #[serde(rename = "KV")]
    kv: Operation,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Operation {
    verb: &'static str,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
}

impl Step {
    fn new(verb: &'static str, key: &str) -> Self {
        Self {
            kv: Operation {
                verb,
                key: key.to_owned(),
                value: None,
                session: None,
                index: None,
            },
        }
    }

    /// Locks a key and writes its value. Repeated by the same session, it only writes the value.
    pub(crate) fn lock(key: &str, value: &[u8], session: &str) -> Self {
        let mut step = Self::new("lock", key);
        step.kv.value = Some(BASE64_STANDARD.encode(value));
        step.kv.session = Some(session.to_owned());
        step
    }

    /// Rolls back if the key is there.
    pub(crate) fn check_not_exists(key: &str) -> Self {
        Self::new("check-not-exists", key)
    }

    /// Rolls back unless the key is there and was last written at `index`.
    pub(crate) fn check_index(key: &str, index: u64) -> Self {
        let mut step = Self::new("check-index", key);
        step.kv.index = Some(index);
        step
    }

    /// Rolls back unless the key is locked by `session`.
    pub(crate) fn check_session(key: &str, session: &str) -> Self {
        let mut step = Self::new("check-session", key);
        step.kv.session = Some(session.to_owned());
        step
    }

    /// Reads all keys with a prefix. It does not fail if there are none.
    pub(crate) fn get_tree(prefix: &str) -> Self {
        Self::new("get-tree", prefix)
    }

    pub(crate) fn delete(key: &str) -> Self {
        Self::new("delete", key)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NewSession<'a> {
    name: &'a str,
    #[serde(rename = "TTL")]
    ttl: String,
    behavior: &'static str,
    lock_delay: String,
    /// Empty, so that the session depends on its TTL alone and not on the health of an agent's
    /// node.
    node_checks: [&'static str; 0],
}

#[derive(Deserialize)]
struct SessionMade {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transacted {
    results: Option<Vec<Row>>,
    errors: Option<Vec<Trouble>>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "KV")]
    kv: Option<Pair>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Trouble {
    what: String,
}

/// The result of a read, with its index for blocking queries.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) index: u64,
}

/// The keys that a blocking query watches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Key(String),
    Tree(String),
}

/// Returns a client whose connections use `tls`.
fn connect(config: &Config, tls: Option<&Tls>) -> Result<Client, Failure> {
    let mut builder = Client::builder()
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .no_proxy();
    if let Some(tls) = tls {
        let settings = tls::settings(tls, rustls::DEFAULT_VERSIONS, &[])?;
        builder = builder.https_only(true).tls_backend_preconfigured(settings);
    }
    match &config.unix_socket {
        #[cfg(unix)]
        Some(path) => builder = builder.unix_socket(path.as_str()),
        // The configuration refuses the option elsewhere.
        _ => {}
    }
    // Without TLS no authorities are needed, but building the client still loads some.
    choose_cryptography();
    Ok(builder.build()?)
}

impl Http {
    pub(crate) fn new(config: Config, in_flight: usize) -> Result<Self, Failure> {
        let tls = config.tls.as_ref().map(Tls::latest);
        // Build a client once, so that invalid settings are reported here.
        connect(&config, tls.as_deref())?;
        let current = Mutex::new(Current {
            clients: Vec::new(),
            tls,
        });
        Ok(Self {
            current,
            turns: Semaphore::new(in_flight),
            config,
        })
    }

    /// Returns the client of this runtime, with the current certificates.
    fn client(&self) -> Result<Client, Failure> {
        let here = home::runtime()?.id();
        let latest = self.config.tls.as_ref().map(Tls::latest);
        let mut current = locked(&self.current);
        if current.tls != latest {
            *current = Current {
                clients: Vec::new(),
                tls: latest,
            };
        }
        if let Some((_, client)) = current.clients.iter().find(|(runtime, _)| *runtime == here) {
            return Ok(client.clone());
        }
        let client = connect(&self.config, current.tls.as_deref())?;
        if current.clients.len() == RUNTIMES {
            current.clients.remove(0);
        }
        current.clients.push((here, client.clone()));
        Ok(client)
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let scheme = if self.config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let mut url = format!("{scheme}://{}{path}", self.config.address);
        if let Some(datacenter) = &self.config.datacenter {
            url.push_str(if path.contains('?') { "&dc=" } else { "?dc=" });
            url.extend(utf8_percent_encode(datacenter, NON_ALPHANUMERIC));
        }
        let request = self.client()?.request(method, url);
        Ok(match &self.config.token {
            // The file of the token may have changed since the last request.
            Some(token) => request.header("X-Consul-Token", &*token.latest()),
            None => request,
        })
    }

    /// Waits for a permit to send a request. The caller keeps it until the reply has been read.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.turns.acquire().await.ok()
    }

    async fn ok(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(Failure::Status {
            status,
            text: response.text().await?.trim().to_owned(),
        })
    }

    pub(crate) async fn create_session(
        &self,
        name: &str,
        ttl: Duration,
    ) -> Result<String, Failure> {
        let _turn = self.turn().await;
        let session = NewSession {
            name,
            ttl: format!("{}ms", ttl.as_millis()),
            // With a lock-delay, the client deletes the keys itself before it closes the session.
            // Only a lost session then delays others.
            behavior: if self.config.lock_delay.is_zero() {
                "delete"
            } else {
                "release"
            },
            lock_delay: format!("{}ms", self.config.lock_delay.as_millis()),
            node_checks: [],
        };
        let request = self
            .request(Method::PUT, "/v1/session/create")?
            .json(&session);
        Ok(self.ok(request).await?.json::<SessionMade>().await?.id)
    }

    pub(crate) async fn renew_session(&self, session: &str) -> Result<(), Failure> {
        let _turn = self.turn().await;
        self.ok(self.request(Method::PUT, &format!("/v1/session/renew/{session}"))?)
            .await?;
        Ok(())
    }

    pub(crate) async fn destroy_session(&self, session: &str) -> Result<(), Failure> {
        let _turn = self.turn().await;
        self.ok(self.request(Method::PUT, &format!("/v1/session/destroy/{session}"))?)
            .await?;
        Ok(())
    }

    /// Returns whether a session is alive.
    pub(crate) async fn session_lives(&self, session: &str) -> Result<bool, Failure> {
        let _turn = self.turn().await;
        let request = self.request(
            Method::GET,
            &format!("/v1/session/info/{session}?consistent"),
        )?;
        let found: Option<Vec<serde_json::Value>> = self.ok(request).await?.json().await?;
        Ok(found.is_some_and(|found| !found.is_empty()))
    }

    /// Returns the addresses of the servers that replicate the data.
    pub(crate) async fn servers(&self) -> Result<Vec<String>, Failure> {
        let _turn = self.turn().await;
        let request = self.request(Method::GET, "/v1/status/peers")?;
        Ok(self.ok(request).await?.json().await?)
    }

    /// Runs all steps or none, and returns the pairs that they read or wrote. There can be fewer
    /// pairs than steps, so they are identified by their keys.
    pub(crate) async fn transact(&self, steps: &[Step]) -> Result<Vec<Pair>, Failure> {
        let _turn = self.turn().await;
        let response = self
            .request(Method::PUT, "/v1/txn")?
            .json(&steps)
            .send()
            .await?;
        let status = response.status();
        if !status.is_success() && status != StatusCode::CONFLICT {
            return Err(Failure::Status {
                status,
                text: response.text().await?.trim().to_owned(),
            });
        }
        let text = response.text().await?;
        let transacted: Transacted = serde_json::from_str(&text).map_err(|_| Failure::Status {
            status,
            text: text.trim().to_owned(),
        })?;
        if status == StatusCode::CONFLICT {
            let errors = transacted.errors.unwrap_or_default();
            return Err(Failure::RolledBack(
                errors.into_iter().map(|error| error.what).collect(),
            ));
        }
        Ok(transacted
            .results
            .unwrap_or_default()
            .into_iter()
            .filter_map(|row| row.kv)
            .collect())
    }

    /// Reads from the leader, at once or, with an index, when the state is newer or [`HOLD`] is
    /// over.
    pub(crate) async fn read(
        &self,
        scope: &Scope,
        newer_than: Option<u64>,
    ) -> Result<Read, Failure> {
        // Blocking queries have a limit of their own.
        let _turn = match newer_than {
            None => self.turn().await,
            Some(_) => None,
        };
        let (key, tree) = match scope {
            Scope::Key(key) => (key, ""),
            Scope::Tree(prefix) => (prefix, "&recurse"),
        };
        let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
        let mut path = format!("/v1/kv/{key}?consistent{tree}");
        if let Some(index) = newer_than {
            path.push_str(&format!("&index={}&wait={}s", index.max(1), HOLD.as_secs()));
        }
        let request = self.request(Method::GET, &path)?.timeout(HOLD_MAX);
        let response = request.send().await?;
        let index = response
            .headers()
            .get("X-Consul-Index")
            .and_then(|index| index.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        match response.status() {
            StatusCode::NOT_FOUND => Ok(Read {
                pairs: Vec::new(),
                index,
            }),
            status if status.is_success() => Ok(Read {
                pairs: response.json().await?,
                index,
            }),
            status => Err(Failure::Status {
                status,
                text: response.text().await?.trim().to_owned(),
            }),
        }
    }
}
