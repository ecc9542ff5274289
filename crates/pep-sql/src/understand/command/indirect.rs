//! Statements that hold, name or run other statements: prepared statements, cursors, `EXPLAIN`, `DO`, `CALL`.

use super::super::{
    SessionEffect, SqlOperation as Op, TransactionStatus,
    account::{Explains, Leaving, Thing},
    parse, setting,
    tree::{self, Place, Unplaced},
    walk::{Obscure, Scope, Walked, Walker},
};
use pg_query::{
    Node, NodeEnum, NodeRef,
    protobuf::{
        CallStmt, ClosePortalStmt, CreateTableAsStmt, DeallocateStmt, DeclareCursorStmt, DoStmt, ExecuteStmt,
        ExplainStmt, FetchDirection, FetchStmt, PrepareStmt,
    },
};
use std::sync::Arc;

/// Statements that run others may do so this deep.
const DEEPEST: u32 = 4;
/// `CURSOR_OPT_HOLD`, in PostgreSQL's `parsenodes.h`.
const WITH_HOLD: i32 = 0x20;

impl Walker<'_> {
    pub(super) fn explain(&mut self, explain: &ExplainStmt) -> Walked {
        let options: Vec<_> = explain.options.iter().filter_map(setting::option).collect();
        // Whichever of several counts for the server: one that is on may run it.
        let runs = options.iter().any(|option| option.0 == "analyze" && setting::is_on(option));
        let query = explain.query.as_deref().ok_or(Unplaced::UnknownKind)?;
        let before = self.account.effects.len();
        let session = self.account.session.len();
        self.inner(query)?;
        self.account.leaves = Leaving::Nothing;
        self.account.explains = Some(if runs { Explains::Run } else { Explains::Plan });
        if !runs {
            self.only_planned(before);
            self.account.session.truncate(session);
        }
        Ok(())
    }

    /// Plans are made, nothing is written: what would be written is only looked at. Functions may still run.
    fn only_planned(&mut self, before: usize) {
        let written = std::mem::take(&mut self.account.targets);
        for thing in written {
            self.account.reads(thing);
        }
        let effects = self.account.effects.split_off(before);
        let writes = |operation: &Op| {
            matches!(
                operation,
                Op::Insert
                    | Op::UpdateBounded
                    | Op::UpdateUnbounded
                    | Op::DeleteBounded
                    | Op::DeleteUnbounded
                    | Op::Export
                    | Op::DdlAdditive
            )
        };
        let is_function = |things: &[Thing]| things.iter().any(|thing| thing.kind == "function");
        self.account
            .effects
            .extend(effects.into_iter().filter(|(op, things)| !writes(op) || is_function(things)));
        self.account.locks = false;
        self.account.condition = None;
        self.account.cascades.clear();
        self.account.triggers.clear();
    }

    /// A statement inside another one.
    fn inner(&mut self, node: &Node) -> Walked {
        let node = tree::node(node)?;
        if tree::place(node) == Place::Analysed {
            return Err(Unplaced::OnlyAnalysed.into());
        }
        self.command(node)
    }

    pub(super) fn create_table_as(&mut self, create: &CreateTableAsStmt) -> Walked {
        let into = create.into.as_deref().ok_or(Unplaced::UnknownKind)?;
        self.creates(into)?;
        let query = create.query.as_deref().ok_or(Unplaced::UnknownKind)?;
        self.inner(query)?;
        self.account.leaves = Leaving::Nothing;
        Ok(())
    }

    pub(super) fn prepare(&mut self, prepare: &PrepareStmt) -> Walked {
        self.is_text_of_its_own()?;
        // Walked for what cannot be understood; its effects come when it is executed.
        let mut inner = Walker::new(self.path.clone(), self.session, self.target, None, self.text);
        inner.inner(prepare.query.as_deref().ok_or(Unplaced::UnknownKind)?)?;
        inner.settle_attributes();
        self.account.stands.extend(inner.account.definitions());
        self.account.does(Op::Setting, &[Thing::plain("prepared-statement", prepare.name.clone())]);
        let text: Arc<str> = self.text.into();
        self.account.session.push(SessionEffect::Prepare { name: prepare.name.clone(), text });
        Ok(())
    }

    pub(super) fn execute(&mut self, execute: &ExecuteStmt) -> Walked {
        self.all(&execute.params, &Scope::default())?;
        let thing = [Thing::plain("prepared-statement", execute.name.clone())];
        let Some(prepared) = self.session.statement(&execute.name) else {
            let why = format!("what the prepared statement `{}` holds is not known", execute.name);
            self.account.is_indirect(&thing, why);
            return Ok(());
        };
        let typed = prepared.types.iter().any(|kind| *kind != 0);
        let types: Vec<String> = prepared.types.iter().map(ToString::to_string).collect();
        let types =
            if typed { format!(" with parameters of the types {}", types.join(", ")) } else { String::new() };
        let named = format!("prepared statement {}{types}", execute.name);
        self.account.kept.insert(named, Arc::clone(&prepared.text));
        // Its parameters are expressions of this statement, not values that were bound.
        let values = self.values.take();
        let walked = self.stored(&prepared.text, |statement| match statement {
            // Parsed by the protocol, it is itself what runs: one that prepares another.
            Some(NodeEnum::PrepareStmt(prepare)) if prepared.by_sql => prepare.query.as_deref(),
            _ => None,
        });
        self.values = values;
        walked
    }

    pub(super) fn deallocate(&mut self, deallocate: &DeallocateStmt) {
        let name = (!deallocate.isall).then(|| deallocate.name.clone());
        self.account.does(Op::Setting, &[]);
        self.account.session.push(SessionEffect::Deallocate { name });
    }

    /// What keeps a text keeps the one that it stands in.
    fn is_text_of_its_own(&self) -> Walked {
        if self.nested == 0 { Ok(()) } else { Err(Obscure("what was kept keeps another text".into())) }
    }

    pub(super) fn declare(&mut self, declare: &DeclareCursorStmt) -> Walked {
        self.is_text_of_its_own()?;
        let query = declare.query.as_deref().ok_or(Unplaced::UnknownKind)?;
        self.inner(query)?;
        self.account.leaves = Leaving::Nothing;
        let text: Arc<str> = self.text.into();
        let holds = declare.options & WITH_HOLD != 0;
        self.account.session.push(SessionEffect::DeclareCursor {
            name: declare.portalname.clone(),
            text,
            holds,
        });
        Ok(())
    }

    pub(super) fn fetch(&mut self, fetch: &FetchStmt) -> Walked {
        let thing = [Thing::plain("cursor", fetch.portalname.clone())];
        let Some(text) = self.session.cursor(&fetch.portalname) else {
            let why = format!("what the cursor `{}` holds is not known", fetch.portalname);
            self.account.is_indirect(&thing, why);
            return Ok(());
        };
        self.account.kept.insert(format!("cursor {}", fetch.portalname), Arc::clone(&text));
        self.stored(&text, |statement| match statement {
            Some(NodeEnum::DeclareCursorStmt(declare)) => declare.query.as_deref(),
            _ => None,
        })?;
        let rows = match fetch.direction() {
            FetchDirection::FetchAbsolute | FetchDirection::FetchRelative => Some(1),
            // The grammar's word for ALL is the greatest number there is.
            FetchDirection::FetchForward | FetchDirection::FetchBackward => {
                u64::try_from(fetch.how_many).ok().filter(|rows| *rows < u64::from(u32::MAX))
            }
            FetchDirection::Undefined => return Err(Unplaced::UnknownKind.into()),
        };
        self.account.leaves = match (fetch.ismove, rows) {
            (true, _) => Leaving::Nothing,
            (false, Some(rows)) if !self.account.heavy => self.account.leaves.limited(rows),
            (false, _) => self.account.leaves,
        };
        Ok(())
    }

    pub(super) fn close(&mut self, close: &ClosePortalStmt) {
        let name = Some(close.portalname.clone()).filter(|name| !name.is_empty());
        self.account.does(Op::Setting, &[]);
        self.account.session.push(SessionEffect::CloseCursor { name });
    }

    /// A text kept from earlier, and the statement in it that will run.
    fn stored(&mut self, text: &str, wrapped: impl Fn(Option<&NodeEnum>) -> Option<&Node>) -> Walked {
        if self.nested >= DEEPEST {
            return Err(Obscure("statements run statements too deep to follow".into()));
        }
        let unread =
            |unread: parse::Unread| Obscure(format!("what was kept cannot be read: {}", unread.reason()));
        let (options, catalog) = (parse::options(self.session), self.path.catalog());
        let statements = parse::in_catalog(text, options, catalog).map_err(unread)?;
        let [statement] = &statements[..] else {
            return Err(Obscure("what was kept is not one statement".into()));
        };
        let node = statement.stmt.as_deref().ok_or(Unplaced::UnknownKind)?;
        let runs = wrapped(node.node.as_ref()).unwrap_or(node);
        self.nested += 1;
        let walked = self.inner(runs);
        self.nested -= 1;
        walked
    }

    pub(super) fn code_now(&mut self, block: &DoStmt) {
        let mut language = "plpgsql".to_owned();
        for argument in &block.args {
            if let Some((name, Some(value))) = setting::option(argument)
                && name == "language"
            {
                language = value;
            }
        }
        self.account.does(Op::Code, &[Thing::plain("language", language)]);
        self.account.runs_code = true;
        self.account.session.push(SessionEffect::Opaque);
    }

    pub(super) fn call_procedure(&mut self, call: &CallStmt) -> Walked {
        let function = call.funccall.as_deref().ok_or(Unplaced::UnknownKind)?;
        let name = Self::name_of(&function.funcname)?;
        self.account.functions.insert(name.shown());
        self.account.does(Op::Code, &[Thing::plain("procedure", name.shown())]);
        self.account.runs_code = true;
        for part in tree::parts(NodeRef::FuncCall(function))? {
            self.walk(part, &Scope::default())?;
        }
        self.account.session.push(SessionEffect::Opaque);
        if self.session.transaction == TransactionStatus::Idle {
            self.account.reasons.insert("a procedure may commit on its own".into());
        }
        Ok(())
    }
}
