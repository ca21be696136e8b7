//! The settings of netlockd. Flags and environment variables override the TOML file, which
//! overrides the defaults.

mod sections;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use distsync_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::cluster::{ClusterSettings, Membership};
use sections::{Bounds, Isolate, PermissionEntry, TlsFiles};
pub(super) use values::LogFormat;
use values::{Durable, Span};

use crate::client::parse_table;
use crate::engine::Limits;
use crate::server::{Access, Permission, ServerOptions};
use crate::storage::{Durability, StorageOptions};

/// All settings, in the layout of the file. `netlockd --print-config` prints them with their
/// values.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// The address for clients.
    pub(super) listen: String,
    /// Allow listening on a non-loopback address without authentication.
    insecure_allow_remote: bool,
    /// The address for metrics and health checks. Without it, they are not served.
    pub(super) admin_listen: Option<String>,
    /// The number of workers that serve connections.
    workers: usize,
    /// The data folder. Without it, sessions and locks do not survive a restart.
    pub(super) data_dir: Option<PathBuf>,
    /// Which failures sessions and locks survive.
    durability: Durable,
    /// The identity of the table. Default: the one stored in the data folder, or a new one.
    table: Option<String>,
    /// A log that is longer than this may be replaced.
    pub(super) log_bytes: u64,
    /// The file of tokens. If it is set, every client has to authenticate.
    tokens: Option<PathBuf>,
    /// How often to check whether the files of tokens and certificates have changed.
    reread: Span,
    /// The file for administrator actions, which are also logged.
    audit_log: Option<PathBuf>,
    /// The log filter, such as `info` or `distsync_netlock=debug`.
    pub(super) log: String,
    /// The format of logs.
    pub(super) log_format: LogFormat,
    tls: TlsFiles,
    /// The cluster of which the server is a member. Without it, the server is alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<ClusterSettings>,
    isolation: Isolate,
    limits: Bounds,
    /// The permissions of principals. Without any, every authenticated principal may acquire and
    /// observe all names.
    permissions: Vec<PermissionEntry>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7420".to_owned(),
            insecure_allow_remote: false,
            admin_listen: None,
            // The kernel, clients and threads of this process need a core too.
            workers: std::thread::available_parallelism().map_or(1, |n| (n.get() - 1).max(1)),
            data_dir: None,
            durability: Durable::default(),
            table: None,
            log_bytes: StorageOptions::new("").log_bytes,
            tokens: None,
            reread: ServerOptions::default().reread.into(),
            tls: TlsFiles::default(),
            cluster: None,
            isolation: Isolate::default(),
            permissions: Vec::new(),
            audit_log: None,
            log: "info".to_owned(),
            log_format: LogFormat::default(),
            limits: Bounds::default(),
        }
    }
}

fn invalid(problem: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidOption, problem.to_string())
}

