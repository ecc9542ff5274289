//! The threads that read: few, with stacks deep enough for any text below the cap, behind a bounded queue and a
//! bounded memo. Callers wait without blocking a thread of theirs.

use super::{
    Asked, BoundValue, Counted, Preflight, Question, SessionFacts, SqlTarget, Understood, assemble,
    preflight, shape,
};
use parking_lot::Mutex;
use quick_cache::{Equivalent, sync::Cache};
use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
    io, panic,
    sync::{Arc, mpsc},
    thread,
};
use tokio::sync::oneshot;

/// Deep enough for any text below the cap, in any build.
const STACK_BYTES: usize = 32 * 1024 * 1024;
/// Longer questions are not remembered.
const KEPT_BYTES: usize = 8 * 1024;

/// What a [`Reader`] may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderLimits {
    pub threads: usize,
    /// Questions waiting for a thread.
    pub queue: usize,
    /// Answers kept.
    pub memo: usize,
}

impl Default for ReaderLimits {
    fn default() -> Self {
        Self { threads: 2, queue: 256, memo: 4096 }
    }
}

/// Understands questions on threads of its own. Cheap to clone; its threads end with its last clone.
#[derive(Clone, Debug)]
pub struct Reader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: mpsc::SyncSender<Job>,
    memo: Cache<Key, Arc<Understood>>,
}

#[derive(Debug)]
enum Job {
    Understand { question: Arc<Question>, answer: oneshot::Sender<Understood> },
    Preflight { question: Arc<Question>, answer: oneshot::Sender<Preflight> },
}

/// Everything an answer depends on: the catalog by its version, the target by where it lies (a key keeps it there), the rest
/// by what it is.
#[derive(Clone, Debug)]
struct Key(Arc<Question>);

/// The same, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Parts<'q> {
    asked: &'q [Asked],
    session: &'q SessionFacts,
    catalog: u64,
    target: *const SqlTarget,
}

impl<'q> Parts<'q> {
    fn of(question: &'q Question) -> Self {
        let Question { asked, session, catalog, target } = question;
        Self { asked, session, catalog: catalog.version(), target: Arc::as_ptr(target) }
    }
}

impl Key {
    fn size(&self) -> usize {
        let value = |value: &BoundValue| match value {
            BoundValue::Null => 0,
            BoundValue::Text(bytes) | BoundValue::Binary(bytes) => bytes.len(),
        };
        let of = |asked: &Asked| asked.sql.len() + asked.values.iter().flatten().map(value).sum::<usize>();
        self.0.asked.iter().map(of).sum::<usize>() + self.0.session.size()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Parts::of(&self.0) == Parts::of(&other.0)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Parts::of(&self.0).hash(state);
    }
}

impl Equivalent<Key> for Parts<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == Parts::of(&key.0)
    }
}

