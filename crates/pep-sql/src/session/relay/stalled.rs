//! Whether anybody still waits for a client, while what it asked for is being stopped: a server that waits for its client
//! hears of no cancellation.

use super::{Relay, copying::Copying};

/// What a client had taken and given when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Stalled {
    pieces: u64,
    last: Option<(u64, usize, u64)>,
}

impl Stalled {
    /// The client took a piece.
    pub(super) const fn moved(&mut self) {
        self.pieces = self.pieces.wrapping_add(1);
    }

    /// Whether the client has neither taken nor given anything since this was last asked, though it is its turn; `waiting`
    /// is how much it has to take.
    pub(super) fn is(&mut self, relay: &Relay<'_>, waiting: usize) -> bool {
        let gives = relay.copy_skip > 0 || relay.copying == Copying::UntilSync;
        if !relay.stopped || (waiting == 0 && !gives) {
            self.last = None;
            return false;
        }
        let now = Some((self.pieces, waiting, relay.seen.copied));
        let stalled = self.last == now;
        self.last = now;
        stalled
    }
}
