//! The URL of a store:
//! `scheme://[user[:password]@]host:port[,host:port][/path][?option=value&...]`, or `scheme:name`.
//!
//! The parser is our own because the URL standard has no list of hosts. Each component takes the
//! options that it knows; an option that is left over is an error that names it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::options::SyncOptions;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::names::Namespace;

/// The names of the options that every store has.
const COMMON_OPTIONS: [&str; 6] = [
    "namespace",
    "ttl",
    "client",
    "on_lost",
    "connect_timeout",
    "request_timeout",
];

/// A parsed store URL.
///
/// `Debug` and `Display` show neither user and password nor the values of options.
#[derive(Clone, Eq, PartialEq)]
pub struct StoreUrl {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<(String, Option<u16>)>,
    path: String,
    options: Vec<(String, String)>,
    /// Set when the common options are taken out.
    connect_timeout: Option<Duration>,
}

impl StoreUrl {
    /// Returns the scheme: the part before the first `:`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Returns the user, decoded.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the password, decoded. Do not print it.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Returns the path without its leading `/`; for `scheme:name`, the name.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the hosts as `host:port`, with `port` as the default port.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if there is no host, or if a host has no port and `port` is
    /// `None`.
    pub fn addresses(&self, port: Option<u16>) -> Result<Vec<String>> {
        if self.hosts.is_empty() {
            return Err(self.bad("no host is given: write scheme://host:port"));
        }
        let address = |(host, own): &(String, Option<u16>)| match own.or(port) {
            Some(port) => Ok(format!("{host}:{port}")),
            None => Err(self.bad(format!("the host `{host}` has no port: write {host}:PORT"))),
        };
        self.hosts.iter().map(address).collect()
    }

    /// Rejects hosts and credentials, for stores that run in this process.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the URL has a host or a user.
    pub fn no_hosts(&self) -> Result<()> {
        if self.hosts.is_empty() && self.user.is_none() {
            return Ok(());
        }
        Err(self.bad(format!(
            "`{}:` takes no host: write {0}: or {0}:NAME",
            self.scheme
        )))
    }

    /// Removes an option and returns its value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the option is given twice.
    pub fn take(&mut self, option: &str) -> Result<Option<String>> {
        let Some(index) = self.options.iter().position(|(name, _)| name == option) else {
            return Ok(None);
        };
        let (_, value) = self.options.remove(index);
        if self.options.iter().any(|(name, _)| name == option) {
            return Err(self.bad(format!(
                "the option `{option}` is given twice: give it once"
            )));
        }
        Ok(Some(value))
    }

