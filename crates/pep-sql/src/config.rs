//! The `[[postgres]]` sections of the configuration: as people write them, and checked into what the gateway runs on.
//! Every fault of a section is found in one go. A secret never stands here, only a reference to it.

use crate::{
    beforehand::Scout,
    catalogs::Watch,
    session::Masked,
    startup::ALPN,
    understand::{Hidden, Masking, SqlTarget, TableLabels},
    upstream::{Address, Way, credential::Credential},
};
use countersign_core::{GroupName, TargetName};
use countersign_pep::{
    Fault, NOT_A_REFERENCE, SecretRef, Size, Span, kept, named,
    tls::{Acceptor, ListenerTlsSection, UpstreamTlsSection},
};
use rustls::ClientConfig;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Whoever waits for a count waits with a statement.
const LONGEST_PREFLIGHT: Duration = Duration::from_mins(1);

/// What the system can be told, and what it does by itself.
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(2);

/// One `[[postgres]]` section, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSection {
    pub name: String,
    pub environment: String,
    /// Where agents reach this target, such as `127.0.0.1:7432`. Targets may share one: clients then name the target
    /// behind `#` in their user name, or by their database.
    pub listen: SocketAddr,
    /// `host:port`, or `unix:/run/postgresql/.s.PGSQL.5432`.
    pub upstream: String,
    /// The databases that are offered.
    pub databases: BTreeSet<String>,
    pub credential: CredentialSection,
    /// A role that counts rows before somebody decides; left out, nothing is counted.
    pub preflight: Option<PreflightSection>,
    /// TLS towards agents.
    pub listener_tls: Option<ListenerTlsSection>,
    /// TLS towards the database; demanded unless it is on this machine.
    pub upstream_tls: Option<UpstreamTlsSection>,
    /// Who may connect without TLS.
    #[serde(default)]
    pub plain: Plain,
    /// How long a client waits for people before it is told to come back.
    #[serde(default = "default_hold")]
    pub hold_limit: Span,
    /// The same inside a transaction, which stays open for so long.
    #[serde(default = "default_transaction_hold")]
    pub transaction_hold_limit: Span,
    #[serde(default)]
    pub labels: BTreeSet<String>,
    #[serde(default)]
    pub tables: Vec<TableSection>,
    /// What some may see only masked.
    pub mask: Option<MaskSection>,
    /// The key that results are kept under where a policy says `@keep_results`: `env:NAME` or `file:PATH`, 32 bytes in
    /// base64. Left out, such statements do not run.
    pub results_key_from: Option<String>,
    /// Functions taken to be harmless, as `schema.name` or `schema.*`.
    #[serde(default)]
    pub trusted_functions: BTreeSet<String>,
    /// Reads of more rows than this are exports.
    #[serde(default = "default_export_rows")]
    pub export_rows: u64,
    #[serde(default)]
    pub limits: LimitsSection,
}

/// The role the gateway logs in as.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSection {
    /// Its name in policies, approvals and the ledger.
    pub profile: String,
    pub user: String,
    /// The password: `env:NAME` or `file:PATH`.
    pub value_from: String,
    /// Send the password as it is when the database asks for that; only through TLS or to this machine.
    #[serde(default)]
    pub cleartext: bool,
}

/// The role that finds out beforehand how many rows a statement is about. It must not be able to write.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightSection {
    pub user: String,
    /// The password: `env:NAME` or `file:PATH`.
    pub value_from: String,
    /// Send the password as it is when the database asks for that; only through TLS or to this machine.
    #[serde(default)]
    pub cleartext: bool,
    /// How long counting one statement may take, and planning it.
    #[serde(default = "default_preflight")]
    pub within: Span,
}

/// What policy knows about some tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSection {
    /// `schema.table`, where either may be `*`.
    pub table: String,
    /// Only when one of these columns may be touched; empty: the table as a whole.
    #[serde(default)]
    pub columns: BTreeSet<String>,
    pub labels: BTreeSet<String>,
}

/// Values that are hidden in results, for everybody but some groups.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSection {
    /// Columns with any of these labels.
    pub labels: BTreeSet<String>,
    #[serde(default)]
    pub with: MaskWith,
    /// Members of these groups see them.
    #[serde(default)]
    pub except: BTreeSet<GroupName>,
}

/// What stands in the place of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskWith {
    #[default]
    Null,
    Hash,
    Partial,
}

/// Who may connect without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plain {
    #[default]
    Loopback,
    Never,
    /// Tokens then travel where others may read them.
    Anywhere,
}

