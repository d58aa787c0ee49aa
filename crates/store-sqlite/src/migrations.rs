//! Migrates a database to the version that this program reads.
//!
//! Migrations are numbered from 1 and never changed once released. The number of the last applied
//! migration is the database's `user_version`. The `application_id` distinguishes a OneRun database
//! from others.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::OpenError;

/// `OneR` in ASCII.
const APPLICATION_ID: i64 = 0x4f6e_6552;

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_keys.sql"),
    include_str!("migrations/0003_workers.sql"),
    include_str!("migrations/0004_idempotency.sql"),
    include_str!("migrations/0005_fair_jobs.sql"),
    include_str!("migrations/0006_bounds.sql"),
    include_str!("migrations/0007_models.sql"),
    include_str!("migrations/0008_evaluation_details.sql"),
    include_str!("migrations/0009_persona_faults.sql"),
    include_str!("migrations/0010_evaluation_runs.sql"),
    include_str!("migrations/0011_retention.sql"),
    include_str!("migrations/0012_explicit_personas.sql"),
    include_str!("migrations/0013_monitors.sql"),
    include_str!("migrations/0014_batches.sql"),
    include_str!("migrations/0015_simulation_origins.sql"),
    include_str!("migrations/0016_imports.sql"),
    include_str!("migrations/0017_deletion.sql"),
    include_str!("migrations/0018_key_families.sql"),
    include_str!("migrations/0019_audit_archive.sql"),
    include_str!("migrations/0020_job_kinds.sql"),
    include_str!("migrations/0021_webhooks.sql"),
    include_str!("migrations/0022_archived.sql"),
    include_str!("migrations/0023_agent_endpoints.sql"),
];

/// Refuses a file that is not a OneRun database or is newer than this program. Writes nothing.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let foreign = || OpenError::Foreign { path: path.to_owned() };
    let application: i64 = match pragma(connection, "application_id") {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            return Err(foreign());
        }
        other => other?,
    };
    let version: i64 = pragma(connection, "user_version")?;
    if application != APPLICATION_ID {
        return if application == 0 && version == 0 && is_empty(connection)? {
            Ok(())
        } else {
            Err(foreign())
        };
    }
    let known = newest();
    if version > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    Ok(())
}

