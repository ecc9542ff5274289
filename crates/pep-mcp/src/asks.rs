//! What servers ask of agents while they answer: something of the agent's user (elicitation), a word of its model (sampling),
//! its folders (roots). Each is passed on only where the target's configuration says so and the agent's client has declared that
//! it takes it. What an agent answers is an action as any other of its messages, and no approval of anything.

mod during;

pub(crate) use during::{During, NOBODY, OVER};

use crate::members::{self, Members};
use countersign_core::visible;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

/// What one session's server may have asked without an answer.
pub(crate) const MOST: usize = 8;
/// The longest of what it asks at a time, in bytes.
pub(crate) const LARGEST: usize = 64 << 10;
/// How long an agent may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) const ELICITATION: &str = "elicitation/create";
pub(crate) const SAMPLING: &str = "sampling/createMessage";
pub(crate) const ROOTS: &str = "roots/list";
/// All that servers may ask at all.
pub(crate) const METHODS: [&str; 3] = [ELICITATION, SAMPLING, ROOTS];

/// Whether something is passed on to agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passes {
    #[default]
    Refuse,
    Pass,
}

/// What of that which servers ask is passed on to agents, as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerRequestsSection {
    /// Forms for the agent's user.
    pub elicitation: Passes,
    /// Pages that the agent's user is to open.
    pub elicitation_url: Passes,
    /// Texts for the agent's model.
    pub sampling: Passes,
    /// Which folders the agent works in.
    pub roots: Passes,
}

/// What a server may ask of one agent: what the configuration passes, and its client has declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    form: bool,
    url: bool,
    /// With tools, and with the context of servers.
    sampling: Option<(bool, bool)>,
    roots: bool,
}

impl Offer {
    /// `capabilities` is what the client has declared.
    pub(crate) fn new(capabilities: Option<&RawValue>, rules: ServerRequestsSection) -> Self {
        let Some(declared) = capabilities.and_then(Members::read) else { return Self::default() };
        let is_passed = |rule: Passes| rule == Passes::Pass;
        let elicitation = declared.find("elicitation").and_then(Members::read);
        let mode = |mode| elicitation.as_ref().is_some_and(|modes| modes.find(mode).is_some());
        // Without a word of modes it is the one that was there before them.
        let form = mode("form") || elicitation.as_ref().is_some_and(|_| !mode("url"));
        let sampling =
            declared.find("sampling").and_then(Members::read).filter(|_| is_passed(rules.sampling));
        Self {
            form: form && is_passed(rules.elicitation),
            url: mode("url") && is_passed(rules.elicitation_url),
            sampling: sampling.map(|has| (has.find("tools").is_some(), has.find("context").is_some())),
            roots: declared.find("roots").is_some() && is_passed(rules.roots),
        }
    }