impl Plain {
    /// Whether a client may connect without TLS; `local` when it is on this machine.
    pub(crate) const fn admits(self, local: bool) -> bool {
        match self {
            Self::Loopback => local,
            Self::Never => false,
            Self::Anywhere => true,
        }
    }
}

/// Timeouts and bounds of connections.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Connecting and logging in to the database.
    pub connect: Span,
    /// From a client's first byte until its token is known.
    pub login: Span,
    /// The longest statement or pipeline that is read before deciding.
    pub message: Size,
    /// Sessions at the same time, of all agents.
    pub connections: usize,
    /// The same of one agent.
    pub agent_connections: usize,
    /// A session in which neither side said anything for so long is ended.
    pub idle: Span,
    /// After how long without a sign of life the other side is asked for one; gone is who gives none for as long again.
    pub keepalive: Span,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connect: Span(Duration::from_secs(10)),
            login: Span(Duration::from_secs(30)),
            message: Size(16 << 20),
            connections: 1_000,
            agent_connections: 400,
            idle: Span(Duration::from_hours(24)),
            keepalive: Span(Duration::from_secs(30)),
        }
    }
}

impl LimitsSection {
    /// Says what could not work.
    fn check(&self, place: &str, faults: &mut Vec<Fault>) {
        for (name, bound) in
            [("connections", self.connections), ("agent_connections", self.agent_connections)]
        {
            if bound == 0 {
                let why = "nobody could connect";
                faults.push(Fault::new(format!("{place}.limits.{name}"), why, "write at least 1"));
            }
        }
        if self.idle.0.is_zero() {
            let why = "every session would end at once";
            faults.push(Fault::new(format!("{place}.limits.idle"), why, "write for example `24h`"));
        }
        if !KEEPALIVE.contains(&self.keepalive.0) {
            let why =
                "peers are asked for a sign of life after a second at the least and two hours at the most";
            faults.push(Fault::new(format!("{place}.limits.keepalive"), why, "write for example `30s`"));
        }
    }
}

/// A target the gateway can run.
#[derive(Debug)]
pub struct PostgresTarget {
    pub listen: SocketAddr,
    pub databases: BTreeSet<String>,
    pub credential_profile: String,
    /// TLS towards agents; `None` offers none.
    pub acceptor: Option<Acceptor>,
    pub plain: Plain,
    pub hold_limit: Duration,
    pub transaction_hold_limit: Duration,
    pub limits: LimitsSection,
    /// What the words of statements are read against.
    pub sql: Arc<SqlTarget>,
    /// What kept results are encrypted with.
    pub(crate) results_key: Option<SecretRef>,
    pub(crate) masked: Option<Masked>,
    pub(crate) way: Arc<Way>,
    pub(crate) catalogs: BTreeMap<String, Arc<Watch>>,
    /// What counts rows in each database; empty where nothing does.
    pub(crate) scouts: BTreeMap<String, Arc<Scout>>,
}

impl PostgresTarget {
    pub fn name(&self) -> &TargetName {
        &self.sql.target
    }

    /// Where its statements go, as it is written.
    pub fn upstream(&self) -> String {
        self.way.address.to_string()
    }
}

