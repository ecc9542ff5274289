//! The golden file of evasions: reading it, and asking what each of its texts is taken for.

use bytes::Bytes;
use countersign_core::{EnvironmentName, TargetName};
use countersign_pep_sql::understand::{
    Asked, BoundValue, Catalog, Prepared, Question, SessionFacts, SqlTarget, TableLabels, TransactionStatus,
    Understood, understand,
};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

pub(crate) const STATEMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/statements.txt");
pub(crate) const EVASIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/evasions.txt");
pub(crate) const CATALOG: &str = include_str!("../golden/catalog.json");

/// One text and what it is taken for.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) title: String,
    pub(crate) settings: String,
    /// As it stands in the file.
    pub(crate) raw: String,
    pub(crate) text: String,
    pub(crate) expected: String,
}

impl Case {
    pub(crate) fn understood(&self) -> Understood {
        understand(&self.question(catalog()))
    }

    pub(crate) fn question(&self, catalog: Catalog) -> Question {
        let mut session =
            SessionFacts { user: "agent".into(), database: "shop".into(), ..SessionFacts::default() };
        let mut catalog = catalog;
        let mut values = None;
        for (name, value) in self.session() {
            match name.split_once(':').unwrap_or((&name, "")) {
                ("scs", _) => session.standard_conforming_strings = false,
                ("path", _) => session.search_path = value.split(',').map(str::to_owned).collect(),
                ("opaque", _) => session.opaque = true,
                ("unknown-catalog", _) => catalog = Catalog::unknown(),
                ("idle-txn", _) => session.transaction = TransactionStatus::InTransaction,
                ("prepared", name) => {
                    let (text, types) = (value.as_str().into(), Arc::default());
                    session.prepared.insert(name.into(), Prepared { text, types, by_sql: true });
                }
                ("cursor", name) => drop(session.cursors.insert(name.into(), value.as_str().into())),
                ("temp", name) => drop(session.temporary.insert(name.into())),
                ("tempview", name) => {
                    session.temporary.insert(name.into());
                    session.temporary_views.insert(name.into());
                }
                ("bind", _) => values = Some(vec![BoundValue::Text(Bytes::from(value))]),
                (other, _) => panic!("no such setting: {other}"),
            }
        }
        let asked = vec![Asked { sql: self.text.as_str().into(), types: Vec::new(), values }];
        Question { asked, session, catalog: Arc::new(catalog), target: Arc::new(target()) }
    }

    /// The settings of its session, by name.
    pub(crate) fn session(&self) -> Vec<(String, String)> {
        let pair = |word: String| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (word, String::new()),
        };
        split(&self.settings).into_iter().map(pair).collect()
    }

    /// The lines that follow the text in the file.
    pub(crate) fn found(&self) -> String {
        let understood = self.understood();
        let refused = if understood.refused.is_some() { " refused" } else { "" };
        format!(
            "=> {} {}{refused}\n>> {}",
            understood.operation.as_str(),
            understood.access.as_str(),
            understood.sentence
        )
    }
}

/// A line of settings, in which only the last one may hold spaces.
fn split(settings: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in settings.split(' ').filter(|word| !word.is_empty()) {
        match words.last_mut() {
            Some(last) if is_text(last) => *last = format!("{last} {word}"),
            _ => words.push(word.to_owned()),
        }
    }
    words
}

fn is_text(word: &str) -> bool {
    word.starts_with("prepared:") || word.starts_with("cursor:")
}

/// The catalog of the schema beside it, read once.
pub(crate) fn catalog() -> Catalog {
    static READ: OnceLock<Catalog> = OnceLock::new();
    READ.get_or_init(read_catalog).clone()
}

fn read_catalog() -> Catalog {
    let answers: Vec<Vec<serde_json::Value>> = serde_json::from_str(CATALOG).unwrap();
    let answers: Vec<Vec<String>> =
        answers.iter().map(|rows| rows.iter().map(ToString::to_string).collect()).collect();
    Catalog::read("golden", &answers).unwrap()
}

/// The shop in production; users hold personal data in two columns.
pub(crate) fn target() -> SqlTarget {
    SqlTarget {
        target: TargetName::new("shop").unwrap(),
        environment: EnvironmentName::new("prod").unwrap(),
        labels: BTreeSet::new(),
        tables: vec![TableLabels {
            schema: "public".into(),
            table: "users".into(),
            columns: ["email".to_owned(), "note".to_owned()].into(),
            labels: ["pii".to_owned()].into(),
        }],
        trusted_functions: BTreeSet::new(),
        export_rows: SqlTarget::EXPORT_ROWS,
    }
}

/// The cases of a file.
pub(crate) fn evasions(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if line.starts_with("; ") || line == ";" && cases.is_empty() {
            continue;
        }
        if let Some(title) = line.strip_prefix("# ") {
            let title = title.to_owned();
            cases.push(Case {
                title,
                settings: String::new(),
                raw: String::new(),
                text: String::new(),
                expected: String::new(),
            });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(settings) = line.strip_prefix("@ ") {
            case.settings = settings.into();
        } else if line.starts_with("=> ") {
            case.expected = line.into();
        } else if line.starts_with(">> ") {
            write!(case.expected, "\n{line}").unwrap();
        } else if !line.is_empty() {
            case.raw = line.into();
            case.text = unescaped(line);
        }
    }
    cases
}

/// The file with what was found in it.
pub(crate) fn written(text: &str, cases: &[Case], found: &[String]) -> String {
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with(';')).collect();
    let mut out = head.join("\n");
    for (case, found) in cases.iter().zip(found) {
        let settings =
            if case.settings.is_empty() { String::new() } else { format!("@ {}\n", case.settings) };
        write!(out, "\n\n# {}\n{settings}{}\n{found}", case.title, case.raw).unwrap();
    }
    out.push('\n');
    out
}

fn unescaped(line: &str) -> String {
    let mut text = line.replace("\\r", "\r").replace("\\z", "\0");
    while let Some((before, rest)) = text.split_once("\\u{") {
        let (code, after) = rest.split_once('}').unwrap();
        let character = char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap();
        text = format!("{before}{character}{after}");
    }
    text
}

/// A text by itself, in a plain session.
pub(crate) fn case(text: String) -> Case {
    Case { title: String::new(), settings: String::new(), raw: String::new(), text, expected: String::new() }
}
