//! No log tells a secret, at its finest level either: while the suite runs, everything that this process logs is searched for
//! the secrets that it has drawn, and one that is found ends it.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::spi::mutex::locked;

/// What nobody may read.
#[derive(Default)]
struct Known {
    /// Numbers, in each form in which numbers are written.
    words: Option<HashSet<String>>,
    /// Texts.
    texts: Vec<String>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { words: None, texts: Vec::new() });
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Shorter words are not looked at: no form of a secret is that short.
const WORD_MIN: usize = 12;

fn known() -> MutexGuard<'static, Known> {
    locked(&KNOWN)
}

/// A secret was drawn.
pub(crate) fn drawn(bits: u128) {
    let (high, low) = (bits >> 64, bits & u128::from(u64::MAX));
    let forms = [bits, high, low].into_iter().flat_map(|bits| [format!("{bits:x}"), bits.to_string()]);
    known().words.get_or_insert_default().extend(forms.chain([format!("{bits:032x}")]));
}

/// A password or token, which may stand in no log from now on.
pub fn note(text: &str) {
    known().texts.push(text.to_owned());
}

/// The first secret of this process that stands in a text.
#[must_use]
pub fn found_in(text: &str) -> Option<String> {
    let known = known();
    let noted = known.texts.iter().find(|secret| text.contains(secret.as_str()));
    let is_drawn =
        |word: &&str| known.words.as_ref().is_some_and(|words| words.contains(word.trim_start_matches("0x")));
    let words = text.split(|sign: char| !sign.is_ascii_alphanumeric());
    noted.cloned().or_else(|| words.filter(|word| word.len() >= WORD_MIN).find(is_drawn).map(str::to_owned))
}

/// Searches everything that this process logs from now on, through [`tracing`] and at its finest level. Again is fine. Does
/// nothing in a process that has a subscriber of its own.
pub fn watch_logs() {
    // Refused the second time.
    let _ = tracing::subscriber::set_global_default(Watcher);
}

/// How many fields of log records were searched so far.
#[must_use]
pub fn searched() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

/// Hears of all records.
struct Watcher;

impl Subscriber for Watcher {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut Search(attributes.metadata()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Nameless);
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Search(event.metadata()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn search(place: fmt::Arguments<'_>, field: &Field, value: &dyn fmt::Debug) {
    SEEN.fetch_add(1, Ordering::Relaxed);
    let text = format!("{value:?}");
    if let Some(secret) = found_in(&text) {
        // Not a panic: this is most likely not the thread of a test, and would pass.
        eprintln!("the secret {secret} is logged by {place}, as {field}: {text}");
        std::process::abort();
    }
}

/// Searches the fields of a record.
struct Search(&'static Metadata<'static>);

impl Visit for Search {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        search(format_args!("{}", self.0.target()), field, value);
    }
}

/// Searches fields that a span was given later.
struct Nameless;

impl Visit for Nameless {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        search(format_args!("a span"), field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::nonce::Secret;

    #[test]
    fn a_secret_is_found_in_every_form() {
        let bits = Secret::random().expose();
        for text in [
            format!("{bits:x}"),
            format!("id={bits:032x},"),
            format!("{:#x}", bits >> 64),
            format!("({bits})"),
        ] {
            assert!(found_in(&text).is_some(), "{text}");
        }
        assert_eq!(found_in(&format!("{:?}", Secret::from_bits(bits))), None);
        note("open sesame");
        assert_eq!(found_in("he said `open sesame`").as_deref(), Some("open sesame"));
    }
}
