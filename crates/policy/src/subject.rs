//! What a decision reads of an action, proven complete and of the declared types before anything is evaluated.

use crate::{
    Bundle, FactType,
    analysis::Reads,
    mcp::{self, MCP_FACTS},
    memo::{Key, KeyWriter},
    rules::KnownAction,
    sql::{self, EFFECTS},
    text,
    vocabulary::HEAD_FACTS,
};
use countersign_core::{Action, Body, PrincipalId, PrincipalKind, ticket::Effect, visible};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// Actions on more resources are refused: each is a question of its own.
const MAX_RESOURCES: usize = 256;
/// Answers about more than this are not worth the memory they would take.
const KEPT_RESOURCES: usize = 8;
const KEPT_NAME_BYTES: usize = 2048;

/// The wire whose facts policies know.
const HTTP: &str = "http";

/// One fact, of its declared type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact<'a> {
    Text(&'a str),
    Long(i64),
    Bool(bool),
    Texts(BTreeSet<Cow<'a, str>>),
}

/// A language, with the facts of a text.
type OfText<'a> = (&'static str, BTreeMap<&'a str, Fact<'a>>);

/// Everything of an action that policy may look at, except the time.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) action: &'a Action,
    pub(crate) known: &'a KnownAction,
    /// What policy is asked: of the operation itself, and of everything else that it does besides.
    pub(crate) asks: Vec<Ask<'a>>,
    /// What the rules of all of these look at.
    pub(crate) reads: Reads,
    /// `None` on other wires.
    pub(crate) http: Option<BTreeMap<&'a str, Fact<'a>>>,
    pub(crate) sql: Option<BTreeMap<&'a str, Fact<'a>>>,
    pub(crate) mcp: Option<BTreeMap<&'a str, Fact<'a>>>,
    /// The arguments of a tool.
    pub(crate) input: Option<BTreeMap<&'a str, Fact<'a>>>,
    /// What a tool's text says, with its language.
    pub(crate) text: Option<OfText<'a>>,
    pub(crate) body_bytes: Option<i64>,
    pub(crate) hidden_characters: bool,
}

/// One thing an action does, and to which of its resources (none: to the target).
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) known: &'a KnownAction,
    pub(crate) about: Vec<usize>,
}

/// Why an action cannot be decided on: one sentence for the refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Incomplete(pub(crate) String);

impl<'a> Subject<'a> {
    /// Reads an action under a bundle. Every doubt is an error: what is missing here would make a forbid not match.
    pub(crate) fn read(bundle: &'a Bundle, action: &'a Action) -> Result<Self, Incomplete> {
        let refuse = |why: String| Err(Incomplete(why));
        let Some(target) = bundle.vocabulary.targets.get(&action.target) else {
            return refuse(format!("target `{}` is not declared", action.target));
        };
        if target.environment != action.environment {
            return refuse(format!(
                "target `{}` is in `{}`, and the action says `{}`",
                action.target, target.environment, action.environment
            ));
        }
        let Some(known) = bundle.actions.of(action) else {
            return refuse(format!("policy knows no `{}` actions", action.operation.class.as_str()));
        };
        if known.class != action.operation.class {
            return refuse(format!(
                "operation `{}` is declared as `{}`, and the action says `{}`",
                known.name,
                known.class.as_str(),
                action.operation.class.as_str()
            ));
        }
        check_requester(action)?;
        if action.resources.len() > MAX_RESOURCES {
            return refuse(format!("the action is about more than {MAX_RESOURCES} resources at once"));
        }
        let asks = asks(bundle, action, known)?;
        let reads = asks.iter().fold(Reads::default(), |reads, ask| reads.and(ask.known.rules.reads));
        let body_bytes = body_bytes(&action.payload.body);
        if reads.body && body_bytes.is_none() {
            return refuse("a rule looks at the body, which was not read".into());
        }
        let http = told_http(action).map(|told| facts(told, known)).transpose()?;
        let sql = told_sql(action).map(sql_facts).transpose()?;
        let text = text_facts(action)?;
        let speaks_mcp = action.wire == mcp::WIRE;
        if sql.is_none() && action.operation.name.as_deref().is_some_and(|name| sql::class_of(name).is_some())
        {
            return refuse("the action is one of SQL, and does not say what the SQL does".into());
        }
        if let Some((language, _)) = action.operation.name.as_deref().and_then(text::of)
            && speaks_mcp
            && text.as_ref().is_none_or(|(told, _)| *told != language.name)
        {
            return refuse(format!(
                "the action is one of `{}`, and does not say what the text does",
                language.name
            ));
        }
        if known.is_request && http.is_none() {
            return refuse("the action is a request, and does not say which".into());
        }
        if speaks_mcp != bundle.vocabulary.mcp.contains(&action.target) {
            return refuse(format!(
                "target `{}` and the action's wire do not belong together",
                action.target
            ));
        }
        let mcp = if speaks_mcp { Some(mcp_facts(action)?) } else { None };
        let input = if speaks_mcp { Some(input(action, known)?) } else { None };
        if http.is_none() && sql.is_none() && mcp.is_none() && !action.facts.is_empty() {
            return refuse(format!(
                "policy has no words for the facts of wire `{}`",
                visible::one_line(&action.wire)
            ));
        }
        let hidden_characters = reads.hidden && has_hidden(action);
        Ok(Self { action, known, asks, reads, http, sql, mcp, input, text, body_bytes, hidden_characters })
    }