    /// What the gateway declares to the server of this agent, as JSON; of extensions, these.
    pub(crate) fn declared(&self, extensions: Option<&str>) -> String {
        let part = |name: &str, has: bool| has.then(|| format!(r#""{name}":{{}}"#));
        let object = |parts: Vec<Option<String>>| {
            format!("{{{}}}", parts.into_iter().flatten().collect::<Vec<_>>().join(","))
        };
        let modes = object(vec![part("form", self.form), part("url", self.url)]);
        let sampling = self.sampling.map(|(tools, context)| {
            let has = object(vec![part("tools", tools), part("context", context)]);
            format!(r#""sampling":{has}"#)
        });
        object(vec![
            (self.form || self.url).then(|| format!(r#""elicitation":{modes}"#)),
            sampling,
            part("roots", self.roots),
            extensions.map(|known| format!(r#""extensions":{{"{known}":{{}}}}"#)),
        ])
    }

    /// Whether there is anything that the server may ask.
    pub(crate) fn is_open(&self) -> bool {
        *self != Self::default()
    }

    /// Whether the agent's user may be asked to open pages.
    pub(crate) const fn opens_pages(&self) -> bool {
        self.url
    }

    /// Whether the server may ask this; else why not.
    pub(crate) fn takes(&self, method: &str, params: Option<&RawValue>) -> Result<(), &'static str> {
        let whole = params.and_then(Members::read);
        if params.is_some() && whole.is_none() {
            return Err("what it asks cannot be read");
        }
        let member = |name: &str| whole.as_ref().and_then(|params| params.find(name));
        if params.is_some_and(|params| params.get().len() > LARGEST) {
            return Err("what it asks is longer than is passed on");
        }
        if member("task").is_some() {
            return Err("no task is made of what servers ask");
        }
        let is_taken = match method {
            ELICITATION => match member("mode").map(members::text) {
                None => self.form && member("url").is_none(),
                Some(Some(mode)) if mode == "form" => self.form && member("url").is_none(),
                Some(Some(mode)) if mode == "url" => {
                    if !member("url").and_then(members::text).is_some_and(|page| is_page(&page)) {
                        return Err("it names no page that is safe to open: `https`, in plain letters");
                    }
                    self.url
                }
                Some(_) => false,
            },
            SAMPLING => self.sampling.is_some_and(|(tools, context)| {
                let of_others = member("includeContext").is_some_and(|of| of.get() != r#""none""#);
                (tools || (member("tools").is_none() && member("toolChoice").is_none()))
                    && (context || !of_others)
            }),
            ROOTS => self.roots,
            _ => false,
        };
        if !is_taken {
            return Err("it is not passed on here, or the agent's client does not take it");
        }
        // Its message is marked, with what it hides written out; the rest goes on as it came.
        let hides = |(name, value): (&str, &RawValue)| name != "message" && hides(value);
        if method == ELICITATION && whole.is_some_and(|params| params.iter().any(hides)) {
            return Err("what it asks holds characters that nobody would see");
        }
        Ok(())
    }
}

/// Whether somebody may be led to this page.
fn is_page(page: &str) -> bool {
    let safe = |url: Url| url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
    page.bytes().all(|byte| byte.is_ascii_graphic()) && Url::parse(page).is_ok_and(safe)
}

/// Whether any text in it, names of members too, holds what nobody would see.
fn hides(raw: &RawValue) -> bool {
    fn any(value: &Value) -> bool {
        match value {
            Value::String(text) => visible::has_hidden(text),
            Value::Array(all) => all.iter().any(any),
            Value::Object(all) => all.iter().any(|(name, value)| visible::has_hidden(name) || any(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    serde_json::from_str::<Value>(raw.get()).map_or(true, |value| any(&value))
}

/// What a server asks, as its agent is told: a text for the agent's user is marked as the server's.
pub(crate) fn marked(method: &str, params: Option<&RawValue>, server: &str) -> Option<String> {
    let Some(params) = params else { return Some("{}".into()) };
    if method != ELICITATION {
        return Some(params.get().to_owned());
    }
    let members = Members::read(params)?;
    let message = members.find("message").and_then(members::text)?;
    let message = json!(format!("The MCP server “{server}” asks: {}", visible::told(&message))).to_string();
    let told = |name: &str, value: &RawValue| {
        if name == "message" { message.clone() } else { value.get().to_owned() }
    };
    Some(members.rewritten(|name, value| Some(told(name, value))))
}

/// What a server waits for.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The server's id for it, as JSON.
    pub(crate) id: String,
    pub(crate) method: &'static str,
    /// What it asked, as it came.
    pub(crate) asked: String,
    /// The call in which it asked, where that is known.
    pub(crate) during: Option<Arc<During>>,
    _over: DropGuard,
}

/// What is told to an agent.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The gateway's own id for it.
    pub(crate) own: String,
    pub(crate) message: String,
    /// Cancelled once the agent is not asked any more.
    pub(crate) over: CancellationToken,
}

/// What one session's server has asked of its agent.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    /// In front of the gateway's own ids, so that they are no other session's.
    name: String,
    /// As people know the server.
    server: String,
    pub(crate) offer: Offer,
    next: AtomicU64,
    pending: Mutex<HashMap<String, Pending>>,
    /// Answers on their way, by the server's ids for the questions: cancelled where it does not want one any more.
    on_their_way: Mutex<Vec<(String, CancellationToken)>>,
}

impl Asks {
    pub(crate) fn new(name: String, server: String, offer: Offer) -> Self {
        Self { name, server, offer, ..Self::default() }
    }

    /// Takes in what the server asks, in this call where one is known; else why it is refused.
    pub(crate) fn take_in(
        &self,
        id: &RawValue,
        (method, params): (&str, Option<&RawValue>),
        during: Option<Arc<During>>,
    ) -> Result<Asked, &'static str> {
        self.offer.takes(method, params)?;
        let method = METHODS.into_iter().find(|known| *known == method);
        let method = method.ok_or("there is no such method")?;
        let told = marked(method, params, &self.server).ok_or("what it asks cannot be read")?;
        let own = format!("{}-{}", self.name, self.next.fetch_add(1, Ordering::Relaxed));
        let message = format!(r#"{{"jsonrpc":"2.0","id":"{own}","method":"{method}","params":{told}}}"#);
        let over = CancellationToken::new();
        let mut pending = self.pending.lock();
        if pending.len() >= MOST {
            return Err("it has asked as much as it may without an answer");
        }
        let asked = params.map_or("{}", RawValue::get).to_owned();
        let id = id.get().to_owned();
        let waits = Pending { id, method, asked, during, _over: over.clone().drop_guard() };
        pending.insert(own.clone(), waits);
        Ok(Asked { own, message, over })
    }

    /// An error that says which pages the agent's user has to open first, each text marked as the server's.
    pub(crate) fn marked_pages(&self, error: &RawValue) -> Option<String> {
        let (members, data) = (Members::read(error)?, Members::read(error)?.find("data")?);
        let (data, pages) = (Members::read(data)?, Members::read(data)?.find("elicitations")?);
        let pages: Vec<&RawValue> = serde_json::from_str(pages.get()).ok()?;
        let mut marks = Vec::new();
        for page in pages {
            self.offer.takes(ELICITATION, Some(page)).ok()?;
            marks.push(marked(ELICITATION, Some(page), &self.server)?);
        }
        let pages = format!("[{}]", marks.join(","));
        let data = data.rewritten(|name, value| {
            Some(if name == "elicitations" { pages.clone() } else { value.get().to_owned() })
        });
        let why = json!(format!("The MCP server “{}” wants a page opened first.", self.server)).to_string();
        Some(members.rewritten(|name, value| {
            Some(match name {
                "data" => data.clone(),
                "message" => why.clone(),
                _ => value.get().to_owned(),
            })
        }))
    }

    /// Whether its agent is asked this, by the gateway's own id for it.
    pub(crate) fn asks(&self, own: &str) -> bool {
        self.pending.lock().contains_key(own)
    }

    /// The agent is not asked this any more: what its server waits for, if it does.
    pub(crate) fn take(&self, own: &str) -> Option<Pending> {
        self.pending.lock().remove(own)
    }

    /// The agent answers this: what its server waits for, and what is cancelled when that does not want it any more.
    pub(crate) fn answers(&self, own: &str) -> Option<(Pending, CancellationToken)> {
        let mut pending = self.pending.lock();
        let (waits, token) = (pending.remove(own)?, CancellationToken::new());
        self.on_their_way.lock().push((waits.id.clone(), token.clone()));
        Some((waits, token))
    }

    /// It is not on its way any more.
    pub(crate) fn answered(&self, id: &str) {
        self.on_their_way.lock().retain(|(known, _)| known != id);
    }

    /// The server does not want something any more, by the parameters in which it says so: the gateway's own id for that.
    pub(crate) fn taken_back(&self, params: Option<&RawValue>) -> Option<String> {
        let id = Members::read(params?)?.find("requestId")?;
        let mut pending = self.pending.lock();
        for (_, answer) in self.on_their_way.lock().iter().filter(|(known, _)| known == id.get()) {
            answer.cancel();
        }
        let own = pending.iter().find(|(_, waits)| waits.id == id.get()).map(|(own, _)| own.clone())?;
        pending.remove(&own);
        Some(own)
    }
}

/// What tells an agent that it is not asked something any more.
pub(crate) fn not_any_more(own: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":"{own}"}}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    const ALL: ServerRequestsSection = ServerRequestsSection {
        elicitation: Passes::Pass,
        elicitation_url: Passes::Pass,
        sampling: Passes::Pass,
        roots: Passes::Pass,
    };

    #[test]
    #[rustfmt::skip]
    fn what_is_offered_is_what_was_declared_and_is_passed() {
        let everything = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{},"other":1},"roots":{"listChanged":true},"experimental":{}}"#;
        let forms = ServerRequestsSection { elicitation: Passes::Pass, ..ServerRequestsSection::default() };
        for (capabilities, rules, want) in [
            (everything, ALL, r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#),
            (everything, forms, r#"{"elicitation":{"form":{}}}"#),
            (everything, ServerRequestsSection::default(), "{}"),
            (r#"{"elicitation":{}}"#, ALL, r#"{"elicitation":{"form":{}}}"#),
            (r#"{"elicitation":{"url":{}}}"#, ALL, r#"{"elicitation":{"url":{}}}"#),
            (r#"{"elicitation":{"url":{}}}"#, forms, "{}"),
            (r#"{"sampling":{}}"#, ALL, r#"{"sampling":{}}"#),
            ("{}", ALL, "{}"),
        ] {
            assert_eq!(Offer::new(Some(&raw(capabilities)), rules).declared(None), want, "{capabilities}");
        }
        assert_eq!(Offer::new(None, ALL), Offer::default());
    }

    #[test]
    #[rustfmt::skip]
    fn a_server_asks_what_is_offered_and_nothing_else() {
        let offer = |capabilities: &str| Offer::new(Some(&raw(capabilities)), ALL);
        let (forms, urls) = (offer(r#"{"elicitation":{}}"#), offer(r#"{"elicitation":{"url":{}},"sampling":{}}"#));
        for (offer, method, params, want) in [
            (&forms, ELICITATION, r#"{"message":"?"}"#, true),
            (&forms, ELICITATION, r#"{"mode":"form","message":"?"}"#, true),
            (&forms, ELICITATION, r#"{"mode":"url","message":"?"}"#, false),
            (&forms, ELICITATION, r#"{"mode":1,"message":"?"}"#, false),
            (&forms, ELICITATION, r#"{"message":"?","task":{}}"#, false),
            (&forms, ELICITATION, r#"{"m\u006fde":"url","message":"?"}"#, false),
            (&forms, SAMPLING, r#"{"messages":[]}"#, false),
            (&forms, ROOTS, "{}", false),
            (&urls, ELICITATION, r#"{"message":"?"}"#, false),
            (&urls, ELICITATION, r#"{"mode":"url","url":"https://pay.example/x?y=1","message":"?"}"#, true),
            (&urls, ELICITATION, r#"{"mode":"url","url":"https:\u002f\u002fpay.example","message":"?"}"#, true),
            (&urls, ELICITATION, r#"{"mode":"url","message":"?"}"#, false),
            (&urls, ELICITATION, r#"{"mode":"url","url":"http://pay.example","message":"?"}"#, false),
            (&urls, ELICITATION, r#"{"mode":"url","url":"javascript:alert(1)","message":"?"}"#, false),
            (&urls, ELICITATION, r#"{"mode":"url","url":"https://bank.example@evil.example","message":"?"}"#, false),
            (&urls, ELICITATION, r#"{"mode":"url","url":"https://раypal.example","message":"?"}"#, false),
            (&forms, ELICITATION, r#"{"message":"?","url":"https://pay.example"}"#, false),
            (&forms, ELICITATION, r#"{"message":"?","requestedSchema":{"properties":{"n":{"title":"Pay\u202e"}}}}"#, false),
            (&forms, ELICITATION, r#"{"message":"?","requestedSchema":{"properties":{"n\u200b":{}}}}"#, false),
            (&forms, ELICITATION, r#"{"message":"?\u202e","requestedSchema":{"properties":{"n":{"title":"Größe\nin m"}}}}"#, true),
            (&urls, SAMPLING, r#"{"messages":[]}"#, true),
            (&urls, SAMPLING, r#"{"messages":[],"includeContext":"none"}"#, true),
            (&urls, SAMPLING, r#"{"messages":[],"includeContext":"allServers"}"#, false),
            (&offer(r#"{"sampling":{"context":{}}}"#), SAMPLING, r#"{"messages":[],"includeContext":"allServers"}"#, true),
            (&urls, SAMPLING, r#"{"messages":[],"tools":[]}"#, false),
            (&urls, "tools/call", "{}", false),
        ] {
            assert_eq!(offer.takes(method, Some(&raw(params))).is_ok(), want, "{method} {params}");
        }
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(LARGEST));
        assert!(forms.takes(ELICITATION, Some(&raw(&long))).is_err());
    }

    #[test]
    fn pages_that_an_error_names_are_marked_or_not_passed_on() {
        let asks = |capabilities: &str| {
            Asks::new("a".into(), "shop".into(), Offer::new(Some(&raw(capabilities)), ALL))
        };
        let page = r#"{"mode":"url","url":"https://x","elicitationId":"1","message":"Pay"}"#;
        let error = raw(&format!(r#"{{"code":-32042,"message":"m","data":{{"elicitations":[{page}]}}}}"#));
        let urls = r#"{"elicitation":{"url":{}}}"#;
        assert_eq!(
            asks(urls).marked_pages(&error).unwrap(),
            r#"{"code":-32042,"message":"The MCP server “shop” wants a page opened first.","data":{"elicitations":[{"mode":"url","url":"https://x","elicitationId":"1","message":"The MCP server “shop” asks: Pay"}]}}"#
        );
        assert_eq!(asks(r#"{"elicitation":{}}"#).marked_pages(&error), None);
        let form = raw(r#"{"code":-32042,"message":"m","data":{"elicitations":[{"message":"Pay"}]}}"#);
        assert_eq!(asks(urls).marked_pages(&form), None, "no page");
        assert_eq!(asks(urls).marked_pages(&raw(r#"{"code":-32042,"message":"m"}"#)), None);
    }

    #[test]
    fn what_an_agent_is_asked_has_an_id_of_the_gateways_and_says_whose_it_is() {
        let offer = Offer::new(Some(&raw(r#"{"elicitation":{},"roots":{}}"#)), ALL);
        let asks = Asks::new("a".into(), "shop".into(), offer);
        let params = raw(r#"{"message":"Pay\u202e?","requestedSchema":{ "n":1.0}}"#);
        let asked = asks.take_in(&raw("7"), (ELICITATION, Some(&params)), None).unwrap();
        assert_eq!(
            asked.message,
            r#"{"jsonrpc":"2.0","id":"a-0","method":"elicitation/create","params":{"message":"The MCP server “shop” asks: Pay⟨U+202E⟩?","requestedSchema":{ "n":1.0}}}"#
        );
        assert!(asks.take("a-1").is_none() && !asked.over.is_cancelled());
        let waits = asks.take("a-0").unwrap();
        assert_eq!((waits.id.as_str(), waits.asked.as_str()), ("7", params.get()));
        drop(waits);
        assert!(asks.take("a-0").is_none(), "it is answered once");
        assert!(asked.over.is_cancelled());
        for number in 0..MOST {
            asks.take_in(&raw(&number.to_string()), (ROOTS, None), None).unwrap();
        }
        assert!(asks.take_in(&raw("99"), (ROOTS, None), None).is_err(), "it waits for too much already");
        let told = asks.taken_back(Some(&raw(r#"{"requestId":3,"reason":"x"}"#))).unwrap();
        assert_eq!(told, "a-4");
        let ((one, first), (_, second)) = (asks.answers("a-5").unwrap(), asks.answers("a-6").unwrap());
        assert_eq!((one.id.as_str(), asks.answers("a-5").is_none()), ("4", true));
        assert_eq!(asks.taken_back(Some(&raw(r#"{"requestId":4}"#))), None, "its agent has answered it");
        assert!(first.is_cancelled() && !second.is_cancelled());
        assert!(asks.take_in(&raw("99"), (ROOTS, None), None).is_ok());
    }
}
