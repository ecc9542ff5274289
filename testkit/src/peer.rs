//! A service from the system's packages, running in a folder of its own: started, waited for, and killed with its
//! owner. A missing one is an error that names the package, never a reason to skip.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long a service may take until it answers.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Ports to try when somebody else takes the chosen one first.
const TRIES: usize = 5;

/// Why a service does not run.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("`{program}` is not installed\n\nhint: apt-get install {package}")]
    Missing { program: &'static str, package: &'static str },
    #[error("`{program}` cannot be started")]
    Start { program: &'static str, source: io::Error },
    #[error("`{program}` did not become ready; its log says:\n{log}")]
    NotReady { program: &'static str, log: String },
}

/// A program of a Debian package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) package: &'static str,
}

/// A running service. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    pub(crate) folder: TempDir,
}

impl Program {
    fn start_error(self, source: io::Error) -> PeerError {
        PeerError::Start { program: self.name, source }
    }

    /// Starts the program with what `prepare` makes of a fresh folder, and waits until `url` answers. `prepare` may
    /// be asked again when the service ended before it was ready.
    pub(crate) async fn run(
        self,
        mut prepare: impl FnMut(&Path) -> io::Result<(Vec<String>, String)>,
    ) -> Result<Peer, PeerError> {
        if !Path::new(self.path).exists() {
            return Err(PeerError::Missing { program: self.name, package: self.package });
        }
        let mut log = String::new();
        for _ in 0..TRIES {
            let folder = TempDir::new().map_err(|error| self.start_error(error))?;
            let (arguments, url) = prepare(folder.path()).map_err(|error| self.start_error(error))?;
            let log_file = folder.path().join("log");
            let child = self.spawn(&arguments, folder.path(), &log_file)?;
            let mut peer = Peer { child, folder };
            if peer.answers(&url).await {
                return Ok(peer);
            }
            log = std::fs::read_to_string(&log_file).unwrap_or_default();
        }
        Err(PeerError::NotReady { program: self.name, log })
    }

    fn spawn(self, arguments: &[String], folder: &Path, log: &PathBuf) -> Result<Child, PeerError> {
        let log = File::create(log).map_err(|error| self.start_error(error))?;
        let errors = log.try_clone().map_err(|error| self.start_error(error))?;
        let mut command = Command::new(self.path);
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(errors);
        command.spawn().map_err(|error| self.start_error(error))
    }
}

impl Peer {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the service answers; false when it ended, or takes too long.
    async fn answers(&mut self, url: &str) -> bool {
        let Ok(client) = reqwest::Client::builder().no_proxy().timeout(READY_WITHIN).build() else {
            return false;
        };
        let begun = Instant::now();
        while begun.elapsed() < READY_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            if client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
