//! The app's package as it is handed out: it fits Microsoft's published schema, its pictures are what Teams asks for, and what it
//! promises the bot does.
//!
//! The schema in `e2e/fixtures` is that of version 1.19 as the package `@microsoft/app-manifest` 1.1.2 on npm has it (MIT,
//! <https://github.com/OfficeDev/microsoft-365-agents-toolkit>).

use super::{ANA, Room};
use crate::driver;
use countersign_e2e::client::python;
use countersign_testkit::teams::cards::links;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/teams");
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/teams-manifest-1.19.schema.json");

/// Holds the manifest against the schema, and sees that it refuses what is none.
const CHECK: &str = r#"
import copy, json, sys
sys.path.insert(0, sys.argv[1])
import jsonschema
schema, manifest = (json.load(open(path)) for path in sys.argv[2:4])
jsonschema.Draft4Validator.check_schema(schema)
# `const` came after the draft that the schema names.
validator = jsonschema.Draft6Validator(schema)
for error in validator.iter_errors(manifest):
    raise SystemExit(f"{list(error.path)}: {error.message[:500]}")
for wrong in [
    lambda manifest: manifest.pop("icons"),
    lambda manifest: manifest.update(manifestVersion="1.0"),
    lambda manifest: manifest.update(id="countersign"),
    lambda manifest: manifest["bots"][0].update(scopes=["everywhere"]),
    lambda manifest: manifest["bots"][0]["commandLists"][0]["commands"][0].pop("title"),
    lambda manifest: manifest["name"].update(short="x" * 31),
    lambda manifest: manifest.update(surprise=True),
]:
    broken = copy.deepcopy(manifest)
    wrong(broken)
    assert list(validator.iter_errors(broken)), "the schema takes anything"
print("fits")
"#;

fn manifest() -> Value {
    serde_json::from_str(&std::fs::read_to_string(format!("{FOLDER}/manifest.json")).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_manifest_fits_the_published_schema() {
    let file = format!("{FOLDER}/manifest.json");
    let done = python(CHECK, &[&driver("schema"), SCHEMA, &file]).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&done).trim(), "fits");
}

#[test]
fn the_bot_is_where_the_gateway_posts_and_is_spoken_to() {
    let manifest = manifest();
    let bot = &manifest["bots"][0];
    assert_eq!(manifest["bots"].as_array().unwrap().len(), 1);
    // One id, to be put in twice.
    assert_eq!(
        (&manifest["id"], &bot["botId"]),
        (&"00000000-0000-0000-0000-000000000000".into(), &manifest["id"])
    );
    // Channels, chats, and each user alone, where words are taken and bindings are offered.
    assert_eq!(texts(&bot["scopes"]), ["team", "groupChat", "personal"]);
    assert_eq!((&bot["isNotificationOnly"], &bot["supportsFiles"]), (&false.into(), &false.into()));
    assert_eq!(manifest["validDomains"], Value::Array(vec![]), "no page of ours is shown inside of Teams");
}

/// <https://learn.microsoft.com/microsoftteams/platform/concepts/build-and-test/apps-package>: color 192 by 192, outline 32 by 32,
/// white on transparent.
#[test]
fn its_pictures_are_what_teams_asks_for() {
    const ALPHA: u8 = 6;
    let manifest = manifest();
    for (name, side, kinds) in [("color", 192, [2, ALPHA]), ("outline", 32, [ALPHA, ALPHA])] {
        let file = manifest["icons"][name].as_str().unwrap();
        assert!(
            file.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'),
            "{file} lies beside it"
        );
        let picture = std::fs::read(format!("{FOLDER}/{file}")).unwrap();
        assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n") && &picture[12..16] == b"IHDR", "{file}");
        let number = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
        assert_eq!((number(16), number(20)), (side, side), "{file}");
        assert!(kinds.contains(&picture[25]), "{file} is of kind {}", picture[25]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_it_lists_is_one() {
    let room = Room::open().await;
    let manifest = manifest();
    let listed = &manifest["bots"][0]["commandLists"][0];
    assert_eq!(texts(&listed["scopes"]), ["personal"]);
    let commands = listed["commands"].as_array().unwrap();
    let titles = commands.iter().map(|command| command["title"].as_str().unwrap());
    for (said, title) in titles.chain(["nonsense"]).enumerate() {
        let (status, _) = room.send(&room.teams.words(ANA, title).unwrap()).await;
        assert_eq!(status, 200, "{title}");
        let messages = room.teams.until(title, |messages| messages.len() == said + 1).await.unwrap();
        // Nobody knows whose word it is yet: whatever is understood says how that is mended.
        let understood = links(&messages[said].card).iter().any(|(title, _)| title == "Make it mine");
        assert_eq!(understood, title != "nonsense", "{title}: {}", messages[said].card);
    }
}
