//! What only this backend can show: full disks, broken flushes, crashes, restored backups, older schemas.

use crate::place::{Place, SqlitePlace, changes, done, entries, entry, entry_of, options_in, put};
use countersign_core::ActionId;
use countersign_engine::port::store::{
    Commit, CommitError, Execution, Expect, FindEntries, Health, Kind, Store,
};
use countersign_ledger::{LogKeys, error::Rollback, tree::root_of};
use countersign_store::{AuditError, DiskFault, Fault, OnRollback, OpenError, SqliteOptions, SqliteStore};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

/// A disk with a switch.
#[derive(Debug, Default)]
struct Disk {
    pages: AtomicU32,
    strikes: Mutex<Option<DiskFault>>,
}

impl Fault for Disk {
    fn page_limit(&self) -> Option<u32> {
        Some(self.pages.load(Ordering::SeqCst)).filter(|pages| *pages > 0)
    }

    fn strikes(&self) -> Option<DiskFault> {
        *self.strikes.lock().unwrap()
    }
}

impl Disk {
    fn strike(&self, fault: Option<DiskFault>) {
        *self.strikes.lock().unwrap() = fault;
    }

    fn hold(&self, pages: u32) {
        self.pages.store(pages, Ordering::SeqCst);
    }
}

fn on(place: &SqlitePlace, disk: &Arc<Disk>) -> SqliteStore {
    SqliteStore::open(&SqliteOptions { fault: Some(Arc::clone(disk) as Arc<dyn Fault>), ..place.options() })
        .unwrap()
}

fn bulky(n: u64) -> Commit {
    entries(vec![entry_of(n, None, Execution::Neither, &[("body", &"x".repeat(200_000))])])
}

#[tokio::test]
async fn a_full_disk_refuses_cleanly_and_recovers_by_itself() {
    let (place, disk) = (SqlitePlace::new(), Arc::new(Disk::default()));
    let store = on(&place, &disk);
    let mut health = store.health_changes();
    let before = done(&store, entries(vec![entry(0)])).await;
    disk.hold(1);
    assert_eq!(store.writer().commit(bulky(1)).await.unwrap_err(), CommitError::Full);
    assert_eq!(store.health(), Health::Full);
    assert_eq!(store.entries(FindEntries { limit: 9, ..FindEntries::default() }).await.unwrap().len(), 1);
    assert_eq!(store.writer().commit(bulky(2)).await.unwrap_err(), CommitError::Full);
    disk.hold(1_000_000);
    // Nobody commits: the store finds out by itself.
    health.wait_for(|health| *health == Health::Ready).await.unwrap();
    let after = done(&store, bulky(3)).await;
    assert_eq!((before.size, after.first), (1, 1));
    assert_eq!(store.verify_all().await.unwrap().entries, 2);
}

#[tokio::test]
async fn the_next_commit_finds_out_that_there_is_room_again() {
    let (place, disk) = (SqlitePlace::new(), Arc::new(Disk::default()));
    let store = on(&place, &disk);
    disk.strike(Some(DiskFault::Full));
    assert_eq!(store.writer().commit(entries(vec![entry(0)])).await.unwrap_err(), CommitError::Full);
    disk.strike(None);
    assert_eq!(done(&store, entries(vec![entry(0)])).await.size, 1);
    assert_eq!(store.health(), Health::Ready);
}

#[tokio::test]
async fn a_failed_flush_stops_the_store_until_it_is_restarted() {
    let (place, disk) = (SqlitePlace::new(), Arc::new(Disk::default()));
    let store = on(&place, &disk);
    done(&store, entries(vec![entry(0)])).await;
    disk.strike(Some(DiskFault::Broken));
    let broken = store.writer().commit(entries(vec![entry(1)])).await.unwrap_err();
    assert!(matches!(broken, CommitError::Poisoned(_)));
    assert!(matches!(store.health(), Health::Poisoned(_)));
    disk.strike(None);
    for _ in 0..3 {
        let refused = store.writer().commit(entries(vec![entry(2)])).await.unwrap_err();
        assert!(matches!(refused, CommitError::Poisoned(_) | CommitError::Lost), "never tried again");
    }
    assert_eq!(store.entries(FindEntries { limit: 9, ..FindEntries::default() }).await.unwrap().len(), 1);
    place.close(store).await;
    let store = place.open().await;
    assert_eq!(done(&store, entries(vec![entry(1)])).await.first, 1);
}

