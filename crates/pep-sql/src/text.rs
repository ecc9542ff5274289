//! SQL that reaches a database otherwise than through this wire, such as in an argument of a tool: read like a statement of
//! a session that nobody has changed. What would change its session is refused, because nobody follows that session.

use crate::{
    beforehand::Scout,
    catalogs::Watch,
    config::PostgresTarget,
    scouting::{Scouting, look_up, turned},
    understand::{
        Asked, Catalog, Question, Reader, SessionEffect, SessionFacts, SettingKind, SqlOperation, SqlTarget,
        Understood, understand,
    },
};
use async_trait::async_trait;
use countersign_core::Operation;
use countersign_engine::{
    Gate,
    port::{
        text::{Effect, TextReader, TextRefusal},
        upstream::Gathered,
    },
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Facts that only a session of this wire has.
const OF_A_SESSION: [&str; 4] =
    ["session_refusals", "session_rows_read", "session_rows_written", "session_statements"];

/// Reads the texts that go to one database by another way.
pub struct SqlTexts {
    gate: Arc<Gate>,
    reader: Reader,
    target: Arc<SqlTarget>,
    catalog: Arc<Watch>,
    scout: Option<Arc<Scout>>,
    session: SessionFacts,
}

impl fmt::Debug for SqlTexts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SqlTexts({}/{})", self.target.target, self.session.database)
    }
}

impl SqlTexts {
    /// For a database of this target, where the texts run as `user`: the target's own role where none is named. `None`
    /// where the target does not offer the database.
    pub fn new(
        gate: Arc<Gate>,
        reader: Reader,
        target: &PostgresTarget,
        database: &str,
        user: Option<&str>,
    ) -> Option<Self> {
        let catalog = Arc::clone(target.catalogs.get(database)?);
        let user = user.unwrap_or(&target.way.credential.user).to_owned();
        Some(Self {
            gate,
            reader,
            target: Arc::clone(&target.sql),
            catalog,
            scout: target.scouts.get(database).cloned(),
            session: SessionFacts { database: database.into(), user, ..SessionFacts::default() },
        })
    }

    fn nonce(&self) -> [u8; 18] {
        self.gate.journal().random()
    }

    fn question(&self, text: Option<&str>, catalog: Arc<Catalog>) -> Question {
        let asked = text.map(|text| Asked { sql: text.into(), types: Vec::new(), values: None });
        Question {
            asked: asked.into_iter().collect(),
            session: self.session.clone(),
            catalog,
            target: Arc::clone(&self.target),
        }
    }

    async fn understood(&self, text: &str) -> (Question, Arc<Understood>) {
        // Nothing of the server's guards what runs: names are looked up as they are at this moment.
        let catalog = self.catalog.again(|| self.nonce()).await;
        look_up(&self.reader, &self.catalog, self.question(Some(text), catalog), || self.nonce()).await
    }
}

#[async_trait]
impl TextReader for SqlTexts {
    fn language(&self) -> &'static str {
        "sql"
    }

    async fn read(&self, text: &str) -> Result<Effect, TextRefusal> {
        let (_, understood) = self.understood(text).await;
        if let Some(refused) = &understood.refused {
            return Err(TextRefusal { why: refused.to_string(), remedy: "leave it as it is".into() });
        }
        if understood.session_effects().any(lasts) {
            return Err(TextRefusal {
                why: "the text changes its database session, and nobody can tell what later texts would mean there"
                    .into(),
                remedy: "send what is to be done alone: no `SET`, `BEGIN`, `PREPARE`, cursors or temporary tables"
                    .into(),
            });
        }
        Ok(effect(&understood, understood.operation))
    }

    async fn gather(&self, text: &str, facts: &Map<String, Value>, resources: usize) -> Option<Gathered> {
        let (question, understood) = self.understood(text).await;
        let still = same(&understood.facts, facts);
        let scouting = Scouting {
            scout: self.scout.clone(),
            reader: self.reader.clone(),
            catalog: Arc::clone(&self.catalog),
            settings: BTreeMap::new(),
            committed: true,
            question,
            understood,
        };
        let now = || self.gate.now();
        let mut gathered = scouting.gather((facts, resources), now, || self.nonce()).await?;
        if !still {
            let sentence = gathered.sentence;
            gathered.sentence = turned(&mut gathered.facts, resources, &sentence);
        }
        Some(gathered)
    }

    fn possible(&self) -> Vec<Effect> {
        let nothing = understand(&self.question(None, Arc::new(Catalog::unknown())));
        let mut each: Vec<Effect> =
            SqlOperation::ALL.into_iter().map(|operation| effect(&nothing, operation)).collect();
        for effect in &mut each {
            effect.facts.remove("effects");
        }
        each
    }
}

/// Whether the text itself says that later ones of the same session may mean something else. Definitions are the database's
/// own, and are looked up; what code does to its session unseen is for policy and people to think of.
fn lasts(effect: &SessionEffect) -> bool {
    match effect {
        SessionEffect::Set(change) => change.kind == SettingKind::Meaning && !change.is_of_code(),
        SessionEffect::Defines | SessionEffect::Opaque => false,
        SessionEffect::Transaction(_)
        | SessionEffect::Prepare { .. }
        | SessionEffect::Deallocate { .. }
        | SessionEffect::DeclareCursor { .. }
        | SessionEffect::CloseCursor { .. }
        | SessionEffect::CreateTemporary { .. }
        | SessionEffect::DropTemporary { .. }
        | SessionEffect::Discard
        | SessionEffect::Listen => true,
    }
}

fn effect(understood: &Understood, operation: SqlOperation) -> Effect {
    let mut facts = understood.facts.clone();
    facts.extend(OF_A_SESSION.map(|name| (name.to_owned(), 0.into())));
    // Nothing of what comes back is looked at.
    facts.insert("masked".into(), false.into());
    Effect {
        operation: Operation { name: Some(operation.as_str().into()), class: operation.class() },
        resources: understood.resources.clone(),
        facts,
        sentence: understood.sentence.clone(),
    }
}

/// Whether a text does what it was said to do. Its effects are not compared, since who passed them on may have added
/// resources; all that they are made of is.
fn same(now: &Map<String, Value>, told: &Map<String, Value>) -> bool {
    now.iter().all(|(name, value)| name == "effects" || told.get(name) == Some(value))
}
