//! The data directory: the database, the root key, the master key, and the lock that excludes a second process.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use onerun_auth::RootKey;
use onerun_engine::MasterKey;
use onerun_host::OsRandom;
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use zeroize::Zeroizing;

/// Why a data directory cannot be used. Each message names the next step.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It cannot be created or read.
    #[error(
        "{path} cannot be created or read: {source}; check its permissions, or use another data directory with `--data`",
        path = .path.display()
    )]
    Unusable {
        /// The directory or file.
        path: PathBuf,
        /// The cause.
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
    /// Other users can write to it.
    #[error(
        "other users of this machine can write to the data directory {path}; run `chmod go-w {path}`",
        path = .path.display()
    )]
    Writable {
        /// The directory.
        path: PathBuf,
    },
    /// Another user owns it or a file in it, and can change it at any time.
    #[error(
        "{path} belongs to another user of this machine; start onerun as that user, run `chown` on it, or use another \
         directory with `--data`",
        path = .path.display()
    )]
    OthersOwn {
        /// The directory or file.
        path: PathBuf,
    },
    /// Other users can read or change a file in it.
    #[error("other users of this machine can read or change {path}; run `chmod 600 {path}`", path = .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The database file is empty, although the directory was used before.
    #[error(
        "{path} is empty, but the key beside it is from an earlier start; restore a backup of the database, or remove it \
         to start with an empty one",
        path = .path.display()
    )]
    EmptyDatabase {
        /// The file.
        path: PathBuf,
    },
    /// A link or a directory is where a file is expected.
    #[error("{path} is not a plain file; remove it, or use another directory with `--data`", path = .path.display())]
    NotAFile {
        /// The link or directory.
        path: PathBuf,
    },
    /// Other users can read or change the key file.
    #[error(
        "other users of this machine can read or change the key in {path}; run `chmod 600 {path}`, or remove the file \
         to generate a new key",
        path = .path.display()
    )]
    ExposedKey {
        /// The file.
        path: PathBuf,
    },
    /// The key file does not contain a valid key.
    #[error(
        "the key in {path} cannot be used: {reason}; remove the file to generate a new key",
        path = .path.display()
    )]
    BadKey {
        /// The file.
        path: PathBuf,
        /// Why the key is invalid.
        reason: String,
    },
    /// The operating system returned no random bytes.
    #[error("no root key was generated, because the system's random generator failed: {0}; set AUTH_API_KEY")]
    NoKey(String),
}

/// A locked directory that only this process uses and only this user can write to.
pub(crate) struct DataDirectory {
    path: PathBuf,
    // Closing the file releases the lock.
    _lock: File,
}

/// The root key, and its file if the configuration has no key.
pub(crate) struct FoundKey {
    pub(crate) key: RootKey,
    pub(crate) file: Option<PathBuf>,
    pub(crate) generated: bool,
}

impl DataDirectory {
    /// Creates the directory if it is missing, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let unusable = |source| DataError::Unusable { path: path.to_owned(), source };
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        // It contains transcripts and the root key.
        #[cfg(unix)]
        builder.mode(0o700);
        builder.create(path).map_err(unusable)?;
        // Absolute, because SQLite reads a relative `file:…` as a URI.
        let path = &fs::canonicalize(path).map_err(unusable)?;
        // Checked first: then no other user can replace a file between its check and its use.
        let found = fs::metadata(path).map_err(unusable)?;
        if !is_ours(&found) {
            return Err(DataError::OthersOwn { path: path.to_owned() });
        }
        if allows(&found, 0o022) {
            return Err(DataError::Writable { path: path.to_owned() });
        }
        let file = path.join("lock");
        // A user who can open the file can lock it.
        private_file(&file)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        options.mode(0o600);
        let lock = options.open(file).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// The path of a file or directory in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of the database. `is_new` means that this process is the first to use the directory.
    pub(crate) fn database(&self, is_new: bool) -> Result<PathBuf, DataError> {
        let path = self.path.join("onerun.db");
        let found = private_file(&path)?;
        // SQLite reads these files as part of the database.
        for suffix in ["-wal", "-shm", "-journal"] {
            private_file(&self.path.join(format!("onerun.db{suffix}")))?;
        }
        let is_empty = found.is_some_and(|found| found.len() == 0);
        if is_empty && !is_new && plain_file(&self.path.join("api-key"))?.is_some() {
            return Err(DataError::EmptyDatabase { path });
        }
        Ok(path)
    }

