//! Calls of the later era that are not answered before their agent has said more (2026-07-28, basic/patterns/mrtr). What the
//! server asks reaches an agent only where that is passed on to it. What the agent answers comes back with the same call:
//! that is an action of its own, decided on anew, whose digest covers what was asked and what was answered. Nothing is kept
//! here meanwhile: the agent carries it, under a code that only this gateway can make.

use crate::{
    asks::{self, LARGEST, Offer},
    members::{self, Members},
    upstream::process::on_one_line,
};
use countersign_core::Timestamp;
use serde_json::{Value, value::RawValue};
use std::collections::BTreeSet;

/// Questions in one result.
pub(crate) const MOST: usize = 8;
/// The longest state of a server's, in bytes.
const LONGEST_STATE: usize = 16 << 10;

/// What a server wants before it answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Its questions by their names, as JSON on one line; none where it only wants to be asked again.
    asked: Option<String>,
    /// What it wants to see again, as JSON.
    state: Option<String>,
}

/// A call that comes back with answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The parameters with what goes on to the server.
    pub(crate) params: String,
    /// What was asked, as JSON on one line.
    pub(crate) asked: Option<String>,
    /// What kinds of questions are answered.
    pub(crate) methods: BTreeSet<String>,
    /// When they were asked.
    pub(crate) at: String,
    /// The digest of the tool's definition by then.
    pub(crate) definition: Option<String>,
    /// How often the agent has come back, this time included.
    pub(crate) rounds: u32,
}

/// What is known of a question beside what the server says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    pub(crate) at: Timestamp,
    pub(crate) definition: Option<&'a str>,
    pub(crate) rounds: u32,
}