impl Reader {
    pub fn start(limits: ReaderLimits) -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel::<Job>(limits.queue.max(1));
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..limits.threads.max(1) {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new()
                .name(format!("sql-reader-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || work(&jobs))?;
        }
        let memo = Cache::new(limits.memo.max(1));
        Ok(Self { inner: Arc::new(Inner { queue, memo }) })
    }

    /// What may be asked about an action beforehand.
    pub async fn preflight(&self, question: Question) -> Preflight {
        let search_path = question.session.search_path.clone();
        let (answer, answered) = oneshot::channel();
        let sent = self.inner.queue.try_send(Job::Preflight { question: Arc::new(question), answer });
        let answer = if sent.is_ok() { answered.await.ok() } else { None };
        answer.unwrap_or_else(|| {
            let why = "too many statements are being read at this moment";
            Preflight {
                counts: vec![Counted { statement: 0, verb: "STATEMENT", rows: Err(why.into()) }],
                search_path,
            }
        })
    }

    /// Never fails: what cannot be read now, or at all, is not understood.
    pub async fn understand(&self, question: &Question) -> Arc<Understood> {
        let needed = only_needed(question);
        if let Some(shape) = shape_of(&needed) {
            let asked = [Asked { sql: shape.into(), types: Vec::new(), values: None }];
            let understood = self.read(&needed, &asked).await;
            if says_all(&understood) {
                return understood;
            }
        }
        self.read(&needed, &needed.asked).await
    }

    /// What is asked, in the surroundings of the question.
    async fn read(&self, question: &Question, asked: &[Asked]) -> Arc<Understood> {
        if let Some(known) = self.inner.memo.get(&Parts { asked, ..Parts::of(question) }) {
            return known;
        }
        let Question { session, catalog, target, .. } = question;
        let question = Arc::new(Question {
            asked: asked.to_vec(),
            session: session.clone(),
            catalog: Arc::clone(catalog),
            target: Arc::clone(target),
        });
        let key = Key(Arc::clone(&question));
        let (answer, answered) = oneshot::channel();
        if self.inner.queue.try_send(Job::Understand { question: Arc::clone(&question), answer }).is_err() {
            return Arc::new(assemble::unread(
                &question,
                "too many statements are being read at this moment",
            ));
        }
        let Ok(understood) = answered.await else {
            return Arc::new(assemble::unread(&question, "reading it failed in a way it should not"));
        };
        let understood = Arc::new(understood);
        if key.size() <= KEPT_BYTES {
            self.inner.memo.insert(key, Arc::clone(&understood));
        }
        understood
    }
}

/// The shape of the text, where it is one text that has one.
fn shape_of(question: &Question) -> Option<String> {
    let [asked] = question.asked.as_slice() else { return None };
    let bound = asked.values.as_ref().is_some_and(|values| !values.is_empty());
    if bound { None } else { shape::of(&asked.sql) }
}

/// Whether what was read of a shape holds for its texts: it was read with certainty, and keeps nothing of the text.
fn says_all(understood: &Understood) -> bool {
    understood.is_certain()
        && understood.refused.is_none()
        && understood.unresolved.is_empty()
        && understood.session_effects().next().is_none()
}

/// Without what no text of the question can name, so that sessions and values share their answers. Kept statements,
/// cursors and savepoints are reached by these words only, and bound values are looked at behind these only; no word of the
/// grammar can be written otherwise.
fn only_needed(question: &Question) -> Cow<'_, Question> {
    let says = |words: &[&str]| question.asked.iter().any(|asked| holds_any(&asked.sql, words));
    let SessionFacts { prepared, cursors, savepoints, began, other_statements, other_portals, .. } =
        &question.session;
    let nothing_named = prepared.is_empty()
        && cursors.is_empty()
        && savepoints.is_empty()
        && began.is_none()
        && other_statements.is_empty()
        && other_portals.is_empty();
    let bound = question.asked.iter().flat_map(|asked| &asked.values).any(|values| !values.is_empty());
    if (nothing_named && !bound) || says(&["execute"]) {
        return Cow::Borrowed(question);
    }
    let mut needed = question.clone();
    // What is kept may name a cursor in its turn.
    needed.session.prepared.clear();
    needed.session.other_statements.clear();
    if !says(&["fetch", "move"]) {
        needed.session.cursors.clear();
        needed.session.held.clear();
        needed.session.other_portals.clear();
    }
    // Only what ends a transaction, or part of it, goes back to what was before.
    if !says(&["rollback", "abort", "commit", "end", "prepare"]) {
        needed.session.savepoints.clear();
        needed.session.began = None;
    }
    if !says(&["limit", "fetch", "any", "some"]) {
        needed.asked.iter_mut().filter_map(|asked| asked.values.as_mut()).for_each(Vec::clear);
    }
    Cow::Owned(needed)
}

/// Whether a text may name a prepared statement or a cursor.
pub fn names_kept(sql: &str) -> bool {
    holds_any(sql, &["execute", "fetch", "move"])
}

/// Whether one of these words, in lower case, stands anywhere in the text, in whatever case.
fn holds_any(text: &str, words: &[&str]) -> bool {
    let holds = |word: &[u8]| text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    words.iter().any(|word| holds(word.as_bytes()))
}

/// Reads until nobody can ask any more. A question nobody waits for is still read: it costs no more than asking.
fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let Ok(job) = jobs.lock().recv() else { return };
        // A panic here is a fault of ours; the question it came from is not understood, and the next one is read.
        let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| answer(job)));
        drop(caught);
    }
}

/// Whoever asked may have gone.
fn answer(job: Job) {
    match job {
        Job::Understand { question, answer } => drop(answer.send(assemble::understand(&question))),
        Job::Preflight { question, answer } => drop(answer.send(preflight(&question))),
    }
}
