//! pgbouncer from Debian's packages, pooling sessions, with a configuration of its own: the plain proxy to compare with.

use crate::Result;
use countersign_testkit::{ports, postgres::unprivileged};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::{fs::chown, process::CommandExt as _},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PROGRAM: &str = "/usr/sbin/pgbouncer";
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running pgbouncer. Dropping it kills it.
#[derive(Debug)]
pub struct PgBouncer {
    child: Child,
    _folder: TempDir,
    port: u16,
}

/// What it stands in front of.
#[derive(Clone, Copy, Debug)]
pub struct Behind<'a> {
    pub port: u16,
    pub database: &'a str,
    pub user: &'a str,
    pub password: &'a str,
    /// Certificate and key for clients that want TLS, as PEM.
    pub tls: (&'a str, &'a str),
}

impl PgBouncer {
    /// Starts one on loopback, and waits until it answers.
    pub fn start(behind: &Behind<'_>) -> Result<Self> {
        let (folder, port) = (TempDir::new()?, ports::free()?);
        let root = folder.path();
        let Behind { port: server, database, user, password, tls } = behind;
        let text = format!(
            "[databases]\n{database} = host=127.0.0.1 port={server} dbname={database}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = session\n\
             auth_type = scram-sha-256\nauth_file = {0}/users\nmax_client_conn = 1000\ndefault_pool_size = 100\n\
             client_tls_sslmode = allow\nclient_tls_cert_file = {0}/crt\nclient_tls_key_file = {0}/key\n\
             server_tls_sslmode = disable\nlog_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n",
            root.display()
        );
        let users = format!("\"{user}\" \"{password}\"\n");
        let owner = unprivileged();
        for (name, text) in [("ini", text.as_str()), ("users", &users), ("crt", tls.0), ("key", tls.1)] {
            fs::write(root.join(name), text)?;
            if let Some((user, group)) = owner {
                chown(root.join(name), Some(user), Some(group))?;
            }
        }
        let log = fs::File::create(root.join("log"))?;
        let mut command = Command::new(PROGRAM);
        if let Some((user, group)) = owner {
            chown(root, Some(user), Some(group))?;
            command.uid(user).gid(group);
        }
        command.arg("-q").arg(root.join("ini")).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| {
            format!("`pgbouncer` cannot be started: {error}\n\nhint: as root, on Debian or Ubuntu: apt-get install pgbouncer")
        })?;
        let started = Self { child, _folder: folder, port };
        let begun = Instant::now();
        while TcpStream::connect(started.addr()).is_err() {
            if begun.elapsed() > READY_WITHIN {
                return Err("`pgbouncer` does not answer".into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(started)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
