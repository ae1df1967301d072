//! Telling how requests go, and a server beside the other that shows what is told of the service: to whoever may
//! reach its address, which is why it has one of its own.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{App, HttpResponse, HttpServer, web};
use futures_util::future::BoxFuture;

/// The most that ask at a time: more than a few are no monitoring.
const MOST_CONNECTIONS: usize = 64;
/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Is told of each request.
pub trait RequestMeter: Send + Sync {
    /// A request was answered: of which route (empty where none is for it), with which status, after how long.
    /// Takes some nanoseconds.
    fn answered(&self, method: &str, route: &str, status: u16, took: Duration);
}

/// Writes down what is told of the service, in Prometheus' text format.
pub type Exposition = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// A server on `listener` that answers `GET /metrics` and nothing else, until its handle stops it. Await it on a
/// Tokio runtime. [`io::Error`] where the listener cannot be used.
pub fn metrics_server(listener: TcpListener, exposition: Exposition) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let exposition = Arc::clone(&exposition);
        let show = move || {
            let text = exposition();
            async move {
                HttpResponse::Ok()
                    .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
                    .body(text.await)
            }
        };
        App::new().route("/metrics", web::get().to(show))
    });
    let server = server.workers(1).max_connections(MOST_CONNECTIONS).client_request_timeout(HEAD_TIMEOUT);
    Ok(server.shutdown_timeout(1).disable_signals().listen(listener)?.run())
}
