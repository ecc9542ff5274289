//! Framing: where messages begin and end, and the fields of those that are read. Never guesses: a length that cannot
//! be, or a field that runs over, is the end of the connection.

use bytes::{Buf as _, Bytes, BytesMut};

/// A tag and a length.
pub const HEADER: usize = 5;

/// Bytes that are no protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a message says that it is {0} bytes long")]
    Length(i32),
    #[error("a message is {size} bytes long, and {limit} are read before deciding")]
    TooLarge { size: usize, limit: usize },
    #[error("a message ends in the middle of a field")]
    Short,
    #[error("a message holds more than its fields")]
    Long,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("a count or code has no meaning")]
    Meaningless,
}

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub tag: u8,
    /// Tag and length included.
    pub whole: Bytes,
}

impl Frame {
    pub fn body(&self) -> &[u8] {
        self.whole.get(HEADER..).unwrap_or_default()
    }
}

/// Tag and whole length of the message that begins here; `None` until its header is there.
pub fn head(buffer: &[u8]) -> Result<Option<(u8, usize)>, FrameError> {
    let Some((&[tag, a, b, c, d], _)) = buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = i32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(size) if size >= 4 => Ok(Some((tag, size.saturating_add(1)))),
        Ok(_) | Err(_) => Err(FrameError::Length(length)),
    }
}

/// Takes one whole message; `None` until all of it is there.
pub fn take(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let Some((tag, size)) = head(buffer)? else { return Ok(None) };
    if size > limit {
        return Err(FrameError::TooLarge { size, limit });
    }
    if buffer.len() < size {
        return Ok(None);
    }
    Ok(Some(Frame { tag, whole: buffer.split_to(size).freeze() }))
}

/// The fields of a message, read from the front.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub const fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// A text up to its NUL.
    pub fn text(&mut self) -> Result<&'a str, FrameError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(FrameError::Short)?;
        let (text, rest) = self.0.split_at_checked(end).ok_or(FrameError::Short)?;
        self.0 = rest.get(1..).ok_or(FrameError::Short)?;
        std::str::from_utf8(text).map_err(|_| FrameError::NotUtf8)
    }

    pub fn byte(&mut self) -> Result<u8, FrameError> {
        self.0.try_get_u8().map_err(|_| FrameError::Short)
    }

    pub fn i16(&mut self) -> Result<i16, FrameError> {
        self.0.try_get_i16().map_err(|_| FrameError::Short)
    }

    pub fn i32(&mut self) -> Result<i32, FrameError> {
        self.0.try_get_i32().map_err(|_| FrameError::Short)
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(FrameError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A count of what follows; the server reads it without a sign.
    pub fn count(&mut self) -> Result<usize, FrameError> {
        self.i16().map(|count| usize::from(count.cast_unsigned()))
    }

    /// The first column of a row, as text; empty when it is null.
    pub(crate) fn first_column(&mut self) -> Result<String, FrameError> {
        if self.count()? == 0 {
            return Err(FrameError::Short);
        }
        let size = usize::try_from(self.i32()?).unwrap_or(0);
        let text = std::str::from_utf8(self.bytes(size)?);
        Ok(text.map_err(|_| FrameError::NotUtf8)?.to_owned())
    }

    /// What was not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left.
    pub const fn end(self) -> Result<(), FrameError> {
        if self.0.is_empty() { Ok(()) } else { Err(FrameError::Long) }
    }
}

/// The SQLSTATE of an `ErrorResponse`.
pub(crate) fn sqlstate(body: &[u8]) -> Result<String, FrameError> {
    let mut fields = Fields::new(body);
    loop {
        match fields.byte()? {
            0 => return Ok("XX000".into()),
            b'C' => return Ok(fields.text()?.to_owned()),
            _ => {
                // Other fields may hold any bytes the server chose.
                let rest = fields.rest();
                let end = rest.iter().position(|byte| *byte == 0).ok_or(FrameError::Short)?;
                fields.bytes(end + 1)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_taken_whole_and_in_order() {
        let mut buffer = BytesMut::from(b"Q\0\0\0\x09ab".as_slice());
        assert_eq!(take(&mut buffer, 100), Ok(None));
        buffer.extend_from_slice(b"c\0\0S\0\0\0\x04X");
        let first = take(&mut buffer, 100).unwrap().unwrap();
        assert_eq!((first.tag, first.body()), (b'Q', b"abc\0\0".as_slice()));
        assert_eq!(take(&mut buffer, 100).unwrap().unwrap().body(), b"");
        assert_eq!(take(&mut buffer, 100), Ok(None));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for (bytes, want) in [
            (b"Q\0\0\0\x03".as_slice(), FrameError::Length(3)),
            (b"Q\xff\xff\xff\xff", FrameError::Length(-1)),
            (b"Q\0\0\x01\0", FrameError::TooLarge { size: 257, limit: 100 }),
        ] {
            assert_eq!(take(&mut BytesMut::from(bytes), 100), Err(want));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let mut buffer = BytesMut::from(bytes.as_slice());
            let mut taken = 0;
            while let Ok(Some(frame)) = take(&mut buffer, 64) {
                taken += frame.whole.len();
                prop_assert!(frame.whole.len() <= 64);
            }
            prop_assert_eq!(taken + buffer.len(), bytes.len());
            let mut fields = Fields::new(&bytes);
            while fields.text().is_ok() {}
            let _ = (fields.count(), fields.i32(), fields.byte(), fields.end());
        }
    }
}
