//! Agents that listen: a stream of what the server says by itself, for as long as they stay, their session lasts and they
//! would be let in again. That tools have changed is the gateway's to say: a server's word has them looked at, and their agent
//! is told when its own list is another one, be it by the server or by what people have accepted.

use super::{
    Door, Ended, Said,
    entrance::{Letter, Shown},
};
use crate::{
    asks::{NOBODY, Offer},
    call,
    era::Declared,
    feed::{Feed, Listener, MOST_SUBSCRIBED, Next, SUBSCRIPTION, Wanted},
    members::{self, Members},
    message::{comment, event},
    method::{OTHER_ERA, VERSIONS},
    mirror::Head,
    reply::{self, Shape, code},
    session::Session,
    stream::{self, Body, KEEPALIVE, ticks},
    tools::{Ruling, Tools},
    upstream::{
        exchange::Form,
        http::LAST_EVENT,
        standing::{ACKNOWLEDGED, Over, Standing},
    },
};
use bytes::Bytes;
use countersign_core::{Digest, Refusal, RefusalCode, Requester};
use countersign_engine::{Refused, Reply, definitions, flow};
use futures_util::stream::unfold;
use http::{Response, StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, sleep_until},
};

/// How often one agent of the later era may listen at the same time.
const MOST: usize = 16;
/// A server's tools are not looked at more often, however often it says that they have changed.
const LOOK: Duration = Duration::from_secs(1);
/// The longest address of a resource that is subscribed to, in bytes.
const LONGEST_URI: usize = 2_048;

/// What a subscription of the later era is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    tools_list_changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompts_list_changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources_list_changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_subscriptions: Option<BTreeSet<String>>,
}

impl Filter {
    /// What stands as `notifications` in these parameters.
    fn of(params: Option<&RawValue>) -> Option<Self> {
        let filter = Members::read(params?)?.find("notifications")?;
        // A list would be taken for the members in their order.
        serde_json::from_str(filter.get()).ok().filter(|_| filter.get().starts_with('{'))
    }

    fn wanted(&self) -> Wanted {
        let is_on = |said: Option<bool>| said == Some(true);
        Wanted {
            tools: is_on(self.tools_list_changed),
            prompts: is_on(self.prompts_list_changed),
            resources: is_on(self.resources_list_changed),
            log: false,
        }
    }

    fn uris(&self) -> BTreeSet<String> {
        self.resource_subscriptions.clone().unwrap_or_default()
    }

    /// What of it another agrees to. That tools change is told by the gateway itself.
    fn agreed(&self, other: &Self) -> Self {
        let both = |one: Option<bool>, other: Option<bool>| one.filter(|on| *on && other == Some(true));
        let uris: BTreeSet<String> = self.uris().intersection(&other.uris()).cloned().collect();
        Self {
            tools_list_changed: self.tools_list_changed.filter(|on| *on),
            prompts_list_changed: both(self.prompts_list_changed, other.prompts_list_changed),
            resources_list_changed: both(self.resources_list_changed, other.resources_list_changed),
            resource_subscriptions: Some(uris).filter(|uris| !uris.is_empty()),
        }
    }
}

/// A tool as an agent can know it: of one that is not accepted, its name alone.
type Seen = BTreeMap<String, Option<Digest>>;

/// Whether the server is asked which tools it has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Again,
    /// Only what people made of them may be otherwise.
    AtWhatIsKnown,
}

/// A look at the tools, which comes to how the agent sees them; nothing where they cannot be known.
type Looking = Pin<Box<dyn Future<Output = Option<Seen>> + Send>>;

/// An agent's stream.
struct Listening {
    door: Arc<Door>,
    session: Arc<Session>,
    requester: Requester,
    shown: Shown,
    listener: Listener,
    decisions: watch::Receiver<u64>,
    keepalive: Interval,
    looked: Option<Instant>,
    /// The look that is under way: the stream goes on meanwhile.
    looking: Option<Looking>,
    /// The one after it.
    wants: Option<Look>,
    seen: Option<Seen>,
    first: Option<Bytes>,
    /// What is said when the gateway ends it.
    last: Option<Bytes>,
    is_over: bool,
}