    /// Whether the answer may be kept: it depends on nothing that changes by itself, and is of ordinary size.
    pub(crate) fn may_be_kept(&self) -> bool {
        let resources = &self.action.resources;
        let name_bytes: usize =
            resources.iter().map(|resource| resource.kind.len() + resource.name.len()).sum();
        !self.reads.time && resources.len() <= KEPT_RESOURCES && name_bytes <= KEPT_NAME_BYTES
    }

    /// The key of the answer: equal keys mean equal inputs.
    pub(crate) fn key(&self, bundle: &Bundle) -> Key {
        let Self { action, known, asks, reads, http, sql, mcp, input, text, body_bytes, hidden_characters } =
            self;
        let requester = &action.requester;
        let mut key = KeyWriter::new();
        key.text("countersign/memo/v1").bytes(bundle.digest().as_bytes());
        key.text(requester.kind.as_str()).id(&requester.principal);
        key.texts(requester.groups.iter().map(countersign_core::GroupName::as_str));
        key.texts(requester.clearances.iter().map(String::as_str));
        key.number(requester.claims.len() as u64);
        for (name, value) in &requester.claims {
            key.text(name).text(value);
        }
        key.number(requester.owners.len() as u64);
        for person in &requester.owners {
            key.id(person);
        }
        key.number(requester.on_behalf_of.len() as u64);
        for person in &requester.on_behalf_of {
            key.id(person);
        }
        key.text(action.target.as_str()).text(action.environment.as_str());
        key.text(&known.name).text(known.class.as_str()).text(&action.wire);
        key.number(action.resources.len() as u64);
        for resource in &action.resources {
            key.text(&resource.kind).text(&resource.name).texts(resource.labels.iter().map(String::as_str));
        }
        key.number(asks.len() as u64);
        for Ask { known, about } in asks {
            key.text(&known.name).number(about.len() as u64);
            for index in about {
                key.number(*index as u64);
            }
        }
        key.text(text.as_ref().map_or("", |(language, _)| language));
        let text = text.as_ref().map(|(_, facts)| facts);
        for facts in [http.as_ref(), sql.as_ref(), mcp.as_ref(), input.as_ref(), text] {
            key.flag(facts.is_some());
            let told =
                facts.into_iter().flatten().filter(|(name, _)| reads.counters || !sql::is_counter(name));
            let told: Vec<_> = told.collect();
            key.number(told.len() as u64);
            for (name, fact) in told {
                key.text(name);
                match fact {
                    Fact::Text(text) => key.text("string").text(text),
                    Fact::Long(long) => key.text("long").number(long.cast_unsigned()),
                    Fact::Bool(flag) => key.text("bool").flag(*flag),
                    Fact::Texts(texts) => key.text("set-of-string").texts(texts.iter().map(AsRef::as_ref)),
                };
            }
        }
        key.flag(body_bytes.is_some()).number(body_bytes.unwrap_or(0).cast_unsigned());
        key.flag(*hidden_characters).flag(action.claimed_reason.is_some());
        key.finish()
    }
}

