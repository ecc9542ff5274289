//! Load from `wrk`, and what it measured.

use crate::Result;
use std::{path::Path, process::Command, time::Duration};

/// One run of `wrk`.
#[derive(Clone, Debug)]
pub struct Load {
    pub requests: f64,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Keeps `connections` busy with one request after the other. Any answer but a success is an error.
pub fn wrk(url: &str, connections: usize, span: Duration, header: Option<&str>) -> Result<Load> {
    let more: Vec<&str> = header.map_or_else(Vec::new, |header| vec!["--header", header]);
    run(url, connections, span, &more)
}

/// The same with requests that a script makes (`wrk`'s own `SCRIPTING`).
pub fn wrk_script(url: &str, connections: usize, span: Duration, script: &Path) -> Result<Load> {
    let script = script.to_str().ok_or("the script's path is no text")?;
    run(url, connections, span, &["--script", script])
}

fn run(url: &str, connections: usize, span: Duration, more: &[&str]) -> Result<Load> {
    let mut command = Command::new("wrk");
    command.args(["--threads", "1", "--latency", "--connections", &connections.to_string()]);
    command.args(["--duration", &format!("{}s", span.as_secs())]).args(more);
    let done = command.arg(url).output().map_err(|error| {
        format!("`wrk` cannot be started: {error}\n\nhint: as root, on Debian or Ubuntu: apt-get install wrk")
    })?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() || said.contains("Non-2xx") || said.contains("Socket errors") {
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(format!("`wrk` at `{url}` met failures:\n{said}{errors}").into());
    }
    read(&said).ok_or_else(|| format!("`wrk` says something unknown:\n{said}").into())
}

fn read(said: &str) -> Option<Load> {
    let after = |name: &str| {
        let line = said.lines().map(str::trim).find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().to_owned())
    };
    let total = said.lines().map(str::trim).find(|line| line.contains(" requests in "))?;
    Some(Load {
        requests: total.split_whitespace().next()?.parse().ok()?,
        per_second: after("Requests/sec:")?.parse().ok()?,
        p50_us: microseconds(&after("50%")?)?,
        p99_us: microseconds(&after("99%")?)?,
    })
}

/// `874.00us`, `1.25ms` or `2.00s`.
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let said = "Running 5s test @ http://127.0.0.1:1/\n  1 threads and 1 connections\n  Latency Distribution\n     \
                    50%   22.00us\n     75%   25.00us\n     90%   31.00us\n     99%    1.25ms\n  \
                    210500 requests in 5.00s, 50.19MB read\nRequests/sec:  42100.53\nTransfer/sec:     10.04MB\n";
        let load = read(said).unwrap();
        assert_eq!((load.p50_us, load.p99_us), (22.0, 1250.0));
        assert_eq!((load.requests, load.per_second), (210_500.0, 42_100.53));
    }
}
