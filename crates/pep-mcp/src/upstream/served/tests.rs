use super::*;
use crate::{
    asks::{Passes, ServerRequestsSection},
    config::McpSection,
};
use countersign_core::{ActionId, Resource};
use std::path::Path;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn served(result: &str) -> Option<Arc<Served>> {
    let section = json!({
        "name": "shop", "environment": "prod", "listen": "127.0.0.1:0", "upstream": "http://127.0.0.1:1/mcp",
    });
    let target = serde_json::from_value::<McpSection>(section).unwrap().check(Path::new(".")).unwrap();
    let requester = crate::session::tests::requester(1);
    let session = Arc::new(Session::new(&requester, "2025-11-25", Peer::later()));
    let rules = ServerRequestsSection { elicitation: Passes::Pass, ..ServerRequestsSection::default() };
    let offer = Offer::new(Some(&raw(r#"{"elicitation":{}}"#)), rules);
    let during = During {
        action: ActionId::from_parts(1, 1),
        method: "tools/call".into(),
        about: Vec::<Resource>::new(),
        facts: serde_json::Map::new(),
        over: CancellationToken::new(),
    };
    Served::new(&raw(result), (&target.way, &session), String::new(), offer, Arc::new(during))
}

fn question(message: &str) -> String {
    format!(r#"{{"method":"elicitation/create","params":{{"message":"{message}"}}}}"#)
}

fn take(served: &Served, answers: &str) -> Result<Vec<Given>, &'static str> {
    served.take(&Members::read(&raw(answers)).unwrap())
}

#[test]
fn a_task_has_a_name_that_is_not_too_long() {
    let long = format!(r#"{{"resultType":"task","taskId":"{}"}}"#, "x".repeat(LONGEST_ID + 1));
    for (result, want) in [
        (r#"{"resultType":"task","taskId":"a"}"#, true),
        (r#"{"resultType":"task","taskId":""}"#, false),
        (r#"{"resultType":"task","taskId":1}"#, false),
        (r#"{"resultType":"task"}"#, false),
        (&long, false),
    ] {
        assert_eq!(served(result).is_some(), want, "{result}");
    }
    assert!(is_task(&raw(r#"{"resultType":"t\u0061sk"}"#)) && !is_task(&raw(r#"{"resultType":"complete"}"#)));
}

#[test]
fn what_a_server_says_of_its_task_is_made_visible_and_its_wish_to_be_asked_is_bounded() {
    let of = |more: &str| served(&format!(r#"{{"resultType":"task","taskId":"a"{more}}}"#)).unwrap();
    for (more, pause) in [
        ("", USUALLY),
        (r#","pollIntervalMs":0"#, OFTEN),
        (r#","pollIntervalMs":2000"#, Duration::from_secs(2)),
        (r#","pollIntervalMs":99999999"#, SELDOM),
        (r#","pollIntervalMs":-1"#, USUALLY),
    ] {
        assert_eq!(u128::from(of(more).pause_ms.load(Ordering::Relaxed)), pause.as_millis(), "{more}");
    }
    let told = of(r#","statusMessage":"a\u202eb""#).words().borrow().clone();
    assert!(told.starts_with(GOES_ON) && !told.contains('\u{202e}'), "{told}");
}

#[test]
fn a_question_is_answered_once_and_its_answer_ends_with_it() {
    let served = served(r#"{"resultType":"task","taskId":"a"}"#).unwrap();
    let asks = |questions: &str| served.read_questions(Some(&raw(questions)));
    let both = format!(r#"{{"one":{},"two":{}}}"#, question("1?"), question("2?"));
    asks(&both).unwrap();
    let told = served.questions("shop").unwrap();
    assert!(told.contains("The MCP server “shop” asks: 1?") && told.contains("asks: 2?"), "{told}");
    assert!(take(&served, r#"{"one":{"action":"accept"},"two":1}"#).is_err(), "nothing is taken then");
    assert_eq!(take(&served, r#"{"three":{}}"#).unwrap().len(), 0, "nobody asks it");
    let one = take(&served, r#"{"one":{"action": "accept"},"three":{}}"#).unwrap().pop().unwrap();
    assert_eq!((one.answers.as_str(), one.number), (r#"{"one":{"action": "accept"}}"#, 0));
    assert!(one.asked.contains("1?"));
    assert_eq!(take(&served, r#"{"one":{"action":"decline"}}"#).unwrap().len(), 0, "it is on its way");
    assert!(!served.questions("shop").unwrap().contains("1?"));
    // Asked on, it stays the same; what did not go on is asked anew.
    asks(&both).unwrap();
    served.reopen(&one, "nobody wants it");
    assert!(served.words().borrow().contains("nobody wants it"));
    let again = take(&served, r#"{"one":{"action":"accept"}}"#).unwrap().pop().unwrap();
    assert_eq!(again.number, 0);
    assert!(!again.taken_back.is_cancelled());
    // The same name with other words is another question: the answer was to the one before.
    asks(&format!(r#"{{"one":{},"two":{}}}"#, question("Sure?"), question("2?"))).unwrap();
    assert!(again.taken_back.is_cancelled());
    let other = take(&served, r#"{"one":{"action":"accept"}}"#).unwrap().pop().unwrap();
    assert_eq!(other.number, 2);
    served.reopen(&again, "late");
    assert!(!other.taken_back.is_cancelled(), "that is none of its business");
    asks(&format!(r#"{{"two":{}}}"#, question("2?"))).unwrap();
    assert!(other.taken_back.is_cancelled(), "it is not asked any more");
}

#[test]
#[rustfmt::skip]
fn what_a_task_may_not_ask_is_not_passed_on() {
    let many = (0..=MOST).map(|number| format!(r#""{number}":{}"#, question("?"))).collect::<Vec<_>>().join(",");
    for asked in [
        r#"{"a":{"method":"sampling/createMessage","params":{}}}"#,
        r#"{"a":{"method":"tools/call","params":{}}}"#,
        r#"{"a":{"method":"elicitation/create","params":{"message":"?","mode":"url","url":"https://x"}}}"#,
        r#"{"a":1}"#,
        "[]",
        &format!("{{{many}}}"),
        &format!(r#"{{"a":{}}}"#, question(&"x".repeat(LARGEST))),
    ] {
        let served = served(r#"{"resultType":"task","taskId":"a"}"#).unwrap();
        assert!(served.read_questions(Some(&raw(asked))).is_err(), "{asked}");
        assert!(served.questions("shop").is_none());
    }
    assert!(served(r#"{"taskId":"a"}"#).unwrap().read_questions(None).is_err());
}

#[test]
fn a_task_asks_nothing_by_its_end() {
    for (form, answer, passes) in [
        (Form::Result, r#"{"content":[]}"#, true),
        (Form::Result, r#"{"resultType":"input_required","inputRequests":{}}"#, false),
        (Form::Result, r#"{"resultType":"task","taskId":"b"}"#, false),
        (Form::Error, r#"{"code":-32000,"message":"no"}"#, true),
        (Form::Error, r#"{"code":-32042,"message":"open","data":{"elicitations":[{"url":"https://x"}]}}"#, false),
        (Form::Error, r#"{"c\u006fde":-3.2042e4,"message":"open https://x"}"#, false),
    ] {
        let message = Raw::from(answer.to_owned());
        let value: &RawValue = serde_json::from_str(message.text()).unwrap();
        let End::Answer(own, raw, status) = ended(form, value, &message) else { unreachable!() };
        if passes {
            assert_eq!((own, raw.text()), (form, answer));
        } else {
            assert!(raw.text().contains("is not passed on") && !raw.text().contains("https"), "{}", raw.text());
            assert_eq!((own, status.as_str()), (Form::Error, "input required"), "{answer}");
        }
    }
}
