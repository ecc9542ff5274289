//! The ledger: order, receipts, proofs, history, erasure and what was running.

use crate::place::{ORIGIN, Place, action, changes, done, entries, entry, entry_id, entry_of, moment, put};
use countersign_core::{ActionId, Digest, EntryId};
use countersign_engine::port::store::{
    Commit, CommitError, Execution, Expect, FindEntries, Kind, ReadError, Receipt, Store,
};
use countersign_ledger::{
    LeafHash, LedgerReader,
    proof::{consistency, inclusion, verify_consistency, verify_inclusion},
    tree::{TileTree, leaf_hash, root_of},
};
use futures_util::future::join_all;
use std::{collections::BTreeSet, sync::Arc};

fn all() -> FindEntries {
    FindEntries { limit: 100_000, ..FindEntries::default() }
}

async fn indexes(store: &impl Store, find: FindEntries) -> Vec<u64> {
    store.entries(find).await.unwrap().into_iter().map(|entry| entry.index).collect()
}

fn leaves(ledger: &(dyn LedgerReader + Send)) -> Vec<LeafHash> {
    ledger.leaf_hashes(0, ledger.head().unwrap().0).unwrap()
}

pub(crate) async fn entries_keep_their_order(place: impl Place) {
    let store = place.open().await;
    done(&store, entries(vec![entry(0), entry(1)])).await;
    done(&store, entries(vec![entry(2)])).await;
    let found = store.entries(all()).await.unwrap();
    let expected: Vec<_> = [2, 1, 0].iter().map(|n| (*n, entry(*n).sealed.bytes)).collect();
    assert_eq!(found.into_iter().map(|entry| (entry.index, entry.bytes)).collect::<Vec<_>>(), expected);
}

pub(crate) async fn entries_and_changes_come_together_or_not_at_all(place: impl Place) {
    let store = place.open().await;
    let both =
        |id: &str, expect, n| Commit { changes: vec![put(id, expect, "doc", &[])], entries: vec![entry(n)] };
    done(&store, both("a", Expect::Absent, 0)).await;
    let lost = store.writer().commit(both("a", Expect::Absent, 1)).await.unwrap_err();
    assert_eq!(lost, CommitError::Conflict { kind: Kind::Hold, id: "a".into() });
    // The guard of the record holds, but the entry is in the ledger already.
    store.writer().commit(both("b", Expect::Absent, 0)).await.unwrap_err();
    assert_eq!(store.fetch(Kind::Hold, "b").await.unwrap(), None);
    assert_eq!(indexes(&store, all()).await, [0]);
    assert_eq!(store.ledger().unwrap().head().unwrap().0, 1);
}

pub(crate) async fn an_entry_is_recorded_once(place: impl Place) {
    let store = place.open().await;
    done(&store, entries(vec![entry(0)])).await;
    for again in [vec![entry(0)], vec![entry(1), entry(0)], vec![entry(2), entry(2)]] {
        let error = store.writer().commit(entries(again)).await.unwrap_err();
        assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
    }
    assert_eq!(indexes(&store, all()).await, [0]);
}

pub(crate) async fn receipts_tell_index_size_and_root(place: impl Place) {
    let store = place.open().await;
    let empty = done(&store, changes(vec![put("a", Expect::Absent, "doc", &[])])).await;
    assert_eq!((empty.first, empty.size, empty.root), (0, 0, Digest(root_of(&[]))));
    let first = done(&store, entries(vec![entry(0), entry(1), entry(2)])).await;
    let known: Vec<_> = (0..3).map(|n| entry(n).sealed.leaf).collect();
    assert_eq!((first.first, first.size, first.root), (0, 3, Digest(root_of(&known))));
    let none = done(&store, changes(vec![put("b", Expect::Absent, "doc", &[])])).await;
    assert_eq!((none.first, none.size, none.root), (3, 3, first.root));
    assert_eq!(done(&store, entries(vec![entry(3)])).await.first, 3);
}