impl PostgresSection {
    /// Checks the section; relative paths start at `folder`.
    pub fn check(self, folder: &Path) -> Result<PostgresTarget, Vec<Fault>> {
        let place = format!("postgres.{}", self.name);
        let mut faults = Vec::new();
        let names = named(&place, &self.name, &self.environment, &mut faults);
        if self.databases.is_empty() {
            let why = "no database is offered";
            faults.push(Fault::new(
                format!("{place}.databases"),
                why,
                "name at least one, such as `[\"shop\"]`",
            ));
        }
        let tables = self.tables(&place, &mut faults);
        let masked = self.masked(&place, &mut faults);
        let address = kept(
            Address::read(&self.upstream).map_err(|why| {
                Fault::new(
                    format!("{place}.upstream"),
                    why,
                    "write `host:port` or `unix:/path/to/.s.PGSQL.5432`",
                )
            }),
            &mut faults,
        );
        let credential = Credential::read(&self.credential, &format!("{place}.credential"), folder);
        let credential = kept(credential, &mut faults);
        let counting = self.counting(&place, folder, &mut faults);
        let acceptor = self.listener_tls.as_ref();
        let acceptor = acceptor.map(|section| section.acceptor(&place, folder, &[ALPN]));
        let acceptor = acceptor.and_then(|made| kept(made, &mut faults));
        if self.plain == Plain::Never && self.listener_tls.is_none() {
            let why = "TLS is demanded of clients, and there is no certificate";
            faults.push(Fault::new(format!("{place}.plain"), why, "add `listener_tls`"));
        }
        self.limits.check(&place, &mut faults);
        let results_key = self.results_key(&place, folder, &mut faults);
        let connector = self.connector(&place, folder, address.as_ref(), &mut faults);
        let (Some((target, environment)), Some(address), Some(credential), true) =
            (names, address, credential, faults.is_empty())
        else {
            return Err(faults);
        };
        let server_name = self.upstream_tls.as_ref().and_then(|section| section.server_name.clone());
        let sql = SqlTarget {
            target,
            environment,
            labels: self.labels,
            tables,
            trusted_functions: self.trusted_functions,
            export_rows: self.export_rows,
        };
        let way = Arc::new(Way {
            address,
            credential,
            connector,
            server_name,
            connect: self.limits.connect.0,
            keepalive: self.limits.keepalive.0,
        });
        let watch = |name: &String| (name.clone(), Arc::new(Watch::new(Arc::clone(&way), name.clone())));
        let catalogs = self.databases.iter().map(watch).collect();
        let scouts = counting.map(|(credential, within)| {
            let way = Arc::new(Way { credential, ..Way::clone(&way) });
            let scout = |name: &String| Arc::new(Scout::new(Arc::clone(&way), name.clone(), within));
            self.databases.iter().map(|name| (name.clone(), scout(name))).collect()
        });
        Ok(PostgresTarget {
            listen: self.listen,
            databases: self.databases,
            credential_profile: self.credential.profile,
            acceptor,
            plain: self.plain,
            hold_limit: self.hold_limit.0,
            transaction_hold_limit: self.transaction_hold_limit.0,
            limits: self.limits,
            sql: Arc::new(sql),
            masked,
            results_key,
            catalogs,
            scouts: scouts.unwrap_or_default(),
            way,
        })
    }

    fn results_key(&self, place: &str, folder: &Path, faults: &mut Vec<Fault>) -> Option<SecretRef> {
        let text = self.results_key_from.as_ref()?;
        let reference = SecretRef::read(text, folder);
        let fault = |why| Fault::new(format!("{place}.results_key_from"), why, NOT_A_REFERENCE);
        kept(reference.map_err(fault), faults)
    }

    fn masked(&self, place: &str, faults: &mut Vec<Fault>) -> Option<Masked> {
        let MaskSection { labels, with, except } = self.mask.clone()?;
        let known: BTreeSet<&String> =
            self.labels.iter().chain(self.tables.iter().flat_map(|table| &table.labels)).collect();
        for label in labels.iter().filter(|label| !known.contains(label)) {
            let why = format!("`{label}` is a label of nothing here, so it would hide nothing");
            let remedy = "give the label to a table or to columns, or leave it out";
            faults.push(Fault::new(format!("{place}.mask.labels"), why, remedy));
        }
        if labels.is_empty() {
            let why = "no label is named, so nothing would be hidden";
            faults.push(Fault::new(format!("{place}.mask.labels"), why, "name a label, or leave out `mask`"));
        }
        let masking = match with {
            MaskWith::Null => Masking::Null,
            MaskWith::Hash => Masking::Hash,
            MaskWith::Partial => Masking::Partial,
        };
        let mut key = [0; 32];
        if aws_lc_rs::rand::fill(&mut key).is_err() {
            let why = "no random key for masked values could be made";
            faults.push(Fault::new(format!("{place}.mask"), why, "start the gateway again"));
        }
        Some(Masked { hidden: Hidden { labels, masking, key }, except })
    }

