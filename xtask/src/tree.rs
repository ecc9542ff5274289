//! The working tree as the tasks see it: its text files, and the workspace as cargo describes it. Only read.

use anyhow::Context;
use serde_json::Value;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Endings of the files that people write here.
const TEXT: [&str; 15] = [
    "rs",
    "toml",
    "md",
    "cedar",
    "json",
    "html",
    "css",
    "js",
    "svg",
    "sql",
    "sh",
    "py",
    "yml",
    "yaml",
    "webmanifest",
];
/// Folders that hold nothing written by hand.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root, with `/` between its parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Whether the name ends so, such as `rs`.
    pub(crate) fn is(&self, ending: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == ending)
    }
}

/// Everything the tasks look at.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<File>,
    /// `cargo metadata` of the workspace, without what it depends on.
    pub(crate) metadata: Value,
    /// `cargo metadata` of everything that is built for this machine.
    pub(crate) dependencies: Value,
}

/// One thing that is not as it must be.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) why: String,
}

impl Fault {
    pub(crate) fn new(path: &str, line: usize, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, why: why.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.why)
    }
}

impl Tree {
    /// Reads the workspace this program was built in.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("there is no workspace folder")?;
        let mut files = Vec::new();
        walk(root, root, &mut files)?;
        files.sort_by(|one: &File, other| one.path.cmp(&other.path));
        let metadata = cargo(root, &["metadata", "--no-deps", "--format-version", "1"])?;
        let host = host(root)?;
        let dependencies = cargo(root, &["metadata", "--filter-platform", &host, "--format-version", "1"])?;
        Ok(Self { root: root.to_owned(), files, metadata, dependencies })
    }

    /// A file by its path from the root.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    let told = || format!("`{}` cannot be read", folder.display());
    for found in fs::read_dir(folder).with_context(told)? {
        let found = found.with_context(told)?;
        let (path, name) = (found.path(), found.file_name().to_string_lossy().into_owned());
        if found.file_type().with_context(told)?.is_dir() {
            if !SKIPPED.contains(&&*name) {
                walk(root, &path, files)?;
            }
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let from_root = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if TEXT.contains(&ending) || name == "Makefile" || from_root.starts_with(".ci/") {
            let text = fs::read_to_string(&path).with_context(|| format!("`{from_root}` cannot be read"))?;
            files.push(File { path: from_root, text });
        }
    }
    Ok(())
}

/// What cargo answers, as JSON.
fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = run(Command::new(cargo).args(arguments).current_dir(root))?;
    serde_json::from_str(&said).context("`cargo metadata` does not answer in JSON")
}

/// The platform this machine builds for.
fn host(root: &Path) -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = run(Command::new(rustc).arg("-vV").current_dir(root))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().with_context(|| format!("`{name}` cannot be started"))?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    anyhow::ensure!(done.status.success(), "`{name}` failed: {said}");
    String::from_utf8(done.stdout).with_context(|| format!("`{name}` does not answer in UTF-8"))
}
