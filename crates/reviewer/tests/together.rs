//! What can wait, what comes in a flood, and whom a limit spares: with the worker, the store and a driven clock. Whatever is
//! put off is told before it lapses, over restarts too, and nothing is told as often as there is of it.
//! Long because all of it is told by one reader over one stage.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a failed expectation is how a test fails"
)]

#[path = "../../engine/tests/engine/stage.rs"]
#[expect(dead_code, reason = "it is the engine's own stage; channels need a part of it")]
mod gateway;

use crate::gateway::{POLICY, Stage, person};
use async_trait::async_trait;
use countersign_core::{
    ApprovalId, Assurance, Class, CredentialId, GroupName, PersonId, SignIn, Timestamp, statement::Verdict,
};
use countersign_engine::{
    Gate,
    outbox::{self, ChannelSpec, Channels, Hears, News, Quiet, Rest, Route, Shelf, Together, Urgency, When},
    vote::{self, Cast},
};
use countersign_ledger::event::Assertion;
use countersign_reviewer::{
    Again, Failed, Gathering, Letter, Over, Scope, Tell, Why, Writes, message::Room, run,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
/// How long something may take to come, on a busy machine.
const COMES_WITHIN: Duration = Duration::from_mins(1);

/// What a channel was told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    One(ApprovalId, String, BTreeSet<PersonId>),
    Several(Why, usize, Vec<ApprovalId>, String, BTreeSet<PersonId>),
    Over(String),
}

/// Reads everything, and remembers when.
#[derive(Debug)]
struct Reader {
    gate: Arc<Gate>,
    told: Mutex<Vec<(Told, Timestamp)>>,
    down: AtomicBool,
    /// Ids of messages with several, at every try.
    tried: Mutex<Vec<String>>,
    /// No message with several is taken, ever.
    refuses: AtomicBool,
    most_each: Option<usize>,
    groups: Option<BTreeSet<GroupName>>,
    writes: Writes,
}

impl Reader {
    fn of(gate: &Arc<Gate>) -> Arc<Self> {
        Self::limited(gate, None, Writes::ToAPlace)
    }

    fn limited(gate: &Arc<Gate>, most_each: Option<usize>, writes: Writes) -> Arc<Self> {
        let (gate, told, tried) = (Arc::clone(gate), Mutex::default(), Mutex::default());
        let (down, refuses) = (AtomicBool::default(), AtomicBool::default());
        Arc::new(Self { gate, told, down, tried, refuses, most_each, groups: None, writes })
    }

    /// Of one group alone.
    fn of_group(gate: &Arc<Gate>, group: &str) -> Arc<Self> {
        let mut reader = Self::limited(gate, None, Writes::ToPeople);
        Arc::get_mut(&mut reader).unwrap().groups = Some([group.parse().unwrap()].into());
        reader
    }

    fn all(&self) -> Vec<Told> {
        self.told.lock().iter().map(|(told, _)| told.clone()).collect()
    }

    fn asked(&self, id: ApprovalId) -> bool {
        self.all().iter().any(|told| match told {
            Told::One(one, ..) => *one == id,
            Told::Several(_, _, some, ..) => some.contains(&id),
            Told::Over(_) => false,
        })
    }

    fn put(&self, told: Told) -> Result<Option<String>, Failed> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Failed::channel("it is down"));
        }
        let mut all = self.told.lock();
        all.push((told, self.gate.now()));
        Ok(Some(format!("place {}", all.len())))
    }
}

#[async_trait]
impl Tell for Reader {
    fn room(&self, _news: &News) -> Room {
        Room { characters: None }
    }

    fn give_up_after(&self) -> Duration {
        72 * HOUR
    }

    fn writes(&self) -> Writes {
        self.writes.clone()
    }

    fn gathers(&self) -> bool {
        true
    }

    fn most_each(&self) -> Option<usize> {
        self.most_each
    }

    fn groups(&self) -> Option<&BTreeSet<GroupName>> {
        self.groups.as_ref()
    }

    async fn tell_together(&self, all: &Gathering) -> Result<Option<String>, Failed> {
        assert!(all.items.len() <= 20 && all.items.len() <= all.count);
        assert_eq!(all.common.is_some(), all.link.contains("principal="));
        self.tried.lock().push(all.id.clone());
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Failed { why: "never".into(), scope: Scope::News, again: Again::No });
        }
        let people = all.deciders.iter().map(|one| one.person).collect();
        let ids = all.items.iter().map(|item| item.approval).collect();
        self.put(Told::Several(all.why, all.count, ids, all.link.clone(), people))
    }

    async fn over(&self, over: &Over) -> Result<(), Failed> {
        self.put(Told::Over(over.posted.clone())).map(drop)
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let people = letter.deciders.iter().map(|one| one.person).collect();
        self.put(Told::One(letter.approval, letter.news.kind.clone(), people))
    }
}

