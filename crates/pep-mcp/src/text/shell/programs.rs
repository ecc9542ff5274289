//! What programs do, by a table: a program, an option or an operand that is not in it is not understood, so that nothing is
//! taken for harmless because of its name alone.

use super::line::Command;
use crate::text::parts::Part;
use countersign_core::Class;

/// A program, as far as it is understood.
struct Program {
    names: &'static [&'static str],
    class: Class,
    /// What it does, as a sentence begins.
    verb: &'static str,
    /// Its options of one letter; those behind which a colon stands have a value, and with a `#` a number is one too.
    short: &'static str,
    /// Its long options; those that end in `=` have a value, written behind it.
    long: &'static [&'static str],
    operands: Operands,
}

/// What the words are that are no options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operands {
    None,
    /// Anything, which is no file.
    Text,
    Paths,
    /// At most one.
    OnePath,
    /// One that is no file, then files.
    TextThenPaths,
    /// The same, where no option has said it.
    PatternThenPaths,
    /// Files to which this is done, and one that is written.
    FromTo(Class),
    /// Texts that begin with a plus: any other sets something.
    Plus,
    /// One of these.
    Among(&'static [&'static str]),
}

/// The programs to which `-` is their standard input. To every other it is a file.
const DASHED: [&str; 20] = [
    "cat",
    "tac",
    "nl",
    "head",
    "tail",
    "wc",
    "sort",
    "uniq",
    "cut",
    "diff",
    "cmp",
    "comm",
    "md5sum",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "cksum",
    "grep",
    "egrep",
    "fgrep",
];

use Class::{Administer, Connect, Delete, Execute, Export, Read, Write};
use Operands as O;

