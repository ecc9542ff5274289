//! Cards as Microsoft's own renderer of Adaptive Cards reads and draws them, in a real browser: no complaint, every text as it
//! is, and a picture to look at.

use super::{ANA, Room, says};
use crate::{driver, picture};
use countersign_e2e::{
    browser::Browser,
    client::{curl, python},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// A page that draws one card. Markdown is left to the page by the renderer; bold and italic are all that ours has.
const PAGE: &str = r##"<!doctype html><meta charset="utf-8"><style>body{font:15px sans-serif;max-width:42em;margin:1em}
.ac-container{font-family:sans-serif} button{margin:2px;padding:6px 14px}</style><div id="card"></div>
<script src="RENDERER"></script><script>
AdaptiveCards.AdaptiveCard.onProcessMarkdown = (text, result) => {
  const plain = document.createElement("p"); plain.textContent = text;
  result.outputHtml = plain.outerHTML.replace(/\*\*(.+?)\*\*/g, "<b>$1</b>").replace(/_(.+?)_/g, "<i>$1</i>");
  result.didProcess = true;
};
const card = new AdaptiveCards.AdaptiveCard();
card.hostConfig = new AdaptiveCards.HostConfig({actions: {maxActions: 10}, fontFamily: "sans-serif",
  containerStyles: {emphasis: {backgroundColor: "#f0f0f0"}}});
const context = new AdaptiveCards.SerializationContext(AdaptiveCards.Versions.v1_5);
card.parse(CARD, context);
const complaints = [];
for (let at = 0; at < context.eventCount; at++) complaints.push(context.getEventAt(at).message);
for (const event of card.validateProperties().validationEvents) complaints.push(event.message);
document.getElementById("card").appendChild(card.render());
window.complaints = complaints;
</script>"##;

/// Holds cards against the published schema of version 1.5, and sees that it refuses what is none. Beside the schema stands what
/// Teams alone documents: `msteams`.
const SCHEMA: &str = r#"
import copy, json, sys
sys.path.insert(0, sys.argv[1])
import jsonschema
TYPES = {"object", "string", "array", "boolean", "number", "integer", "null"}
def usable(node):
    # Alternatives whose type is none of JSON's match nothing: the package writes some.
    if isinstance(node, list): return [usable(one) for one in node]
    if not isinstance(node, dict): return node
    out = {key: usable(value) for key, value in node.items()}
    if isinstance(out.get("anyOf"), list):
        out["anyOf"] = [one for one in out["anyOf"] if one.get("type", "object") in TYPES]
    return out
schema = json.load(open(sys.argv[1] + "/adaptivecard/schemas/schema.json"))
validator = jsonschema.Draft6Validator(usable(schema))
cards = json.load(open(sys.argv[2]))
def plain(card):
    card = copy.deepcopy(card)
    assert card.pop("msteams", {"width": "Full"}) == {"width": "Full"}, card
    return card
for name, card in cards.items():
    assert card["version"] == "1.5"
    for error in validator.iter_errors(plain(card)):
        raise SystemExit(f"{name}: {error.message[:500]}")
card = plain(cards["open"])
for wrong in [
    lambda card: card["body"][0].update(bold=True),
    lambda card: card["body"][0].pop("text"),
    lambda card: card["body"].append({"type": "Nothing"}),
    lambda card: card["actions"][-1].pop("url"),
    lambda card: card.update(colour="red"),
]:
    broken = copy.deepcopy(card)
    wrong(broken)
    assert list(validator.iter_errors(broken)), "the schema takes anything"
print(len(cards))
"#;

/// The cards that the reviewer's tests keep, by name.
fn kept() -> Map<String, Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/reviewer/tests/reviewer/teams/snapshots");
    let text = std::fs::read_to_string(format!("{folder}/reviewer__teams__kept__cards.snap")).unwrap();
    let (_, cards) = text.split_once("\n---\n").unwrap();
    let card = |line: &str| {
        let (name, card) = line.split_once(": ").unwrap();
        (name.to_owned(), serde_json::from_str(card).unwrap())
    };
    cards.lines().map(card).collect()
}