    /// The master key, which is generated if it is missing.
    pub(crate) fn master_key(&self) -> Result<MasterKey, DataError> {
        let (text, path, _) = self.key_file("master.key", || {
            let text = MasterKey::generate(&OsRandom);
            Ok(Zeroizing::new(format!("{}\n", *text)))
        })?;
        MasterKey::parse(&text).map_err(|error| DataError::BadKey { path, reason: error.to_string() })
    }

    /// The configured key, or else the key in the directory, which is generated if it is missing.
    pub(crate) fn root_key(&self, configured: Option<RootKey>) -> Result<FoundKey, DataError> {
        if let Some(key) = configured {
            return Ok(FoundKey { key, file: None, generated: false });
        }
        let (text, path, generated) = self.key_file("api-key", || {
            let key =
                RootKey::generate(getrandom::fill).map_err(|error| DataError::NoKey(error.to_string()))?;
            Ok(Zeroizing::new(format!("{}\n", key.expose())))
        })?;
        let key = RootKey::parse(&text)
            .map_err(|error| DataError::BadKey { path: path.clone(), reason: error.to_string() })?;
        Ok(FoundKey { key, file: Some(path), generated })
    }

    /// The text of a file with a key, its path, and whether it was generated because there was no such file.
    fn key_file(
        &self,
        name: &str,
        generate: impl FnOnce() -> Result<Zeroizing<String>, DataError>,
    ) -> Result<(Zeroizing<String>, PathBuf, bool), DataError> {
        let path = self.path.join(name);
        let unusable = |source| DataError::Unusable { path: path.clone(), source };
        if let Some(found) = plain_file(&path)? {
            if allows(&found, 0o077) {
                return Err(DataError::ExposedKey { path });
            }
            let text = fs::read_to_string(&path).map_err(unusable)?;
            return Ok((Zeroizing::new(text), path, false));
        }
        let text = generate()?;
        let beside = self.path.join(format!("{name}.new"));
        if plain_file(&beside)?.is_some() {
            // Left by a process that crashed before the rename. Its permissions are unknown.
            fs::remove_file(&beside).map_err(unusable)?;
        }
        write_private(&beside, &path, text.as_bytes()).map_err(unusable)?;
        Ok((text, path, true))
    }
}

/// Durably writes a new file that only the owner can read. It is written to `beside`, which must not exist, and
/// renamed, so a crash leaves no half of it.
pub(crate) fn write_private(beside: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes the names of new files durable. Otherwise a power failure may lose them.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

/// The metadata of a file; `None` if the file does not exist. Refuses links, directories and files of other users.
fn plain_file(path: &Path) -> Result<Option<Metadata>, DataError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && !is_ours(&found) => {
            Err(DataError::OthersOwn { path: path.to_owned() })
        }
        Ok(found) if found.is_file() => Ok(Some(found)),
        Ok(_) => Err(DataError::NotAFile { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Unusable { path: path.to_owned(), source }),
    }
}

/// Like [`plain_file`], and refuses files that other users can read or change.
fn private_file(path: &Path) -> Result<Option<Metadata>, DataError> {
    match plain_file(path)? {
        Some(found) if allows(&found, 0o077) => Err(DataError::Exposed { path: path.to_owned() }),
        found => Ok(found),
    }
}

/// Whether the owner is this process's user, or the administrator, who can change every file anyway.
fn is_ours(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    return [nix::unistd::geteuid().as_raw(), 0].contains(&metadata.uid());
    #[cfg(not(unix))]
    {
        let _ = metadata;
        true
    }
}

