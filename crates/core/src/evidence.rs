//! What was found out about an action before anybody decides. It is shown to reviewers and signed with their votes;
//! it never permits anything, and what could not be found out is said as well.

use crate::{
    Digest, Timestamp,
    canonical::{self, CanonicalError},
};
use serde::{Deserialize, Serialize};

/// Everything that was found out at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub gathered_at: Timestamp,
    /// In the order in which they are shown. Several may speak of one thing, the surest first.
    pub findings: Vec<Finding>,
}

/// One thing found out, or why it was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about, in one or two words: `rows`.
    pub about: String,
    /// How it was found, in plain words: `counted as the role reader`.
    pub source: String,
    pub found: Found,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Found {
    /// A number that is compared when the action is about to run.
    Number { value: u64, quality: Quality },
    /// The target's own words, such as a plan. Shown and signed, not compared.
    Text { text: String },
    /// What must be the same when the action is about to run.
    Fixed { digest: Digest },
    /// It could not be found out.
    Missing { why: String },
}

/// How sure a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quality {
    Exact,
    /// Counted up to here, and there was more.
    AtLeast,
    Estimate,
}

impl Quality {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::AtLeast => "at least",
            Self::Estimate => "estimate",
        }
    }
}

/// By how much numbers may grow between the votes and the run, in percent of what was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DriftBound(pub u32);

impl Default for DriftBound {
    /// Twice as many.
    fn default() -> Self {
        Self(200)
    }
}

impl DriftBound {
    /// The greatest number that still counts as what was shown.
    fn allows(self, shown: u64) -> u64 {
        let most = u128::from(shown) * u128::from(self.0) / 100;
        u64::try_from(most).unwrap_or(u64::MAX)
    }
}

/// What is known of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure<'e> {
    Exactly(u64),
    /// An estimate, or a count that stopped, whichever is greater.
    About(u64),
    /// Any number above it.
    AtLeast(u64),
    Unknown(&'e str),
}

impl Evidence {
    /// SHA-256 over the canonical form, in a domain of its own: what a round names and a vote signs.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        Ok(Digest::of_parts("countersign/evidence/v1", &[&canonical::to_vec(self)?]))
    }

    /// The digest where nothing was gathered.
    pub fn none() -> Digest {
        Digest::of_parts("countersign/evidence/v1", &[])
    }

    /// Why what is found now is not what was decided on, in plain words. Numbers may shrink, and grow within the bound;
    /// what was known then has to be known now, and as surely.
    pub fn drift(&self, now: &Self, bound: DriftBound) -> Option<String> {
        let mut seen: Vec<&str> = Vec::new();
        for finding in &self.findings {
            let about = finding.about.as_str();
            if seen.contains(&about) {
                continue;
            }
            seen.push(about);
            if let Found::Fixed { digest } = &finding.found {
                let same = now.about(about).any(|found| *found == Found::Fixed { digest: *digest });
                if !same {
                    return Some(format!("{about} changed since it was shown"));
                }
                continue;
            }
            if let Some(why) = grown(about, self.measure(about), now.measure(about), bound) {
                return Some(why);
            }
        }
        None
    }

    fn about<'e>(&'e self, about: &'e str) -> impl Iterator<Item = &'e Found> {
        self.findings.iter().filter(move |finding| finding.about == about).map(|finding| &finding.found)
    }

    fn measure<'e>(&'e self, about: &'e str) -> Measure<'e> {
        let (mut least, mut guess, mut why) = (None, None, "it was not looked for");
        for found in self.about(about) {
            match found {
                Found::Number { value, quality: Quality::Exact } => return Measure::Exactly(*value),
                Found::Number { value, quality: Quality::AtLeast } => least = Some(*value),
                Found::Number { value, quality: Quality::Estimate } => guess = Some(*value),
                Found::Missing { why: reason } => why = reason,
                Found::Text { .. } | Found::Fixed { .. } => {}
            }
        }
        match (least, guess) {
            (least, Some(guess)) => Measure::About(least.unwrap_or(0).max(guess)),
            (Some(least), None) => Measure::AtLeast(least),
            (None, None) => Measure::Unknown(why),
        }
    }
}

