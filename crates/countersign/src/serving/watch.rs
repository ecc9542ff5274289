//! Watches the policy files, and what is accepted of tools: a change is loaded whole or not at all.

use super::reload;
use crate::config::Config;
use countersign_engine::{Gate, definitions};
use countersign_identity::Directory;
use notify::{EventKind, RecursiveMode, Watcher};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Editors and version control write in several steps; a change is read once they have paused.
const SETTLE: Duration = Duration::from_millis(200);

pub(super) async fn policies(
    gate: Arc<Gate>,
    directory: Arc<Directory>,
    config: Arc<Config>,
    stopping: CancellationToken,
) {
    let (changed, mut changes) = mpsc::channel::<()>(1);
    // As the events name them.
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (policies, authors) = (whole(&config.policy), config.policy_changed_by.as_deref().map(whole));
    // Beside the file of authors may lie anything, a log that tells of a rejected policy too: only the file itself counts, and
    // `..data`, the link by which Kubernetes swaps a mounted folder.
    let concerns = move |path: &Path| {
        let swapped = path.file_name().is_some_and(|name| name == "..data");
        path.starts_with(&policies) || authors.as_deref() == Some(path) || swapped
    };
    let tell = move |event: notify::Result<notify::Event>| {
        let concerns =
            |event: &notify::Event| event.need_rescan() || event.paths.iter().any(|path| concerns(path));
        if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_)) && concerns(&event)) {
            // Full means a change is noted already.
            let _ = changed.try_send(());
        }
    };
    let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(&config.policy, RecursiveMode::NonRecursive)?;
        if let Some(folder) = config.policy_changed_by.as_deref().and_then(Path::parent) {
            let here = folder.as_os_str().is_empty();
            watcher.watch(if here { Path::new(".") } else { folder }, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    let _watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "policy files are not watched; send SIGHUP to reload them");
            return;
        }
    };
    let mut decisions = definitions::decisions(&gate);
    loop {
        tokio::select! {
            change = changes.recv() => if change.is_none() { return },
            decided = decisions.changed() => if decided.is_err() { return },
            () = stopping.cancelled() => return,
        }
        while let Ok(Some(())) = tokio::time::timeout(SETTLE, changes.recv()).await {}
        reload(&gate, &directory, &config).await;
    }
}
