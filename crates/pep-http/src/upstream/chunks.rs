//! A target's chunked body, read exactly (RFC 9112 section 7.1). Extensions and trailers are read over and dropped;
//! what is framed in any other way is refused.

/// Bytes of extensions and trailers in one body, at most.
const MAX_ASIDE: u16 = 16 << 10;

/// The chunked body is not framed exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its chunked answer is not framed exactly")]
pub(crate) struct ChunkError;

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunks {
    at: At,
    /// Bytes of extensions and trailers so far.
    aside: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size {
        digits: u8,
        size: u64,
    },
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The beginning of a trailer line, or of the end.
    Line,
    Trailer,
    TrailerLf,
    LastLf,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes of framing.
    Framing(usize),
    /// So many bytes of the body.
    Data(usize),
    /// So many bytes of framing, and the body is over.
    Over(usize),
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size { digits: 0, size: 0 }, aside: 0 }
    }
}

impl Chunks {
    /// Says what these bytes, at least one, begin with.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<Step, ChunkError> {
        let mut framing = 0;
        for byte in bytes {
            if let At::Data(left) = self.at {
                if framing > 0 {
                    break;
                }
                let step = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - step as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data(left) };
                return Ok(Step::Data(step));
            }
            framing += 1;
            match self.next(*byte)? {
                Some(at) => self.at = at,
                None => return Ok(Step::Over(framing)),
            }
        }
        Ok(Step::Framing(framing))
    }

    fn next(&mut self, byte: u8) -> Result<Option<At>, ChunkError> {
        let next = match (self.at, byte) {
            (At::Size { digits, size }, b'\r') if digits > 0 => At::SizeLf(size),
            (At::Size { digits, size }, b';' | b' ' | b'\t') if digits > 0 => At::Extension(size),
            (At::Size { digits, size }, digit) if digits < 15 => {
                let value = char::from(digit).to_digit(16).ok_or(ChunkError)?;
                At::Size { digits: digits + 1, size: size << 4 | u64::from(value) }
            }
            (At::Extension(size), b'\r') => At::SizeLf(size),
            (At::SizeLf(0) | At::TrailerLf, b'\n') => At::Line,
            (At::SizeLf(size), b'\n') => At::Data(size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0, size: 0 },
            (At::Line, b'\r') => At::LastLf,
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::LastLf, b'\n') => return Ok(None),
            (At::Extension(_) | At::Line | At::Trailer, text) if text != b'\n' && text != 0 => {
                self.aside += 1;
                if self.aside > MAX_ASIDE {
                    return Err(ChunkError);
                }
                if let At::Extension(size) = self.at { At::Extension(size) } else { At::Trailer }
            }
            _ => return Err(ChunkError),
        };
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The data of a whole body, and what is left behind it.
    fn read(mut bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
        let (mut chunks, mut data) = (Chunks::default(), Vec::new());
        while !bytes.is_empty() {
            let step = match chunks.step(bytes)? {
                Step::Framing(step) => step,
                Step::Data(step) => {
                    data.extend_from_slice(&bytes[..step]);
                    step
                }
                Step::Over(step) => return Ok(Some((data, bytes.len() - step))),
            };
            bytes = &bytes[step..];
        }
        Ok(None)
    }

    #[test]
    #[rustfmt::skip]
    fn a_chunked_answer_has_one_reading() {
        for (body, want) in [
            ("0\r\n\r\n", Ok(Some(("", 0)))),
            ("3\r\nabc\r\n0\r\n\r\nHTTP", Ok(Some(("abc", 4)))),
            ("3;a=b\r\nabc\r\n00\r\nX: y\r\nZ: \r\n\r\n", Ok(Some(("abc", 0)))),
            ("A\r\n0123456789\r\n1 \r\nx\r\n0\r\n\r\n", Ok(Some(("0123456789x", 0)))),
            ("3\r\nab", Ok(None)),
            ("3\r\nabc\r\n0\r\n", Ok(None)),
            ("3\nabc\r\n0\r\n\r\n", Err(ChunkError)),
            ("3\r\nabcd\r\n0\r\n\r\n", Err(ChunkError)),
            ("3\r\nabc\n0\r\n\r\n", Err(ChunkError)),
            ("\r\nabc", Err(ChunkError)),
            ("-3\r\nabc", Err(ChunkError)),
            ("0x3\r\nabc", Err(ChunkError)),
            ("fffffffffffffffff\r\n", Err(ChunkError)),
            ("3;a\nabc", Err(ChunkError)),
            ("0\r\nX: y\n\r\n", Err(ChunkError)),
            ("0\r\n\r\r", Err(ChunkError)),
        ] {
            let want = want.map(|read| read.map(|(data, left)| (data.as_bytes().to_vec(), left)));
            assert_eq!(read(body.as_bytes()), want, "{body:?}");
        }
        let long = format!("0\r\nX: {}\r\n\r\n", "y".repeat(20_000));
        assert_eq!(read(long.as_bytes()), Err(ChunkError));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes));
        }
    }
}
