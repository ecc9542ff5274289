//! The `[[mcp.tools]]` sections: what a tool does, and which of its arguments policy may look at.

use countersign_core::{Class, visible};
use countersign_pep::Fault;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// One tool, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSection {
    /// As the server calls it.
    pub name: String,
    /// What its calls are; a tool has this, `sql`, `http`, `shell` or `kubernetes`.
    pub class: Option<Class>,
    /// Its calls are what the SQL does that they carry.
    pub sql: Option<SqlSection>,
    /// Its calls are the requests that they have made.
    pub http: Option<RequestSection>,
    /// Its calls are what the lines do that they hand to a shell.
    pub shell: Option<ShellSection>,
    /// Its calls are what is done to objects of Kubernetes.
    pub kubernetes: Option<KubernetesSection>,
    /// What it does, as a sentence: `Delete {count} rows of {table}`.
    pub sentence: Option<String>,
    #[serde(default)]
    pub labels: BTreeSet<String>,
    /// The arguments policies may look at in `context.input`, and what they are. One of another type is refused.
    #[serde(default)]
    pub arguments: BTreeMap<String, ArgumentType>,
}

/// The SQL of a tool's calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlSection {
    /// Which argument holds the text.
    pub argument: String,
    /// Others that do not change what the text does, such as a time limit. A call with any further one is refused.
    #[serde(default)]
    pub beside: BTreeSet<String>,
    /// The `[[postgres]]` target it is meant for: its names are looked up there, its tables are labelled and counted as
    /// that target says.
    pub target: String,
    pub database: String,
    /// The role that the server logs in as; that of the target unless it is another.
    pub user: Option<String>,
}

/// The requests of a tool's calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestSection {
    /// The `[[http]]` target that they go to: they are read as its operations, and any other URL is refused.
    pub target: String,
    /// Which argument holds the URL.
    pub url: String,
    /// Which one holds the method; or else it is `always` this one.
    pub method: Option<String>,
    pub always: Option<String>,
    /// Which one holds headers, as an object of texts.
    pub headers: Option<String>,
    /// Which one holds the body, as a text, an object or a list.
    pub body: Option<String>,
    /// Others that do not change the request. A call with any further one is refused.
    #[serde(default)]
    pub beside: BTreeSet<String>,
}

/// The line of a tool's calls, for a POSIX shell.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShellSection {
    /// Which argument holds the line.
    pub argument: String,
    /// Others that do not change what the line does, such as a time limit. A call with any further one is refused.
    #[serde(default)]
    pub beside: BTreeSet<String>,
}

/// The objects of a tool's calls, or what they are called, and what is done to them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesSection {
    /// Which argument holds objects, as a text of YAML or JSON, or as an object or a list.
    pub object: Option<String>,
    /// Or which one holds the kind of what is meant, with that of its API version and its name.
    pub kind: Option<String>,
    pub api_version: Option<String>,
    pub name: Option<String>,
    /// Which one holds the namespace.
    pub namespace: Option<String>,
    /// Which one holds what is done; or else it is `always` this.
    pub verb: Option<String>,
    pub always: Option<String>,
    /// Others that do not change what is done. A call with any further one is refused.
    #[serde(default)]
    pub beside: BTreeSet<String>,
}

/// What kind of value an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArgumentType {
    Text,
    /// A whole number of 64 bits.
    Number,
    Flag,
    TextSet,
}

/// The longest name of a tool (2025-11-25, server/tools, "Tool Names").
pub(crate) const LONGEST_NAME: usize = 128;

/// Whether a tool may be called that: what cannot be read aloud cannot be approved.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.chars().count())
        && name.trim() == name
        && !name.contains(['\n', '\r', '\t'])
        && !visible::has_hidden(name)
}

impl KubernetesSection {
    fn wrong(&self) -> Vec<(String, &'static str)> {
        let mut wrong = Vec::new();
        let mut one = |is_wrong: bool, why: &str, remedy| {
            if is_wrong {
                wrong.push((why.to_owned(), remedy));
            }
        };
        one(
            self.object.is_some() == self.kind.is_some(),
            "it is not said what its calls are about",
            "name the argument that holds objects as `object`, or the one that holds a kind as `kind`",
        );
        one(
            self.kind.is_none() && (self.name.is_some() || self.api_version.is_some()),
            "an object says itself what it is",
            "leave out `name` and `api_version`",
        );
        one(
            self.verb.is_some() == self.always.is_some(),
            "it is not said what its calls do",
            "name the argument as `verb`, or the one thing it does as `always`",
        );
        let is_known = self.always.as_deref().is_none_or(crate::text::is_kubernetes_verb);
        one(!is_known, "nobody knows what it always does", "write for example `get`, `apply` or `delete`");
        wrong
    }
}

impl ToolSection {
    /// What its calls can be in place of a class, and whether they are.
    fn texts(&self) -> [(&'static str, bool); 4] {
        [
            ("sql", self.sql.is_some()),
            ("http", self.http.is_some()),
            ("shell", self.shell.is_some()),
            ("kubernetes", self.kubernetes.is_some()),
        ]
    }

    pub(super) fn check(&self, place: &str) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, why: String, remedy: &str| {
            faults.push(Fault::new(format!("{place}.{key}"), why, remedy));
        };
        if !is_name(&self.name) {
            let why = format!("`{}` cannot be a tool", visible::one_line(&self.name));
            fault("name", why, "use 1 to 128 visible characters");
        } else if self.name == "mcp" || self.name.starts_with("mcp.") {
            let why = format!("`{}` is a name of the gateway's own", self.name);
            fault("name", why, "leave the tool out: it is then decided on as `mcp.tool`");
        } else if crate::approvals::NAMES.contains(&self.name.as_str()) {
            let why = format!("`{}` is a tool of the gateway's own", self.name);
            fault("name", why, "leave the tool out: agents cannot call the server's");
        }
        let said = self.texts().into_iter().filter(|(_, is_there)| *is_there).count();
        match usize::from(self.class.is_some()) + said {
            0 => {
                let why = "it is not said what its calls are".into();
                fault("class", why, "give it a `class`, or `sql`, `http`, `shell` or `kubernetes`");
            }
            1 => {}
            _ => {
                let why = "its calls are said to be several things".into();
                fault("class", why, "keep one of `class`, `sql`, `http`, `shell` and `kubernetes`");
            }
        }
        for (key, is_text) in self.texts() {
            if is_text && (self.sentence.is_some() || !self.arguments.is_empty()) {
                let why = format!("its calls are told and decided on by what they hold, in `context.{key}`");
                fault(key, why, "leave out `sentence` and `arguments`");
            }
        }
        if self.http.as_ref().is_some_and(|http| http.method.is_some() == http.always.is_some()) {
            let why = "it is not said which method its requests have".into();
            fault("http", why, "name the argument as `method`, or the one method as `always`");
        }
        if let Some(kubernetes) = &self.kubernetes {
            for (why, remedy) in kubernetes.wrong() {
                fault("kubernetes", why, remedy);
            }
        }
        if let Some(sentence) = &self.sentence {
            let mut rest = sentence.as_str();
            while let Some((_, behind)) = rest.split_once('{') {
                let Some((name, behind)) = behind.split_once('}') else {
                    fault("sentence", "a `{` is not closed".into(), "close each `{` around an argument");
                    break;
                };
                if !self.arguments.contains_key(name) {
                    let why = format!("`{name}` is not one of its `arguments`");
                    fault("sentence", why, "declare the argument, or leave it out of the sentence");
                }
                rest = behind;
            }
        }
        if faults.is_empty() { Ok(self.clone()) } else { Err(faults) }
    }
}