#[rustfmt::skip]
const PROGRAMS: [Program; 37] = [
    Program { names: &["true", "false", "pwd", "whoami", "tty", "uptime", "nproc", "arch"], class: Read, verb: "Ask for", short: "", long: &[], operands: O::None },
    Program { names: &["id", "groups"], class: Read, verb: "Ask for", short: "ugnGr", long: &[], operands: O::Text },
    Program { names: &["uname"], class: Read, verb: "Ask for", short: "asnrvmpio", long: &[], operands: O::None },
    Program { names: &["hostname"], class: Read, verb: "Ask for", short: "fsiId", long: &[], operands: O::None },
    Program { names: &["date"], class: Read, verb: "Ask for", short: "uR", long: &["utc"], operands: O::Plus },
    Program { names: &["ps"], class: Read, verb: "List processes", short: "efAlFa", long: &[], operands: O::Among(&["aux", "ax", "axu"]) },
    Program { names: &["free", "vmstat"], class: Read, verb: "Ask for", short: "hmgkbt", long: &[], operands: O::None },
    Program { names: &["df"], class: Read, verb: "Ask how full", short: "hTiHkP", long: &["total"], operands: O::Paths },
    Program { names: &["cd"], class: Read, verb: "Go to", short: "LP", long: &[], operands: O::OnePath },
    Program { names: &["echo"], class: Read, verb: "Say something", short: "neE", long: &[], operands: O::Text },
    Program { names: &["basename", "dirname", "seq", "sleep", "which"], class: Read, verb: "Work something out", short: "a", long: &[], operands: O::Text },
    Program { names: &["ls"], class: Read, verb: "List", short: "aAlhrtSRdFin1sgGop", long: &["all", "almost-all", "human-readable", "recursive", "reverse"], operands: O::Paths },
    Program { names: &["cat", "tac", "nl", "rev"], class: Read, verb: "Read", short: "AbeEnstTuv", long: &[], operands: O::Paths },
    Program { names: &["head", "tail"], class: Read, verb: "Read", short: "#n:c:qvzfF", long: &["lines=", "bytes="], operands: O::Paths },
    Program { names: &["wc"], class: Read, verb: "Count", short: "clmwL", long: &["lines", "words", "bytes"], operands: O::Paths },
    Program { names: &["stat"], class: Read, verb: "Look at", short: "Lftc:", long: &["format="], operands: O::Paths },
    Program { names: &["file"], class: Read, verb: "Look at", short: "bikL", long: &[], operands: O::Paths },
    Program { names: &["du"], class: Read, verb: "Measure", short: "ahscd:kmx", long: &["max-depth=", "summarize"], operands: O::Paths },
    Program { names: &["readlink", "realpath"], class: Read, verb: "Look at", short: "fenm", long: &[], operands: O::Paths },
    Program { names: &["md5sum", "sha1sum", "sha256sum", "sha512sum", "cksum"], class: Read, verb: "Read", short: "b", long: &[], operands: O::Paths },
    Program { names: &["diff", "cmp", "comm"], class: Read, verb: "Compare", short: "uNrqwbBycsi123", long: &["brief", "recursive"], operands: O::Paths },
    Program { names: &["uniq"], class: Read, verb: "Read", short: "cdui", long: &[], operands: O::OnePath },
    Program { names: &["sort"], class: Read, verb: "Read", short: "bdfghinruVk:t:", long: &["reverse", "numeric-sort", "unique"], operands: O::Paths },
    Program { names: &["cut"], class: Read, verb: "Read", short: "d:f:c:b:s", long: &[], operands: O::Paths },
    Program { names: &["tr"], class: Read, verb: "Change characters", short: "cdsC", long: &[], operands: O::Text },
    Program { names: &["grep", "egrep", "fgrep"], class: Read, verb: "Search", short: "ivnrRlLcowxEFPsqhHaIe:A:B:C:m:", long: &["include=", "exclude=", "exclude-dir=", "ignore-case", "recursive", "line-number", "count", "only-matching"], operands: O::PatternThenPaths },
    Program { names: &["mkdir", "touch"], class: Write, verb: "Make", short: "pvacm", long: &["parents"], operands: O::Paths },
    Program { names: &["tee"], class: Write, verb: "Write", short: "ai", long: &["append"], operands: O::Paths },
    Program { names: &["cp"], class: Write, verb: "Copy", short: "rRpafvnuTd", long: &["recursive", "force", "verbose", "no-clobber"], operands: O::FromTo(Read) },
    Program { names: &["mv"], class: Write, verb: "Move", short: "fnvTu", long: &["force", "verbose", "no-clobber"], operands: O::FromTo(Delete) },
    Program { names: &["ln"], class: Write, verb: "Link", short: "fnvsT", long: &["force", "verbose", "symbolic"], operands: O::Paths },
    Program { names: &["rm", "rmdir", "unlink", "shred", "truncate"], class: Delete, verb: "Delete", short: "rRfivdIpuzs:n:", long: &["recursive", "force", "verbose", "dir", "no-preserve-root", "preserve-root", "one-file-system", "remove", "size="], operands: O::Paths },
    Program { names: &["chmod"], class: Administer, verb: "Change who may use", short: "RvfcHLPhrwxXst", long: &["recursive", "verbose"], operands: O::TextThenPaths },
    Program { names: &["chown", "chgrp"], class: Administer, verb: "Change who may use", short: "RvfcHLPh", long: &["recursive", "verbose"], operands: O::TextThenPaths },
    Program { names: &["usermod", "useradd", "userdel", "groupadd", "groupmod", "groupdel", "passwd", "gpasswd"], class: Administer, verb: "Change users", short: "aG:g:u:s:d:mrLUMNle:c:", long: &[], operands: O::Text },
    Program { names: &["kill", "pkill", "killall", "reboot", "shutdown", "halt", "poweroff"], class: Execute, verb: "Stop", short: "fxu:s:lrhPHc123456789KILTERMHUPINTQSOVN", long: &["signal="], operands: O::Text },
    Program { names: &["ping", "dig", "nslookup", "host"], class: Connect, verb: "Reach over the network", short: "c:t:46nqW:", long: &[], operands: O::Text },
];

const PG_DUMP: Program = Program {
    names: &["pg_dump", "pg_dumpall"],
    class: Export,
    verb: "Copy a database out",
    short: "h:p:U:d:t:n:saxOF:",
    long: &[
        "schema-only",
        "data-only",
        "host=",
        "port=",
        "username=",
        "dbname=",
        "table=",
        "schema=",
        "format=",
    ],
    operands: O::Text,
};

/// What is known of one command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Does {
    pub(super) program: String,
    pub(super) parts: Vec<Part>,
    pub(super) reasons: Vec<&'static str>,
    /// What it does, in the words of a sentence.
    pub(super) phrase: String,
}

