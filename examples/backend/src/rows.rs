//! The rows of sessions and claims. Each function is a part of one step.

use std::time::Duration;

use distsync::spi::order::Run;
use distsync::spi::{Claim, ClaimId, Entry, Session, SessionId};
use distsync::{LockName, Mode, Moment, Token};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::Failure;

/// A moment as it is stored.
pub(crate) fn nanos(moment: Moment) -> i64 {
    i64::try_from(moment.as_nanos()).unwrap_or(i64::MAX)
}

/// The version of the file: the newest token, and the revision of every queue.
pub(crate) fn version(file: &Connection) -> Result<i64, Failure> {
    Ok(file.query_row("SELECT version FROM store", [], |row| row.get(0))?)
}

/// Raises the version, and returns it.
fn raise(file: &Connection) -> Result<i64, Failure> {
    let raise = "UPDATE store SET version = version + 1 RETURNING version";
    Ok(file.query_row(raise, [], |row| row.get(0))?)
}

/// Opens a session, or sets the end of the one that an earlier attempt has opened.
pub(crate) fn open(file: &Connection, session: &Session, end: Moment) -> Result<(), Failure> {
    file.execute(
        "INSERT INTO sessions VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET expires = ?3",
        params![id(session), secret(session), nanos(end)],
    )?;
    Ok(())
}

/// Sets the end of a session. Returns `false` if there is no such session.
pub(crate) fn renew(file: &Connection, session: &Session, end: Moment) -> Result<bool, Failure> {
    let renew = "UPDATE sessions SET expires = ?3 WHERE id = ?1 AND secret = ?2";
    Ok(file.execute(renew, params![id(session), secret(session), nanos(end)])? > 0)
}

/// Returns whether a session exists. A wrong secret is answered as an unknown session.
pub(crate) fn lives(file: &Connection, session: &Session) -> Result<bool, Failure> {
    let lives = "SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ? AND secret = ?)";
    Ok(
        file.query_row(lives, params![id(session), secret(session)], |row| {
            row.get(0)
        })?,
    )
}

/// Returns whether a session has expired.
pub(crate) fn is_any_due(file: &Connection, now: Moment) -> Result<bool, Failure> {
    let is_due = "SELECT EXISTS (SELECT 1 FROM sessions WHERE expires <= ?)";
    Ok(file.query_row(is_due, [nanos(now)], |row| row.get(0))?)
}

/// Ends the sessions that have expired.
pub(crate) fn expire(file: &Connection, now: Moment) -> Result<(), Failure> {
    let expired: Vec<Bits> = column(
        file,
        "SELECT id FROM sessions WHERE expires <= ?",
        params![nanos(now)],
    )?;
    expired.into_iter().try_for_each(|id| end(file, id, now))
}

/// Ends a session with its claims, and grants what they held to the next claims.
pub(crate) fn end(file: &Connection, session: Bits, now: Moment) -> Result<(), Failure> {
    let names: Vec<String> = column(
        file,
        "SELECT DISTINCT name FROM claims WHERE session = ?",
        params![session],
    )?;
    file.execute("DELETE FROM sessions WHERE id = ?", params![session])?;
    names.iter().try_for_each(|name| settle(file, name, now))
}

/// Grants the head of a queue as far as the modes fit together. Called after each change of a
/// queue.
fn settle(file: &Connection, name: &str, now: Moment) -> Result<(), Failure> {
    raise(file)?;
    let mut run = Run::default();
    for entry in queue(file, name, now)? {
        if !run.admit(entry.mode) {
            break;
        }
        if entry.token.is_none() {
            file.execute(
                "UPDATE claims SET token = ?, since = ? WHERE id = ?",
                params![raise(file)?, nanos(now), entry.claim.bits().to_be_bytes()],
            )?;
        }
    }
    Ok(())
}

/// Adds a claim to the end of its queue.
pub(crate) fn insert(file: &Connection, claim: &Claim, now: Moment) -> Result<(), Failure> {
    file.execute(
        "INSERT INTO claims (id, session, name, mode, since, client, value) VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            claim.id.bits().to_be_bytes(),
            id(&claim.session),
            claim.name.path(),
            from_mode(claim.mode),
            nanos(now),
            &*claim.client,
            &claim.value[..],
        ],
    )?;
    settle(file, claim.name.path(), now)
}

/// Changes the value of a claim that holds. Returns `false` if it does not hold.
pub(crate) fn update(file: &Connection, claim: &Claim, value: &[u8]) -> Result<bool, Failure> {
    let changed = file.execute(
        "UPDATE claims SET value = ? WHERE id = ? AND session = ? AND token IS NOT NULL",
        params![value, claim.id.bits().to_be_bytes(), id(&claim.session)],
    )?;
    if changed > 0 {
        raise(file)?;
    }
    Ok(changed > 0)
}