    /// Removes an option and returns its parsed value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the value does not parse, with `expected` in the message, or
    /// if the option is given twice.
    pub fn take_parsed<T: FromStr>(&mut self, option: &str, expected: &str) -> Result<Option<T>> {
        let Some(value) = self.take(option)? else {
            return Ok(None);
        };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.bad(format!(
                "the option `{option}` has a value that is not {expected}"
            ))),
        }
    }

    /// Removes an option whose value is a duration such as `15s` or `500ms`, and returns it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the value is not a duration, or if the option is given
    /// twice.
    pub fn take_duration(&mut self, option: &str) -> Result<Option<Duration>> {
        let expected = "a duration with its unit, such as 15s or 500ms";
        Ok(self
            .take_parsed::<humantime::Duration>(option, expected)?
            .map(Into::into))
    }

    /// Returns the time limit of one attempt to reach the store, if the URL or the program sets
    /// one. Known after [`take_sync_options`](Self::take_sync_options).
    ///
    /// The core limits requests. Only the store knows when it connects, so it has to apply this
    /// limit.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// Removes the options that every store has (`namespace`, `ttl`, `client`, `on_lost`,
    /// `connect_timeout`, `request_timeout`) and returns them. An option that the URL does not give
    /// keeps its value in `defaults`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] or [`ErrorKind::InvalidName`] if a value is not valid; the
    /// message names the option.
    pub fn take_sync_options(&mut self, defaults: SyncOptions) -> Result<SyncOptions> {
        let mut options = defaults;
        if let Some(namespace) = self.take("namespace")? {
            options.namespace = Namespace::new(&namespace)?;
        }
        if let Some(ttl) = self.take_duration("ttl")? {
            options.session_ttl = ttl;
        }
        if let Some(client) = self.take("client")? {
            options.client = client;
        }
        if let Some(on_lost) = self.take_parsed("on_lost", "notify, abort or exit:CODE")? {
            options.on_lost = on_lost;
        }
        if let Some(timeout) = self.take_duration("connect_timeout")? {
            options.connect_timeout = Some(timeout);
        }
        if let Some(timeout) = self.take_duration("request_timeout")? {
            options.request_timeout = Some(timeout);
        }
        let options = options.validated()?;
        self.connect_timeout = options.connect_timeout;
        Ok(options)
    }

    /// Checks that no option is left over.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if one is; the message names it and lists the `known` options.
    pub fn finish(self, known: &[&str]) -> Result<()> {
        match self.options.first() {
            None => Ok(()),
            Some((name, _)) => {
                let known: Vec<_> = COMMON_OPTIONS.iter().chain(known).copied().collect();
                Err(self.bad(format!(
                    "`{}` has no option `{}`: known are {}",
                    self.scheme,
                    name.escape_debug(),
                    known.join(", ")
                )))
            }
        }
    }

    /// Returns an error about this URL.
    #[must_use]
    pub fn bad(&self, problem: impl fmt::Display) -> Error {
        Error::new(
            ErrorKind::InvalidOption,
            format!("in the store URL {self}: {problem}"),
        )
        .with_operation("connect")
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let bad = |problem: &str| {
            Error::new(
                ErrorKind::InvalidOption,
                format!("in the store URL: {problem}"),
            )
            .with_operation("connect")
        };
        let (scheme, rest) = url.split_once(':').ok_or_else(|| {
            bad("there is no scheme: write memory: or netlock://host:port, for example")
        })?;
        if scheme.is_empty()
            || !scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        {
            return Err(bad(
                "the scheme has characters other than letters, digits, +, - and .: write memory: or netlock://host:port, for example",
            ));
        }
        if rest.contains('#') {
            return Err(bad("a `#` has no meaning here: write it as %23"));
        }
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let decode = |part: &str| {
            percent_decode_str(part)
                .decode_utf8()
                .map(String::from)
                .map_err(|_| bad("a percent-encoded part is not UTF-8: encode its UTF-8 bytes"))
        };
        let mut parsed = Self {
            scheme: scheme.to_ascii_lowercase(),
            user: None,
            password: None,
            hosts: Vec::new(),
            path: String::new(),
            options: Vec::new(),
            connect_timeout: None,
        };
        if let Some(location) = location.strip_prefix("//") {
            let (authority, path) = location.split_once('/').unwrap_or((location, ""));
            parsed.path = decode(path)?;
            let hosts = match authority.rsplit_once('@') {
                Some((credentials, hosts)) => {
                    let (user, password) = match credentials.split_once(':') {
                        Some((user, password)) => (user, Some(decode(password)?)),
                        None => (credentials, None),
                    };
                    parsed.user = Some(decode(user)?);
                    parsed.password = password;
                    hosts
                }
                None => authority,
            };
            if !hosts.is_empty() {
                parsed.hosts = hosts
                    .split(',')
                    .map(|host| parse_host(host, &bad))
                    .collect::<Result<_>>()?;
            }
        } else {
            parsed.path = decode(location)?;
        }
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or_else(|| {
                bad(&format!(
                    "the option `{}` has no value: write name=value",
                    option.escape_debug()
                ))
            })?;
            parsed.options.push((decode(name)?, decode(value)?));
        }
        Ok(parsed)
    }
}

