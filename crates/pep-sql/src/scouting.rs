//! What is found out about a statement beforehand, and how it reads in that light.

use crate::{
    beforehand::{More, Scout, Scouted},
    catalogs::Watch,
    understand::{Access, Catalog, Question, Reader, RowEvidence, SqlOperation, Understood},
};
use countersign_core::{
    Evidence, Timestamp,
    evidence::{Finding, Found, Quality},
};
use countersign_engine::port::upstream::Gathered;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Longer plans are not kept: nobody reads them, and their number of rows is.
const LONGEST_PLAN: usize = 16 << 10;
/// What the facts of evidence are called.
const FACTS: &str = "est_";

/// What names stand for: the finding that must be the same when the statement runs.
const MEANING: &str = "meaning";

/// One statement, to be looked into as often as somebody wants to know.
pub(crate) struct Scouting {
    /// Who counts, where somebody may.
    pub(crate) scout: Option<Arc<Scout>>,
    pub(crate) reader: Reader,
    pub(crate) catalog: Arc<Watch>,
    /// The settings that the statement's words are read with.
    pub(crate) settings: BTreeMap<String, String>,
    /// Whether what others see is all there is: nothing of this session waits to be committed.
    pub(crate) committed: bool,
    pub(crate) question: Question,
    pub(crate) understood: Arc<Understood>,
}

impl Scouting {
    /// What is found out at this moment: `told` are the facts of the action so far, and `resources` is how many it names.
    /// `None` for what is about no rows and names nothing.
    pub(crate) async fn gather(
        &self,
        (told, resources): (&Map<String, Value>, usize),
        now: impl Fn() -> Timestamp,
        nonce: impl Fn() -> [u8; 18],
    ) -> Option<Gathered> {
        if self.understood.access == Access::Control {
            return None;
        }
        // It may have waited for hours: names are looked up as they are now.
        let catalog = self.catalog.again(&nonce).await;
        let question = Question { catalog: Arc::clone(&catalog), ..self.question.clone() };
        let understood = self.reader.understand(&question).await;
        let mut findings = Vec::with_capacity(4);
        if let Some(meaning) = meaning(&understood, &catalog) {
            findings.push(meaning);
        }
        let looked = match &self.scout {
            Some(scout) => {
                let preflight = self.reader.preflight(question).await;
                let scouted = scout.look(&preflight, &self.question.asked, &self.settings, nonce()).await;
                for one in &scouted {
                    findings.extend(self.told(scout.role(), one, scouted.len() > 1));
                }
                scouted
            }
            None if findings.is_empty() => return None,
            None => Vec::new(),
        };
        let problem = looked.iter().find_map(|looked| looked.count.as_ref().err().cloned());
        let mut facts = facts(told, self.all(&looked), problem);
        let rows = self.gravest(&looked);
        let sentence = if self.is_still(&understood) || !catalog.is_known() {
            let plain = || self.understood.sentence.clone();
            rows.map_or_else(plain, |rows| self.understood.sentence_with(rows))
        } else {
            turned(&mut facts, resources, &self.understood.sentence)
        };
        Some(Gathered { facts, sentence, evidence: Evidence { gathered_at: now(), findings } })
    }

    /// Whether it does the same as when it was asked for.
    fn is_still(&self, now: &Understood) -> bool {
        let of = |understood: &Understood| {
            let effects = understood.statements.iter().flat_map(|one| &one.effects).cloned();
            (understood.access, understood.resources.clone(), effects.collect::<Vec<_>>())
        };
        of(&self.understood) == of(now)
    }

    /// The rows of one statement.
    fn rows(&self, looked: &Scouted) -> Option<RowEvidence> {
        let plan = looked.plan.as_ref().ok().map(|(rows, _)| *rows);
        rows(looked.count.clone().ok(), plan, self.committed && looked.sure)
    }

    /// The rows of all statements together, where each is known.
    fn all(&self, looked: &[Scouted]) -> Option<RowEvidence> {
        let each: Option<Vec<RowEvidence>> = looked.iter().map(|one| self.rows(one)).collect();
        each?.into_iter().reduce(RowEvidence::and)
    }

    /// The rows of the statement that the sentence speaks of.
    fn gravest(&self, looked: &[Scouted]) -> Option<RowEvidence> {
        let mut statements = self.understood.statements.iter();
        let gravest = statements.position(|one| one.operation == self.understood.operation)?;
        self.rows(looked.iter().find(|looked| looked.statement == gravest)?)
    }

