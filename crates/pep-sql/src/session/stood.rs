//! What a kept text stood for when the server took it in. The server keeps the tree that it made then, with literals as the
//! settings of that moment read them and relations as their names were found: read again later, the same text may mean
//! something else here than there.

use super::{
    Session,
    pipeline::{Parsed, Step},
};
use crate::{
    error::Ended,
    reply::{Said, sqlstate},
    understand::{Asked, Catalog, Question, SessionEffect, Statement, Understood},
};
use countersign_core::{Digest, RefusalCode};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What one kept text stood for; its clones are about the same text.
#[derive(Clone, Debug, Default)]
pub(super) struct Stood(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
enum Known {
    /// The server has not taken it in.
    #[default]
    Coming,
    /// With what its names stood for, where that was looked up.
    At(Arc<Moment>, Option<Digest>),
    /// Nobody can tell.
    Lost,
}

/// What the reading of a kept text depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Settings that its literals are read with.
    pub(super) literals: BTreeMap<String, String>,
    pub(super) search_path: Vec<String>,
    pub(super) role: Option<String>,
    pub(super) temporary: BTreeSet<String>,
    /// Names are not looked up at all.
    pub(super) hides: bool,
    /// The catalog's version.
    pub(super) catalog: u64,
}

impl Moment {
    fn finds_names_as(&self, other: &Self) -> bool {
        let Self { literals: _, search_path, role, temporary, hides, catalog } = self;
        (search_path, role, temporary) == (&other.search_path, &other.role, &other.temporary)
            && (*hides, *catalog) == (other.hides, other.catalog)
    }

    fn reads_literals_as(&self, other: &Self) -> bool {
        self.literals == other.literals
    }
}

/// Whether it still means what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Still {
    Yes,
    No,
    /// If its names stand for the same.
    Named(Digest),
}

/// No part of what a text is.
impl PartialEq for Stood {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Stood {}

impl Stood {
    pub(super) fn is_coming(&self) -> bool {
        matches!(*self.0.lock(), Known::Coming)
    }

    /// Distinct for every text that is kept.
    pub(super) fn place(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Code may have put something else in its place.
    pub(super) fn lose(&self) {
        *self.0.lock() = Known::Lost;
    }

    fn holds(&self, now: &Arc<Moment>, names: Option<Digest>) {
        *self.0.lock() = Known::At(Arc::clone(now), names);
    }

    /// Its names stand for the same at another moment. Its literals are what they were when the server read them.
    fn finds(&self, now: &Moment) {
        if let Known::At(then, _) = &mut *self.0.lock() {
            *then = Arc::new(Moment { literals: then.literals.clone(), ..now.clone() });
        }
    }

    pub(super) fn still(&self, sql: &str, now: &Moment) -> Still {
        match &*self.0.lock() {
            Known::Coming | Known::Lost => Still::No,
            Known::At(then, _) if has_literals(sql) && !then.reads_literals_as(now) => Still::No,
            Known::At(then, _) if then.finds_names_as(now) => Still::Yes,
            Known::At(_, names) => names.map_or(Still::No, Still::Named),
        }
    }
}

/// Whether a text may hold a literal that settings change the meaning of: numbers are none, and `$1` is no quote.
fn has_literals(sql: &str) -> bool {
    let bytes = sql.as_bytes();
    let quotes = |at: usize| !bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
    bytes.iter().enumerate().any(|(at, byte)| *byte == b'\'' || (*byte == b'$' && quotes(at)))
}

/// Texts that the server is about to take in, and what they stand for at this moment.
pub(super) struct Coming {
    moment: Arc<Moment>,
    names: BTreeMap<Arc<str>, Digest>,
}

impl Session {
    /// The catalog as it was a moment ago, and this session's own definitions in it once they are everybody's.
    pub(super) async fn known_catalog(&mut self) -> Arc<Catalog> {
        let nonce = || self.gate.journal().random();
        let mut catalog = self.catalog.current(nonce).await;
        if self.state.may_forget_definitions() {
            catalog = self.catalog.again(nonce).await;
            self.state.forget_definitions();
        }
        catalog
    }

    /// What the names of a kept text stand for now.
    async fn names_of(&self, sql: &Arc<str>, types: &[u32], catalog: &Arc<Catalog>) -> Digest {
        let asked = Asked { sql: Arc::clone(sql), types: types.to_vec(), values: Some(Vec::new()) };
        let question = Question {
            asked: vec![asked],
            session: self.state.facts(&[], None),
            catalog: Arc::clone(catalog),
            target: Arc::clone(&self.target.sql),
        };
        self.reader.understand(&question).await.names()
    }

