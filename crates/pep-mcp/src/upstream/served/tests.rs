use super::*;
use crate::{
    asks::{Passes, ServerRequestsSection},
    config::McpSection,
};
use countersign_core::{ActionId, Resource};
use std::path::Path;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn served(result: &str) -> Option<Arc<Served>> {
    served_at("127.0.0.1:1", result)
}

fn served_at(server: &str, result: &str) -> Option<Arc<Served>> {
    let section = json!({
        "name": "shop", "environment": "prod", "listen": "127.0.0.1:0", "upstream": format!("http://{server}/mcp"),
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
        (
            Form::Error,
            r#"{"code":-32042,"message":"open","data":{"elicitations":[{"url":"https://x"}]}}"#,
            false,
        ),
        (Form::Error, r#"{"c\u006fde":-3.2042e4,"message":"open https://x"}"#, false),
    ] {
        let message = Raw::from(answer.to_owned());
        let value: &RawValue = serde_json::from_str(message.text()).unwrap();
        let End::Answer(own, raw, status) = ended(form, value, &message) else { unreachable!() };
        if passes {
            assert_eq!((own, raw.text()), (form, answer));
        } else {
            assert!(
                raw.text().contains("is not passed on") && !raw.text().contains("https"),
                "{}",
                raw.text()
            );
            assert_eq!((own, status.as_str()), (Form::Error, "input required"), "{answer}");
        }
    }
}

/// How a server answers a message.
#[derive(Clone, Copy)]
enum Says {
    With(&'static str),
    Nothing,
    /// Words that are none, one after the other.
    Endless,
}

const COMPLETED: &str =
    r#""result":{"resultType":"complete","taskId":"a","status":"completed","result":{"content":[]}}"#;
const CANCELLED_THERE: &str = r#""result":{"resultType":"complete","taskId":"a","status":"cancelled"}"#;
const WORKING: &str = r#""result":{"resultType":"complete","taskId":"a","status":"working"}"#;
const REFUSED: &str = r#""error":{"code":-32000,"message":"no"}"#;
const DONE: &str = r#""result":{"resultType":"complete"}"#;

/// A task at a server that answers so to `tasks/get`, `tasks/cancel` and `tasks/update`, and the methods that it hears.
async fn at_server(says: [Says; 3], limits: Limits) -> (Arc<Served>, mpsc::UnboundedReceiver<String>) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let (heard, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((connection, _)) = server.accept().await {
            tokio::spawn(answers(connection, says, heard.clone()));
        }
    });
    let mut served =
        served_at(&address, r#"{"resultType":"task","taskId":"a","pollIntervalMs":250}"#).unwrap();
    Arc::get_mut(&mut served).unwrap().limits = limits;
    (served, hears)
}

async fn answers(
    mut connection: TcpStream,
    [get, cancel, update]: [Says; 3],
    heard: mpsc::UnboundedSender<String>,
) {
    loop {
        let (mut told, mut piece) = (Vec::new(), [0; 4096]);
        let message = loop {
            let read = connection.read(&mut piece).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            told.extend_from_slice(piece.get(..read).unwrap());
            let begins = told.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            let body = begins.and_then(|at| told.get(at..)).unwrap_or_default();
            if let Ok(message) = serde_json::from_slice::<Value>(body) {
                break message;
            }
        };
        let method = message["method"].as_str().unwrap().to_owned();
        let says = match method.as_str() {
            "tasks/get" => get,
            "tasks/cancel" => cancel,
            _ => update,
        };
        let _ = heard.send(method);
        match says {
            Says::With(answer) => {
                let body = format!(r#"{{"jsonrpc":"2.0","id":{},{answer}}}"#, message["id"]);
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                if connection.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
            Says::Nothing => std::future::pending().await,
            Says::Endless => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let mut words = head;
                while connection.write_all(words.as_bytes()).await.is_ok() {
                    words = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n: on\n\n";
                    sleep(Duration::from_millis(20)).await;
                }
                return;
            }
        }
    }
}

fn limits(look: u64, stop: u64, give: u64) -> Limits {
    let millis = Duration::from_millis;
    Limits { look: millis(look), stop: millis(stop), give: millis(give) }
}

const LONG: u64 = 600_000;

#[tokio::test]
async fn a_server_that_does_not_cancel_its_task_is_asked_what_came_of_it() {
    for (cancel, status) in [
        (Says::With(DONE), ACKNOWLEDGED),
        (Says::With(REFUSED), DECLINED),
        (Says::Nothing, UNANSWERED),
        (Says::Endless, UNANSWERED),
    ] {
        let (served, _hears) =
            at_server([Says::With(COMPLETED), cancel, Says::Nothing], limits(LONG, 4000, LONG)).await;
        let stopped = served.stop().await;
        assert!(matches!(&stopped, Stopped::Ended(End::Answer(Form::Result, ..))), "{status}: {stopped:?}");
        let (served, _hears) =
            at_server([Says::With(CANCELLED_THERE), cancel, Says::Nothing], limits(LONG, 4000, LONG)).await;
        let stopped = served.stop().await;
        assert!(matches!(&stopped, Stopped::Ended(End::Cancelled)), "{status}: {stopped:?}");
        let (served, _hears) =
            at_server([Says::With(WORKING), cancel, Says::Nothing], limits(LONG, 1000, LONG)).await;
        let stopped = served.stop().await;
        assert!(matches!(&stopped, Stopped::Unknown(how, _) if *how == status), "{status}: {stopped:?}");
    }
    // Nobody listens there.
    let mut served = served(r#"{"resultType":"task","taskId":"a"}"#).unwrap();
    Arc::get_mut(&mut served).unwrap().limits = limits(LONG, 500, LONG);
    let stopped = served.stop().await;
    assert!(matches!(&stopped, Stopped::Unknown(UNSENT, _)), "{stopped:?}");
}

#[tokio::test]
async fn a_task_is_cancelled_though_its_server_takes_no_answer_in() {
    for update in [Says::Nothing, Says::Endless] {
        let says = [Says::With(CANCELLED_THERE), Says::With(DONE), update];
        let (served, mut hears) = at_server(says, limits(LONG, LONG, LONG)).await;
        served.read_questions(Some(&raw(&format!(r#"{{"one":{}}}"#, question("1?"))))).unwrap();
        let given = take(&served, r#"{"one":{"action":"accept"}}"#).unwrap().pop().unwrap();
        let (giver, connection) = (Arc::clone(&served), served.connect().await.unwrap());
        let giving = tokio::spawn(async move {
            giver.give(&given, &given.answers, connection, std::future::pending()).await
        });
        assert_eq!(hears.recv().await.as_deref(), Some("tasks/update"));
        let stopped = timeout(Duration::from_secs(30), served.stop()).await.unwrap();
        assert!(matches!(stopped, Stopped::Ended(End::Cancelled)), "{stopped:?}");
        assert_eq!(hears.recv().await.as_deref(), Some("tasks/cancel"));
        giving.abort();
    }
}

#[tokio::test]
async fn an_exchange_about_a_task_comes_to_an_end_however_busy_its_server_is() {
    let (served, _hears) = at_server([Says::Endless; 3], limits(300, 1000, 300)).await;
    served.read_questions(Some(&raw(&format!(r#"{{"one":{}}}"#, question("1?"))))).unwrap();
    let given = take(&served, r#"{"one":{"action":"accept"}}"#).unwrap().pop().unwrap();
    let giving = served.give(&given, &given.answers, served.connect().await.unwrap(), std::future::pending());
    let failed = timeout(Duration::from_secs(30), giving).await.unwrap().unwrap_err();
    assert_eq!(failed.sent, Sent::Maybe);
    assert!(served.words().borrow().contains("not known whether an answer reached the server"));
    served.reopen(&given, "it was lost");
    assert!(served.questions("shop").is_none(), "it is not said to have gone nowhere");
    let failed = timeout(Duration::from_secs(30), served.follow()).await.unwrap().unwrap_err();
    assert!(failed.why.contains("lost from sight"), "{failed}");
}

#[tokio::test]
async fn what_a_server_took_an_answer_to_is_not_asked_again() {
    let (served, _hears) =
        at_server([Says::Nothing, Says::Nothing, Says::With(DONE)], Limits::default()).await;
    let asks = |words: &str| {
        served.read_questions(Some(&raw(&format!(r#"{{"one":{}}}"#, question(words))))).unwrap();
    };
    asks("1?");
    let given = take(&served, r#"{"one":{"action":"accept"}}"#).unwrap().pop().unwrap();
    served.waits(&given, "waits");
    assert!(served.words().borrow().contains("waits"));
    let connection = served.connect().await.unwrap();
    served.give(&given, &given.answers, connection, std::future::pending()).await.unwrap();
    assert!(!served.words().borrow().contains("waits"));
    asks("1?");
    assert!(served.questions("shop").is_none(), "the server has not noticed yet");
    asks("2?");
    assert!(served.questions("shop").is_some(), "that is another question");
    // What is said of an answer goes with its question.
    let given = take(&served, r#"{"one":{"action":"accept"}}"#).unwrap().pop().unwrap();
    served.waits(&given, "waits");
    asks("3?");
    served.says(|_| {});
    assert!(given.taken_back.is_cancelled() && !served.words().borrow().contains("waits"));
    // A question that cannot be shown is not asked.
    assert!(
        served.read_questions(Some(&raw(r#"{"a":{"method":"elicitation/create","params":{}}}"#))).is_err()
    );
}

#[test]
fn the_servers_name_of_a_task_stands_in_no_answer() {
    for (answer, want) in [
        (
            r#"{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a"},"k":1.50}}"#,
            r#"{"content":[],"_meta":{"k":1.50}}"#,
        ),
        (r#"{"content":[], "_meta":{"k":1}}"#, r#"{"content":[], "_meta":{"k":1}}"#),
    ] {
        let message = Raw::from(answer.to_owned());
        let value: &RawValue = serde_json::from_str(message.text()).unwrap();
        let End::Answer(_, raw, _) = ended(Form::Result, value, &message) else { unreachable!() };
        assert_eq!(raw.text(), want);
    }
}
