//! The command line: every command, every way to get it wrong, and what it says then. No gateway runs unless a test
//! says so: the commands open the store themselves.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod commands;
mod configuration;
mod ledger;
mod login;
mod policy;

use countersign_e2e::cli::{Ran, countersign_with};
use serde_json::Value;
use std::{fs, path::Path};
use tempfile::TempDir;

/// A folder as `countersign init` writes it.
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) async fn open() -> Self {
        let desk = Self(TempDir::new().unwrap());
        desk.json(&["init"]).await;
        desk
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// Runs a command; whatever comes of it, it ends by itself with a documented status and hides nothing.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        run_in(self.path(), arguments).await
    }

    /// Runs a command that must work: what it prints as JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(ran.status, Some(0), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", ran.stdout))
    }

    /// Runs a command that must be refused with this status, saying all of these.
    pub(crate) async fn refused(&self, arguments: &[&str], status: i32, says: &[&str]) -> Ran {
        let ran = self.run(arguments).await;
        assert_eq!(ran.status, Some(status), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("error: "), "{arguments:?}: {}", ran.stderr);
        for words in says {
            assert!(ran.stderr.contains(words), "{arguments:?}: no `{words}` in\n{}", ran.stderr);
        }
        ran
    }
}

/// Runs a command in a folder; whatever comes of it, it ends by itself with a documented status and hides nothing.
pub(crate) async fn run_in(folder: &Path, arguments: &[&str]) -> Ran {
    let ran = countersign_with(folder, arguments, &[("NO_COLOR", "1")]).await.unwrap();
    assert!(matches!(ran.status, Some(0..=3)), "{arguments:?}: {:?} {}", ran.status, ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{arguments:?}: {}", ran.stderr);
    for text in [&ran.stdout, &ran.stderr] {
        let raw = text.chars().find(|char| char.is_control() && *char != '\n');
        assert_eq!(raw, None, "{arguments:?}: {text}");
    }
    ran
}
