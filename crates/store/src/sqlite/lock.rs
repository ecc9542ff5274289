//! One process to a database: a lock file that the kernel lets go of when its holder dies, however it dies.

use crate::error::OpenError;
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Held for as long as the writer lives.
#[derive(Debug)]
pub(super) struct ProcessLock {
    // INVARIANT: open and locked; dropping it closes the file, which releases the lock.
    _file: File,
}

impl ProcessLock {
    /// Takes `<database>.lock`, or names who has it.
    pub(super) fn take(database: &Path) -> Result<Self, OpenError> {
        let path = beside(database, "lock");
        let io = |source| OpenError::Io { what: "lock", path: path.clone(), source };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The message is better with the pid and right without it.
                let _ = file.read_to_string(&mut pid);
                return Err(OpenError::InUse { path: database.into(), pid: pid.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// Makes the folder when it is missing, and the file so that `SQLite` gives its companions the same mode; refuses a
/// database that others may read.
pub(super) fn keep_private(database: &Path) -> Result<(), OpenError> {
    let io = |what, path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { what, path, source }
    };
    if let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(io("create the folder", folder))?;
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(database);
    let mode =
        file.and_then(|file| file.metadata()).map_err(io("open", database))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Permissions { path: database.into(), mode });
    }
    Ok(())
}

/// The file beside the database with one more extension.
fn beside(database: &Path, extension: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