fn grown(about: &str, then: Measure<'_>, now: Measure<'_>, bound: DriftBound) -> Option<String> {
    let unsure = |now: &str| Some(format!("{about}: an exact number was shown, and now there is {now}"));
    match (then, now) {
        // Whoever decided knew that nobody knows.
        (Measure::Unknown(_), _) => None,
        (_, Measure::Unknown(why)) => Some(format!("{about} could not be found out again: {why}")),
        (Measure::Exactly(_), Measure::About(_)) => unsure("an estimate"),
        (Measure::Exactly(_), Measure::AtLeast(least)) => unsure(&format!("at least {least}")),
        (Measure::About(_), Measure::AtLeast(least)) => {
            Some(format!("{about}: an estimate was shown, and now there is at least {least}"))
        }
        // Any number above it was decided on.
        (Measure::AtLeast(_), _) => None,
        (
            Measure::Exactly(shown) | Measure::About(shown),
            Measure::Exactly(found) | Measure::About(found),
        ) => {
            let shown_as = |measure: Measure<'_>, value: u64| match measure {
                Measure::About(_) => format!("about {value}"),
                Measure::Exactly(_) | Measure::AtLeast(_) | Measure::Unknown(_) => value.to_string(),
            };
            (found > bound.allows(shown)).then(|| {
                format!(
                    "{about}: {} were shown, and now there are {}",
                    shown_as(then, shown),
                    shown_as(now, found)
                )
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(found: &[Found]) -> Evidence {
        let finding =
            |found: &Found| Finding { about: "rows".into(), source: String::new(), found: found.clone() };
        Evidence { gathered_at: Timestamp(0), findings: found.iter().map(finding).collect() }
    }

    fn number(value: u64, quality: Quality) -> Found {
        Found::Number { value, quality }
    }

    #[test]
    fn numbers_may_shrink_and_grow_within_the_bound() {
        let exact = |value| rows(&[number(value, Quality::Exact)]);
        let about = |value| rows(&[number(10_001, Quality::AtLeast), number(value, Quality::Estimate)]);
        let least = rows(&[number(10_001, Quality::AtLeast)]);
        let missing = rows(&[Found::Missing { why: "it took too long".into() }]);
        for (then, now, drifts) in [
            (exact(14), exact(28), false),
            (exact(14), exact(29), true),
            (exact(14), exact(0), false),
            (exact(0), exact(1), true),
            (exact(9_000), about(12_000), true),
            (exact(9_000), least.clone(), true),
            (exact(14), missing.clone(), true),
            (about(14_000), about(28_000), false),
            (about(14_000), about(28_001), true),
            (about(14_000), exact(3), false),
            (about(14_000), least.clone(), true),
            (least.clone(), about(1 << 40), false),
            (least, missing.clone(), true),
            (missing.clone(), exact(1 << 40), false),
            (missing.clone(), missing, false),
            (exact(u64::MAX), exact(u64::MAX), false),
        ] {
            assert_eq!(then.drift(&now, DriftBound(200)).is_some(), drifts, "{then:?} {now:?}");
        }
        assert_eq!(
            exact(14).drift(&exact(60), DriftBound(100)).as_deref(),
            Some("rows: 14 were shown, and now there are 60")
        );
    }

    #[test]
    fn what_is_fixed_must_be_the_same() {
        let fixed = |byte| rows(&[Found::Fixed { digest: Digest([byte; 32]) }]);
        assert_eq!(fixed(1).drift(&fixed(1), DriftBound(200)), None);
        assert!(fixed(1).drift(&fixed(2), DriftBound(1_000)).is_some());
        assert!(fixed(1).drift(&rows(&[]), DriftBound(1_000)).is_some());
    }

    #[test]
    fn every_word_of_it_is_in_the_digest() {
        let one = rows(&[number(14, Quality::Exact)]);
        let later = Evidence { gathered_at: Timestamp(1), ..one.clone() };
        let other = rows(&[number(14, Quality::Estimate)]);
        let digests = [&one, &later, &other].map(|evidence| evidence.digest().unwrap());
        assert!(digests[0] != digests[1] && digests[0] != digests[2] && digests[0] != Evidence::none());
    }
}
