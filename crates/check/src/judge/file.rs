//! Judging a recorded history.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use super::{engine::Judge, verdict::Verdict};
use crate::CheckError;

/// Size of the read buffer in bytes: 1 MiB.
const BUFFER_BYTES: usize = 1 << 20;

/// Judges a recorded history.
///
/// # Errors
/// - [`CheckError::File`] if the file cannot be read.
/// - [`CheckError::History`] if a line is not a line of a history.
/// - [`CheckError::Usage`] if the file is empty.
pub fn judge_file(path: &Path) -> Result<Verdict, CheckError> {
    let file = File::open(path).map_err(CheckError::file(path))?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let (mut judge, mut line, mut count) = (Judge::new(), Vec::new(), 0);
    while reader.read_until(b'\n', &mut line).map_err(CheckError::file(path))? > 0 {
        count = judge.take_lines(&line, count)?;
        line.clear();
    }
    if count == 0 {
        return Err(CheckError::Usage(format!("the history {} is empty", path.display())));
    }
    Ok(judge.verdict())
}
