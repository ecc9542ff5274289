//! A PostgreSQL cluster from Debian's packages (`postgresql`), made for one test and gone with it. It runs as a user
//! without privileges, since the server refuses to run as root.

use crate::{peer::PeerError, ports};
use std::{
    fs, io,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const NAME: &str = "postgres";
const PACKAGE: &str = "postgresql";
/// How long the server may take until it answers.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Ports to try when somebody else takes the chosen one first.
const TRIES: usize = 5;
/// `nobody`, where the package's own user is missing.
const NOBODY: u32 = 65_534;

/// Runs the server, and ends it and removes its folder when whoever holds the other end of standard input is gone,
/// however that came about. Told by signals that no shell ignores when it runs behind another one.
const KEEPER: &str = r#"folder=$1; shift
exec 3<&0
"$@" </dev/null & server=$!
(read -r _ <&3
 trap '' TERM
 kill -QUIT $server
 while kill -0 $server; do sleep 0.05; done
 rm -rf "$folder") 2>/dev/null & watch=$!
exec 3<&-
trap 'kill -QUIT $server' TERM
trap 'kill -INT $server' USR1
wait $server; status=$?
while kill -0 $server 2>/dev/null; do wait $server; status=$?; done
kill $watch 2>/dev/null
exit $status"#;

/// A running cluster with one superuser, `owner`.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    /// Closed by the kernel with this process, if not before.
    alive: Option<ChildStdin>,
    server: Server,
    _folder: TempDir,
    port: u16,
}

/// What a cluster is made with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder of the server's programs; the newest that is installed unless it is said.
    pub bin: Option<PathBuf>,
    /// Certificate and key for TLS, as PEM.
    pub tls: Option<(String, String)>,
    /// Lines for `postgresql.conf`.
    pub settings: Vec<String>,
}

impl Postgres {
    /// The superuser's name and password.
    pub const OWNER: (&'static str, &'static str) = ("owner", "planted-owner-password");

    /// Makes a cluster, starts it on loopback and waits until it answers.
    pub async fn start(options: &Options) -> Result<Self, PeerError> {
        let bin = options.bin.clone().or_else(installed);
        let bin = bin.ok_or(PeerError::Missing { program: NAME, package: PACKAGE })?;
        let start = |source| PeerError::Start { program: NAME, source };
        let folder = TempDir::new().map_err(start)?;
        let mut server = Server { bin, root: folder.path().to_owned(), user: unprivileged() };
        if options.bin.is_some() && server.user.is_some() {
            server.take_along().map_err(start)?;
        }
        server.make(options).map_err(start)?;
        let port = ports::free().map_err(start)?;
        let (child, alive) = server.spawn(port).map_err(start)?;
        let mut cluster = Self { child, alive, server, _folder: folder, port };
        for _ in 0..TRIES {
            if cluster.answers().await {
                return Ok(cluster);
            }
            cluster.end("-TERM");
            cluster.port = ports::free().map_err(start)?;
            (cluster.child, cluster.alive) = cluster.server.spawn(cluster.port).map_err(start)?;
        }
        Err(PeerError::NotReady { program: NAME, log: cluster.log() })
    }

    /// Ends the server as its operator would (`fast`): sessions are cut off, what was committed stays.
    pub fn stop(&mut self) {
        self.end("-USR1");
    }

    /// Starts it again on the same port, and waits until it answers.
    pub async fn start_again(&mut self) -> Result<(), PeerError> {
        let start = |source| PeerError::Start { program: NAME, source };
        (self.child, self.alive) = self.server.spawn(self.port).map_err(start)?;
        if self.answers().await {
            Ok(())
        } else {
            Err(PeerError::NotReady { program: NAME, log: self.log() })
        }
    }

    /// Whether a server is installed that could be started.
    pub fn is_installed() -> bool {
        installed().is_some()
    }

