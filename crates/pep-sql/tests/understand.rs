//! What texts are taken for: the golden files, and what must hold for any text.

#![expect(clippy::unwrap_used, reason = "tests may fail by panicking")]

mod understand_cases;

use understand_cases::{Case, evasions};

/// The whole evasion list. Set `COUNTERSIGN_BLESS` to write down what is found instead of comparing.
#[test]
fn every_evasion_is_taken_for_what_it_is() {
    let text = std::fs::read_to_string(understand_cases::EVASIONS).unwrap();
    let cases = evasions(&text);
    assert!(cases.len() > 200, "{} cases", cases.len());
    let found: Vec<String> = cases.iter().map(Case::found).collect();
    if std::env::var_os("COUNTERSIGN_BLESS").is_some() {
        std::fs::write(understand_cases::EVASIONS, understand_cases::written(&text, &cases, &found)).unwrap();
        return;
    }
    for (case, found) in cases.iter().zip(&found) {
        assert_eq!(*found, case.expected, "{}\n{}", case.title, case.text);
    }
}