fn spec(name: &str, hears: Hears, together: Option<Together>) -> ChannelSpec {
    ChannelSpec { name: name.parse().unwrap(), kind: "slack", place: String::new(), hears, together }
}

/// Changes can wait until eight in the morning in Lisbon, exports cannot; both are told on `ops`.
fn calm() -> Channels {
    let night = Quiet::Hours { from: 18 * 60, to: 8 * 60 };
    let rest = Rest { zone: "Europe/Lisbon".into(), quiet: [night].into(), ..Rest::default() };
    let route = |name: &str, class, urgency| Route {
        name: name.into(),
        when: When { classes: [class].into(), ..When::default() },
        channels: ["ops".parse().unwrap()].into(),
        escalate: vec![],
        remind: Some(20 * MINUTE),
        urgency,
    };
    let routes = vec![
        route("changes", Class::Configure, Urgency::Low(rest)),
        route("exports", Class::Export, Urgency::Unsaid),
    ];
    Channels::new([spec("ops", Hears::Named, None)]).routed(routes)
}

/// What was similar shares a message after three.
fn flooded() -> Channels {
    Channels::new([spec("ops", Hears::Everything, Some(Together { after: 3, within: 2 * MINUTE }))])
}

/// Everybody is told again after five minutes.
fn reminding() -> Channels {
    let route = Route {
        name: "all".into(),
        when: When::default(),
        channels: ["ops".parse().unwrap()].into(),
        escalate: vec![],
        remind: Some(5 * MINUTE),
        urgency: Urgency::Unsaid,
    };
    Channels::new([spec("ops", Hears::Named, None)]).routed(vec![route])
}

/// Everything is told once an hour, and again when nobody decides for twenty minutes.
fn hourly() -> Channels {
    let rest = Rest { zone: "UTC".into(), every_s: Some(3_600), ..Rest::default() };
    let route = Route {
        name: "all".into(),
        when: When::default(),
        channels: ["ops".parse().unwrap()].into(),
        escalate: vec![],
        remind: Some(20 * MINUTE),
        urgency: Urgency::Low(rest),
    };
    Channels::new([spec("ops", Hears::Named, Some(Together { after: 3, within: 2 * MINUTE }))])
        .routed(vec![route])
}

/// A flood, with a reminder in the second half of half an hour.
fn reminded_late() -> Channels {
    let route = Route {
        name: "all".into(),
        when: When::default(),
        channels: ["ops".parse().unwrap()].into(),
        escalate: vec![],
        remind: Some(16 * MINUTE),
        urgency: Urgency::Unsaid,
    };
    Channels::new([spec("ops", Hears::Named, Some(Together { after: 3, within: 2 * MINUTE }))])
        .routed(vec![route])
}

fn plain() -> Channels {
    Channels::new([spec("ops", Hears::Everything, None)])
}

/// The next group is told after ten minutes.
fn stepwise() -> Channels {
    let step = (10 * MINUTE, ["leads".parse().unwrap()].into());
    let route = Route {
        name: "all".into(),
        when: When::default(),
        channels: ["ops".parse().unwrap()].into(),
        escalate: vec![step],
        remind: None,
        urgency: Urgency::Unsaid,
    };
    Channels::new([spec("ops", Hears::Named, None), spec("leads", Hears::Named, None)]).routed(vec![route])
}

fn work(stage: &Stage, reader: &Arc<Reader>) -> JoinSet<()> {
    let mut workers = JoinSet::new();
    work_on(stage, "ops", reader, &mut workers);
    workers
}

fn work_on(stage: &Stage, channel: &str, reader: &Arc<Reader>, workers: &mut JoinSet<()>) {
    let tell = Arc::clone(reader) as Arc<dyn Tell>;
    workers.spawn(run(Arc::clone(&stage.gate), channel.parse().unwrap(), tell));
}

async fn until(what: &str, mut enough: impl AsyncFnMut() -> bool) {
    let comes = async {
        while !enough().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(COMES_WITHIN, comes).await.is_ok(), "{what} never came");
}

/// In one look: what moves from one shelf to the other between two is on neither.
async fn waiting(stage: &Stage) -> usize {
    let all = outbox::page(&stage.gate, &"ops".parse().unwrap(), Shelf::All, None, 1_000).await.unwrap();
    all.iter().filter(|outgoing| !outgoing.waiting.is_empty()).count()
}

/// Waits until everybody was called again whose turn it is.
async fn called(stage: &Stage, ids: &[ApprovalId]) {
    until("the calls", async || {
        let mut due = false;
        for id in ids {
            let hold = countersign_engine::read::hold(&stage.gate, *id).await.unwrap().unwrap();
            due |= hold.next_call().is_some_and(|(moment, _)| moment <= stage.gate.now());
        }
        !due
    })
    .await;
}

