//! What the kernel says of a process: its processor time and its memory.

use crate::Result;
use std::{fs, time::Duration};

/// The kernel counts processor time for user space in hundredths of a second (`USER_HZ`), on every architecture we
/// run on.
const TICKS_PER_SECOND: u32 = 100;

/// User and system time so far (`proc_pid_stat(5)`, fields 14 and 15).
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold spaces and parentheses; what follows the last one does not.
    let (_, fields) = stat.rsplit_once(')').ok_or("`stat` has no name")?;
    let times: Vec<u32> = fields.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
    let ticks: u32 = times.iter().sum();
    Ok(Duration::from_secs(1) * ticks / TICKS_PER_SECOND)
}

/// Resident memory in KiB.
pub fn resident_kib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("`status` has no VmRSS")?;
    Ok(line.split_whitespace().next().ok_or("VmRSS is empty")?.parse()?)
}