impl Settings {
    /// Reads the file, if there is one, and replaces the values of `overrides`.
    pub(super) fn load(file: Option<&Path>, overrides: &[(&str, Value)]) -> Result<Self> {
        let mut table = match file {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    invalid(format!(
                        "the configuration file {} cannot be read: check the path and its permissions",
                        file.display()
                    ))
                    .with_source(error)
                })?;
                text.parse::<Table>()
                    .map_err(|error| invalid(format!("{}: {error}", file.display())))?
            }
            None => Table::new(),
        };
        for (key, value) in overrides {
            put(&mut table, key, value.clone())?;
        }
        if table.contains_key("cluster") {
            for_cluster(&mut table)?;
        }
        table.try_into().map_err(|error: toml::de::Error| {
            let lines: Vec<_> = error
                .to_string()
                .lines()
                .map(|line| line.trim().to_owned())
                .collect();
            invalid(format!(
                "the configuration is invalid: {}",
                lines.join("; ")
            ))
        })
    }

    /// Returns whether all settings but those of the log have their defaults.
    pub(super) fn only_set_the_log(&self) -> Result<bool> {
        let default = Self::default();
        let others = Self {
            log: default.log.clone(),
            log_format: default.log_format,
            ..self.clone()
        };
        Ok(others.to_toml()? == default.to_toml()?)
    }

    /// Returns the settings as the text of a file.
    pub(super) fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(invalid)
    }

    /// Returns the options of the server. Reads the files that the settings name.
    pub(super) fn server_options(&self) -> Result<ServerOptions> {
        if self.data_dir.is_none() && self.durability.0 != Durability::default() {
            return Err(invalid(
                "`durability` is set without a `data_dir`, so it would have no effect: give a folder",
            ));
        }
        self.check_folder()?;
        if Duration::from(self.reread).is_zero() {
            return Err(invalid(
                "`reread` is 0: give the interval for checking files, at least 1s",
            ));
        }
        let mut options = ServerOptions {
            allow_remote: self.insecure_allow_remote,
            storage: self.storage(),
            table: self.table()?,
            access: self.access()?.map(Arc::new),
            tls: self.tls.server()?,
            isolation: self.isolation.options()?,
            audit: self.audit_log.clone(),
            workers: self.workers,
            reread: self.reread.into(),
            limits: Limits::default(),
            ..ServerOptions::default()
        };
        self.limits.apply(&mut options);
        Ok(options)
    }

    /// Checks that a single server does not use the folder of a member: the cluster would not know
    /// of its locks.
    fn check_folder(&self) -> Result<()> {
        if self.cluster.is_some() {
            return Ok(());
        }
        match &self.data_dir {
            Some(folder) if folder.join("raft").exists() => Err(invalid(format!(
                "the data folder {} is that of a member of a cluster: give the section `cluster`, or another folder",
                folder.display()
            ))),
            _ => Ok(()),
        }
    }

    fn storage(&self) -> Option<StorageOptions> {
        // A member stores its table in the folder of its node.
        if self.cluster.is_some() {
            return None;
        }
        self.data_dir.as_ref().map(|folder| StorageOptions {
            folder: folder.clone(),
            durability: self.durability.0,
            log_bytes: self.log_bytes,
        })
    }

    /// Returns the identity of the table, if it is set.
    pub(super) fn table(&self) -> Result<Option<u128>> {
        self.table.as_deref().map(parse_table).transpose()
    }

    /// Returns how the server becomes a member of its cluster, if it has one.
    pub(super) fn membership(&self) -> Result<Option<Membership>> {
        let Some(cluster) = &self.cluster else {
            return Ok(None);
        };
        let table = self.table()?;
        let mut membership = cluster.membership(&self.listen, table, self.data_dir.as_deref())?;
        membership.node.log_bytes = self.log_bytes;
        Ok(Some(membership))
    }

    fn access(&self) -> Result<Option<Access>> {
        if self.tokens.is_none() && self.tls.client_ca.is_none() {
            if self.permissions.is_empty() {
                return Ok(None);
            }
            let problem = "there are permissions, but clients cannot authenticate: give a file of `tokens`, or a \
                           `tls.client_ca`";
            return Err(invalid(problem));
        }
        let mut access = Access::new();
        if let Some(tokens) = &self.tokens {
            access = access.with_tokens(tokens)?;
        }
        let default = [PermissionEntry {
            principal: "*".to_owned(),
            prefix: String::new(),
            verbs: vec!["acquire".to_owned(), "observe".to_owned()],
        }];
        let entries = if self.permissions.is_empty() {
            &default[..]
        } else {
            &self.permissions
        };
        for PermissionEntry {
            principal,
            prefix,
            verbs,
        } in entries
        {
            let verbs = verbs
                .iter()
                .map(|verb| verb.parse())
                .collect::<std::result::Result<_, String>>()
                .map_err(invalid)?;
            access = access.with_permission(Permission {
                principal: principal.clone(),
                prefix: prefix.clone(),
                verbs,
            });
        }
        Ok(Some(access))
    }
}

