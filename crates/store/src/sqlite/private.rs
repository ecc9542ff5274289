//! The private values of a batch's entries: for each entry that has any, its place in the batch, and path, salt and
//! value of each.

use super::row::garbled;
use bytes::Bytes;
use countersign_engine::port::store::PrivateValue;
use countersign_ledger::Commitment;
use rusqlite::Result;

const SALT: usize = 32;

/// Adds the values of the entry that is number `place` of its batch.
pub(super) fn pack(out: &mut Vec<u8>, place: u32, values: &[Commitment]) {
    section(out, place, values.iter().map(|one| (&*one.path, &one.salt, &*one.value)));
}

/// What was not erased of the values of the entry that is number `place` of its batch.
pub(super) fn unpack(packed: &[u8], place: u32) -> Result<Vec<PrivateValue>> {
    for found in sections(packed)? {
        if found.0 == place {
            return values(found.1).ok_or_else(|| garbled("private values of a batch"));
        }
    }
    Ok(Vec::new())
}

/// All values but those under these paths of the entry that is number `place` of its batch.
pub(super) fn without(packed: &[u8], place: u32, paths: &[String]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(packed.len());
    for (of, content) in sections(packed)? {
        let mut kept = values(content).ok_or_else(|| garbled("private values of a batch"))?;
        if of == place {
            kept.retain(|value| !paths.contains(&value.path));
        }
        section(&mut out, of, kept.iter().map(|one| (&*one.path, &one.salt, &*one.value)));
    }
    Ok(out)
}

fn section<'v>(
    out: &mut Vec<u8>,
    place: u32,
    values: impl Iterator<Item = (&'v str, &'v [u8; SALT], &'v [u8])>,
) {
    let begin = out.len();
    out.extend_from_slice(&place.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let content = out.len();
    for (path, salt, value) in values {
        // INVARIANT: paths are at most 128 bytes and values smaller than 4 GiB, which sealing and SQLite see to.
        out.push(u8::try_from(path.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(salt);
        out.extend_from_slice(&length(value.len()));
        out.extend_from_slice(value);
    }
    let written = length(out.len() - content);
    if written == [0; 4] {
        out.truncate(begin);
    } else if let Some(place) = out.get_mut(begin + 4..content) {
        place.copy_from_slice(&written);
    }
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// The place of each entry that has values, with what holds them.
fn sections(mut packed: &[u8]) -> Result<Vec<(u32, &[u8])>> {
    let mut next = || {
        let (place, rest) = packed.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (content, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        packed = rest;
        Some((u32::from_be_bytes(*place), content))
    };
    let found: Vec<_> = std::iter::from_fn(&mut next).collect();
    if packed.is_empty() { Ok(found) } else { Err(garbled("private values of a batch")) }
}

fn values(mut content: &[u8]) -> Option<Vec<PrivateValue>> {
    let mut out = Vec::new();
    while let Some((length, rest)) = content.split_first() {
        let (path, rest) = rest.split_at_checked(usize::from(*length))?;
        let (salt, rest) = rest.split_first_chunk::<SALT>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        content = rest;
        out.push(PrivateValue {
            path: std::str::from_utf8(path).ok()?.into(),
            salt: *salt,
            value: Bytes::copy_from_slice(value),
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(path: &'static str, value: &[u8]) -> Commitment {
        Commitment { path: path.into(), salt: [7; SALT], value: Bytes::copy_from_slice(value) }
    }

    fn paths(packed: &[u8], place: u32) -> Vec<String> {
        unpack(packed, place).unwrap().into_iter().map(|value| value.path).collect()
    }

    #[test]
    fn values_come_back_as_they_were_until_they_are_erased() {
        let all = [value("a", b""), value("b", b"one\0two"), value("c", &[0xff; 9_000])];
        let mut packed = Vec::new();
        pack(&mut packed, 0, &[value("a", b"another's")]);
        pack(&mut packed, 1, &[]);
        pack(&mut packed, 3, &all);
        let found = unpack(&packed, 3).unwrap();
        let found: Vec<_> = found.iter().map(|one| (&*one.path, &*one.value)).collect();
        assert_eq!(found, all.iter().map(|one| (&*one.path, &*one.value)).collect::<Vec<_>>());
        let packed = without(&packed, 3, &["b".into()]).unwrap();
        assert_eq!(paths(&packed, 3), ["a", "c"]);
        let packed = without(&packed, 3, &["a".into(), "c".into()]).unwrap();
        assert_eq!((paths(&packed, 3), paths(&packed, 0)), (vec![], vec!["a".to_owned()]));
        assert_eq!(without(&packed, 0, &["a".into()]).unwrap(), b"");
    }

    #[test]
    fn a_row_that_was_cut_is_an_error_and_not_a_shorter_list() {
        let mut packed = Vec::new();
        pack(&mut packed, 1, &[value("a", b"x"), value("b", b"y")]);
        for length in 1..packed.len() {
            assert!(unpack(&packed[..length], 1).is_err(), "{length}");
        }
    }
}
