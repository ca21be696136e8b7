//! Passwords and tokens of a client, from the URL, from a file, or from an environment variable.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::spi::reread::{Files, Reread};
use crate::spi::store_url::StoreUrl;
use crate::types::error::{Error, ErrorKind, Result};

/// A password or a token. `Debug` does not show it.
#[derive(Clone)]
pub struct Credential(Source);

#[derive(Clone)]
enum Source {
    Text(Arc<str>),
    File(Arc<Reread<SecretFile>>),
}

impl Credential {
    /// Returns a credential that does not change.
    #[must_use]
    pub fn new(secret: impl Into<Arc<str>>) -> Self {
        Self(Source::Text(secret.into()))
    }

    /// Removes the options `NAME_file` and `NAME_env` from a URL, where `name` is what the store
    /// calls its secret, such as `token`. Returns the credential that they name, or the one in
    /// front of the host.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) if the credential is given twice, or if
    /// the file or the variable cannot be read, is empty, or has more than one line. The message
    /// names the option, and the file or the variable. It does not contain the secret.
    pub fn from_url(url: &mut StoreUrl, name: &str) -> Result<Option<Self>> {
        let given = url.password().map(str::to_owned);
        Self::choose(url, name, "in front of the host".to_owned(), given)
    }

    /// Removes the options `NAME`, `NAME_file` and `NAME_env` from a URL and returns the credential
    /// that they name. It is for a second secret of a store: the first one is [in front of the
    /// host](Self::from_url).
    ///
    /// # Errors
    /// As [`from_url`](Self::from_url).
    pub fn from_options(url: &mut StoreUrl, name: &str) -> Result<Option<Self>> {
        let given = url.take(name)?;
        Self::choose(url, name, format!("by the option `{name}`"), given)
    }

    fn choose(
        url: &mut StoreUrl,
        name: &str,
        place: String,
        given: Option<String>,
    ) -> Result<Option<Self>> {
        let (by_file, by_variable) = (format!("{name}_file"), format!("{name}_env"));
        let (file, variable) = (url.take(&by_file)?, url.take(&by_variable)?);
        let places = [
            given.is_some().then_some(place),
            file.is_some().then(|| format!("by the option `{by_file}`")),
            variable
                .is_some()
                .then(|| format!("by the option `{by_variable}`")),
        ];
        let places: Vec<String> = places.into_iter().flatten().collect();
        if let [first, second, ..] = &*places {
            return Err(url.bad(format!(
                "a {name} is given {first} and {second}: give it in one place"
            )));
        }
        if let Some(path) = file {
            let file = SecretFile {
                option: by_file,
                path: path.into(),
            };
            return Ok(Some(Self(Source::File(Arc::new(Reread::new(file)?)))));
        }
        let Some(variable) = variable else {
            return Ok(given.map(Self::new));
        };
        let secret = std::env::var(&variable)
            .map_err(|error| error.to_string())
            .and_then(|secret| one_line(&secret))
            .map_err(|problem| {
                url.bad(format!(
                    "the option `{by_variable}` names the environment variable `{}`: {problem}",
                    variable.escape_debug()
                ))
            })?;
        Ok(Some(Self::new(secret)))
    }

    /// Returns the secret. A secret in a file is read again if the file has changed.
    ///
    /// If the file cannot be read any more, returns the previous secret and logs an error, once for
    /// each change. Only compares the modification time and the length, so it is cheap if nothing
    /// has changed. Call this for each new connection, or for each request that carries the secret.
    #[must_use]
    pub fn latest(&self) -> Arc<str> {
        match &self.0 {
            Source::Text(secret) => secret.clone(),
            Source::File(file) => {
                file.reread();
                Arc::clone(&file.content())
            }
        }
    }
}

/// Equality compares the secrets, not the places that they come from.
impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.latest() == other.latest()
    }
}

impl Eq for Credential {}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// The file that an option names.
struct SecretFile {
    option: String,
    path: PathBuf,
}

impl Files for SecretFile {
    type Content = Arc<str>;
    const NAME: &str = "the password or token of a client";

