//! Every `countersign …` line in a code block of the documents is a command line that the program accepts, and every
//! command the program has stands in the reference.

use crate::tree::{File, Tree};
use std::{path::PathBuf, process::Command};

/// Kinds of code blocks that hold command lines.
const SHELL: [&str; 3] = ["sh", "console", "bash"];
const REFERENCE: &str = "docs/book/src/reference/cli.md";

/// The program built beside this test.
pub(super) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let found = test.ancestors().nth(2).unwrap().join("countersign");
    assert!(found.exists(), "`{}` is not there; run `cargo build -p countersign` first", found.display());
    found
}

/// What `countersign` answers to these words; `None` when it does not know them.
fn help(words: &[String]) -> Option<String> {
    let done = Command::new(program()).args(words).arg("--help").output().unwrap();
    done.status.success().then(|| String::from_utf8(done.stdout).unwrap())
}

/// Command lines of shell blocks that call the program, with their line numbers. A line ending in `\` goes on.
fn command_lines(file: &File) -> Vec<(usize, String)> {
    let (mut found, mut inside, mut before) = (Vec::new(), false, String::new());
    for (number, line) in file.text.lines().enumerate() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            inside = !inside && SHELL.contains(&kind.trim());
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(begun) = line.strip_suffix('\\') {
            before.push_str(begun);
            continue;
        }
        let whole = std::mem::take(&mut before) + line;
        let calls = whole.match_indices("countersign ").filter(|(at, _)| is_call(&whole, *at));
        found.extend(calls.map(|(at, name)| (number + 1, whole.split_at(at + name.len()).1.to_owned())));
    }
    found
}

/// Whether a program is called at this place of a line: at its beginning, or inside `$(…)`.
fn is_call(line: &str, at: usize) -> bool {
    let before = line.split_at(at).0.trim_end_matches(' ');
    before.is_empty() || before == "$" || before.ends_with("$(") || before.ends_with('|')
}

/// The words of a command line, up to where the shell takes over.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | '>' | '<' | '#' | ';' | '&' | ')') => break,
            (Some(_) | None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Every command there is, as the words that name it.
fn commands(above: &[String]) -> Vec<Vec<String>> {
    let told = help(above).unwrap();
    let list = told.split("Commands:\n").nth(1).unwrap_or_default();
    // A command stands two spaces in; the lines of a longer description stand further in.
    let names = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let below: Vec<Vec<String>> =
        names.flat_map(|name| commands(&[above, &[name.to_owned()]].concat())).collect();
    if below.is_empty() { vec![above.to_vec()] } else { below }
}

#[test]
fn every_command_line_in_the_documents_is_accepted() {
    let tree = Tree::read().unwrap();
    let documents = tree
        .files
        .iter()
        .filter(|file| file.is("md") && (file.path.starts_with("docs/book/") || !file.path.contains('/')));
    let (mut checked, mut refused) = (0, Vec::new());
    for file in documents {
        for (line, text) in command_lines(file) {
            checked += 1;
            if help(&words(&text)).is_none() {
                refused.push(format!("{}:{line}: countersign {text}", file.path));
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(checked > 20, "only {checked} command lines were found");
}

#[test]
fn every_command_stands_in_the_reference() {
    let tree = Tree::read().unwrap();
    let page = &tree.file(REFERENCE).unwrap().text;
    let missing: Vec<String> = commands(&[])
        .iter()
        .map(|words| format!("`countersign {}", words.join(" ")))
        .filter(|command| ![" ", "`"].iter().any(|end| page.contains(&format!("{command}{end}"))))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn command_lines_are_found_and_cut_as_a_shell_would() {
    let text = "```sh\ncountersign check\n$ countersign log key | tee key\nKEY=$(countersign log key)\n\
                countersign person \\\n  list # all\necho countersign check\n```\ncountersign prose\n\
                ```toml\ncountersign = 1\n```\n";
    let file = File { path: "a.md".into(), text: text.into() };
    let found: Vec<Vec<String>> = command_lines(&file).iter().map(|(_, line)| words(line)).collect();
    assert_eq!(found, [vec!["check"], vec!["log", "key"], vec!["log", "key"], vec!["person", "list"]]);
    assert_eq!(words("a 'b c' \"d\" e"), ["a", "b c", "d", "e"]);
}
