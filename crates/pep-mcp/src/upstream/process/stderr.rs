//! What a server says on standard error, in the gateway's log: so much of it as people can read.

use countersign_core::visible;
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::Instant,
};

/// The longest line that is logged, in bytes; the rest of a longer one is left out.
const LONGEST: usize = 512;
/// So many lines are logged in a window of time; further ones are counted.
const LINES: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Logs to the end of what is said.
pub(super) async fn log(mut said: impl AsyncRead + Unpin, server: String) {
    let mut lines = Lines::default();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = said.read(&mut piece).await {
        for line in lines.take(piece.get(..read).unwrap_or_default(), Instant::now()) {
            tracing::info!(%server, "{line}");
        }
    }
}

/// Lines as they come together, bounded.
#[derive(Debug, Default)]
struct Lines {
    coming: Vec<u8>,
    window: Option<Instant>,
    logged: u32,
    left_out: u64,
}

impl Lines {
    fn take(&mut self, piece: &[u8], now: Instant) -> Vec<String> {
        let mut out = Vec::new();
        for byte in piece {
            match byte {
                b'\n' => out.extend(self.ended(now)),
                _ if self.coming.len() < LONGEST => self.coming.push(*byte),
                _ => {}
            }
        }
        out
    }

    fn ended(&mut self, now: Instant) -> Vec<String> {
        let line = std::mem::take(&mut self.coming);
        let line = String::from_utf8_lossy(&line);
        let (line, mut out) = (line.trim_end(), Vec::new());
        if line.is_empty() {
            return out;
        }
        if self.window.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            if self.left_out > 0 {
                out.push(format!("({} lines were left out)", self.left_out));
            }
            (self.window, self.logged, self.left_out) = (Some(now), 0, 0);
        }
        if self.logged < LINES {
            self.logged += 1;
            out.push(visible::one_line(line));
        } else {
            self.left_out += 1;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_and_floods_counted() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        assert_eq!(lines.take(b"one\ntw", now), ["one"]);
        assert_eq!(lines.take(b"o\n\n\x1b[31mred\n", now), ["two", &visible::one_line("\u{1b}[31mred")]);
        let long = [vec![b'x'; 5000], b"\n".to_vec()].concat();
        assert_eq!(lines.take(&long, now).first().map(String::len), Some(LONGEST));
        let flood = b"again\n".repeat(1000);
        assert_eq!(lines.take(&flood, now).len(), 46);
        let later = now + WINDOW;
        assert_eq!(lines.take(b"later\n", later), ["(954 lines were left out)", "later"]);
    }
}
