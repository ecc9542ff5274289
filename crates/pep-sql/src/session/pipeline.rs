//! The extended protocol, staged: what a client parses, binds and closes is kept back, with the names it will have, until
//! the client asks for it. An `Execute` raises an action with the text it runs and the values bound to it.

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
                let (sql, columns) = (Arc::clone(text), Described::default());
                let parsed = Parsed { sql, types: Arc::default(), by_sql: true, columns };
                self.statements.insert(name.clone(), parsed);
            }
            SessionEffect::Deallocate { name: Some(name) } => {
                self.statements.remove(name);
            }
            SessionEffect::Deallocate { name: None } => self.statements.clear(),
            SessionEffect::DeclareCursor { name, .. } | SessionEffect::CloseCursor { name: Some(name) } => {
                self.portals.remove(name);
            }
            SessionEffect::CloseCursor { name: None } => self.portals.clear(),
            SessionEffect::Discard => {
                self.statements.clear();
                self.portals.clear();
            }
            // A portal keeps the meaning its text had when it was bound, which nobody remembers here.
            SessionEffect::Set(change) if change.moves() => self.portals.clear(),
            SessionEffect::Transaction(_)
            | SessionEffect::Set(_)
            | SessionEffect::CreateTemporary { .. }
            | SessionEffect::DropTemporary { .. }
            | SessionEffect::Listen
            | SessionEffect::Defines
            | SessionEffect::Opaque => {}
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
                    self.carry(portal.parsed.sql.len() + portal.size, limit)?;
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

    /// The step, and how long what it binds is, in bytes.
    fn bind(&self, fields: &mut Fields<'_>, names: &Names) -> Result<(Step, usize), NotStaged> {
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
        let length = parsed.sql.len() + size;
        let portal = Arc::new(Portal { parsed, values, size, formats });
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
        parsed: Parsed { sql: sql.into(), types, by_sql: false, columns: Described::default() },
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(tag: u8, body: &[u8]) -> Frame {
        let mut whole = BytesMut::new();
        crate::reply::message(&mut whole, tag, |out| out.put_slice(body));
        Frame { tag, whole: whole.freeze() }
    }

    fn stage(pipeline: &mut Pipeline, tag: u8, body: &[u8]) -> Result<(), NotStaged> {
        pipeline.stage(Frontend::of(tag).unwrap(), &frame(tag, body), &Names::default(), 1 << 20)
    }

    #[test]
    fn execute_asks_with_the_text_and_the_values() {
        let mut pipeline = Pipeline::default();
        stage(&mut pipeline, b'P', b"s\0delete from t where id = $1\0\0\0").unwrap();
        stage(&mut pipeline, b'B', b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x01\x07\xff\xff\xff\xff\0\0").unwrap();
        stage(&mut pipeline, b'E', b"\0\0\0\0\x05").unwrap();
        let (asked, rows) = &pipeline.asked[0];
        assert_eq!((&*asked.sql, *rows), ("delete from t where id = $1", 5));
        assert_eq!(asked.values, Some(vec![BoundValue::Binary(b"\x07".as_slice().into()), BoundValue::Null]));
        // Parsing the name again, or closing it, changes what the next one means.
        stage(&mut pipeline, b'P', b"s\0select 1\0\0\0").unwrap();
        stage(&mut pipeline, b'B', b"\0s\0\0\0\0\0\0\0").unwrap();
        stage(&mut pipeline, b'E', b"\0\0\0\0\0").unwrap();
        assert_eq!(&*pipeline.asked[1].0.sql, "select 1");
        stage(&mut pipeline, b'C', b"Ss\0").unwrap();
        let gone = stage(&mut pipeline, b'B', b"\0s\0\0\0\0\0\0\0").unwrap_err();
        assert!(matches!(&gone, NotStaged::Refused(said) if said.code == "26000"), "{gone:?}");
    }

    #[test]
    fn what_is_asked_for_is_the_same_whatever_it_is_called() {
        let asks = |statement: &str, portal: &str, sql: &str, bound: &str| {
            let mut pipeline = Pipeline::default();
            stage(&mut pipeline, b'P', format!("{statement}\0{sql}\0\0\0").as_bytes()).unwrap();
            stage(&mut pipeline, b'P', b"other\0select 2\0\0\0").unwrap();
            let bind = format!("{portal}\0{bound}\0\0\0\0\0\0\0");
            stage(&mut pipeline, b'B', bind.as_bytes()).unwrap();
            stage(&mut pipeline, b'D', format!("P{portal}\0").as_bytes()).unwrap();
            stage(&mut pipeline, b'E', format!("{portal}\0\0\0\0\0").as_bytes()).unwrap();
            stage(&mut pipeline, b'C', format!("S{statement}\0").as_bytes()).unwrap();
            assert_ne!(pipeline.asks, pipeline.bytes);
            pipeline.asks
        };
        let first = asks("S_1", "C_1", "select 1", "S_1");
        assert_eq!(first, asks("S_77", "C_9", "select 1", "S_77"));
        for other in [
            asks("S_1", "C_1", "select 3", "S_1"),
            asks("S_1", "C_1", "select 1", "other"),
            asks("S_1", "", "select 1", "S_1"),
            asks("other", "C_1", "select 1", "other"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn what_cannot_be_read_whole_is_not_staged() {
        for (tag, body) in [
            (b'P', b"s\0select 1\0\0\x01".as_slice()),
            (b'P', b"s\0select 1\0\0\0x"),
            (b'P', b"s\0sel\xffct 1\0\0\0"),
            (b'C', b"Xs\0"),
            (b'E', b"\0\0\0\0"),
        ] {
            let got = stage(&mut Pipeline::default(), tag, body);
            assert!(matches!(got, Err(NotStaged::Frame(_) | NotStaged::Refused(_))), "{body:?}");
        }
        let mut bound = Pipeline::default();
        stage(&mut bound, b'P', b"s\0select 1\0\0\0").unwrap();
        for body in
            [b"\0s\0\0\x01\0\x02\0\x01\0\0\0\0\0\0".as_slice(), b"\0s\0\0\0\0\x01\xff\xff\xff\xfe\0\0"]
        {
            assert_eq!(stage(&mut bound, b'B', body), Err(FrameError::Meaningless.into()), "{body:?}");
        }
        assert!(matches!(
            stage(&mut bound, b'P', b"_countersign\0select 1\0\0\0"),
            Err(NotStaged::Refused(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(messages in proptest::collection::vec(
            (prop_oneof![Just(b'P'), Just(b'B'), Just(b'D'), Just(b'C'), Just(b'E')],
             proptest::collection::vec(any::<u8>(), 0..40)), 0..12)) {
            let mut pipeline = Pipeline::default();
            for (tag, body) in messages {
                let _ = stage(&mut pipeline, tag, &body);
            }
            prop_assert_eq!(pipeline.bytes.is_empty(), pipeline.is_empty());
        }
    }
}
