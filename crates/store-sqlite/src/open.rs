//! Opens the file: checks, settings, and recovery after the last process.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::migrations;

/// How many prepared statements a connection caches: more than the program has.
const STATEMENTS: usize = 256;

/// How long a connection waits for another, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The write-ahead log is truncated to this size after it has been larger.
const MAX_IDLE_WAL: i64 = 64 * 1024 * 1024;

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is something else.
    #[error("{} is not a OneRun database", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer program.
    #[error(
        "{} was written by a newer version of OneRun: its format is {found}, this program knows up to {known}",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this program knows.
        known: i64,
    },
    /// The file lies where SQLite cannot keep its log, for example on a network file system.
    #[error("{} cannot use SQLite's write-ahead log: is it on a network file system?", .path.display())]
    NoLog {
        /// The file.
        path: PathBuf,
    },
    /// The file does not exist and cannot be created.
    #[error("the file cannot be made")]
    Create(#[source] io::Error),
    /// SQLite reports an error.
    #[error("the database cannot be opened")]
    Sqlite(#[from] rusqlite::Error),
    /// A thread for the store cannot be started.
    #[error("a thread for the store cannot be started")]
    Thread(#[source] io::Error),
}

/// Opens the writing connection. Creates a missing file, and migrates it to the newest version.
pub(crate) fn writing(path: &Path) -> Result<Connection, OpenError> {
    create(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    migrations::check(&connection, path)?;
    let journal: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if journal != "wal" {
        return Err(OpenError::NoLog { path: path.to_owned() });
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", MAX_IDLE_WAL)?;
    // Deleted transcripts and keys are overwritten with zeros.
    connection.pragma_update(None, "secure_delete", true)?;
    migrations::apply(&mut connection)?;
    release_claims(&mut connection)?;
    Ok(connection)
}

/// Opens a reading connection.
pub(crate) fn reading(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    crate::sql::add_functions(&connection)?;
    Ok(connection)
}

/// Creates a missing file with permissions for its owner alone. SQLite would apply the process's umask, and it
/// creates its log files with the mode of this file.
fn create(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(OpenError::Create(error)),
        _ => Ok(()),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    // Each connection is used by one thread, so SQLite's mutex is not needed.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Query plans must not depend on values. Otherwise SQLite assumes for almost every `column = ?`
    // that the value matters, and prepares the statement again after its values are cleared, which
    // the cache does after each use. A point read then takes more than ten times as long.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Sorts are small, and a temporary file might have no writable directory.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Releases claims of jobs and turns: their process has ended, because only one process opens the file. Turns that
/// are complete stay, because a repeated call gets their undelivered reply. So do those of conversations that are
/// imported: they belong to a job, which runs again.
fn release_claims(connection: &mut Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction()?;
    transaction.execute("UPDATE jobs SET due = 0, claimed = 0, again = 0 WHERE claimed = 1", [])?;
    transaction.execute(
        "UPDATE conversations SET turn_token = NULL, turn_expires_at = NULL \
         WHERE status = 'in_progress' AND turn_token IS NOT NULL
             AND turn_token NOT LIKE '%.undelivered' AND turn_token NOT LIKE '%.import'",
        [],
    )?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_a_new_database_and_its_log() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let _open = writing(&directory.path().join("onerun.db")).unwrap();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["onerun.db", "onerun.db-shm", "onerun.db-wal"]);
    }

    #[test]
    fn uncreatable_database_is_an_error_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let error = writing(&directory.path().join("missing/onerun.db")).unwrap_err();
        assert!(matches!(error, OpenError::Create(_)), "{error:?}");
    }

    #[test]
    fn statement_is_prepared_once_for_all_values() {
        let directory = tempfile::tempdir().unwrap();
        let connection = writing(&directory.path().join("onerun.db")).unwrap();
        let sql = "SELECT agents.name FROM simulations JOIN agents ON agents.id = simulations.agent_id
                   WHERE simulations.id = ?1 AND simulations.project_id = ?2";
        for id in ["a", "b", "c"] {
            let mut statement = connection.prepare_cached(sql).unwrap();
            assert!(!statement.exists([id, "d"]).unwrap());
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        }
    }
}
