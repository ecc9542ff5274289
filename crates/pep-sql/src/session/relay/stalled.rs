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
}

impl Relay<'_> {
    /// Whether the client has neither taken nor given anything since this was last asked, though it is its turn; `waiting`
    /// is how much it has to take. Nobody hurries it before what it asked for is to stop.
    pub(super) fn is_stalled(&mut self, waiting: usize) -> bool {
        let gives = self.copy_skip > 0 || self.copying == Copying::UntilSync;
        let Some(halt) = &mut self.halt else { return false };
        let its_turn = waiting > 0 || gives;
        let now = its_turn.then_some((halt.pieces, waiting, self.seen.copied));
        let stalled = its_turn && halt.last == now;
        halt.last = now;
        stalled
    }
}
