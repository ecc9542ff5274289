//! How a statement ended, in the server's own words.

use super::relay::Seen;
use crate::reply::sqlstate;
use countersign_core::approval::Outcome;
use countersign_engine::execute::EndFacts;

/// What its entry says of it; `sent` went up before anything that was copied.
pub(super) fn end_facts(seen: &Seen, sent: u64) -> EndFacts {
    let cancelled = seen.error.as_deref() == Some(sqlstate::QUERY_CANCELED) && seen.cancelled_by.is_some();
    EndFacts {
        outcome: if cancelled { Outcome::Cancelled } else { Outcome::Done },
        status: status(seen),
        bytes_sent: sent.saturating_add(seen.copied),
        bytes_received: seen.received,
        ended_by: seen.cancelled_by.filter(|_| cancelled).map(str::to_owned),
        streamed_body: seen.copy_digest,
        results: None,
    }
}

/// The server's own words for how it went.
pub(super) fn status(seen: &Seen) -> String {
    const SHOWN: usize = 20;
    let mut tags: Vec<&str> = seen.tags.iter().map(String::as_str).take(SHOWN).collect();
    if seen.tags.len() > SHOWN {
        tags.push("…");
    }
    let done = tags.join("; ");
    match &seen.error {
        Some(error) if done.is_empty() => format!("error {error}"),
        Some(error) => format!("{done}; error {error}"),
        None => done,
    }
}

/// Rows a statement says it has written.
pub(super) fn written(tag: &str) -> Option<i64> {
    let (verb, rest) = tag.split_once(' ')?;
    let counts = ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY"].contains(&verb);
    counts.then(|| rest.rsplit(' ').next()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_rows_are_read_from_what_the_server_says() {
        for (tag, want) in
            [("DELETE 14", Some(14)), ("INSERT 0 3", Some(3)), ("SELECT 5", None), ("BEGIN", None)]
        {
            assert_eq!(written(tag), want, "{tag}");
        }
    }
}
