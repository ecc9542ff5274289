//! What waits for an agent that listens, and how much of it.

use super::*;
use futures_util::FutureExt as _;

fn feed(name: Option<&str>) -> Feed {
    let subscribed: BTreeSet<String> = ["shop://stock".to_owned()].into();
    Feed::new(Wanted::ALL, Arc::new(Mutex::new(subscribed)), name.map(str::to_owned))
}

fn note(method: &str, params: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{params}}}"#).into_bytes()
}

fn told(feed: &Feed) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(next) = feed.next().now_or_never() {
        all.push(match next {
            Next::Tools => "tools".to_owned(),
            Next::Message(message) => String::from_utf8(message.to_vec()).unwrap(),
        });
    }
    all
}

#[test]
fn a_change_is_told_once_under_the_agents_own_name_and_only_where_it_was_asked_for() {
    let feed = feed(Some("\"listen-1\""));
    for message in [
        note("tools/list_changed", "{}"),
        note(
            "resources/updated",
            r#"{"uri":"shop://stock","n":1.0,"_meta":{"k": 1,"io.modelcontextprotocol/subscriptionId":7}}"#,
        ),
        note(
            "resources/updated",
            r#"{"uri":"shop://stock","n":2.0,"_meta":{"k": 1,"io.modelcontextprotocol/subscriptionId":7}}"#,
        ),
        note("resources/updated", r#"{"uri":"shop://stocks"}"#),
        note("resources/updated", r#"{"uri":"shop://other"}"#),
        note("progress", r#"{"progressToken":1,"progress":1}"#),
        note("tools/list_changed", "{}"),
        br#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#.to_vec(),
        b"no message".to_vec(),
    ] {
        feed.heard(&message);
    }
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"shop://stock","n":2.0,"_meta":{"io.modelcontextprotocol/subscriptionId":"listen-1","k":1}}}"#;
    assert_eq!(told(&feed), ["tools", updated]);
    assert!(!feed.over.is_cancelled());
}

#[test]
fn what_waits_is_bounded_and_who_cannot_be_told_everything_is_let_go() {
    let feed = feed(None);
    feed.subscribed.lock().insert("shop://many/".into());
    feed.heard(&note("message", &format!("{{\"data\":\"{}\"}}", "x".repeat(LARGEST))));
    for line in 0..1_000 {
        feed.heard(&note("message", &format!(r#"{{"data":{line}}}"#)));
    }
    assert!(!feed.over.is_cancelled(), "lines of a log are left out");
    let lines = told(&feed);
    assert_eq!(lines.len(), MOST_LINES + 1);
    let missing = format!("{} lines of the server's log were left out", 1_000 - MOST_LINES);
    assert!(lines.last().unwrap().contains(&missing), "and that is said: {lines:?}");
    feed.heard(&note("message", r#"{"data":"again"}"#));
    assert_eq!(told(&feed).len(), 1);
    for one in 0..MOST_WAITING {
        feed.heard(&note("resources/updated", &format!(r#"{{"uri":"shop://many/{one}"}}"#)));
    }
    assert!(!feed.over.is_cancelled());
    feed.heard(&note("resources/updated", r#"{"uri":"shop://many/more"}"#));
    assert!(feed.over.is_cancelled());
}

#[test]
fn what_waits_is_bounded_in_bytes_as_well() {
    let wide = |size: usize| "x".repeat(size);
    // Lines of a log are left out.
    let feed = feed(None);
    for _ in 0..MOST_LINES {
        feed.heard(&note("message", &format!(r#"{{"data":"{}"}}"#, wide(8 << 10))));
    }
    assert!(feed.waiting.lock().bytes(Which::All) <= MOST_BYTES_OF_LINES);
    assert!(!feed.over.is_cancelled());
    assert!(told(&feed).last().unwrap().contains("were left out"));
    // A question that finds no room is refused, and ends nothing.
    let hub = Hub::default();
    let feed = Arc::new(self::feed(None));
    hub.replace(&feed);
    let asked = wide(60 << 10);
    let taken = (0..8).take_while(|one| hub.told(&format!("ask-{one}"), Told::Question(&asked))).count();
    assert_eq!(taken, MOST_BYTES / (asked.len() + 5));
    assert!(!feed.over.is_cancelled());
    // One that was never read is not asked at all.
    assert!(hub.told("ask-0", Told::NotAnyMore));
    assert_eq!(told(&feed).len(), taken - 1);
    hub.told("ask-1", Told::NotAnyMore);
    assert_eq!(told(&feed), [not_any_more("ask-1")]);
    // Whoever cannot be told that something has changed is let go.
    feed.subscribed.lock().insert("shop://many/".into());
    let changed = |one: usize| {
        note("resources/updated", &format!(r#"{{"uri":"shop://many/{one}","more":"{}"}}"#, wide(15 << 10)))
    };
    for one in 0..MOST_BYTES / (16 << 10) {
        feed.heard(&changed(one));
        feed.heard(&changed(one));
    }
    assert!(!feed.over.is_cancelled(), "a change is told once");
    feed.heard(&changed(100));
    assert!(feed.over.is_cancelled());
}

#[test]
fn questions_fill_a_feed_and_a_line_of_the_log_is_left_out_without_ending_it() {
    let feed = feed(None);
    let question = "x".repeat(63 << 10);
    for one in 0..4 {
        assert!(feed.tell(&format!("a-{one}"), Told::Question(&question)) == Room::Taken);
    }
    assert!(feed.tell("a-4", Told::Question(&question)) == Room::Full, "it is refused then");
    feed.heard(&note("message", &format!(r#"{{"level":"info","data":"{}"}}"#, "x".repeat(8 << 10))));
    assert!(!feed.over.is_cancelled());
    // Whoever sees to its end is told what was never read.
    assert_eq!(feed.ends(), ["a-0", "a-1", "a-2", "a-3"]);
    assert!(feed.over.is_cancelled() && feed.ends().is_empty());
}

#[test]
fn parts_are_of_what_an_address_names_and_not_of_its_scheme() {
    for (known, uri, want) in [
        ("shop://stock", "shop://stock", true),
        ("shop://stock", "shop://stock/1", true),
        ("shop://stock", "shop://stock?n=1", true),
        ("shop://stock", "shop://stocks", false),
        ("shop://stock/", "shop://stock/1", true),
        ("file:///srv", "file:///srv/a", true),
        ("shop:", "shop:", true),
        ("shop:", "shop://stock", false),
        ("shop:/", "shop://stock", false),
        ("shop://", "shop://stock", false),
        ("shop://?", "shop://?/stock", false),
        ("file:///", "file:///srv", false),
    ] {
        assert_eq!(is_subscribed(&[known.to_owned()].into(), uri), want, "{known} {uri}");
    }
}

#[test]
fn a_place_is_taken_before_the_server_is_asked_and_given_back_where_it_does_not_agree() {
    let hub = Hub::default();
    let uri = |number: usize| format!("shop://{number}");
    let mut asked: Vec<_> =
        (0..MOST_SUBSCRIBED).map(|number| hub.subscribing(uri(number)).unwrap()).collect();
    assert!(hub.subscribing(uri(MOST_SUBSCRIBED)).is_none(), "those that are asked for count");
    asked.pop();
    for agreed in asked {
        agreed.done();
    }
    hub.subscribing(uri(MOST_SUBSCRIBED)).unwrap().done();
    assert!(hub.subscribing(uri(MOST_SUBSCRIBED - 1)).is_none());
    assert!(hub.subscribing(uri(0)).is_some(), "it has that one");
}

#[test]
fn who_listens_to_the_server_stops_once_nobody_listens_to_it() {
    let (hub, one, other) = (Hub::default(), Arc::new(feed(None)), Arc::new(feed(None)));
    assert!(hub.join(&one, 1) && !hub.join(&other, 1));
    assert!(hub.takes_up() && !hub.takes_up());
    hub.replace(&other);
    assert!(one.over.is_cancelled() && !hub.lets_go());
    drop(Listener(Arc::clone(&other)));
    assert!(hub.lets_go() && hub.takes_up());
    assert!(hub.join(&Arc::new(feed(None)), 1), "who has left takes no place");
}
