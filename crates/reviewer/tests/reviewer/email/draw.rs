//! Mails: two parts that say the same, in which nothing that anybody else wrote is markup, a link or a line of ours, and of
//! which nothing reaches a header.

use crate::{
    corpus::hides,
    stage::{CORPUS, held, letter, message},
};
use countersign_reviewer::{Letter, mail};
use countersign_testkit::smtp::Mail;

pub(crate) const LINK: &str = "https://sign.example/approvals/x/summons#1.abc";

fn written(text: &str, body: &str) -> (Letter, Mail) {
    let (hold, action) = held(text, body);
    let letter = Letter {
        message: message(&hold, Some(&action), Some(8192)),
        ..letter(1, "approval.requested", "pending")
    };
    let read = read(&letter);
    (letter, read)
}

pub(crate) fn read(letter: &Letter) -> Mail {
    let mail = mail(letter, "countersign@example.com", "ana@example.com", LINK);
    let read = Mail::read(&mail.whole).unwrap();
    let lines = |text: &str| text.replace("\r\n", "\n");
    assert_eq!((lines(&read.text), lines(&read.html)), (lines(&mail.text), lines(&mail.html)));
    let longest = mail.whole.split("\r\n").map(str::len).max().unwrap();
    assert!(longest <= 998 && mail.whole.is_ascii(), "{longest}");
    read
}

/// The markup without what stands between `<pre>` and its end, and without tags.
fn tags(html: &str) -> Vec<String> {
    html.split('<').skip(1).filter_map(|part| part.split('>').next()).map(str::to_owned).collect()
}

/// Marks of mails' own.
pub(crate) const MARKS: [&str; 10] = [
    "</pre></div><a href=\"https://evil.example\">Decide in Countersign</a>",
    "' onmouseover='alert(1)' \"><img src=x onerror=alert(1)>",
    "x\r\nBcc: everybody@evil.example\r\n\r\nhello",
    "\n--=_countersign-part\nContent-Type: text/html\n\n<b>x</b>\n--=_countersign-part--",
    "line\n.\nQUIT\n",
    "Decide in Countersign:\nhttps://evil.example/approvals/x",
    "HTTPS://evil.example www.evil.example mailto:x@evil.example tel:+4912345",
    "=?utf-8?q?Approved?=",
    "&lt;b&gt; &amp;amp; &#x3c;b&#x3e;",
    "",
];

/// That nothing between the two marks `zqz`, as somebody wrote it, is markup, a link, a header or a line of ours, or hides.
pub(crate) fn means_nothing(read: &Mail, link: &str, hostile: &str) {
    // With a warning, so that it has every tag there is.
    let plain = written("lo\u{200b}gs", "drop").1;
    assert_eq!(read.links(), [link], "{hostile:?}");
    // The same tags as ever: nothing of it became one.
    let kinds = |read: &Mail, link: &str| {
        let html = read.html.replace(link, "");
        tags(&html).into_iter().collect::<std::collections::BTreeSet<_>>()
    };
    assert!(kinds(read, link).is_subset(&kinds(&plain, LINK)), "{hostile:?} in {}", read.html);
    for (name, value) in &read.headers {
        assert!(!value.contains("zqz"), "{hostile:?} in {name}: {value}");
    }
    for text in [&read.text, &read.html] {
        let small = text.to_ascii_lowercase().replace(link, "").replace(&link.replace("&amp;", "&"), "");
        for start in ["http://", "https://", "www.", "mailto:", "tel:"] {
            assert!(!small.contains(start), "{hostile:?} leads somewhere: {text}");
        }
        assert!(!hides(&text.replace("\r\n", "\n")), "{hostile:?} in {text:?}");
    }
    // A line of somebody else's begins with a mark of ours, or stands behind a title of ours.
    for line in
        read.text.replace("\r\n", "\n").lines().filter(|line| line.contains("zqz") || line.contains("evil"))
    {
        let ours =
            ["  Drop the table", "| ", "- ", "Asked by: ", "On: ", "Owned by: ", "For: ", "What: ", "Now: "];
        assert!(ours.iter().any(|start| line.starts_with(start)), "{line:?} of {hostile:?}");
    }
}

