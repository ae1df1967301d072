//! What each route takes and answers: readers and types that the handlers use themselves.

use bellwether_domain::cancel_switch::Sender;
use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::order::OrderStatus;
use bellwether_domain::ports::{
    AuditSort, CommonPasswords, DeliverySort, JobSort, MarketSort, OrderSort, PositionSort, TradeSort, TransferSort,
    UserSort,
};
use bellwether_domain::text::DisplayName;
use bellwether_domain::webhook::DeliveryState;
use schemars::{SchemaGenerator, json_schema};
use serde_json::Value;
use uuid::Uuid;

use super::operation::Operation;
use crate::fields::{Fields, Node};
use crate::health::{Health, Probe};
use crate::idempotency::Need;
use crate::live::{TicketWire, wish};
use crate::order_groups::GroupWire;
use crate::paging::Wanted;
use crate::previews::PreviewWire;
use crate::recovery::Accepted;
use crate::sessions::{SessionWire, SignedInWire};
use crate::sets::SetsWire;
use crate::switches::SwitchesWire;
use crate::wire::account::{AccountWire, TransferBody, TransferWire};
use crate::wire::api_key::{ApiKeyWire, new_key};
use crate::wire::audit_log::EntryWire;
use crate::wire::book::BookWire;
use crate::wire::job::JobWire;
use crate::wire::market::{self, MarketWire, OpenedWire};
use crate::wire::order::{self, BatchWire, CancelledWire, OrderWire, PlacedWire, QuoteWire};
use crate::wire::position::PositionWire;
use crate::wire::score::StandingWire;
use crate::wire::trade::{CandleWire, OwnTradeWire, TradeWire};
use crate::wire::user::{self, UserWire, UserWire2};
use crate::wire::view::View;
use crate::wire::webhook::{self, DeliveryWire, SecretWire, WebhookWire};
use crate::wire::{market_body, order_body, user_body};
use crate::{events, jobs, keys, leaderboard, markets, order_groups, recovery, sessions, switches};

const NOBODY: UserId = UserId(Uuid::nil());
const NO_SENDER: Sender = Sender { user: NOBODY, key: None };
const NOTHING: OrderId = OrderId(Uuid::nil());

const CLOSING: &str = "What is on the account stays there, where nobody can spend it: pay it to somebody else first. \
                       A user's bots are closed with it, so pay back what is on their accounts, too.";
const SUPERSEDED: &str = "GET /api/v2/users/{id} says more. This is answered until 2027-11-21 at least.";
const KEY_IS_TOLD_ONCE: &str = "The key is in this answer alone, since the server keeps only its hash. So no answer can be \
                                repeated, and an Idempotency-Key has no effect: each request makes a key. Where the \
                                answer was lost, revoke the key that GET /api-keys shows, and make another one.";

const ALL_ENDS: &str = "With a token that was sent by mail. Whatever let others in ends: every session of the user; its API keys and those \
                        of its bots, which are revoked; and its webhooks, which are disabled until they are enabled again.";
const OWN_PART: &str = "With one's own part in each: role, orderId and, for a taker, the fee, as trade.executed tells it on the \
                        channel me. Outcome, price, cost and takerSide are those of the book.";

const OVERLAP: &str = "The secret before the new one signs for a day besides. Within that day the secret is changed again only where \
                       If-Match names the webhook's present version: else the answer is 409 SECRETS_OVERLAP, so a request whose \
                       answer was lost may be repeated.";

struct NoPasswords;

impl CommonPasswords for NoPasswords {
    fn contains(&self, _: &str) -> bool {
        false
    }
}

/// What is said of a route; none where nothing is said yet.
pub(super) fn of(method: &str, path: &str, g: &mut SchemaGenerator) -> Option<Operation> {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let family = path.split('/').nth(1).unwrap_or_default();
    match family {
        "auth" => of_auth(method, path, g),
        "users" | "api-keys" => of_users(method, path, g),
        "accounts" | "transfers" | "admin" => of_accounts(method, path, g),
        "markets" => of_markets(method, path, g),
        "orders" | "order-groups" | "positions" | "trades" => of_orders(method, path, g),
        "webhooks" | "jobs" => of_webhooks(method, path, g),
        _ => of_service(method, path, g),
    }
}