/// Whether any bit of `mode` is set. Access control lists of systems without modes are not checked.
fn allows(metadata: &Metadata, mode: u32) -> bool {
    #[cfg(unix)]
    return metadata.permissions().mode() & mode != 0;
    #[cfg(not(unix))]
    {
        let _ = (metadata, mode);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_key_is_generated_once_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let data = DataDirectory::open(&path).unwrap();
        let generated = data.root_key(None).unwrap();
        let found = data.root_key(None).unwrap();
        assert!(generated.generated && !found.generated);
        assert_eq!(generated.key.expose(), found.key.expose());
    }

    #[cfg(unix)]
    #[test]
    fn key_file_is_readable_by_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(&directory.path().join("data")).unwrap();
        let file = data.root_key(None).unwrap().file.unwrap();
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn data_directory_excludes_a_second_process() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDirectory::open(directory.path()).unwrap();
        assert!(matches!(DataDirectory::open(directory.path()), Err(DataError::InUse { .. })));
        drop(first);
        assert!(DataDirectory::open(directory.path()).is_ok());
    }

    #[test]
    fn broken_key_file_is_refused_and_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        let file = directory.path().join("api-key");
        fs::write(&file, "changeme").unwrap();
        #[cfg(unix)]
        set_mode(&file, 0o600);
        let error = data.root_key(None).err().unwrap().to_string();
        assert!(error.contains("api-key") && !error.contains("changeme"), "{error}");
        assert_eq!(fs::read_to_string(file).unwrap(), "changeme");
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn directory_writable_by_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o702, 0o1777] {
            set_mode(directory.path(), mode);
            let error = DataDirectory::open(directory.path()).err().unwrap().to_string();
            assert!(error.contains("`chmod go-w "), "{error}");
            assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "the directory is still empty");
        }
        set_mode(directory.path(), 0o755);
        DataDirectory::open(directory.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn key_file_open_to_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        let file = data.root_key(None).unwrap().file.unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602] {
            set_mode(&file, mode);
            let error = data.root_key(None).err().unwrap().to_string();
            assert!(error.contains("`chmod 600 "), "{error}");
        }
        set_mode(&file, 0o400);
        data.root_key(None).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn database_or_lock_open_to_others_is_refused() {
        for name in ["lock", "onerun.db", "onerun.db-wal", "onerun.db-shm", "onerun.db-journal"] {
            for mode in [0o644, 0o640, 0o604, 0o620, 0o602] {
                let directory = tempfile::tempdir().unwrap();
                let file = directory.path().join(name);
                fs::write(&file, "something").unwrap();
                let open = || DataDirectory::open(directory.path()).and_then(|data| data.database(false));
                set_mode(&file, mode);
                let error = open().unwrap_err().to_string();
                assert!(error.contains("`chmod 600 ") && error.contains(name), "{error}");
                set_mode(&file, 0o600);
                open().unwrap();
            }
        }
    }

    /// Only the administrator can change a file's owner. Other users test that their own files are accepted.
    #[cfg(unix)]
    #[test]
    fn file_of_another_user_is_refused() {
        for name in ["", "lock", "api-key", "api-key.new", "onerun.db", "onerun.db-wal", "onerun.db-shm"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            if !name.is_empty() {
                fs::write(&path, "").unwrap();
                set_mode(&path, 0o600);
            }
            let is_foreign = std::os::unix::fs::chown(&path, Some(65_534), None).is_ok();
            let opened = DataDirectory::open(directory.path())
                .and_then(|data| data.database(true).and_then(|_| data.root_key(None)));
            match opened {
                Err(DataError::OthersOwn { path }) => {
                    assert!(is_foreign && path.ends_with(name), "{name}: {path:?}");
                }
                Err(DataError::BadKey { .. }) => assert!(!is_foreign && name == "api-key", "{name}"),
                Err(error) => panic!("{name}: {error}"),
                Ok(_) => assert!(!is_foreign, "{name}"),
            }
        }
    }

    #[test]
    fn empty_database_beside_an_old_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        let file = directory.path().join("onerun.db");
        fs::write(&file, "").unwrap();
        #[cfg(unix)]
        set_mode(&file, 0o600);
        data.database(false).unwrap();
        let key = data.root_key(None).unwrap();
        data.database(key.generated).unwrap();
        let error = data.database(false).unwrap_err().to_string();
        assert!(error.contains("backup") && error.contains("remove it"), "{error}");
        fs::remove_file(&file).unwrap();
        data.database(false).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn half_written_key_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        let beside = directory.path().join("api-key.new");
        fs::write(&beside, "half").unwrap();
        set_mode(&beside, 0o666);
        let file = data.root_key(None).unwrap().file.unwrap();
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!beside.exists());
    }

    #[test]
    fn lock_file_content_is_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("lock"), "mine").unwrap();
        #[cfg(unix)]
        set_mode(&directory.path().join("lock"), 0o600);
        DataDirectory::open(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("lock")).unwrap(), "mine");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("target");
        fs::write(&target, "theirs").unwrap();
        for (name, there) in [("lock", &target), ("api-key", &target), ("api-key.new", &target)]
            .into_iter()
            // Following a dangling link would create its target.
            .chain([("onerun.db", &target), ("onerun.db", &elsewhere.path().join("nothing"))])
        {
            let directory = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink(there, directory.path().join(name)).unwrap();
            let opened = DataDirectory::open(directory.path())
                .and_then(|data| data.root_key(None).and_then(|_| data.database(true)));
            let error = opened.err().unwrap().to_string();
            assert!(error.contains(name) && error.contains("not a plain file"), "{error}");
            assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        }
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    }
}