/// People have a day for everything.
async fn with_a_day(stage: &Stage) {
    stage.policy(&POLICY.replace("@expires(\"30m\")", "@expires(\"24h\")")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_night_what_can_wait_waits_over_restarts_and_what_cannot_goes() {
    // Two in the morning.
    let mut stage = Stage::telling(calm).await;
    with_a_day(&stage).await;
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    let mut calm = Vec::new();
    for hour in 0..3 {
        calm.push(stage.hold(Class::Configure, &format!("change {hour}")).await);
        let urgent = stage.hold(Class::Export, &format!("export {hour}")).await;
        until("what is urgent", async || reader.asked(urgent)).await;
        stage.clock.pass(HOUR);
    }
    assert!(!calm.iter().any(|id| reader.asked(*id)), "{:?}", reader.all());
    workers.shutdown().await;
    drop(reader);

    stage = stage.restart().await;
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    let fence = stage.hold(Class::Export, "fence").await;
    until("the fence", async || reader.asked(fence)).await;
    assert!(!calm.iter().any(|id| reader.asked(*id)), "{:?}", reader.all());
    // One of them is decided in the night, by somebody who did not need to be told.
    stage.reject(person(1), calm[0], "not tonight").await.unwrap();
    stage.clock.pass(3 * HOUR);
    until("the morning", async || reader.asked(calm[1])).await;
    until("everything", async || waiting(&stage).await == 0).await;
    let several: Vec<Told> = reader
        .all()
        .into_iter()
        .filter(|told| !matches!(told, Told::One(id, ..) if !calm.contains(id)))
        .collect();
    let [Told::Several(Why::Waited, 2, ids, link, _)] = several.as_slice() else { panic!("{several:?}") };
    assert_eq!(*ids, calm[1..]);
    let agent = Stage::requester().principal;
    let query = format!("status=pending&principal={agent}&target=cloud&environment=prod&class=configure");
    assert!(link.ends_with(&format!("/approvals?{query}")), "{link}");
    // By day a change is told at once.
    let noon = stage.hold(Class::Configure, "noon").await;
    until("a change by day", async || reader.asked(noon)).await;
    workers.shutdown().await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_lapses_unseen_because_it_could_wait() {
    // Half an hour for everything, at two in the morning.
    let stage = Stage::telling(calm).await;
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    let id = stage.hold(Class::Configure, "change").await;
    stage.clock.pass(14 * MINUTE);
    let fence = stage.hold(Class::Export, "fence").await;
    until("the fence", async || reader.asked(fence)).await;
    assert!(!reader.asked(id), "half of its time is not over");
    stage.clock.pass(MINUTE);
    until("what is half over", async || reader.asked(id)).await;
    let hold = countersign_engine::read::hold(&stage.gate, id).await.unwrap().unwrap();
    assert_eq!(hold.approval.state.as_str(), "pending");
    assert_eq!(hold.next_call(), None, "the next reminder would come when it is over");
    stage.approve(person(1), id).await.unwrap();
    stage.until(id, "done").await;
    workers.shutdown().await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_a_few_messages_and_one_more_and_each_of_it_is_decided_by_itself() {
    let stage = Stage::telling(flooded).await;
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(stage.hold(Class::Configure, &format!("change {number}")).await);
    }
    let other = stage.hold(Class::Export, "of another kind").await;
    until("the first few", async || reader.all().len() == 4).await;
    assert!(reader.asked(other) && ids[..3].iter().all(|id| reader.asked(*id)));
    reader.down.store(true, Ordering::SeqCst);
    stage.clock.pass(2 * MINUTE);
    let known = stage.gate.channels().named(&"ops".parse().unwrap()).unwrap();
    until("a try in vain", async || known.standing().failures > 0).await;
    reader.down.store(false, Ordering::SeqCst);
    until("the rest of it", async || {
        let (now, next) = (stage.gate.now(), known.standing().next_try);
        stage.clock.pass(next.map_or(Duration::ZERO, |next| next.since(now)));
        waiting(&stage).await == 0
    })
    .await;
    let told = reader.all();
    let [.., Told::Several(Why::Similar, 37, listed, ..)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((told.len(), listed.len()), (5, 20));
    let tried = reader.tried.lock().clone();
    assert!(tried.len() > 1 && tried.iter().all(|id| *id == tried[0]), "it is one message: {tried:?}");
    assert_eq!(outbox::count(&stage.gate, &"ops".parse().unwrap(), Shelf::GivenUp, 10).await.unwrap(), 0);

    // Each by itself; what became of it is told to nobody, but once for all of them.
    for (number, id) in ids[3..].iter().enumerate() {
        stage.reject(person(1), *id, "one after the other").await.unwrap();
        until("its end", async || waiting(&stage).await == 0).await;
        let over = reader.all().iter().filter(|told| matches!(told, Told::Over(_))).count();
        assert_eq!((reader.all().len(), over), if number < 36 { (5, 0) } else { (6, 1) }, "{number}");
    }
    for id in &ids[..3] {
        assert_eq!(stage.state(*id).await, "pending", "nobody decided several at once");
    }
    workers.shutdown().await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_are_asked_is_found_again_after_a_restart() {
    let mut stage = Stage::telling(flooded).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(stage.hold(Class::Configure, &format!("change {number}")).await);
    }
    stage = stage.restart().await;
    stage.clock.pass(2 * MINUTE);
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    until("all of it", async || waiting(&stage).await == 0).await;
    let told = reader.all();
    let several = told.iter().filter(|told| matches!(told, Told::Several(_, 7, ..))).count();
    assert_eq!((told.len(), several), (4, 1), "{told:?}");
    assert!(ids.iter().all(|id| reader.asked(*id)));
    workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_more_than_the_limit_while_somebody_else_is_left() {
    let stage = Stage::telling(plain).await;
    with_a_day(&stage).await;
    // People 1 to 9 may decide; Olga owns the agent and may not.
    let reader = Reader::limited(&stage.gate, Some(2), Writes::ToPeople);
    let mut workers = work(&stage, &reader);
    let mut asked = Vec::new();
    for number in 0..4 {
        let id = stage.hold(Class::Configure, &format!("change {number}")).await;
        until("the question", async || reader.asked(id)).await;
        let told = reader.all();
        let Some(Told::One(_, _, people)) = told.last() else { panic!("{told:?}") };
        asked.push((id, people.len()));
    }
    // Everybody twice; then, as one has to be asked, one.
    assert_eq!(asked.iter().map(|(_, people)| *people).collect::<Vec<_>>(), [9, 9, 1, 1]);
    // An export needs two.
    let export = stage.hold(Class::Export, "all").await;
    until("the export", async || reader.asked(export)).await;
    let told = reader.all();
    let Some(Told::One(_, _, people)) = told.last() else { panic!("{told:?}") };
    assert_eq!(people.len(), 2);
    // Who was not asked may decide all the same; with what is decided everybody has room again.
    stage.reject(person(9), asked[0].0, "no").await.unwrap();
    stage.reject(person(8), asked[1].0, "no").await.unwrap();
    until("the ends", async || waiting(&stage).await == 0).await;
    let next = stage.hold(Class::Configure, "next").await;
    until("the next", async || reader.asked(next)).await;
    let told = reader.all();
    let Some(Told::One(_, _, people)) = told.last() else { panic!("{told:?}") };
    assert!(people.len() >= 7, "{people:?}");
    workers.shutdown().await;
    stage.verify();
}

/// Changes are told in one place, exports in another, and what is executed in both.
fn in_two_places() -> Channels {
    let route = |name: &str, class, channels: &[&str]| Route {
        name: name.into(),
        when: When { classes: [class].into(), ..When::default() },
        channels: channels.iter().map(|name| name.parse().unwrap()).collect(),
        escalate: vec![],
        remind: None,
        urgency: Urgency::Unsaid,
    };
    let routes = vec![
        route("changes", Class::Configure, &["mail"]),
        route("exports", Class::Export, &["phones"]),
        route("launches", Class::Execute, &["mail", "phones"]),
    ];
    Channels::new(["mail", "phones"].map(|name| spec(name, Hears::Named, None))).routed(routes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_is_asked_counts_once_on_however_many_channels() {
    let launches = r#"@id("launch") @gate("launch") @approvers("Group::\"sre\"") @expires("30m") @step_up("session")
        @reason("what is launched costs") forbid (principal, action in Action::"execute", resource);"#;
    let stage = Stage::telling(in_two_places).await;
    stage.policy(&format!("{POLICY}{launches}")).await;
    let [mail, phones] = [(); 2].map(|()| Reader::limited(&stage.gate, Some(2), Writes::ToPeople));
    let mut workers = JoinSet::new();
    for (name, reader) in [("mail", &mail), ("phones", &phones)] {
        let tell = Arc::clone(reader) as Arc<dyn Tell>;
        workers.spawn(run(Arc::clone(&stage.gate), name.parse().unwrap(), tell));
    }
    let asked = async |reader: &Reader, id| {
        until("the question", async || reader.asked(id)).await;
        let told = reader.all();
        let Some(Told::One(_, _, people)) = told.last() else { panic!("{told:?}") };
        people.clone()
    };
    let change = stage.hold(Class::Configure, "change").await;
    assert_eq!(asked(&mail, change).await.len(), 9);
    let export = stage.hold(Class::Export, "export").await;
    assert_eq!(asked(&phones, export).await.len(), 9);
    // Each has two now, though no channel asked anybody about more than one. Somebody is asked, and the same on both.
    let mut before = BTreeSet::new();
    for number in 0..3 {
        let id = stage.hold(Class::Execute, &format!("rocket {number}")).await;
        let (by_mail, on_phones) = (asked(&mail, id).await, asked(&phones, id).await);
        assert_eq!((by_mail.len(), &by_mail), (1, &on_phones), "{number}");
        assert!(before.is_disjoint(&by_mail), "whoever has the least is next");
        for person in &by_mail {
            assert_eq!(outbox::load_of(&stage.gate, *person, 10).await.unwrap(), 3, "it counts once");
            assert_eq!(outbox::load_of(&stage.gate, *person, 2).await.unwrap(), 2, "up to a bound");
        }
        before.extend(by_mail);
    }
    // What is decided is nobody's load any more.
    stage.reject(person(9), change, "no").await.unwrap();
    let relieved = async || outbox::load_of(&stage.gate, person(9), 10).await.unwrap();
    let least = usize::from(before.contains(&person(9))) + 1;
    until("the end", async || relieved().await == least).await;
    workers.shutdown().await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_calls_the_next_group_and_nobody_else_of_those_who_may_decide() {
    let stage = Stage::telling(stepwise).await;
    // All of them may decide; the second channel is for the leads alone.
    let ops = Reader::of_group(&stage.gate, "sre");
    let leads = Reader::of_group(&stage.gate, "leads");
    let mut workers = work(&stage, &ops);
    work_on(&stage, "leads", &leads, &mut workers);
    let id = stage.hold(Class::Configure, "change").await;
    until("the question", async || ops.asked(id)).await;
    assert!(
        matches!(&ops.all()[..], [Told::One(_, kind, people)] if kind == "approval.requested" && people.len() == 9)
    );
    stage.clock.pass(10 * MINUTE);
    called(&stage, &[id]).await;
    until("the step", async || leads.asked(id)).await;
    let told = leads.all();
    let [Told::One(_, kind, people)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((kind.as_str(), people), ("approval.escalated", &[person(9)].into()));
    // The end is told to the same, and to whoever stands in for one of them by then.
    stage.people.away.lock().unwrap().insert(person(2), person(9));
    stage.reject(person(1), id, "no").await.unwrap();
    until("the end", async || leads.all().len() == 2).await;
    let told = leads.all();
    let Told::One(_, kind, people) = &told[1] else { panic!("{told:?}") };
    assert_eq!((kind.as_str(), people), ("approval.voted", &[person(2), person(9)].into()));
    workers.shutdown().await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_of_its_groups_may_decide_a_channel_says_nothing_and_nothing_is_wrong() {
    let stage = Stage::telling(flooded).await;
    let reader = Reader::of_group(&stage.gate, "security");
    let mut workers = work(&stage, &reader);
    for number in 0..6 {
        stage.hold(Class::Configure, &format!("change {number}")).await;
    }
    stage.clock.pass(2 * MINUTE);
    until("an end of waiting", async || waiting(&stage).await == 0).await;
    assert_eq!(reader.all(), []);
    let standing = stage.gate.channels().named(&"ops".parse().unwrap()).unwrap().standing();
    assert_eq!((standing.failures, standing.last_error), (0, None));
    workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_glass_is_told_to_everybody_who_may_decide_whatever_groups_and_limits_say() {
    let stage = Stage::telling(plain).await;
    let glass = "@gate(\"change\") @break_glass(\"Group::\\\"sre\\\"\")";
    stage.policy(&POLICY.replace("@gate(\"change\")", glass)).await;
    // The channel is for the leads, who are one, and nobody is asked about more than one approval.
    let mut reader = Reader::limited(&stage.gate, Some(1), Writes::ToPeople);
    Arc::get_mut(&mut reader).unwrap().groups = Some(["leads".parse().unwrap()].into());
    let mut workers = work(&stage, &reader);
    let id = stage.hold(Class::Configure, "change").await;
    until("the question", async || reader.asked(id)).await;
    assert!(matches!(&reader.all()[..], [Told::One(_, _, people)] if *people == [person(9)].into()));
    let ballot = vote::prepare(&stage.gate, person(1), id, Verdict::BreakGlass).await.unwrap().unwrap();
    let none = String::new;
    let assertion = Assertion {
        credential: CredentialId::from_parts(1, 1),
        authenticator_data: none(),
        client_data_json: none(),
        signature: none(),
    };
    let cast = Cast {
        statement: ballot.statement,
        assurance: Assurance::Passkey,
        assertion: Some(assertion),
        reason: Some("it burns".into()),
        sign_in: SignIn::default(),
    };
    vote::cast(&stage.gate, cast).await.unwrap().unwrap();
    let alarm = || {
        reader.all().into_iter().find_map(|told| match told {
            Told::One(_, kind, people) if kind == "approval.glass_broken" => Some(people),
            _ => None,
        })
    };
    until("the alarm", async || alarm().is_some()).await;
    assert_eq!(alarm().unwrap(), (1..10).map(person).collect());
    workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_keeps_nobody_from_what_comes_behind_it() {
    let stage = Stage::telling(flooded).await;
    with_a_day(&stage).await;
    let reader = Reader::limited(&stage.gate, Some(5), Writes::ToPeople);
    let mut workers = work(&stage, &reader);
    for number in 0..12 {
        stage.hold(Class::Configure, &format!("change {number}")).await;
    }
    stage.clock.pass(2 * MINUTE);
    until("the flood", async || waiting(&stage).await == 0).await;
    // Three by themselves and the rest in one message: nobody is at the limit.
    let export = stage.hold(Class::Export, "all").await;
    until("the export", async || reader.asked(export)).await;
    let told = reader.all();
    let Some(Told::One(_, _, people)) = told.last() else { panic!("{told:?}") };
    assert_eq!(people.len(), 9, "{people:?}");
    workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_reaches_others_than_those_who_were_silent_where_everybody_is_busy() {
    let stage = Stage::telling(stepwise).await;
    with_a_day(&stage).await;
    let ops = Reader::limited(&stage.gate, Some(1), Writes::ToPeople);
    let leads = Reader::limited(&stage.gate, Some(1), Writes::ToPeople);
    let mut workers = work(&stage, &ops);
    // Everybody is asked about the first, and one person about the second.
    stage.hold(Class::Configure, "first").await;
    until("the first", async || waiting(&stage).await == 0).await;
    let id = stage.hold(Class::Configure, "second").await;
    until("the second", async || ops.asked(id)).await;
    let told = ops.all();
    let Some(Told::One(_, _, silent)) = told.last() else { panic!("{told:?}") };
    assert_eq!(silent.len(), 1);
    work_on(&stage, "leads", &leads, &mut workers);
    stage.clock.pass(10 * MINUTE);
    called(&stage, &[id]).await;
    until("the step", async || leads.asked(id)).await;
    let told = leads.all();
    let found = told.iter().find_map(|told| match told {
        Told::One(one, _, people) if *one == id => Some(people),
        _ => None,
    });
    assert!(found.unwrap().is_disjoint(silent), "{told:?} beside {silent:?}");
    workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_could_lift_only_what_is_lifted_is_not_asked_any_more() {
    let stage = Stage::telling(reminding).await;
    let second = format!(
        "@id(\"look\") @gate(\"look\") @approvers(\"Person::\\\"{}\\\"\") @expires(\"30m\") @step_up(\"session\") \
         @reason(\"a second look\")\nforbid (principal, action in Action::\"export\", resource);",
        person(3)
    );
    stage.policy(&format!("{POLICY}{second}")).await;
    let reader = Reader::limited(&stage.gate, None, Writes::ToPeople);
    let mut workers = work(&stage, &reader);
    let people = |kind: &str| {
        reader.all().into_iter().find_map(|told| match told {
            Told::One(_, news, people) if news == kind => Some(people),
            _ => None,
        })
    };
    let id = stage.hold(Class::Export, "all").await;
    until("the question", async || people("approval.requested").is_some()).await;
    assert_eq!(people("approval.requested").unwrap().len(), 9);
    stage.approve(person(1), id).await.unwrap();
    stage.approve(person(2), id).await.unwrap();
    stage.clock.pass(5 * MINUTE);
    until("a reminder", async || people("approval.reminded").is_some()).await;
    assert_eq!(people("approval.reminded").unwrap(), [person(3)].into());
    workers.shutdown().await;
}

/// How often several were told at once, and where that was put.
fn shared(reader: &Reader) -> Vec<String> {
    let all = reader.all().into_iter().enumerate();
    let several = all.filter(|(_, told)| matches!(told, Told::Several(..)));
    several.map(|(at, _)| format!("place {}", at + 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_behind_what_was_put_off_is_told_after_an_outage() {
    let stage = Stage::telling(calm).await;
    with_a_day(&stage).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(stage.hold(Class::Configure, &format!("change {number}")).await);
    }
    stage.cloud.breaks.store(1, Ordering::SeqCst);
    stage.approve(person(1), ids[0]).await.unwrap();
    stage.until(ids[0], "unknown").await;
    assert!(stage.events_of(ids[0]).await.contains(&"execution.outcome_unknown"));
    // Nobody could tell anything until long after the morning.
    stage.clock.pass(8 * HOUR);
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    until("everything", async || waiting(&stage).await == 0).await;
    let alarm = |told: &Told| matches!(told, Told::One(id, kind, _) if *id == ids[0] && kind == "execution.outcome_unknown");
    assert!(reader.all().iter().any(alarm), "{:?}", reader.all());
    assert_eq!(shared(&reader).len(), 1, "{:?}", reader.all());
    workers.shutdown().await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_off_and_given_up_strands_nothing_and_is_told_when_it_is_replayed() {
    let stage = Stage::telling(calm).await;
    let two =
        POLICY.replace("@expires(\"30m\")", "@expires(\"24h\")").replace("@quorum(\"1\")", "@quorum(\"2\")");
    stage.policy(&two).await;
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    let first = stage.hold(Class::Configure, "one").await;
    let second = stage.hold(Class::Configure, "two").await;
    stage.approve(person(1), second).await.unwrap();
    reader.refuses.store(true, Ordering::SeqCst);
    let name = "ops".parse().unwrap();
    stage.clock.pass(6 * HOUR);
    until("the end of it", async || {
        waiting(&stage).await == 0
            && outbox::count(&stage.gate, &name, Shelf::GivenUp, 10).await.unwrap() == 2
    })
    .await;
    let voted = Told::One(second, "approval.voted".into(), BTreeSet::new());
    assert_eq!(reader.all(), [voted], "what stood behind it is told");
    let by = countersign_ledger::event::Actor::Person { id: person(1) };
    outbox::replay(&stage.gate, first, &name, &by).await.unwrap().unwrap();
    until("the replay", async || reader.asked(first) && waiting(&stage).await == 0).await;
    assert_eq!(reader.all()[1], Told::One(first, "approval.requested".into(), BTreeSet::new()));
    workers.shutdown().await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_decide_on_the_last_of_many_is_told_of_them_too() {
    let stage = Stage::telling(hourly).await;
    let of = |number| format!("Person::\\\"{}\\\"", person(number));
    let policy = POLICY
        .replace("Group::\\\"sre\\\"", &of(1))
        .replace("Group::\\\"privacy\\\"", &of(3))
        .replace("@quorum(\"2\")", "@quorum(\"1\")")
        .replace("@expires(\"30m\")", "@expires(\"24h\")");
    stage.policy(&policy).await;
    stage.clock.pass(MINUTE);
    for number in 0..70 {
        stage.hold(Class::Configure, &format!("change {number}")).await;
    }
    stage.hold(Class::Export, "all").await;
    stage.clock.pass(HOUR);
    let reader = Reader::limited(&stage.gate, None, Writes::ToPeople);
    let mut workers = work(&stage, &reader);
    until("all of it", async || waiting(&stage).await == 0).await;
    let told = reader.all();
    let [Told::Several(Why::Waited, 71, _, link, people)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(*people, [person(1), person(3)].into());
    assert!(link.ends_with("/approvals?status=pending"), "{link}");
    workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_with_several_ends_with_the_last_of_its_own() {
    // Two o'clock, when everything is told.
    let stage = Stage::telling(hourly).await;
    with_a_day(&stage).await;
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    let own = stage.hold(Class::Export, "by itself").await;
    until("the question", async || reader.asked(own)).await;
    stage.clock.pass(MINUTE);
    let mut ids = Vec::new();
    for number in 0..2 {
        ids.push(stage.hold(Class::Configure, &format!("change {number}")).await);
    }
    stage.reject(person(1), own, "no").await.unwrap();
    stage.clock.pass(HOUR);
    until("the first hour", async || shared(&reader).len() == 1 && waiting(&stage).await == 0).await;
    let end = |told: &Told| matches!(told, Told::One(id, kind, _) if *id == own && kind == "approval.closed");
    assert!(reader.all().iter().any(end), "its own message is changed: {:?}", reader.all());
    for _ in 0..6 {
        stage.clock.pass(20 * MINUTE);
        called(&stage, &ids).await;
    }
    until("a reminder of both", async || shared(&reader).len() >= 2).await;
    let over = || -> BTreeSet<String> {
        reader
            .all()
            .into_iter()
            .filter_map(|told| if let Told::Over(place) = told { Some(place) } else { None })
            .collect()
    };
    stage.reject(person(1), ids[0], "no").await.unwrap();
    stage.clock.pass(HOUR);
    until("the first end", async || {
        let known = outbox::load(&stage.gate, ids[0], &"ops".parse().unwrap()).await.unwrap();
        known.is_some_and(|(outgoing, _)| outgoing.waiting.is_empty())
    })
    .await;
    assert_eq!(over(), BTreeSet::new(), "one still waits");
    stage.reject(person(1), ids[1], "no").await.unwrap();
    stage.clock.pass(HOUR);
    until("the last end", async || waiting(&stage).await == 0).await;
    assert_eq!(over(), shared(&reader).into_iter().collect());
    workers.shutdown().await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_shares_a_message_in_quiet_hours_and_late_in_its_time_too() {
    let stage = Stage::telling(hourly).await;
    stage.clock.pass(MINUTE);
    for number in 0..10 {
        stage.hold(Class::Configure, &format!("change {number}")).await;
        stage.clock.pass(Duration::from_secs(5));
    }
    stage.clock.pass(16 * MINUTE);
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    until("half of its time", async || waiting(&stage).await == 0).await;
    let told = reader.all();
    let [Told::Several(Why::Waited, 10, ..)] = told.as_slice() else { panic!("{told:?}") };
    workers.shutdown().await;

    let stage = Stage::telling(reminded_late).await;
    let reader = Reader::of(&stage.gate);
    let mut workers = work(&stage, &reader);
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(stage.hold(Class::Configure, &format!("change {number}")).await);
        stage.clock.pass(Duration::from_secs(5));
    }
    stage.clock.pass(2 * MINUTE);
    until("the questions", async || waiting(&stage).await == 0).await;
    assert_eq!(reader.all().len(), 4, "{:?}", reader.all());
    stage.clock.pass(14 * MINUTE);
    // All of them first: while they are made one after the other, seven may wait that are others.
    called(&stage, &ids).await;
    until("the reminders", async || waiting(&stage).await == 7).await;
    stage.clock.pass(2 * MINUTE);
    until("all of them", async || waiting(&stage).await == 0).await;
    let told = reader.all();
    let [.., Told::Several(Why::Similar, 7, ..)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(told.len(), 8, "{told:?}");
    workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_leaves_whoever_is_needed_and_nobody_who_has_voted() {
    let stage = Stage::telling(reminding).await;
    let second = format!(
        "@id(\"look\") @gate(\"look\") @approvers(\"Person::\\\"{}\\\"\") @expires(\"30m\") @step_up(\"session\") \
         @reason(\"a second look\")\nforbid (principal, action in Action::\"export\", resource);",
        person(9)
    );
    stage.policy(&format!("{POLICY}{second}")).await;
    let reader = Reader::limited(&stage.gate, Some(1), Writes::ToPeople);
    let mut workers = work(&stage, &reader);
    let people = |id: ApprovalId, kind: &str| {
        reader.all().into_iter().find_map(|told| match told {
            Told::One(one, news, people) if one == id && news == kind => Some(people),
            _ => None,
        })
    };
    let change = stage.hold(Class::Configure, "everybody is asked").await;
    until("the question", async || people(change, "approval.requested").is_some()).await;
    assert_eq!(people(change, "approval.requested").unwrap().len(), 9);
    let export = stage.hold(Class::Export, "all").await;
    until("the export", async || people(export, "approval.requested").is_some()).await;
    let asked = people(export, "approval.requested").unwrap();
    // The one who can lift the second gate can lift the first as well, and may be one of the two whose turn it is there.
    assert!(asked.contains(&person(9)) && (2..=3).contains(&asked.len()), "{asked:?}");
    let voter = *asked.iter().find(|one| **one != person(9)).unwrap();
    stage.approve(voter, export).await.unwrap();
    stage.clock.pass(5 * MINUTE);
    until("a reminder", async || people(export, "approval.reminded").is_some()).await;
    let mut left = asked;
    left.remove(&voter);
    assert_eq!(people(export, "approval.reminded").unwrap(), left);
    workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_person_lifts_one_gate_alone_as_many_are_asked_in_time_as_all_gates_need() {
    // Who may lift the second gate may lift the first as well, and both lift one of them alone where the second says so.
    for (distinct, asked) in [("", 2), ("@distinct", 4)] {
        let stage = Stage::telling(hourly).await;
        let first = POLICY
            .replace("@quorum(\"2\")", "@quorum(\"1\")")
            .replace("@expires(\"30m\")", "@expires(\"24h\")");
        let second = format!(
            "@id(\"look\") @gate(\"look\") @approvers(\"Group::\\\"privacy\\\"\") @expires(\"24h\") \
             @step_up(\"session\") {distinct} @reason(\"a second look\")\n\
             forbid (principal, action in Action::\"export\", resource);"
        );
        stage.policy(&format!("{first}{second}")).await;
        let reader = Reader::limited(&stage.gate, Some(1), Writes::ToPeople);
        // Everybody is asked about the first, and is at the limit then.
        stage.hold(Class::Export, "first").await;
        stage.clock.pass(HOUR);
        let mut workers = work(&stage, &reader);
        until("the first", async || waiting(&stage).await == 0).await;
        workers.shutdown().await;
        let told = reader.all().len();
        for what in ["second", "third"] {
            stage.hold(Class::Export, what).await;
        }
        stage.clock.pass(HOUR);
        let mut workers = work(&stage, &reader);
        until("the others", async || waiting(&stage).await == 0).await;
        workers.shutdown().await;
        let mut people = BTreeSet::new();
        for told in reader.all().split_off(told) {
            match told {
                Told::One(_, news, some) if news == "approval.requested" => people.extend(some),
                Told::Several(_, _, _, _, some) => people.extend(some),
                Told::One(..) | Told::Over(_) => {}
            }
        }
        assert_eq!(people.len(), asked, "{distinct} {people:?}");
    }
}