fn of_service(method: &str, path: &str, g: &mut SchemaGenerator) -> Option<Operation> {
    let op = Operation::new;
    Some(match (method, path) {
        ("GET", "/health") => op("How the service and what it needs are").ok::<Health>(g),
        ("GET", "/livez") => op("Whether the process lives").ok::<Probe>(g),
        ("GET", "/readyz") => op("Whether the server can serve").ok::<Probe>(g),
        ("GET", "/.well-known/jwks.json") => {
            let keys = g.subschema_for::<keys::KeySetWire>();
            op("The keys that access tokens can be checked by").plain(200, "application/jwk-set+json", keys)
        }
        ("GET", "/leaderboard") => op("Who trades best").query(leaderboard::asked).page::<StandingWire<'_>>(g).tagged(),
        ("GET", "/api/openapi.json") => {
            op("This document").plain(200, "application/json", json_schema!({ "type": "object" })).tagged()
        }
        ("GET", "/stream") => op("Follow what happens, by server-sent events; each is a StreamMessage")
            .query(wish)
            .naming()
            .resumed()
            .text("text/event-stream"),
        ("GET", "/ws") => {
            let nothing = json_schema!({ "type": "string" });
            let follow = op("Follow what happens, by a WebSocket; each message is a StreamMessage").query(wish);
            follow.naming().resumed().plain(101, "text/plain", nothing)
        }
        ("POST", "/stream/tickets") => op("A ticket for a stream").created::<TicketWire>(g).unlocated(),
        ("GET", "/events") => {
            op("What happened, for administrators").query(events::asked).ok::<events::PageWire<'_>>(g)
        }
        ("GET", "/events/schemas") => {
            op("The JSON Schema of all kinds of events").query(events::form).ok::<Value>(g).tagged()
        }
        ("GET", "/events/schemas/{type}") => {
            op("The JSON Schema of a kind of event").query(events::form).ok::<Value>(g).tagged()
        }
        ("GET", "/api/v2/users/{id}") => {
            op("A user, with how it has traded").viewed(&user::fields_2(), &[]).ok::<UserWire2<'_>>(g).tagged()
        }
        _ => return None,
    })
}

fn of_auth(method: &str, path: &str, g: &mut SchemaGenerator) -> Option<Operation> {
    let op = Operation::new;
    Some(match (method, path) {
        ("POST", "/auth/login") => op("Sign in").body(user_body::log_in).ok::<SignedInWire<'_>>(g),
        ("POST", "/auth/refresh") => op("Fresh tokens").body(sessions::refresh_token).ok::<SignedInWire<'_>>(g),
        ("POST", "/auth/logout") => {
            let sign_out = op("End the session of the refresh token, or else of the access token");
            sign_out.body_or_nothing(sessions::refresh_token_if_any)
        }
        ("POST", "/auth/logout-all") => op("Sign out everywhere"),
        ("POST", "/auth/password/forgot") => {
            op("A mail to set a password").body(recovery::email).accepted::<Accepted>(g)
        }
        ("POST", "/auth/password/reset") => {
            op("Set a password").about(ALL_ENDS).body(|f| recovery::new_credentials(f, &NoPasswords))
        }
        ("POST", "/auth/email/verify") => op("Verify an address").body(|f| f.required("token", recovery::token)),
        _ => return None,
    })
}

