//! Query strings of lists.

use super::{Case, Who};

fn get(path: &str, status: u16, code: &'static str, fields: &[&'static str]) -> Case {
    Case::new(Who::Ann, "GET", path, status, code).fields(fields)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        get("/markets?limit=0", 422, "VALIDATION_ERROR", &["limit"]),
        get("/markets?limit=101", 422, "VALIDATION_ERROR", &["limit"]),
        get("/markets?limit=x&page=0&status=new", 422, "VALIDATION_ERROR", &["limit", "page", "status"]),
        get("/markets?limit=1e1", 422, "VALIDATION_ERROR", &["limit"]),
        get("/markets?offset=-1", 422, "VALIDATION_ERROR", &["offset"]),
        get("/markets?offset=99999999999999999999", 422, "VALIDATION_ERROR", &["offset"]),
        get("/markets?offset=10001", 422, "VALIDATION_ERROR", &["offset"]),
        get("/markets?page=102&limit=100", 422, "VALIDATION_ERROR", &["page"]),
        get("/markets?fields=id,question,id", 400, "UNKNOWN_PARAMETER", &["fields"]),
        get("/markets?page=1&cursor=", 400, "UNKNOWN_PARAMETER", &["page"]),
        get("/markets?sort=password", 400, "UNKNOWN_PARAMETER", &["sort"]),
        get("/markets?sort=volume,volume", 400, "UNKNOWN_PARAMETER", &["sort"]),
        get("/markets?sort=volume%3BDROP%20TABLE%20users", 400, "UNKNOWN_PARAMETER", &["sort"]),
        get("/markets?fields=id,secret", 400, "UNKNOWN_PARAMETER", &["fields"]),
        get("/markets?include=orders", 400, "UNKNOWN_PARAMETER", &["include"]),
        get("/markets?colour=red&size=5", 400, "UNKNOWN_PARAMETER", &["colour", "size"]),
        get("/markets?creator=ann", 422, "VALIDATION_ERROR", &["creator"]),
        get("/markets?closesBefore=tomorrow", 422, "VALIDATION_ERROR", &["closesBefore"]),
        get("/markets?category=%00", 422, "VALIDATION_ERROR", &["category"]),
        get("/markets?limit=5&limit=6", 400, "BAD_REQUEST", &["limit"]),
        get("/markets?q=%ff", 400, "BAD_REQUEST", &[]),
        get("/markets?q=%g0", 400, "BAD_REQUEST", &[]),
        get("/markets?cursor=garbage", 400, "BAD_CURSOR", &["cursor"]),
        get("/orders?status=pending", 422, "VALIDATION_ERROR", &["status"]),
        get("/orders?marketId=1", 422, "VALIDATION_ERROR", &["marketId"]),
        get("/orders?user=$ben", 400, "UNKNOWN_PARAMETER", &["user"]),
        get("/leaderboard?by=luck&limit=0", 422, "VALIDATION_ERROR", &["by", "limit"]),
        get("/positions?sort=-profit", 400, "UNKNOWN_PARAMETER", &["sort"]),
        get("/users/$ben/orders", 404, "USER_NOT_FOUND", &[]),
        get("/users/me/transfers?kind=theft", 422, "VALIDATION_ERROR", &["kind"]),
        get("/users?role=king", 422, "VALIDATION_ERROR", &["role"]).by(Who::Admin),
        get("/accounts/me?fields=balance", 400, "UNKNOWN_PARAMETER", &["fields"]),
        get("/orders", 401, "UNAUTHENTICATED", &[]).by(Who::Nobody),
        get("/positions", 401, "UNAUTHENTICATED", &[]).by(Who::Nobody),
    ]
}
