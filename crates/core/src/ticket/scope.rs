//! What a ticket is for, in lines that a program reads and an approver can: who, where, and what. Anything in it that is not
//! understood makes all of it worth nothing, and so does anything that its approver could not have seen.
//!
//! ```text
//! countersign scope 1
//! requester: agt_01JD…
//! target: shop
//! environment: prod
//! class: delete
//! resource: table/logs-*
//! ```

use crate::{Action, Class, Digest, EnvironmentName, PrincipalId, Resource, TargetName, Timestamp, visible};
use std::{collections::BTreeSet, fmt, num::NonZeroU32};

/// The line that a scope begins with.
const FIRST: &str = "countersign scope 1";
/// What a line may begin with.
const KEYS: [&str; 10] = [
    "requester",
    "target",
    "environment",
    "operation",
    "class",
    "resource",
    "action",
    "uses",
    "from",
    "until",
];
/// The most bytes that are read, on one line, and the most resources that it may name.
const LARGEST: usize = 8 << 10;
const LONGEST_LINE: usize = 400;
const RESOURCES: usize = 50;
/// The most often that one ticket may be used.
const MOST_USES: u32 = 100;

/// Which actions a ticket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub requester: PrincipalId,
    pub target: TargetName,
    pub environment: EnvironmentName,
    /// The operation's name at its target; `None`: any of the classes.
    pub operation: Option<String>,
    pub classes: BTreeSet<Class>,
    /// `kind/name`; `*` in the name stands for anything.
    pub resources: Vec<String>,
    /// The one action that it is for.
    pub action: Option<Digest>,
    /// How many actions it is good for.
    pub uses: NonZeroU32,
    pub from: Option<Timestamp>,
    /// From here on not any more.
    pub until: Option<Timestamp>,
}

/// One thing that an action does, as policy is asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// `None`: it was not recognised.
    pub operation: Option<String>,
    pub class: Class,
    /// Which of the action's resources it is done to.
    pub resources: BTreeSet<usize>,
}

/// Why a text is no scope. Nothing of the text is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("it says nowhere, on a line of its own, `{FIRST}`")]
    Missing,
    #[error("it has more than one scope")]
    Several,
    #[error("its scope is too long")]
    TooLong,
    #[error("its scope has characters that are not seen")]
    Hidden,
    #[error("line {0} of its scope is not understood")]
    Line(usize),
    #[error("a line outside of its scope looks like one of a scope, and is not read")]
    Outside,
    #[error("its scope says `{0}` twice")]
    Twice(&'static str),
    #[error("its scope does not say `{0}`")]
    Lacks(&'static str),
}

/// Where an action is not what the scope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCovered {
    #[error("it is for another requester")]
    Requester,
    #[error("it is for another target")]
    Target,
    #[error("it is for another environment")]
    Environment,
    #[error("it is for another operation")]
    Operation,
    #[error("it is for another class of operations")]
    Class,
    #[error("it does not cover every resource of this action")]
    Resource,
    #[error("something that this action does names no resource, so only a scope with its digest covers it")]
    NoResource,
    #[error("something that this action does was not recognised, so only a scope with its digest covers it")]
    Unknown,
    #[error("it is for another action")]
    Action,
}

