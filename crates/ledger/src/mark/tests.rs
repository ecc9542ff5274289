use super::*;
use crate::{
    keys::tests::keys,
    tree::{root_of, tests::leaves},
};
use std::fs;

fn note(size: u64) -> String {
    let root = root_of(&leaves(size));
    Checkpoint { origin: "example.com/log".into(), size, root }.sign(keys(1).log()).unwrap()
}

fn reopened(path: &Path) -> Option<u64> {
    let keys = keys(1);
    MarkFile::open(path).unwrap().mark(&[keys.log().verifier()]).unwrap().map(|mark| mark.size)
}

#[test]
fn the_newest_mark_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mark");
    let mut file = MarkFile::open(&path).unwrap();
    assert_eq!(reopened(&path), None);
    for size in [1, 5, 6] {
        file.store(&note(size)).unwrap();
        assert_eq!(reopened(&path), Some(size));
    }
    file.sync().unwrap();
}

#[test]
fn a_torn_write_leaves_the_mark_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mark");
    let mut file = MarkFile::open(&path).unwrap();
    for size in [1, 2, 3] {
        file.store(&note(size)).unwrap();
    }
    let whole = fs::read(&path).unwrap();
    // The third mark stands in the second place.
    for torn in [SLOT, SLOT + 3, SLOT + 40, SLOT + 100] {
        let mut bytes = whole.clone();
        bytes[torn] ^= 0xff;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(reopened(&path), Some(2), "{torn}");
    }
    let mut both = whole;
    (both[0], both[SLOT]) = (!both[0], !both[SLOT]);
    fs::write(&path, both).unwrap();
    assert!(matches!(MarkFile::open(&path), Err(MarkError::Damaged { .. })));
}

#[test]
fn a_mark_signed_by_a_stranger_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = MarkFile::open(&folder.path().join("mark")).unwrap();
    file.store(&note(3)).unwrap();
    let (ours, stranger) = (keys(1), keys(3));
    assert!(matches!(file.mark(&[stranger.log().verifier()]), Err(MarkError::Foreign { .. })));
    let both = [stranger.log().verifier(), ours.log().verifier()];
    assert_eq!(file.mark(&both).unwrap().unwrap().size, 3);
}

#[test]
fn a_restored_backup_is_recognised() {
    let root_at = |size| Ok(root_of(&leaves(size)));
    let mark = Mark { size: 5, root: root_of(&leaves(5)) };
    assert!(check(Some(&mark), 5, root_at).is_ok());
    assert!(check(Some(&mark), 9, root_at).is_ok());
    assert!(check(None, 0, root_at).is_ok());
    assert!(matches!(check(None, 1, root_at), Err(Rollback::NoMark { local: 1 })));
    let behind = check(Some(&mark), 4, root_at).unwrap_err();
    assert!(matches!(behind, Rollback::Shorter { local: 4, mark: 5 }));
    assert!(behind.to_string().contains("hint: "));
    let rewritten = check(Some(&mark), 9, |_| Ok([1; 32])).unwrap_err();
    assert!(matches!(rewritten, Rollback::Rewritten { size: 5 }));
}
