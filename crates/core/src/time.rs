//! Moments in UTC. Whoever needs the present is handed it.

use crate::canonical::PlainText;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, time::Duration};

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// The text is not an RFC 3339 moment in UTC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time such as `2026-11-21T02:00:00Z`")]
pub struct TimeError(String);

impl Timestamp {
    /// The moment `span` later; the last representable moment when that is past the end of time.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The moment `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0.div_euclid(1000)).unwrap_or(0)
    }

    /// Reads RFC 3339 in UTC (`Z`), with up to six fractional digits.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        parse(text).ok_or_else(|| TimeError(text.into()))
    }

    /// Year, month, day, hour, minute, second, microsecond.
    fn parts(self) -> [i64; 7] {
        let (days, micros) = (self.0.div_euclid(86_400_000_000), self.0.rem_euclid(86_400_000_000));
        let (year, month, day) = civil_from_days(days);
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        [year, month, day, seconds / 3600, seconds / 60 % 60, seconds % 60, fraction]
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, six fractional digits: always 27 characters, so texts sort as moments do.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts @ [year, month, day, hour, minute, second, fraction] = self.parts();
        match text(parts) {
            Some(text) => out.write_str(std::str::from_utf8(&text).unwrap_or_default()),
            None => {
                write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
            }
        }
    }
}

impl PlainText for Timestamp {
    fn append(&self, out: &mut Vec<u8>) {
        match text(self.parts()) {
            Some(text) => out.extend_from_slice(&text),
            None => out.extend_from_slice(self.to_string().as_bytes()),
        }
    }
}

/// Four-digit years, which is all there ever are outside of tests.
fn text(parts: [i64; 7]) -> Option<[u8; 27]> {
    if !(0..=9999).contains(parts.first()?) {
        return None;
    }
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let places = [0..4, 5..7, 8..10, 11..13, 14..16, 17..19, 20..26];
    for (place, number) in places.into_iter().zip(parts) {
        write_digits(text.get_mut(place)?, number);
    }
    Some(text)
}

fn write_digits(places: &mut [u8], mut number: i64) {
    for place in places.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Days since 1970-01-01 to a proleptic Gregorian date (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = fields(whole, ':', [2, 2, 2])?;
    if !(1..=6).contains(&fraction.len()) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = digits(fraction)? * 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?);
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    Some(Timestamp((days * 86_400 + hour * 3600 + minute * 60 + second) * 1_000_000 + micros))
}

fn fields(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut read = |width: usize| parts.next().filter(|part| part.len() == width).and_then(digits);
    let found = [read(widths[0])?, read(widths[1])?, read(widths[2])?];
    parts.next().is_none().then_some(found)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn text_and_moment_agree() {
        for (text, micros) in [
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2000-02-29T12:34:56.000001Z", 951_827_696_000_001),
            ("2026-11-21T02:00:00.250000Z", 1_795_226_400_250_000),
            ("1969-12-31T23:59:59.999999Z", -1),
        ] {
            assert_eq!(Timestamp(micros).to_string(), text);
            assert_eq!(Timestamp::parse(text), Ok(Timestamp(micros)));
        }
        assert_eq!(Timestamp::parse("2026-11-21T02:00:00Z"), Ok(Timestamp(1_795_226_400_000_000)));
        for bad in ["", "2026-02-30T00:00:00Z", "2026-11-21T02:00:00", "2026-11-21T24:00:00Z",
                    "2026-11-21T02:00:00+01:00", "2026-11-21T02:00:00.Z", "+026-11-21T02:00:00Z"] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }
}
