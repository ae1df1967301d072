//! The steps of the schema, embedded, each in a transaction of its own: a migration that is killed
//! half way leaves nothing, and can be run again.

use bellwether_domain::ports::StoreError;
use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::store::SqliteStore;

/// All migrations, oldest first.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What one step of migrating found.
enum Step {
    /// It ran this migration.
    Ran(String),
    /// There is nothing left to run.
    Done,
}

impl SqliteStore {
    /// Applies all pending migrations; returns the names of those that it applied.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where one failed: it left nothing, those before it stay. Nothing is done where one is
    /// applied that this program does not know.
    pub async fn migrate_up(&self) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        while let Step::Ran(name) = self.migrate(up_one).await? {
            names.push(name);
        }
        Ok(names)
    }

    /// Reverts the newest `steps` migrations; returns their names. The rows that they hold are lost.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where one failed: it left nothing, those reverted before it stay so.
    pub async fn migrate_down(&self, steps: usize) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for _ in 0..steps {
            let Step::Ran(name) = self.migrate(down_one).await? else { break };
            names.push(name);
        }
        Ok(names)
    }

    /// Every migration's name, oldest first, and whether it is applied.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where the table of migrations cannot be read, or has one that this program does not know.
    pub async fn migration_status(&self) -> Result<Vec<(String, bool)>, StoreError> {
        self.migrate(|connection| {
            let applied = connection.applied_migrations()?;
            let all = all_migrations()?;
            refuse_unknown(&applied, &all)?;
            Ok(all.iter().map(|m| (m.name().to_string(), applied.contains(&m.name().version()))).collect())
        })
        .await
    }

    async fn migrate<R: Send + 'static>(
        &self,
        step: impl FnOnce(&mut SqliteConnection) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, StoreError> {
        let mut turn = self.writer.claim().await?;
        let done = turn.run(|connection| {
            // What is sorted for a new index may be more than memory has.
            connection.batch("PRAGMA temp_store = FILE")?;
            let done = step(connection.diesel()).map_err(|e| StoreError::Corrupt(format!("a migration failed: {e}")));
            connection.batch("PRAGMA temp_store = MEMORY")?;
            done
        });
        let done = done.await?;
        turn.committed().await?;
        self.writer.flushed().await?;
        Ok(done)
    }
}

fn all_migrations() -> Result<Vec<Box<dyn Migration<Sqlite>>>, Failure> {
    let mut all = MigrationSource::<Sqlite>::migrations(&MIGRATIONS)?;
    all.sort_by_key(|m| m.name().version().as_owned());
    Ok(all)
}

/// Refuses a database that a newer program has migrated: what this one reads and writes is not there any more.
fn refuse_unknown(applied: &[MigrationVersion<'_>], all: &[Box<dyn Migration<Sqlite>>]) -> Result<(), Failure> {
    match applied.iter().find(|version| !all.iter().any(|m| m.name().version() == **version)) {
        None => Ok(()),
        Some(version) => Err(unknown(version)),
    }
}

fn unknown(version: &MigrationVersion<'_>) -> Failure {
    let what = format!("the database has a newer migration, {version}, that this program does not know");
    format!("{what}; start the newer version, or revert it with the newer version's `migrate down`").into()
}

/// Takes the write lock before it looks, so that of two processes only one applies a migration.
fn up_one(connection: &mut SqliteConnection) -> Result<Step, Failure> {
    connection.immediate_transaction(|connection| {
        refuse_unknown(&connection.applied_migrations()?, &all_migrations()?)?;
        let pending = MigrationHarness::<Sqlite>::pending_migrations(connection, MIGRATIONS)?;
        let Some(next) = pending.first() else { return Ok(Step::Done) };
        connection.run_migration(next)?;
        Ok(Step::Ran(next.name().to_string()))
    })
}

fn down_one(connection: &mut SqliteConnection) -> Result<Step, Failure> {
    connection.immediate_transaction(|connection| {
        let applied = connection.applied_migrations()?;
        let Some(newest) = applied.first() else { return Ok(Step::Done) };
        let all = all_migrations()?;
        let known = all.iter().find(|m| m.name().version() == *newest);
        let migration = known.ok_or_else(|| unknown(newest))?;
        connection.revert_migration(migration)?;
        Ok(Step::Ran(migration.name().to_string()))
    })
}