    fn tables(&self, place: &str, faults: &mut Vec<Fault>) -> Vec<TableLabels> {
        let mut tables = Vec::new();
        for (index, section) in self.tables.iter().enumerate() {
            match section.table.split_once('.') {
                Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                    tables.push(TableLabels {
                        schema: schema.into(),
                        table: table.into(),
                        columns: section.columns.clone(),
                        labels: section.labels.clone(),
                    });
                }
                _ => faults.push(Fault::new(
                    format!("{place}.tables[{index}].table"),
                    format!("`{}` names no schema and table", section.table),
                    "write for example `public.users` or `*.users`",
                )),
            }
        }
        tables
    }

    /// The credential of the role that counts, and how long it may take.
    fn counting(
        &self,
        place: &str,
        folder: &Path,
        faults: &mut Vec<Fault>,
    ) -> Option<(Credential, Duration)> {
        let section = self.preflight.as_ref()?;
        let PreflightSection { user, value_from, cleartext, within } = section.clone();
        if user == self.credential.user {
            let why = "the role that counts is the one that statements run as";
            faults.push(Fault::new(format!("{place}.preflight.user"), why, "name a role that may only read"));
        }
        if within.0 < Duration::from_millis(1) || within.0 > LONGEST_PREFLIGHT {
            let why = "counting may take from a millisecond to a minute";
            faults.push(Fault::new(format!("{place}.preflight.within"), why, "write for example `2s`"));
        }
        let section = CredentialSection { profile: "preflight".into(), user, value_from, cleartext };
        let credential = Credential::read(&section, &format!("{place}.preflight"), folder);
        kept(credential, faults).map(|credential| (credential, within.0))
    }

    fn connector(
        &self,
        place: &str,
        folder: &Path,
        address: Option<&Address>,
        faults: &mut Vec<Fault>,
    ) -> Option<Arc<ClientConfig>> {
        match (&self.upstream_tls, address) {
            (Some(_), Some(Address::Unix(_))) => {
                let why = "a socket of this machine speaks no TLS";
                faults.push(Fault::new(format!("{place}.upstream_tls"), why, "leave it out"));
                None
            }
            (Some(section), _) => kept(section.connector(place, folder, &[]), faults),
            (None, Some(address)) if !address.is_local() => {
                let why = "the database is on another machine, and nothing says how it proves itself";
                let remedy = "add `upstream_tls = {}`, with `ca` where its certificate is not a public one";
                faults.push(Fault::new(format!("{place}.upstream_tls"), why, remedy));
                None
            }
            (None, _) => None,
        }
    }
}

fn default_preflight() -> Span {
    Span(Duration::from_secs(2))
}

fn default_hold() -> Span {
    Span(Duration::from_hours(1))
}

fn default_transaction_hold() -> Span {
    Span(Duration::from_mins(1))
}

const fn default_export_rows() -> u64 {
    SqlTarget::EXPORT_ROWS
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn section() -> Value {
        json!({
            "name": "shop", "environment": "prod", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:5432",
            "databases": ["shop"], "credential": {"profile": "rw", "user": "app", "value_from": "file:secret"},
        })
    }

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut value = section();
        change(&mut value);
        let read: PostgresSection = serde_json::from_value(value).unwrap();
        let checked = read.check(Path::new("/nowhere"));
        checked
            .err()
            .unwrap_or_default()
            .iter()
            .map(|fault| format!("{}: {}", fault.place, fault.why))
            .collect()
    }

    #[test]
    fn a_section_is_checked_whole() {
        assert_eq!(faults(|_| {}), Vec::<String>::new());
        let found = faults(|value| {
            value["environment"] = "no such thing!".into();
            value["databases"] = json!([]);
            value["upstream"] = "db.internal".into();
            value["credential"]["value_from"] = "hunter2".into();
            value["tables"] = json!([{"table": "users", "labels": []}]);
            value["plain"] = "never".into();
            value["mask"] = json!({"labels": ["pii"]});
            value["preflight"] = json!({"user": "app", "value_from": "hunter3", "within": "2m"});
            value["limits"] = json!({"agent_connections": 0, "idle": "0s", "keepalive": "10ms"});
        });
        let places: Vec<_> = found.iter().filter_map(|fault| fault.split(": ").next()).collect();
        let want = [
            "environment",
            "databases",
            "tables[0].table",
            "mask.labels",
            "upstream",
            "credential.value_from",
            "preflight.user",
            "preflight.within",
            "preflight.value_from",
            "plain",
            "limits.agent_connections",
            "limits.idle",
            "limits.keepalive",
        ];
        assert_eq!(places, want.map(|place| format!("postgres.shop.{place}")));
        assert!(!found.concat().contains("hunter"), "{found:?}");
    }

    #[test]
    fn who_may_connect_without_tls_is_said_by_the_target() {
        for (plain, here, elsewhere) in
            [(Plain::Loopback, true, false), (Plain::Never, false, false), (Plain::Anywhere, true, true)]
        {
            assert_eq!((plain.admits(true), plain.admits(false)), (here, elsewhere), "{plain:?}");
        }
    }

    #[test]
    fn another_machine_must_prove_itself() {
        let far = |value: &mut Value| value["upstream"] = "db.internal:5432".into();
        assert!(faults(far).concat().contains("upstream_tls"));
        assert_eq!(
            faults(|value| {
                far(value);
                value["upstream_tls"] = json!({});
            }),
            Vec::<String>::new()
        );
    }
}
