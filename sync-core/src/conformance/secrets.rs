//! A check that secrets are never logged, not even at the most verbose level.
//!
//! While the suite runs, all log records of this process are searched for the secrets that it has
//! drawn. The process is aborted if one is found.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use crate::spi::mutex::locked;

/// The secrets that must not appear in logs.
#[derive(Default)]
struct Known {
    /// Random numbers, in each format in which they could be logged.
    words: Option<HashSet<String>>,
    /// Passwords and tokens.
    texts: Vec<String>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known {
    words: None,
    texts: Vec::new(),
});
static SEEN: AtomicU64 = AtomicU64::new(0);

/// The length of the shortest word that is compared. Every format of a secret is longer.
const WORD_MIN: usize = 12;

fn known() -> MutexGuard<'static, Known> {
    locked(&KNOWN)
}

/// Registers a random secret that was drawn.
pub(crate) fn drawn(bits: u128) {
    let (high, low) = (bits >> 64, bits & u128::from(u64::MAX));
    let forms = [bits, high, low]
        .into_iter()
        .flat_map(|bits| [format!("{bits:x}"), bits.to_string()]);
    known()
        .words
        .get_or_insert_default()
        .extend(forms.chain([format!("{bits:032x}")]));
}

/// Forgets the random secrets that were drawn so far, for a test that measures memory.
pub fn forget_drawn() {
    known().words = None;
}

/// Registers a password or token, which must not appear in any log from now on.
pub fn note(text: &str) {
    known().texts.push(text.to_owned());
}

/// Returns a secret of this process that the text contains, if there is one.
#[must_use]
pub fn found_in(text: &str) -> Option<String> {
    let known = known();
    let noted = known
        .texts
        .iter()
        .find(|secret| text.contains(secret.as_str()));
    let is_drawn = |word: &&str| {
        known
            .words
            .as_ref()
            .is_some_and(|words| words.contains(word.trim_start_matches("0x")))
    };
    let words = text.split(|sign: char| !sign.is_ascii_alphanumeric());
    noted.cloned().or_else(|| {
        words
            .filter(|word| word.len() >= WORD_MIN)
            .find(is_drawn)
            .map(str::to_owned)
    })
}

/// Starts to search everything that this process logs through [`tracing`], at the most verbose
/// level.
///
/// Idempotent. Does nothing in a process that has its own subscriber.
pub fn watch_logs() {
    // Fails if a subscriber is already set.
    let _ = tracing::subscriber::set_global_default(Watcher::default());
}

/// Returns how many fields of log records have been searched so far.
#[must_use]
pub fn searched() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

/// A subscriber that searches all records.
#[derive(Default)]
struct Watcher {
    asked: AtomicU64,
}

impl Subscriber for Watcher {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    /// The core asks whether it is observed, and makes the same request in another way if not.
    /// Every other answer is no, so that the cases take both ways.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_record = metadata.is_event() || metadata.is_span();
        is_record || self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
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
        // Not a panic: this is most likely not the thread of the test, which would then pass.
        eprintln!("the secret {secret} is logged by {place}, as {field}: {text}");
        std::process::abort();
    }
}

/// Searches the fields of an event or a new span.
struct Search(&'static Metadata<'static>);

impl Visit for Search {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        search(format_args!("{}", self.0.target()), field, value);
    }
}

/// Searches fields that are added to a span later.
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
    fn a_secret_is_found_in_every_format() {
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
        assert_eq!(
            found_in("the password is `open sesame`").as_deref(),
            Some("open sesame")
        );
    }
}