/// A scope as far as it was read.
#[derive(Default)]
struct Draft {
    requester: Option<PrincipalId>,
    target: Option<TargetName>,
    environment: Option<EnvironmentName>,
    operation: Option<String>,
    classes: Option<BTreeSet<Class>>,
    resources: Vec<String>,
    action: Option<Digest>,
    uses: Option<NonZeroU32>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Scope {
    /// Reads the one scope in a text: from its first line to the next empty line. Elsewhere nothing may look like a line of it:
    /// whoever approves it would take that for a part.
    pub fn find(text: &str) -> Result<Self, ScopeError> {
        let lines: Vec<&str> = text.lines().collect();
        let begin = lines.iter().position(|line| begins(line)).ok_or(ScopeError::Missing)?;
        let (before, rest) = lines.split_at(begin);
        let (first, rest) = rest.split_first().ok_or(ScopeError::Missing)?;
        if first.trim_end_matches(' ') != FIRST {
            return Err(ScopeError::Line(1));
        }
        if Self::count(text) > 1 {
            return Err(ScopeError::Several);
        }
        let end = rest.iter().position(|line| is_empty(line)).unwrap_or(rest.len());
        let (own, behind) = rest.split_at(end);
        // What hides could end a line, or seem to, wherever it stands.
        if text.chars().any(|one| one != '\n' && one != '\r' && one != '\t' && is_odd(one)) || hides(text) {
            return Err(ScopeError::Hidden);
        }
        let scope = Self::read(own)?;
        let outside = before.iter().chain(behind).any(|line| is_like_a_line(line));
        if outside { Err(ScopeError::Outside) } else { Ok(scope) }
    }

    /// Whether a text is one scope from its first line to its end, with nothing around it but empty lines at its end.
    pub fn is_all_of(text: &str) -> bool {
        let text = text.trim_end_matches(['\n', '\r', ' ']);
        Self::count(text) == 1 && text.lines().next().is_some_and(begins) && !text.lines().any(is_empty)
    }

    /// Whether a line of a text looks like one of a scope.
    pub fn has_lines(text: &str) -> bool {
        text.lines().any(|line| begins(line) || is_like_a_line(line))
    }

    /// How many scopes begin in a text, as a person would say: what looks like one counts, so that none stands there unread.
    pub fn count(text: &str) -> usize {
        text.lines().filter(|line| begins(line)).count()
    }

    fn read(lines: &[&str]) -> Result<Self, ScopeError> {
        if lines.iter().map(|line| line.len()).sum::<usize>() > LARGEST {
            return Err(ScopeError::TooLong);
        }
        let mut draft = Draft::default();
        for (at, line) in lines.iter().enumerate() {
            if visible::has_hidden(line) || line.contains('\t') {
                return Err(ScopeError::Hidden);
            }
            if line.len() > LONGEST_LINE {
                return Err(ScopeError::TooLong);
            }
            let unread = ScopeError::Line(at + 2);
            let line = line.trim_end_matches(' ');
            // Behind a run of spaces nobody looks for more.
            let (key, value) =
                line.split_once(": ").filter(|_| !line.contains("  ")).ok_or_else(|| unread.clone())?;
            draft.take(key, value, &unread)?;
        }
        draft.finish()
    }

    /// Whether this action is one of those that it is for: who asks, where, and each thing that it does. `digest` is the action's
    /// own; `effects` are what policy is asked about.
    pub fn covers(&self, action: &Action, digest: &Digest, effects: &[Effect]) -> Result<(), NotCovered> {
        let demand = |fits: bool, otherwise| if fits { Ok(()) } else { Err(otherwise) };
        demand(self.requester == action.requester.principal, NotCovered::Requester)?;
        demand(self.target == action.target, NotCovered::Target)?;
        demand(self.environment == action.environment, NotCovered::Environment)?;
        demand(self.action.is_none_or(|only| only == *digest), NotCovered::Action)?;
        // Nothing said of what it does is nothing that is understood.
        demand(self.action.is_some() || !effects.is_empty(), NotCovered::Unknown)?;
        let own = Effect {
            operation: action.operation.name.clone(),
            class: action.operation.class,
            resources: BTreeSet::new(),
        };
        for effect in std::iter::once(&own).chain(effects) {
            if let Some(operation) = &self.operation {
                demand(effect.operation.as_ref() == Some(operation), NotCovered::Operation)?;
            }
            demand(self.classes.is_empty() || self.classes.contains(&effect.class), NotCovered::Class)?;
            // What was not recognised could be anything: its resources say nothing.
            demand(self.action.is_some() || effect.class != Class::Unknown, NotCovered::Unknown)?;
        }
        if self.action.is_some() && self.resources.is_empty() {
            return Ok(());
        }
        let names_some = !action.resources.is_empty() && effects.iter().all(|one| !one.resources.is_empty());
        demand(self.action.is_some() || names_some, NotCovered::NoResource)?;
        let named = |resource: &Resource| self.resources.iter().any(|pattern| fits(pattern, resource));
        demand(!action.resources.is_empty(), NotCovered::NoResource)?;
        demand(action.resources.iter().all(named), NotCovered::Resource)
    }

    /// The narrowest scope there is: for one action, once.
    pub fn only(
        requester: PrincipalId,
        (target, environment): (TargetName, EnvironmentName),
        action: Digest,
    ) -> Self {
        Self {
            requester,
            target,
            environment,
            operation: None,
            classes: BTreeSet::new(),
            resources: Vec::new(),
            action: Some(action),
            uses: NonZeroU32::MIN,
            from: None,
            until: None,
        }
    }
}

impl fmt::Display for Scope {
    /// As it is read.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{FIRST}")?;
        writeln!(out, "requester: {}", self.requester)?;
        writeln!(out, "target: {}", self.target)?;
        writeln!(out, "environment: {}", self.environment)?;
        if let Some(operation) = &self.operation {
            writeln!(out, "operation: {operation}")?;
        }
        if !self.classes.is_empty() {
            let classes: Vec<&str> = self.classes.iter().map(|class| class.as_str()).collect();
            writeln!(out, "class: {}", classes.join(", "))?;
        }
        self.resources.iter().try_for_each(|resource| writeln!(out, "resource: {resource}"))?;
        if let Some(action) = &self.action {
            writeln!(out, "action: {action}")?;
        }
        if self.uses > NonZeroU32::MIN {
            writeln!(out, "uses: {}", self.uses)?;
        }
        for (key, at) in [("from", self.from), ("until", self.until)] {
            if let Some(at) = at {
                writeln!(out, "{key}: {at}")?;
            }
        }
        Ok(())
    }
}

