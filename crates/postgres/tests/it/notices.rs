//! What servers on one PostgreSQL tell each other.

use std::time::Duration;

use bellwether_domain::job::JobKind;
use bellwether_domain::ports::{Notice, Notices as _};
use bellwether_postgres::PgNotices;

use crate::database::{Database, NO_SERVER};

#[tokio::test]
async fn one_hears_of_the_others_events_and_jobs_and_not_of_its_own() {
    let Some(database) = Database::migrated().await.unwrap() else {
        eprintln!("skipped: {NO_SERVER}");
        return;
    };
    let (mut one, mut other) = (PgNotices::of(&database.url()), PgNotices::of(&database.url()));
    // Nobody listens yet.
    one.tell_of_events().await;
    assert_eq!((one.next().await, other.next().await), (Notice::Missed, Notice::Missed));
    one.tell_of_events().await;
    assert_eq!(other.next().await, Notice::Events);
    // Waiting may be given up, and nothing is lost by it.
    assert!(tokio::time::timeout(Duration::from_millis(20), other.next()).await.is_err());
    other.tell_of_events().await;
    database.raw().await.unwrap().batch_execute("NOTIFY bellwether_jobs, 'mail'").await.unwrap();
    assert_eq!((one.next().await, one.next().await), (Notice::Events, Notice::Jobs(JobKind::Mail)));
    assert_eq!(other.next().await, Notice::Jobs(JobKind::Mail));
}
