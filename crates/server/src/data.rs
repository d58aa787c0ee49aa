//! The data directory: the database, the key, and the lock that keeps a second process out.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use onerun_auth::RootKey;
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};

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
    /// Others can put files in it.
    #[error(
        "the data directory {path} can be written to by other users of this machine; run `chmod go-w {path}`",
        path = .path.display()
    )]
    Writable {
        /// The directory.
        path: PathBuf,
    },
    /// It, or something in it, belongs to somebody else, who can change it at any time.
    #[error(
        "{path} belongs to another user of this machine; start onerun as that user, run `chown` on it, or use another \
         directory with `--data`",
        path = .path.display()
    )]
    OthersOwn {
        /// The directory or file.
        path: PathBuf,
    },
    /// Others can read or change a file in it.
    #[error("{path} can be used by other users of this machine; run `chmod 600 {path}`", path = .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The database has nothing in it, although the directory was used before.
    #[error(
        "{path} is empty, but the key beside it is from an earlier start; put a backup of the database in its place, or \
         remove it to begin with an empty one",
        path = .path.display()
    )]
    EmptyDatabase {
        /// The file.
        path: PathBuf,
    },
    /// Something in it is a link or a directory where a file belongs.
    #[error("{path} is not a plain file; remove it, or use another directory with `--data`", path = .path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// Others can read or change the key in it.
    #[error(
        "the key in {path} can be used by other users of this machine; run `chmod 600 {path}`, or remove the file \
         to have a new key made",
        path = .path.display()
    )]
    ExposedKey {
        /// The file.
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

/// A directory that this process alone uses, and that this user alone can write to.
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
        // First: nobody else can change what is in it between a look at a file and its use.
        let found = fs::metadata(path).map_err(unusable)?;
        if !is_ours(&found) {
            return Err(DataError::OthersOwn { path: path.to_owned() });
        }
        if allows(&found, 0o022) {
            return Err(DataError::Writable { path: path.to_owned() });
        }
        let file = path.join("lock");
        // Whoever can open it can lock it.
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

    /// Where the database is, or is to be. `is_new` says that the directory was first used by this process.
    pub(crate) fn database(&self, is_new: bool) -> Result<PathBuf, DataError> {
        let path = self.path.join("onerun.db");
        let found = private_file(&path)?;
        // What SQLite keeps beside it is read as a part of it.
        for suffix in ["-wal", "-shm", "-journal"] {
            private_file(&self.path.join(format!("onerun.db{suffix}")))?;
        }
        let is_empty = found.is_some_and(|found| found.len() == 0);
        if is_empty && !is_new && plain_file(&self.path.join("api-key"))?.is_some() {
            return Err(DataError::EmptyDatabase { path });
        }
        Ok(path)
    }

    /// The configured key; without one, the key in the directory, which is made if it is not there.
    pub(crate) fn root_key(&self, configured: Option<RootKey>) -> Result<FoundKey, DataError> {
        if let Some(key) = configured {
            return Ok(FoundKey { key, file: None, generated: false });
        }
        let path = self.path.join("api-key");
        let unusable = |source| DataError::Unusable { path: path.clone(), source };
        let (key, generated) = if let Some(found) = plain_file(&path)? {
            if allows(&found, 0o077) {
                return Err(DataError::ExposedKey { path });
            }
            let text = fs::read_to_string(&path).map_err(unusable)?;
            let key = RootKey::parse(&text)
                .map_err(|error| DataError::BadKey { path: path.clone(), reason: error.to_string() })?;
            (key, false)
        } else {
            let key =
                RootKey::generate(getrandom::fill).map_err(|error| DataError::NoKey(error.to_string()))?;
            let beside = path.with_extension("new");
            if plain_file(&beside)?.is_some() {
                // A process ended before it had it renamed. Who may open it is not known.
                fs::remove_file(&beside).map_err(unusable)?;
            }
            self.write_key(&beside, &path, &key).map_err(unusable)?;
            (key, true)
        };
        Ok(FoundKey { key, file: Some(path), generated })
    }

    /// Writes a key that only the owner can read. Written beside and renamed, so that a crash leaves no half of it.
    fn write_key(&self, beside: &Path, path: &Path, key: &RootKey) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(beside)?;
        writeln!(file, "{}", key.expose())?;
        file.sync_all()?;
        fs::rename(beside, path)?;
        // Else the name may be lost with the power, and with it the key that somebody has read.
        #[cfg(unix)]
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }
}

/// What is at `path`, if anything. Anything but a file of this user's is refused, links too: what they lead to is not ours.
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

/// [`plain_file`], which nobody else can read or change.
fn private_file(path: &Path) -> Result<Option<Metadata>, DataError> {
    match plain_file(path)? {
        Some(found) if allows(&found, 0o077) => Err(DataError::Exposed { path: path.to_owned() }),
        found => Ok(found),
    }
}

/// Whether something belongs to the user of this process, or to the administrator, who can change everything anyway.
fn is_ours(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    return [nix::unistd::geteuid().as_raw(), 0].contains(&metadata.uid());
    #[cfg(not(unix))]
    {
        let _ = metadata;
        true
    }
}

/// Whether anything of `mode` is allowed. Systems without such modes have lists of who may, which are not looked at.
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
    fn a_directory_that_others_can_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o702, 0o1777] {
            set_mode(directory.path(), mode);
            let error = DataDirectory::open(directory.path()).err().unwrap().to_string();
            assert!(error.contains("`chmod go-w "), "{error}");
            assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "nothing was put there");
        }
        set_mode(directory.path(), 0o755);
        DataDirectory::open(directory.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_use_is_refused() {
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
    fn a_database_or_lock_that_others_can_use_is_refused() {
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

    /// Only the administrator can give files away, so for others this shows that their own are taken.
    #[cfg(unix)]
    #[test]
    fn what_belongs_to_another_user_is_refused() {
        for name in ["", "lock", "api-key", "api-key.new", "onerun.db", "onerun.db-wal", "onerun.db-shm"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            if !name.is_empty() {
                fs::write(&path, "").unwrap();
                set_mode(&path, 0o600);
            }
            let is_given = std::os::unix::fs::chown(&path, Some(65_534), None).is_ok();
            let opened = DataDirectory::open(directory.path())
                .and_then(|data| data.database(true).and_then(|_| data.root_key(None)));
            match opened {
                Err(DataError::OthersOwn { path }) => {
                    assert!(is_given && path.ends_with(name), "{name}: {path:?}");
                }
                Err(DataError::BadKey { .. }) => assert!(!is_given && name == "api-key", "{name}"),
                Err(error) => panic!("{name}: {error}"),
                Ok(_) => assert!(!is_given, "{name}"),
            }
        }
    }

    #[test]
    fn an_empty_database_beside_an_old_key_is_refused_with_what_to_do() {
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
    fn a_half_made_key_is_made_anew() {
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
    fn what_the_lock_file_says_stays() {
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
            // One that leads nowhere would have a file made there.
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
