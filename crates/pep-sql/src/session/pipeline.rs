//! The extended protocol, staged: what a client parses, binds and closes is kept back, with the names it will have, until
//! the client asks for it. An `Execute` raises an action with the text it runs and the values bound to it.

use super::stood::Stood;
use crate::{
    frame::{Fields, Frame, FrameError},
    message::Frontend,
    reply::{Said, put_text, sqlstate},
    understand::{Asked, BoundValue, ResultColumn, SessionEffect},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Messages of one pipeline.
const STEPS: usize = 131_072;
/// Prepared statements that a session keeps, and how long their texts are together, in bytes.
const KEPT: usize = 10_000;
const KEPT_BYTES: usize = 64 << 20;

/// Cursors of SQL that are followed; what others hold is not known.
const DECLARED: usize = 1_000;

/// Names that are the gateway's own in every session.
pub(super) const OWN: &str = "_countersign";

/// A text with the types its client gives to parameters (0, or none: the server's choice).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) sql: Arc<str>,
    pub(super) types: Arc<[u32]>,
    /// `PREPARE` made it, and its text is that whole statement.
    pub(super) by_sql: bool,
    /// What its rows look like, once the server has said so.
    pub(super) columns: Described,
    /// What it stood for when the server took it in.
    pub(super) stood: Stood,
}

/// The columns of a result as a server described them, under the catalog of that moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Described(Arc<Mutex<Option<Columns>>>);

#[derive(Debug)]
struct Columns {
    /// The catalog's version.
    catalog: u64,
    all: Arc<[ResultColumn]>,
}

impl Described {
    pub(super) fn set(&self, catalog: u64, all: Arc<[ResultColumn]>) {
        *self.0.lock() = Some(Columns { catalog, all });
    }

    /// Under another catalog they may come from elsewhere.
    pub(super) fn under(&self, catalog: u64) -> Option<Arc<[ResultColumn]>> {
        let columns = self.0.lock();
        columns.as_ref().filter(|columns| columns.catalog == catalog).map(|columns| Arc::clone(&columns.all))
    }
}

/// What was seen of a text is no part of what it is.
impl PartialEq for Described {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Described {}

/// A query with the values it was bound to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Portal {
    pub(super) parsed: Parsed,
    values: Vec<BoundValue>,
    /// How long they are together, in bytes.
    size: usize,
    /// The formats of its columns: 0 is text and 1 binary; one for all, or one for each, or none for all text.
    formats: Arc<[i16]>,
}

impl Portal {
    /// How long text and values are together, in bytes.
    fn length(&self) -> usize {
        self.parsed.sql.len() + self.size
    }

    /// What it runs.
    pub(super) fn asked(&self) -> Asked {
        let Parsed { sql, types, .. } = &self.parsed;
        Asked { sql: Arc::clone(sql), types: types.to_vec(), values: Some(self.values.clone()) }
    }
}

/// What the server knows by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) statements: BTreeMap<String, Parsed>,
    pub(super) portals: BTreeMap<String, Arc<Portal>>,
    /// Cursors of SQL, each with its text.
    pub(super) declared: BTreeMap<String, (Arc<str>, Stood)>,
}

/// One step of a pipeline; the server answers each, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Parse {
        name: String,
        parsed: Parsed,
    },
    Bind {
        name: String,
        /// Of the prepared statement.
        statement: String,
        portal: Arc<Portal>,
    },
    CloseStatement(String),
    ClosePortal(String),
    DescribeStatement(String),
    DescribePortal(String),
    /// Of this portal.
    Execute(String),
    /// One answer to a message of the gateway's own.
    Own,
}

