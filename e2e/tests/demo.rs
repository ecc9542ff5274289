//! Two demos at once: each finds ports and a folder of its own.

use countersign_e2e::cli::countersign;
use std::path::Path;

#[tokio::test]
async fn two_demos_at_once_do_not_get_into_each_others_way() {
    let play = || countersign(Path::new("."), &["demo", "--once", "--output", "json"]);
    let (one, other) = tokio::join!(play(), play());
    for ran in [one.unwrap(), other.unwrap()] {
        assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.json()["ok"], true, "{}", ran.stdout);
        assert_eq!(ran.json()["verify"]["verified"], true, "{}", ran.stdout);
    }
}
