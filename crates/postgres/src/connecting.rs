//! Making connections, and what it means where none can be made.

use std::error::Error as StdError;
use std::io;

use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::PoolError as Failed;
use diesel_async::pooled_connection::deadpool::PoolError;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::error::Trouble;

/// What a server answers that starts, stops, or has as many connections as it takes.
const PASSING: [SqlState; 4] =
    [SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::TOO_MANY_CONNECTIONS];

/// Connects. What diesel-async makes of the driver's errors has neither their causes nor their kinds, so here they
/// are kept as they are.
pub(crate) async fn connect(url: &str) -> Result<AsyncPgConnection, ConnectionError> {
    let Ok(config) = url.parse::<tokio_postgres::Config>() else {
        // What is wrong with it may be a part of a password, so no more is told.
        let advice = "the URL is none of PostgreSQL; it must be postgres://USER:PASSWORD@HOST/DATABASE";
        return Err(ConnectionError::InvalidConnectionUrl(advice.to_owned()));
    };
    let connected = config.connect(NoTls).await;
    let (client, connection) = connected
        .map_err(|error| ConnectionError::CouldntSetupConfiguration(Error::QueryBuilderError(Box::new(error))))?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

/// Why the pool gave no connection, with all causes, and whether it may give one a moment later.
pub(crate) fn no_connection(error: &PoolError) -> Trouble {
    let (cause, may_pass) = match error {
        PoolError::Backend(Failed::ConnectionError(ConnectionError::CouldntSetupConfiguration(error))) => {
            (told(error), may_pass(error))
        }
        PoolError::Backend(error) => (told(error), false),
        PoolError::Timeout(_) => (told(error), true),
        _ => (told(error), false),
    };
    Trouble::NoConnection { cause, may_pass }
}

/// An error with its causes, each said once.
pub(crate) fn told(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

fn may_pass(error: &Error) -> bool {
    match error {
        Error::QueryBuilderError(error) => error.downcast_ref().is_some_and(passes),
        // It was lost again while it was set up.
        Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection, _) => true,
        _ => false,
    }
}

/// Whether a server that is just starting, or is about to be started, may be the reason.
fn passes(error: &tokio_postgres::Error) -> bool {
    if let Some(code) = error.code() {
        return PASSING.contains(code);
    }
    error.is_closed() || causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|io| !lasts(io.kind()))
}

/// Whether it is no use to try again: whoever answers is no PostgreSQL, or may not be asked. A host whose name nobody
/// knows yet has no kind of its own, so those that last are listed, and not those that pass.
const fn lasts(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, PermissionDenied, Unsupported};
    matches!(kind, PermissionDenied | InvalidInput | InvalidData | Unsupported)
}
