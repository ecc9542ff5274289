//! The edge passes what is framed one way only, however the bytes are cut.

use super::*;
use proptest::prelude::*;

fn all(bytes: &[u8]) -> Result<usize, FrameRefusal> {
    Scanner::new(1024).vet(bytes)
}

#[test]
fn one_request_after_the_other_passes() {
    let bytes = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
        POST /b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n\
        GET /c HTTP/1.0\r\nHost:x\r\n\r\n";
    assert_eq!(all(bytes), Ok(bytes.len()));
    let mut scanner = Scanner::new(1024);
    let mut held = Vec::new();
    for byte in bytes {
        held.push(*byte);
        let passed = scanner.vet(&held).unwrap();
        held.drain(..passed);
    }
    assert!(held.is_empty() && scanner.is_between_requests());
}

#[test]
#[rustfmt::skip]
fn request_smuggling_heads_are_refused() {
    for (head, want) in [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", FrameRefusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", FrameRefusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\n", FrameRefusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n", FrameRefusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\n", FrameRefusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", FrameRefusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", FrameRefusal::TwoLengths),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", FrameRefusal::TwoLengths),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", FrameRefusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", FrameRefusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", FrameRefusal::TransferEncoding),
        ("POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", FrameRefusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", FrameRefusal::HeaderLine),
        ("POST / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", FrameRefusal::Folded),
        ("POST / HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 3\r\n\r\n", FrameRefusal::LineEnd),
        ("POST / HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n", FrameRefusal::LineEnd),
        ("POST / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", FrameRefusal::LineEnd),
        ("GET / HTTP/1.1\nHost: x\n\r\n\r\n", FrameRefusal::LineEnd),
        ("GET / HTTP/1.1\r\nX: y\r\n\r\n", FrameRefusal::Host),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", FrameRefusal::Host),
        ("GET / HTTP/1.1\r\nHost: x\r\nTrailer: y\r\n\r\n", FrameRefusal::Trailer),
        ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", FrameRefusal::Target),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", FrameRefusal::Target),
        ("GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", FrameRefusal::Target),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", FrameRefusal::Method),
        ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", FrameRefusal::Method),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", FrameRefusal::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n", FrameRefusal::RequestLine),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", FrameRefusal::RequestLine),
        ("GET /\r\n\r\n", FrameRefusal::RequestLine),
        ("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", FrameRefusal::RequestLine),
    ] {
        assert_eq!(all(head.as_bytes()), Err(want), "{head:?}");
    }
}

#[test]
#[rustfmt::skip]
fn chunked_bodies_are_exact_and_end_without_trailers() {
    for (body, want) in [
        ("3;ext=1\r\nabc\r\n0\r\n\r\n", FrameRefusal::Chunk),
        ("3 \r\nabc\r\n0\r\n\r\n", FrameRefusal::Chunk),
        ("\r\nabc\r\n0\r\n\r\n", FrameRefusal::Chunk),
        ("3\nabc\r\n0\r\n\r\n", FrameRefusal::Chunk),
        ("3\r\nabcd\r\n0\r\n\r\n", FrameRefusal::Chunk),
        ("-3\r\nabc\r\n0\r\n\r\n", FrameRefusal::Chunk),
        ("fffffffffffffffff\r\n", FrameRefusal::Chunk),
        ("0\r\nX: y\r\n\r\n", FrameRefusal::Trailer),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(all(bytes.as_bytes()), Err(want), "{body:?}");
    }
}

#[test]
fn a_bare_line_end_is_refused_as_soon_as_it_is_there() {
    for part in [
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\n",
        "GET / HTTP/1.1\rH",
        "GE\0",
    ] {
        assert_eq!(all(part.as_bytes()), Err(FrameRefusal::LineEnd), "{part:?}");
        // However it is cut.
        let mut scanner = Scanner::new(1024);
        let mut found = None;
        for end in 1..=part.len() {
            found = scanner.vet(&part.as_bytes()[..end]).err();
        }
        assert_eq!(found, Some(FrameRefusal::LineEnd), "{part:?}");
    }
    for part in ["GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r"] {
        assert_eq!(all(part.as_bytes()), Ok(0), "{part:?}");
    }
}

#[test]
fn a_head_has_a_bounded_size() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(2000));
    assert_eq!(all(long.as_bytes()), Err(FrameRefusal::TooLong));
    assert_eq!(all(&long.as_bytes()[..1500]), Err(FrameRefusal::TooLong));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert_eq!(all(many.as_bytes()), Err(FrameRefusal::TooMany));
}

#[test]
fn a_token_is_made_of_the_bytes_that_rfc_9110_lists() {
    let sign = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    for byte in 0..=u8::MAX {
        assert_eq!(is_token(byte), byte.is_ascii_alphanumeric() || sign(byte), "{byte}");
    }
}

/// The end of a head byte by byte.
fn plain_end(bytes: &[u8]) -> Result<Option<usize>, FrameRefusal> {
    for (at, byte) in bytes.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        match (byte, before, bytes.get(at + 1)) {
            (0, ..) => return Err(FrameRefusal::LineEnd),
            (b'\r', _, Some(after)) if *after != b'\n' => return Err(FrameRefusal::LineEnd),
            (b'\n', before, _) if before != Some(&b'\r') => return Err(FrameRefusal::LineEnd),
            (b'\n', ..) if bytes[..=at].ends_with(b"\r\n\r\n") => return Ok(Some(at + 1)),
            _ => {}
        }
    }
    Ok(None)
}

proptest! {
    #[test]
    fn a_head_ends_where_it_does_byte_by_byte(text in "[a:\r\n\\x00]{0,12}(\r\n){0,2}[a\r\n]{0,3}", seen in 0_usize..20) {
        let bytes = text.as_bytes();
        let want = plain_end(bytes);
        let found = end_of_head(bytes, 0).map(|head| head.map(<[u8]>::len));
        prop_assert_eq!(found, want);
        // What was looked at before held neither an end nor a fault.
        let seen = seen.min(bytes.len());
        if plain_end(&bytes[..seen]) == Ok(None) {
            prop_assert_eq!(end_of_head(bytes, seen).map(|head| head.map(<[u8]>::len)), want);
        }
    }

    #[test]
    fn no_byte_stream_panics_the_edge(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut scanner = Scanner::new(256);
        let mut held = Vec::new();
        for piece in pieces {
            held.extend(piece);
            match scanner.vet(&held) {
                Ok(passed) => drop(held.drain(..passed)),
                Err(_) => break,
            }
        }
    }

    #[test]
    fn where_the_bytes_are_cut_changes_nothing(cuts in prop::collection::vec(1_usize..30, 0..40), body in "[a-f0-9\r\n;]{0,40}") {
        let bytes = format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let whole = all(bytes.as_bytes());
        let mut scanner = Scanner::new(1024);
        let (mut held, mut passed, mut refused) = (Vec::new(), 0, None);
        let mut rest = bytes.as_bytes();
        let mut cuts = cuts.into_iter();
        while !rest.is_empty() && refused.is_none() {
            let (piece, tail) = rest.split_at(cuts.next().unwrap_or(1000).min(rest.len()));
            rest = tail;
            held.extend_from_slice(piece);
            match scanner.vet(&held) {
                Ok(more) => { passed += more; held.drain(..more); }
                Err(refusal) => refused = Some(refusal),
            }
        }
        prop_assert_eq!(refused.map_or(Ok(passed), Err), whole);
    }
}