impl Draft {
    fn take(&mut self, key: &str, value: &str, unread: &ScopeError) -> Result<(), ScopeError> {
        let wrong = || unread.clone();
        match key {
            "requester" => once(&mut self.requester, "requester", principal(value).ok_or_else(wrong)?),
            "target" => once(&mut self.target, "target", TargetName::new(value).map_err(|_| wrong())?),
            "environment" => {
                let name = EnvironmentName::new(value).map_err(|_| wrong())?;
                once(&mut self.environment, "environment", name)
            }
            "operation" => once(&mut self.operation, "operation", plain(value).ok_or_else(wrong)?),
            "class" => {
                let classes = value.split(", ").map(str::parse::<Class>);
                let classes = classes.collect::<Result<BTreeSet<_>, _>>().map_err(|_| wrong())?;
                once(&mut self.classes, "class", classes)
            }
            "resource" => {
                let (kind, name) = value.split_once('/').ok_or_else(wrong)?;
                let sound = plain(kind).is_some_and(|kind| !kind.contains('*')) && plain(name).is_some();
                if !sound || self.resources.len() >= RESOURCES {
                    return Err(wrong());
                }
                self.resources.push(value.to_owned());
                Ok(())
            }
            "action" => once(&mut self.action, "action", value.parse().map_err(|_| wrong())?),
            "uses" => {
                let uses = value.parse::<NonZeroU32>().ok().filter(|uses| uses.get() <= MOST_USES);
                let written = uses.filter(|uses| uses.to_string() == value);
                once(&mut self.uses, "uses", written.ok_or_else(wrong)?)
            }
            "from" => once(&mut self.from, "from", Timestamp::parse(value).map_err(|_| wrong())?),
            "until" => once(&mut self.until, "until", Timestamp::parse(value).map_err(|_| wrong())?),
            _ => Err(wrong()),
        }
    }

    fn finish(self) -> Result<Scope, ScopeError> {
        use ScopeError::Lacks;
        let classes = self.classes.unwrap_or_default();
        if self.action.is_none() && classes.is_empty() {
            return Err(Lacks("class"));
        }
        if self.action.is_none() && self.resources.is_empty() {
            return Err(Lacks("resource"));
        }
        Ok(Scope {
            requester: self.requester.ok_or(Lacks("requester"))?,
            target: self.target.ok_or(Lacks("target"))?,
            environment: self.environment.ok_or(Lacks("environment"))?,
            operation: self.operation,
            classes,
            resources: self.resources,
            action: self.action,
            uses: self.uses.unwrap_or(NonZeroU32::MIN),
            from: self.from,
            until: self.until,
        })
    }
}

fn begins(line: &str) -> bool {
    let mut words = line.split_whitespace().map(str::to_lowercase);
    words.next().as_deref() == Some("countersign") && words.next().as_deref() == Some("scope")
}

/// Whether a line ends a scope: nothing but spaces is seen as nothing everywhere.
fn is_empty(line: &str) -> bool {
    line.trim_matches(' ').is_empty()
}

/// A space or a line's end that is not one to every reader.
fn is_odd(one: char) -> bool {
    one != ' ' && (one.is_whitespace() || one.is_control())
}

/// Whether a text with its lines hides something.
fn hides(text: &str) -> bool {
    text.split(['\n', '\t']).any(|line| visible::has_hidden(line.strip_suffix('\r').unwrap_or(line)))
}

/// Whether a person could take a line for one of a scope: a key and a colon, whatever stands before it.
fn is_like_a_line(line: &str) -> bool {
    let said = line.trim_start_matches(|one: char| !one.is_alphabetic()).to_lowercase();
    KEYS.iter().filter_map(|key| said.strip_prefix(key)).any(|behind| {
        let behind =
            behind.trim_start_matches(|one: char| !one.is_alphanumeric() && one != ':' && one != '\u{ff1a}');
        behind.starts_with([':', '\u{ff1a}'])
    })
}

fn once<T>(place: &mut Option<T>, key: &'static str, value: T) -> Result<(), ScopeError> {
    if place.replace(value).is_some() { Err(ScopeError::Twice(key)) } else { Ok(()) }
}

/// A text that stands for itself: nothing around it that nobody sees.
fn plain(text: &str) -> Option<String> {
    (!text.is_empty() && text.trim() == text).then(|| text.to_owned())
}

fn principal(text: &str) -> Option<PrincipalId> {
    let agent = text.parse().ok().map(PrincipalId::Agent);
    agent.or_else(|| text.parse().ok().map(PrincipalId::Person))
}

/// Whether a resource is one of those that a pattern names. Kinds are compared as they are.
fn fits(pattern: &str, resource: &Resource) -> bool {
    let Some((kind, name)) = pattern.split_once('/') else { return false };
    kind == resource.kind && matches(name, &resource.name)
}

/// Whether a name is what the pattern says: pieces in order, the first at the start and the last at the end.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
        let Some((_, behind)) = left.split_once(piece) else { return false };
        left = behind;
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests;
