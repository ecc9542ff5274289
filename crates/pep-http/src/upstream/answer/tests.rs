//! Every way an answer may be framed, and every way it may not.

use super::*;
use proptest::prelude::*;

fn framed(text: &str) -> Result<Option<(Framing, bool)>, AnswerRefusal> {
    Ok(read(text.as_bytes(), false)?.map(|headed| (headed.framing, headed.keeps)))
}

#[test]
#[rustfmt::skip]
fn an_answer_has_one_framing_or_none() {
    let chunked = Framing::Chunked(Chunks::default());
    for (text, want) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Ok((Framing::Sized(3), true))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok((Framing::Over, true))),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Ok((chunked, true))),
        ("HTTP/1.1 200 OK\r\n\r\n", Ok((Framing::UntilClose, false))),
        ("HTTP/1.1 204 No Content\r\n\r\n", Ok((Framing::Over, true))),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Ok((Framing::Over, true))),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Ok((Framing::Over, true))),
        ("HTTP/1.1 100 Continue\r\n\r\n", Ok((Framing::Over, true))),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Ok((Framing::Over, false))),
        ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 3\r\n\r\n", Ok((Framing::Sized(3), false))),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", Ok((Framing::Sized(3), false))),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n", Ok((Framing::Sized(3), true))),
        ("HTTP/1.0 200 OK\r\n\r\n", Ok((Framing::UntilClose, false))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", Err(AnswerRefusal::Lengths)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", Err(AnswerRefusal::Lengths)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n", Err(AnswerRefusal::Lengths)),
        ("HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n", Err(AnswerRefusal::Lengths)),
        ("HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", Err(AnswerRefusal::Lengths)),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", Err(AnswerRefusal::Lengths)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n", Err(AnswerRefusal::Lengths)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", Err(AnswerRefusal::Lengths)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(AnswerRefusal::TransferEncoding)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", Err(AnswerRefusal::TransferEncoding)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Err(AnswerRefusal::TransferEncoding)),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err(AnswerRefusal::TransferEncoding)),
    ] {
        assert_eq!(framed(text), want.map(Some), "{text:?}");
    }
    for part in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"] {
        assert_eq!(framed(part), Ok(None), "{part:?}");
    }
    for bad in ["HTTP/2 200 OK\r\n\r\n", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n"] {
        assert!(matches!(framed(bad), Err(AnswerRefusal::NotHttp(_))), "{bad:?}");
    }
}

#[test]
fn an_answer_to_head_has_no_body_whatever_it_says() {
    for more in ["Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let headed = read(format!("HTTP/1.1 200 OK\r\n{more}\r\n").as_bytes(), true).unwrap().unwrap();
        assert_eq!((headed.framing, headed.keeps), (Framing::Over, true), "{more}");
    }
}

#[test]
fn lines_pass_as_they_were_written_but_for_those_about_the_connection() {
    let text = "HTTP/1.1 299 Weird  but true\r\nServer: A\r\nset-cookie: a\r\nX-HOP: 1\r\nSet-Cookie: b\r\n\
        Connection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\nTrailer: x\r\nDATE: now\r\nx-bytes: \u{e9}\r\n\
        Content-Length: 2\r\n\r\n";
    let headed = read(text.as_bytes(), false).unwrap().unwrap();
    let want = "HTTP/1.1 299 Weird  but true\r\nServer: A\r\nset-cookie: a\r\nSet-Cookie: b\r\nDATE: now\r\n\
        x-bytes: \u{e9}\r\nContent-Length: 2\r\n";
    assert_eq!(String::from_utf8_lossy(&headed.head.lines), want);
    assert!(headed.head.has_date && headed.head.has_length && headed.took == text.len());
    let (status, headers) = headed.head.parts();
    assert_eq!(status, 299);
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a", "b"]);
    assert_eq!(headers.get("x-bytes").unwrap().as_bytes(), "\u{e9}".as_bytes());
}

#[test]
fn a_head_has_a_bounded_size() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD));
    assert_eq!(read(long.as_bytes(), false), Err(AnswerRefusal::TooLong));
    assert_eq!(read(format!("{long}\r\n\r\n").as_bytes(), false), Err(AnswerRefusal::TooLong));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
    assert!(matches!(read(many.as_bytes(), false), Err(AnswerRefusal::NotHttp(_))));
}

proptest! {
    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        lines in prop::collection::vec("(content-length|transfer-encoding|connection|x): [ -~]{0,9}", 0..6),
    ) {
        drop(read(&bytes, false));
        let text = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", lines.join("\r\n"));
        if let Ok(Some(headed)) = read(text.as_bytes(), false) {
            headed.head.parts();
        }
    }
}