/// What a command does. One that is not understood is said to be that, with why.
pub(super) fn does(command: &Command) -> Does {
    let called = command.words.first().map(String::as_str).unwrap_or_default();
    let name = base(called);
    let known = name.ok_or("program").and_then(|name| {
        let arguments = command.words.get(1..).unwrap_or_default();
        match name {
            "find" => found(arguments),
            "systemctl" => service(arguments),
            _ => listed(name, arguments),
        }
    });
    let redirected = redirected(command);
    let program = name.unwrap_or(called).to_owned();
    match known.and_then(|known| Ok((known, redirected?))) {
        Ok((mut known, mut redirected)) => {
            if !redirected.is_empty() {
                known.reasons.push("redirection");
            }
            if command.writes.iter().any(|file| file != NOWHERE) {
                known.reasons.push("overwrites");
            }
            known.parts.append(&mut redirected);
            for part in &mut known.parts {
                if part.about.is_empty() {
                    part.about.push(("program".into(), program.clone()));
                }
            }
            let mut phrase = said(&known, &program);
            for file in command.writes.iter().chain(&command.appends).filter(|file| *file != NOWHERE) {
                phrase = format!("{phrase} into {}", crate::classify::quoted(file));
            }
            Does { program, parts: known.parts, reasons: known.reasons, phrase }
        }
        Err(why) => {
            let parts =
                vec![Part { class: Class::Unknown, about: vec![("program".into(), program.clone())] }];
            let phrase = format!("Run {}, which nobody here can read", crate::classify::quoted(&program));
            Does { program, parts, reasons: vec![why], phrase }
        }
    }
}

struct Known {
    verb: &'static str,
    parts: Vec<Part>,
    reasons: Vec<&'static str>,
}

/// Where output goes that nobody wants.
const NOWHERE: &str = "/dev/null";

fn redirected(command: &Command) -> Result<Vec<Part>, &'static str> {
    let wanted =
        |files: &[String]| -> Vec<String> { files.iter().filter(|file| *file != NOWHERE).cloned().collect() };
    let mut parts = Vec::new();
    for (class, files) in [(Write, &command.writes), (Write, &command.appends), (Read, &command.reads)] {
        let files = wanted(files);
        if !files.is_empty() {
            parts.push(Part { class, about: paths(&files)? });
        }
    }
    Ok(parts)
}

/// The program behind a name: where programs are kept, or as the shell finds it.
fn base(called: &str) -> Option<&str> {
    let folders = ["/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/"];
    let name = folders.iter().find_map(|folder| called.strip_prefix(folder)).unwrap_or(called);
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

fn listed(name: &str, arguments: &[String]) -> Result<Known, &'static str> {
    let all = PROGRAMS.iter().chain([&PG_DUMP]);
    let program = all.into_iter().find(|program| program.names.contains(&name)).ok_or("program")?;
    let given = given(program, arguments)?;
    let reasons = reasons(name, program.class, &given);
    let Given { options, operands } = given;
    let class = program.class;
    let is_input = |operand: &String| operand == "-" && DASHED.contains(&name);
    let about = |class: Class, files: &[String]| {
        let files: Vec<String> = files.iter().filter(|file| !is_input(file)).cloned().collect();
        Ok::<_, &'static str>(Part { class, about: paths(&files)? })
    };
    let alone = || vec![Part { class, about: Vec::new() }];
    let has = |short: char| options.iter().any(|option| option.is(short, " "));
    let parts = match program.operands {
        O::None if operands.is_empty() => alone(),
        O::Text => alone(),
        O::Plus if operands.iter().all(|operand| operand.starts_with('+')) => alone(),
        // Of options beside such a word, some are read as letters of it.
        O::Among(known) => match operands.as_slice() {
            [] => alone(),
            [one] if options.is_empty() && known.contains(&one.as_str()) => alone(),
            _ => return Err("operand"),
        },
        O::None | O::Plus => return Err("operand"),
        O::OnePath if operands.len() > 1 => return Err("operand"),
        // To where one was before.
        O::OnePath if name == "cd" && operands.iter().any(|operand| operand == "-") => return Err("operand"),
        O::Paths | O::OnePath => vec![about(class, &operands)?],
        // What stands first elsewhere was said by an option.
        O::PatternThenPaths if has('e') => vec![about(class, &operands)?],
        O::TextThenPaths if "rwxXst".chars().any(has) => vec![about(class, &operands)?],
        O::TextThenPaths | O::PatternThenPaths => match operands.split_first() {
            Some((_, files)) => vec![about(class, files)?],
            None => return Err("operand"),
        },
        O::FromTo(done) => match operands.split_last() {
            Some((to, from)) if !from.is_empty() => {
                vec![about(done, from)?, about(class, std::slice::from_ref(to))?]
            }
            Some(_) | None => return Err("operand"),
        },
    };
    Ok(Known { verb: program.verb, parts, reasons })
}

