//! One plain English sentence for what a statement does, computed from the tree alone. Names that somebody chose stand
//! in backticks they cannot leave; one that is too long is named by its length and never cut.

use super::{
    SessionEffect, SqlOperation as Op, SqlTarget, TransactionControl,
    account::{Account, Explains, Leaving, Thing},
    bounds::Condition,
    command::COPY_IN,
};
use countersign_core::visible;
use std::collections::BTreeSet;

/// The longest name a sentence spells out, in characters.
const LONGEST: usize = 120;
/// More names than this are counted.
const MOST_NAMES: usize = 6;

/// A sentence with a place for how many rows it is about.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Sentence {
    before: String,
    /// What stands in the place while nobody has counted; empty: there is no such place.
    amount: String,
    after: String,
}

/// How many rows an action is about, as somebody counted or estimated before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowEvidence {
    Exactly(u64),
    /// Counted up to here, and there were more.
    AtLeast(u64),
    /// What the planner thinks.
    About(u64),
}

impl RowEvidence {
    /// Of two statements together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let number = |evidence: Self| match evidence {
            Self::Exactly(count) | Self::AtLeast(count) | Self::About(count) => count,
        };
        let sum = number(self).saturating_add(number(other));
        match (self, other) {
            (Self::Exactly(_), Self::Exactly(_)) => Self::Exactly(sum),
            (Self::About(_), _) | (_, Self::About(_)) => Self::About(sum),
            (Self::AtLeast(_), _) | (_, Self::AtLeast(_)) => Self::AtLeast(sum),
        }
    }
}

impl Sentence {
    pub(super) fn whole(text: String) -> Self {
        Self { before: text, ..Self::default() }
    }

    pub(super) fn plain(&self) -> String {
        format!("{}{}{}", self.before, self.amount, self.after)
    }

    /// With the rows counted, where it speaks of rows.
    pub(super) fn with(&self, evidence: RowEvidence) -> String {
        if self.amount.is_empty() {
            return self.plain();
        }
        let rows = |count: u64| if count == 1 { "row" } else { "rows" };
        let amount = match evidence {
            RowEvidence::Exactly(count) => format!("{} {}", grouped(count), rows(count)),
            RowEvidence::AtLeast(count) => format!("at least {} {}", grouped(count), rows(count)),
            RowEvidence::About(count) => {
                let count = rounded(count);
                format!("about {} {} (estimate)", grouped(count), rows(count))
            }
        };
        format!("{}{amount}{}", self.before, self.after)
    }

    fn followed_by(mut self, more: &str) -> Self {
        if self.amount.is_empty() {
            self.before.push_str(more);
        } else {
            self.after.push_str(more);
        }
        self
    }

    pub(super) fn led_by(mut self, lead: &str) -> Self {
        self.before = format!("{lead}{}", self.before);
        self
    }
}

/// What one statement is told about with.
pub(super) struct Told<'a> {
    pub(super) verb: &'a str,
    pub(super) operation: Op,
    pub(super) account: &'a Account,
    pub(super) target: &'a SqlTarget,
    /// Of everything the action touches.
    pub(super) labels: &'a BTreeSet<String>,
}