/// What was kept back.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// Exactly as the client sent it.
    pub(super) bytes: BytesMut,
    /// The same with names of ours for those of the client: what is asked for, whatever it is called this time.
    pub(super) asks: BytesMut,
    called: Called,
    staged: Staged,
    /// Texts from earlier that it binds or runs, by where what they stood for lies.
    pub(super) used: BTreeMap<usize, Parsed>,
    /// How many portals with a name it binds.
    bound: usize,
    /// What is kept of it in memory, in bytes.
    carried: usize,
    /// How many statements with a name it parses.
    named: usize,
    pub(super) steps: Vec<Step>,
    /// Where each of them ends in the client's bytes.
    pub(super) cuts: Vec<usize>,
    /// One for each `Execute`, with the number of rows it asks for.
    pub(super) asked: Vec<(Asked, i32)>,
    /// One for each `Execute`: the formats of its columns, see [`Portal`].
    pub(super) formats: Vec<Arc<[i16]>>,
}

/// What the names of a pipeline stand for once everything staged so far has been done; `None`: for nothing.
#[derive(Debug, Default)]
struct Staged {
    statements: BTreeMap<String, Option<Parsed>>,
    portals: BTreeMap<String, Option<Arc<Portal>>>,
    /// Portals that were bound and have not been run: what they run has been counted once.
    counted: BTreeSet<String>,
}

impl Staged {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Parse { name, parsed } => drop(self.statements.insert(name.clone(), Some(parsed.clone()))),
            Step::CloseStatement(name) => drop(self.statements.insert(name.clone(), None)),
            Step::Bind { name, portal, .. } => {
                self.portals.insert(name.clone(), Some(Arc::clone(portal)));
                self.counted.insert(name.clone());
            }
            Step::ClosePortal(name) => drop(self.portals.insert(name.clone(), None)),
            Step::Execute(name) => drop(self.counted.remove(name)),
            Step::DescribeStatement(_) | Step::DescribePortal(_) | Step::Own => {}
        }
    }
}

/// Names of ours for those that a client chose, in the order in which they come; the unnamed stays unnamed.
#[derive(Debug, Default)]
struct Called {
    statements: BTreeMap<String, String>,
    portals: BTreeMap<String, String>,
}

fn ours(known: &mut BTreeMap<String, String>, letter: char, name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let next = format!("{letter}{}", known.len() + 1);
    known.entry(name.to_owned()).or_insert(next).clone()
}

/// Why a message was not staged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotStaged {
    Frame(FrameError),
    Refused(Said),
}

impl From<FrameError> for NotStaged {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl Names {
    /// Why no more are kept beside so many that are to come, where that is so. How long they are is looked at before the
    /// first of these: what one pipeline or text brings is bounded.
    pub(super) fn no_room(&self, coming: usize) -> Option<Said> {
        let length = || self.statements.values().map(|parsed| parsed.sql.len()).sum::<usize>();
        let full = self.statements.len() + coming >= KEPT || (coming == 0 && length() > KEPT_BYTES);
        let why = "the session keeps too many prepared statements";
        full.then(|| Said::new(sqlstate::TOO_LARGE, why, "close those that are not needed any more"))
    }

    /// Why no more portals are kept beside so many that are to come.
    fn no_portal(&self, coming: usize) -> Option<Said> {
        let length = || self.portals.values().map(|portal| portal.length()).sum::<usize>();
        let full = self.portals.len() + coming >= KEPT || (coming == 0 && length() > KEPT_BYTES);
        let why = "the session keeps too many portals";
        full.then(|| Said::new(sqlstate::TOO_LARGE, why, "close those that are not needed any more"))
    }

    /// Every text that is kept, with what it stood for.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&Arc<str>, &Stood)> {
        let parsed = self.statements.values().map(|parsed| (&parsed.sql, &parsed.stood));
        parsed.chain(self.declared.values().map(|(text, stood)| (text, stood)))
    }

    /// Code that ran unseen may have put others in their place, whether or not it succeeded.
    pub(super) fn doubt(&mut self) {
        self.kept().for_each(|(_, stood)| stood.lose());
        self.portals.clear();
    }

