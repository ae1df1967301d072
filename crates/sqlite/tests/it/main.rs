//! The suite of the ports, and what is SQLite's own.

mod levels;
mod migrations;
mod plans;
mod store;
mod timelines;

mod conformance {
    //! What every store promises.

    use std::sync::Arc;

    use bellwether_conformance::{Harness, Subject, anyhow, async_trait};
    use bellwether_sqlite::{SqliteOptions, SqliteStore};

    struct OnSqlite;

    #[async_trait]
    impl Harness for OnSqlite {
        async fn fresh(&self) -> anyhow::Result<Subject> {
            let folder = tempfile::tempdir()?;
            let open = || SqliteStore::open(&folder.path().join("bellwether.db"), SqliteOptions::default());
            let (store, elsewhere) = (Arc::new(open()?), Arc::new(open()?));
            store.migrate_up().await?;
            let (written, counted) = (Arc::clone(&store), Arc::clone(&store));
            Ok(Subject {
                store: written,
                elsewhere,
                queries: store.clone(),
                jobs: store.clone(),
                webhooks: store.clone(),
                outbox: store,
                statements: Box::new(move || counted.statements()),
                guard: Box::new(folder),
            })
        }
    }

    bellwether_conformance::conformance!(OnSqlite);
}
