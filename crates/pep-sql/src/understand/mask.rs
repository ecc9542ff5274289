//! Rows with what an agent may not see taken out of them. Pure: a plan from the description of a result, then row after
//! row. A value is left as it is only when it is known where it comes from.
//!
//! This hides values, not their effects: a condition on a hidden column still says something. Results that are no rows
//! (`COPY`) are not masked; who sees masked data gets none.

use super::{Catalog, SqlTarget, Understood};
use bytes::{BufMut as _, BytesMut};
use countersign_core::Digest;
use std::collections::BTreeSet;

/// What stands in the place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Masking {
    /// Nothing.
    Null,
    /// A name for it: equal values get equal names. Texts only; anything else is left out.
    Hash,
    /// Its first and last character. Texts only; anything else is left out.
    Partial,
}

/// A column of a result, as `RowDescription` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultColumn {
    /// The relation it is read from; 0 when it is computed.
    pub relation: u32,
    /// The number of its column there.
    pub attribute: i16,
    pub kind: u32,
}

/// Who may see what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Values with any of these labels are masked.
    pub labels: BTreeSet<String>,
    pub masking: Masking,
    /// What names are made with: without it, a name could be found by trying values.
    pub key: [u8; 32],
}

/// What happens to each column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// `None`: where the columns come from is not known, and nothing is shown.
    columns: Option<Vec<Option<Masking>>>,
    key: [u8; 32],
}

/// Why a row could not be masked: it is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    #[error("a row has another number of columns than was announced")]
    Columns,
    #[error("a row is shorter than it says")]
    Short,
}

/// `text`, `varchar`, `bpchar`: the same bytes in both formats.
const TEXTS: [u32; 3] = [25, 1043, 1042];

impl Mask {
    /// What is to be masked in the result of a statement that was understood; `None`: nothing is.
    pub fn plan(
        columns: &[ResultColumn],
        hidden: &Hidden,
        understood: &Understood,
        catalog: &Catalog,
        target: &SqlTarget,
    ) -> Option<Self> {
        let touches = understood.resources.iter().flat_map(|resource| &resource.labels);
        let mut touches = touches.filter(|label| hidden.labels.contains(*label));
        // Where nothing hidden is touched, and all of it was understood, nothing can come back.
        if touches.next().is_none() && understood.unresolved.is_empty() && understood.is_certain() {
            return None;
        }
        let columns: Vec<_> =
            columns.iter().map(|column| treatment(*column, hidden, catalog, target)).collect();
        columns.iter().any(Option::is_some).then_some(Self { columns: Some(columns), key: hidden.key })
    }

    /// Shows nothing: for rows of which nobody said where they come from.
    pub const fn of_everything() -> Self {
        Self { columns: None, key: [0; 32] }
    }

    /// The body of a `DataRow` with its values masked.
    pub fn row(&self, body: &[u8]) -> Result<BytesMut, MaskError> {
        let (count, mut rest) = body.split_first_chunk().ok_or(MaskError::Short)?;
        let all = usize::from(u16::from_be_bytes(*count));
        let unknown;
        let columns = if let Some(columns) = &self.columns {
            columns
        } else {
            unknown = vec![Some(Masking::Null); all];
            &unknown
        };
        if all != columns.len() {
            return Err(MaskError::Columns);
        }
        let mut out = BytesMut::with_capacity(body.len());
        out.extend_from_slice(count);
        for masking in columns {
            let (length, after) = rest.split_first_chunk().ok_or(MaskError::Short)?;
            let length = i32::from_be_bytes(*length);
            rest = after;
            let Ok(length) = usize::try_from(length) else {
                // NULL says nothing.
                out.put_i32(-1);
                continue;
            };
            let (value, after) = rest.split_at_checked(length).ok_or(MaskError::Short)?;
            rest = after;
            match masking {
                None => put(&mut out, value),
                Some(Masking::Null) => out.put_i32(-1),
                Some(Masking::Hash) => put(&mut out, self.name(value).as_bytes()),
                Some(Masking::Partial) => put(&mut out, partial(value).as_bytes()),
            }
        }
        if rest.is_empty() { Ok(out) } else { Err(MaskError::Columns) }
    }