    /// What a step leaves behind once the server has done it.
    pub(super) fn apply(&mut self, step: Step) {
        match step {
            Step::Parse { name, parsed } => {
                self.statements.insert(name, parsed);
            }
            Step::Bind { name, portal, .. } => {
                self.portals.insert(name, portal);
            }
            Step::CloseStatement(name) => {
                self.statements.remove(&name);
            }
            Step::ClosePortal(name) => {
                self.portals.remove(&name);
            }
            Step::DescribeStatement(_) | Step::DescribePortal(_) | Step::Execute(_) | Step::Own => {}
        }
    }

    /// What a statement leaves behind once it has succeeded: by SQL or by the protocol, names are the same ones.
    pub(super) fn follow(&mut self, effect: &SessionEffect) {
        match effect {
            SessionEffect::Prepare { name, text } => {
                let parsed = Parsed {
                    sql: Arc::clone(text),
                    types: Arc::default(),
                    by_sql: true,
                    columns: Described::default(),
                    stood: Stood::default(),
                };
                self.statements.insert(name.clone(), parsed);
            }
            SessionEffect::Deallocate { name: Some(name) } => {
                self.statements.remove(name);
            }
            SessionEffect::Deallocate { name: None } => self.statements.clear(),
            SessionEffect::DeclareCursor { name, text, .. } => {
                self.portals.remove(name);
                self.declared.remove(name);
                if self.declared.len() < DECLARED {
                    self.declared.insert(name.clone(), (Arc::clone(text), Stood::default()));
                }
            }
            SessionEffect::CloseCursor { name: Some(name) } => {
                self.portals.remove(name);
                self.declared.remove(name);
            }
            SessionEffect::CloseCursor { name: None } => {
                self.portals.clear();
                self.declared.clear();
            }
            SessionEffect::Discard => {
                self.statements.clear();
                self.portals.clear();
                self.declared.clear();
            }
            SessionEffect::Opaque => self.doubt(),
            // A portal keeps the meaning its text had when it was bound, which nobody remembers here.
            SessionEffect::Set(change) if change.moves() => self.portals.clear(),
            SessionEffect::Transaction(_)
            | SessionEffect::Set(_)
            | SessionEffect::CreateTemporary { .. }
            | SessionEffect::DropTemporary { .. }
            | SessionEffect::Listen
            | SessionEffect::Defines => {}
        }
    }
}

