//! The sections of the file.

use std::path::PathBuf;

use distsync_core::Result;
use serde::{Deserialize, Serialize};

use super::invalid;
use super::values::Span;
use crate::server::{IsolationOptions, OnFailure, ServerOptions, ServerTls};

/// The files for TLS.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsFiles {
    /// The certificate of the server. If it is set, the server accepts only TLS connections.
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    /// The authorities that issue certificates of clients.
    pub(super) client_ca: Option<PathBuf>,
}

impl TlsFiles {
    pub(super) fn server(&self) -> Result<Option<ServerTls>> {
        let Self {
            cert,
            key,
            client_ca,
        } = self.clone();
        match (cert, key, client_ca) {
            (Some(certificate), Some(key), client_ca) => Ok(Some(ServerTls {
                certificate,
                key,
                client_ca,
            })),
            (None, None, None) => Ok(None),
            _ => Err(invalid(
                "TLS settings are incomplete: give both `tls.cert` and `tls.key`",
            )),
        }
    }
}

/// The settings for isolating clients.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Isolate {
    /// The program that isolates a client, and its arguments. If it is empty, no client is
    /// isolated.
    command: Vec<String>,
    timeout: Span,
    retries: u32,
    parallel: usize,
    /// What happens to the locks if the program fails: `hold` keeps them, a duration releases them
    /// after that time.
    on_failure: String,
}

impl Default for Isolate {
    fn default() -> Self {
        let IsolationOptions {
            command,
            timeout,
            retries,
            parallel,
            ..
        } = IsolationOptions::new(Vec::new());
        Self {
            command,
            timeout: timeout.into(),
            retries,
            parallel,
            on_failure: "hold".to_owned(),
        }
    }
}

impl Isolate {
    pub(super) fn options(&self) -> Result<Option<IsolationOptions>> {
        if self.command.is_empty() {
            return Ok(None);
        }
        let on_failure = match self.on_failure.as_str() {
            "hold" => OnFailure::Hold,
            text => OnFailure::GrantAfter(humantime::parse_duration(text).map_err(|_| {
                invalid(format!(
                    "`isolation.on_failure` is `{text}`: give hold, or a duration such as 30s"
                ))
            })?),
        };
        if self.parallel == 0 {
            return Err(invalid(
                "`isolation.parallel` is 0, so no client would be isolated: give at least 1",
            ));
        }
        let (timeout, retries, parallel) = (self.timeout.into(), self.retries, self.parallel);
        Ok(Some(IsolationOptions {
            timeout,
            retries,
            parallel,
            on_failure,
            ..IsolationOptions::new(self.command.clone())
        }))
    }
}

/// The settings of one permission.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PermissionEntry {
    pub(super) principal: String,
    #[serde(default)]
    pub(super) prefix: String,
    pub(super) verbs: Vec<String>,
}

macro_rules! bounds {
    ($($(#[$doc:meta])* $name:ident: $kind:ty = $($path:ident).+),* $(,)?) => {
        /// The limits of the server, in the section `limits`.
        #[derive(Clone, Debug, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct Bounds {
            $($name: $kind,)*
        }

        impl Default for Bounds {
            fn default() -> Self {
                let options = ServerOptions::default();
                Self { $($name: options.$($path).+.clone().into(),)* }
            }
        }

        impl Bounds {
            pub(super) fn apply(&self, options: &mut ServerOptions) {
                $(options.$($path).+ = self.$name.into();)*
            }
        }
    };
}

bounds! {
    connections: usize = connections,
    connections_per_principal: usize = connections_per_principal,
    sessions: usize = limits.sessions,
    sessions_per_connection: usize = sessions_per_connection,
    sessions_per_principal: usize = limits.sessions_per_principal,
    claims_per_principal: usize = limits.claims_per_principal,
    names: usize = limits.names,
    claims_per_session: usize = limits.claims_per_session,
    claims_per_name: usize = limits.claims_per_name,
    claims_per_name_and_principal: usize = limits.claims_per_name_and_principal,
    names_per_claim: usize = limits.names_per_claim,
    watches_per_connection: usize = limits.watches_per_connection,
    watches_per_principal: usize = limits.watches_per_principal,
    name_bytes: usize = limits.name_bytes,
    value_bytes: usize = limits.value_bytes,
    client_bytes: usize = limits.client_bytes,
    isolation_bytes: usize = limits.isolation_bytes,
    request_bytes: usize = request_max,
    greeting_bytes: usize = greeting_max,
    outbox_bytes: usize = outbox_max,
    unread_bytes_per_principal: usize = unread_per_principal,
    page: usize = limits.page,
    ttl_min: Span = limits.ttl_min,
    ttl_max: Span = limits.ttl_max,
    reconnect_grace: Span = limits.reconnect_grace,
    greeting_timeout: Span = greeting_timeout,
    request_timeout: Span = request_timeout,
    idle_timeout: Span = idle_timeout,
    write_timeout: Span = write_timeout,
}
