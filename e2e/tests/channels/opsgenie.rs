//! Opsgenie: a route calls whoever is on call, acknowledging and closing decide nothing, and what is decided ends the alert. The
//! vendor's own library agrees with the server that stands for it here, and takes every alert for one.

use super::{Stage, driver};
use countersign_demo::person::Strength;
use countersign_e2e::{client::python, night};
use countersign_testkit::opsgenie::{API_KEY, Alert, Opsgenie, Refusal, SCHEDULE, Status};

/// Goes every way that a channel goes, and reads every alert of ours as the library does.
const LIBRARY: &str = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
import opsgenie_sdk
from opsgenie_sdk.exceptions import RetryableException as Refused
host, key, alerts = sys.argv[2], sys.argv[3], json.load(open(sys.argv[4]))

def api(key):
    configuration = opsgenie_sdk.configuration.Configuration()
    configuration.host = host
    configuration.retry_enabled = False
    configuration.api_key = {"Authorization": key}
    configuration.api_key_prefix = {"Authorization": "GenieKey"}
    return opsgenie_sdk.AlertApi(api_client=opsgenie_sdk.api_client.ApiClient(configuration=configuration))

class Said:
    def __init__(self, data): self.data = json.dumps(data)

ours = api(key)
became = lambda taken: ours.get_request_status(taken.request_id).data.is_success
about = dict(identifier_type="alias")
for alert in alerts:
    read = ours.api_client.deserialize(Said(alert), "CreateAlertPayload")
    same = ["message", "alias", "description", "entity", "source", "priority", "user", "tags", "details"]
    assert all(getattr(read, name) == alert[name] for name in same), (read, alert)
    taken = ours.create_alert(alert)
    assert taken.result == "Request will be processed" and became(taken), taken
    note = opsgenie_sdk.AddNoteToAlertPayload(note="x", user="Countersign", source="Countersign")
    assert became(ours.add_note(alert["alias"], note, **about))
    close = opsgenie_sdk.CloseAlertPayload(note="x", user="Countersign", source="Countersign")
    assert became(ours.close_alert(alert["alias"], close_alert_payload=close, **about))
    assert not became(ours.close_alert(alert["alias"], close_alert_payload=close, **about))
    assert ours.get_alert(alert["alias"], **about).data.status == "closed"
for wrong, status in [("short", 422), (key[:-1] + "x", 401)]:
    try:
        api(wrong).create_alert({"message": "x"})
    except Refused as refused:
        assert refused.status == status, refused
    else:
        raise SystemExit("a wrong key was taken")
try:
    ours.create_alert({"message": "x" * 131})
except Refused as refused:
    assert refused.status == 422, refused
else:
    raise SystemExit("a long message was taken")
print(len(alerts))
"#;

fn sections(genie: &Opsgenie) -> String {
    format!(
        "[[channel]]\nname = \"on-call\"\nkind = \"opsgenie\"\napi_key_from = \"file:genie\"\napi = \"{}\"\n\
         priority = \"P2\"\nresponders = [\"team:dba\", \"schedule:id:{SCHEDULE}\"]\n\n\
         [[route]]\nname = \"night\"\nwhen = {{ classes = [\"delete\"] }}\nchannels = [\"on-call\"]\n",
        genie.url()
    )
}

fn is(status: Status, number: usize) -> impl Fn(&[Alert]) -> bool {
    move |alerts| alerts.get(number).is_some_and(|alert| alert.status == status)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_calls_over_an_outage_acknowledging_decides_nothing_and_a_decision_ends_it() {
    let genie = Opsgenie::start().await.unwrap();
    let mut stage = Stage::open(&sections(&genie)).await;
    let mut ana = stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.gateway.command(&["channel", "test", "on-call"]).await.unwrap();
    genie.until("the test", is(Status::Closed, 0)).await.unwrap();

    // Nobody answers there, and the gateway dies meanwhile: the alert still comes, once.
    genie.down(Some(Refusal::Status(503)));
    stage.ask("DELETE", "logs").await;
    stage.ask("PUT", "logs").await;
    while stage.channel("on-call").await["last_error"].is_null() {
        tokio::task::yield_now().await;
    }
    stage.gateway.kill().unwrap();
    genie.down(None);
    stage.gateway.restart().await.unwrap();
    let alerts = genie.until("the alert", is(Status::Open, 1)).await.unwrap();
    let payload = alerts[1].payload.clone();
    let id = alerts[1].alias.strip_prefix("countersign-").unwrap().to_owned();
    let message = payload["message"].as_str().unwrap();
    assert!(
        message.starts_with("An approval waits · ") && message.ends_with("Drop the table “logs” (prod)."),
        "{message}"
    );
    let description = payload["description"].as_str().unwrap();
    assert!(description.contains(&format!("/approvals/{id}")), "{description}");
    assert_eq!(
        (&payload["entity"], &payload["details"]["environment"], &payload["priority"]),
        (&"shop".into(), &"prod".into(), &"P2".into())
    );

    genie.acknowledge();
    let waiting = stage.gateway.approvals("pending").await.unwrap();
    assert!(waiting.iter().any(|approval| approval["id"] == id.as_str()), "to acknowledge is not to approve");
    genie.close_by_hand();
    let waiting = stage.gateway.approvals("pending").await.unwrap();
    assert!(waiting.iter().any(|approval| approval["id"] == id.as_str()), "nor is to close");
    assert!(ana.vote(&id, "approve", Strength::Session, None).await.unwrap().is_success());
    while stage.channel("on-call").await["waiting"] != 0 {
        tokio::task::yield_now().await;
    }
    let alerts = genie.alerts();
    assert!(alerts.iter().all(|alert| alert.status == Status::Closed), "{alerts:?}");
    assert_eq!(alerts.len(), 2, "a write calls nobody");
    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == "approval.voted").count(), 1);

    let shown = stage.gateway.command(&["channel", "list"]).await.unwrap().to_string();
    let log = stage.gateway.log();
    assert!(!shown.contains(API_KEY) && !log.contains(API_KEY));

    // Opsgenie's own library, at the same server and with the same alerts.
    let sent: Vec<_> = alerts.into_iter().map(|alert| alert.payload).collect();
    let file = stage.gateway.folder().join("alerts.json");
    std::fs::write(&file, serde_json::Value::from(sent).to_string()).unwrap();
    let (library, file) = (driver("opsgenie"), file.display().to_string());
    let url = genie.url();
    let done = python(LIBRARY, &[&library, &url, API_KEY, &file]).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&done).trim(), "2");
}
