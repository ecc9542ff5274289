//! How files are kept: each says what it is for, none is too long, and none carries notes to self, switched-off
//! tests, silenced lints or the paths of somebody's machine.

use crate::tree::{Fault, File};

/// The longest a file may be without a reason.
const LINES: usize = 600;
const README_LINES: usize = 150;
/// How the reason of a longer file begins, within its `//!`.
const REASON: &str = "//! Long because ";

// Put together, so that this file keeps its own rules.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const STUBS: [&str; 2] = [concat!("todo", "!("), concat!("unimplemented", "!(")];
const SILENCED: [&str; 2] = [concat!("[al", "low("), concat!(", al", "low(")];
const IGNORED: &str = concat!("#[", "ignore");
const MACHINE: [&str; 3] = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];

/// Every fault of one file.
pub(super) fn faults(file: &File) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |line, why: String| faults.push(Fault::new(&file.path, line, why));
    let rust = file.is("rs");
    let count = file.text.lines().count();
    if rust {
        // `x/tests.rs` is the last part of `x.rs`, which says what both are for.
        if !file.text.starts_with("//!") && !file.path.ends_with("/tests.rs") {
            fault(1, "the file does not begin with `//!` and what it is for".into());
        }
        if count > LINES && !file.text.lines().any(|line| line.starts_with(REASON)) {
            fault(
                LINES + 1,
                format!("{count} lines: split the file, or begin a line of its top with `{REASON}…`"),
            );
        }
    }
    if file.path == "README.md" && count > README_LINES {
        fault(README_LINES + 1, format!("{count} lines, and {README_LINES} is the limit"));
    }
    for (line, text) in file.text.lines().enumerate() {
        let number = line + 1;
        if let Some(path) = MACHINE.iter().find(|path| stands_at_start(text, path)) {
            fault(number, format!("`{path}` is a path of one machine"));
        }
        if !rust {
            continue;
        }
        if let Some(note) = NOTES.iter().find(|note| is_word(text, note)) {
            fault(number, format!("`{note}`: do it, or write an issue"));
        }
        if let Some(stub) = STUBS.iter().find(|stub| text.contains(**stub)) {
            fault(number, format!("`{stub}…)`: nothing is left to be written later"));
        }
        if text.contains(IGNORED) {
            fault(number, "a test that does not run shows nothing".into());
        }
        if text.trim_start().starts_with('#') && SILENCED.iter().any(|silenced| text.contains(silenced)) {
            fault(number, "a lint is expected with a reason, never silenced".into());
        }
    }
    faults
}

/// Whether the word stands in the text, not as a part of another one.
fn is_word(text: &str, word: &str) -> bool {
    text.split(|character: char| !character.is_alphanumeric()).any(|found| found == word)
}

/// Whether the path stands in the text as the beginning of a path.
fn stands_at_start(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| before.is_whitespace() || "\"'`(=:,<>".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, text: &str) -> Vec<usize> {
        let file = File { path: path.into(), text: text.into() };
        faults(&file).iter().map(|fault| fault.line).collect()
    }

    #[test]
    fn each_rule_finds_what_breaks_it_and_nothing_else() {
        let head = "//! Words.\n";
        for (what, line, broken) in [
            ("a note to self", format!("// {}: later", NOTES[0]), true),
            ("part of a word", format!("// {}S", NOTES[2]), false),
            ("a stub", format!("fn f() {{ {}) }}", STUBS[0]), true),
            ("a test switched off", format!("{IGNORED}]"), true),
            ("a lint silenced", format!("#{}dead_code)]", SILENCED[0]), true),
            ("a lint expected", "#[expect(dead_code, reason = \"shown\")]".into(), false),
            ("a machine's path", format!("let at = \"{}me\";", MACHINE[2]), true),
            ("a folder of the same name", format!("let at = \"{{folder}}{}\";", MACHINE[0]), false),
            ("a plain line", "let x = 1;".into(), false),
        ] {
            assert_eq!(
                told("a.rs", &format!("{head}{line}\n")),
                if broken { vec![2] } else { vec![] },
                "{what}"
            );
        }
    }

    #[test]
    fn files_say_what_they_are_for_and_why_they_are_long() {
        assert_eq!(told("a.rs", "fn f() {}\n"), [1]);
        assert_eq!(told("a/tests.rs", "use super::*;\n"), [0; 0]);
        let long = "// line\n".repeat(LINES);
        assert_eq!(told("a.rs", &format!("//! Words.\n{long}")), [LINES + 1]);
        assert_eq!(told("a.rs", &format!("//! Words.\n{REASON}it is a table.\n{long}")), [0; 0]);
        assert_eq!(told("README.md", &"x\n".repeat(README_LINES + 1)), [README_LINES + 1]);
    }
}
