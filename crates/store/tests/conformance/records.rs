//! Records: guarded by version, found by keys.

use crate::place::{Place, changes, delete, done, put};
use countersign_engine::port::store::{Change, CommitError, Expect, Find, Kind, Record, Store};
use std::sync::Arc;

fn conflict(id: &str) -> CommitError {
    CommitError::Conflict { kind: Kind::Hold, id: id.into() }
}

async fn refused(store: &impl Store, list: Vec<Change>) -> CommitError {
    store.writer().commit(changes(list)).await.unwrap_err()
}

async fn ids(store: &impl Store, find: Find) -> Vec<String> {
    store.find(Kind::Hold, find).await.unwrap().into_iter().map(|record| record.id).collect()
}

fn by(keys: &[(&'static str, &str)]) -> Find {
    let keys = keys.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Find { keys, before: None, limit: 100 }
}

pub(crate) async fn what_is_put_is_fetched(place: impl Place) {
    let store = place.open().await;
    done(&store, changes(vec![put("a", Expect::Absent, "one", &[])])).await;
    let record = store.fetch(Kind::Hold, "a").await.unwrap();
    assert_eq!(record, Some(Record { id: "a".into(), version: 1, doc: "one".into() }));
    assert_eq!(store.fetch(Kind::Hold, "b").await.unwrap(), None);
}

pub(crate) async fn versions_count_puts(place: impl Place) {
    let store = place.open().await;
    done(&store, changes(vec![put("a", Expect::Absent, "one", &[])])).await;
    done(&store, changes(vec![put("a", Expect::Version(1), "two", &[])])).await;
    done(&store, changes(vec![put("a", Expect::Version(2), "three", &[])])).await;
    let record = store.fetch(Kind::Hold, "a").await.unwrap().unwrap();
    assert_eq!((record.version, &record.doc[..]), (3, &b"three"[..]));
}

pub(crate) async fn deleting_ends_a_record(place: impl Place) {
    let store = place.open().await;
    done(&store, changes(vec![put("a", Expect::Absent, "one", &[("k", "v", true)])])).await;
    assert_eq!(refused(&store, vec![delete("a", Expect::Version(2))]).await, conflict("a"));
    done(&store, changes(vec![delete("a", Expect::Version(1))])).await;
    assert_eq!(store.fetch(Kind::Hold, "a").await.unwrap(), None);
    assert!(ids(&store, by(&[("k", "v")])).await.is_empty());
    done(&store, changes(vec![put("b", Expect::Absent, "one", &[("k", "v", true)])])).await;
    done(&store, changes(vec![put("a", Expect::Absent, "again", &[])])).await;
    assert_eq!(store.fetch(Kind::Hold, "a").await.unwrap().unwrap().version, 1);
}

pub(crate) async fn a_wrong_version_is_a_conflict(place: impl Place) {
    let store = place.open().await;
    assert_eq!(refused(&store, vec![put("a", Expect::Version(1), "x", &[])]).await, conflict("a"));
    done(&store, changes(vec![put("a", Expect::Absent, "one", &[])])).await;
    for version in [0, 2, u64::MAX] {
        assert_eq!(refused(&store, vec![put("a", Expect::Version(version), "x", &[])]).await, conflict("a"));
    }
    assert_eq!(store.fetch(Kind::Hold, "a").await.unwrap().unwrap().version, 1);
}

pub(crate) async fn putting_what_exists_is_a_conflict(place: impl Place) {
    let store = place.open().await;
    done(&store, changes(vec![put("a", Expect::Absent, "one", &[])])).await;
    assert_eq!(refused(&store, vec![put("a", Expect::Absent, "x", &[])]).await, conflict("a"));
}

pub(crate) async fn a_conflict_writes_nothing(place: impl Place) {
    let store = place.open().await;
    let list =
        vec![put("a", Expect::Absent, "one", &[("k", "v", false)]), put("b", Expect::Version(7), "two", &[])];
    assert_eq!(refused(&store, list).await, conflict("b"));
    assert_eq!(store.fetch(Kind::Hold, "a").await.unwrap(), None);
    assert!(ids(&store, by(&[("k", "v")])).await.is_empty());
}

pub(crate) async fn two_changes_to_one_record_conflict(place: impl Place) {
    let store = place.open().await;
    let list = vec![put("a", Expect::Absent, "one", &[]), put("a", Expect::Version(1), "two", &[])];
    assert_eq!(refused(&store, list).await, conflict("a"));
    assert_eq!(store.fetch(Kind::Hold, "a").await.unwrap(), None);
}

pub(crate) async fn a_unique_key_has_one_holder(place: impl Place) {
    let store = place.open().await;
    done(&store, changes(vec![put("a", Expect::Absent, "one", &[("k", "v", true)])])).await;
    assert_eq!(
        refused(&store, vec![put("b", Expect::Absent, "x", &[("k", "v", true)])]).await,
        conflict("b")
    );
    assert_eq!(
        refused(&store, vec![put("b", Expect::Absent, "x", &[("k", "v", false)])]).await,
        conflict("b")
    );
    let both = vec![
        put("c", Expect::Absent, "x", &[("k", "w", true)]),
        put("d", Expect::Absent, "x", &[("k", "w", true)]),
    ];
    assert_eq!(refused(&store, both).await, conflict("c"));
    done(&store, changes(vec![put("a", Expect::Version(1), "two", &[("k", "v", true)])])).await;
    done(&store, changes(vec![put("e", Expect::Absent, "x", &[("other", "v", true)])])).await;
}

pub(crate) async fn a_unique_key_passes_on_within_a_commit(place: impl Place) {
    let store = place.open().await;
    done(&store, changes(vec![put("a", Expect::Absent, "one", &[("k", "v", true)])])).await;
    let pass = vec![
        put("b", Expect::Absent, "two", &[("k", "v", true)]),
        put("a", Expect::Version(1), "one", &[("k", "w", true)]),
    ];
    done(&store, changes(pass)).await;
    assert_eq!(ids(&store, by(&[("k", "v")])).await, ["b"]);
    let swap = vec![
        put("b", Expect::Version(1), "two", &[("k", "w", true)]),
        put("a", Expect::Version(2), "one", &[("k", "v", true)]),
    ];
    done(&store, changes(swap)).await;
    assert_eq!(ids(&store, by(&[("k", "v")])).await, ["a"]);
    let inherit = vec![put("c", Expect::Absent, "x", &[("k", "v", true)]), delete("a", Expect::Version(3))];
    done(&store, changes(inherit)).await;
    assert_eq!(ids(&store, by(&[("k", "v")])).await, ["c"]);
}

pub(crate) async fn one_of_thirty_two_racers_wins(place: impl Place) {
    let store = Arc::new(place.open().await);
    done(&*store, changes(vec![put("grant", Expect::Absent, "granted", &[])])).await;
    let racer = |_| {
        let writer = store.writer().clone();
        tokio::spawn(async move {
            writer.commit(changes(vec![put("grant", Expect::Version(1), "used", &[])])).await
        })
    };
    let racers: Vec<_> = (0..32).map(racer).collect();
    let mut won = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error, conflict("grant")),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(store.fetch(Kind::Hold, "grant").await.unwrap().unwrap().version, 2);
}

pub(crate) async fn found_newest_first_by_every_key(place: impl Place) {
    let store = place.open().await;
    for (id, state, agent) in
        [("1", "open", "x"), ("2", "open", "y"), ("3", "shut", "x"), ("4", "open", "x"), ("5", "open", "x")]
    {
        let keys = [("state", state, false), ("agent", agent, false)];
        done(&store, changes(vec![put(id, Expect::Absent, "doc", &keys)])).await;
    }
    assert_eq!(ids(&store, Find { limit: 100, ..Find::default() }).await, ["5", "4", "3", "2", "1"]);
    assert_eq!(ids(&store, by(&[("state", "open")])).await, ["5", "4", "2", "1"]);
    assert_eq!(ids(&store, by(&[("agent", "x"), ("state", "open")])).await, ["5", "4", "1"]);
    let page = Find { limit: 1, before: Some("5".into()), ..by(&[("agent", "x"), ("state", "open")]) };
    assert_eq!(ids(&store, page).await, ["4"]);
    assert_eq!(ids(&store, Find { limit: 2, before: Some("3".into()), ..Find::default() }).await, ["2", "1"]);
    assert!(ids(&store, by(&[("state", "open"), ("agent", "z")])).await.is_empty());
}

pub(crate) async fn a_put_replaces_all_keys(place: impl Place) {
    let store = place.open().await;
    let keys = [("a", "1", false), ("b", "1", false), ("b", "2", false), ("b", "2", false)];
    done(&store, changes(vec![put("r", Expect::Absent, "doc", &keys)])).await;
    assert_eq!(ids(&store, by(&[("b", "1"), ("b", "2")])).await, ["r"]);
    done(&store, changes(vec![put("r", Expect::Version(1), "doc", &[("b", "3", false)])])).await;
    assert!(ids(&store, by(&[("a", "1")])).await.is_empty());
    assert!(ids(&store, by(&[("b", "2")])).await.is_empty());
    assert_eq!(ids(&store, by(&[("b", "3")])).await, ["r"]);
}

pub(crate) async fn kinds_are_apart(place: impl Place) {
    let store = place.open().await;
    let put_of = |kind| {
        let key = countersign_engine::port::store::Key { name: "k", value: "v".into(), unique: true };
        let doc = kind_doc(kind);
        Change::Put { kind, id: "same".into(), expect: Expect::Absent, doc, keys: vec![key] }
    };
    done(&store, changes(Kind::ALL.map(put_of).into())).await;
    for kind in Kind::ALL {
        assert_eq!(store.fetch(kind, "same").await.unwrap().unwrap().doc, kind_doc(kind));
        assert_eq!(store.find(kind, by(&[("k", "v")])).await.unwrap().len(), 1);
    }
}

fn kind_doc(kind: Kind) -> bytes::Bytes {
    kind.as_str().as_bytes().into()
}

pub(crate) async fn jobs_of_one_batch_see_each_other(place: impl Place) {
    let store = place.open().await;
    // All are queued before the first is answered, so that they come in few batches.
    let chain = (0..50).map(|version| {
        let expect = if version == 0 { Expect::Absent } else { Expect::Version(version) };
        store.writer().commit(changes(vec![put("a", expect, "x", &[("k", "v", true)])]))
    });
    let rivals = (0..50).map(|n| {
        let id = format!("rival-{n}");
        let writer = store.writer();
        async move { writer.commit(changes(vec![put(&id, Expect::Absent, "x", &[("k", "v", true)])])).await }
    });
    let (chain, rivals) =
        tokio::join!(futures_util::future::join_all(chain), futures_util::future::join_all(rivals));
    assert!(chain.iter().all(Result::is_ok), "{chain:?}");
    assert!(rivals.iter().all(Result::is_err), "{rivals:?}");
    assert_eq!(store.fetch(Kind::Hold, "a").await.unwrap().unwrap().version, 50);
}