impl Round {
    /// Reads a result that is none yet; else why it is not passed on.
    pub(crate) fn read(result: &RawValue, offer: &Offer) -> Result<Self, &'static str> {
        let members = Members::read(result).ok_or("what it wants cannot be read")?;
        if members.find("resultType").map(RawValue::get) != Some(r#""input_required""#) {
            return Err("this kind of result is not passed on");
        }
        let state = members.find("requestState").map(RawValue::get);
        if state.is_some_and(|state| state.len() > LONGEST_STATE || !state.starts_with('"')) {
            return Err("its state is no text, or longer than is passed on");
        }
        let asked = members.find("inputRequests").filter(|asked| asked.get() != "null");
        if let Some(asked) = asked {
            let all = Members::read(asked).ok_or("what it wants cannot be read")?;
            if asked.get().len() > LARGEST || all.iter().count() > MOST {
                return Err("it asks more at a time than is passed on");
            }
            for (_, question) in all.iter() {
                let (method, params) = parts(question).ok_or("what it wants cannot be read")?;
                offer.takes(&method, params)?;
            }
        }
        if asked.is_none() && state.is_none() {
            return Err("it does not say what it wants");
        }
        let asked = asked.filter(|asked| Members::read(asked).is_some_and(|all| !all.is_empty()));
        let asked = asked.and_then(|asked| String::from_utf8(on_one_line(asked.get().as_bytes())).ok());
        Ok(Self { asked, state: state.map(str::to_owned) })
    }

    /// What the agent carries until it comes back.
    pub(crate) fn content(&self, around: Circumstances<'_>) -> String {
        let asked = self.asked.as_ref().map(|asked| format!(r#""asked":{asked}"#));
        let state = self.state.as_ref().map(|state| format!(r#""state":{state}"#));
        let definition = around.definition.map(|definition| format!(r#""definition":"{definition}""#));
        let own = format!(r#""at":"{}","rounds":{}"#, around.at, around.rounds);
        let all = [Some(own), definition, asked, state];
        format!("{{{}}}", all.into_iter().flatten().collect::<Vec<_>>().join(","))
    }

    /// What the agent is told: the server's result with its texts marked, and with the state that it carries.
    pub(crate) fn told(&self, result: &RawValue, server: &str, state: &str) -> Option<String> {
        let members = Members::read(result)?;
        let asked = match &self.asked {
            None => None,
            Some(asked) => {
                let asked: &RawValue = serde_json::from_str(asked).ok()?;
                let all = Members::read(asked)?;
                let mut marked = Vec::new();
                for (name, question) in all.iter() {
                    let (method, params) = parts(question)?;
                    let told = asks::marked(&method, params, server)?;
                    marked.push(format!(r#""{name}":{{"method":"{method}","params":{told}}}"#));
                }
                Some(format!(r#","inputRequests":{{{}}}"#, marked.join(",")))
            }
        };
        let kept = members.rewritten(|name, value| {
            let own = ["inputRequests", "requestState"].contains(&name);
            (!own).then(|| value.get().to_owned())
        });
        let kept = kept.strip_suffix('}')?;
        Some(format!(r#"{kept}{},"requestState":"{state}"}}"#, asked.unwrap_or_default()))
    }
}

/// A question's method and parameters.
pub(crate) fn parts(question: &RawValue) -> Option<(String, Option<&RawValue>)> {
    let question = Members::read(question)?;
    Some((question.find("method").and_then(members::text)?, question.find("params")))
}

/// The call as it goes on with these answers, by what its agent carried. Answers to nothing that was asked are left out.
pub(crate) fn answered(content: &str, responses: Option<&str>, params: &str) -> Option<Answered> {
    let carried: &RawValue = serde_json::from_str(content).ok()?;
    let carried = Members::read(carried)?;
    let asked = carried.find("asked");
    let at = carried.find("at").and_then(members::text)?;
    let definition = carried.find("definition").and_then(members::text);
    let rounds = carried.find("rounds").and_then(|rounds| rounds.get().parse().ok())?;
    let mut methods = BTreeSet::new();
    let mut more = Vec::new();
    if let (Some(asked), Some(responses)) = (asked, responses) {
        let all = Members::read(asked)?;
        let given: &RawValue = serde_json::from_str(responses).ok()?;
        let given = Members::read(given)?;
        let kept = given.rewritten(|name, value| all.find(name).map(|_| value.get().to_owned()));
        for (name, question) in all.iter().filter(|(name, _)| given.find(name).is_some()) {
            let (method, _) = parts(question)?;
            methods.insert(method);
            let answer: Value = serde_json::from_str(given.find(name)?.get()).ok()?;
            if !answer.is_object() {
                return None;
            }
        }
        if !methods.is_empty() {
            more.push(format!(r#""inputResponses":{kept}"#));
        }
    }
    if let Some(state) = carried.find("state") {
        more.push(format!(r#""requestState":{}"#, state.get()));
    }
    let rest = params.trim_end().strip_suffix('}')?.trim_end();
    let comma = if rest == "{" || more.is_empty() { "" } else { "," };
    let params = format!("{rest}{comma}{}}}", more.join(","));
    let asked = asked.filter(|_| !methods.is_empty()).map(|asked| asked.get().to_owned());
    Some(Answered { params, asked, methods, at, definition, rounds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asks::{Passes, ServerRequestsSection};

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn forms() -> Offer {
        let rules = ServerRequestsSection { elicitation: Passes::Pass, ..ServerRequestsSection::default() };
        Offer::new(Some(&raw(r#"{"elicitation":{},"sampling":{}}"#)), rules)
    }

    const AROUND: Circumstances<'_> =
        Circumstances { at: Timestamp(0), definition: Some("sha256:0"), rounds: 3 };

    const WANTS: &str = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"Sure?","requestedSchema":{ "n":1.0}}}},"requestState":"s\"1","_meta":{"k":1}}"#;

    #[test]
    fn a_question_is_told_as_the_servers_and_its_answer_goes_on_with_the_same_call() {
        let result = raw(WANTS);
        let round = Round::read(&result, &forms()).unwrap();
        assert_eq!(
            round.told(&result, "shop", "STATE").unwrap(),
            r#"{"resultType":"input_required","_meta":{"k":1},"inputRequests":{"a":{"method":"elicitation/create","params":{"message":"The MCP server “shop” asks: Sure?","requestedSchema":{ "n":1.0}}}},"requestState":"STATE"}"#
        );
        let answers = r#"{"a":{"action":"accept","content":{"n": 1.50}},"b":{"action":"accept"}}"#;
        let again = answered(&round.content(AROUND), Some(answers), r#"{"name":"x"}"#).unwrap();
        assert_eq!(
            again.params,
            r#"{"name":"x","inputResponses":{"a":{"action":"accept","content":{"n": 1.50}}},"requestState":"s\"1"}"#
        );
        let asked = again.asked.unwrap();
        assert!(asked.contains(r#""message":"Sure?""#), "reviewers see what was asked: {asked}");
        assert_eq!(again.methods, [asks::ELICITATION.to_owned()].into());
        assert_eq!((again.at.as_str(), again.rounds), ("1970-01-01T00:00:00.000000Z", 3));
        assert_eq!(again.definition.as_deref(), Some("sha256:0"));
        // Nothing is made up where nothing is answered.
        for nothing in [None, Some(r#"{"b":{"action":"accept"}}"#)] {
            let again = answered(&round.content(AROUND), nothing, "{}").unwrap();
            assert_eq!((again.params.as_str(), again.asked), (r#"{"requestState":"s\"1"}"#, None));
        }
        assert_eq!(answered(&round.content(AROUND), Some(r#"{"a":1}"#), "{}"), None);
        assert_eq!(answered(&round.content(AROUND), Some("[]"), "{}"), None);
    }

    #[test]
    #[rustfmt::skip]
    fn what_may_not_be_asked_is_not_passed_on() {
        let many = format!(r#"{{"resultType":"input_required","inputRequests":{{{}}}}}"#,
            (0..=MOST).map(|number| format!(r#""{number}":{{"method":"elicitation/create","params":{{"message":"?"}}}}"#)).collect::<Vec<_>>().join(","));
        for (result, want) in [
            (WANTS, true),
            (r#"{"resultType":"input_required","requestState":"s"}"#, true),
            (r#"{"resultType":"input_required"}"#, false),
            (r#"{"resultType":"input_required","requestState":1}"#, false),
            (r#"{"resultType":"task","requestState":"s"}"#, false),
            (&WANTS.replace("elicitation/create", "sampling/createMessage"), false),
            (&WANTS.replace("elicitation/create", "tools/call"), false),
            (&WANTS.replace(r#""message""#, r#""mode":"url","message""#), false),
            (&many, false),
        ] {
            assert_eq!(Round::read(&raw(result), &forms()).is_ok(), want, "{result}");
        }
        let plain = raw(r#"{"resultType":"input_required","requestState":"s"}"#);
        let round = Round::read(&plain, &Offer::default()).unwrap();
        assert_eq!(round.told(&plain, "shop", "S").unwrap(), r#"{"resultType":"input_required","requestState":"S"}"#);
        assert_eq!(answered(&round.content(AROUND), None, r#"{ "name":"x" }"#).unwrap().params, r#"{ "name":"x","requestState":"s"}"#);
    }
}
