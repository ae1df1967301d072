//! The web server that Bellwether runs on, with nothing behind it: any request is answered with the same bytes. What
//! reads are compared with by `cargo xtask bench --reads`.
//!
//! Takes the address to listen on and the length of the body in bytes.

use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(Ok(length))) = (arguments.next(), arguments.next().map(|length| length.parse())) else {
        return Err(std::io::Error::other("say where to listen, and how many bytes to answer with"));
    };
    let body = Bytes::from(vec![b' '; length]);
    let answer = move || {
        let body = body.clone();
        async { HttpResponse::Ok().content_type(ContentType::json()).body(body) }
    };
    let service = move || App::new().default_service(web::to(answer.clone()));
    HttpServer::new(service).bind(address)?.run().await
}