fn of_users(method: &str, path: &str, g: &mut SchemaGenerator) -> Option<Operation> {
    let op = Operation::new;
    Some(match (method, path) {
        ("POST", "/users") => {
            let sign_up = op("Sign up").body(|f| user_body::sign_up(f, &NoPasswords));
            sign_up.keyed(Need::Optional).created::<UserWire<'_>>(g)
        }
        ("GET", "/users") => {
            let list = op("Users").paged::<UserSort, _>(|f| {
                let _ = View::read(f, user::FIELDS, &[]);
                crate::users::filter(f)
            });
            list.page::<UserWire<'_>>(g)
        }
        ("GET", "/users/{id}") => {
            op("A user").viewed(user::FIELDS, &[]).ok::<UserWire<'_>>(g).tagged().about(SUPERSEDED).deprecated()
        }
        ("PUT", "/users/{id}") => {
            let replace = op("Replace what can be edited of a user").body(|f| user_body::replacement(f, &NoPasswords));
            replace.ok::<UserWire<'_>>(g).tagged()
        }
        ("PATCH", "/users/{id}") => {
            let change = op("Edit a user").body(|f| user_body::patch(f, &NoPasswords));
            change.ok::<UserWire<'_>>(g).tagged()
        }
        ("DELETE", "/users/{id}") => op("Close a user's account").about(CLOSING),
        ("GET", "/users/{id}/orders") => orders(op("A user's orders"), g),
        ("GET", "/users/{id}/positions") => positions(op("A user's positions"), g),
        ("GET", "/users/{id}/transfers") => transfers(op("A user's transfers"), g),
        ("POST", "/users/{id}/email/verification") => op("A mail to verify the address").accepted::<Accepted>(g),
        ("POST", "/users/{id}/bots") => {
            let make = op("Make a bot").body(|f| f.required("displayName", |n| n.parsed(DisplayName::parse)));
            make.keyed(Need::Optional).created::<UserWire<'_>>(g)
        }
        ("GET", "/users/{id}/bots") => op("A user's bots").ok::<Vec<UserWire<'_>>>(g),
        ("GET", "/users/{id}/sessions") => op("Where a user is signed in").ok::<Vec<SessionWire<'_>>>(g),
        ("DELETE", "/users/{id}/sessions") => op("End all of a user's sessions"),
        ("DELETE", "/users/{id}/sessions/{session}") => op("End a session"),
        ("PUT", "/users/{id}/role") => op("Give a user a role").body(user_body::role).ok::<UserWire<'_>>(g).tagged(),
        ("PUT", "/users/{id}/status") => {
            op("Suspend a user, or not").body(user_body::standing).ok::<UserWire<'_>>(g).tagged()
        }
        ("POST", "/api-keys") => {
            op("Make an API key").about(KEY_IS_TOLD_ONCE).body(new_key).created::<ApiKeyWire<'_>>(g)
        }
        ("GET", "/api-keys") => {
            let list = op("API keys").query(|f| f.optional("owner", |n| n.id().map(UserId))).naming();
            list.ok::<Vec<ApiKeyWire<'_>>>(g)
        }
        ("DELETE", "/api-keys/{id}") => op("Revoke an API key"),
        _ => return None,
    })
}

fn of_accounts(method: &str, path: &str, g: &mut SchemaGenerator) -> Option<Operation> {
    let op = Operation::new;
    Some(match (method, path) {
        ("GET", "/accounts/{id}") => op("An account").ok::<AccountWire<'_>>(g).tagged(),
        ("GET", "/accounts/{id}/transfers") => transfers(op("An account's transfers"), g),
        ("POST", "/transfers") => {
            op("Pay somebody").body(TransferBody::of_transfer).keyed(Need::Required).created::<TransferWire<'_>>(g)
        }
        ("GET", "/transfers/{id}") => op("A transfer").ok::<TransferWire<'_>>(g).tagged(),
        ("POST", "/admin/grants") => {
            let grant = op("Give somebody credits of the house").body(TransferBody::of_grant);
            grant.keyed(Need::Optional).created::<TransferWire<'_>>(g)
        }
        ("GET", "/admin/audit-log") => {
            op("The audit log").paged::<AuditSort, _>(crate::audit_log::filter).page::<EntryWire<'_>>(g)
        }
        _ => return None,
    })
}