impl Pipeline {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether planning, and so code of the database, is part of it.
    pub(super) fn binds(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Bind { .. }))
    }

    /// Keeps a message back. `names` are those the server knows already.
    pub(super) fn stage(
        &mut self,
        message: Frontend,
        frame: &Frame,
        names: &Names,
        limit: usize,
    ) -> Result<(), NotStaged> {
        self.carry(frame.whole.len(), limit)?;
        if self.steps.len() >= STEPS {
            let why = format!("the pipeline has more than {STEPS} messages");
            return Err(refused(sqlstate::TOO_LARGE, why, "send `Sync` more often"));
        }
        let mut fields = Fields::new(frame.body());
        #[expect(clippy::wildcard_enum_match_arm, reason = "the session stages only these")]
        let step = match message {
            Frontend::Parse => {
                let step = parse(&mut fields)?;
                // The unnamed one takes the place of the one before.
                if matches!(&step, Step::Parse { name, .. } if !name.is_empty()) {
                    names.no_room(self.named).map_or(Ok(()), |said| Err(NotStaged::Refused(said)))?;
                    self.named += 1;
                }
                step
            }
            Frontend::Bind => {
                let (step, length) = self.bind(&mut fields, names)?;
                self.carry(length, limit)?;
                // The unnamed one takes the place of the one before.
                if matches!(&step, Step::Bind { name, .. } if !name.is_empty()) {
                    names.no_portal(self.bound).map_or(Ok(()), |said| Err(NotStaged::Refused(said)))?;
                    self.bound += 1;
                }
                step
            }
            Frontend::Describe => {
                let (kind, name) = (fields.byte()?, fields.text()?);
                own(name)?;
                match kind {
                    b'S' => Step::DescribeStatement(name.into()),
                    b'P' => Step::DescribePortal(name.into()),
                    _ => return Err(FrameError::Meaningless.into()),
                }
            }
            Frontend::Close => close(&mut fields)?,
            Frontend::Execute => {
                let (name, rows) = (fields.text()?, fields.i32()?);
                let portal = self.portal(name, names).ok_or_else(|| {
                    let why = format!("portal \"{name}\" does not exist");
                    refused(sqlstate::INVALID_CURSOR, why, "bind it first; read SQL cursors with `FETCH`")
                })?;
                if !self.staged.counted.contains(name) {
                    self.carry(portal.length(), limit)?;
                }
                if !self.staged.portals.contains_key(name) {
                    self.uses(&portal.parsed);
                }
                self.asked.push((portal.asked(), rows));
                self.formats.push(Arc::clone(&portal.formats));
                Step::Execute(name.into())
            }
            _ => return Err(FrameError::Meaningless.into()),
        };
        fields.end()?;
        self.rename(message, frame)?;
        self.staged.take(&step);
        self.steps.push(step);
        self.bytes.extend_from_slice(&frame.whole);
        self.cuts.push(self.bytes.len());
        Ok(())
    }

    /// Takes on so many bytes more: those of a message, and of what a `Bind` plans or an `Execute` runs, each time.
    fn carry(&mut self, more: usize, limit: usize) -> Result<(), NotStaged> {
        self.carried = self.carried.saturating_add(more);
        if self.carried > limit {
            let why = format!("the pipeline is longer than the {limit} bytes that are read before deciding");
            return Err(refused(sqlstate::TOO_LARGE, why, "send `Sync` more often, or smaller values"));
        }
        Ok(())
    }

    /// Appends a message with names of ours.
    fn rename(&mut self, message: Frontend, frame: &Frame) -> Result<(), FrameError> {
        let mut fields = Fields::new(frame.body());
        let Called { statements, portals } = &mut self.called;
        let mut body = BytesMut::with_capacity(frame.whole.len());
        #[expect(clippy::wildcard_enum_match_arm, reason = "the session stages only these")]
        match message {
            Frontend::Parse => put_text(&mut body, &ours(statements, 's', fields.text()?)),
            Frontend::Bind => {
                put_text(&mut body, &ours(portals, 'p', fields.text()?));
                put_text(&mut body, &ours(statements, 's', fields.text()?));
            }
            Frontend::Describe | Frontend::Close => {
                let kind = fields.byte()?;
                body.put_u8(kind);
                let (known, letter) = if kind == b'S' { (statements, 's') } else { (portals, 'p') };
                put_text(&mut body, &ours(known, letter, fields.text()?));
            }
            Frontend::Execute => put_text(&mut body, &ours(portals, 'p', fields.text()?)),
            _ => return Err(FrameError::Meaningless),
        }
        body.extend_from_slice(fields.rest());
        crate::reply::message(&mut self.asks, frame.tag, |out| out.extend_from_slice(&body));
        Ok(())
    }

    fn uses(&mut self, parsed: &Parsed) {
        self.used.entry(parsed.stood.place()).or_insert_with(|| parsed.clone());
    }

    /// The step, and how long what it binds is, in bytes.
    fn bind(&mut self, fields: &mut Fields<'_>, names: &Names) -> Result<(Step, usize), NotStaged> {
        let (name, statement) = (fields.text()?, fields.text()?);
        own(name)?;
        let parsed = self.statement(statement, names).ok_or_else(|| {
            let why = format!("prepared statement \"{statement}\" does not exist");
            refused(sqlstate::INVALID_STATEMENT, why, "parse it first")
        })?;
        if parsed.by_sql {
            let why = format!("prepared statement \"{statement}\" was made by `PREPARE`");
            return Err(refused(
                sqlstate::NOT_OFFERED,
                why,
                "run it with `EXECUTE`, or parse it by the protocol",
            ));
        }
        let formats = (0..fields.count()?).map(|_| fields.i16()).collect::<Result<Vec<_>, _>>()?;
        let count = fields.count()?;
        if formats.len() > 1 && formats.len() != count {
            return Err(FrameError::Meaningless.into());
        }
        let mut values = Vec::with_capacity(count.min(64));
        let before = fields.rest().len();
        for index in 0..count {
            let format = formats.get(index).or_else(|| formats.first().filter(|_| formats.len() == 1));
            let length = fields.i32()?;
            values.push(match (usize::try_from(length), format.copied().unwrap_or(0)) {
                (Ok(size), 0) => BoundValue::Text(Bytes::copy_from_slice(fields.bytes(size)?)),
                (Ok(size), 1) => BoundValue::Binary(Bytes::copy_from_slice(fields.bytes(size)?)),
                (Err(_), 0 | 1) if length == -1 => BoundValue::Null,
                _ => return Err(FrameError::Meaningless.into()),
            });
        }
        let size = before - fields.rest().len();
        let formats = (0..fields.count()?).map(|_| fields.i16()).collect::<Result<_, _>>()?;
        if !self.staged.statements.contains_key(statement) {
            self.uses(&parsed);
        }
        let portal = Arc::new(Portal { parsed, values, size, formats });
        let length = portal.length();
        Ok((Step::Bind { name: name.into(), statement: statement.into(), portal }, length))
    }

    /// The text a name will stand for once everything before has been done.
    fn statement(&self, name: &str, names: &Names) -> Option<Parsed> {
        let staged = self.staged.statements.get(name);
        staged.map_or_else(|| names.statements.get(name).cloned(), Clone::clone)
    }

    fn portal(&self, name: &str, names: &Names) -> Option<Arc<Portal>> {
        let staged = self.staged.portals.get(name);
        staged.map_or_else(|| names.portals.get(name).cloned(), Clone::clone)
    }
}