/// The questions of an action: one, or what its effects say on a wire that tells them. Every resource must be in one.
fn asks<'a>(
    bundle: &'a Bundle,
    action: &'a Action,
    known: &'a KnownAction,
) -> Result<Vec<Ask<'a>>, Incomplete> {
    let Some(effects) = told_effects(action) else {
        return Ok(vec![Ask { known, about: (0..action.resources.len()).collect() }]);
    };
    let mut asks: Vec<Ask<'_>> = Vec::new();
    let unread = || Incomplete("the effects of the action cannot be read".into());
    for effect in effects.as_array().ok_or_else(unread)? {
        let operation = effect.get("operation").and_then(Value::as_str).ok_or_else(unread)?;
        let about = effect.get("resources").and_then(Value::as_array).ok_or_else(unread)?;
        let index = |index: &Value| index.as_u64().and_then(|index| usize::try_from(index).ok());
        let about: Option<Vec<usize>> = about.iter().map(index).collect();
        let about = about.filter(|about| about.iter().all(|index| *index < action.resources.len()));
        let about = about.ok_or_else(unread)?;
        let effect = bundle.actions.named(&action.target, operation).ok_or_else(|| {
            Incomplete(format!("policy knows no `{}` of this target", visible::one_line(operation)))
        })?;
        asks.push(Ask { known: effect, about });
    }
    let own: Vec<usize> =
        asks.iter().filter(|ask| ask.known.uid == known.uid).flat_map(|ask| ask.about.clone()).collect();
    asks.retain(|ask| ask.known.uid != known.uid);
    asks.insert(0, Ask { known, about: own });
    let named: BTreeSet<usize> = asks.iter().flat_map(|ask| ask.about.iter().copied()).collect();
    if named.len() != action.resources.len() {
        return Err(Incomplete("the effects of the action do not name all of its resources".into()));
    }
    Ok(asks)
}

/// The operations of an action's effects, on a wire that tells them, as far as they can be read.
pub(crate) fn effects(action: &Action) -> impl Iterator<Item = &str> {
    let all = told_effects(action).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|effect| effect.get("operation").and_then(Value::as_str))
}

/// Each thing that an action does, by itself, on a wire that tells them, and the action as a whole elsewhere. `None`: something of it
/// cannot be read, or is not known here.
pub(crate) fn done(bundle: &Bundle, action: &Action) -> Option<Vec<Effect>> {
    let known = bundle.actions.of(action).filter(|known| known.class == action.operation.class)?;
    let Some(told) = told_effects(action) else {
        let resources = (0..action.resources.len()).collect();
        return Some(vec![Effect {
            operation: action.operation.name.clone(),
            class: known.class,
            resources,
        }]);
    };
    let mut effects = Vec::new();
    for effect in told.as_array()? {
        let operation = effect.get("operation")?.as_str()?;
        let class = bundle.actions.named(&action.target, operation)?.class;
        let index = |index: &Value| index.as_u64().and_then(|index| usize::try_from(index).ok());
        let resources: BTreeSet<usize> =
            effect.get("resources")?.as_array()?.iter().map(index).collect::<Option<_>>()?;
        effects.push(Effect { operation: Some(operation.to_owned()), class, resources });
    }
    Some(effects)
}

/// What an action says of its SQL: all of its facts on a wire of SQL, and a part of them where a tool is given a text.
fn told_sql(action: &Action) -> Option<&Map<String, Value>> {
    if sql::is_sql_wire(&action.wire) {
        return Some(&action.facts);
    }
    action.facts.get(sql::LANGUAGE).filter(|_| action.wire == mcp::WIRE).and_then(Value::as_object)
}

/// What an action says of a text of another language than SQL that a tool is given.
fn told_text(action: &Action) -> Option<(&'static text::Language, &Map<String, Value>)> {
    let mut known = text::LANGUAGES.iter().filter(|_| action.wire == mcp::WIRE);
    known.find_map(|language| Some((language, action.facts.get(language.name)?.as_object()?)))
}

/// The effects that an action tells, each with its resources.
fn told_effects(action: &Action) -> Option<&Value> {
    let told = told_sql(action).or_else(|| told_text(action).map(|(_, told)| told));
    told.and_then(|told| told.get(EFFECTS))
}

