//! The `run` of an `[[mcp]]` section: a server that the gateway starts. It is in the configuration alone, so that only who
//! may change that can have something run.

use super::LimitsSection;
use crate::upstream::process::Launch;
use countersign_pep::{Fault, NOT_A_REFERENCE, SecretRef, Size};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Semaphore;

/// How a server is started, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    /// The program and its arguments. No shell reads them.
    pub command: Vec<String>,
    /// Where it starts; the configuration's folder when not given.
    pub folder: Option<PathBuf>,
    /// All of its environment, beside `secrets` and a plain `PATH`. Nothing of the gateway's own is handed down.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Variables that are read when a process starts: `env:NAME` or `file:PATH`.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Processes at the same time. Each session of an agent has its own.
    #[serde(default = "default_processes")]
    pub processes: usize,
    /// Files that one of them may have open.
    #[serde(default = "default_files")]
    pub open_files: u64,
    /// The address space of each of its processes; no limit when not given.
    pub memory: Option<Size>,
}

fn default_processes() -> usize {
    32
}

fn default_files() -> u64 {
    1024
}

/// Where programs are looked for, unless its environment says otherwise.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl RunSection {
    pub(super) fn check(
        &self,
        place: &str,
        name: &str,
        folder: &Path,
        limits: &LimitsSection,
    ) -> Result<Launch, Fault> {
        let place = format!("{place}.run");
        if self.command.first().is_none_or(String::is_empty) {
            let remedy = "write the program and its arguments, such as `[\"mcp-files\", \"--read-only\"]`";
            return Err(Fault::new(format!("{place}.command"), "there is no program to start", remedy));
        }
        let mut secrets = BTreeMap::new();
        for (variable, text) in &self.secrets {
            let reference = SecretRef::read(text, folder)
                .map_err(|why| Fault::new(format!("{place}.secrets.{variable}"), why, NOT_A_REFERENCE))?;
            secrets.insert(variable.clone(), reference);
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        if let Some(variable) = self.environment.keys().chain(secrets.keys()).find(|name| !is_name(name)) {
            let why = format!("`{variable}` is no name of a variable");
            return Err(Fault::new(format!("{place}.environment"), why, "use letters, digits and `_`"));
        }
        if let Some(variable) = secrets.keys().find(|name| self.environment.contains_key(*name)) {
            let why = format!("`{variable}` is set twice");
            return Err(Fault::new(format!("{place}.environment"), why, "keep it in `secrets`"));
        }
        let mut environment = self.environment.clone();
        environment.entry("PATH".into()).or_insert_with(|| PATH.into());
        let folder = self.folder.as_ref().map_or_else(|| folder.to_owned(), |own| folder.join(own));
        Ok(Launch {
            name: name.to_owned(),
            command: self.command.clone(),
            // A program could not be started in a folder without a name.
            folder: if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder },
            environment,
            secrets,
            open_files: self.open_files,
            memory_kib: self.memory.map_or(0, |memory| (memory.0 as u64).div_ceil(1024)),
            patience: limits.connect.0,
            room: Arc::new(Semaphore::new(self.processes)),
            pauses: Arc::default(),
        })
    }
}
