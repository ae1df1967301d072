//! The server: the routes, what is around them, and the bounds on connections.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse, fn_service};
use actix_web::middleware::{Compress, from_fn};
use actix_web::{Error, HttpServer, web};

use crate::app::App;
use crate::middleware::around;
use crate::routes::answer;

/// The whole service, as each worker builds it: routes, compression, and what happens around
/// every request.
pub fn service(
    app: &App,
) -> actix_web::App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    enclosed(app, answer)
}

/// What is around the routes, around something else: for benchmarks, which tell the one from the other.
pub fn enclosed<F, A>(
    app: &App,
    inner: F,
) -> actix_web::App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<F, A>>,
        Error = Error,
        InitError = (),
    > + use<F, A>,
>
where
    F: Fn(ServiceRequest) -> A + Clone + 'static,
    A: Future<Output = Result<ServiceResponse, Error>> + 'static,
{
    actix_web::App::new()
        .app_data(web::Data::new(app.clone()))
        .default_service(fn_service(inner))
        .wrap(Compress::default())
        .wrap(from_fn(around))
}

/// A server on `listener` that runs until its handle stops it; it heeds no signals. Await it on a
/// Tokio runtime. [`io::Error`] where the listener cannot be used.
pub fn server(app: App, listener: TcpListener) -> io::Result<Server> {
    let options = app.options().clone();
    let mut server = HttpServer::new(move || service(&app))
        .max_connections(options.max_connections)
        .keep_alive(options.keep_alive)
        .client_request_timeout(options.head_timeout)
        .shutdown_timeout(whole_seconds(options.shutdown_timeout))
        .disable_signals();
    if let Some(workers) = options.workers {
        server = server.workers(workers.get());
    }
    Ok(server.listen(listener)?.run())
}

/// As many seconds as hold all of it: requests may take no less than was said.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_no_less_time_to_end_than_was_said() {
        for (millis, seconds) in [(0, 0), (1, 1), (500, 1), (1000, 1), (1001, 2), (2900, 3), (30_000, 30)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
    }
}
