//! The data directory: the database, the key, and the lock that keeps a second process out.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use onerun_auth::RootKey;
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

/// Why a data directory cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It cannot be made or read.
    #[error("the data directory {path} cannot be used: {source}", path = .path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Another process uses it.
    #[error(
        "the data directory {path} is in use by another onerun process; stop that one, or use another directory \
         with `--data`",
        path = .path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The key in it is none.
    #[error(
        "the key in {path} cannot be used: {reason}; remove the file to have a new key made",
        path = .path.display()
    )]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No key could be made.
    #[error("no key could be made: {0}")]
    NoKey(String),
}

/// A directory that this process alone uses.
pub(crate) struct DataDirectory {
    path: PathBuf,
    // The lock lasts as long as the file is open.
    _lock: File,
}

/// The root key, and where it is kept.
pub(crate) struct FoundKey {
    pub(crate) key: RootKey,
    pub(crate) file: Option<PathBuf>,
    pub(crate) generated: bool,
}

impl DataDirectory {
    /// Makes the directory if it is not there, and takes it for this process.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let unusable = |source| DataError::Unusable { path: path.to_owned(), source };
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        // Transcripts and the key are in it.
        #[cfg(unix)]
        builder.mode(0o700);
        builder.create(path).map_err(unusable)?;
        // Absolute, because SQLite would take a relative `file:…` for a URI.
        let path = &fs::canonicalize(path).map_err(unusable)?;
        let lock = File::create(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Where the database is.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("onerun.db")
    }

    /// The configured key; without one, the key in the directory, which is made if it is not there.
    pub(crate) fn root_key(&self, configured: Option<RootKey>) -> Result<FoundKey, DataError> {
        if let Some(key) = configured {
            return Ok(FoundKey { key, file: None, generated: false });
        }
        let path = self.path.join("api-key");
        let unusable = |source| DataError::Unusable { path: path.clone(), source };
        let (key, generated) = match fs::read_to_string(&path) {
            Ok(text) => {
                let key = RootKey::parse(&text)
                    .map_err(|error| DataError::BadKey { path: path.clone(), reason: error.to_string() })?;
                (key, false)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = RootKey::generate(getrandom::fill)
                    .map_err(|error| DataError::NoKey(error.to_string()))?;
                write_key(&path, &key).map_err(unusable)?;
                (key, true)
            }
            Err(error) => return Err(unusable(error)),
        };
        Ok(FoundKey { key, file: Some(path), generated })
    }
}

/// Writes a key that only the owner can read. Written beside and renamed, so that a crash leaves no half of it.
fn write_key(path: &Path, key: &RootKey) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(&beside)?;
    writeln!(file, "{}", key.expose())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let data = DataDirectory::open(&path).unwrap();
        let made = data.root_key(None).unwrap();
        let found = data.root_key(None).unwrap();
        assert!(made.generated && !found.generated);
        assert_eq!(made.key.expose(), found.key.expose());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(&directory.path().join("data")).unwrap();
        let file = data.root_key(None).unwrap().file.unwrap();
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_second_process_is_kept_out_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDirectory::open(directory.path()).unwrap();
        assert!(matches!(DataDirectory::open(directory.path()), Err(DataError::InUse { .. })));
        drop(first);
        assert!(DataDirectory::open(directory.path()).is_ok());
    }

    #[test]
    fn a_broken_key_file_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        fs::write(directory.path().join("api-key"), "changeme").unwrap();
        let error = data.root_key(None).err().unwrap().to_string();
        assert!(error.contains("api-key") && !error.contains("changeme"), "{error}");
        assert_eq!(fs::read_to_string(directory.path().join("api-key")).unwrap(), "changeme");
    }
}
