//! One text of SQL for both databases, and the few words in which they differ.
//!
//! A statement is written with SQLite's `?` and `?1` for its values, and with these words in braces:
//!
//! | word | meaning |
//! |---|---|
//! | `{now}` | the database's clock, in microseconds since the Unix epoch |
//! | `{each}` | the elements of the JSON array that is bound next, as a column `value`; each is an array itself, read by `value ->> 0` |
//! | `{skip_locked}` | behind a SELECT: lock its rows, without those that another transaction has locked |
//!
//! What is a function of one of them and can be defined in the other is defined there (`unhex`, by a step of the schema).

use std::borrow::Cow;

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// SQLite's for each word.
const SQLITE: [(&str, &str); 3] =
    [("{now}", "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"), ("{each}", "json_each(?)"), ("{skip_locked}", "")];

/// PostgreSQL's for each word. The clock is that of the statement: it stands while the statement runs, so that an index
/// can be used, and it is read after the transaction has got the lock that it waited for.
#[cfg(feature = "postgres")]
const POSTGRES: [(&str, &str); 3] = [
    ("{now}", "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000 AS BIGINT)"),
    ("{each}", "jsonb_array_elements(CAST(? AS jsonb)) AS each (value)"),
    ("{skip_locked}", "FOR UPDATE SKIP LOCKED"),
];

/// The statement in the words of one of them.
pub(super) fn of(dialect: Dialect, sql: &str) -> Cow<'_, str> {
    match dialect {
        Dialect::Sqlite => said(&SQLITE, sql),
        #[cfg(feature = "postgres")]
        Dialect::Postgres => Cow::Owned(numbered(&said(&POSTGRES, sql))),
    }
}

/// The one that is for this database, where a word is not enough.
#[cfg_attr(not(feature = "postgres"), allow(unused_variables, reason = "there is only one"))]
pub(super) fn pick<'q>(dialect: Dialect, sqlite: &'q str, postgres: &'q str) -> &'q str {
    match dialect {
        Dialect::Sqlite => sqlite,
        #[cfg(feature = "postgres")]
        Dialect::Postgres => postgres,
    }
}

fn said<'q>(words: &[(&str, &str)], sql: &'q str) -> Cow<'q, str> {
    if !sql.contains('{') {
        return Cow::Borrowed(sql);
    }
    Cow::Owned(words.iter().fold(sql.to_owned(), |text, (word, meaning)| text.replace(word, meaning)))
}

/// `?` becomes `$1`, `$2` and so on, `?3` becomes `$3`. No statement of ours has a question mark in a text.
#[cfg(feature = "postgres")]
fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (place, part) in parts.enumerate() {
        text.push('$');
        if !part.starts_with(|letter: char| letter.is_ascii_digit()) {
            text.push_str(&(place + 1).to_string());
        }
        text.push_str(part);
    }
    text
}

/// PostgreSQL keeps no NUL in a text. Where a program's output or a pipeline has one it is shown by its picture; the
/// lines of a log that have their end are bytes, and keep theirs.
#[cfg(feature = "postgres")]
pub(super) fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { text }
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_for_postgresql_and_left_alone_for_sqlite() {
        let sql = "SELECT a FROM t WHERE b = ? AND c IN (SELECT value ->> 0 FROM {each}) LIMIT ?";
        assert_eq!(
            of(Dialect::Postgres, sql),
            "SELECT a FROM t WHERE b = $1 AND c IN (SELECT value ->> 0 FROM \
             jsonb_array_elements(CAST($2 AS jsonb)) AS each (value)) LIMIT $3"
        );
        assert_eq!(
            of(Dialect::Sqlite, sql),
            "SELECT a FROM t WHERE b = ? AND c IN (SELECT value ->> 0 FROM json_each(?)) LIMIT ?"
        );
        assert_eq!(of(Dialect::Postgres, "VALUES (?2, ?1, ?2)"), "VALUES ($2, $1, $2)");
    }

    #[test]
    fn a_nul_is_shown_by_its_picture() {
        assert_eq!(without_nul(Cow::Borrowed("a\0b")), "a␀b");
        assert!(matches!(without_nul(Cow::Borrowed("ab")), Cow::Borrowed("ab")));
    }
}
