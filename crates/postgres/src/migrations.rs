//! The steps of the schema, embedded, each in a transaction of its own: a migration that is killed
//! half way leaves nothing, and can be run again. Under an advisory lock, so that of servers that
//! start together only one migrates and the others wait.

use bellwether_domain::ports::StoreError;
use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::pg::Pg;
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::connecting::no_connection;
use crate::error::store_error;
use crate::store::PgStore;

/// All migrations, oldest first.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// Any number will do, as long as every version uses the same.
const LOCK: &str = "SET lock_timeout = 0; SET statement_timeout = 0; SELECT pg_advisory_lock(6212340001::bigint)";

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Harness = AsyncMigrationHarness<AsyncPgConnection>;

impl PgStore {
    /// Applies all pending migrations; returns the names of those that it applied.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where one failed: it left nothing, those before it stay. Nothing is done where one is
    /// applied that this program does not know.
    pub async fn migrate_up(&self) -> Result<Vec<String>, StoreError> {
        self.migrate(|harness| {
            refuse_unknown(&harness.applied_migrations()?, &all_migrations()?)?;
            let pending = harness.pending_migrations(MIGRATIONS)?;
            let mut names = Vec::new();
            for migration in &pending {
                harness.run_migration(migration)?;
                names.push(migration.name().to_string());
            }
            Ok(names)
        })
        .await
    }

    /// Reverts the newest `steps` migrations; returns their names. The rows that they hold are lost.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where one failed: it left nothing, those reverted before it stay so.
    pub async fn migrate_down(&self, steps: usize) -> Result<Vec<String>, StoreError> {
        self.migrate(move |harness| {
            let mut names = Vec::new();
            for version in harness.applied_migrations()?.into_iter().take(steps) {
                let all = all_migrations()?;
                let known = all.iter().find(|m| m.name().version() == version);
                let migration = known.ok_or_else(|| unknown(&version))?;
                harness.revert_migration(migration)?;
                names.push(migration.name().to_string());
            }
            Ok(names)
        })
        .await
    }

    /// Every migration's name, oldest first, and whether it is applied.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where the table of migrations cannot be read, or has one that this program does not know.
    pub async fn migration_status(&self) -> Result<Vec<(String, bool)>, StoreError> {
        self.migrate(|harness| {
            let applied = harness.applied_migrations()?;
            let all = all_migrations()?;
            refuse_unknown(&applied, &all)?;
            Ok(all.iter().map(|m| (m.name().to_string(), applied.contains(&m.name().version()))).collect())
        })
        .await
    }

    /// Runs migrations on a connection of their own, which is closed afterwards, and with it the lock.
    async fn migrate<R: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Harness) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, StoreError> {
        let pooled = self.pool().get().await.map_err(|e| no_connection(&e))?;
        let mut connection = deadpool::managed::Object::take(pooled);
        connection.batch_execute(LOCK).await.map_err(store_error)?;
        let migrated = tokio::task::spawn_blocking(move || step(&mut AsyncMigrationHarness::new(connection)));
        let result = migrated.await.map_err(|e| StoreError::Corrupt(format!("a migration panicked: {e}")))?;
        result.map_err(|e| StoreError::Corrupt(format!("a migration failed: {e}")))
    }
}

fn all_migrations() -> Result<Vec<Box<dyn Migration<Pg>>>, Failure> {
    let mut all = MigrationSource::<Pg>::migrations(&MIGRATIONS)?;
    all.sort_by_key(|m| m.name().version().as_owned());
    Ok(all)
}

/// Refuses a database that a newer program has migrated: what this one reads and writes is not there any more.
fn refuse_unknown(applied: &[MigrationVersion<'_>], all: &[Box<dyn Migration<Pg>>]) -> Result<(), Failure> {
    match applied.iter().find(|version| !all.iter().any(|m| m.name().version() == **version)) {
        None => Ok(()),
        Some(version) => Err(unknown(version)),
    }
}

fn unknown(version: &MigrationVersion<'_>) -> Failure {
    let what = format!("the database has a newer migration, {version}, that this program does not know");
    format!("{what}; start the newer version, or revert it with the newer version's `migrate down`").into()
}