impl Door {
    /// The stream of a session of the earlier era. A client that comes again has lost the one before.
    pub(super) async fn listen(self: &Arc<Self>, letter: Letter) -> Result<Response<Body>, Ended> {
        if letter.headers.contains_key(LAST_EVENT) {
            let why = "events here have no ids, so that nothing is kept to go on behind one: ask without `Last-Event-ID`";
            return Err(self.malformed(StatusCode::BAD_REQUEST, why).await);
        }
        let version = letter.version.as_deref();
        let version = version.and_then(|said| VERSIONS.into_iter().find(|known| *known == said));
        let (session, _) = self.session(&letter.requester, letter.session, version).await?;
        if let Some(why) = self.frozen(&letter.requester).await? {
            let said = reply::of("null", &Shape::Other, Ok(Reply::Refused(why)));
            return Err(stream::json(StatusCode::FORBIDDEN, said.message));
        }
        let feed = Arc::new(Feed::new(Wanted::ALL, Arc::clone(&session.hub.subscribed), None));
        session.hub.replace(&feed);
        self.follow_server(&session);
        let first = comment("listening");
        Ok(self.listening(session, (letter.requester, letter.shown), Listener(feed), first, None))
    }

    /// Has somebody listen to the server for this session, while anybody listens in it.
    fn follow_server(self: &Arc<Self>, session: &Arc<Session>) {
        if !session.hub.takes_up() {
            return;
        }
        let (door, session) = (Arc::clone(self), Arc::clone(session));
        tokio::spawn(async move {
            let (hub, way) = (&session.hub, &door.target.way);
            let client = session.client.as_deref();
            let standing = Standing { way, peer: &session.peer, client, next_id: || session.next_id() };
            loop {
                let follow = standing.follow(|heard| session.heard(way, heard));
                tokio::select! {
                    () = session.ended.cancelled() => return,
                    () = hub.silence() => if hub.lets_go() { return },
                    over = follow => {
                        hub.gave_up();
                        if over == Over::Forgotten {
                            session.is_forgotten();
                            door.sessions.forget(&session);
                        } else if session.is_gone() {
                            session.ended.cancel();
                        }
                        return;
                    }
                }
            }
        });
    }