    /// How many rows, and how surely; of which statement, where there are several.
    fn told(&self, role: &str, scouted: &Scouted, one_of_several: bool) -> Vec<Finding> {
        let mut findings = Vec::with_capacity(4);
        let of = |what: &str| {
            if one_of_several {
                format!("{what} of statement {} ({})", scouted.statement + 1, scouted.verb)
            } else {
                what.to_owned()
            }
        };
        let rows = of("rows");
        let mut tell = |source: &str, found| {
            findings.push(Finding { about: rows.clone(), source: source.into(), found });
        };
        let counted = match (self.committed, scouted.sure) {
            (true, true) => format!("counted as `{role}`"),
            (true, false) => {
                format!("counted as `{role}`, as it is before the action begins: at most so many")
            }
            (false, _) => format!("counted as `{role}`, without what this transaction has done so far"),
        };
        let sure = self.committed && scouted.sure;
        match &scouted.count {
            Ok((value, More::Maybe)) => {
                tell(&counted, Found::Number { value: *value, quality: Quality::AtLeast });
            }
            Ok((value, More::No)) => {
                let quality = if sure { Quality::Exact } else { Quality::Estimate };
                tell(&counted, Found::Number { value: *value, quality });
            }
            Err(why) => tell("not counted", Found::Missing { why: why.clone() }),
        }
        let exact = sure && matches!(scouted.count, Ok((_, More::No)));
        if let Ok((value, plan)) = &scouted.plan {
            // Beside an exact number an estimate only confuses.
            if !exact {
                let quality = Quality::Estimate;
                tell("estimated by the planner", Found::Number { value: *value, quality });
            }
            if plan.len() <= LONGEST_PLAN {
                let about = of("plan");
                let source = format!("`EXPLAIN` as `{role}`, of a query for the same rows");
                findings.push(Finding { about, source, found: Found::Text { text: plan.clone() } });
            }
        }
        if let Some(value) = scouted.bytes {
            let source = "the size of what would be gone, indexes included".into();
            findings.push(Finding {
                about: of("bytes"),
                source,
                found: Found::Number { value, quality: Quality::Exact },
            });
        }
        findings
    }
}

/// What its names stand for at this moment.
fn meaning(understood: &Understood, catalog: &Catalog) -> Option<Finding> {
    let about = MEANING.into();
    if !catalog.is_known() {
        let (source, why) = ("not looked up".into(), "the database's catalog could not be read".into());
        return Some(Finding { about, source, found: Found::Missing { why } });
    }
    let (digest, names) = understood.meaning(catalog)?;
    let source = format!("the definitions of {names} and of what runs with them");
    Some(Finding { about, source, found: Found::Fixed { digest } })
}

/// Facts, and the sentence, of what does not do what it was asked to do any more: policy and people are told that nobody
/// knows.
pub(crate) fn turned(facts: &mut Map<String, Value>, resources: usize, sentence: &str) -> String {
    let all: Vec<usize> = (0..resources).collect();
    let unknown = SqlOperation::Unknown.as_str();
    facts.insert("effects".into(), json!([{ "operation": unknown, "resources": all }]));
    facts.insert("operations".into(), json!([unknown]));
    facts.insert("understood".into(), false.into());
    facts.insert("access".into(), Access::Unknown.as_str().into());
    facts.insert("risk".into(), "critical".into());
    facts.insert("reasons".into(), json!(["what it names was changed since it was asked for"]));
    format!("What it names was changed since it was asked for. It read: {sentence}")
}

/// Understands a question with the catalog that it comes with, and once more with a newer one where it has names that
/// may be newer than what is known: the question that was answered, and its answer.
pub(crate) async fn look_up(
    reader: &Reader,
    catalog: &Watch,
    question: Question,
    nonce: impl Fn() -> [u8; 18],
) -> (Question, Arc<Understood>) {
    let understood = reader.understand(&question).await;
    if understood.unresolved.is_empty() {
        return (question, understood);
    }
    let catalog = catalog.again(nonce).await;
    if catalog.version() == question.catalog.version() {
        return (question, understood);
    }
    let question = Question { catalog, ..question };
    let understood = reader.understand(&question).await;
    (question, understood)
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
