//! The keys that access tokens can be checked by, as a JSON Web Key Set (RFC 7517, RFC 8037).

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::faults::Fault;

/// All keys.
#[derive(Serialize, JsonSchema)]
pub(crate) struct KeySetWire {
    keys: Vec<KeyWire>,
}

#[derive(Serialize, JsonSchema)]
struct KeyWire {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    kid: String,
    x: String,
}

/// `GET /.well-known/jwks.json`. Its form is the standard's, so it has no envelope.
pub(crate) async fn show(call: Call) -> Result<HttpResponse, Fault> {
    call.no_query()?;
    let ctx = call.ctx();
    let keys = ctx.signer.public_keys(ctx.clock.now()).into_iter().map(|key| KeyWire {
        kty: "OKP",
        crv: "Ed25519",
        alg: "EdDSA",
        usage: "sig",
        kid: key.id,
        x: URL_SAFE_NO_PAD.encode(key.bytes),
    });
    let body = serde_json::to_string(&KeySetWire { keys: keys.collect() }).map_err(Fault::internal)?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/jwk-set+json"))
        // Nobody may go on for long with keys from before a rotation.
        .insert_header((CACHE_CONTROL, "public, max-age=60"))
        .body(body))
}
