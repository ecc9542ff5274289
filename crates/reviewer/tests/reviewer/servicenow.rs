//! Records in `ServiceNow`: how they are drawn.

use crate::stage::{CORPUS, held, message};
use countersign_reviewer::record;

#[test]
fn nothing_of_others_begins_a_line_opens_markup_or_hides() {
    for hostile in CORPUS {
        let (hold, action) = held(hostile, &format!("body {hostile}"));
        let drawn = record(&message(&hold, Some(&action), Some(8192)));
        assert!(!drawn.title.contains('\n') && drawn.title.chars().count() <= 160, "{hostile:?}");
        for one in [&drawn.text, &drawn.title] {
            let hides = |one: char| {
                (one.is_control() && one != '\n') || "\u{202e}\u{200b}\u{feff}\u{2066}\u{e0041}".contains(one)
            };
            assert!(!one.chars().any(hides) && !one.contains('['), "{hostile:?}: {one}");
        }
        // What a requester can write stands behind a bar wherever it stands.
        let ours = drawn.text.lines().map(|line| line.split("| ").next().unwrap_or_default());
        let ours: String = ours.collect::<Vec<_>>().join("\n");
        for theirs in ["alert(1)", "javascript", "Approved by: Ana", "rm -rf"] {
            assert!(!ours.contains(theirs), "{theirs}: {ours}");
        }
        assert!(
            drawn.text.ends_with("Review in Countersign: https://sign.example/approvals/x\n"),
            "{}",
            drawn.text
        );
    }
}

#[test]
fn what_does_not_fit_is_counted_and_said() {
    let (hold, action) = held("logs", "drop");
    let mut message = message(&hold, Some(&action), Some(64 << 10));
    message.hidden_characters = false;
    let drawn = record(&message);
    assert!(drawn.whole && !drawn.text.contains("Decide where all of it is shown"), "{}", drawn.text);
    assert!(!record(&crate::stage::message(&hold, Some(&action), None)).whole, "no bytes are shown");
    let long = "a".repeat(3_000);
    for which in 0..7 {
        let mut message = message.clone();
        let ask = message.asks[0].clone();
        match which {
            0 => message.computed.sentence.clone_from(&long),
            1 => message.claimed.reason = Some(long.clone()),
            2 => message.drifted = Some(long.clone()),
            3 => message.computed.resources = vec![long.clone()],
            4 => message.asks = vec![ask; 60],
            5 => message.computed.facts = (0..60).map(|at| (format!("f{at}"), long.clone().into())).collect(),
            _ => {
                let (hold, action) = held("logs", &"b\n".repeat(30_000));
                message = crate::stage::message(&hold, Some(&action), Some(64 << 10));
                message.hidden_characters = false;
            }
        }
        let drawn = record(&message);
        assert!(drawn.text.chars().count() <= 4_000, "{which}: {}", drawn.text.chars().count());
        assert!(!drawn.whole && drawn.text.contains("Decide where all of it is shown"), "{which}");
        let counted = ["characters more", "are not shown here"].iter().any(|one| drawn.text.contains(one));
        assert!(counted, "{which}: {}", drawn.text);
    }
}