fn of_markets(method: &str, path: &str, g: &mut SchemaGenerator) -> Option<Operation> {
    let op = Operation::new;
    Some(match (method, path) {
        ("POST", "/markets") => {
            let open = op("Open a market").body(market_body::open_market).keyed(Need::Optional);
            open.created::<OpenedWire<'_>>(g)
        }
        ("GET", "/markets") => {
            let list = op("Markets").paged::<MarketSort, _>(|f| {
                let _ = View::read(f, market::FIELDS, market::INCLUDES);
                markets::filter(f)
            });
            list.page::<MarketWire<'_>>(g).tagged()
        }
        ("GET", "/markets/{id}") => {
            op("A market").viewed(market::FIELDS, market::INCLUDES).ok::<MarketWire<'_>>(g).tagged()
        }
        ("PUT", "/markets/{id}") => {
            let replace = op("Replace what can be edited of a market").body(market_body::replacement);
            replace.ok::<MarketWire<'_>>(g).tagged()
        }
        ("PATCH", "/markets/{id}") => op("Edit a market").body(market_body::patch).ok::<MarketWire<'_>>(g).tagged(),
        ("DELETE", "/markets/{id}") => op("Delete a market without trades"),
        ("POST", "/markets/{id}/halt") => step(op("Stop trading for a while"), g),
        ("POST", "/markets/{id}/reopen") => step(op("Let trading go on"), g),
        ("POST", "/markets/{id}/close") => step(op("End trading"), g),
        ("POST", "/markets/{id}/propose") => step(op("Name the outcome").body(market_body::proposal), g),
        ("POST", "/markets/{id}/dispute") => step(op("Challenge the named outcome").body(market_body::reason), g),
        ("POST", "/markets/{id}/resolve") => step(op("Decide a market").body(market_body::verdict), g),
        ("POST", "/markets/{id}/void") => step(op("Call a market off").body(market_body::reason), g),
        ("POST", "/markets/{id}/resolution-preview") => {
            let preview = op("What a resolution would pay").body(|f| {
                let verdict = market_body::verdict(f);
                let _ = Wanted::<PositionSort>::read(f);
                verdict
            });
            preview.ok::<PreviewWire<'_>>(g).into_page()
        }
        ("POST", "/markets/{id}/split") => sets(op("Make complete sets of shares out of credits"), g),
        ("POST", "/markets/{id}/merge") => sets(op("Make credits out of complete sets of shares"), g),
        ("GET", "/markets/{id}/book") => op("A book").query(crate::books::asked).ok::<BookWire<'_>>(g).tagged(),
        ("GET", "/markets/{id}/trades") => {
            op("A market's trades").paged::<TradeSort, _>(nothing).page::<TradeWire<'_>>(g)
        }
        ("GET", "/markets/{id}/candles") => {
            op("A market's candles").query(crate::trades::asked).ok::<Vec<CandleWire>>(g).tagged()
        }
        ("GET", "/markets/{id}/positions") => {
            op("Who holds what in a market").paged::<PositionSort, _>(nothing).page::<PositionWire<'_>>(g)
        }
        _ => return None,
    })
}

fn of_orders(method: &str, path: &str, g: &mut SchemaGenerator) -> Option<Operation> {
    let op = Operation::new;
    Some(match (method, path) {
        ("POST", "/orders") => {
            let place = op("Place an order").body(|f| order_body::place_order(f, NO_SENDER));
            place.keyed(Need::Required).created::<PlacedWire<'_>>(g)
        }
        ("GET", "/orders") => orders(op("One's own orders"), g),
        ("DELETE", "/orders") => {
            let cancel = op("Cancel all open orders").query(|f| f.optional("marketId", |n| n.id().map(MarketId)));
            cancel.ok::<CancelledWire<'_>>(g)
        }
        ("POST", "/orders/quote") => {
            op("What an order would do").body(|f| order_body::place_order(f, NO_SENDER)).ok::<QuoteWire<'_>>(g)
        }
        ("POST", "/orders/batch") => {
            let batch = op("Place several orders").body(|f| order_body::batch(f, NO_SENDER)).keyed(Need::Required);
            batch.ok::<BatchWire<'_>>(g)
        }
        ("GET", "/orders/{id}") => op("An order").viewed(order::FIELDS, &[]).ok::<OrderWire<'_>>(g).tagged(),
        ("PATCH", "/orders/{id}") => {
            op("Amend an order").body(|f| order_body::amend_order(f, NOTHING, NOBODY)).ok::<PlacedWire<'_>>(g)
        }
        ("DELETE", "/orders/{id}") => op("Cancel an order").ok::<OrderWire<'_>>(g),
        ("GET", "/orders/cancel-after") => op("When one's orders are cancelled").ok::<SwitchesWire>(g),
        ("PUT", "/orders/cancel-after") => {
            op("Cancel one's orders unless one is heard of in time").body(switches::timeout).ok::<SwitchesWire>(g)
        }
        ("DELETE", "/orders/cancel-after") => op("Let one's orders stand again"),
        ("POST", "/order-groups") => {
            op("Make an order group").body(order_groups::new_group).keyed(Need::Optional).created::<GroupWire>(g)
        }
        ("GET", "/order-groups") => op("One's own order groups").ok::<Vec<GroupWire>>(g),
        ("GET", "/order-groups/{id}") => op("An order group").ok::<GroupWire>(g),
        ("DELETE", "/order-groups/{id}") => op("Delete an order group and cancel its orders"),
        ("POST", "/order-groups/{id}/reset") => op("Count the fills of an order group anew").ok::<GroupWire>(g),
        ("GET", "/positions") => positions(op("One's own positions"), g),
        ("GET", "/trades") => {
            let own = op("One's own trades").about(OWN_PART).paged::<TradeSort, _>(crate::trades::narrowed);
            own.page::<OwnTradeWire<'_>>(g)
        }
        _ => return None,
    })
}

