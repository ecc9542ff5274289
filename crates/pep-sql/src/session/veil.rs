//! For whoever may see labelled values only masked: what does not run at all, and what becomes of each row. Whatever is
//! not known for certain is hidden.

use super::{Session, pipeline::Names, pipeline::Step};
use crate::{
    error::Ended,
    frame::{Fields, FrameError, sqlstate},
    message::Backend,
    reply::{Said, Severity, message},
    understand::{Access, Catalog, Hidden, Mask, ResultColumn, SqlOperation as Op, SqlTarget, Understood},
};
use bytes::BytesMut;
use std::sync::Arc;

/// What hides the values in one answer.
pub(super) struct Veil {
    hidden: Hidden,
    understood: Arc<Understood>,
    catalog: Arc<Catalog>,
    target: Arc<SqlTarget>,
    /// Of the rows that come now; `None`: nothing of them is hidden.
    mask: Option<Mask>,
}

/// What one answer is watched with.
pub(super) struct Seeing {
    pub(super) veil: Option<Box<Veil>>,
    /// The catalog under which descriptions of rows are remembered, where they will be needed.
    pub(super) describes: Option<u64>,
}

impl Seeing {
    /// Whether rows are passed on without a look at what is in them.
    pub(super) const fn is_blind(&self) -> bool {
        self.veil.is_none() && self.describes.is_none()
    }
}

/// What is masked for whom, at one target.
#[derive(Clone, Debug)]
pub(crate) struct Masked {
    pub(crate) hidden: Hidden,
    /// Members of these groups see everything.
    pub(crate) except: std::collections::BTreeSet<countersign_core::GroupName>,
}

impl Session {
    /// What is hidden from this requester, if anything.
    pub(super) fn masked(&self) -> Option<&Hidden> {
        let masked = self.target.masked.as_ref()?;
        let groups = &self.requester.groups;
        masked.except.is_disjoint(groups).then_some(&masked.hidden)
    }

    /// What the next answer is watched with.
    pub(super) fn seeing(&self, veil: Option<Box<Veil>>) -> Seeing {
        let known = || veil.as_ref().map_or_else(|| self.catalog.version(), |veil| veil.catalog());
        let describes = self.masked().map(|_| known());
        Seeing { veil, describes }
    }

    /// What hides values in the answer of a statement; an error in plain words where hiding would not do.
    pub(super) fn veil(
        &self,
        understood: &Arc<Understood>,
        catalog: &Arc<Catalog>,
    ) -> Result<Option<Veil>, &'static str> {
        let Some(hidden) = self.masked() else { return Ok(None) };
        if !touches(hidden, understood, &self.target.sql)? {
            return Ok(None);
        }
        Ok(Some(Veil {
            hidden: hidden.clone(),
            understood: Arc::clone(understood),
            catalog: Arc::clone(catalog),
            target: Arc::clone(&self.target.sql),
            mask: Some(Mask::of_everything()),
        }))
    }
}

/// Whether hidden values could come back; an error where they could get out in another way.
fn touches(hidden: &Hidden, understood: &Understood, target: &SqlTarget) -> Result<bool, &'static str> {
    if !understood.is_certain() || !understood.unresolved.is_empty() {
        return Err("it cannot be read with certainty, and data is masked for you");
    }
    let labelled = |labels: &std::collections::BTreeSet<String>| !labels.is_disjoint(&hidden.labels);
    let mut touched = labelled(&target.labels);
    for statement in &understood.statements {
        for effect in &statement.effects {
            if !follows(effect.operation) {
                return Err("it could carry values past what masks them for you, or run code that does");
            }
            let of_system = |kind: &str| kind == "system-table";
            if effect.operation == Op::ReadSensitive
                && effect.resources.iter().any(|resource| of_system(&resource.kind))
            {
                return Err("the system's tables hold values that are masked for you");
            }
            if !effect.resources.iter().any(|resource| labelled(&resource.labels))
                && !labelled(&target.labels)
            {
                continue;
            }
            touched = true;
            let reads = matches!(effect.operation, Op::Read | Op::ReadSensitive | Op::Export);
            if reads && statement.verb == "COPY" {
                return Err("copied data cannot be masked, and it is for you; use `SELECT`");
            }
            let removes = matches!(
                effect.operation,
                Op::DeleteBounded
                    | Op::DeleteUnbounded
                    | Op::DdlDestructive
                    | Op::Lock
                    | Op::Txn
                    | Op::Setting
            );
            if !removes && understood.access != Access::ReadOnly {
                return Err("what is masked for you may not be read by a text that also writes, nor written");
            }
        }
    }
    Ok(touched)
}

