//! The archive of the audit trail as files in the data directory.

use std::{
    error::Error,
    fs::{self, DirBuilder},
    io,
    path::{Path, PathBuf},
};

#[cfg(unix)]
use std::os::unix::fs::DirBuilderExt as _;

use async_trait::async_trait;
use onerun_engine::AuditArchive;
use tokio::task::spawn_blocking;

use crate::data_directory::{DataDirectory, sync_directory, write_private};

/// The directory `audit`. The lock of the data directory makes this process the only one that writes to it.
pub(crate) struct ArchiveDirectory {
    path: PathBuf,
}

impl ArchiveDirectory {
    pub(crate) fn below(data: &DataDirectory) -> Self {
        Self { path: data.join("audit") }
    }
}

#[async_trait]
impl AuditArchive for ArchiveDirectory {
    async fn add(&self, name: &str, content: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let (directory, name, content) = (self.path.clone(), name.to_owned(), content.to_vec());
        Ok(spawn_blocking(move || add(&directory, &name, &content)).await??)
    }
}

/// Adds a file that only the owner can read, and reads it back.
fn add(directory: &Path, name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    create(directory)?;
    let path = directory.join(name);
    if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        let beside = path.with_extension("new");
        if let Err(error) = fs::remove_file(&beside)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        write_private(&beside, &path, content)?;
    } else {
        // The process that wrote it may have crashed before this.
        sync_directory(directory)?;
    }
    fs::read(path)
}

fn create(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    builder.mode(0o700);
    match builder.create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => created?,
    }
    if !fs::symlink_metadata(directory)?.is_dir() {
        return Err(io::Error::other(format!("{} is not a directory; move it away", directory.display())));
    }
    directory.parent().map_or(Ok(()), sync_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "2031-03-0000000001.jsonl";

    #[test]
    fn file_is_added_once_and_read_back() {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join("audit");
        assert_eq!(add(&directory, NAME, b"first\n").unwrap(), b"first\n");
        assert_eq!(add(&directory, NAME, b"second\n").unwrap(), b"first\n");
        assert_eq!(fs::read(directory.join(NAME)).unwrap(), b"first\n");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn half_written_file_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join("audit");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("2031-03-0000000001.new"), "ha").unwrap();
        assert_eq!(add(&directory, NAME, b"whole\n").unwrap(), b"whole\n");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn archive_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join("audit");
        add(&directory, NAME, b"entries\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join(NAME))), (0o700, 0o600));
    }

    #[cfg(unix)]
    #[test]
    fn link_in_the_place_of_the_directory_is_refused() {
        let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directory = data.path().join("audit");
        std::os::unix::fs::symlink(elsewhere.path(), &directory).unwrap();
        let error = add(&directory, NAME, b"entries\n").unwrap_err().to_string();
        assert!(error.contains("is not a directory; move it away"), "{error}");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