/// What policy should know of a program beside what it does.
fn reasons(name: &str, class: Class, given: &Given) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    let has = |short: char, long: &str| given.options.iter().any(|option| option.is(short, long));
    let descends = match name {
        "rm" | "grep" | "egrep" | "fgrep" => &['r', 'R'][..],
        "cp" => &['r', 'R', 'a'],
        "diff" => &['r'],
        "ls" | "chmod" | "chown" | "chgrp" => &['R'],
        _ => &[],
    };
    if has(' ', "recursive") || descends.iter().any(|letter| has(*letter, "recursive")) {
        reasons.push("recursive");
    }
    if class == Delete && has('f', "force") {
        reasons.push("forced");
    }
    if name == "cd" {
        reasons.push("moves");
    }
    let overwrites = match name {
        "cp" | "mv" => !has('n', "no-clobber") || has('f', "force"),
        "ln" => has('f', "force"),
        "tee" => !has('a', "append"),
        _ => false,
    };
    if overwrites {
        reasons.push("overwrites");
    }
    reasons
}

/// `find`: what it looks for, and whether it deletes that. What runs programs or writes files is not in the list.
fn found(arguments: &[String]) -> Result<Known, &'static str> {
    const ALONE: [&str; 8] = ["-print", "-print0", "-empty", "-not", "-and", "-or", "-depth", "-xdev"];
    const VALUED: [&str; 15] = [
        "-name",
        "-iname",
        "-path",
        "-type",
        "-size",
        "-mtime",
        "-mmin",
        "-atime",
        "-ctime",
        "-maxdepth",
        "-mindepth",
        "-newer",
        "-user",
        "-group",
        "-perm",
    ];
    let is_path = |word: &&String| !word.starts_with('-');
    let mut files: Vec<String> = arguments.iter().take_while(is_path).cloned().collect();
    let (mut class, mut verb) = (Read, "List");
    // What belongs to what it looks for is no folder, wherever it stands.
    if files.iter().any(|word| word.starts_with(['!', '(', ')', ','])) {
        return Err("option");
    }
    let mut rest = arguments.iter().skip(files.len());
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-delete" => (class, verb) = (Delete, "Delete what is found below"),
            word if VALUED.contains(&word) => {
                rest.next().ok_or("operand")?;
            }
            word if ALONE.contains(&word) => {}
            _ => return Err("option"),
        }
    }
    if files.is_empty() {
        files.push(".".into());
    }
    Ok(Known { verb, parts: vec![Part { class, about: paths(&files)? }], reasons: vec!["recursive"] })
}

fn service(arguments: &[String]) -> Result<Known, &'static str> {
    let mut words =
        arguments.iter().filter(|word| *word != "--no-pager" && *word != "--quiet").map(String::as_str);
    let (class, verb) = match words.next().ok_or("operand")? {
        "status" | "is-active" | "is-enabled" | "is-failed" | "list-units" => (Read, "Look at"),
        "start" | "stop" | "restart" | "reload" | "try-restart" | "kill" => (Execute, "Start or stop"),
        "enable" | "disable" | "mask" | "unmask" | "daemon-reload" => (Class::Configure, "Configure"),
        _ => return Err("operand"),
    };
    let units: Vec<&str> = words.collect();
    if units.iter().any(|unit| unit.starts_with('-') || unit.is_empty()) {
        return Err("option");
    }
    // A file, of which it makes a unit.
    if units.iter().any(|unit| unit.contains('/')) {
        return Err("operand");
    }
    let about = units.into_iter().map(|unit| ("service".to_owned(), unit.to_owned())).collect();
    Ok(Known { verb, parts: vec![Part { class, about }], reasons: Vec::new() })
}