    /// Which package has it.
    pub const PACKAGE: &'static str = PACKAGE;

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.server.root.join("log")).unwrap_or_default()
    }

    /// A program of the same package, such as `psql`, in a surrounding of its own.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.server.client(name));
        // Nothing of the caller's own surrounding may decide where it connects, or how it prints.
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", &self.server.root);
        command.env("PSQLRC", "/dev/null").env("PGSSLMODE", "disable").stdin(Stdio::null());
        command
    }

    /// `psql` as the superuser, directly at the server.
    pub fn psql(&self, database: &str) -> Command {
        let mut command = self.program("psql");
        let port = self.port.to_string();
        command.env("PGPASSWORD", Self::OWNER.1).args(["-h", "127.0.0.1", "-p", &port, "-U", Self::OWNER.0]);
        command.args(["-d", database, "-v", "ON_ERROR_STOP=1", "-X", "-A", "-t", "-q"]);
        command
    }

    /// Runs SQL directly as the superuser; what `psql` printed, without its last line feed.
    pub fn run(&self, database: &str, sql: &str) -> io::Result<String> {
        let Output { status, stdout, stderr } = self.psql(database).args(["-c", sql]).output()?;
        if status.success() {
            Ok(String::from_utf8_lossy(&stdout).trim_end().to_owned())
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&stderr).into_owned()))
        }
    }

    /// Waits until this SQL has that answer. An error when it takes too long.
    pub async fn comes_to(&self, database: &str, sql: &str, answer: &str) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let found = self.run(database, sql)?;
            if found == answer {
                return Ok(());
            }
            if begun.elapsed() > READY_WITHIN {
                return Err(io::Error::other(format!("`{sql}` is still {found} and not {answer}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn answers(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < READY_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            if self.run("postgres", "select 1").is_ok() {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Has the server told, and waits until it is gone.
    fn end(&mut self, signal: &str) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let told = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        if !told.is_ok_and(|status| status.success()) {
            // Its keeper gone, the server goes as well.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Told to go at once, it takes its own processes and memory along; killed, it could not.
        self.end("-TERM");
    }
}

#[derive(Debug)]
struct Server {
    bin: PathBuf,
    root: PathBuf,
    /// Whom it runs as, when the caller is root.
    user: Option<(u32, u32)>,
}

impl Server {
    /// Copies the programs to where the user it runs as can reach them, whatever folder they came from.
    fn take_along(&mut self) -> io::Result<()> {
        let from = self.bin.parent().unwrap_or(Path::new("/"));
        let to = self.root.join("server");
        let copied = Command::new("cp").arg("-a").arg(from).arg(&to).output()?;
        if !copied.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&copied.stderr).into_owned()));
        }
        self.bin = to.join("bin");
        Ok(())
    }

    fn make(&self, options: &Options) -> io::Result<()> {
        let password = self.root.join("password");
        fs::write(&password, Postgres::OWNER.1)?;
        for path in [&self.root, &password] {
            self.own(path)?;
        }
        let made = self
            .command("initdb")
            .args([
                "-U",
                Postgres::OWNER.0,
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "-A",
                "scram-sha-256",
            ])
            .arg("--pwfile")
            .arg(&password)
            .arg("-D")
            .arg(self.root.join("data"))
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let mut settings = vec![
            "fsync = off".to_owned(),
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("unix_socket_directories = '{}'", self.root.display()),
            "max_connections = 60".to_owned(),
            "shared_buffers = 16MB".to_owned(),
            "autovacuum = off".to_owned(),
        ];
        if let Some((certificate, key)) = &options.tls {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let path = self.root.join("data").join(name);
                fs::write(&path, text)?;
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
                self.own(&path)?;
            }
            settings.push("ssl = on".to_owned());
        }
        settings.extend(options.settings.iter().cloned());
        let conf = self.root.join("data/postgresql.conf");
        let text = fs::read_to_string(&conf)?;
        fs::write(&conf, format!("{text}\n{}\n", settings.join("\n")))
    }

    fn spawn(&self, port: u16) -> io::Result<(Child, Option<ChildStdin>)> {
        let log = self.root.join("log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let errors = file.try_clone()?;
        let mut command = self.command_at(Path::new("/bin/sh"));
        command.args(["-c", KEEPER, "sh"]).arg(&self.root).arg(self.bin.join("postgres"));
        command.arg("-D").arg(self.root.join("data")).args(["-p", &port.to_string()]);
        // An interrupt from the keyboard is for whoever started it, who then ends it in good order.
        let mut child = command.process_group(0).stdin(Stdio::piped()).stdout(file).stderr(errors).spawn()?;
        // Waiting for the child would close it.
        let alive = child.stdin.take();
        Ok((child, alive))
    }

    /// A client of the same release, or else the newest that is installed.
    fn client(&self, name: &str) -> PathBuf {
        let own = self.bin.join(name);
        if own.exists() { own } else { installed().map_or(own, |bin| bin.join(name)) }
    }

    fn command(&self, name: &str) -> Command {
        self.command_at(&self.bin.join(name))
    }

    fn command_at(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").current_dir(&self.root);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        self.user.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }
}

/// The programs of the newest server installed.
fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let found = versions.filter_map(|entry| {
        let entry = entry.ok()?;
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let bin = entry.path().join("bin");
        bin.join("postgres").exists().then_some((version, bin))
    });
    found.max_by_key(|(version, _)| *version).map(|(_, bin)| bin)
}

/// User and group to run as; `None` when the caller is not root anyway.
pub fn unprivileged() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let own = fs::metadata("/var/lib/postgresql").ok().filter(|folder| folder.uid() != 0);
    root.then(|| own.map_or((NOBODY, NOBODY), |folder| (folder.uid(), folder.gid())))
}