fn of_webhooks(method: &str, path: &str, g: &mut SchemaGenerator) -> Option<Operation> {
    let op = Operation::new;
    Some(match (method, path) {
        ("POST", "/webhooks") => {
            op("Make a webhook").body(webhook::new_webhook).keyed(Need::Optional).created::<WebhookWire<'_>>(g)
        }
        ("GET", "/webhooks") => op("One's own webhooks").ok::<Vec<WebhookWire<'_>>>(g),
        ("GET", "/webhooks/{id}") => op("A webhook").ok::<WebhookWire<'_>>(g).tagged(),
        ("PATCH", "/webhooks/{id}") => op("Change a webhook").body(webhook::patch).ok::<WebhookWire<'_>>(g).tagged(),
        ("DELETE", "/webhooks/{id}") => op("Delete a webhook"),
        ("GET", "/webhooks/{id}/secret") => op("What a receiver checks signatures with").ok::<SecretWire<'_>>(g),
        ("POST", "/webhooks/{id}/secret/rotate") => op("Another secret").about(OVERLAP).ok::<SecretWire<'_>>(g),
        ("POST", "/webhooks/{id}/test") => op("Send a test message").accepted::<DeliveryWire<'_>>(g).located(),
        ("POST", "/webhooks/{id}/redeliver") => op("Send again").body(webhook::again).accepted::<Value>(g).located(),
        ("GET", "/webhooks/{id}/deliveries") => {
            let list = op("What a webhook was sent").paged::<DeliverySort, _>(|f| {
                f.optional("state", |n| n.one_of(&DeliveryState::ALL, DeliveryState::as_str))
            });
            list.page::<DeliveryWire<'_>>(g)
        }
        ("GET", "/webhooks/{id}/deliveries/{delivery}") => op("A message to a webhook").ok::<DeliveryWire<'_>>(g),
        ("POST", "/jobs") => op("Start a job").body(jobs::wanted).accepted::<JobWire<'_>>(g).located(),
        ("GET", "/jobs") => op("Jobs").paged::<JobSort, _>(jobs::filter).page::<JobWire<'_>>(g),
        ("GET", "/jobs/{id}") => op("A job").ok::<JobWire<'_>>(g),
        ("DELETE", "/jobs/{id}") => op("Cancel a job"),
        ("POST", "/jobs/{id}/retry") => op("Do a job again, now").accepted::<JobWire<'_>>(g).located(),
        _ => return None,
    })
}

/// Reads nothing.
fn nothing(_: &Fields<'_>) -> Option<()> {
    Some(())
}

fn step(operation: Operation, g: &mut SchemaGenerator) -> Operation {
    operation.ok::<MarketWire<'_>>(g).tagged()
}

fn sets(operation: Operation, g: &mut SchemaGenerator) -> Operation {
    let operation = operation.body(|f| f.required("quantity", Node::shares)).keyed(Need::Required);
    operation.created::<SetsWire<'_>>(g)
}

fn orders(operation: Operation, g: &mut SchemaGenerator) -> Operation {
    let operation = operation.paged::<OrderSort, _>(|f| {
        let _ = View::read(f, order::FIELDS, &[]);
        let _ = f.optional("marketId", Node::id);
        let _ = f.optional("status", |n| n.one_of(OrderStatus::ALL, OrderStatus::as_str));
        f.optional("clientOrderId", order_body::client_order_id)
    });
    operation.page::<OrderWire<'_>>(g)
}

fn positions(operation: Operation, g: &mut SchemaGenerator) -> Operation {
    operation.paged::<PositionSort, _>(|f| f.optional("marketId", Node::id)).page::<PositionWire<'_>>(g)
}

fn transfers(operation: Operation, g: &mut SchemaGenerator) -> Operation {
    operation.paged::<TransferSort, _>(crate::transfers::narrowed).page::<TransferWire<'_>>(g)
}