/// What an action says of its request: all of its facts on the wire of HTTP, and a part of them where a tool makes one.
fn told_http(action: &Action) -> Option<&Map<String, Value>> {
    if action.wire == HTTP {
        return Some(&action.facts);
    }
    action.facts.get(HTTP).filter(|_| action.wire == mcp::WIRE).and_then(Value::as_object)
}

/// The facts of `context.sql`: every one of them, of its type.
fn sql_facts(told: &Map<String, Value>) -> Result<BTreeMap<&str, Fact<'_>>, Incomplete> {
    let mut facts = BTreeMap::new();
    for (name, kind) in sql::SQL_FACTS {
        let Some(value) = told.get(name) else {
            if sql::is_optional(name) {
                continue;
            }
            return Err(Incomplete(format!("the action does not say its `{name}`")));
        };
        let fact = typed(value, kind);
        let wrong = || Incomplete(format!("fact `{name}` is not of its declared type `{}`", kind.as_str()));
        facts.insert(name, fact.ok_or_else(wrong)?);
    }
    Ok(facts)
}

/// The facts of `context.mcp`: every one of them, of its type.
fn mcp_facts(action: &Action) -> Result<BTreeMap<&str, Fact<'_>>, Incomplete> {
    let is_newer = |name: &str| [mcp::ANSWERS, mcp::ASKED_DURING].contains(&name);
    let is_told = |name: &str| !is_newer(name) || action.facts.contains_key(name);
    let told: Vec<_> = MCP_FACTS.into_iter().filter(|(name, _)| is_told(name)).collect();
    let mut facts = every_fact(&action.facts, &told)?;
    facts.entry(mcp::ANSWERS).or_insert_with(|| Fact::Texts(BTreeSet::new()));
    facts.entry(mcp::ASKED_DURING).or_insert(Fact::Text(""));
    Ok(facts)
}

/// The facts of a text, with its language: every one of them, of its type.
fn text_facts(action: &Action) -> Result<Option<OfText<'_>>, Incomplete> {
    let Some((language, told)) = told_text(action) else { return Ok(None) };
    Ok(Some((language.name, every_fact(told, language.facts)?)))
}

fn every_fact<'a>(
    told: &'a Map<String, Value>,
    declared: &[(&'static str, FactType)],
) -> Result<BTreeMap<&'a str, Fact<'a>>, Incomplete> {
    let mut facts = BTreeMap::new();
    for &(name, kind) in declared {
        let missing = || Incomplete(format!("the action does not say its `{name}`"));
        let fact = typed(told.get(name).ok_or_else(missing)?, kind);
        let wrong = || Incomplete(format!("fact `{name}` is not of its declared type `{}`", kind.as_str()));
        facts.insert(name, fact.ok_or_else(wrong)?);
    }
    Ok(facts)
}

/// The declared arguments of a tool that are there, each of its type. Without the whole of them nothing is decided.
fn input<'a>(action: &'a Action, known: &'a KnownAction) -> Result<BTreeMap<&'a str, Fact<'a>>, Incomplete> {
    let given = action.facts.get(mcp::INPUT).and_then(Value::as_object);
    let given = given.ok_or_else(|| Incomplete("the action does not say its `input`".into()))?;
    let mut facts = BTreeMap::new();
    // The facts of a request are its own.
    for (name, kind) in known.facts.iter().filter(|_| !known.is_request) {
        let Some(value) = given.get(name) else { continue };
        let wrong = || {
            let name = visible::one_line(name);
            Incomplete(format!("argument `{name}` is not of its declared type `{}`", kind.as_str()))
        };
        facts.insert(name.as_str(), typed(value, *kind).ok_or_else(wrong)?);
    }
    Ok(facts)
}

/// A person must be called one, and only a person: kinds choose which rules apply.
fn check_requester(action: &Action) -> Result<(), Incomplete> {
    let requester = &action.requester;
    match (requester.principal, requester.kind) {
        (PrincipalId::Person(_), PrincipalKind::Person)
        | (PrincipalId::Agent(_), PrincipalKind::Agent | PrincipalKind::Service) => Ok(()),
        (id, kind) => Err(Incomplete(format!("caller `{id}` cannot be of kind `{}`", kind.as_str()))),
    }
}