/// Applies all missing migrations, or none.
pub(crate) fn apply(connection: &mut Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = pragma(&transaction, "user_version")?;
    for (migration, number) in MIGRATIONS.iter().zip(1_i64..) {
        if number > version {
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use onerun_domain::{Direction, EvaluationDetails, Limit, Outcome, PageRequest, SimulationOptions};
    use onerun_store::{KeyStore, Store};
    use tempfile::TempDir;

    use super::*;
    use crate::{SqliteStore, open};

    fn file() -> (PathBuf, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (directory.path().join("onerun.db"), directory)
    }

    #[test]
    fn empty_file_is_migrated_once_to_the_newest_version() {
        let (path, _directory) = file();
        for _ in 0..2 {
            let connection = open::writing(&path).unwrap();
            assert_eq!(pragma(&connection, "application_id").unwrap(), APPLICATION_ID);
            assert_eq!(pragma(&connection, "user_version").unwrap(), newest());
            assert_eq!(pragma(&connection, "foreign_keys").unwrap(), 1);
            assert_eq!(pragma(&connection, "synchronous").unwrap(), 2);
        }
    }

    #[tokio::test]
    async fn older_file_is_migrated_with_all_its_data() {
        for version in 1..MIGRATIONS.len() {
            let (path, _directory) = file();
            let connection = Connection::open(&path).unwrap();
            for migration in &MIGRATIONS[..version] {
                connection.execute_batch(migration).unwrap();
            }
            connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
            connection.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
            let project = "INSERT INTO projects (id, name, name_folded, created_at, updated_at)
                           VALUES ('project00001', 'Kept', 'kept', 0, 0)";
            connection.execute_batch(project).unwrap();
            drop(connection);

            let store = SqliteStore::open(&path).unwrap();
            let id = "project00001".parse().unwrap();
            let project = store.open_project(&id).await.unwrap().unwrap();
            assert_eq!(project.project().await.unwrap().name.as_str(), "Kept");
            let page = PageRequest::first(Limit::clamped(1));
            assert_eq!(store.audit(Direction::Ascending, page).await.unwrap().head, None);
            assert_eq!(store.key(&"AAECAwQFBgcI".parse().unwrap()).await.unwrap(), None);
            drop((store, project));
            let version: i64 = pragma(&Connection::open(&path).unwrap(), "user_version").unwrap();
            assert_eq!(version, newest());
        }
    }

    /// A judged conversation as release 0.1 wrote it, before the migration of models.
    const JUDGED: &str = "
        INSERT INTO projects (id, name, name_folded, created_at, updated_at)
        VALUES ('project00001', 'Kept', 'kept', 0, 0);
        INSERT INTO agents (id, project_id, name, name_folded, metadata, created_at, updated_at)
        VALUES ('agent0000001', 'project00001', 'A', 'a', '{}', 0, 0);
        INSERT INTO objectives (id, project_id, version, name_folded, created_at)
        VALUES ('objective001', 'project00001', 1, 'o', 0);
        INSERT INTO objective_versions (objective_id, version, name, criteria, updated_at)
        VALUES ('objective001', 1, 'O', 'Is kind.', 0);
        INSERT INTO simulations (id, project_id, agent_id, name, name_folded, scenario, target_conversations,
            target_personas, max_turns, auto_approve, seed, metadata, status, created_at, updated_at, expires_at)
        VALUES ('simulation00000000001', 'project00001', 'agent0000001', 'S', 's', 'A late parcel.', 1, 1, 5, 1, 7,
            '{}', 'completed', 0, 0, 0);
        INSERT INTO simulation_objectives VALUES ('simulation00000000001', 0, 'objective001', 1);
        INSERT INTO simulation_progress VALUES ('simulation00000000001', 1, 0, 0);
        INSERT INTO personas (id, simulation_id, seq, approval, summary, story, purpose, attributes, metadata,
            created_at, updated_at)
        VALUES ('persona00000000000001', 'simulation00000000001', 1, 'approved', '', '', '',
            '{\"age_group\":\"adult\",\"speech_style\":\"\",\"education\":\"\",\"occupation\":\"\",\"economic_status\":\"\",\"personality_traits\":\"\",\"values\":\"\",\"habits\":\"\",\"interests\":\"\",\"speech_patterns\":\"\",\"typical_behavior\":\"\",\"stress_triggers\":\"\",\"stress_reactions\":\"\",\"version\":\"1\"}',
            '{}', 0, 0);
        INSERT INTO conversations (id, simulation_id, persona_id, seq, status, end_reason, evaluation_status, attempt,
            item_count, queued_at, settled, created_at, updated_at)
        VALUES ('conversation000000001', 'simulation00000000001', 'persona00000000000001', 1, 'ended', 'agent_decided',
            'completed', 1, 0, 0, 1, 0, 0);
        INSERT INTO evaluations
        VALUES ('conversation000000001', 1, 'objective001', 1, 'evaluation00000000001', 'checks', 'ab', 'passed', 1.0,
            'It is.', '[]', 0);
    ";

    #[tokio::test]
    async fn judged_conversation_of_an_older_release_is_read() {
        let (path, _directory) = file();
        let connection = Connection::open(&path).unwrap();
        for migration in &MIGRATIONS[..6] {
            connection.execute_batch(migration).unwrap();
        }
        connection.execute_batch(JUDGED).unwrap();
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", 6).unwrap();
        drop(connection);

        let store = SqliteStore::open(&path).unwrap();
        let project = store.open_project(&"project00001".parse().unwrap()).await.unwrap().unwrap();
        let simulation = "simulation00000000001".parse().unwrap();
        let detail = project.simulation(&simulation).await.unwrap().unwrap();
        assert_eq!(detail.simulation.options, SimulationOptions::default());
        let id = "conversation000000001".parse().unwrap();
        let read = project.conversation(&simulation, &id).await.unwrap().unwrap();
        assert_eq!(read.conversation.persona_faults, []);
        assert_eq!(read.evaluations[0].0.details, EvaluationDetails::default());
        let counts = project.counts(&simulation).await.unwrap().unwrap();
        assert_eq!(counts.conversations.with_outcome(Outcome::Passed), 1);
        let page = PageRequest::first(Limit::clamped(1));
        assert_eq!(project.evaluation_runs(&simulation, page).await.unwrap().data, []);
        assert_eq!(project.labels(&simulation, None, 1).await.unwrap(), []);
    }

    #[test]
    fn database_of_another_program_is_refused_unchanged() {
        let (path, _directory) = file();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(open::writing(&path), Err(OpenError::Foreign { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn file_that_is_no_database_is_refused_unchanged() {
        let (path, _directory) = file();
        fs::write(&path, "Dear diary, ".repeat(1_000)).unwrap();
        let error = open::writing(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{} is not a OneRun database", path.display()));
        assert!(fs::read(&path).unwrap().starts_with(b"Dear diary"));
    }

    #[test]
    fn file_of_a_newer_program_is_refused_by_its_version() {
        let (path, _directory) = file();
        open::writing(&path).unwrap().pragma_update(None, "user_version", newest() + 1).unwrap();
        let error = open::writing(&path).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found, known, .. } if found == known + 1), "{error}");
    }
}
