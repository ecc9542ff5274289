//! The exact bytes of a held action as texts that lose nothing, for every surface that shows them.

use countersign_core::visible;

/// A body with hidden characters and bytes that are no text written out, as [`visible::bytes`] does it, quickly where
/// there is nothing to write out.
pub fn body_text(body: &[u8]) -> String {
    let mut out = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        // Nothing that is written out depends on what stands in another line.
        for line in chunk.valid().split_inclusive('\n') {
            if is_plain(line) { out.push_str(line) } else { out.push_str(&visible::escaped(line)) }
        }
        out.push_str(&visible::bytes(chunk.invalid()));
    }
    out
}

/// Whether every character is seen as it is: printable ASCII, line feeds and tabs. Others may be, too.
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~'))
}

/// The HTTP wire's form: a line of its own, then parts with their lengths in front (`4:POST`).
const HTTP_FORM: &[u8] = b"countersign-http/1\n";

/// The head of a request, one part to a line. Forms we do not know are shown as they are.
pub fn request_lines(head: &[u8]) -> String {
    let parts = head.strip_prefix(HTTP_FORM).and_then(parts);
    let Some([method, location, upgrade, headers @ ..]) = parts.as_deref() else {
        return String::from_utf8_lossy(head).into_owned();
    };
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    let mut lines = vec![format!("{} {}", text(method), text(location))];
    if !upgrade.is_empty() {
        lines.push(format!("upgrade to {}", text(upgrade)));
    }
    let (pairs, _) = headers.as_chunks::<2>();
    lines.extend(pairs.iter().map(|[name, value]| format!("{}: {}", text(name), text(value))));
    lines.join("\n")
}

fn parts(mut form: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !form.is_empty() {
        let colon = form.iter().take(8).position(|byte| *byte == b':')?;
        let (digits, rest) = form.split_at(colon);
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (part, rest) = rest.get(1..)?.split_at_checked(length)?;
        found.push(part);
        form = rest.strip_prefix(b"\n")?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_way_writes_out_the_same() {
        for raw in [
            "a\r\nb\rc",
            "e\u{301}\u{301}\n\u{301}\u{301}\u{301}\u{301}",
            "x\0y\u{7f}\u{202e}\n\nplain\n",
            "⟨",
        ] {
            assert_eq!(body_text(raw.as_bytes()), visible::bytes(raw.as_bytes()), "{raw:?}");
        }
        assert_eq!(body_text(b"a\xff\n\r\xfe"), visible::bytes(b"a\xff\n\r\xfe"));
    }

    #[test]
    fn the_http_form_reads_as_a_request() {
        let form = b"countersign-http/1\n4:POST\n6:/v1/x?\n";
        let whole = b"countersign-http/1\n4:POST\n5:/v1/x\n0:\n6:accept\n3:*/*\n";
        assert_eq!(request_lines(whole), "POST /v1/x\naccept: */*");
        assert_eq!(request_lines(form), String::from_utf8_lossy(form));
        assert_eq!(request_lines(b"SELECT 1"), "SELECT 1");
    }
}