#[test]
fn whatever_anybody_wrote_is_no_markup_no_link_and_no_header() {
    for hostile in CORPUS.into_iter().chain(MARKS) {
        let hostile = format!("zqz{hostile}zqz");
        let (_, read) = written(&hostile, &hostile);
        means_nothing(&read, LINK, &hostile);
        assert!([&read.text, &read.html].iter().all(|text| text.contains("zqz")), "{hostile:?}");
    }
}

#[test]
fn what_is_not_shown_whole_is_only_to_be_reviewed_and_says_so_in_both_parts() {
    for (body, whole) in [
        ("drop table logs".to_owned(), true),
        ("line & <b>\n".repeat(60), true),
        ("🎈".repeat(8000), true),
        ("x".repeat(8193), false),
        ("drop table lo\u{200b}gs".to_owned(), false),
    ] {
        let (_, read) = written("logs", &body);
        let (title, other) = if whole { ("Decide in", "Review in") } else { ("Review in", "Decide in") };
        for part in [&read.text, &read.html] {
            assert!(part.contains(&format!("{title} Countersign")), "{} bytes", body.len());
            assert!(!part.contains(&format!("{other} Countersign")), "{} bytes", body.len());
            assert_eq!(part.contains("Decide where all of it is shown"), !whole, "{} bytes", body.len());
        }
        if whole {
            let fenced: Vec<&str> =
                read.text.lines().filter_map(|line| line.trim_end_matches('\r').strip_prefix("| ")).collect();
            assert!(fenced.join("\n").contains(body.trim_end()), "{} bytes", body.len());
        }
    }
}

#[test]
fn whatever_is_too_long_is_counted_and_then_it_is_only_to_be_reviewed() {
    let long = "a".repeat(3_000);
    for which in 0..9 {
        let (hold, action) = held("logs", "drop");
        let mut message = message(&hold, Some(&action), Some(8192));
        let ask = message.asks[0].clone();
        match which {
            0 => message.computed.sentence.clone_from(&long),
            1 => message.claimed.reason = Some(long.clone()),
            2 => message.rejection = Some(long.clone()),
            3 => message.drifted = Some(long.clone()),
            4 => message.computed.resources = vec![long.clone()],
            5 => message.asks[0].reason.clone_from(&long),
            6 => message.asks = vec![ask; 60],
            7 => message.computed.facts = (0..60).map(|at| (format!("f{at}"), long.clone().into())).collect(),
            _ => message.computed.operation = Some(long.clone()),
        }
        let read = read(&Letter { message, ..letter(1, "approval.requested", "pending") });
        for part in [&read.text, &read.html] {
            assert!(part.contains("characters more") || part.contains("… and"), "{which}");
            assert!(
                part.contains("Review in Countersign") && part.contains("Not all of it is shown"),
                "{which}"
            );
        }
    }
}

#[test]
fn mails_about_one_approval_thread_and_machines_do_not_answer_them() {
    let first = letter(1, "approval.requested", "pending");
    let second = Letter { approval: first.approval, ..letter(2, "approval.reminded", "pending") };
    let [one, again, other] = [&first, &first, &second].map(read);
    assert_eq!(one.header("message-id"), again.header("message-id"), "the same at every try");
    assert_ne!(one.header("message-id"), other.header("message-id"));
    for name in ["in-reply-to", "references"] {
        assert_eq!((one.header(name), other.header(name)), ("", one.header("message-id")), "{name}");
    }
    assert_eq!(other.header("subject"), format!("Re: {}", one.header("subject")));
    assert!(one.header("subject").ends_with("delete on shop in prod"), "{}", one.header("subject"));
    assert!(one.header("message-id").ends_with("@example.com>"));
    assert_eq!(
        (one.header("auto-submitted"), one.header("date").ends_with(" +0000")),
        ("auto-generated", true)
    );
    assert!(other.text.contains("Now: Nobody has decided yet. It still waits for people."), "{}", other.text);
    // Another address is another thread, and another mail.
    let elsewhere = mail(&first, "countersign@example.com", "bea@example.com", LINK);
    assert!(!elsewhere.whole.contains(one.header("message-id")));
}