    /// Looks at what is about to be kept: texts that steps parse, and those that statements prepare or declare. `None`: there
    /// is nothing. Of an unnamed text that runs at once, names are not looked up: the next one takes its place.
    pub(super) async fn coming(&mut self, steps: &[Step], understood: Option<&Understood>) -> Option<Coming> {
        let parsed = steps.iter().filter_map(|step| match step {
            Step::Parse { name, parsed } => Some((name.is_empty(), (&parsed.sql, &*parsed.types))),
            Step::Bind { .. }
            | Step::CloseStatement(_)
            | Step::ClosePortal(_)
            | Step::DescribeStatement(_)
            | Step::DescribePortal(_)
            | Step::Execute(_)
            | Step::Own => None,
        });
        let statements = understood.iter().flat_map(|understood| &understood.statements);
        let kept = statements.flat_map(kept_by).map(|text| (false, (text, &[][..])));
        let all: Vec<_> = parsed.chain(kept).collect();
        if all.is_empty() {
            return None;
        }
        // A portal with a name may be run again later.
        let stays = |step: &Step| matches!(step, Step::Bind { name, .. } if !name.is_empty());
        let passes = understood.is_some() && !steps.iter().any(stays);
        let catalog = self.known_catalog().await;
        let mut names = BTreeMap::new();
        for (unnamed, (sql, types)) in all {
            if (unnamed && passes) || names.contains_key(sql) {
                continue;
            }
            names.insert(Arc::clone(sql), self.names_of(sql, types, &catalog).await);
        }
        Some(Coming { moment: Arc::new(self.state.moment(catalog.version())), names })
    }

    /// The server has taken in what was coming, or some of it. What changed in between may have come before or behind it.
    pub(super) fn came(&mut self, coming: Option<Coming>) {
        let Some(Coming { moment, names }) = coming else { return };
        let same = self.state.moment(moment.catalog) == *moment;
        for (text, stood) in self.state.names.kept() {
            if !stood.is_coming() {
                continue;
            }
            if same { stood.holds(&moment, names.get(text).copied()) } else { stood.lose() }
        }
    }

    /// Whether a kept text still means what it did when the server took it in.
    async fn stands(
        &self,
        (sql, types, stood): (&Arc<str>, &[u32], &Stood),
        (catalog, now): (&Arc<Catalog>, &Arc<Moment>),
    ) -> bool {
        match stood.still(sql, now) {
            Still::Yes => true,
            Still::No => false,
            Still::Named(names) => {
                let same = self.names_of(sql, types, catalog).await == names;
                if same {
                    stood.finds(now);
                }
                same
            }
        }
    }

    /// Looks at what is kept and these texts may name: what still means the same is believed. One that is written otherwise
    /// there is not looked at, and so not known.
    pub(super) async fn look_at_kept(&self, asked: &[Asked], catalog: &Arc<Catalog>) {
        let texts: Vec<String> = asked.iter().map(|asked| asked.sql.to_lowercase()).collect();
        let named = |name: &str| texts.iter().any(|text| text.contains(&name.to_lowercase()));
        let names = &self.state.names;
        let now = Arc::new(self.state.moment(catalog.version()));
        for (name, parsed) in names.statements.iter().filter(|(name, _)| !name.is_empty()) {
            if named(name) {
                self.stands((&parsed.sql, &parsed.types, &parsed.stood), (catalog, &now)).await;
            }
        }
        for (name, (sql, stood)) in &names.declared {
            if named(name) {
                self.stands((sql, &[], stood), (catalog, &now)).await;
            }
        }
    }

    /// Why texts from earlier are not bound or run: they would be read as they mean now.
    pub(super) async fn outdated(&mut self, used: &BTreeMap<usize, Parsed>) -> Result<Option<Said>, Ended> {
        if used.is_empty() {
            return Ok(None);
        }
        self.refresh().await?;
        let catalog = self.known_catalog().await;
        let now = Arc::new(self.state.moment(catalog.version()));
        for parsed in used.values() {
            if !self.stands((&parsed.sql, &parsed.types, &parsed.stood), (&catalog, &now)).await {
                self.count(RefusalCode::Malformed).await?;
                let why = "what was parsed earlier may mean something else by now: settings, or what its names stand \
                           for, are not what they were (sql.indirect)";
                return Ok(Some(Said::new(sqlstate::NOT_OFFERED, why, "parse it again")));
            }
        }
        Ok(None)
    }
}

/// The texts that a statement has the session keep.
fn kept_by(statement: &Statement) -> impl Iterator<Item = &Arc<str>> {
    statement.session.iter().filter_map(|effect| match effect {
        SessionEffect::Prepare { text, .. } | SessionEffect::DeclareCursor { text, .. } => Some(text),
        SessionEffect::Transaction(_)
        | SessionEffect::Set(_)
        | SessionEffect::Deallocate { .. }
        | SessionEffect::CloseCursor { .. }
        | SessionEffect::CreateTemporary { .. }
        | SessionEffect::DropTemporary { .. }
        | SessionEffect::Discard
        | SessionEffect::Listen
        | SessionEffect::Defines
        | SessionEffect::Opaque => None,
    })
}
