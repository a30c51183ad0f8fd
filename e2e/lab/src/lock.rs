//! One command at a time changes a lab.

use std::fs::{self, File, TryLockError};

use anyhow::{Context, Result};

use crate::options::Options;
use crate::progress::Progress;

/// Held until dropped, and by the kernel's rule no longer than the process lives.
pub struct Lock(#[expect(dead_code, reason = "closing the file is what releases the lock")] File);

/// Waits for its turn, and says so.
///
/// # Errors
/// When the lock's directory cannot be written, which mostly means: not root.
pub fn take(options: &Options, progress: &Progress) -> Result<Lock> {
    // Beside the directory that `down` removes, so that nobody locks a file that is about to go.
    let path = options.run.with_extension("lock");
    let open = || {
        fs::create_dir_all(&options.run)?;
        File::options().create(true).append(true).open(&path)
    };
    let file = open().with_context(|| format!("cannot write {}: run the lab as root", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => progress.note("waiting for another `lab up` or `lab down` to end"),
        Err(TryLockError::Error(error)) => return Err(error).context("the lab's lock cannot be taken"),
    }
    file.lock().context("the lab's lock cannot be taken")?;
    Ok(Lock(file))
}