fn parse_host(host: &str, bad: &dyn Fn(&str) -> Error) -> Result<(String, Option<u16>)> {
    let (name, port) = match host.rsplit_once(':') {
        // A colon inside of the brackets belongs to the IPv6 address.
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let bracketed = name.starts_with('[') && name.ends_with(']');
    if name.is_empty() || (name.contains(':') && !bracketed) {
        // The text after the first colon may be a password without its `@host`, so it is not shown.
        return Err(bad(&format!(
            "`{}` is not a host: write host:port, an IPv6 address in [brackets], and credentials as user:password@host",
            shown(host)
        )));
    }
    let port = match port.map(str::parse) {
        None => None,
        Some(Ok(port)) if port != 0 => Some(port),
        Some(_) => {
            return Err(bad(&format!(
                "the port in `{}` is not a number from 1 to 65535: write host:port, and credentials as user:password@host",
                shown(host)
            )));
        }
    };
    Ok((name.to_owned(), port))
}

/// Returns a host as errors show it: without the text after its first colon, unless that could be a
/// port, because it may be a misplaced password.
fn shown(host: &str) -> String {
    match host.split_once(':') {
        Some((name, port)) if port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{}:...", name.escape_debug())
        }
        _ => host.escape_debug().to_string(),
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if !self.hosts.is_empty() {
            f.write_str("//")?;
            for (index, (host, port)) in self.hosts.iter().enumerate() {
                if index > 0 {
                    f.write_str(",")?;
                }
                f.write_str(host)?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> StoreUrl {
        url.parse().unwrap()
    }

    #[test]
    fn a_full_url_is_parsed() {
        let mut url = parse(
            "netlock://me:p%40ss@a:1,[::1]:2,c/some/path?ttl=500ms&namespace=x%2Fy&client=me",
        );
        assert_eq!(
            (url.scheme(), url.user(), url.password()),
            ("netlock", Some("me"), Some("p@ss"))
        );
        assert_eq!(url.addresses(Some(7)).unwrap(), ["a:1", "[::1]:2", "c:7"]);
        assert_eq!(url.path(), "some/path");
        let options = url.take_sync_options(SyncOptions::new()).unwrap();
        assert_eq!(options.session_ttl, Duration::from_millis(500));
        assert_eq!(
            (options.namespace.as_str(), options.client.as_str()),
            ("x/y", "me")
        );
        assert!(url.finish(&[]).is_ok());
        assert_eq!(parse("memory:shop").path(), "shop");
    }

    #[test]
    fn an_error_names_the_invalid_part() {
        for (url, reason) in [
            ("nonsense", "no scheme"),
            ("a b://x", "scheme has characters"),
            ("netlock://a:0", "`a:0`"),
            ("netlock://a:70000", "`a:70000`"),
            ("netlock://a:b", "the port in `a:...`"),
            ("netlock://::1", "brackets"),
            ("netlock://a,,b", "is not a host"),
            ("memory:?ttl", "`ttl` has no value"),
            ("memory:#x", "`#`"),
            ("memory:%FF", "not UTF-8"),
        ] {
            let error = url.parse::<StoreUrl>().unwrap_err();
            assert!(error.to_string().contains(reason), "{url}: {error}");
        }
        assert!(
            parse("netlock:")
                .addresses(Some(1))
                .unwrap_err()
                .to_string()
                .contains("no host")
        );
        assert!(
            parse("netlock://a")
                .addresses(None)
                .unwrap_err()
                .to_string()
                .contains("no port")
        );
        assert!(
            parse("memory://a:1")
                .no_hosts()
                .unwrap_err()
                .to_string()
                .contains("takes no host")
        );
    }

    #[test]
    fn options_are_checked() {
        for (url, reason) in [
            ("memory:?ttl=15", "such as 15s"),
            ("memory:?ttl=1s&ttl=2s", "given twice"),
            ("memory:?connect_timeout=2m", "is out of range"),
            ("memory:?request_timeout=0s", "is too short"),
            ("memory:?namespace=", "namespace is empty"),
            ("memory:?tll=15s", "no option `tll`"),
        ] {
            let mut parsed = parse(url);
            let error = parsed
                .take_sync_options(SyncOptions::new())
                .and_then(|_| parsed.finish(&["extra"]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let url = parse("netlock://me:hidden@a:1/?token=hidden");
        assert!(!format!("{url:?} {url} {}", url.bad("x")).contains("hidden"));
        // Misplaced passwords are not shown either.
        for url in [
            "netlock://:hidden",
            "redis://me:hidden",
            "redis://me:hidden:6379",
            "etcd://a,me:hidden",
        ] {
            let error = url.parse::<StoreUrl>().expect_err(url);
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("hidden") && shown.contains("user:password@host"),
                "{url}: {shown}"
            );
        }
    }
}
