//! What the disk takes to make a little data durable: the measure for everything that is recorded first.

use crate::{Result, median};
use std::{fs::File, io::Write as _, path::Path, time::Instant};

const WRITES: usize = 400;

/// The median time, in microseconds, of appending one page to a file in `folder` and flushing it (`fdatasync`).
pub fn fdatasync_us(folder: &Path) -> Result<f64> {
    let path = folder.join("fdatasync");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    drop(file);
    std::fs::remove_file(path)?;
    Ok(median(&mut times))
}
