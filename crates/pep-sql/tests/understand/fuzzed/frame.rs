//! Any bytes, cut anywhere: framing takes the same messages out of them as out of the whole, and no field runs over.

use bytes::BytesMut;
use countersign_pep_sql::frame::{Fields, Frame, FrameError, take};

const LIMIT: usize = 1 << 16;

fn all(buffer: &mut BytesMut) -> (Vec<Frame>, Option<FrameError>) {
    let mut frames = Vec::new();
    loop {
        match take(buffer, LIMIT) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

/// One input: where it is cut, and the bytes.
pub(super) fn run((cut, bytes): (usize, &[u8])) {
    let (whole, ended) = all(&mut BytesMut::from(bytes));
    let (first, second) = bytes.split_at(cut % (bytes.len() + 1));
    let mut buffer = BytesMut::from(first);
    let (mut pieces, mut error) = all(&mut buffer);
    if error.is_none() {
        buffer.extend_from_slice(second);
        let (more, then) = all(&mut buffer);
        pieces.extend(more);
        error = then;
    }
    assert_eq!((pieces, error), (whole.clone(), ended));
    for frame in whole {
        assert!(frame.whole.len() <= LIMIT);
        let mut fields = Fields::new(frame.body());
        while fields.text().is_ok() && fields.count().is_ok() {}
        let left = fields.rest().len();
        assert!(fields.bytes(left + 1).is_err() && fields.bytes(left).is_ok() && fields.end().is_ok());
    }
}
