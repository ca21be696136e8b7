//! The Redis protocol, version 3
//! (<https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md>).
//!
//! Frequent values are parsed and written here. The redis crate parses the rest: its parser takes
//! thousands of instructions for a few bytes.

use redis::{PushKind, Value};

/// The end of a line and of a bulk string.
const END: &[u8] = b"\r\n";
/// The limit of nested values.
const DEPTH: usize = 32;

/// Arguments of a command, encoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    count: usize,
    sent: Vec<u8>,
}

impl Words {
    /// Creates an empty list with room for this number of bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            count: 0,
            sent: Vec::with_capacity(bytes),
        }
    }

    /// Adds an argument.
    pub(crate) fn word(&mut self, word: &[u8]) {
        self.join(&[word]);
    }

    /// Adds an argument that consists of several parts.
    pub(crate) fn join(&mut self, parts: &[&[u8]]) {
        write_count(
            &mut self.sent,
            b'$',
            parts.iter().map(|part| part.len()).sum(),
        );
        parts
            .iter()
            .for_each(|part| self.sent.extend_from_slice(part));
        self.sent.extend_from_slice(END);
        self.count += 1;
    }
}

/// Writes a command that consists of all these arguments.
pub(crate) fn write_command<'a>(to: &mut Vec<u8>, words: impl Iterator<Item = &'a Words> + Clone) {
    write_count(to, b'*', words.clone().map(|words| words.count).sum());
    words.for_each(|words| to.extend_from_slice(&words.sent));
}

fn write_count(to: &mut Vec<u8>, of: u8, count: usize) {
    to.push(of);
    to.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    to.extend_from_slice(END);
}

/// Finds the end of the first value in a buffer, and resumes where it stopped when more bytes
/// arrive.
#[derive(Debug)]
pub(crate) struct Extent {
    /// The bytes before this index have been scanned.
    at: usize,
    /// The number of values that still have to follow from `at` on.
    missing: usize,
}

impl Default for Extent {
    fn default() -> Self {
        Self { at: 0, missing: 1 }
    }
}

impl Extent {
    /// Returns the length of the first value if it is complete. The next call is about the value
    /// after it. Returns an error if the bytes violate the protocol.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        while self.missing > 0 {
            let Some((line, rest)) = split_line(&bytes[self.at..]) else {
                return Ok(None);
            };
            let (blob, inside) = match line.first() {
                Some(b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(') => (0, 0),
                Some(b'$' | b'!' | b'=') => (count(line)?.map_or(0, |length| length + 2), 0),
                Some(b'*' | b'~' | b'>') => (0, count(line)?.unwrap_or_default()),
                Some(b'%') => (0, 2 * count(line)?.unwrap_or_default()),
                // An attribute is followed by the value that it describes.
                Some(b'|') => (0, 2 * count(line)?.unwrap_or_default() + 1),
                _ => return Err("no value of the Redis protocol"),
            };
            if blob > rest.len() {
                return Ok(None);
            }
            self.at = bytes.len() - rest.len() + blob;
            self.missing = self.missing - 1 + inside;
        }
        let length = self.at;
        *self = Self::default();
        Ok(Some(length))
    }
}

/// Parses a complete value.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, &'static str> {
    read_first(&mut &bytes[..], DEPTH)
}

fn read_first(bytes: &mut &[u8], depth: usize) -> Result<Value, &'static str> {
    const SHORT: &str = "a value that ends too soon";
    let (line, rest) = split_line(bytes).ok_or(SHORT)?;
    let mut after = rest;
    let value = match line.first() {
        Some(b'+') if line == b"+OK" => Value::Okay,
        Some(b'+') => Value::SimpleString(String::from_utf8_lossy(&line[1..]).into_owned()),
        Some(b':') => Value::Int(number(&line[1..]).ok_or("an integer that is none")?),
        Some(b'_') => Value::Nil,
        Some(b'$') => match count(line)? {
            None => Value::Nil,
            Some(length) => {
                let (blob, rest) = rest.split_at_checked(length).ok_or(SHORT)?;
                after = rest
                    .strip_prefix(END)
                    .ok_or("a text that does not end where it says")?;
                Value::BulkString(blob.to_vec())
            }
        },
        Some(b'*' | b'>') => match count(line)? {
            None => Value::Nil,
            Some(count) => {
                let depth = depth.checked_sub(1).ok_or("values nested too deep")?;
                let mut values = Vec::with_capacity(count.min(rest.len()));
                for _ in 0..count {
                    values.push(read_first(&mut after, depth)?);
                }
                if line[0] == b'*' {
                    Value::Array(values)
                } else {
                    push(values)?
                }
            }
        },
        _ => {
            let length = Extent::default().find(bytes)?.ok_or(SHORT)?;
            after = &bytes[length..];
            redis::parse_redis_value(&bytes[..length]).map_err(|_| "a value that cannot be read")?
        }
    };
    *bytes = after;
    Ok(value)
}