/// The sentence of one statement. A new operation does not compile until it has one.
pub(super) fn of(told: &Told<'_>) -> Sentence {
    let Told { verb, operation, account, .. } = told;
    let place = place(told.target, told.labels);
    let things = told.things(*operation);
    let names = names(&things);
    let on = if things.is_empty() { String::new() } else { format!(" {names}") };
    let with = if things.is_empty() { String::new() } else { format!(": {names}") };
    let only_calls = !things.is_empty() && things.iter().all(|thing| thing.kind == "function");
    let details =
        if account.details.is_empty() { String::new() } else { format!(" {}", listed(&account.details)) };
    let irreversible = "Not reversible.";
    let run = match account.explains {
        Some(Explains::Plan) => "Show the plan to: ",
        Some(Explains::Run) => "Run and measure: ",
        None => "",
    };
    let sentence = match operation {
        Op::Txn | Op::TxnPrepared => Sentence::whole(format!("{} {place}.", transaction(account))),
        Op::Setting => Sentence::whole(format!("{} {place}.", setting(verb, account, &on))),
        Op::Read | Op::ReadSensitive => {
            let what = if *operation == Op::ReadSensitive { "Read sensitive data" } else { "Read" };
            if things.is_empty() {
                return Sentence::whole(format!("{run}Compute values {place} without reading a table."));
            }
            let most = match account.leaves {
                Leaving::AtMost(1) => ", at most one row".to_owned(),
                Leaving::AtMost(rows) => format!(", at most {} rows", grouped(rows)),
                Leaving::Nothing | Leaving::AnyNumber => String::new(),
            };
            Sentence::whole(format!("{what} from{on} {place}{most}."))
        }
        Op::Export => Sentence {
            before: "Export ".into(),
            amount: "any number of rows".into(),
            after: format!(" from{on} {place}: no limit that holds was given."),
        },
        Op::Lock => Sentence::whole(format!("Hold up others{with} {place}: it takes locks or waits.")),
        Op::Notify => Sentence::whole(format!("Exchange messages with other sessions{with} {place}.")),
        Op::Insert | Op::UpdateBounded | Op::DeleteBounded if only_calls => {
            Sentence::whole(format!("Call{on}, which changes data, {place}."))
        }
        Op::Insert => {
            let rows = if *verb == COPY_IN { "the rows the client sends then" } else { "rows" };
            Sentence::whole(format!("Insert {rows} into{on} {place}.{}", told.beyond()))
        }
        Op::UpdateBounded => {
            rows("Update ", "the rows a key names", &format!(" in{on} {place}.{}", told.beyond()))
        }
        Op::DeleteBounded => rows(
            "Delete ",
            "the rows a key names",
            &format!(" from{on} {place}.{} {irreversible}", told.beyond()),
        ),
        Op::UpdateUnbounded => rows(
            "Update ",
            told.amount(),
            &format!(" of{on} {place}.{} The old values are lost.", told.beyond()),
        ),
        Op::DeleteUnbounded => {
            rows("Delete ", told.amount(), &format!(" from{on} {place}.{} {irreversible}", told.beyond()))
        }
        Op::Maintenance => Sentence::whole(format!("Tidy how data is stored ({verb}){with} {place}.")),
        Op::DdlAdditive => Sentence::whole(format!("Add to the definitions ({verb}){with} {place}.")),
        Op::DdlRewriting => Sentence::whole(format!(
            "Change a definition, which may lock or rewrite it ({verb}{details}){with} {place}."
        )),
        Op::DdlDestructive => Sentence::whole(format!(
            "Drop{}{on} {place}.{} {irreversible}",
            if verb.starts_with("ALTER") { format!("{details} of") } else { String::new() },
            told.beyond()
        )),
        Op::Code => Sentence::whole(format!(
            "Run or install code ({verb}){with} {place}. Countersign does not read what it will do."
        )),
        Op::Session => Sentence::whole(format!(
            "Change who this session is or what it may see: {} {place}.",
            setting_list(account).unwrap_or_else(|| format!("{verb}{on}"))
        )),
        Op::Network => Sentence::whole(format!("Reach another server ({verb}){with} {place}.")),
        Op::Server => Sentence::whole(format!("Change how the server runs ({verb}{details}){with} {place}.")),
        Op::Authz => Sentence::whole(format!(
            "Change who may do what ({verb}{details}){with} {place}.{}",
            told.because()
        )),
        Op::FileOrProgram => {
            Sentence::whole(format!("Use a file or a program of the server ({verb}){with} {place}."))
        }
        Op::Indirect => Sentence::whole(format!(
            "Countersign cannot tell all that this {verb} does {place}: {}.",
            reasons(account)
        )),
        Op::Unknown => Sentence::whole(format!(
            "Countersign could not determine what this does {place}: {}. Read the statement itself.",
            reasons(account)
        )),
    };
    let sentence = sentence.followed_by(&told.also());
    sentence.led_by(if matches!(operation, Op::Indirect | Op::Unknown) { "" } else { run })
}

