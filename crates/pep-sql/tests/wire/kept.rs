//! Contents of results, kept where a policy asks for it: what the client was sent, sealed, bound to their entry, cut where the
//! bound says, erasable. However a statement ends, what was seen of it is kept.

use crate::{
    leaving::until,
    stage::{POLICY, Stage},
    strict::{login, message, said},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{ActionId, Digest};
use countersign_engine::{
    port::store::{FindEntries, StoredEntry},
    redact,
};
use countersign_ledger::{entry::commitment, event::Actor};
use countersign_pep::SecretRef;
use countersign_pep_sql::results::{About, PATH, ResultsKey, rows};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

/// 32 bytes that only the auditors have.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What is permitted is kept.
fn keeping(most: &str) -> String {
    POLICY.replace("@id(\"agents\")", &format!("@id(\"agents\") @keep_results(\"{most}\")"))
}

fn with_key(section: &mut Value) {
    section["results_key_from"] = "file:results.key".into();
}

async fn stage_under(policy: &str, change: impl FnOnce(&mut Value)) -> Stage {
    let stage = Stage::under(policy, |section| {
        with_key(section);
        change(section);
    });
    let stage = stage.await;
    std::fs::write(stage.folder.path().join("results.key"), KEY).unwrap();
    stage
}

async fn entries(stage: &Stage, kind: &str) -> Vec<StoredEntry> {
    let find = FindEntries { kind: Some(kind.to_owned()), limit: 100, ..FindEntries::default() };
    let mut found = stage.gate.store().entries(find).await.unwrap();
    found.reverse();
    found
}

fn leaf(entry: &StoredEntry) -> Value {
    serde_json::from_slice(&entry.bytes).unwrap()
}

fn sealed(entry: &StoredEntry) -> Option<String> {
    let private = entry.private.iter().find(|private| private.path == PATH)?;
    Some(String::from_utf8(private.value.to_vec()).unwrap())
}

fn opened(stage: &Stage, entry: &StoredEntry) -> (About, Vec<u8>) {
    let key = ResultsKey::read(&SecretRef::read("file:results.key", stage.folder.path()).unwrap()).unwrap();
    let action: ActionId = leaf(entry)["action_id"].as_str().unwrap().parse().unwrap();
    key.open(action, &sealed(entry).unwrap()).unwrap()
}

fn shown(stage: &Stage, entry: &StoredEntry) -> Vec<Value> {
    let (about, kept) = opened(stage, entry);
    rows(&about, &kept).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_wants_kept_is_kept_sealed_and_can_be_erased() {
    let stage = stage_under(&keeping("1KiB"), |_| {}).await;
    let said = stage.run("select id, customer from orders where id <= 2 order by id").await;
    assert_eq!(said.out, "1|customer 1\n2|customer 2", "{said:?}");
    assert_eq!(stage.run("select repeat('x', 5000)").await.out.len(), 5000);
    stage.results(2).await;
    let found = entries(&stage, "execution.result").await;
    let (about, kept) = opened(&stage, &found[0]);
    assert_eq!((about.is_cut(), about.sha256), (false, Digest::of(&kept)));
    assert_eq!(leaf(&found[0])["data"]["kept"], json!({"bytes": kept.len(), "of": kept.len()}));
    let row = |id: &str| json!({"row": [id, format!("customer {id}")]});
    assert_eq!(shown(&stage, &found[0]), [json!({"columns": ["id", "customer"]}), row("1"), row("2")]);
    // What was too long is cut, and the entry itself says so.
    let (about, kept) = opened(&stage, &found[1]);
    assert_eq!((about.is_cut(), kept.len()), (true, 1024));
    assert!(about.bytes > 5000);
    assert_eq!(leaf(&found[1])["data"]["kept"], json!({"bytes": 1024, "of": about.bytes}));
    // Nothing of it stands in the database's files in the clear.
    for file in ["db", "db-wal"] {
        let bytes = std::fs::read(stage.folder.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(10).any(|window| window == b"customer 1"), "{file}");
    }
    // The entry is bound to it, and stays so when it is erased.
    let private = found[0].private.iter().find(|private| private.path == PATH).unwrap();
    let bound = URL_SAFE_NO_PAD.encode(commitment(&private.salt, PATH, &private.value));
    assert!(leaf(&found[0]).to_string().contains(&bound), "{}", leaf(&found[0]));
    let entry = leaf(&found[0])["id"].as_str().unwrap().parse().unwrap();
    let done =
        redact::redact(&stage.gate, entry, &[PATH.to_owned()].into(), Actor::Operator, "asked to").await;
    done.unwrap().unwrap();
    let after = &entries(&stage, "execution.result").await[0];
    assert_eq!((sealed(after), &after.bytes), (None, &found[0].bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_what_the_client_saw_in_every_shape() {
    let policy = keeping("64KiB");
    let stage = stage_under(&policy, |section| {
        section["tables"] = json!([{"table": "public.orders", "columns": ["customer"], "labels": ["pii"]}]);
        section["mask"] = json!({"labels": ["pii"], "with": "null"});
    });
    let stage = stage.await;
    // Masked where it was masked; the server's words where it failed; what was copied.
    assert_eq!(stage.run("select id, customer from orders where id = 1").await.out, "1|");
    assert!(stage.run("select 1 / 0").await.err.contains("division by zero"));
    assert_eq!(stage.run("copy (select 1, 'a') to stdout").await.out, "1\ta");
    // In the extended protocol, in binary form, its rows not described: Parse, Bind, Execute, Sync.
    let (mut stream, _) = login(&stage, &[]).await;
    let mut pipeline = message(b'P', b"\0select 42::int4, 'x'::text\0\0\0");
    pipeline.extend(message(b'B', b"\0\0\0\0\0\0\0\x02\0\x01\0\0"));
    pipeline.extend([message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat());
    stream.write_all(&pipeline).await.unwrap();
    let answer = said(&mut stream).await;
    stage.results(4).await;
    let found = entries(&stage, "execution.result").await;
    assert_eq!(shown(&stage, &found[0])[1], json!({"row": ["1", null]}));
    assert_eq!(shown(&stage, &found[1])[0]["error"]["message"], "division by zero");
    assert_eq!(shown(&stage, &found[2]), [json!({"copied": "1\ta\n"})]);
    assert_eq!(shown(&stage, &found[3]), [json!({"row": [{"binary": "AAAAKg=="}, "x"]})]);
    assert_eq!(opened(&stage, &found[3]).1, answer, "byte for byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_off_does_not_take_along_what_it_saw() {
    let stage = stage_under(&keeping("64KiB"), |_| {}).await;
    stage.direct(
        "set role app; create table heap (a text); create table more as select generate_series(1, 100) as n",
    );
    let (mut stream, _) = login(&stage, &[]).await;
    let sql = b"select customer from orders where id = 7; copy heap from stdin\0";
    stream.write_all(&message(b'Q', sql)).await.unwrap();
    // Once the copy has begun, what is no message of one.
    stream.write_all(&message(b'Q', b"select 1\0")).await.unwrap();
    said(&mut stream).await;
    stage.entries_from("execution.outcome_unknown", 1).await;
    let lost = &entries(&stage, "execution.outcome_unknown").await[0];
    let seen = shown(&stage, lost);
    assert!(seen.contains(&json!({"row": ["customer 7"]})), "{seen:?}");
    // A database that is lost in the middle of it: in the second statement, for which alone it locks that table.
    let (mut stream, _) = login(&stage, &[]).await;
    let sql = b"select customer from orders where id = 8; select count(*) from more a, more b, more c, more d, more e\0";
    stream.write_all(&message(b'Q', sql)).await.unwrap();
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity join pg_locks using (pid) \
        where query like 'select customer%' and relation = 'more'::regclass";
    until(|| stage.direct(end) == "1").await;
    said(&mut stream).await;
    stage.entries_from("execution.outcome_unknown", 2).await;
    let lost = &entries(&stage, "execution.outcome_unknown").await[1];
    let seen = shown(&stage, lost);
    assert!(seen.contains(&json!({"row": ["customer 8"]})), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_asks_for_it_too_and_what_is_kept_is_recorded_first() {
    let gate = POLICY.replace("@id(\"delete\")", "@id(\"delete\") @keep_results(\"1KiB\")");
    let stage = stage_under(&gate, |_| {}).await;
    let deleting = stage.start("delete from orders where id = 3 returning customer");
    let id = stage.held().await;
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    assert_eq!(deleting.await.unwrap().out, "customer 3\nDELETE 1");
    stage.results(1).await;
    let found = entries(&stage, "execution.result").await;
    assert!(shown(&stage, &found[0]).contains(&json!({"row": ["customer 3"]})));
    // A read that one permit would have recorded afterwards, and another wants kept.
    let both = POLICY.replace("@id(\"agents\")", "@id(\"agents\") @record(\"deferred\")")
        + "@id(\"kept\") @keep_results(\"1KiB\") permit (principal, action in Action::\"read\", resource in Environment::\"prod\");";
    let stage = stage_under(&both, |_| {}).await;
    assert_eq!(stage.run("select 7").await.out, "7");
    stage.results(1).await;
    assert!(sealed(&entries(&stage, "execution.result").await[0]).is_some());
    let authorized = leaf(&entries(&stage, "execution.authorized").await[0]);
    assert_eq!(authorized["data"].get("recording"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_does_not_run() {
    let stage = Stage::under(&keeping("1KiB"), |_| {}).await;
    let said = stage.run("insert into audit (what) values ('ran')").await;
    assert!(said.err.contains("policy wants its result kept"), "{said:?}");
    // A key that is none.
    let stage = stage_under(&keeping("1KiB"), |_| {}).await;
    std::fs::write(stage.folder.path().join("results.key"), "c2hvcnQ=").unwrap();
    let said = stage.run("insert into audit (what) values ('ran')").await;
    assert!(said.err.contains("there is no key to keep it under"), "{said:?}");
    assert_eq!(stage.direct("select count(*) from audit"), "0");
    assert_eq!(stage.entries("execution.released").await.len(), 1);
}
