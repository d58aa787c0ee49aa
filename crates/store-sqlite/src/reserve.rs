//! Disk space that only the end of a key may use.
//!
//! A file beside the database takes up the space. When the end of a key finds the disk full, the
//! file is deleted and the end is written again. Other writes are refused until the file exists
//! again, so that they cannot use the freed space.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The reserved space: ending a key takes some pages of the log, and a checkpoint frees more.
const SIZE: usize = 1024 * 1024;

/// How long after a failure the reserve is not created again.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The file that reserves the space.
pub(crate) struct Reserve {
    path: PathBuf,
    is_there: bool,
    failed: Option<Instant>,
}

impl Reserve {
    /// The reserve of a database. The first [`restore`](Self::restore) creates it.
    pub(crate) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-reserve");
        let path = PathBuf::from(path);
        let is_there = is_whole(&path);
        Self { path, is_there, failed: None }
    }

    /// Frees the space.
    pub(crate) fn release(&mut self) {
        self.is_there = false;
        self.failed = Some(Instant::now());
        match fs::remove_file(&self.path) {
            Ok(()) => tracing::warn!("the disk is full: the reserve is freed for the end of keys"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(%error, "the disk is full, and the reserve cannot be freed"),
        }
    }

    /// Creates the reserve again and returns whether it exists. After a failure it tries once a second.
    pub(crate) fn restore(&mut self) -> bool {
        if self.is_there {
            return true;
        }
        if self.failed.is_some_and(|failed| failed.elapsed() < ASK_EVERY) {
            return false;
        }
        match fill(&self.path) {
            Ok(()) => {
                self.is_there = true;
                self.failed = None;
            }
            Err(error) => {
                tracing::error!(%error, bytes = SIZE, "no room for the reserve: only ends of keys are written");
                // The written part of the reserve is space that a revocation may need.
                let _ = fs::remove_file(&self.path);
                self.failed = Some(Instant::now());
            }
        }
        self.is_there
    }
}

/// Whether the file has its full length and its blocks are allocated.
fn is_whole(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    #[cfg(unix)]
    let kept = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    #[cfg(not(unix))]
    let kept = metadata.len();
    metadata.len() == SIZE as u64 && kept >= SIZE as u64
}

fn fill(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(&noise())
}

/// Bytes that a file system cannot compress: xorshift.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(SIZE);
    while bytes.len() < SIZE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserve_is_created_once() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("onerun.db");
        let mut reserve = Reserve::of(&database);
        assert!(!reserve.is_there);
        assert!(reserve.restore());
        let path = directory.path().join("onerun.db-reserve");
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), SIZE);
        assert!(Reserve::of(&database).is_there);
        fs::write(&path, &bytes[1..]).unwrap();
        assert!(!Reserve::of(&database).is_there, "cut short");
        fs::File::create(&path).unwrap().set_len(SIZE as u64).unwrap();
        #[cfg(unix)]
        assert!(!Reserve::of(&database).is_there, "a hole keeps no room");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_reserve() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        assert!(Reserve::of(&directory.path().join("onerun.db")).restore());
        let metadata = fs::metadata(directory.path().join("onerun.db-reserve")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn full_disk_is_not_tried_again_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let mut reserve = Reserve::of(&missing.join("onerun.db"));
        assert!(!reserve.restore());
        fs::create_dir(&missing).unwrap();
        assert!(!reserve.restore());
        reserve.failed = None;
        assert!(reserve.restore());
        reserve.release();
        assert!(!reserve.is_there && !missing.join("onerun.db-reserve").exists());
    }
}