    /// A subscription of the later era: the stream is the answer.
    pub(super) async fn listen_later(
        self: &Arc<Self>,
        (requester, shown): (Requester, Shown),
        declared: &Declared,
        id: &RawValue,
        params: Option<&RawValue>,
    ) -> Result<Response<Body>, Ended> {
        const METHOD: &str = "subscriptions/listen";
        let Some(filter) = Filter::of(params) else {
            return self.no_subscription(id, "the subscription does not say what it is for").await;
        };
        let uris = filter.uris();
        if uris.len() > MOST_SUBSCRIBED || uris.iter().any(|uri| uri.is_empty() || uri.len() > LONGEST_URI) {
            return self.no_subscription(id, "these are too many resources, or one is no address").await;
        }
        let session = match self.serving(&requester, declared).await {
            Ok(session) => session,
            Err(reply) => {
                let said = reply::of(id.get(), &Shape::Other, reply).later(id.get(), METHOD);
                return Ok(stream::json(said.1, said.0.message));
            }
        };
        // Of a server of the earlier era, whole lists alone: nobody there would know which agent has which subscription.
        let is_later = session.peer.is_later();
        // A subscription at a server of the later era is an action, which is refused as such.
        if !is_later && let Some(why) = self.frozen(&requester).await? {
            let said = reply::of(id.get(), &Shape::Other, Ok(Reply::Refused(why))).later(id.get(), METHOD);
            return Ok(stream::json(said.1, said.0.message));
        }
        let subscribed = if is_later { uris.clone() } else { BTreeSet::new() };
        let feed = Feed::new(filter.wanted(), Arc::new(Mutex::new(subscribed)), Some(id.get().to_owned()));
        let feed = Arc::new(feed);
        let listener = Listener(Arc::clone(&feed));
        if !session.hub.join(&feed, MOST) {
            self.count(RefusalCode::TooMany).await?;
            let why = "you listen as often as you may: end one of the others";
            let told = reply::error(id.get(), code::SERVER, why, &Value::Null);
            return Ok(stream::json(StatusCode::OK, told));
        }
        let honored = if is_later {
            let said = Said {
                requester: requester.clone(),
                session: Arc::clone(&session),
                id,
                method: METHOD,
                params,
                later: true,
                mirrored: Head::default(),
                tasks: false,
                offer: Offer::default(),
            };
            filter.agreed(&self.subscribed(said, &uris, &feed).await?)
        } else {
            self.follow_server(&session);
            filter.agreed(&Filter { resource_subscriptions: None, ..filter.clone() })
        };
        let honored = serde_json::to_string(&honored).unwrap_or_else(|_| "{}".into());
        let name = format!(r#""_meta":{{"{SUBSCRIPTION}":{}}}"#, id.get());
        let first = format!(
            r#"{{"jsonrpc":"2.0","method":"{ACKNOWLEDGED}","params":{{"notifications":{honored},{name}}}}}"#
        );
        let last = reply::result(id.get(), &format!(r#"{{"resultType":"complete",{name}}}"#));
        let (first, last) = (event(first.as_bytes()), event(last.as_bytes()));
        Ok(self.listening(session, (requester, shown), listener, first, Some(last)))
    }

    /// Why this agent may hear nothing now, if it is frozen.
    async fn frozen(&self, requester: &Requester) -> Result<Option<Refused>, Ended> {
        let target = &self.target.surroundings().target;
        let Some(scope) = self.gate.frozen(requester.principal, target) else { return Ok(None) };
        self.count(RefusalCode::Frozen).await?;
        let refusal = Refusal {
            code: RefusalCode::Frozen,
            reason: format!("{scope} is frozen, so nothing is heard"),
            remedy: "stop, and ask an operator when the freeze will be lifted".into(),
            basis: None,
        };
        Ok(Some(Refused { refusal, action: None, approval: None, link: None }))
    }

    async fn no_subscription(&self, id: &RawValue, why: &str) -> Result<Response<Body>, Ended> {
        self.count(RefusalCode::Malformed).await?;
        let told = reply::error(id.get(), code::INVALID_PARAMS, why, &Value::Null);
        Ok(stream::json(StatusCode::BAD_REQUEST, told))
    }

    /// Subscribes at a server of the later era: an action, which is done once the server has said to what it agrees.
    async fn subscribed(
        self: &Arc<Self>,
        said: Said<'_>,
        uris: &BTreeSet<String>,
        feed: &Arc<Feed>,
    ) -> Result<Filter, Ended> {
        let prepared = match call::prepare(said.params, &self.target) {
            Ok(prepared) => prepared,
            Err(why) => return Err(self.no_subscription(said.id, why).await.unwrap_or_else(|ended| ended)),
        };
        let place = self.place(&said).await?;
        let leaving = self.leaving(&place, &said.requester);
        let (told, _) = mpsc::channel(1);
        let mut exchange = self.exchange(&said, &place, None, told, true);
        exchange.listens = Some(Arc::clone(feed));
        let understood = self.target.classifier.subscription(said.method, uris);
        let mut asked =
            call::asked(&self.target, said.requester.clone(), said.method, None, understood, prepared);
        asked.patience = asked.patience.min(super::act::LEG);
        let door = Arc::clone(self);
        // An agent that leaves meanwhile has given the subscription up: that comes to its end without it.
        let (going, _) = super::act::on_its_own(async move {
            let reply = flow::handle(&door.gate, asked, exchange).await;
            drop(place);
            reply
        });
        let reply = going.await;
        leaving.over();
        self.seen(&said.session, &reply);
        let id = said.id.get();
        let again = |why| {
            let told = reply::error(id, code::SERVER, why, &Value::Null);
            stream::json(StatusCode::OK, told)
        };
        match reply {
            Ok(Reply::Live(answer)) if answer.form == Form::Result => {
                let params = serde_json::from_str(answer.raw.text()).ok();
                Filter::of(params).ok_or_else(|| again("the server did not agree to the subscription"))
            }
            Ok(Reply::Kept(handover)) => {
                if let Err(error) = handover.done().await {
                    tracing::error!(%error, "a handover could not be recorded");
                }
                Err(again("the subscription was made while nobody was there to hear of it: subscribe again"))
            }
            other => {
                let (said, status) = reply::of(id, &Shape::Other, other).later(id, said.method);
                Err(stream::json(status, said.message))
            }
        }
    }

    /// A subscription of the earlier era, in its session.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        said: Said<'_>,
        operation: &str,
    ) -> Result<Response<Body>, Ended> {
        if said.session.peer.is_later() {
            return self.entrance.no_method(said.id, said.method, OTHER_ERA, said.later).await;
        }
        let uri = said.params.and_then(Members::read).and_then(|params| params.find("uri"));
        let uri = uri.and_then(members::text).filter(|uri| (1..=LONGEST_URI).contains(&uri.len()));
        let Some(uri) = uri else { return self.invalid(said.id, "it names no resource").await };
        if said.method == "resources/unsubscribe" {
            said.session.hub.subscribed.lock().remove(&uri);
        } else if said.session.hub.subscribing(uri).is_none() {
            let why = "you have subscribed to as many resources as you may";
            return self.invalid(said.id, why).await;
        }
        self.ask(said, operation, Shape::Other).await
    }

    fn listening(
        self: &Arc<Self>,
        session: Arc<Session>,
        (requester, shown): (Requester, Shown),
        listener: Listener,
        first: Bytes,
        last: Option<Bytes>,
    ) -> Response<Body> {
        let seen = session.known_tools().map(|tools| self.as_seen(&tools));
        let listening = Listening {
            door: Arc::clone(self),
            session,
            requester,
            shown,
            listener,
            decisions: definitions::decisions(&self.gate),
            keepalive: ticks(KEEPALIVE),
            looked: None,
            looking: None,
            wants: None,
            seen,
            first: Some(first),
            last,
            is_over: false,
        };
        let pieces = unfold(listening, |mut listening| async move {
            let piece = listening.next().await?;
            Some((piece, listening))
        });
        stream::events(pieces)
    }

    fn as_seen(&self, tools: &Tools) -> Seen {
        let shown = tools.iter().filter_map(|(name, definition)| {
            Some(match self.book.ruling(name, definition.digest) {
                Ruling::Decide(_) => (name.clone(), Some(definition.digest)),
                Ruling::Refuse(_) => (name.clone(), None),
                Ruling::Hide => return None,
            })
        });
        shown.collect()
    }

    /// Whether an agent that has been served for a while would be let in again.
    async fn is_still_let_in(&self, requester: &Requester, shown: &Shown) -> bool {
        let target = &self.target.surroundings().target;
        self.gate.frozen(requester.principal, target).is_none() && self.entrance.knows(requester, shown).await
    }
}

impl Drop for Listening {
    /// What its agent was to be asked and never read is refused, so that its server does not wait for it.
    fn drop(&mut self) {
        for key in self.listener.0.ends() {
            if let Some(waits) = self.session.asks.take(&key) {
                self.session.refuses(&self.door.target.way, &waits.id, NOBODY);
            }
        }
    }
}

impl Listening {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.is_over {
            return None;
        }
        let feed = Arc::clone(&self.listener.0);
        loop {
            if self.looking.is_none()
                && let Some(look) = self.wants.take()
            {
                self.looking = Some(self.look(look));
            }
            let seen = async {
                match &mut self.looking {
                    Some(looking) => looking.await,
                    None => std::future::pending().await,
                }
            };
            let piece = tokio::select! {
                biased;
                () = self.door.stopping.cancelled() => break,
                () = self.session.ended.cancelled() => break,
                () = feed.over.cancelled() => break,
                _ = self.keepalive.tick() => {
                    if !self.door.is_still_let_in(&self.requester, &self.shown).await {
                        break;
                    }
                    Some(comment("listening"))
                }
                Ok(()) = self.decisions.changed() => {
                    self.wants.get_or_insert(Look::AtWhatIsKnown);
                    None
                }
                next = feed.next() => match next {
                    Next::Tools => {
                        self.wants = Some(Look::Again);
                        None
                    }
                    Next::Message(message) => Some(event(&message)),
                },
                now = seen => {
                    self.looking = None;
                    self.changed(&feed, now)
                }
            };
            if let Some(piece) = piece {
                return Some(piece);
            }
        }
        self.is_over = true;
        self.last.take()
    }

    /// Looks at the tools, at the earliest a while after they were looked at.
    fn look(&mut self, look: Look) -> Looking {
        let (door, session) = (Arc::clone(&self.door), Arc::clone(&self.session));
        let now = Instant::now();
        let at = self.looked.map_or(now, |looked| now.max(looked + LOOK));
        if look == Look::Again {
            self.looked = Some(at);
        }
        Box::pin(async move {
            let (book, way) = (&door.book, &door.target.way);
            let tools = match look {
                Look::AtWhatIsKnown => session.tools(book, way).await,
                Look::Again => {
                    sleep_until(at).await;
                    session.tools_now(book, way).await
                }
            };
            // Where they cannot be known its agent finds out why when it asks.
            tools.ok().map(|tools| door.as_seen(&tools))
        })
    }

    /// What tells the agent that its tools are others now, if they are.
    fn changed(&mut self, feed: &Feed, now: Option<Seen>) -> Option<Bytes> {
        if now.is_some() && now == self.seen {
            return None;
        }
        self.seen = now;
        Some(event(&feed.tools_changed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        asks::ELICITATION,
        edge::stage::{Stage, told},
        feed::Told,
        session::tests::requester,
    };

    /// A server does not wait for what its agent was to be asked and never read.
    #[tokio::test]
    async fn a_question_that_its_agent_left_unread_is_refused_towards_its_server() {
        let stage = Stage::open().await;
        let (door, session) = (Arc::clone(&stage.door), Stage::session());
        let (id, params) = [r#""q-1""#, r#"{"message":"Sure?"}"#]
            .map(|raw| RawValue::from_string(raw.into()).unwrap())
            .into();
        let asked = session.asks.take_in(&id, (ELICITATION, Some(&params)), None).unwrap();
        let feed = Arc::new(Feed::new(Wanted::ALL, Arc::clone(&session.hub.subscribed), None));
        session.hub.replace(&feed);
        assert!(session.hub.told(&asked.own, Told::Question(&asked.message)));
        let by = (requester(1), Shown::Nothing);
        let stream = door.listening(Arc::clone(&session), by, Listener(feed), comment("listening"), None);
        drop(stream);
        assert!(asked.over.is_cancelled() && session.asks.take(&asked.own).is_none());
        let (connection, _) = stage.server.accept().await.unwrap();
        let refused = told(connection, NOBODY).await;
        assert!(refused.contains(r#""id":"q-1","error""#) && refused.contains(NOBODY), "{refused}");
    }

    fn filter(text: &str) -> Option<Filter> {
        Filter::of(Some(serde_json::from_str(text).unwrap()))
    }

    #[test]
    fn nothing_is_agreed_to_that_was_not_asked_for() {
        let asked = filter(r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":false,"resourceSubscriptions":["a","b"],"taskIds":["x"]}}"#).unwrap();
        let server = filter(r#"{"notifications":{"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["b","c"]}}"#).unwrap();
        let told = serde_json::to_string(&asked.agreed(&server)).unwrap();
        assert_eq!(
            told,
            r#"{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["b"]}"#
        );
        assert_eq!(serde_json::to_string(&Filter::default().agreed(&server)).unwrap(), "{}");
        for bad in [r#"{"notifications":{"toolsListChanged":"yes"}}"#, "{}", r#"{"notifications":[]}"#] {
            assert_eq!(filter(bad), None, "{bad}");
        }
    }
}