    fn paths(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn read(&self) -> Result<Arc<str>> {
        let read = || {
            // The error of `read_to_string` for text that is not UTF-8 does not contain the text.
            let text = std::fs::read_to_string(&self.path)
                .map_err(|error| format!("it cannot be read ({error})"))?;
            one_line(&text)
        };
        read().map(Arc::from).map_err(|problem: String| {
            let path = self.path.display().to_string();
            let problem = format!(
                "the option `{}` names the file `{}`: {problem}",
                self.option,
                path.escape_debug()
            );
            Error::new(ErrorKind::InvalidOption, problem).with_operation("connect")
        })
    }
}

/// Returns the text without a line break at its end, which editors and `echo` add.
fn one_line(text: &str) -> Result<String, String> {
    let secret = text.strip_suffix('\n').unwrap_or(text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err("it is empty: write the secret to it".to_owned());
    }
    if secret.contains(char::is_control) {
        return Err("it has several lines or a control character: write one line to it".to_owned());
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let nonce = crate::types::ids::ClaimId::random();
        let folder = std::env::temp_dir().join(format!("distsync-credential-{nonce}"));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_secret_is_read_from_where_it_is() {
        let folder = folder();
        let file = folder.join("secret");
        std::fs::write(&file, "hidden\r\n").unwrap();
        let read = |url: String| Credential::from_url(&mut url.parse().unwrap(), "token").unwrap();
        assert_eq!(read("x://a".to_owned()), None);
        for url in [
            "x://:hidden@a".to_owned(),
            format!("x://a?token_file={}", file.display()),
        ] {
            let secret = read(url).unwrap();
            assert_eq!(&*secret.latest(), "hidden");
            assert!(!format!("{secret:?}").contains("hidden"));
        }
        let mut url: StoreUrl = "x://a?token=hidden".parse().unwrap();
        let secret = Credential::from_options(&mut url, "token").unwrap();
        assert_eq!(secret, Some(Credential::new("hidden")));
        // Cargo sets this variable for each test.
        let by_variable = read("x://a?token_env=CARGO_PKG_NAME".to_owned()).unwrap();
        assert_eq!(&*by_variable.latest(), env!("CARGO_PKG_NAME"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed() {
        let folder = folder();
        let file = folder.join("secret");
        std::fs::write(&file, "first").unwrap();
        let url = format!("x://a?password_file={}", file.display());
        let secret = Credential::from_url(&mut url.parse().unwrap(), "password").unwrap();
        let secret = secret.unwrap();
        let same = secret.clone();
        std::fs::write(&file, "second\n").unwrap();
        assert_eq!(&*secret.latest(), "second");
        assert_eq!(&*same.latest(), "second");
        // The last good secret stays in use.
        for invalid in ["", "\n", "two\nlines"] {
            std::fs::write(&file, invalid).unwrap();
            assert_eq!(&*secret.latest(), "second");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(&*secret.latest(), "second");
        std::fs::write(&file, "the third").unwrap();
        assert_eq!(&*secret.latest(), "the third");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_error_names_the_place_and_not_the_secret() {
        let folder = folder();
        let file = |content: &str| {
            let file = folder.join(crate::types::ids::ClaimId::random().to_string());
            std::fs::write(&file, content).unwrap();
            file.display().to_string()
        };
        let (empty, lines) = (file("\n"), file("hidden\nhidden"));
        for (url, reason) in [
            (
                "x://:hidden@a?token_file=b".to_owned(),
                "in front of the host and by the option `token_file`",
            ),
            (
                "x://:hidden@a?token_env=b".to_owned(),
                "in front of the host and by the option `token_env`",
            ),
            (
                "x://a?token_file=b&token_env=c".to_owned(),
                "by the option `token_file` and by the option `token_env`",
            ),
            (
                "x://a?token_file=/no/such/file".to_owned(),
                "`/no/such/file`: it cannot be read",
            ),
            (
                format!("x://a?token_file={empty}"),
                &format!("`{empty}`: it is empty"),
            ),
            (format!("x://a?token_file={lines}"), "several lines"),
            (
                "x://a?token_env=NO_SUCH_VARIABLE".to_owned(),
                "`NO_SUCH_VARIABLE`: environment variable not found",
            ),
        ] {
            let error = Credential::from_url(&mut url.parse().unwrap(), "token").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(reason), "{url}: {shown}");
            assert!(!shown.contains("hidden"), "{shown}");
        }
        let mut url: StoreUrl = "x://a?token=hidden&token_env=b".parse().unwrap();
        let error = Credential::from_options(&mut url, "token").unwrap_err();
        let reason = "by the option `token` and by the option `token_env`";
        assert!(error.to_string().contains(reason), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