/// Whether what an operation does to values can be followed from its text alone. What renames things would also move
/// them away from their labels.
const fn follows(operation: Op) -> bool {
    match operation {
        Op::Txn
        | Op::Setting
        | Op::Read
        | Op::ReadSensitive
        | Op::Lock
        | Op::Notify
        | Op::Export
        | Op::Insert
        | Op::UpdateBounded
        | Op::DeleteBounded
        | Op::Maintenance
        | Op::DdlAdditive
        | Op::UpdateUnbounded
        | Op::DeleteUnbounded
        | Op::DdlDestructive => true,
        Op::DdlRewriting
        | Op::Code
        | Op::TxnPrepared
        | Op::Session
        | Op::Network
        | Op::Server
        | Op::Authz
        | Op::FileOrProgram
        | Op::Indirect
        | Op::Unknown => false,
    }
}

impl Veil {
    /// Rows of these columns come next; `None`: of columns nobody described.
    pub(super) fn expect(&mut self, columns: Option<&[ResultColumn]>) {
        self.mask = match columns {
            None => Some(Mask::of_everything()),
            Some(columns) => Mask::plan(columns, &self.hidden, &self.understood, &self.catalog, &self.target),
        };
    }

    /// The catalog it goes by.
    pub(super) fn catalog(&self) -> u64 {
        self.catalog.version()
    }

    /// What the text whose answer it hides does to data.
    pub(super) fn access(&self) -> Access {
        self.understood.access
    }

    /// Messages that are not passed on as they came.
    pub(super) const fn hides(message: Backend) -> bool {
        matches!(
            message,
            Backend::DataRow | Backend::ErrorResponse | Backend::NoticeResponse | Backend::CopyOutResponse
        )
    }

    /// Writes what the client gets in the place of a message.
    pub(super) fn write(&self, tag: u8, body: &[u8], out: &mut BytesMut) -> Result<(), Ended> {
        match Backend::of(tag) {
            Some(Backend::DataRow) => {
                let masked = match &self.mask {
                    None => BytesMut::from(body),
                    Some(mask) => mask.row(body).map_err(|_| Ended::Server(FrameError::Meaningless))?,
                };
                message(out, tag, |out| out.extend_from_slice(&masked));
                Ok(())
            }
            // Their words can quote any value.
            Some(Backend::ErrorResponse) => {
                let code = sqlstate(body).map_err(Ended::Server)?;
                let why = format!("the statement failed with SQLSTATE {code}");
                let hint = "the server's words are kept back: they can hold values that are masked for you";
                Said::with(code, why, hint).write(Severity::Error, out);
                Ok(())
            }
            Some(Backend::NoticeResponse) => Ok(()),
            _ => Err(Ended::Unexpected(tag)),
        }
    }
}

/// The columns of a `RowDescription`.
pub(super) fn columns(body: &[u8]) -> Result<Arc<[ResultColumn]>, FrameError> {
    let mut fields = Fields::new(body);
    let count = fields.count()?;
    let column = |_| {
        // A name may hold any bytes the server chose.
        let end = fields.rest().iter().position(|byte| *byte == 0).ok_or(FrameError::Short)?;
        fields.bytes(end + 1)?;
        let (relation, attribute) = (fields.i32()?.cast_unsigned(), fields.i16()?);
        let kind = fields.i32()?.cast_unsigned();
        fields.bytes(8)?;
        Ok(ResultColumn { relation, attribute, kind })
    };
    (0..count).map(column).collect()
}

/// The text that a step is about, as far as it is known by now.
pub(super) fn parsed<'n>(step: Option<&Step>, names: &'n Names) -> Option<&'n super::pipeline::Parsed> {
    match step? {
        Step::DescribeStatement(name) => names.statements.get(name),
        Step::DescribePortal(name) | Step::Execute(name) => {
            names.portals.get(name).map(|portal| &portal.parsed)
        }
        Step::Parse { .. }
        | Step::Bind { .. }
        | Step::CloseStatement(_)
        | Step::ClosePortal(_)
        | Step::Own => None,
    }
}
