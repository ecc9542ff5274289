//! The real clock and the real randomness: the only place either is read.

use countersign_core::Timestamp;
use countersign_engine::port::clock::{Clock, Entropy};
use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};
use zeroize::Zeroize as _;

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp(micros)
    }
}

/// The operating system's generator, through AWS-LC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let pooled = DRAWN.try_with(|drawn| drawn.borrow_mut().take(buffer));
        if !matches!(pooled, Ok(true)) {
            draw(buffer);
        }
    }
}

/// What one thread has drawn ahead: a draw costs ten times what is then done with the bytes of an identifier or a salt.
struct Drawn {
    bytes: [u8; 4096],
    left: usize,
}

thread_local! {
    static DRAWN: RefCell<Drawn> = const { RefCell::new(Drawn { bytes: [0; 4096], left: 0 }) };
}

impl Drawn {
    /// Hands out bytes, each once, and forgets them. `false` where so many are not drawn ahead.
    fn take(&mut self, buffer: &mut [u8]) -> bool {
        if buffer.len() > self.bytes.len() / 8 {
            return false;
        }
        if self.left < buffer.len() {
            draw(&mut self.bytes);
            self.left = self.bytes.len();
        }
        let from = self.left - buffer.len();
        let Some(fresh) = self.bytes.get_mut(from..self.left) else { return false };
        buffer.copy_from_slice(fresh);
        fresh.zeroize();
        self.left = from;
        true
    }
}

fn draw(buffer: &mut [u8]) {
    if aws_lc_rs::rand::fill(buffer).is_err() {
        // Without randomness neither ids nor nonces nor salts are safe: there is nothing to go on with.
        tracing::error!("the system gives no randomness; stopping");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_byte_drawn_ahead_is_handed_out_twice() {
        let mut seen = BTreeSet::new();
        for round in 0..1000 {
            let mut bytes = [0; 16];
            SystemEntropy.fill(&mut bytes);
            assert!(seen.insert(bytes), "round {round}");
        }
        let mut large = [0; 1024];
        SystemEntropy.fill(&mut large);
        assert_ne!(large, [0; 1024]);
    }
}