impl Told<'_> {
    /// What the operation is done to, in the order found.
    fn things(&self, operation: Op) -> Vec<&Thing> {
        let mut things: Vec<&Thing> = Vec::new();
        let of_operation = self.account.effects.iter().filter(|(found, _)| *found == operation);
        for thing in of_operation.flat_map(|(_, things)| things) {
            if !things.iter().any(|known| known.name == thing.name && known.kind == thing.kind) {
                things.push(thing);
            }
        }
        things
    }

    fn amount(&self) -> &'static str {
        match self.account.condition {
            None | Some(Condition::Some) => "all rows that match a condition",
            Some(Condition::Missing) => "all rows",
            Some(Condition::Always) => "all rows (the condition is always true)",
        }
    }

    /// What the statement does besides.
    fn also(&self) -> String {
        let others: BTreeSet<Op> = self.account.effects.iter().map(|(other, _)| *other).collect();
        let said: Vec<&str> =
            others.into_iter().filter(|other| *other != self.operation).filter_map(besides).collect();
        if said.is_empty() { String::new() } else { format!(" Also: {}.", said.join(", ")) }
    }

    /// What else is to be known about a definition.
    fn because(&self) -> String {
        let said: Vec<String> = self
            .account
            .reasons
            .iter()
            .map(|reason| format!(" And {}.", visible::one_line(reason)))
            .collect();
        said.concat()
    }

    /// What happens elsewhere.
    fn beyond(&self) -> String {
        let list =
            |names: &BTreeSet<String>| listed(&names.iter().map(|name| quoted(name)).collect::<Vec<_>>());
        let mut said = Vec::new();
        if !self.account.cascades.is_empty() {
            said.push(format!(" Through foreign keys it changes {}.", list(&self.account.cascades)));
        }
        if !self.account.triggers.is_empty() {
            said.push(format!(" Triggers run {}.", list(&self.account.triggers)));
        }
        if self.operation == Op::DdlDestructive {
            said.push(self.because());
        }
        said.concat()
    }
}

/// What an operation is called when a graver one names the statement; `None` for what goes without saying.
const fn besides(operation: Op) -> Option<&'static str> {
    match operation {
        Op::Txn | Op::Setting | Op::Read => None,
        Op::ReadSensitive => Some("reads sensitive data"),
        Op::Lock => Some("takes locks"),
        Op::Notify => Some("sends messages"),
        Op::Export => Some("returns any number of rows"),
        Op::Insert => Some("inserts rows"),
        Op::UpdateBounded | Op::UpdateUnbounded => Some("updates rows"),
        Op::DeleteBounded | Op::DeleteUnbounded => Some("deletes rows"),
        Op::Maintenance | Op::DdlAdditive | Op::DdlRewriting => Some("changes definitions"),
        Op::Code => Some("runs code"),
        Op::DdlDestructive => Some("drops"),
        Op::TxnPrepared => Some("two-phase commit"),
        Op::Session => Some("changes the session"),
        Op::Network => Some("reaches another server"),
        Op::Server => Some("changes the server"),
        Op::Authz => Some("changes rights"),
        Op::FileOrProgram => Some("uses files or programs"),
        Op::Indirect | Op::Unknown => Some("what cannot be told"),
    }
}

fn rows(before: &str, amount: &str, after: &str) -> Sentence {
    Sentence { before: before.into(), amount: amount.into(), after: after.into() }
}

