//! Finding out beforehand how many rows a statement is about: a bounded count and a plan, asked by a role of its own that
//! may only read, over connections of the gateway's own. What cannot be found out is said, and never permits anything.

use crate::{
    error::LoginError,
    frame::{Fields, FrameError, sqlstate},
    message::Backend,
    reply::{message, put_text},
    understand::{Asked, BoundValue, Counted, Preflight, Rows},
    upstream::{Way, login::LoggedIn},
};
use bytes::{BufMut as _, BytesMut};
use parking_lot::Mutex;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
    time::{Instant, timeout},
};

/// How many statements of one database are looked into at once.
const ROOM: usize = 4;
/// A connection older than this is opened anew, so that what its role may do is looked at again.
const FRESH: Duration = Duration::from_mins(5);
/// One answer may be this long.
const LONGEST: usize = 1 << 20;
/// What the server may need beyond the time it gives itself.
const GRACE: Duration = Duration::from_secs(1);

/// Empty for a role that can only read: anything more would be a way to write that no policy sees.
const ROLE: &str = "SELECT CASE \
    WHEN r.rolsuper THEN 'is a superuser' \
    WHEN r.rolcreaterole OR r.rolcreatedb OR r.rolreplication THEN 'may change the server' \
    WHEN EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname IN ('pg_write_all_data', \
        'pg_write_server_files', 'pg_execute_server_program', 'pg_read_server_files') \
        AND pg_catalog.pg_has_role(g.oid, 'member')) THEN 'is a member of a role that can do more than read' \
    WHEN EXISTS (SELECT FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
        AND (pg_catalog.has_table_privilege(c.oid, 'INSERT,UPDATE,DELETE,TRUNCATE') \
            OR pg_catalog.has_any_column_privilege(c.oid, 'INSERT,UPDATE'))) THEN 'may write' \
    ELSE '' END FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

/// Whether the role sees every schema that names are looked for in: the server passes over what it does not.
const SEES: &str = "SELECT coalesce(pg_catalog.bool_and(pg_catalog.has_schema_privilege(n.oid, 'USAGE')), true)::text \
    FROM pg_catalog.json_array_elements_text($1::json) p(name) \
    JOIN pg_catalog.pg_namespace n ON n.nspname = p.name";

/// What looks into the statements of one database.
pub(crate) struct Scout {
    way: Arc<Way>,
    database: String,
    within: Duration,
    room: Semaphore,
    idle: Mutex<Vec<(LoggedIn, Instant)>>,
}

impl fmt::Debug for Scout {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Scout({})", self.database)
    }
}

/// What was found out about one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scouted {
    /// Which of the action's statements, and what one calls it.
    pub(crate) statement: usize,
    pub(crate) verb: &'static str,
    /// How many rows there are, and whether there may be more.
    pub(crate) count: Result<(u64, More), String>,
    /// Whether the number is the very one that the statement is about.
    pub(crate) sure: bool,
    /// What the planner thinks, and its plan.
    pub(crate) plan: Result<(u64, String), String>,
    /// Bytes on disk that would be gone, where whole tables go.
    pub(crate) bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    No,
    Maybe,
}