#[tokio::test]
async fn a_restored_backup_is_refused_until_somebody_accepts_the_loss() {
    let place = SqlitePlace::new();
    let store = place.open().await;
    done(&store, entries(vec![entry(0)])).await;
    place.close(store).await;
    fs::copy(place.file("state.db"), place.file("backup.db")).unwrap();
    let store = place.open().await;
    done(&store, entries(vec![entry(1), entry(2)])).await;
    place.close(store).await;
    fs::copy(place.file("backup.db"), place.file("state.db")).unwrap();

    let refused = SqliteStore::open(&place.options()).unwrap_err();
    assert!(matches!(refused, OpenError::RolledBack(_)), "{refused}");
    assert!(refused.to_string().contains("hint:"));
    let options = SqliteOptions { on_rollback: OnRollback::Accept, ..place.options() };
    let store = SqliteStore::open(&options).unwrap();
    let accepted = store.accepted_rollback().unwrap();
    assert_eq!((accepted.size, accepted.mark), (1, 3));
    done(&store, entries(vec![entry(3)])).await;
    place.close(store).await;
    assert_eq!(place.open().await.accepted_rollback(), None);
}

#[tokio::test]
async fn an_emptied_database_is_a_rollback_too() {
    let place = SqlitePlace::new();
    let store = place.open().await;
    done(&store, entries(vec![entry(0)])).await;
    place.close(store).await;
    fs::remove_file(place.file("state.db")).unwrap();
    assert!(matches!(SqliteStore::open(&place.options()).unwrap_err(), OpenError::RolledBack(_)));
}

#[tokio::test]
async fn a_rewritten_log_of_the_same_length_is_refused() {
    let (place, other) = (SqlitePlace::new(), SqlitePlace::new());
    for name in ["log.key", "gateway.key"] {
        let _ = LogKeys::open(place.folder.path(), crate::place::ORIGIN).unwrap();
        fs::copy(place.file(name), other.file(name)).unwrap();
    }
    for (place, n) in [(&place, 1), (&other, 2)] {
        let store = place.open().await;
        done(&store, entries(vec![entry(0), entry(n)])).await;
        place.close(store).await;
    }
    fs::copy(other.file("state.db"), place.file("state.db")).unwrap();
    let options = SqliteOptions { on_rollback: OnRollback::Accept, ..place.options() };
    assert!(matches!(SqliteStore::open(&options).unwrap_err(), OpenError::RolledBack(_)));
}

#[tokio::test]
async fn a_missing_mark_is_noticed() {
    let place = SqlitePlace::new();
    let store = place.open().await;
    done(&store, entries(vec![entry(0)])).await;
    done(&store, entries(vec![entry(1)])).await;
    place.close(store).await;
    fs::remove_file(place.file("mark")).unwrap();
    assert!(matches!(
        SqliteStore::open(&place.options()).unwrap_err(),
        OpenError::RolledBack(Rollback::NoMark { local: 2 })
    ));
}

#[tokio::test]
async fn keys_of_another_log_do_not_open_it() {
    let place = SqlitePlace::new();
    let store = place.open().await;
    done(&store, entries(vec![entry(0)])).await;
    place.close(store).await;
    let keys = Arc::new(LogKeys::generate(crate::place::ORIGIN).unwrap());
    let refused = SqliteStore::open(&SqliteOptions { keys, ..place.options() }).unwrap_err();
    assert!(matches!(refused, OpenError::Keys(_)), "{refused}");
}