/// Checks and completes the settings that a member of a cluster has to have.
fn for_cluster(table: &mut Table) -> Result<()> {
    let durability = table
        .entry("durability")
        .or_insert_with(|| Value::from("fsync"));
    match durability.as_str() {
        Some("fsync") => Ok(()),
        _ => Err(invalid(format!(
            "`durability` is {durability}, and a member of a cluster must not forget what it has acknowledged: remove \
             the setting, or give fsync"
        ))),
    }
}

/// Sets the value of a key such as `limits.names`.
fn put(table: &mut Table, key: &str, value: Value) -> Result<()> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((section, rest)) => {
            let section_table = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(section_table) = section_table else {
                return Err(invalid(format!(
                    "cannot set `{key}`, because `{section}` is a value and not a section: remove one of them"
                )));
            };
            put(section_table, rest, value)
        }
    }
}

/// Parses `KEY=VALUE`. A value that is not valid TOML is text.
pub(super) fn parse_assignment(text: &str) -> std::result::Result<(String, Value), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("write it as KEY=VALUE, such as limits.names=1000")?;
    let parsed = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"));
    Ok((
        key.trim().to_owned(),
        parsed.unwrap_or_else(|| Value::String(value.to_owned())),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, overrides: &[(&str, Value)]) -> Result<Settings> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Settings::load(Some(file.path()), overrides)
    }

    #[test]
    fn a_file_overrides_the_defaults_and_flags_override_the_file() {
        let file = "listen = '127.0.0.1:1'\ndata_dir = 'd'\ndurability = 'fsync'\n[limits]\nnames = 7\nidle_timeout = '90s'\n";
        let (key, value) = parse_assignment("limits.names=9").unwrap();
        let settings = load(file, &[("listen", "127.0.0.1:2".into()), (&key, value)]).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:2");
        let options = settings.server_options().unwrap();
        assert_eq!(
            (options.limits.names, options.idle_timeout),
            (9, Duration::from_secs(90))
        );
        assert_eq!(options.limits.sessions, Limits::default().sessions);
    }

    #[test]
    fn printed_settings_are_read_as_the_same_settings() {
        let printed = Settings::default().to_toml().unwrap();
        assert!(
            printed.contains("greeting_timeout = \"5s\"")
                && printed.contains("durability = \"async\""),
            "{printed}"
        );
        assert_eq!(load(&printed, &[]).unwrap().to_toml().unwrap(), printed);
    }

    #[test]
    fn every_error_names_the_setting() {
        for (file, reason) in [
            ("lisen = 'x'", "lisen"),
            ("durability = 'often'", "unknown durability `often`"),
            ("[limits]\nidle_timeout = '5'", "invalid duration `5`"),
            ("[limits]\nname = 5", "name"),
            ("listen = ", "listen"),
            ("log_format = 'xml'", "xml"),
        ] {
            let error = load(file, &[]).unwrap_err().to_string();
            assert!(error.contains(reason), "{file}: {error}");
        }
        let error = load("durability = 'fsync'", &[])
            .unwrap()
            .server_options()
            .unwrap_err()
            .to_string();
        assert!(error.contains("without a `data_dir`"), "{error}");
        let error = load("reread = '0s'", &[])
            .unwrap()
            .server_options()
            .unwrap_err()
            .to_string();
        assert!(error.contains("`reread` is 0"), "{error}");
        let permission = "[[permissions]]\nprincipal = 'a'\nverbs = ['acquire']\n";
        let error = load(permission, &[])
            .unwrap()
            .server_options()
            .unwrap_err()
            .to_string();
        assert!(error.contains("give a file of `tokens`"), "{error}");
        let cluster = "durability = 'async'\n[cluster]\nname = 'a'\n";
        let error = load(cluster, &[]).unwrap_err().to_string();
        assert!(error.contains("must not forget"), "{error}");
        assert!(parse_assignment("names").is_err());
        assert!(
            load("limits = 3", &[("limits.names", 1.into())])
                .unwrap_err()
                .to_string()
                .contains("not a section")
        );
    }
}
