use super::*;

/// Keys of the log `example.com/log`, the same for the same number.
pub(crate) fn keys(seed: u8) -> LogKeys {
    let key = |name: &str, seed| SigningKey::from_seed(name, Zeroizing::new([seed; 32])).unwrap();
    LogKeys::new(key("example.com/log", seed), key("example.com/log/gateway", seed + 1)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_made_once_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let made = LogKeys::open(folder.path(), "example.com/log").unwrap();
    let found = LogKeys::open(folder.path(), "example.com/log").unwrap();
    assert_eq!(made.log().verifier(), found.log().verifier());
    assert_eq!(made.gateway().verifier(), found.gateway().verifier());
    assert_eq!(
        (mode(&folder.path().join(LOG_FILE)), mode(&folder.path().join(GATEWAY_FILE))),
        (0o600, 0o600)
    );
    let other = LogKeys::open(folder.path(), "example.com/other");
    assert!(matches!(other, Err(KeyError::OtherName { .. })));
}

#[test]
fn a_key_that_others_can_read_is_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    LogKeys::open(folder.path(), "example.com/log").unwrap();
    let path = folder.path().join(LOG_FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = LogKeys::open(folder.path(), "example.com/log").unwrap_err();
    assert!(matches!(refused, KeyError::LoosePermissions { mode: 0o640, .. }));
    assert!(refused.to_string().contains("hint: run `chmod 600"), "{refused}");
}

#[test]
fn a_missing_or_damaged_key_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    LogKeys::open(folder.path(), "example.com/log").unwrap();
    fs::write(folder.path().join(LOG_FILE), "PRIVATE+KEY+nonsense").unwrap();
    assert!(matches!(LogKeys::open(folder.path(), "example.com/log"), Err(KeyError::Malformed { .. })));
    fs::remove_file(folder.path().join(LOG_FILE)).unwrap();
    assert!(matches!(LogKeys::open(folder.path(), "example.com/log"), Err(KeyError::Half { .. })));
}

#[test]
fn the_first_keys_survive_a_crash_between_any_two_steps() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let first = LogKeys::generate("example.com/log").unwrap();
    first.stage(at).unwrap();
    fs::rename(at.join("log.key.next"), at.join("log.key")).unwrap();
    let found = LogKeys::open(at, "example.com/log").unwrap();
    assert_eq!(found.log().verifier(), first.log().verifier());
    assert_eq!(found.gateway().verifier(), first.gateway().verifier());
    for name in ["log.key", "gateway.key"] {
        fs::remove_file(at.join(name)).unwrap();
    }
    first.stage(at).unwrap();
    let made = LogKeys::open(at, "example.com/log").unwrap();
    assert!(LogKeys::staged(at, "example.com/log").unwrap().is_none());
    assert_ne!(made.log().verifier(), first.log().verifier(), "keys that never signed are made anew");
}

#[test]
fn secrets_are_not_shown() {
    let keys = keys(0x41);
    let shown = format!("{keys:?}");
    let seed = STANDARD.encode([0x41; 32]);
    assert!(shown.contains("redacted") && !shown.contains(&seed) && !shown.contains("65, 65"), "{shown}");
}

#[test]
fn a_rotation_survives_a_crash_between_any_two_steps() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let old = LogKeys::open(at, "example.com/log").unwrap();
    let next = LogKeys::generate("example.com/log").unwrap();
    assert!(LogKeys::staged(at, "example.com/log").unwrap().is_none());
    next.stage(at).unwrap();
    let staged = LogKeys::staged(at, "example.com/log").unwrap().unwrap();
    assert_eq!(staged.log().verifier(), next.log().verifier());
    assert_eq!(LogKeys::open(at, "example.com/log").unwrap().log().verifier(), old.log().verifier());
    fs::rename(at.join("log.key.next"), at.join("log.key")).unwrap();
    let half = LogKeys::staged(at, "example.com/log").unwrap().unwrap();
    assert_eq!(half.log().verifier(), next.log().verifier());
    LogKeys::promote(at).unwrap();
    LogKeys::promote(at).unwrap();
    let now = LogKeys::open(at, "example.com/log").unwrap();
    assert_eq!(now.gateway().verifier(), next.gateway().verifier());
    assert!(LogKeys::staged(at, "example.com/log").unwrap().is_none());
}

#[test]
fn only_the_old_log_key_can_hand_over() {
    let (old, next, stranger) = (keys(1), keys(3), keys(5));
    let Event::KeyRotated { log_key, gateway_key, endorsement } = old.rotation(&next).unwrap() else {
        panic!("a rotation")
    };
    let authority = old.log().verifier();
    let (log, gateway) = endorsed_keys(authority, &log_key, &gateway_key, &endorsement).unwrap();
    assert_eq!((&log, &gateway), (next.log().verifier(), next.gateway().verifier()));
    assert!(endorsed_keys(stranger.log().verifier(), &log_key, &gateway_key, &endorsement).is_err());
    let other = stranger.gateway().verifier().to_string();
    assert!(endorsed_keys(authority, &log_key, &other, &endorsement).is_err());
}
