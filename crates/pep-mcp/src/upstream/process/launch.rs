//! Starting a server and seeing it end. The command comes from the configuration alone; nothing an agent sends reaches
//! it, its arguments or its environment.

use super::{AHEAD, Process, Shared, read, stderr, write};
use countersign_engine::port::upstream::{Failed, Sent};
use countersign_pep::{SecretError, SecretRef};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    io::BufReader,
    process::{Child, Command},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a server that ended by itself is left alone, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// One that lived so long begins afresh.
const SETTLED: Duration = Duration::from_mins(1);
/// How long a server may take to end once nothing more comes, and once it is told to (2025-11-25, lifecycle, "Shutdown").
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// Sets limits that hold for the server and all it starts, then becomes the server.
const LIMITED: &str =
    r#"ulimit -c 0 && ulimit -n "$1" && { [ "$2" = 0 ] || ulimit -v "$2"; } && shift 2 && exec "$@""#;

/// How a server is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, SecretRef>,
    pub(crate) open_files: u64,
    /// Of address space, in KiB; 0 for no limit.
    pub(crate) memory_kib: u64,
    /// How long starting may wait until a server that ended is tried again.
    pub(crate) patience: Duration,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) pauses: Arc<Mutex<Pauses>>,
}

/// When the next process may be started.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    /// How often in a row one ended by itself.
    ended: u32,
    not_before: Option<Instant>,
}

impl Pauses {
    fn ended(&mut self, lived: Duration, now: Instant) {
        self.ended = if lived >= SETTLED { 1 } else { self.ended.saturating_add(1) };
        let pause = FIRST_PAUSE.saturating_mul(1 << (self.ended - 1).min(16)).min(LONGEST_PAUSE);
        self.not_before = Some(now + pause);
    }

    fn stopped(&mut self) {
        *self = Self::default();
    }

    /// Whether the next process has to wait, or had to until a moment ago.
    #[cfg(test)]
    pub(super) fn is_earned(&self) -> bool {
        self.not_before.is_some()
    }
}

impl Launch {
    pub(in crate::upstream) fn check_secrets(&self) -> Result<(), SecretError> {
        self.secrets.values().try_for_each(|reference| reference.secret().map(drop))
    }

    /// Starts a process, once the pause is over that one has earned that ended by itself.
    pub(in crate::upstream) async fn start(&self, line_limit: usize) -> Result<Arc<Process>, Failed> {
        let unsent = |why: String| Failed { sent: Sent::No, why };
        let place = Arc::clone(&self.room).try_acquire_owned();
        let place = place.map_err(|_| unsent("as many of the server's processes run as may".into()))?;
        let not_before = self.pauses.lock().not_before;
        if let Some(at) = not_before
            && timeout(self.patience, sleep_until(at)).await.is_err()
        {
            return Err(unsent("the server keeps ending by itself and is left alone for a while".into()));
        }
        let mut child = self.spawn().map_err(unsent)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(said)) = pipes else {
            return Err(unsent("the server has no pipes".into()));
        };
        let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let (outgoing, taken) = mpsc::channel(AHEAD);
        let shared = Arc::new(Shared {
            ended: CancellationToken::new(),
            waiting: Mutex::default(),
            given_up: Mutex::default(),
            outgoing: outgoing.downgrade(),
            listener: Mutex::default(),
            left_out: AtomicBool::new(false),
        });
        let stop = CancellationToken::new();
        tokio::spawn(stderr::log(said, self.name.clone()));
        let writes = tokio::spawn(write(stdin, taken));
        let reads = {
            let (shared, back) = (Arc::clone(&shared), outgoing.downgrade());
            tokio::spawn(read(BufReader::new(stdout), shared, back, line_limit))
        };
        let seen = Seen { name: self.name.clone(), pauses: Arc::clone(&self.pauses), _place: place };
        let (watched, asked) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            seen.until_it_ends(child, group, asked, (writes, reads)).await;
            watched.ended.cancel();
            *watched.listener.lock() = None;
        });
        let stops = stop.clone().drop_guard();
        Ok(Arc::new(Process { shared, outgoing, stop, _stops: stops }))
    }

    fn spawn(&self) -> Result<Child, String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LIMITED, "sh"]).arg(self.open_files.to_string()).arg(self.memory_kib.to_string());
        command.args(&self.command).current_dir(&self.folder).env_clear().envs(&self.environment);
        for (name, reference) in &self.secrets {
            command.env(name, reference.secret().map_err(|error| error.to_string())?.as_str());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command.spawn().map_err(|error| format!("the server cannot be started: {error}"))
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.command.join(" "))
    }
}

/// A process and all it started. Letting go of it ends them at once.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // Nothing may be left of it.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Who sees a process end.
struct Seen {
    name: String,
    pauses: Arc<Mutex<Pauses>>,
    _place: OwnedSemaphorePermit,
}

/// Writing, and reading with how that ended.
type Tasks = (JoinHandle<()>, JoinHandle<io::Result<()>>);

impl Seen {
    async fn until_it_ends(self, mut child: Child, group: Group, stop: CancellationToken, pipes: Tasks) {
        let begun = Instant::now();
        let (writes, mut reads) = pipes;
        tokio::select! {
            () = stop.cancelled() => {
                // Nothing more comes: that is how a server is asked to end.
                writes.abort();
                if timeout(ENDS_WITHIN, child.wait()).await.is_err() {
                    group.signal(Signal::TERM);
                    let _ = timeout(ENDS_WITHIN, child.wait()).await;
                }
                self.pauses.lock().stopped();
            }
            ended = child.wait() => {
                self.by_itself(begun, &ended);
                // What it said last is still in the pipe, unless something it started keeps that open.
                let _ = timeout(ENDS_WITHIN, &mut reads).await;
            }
            read = &mut reads => {
                // Whoever ends closes its pipes first.
                let ended = if matches!(read, Ok(Ok(()))) { timeout(ENDS_WITHIN, child.wait()).await.ok() } else { None };
                if let Some(ended) = ended {
                    self.by_itself(begun, &ended);
                } else {
                    tracing::warn!(server = %self.name, "a server said its last, or more than is read at once");
                    self.pauses.lock().ended(begun.elapsed(), Instant::now());
                }
            }
        }
        reads.abort();
        drop(group);
        let _ = child.wait().await;
    }

    fn by_itself(&self, begun: Instant, ended: &io::Result<ExitStatus>) {
        let status = ended.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        tracing::warn!(server = %self.name, %status, "a server ended by itself");
        self.pauses.lock().ended(begun.elapsed(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_minute_and_are_forgotten() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        let mut after = |lived| {
            pauses.ended(Duration::from_secs(lived), now);
            pauses.not_before.unwrap().duration_since(now).as_millis()
        };
        assert_eq!([after(0), after(1), after(1), after(1)], [500, 1000, 2000, 4000]);
        assert_eq!(after(60), 500, "one that lived long begins afresh");
        for _ in 0..40 {
            after(0);
        }
        assert_eq!(after(0), 60_000);
        pauses.stopped();
        assert!(!pauses.is_earned());
    }
}