/// Removes a claim from its queue. Returns its session and whether it held.
pub(crate) fn remove(
    file: &Connection,
    name: &LockName,
    claim: ClaimId,
    now: Moment,
) -> Result<Option<(Bits, bool)>, Failure> {
    let delete =
        "DELETE FROM claims WHERE id = ? AND name = ? RETURNING session, token IS NOT NULL";
    let removed = file
        .query_row(
            delete,
            params![claim.bits().to_be_bytes(), name.path()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    if removed.is_some() {
        settle(file, name.path(), now)?;
    }
    Ok(removed)
}

/// Notes that a claim of a session was evicted.
pub(crate) fn note_eviction(
    file: &Connection,
    session: Bits,
    claim: ClaimId,
) -> Result<(), Failure> {
    file.execute(
        "INSERT INTO evictions VALUES (?, ?)",
        params![session, claim.bits().to_be_bytes()],
    )?;
    Ok(())
}

/// Returns whether there are evictions of which a session has not been notified.
pub(crate) fn has_evictions(file: &Connection, session: &Session) -> Result<bool, Failure> {
    let has_any = "SELECT EXISTS (SELECT 1 FROM evictions WHERE session = ?)";
    Ok(file.query_row(has_any, [id(session)], |row| row.get(0))?)
}

/// Removes and returns the evictions of which a session has not been notified.
pub(crate) fn take_evictions(
    file: &Connection,
    session: &Session,
) -> Result<Vec<ClaimId>, Failure> {
    let taken: Vec<Bits> = column(
        file,
        "DELETE FROM evictions WHERE session = ? RETURNING claim",
        params![id(session)],
    )?;
    Ok(taken.into_iter().map(claim_id).collect())
}

/// Returns the claims of a name, in order of arrival.
pub(crate) fn queue(file: &Connection, name: &str, now: Moment) -> Result<Vec<Entry>, Failure> {
    let mut select = file.prepare(
        "SELECT id, session, mode, token, since, client, value FROM claims WHERE name = ? ORDER BY arrival",
    )?;
    let mut rows = select.query(params![name])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row, now)?);
    }
    Ok(entries)
}

fn entry(row: &Row<'_>, now: Moment) -> Result<Entry, Failure> {
    let mode = to_mode(row.get("mode")?).ok_or(Failure::Foreign("mode"))?;
    let since = u64::try_from(row.get::<_, i64>("since")?).unwrap_or(0);
    let mut entry = Entry::new(claim_id(row.get("id")?), mode);
    entry.session = Some(SessionId::from_bits(u128::from_be_bytes(
        row.get("session")?,
    )));
    entry.token = row.get::<_, Option<i64>>("token")?.and_then(token);
    entry.age = Some(Duration::from_nanos(now.as_nanos().saturating_sub(since)));
    entry.client = row.get("client")?;
    entry.value = row.get::<_, Vec<u8>>("value")?.into();
    Ok(entry)
}

/// Returns the paths that have a claim and begin with `prefix`, in order.
pub(crate) fn paths(file: &Connection, prefix: &str) -> Result<Vec<String>, Failure> {
    // Not LIKE or GLOB, which have wildcards.
    let paths =
        "SELECT DISTINCT name FROM claims WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name";
    column(file, paths, params![prefix])
}

/// A 128-bit id as it is stored.
pub(crate) type Bits = [u8; 16];

pub(crate) fn id(session: &Session) -> Bits {
    session.id.bits().to_be_bytes()
}

fn secret(session: &Session) -> Bits {
    session.secret.expose().to_be_bytes()
}

fn claim_id(bits: Bits) -> ClaimId {
    ClaimId::from_bits(u128::from_be_bytes(bits))
}

fn token(value: i64) -> Option<Token> {
    Token::new(u64::try_from(value).ok()?)
}

fn from_mode(mode: Mode) -> i64 {
    match mode {
        Mode::Exclusive => 0,
        Mode::Shared => -1,
        Mode::Permit { of } => of.into(),
    }
}

fn to_mode(stored: i64) -> Option<Mode> {
    match stored {
        0 => Some(Mode::Exclusive),
        -1 => Some(Mode::Shared),
        of => Some(Mode::Permit {
            of: u16::try_from(of).ok()?,
        }),
    }
}

/// Returns the first column of a query.
fn column<T: rusqlite::types::FromSql>(
    file: &Connection,
    query: &str,
    arguments: &[&dyn rusqlite::ToSql],
) -> Result<Vec<T>, Failure> {
    let mut select = file.prepare(query)?;
    let column = select.query_map(arguments, |row| row.get(0))?;
    Ok(column.collect::<Result<_, _>>()?)
}