fn push(mut values: Vec<Value>) -> Result<Value, &'static str> {
    let kind = match values.first() {
        Some(Value::BulkString(kind)) if kind == b"message" => PushKind::Message,
        Some(Value::BulkString(kind)) if kind == b"subscribe" => PushKind::Subscribe,
        Some(Value::BulkString(kind)) if kind == b"unsubscribe" => PushKind::Unsubscribe,
        Some(Value::BulkString(kind)) => {
            PushKind::Other(String::from_utf8_lossy(kind).into_owned())
        }
        _ => return Err("a message without its kind"),
    };
    values.remove(0);
    Ok(Value::Push { kind, data: values })
}

/// Splits off the first line, without its end.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    match bytes.get(end + 1)? {
        b'\n' => Some((&bytes[..end], &bytes[end + 2..])),
        // A line contains no other carriage return, so this is not a valid value.
        _ => Some((&[], &[])),
    }
}

/// Parses the length or count in a line. `None` is the null of protocol version 2.
fn count(line: &[u8]) -> Result<Option<usize>, &'static str> {
    match &line[1..] {
        b"-1" => Ok(None),
        digits => number::<u32>(digits)
            .map(|count| Some(count as usize))
            .ok_or("a length that is no number"),
    }
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Generates a value, encoded as a server encodes it.
    fn written() -> impl Strategy<Value = Vec<u8>> {
        let line = |kind: &'static str, text: &'static str| {
            text.prop_map(move |text| format!("{kind}{text}\r\n").into_bytes())
        };
        let blob = |kind: u8| {
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(move |bytes| {
                let mut written = Vec::new();
                write_count(&mut written, kind, bytes.len());
                [written, bytes, END.to_vec()].concat()
            })
        };
        let simple = prop_oneof![
            line("+", "OK|[a-z ]{0,9}"),
            line("-", "(ERR|NOSCRIPT|MOVED|OTHER) [a-z ]{0,9}"),
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            line(",", "[0-9]{1,3}\\.[0-9]{1,3}|inf|-inf"),
            line(
                "",
                "_|#t|#f|\\$-1|\\*-1|\\([0-9]{1,30}|>3\r\n\\$7\r\nmessage\r\n\\$1\r\na\r\n\\$1\r\nb"
            ),
            line("=", "8\r\ntxt:[a-z]{4}"),
            blob(b'$'),
            line("!", "7\r\nERR [a-z]{3}"),
        ];
        simple.prop_recursive(4, 40, 6, |inner| {
            let many = move |kind: &'static [u8], each: usize| {
                proptest::collection::vec(inner.clone(), 0..6).prop_map(move |values| {
                    let values = &values[..values.len() / each * each];
                    let mut written = Vec::new();
                    write_count(&mut written, kind[0], values.len() / each);
                    [written, values.concat()].concat()
                })
            };
            prop_oneof![many(b"*", 1), many(b"~", 1), many(b"%", 2)]
        })
    }

    proptest! {
        /// Compares with the parser of the redis crate.
        #[test]
        fn values_are_read_as_the_redis_crate_reads_them(bytes in written()) {
            prop_assert_eq!(read(&bytes).unwrap(), redis::parse_redis_value(&bytes).unwrap());
        }

        #[test]
        fn ends_are_found_wherever_the_bytes_are_torn(
            values in proptest::collection::vec(written(), 1..4),
            tears in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        ) {
            let bytes = values.concat();
            let mut tears: Vec<usize> = tears.into_iter().map(|tear| tear.index(bytes.len() + 1)).collect();
            tears.push(bytes.len());
            tears.sort_unstable();
            let (mut extent, mut start, mut found) = (Extent::default(), 0, Vec::new());
            for end in tears {
                while let Some(length) = extent.find(&bytes[start..end]).unwrap() {
                    found.push(bytes[start..start + length].to_vec());
                    start += length;
                }
            }
            prop_assert_eq!(found, values);
        }

        #[test]
        fn garbage_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), like in "[*$>%|:!=0-9\r\n-]{0,40}") {
            for bytes in [&bytes[..], like.as_bytes()] {
                let _ = Extent::default().find(bytes);
                let _ = read(bytes);
            }
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        for (bytes, problem) in [
            (&b"hello\r\n"[..], "no value"),
            (b"$ten\r\n", "no number"),
            (b"*99999999999999\r\n", "no number"),
            (b"\rx", "no value"),
        ] {
            assert!(
                Extent::default().find(bytes).unwrap_err().contains(problem),
                "{bytes:?}"
            );
        }
        assert_eq!(
            read(&b"*1\r\n".repeat(DEPTH + 1)),
            Err("values nested too deep")
        );
        assert_eq!(
            read(b"$2\r\nabc\r\n"),
            Err("a text that does not end where it says")
        );
    }

    #[test]
    fn commands_are_written_as_the_redis_crate_writes_them() {
        let mut begin = Words::default();
        begin.word(b"EVALSHA");
        let mut rest = Words::with_capacity(8);
        rest.join(&[b"a", b"", b"bc"]);
        rest.word(b"");
        let mut written = Vec::new();
        write_command(&mut written, [&begin, &rest].into_iter());
        assert_eq!(
            written,
            redis::cmd("EVALSHA")
                .arg("abc")
                .arg("")
                .get_packed_command()
        );
    }
}
