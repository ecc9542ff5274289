//! When news that can wait is told: outside the hours in which people are left alone, and together with other news at set
//! times. Pure: a function of what a route says and of the moment. It puts off what is told, and never what is decided.

use countersign_core::Timestamp;
use jiff::{
    Zoned,
    civil::{Date, Time},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, time::Duration};

/// What waits for nothing else is told after so many looks ahead: routes may leave no moment at all.
const LOOKS: usize = 64;
const DAY: i32 = 24 * 60;

/// When what can wait is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// By whose clocks, as the IANA database names the zone.
    pub zone: String,
    /// When nothing of it is told.
    pub quiet: BTreeSet<Quiet>,
    /// When it is told, every day: minutes after midnight.
    pub at: BTreeSet<u16>,
    /// The same by intervals, in seconds, counted from midnight UTC of 1970.
    pub every_s: Option<u64>,
}

/// Hours in which people are left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quiet {
    /// Every day between these minutes after midnight; over midnight where the second is not later.
    Hours { from: u16, to: u16 },
    /// A whole day of the week, from Monday, which is 0.
    Day { day: u8 },
}

/// Days as they are written.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Rest {
    /// Whether the database knows the zone.
    pub fn knows(zone: &str) -> bool {
        TimeZone::get(zone).is_ok()
    }

    /// Whether no moment of a week is left.
    pub fn is_always_quiet(&self) -> bool {
        (0..7).all(|day| (0..24 * 60).all(|minute| self.is_quiet(day, minute)))
    }

    /// Whether it is told at set times alone, at all of which people are left alone.
    pub fn is_never_told(&self) -> bool {
        let quiet = |day| self.at.iter().all(|minute| self.is_quiet(day, *minute));
        self.every_s.is_none() && !self.at.is_empty() && (0..7).all(quiet)
    }

    fn is_quiet(&self, day: u8, minute: u16) -> bool {
        self.quiet.iter().any(|quiet| match *quiet {
            Quiet::Day { day: whole } => whole == day,
            Quiet::Hours { from, to } if from < to => (from..to).contains(&minute),
            Quiet::Hours { from, to } => minute >= from || minute < to,
        })
    }

    /// When something that comes up at `at` is told. A zone that is not known any more puts off nothing.
    pub fn release(&self, at: Timestamp) -> Timestamp {
        let Ok(zone) = TimeZone::get(&self.zone) else { return at };
        let mut moment = at;
        for _ in 0..LOOKS {
            let told = self.told_from(&zone, moment);
            match self.quiet_until(&zone, told) {
                None => return told,
                Some(end) => moment = end,
            }
        }
        moment
    }

    /// The first moment from then on at which things are told, quiet or not.
    fn told_from(&self, zone: &TimeZone, moment: Timestamp) -> Timestamp {
        let interval = self.every_s.filter(|seconds| *seconds > 0).map(|seconds| {
            let step = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            let behind = moment.0.rem_euclid(step);
            if behind == 0 { moment } else { Timestamp(moment.0.saturating_add(step - behind)) }
        });
        let times = local(zone, moment).and_then(|now| {
            let today = now.date();
            let days = [
                Some(today),
                today.tomorrow().ok(),
                today.tomorrow().ok().and_then(|day| day.tomorrow().ok()),
            ];
            let moments =
                days.into_iter().flatten().flat_map(|day| self.at.iter().map(move |minute| (day, *minute)));
            let moments = moments.filter_map(|(day, minute)| instant(zone, day, minute));
            moments.filter(|found| *found >= moment).min()
        });
        interval.into_iter().chain(times).min().unwrap_or(moment)
    }

    /// The end of the quiet that a moment is in.
    fn quiet_until(&self, zone: &TimeZone, moment: Timestamp) -> Option<Timestamp> {
        let now = local(zone, moment)?;
        let minute = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).ok()?;
        let weekday = u8::try_from(now.weekday().to_monday_zero_offset()).ok()?;
        let (today, tomorrow) = (now.date(), now.date().tomorrow().ok()?);
        let end = |quiet: &Quiet| match *quiet {
            Quiet::Day { day } => (day == weekday).then_some((tomorrow, 0)),
            Quiet::Hours { from, to } if from < to => (from <= minute && minute < to).then_some((today, to)),
            Quiet::Hours { from, to } => {
                if minute >= from {
                    Some((tomorrow, to))
                } else {
                    (minute < to).then_some((today, to))
                }
            }
        };
        let ends = self.quiet.iter().filter_map(end).filter_map(|(day, minute)| instant(zone, day, minute));
        // An hour that comes twice, or never, must not lead back.
        ends.max().map(|end| end.max(moment.plus(Duration::from_mins(1))))
    }
}

fn local(zone: &TimeZone, moment: Timestamp) -> Option<Zoned> {
    Some(jiff::Timestamp::from_microsecond(moment.0).ok()?.to_zoned(zone.clone()))
}

fn instant(zone: &TimeZone, day: Date, minute: u16) -> Option<Timestamp> {
    let minute = i32::from(minute);
    let (day, minute) = if minute >= DAY { (day.tomorrow().ok()?, minute - DAY) } else { (day, minute) };
    let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
    let there = day.to_datetime(Time::new(hour, minute, 0, 0).ok()?).to_zoned(zone.clone()).ok()?;
    Some(Timestamp(there.timestamp().as_microsecond()))
}