/// Changes the closed database behind the store's back, as its administrator could.
fn tamper(place: &SqlitePlace, sql: &str) {
    rusqlite::Connection::open(place.file("state.db")).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn an_administrator_who_edits_deletes_inserts_or_reorders_is_found_out() {
    for (what, sql) in [
        (
            "edits the newest entries",
            "UPDATE batch SET entries = CAST(replace(entries, 'page', 'pace') AS BLOB) WHERE first = 4",
        ),
        (
            "edits an old entry",
            "UPDATE batch SET entries = CAST(replace(entries, 'page', 'pace') AS BLOB) WHERE first = 2",
        ),
        ("cuts the newest entries", "UPDATE batch SET entries = substr(entries, 1, 100) WHERE first = 4"),
        ("cuts old entries", "UPDATE batch SET entries = substr(entries, 1, 100) WHERE first = 0"),
        ("deletes the newest entries", "DELETE FROM batch WHERE first = 4"),
        ("deletes old entries", "DELETE FROM batch WHERE first = 2"),
        (
            "inserts entries",
            "INSERT INTO batch SELECT 6, count, clock, open_from, epoch, key_id, signature, note, facts, entries, \
             private FROM batch WHERE first = 4",
        ),
        (
            "reorders entries",
            "UPDATE batch SET first = 99 WHERE first = 0; UPDATE batch SET first = 0 WHERE first = 2; \
             UPDATE batch SET first = 2 WHERE first = 99;",
        ),
        ("counts one entry less", "UPDATE batch SET count = 1 WHERE first = 2"),
        ("forges a signature", "UPDATE batch SET signature = zeroblob(64) WHERE first = 0"),
        ("forges the newest signature", "UPDATE batch SET signature = zeroblob(64) WHERE first = 4"),
        (
            "puts an older checkpoint",
            "UPDATE batch SET note = (SELECT note FROM batch WHERE first = 2) WHERE first = 4",
        ),
        (
            "gives an entry another action's place in history",
            "UPDATE batch SET facts = CAST(replace(facts, 'ledger.read', 'ledger.lead') AS BLOB) WHERE first = 2",
        ),
        ("hides an entry from the list of its type", "DELETE FROM kind WHERE at = 3"),
        ("lists an entry under another type", "INSERT INTO kind VALUES ('key.rotated', 3)"),
        ("hides an entry from the list of its action", "DELETE FROM place WHERE at = 3"),
        ("sets the clock of a batch back", "UPDATE batch SET clock = 1 WHERE first = 2"),
    ] {
        let place = SqlitePlace::new();
        let store = place.open().await;
        for n in [0, 2, 4] {
            // Made long before.
            let late = entry_of(n + 1, Some(ActionId::from_parts(1, n.into())), Execution::Neither, &[]);
            done(&store, entries(vec![entry(n), late])).await;
        }
        assert_eq!(store.verify_all().await.unwrap().entries, 6);
        place.close(store).await;
        tamper(&place, sql);
        match SqliteStore::open(&place.options()) {
            Err(OpenError::Damaged(_) | OpenError::RolledBack(_)) => {}
            Err(other) => panic!("somebody who {what}: {other}"),
            Ok(store) => {
                let found = store.verify_all().await;
                assert!(found.is_err(), "somebody who {what} is not found: {found:?}");
                assert!(!matches!(found, Err(AuditError::Read(_))), "{found:?}");
            }
        }
    }
}

#[tokio::test]
async fn tiles_are_checked_against_the_entries_and_lead_to_the_same_root() {
    let place = SqlitePlace::new();
    let store = place.open().await;
    let mut known = Vec::new();
    // Groups that end before a tile does, with it, and far behind it.
    for group in [0..200, 200..256, 256..500, 500..1_100] {
        let rows: Vec<_> = group.map(entry).collect();
        known.extend(rows.iter().map(|row| row.sealed.leaf));
        let receipt = done(&store, entries(rows)).await;
        assert_eq!(receipt.root.0, root_of(&known));
    }
    place.close(store).await;
    let store = place.open().await;
    let ledger = store.ledger().unwrap();
    for (start, count) in [(0, 1_100), (255, 2), (256, 256), (300, 700), (1_024, 76), (1_099, 1), (7, 0)] {
        let range = usize::try_from(start).unwrap()..usize::try_from(start + count).unwrap();
        assert_eq!(ledger.leaf_hashes(start, count).unwrap(), known[range], "{count} from {start}");
    }
    assert!(ledger.leaf_hashes(1_099, 2).is_err());
    known.push(entry(1_100).sealed.leaf);
    assert_eq!(done(&store, entries(vec![entry(1_100)])).await.root.0, root_of(&known));
    assert_eq!(store.verify_all().await.unwrap().entries, 1_101);
    drop(ledger);
    place.close(store).await;
    let edit = r#"UPDATE batch SET entries = CAST(replace(entries, 'e \"700\', 'e \"709\') AS BLOB)"#;
    for sql in [
        "UPDATE tile SET leaves = zeroblob(8192) WHERE number = 1",
        "DELETE FROM tile WHERE number = 2",
        edit,
    ] {
        let before = fs::read(place.file("state.db")).unwrap();
        tamper(&place, sql);
        let store = place.open().await;
        let found = store.verify_all().await.unwrap_err();
        assert!(matches!(found, AuditError::Tile(_) | AuditError::Altered(700)), "{sql}: {found}");
        assert_eq!(matches!(found, AuditError::Altered(_)), sql == edit, "{found}");
        place.close(store).await;
        fs::write(place.file("state.db"), before).unwrap();
    }
    tamper(
        &place,
        "UPDATE tile SET frontier = (SELECT frontier FROM tile WHERE number = 2) WHERE number = 3",
    );
    assert!(matches!(SqliteStore::open(&place.options()).unwrap_err(), OpenError::Damaged(_)));
}

#[tokio::test]
async fn keys_are_rotated_while_the_store_runs() {
    let place = SqlitePlace::new();
    let options = place.options();
    let old = Arc::clone(&options.keys);
    let store = SqliteStore::open(&options).unwrap();
    done(&store, entries(vec![event(0, old.opened().unwrap())])).await;
    let new = Arc::new(LogKeys::generate(crate::place::ORIGIN).unwrap());
    let handover = entries(vec![event(1, old.rotation(&new).unwrap())]);
    store.rotate(handover, Arc::clone(&new)).await.unwrap();
    place.close(store).await;

    fs::copy(place.file("mark"), place.file("old-mark")).unwrap();
    // The last checkpoint is still the old keys'; the entry under it vouches for the new ones.
    let with_new = || SqliteOptions { keys: Arc::clone(&new), ..place.options() };
    let store = SqliteStore::open(&with_new()).unwrap();
    done(&store, entries(vec![entry(2)])).await;
    assert_eq!(store.verify_all().await.unwrap().entries, 3);
    place.close(store).await;
    assert!(matches!(SqliteStore::open(&options).unwrap_err(), OpenError::Keys(_)), "the old keys are out");
    // As after a power loss, which can take the newest mark with it.
    fs::copy(place.file("old-mark"), place.file("mark")).unwrap();
    let store = SqliteStore::open(&with_new()).unwrap();
    assert_eq!(store.verify_all().await.unwrap().entries, 3);
}

fn event(n: u64, event: countersign_ledger::event::Event) -> countersign_engine::port::store::EntryRow {
    use countersign_ledger::{EntryDraft, Sealing, event::Actor, seal};
    let draft = EntryDraft {
        id: crate::place::entry_id(n),
        at: crate::place::moment(n),
        action: None,
        parent: None,
        actor: Actor::Gateway,
        event,
        private: vec![],
    };
    let gateway = countersign_core::GatewayId::from_parts(1, 1);
    let sealed = seal(draft, &Sealing { origin: crate::place::ORIGIN.into(), gateway }, &mut |_| {}).unwrap();
    countersign_engine::port::store::EntryRow {
        sealed,
        actor: "gateway".into(),
        target: None,
        execution: Execution::Neither,
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_database() {
    let place = SqlitePlace::new();
    let store = place.open().await;
    let refused = SqliteStore::open(&place.options()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()));
    place.close(store).await;
    drop(place.open().await);
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let place = SqlitePlace::new();
    let options = SqliteOptions { path: place.file("new/folder/state.db"), ..place.options() };
    let store = SqliteStore::open(&options).unwrap();
    done(&store, entries(vec![entry(0)])).await;
    let mode = |name: &str| fs::metadata(place.file(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("new/folder"), 0o700);
    for name in ["state.db", "state.db-wal", "state.db-shm", "state.db.lock"] {
        assert_eq!(mode(&format!("new/folder/{name}")), 0o600, "{name}");
    }
    assert_eq!(mode("mark"), 0o600);
    store.close().await;
    fs::set_permissions(place.file("new/folder/state.db"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(SqliteStore::open(&options).unwrap_err(), OpenError::Permissions { mode: 0o644, .. }));
}

#[tokio::test]
async fn what_is_erased_is_in_no_file() {
    let place = SqlitePlace::new();
    let store = place.open().await;
    let secret = entry_of(1, None, Execution::Neither, &[("name", "Wilhelmina Featherstonehaugh")]);
    done(&store, entries(vec![secret])).await;
    let somewhere = || {
        let files =
            fs::read_dir(place.folder.path()).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(17).any(|part| part == b"Featherstonehaugh"))
    };
    assert!(somewhere());
    store.erase(crate::place::entry_id(1), vec!["name".into()]).await.unwrap();
    assert!(!somewhere());

    let another = entry_of(2, None, Execution::Neither, &[("name", "Ottoline Featherstonehaugh")]);
    done(&store, entries(vec![another])).await;
    let export = store.ledger().unwrap();
    // Erasing does not wait for the reader, whose view keeps what it saw; when it is gone, so is the name.
    store.erase(crate::place::entry_id(2), vec!["name".into()]).await.unwrap();
    assert_eq!(export.disclosures(1).unwrap().len(), 1);
    drop(export);
    place.close(store).await;
    assert!(!somewhere());
}

#[tokio::test]
async fn an_older_schema_is_brought_up_to_date_with_everything_in_it() {
    let place = SqlitePlace::new();
    let older = include_str!("../../migrations/0001_records.sql");
    fs::write(place.file("state.db"), b"").unwrap();
    fs::set_permissions(place.file("state.db"), fs::Permissions::from_mode(0o600)).unwrap();
    tamper(
        &place,
        &format!(
            "{older} INSERT INTO record VALUES ('hold', 'a', 7, x'6f6c64'); \
             PRAGMA application_id = 0x43534E31; PRAGMA user_version = 1;"
        ),
    );
    let store = place.open().await;
    let record = store.fetch(Kind::Hold, "a").await.unwrap().unwrap();
    assert_eq!((record.version, &record.doc[..]), (7, &b"old"[..]));
    done(&store, changes(vec![put("a", Expect::Version(7), "new", &[])])).await;
    assert_eq!(done(&store, entries(vec![entry(0)])).await.size, 1);
}

#[tokio::test]
async fn a_newer_schema_and_a_stranger_are_left_alone() {
    let place = SqlitePlace::new();
    place.close(place.open().await).await;
    tamper(&place, "PRAGMA user_version = 999");
    let newer = SqliteStore::open(&place.options()).unwrap_err();
    assert!(matches!(newer, OpenError::NewerSchema { found: 999, .. }));

    // A build between two releases made it: the number is right, and a column is not there.
    let place = SqlitePlace::new();
    place.close(place.open().await).await;
    tamper(&place, "ALTER TABLE batch DROP COLUMN facts");
    let other = SqliteStore::open(&place.options()).unwrap_err();
    assert!(matches!(&other, OpenError::OtherBuild { name } if name == "batch"), "{other}");
    assert!(other.to_string().contains("hint: run the build that made it"), "{other}");

    let place = SqlitePlace::new();
    tamper(&place, "CREATE TABLE somebody_elses (x)");
    fs::set_permissions(place.file("state.db"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(SqliteStore::open(&place.options()).unwrap_err(), OpenError::NotOurs));
}

#[tokio::test]
async fn each_start_has_a_newer_epoch() {
    let place = SqlitePlace::new();
    let store = place.open().await;
    assert_eq!(store.epoch(), 1);
    done(&store, entries(vec![entry(0)])).await;
    place.close(store).await;
    let store = place.open().await;
    assert_eq!(store.epoch(), 2);
    done(&store, entries(vec![entry(1)])).await;
    assert_eq!(store.ledger().unwrap().batches(1, 1).unwrap()[0].epoch, 2);
}

#[tokio::test]
async fn opening_writes_nothing_to_the_ledger() {
    let place = SqlitePlace::new();
    place.close(place.open().await).await;
    let store = place.open().await;
    assert!(store.ledger().unwrap().head().is_err());
    assert_eq!(done(&store, Commit::default()).await.size, 0);
    assert_eq!(store.verify_all().await.unwrap().entries, 0);
}

/// Set for a process that only writes until it is killed.
const CHILD: &str = "COUNTERSIGN_STORE_TEST_CHILD";

#[test]
fn killed_while_writing_it_loses_nothing_it_acknowledged() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(folder) = std::env::var_os(CHILD) {
        runtime.block_on(write_for_ever(Path::new(&folder)));
        return;
    }
    let place = SqlitePlace::new();
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    for round in 1..=5 {
        acknowledged.extend(killed_after(round * 40, &place));
        runtime.block_on(async {
            let store = place.open().await;
            let ledger = store.ledger().unwrap();
            for (n, index) in &acknowledged {
                let bytes = ledger.entry(*index).unwrap();
                assert_eq!(bytes, entry(*n).sealed.bytes, "entry {n} is where its receipt said");
            }
            let size = ledger.head().unwrap().0;
            assert_eq!(store.verify_all().await.unwrap().entries, size);
            assert!(size >= u64::try_from(acknowledged.len()).unwrap());
            drop(ledger);
            place.close(store).await;
        });
    }
    assert!(acknowledged.len() >= 600);
}

/// Starts this very test as a process of its own, kills it when it acknowledged enough, and tells what it did.
fn killed_after(lines: usize, place: &SqlitePlace) -> Vec<(u64, u64)> {
    let name = "sqlite::killed_while_writing_it_loses_nothing_it_acknowledged";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, place.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let read = |line: String| {
        // A line it was killed within has no full stop.
        let (n, index) = line.strip_prefix("ack ")?.strip_suffix(" .")?.split_once(' ')?;
        Some((n.parse().ok()?, index.parse().ok()?))
    };
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    while acknowledged.len() < lines {
        let line = output.next().expect("the child writes until it is killed").unwrap();
        acknowledged.extend(read(line));
    }
    child.kill().unwrap();
    // What it still said before it died counts.
    acknowledged.extend(output.map_while(Result::ok).filter_map(read));
    child.wait().unwrap();
    acknowledged
}

async fn write_for_ever(folder: &Path) {
    let store = Arc::new(SqliteStore::open(&options_in(folder)).unwrap());
    let size = store.ledger().unwrap().head().map_or(0, |(size, _)| size);
    let lane = |lane: u64| {
        let writer = store.writer().clone();
        tokio::spawn(async move {
            // The next numbers nobody used: each life begins far beyond the one before.
            for n in (0..).map(|n| (size + 1) * 1_000_000 + n * 8 + lane) {
                let receipt = writer.commit(entries(vec![entry(n)])).await.unwrap();
                println!("ack {n} {} .", receipt.first);
            }
        })
    };
    let lanes: Vec<_> = (0..8).map(lane).collect();
    for lane in lanes {
        lane.await.unwrap();
    }
}
