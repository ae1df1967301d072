//! Why a request was not answered as asked, and the one table that gives each reason its status,
//! its code and its details.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use bellwether_domain::password::PasswordFault;
use bellwether_domain::ports::{PasswordError, StoreError, Unique};
use bellwether_domain::refusal::Refusal;
use bellwether_usecases::Error;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One detail of a fault: which field, what is wrong with it, and facts a program can use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Detail {
    /// The field's path, such as `orders[2].price`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// A short word for programs.
    pub(crate) code: &'static str,
    /// A sentence for people.
    pub(crate) message: String,
    /// Amounts, statuses and the like.
    #[serde(flatten)]
    pub(crate) facts: Map<String, Value>,
}

impl Detail {
    /// A detail about a field.
    pub(crate) fn of(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), code, message: message.into(), facts: Map::new() }
    }

    /// The detail as text in lists of details: field and message.
    fn sentence(&self) -> String {
        match &self.field {
            Some(field) => format!("{field} {}", self.message),
            None => self.message.clone(),
        }
    }
}

/// A request that is answered with an error. Boxed, since it is rare and large.
#[derive(Debug)]
pub(crate) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Vec<Detail>,
    headers: Vec<(HeaderName, Cow<'static, str>)>,
    closes: bool,
    data: Option<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// How long clients are asked to wait where nothing better is known, in seconds.
const RETRY_AFTER_S: &str = "1";

impl Fault {
    /// A fault without details.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (details, headers) = (Vec::new(), Vec::new());
        Self(Box::new(Inner {
            status,
            code,
            message: message.into(),
            details,
            headers,
            closes: false,
            data: None,
            cause: None,
        }))
    }

    /// 400: the request is malformed.
    pub(crate) fn malformed(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 400: names that are not known, all of them.
    pub(crate) fn unknown(code: &'static str, details: Vec<Detail>) -> Self {
        Self::malformed(code, summary(&details)).with_details(details)
    }

    /// 422: values that are not accepted, all of them.
    pub(crate) fn invalid(details: Vec<Detail>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", summary(&details)).with_details(details)
    }

    /// 401, with the challenge that the standard asks for.
    pub(crate) fn unauthenticated(message: &'static str, challenge: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message).with_header(WWW_AUTHENTICATE, challenge)
    }

    /// 429: more than is allowed.
    pub(crate) fn limited(message: String) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message)
    }

    /// 503, asking to try again.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).with_header(RETRY_AFTER, RETRY_AFTER_S)
    }

    /// 500: something that must not happen; the cause is for the log alone.
    pub(crate) fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "something went wrong on the server")
            .caused_by(cause)
    }

    /// What an answer of the framework with that status means.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::BAD_REQUEST => ("BAD_REQUEST", "the request is malformed"),
            StatusCode::NOT_FOUND => ("NOT_FOUND", "there is nothing at this address"),
            StatusCode::METHOD_NOT_ALLOWED => ("METHOD_NOT_ALLOWED", "this address does not take this method"),
            StatusCode::NOT_ACCEPTABLE => {
                ("NOT_ACCEPTABLE", "none of the accepted encodings can be produced; accept identity, gzip or br")
            }
            StatusCode::REQUEST_TIMEOUT => ("REQUEST_TIMEOUT", "the request did not arrive in time"),
            StatusCode::PAYLOAD_TOO_LARGE => ("PAYLOAD_TOO_LARGE", "the body is too large"),
            StatusCode::URI_TOO_LONG => ("URI_TOO_LONG", "the address is too long"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("UNSUPPORTED_MEDIA_TYPE", "the body must be application/json"),
            StatusCode::EXPECTATION_FAILED => ("EXPECTATION_FAILED", "this expectation cannot be met"),
            status if status.is_client_error() => return Self::new(status, "BAD_REQUEST", "the request was refused"),
            _ => return Self::internal(format!("the framework answered {status}")),
        };
        Self::new(status, code, message)
    }

    /// With these details.
    pub(crate) fn with_details(mut self, details: Vec<Detail>) -> Self {
        self.0.details = details;
        self
    }

    /// With that header.
    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Into<Cow<'static, str>>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    /// After the answer the connection is closed: what is left of the request will not be read.
    pub(crate) fn closing(mut self) -> Self {
        self.0.closes = true;
        self
    }

    /// With data beside the error, as JSON text.
    pub(crate) fn with_data(mut self, data: String) -> Self {
        self.0.data = Some(data);
        self
    }

    /// With what caused it, for the log.
    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    pub(crate) fn with_facts(self, facts: Value) -> Self {
        let Value::Object(facts) = facts else { return self };
        let detail = Detail { field: None, code: self.code(), message: self.message().to_owned(), facts };
        self.with_details(vec![detail])
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn details(&self) -> &[Detail] {
        &self.0.details
    }

    pub(crate) fn headers(&self) -> &[(HeaderName, Cow<'static, str>)] {
        &self.0.headers
    }

    pub(crate) fn closes(&self) -> bool {
        self.0.closes
    }

    pub(crate) fn data(&self) -> Option<&str> {
        self.0.data.as_deref()
    }

    /// The cause and what caused that, in one line; none where nothing broke.
    pub(crate) fn cause(&self) -> Option<String> {
        let mut cause: Option<&dyn StdError> = Some(self.0.cause.as_deref()?);
        let mut chain = Vec::new();
        while let Some(error) = cause {
            chain.push(error.to_string());
            cause = error.source();
        }
        Some(chain.join(": "))
    }
}

fn summary(details: &[Detail]) -> String {
    match details {
        [] => "the request was not accepted".to_owned(),
        [one] => one.sentence(),
        [first, rest @ ..] => format!("{}; and {} more, see details", first.sentence(), rest.len()),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())
    }
}