impl fmt::Display for Rest {
    /// `quiet 18:00-08:00, sat, sun; together at 09:00; Europe/Berlin`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut says = Vec::new();
        if !self.quiet.is_empty() {
            let quiet: Vec<String> = self.quiet.iter().map(ToString::to_string).collect();
            says.push(format!("quiet {}", quiet.join(", ")));
        }
        if !self.at.is_empty() {
            let times: Vec<String> = self.at.iter().map(|minute| clock(*minute)).collect();
            says.push(format!("together at {}", times.join(", ")));
        }
        let every = self.every_s.map(|seconds| super::span_in_words(Duration::from_secs(seconds)));
        says.extend(every.map(|span| format!("together every {span}")));
        says.push(self.zone.clone());
        out.write_str(&says.join("; "))
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hours { from, to } => write!(out, "{}-{}", clock(*from), clock(*to)),
            Self::Day { day } => out.write_str(DAYS.get(usize::from(*day)).copied().unwrap_or("?")),
        }
    }
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn night() -> Quiet {
        Quiet::Hours { from: 18 * 60, to: 8 * 60 }
    }

    fn rest(quiet: &[Quiet], at: &[u16], every_s: Option<u64>) -> Rest {
        let (quiet, at) = (quiet.iter().copied().collect(), at.iter().copied().collect());
        Rest { zone: "Europe/Berlin".into(), quiet, at, every_s }
    }

    /// 23 November 2026 is a Monday; Berlin is an hour ahead then.
    #[test]
    #[rustfmt::skip]
    fn what_can_wait_is_told_in_the_waking_hours_of_those_who_read_it() {
        let (sat, sun) = (Quiet::Day { day: 5 }, Quiet::Day { day: 6 });
        let noon = Quiet::Hours { from: 12 * 60, to: 13 * 60 };
        for (what, rest, asked, told) in [
            ("nothing is quiet",        rest(&[], &[], None),               "2026-11-23T20:00:00Z", "2026-11-23T20:00:00Z"),
            ("by day",                  rest(&[night()], &[], None),        "2026-11-23T16:59:59Z", "2026-11-23T16:59:59Z"),
            ("the night begins",        rest(&[night()], &[], None),        "2026-11-23T17:00:00Z", "2026-11-24T07:00:00Z"),
            ("after midnight",          rest(&[night()], &[], None),        "2026-11-24T01:00:00Z", "2026-11-24T07:00:00Z"),
            ("the night ends",          rest(&[night()], &[], None),        "2026-11-24T07:00:00Z", "2026-11-24T07:00:00Z"),
            ("at noon",                 rest(&[noon], &[], None),           "2026-11-23T11:30:00Z", "2026-11-23T12:00:00Z"),
            ("over a weekend",          rest(&[night(), sat, sun], &[], None), "2026-11-27T20:00:00Z", "2026-11-30T07:00:00Z"),
            ("together later that day", rest(&[], &[540, 840], None),       "2026-11-23T08:00:01Z", "2026-11-23T13:00:00Z"),
            ("together the next day",   rest(&[], &[540, 840], None),       "2026-11-23T13:00:01Z", "2026-11-24T08:00:00Z"),
            ("together just now",       rest(&[], &[540], None),            "2026-11-23T08:00:00Z", "2026-11-23T08:00:00Z"),
            ("not in the night",        rest(&[night()], &[420, 540], None), "2026-11-23T18:00:00Z", "2026-11-24T08:00:00Z"),
            ("by intervals",            rest(&[], &[], Some(7200)),         "2026-11-23T08:00:01Z", "2026-11-23T10:00:00Z"),
            ("by intervals, by day",    rest(&[night()], &[], Some(7200)),  "2026-11-23T17:30:00Z", "2026-11-24T08:00:00Z"),
            ("summer time ends",        rest(&[night()], &[], None),        "2026-10-24T20:00:00Z", "2026-10-25T07:00:00Z"),
            ("summer time begins",      rest(&[night()], &[], None),        "2027-03-27T20:00:00Z", "2027-03-28T06:00:00Z"),
            ("an hour that is not there", rest(&[], &[150], None),          "2027-03-28T00:00:00Z", "2027-03-28T01:30:00Z"),
            ("up to an hour that comes twice", rest(&[Quiet::Hours { from: 0, to: 150 }], &[], None), "2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(rest.release(at(asked)), at(told), "{what}");
        }
    }

    #[test]
    fn no_words_of_a_route_keep_anything_for_ever() {
        let always = rest(&[Quiet::Hours { from: 0, to: 0 }], &[], None);
        let asked = at("2026-11-23T08:00:00Z");
        assert!(always.release(asked) < asked.plus(Duration::from_hours(24 * 70)));
        let nowhere = Rest { zone: "Mars/Olympus".into(), ..rest(&[night()], &[], None) };
        assert_eq!(nowhere.release(at("2026-11-23T20:00:00Z")), at("2026-11-23T20:00:00Z"));
        assert!(Rest::knows("Europe/Berlin") && Rest::knows("UTC") && !Rest::knows("Mars/Olympus"));
        assert_eq!(
            rest(&[night(), Quiet::Day { day: 6 }], &[540], Some(7200)).to_string(),
            "quiet 18:00-08:00, sun; together at 09:00; together every 2 h; Europe/Berlin"
        );
    }
}
