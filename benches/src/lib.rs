//! What the benches share: the real gateway as a process, what the kernel says of it, load from `wrk`
//! and `pgbench`, and how
//! figures are held against their goals. Each bench is a program of its own in `bin/`; see `README.md`.

pub mod arrivals;
pub mod disk;
pub mod gateway;
pub mod load;
pub mod pgbench;
pub mod pgbouncer;
pub mod process;
pub mod report;

/// A bench stops at the first surprise, and says what it was.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The middle of a list; 0 of none.
pub fn median(values: &mut [f64]) -> f64 {
    percentile(values, 50)
}

/// The value below which so many of a hundred lie; 0 of none.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let place = values.len().saturating_sub(1) * percent / 100;
    values.get(place).copied().unwrap_or(0.0)
}