/// The status alone; the body is written where the request is known: see `middleware`.
impl ResponseError for Fault {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Store(error) => error.into(),
            Error::Password(error) => error.into(),
            Error::Limited(exceeded) => exceeded.into(),
            Error::Signing | Error::Payload | Error::NoRandomness(_) => Self::internal(error),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        const HINT: &str = "the outcome is not known yet: send the same request with the same Idempotency-Key again, or look whether it was done";
        match error {
            StoreError::Unavailable(_) => {
                Self::unavailable("SERVICE_UNAVAILABLE", "the service cannot be reached right now; nothing was done")
                    .caused_by(error)
            }
            StoreError::Conflict(_) => {
                Self::unavailable("SERVICE_UNAVAILABLE", "too much is changing at once; nothing was done")
                    .caused_by(error)
            }
            StoreError::OutcomeUnknown(_) => Self::unavailable("OUTCOME_UNKNOWN", HINT).caused_by(error),
            StoreError::Duplicate(Unique::Email) => Refusal::EmailTaken.into(),
            StoreError::Duplicate(Unique::IdempotencyKey) => in_progress(),
            StoreError::Duplicate(Unique::ClientOrderId) => Self::new(
                StatusCode::CONFLICT,
                "DUPLICATE_CLIENT_ORDER_ID",
                "an order with this clientOrderId exists already",
            ),
            StoreError::Duplicate(Unique::Slug | Unique::Id) | StoreError::Corrupt(_) => Self::internal(error),
        }
    }
}

impl From<PasswordError> for Fault {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::TooLong => {
                Self::invalid(vec![Detail::of("password", "too_long", "must not be longer than 72 bytes")])
            }
            PasswordError::ContainsNul => {
                Self::invalid(vec![Detail::of("password", "malformed", "must not contain a NUL character")])
            }
            PasswordError::Busy => Self::unavailable("SERVICE_UNAVAILABLE", error.to_string()),
            PasswordError::Failed => Self::internal(error),
        }
    }
}

