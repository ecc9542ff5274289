//! How long to wait after a failure: twice as long each time, up to a limit, and never the same for everybody.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
/// A channel that does not work is tried this often at least.
pub(crate) const CHANNEL: Duration = Duration::from_mins(1);
/// And news that its receiver does not take.
pub(crate) const NEWS: Duration = Duration::from_hours(1);
/// The other side's wish is honoured up to this.
pub(crate) const WISH: Duration = Duration::from_hours(1);

/// The wait after so many failures: between half of the full step and all of it, as `random` says.
pub(crate) fn wait(failures: u32, longest: Duration, random: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let half = doubled.min(longest) / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_limit_and_stays_between_half_and_whole() {
        for (failures, least, most) in [(0, 500, 1000), (1, 500, 1000), (2, 1000, 2000), (5, 8000, 16_000)] {
            let [low, high] = [0, u32::MAX].map(|random| wait(failures, CHANNEL, random).as_millis());
            assert_eq!((low, high), (least, most), "{failures}");
        }
        for failures in [7, 31, 32, 33, u32::MAX] {
            assert_eq!(wait(failures, CHANNEL, u32::MAX), CHANNEL, "{failures}");
        }
        assert_eq!(wait(40, NEWS, 0), NEWS / 2);
    }
}
