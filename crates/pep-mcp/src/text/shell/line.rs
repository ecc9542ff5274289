//! A line for a shell as its commands, where every POSIX shell reads it the same way: plain words, quotes without anything that
//! is replaced in them, `|`, `&&`, `||`, `;`, and redirections to files. Everything else has a reading that depends on what the
//! shell knows, and is not read at all.

use countersign_core::visible;
use std::{iter::Peekable, str::Chars};

/// The longest line, in bytes.
const LONGEST: usize = 16 << 10;

/// One command of a line, its words without their quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<String>,
    /// The files that its output takes the place of.
    pub(super) writes: Vec<String>,
    /// The files that its output is added to.
    pub(super) appends: Vec<String>,
    /// The file that its input comes from.
    pub(super) reads: Vec<String>,
}

/// Why a line is not read, as policies find it in `context.shell.reasons`.
pub(super) type Why = &'static str;

/// The commands of a line, in their order.
pub(super) fn read(line: &str) -> Result<Vec<Command>, Why> {
    if line.len() > LONGEST {
        return Err("too-long");
    }
    if line.contains(['\n', '\r']) {
        return Err("line-break");
    }
    if visible::has_hidden(line) {
        return Err("hidden-characters");
    }
    let mut reading =
        Reading { rest: line.chars().peekable(), word: None, pending: None, command: Command::default() };
    reading.commands()
}

struct Reading<'l> {
    rest: Peekable<Chars<'l>>,
    word: Option<Word>,
    /// Where the next word goes, if it is no word of the command.
    pending: Option<Redirection>,
    command: Command,
}

#[derive(Default)]
struct Word {
    text: String,
    is_quoted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Redirection {
    Write,
    Append,
    Read,
}

impl Reading<'_> {
    fn commands(&mut self) -> Result<Vec<Command>, Why> {
        let mut commands = Vec::new();
        while let Some(next) = self.rest.next() {
            match next {
                ' ' | '\t' => self.end_word()?,
                '\'' => self.quoted('\'', &[])?,
                '"' => self.quoted('"', &['$', '`', '\\', '!'])?,
                '|' | '&' | ';' => {
                    self.joint(next)?;
                    commands.push(self.end_command()?);
                }
                '>' | '<' => self.redirection(next)?,
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '@' | '%' | '+' | ':' | ',' | '.' | '/' | '-' => {
                    self.word.get_or_insert_default().text.push(next);
                }
                // At the front of a word it is replaced by a path in some shells.
                '=' if self.word.is_some() => self.word.get_or_insert_default().text.push(next),
                '$' | '`' => return Err("substitution"),
                '\\' => return Err("escape"),
                '*' | '?' | '[' | ']' | '{' | '}' | '~' | '!' | '^' | '=' => return Err("pattern"),
                '(' | ')' => return Err("grouping"),
                '#' => return Err("comment"),
                _ => return Err("character"),
            }
        }
        commands.push(self.end_command()?);
        Ok(commands)
    }

    /// The rest of what joins two commands.
    fn joint(&mut self, first: char) -> Result<(), Why> {
        let twice = self.rest.next_if_eq(&first).is_some();
        match (first, twice) {
            ('&', false) => Err("background"),
            // `|&` and `;;`.
            (';', true) => Err("syntax"),
            ('|', false) if self.rest.peek() == Some(&'&') => Err("redirection"),
            _ => Ok(()),
        }
    }

    fn quoted(&mut self, mark: char, replaced: &[char]) -> Result<(), Why> {
        let word = self.word.get_or_insert_default();
        word.is_quoted = true;
        for next in self.rest.by_ref() {
            if next == mark {
                return Ok(());
            }
            if replaced.contains(&next) {
                return Err("substitution");
            }
            word.text.push(next);
        }
        Err("quotes")
    }

    fn redirection(&mut self, mark: char) -> Result<(), Why> {
        let is_number = |word: &Word| !word.is_quoted && word.text.bytes().all(|byte| byte.is_ascii_digit());
        let number = self.word.take_if(|word| is_number(word));
        let allowed: &[&str] = if mark == '>' { &["1", "2"] } else { &["0"] };
        if number.is_some_and(|number| !allowed.contains(&number.text.as_str())) {
            return Err("redirection");
        }
        self.end_word()?;
        if self.pending.is_some() {
            return Err("syntax");
        }
        if mark == '<' {
            if matches!(self.rest.peek(), Some('<' | '&' | '>' | '(' | '|')) {
                return Err("redirection");
            }
            self.pending = Some(Redirection::Read);
            return Ok(());
        }
        if self.rest.next_if_eq(&'&').is_some() {
            // To where the other of the two goes.
            let known = self.rest.next_if(|next| matches!(next, '1' | '2')).is_some();
            let ends = matches!(self.rest.peek(), None | Some(' ' | '\t' | '|' | ';'));
            return if known && ends { Ok(()) } else { Err("redirection") };
        }
        let appends = self.rest.next_if_eq(&'>').is_some();
        if matches!(self.rest.peek(), Some('|' | '&' | '<' | '>' | '(')) {
            return Err("redirection");
        }
        self.pending = Some(if appends { Redirection::Append } else { Redirection::Write });
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), Why> {
        let Some(word) = self.word.take() else { return Ok(()) };
        let is_first = self.command.words.is_empty();
        match self.pending.take() {
            Some(Redirection::Write) => self.command.writes.push(word.text),
            Some(Redirection::Append) => self.command.appends.push(word.text),
            Some(Redirection::Read) => self.command.reads.push(word.text),
            None if is_first && word.text.contains('=') => return Err("assignment"),
            None => self.command.words.push(word.text),
        }
        Ok(())
    }