/// 409: the same key is being worked on right now.
pub(crate) fn in_progress() -> Fault {
    let message = "a request with this Idempotency-Key is still running; repeat it in a moment";
    Fault::new(StatusCode::CONFLICT, "IDEMPOTENCY_IN_PROGRESS", message).with_header(RETRY_AFTER, RETRY_AFTER_S)
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::UnfitPassword(faults) = &refusal {
            let detail = |fault: &PasswordFault| Detail::of("password", fault.code(), fault.to_string());
            return Self::invalid(faults.iter().map(detail).collect());
        }
        if let Refusal::UnreachableEmail(why) = &refusal {
            return Self::invalid(vec![Detail::of("email", "invalid", why.to_string())]);
        }
        let (status, code) = place(&refusal);
        let fault = Self::new(status, code, refusal.to_string());
        match (facts(&refusal), status) {
            (Some(facts), _) => fault.with_facts(facts),
            (None, StatusCode::UNAUTHORIZED) => fault.with_header(WWW_AUTHENTICATE, "Bearer"),
            (None, _) => fault,
        }
    }
}

/// The table: each refusal's status and code.
fn place(refusal: &Refusal) -> (StatusCode, &'static str) {
    use Refusal as R;
    const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
    const CONFLICT: StatusCode = StatusCode::CONFLICT;
    const INVALID: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    match refusal {
        R::UserNotFound => (NOT_FOUND, "USER_NOT_FOUND"),
        R::AccountNotFound => (NOT_FOUND, "ACCOUNT_NOT_FOUND"),
        R::TransferNotFound => (NOT_FOUND, "TRANSFER_NOT_FOUND"),
        R::MarketNotFound => (NOT_FOUND, "MARKET_NOT_FOUND"),
        R::OrderNotFound => (NOT_FOUND, "ORDER_NOT_FOUND"),
        R::OutcomeNotFound { .. } => (INVALID, "OUTCOME_NOT_FOUND"),
        R::WebhookNotFound => (NOT_FOUND, "WEBHOOK_NOT_FOUND"),
        R::DeliveryNotFound => (NOT_FOUND, "DELIVERY_NOT_FOUND"),
        R::TooManyWebhooks { .. } => (CONFLICT, "TOO_MANY_WEBHOOKS"),
        R::UrlNotCalled(_) => (INVALID, "URL_NOT_CALLED"),
        R::WebhookDisabled => (CONFLICT, "WEBHOOK_DISABLED"),
        R::SecretsOverlap(_) => (CONFLICT, "SECRETS_OVERLAP"),
        R::JobNotFound => (NOT_FOUND, "JOB_NOT_FOUND"),
        R::JobNotRetried(_) => (CONFLICT, "JOB_NOT_RETRIED"),
        R::Forbidden(_) => (StatusCode::FORBIDDEN, "FORBIDDEN"),
        R::ResolverHoldsPosition => (StatusCode::FORBIDDEN, "RESOLVER_HOLDS_POSITION"),
        R::SecondPersonNeeded { .. } => (StatusCode::FORBIDDEN, "SECOND_PERSON_NEEDED"),
        R::OutOfScope(_) => (StatusCode::FORBIDDEN, "KEY_SCOPE_MISSING"),
        R::ApiKeyNotFound => (NOT_FOUND, "API_KEY_NOT_FOUND"),
        R::KeyInactive => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        R::KeyNotForMarket => (StatusCode::FORBIDDEN, "KEY_NOT_FOR_MARKET"),
        R::KeySpendingLimit { .. } => (CONFLICT, "KEY_SPENDING_LIMIT"),
        R::KeyOpenOrders { .. } => (CONFLICT, "KEY_OPEN_ORDERS"),
        R::TooManyKeys { .. } => (CONFLICT, "TOO_MANY_API_KEYS"),
        R::TooManyBots { .. } => (CONFLICT, "TOO_MANY_BOTS"),
        R::TooManyStreams { .. } => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_STREAMS"),
        R::BadTicket => (StatusCode::UNAUTHORIZED, "INVALID_TICKET"),
        R::BotHasNoRole => (CONFLICT, "BOT_HAS_NO_ROLE"),
        R::BotCannotSignIn => (CONFLICT, "BOT_CANNOT_SIGN_IN"),
        R::UserInactive => (StatusCode::FORBIDDEN, "USER_INACTIVE"),
        R::BadCredentials => (StatusCode::UNAUTHORIZED, "INVALID_CREDENTIALS"),
        R::BadRefreshToken => (StatusCode::UNAUTHORIZED, "INVALID_REFRESH_TOKEN"),
        R::SessionNotFound => (NOT_FOUND, "SESSION_NOT_FOUND"),
        R::UnfitPassword(_) | R::UnreachableEmail(_) => (INVALID, "VALIDATION_ERROR"),
        R::BadMailToken => (INVALID, "INVALID_TOKEN"),
        R::EmailAlreadyVerified => (CONFLICT, "EMAIL_ALREADY_VERIFIED"),
        R::EmailTaken => (CONFLICT, "EMAIL_TAKEN"),
        R::LastAdmin => (CONFLICT, "LAST_ADMIN"),
        R::StaleVersion { .. } => (StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED"),
        R::InsufficientFunds { .. } => (CONFLICT, "INSUFFICIENT_FUNDS"),
        R::InsufficientShares { .. } => (CONFLICT, "INSUFFICIENT_SHARES"),
        R::TransferToSelf => (INVALID, "TRANSFER_TO_SELF"),
        R::AmountNotPositive => (INVALID, "AMOUNT_NOT_POSITIVE"),
        R::OutOfRange => (INVALID, "OUT_OF_RANGE"),
        R::MarketNotOpen(_) | R::ClosingTimeFixed(_) => (CONFLICT, "MARKET_NOT_OPEN"),
        R::WrongMarketStatus { .. } => (CONFLICT, "WRONG_MARKET_STATUS"),
        R::MarketHasTraded => (CONFLICT, "MARKET_HAS_TRADED"),
        R::MarketHasShares => (CONFLICT, "MARKET_HAS_SHARES"),
        R::MarketDecided(_) => (CONFLICT, "MARKET_DECIDED"),
        R::FixedAfterTrading(_) => (CONFLICT, "FIXED_AFTER_TRADING"),
        R::ChallengeWindowRuns(_) => (CONFLICT, "CHALLENGE_WINDOW_RUNS"),
        R::ChallengeWindowOver(_) => (CONFLICT, "CHALLENGE_WINDOW_OVER"),
        R::ClosesInThePast => (INVALID, "CLOSES_IN_THE_PAST"),
        R::WeightsDoNotAddUp => (INVALID, "WEIGHTS_DO_NOT_ADD_UP"),
        R::BadLiquidity(_) => (INVALID, "BAD_LIQUIDITY"),
        R::PostOnlyWouldTake => (CONFLICT, "POST_ONLY_WOULD_TAKE"),
        R::FillOrKill { .. } => (CONFLICT, "FILL_OR_KILL"),
        R::NothingToFill => (CONFLICT, "NOTHING_TO_FILL"),
        R::OrderTooLate { .. } => (CONFLICT, "ORDER_TOO_LATE"),
        R::ReduceOnlyPaysCash => (INVALID, "REDUCE_ONLY_PAYS_CASH"),
        R::NothingToReduce => (CONFLICT, "NOTHING_TO_REDUCE"),
        R::ExpiryInThePast => (INVALID, "EXPIRY_IN_THE_PAST"),
        R::SpendWithoutCash => (INVALID, "SPEND_WITHOUT_CASH"),
        R::OrderGroupNotFound => (NOT_FOUND, "ORDER_GROUP_NOT_FOUND"),
        R::OrderGroupOfOtherMarket { .. } => (INVALID, "ORDER_GROUP_OF_OTHER_MARKET"),
        R::OrderGroupFull { .. } => (CONFLICT, "ORDER_GROUP_FULL"),
        R::TooManyOrderGroups { .. } => (CONFLICT, "TOO_MANY_ORDER_GROUPS"),
        R::OrderNotOpen(_) => (CONFLICT, "ORDER_NOT_OPEN"),
        R::QuantityBelowFilled { .. } => (CONFLICT, "QUANTITY_BELOW_FILLED"),
        R::BadAmendment(_) => (INVALID, "BAD_AMENDMENT"),
        R::TooManyOpenOrders { .. } => (CONFLICT, "TOO_MANY_OPEN_ORDERS"),
        R::TooManyFills { .. } => (CONFLICT, "TOO_MANY_FILLS"),
        R::DuplicateClientOrderId { .. } => (CONFLICT, "DUPLICATE_CLIENT_ORDER_ID"),
        R::IdempotencyMismatch => (INVALID, "IDEMPOTENCY_KEY_REUSED"),
    }
}

/// What a program may want to know beyond the code.
fn facts(refusal: &Refusal) -> Option<Value> {
    Some(match refusal {
        Refusal::InsufficientFunds { required, available } => {
            json!({ "required": required.to_string(), "available": available.to_string() })
        }
        Refusal::SecondPersonNeeded { limit } => json!({ "limit": limit.to_string() }),
        Refusal::KeySpendingLimit { limit, required, available } => {
            json!({ "limit": limit.to_string(), "required": required.to_string(), "available": available.to_string() })
        }
        Refusal::KeyOpenOrders { limit } => json!({ "limit": limit }),
        Refusal::TooManyKeys { limit } | Refusal::TooManyBots { limit } | Refusal::TooManyStreams { limit } => {
            json!({ "limit": limit })
        }
        Refusal::InsufficientShares { outcome, required, available } => {
            json!({ "outcome": outcome, "required": required.count(), "available": available.count() })
        }
        Refusal::OutcomeNotFound { name, .. } => json!({ "field": "outcome", "outcome": name }),
        Refusal::StaleVersion { current } => json!({ "current": current }),
        Refusal::MarketNotOpen(status) | Refusal::ClosingTimeFixed(status) | Refusal::MarketDecided(status) => {
            json!({ "status": status.as_str() })
        }
        Refusal::WrongMarketStatus { status, wanted } => {
            json!({ "status": status.as_str(), "wanted": wanted.as_str() })
        }
        Refusal::ChallengeWindowRuns(until) | Refusal::ChallengeWindowOver(until) => {
            json!({ "challengeUntil": until.to_string() })
        }
        Refusal::SecretsOverlap(until) => json!({ "until": until.to_string() }),
        Refusal::FillOrKill { fillable } => json!({ "fillable": fillable.count() }),
        Refusal::OrderGroupOfOtherMarket { market } => {
            json!({ "field": "orderGroupId", "marketId": market.to_string() })
        }
        Refusal::OrderGroupFull { cap } => json!({ "fillCap": cap.count() }),
        Refusal::OrderNotOpen(status) => json!({ "status": status.as_str() }),
        Refusal::QuantityBelowFilled { filled } => json!({ "filled": filled.count() }),
        Refusal::TooManyOpenOrders { limit } | Refusal::TooManyFills { limit } => json!({ "limit": limit }),
        Refusal::DuplicateClientOrderId { order } => json!({ "orderId": order.to_string() }),
        Refusal::ClosesInThePast => json!({ "field": "closesAt" }),
        Refusal::ExpiryInThePast => json!({ "field": "expiresAt" }),
        Refusal::SpendWithoutCash => json!({ "field": "maxSpend" }),
        Refusal::BadLiquidity(_) => json!({ "field": "liquidity" }),
        Refusal::WeightsDoNotAddUp => json!({ "field": "weights" }),
        Refusal::TransferToSelf => json!({ "field": "toUserId" }),
        Refusal::EmailTaken => json!({ "field": "email" }),
        Refusal::BadMailToken => json!({ "field": "token" }),
        _ => return None,
    })
}
