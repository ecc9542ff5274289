//! Cards as Microsoft's own renderer of Adaptive Cards reads and draws them, in a real browser: no complaint, every text as it
//! is, and a picture to look at.

use super::{ANA, Room, says};
use crate::{driver, picture};
use countersign_e2e::{browser::Browser, client::curl};
use serde_json::Value;

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

/// Draws a card: what the renderer complains about, and all that is read on it.
async fn drawn(browser: &Browser, room: &Room, card: &Value) -> (Value, String) {
    let renderer = format!("file://{}/node_modules/adaptivecards/dist/adaptivecards.min.js", driver("cards"));
    let card = card.to_string().replace('<', "\\u003c");
    let page = PAGE.replace("RENDERER", &renderer).replace("CARD", &card);
    let file = room.stage.gateway.folder().join("card.html");
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
    let (complaints, text) = drawn(&browser, &room, &message.card).await;
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
    let (complaints, text) = drawn(&browser, &room, &told).await;
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
        let (complaints, text) = drawn(&browser, &room, &message.card).await;
        assert_eq!(complaints, Value::Array(vec![]), "{}", message.card);
        assert!(!text.is_empty());
        picture(&browser, &format!("teams-after-{at}")).await;
    }
}
