//! What is found out about a statement beforehand, and how it reads in that light.

use crate::{
    beforehand::{More, Scout},
    catalogs::Watch,
    understand::{Access, Question, Reader, RowEvidence, Understood},
};
use countersign_core::{
    Action, Evidence, Timestamp,
    evidence::{Finding, Found, Quality},
};
use countersign_engine::port::upstream::Gathered;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// Longer plans are not kept: nobody reads them, and their number of rows is.
const LONGEST_PLAN: usize = 16 << 10;
/// What the facts of evidence are called.
const FACTS: &str = "est_";

/// One statement, to be looked into as often as somebody wants to know.
pub(super) struct Scouting {
    pub(super) scout: Arc<Scout>,
    pub(super) reader: Reader,
    pub(super) catalog: Arc<Watch>,
    /// The settings that the statement's words are read with.
    pub(super) settings: BTreeMap<String, String>,
    /// Whether what others see is all there is: nothing of this session waits to be committed.
    pub(super) committed: bool,
    pub(super) question: Question,
    pub(super) understood: Arc<Understood>,
}

impl Scouting {
    /// `None` for what is about no rows at all.
    pub(super) async fn gather(
        &self,
        action: &Action,
        now: impl Fn() -> Timestamp,
        nonce: impl Fn() -> [u8; 18],
    ) -> Option<Gathered> {
        if self.understood.access == Access::Control {
            return None;
        }
        // It may have waited for hours: names are looked up as they are now.
        let catalog = self.catalog.current(&nonce).await;
        let question = Question { catalog, ..self.question.clone() };
        let preflight = self.reader.preflight(question).await;
        let asked = &self.question.asked;
        let scouted = self.scout.look(&preflight, asked, &self.settings, nonce()).await;
        let mut findings = Vec::with_capacity(3);
        let mut tell = |source: &str, found| {
            findings.push(Finding { about: "rows".into(), source: source.into(), found });
        };
        let role = self.scout.role();
        let counted = if self.committed {
            format!("counted as `{role}`")
        } else {
            format!("counted as `{role}`, without what this transaction has done so far")
        };
        match &scouted.count {
            Ok((value, More::Maybe)) => {
                tell(&counted, Found::Number { value: *value, quality: Quality::AtLeast });
            }
            Ok((value, More::No)) => {
                let quality = if self.committed { Quality::Exact } else { Quality::Estimate };
                tell(&counted, Found::Number { value: *value, quality });
            }
            Err(why) => tell("not counted", Found::Missing { why: why.clone() }),
        }
        let exact = self.committed && matches!(scouted.count, Ok((_, More::No)));
        if let Ok((value, plan)) = &scouted.plan {
            // Beside an exact number an estimate only confuses.
            if !exact {
                let quality = Quality::Estimate;
                tell("estimated by the planner", Found::Number { value: *value, quality });
            }
            if plan.len() <= LONGEST_PLAN {
                let about = "plan".into();
                let source = format!("`EXPLAIN` as `{role}`, of a query for the same rows");
                findings.push(Finding { about, source, found: Found::Text { text: plan.clone() } });
            }
        }
        let evidence = Evidence { gathered_at: now(), findings };
        let estimate = scouted.plan.ok().map(|(rows, _)| rows);
        let problem = scouted.count.as_ref().err().cloned();
        let rows = rows(scouted.count.ok(), estimate, self.committed);
        let plain = || self.understood.sentence.clone();
        Some(Gathered {
            facts: facts(&action.facts, rows, problem),
            sentence: rows.map_or_else(plain, |rows| self.understood.sentence_with(rows)),
            evidence,
        })
    }
}

/// The one number that people and policies are told; an estimate where nothing is surer.
fn rows(count: Option<(u64, More)>, estimate: Option<u64>, committed: bool) -> Option<RowEvidence> {
    match (count, estimate) {
        (Some((count, More::No)), _) if committed => Some(RowEvidence::Exactly(count)),
        (Some((count, More::No)), _) => Some(RowEvidence::About(count)),
        (Some((count, More::Maybe)), Some(estimate)) if estimate >= count => {
            Some(RowEvidence::About(estimate))
        }
        (Some((count, More::Maybe)), _) => Some(RowEvidence::AtLeast(count)),
        (None, estimate) => estimate.map(RowEvidence::About),
    }
}

/// The action's facts with what was found out in the place of what was found out before.
fn facts(
    of_action: &Map<String, Value>,
    rows: Option<RowEvidence>,
    problem: Option<String>,
) -> Map<String, Value> {
    let plain = of_action.iter().filter(|(name, _)| !name.starts_with(FACTS));
    let mut facts: Map<String, Value> = plain.map(|(name, value)| (name.clone(), value.clone())).collect();
    let (exact, count) = match rows {
        Some(RowEvidence::Exactly(count)) => (true, Some(count)),
        Some(RowEvidence::AtLeast(count) | RowEvidence::About(count)) => (false, Some(count)),
        None => (false, None),
    };
    if let Some(count) = count {
        facts.insert("est_rows".into(), i64::try_from(count).unwrap_or(i64::MAX).into());
        facts.insert("est_exact".into(), exact.into());
    }
    if let Some(why) = problem {
        facts.insert("est_problem".into(), format!("could not be counted: {why}").into());
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_number_is_told() {
        for (count, estimate, committed, want) in [
            (Some((14, More::No)), Some(500), true, Some(RowEvidence::Exactly(14))),
            (Some((14, More::No)), None, false, Some(RowEvidence::About(14))),
            (Some((10_001, More::Maybe)), Some(14_285), true, Some(RowEvidence::About(14_285))),
            // The planner was wrong.
            (Some((10_001, More::Maybe)), Some(500), true, Some(RowEvidence::AtLeast(10_001))),
            (None, Some(500), true, Some(RowEvidence::About(500))),
            (None, None, true, None),
        ] {
            assert_eq!(rows(count, estimate, committed), want);
        }
    }

    #[test]
    fn facts_of_an_older_look_do_not_stay() {
        let before = [("access", "writes".into()), ("est_rows", 14.into()), ("est_exact", true.into())];
        let before =
            before.map(|(name, value): (&str, Value)| (name.to_owned(), value)).into_iter().collect();
        let told = |rows, problem: Option<&str>| {
            let now = facts(&before, rows, problem.map(str::to_owned));
            let mut told: Vec<_> = now.iter().map(|(name, value)| format!("{name}={value}")).collect();
            told.sort();
            told.join(" ")
        };
        let why = "est_problem=\"could not be counted: it took too long\"";
        assert_eq!(told(None, Some("it took too long")), format!("access=\"writes\" {why}"));
        assert_eq!(
            told(Some(RowEvidence::About(500)), Some("it took too long")),
            format!("access=\"writes\" est_exact=false {why} est_rows=500")
        );
    }
}