/// Every text in it that is not ours, as it is drawn: in runs no markup counts.
fn runs(card: &Value, found: &mut Vec<String>) {
    match card {
        Value::Array(items) => items.iter().for_each(|item| runs(item, found)),
        Value::Object(members) if members.get("type") == Some(&"TextRun".into()) => {
            found.extend(members.get("text").and_then(Value::as_str).map(str::to_owned));
        }
        Value::Object(members) => members.values().for_each(|member| runs(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_card_that_is_kept_fits_the_published_schema_and_is_drawn_without_a_complaint() {
    let (cards, folder) = (kept(), tempfile::tempdir().unwrap());
    assert!(cards.len() > 35, "{}", cards.len());
    let file = folder.path().join("cards.json");
    std::fs::write(&file, Value::Object(cards.clone()).to_string()).unwrap();
    let done = python(SCHEMA, &[&driver("schema"), &file.display().to_string()]).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&done).trim(), cards.len().to_string());
    let browser = Browser::start(760, 1400).await.unwrap();
    // Moments are drawn by the reader's clock and in their language.
    browser.devtools("Emulation.setTimezoneOverride", &json!({"timezoneId": "Europe/Lisbon"})).await.unwrap();
    browser.devtools("Emulation.setLocaleOverride", &json!({"locale": "en-GB"})).await.unwrap();
    let mut all = String::new();
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // In the order of their names, whatever order objects keep.
    for (name, card) in cards.iter().collect::<BTreeMap<_, _>>() {
        let (complaints, text) = drawn(&browser, folder.path(), card).await;
        assert_eq!(complaints, Value::Array(vec![]), "{name}");
        let _ = writeln!(all, "== {name}\n{text}\n");
        let (shown, mut others) = (squeezed(&text.replace('\u{a0}', " ")), Vec::new());
        runs(card, &mut others);
        for run in others {
            let run = squeezed(&run.replace('\u{a0}', " "));
            assert!(shown.contains(&run), "{name}: {run:?} in {shown:?}");
        }
        let links = "return [...document.querySelectorAll('#card a')].map(link => link.href)";
        let links = browser.page.execute(links, vec![]).await.unwrap();
        assert_eq!(links, Value::Array(vec![]), "{name}: nobody else's link");
        picture(&browser, &format!("teams-card-{}", name.replace([' ', ','], "-"))).await;
    }
    insta::assert_snapshot!("drawn", all);
}

/// Draws a card: what the renderer complains about, and all that is read on it.
async fn drawn(browser: &Browser, folder: &Path, card: &Value) -> (Value, String) {
    let renderer = format!("file://{}/node_modules/adaptivecards/dist/adaptivecards.min.js", driver("cards"));
    let card = card.to_string().replace('<', "\\u003c");
    let page = PAGE.replace("RENDERER", &renderer).replace("CARD", &card);
    let file = folder.join("card.html");
    std::fs::write(&file, page).unwrap();
    browser.page.goto(&format!("file://{}", file.display())).await.unwrap();
    let complaints =
        browser.page.execute("return window.complaints || 'nothing was drawn'", vec![]).await.unwrap();
    (complaints, browser.text("#card").await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn microsofts_renderer_draws_every_text_as_it_is_and_complains_of_nothing() {
    let room = Room::open().await;
    let mut ana = room.person("ana@example.com").await;
    let browser = Browser::start(760, 1400).await.unwrap();
    let bearer = format!("Authorization: Bearer {}", room.stage.token);
    let url = format!("{}/tables/logs", room.stage.gateway.url);
    let body = "{\"note\": \"**bold**  [Approve](https://evil.example)\",\n   \"when\": \"{{DATE(2017-02-14T06:08:39Z)}}\"}";
    let because = "Countersign-Reason: _please_ [x](https://evil.example) {{TIME(2017-02-14T06:08:39Z)}}";
    let arguments =
        ["-X", "PATCH", "-H", &bearer, "-H", "Prefer: respond-async", "-H", because, "-d", body, &url];
    assert_eq!(curl(&arguments).await.unwrap().status, 202);
    let message = room.message(1).await;
    let (complaints, text) = drawn(&browser, room.stage.gateway.folder(), &message.card).await;
    assert_eq!(complaints, Value::Array(vec![]));
    let text = text.replace('\u{a0}', " ");
    for part in [
        "\"note\": \"**bold**  [Approve](https://evil.example)\",",
        "   \"when\": \"{⟨U+007B⟩DATE(2017-02-14T06:08:39Z)}}\"}",
        "_please_ [x](https://evil.example) {⟨U+007B⟩TIME(2017-02-14T06:08:39Z)}}",
        "claimed by the requester, not verified",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    picture(&browser, "teams-open").await;
    let links = "return [...document.querySelectorAll('#card a')].map(link => link.href)";
    assert_eq!(
        browser.page.execute(links, vec![]).await.unwrap(),
        Value::Array(vec![]),
        "nobody else's link"
    );

    // What one person alone is told, and the card when all is over.
    let told = room.click(&message, ANA, "approve", None).await;
    let (complaints, text) = drawn(&browser, room.stage.gateway.folder(), &told).await;
    assert!(
        complaints == Value::Array(vec![]) && text.contains("Nobody here knows whose word yours is"),
        "{text}"
    );
    picture(&browser, "teams-unbound").await;
    room.bind(&mut ana, &told).await;
    room.click(&message, ANA, "reject", Some("not tonight")).await;
    let rejected = |messages: &[countersign_testkit::teams::Message]| {
        messages.iter().any(|message| message.is_root() && says(&message.card, "Rejected because"))
    };
    let messages = room.teams.until("the rejection", rejected).await.unwrap();
    for (at, message) in messages.iter().enumerate() {
        let (complaints, text) = drawn(&browser, room.stage.gateway.folder(), &message.card).await;
        assert_eq!(complaints, Value::Array(vec![]), "{}", message.card);
        assert!(!text.is_empty());
        picture(&browser, &format!("teams-after-{at}")).await;
    }
}
