//! Checks that several options share.

use crate::types::error::{Error, ErrorKind, Result};
use crate::types::queue::VALUE_MAX;

/// The greatest length of a label (the name of a client, the id of a node), in bytes.
const LABEL_MAX: usize = 256;

pub(super) fn check_label(label: &str, what: &str) -> Result<()> {
    let problem = if label.is_empty() {
        "is empty: give it at least one character".to_owned()
    } else if label.len() > LABEL_MAX {
        format!("has {} bytes: at most {LABEL_MAX} are allowed", label.len())
    } else if label.chars().any(char::is_control) {
        "has a control character: leave it out".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::InvalidOption,
        format!("the {what} {problem}"),
    ))
}

pub(crate) fn check_value(value: &[u8]) -> Result<()> {
    if value.len() <= VALUE_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidOption,
        format!(
            "the value has {} bytes: at most {VALUE_MAX} are allowed",
            value.len()
        ),
    ))
}