struct Given {
    options: Vec<Opt>,
    operands: Vec<String>,
}

enum Opt {
    Short(char),
    Long(&'static str),
}

impl Opt {
    fn is(&self, short: char, long: &str) -> bool {
        match self {
            Self::Short(name) => *name == short,
            Self::Long(name) => *name == long,
        }
    }
}

/// Options and operands, wherever they stand: as GNU reads them, which finds every option that others find. None is
/// abbreviated. Others take what stands behind an operand for one more, so that nothing may depend on which it is.
fn given(program: &Program, arguments: &[String]) -> Result<Given, &'static str> {
    let mut given = Given { options: Vec::new(), operands: Vec::new() };
    let mut words = arguments.iter();
    let counts = matches!(program.operands, O::OnePath | O::FromTo(_));
    while let Some(word) = words.next() {
        let is_late = !given.operands.is_empty();
        let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            given.operands.push(word.clone());
            continue;
        };
        if is_late && counts {
            return Err("option");
        }
        if word == "--" {
            given.operands.extend(words.by_ref().cloned());
        } else if let Some(long) = rest.strip_prefix('-') {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let known = program.long.iter().find(|known| match value {
                None => **known == name,
                Some(_) => !is_late && known.strip_suffix('=') == Some(name),
            });
            given.options.push(Opt::Long(known.ok_or("option")?));
        } else if program.short.starts_with('#') && rest.bytes().all(|byte| byte.is_ascii_digit()) {
            // How many, in a form that is read at the front only.
            if is_late || !given.options.is_empty() {
                return Err("option");
            }
            given.options.push(Opt::Short('#'));
        } else {
            let mut letters = rest.chars();
            while let Some(letter) = letters.next() {
                let at =
                    program.short.find(letter).filter(|_| letter != ':' && letter != '#').ok_or("option")?;
                given.options.push(Opt::Short(letter));
                let is_valued =
                    program.short.get(at + letter.len_utf8()..).is_some_and(|rest| rest.starts_with(':'));
                if is_valued && is_late {
                    return Err("option");
                }
                if is_valued {
                    if letters.as_str().is_empty() {
                        words.next().ok_or("option")?;
                    }
                    break;
                }
            }
        }
    }
    Ok(given)
}

/// Where files are no files: devices, and what the system is told by writing there.
const NO_FILES: [&str; 3] = ["dev", "proc", "sys"];

/// Files as resources. One whose name leads somewhere else than it says, or that is no file, is none that is understood.
fn paths(files: &[String]) -> Result<Vec<(String, String)>, &'static str> {
    let one = |file: &String| {
        let is_odd = file.is_empty() || file.contains("//") || file.contains("/./") || file.ends_with("/.");
        // `..` leads out of what stands before it, or out of a link that stands there.
        let segments: Vec<&str> = file.split('/').collect();
        let climbs = segments.windows(2).any(|two| matches!(two, [before, ".."] if *before != ".."));
        // Wherever it begins: `..` and `cd` lead up to the root.
        let first = segments.iter().find(|segment| !["", ".", ".."].contains(segment));
        let is_none = first.is_some_and(|first| NO_FILES.contains(first));
        if is_odd || climbs || is_none {
            return Err("path");
        }
        Ok(("path".to_owned(), file.clone()))
    };
    files.iter().map(one).collect()
}

fn said(known: &Known, program: &str) -> String {
    const MOST: usize = 4;
    let about: Vec<&str> = known
        .parts
        .iter()
        .flat_map(|part| &part.about)
        .filter(|(kind, _)| kind != "program")
        .map(|(_, name)| name.as_str())
        .collect();
    let about = match about.len() {
        0 => String::new(),
        1..=MOST => {
            let all: Vec<String> = about.into_iter().map(crate::classify::quoted).collect();
            format!(" {}", all.join(", "))
        }
        count => format!(" {count} files"),
    };
    let below = if known.reasons.contains(&"recursive") { " with everything below" } else { "" };
    format!("{}{about}{below} ({program})", known.verb)
}