pub(crate) async fn many_writers_lose_nothing(place: impl Place) {
    const TASKS: u64 = 64;
    const COMMITS: u64 = 10_000;
    let store = Arc::new(place.open().await);
    let task = |task: u64| {
        let writer = store.writer().clone();
        tokio::spawn(async move {
            let mut receipts: Vec<(u64, Receipt)> = Vec::new();
            for n in (task..COMMITS).step_by(usize::try_from(TASKS).unwrap()) {
                receipts.push((n, writer.commit(entries(vec![entry(n)])).await.unwrap()));
            }
            receipts
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(task).collect();
    let receipts: Vec<_> = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    let ledger = store.ledger().unwrap();
    let leaves = leaves(&*ledger);
    assert_eq!(u64::try_from(leaves.len()).unwrap(), COMMITS);
    for (n, receipt) in &receipts {
        let at = usize::try_from(receipt.first).unwrap();
        assert_eq!(leaves[at], entry(*n).sealed.leaf, "entry {n} is where its receipt says");
        assert!(receipt.size > receipt.first);
    }
    let places: BTreeSet<u64> = receipts.iter().map(|(_, receipt)| receipt.first).collect();
    assert_eq!(u64::try_from(places.len()).unwrap(), COMMITS);
    let newest = receipts.iter().map(|(_, receipt)| receipt).max_by_key(|receipt| receipt.size).unwrap();
    assert_eq!(newest.root, Digest(root_of(&leaves)));
}

pub(crate) async fn proofs_from_the_reader_verify(place: impl Place) {
    let store = place.open().await;
    let mut receipts = Vec::new();
    for group in 0..60 {
        receipts.push(done(&store, entries((0..10).map(|n| entry(group * 10 + n)).collect())).await);
    }
    let ledger = store.ledger().unwrap();
    let (size, _) = ledger.head().unwrap();
    let last = receipts.last().unwrap();
    assert_eq!(size, last.size);
    let mut tree = TileTree::default();
    tree.grow(&*ledger, size).unwrap();
    let nodes = tree.over(&*ledger);
    for index in [0, 1, 255, 256, 511, 512, 599] {
        let leaf = leaf_hash(&ledger.entry(index).unwrap());
        let path = inclusion(&nodes, index, size).unwrap();
        verify_inclusion(leaf, index, size, &path, &last.root.0).unwrap();
    }
    for old in &receipts {
        let path = consistency(&nodes, old.size, size).unwrap();
        verify_consistency((old.size, &old.root.0), (size, &last.root.0), &path).unwrap();
    }
}

pub(crate) async fn batches_cover_every_leaf(place: impl Place) {
    let store = place.open().await;
    let commits = (0..300).map(|n| store.writer().commit(entries(vec![entry(2 * n), entry(2 * n + 1)])));
    assert!(join_all(commits).await.iter().all(Result::is_ok));
    let ledger = store.ledger().unwrap();
    let mut next = 0;
    while next < 600 {
        let batches = ledger.batches(next, 7).unwrap();
        assert!((1..=7).contains(&batches.len()), "a batch holds entry {next}");
        for batch in batches {
            assert_eq!(batch.first, next);
            next += u64::from(batch.count);
        }
    }
    assert_eq!(next, 600);
    let first = ledger.batches(0, 1).unwrap().remove(0);
    assert_eq!(ledger.batches(u64::from(first.count) - 1, 1).unwrap(), [first]);
    assert!(ledger.batches(600, 7).unwrap().is_empty());
}

pub(crate) async fn a_reader_sees_one_moment(place: impl Place) {
    let store = place.open().await;
    assert!(store.ledger().unwrap().head().is_err(), "a log without entries has no checkpoint");
    done(&store, entries(vec![entry(0)])).await;
    let before = store.ledger().unwrap();
    done(&store, entries(vec![entry(1)])).await;
    assert_eq!(before.head().unwrap().0, 1);
    assert!(before.entry(1).is_err());
    assert!(before.leaf_hashes(0, 2).is_err());
    assert_eq!(store.ledger().unwrap().head().unwrap().0, 2);
}

pub(crate) async fn history_answers_by_each_field(place: impl Place) {
    let store = place.open().await;
    let of = |n: u64| entry_of(n, (n >= 6).then(|| action(n % 2)), Execution::Neither, &[]);
    done(&store, entries((0..10).map(of).collect())).await;
    let none = FindEntries { limit: 100, ..FindEntries::default() };
    for (what, find, expected) in [
        ("entry", FindEntries { entry: Some(entry_id(4)), ..none.clone() }, vec![4]),
        ("no such entry", FindEntries { entry: Some(entry_id(99)), ..none.clone() }, vec![]),
        ("action", FindEntries { action: Some(action(1)), ..none.clone() }, vec![9, 7]),
        ("type", FindEntries { kind: Some("gateway.stopped".into()), ..none.clone() }, vec![0]),
        ("no such type", FindEntries { kind: Some("execution.result".into()), ..none.clone() }, vec![]),
        ("actor", FindEntries { actor: Some("actor-2".into()), ..none.clone() }, vec![8, 5, 2]),
        ("target", FindEntries { target: Some("odd-target".into()), ..none.clone() }, vec![9, 7, 5, 3, 1]),
        ("since", FindEntries { since: Some(moment(7)), ..none.clone() }, vec![9, 8, 7]),
        ("until", FindEntries { until: Some(moment(2)), ..none.clone() }, vec![1, 0]),
        ("text", FindEntries { text: Some("page \"3\"".into()), ..none.clone() }, vec![3]),
        ("before", FindEntries { before: Some(2), ..none.clone() }, vec![1, 0]),
        ("limit", FindEntries { limit: 2, ..none.clone() }, vec![9, 8]),
        (
            "together",
            FindEntries { actor: Some("actor-0".into()), target: Some("odd-target".into()), ..none.clone() },
            vec![9, 3],
        ),
    ] {
        assert_eq!(indexes(&store, find).await, expected, "{what}");
    }
    // A list without private values is still searched by them.
    let secret = entry_of(10, None, Execution::Neither, &[("kept", "a long answer")]);
    done(&store, entries(vec![secret])).await;
    for (bare, given) in [(false, 1), (true, 0)] {
        let find = FindEntries { text: Some("long answer".into()), bare, ..none.clone() };
        let found = store.entries(find).await.unwrap();
        assert_eq!(
            found.iter().map(|entry| (entry.index, entry.private.len())).collect::<Vec<_>>(),
            [(10, given)]
        );
    }
    let ledger = store.ledger().unwrap();
    assert_eq!(ledger.entries_of_action(action(0)).unwrap(), [6, 8]);
    assert_eq!(ledger.entries_of_kind("gateway.stopped").unwrap(), [0]);
}

/// Ids hold times; nothing that is found by one may depend on them.
pub(crate) async fn history_finds_by_id_whatever_the_clock_did(place: impl Place) {
    const NOW: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;
    let store = place.open().await;
    let id = |ms: u64, n: u64| EntryId::from_parts(ms, n.into());
    let action = |ms: u64, n: u64| ActionId::from_parts(ms, n.into());
    // In order: at once, after a while, an hour later, a clock set back by an hour, ahead by one, and right again.
    let all: Vec<(EntryId, ActionId)> = vec![
        (id(NOW, 1), action(NOW, 1)),
        (id(NOW + 400, 2), action(NOW, 1)),
        (id(NOW + 900, 3), action(NOW, 1)),
        (id(NOW + 900, 4), action(NOW + 950, 2)),
        (id(NOW + HOUR, 5), action(NOW, 1)),
        (id(NOW + 1_000, 6), action(NOW + 1_000, 3)),
        (id(NOW + 3 * HOUR, 7), action(NOW + 1_000, 3)),
        (id(NOW + HOUR + 5, 8), action(NOW + HOUR + 5, 4)),
        (id(NOW + HOUR + 9, 9), action(NOW + HOUR + 5, 4)),
        (id(NOW + 3 * HOUR + 1, 10), action(NOW + HOUR + 5, 4)),
    ];
    for (n, (id, action)) in (1..).zip(&all) {
        let mut row = entry_of(n, Some(*action), Execution::Neither, &[("n", &n.to_string())]);
        row.sealed.id = *id;
        done(&store, entries(vec![row])).await;
    }
    for (index, (id, action)) in (0..).zip(&all) {
        let find = FindEntries { entry: Some(*id), ..self::all() };
        assert_eq!(indexes(&store, find).await, [index], "entry {id}");
        let same = |(index, (_, of)): (u64, &(EntryId, ActionId))| (of == action).then_some(index);
        let expected: Vec<u64> = (0..).zip(&all).filter_map(same).collect();
        assert_eq!(store.ledger().unwrap().entries_of_action(*action).unwrap(), expected, "action {action}");
        let find = FindEntries { action: Some(*action), ..self::all() };
        assert_eq!(indexes(&store, find).await, expected.into_iter().rev().collect::<Vec<_>>());
        let mut again = entry(index + 100);
        again.sealed.id = *id;
        let refused = store.writer().commit(entries(vec![again])).await.unwrap_err();
        assert!(matches!(refused, CommitError::Conflict { .. }), "{refused}");
        store.erase(*id, vec!["n".into()]).await.unwrap();
    }
    assert!(store.entries(self::all()).await.unwrap().iter().all(|entry| entry.private.is_empty()));
}

pub(crate) async fn history_pages_backwards(place: impl Place) {
    let store = place.open().await;
    done(&store, entries((0..25).map(entry).collect())).await;
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = indexes(&store, FindEntries { before, limit: 10, ..FindEntries::default() }).await;
        let Some(last) = page.last() else { break };
        before = Some(*last);
        seen.extend(page);
    }
    assert_eq!(seen, (0..25).rev().collect::<Vec<_>>());
}

pub(crate) async fn text_is_found_in_private_and_public_parts(place: impl Place) {
    let store = place.open().await;
    let secret = entry_of(1, None, Execution::Neither, &[("body", "DELETE FROM \"orders\""), ("note", "é")]);
    done(&store, entries(vec![entry(0), secret, entry(2)])).await;
    let text = |text: &str| FindEntries { text: Some(text.into()), ..all() };
    assert_eq!(indexes(&store, text("FROM \"orders\"")).await, [1]);
    assert_eq!(indexes(&store, text("é")).await, [1]);
    assert_eq!(indexes(&store, text("page \"2\"")).await, [2]);
    assert_eq!(indexes(&store, text(ORIGIN)).await, [2, 1, 0]);
    assert!(indexes(&store, text("100%_*")).await.is_empty(), "nothing in a text is a wildcard");
    let found = store.entries(text("DELETE")).await.unwrap().remove(0);
    let values: Vec<_> = found.private.iter().map(|private| (&*private.path, &private.value[..])).collect();
    assert_eq!(values, [("body", &b"DELETE FROM \"orders\""[..]), ("note", "é".as_bytes())]);
}

pub(crate) async fn erasing_keeps_every_proof(place: impl Place) {
    let store = place.open().await;
    let secret = entry_of(1, None, Execution::Neither, &[("body", "personal"), ("name", "Ana")]);
    let receipt = done(&store, entries(vec![entry(0), secret.clone()])).await;
    store.erase(entry_id(1), vec!["name".into(), "never-there".into()]).await.unwrap();
    let found = store.entries(FindEntries { limit: 1, ..FindEntries::default() }).await.unwrap().remove(0);
    assert_eq!(found.private.iter().map(|private| &*private.path).collect::<Vec<_>>(), ["body"]);
    assert_eq!(found.bytes, secret.sealed.bytes);
    let ledger = store.ledger().unwrap();
    assert_eq!(root_of(&leaves(&*ledger)), receipt.root.0);
    assert_eq!(leaf_hash(&ledger.entry(1).unwrap()), secret.sealed.leaf);
    assert_eq!(ledger.disclosures(1).unwrap().len(), 1);
    assert!(indexes(&store, FindEntries { text: Some("Ana".into()), ..all() }).await.is_empty());
    store.erase(entry_id(1), vec!["name".into()]).await.unwrap();
}

pub(crate) async fn erasing_from_an_unknown_entry_is_an_error(place: impl Place) {
    let store = place.open().await;
    let error = store.erase(entry_id(9), vec!["body".into()]).await.unwrap_err();
    assert!(matches!(error, ReadError::Backend(_)));
}

/// Actions 1 and 4 stay open; 2 ended, 3 was released and 4 authorized again after it.
fn executions() -> Vec<countersign_engine::port::store::EntryRow> {
    use Execution::{Closes, Neither, Opens};
    [
        (0, 1, Opens),
        (1, 2, Opens),
        (2, 1, Neither),
        (3, 3, Opens),
        (4, 2, Closes),
        (5, 4, Opens),
        (6, 3, Closes),
    ]
    .into_iter()
    .chain([(7, 4, Closes), (8, 4, Opens)])
    .map(|(n, of, execution)| entry_of(n, Some(action(of)), execution, &[]))
    .collect()
}

async fn assert_open(store: &impl Store) {
    let open = store.open_executions().await.unwrap();
    let found: Vec<_> = open.into_iter().map(|open| (open.action, open.authorized, open.last)).collect();
    let rows = executions();
    let row = |n: usize| &rows[n].sealed;
    assert_eq!(
        found,
        [
            (action(1), row(0).bytes.clone(), Digest(row(2).leaf.0)),
            (action(4), row(8).bytes.clone(), Digest(row(8).leaf.0)),
        ]
    );
}

pub(crate) async fn open_executions_are_those_without_an_end(place: impl Place) {
    let store = place.open().await;
    assert!(store.open_executions().await.unwrap().is_empty());
    for row in executions() {
        done(&store, entries(vec![row])).await;
    }
    assert_open(&store).await;
}

pub(crate) async fn open_executions_survive_a_restart(place: impl Place) {
    let store = place.open().await;
    let rows = executions();
    let (first, second) = rows.split_at(4);
    done(&store, entries(first.to_vec())).await;
    place.close(store).await;
    let store = place.open().await;
    done(&store, entries(second.to_vec())).await;
    place.close(store).await;
    let store = place.open().await;
    assert_open(&store).await;
    let end = |n, of| entry_of(n, Some(action(of)), Execution::Closes, &[]);
    done(&store, entries(vec![end(20, 1), end(21, 4)])).await;
    done(&store, entries(vec![entry(22)])).await;
    place.close(store).await;
    assert!(place.open().await.open_executions().await.unwrap().is_empty());
}

pub(crate) async fn everything_survives_a_restart(place: impl Place) {
    let store = place.open().await;
    let commit = Commit {
        changes: vec![put("a", Expect::Absent, "doc", &[("k", "v", true)])],
        entries: vec![entry(0), entry_of(1, None, Execution::Neither, &[("body", "kept")])],
    };
    let before = done(&store, commit).await;
    place.close(store).await;
    let store = place.open().await;
    assert_eq!(store.fetch(Kind::Hold, "a").await.unwrap().unwrap().version, 1);
    store
        .writer()
        .commit(changes(vec![put("b", Expect::Absent, "doc", &[("k", "v", true)])]))
        .await
        .unwrap_err();
    store.writer().commit(entries(vec![entry(0)])).await.unwrap_err();
    let after = done(&store, entries(vec![entry(2)])).await;
    assert_eq!((after.first, after.size), (before.size, 3));
    let known: Vec<_> = leaves(&*store.ledger().unwrap());
    assert_eq!(after.root, Digest(root_of(&known)));
    assert_eq!(before.root, Digest(root_of(&known[..2])));
}

pub(crate) async fn a_reserved_slot_is_served_at_the_close(place: impl Place) {
    let store = place.open().await;
    let slot = store.writer().reserve().await.unwrap();
    let writer = store.writer().clone();
    let closing = place.close(store);
    let late = async {
        // The writer refuses new commits from the moment it was told to end.
        while writer.commit(Commit::default()).await.is_ok() {}
        slot.submit(entries(vec![entry(0)])).await
    };
    let ((), receipt) = tokio::join!(closing, late);
    assert_eq!(receipt.unwrap().unwrap().size, 1);
    assert_eq!(indexes(&place.open().await, all()).await, [0]);
}
