//! A bounded memory of answers, keyed on everything the answer was computed from. Losing it changes nothing but time.

use crate::evaluate::Evaluation;
use countersign_core::{Digest, canonical::PlainText};
use quick_cache::sync::Cache;
use std::{fmt, sync::Arc};

/// How many answers are kept for one bundle.
const CAPACITY: usize = 4096;

/// Answers by key.
pub(crate) struct Memo(Cache<Key, Arc<Evaluation>>);

/// SHA-256 over the inputs of one decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Digest);

/// Builds a [`Key`].
// INVARIANT: every text is preceded by its length and every list by its count, identifiers of a kind are all equally long,
// and the order of calls depends on nothing but what was written before, so that no two inputs write the same bytes.
pub(crate) struct KeyWriter(Vec<u8>);

impl Memo {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    pub(crate) fn recall(&self, key: &Key) -> Option<Arc<Evaluation>> {
        self.0.get(key)
    }

    pub(crate) fn keep(&self, key: Key, evaluation: Arc<Evaluation>) {
        self.0.insert(key, evaluation);
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Memo({} of {CAPACITY})", self.0.len())
    }
}

impl KeyWriter {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(1024))
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn id(&mut self, id: &impl PlainText) -> &mut Self {
        id.append(&mut self.0);
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Seven bits to a byte, all but the last byte marked: nearly every number is the length of a short text.
    pub(crate) fn number(&mut self, mut number: u64) -> &mut Self {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                self.0.push(low);
                return self;
            }
            self.0.push(low | 0x80);
        }
    }

    pub(crate) fn flag(&mut self, flag: bool) -> &mut Self {
        self.0.push(u8::from(flag));
        self
    }

    pub(crate) fn texts<'t>(&mut self, texts: impl ExactSizeIterator<Item = &'t str>) -> &mut Self {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text);
        }
        self
    }

    pub(crate) fn finish(self) -> Key {
        Key(Digest::of(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_so_that_each_ends_where_it_must() {
        let written = |number| KeyWriter(Vec::new()).number(number).0.clone();
        for (number, bytes) in [
            (0, vec![0]),
            (0x7f, vec![0x7f]),
            (0x80, vec![0x80, 1]),
            (300, vec![0xac, 2]),
            (u64::MAX, [&[0xff; 9][..], &[1]].concat()),
        ] {
            assert_eq!(written(number), bytes, "{number}");
        }
    }
}