/// Why something could not be found out.
#[derive(Debug, thiserror::Error)]
enum ScoutError {
    #[error("the gateway could not log in for it")]
    Login(#[from] LoginError),
    #[error("its connection was lost")]
    Lost(#[from] io::Error),
    #[error("the answer is no protocol")]
    Frame(#[from] FrameError),
    #[error("the role that counts {0}, and it must not")]
    Role(String),
    /// With the server's SQLSTATE.
    #[error("{}", refused(.0))]
    Refused(String),
    /// A name would stand for another thing to it.
    #[error("the role that counts may not look into every schema of the search path")]
    Schemas,
    #[error("the answer is not what was asked for")]
    Answer,
}

/// In words of ours: the server's own can quote anything.
fn refused(sqlstate: &str) -> String {
    match sqlstate {
        "57014" => "it took too long".into(),
        "55P03" => "a lock stood in the way".into(),
        "42501" => "the role that counts may not read it".into(),
        "42P01" | "3F000" | "42703" | "42883" => "the role that counts does not see what it names".into(),
        code => format!("the server refused it with SQLSTATE {code}"),
    }
}

impl Scout {
    pub(crate) fn new(way: Arc<Way>, database: String, within: Duration) -> Self {
        Self { way, database, within, room: Semaphore::new(ROOM), idle: Mutex::default() }
    }

    /// Who asks.
    pub(crate) fn role(&self) -> &str {
        &self.way.credential.user
    }

    /// Finds out what there is to be found out, each statement within its time. `settings` are those of the session that
    /// the words of the statements are read with.
    pub(crate) async fn look(
        &self,
        preflight: &Preflight,
        asked: &[Asked],
        settings: &BTreeMap<String, String>,
        nonce: [u8; 18],
    ) -> Vec<Scouted> {
        let late = || "it took too long".to_owned();
        let mut found: Vec<Scouted> = preflight
            .counts
            .iter()
            .map(|counted| Scouted::without(counted, counted.rows.clone().err().unwrap_or_else(late)))
            .collect();
        let some = u32::try_from(preflight.counts.iter().filter(|counted| counted.rows.is_ok()).count());
        let Ok(some @ 1..) = some else { return found };
        let look = async {
            let _place = self.room.acquire().await.map_err(|_| ScoutError::Answer)?;
            let (mut connection, since) = self.connection(nonce).await?;
            for (found, counted) in found.iter_mut().zip(&preflight.counts) {
                if let Ok(rows) = &counted.rows {
                    let path = &preflight.search_path;
                    one(&mut connection, rows, asked, (path, settings), found).await?;
                }
            }
            self.idle.lock().push((connection, since));
            Ok(())
        };
        // Let go in the middle, its connection is dropped, and the server ends what runs by its own clock.
        match timeout(self.within * 2 * some + GRACE, look).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                let error: ScoutError = error;
                tracing::warn!(database = %self.database, %error, "a statement could not be looked into");
                let untold = found.iter_mut().zip(&preflight.counts);
                for (found, counted) in untold.filter(|(found, _)| found.count == Err(late())) {
                    *found = Scouted::without(counted, error.to_string());
                }
            }
        }
        found
    }

    /// One that rested, or a new one of a role that is seen to be able to read only.
    async fn connection(&self, nonce: [u8; 18]) -> Result<(LoggedIn, Instant), ScoutError> {
        loop {
            let Some((mut kept, since)) = self.idle.lock().pop() else { break };
            if since.elapsed() < FRESH && ask(&mut kept, "SELECT 1", &[]).await.is_ok() {
                return Ok((kept, since));
            }
        }
        let since = Instant::now();
        let millis = self.within.as_millis().to_string();
        let settings = [
            ("application_name", "countersign beforehand"),
            ("default_transaction_read_only", "on"),
            ("statement_timeout", &millis),
            ("lock_timeout", &millis),
            ("idle_in_transaction_session_timeout", &millis),
            ("row_security", "off"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut fresh = self.way.login(&self.database, &settings, nonce).await?;
        let why = ask(&mut fresh, ROLE, &[]).await?;
        if why.is_empty() { Ok((fresh, since)) } else { Err(ScoutError::Role(why)) }
    }
}

impl Scouted {
    fn without(counted: &Counted, why: String) -> Self {
        let (statement, verb) = (counted.statement, counted.verb);
        Self { statement, verb, count: Err(why.clone()), sure: false, plan: Err(why), bytes: None }
    }
}

/// Looks into one statement, in a transaction of its own that is rolled back.
async fn one(
    connection: &mut LoggedIn,
    rows: &Rows,
    asked: &[Asked],
    (path, settings): (&[String], &BTreeMap<String, String>),
    found: &mut Scouted,
) -> Result<(), ScoutError> {
    let all = asked.get(rows.asked).and_then(|asked| parameters(asked, &rows.parameters));
    let Some(values) = all else {
        found.count = Err("its parameters cannot be read".into());
        return Ok(());
    };
    begin(connection, path, settings).await?;
    let plan = ask(connection, &rows.explain, &values).await;
    if plan.is_err() {
        ask(connection, "ROLLBACK", &[]).await?;
        begin(connection, path, settings).await?;
    }
    found.plan = plan.and_then(|text| estimate(&text)).map_err(|error| error.to_string());
    if let Some(bytes) = &rows.bytes {
        let told = ask(connection, bytes, &[]).await;
        if told.is_err() {
            ask(connection, "ROLLBACK", &[]).await?;
            begin(connection, path, settings).await?;
        }
        found.bytes = told.ok().and_then(|text| text.parse().ok());
    }
    let count = ask(connection, &rows.count, &values).await;
    ask(connection, "ROLLBACK", &[]).await?;
    let count = count.and_then(|text| text.parse::<u64>().map_err(|_| ScoutError::Answer));
    let more = |count| if count >= rows.most { More::Maybe } else { More::No };
    found.count = count.map(|count| (count, more(count))).map_err(|error| error.to_string());
    found.sure = rows.sure;
    Ok(())
}

/// The values a query is asked with, each with its type.
fn parameters<'a>(asked: &'a Asked, which: &[usize]) -> Option<Vec<(u32, &'a BoundValue)>> {
    let values = asked.values.as_deref().unwrap_or_default();
    let one = |at: &usize| Some((asked.types.get(*at).copied().unwrap_or(0), values.get(*at)?));
    which.iter().map(one).collect()
}

/// A search path as a setting is written. Temporary schemas are each session's own.
fn path(names: &[String]) -> String {
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let named = names.iter().filter(|name| *name != "pg_temp");
    named.map(quoted).collect::<Vec<_>>().join(", ")
}

async fn begin(
    connection: &mut LoggedIn,
    names: &[String],
    settings: &BTreeMap<String, String>,
) -> Result<(), ScoutError> {
    ask(connection, "BEGIN TRANSACTION READ ONLY", &[]).await?;
    let (listed, path) = (Value::from(names).to_string(), path(names));
    let settings = ["datestyle", "intervalstyle", "timezone"]
        .into_iter()
        .filter_map(|name| Some((name, settings.get(name)?.as_str())))
        .chain([("search_path", path.as_str())]);
    for (name, value) in settings {
        let values = [name, value].map(|text| BoundValue::Text(text.as_bytes().to_vec().into()));
        let values: Vec<(u32, &BoundValue)> = values.iter().map(|value| (0, value)).collect();
        ask(connection, "SELECT pg_catalog.set_config($1, $2, true)", &values).await?;
    }
    let listed = BoundValue::Text(listed.into());
    let sees = ask(connection, SEES, &[(0, &listed)]).await?;
    if sees == "true" { Ok(()) } else { Err(ScoutError::Schemas) }
}

/// The first column of the answer's last row; the server takes no second statement here.
async fn ask(
    connection: &mut LoggedIn,
    sql: &str,
    values: &[(u32, &BoundValue)],
) -> Result<String, ScoutError> {
    let mut out = BytesMut::new();
    let count = i16::try_from(values.len()).map_err(|_| ScoutError::Answer)?;
    message(&mut out, b'P', |out| {
        put_text(out, "");
        put_text(out, sql);
        out.put_i16(count);
        for (kind, _) in values {
            out.put_u32(*kind);
        }
    });
    message(&mut out, b'B', |out| {
        put_text(out, "");
        put_text(out, "");
        out.put_i16(count);
        for (_, value) in values {
            out.put_i16(i16::from(matches!(value, BoundValue::Binary(_))));
        }
        out.put_i16(count);
        for (_, value) in values {
            match value {
                BoundValue::Null => out.put_i32(-1),
                BoundValue::Text(bytes) | BoundValue::Binary(bytes) => {
                    out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
                    out.extend_from_slice(bytes);
                }
            }
        }
        out.put_i16(0);
    });
    message(&mut out, b'E', |out| {
        put_text(out, "");
        out.put_i32(0);
    });
    message(&mut out, b'S', |_| {});
    connection.stream.write_all(&out).await?;
    connection.stream.flush().await?;
    let (mut last, mut failed) = (String::new(), None);
    loop {
        let Some(frame) = crate::frame::take(&mut connection.buffer, LONGEST)? else {
            if connection.stream.read_buf(&mut connection.buffer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            continue;
        };
        match Backend::of(frame.tag) {
            Some(Backend::DataRow) => {
                let row = Fields::new(frame.body()).first_column()?;
                // A plan may come in lines.
                if !last.is_empty() {
                    last.push('\n');
                }
                last.push_str(&row);
            }
            Some(Backend::ErrorResponse) => failed = Some(sqlstate(frame.body())?),
            Some(Backend::ReadyForQuery) => {
                return failed.map_or(Ok(last), |code| Err(ScoutError::Refused(code)));
            }
            _ => {}
        }
    }
}

/// The rows a plan expects, and the plan itself.
fn estimate(plan: &str) -> Result<(u64, String), ScoutError> {
    let read: Value = serde_json::from_str(plan).map_err(|_| ScoutError::Answer)?;
    let rows = read.pointer("/0/Plan/Plan Rows").and_then(Value::as_f64).ok_or(ScoutError::Answer)?;
    let bounded = rows.clamp(0.0, 1e18);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was bounded to what fits"
    )]
    let rows = bounded as u64;
    Ok((rows, plan.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_how_many_rows_it_expects() {
        let plan =
            r#"[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": 14285, "Plans": [{"Plan Rows": 3}]}}]"#;
        assert_eq!(estimate(plan).unwrap().0, 14_285);
        assert_eq!(estimate(r#"[{"Plan": {"Plan Rows": 1e30}}]"#).unwrap().0, 1_000_000_000_000_000_000);
        for wrong in ["", "[]", "[{\"Plan\": {\"Plan Rows\": \"7\"}}]"] {
            assert!(estimate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_in_a_search_path_stay_names() {
        let names = ["$user", "pg_temp", "a\", public; --"].map(str::to_owned);
        assert_eq!(path(&names), "\"$user\", \"a\"\", public; --\"");
        assert_eq!(path(&[]), "");
    }
}