    fn end_command(&mut self) -> Result<Command, Why> {
        self.end_word()?;
        if self.pending.is_some() || self.command.words.is_empty() {
            return Err("syntax");
        }
        Ok(std::mem::take(&mut self.command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command as Program;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// What is read as words is what a shell makes of it. Programs that are called `a` or `b` are not there.
        #[test]
        fn a_shell_reads_the_same_words(rest in "[ab12 '\"$;|&<>()*#~=\\\\,./{}!-]{0,12}") {
            let line = format!("printf '%s|' {rest}");
            let commands = read(&line).unwrap_or_default();
            if let [command] = commands.as_slice()
                && !line.contains(['<', '>'])
            {
                let folder = tempfile::tempdir().unwrap();
                let ran = Program::new("sh").arg("-c").arg(&line).current_dir(folder.path()).output().unwrap();
                let words: Vec<&str> = command.words.iter().skip(2).map(String::as_str).collect();
                let words = format!("{}|", words.join("|"));
                prop_assert_eq!(String::from_utf8_lossy(&ran.stdout), words, "{}", line);
            }
        }

        #[test]
        fn no_line_is_too_odd(line in "\\PC{0,40}|[ -~\t\n]{0,40}") {
            let _ = read(&line);
        }
    }

    fn words(line: &str) -> Result<Vec<Vec<String>>, Why> {
        Ok(read(line)?.into_iter().map(|command| command.words).collect())
    }

    #[test]
    #[rustfmt::skip]
    fn plain_lines_are_read_as_every_shell_reads_them() {
        for (line, want) in [
            ("ls -l /tmp", vec![vec!["ls", "-l", "/tmp"]]),
            ("  ls\t-l  ", vec![vec!["ls", "-l"]]),
            ("r'm' -\"rf\" '/a b'", vec![vec!["rm", "-rf", "/a b"]]),
            ("echo '$HOME `id` \\ ! #'", vec![vec!["echo", "$HOME `id` \\ ! #"]]),
            ("echo \"it's\" ''", vec![vec!["echo", "it's", ""]]),
            ("a | b && c || d; e", vec![vec!["a"], vec!["b"], vec!["c"], vec!["d"], vec!["e"]]),
            ("a|b;c", vec![vec!["a"], vec!["b"], vec!["c"]]),
            ("grep 'ä' x 2>/dev/null", vec![vec!["grep", "ä", "x"]]),
            ("x --to=a", vec![vec!["x", "--to=a"]]),
        ] {
            assert_eq!(words(line), Ok(want.into_iter().map(|words| words.into_iter().map(str::to_owned).collect()).collect()), "{line}");
        }
        let command = read("a <in >out 2>>log 2>&1").unwrap().remove(0);
        assert_eq!((command.reads, command.writes), (vec!["in".to_owned()], vec!["out".to_owned()]));
        assert_eq!(command.appends, ["log"]);
        // A number that stands apart is a word, and one in quotes too.
        let command = read("echo 2 >a '2'>b").unwrap().remove(0);
        assert_eq!((command.words, command.writes.len()), (vec!["echo".to_owned(), "2".into(), "2".into()], 2));
    }

    #[test]
    #[rustfmt::skip]
    fn what_depends_on_the_shell_is_not_read() {
        for (line, why) in [
            ("ls $HOME", "substitution"), ("ls ${IFS}x", "substitution"), ("cat$IFS/etc/passwd", "substitution"),
            ("ls `id`", "substitution"), ("ls $(id)", "substitution"), ("ls \"$(id)\"", "substitution"),
            ("ls \"`id`\"", "substitution"), ("echo $'\\x72m'", "substitution"), ("echo \"a\\\"b\"", "substitution"),
            ("echo \"!!\"", "substitution"), ("r\\m -rf /", "escape"), ("ls \\\n-l", "line-break"),
            ("ls\nrm x", "line-break"), ("ls\rrm x", "line-break"), ("ls *", "pattern"), ("ls ?", "pattern"),
            ("ls [a]", "pattern"), ("ls {a,b}", "pattern"), ("ls ~root", "pattern"), ("! ls", "pattern"),
            ("!!", "pattern"), ("^a^b", "pattern"), ("cat =ls", "pattern"), ("(ls)", "grouping"),
            ("ls () { rm x; }", "grouping"), ("diff <(ls) x", "redirection"), ("tee >(sh)", "redirection"),
            ("ls # x", "comment"), ("ls#x", "comment"), ("ls &", "background"), ("ls & rm x", "background"),
            ("cat <<X", "redirection"), ("cat <<<x", "redirection"), ("ls >|x", "redirection"), ("ls >& x", "redirection"),
            ("ls &> x", "background"), ("ls 3>x", "redirection"), ("ls <&3", "redirection"), ("ls <>x", "redirection"),
            ("ls >&-", "redirection"), ("ls 2>&1x", "redirection"), ("ls |& sh", "redirection"),
            ("X=1 ls", "assignment"), ("LD_PRELOAD=/x ls", "assignment"), ("ls 'x", "quotes"), ("ls \"x", "quotes"),
            ("", "syntax"), (" ", "syntax"), ("| ls", "syntax"), ("ls |", "syntax"), ("ls ;; ls", "syntax"),
            ("ls;", "syntax"), ("ls && && ls", "syntax"), ("ls >", "syntax"), ("ls > | x", "syntax"), (">x", "syntax"),
            ("ls\u{a0}-l", "hidden-characters"), ("lé", "character"), ("ls \u{202e}x", "hidden-characters"),
            ("ls \0x", "hidden-characters"), ("ls\u{b}x", "hidden-characters"),
        ] {
            assert_eq!(words(line), Err(why), "{line:?}");
        }
        assert_eq!(words(&"a".repeat(LONGEST + 1)), Err("too-long"));
    }
}