fn parse(fields: &mut Fields<'_>) -> Result<Step, NotStaged> {
    let (name, sql) = (fields.text()?, fields.text()?);
    own(name)?;
    let types = (0..fields.count()?).map(|_| Ok(fields.i32()?.cast_unsigned()));
    let types = types.collect::<Result<Arc<[u32]>, FrameError>>()?;
    Ok(Step::Parse {
        name: name.into(),
        parsed: Parsed {
            sql: sql.into(),
            types,
            by_sql: false,
            columns: Described::default(),
            stood: Stood::default(),
        },
    })
}

fn close(fields: &mut Fields<'_>) -> Result<Step, NotStaged> {
    let (kind, name) = (fields.byte()?, fields.text()?);
    own(name)?;
    match kind {
        b'S' => Ok(Step::CloseStatement(name.into())),
        b'P' => Ok(Step::ClosePortal(name.into())),
        _ => Err(FrameError::Meaningless.into()),
    }
}

/// The longest name that the server tells from others, in bytes: it compares no more of them (`NAMEDATALEN`).
const LONGEST_NAME: usize = 63;

fn own(name: &str) -> Result<(), NotStaged> {
    if name.len() > LONGEST_NAME {
        let why = format!("a name longer than {LONGEST_NAME} bytes is another's to the server");
        return Err(refused(sqlstate::NOT_OFFERED, why, "choose a shorter name"));
    }
    if name.starts_with(OWN) {
        let why = format!("names that begin with \"{OWN}\" are the gateway's own");
        return Err(refused(sqlstate::NOT_OFFERED, why, "choose another name"));
    }
    Ok(())
}

fn refused(code: &'static str, why: String, hint: &str) -> NotStaged {
    NotStaged::Refused(Said::new(code, why, hint))
}

#[cfg(test)]
mod tests;