fn body_bytes(body: &Body) -> Option<i64> {
    match body {
        Body::Bound(bytes) => i64::try_from(bytes.len()).ok(),
        Body::Unbound => None,
    }
}

/// The facts policies may look at. What is not declared is left out; what is declared must be of its type.
fn facts<'a>(
    told: &'a Map<String, Value>,
    known: &'a KnownAction,
) -> Result<BTreeMap<&'a str, Fact<'a>>, Incomplete> {
    let head = HEAD_FACTS.into_iter().filter(|name| *name != "query").map(|name| (name, FactType::String));
    let declared = known.facts.iter().map(|(name, kind)| (name.as_str(), *kind));
    let mut facts = BTreeMap::new();
    for (name, kind) in head.chain(declared) {
        let Some(value) = told.get(name) else { continue };
        let Some(fact) = typed(value, kind) else {
            let name = visible::one_line(name);
            return Err(Incomplete(format!("fact `{name}` is not of its declared type `{}`", kind.as_str())));
        };
        facts.insert(name, fact);
    }
    for name in ["method", "path"] {
        if !facts.contains_key(name) {
            return Err(Incomplete(format!("the action does not say its `{name}`")));
        }
    }
    let wrong = || Incomplete("the names in the query cannot be read without doubt".into());
    let query = told.get("query").map_or(Some(BTreeSet::new()), query_names).ok_or_else(wrong)?;
    facts.insert("query", Fact::Texts(query));
    Ok(facts)
}

/// The names in a query, from a list of them or from its raw text (WHATWG URL, `application/x-www-form-urlencoded`).
/// `None` where two readers could differ: a broken escape, a name that is no text, or `;` as a separator.
fn query_names(value: &Value) -> Option<BTreeSet<Cow<'_, str>>> {
    let Some(raw) = value.as_str() else { return texts(value) };
    if raw.contains(';') {
        return None;
    }
    let pairs = raw.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| query_name(pair.split_once('=').map_or(pair, |(name, _)| name))).collect()
}

fn query_name(raw: &str) -> Option<Cow<'_, str>> {
    let escapes_are_whole = raw.split('%').skip(1).all(|rest| {
        let mut digits = rest.chars().take(2);
        (0..2).all(|_| digits.next().is_some_and(|digit| digit.is_ascii_hexdigit()))
    });
    if !escapes_are_whole {
        return None;
    }
    let spaced = raw.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|name| Cow::Owned(name.into_owned()))
}

fn texts(value: &Value) -> Option<BTreeSet<Cow<'_, str>>> {
    value.as_array()?.iter().map(|item| item.as_str().map(Cow::Borrowed)).collect()
}

fn typed(value: &Value, kind: FactType) -> Option<Fact<'_>> {
    match kind {
        FactType::String => value.as_str().map(Fact::Text),
        FactType::Long => value.as_i64().map(Fact::Long),
        FactType::Bool => value.as_bool().map(Fact::Bool),
        FactType::SetOfString => texts(value).map(Fact::Texts),
    }
}

/// Whether a reviewer would see less than there is: in the body, the facts, the names or the claimed reason.
fn has_hidden(action: &Action) -> bool {
    let body = match &action.payload.body {
        Body::Bound(bytes) => bytes.as_ref(),
        Body::Unbound => &[],
    };
    let names = action.resources.iter().flat_map(|resource| [&resource.kind, &resource.name]);
    hides(body)
        || names
            .chain(&action.operation.name)
            .chain(&action.claimed_reason)
            .any(|text| hides(text.as_bytes()))
        || action.facts.iter().any(|(name, value)| hides(name.as_bytes()) || value_hides(value))
}

fn value_hides(value: &Value) -> bool {
    match value {
        Value::String(text) => hides(text.as_bytes()),
        Value::Array(items) => items.iter().any(value_hides),
        Value::Object(members) => {
            members.iter().any(|(name, value)| hides(name.as_bytes()) || value_hides(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn hides(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
    !bytes.iter().all(plain) && std::str::from_utf8(bytes).map_or(true, visible::has_hidden)
}