fn transaction(account: &Account) -> String {
    let control = account.session.iter().find_map(|effect| match effect {
        SessionEffect::Transaction(control) => Some(control),
        SessionEffect::Set(_)
        | SessionEffect::Prepare { .. }
        | SessionEffect::Deallocate { .. }
        | SessionEffect::DeclareCursor { .. }
        | SessionEffect::CloseCursor { .. }
        | SessionEffect::CreateTemporary { .. }
        | SessionEffect::DropTemporary { .. }
        | SessionEffect::Discard
        | SessionEffect::Listen
        | SessionEffect::Defines
        | SessionEffect::Opaque => None,
    });
    match control {
        Some(TransactionControl::Begin { .. }) => "Begin a transaction".into(),
        Some(TransactionControl::Commit { .. }) => "Commit the transaction".into(),
        Some(TransactionControl::Rollback { .. }) => "Roll the transaction back".into(),
        Some(TransactionControl::Savepoint { name }) => format!("Set the savepoint {}", quoted(name)),
        Some(TransactionControl::Release { name }) => format!("Release the savepoint {}", quoted(name)),
        Some(TransactionControl::RollbackTo { name }) => {
            format!("Roll back to the savepoint {}", quoted(name))
        }
        Some(TransactionControl::Characteristics { .. }) | None => "Choose how transactions run".into(),
        Some(TransactionControl::Prepare { id }) => {
            format!("Prepare the transaction {} to be committed later, by anybody who may", quoted(id))
        }
        Some(TransactionControl::CommitPrepared { id }) => {
            format!("Commit the prepared transaction {}, whoever prepared it", quoted(id))
        }
        Some(TransactionControl::RollbackPrepared { id }) => {
            format!("Roll back the prepared transaction {}, whoever prepared it", quoted(id))
        }
    }
}

fn setting(verb: &str, account: &Account, on: &str) -> String {
    match setting_list(account) {
        Some(list) => list,
        None if on.is_empty() => format!("{verb} in this session"),
        None => format!("{verb}{on} in this session"),
    }
}

fn setting_list(account: &Account) -> Option<String> {
    let one = |(name, value): &(String, Option<String>)| match value {
        Some(value) => format!("set {} to {}", quoted(name), quoted(value)),
        None => format!("set {} back to its default", quoted(name)),
    };
    let all: Vec<String> = account.settings.iter().map(one).collect();
    let said = (!all.is_empty()).then(|| listed(&all))?;
    // A sentence begins with a capital.
    let mut characters = said.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect())
}

fn reasons(account: &Account) -> String {
    let reasons: Vec<String> = account.reasons.iter().map(|reason| visible::one_line(reason)).collect();
    if reasons.is_empty() { "nothing about it is known".into() } else { reasons.join("; ") }
}

/// `in orders (prod, personal data)`.
pub(super) fn place(target: &SqlTarget, labels: &BTreeSet<String>) -> String {
    let words = labels.iter().map(|label| match label.as_str() {
        "pii" => "personal data",
        "phi" => "health data",
        "pci" => "card data",
        other => other,
    });
    let all: Vec<&str> = std::iter::once(target.environment.as_str()).chain(words).collect();
    format!("in {} ({})", target.target, all.join(", "))
}

fn names(things: &[&Thing]) -> String {
    let shown: Vec<String> = things.iter().map(|thing| named(thing)).collect();
    listed(&shown)
}

/// A table by its name alone, everything else with what it is.
fn named(thing: &Thing) -> String {
    let name = quoted(&thing.name);
    match thing.kind {
        "table" | "view" | "object" => name,
        "unresolved-table" => format!("{name} (not found in the catalog)"),
        "system-table" => format!("{name} (of the system)"),
        "temporary-table" => format!("{name} (temporary)"),
        kind => format!("{} {name}", kind.replace('-', " ")),
    }
}

fn listed(shown: &[String]) -> String {
    match shown {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] if shown.len() <= MOST_NAMES => format!("{} and {last}", all.join(", ")),
        all => {
            let first: Vec<&str> = all.iter().take(MOST_NAMES).map(String::as_str).collect();
            format!(
                "{} and {} more (shown whole on the approval page)",
                first.join(", "),
                all.len() - MOST_NAMES
            )
        }
    }
}

/// Somebody else's text in backticks that it cannot close.
pub(super) fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "(nothing)".into();
    }
    let length = text.chars().count();
    if length > LONGEST {
        return format!("a name of {length} characters (shown whole on the approval page)");
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('`');
    for character in visible::one_line(text).chars() {
        if character == '`' {
            out.push_str(&visible::label(character));
        } else {
            out.push(character);
        }
    }
    out.push('`');
    out
}

/// The first two digits of an estimate: the rest says nothing.
fn rounded(count: u64) -> u64 {
    let unit = 10_u64.pow(count.checked_ilog10().unwrap_or(0).saturating_sub(1));
    (count.saturating_add(unit / 2) / unit).saturating_mul(unit)
}

/// `14,000`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
