//! What a session is at this moment, as the server told and as its statements made it.

use super::{
    pipeline::{Names, Parsed, Step},
    reason::Setting,
    stood::{Moment, Still},
};
use crate::{
    startup::Claims,
    understand::{
        Chain, Prepared, SessionEffect, SessionFacts, SettingKind, SqlOperation, Statement,
        TransactionControl, TransactionStatus, changes_literals,
    },
};
use countersign_core::Digest;
use std::{collections::BTreeMap, sync::Arc};

/// The server's word for a transaction block, in `ReadyForQuery`.
pub(super) const IDLE: u8 = b'I';
pub(super) const OPEN: u8 = b'T';
pub(super) const FAILED: u8 = b'E';

/// What the server reports by itself.
#[derive(Debug)]
pub(super) struct Parameters {
    told: BTreeMap<String, String>,
    /// Whether the next transaction begins read-only, for now.
    pub(super) read_only: bool,
    /// The same as the client wants it.
    pub(super) wants_read_only: bool,
}

const READ_ONLY: &str = "default_transaction_read_only";

/// Reported settings that change what a text means, and so are part of what is asked for.
const MEANING: [&str; 5] =
    ["DateStyle", "IntervalStyle", "TimeZone", "standard_conforming_strings", "client_encoding"];

impl Parameters {
    pub(super) fn new(told: BTreeMap<String, String>) -> Self {
        let read_only = told.get(READ_ONLY).is_some_and(|value| value == "on");
        Self { told, read_only, wants_read_only: read_only }
    }

    /// The server reports a setting; `own` when the gateway's own statement changed it.
    pub(super) fn told(&mut self, name: &str, value: &str, own: bool) {
        if name == READ_ONLY {
            self.read_only = value == "on";
            if !own {
                self.wants_read_only = self.read_only;
            }
        }
        self.told.insert(name.to_owned(), value.to_owned());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.told.iter()
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.told.get(name).is_some_and(|told| told == value)
    }