    /// A name for a value: half of a keyed digest.
    fn name(&self, value: &[u8]) -> String {
        Digest::of_parts("countersign/mask/v1", &[&self.key, value])
            .to_string()
            .chars()
            .rev()
            .take(32)
            .collect()
    }
}

/// `None`: the column is shown as it is.
fn treatment(
    column: ResultColumn,
    hidden: &Hidden,
    catalog: &Catalog,
    target: &SqlTarget,
) -> Option<Masking> {
    let relation = catalog.relation(column.relation).filter(|relation| relation.definition.is_none());
    let labels = relation.and_then(|relation| {
        let name = relation.numbers.get(&column.attribute.to_string())?;
        Some(target.labels_of_column(&relation.schema, &relation.name, name))
    });
    match labels {
        Some(labels) if labels.union(&target.labels).all(|label| !hidden.labels.contains(label)) => None,
        Some(_) if TEXTS.contains(&column.kind) => Some(hidden.masking),
        // Computed, from a view, or of a type in which nothing can stand for it.
        Some(_) | None => Some(Masking::Null),
    }
}

fn put(out: &mut BytesMut, value: &[u8]) {
    // A value of a row that was read here is never longer than the protocol's own numbers.
    out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(value);
}

/// `j…e`, for texts long enough that this says little.
fn partial(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let (mut characters, length) = (text.chars(), text.chars().count());
    match (characters.next(), characters.next_back()) {
        (Some(first), Some(last)) if length >= 6 => format!("{first}…{last}"),
        _ => "…".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(columns: &[Option<Masking>]) -> Mask {
        Mask { columns: Some(columns.to_vec()), key: [7; 32] }
    }

    fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = BytesMut::new();
        out.put_u16(u16::try_from(values.len()).unwrap());
        for value in values {
            match value {
                Some(value) => put(&mut out, value),
                None => out.put_i32(-1),
            }
        }
        out.to_vec()
    }

    #[test]
    fn each_masking_takes_the_value_out() {
        let all =
            [None, Some(Masking::Null), Some(Masking::Hash), Some(Masking::Partial), Some(Masking::Partial)];
        let body =
            row(&[Some(b"7"), Some(b"secret"), Some(b"secret"), Some("jané@x".as_bytes()), Some(b"short")]);
        let masked = mask(&all).row(&body).unwrap();
        assert!(!masked.windows(6).any(|window| window == b"secret"));
        let name = mask(&all).name(b"secret");
        let wanted =
            row(&[Some(b"7"), None, Some(name.as_bytes()), Some("j…x".as_bytes()), Some("…".as_bytes())]);
        assert_eq!(masked, wanted);
        assert_eq!(name.len(), 32);
        assert_ne!(name, Mask { key: [8; 32], ..mask(&all) }.name(b"secret"));
    }

    #[test]
    fn of_rows_from_nowhere_nothing_is_shown() {
        let body = row(&[Some(b"7"), Some(b"secret")]);
        assert_eq!(Mask::of_everything().row(&body).unwrap(), row(&[None, None]));
    }

    #[test]
    fn nothing_stays_nothing() {
        let body = row(&[None, None]);
        assert_eq!(mask(&[Some(Masking::Hash), None]).row(&body).unwrap(), body);
    }

    #[test]
    fn rows_that_are_not_what_they_say_are_not_sent() {
        let two = mask(&[None, Some(Masking::Null)]);
        assert_eq!(two.row(&row(&[None])), Err(MaskError::Columns));
        assert_eq!(two.row(&[0]), Err(MaskError::Short));
        assert_eq!(two.row(&[0, 2, 0, 0, 0, 9, 1]), Err(MaskError::Short));
        let mut longer = row(&[None, None]);
        longer.push(0);
        assert_eq!(two.row(&longer), Err(MaskError::Columns));
    }
}
