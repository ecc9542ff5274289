//! Lengths of time and numbers of bytes, as people write them.

use serde::{Deserialize, Deserializer, de::Error as _};
use std::{str::FromStr, time::Duration};

/// A length of time, written `55s`, `500ms`, `2m`, `1h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A number of bytes, written `65536`, `64KiB` or `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

/// A number and the unit behind it.
fn parts(text: &str) -> Option<(u64, &str)> {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    Some((text.strip_suffix(unit)?.parse().ok()?, unit))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// It is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time such as `55s` or `2m`")]
pub struct NotASpan(String);

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let millis = parts(text).and_then(|(number, unit)| {
            let factor = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            number.checked_mul(factor)
        });
        let span = millis.map(|millis| Self(Duration::from_millis(millis)));
        span.ok_or_else(|| NotASpan(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(usize),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(bytes) => return Ok(Self(bytes)),
            Written::Text(text) => text,
        };
        let bytes = parts(&text).and_then(|(number, unit)| {
            let factor = match unit {
                "" | "B" => 1,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            usize::try_from(number).ok()?.checked_mul(factor)
        });
        bytes
            .map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("`{text}` is not a size such as `64KiB`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nothing_is_guessed() {
        let span =
            |text: &str| serde_json::from_value::<Span>(text.into()).ok().map(|span| span.0.as_millis());
        assert_eq!(
            [span("2m"), span("5"), span("m"), span("99999999999999999d")],
            [Some(120_000), None, None, None]
        );
        let size = |text: &str| serde_json::from_value::<Size>(text.into()).ok().map(|size| size.0);
        assert_eq!([size("64KiB"), size("7"), size("7kb")], [Some(65_536), Some(7), None]);
    }
}