    /// Whether texts are read here as the server reads them.
    pub(super) fn readable(&self) -> bool {
        self.is("client_encoding", "UTF8")
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct State {
    pub(super) status: u8,
    pub(super) parameters: Parameters,
    pub(super) names: Names,
    facts: SessionFacts,
    /// Over everything that ran in the open transaction.
    transaction: Option<Digest>,
    /// Something failed since the server last said where the session stands.
    failed: bool,
    /// A setting that must be asked for anew may have changed.
    pub(super) stale: bool,
    /// One may have changed in the open transaction, and change back with its end.
    touched: bool,
    /// What the client says its statements are for, at start-up and now.
    claimed: [Claims; 2],
    pub(super) statements: i64,
    pub(super) rows_read: i64,
    pub(super) rows_written: i64,
    pub(super) refusals: i64,
}

impl State {
    pub(super) fn new(
        parameters: BTreeMap<String, String>,
        database: String,
        user: String,
        claims: Claims,
    ) -> Self {
        Self {
            status: IDLE,
            parameters: Parameters::new(parameters),
            names: Names::default(),
            facts: SessionFacts { database, user, ..SessionFacts::default() },
            transaction: None,
            failed: false,
            stale: true,
            touched: false,
            claimed: [claims.clone(), claims],
            statements: 0,
            rows_read: 0,
            rows_written: 0,
            refusals: 0,
        }
    }

    /// What the client says of its statements; `None` goes back to what it said at start-up.
    pub(super) fn claim(&mut self, setting: Setting, claimed: Option<&str>) {
        let [first, now] = &mut self.claimed;
        now.set(
            setting,
            claimed.map_or_else(|| first.of(setting).cloned(), |claimed| Some(claimed.to_owned())),
        );
    }

    /// What it says now, where that is anything.
    pub(super) fn claimed(&self, setting: Setting) -> Option<String> {
        let [_, now] = &self.claimed;
        now.of(setting).filter(|said| !said.trim().is_empty()).cloned()
    }

    /// What the reading of a kept text depends on now.
    pub(super) fn moment(&self, catalog: u64) -> Moment {
        let SessionFacts { search_path, role, temporary, opaque, uncommitted, settings, .. } = &self.facts;
        let told = MEANING.iter().filter_map(|name| {
            Some(((*name).to_ascii_lowercase(), self.parameters.told.get(*name)?.clone()))
        });
        let set = settings.iter().filter(|(name, _)| changes_literals(name));
        Moment {
            literals: set.map(|(name, value)| (name.clone(), value.clone())).chain(told).collect(),
            search_path: search_path.clone(),
            role: role.clone(),
            temporary: temporary.clone(),
            hides: *opaque || *uncommitted,
            catalog,
        }
    }

    /// What the meaning of the next text depends on; `steps` are those of the pipeline that it is part of. Where the text may
    /// name something kept, `now` is the moment: what means something else by now is not known.
    pub(super) fn facts(&self, steps: &[Step], now: Option<&Moment>) -> SessionFacts {
        let mut facts = self.facts.clone();
        facts.standard_conforming_strings = self.parameters.is("standard_conforming_strings", "on");
        facts.transaction = match self.status {
            OPEN => TransactionStatus::InTransaction,
            FAILED => TransactionStatus::Failed,
            _ => TransactionStatus::Idle,
        };
        let Some(now) = now else { return facts };
        for (name, parsed) in &self.names.statements {
            let Parsed { sql, types, by_sql, .. } = parsed;
            let prepared = Prepared { text: Arc::clone(sql), types: Arc::clone(types), by_sql: *by_sql };
            facts.prepared.insert(name.clone(), prepared);
            if parsed.stood.still(sql, now) != Still::Yes {
                facts.other_statements.insert(name.clone());
            }
        }
        let declared = &self.names.declared;
        let is_other = |name: &&String| {
            declared.get(*name).is_none_or(|(text, stood)| stood.still(text, now) != Still::Yes)
        };
        facts.other_portals.extend(self.facts.cursors.keys().filter(is_other).cloned());
        facts.other_portals.extend(self.names.portals.keys().cloned());
        for step in steps {
            match step {
                Step::Parse { name, .. } | Step::CloseStatement(name) => {
                    facts.other_statements.insert(name.clone());
                }
                Step::Bind { name, .. } | Step::ClosePortal(name) => {
                    facts.other_portals.insert(name.clone());
                }
                Step::DescribeStatement(_) | Step::DescribePortal(_) | Step::Execute(_) | Step::Own => {}
            }
        }
        // Nothing in SQL names these.
        facts.other_statements.remove("");
        facts.other_portals.remove("");
        facts
    }

    /// Whether what this session defined is everybody's by now, so that the catalog says it.
    pub(super) fn may_forget_definitions(&self) -> bool {
        self.facts.uncommitted && self.status == IDLE
    }

    pub(super) fn forget_definitions(&mut self) {
        self.facts.uncommitted = false;
    }

    /// What a session adds to the digest of its actions.
    pub(super) fn context(&self) -> BTreeMap<String, String> {
        let mut context: BTreeMap<String, String> = MEANING
            .iter()
            .filter_map(|name| Some(((*name).to_ascii_lowercase(), self.parameters.told.get(*name)?.clone())))
            .collect();
        // Beside them those that the server does not report, as the session set them.
        for (name, value) in &self.facts.settings {
            if !MEANING.iter().any(|told| told.eq_ignore_ascii_case(name)) {
                context.insert(format!("set {name}"), value.clone());
            }
        }
        context.insert("database".into(), self.facts.database.clone());
        context.insert("search_path".into(), self.facts.search_path.join(", "));
        context.insert("user".into(), self.facts.role.clone().unwrap_or_else(|| self.facts.user.clone()));
        if self.status != IDLE || self.transaction.is_some() {
            let earlier = self.transaction.map_or_else(|| "begun".to_owned(), |digest| digest.to_string());
            context.insert("transaction".into(), earlier);
        }
        context
    }

    /// The server was asked for what it does not report.
    pub(super) fn asked(&mut self, search_path: &str, role: &str) {
        self.facts.search_path = split_path(search_path);
        self.facts.role = Some(role.to_owned()).filter(|role| role != "none" && *role != self.facts.user);
        self.stale = false;
    }

    /// Takes in what ran: these statements succeeded, each with what the server said of it, and then one failed or none
    /// did. Whether that rolled anything back is known once the server says where the session stands ([`Self::stands`]).
    pub(super) fn ran(&mut self, done: &[(&Statement, &str)], ended: End, digest: Digest, flushed: bool) {
        for (statement, tag) in done {
            for effect in &statement.session {
                match rolled_back(effect).filter(|_| *tag == "ROLLBACK") {
                    Some(rolled_back) => self.facts.apply(&rolled_back),
                    None => self.facts.apply(effect),
                }
            }
        }
        // Prepared statements stand in the names, in whichever way they came, and so does what is not known of them.
        self.facts.prepared.clear();
        self.facts.other_statements.clear();
        let effects: Vec<_> = done.iter().flat_map(|(statement, _)| &statement.session).collect();
        // Poolers do this between one client and the next.
        let forgets = effects.iter().any(|effect| {
            let all = matches!(effect, SessionEffect::Set(change) if change.name == "*");
            all || matches!(effect, SessionEffect::Discard)
        });
        if forgets {
            for setting in Setting::ALL {
                self.claim(setting, None);
            }
        }
        let mut touched = effects.iter().any(|effect| changes_meaning(effect));
        if ended != End::Done {
            self.failed = true;
            // What failed midway may have done anything to the session.
            touched = true;
        }
        if ended == End::Unseen {
            self.facts.apply(&SessionEffect::Opaque);
        }
        self.touched |= touched;
        self.stale |= touched;
        // What was flushed and not summed up is in a transaction as well.
        if self.status != IDLE || flushed {
            let earlier = self.transaction.unwrap_or(Digest([0; 32]));
            let parts: [&[u8]; 2] = [earlier.as_bytes(), digest.as_bytes()];
            self.transaction = Some(Digest::of_parts("countersign/sql-transaction/v1", &parts));
        }
    }

    /// Something failed that was no statement of an action.
    pub(super) fn fails(&mut self) {
        self.failed = true;
    }

    /// The server has said where the session stands. Outside a transaction, what has failed was rolled back.
    pub(super) fn stands(&mut self) {
        let failed = std::mem::take(&mut self.failed);
        if self.status != IDLE {
            return;
        }
        if failed {
            self.facts.roll_back();
        }
        // What was set in a transaction may have ended with it.
        self.stale |= std::mem::take(&mut self.touched);
        self.facts.rest();
        self.transaction = None;
        self.names.portals.clear();
        let open = &self.facts.cursors;
        self.names.declared.retain(|name, _| open.contains_key(name));
    }

    /// Whether the end of the transaction, or of a part of it, changes what texts are read with.
    pub(super) fn returns(&self) -> bool {
        self.status == FAILED || self.facts.returns()
    }
}

/// What the end of a transaction was where the server answers it with `ROLLBACK`, whatever it is called: one that has failed.
fn rolled_back(effect: &SessionEffect) -> Option<SessionEffect> {
    let SessionEffect::Transaction(control) = effect else { return None };
    let chain = if let TransactionControl::Commit { chain } = control { *chain } else { Chain::No };
    matches!(control, TransactionControl::Commit { .. } | TransactionControl::Prepare { .. })
        .then_some(SessionEffect::Transaction(TransactionControl::Rollback { chain }))
}

/// How it is with a statement that failed; `in_block`: in a transaction that the client began, where code cannot commit.
pub(super) fn failed(statement: Option<&Statement>, in_block: bool) -> End {
    let is = |wanted: SqlOperation| {
        move |statement: &Statement| statement.effects.iter().any(|effect| effect.operation == wanted)
    };
    let unseen = statement.is_some_and(|statement| {
        let code = is(SqlOperation::Code)(statement) && !in_block;
        statement.session.contains(&SessionEffect::Opaque) && (code || is(SqlOperation::Unknown)(statement))
    });
    if unseen { End::Unseen } else { End::Failed }
}

/// How what ran ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Failed,
    /// It failed, and code ran in it that may have committed before.
    Unseen,
}

fn changes_meaning(effect: &SessionEffect) -> bool {
    match effect {
        SessionEffect::Set(change) => change.kind == SettingKind::Meaning,
        SessionEffect::Discard
        | SessionEffect::Opaque
        | SessionEffect::Transaction(TransactionControl::RollbackTo { .. }) => true,
        SessionEffect::Transaction(_)
        | SessionEffect::Prepare { .. }
        | SessionEffect::Deallocate { .. }
        | SessionEffect::DeclareCursor { .. }
        | SessionEffect::CloseCursor { .. }
        | SessionEffect::CreateTemporary { .. }
        | SessionEffect::DropTemporary { .. }
        | SessionEffect::Listen
        | SessionEffect::Defines => false,
    }
}

/// A search path as `SHOW` writes it.
fn split_path(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let (mut part, mut quoted) = (String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(std::mem::take(&mut part)),
            ' ' if !quoted => {}
            other => part.push(other),
        }
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_path_is_read_as_it_is_shown() {
        for (text, want) in [
            ("\"$user\", public", vec!["$user", "public"]),
            ("", vec![]),
            ("\"a, \"\"b\", c", vec!["a, \"b", "c"]),
        ] {
            assert_eq!(split_path(text), want, "{text}");
        }
    }

    #[test]
    fn the_gateways_own_guard_is_not_the_clients_wish() {
        let mut parameters = Parameters::new([(READ_ONLY.to_owned(), "off".to_owned())].into());
        parameters.told(READ_ONLY, "on", true);
        assert_eq!((parameters.read_only, parameters.wants_read_only), (true, false));
        parameters.told(READ_ONLY, "on", false);
        assert!(parameters.wants_read_only);
    }
}
