//! The suite of the ports, and what is PostgreSQL's own. All of it needs `DATABASE_URL`, which
//! names a database of a server on which databases can be made; without it the tests say so.

mod database;
mod faults;
mod migrations;
mod notices;
mod outbox;
mod plans;
mod replicas;

mod conformance {
    //! What every store promises.

    use std::sync::Arc;

    use bellwether_conformance::{Harness, Skip, Subject, anyhow, async_trait};

    use crate::database::{Database, NO_SERVER};

    struct OnPostgres;

    #[async_trait]
    impl Harness for OnPostgres {
        async fn fresh(&self) -> anyhow::Result<Subject> {
            let Some(database) = Database::migrated().await? else { return Err(Skip::because(NO_SERVER).into()) };
            let (store, elsewhere) = (Arc::new(database.open().await?), Arc::new(database.open().await?));
            let (written, counted) = (Arc::clone(&store), Arc::clone(&store));
            Ok(Subject {
                store: written,
                elsewhere,
                queries: store.clone(),
                jobs: store.clone(),
                webhooks: store.clone(),
                outbox: store,
                statements: Box::new(move || counted.statements()),
                guard: Box::new(database),
            })
        }
    }

    bellwether_conformance::conformance!(OnPostgres);
}
