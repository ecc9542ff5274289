//! Lines for a shell, such as in an argument of a tool: each command is what its program does with these options to these files.
//! What no reader could be certain of is `shell.unknown`, never a read: see [`line`] for what a line may be made of, and
//! [`programs`] for what is known of programs.

mod line;
mod programs;

use super::parts::{Found, Part, Place, possible};
use async_trait::async_trait;
use countersign_core::Class;
use countersign_engine::port::{
    text::{Effect, TextReader, TextRefusal},
    upstream::Gathered,
};
use programs::{Does, does};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The language of these texts, as policy calls it.
pub(crate) const LANGUAGE: &str = "shell";

/// The most commands that a sentence tells of one by one.
const MOST: usize = 4;

/// Reads the lines that a tool is given.
#[derive(Clone, Debug)]
pub(crate) struct ShellTexts {
    place: Place,
}

impl ShellTexts {
    pub(super) fn new(place: Place) -> Self {
        Self { place }
    }
}

fn found(text: &str) -> Found {
    let commands = match line::read(text) {
        Ok(commands) => commands,
        Err(why) => return unread(why),
    };
    let all: Vec<Does> = commands.iter().map(does).collect();
    let texts = |names: BTreeSet<&str>| names.into_iter().collect::<Value>();
    let parts = || all.iter().flat_map(|does| &does.parts);
    let of_paths = |part: &'_ &Part| part.about.iter().any(|(kind, _)| kind == "path");
    let named = |wanted: &dyn Fn(&Part) -> bool| -> BTreeSet<&str> {
        let about = parts().filter(of_paths).filter(|part| wanted(part)).flat_map(|part| &part.about);
        about.map(|(_, name)| name.as_str()).collect()
    };
    let facts = Map::from_iter([
        ("commands".to_owned(), json!(all.len())),
        ("programs".to_owned(), texts(all.iter().map(|does| does.program.as_str()).collect())),
        ("paths".to_owned(), texts(named(&|_| true))),
        ("writes".to_owned(), texts(named(&|part| part.class != Class::Read))),
    ]);
    let mut reasons: BTreeSet<&str> = all.iter().flat_map(|does| does.reasons.iter().copied()).collect();
    if all.len() > 1 {
        reasons.insert("several-commands");
    }
    let gravest = |does: &&Does| does.parts.iter().map(|part| part.class).max();
    let sentence = if all.len() <= MOST {
        all.iter().map(|does| does.phrase.as_str()).collect::<Vec<_>>().join("; ")
    } else {
        let phrase = all.iter().max_by_key(gravest).map_or("", |does| does.phrase.as_str());
        format!("Run {} commands, of which the gravest is: {phrase}", all.len())
    };
    let sentence = format!("{sentence} in a shell");
    Found { parts: all.into_iter().flat_map(|does| does.parts).collect(), facts, reasons, sentence }
}

fn unread(why: &'static str) -> Found {
    let facts = Map::from_iter([
        ("commands".to_owned(), json!(0)),
        ("programs".to_owned(), json!([])),
        ("paths".to_owned(), json!([])),
        ("writes".to_owned(), json!([])),
    ]);
    let parts = vec![Part { class: Class::Unknown, about: vec![("program".into(), "sh".into())] }];
    let sentence = format!("Run a line in a shell that nobody can be certain of ({why})");
    Found { parts, facts, reasons: [why].into(), sentence }
}

#[async_trait]
impl TextReader for ShellTexts {
    fn language(&self) -> &'static str {
        LANGUAGE
    }

    async fn read(&self, text: &str) -> Result<Effect, TextRefusal> {
        Ok(self.place.effect(LANGUAGE, found(text)))
    }

    async fn gather(&self, _: &str, _: &Map<String, Value>, _: usize) -> Option<Gathered> {
        None
    }

    fn possible(&self) -> Vec<Effect> {
        let none = || json!([]);
        let nothing = [("commands", json!(0)), ("programs", none()), ("paths", none()), ("writes", none())];
        possible(LANGUAGE, &nothing)
    }
}

#[cfg(test)]
mod tests;
