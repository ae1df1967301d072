//! Why a command is refused: what its sender can do something about.
//!
//! A refused command leaves no trace. Faults of the machinery are not here: see
//! [`StoreError`](crate::ports::StoreError).

use jiff::Timestamp;
use thiserror::Error;

use crate::api_key::Scope;
use crate::ids::MarketId;
use crate::job::JobState;
use crate::ledger::LedgerError;
use crate::market::MarketStatus;
use crate::money::{Credits, Overflow, Shares};
use crate::order::OrderStatus;
use crate::password::PasswordFault;
use crate::text::TextError;

/// A refusal. Money in mills, quantities in shares.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No such user, or not for this caller to know.
    #[error("there is no such user")]
    UserNotFound,
    /// No such account, or not for this caller to know.
    #[error("there is no such account")]
    AccountNotFound,
    /// No such transfer, or not for this caller to know.
    #[error("there is no such transfer")]
    TransferNotFound,
    /// No such market.
    #[error("there is no such market")]
    MarketNotFound,
    /// No such order, or not for this caller to know.
    #[error("there is no such order")]
    OrderNotFound,
    /// The market has no such outcome.
    #[error("the market has no outcome named {name:?}; it has {known}")]
    OutcomeNotFound {
        /// What was asked for.
        name: String,
        /// The names that there are, joined by commas.
        known: String,
    },
    /// No such job.
    #[error("there is no such job; one that is done may be gone")]
    JobNotFound,
    /// Only a job that waits or was given up can be tried again.
    #[error("a job that is {} cannot be tried again", .0.as_str())]
    JobNotRetried(JobState),
    /// No such webhook, or not for this caller to know.
    #[error("there is no such webhook")]
    WebhookNotFound,
    /// No such message to the webhook.
    #[error("this webhook was sent no such message; older ones are forgotten")]
    DeliveryNotFound,
    /// Too many webhooks.
    #[error("at most {limit} webhooks are allowed; delete some first")]
    TooManyWebhooks {
        /// How many there may be.
        limit: usize,
    },
    /// A webhook's address cannot be called, or is not called by this house.
    #[error("the URL cannot be a webhook: {0}")]
    UrlNotCalled(String),
    /// Nothing is sent to a webhook that is disabled.
    #[error("the webhook is disabled; enable it first")]
    WebhookDisabled,
    /// The secret of a webhook was changed of late, and the one before it signs until then: it would end at once.
    #[error(
        "the secret was changed of late, and the one before it signs until {0}: read the new one, or name the \
         webhook's version in If-Match to change it again and end that one at once"
    )]
    SecretsOverlap(Timestamp),
    /// Signed in, but not allowed.
    #[error("this needs the permission to {0}")]
    Forbidden(&'static str),
    /// Who names or decides an outcome would gain or lose by it.
    #[error("whoever names or decides the outcome of a market may hold no shares in it, in person or by a bot")]
    ResolverHoldsPosition,
    /// The market has traded too much for one person to decide it.
    #[error(
        "a market with a volume above {limit} is decided by somebody who neither opened it nor named its outcome, \
         in person or by a bot"
    )]
    SecondPersonNeeded {
        /// Up to which volume one person is enough.
        limit: Credits,
    },
    /// The caller is suspended or deactivated.
    #[error("this account may not act")]
    UserInactive,
    /// Wrong e-mail or password, or no such user: always the same words.
    #[error("the e-mail address or the password is wrong")]
    BadCredentials,
    /// The refresh token is unknown, expired or spent, or its session has ended: always the same words.
    #[error("the refresh token is not valid, has expired or was used before; sign in again")]
    BadRefreshToken,
    /// No such session, or not for this caller to know.
    #[error("there is no such session")]
    SessionNotFound,
    /// The API key lacks the scope; none where no key may do this.
    #[error("{}", out_of_scope(.0))]
    OutOfScope(Option<Scope>),
    /// No such API key, or not for this caller to know.
    #[error("there is no such API key")]
    ApiKeyNotFound,
    /// The API key was revoked or has expired since the request began.
    #[error("the API key has expired or was revoked")]
    KeyInactive,
    /// The API key is for other markets.
    #[error("this API key may not trade in this market")]
    KeyNotForMarket,
    /// More than the API key may spend in a day. Money in mills.
    #[error("this API key may spend {limit} credits a day: {required} are needed and {available} are left")]
    KeySpendingLimit {
        /// What it may spend in a day.
        limit: Credits,
        /// What is needed: to be paid, and to be reserved.
        required: Credits,
        /// What is left.
        available: Credits,
    },
    /// The API key has as many open orders as it may.
    #[error("this API key may have {limit} open orders; cancel some first")]
    KeyOpenOrders {
        /// How many it may have.
        limit: u32,
    },
    /// Too many API keys.
    #[error("at most {limit} API keys are allowed; delete some first")]
    TooManyKeys {
        /// How many there may be.
        limit: usize,
    },
    /// Too many bots.
    #[error("at most {limit} bots are allowed; delete some first")]
    TooManyBots {
        /// How many there may be.
        limit: usize,
    },
    /// Too many live streams.
    #[error("at most {limit} streams are allowed at a time; end some first, or follow more in one")]
    TooManyStreams {
        /// How many there may be.
        limit: usize,
    },
    /// A ticket that is none, has expired or was used.
    #[error("the ticket is not valid: it is good once, for 30 seconds, while its session lasts; ask for another")]
    BadTicket,
    /// A bot never leads or administers anything.
    #[error("a bot acts as a user does: it can have no other role")]
    BotHasNoRole,
    /// A bot has neither an address nor a password.
    #[error("a bot cannot sign in, so it has neither an address nor a password; make an API key for it")]
    BotCannotSignIn,
    /// The password may not be set, for all of these reasons.
    #[error("the password cannot be used: it {}", list(.0))]
    UnfitPassword(Vec<PasswordFault>),
    /// The token is unknown, used, expired, or not for this: always the same words.
    #[error("the token is not valid, has expired or was used before; ask for another mail")]
    BadMailToken,
    /// There is nothing to verify.
    #[error("the e-mail address is verified already")]
    EmailAlreadyVerified,
    /// No mail can be sent to the address.
    #[error("the e-mail address {0}")]
    UnreachableEmail(TextError),
    /// The address belongs to another user.
    #[error("this e-mail address is already registered")]
    EmailTaken,
    /// The last active administrator cannot be deleted, demoted or suspended.
    #[error("the last administrator cannot be removed; make another one first")]
    LastAdmin,
    /// The stated version is not the current one.
    #[error("this was changed in the meantime: load it again (the version is now {current})")]
    StaleVersion {
        /// The version now.
        current: i64,
    },
    /// Not enough money.
    #[error("{required} credits are needed and {available} are available")]
    InsufficientFunds {
        /// What is needed.
        required: Credits,
        /// What is available.
        available: Credits,
    },
    /// Not enough shares.
    #[error("{required} shares of {outcome:?} are needed and {available} are available")]
    InsufficientShares {
        /// Of which outcome.
        outcome: String,
        /// What is needed.
        required: Shares,
        /// What is available.
        available: Shares,
    },
    /// No such group of orders, or not for this caller to know.
    #[error("there is no such order group")]
    OrderGroupNotFound,
    /// The group is for another market.
    #[error("the order group is for another market: {market}")]
    OrderGroupOfOtherMarket {
        /// For which.
        market: MarketId,
    },
    /// The group's cap was reached.
    #[error("the order group has been filled up to its cap of {cap} shares; reset it first")]
    OrderGroupFull {
        /// The cap.
        cap: Shares,
    },
    /// Too many groups of orders.
    #[error("at most {limit} order groups are allowed; delete some first")]
    TooManyOrderGroups {
        /// How many there may be.
        limit: usize,
    },
    /// To oneself.
    #[error("a transfer must go to somebody else")]
    TransferToSelf,
    /// The amount must be positive.
    #[error("the amount must be above zero")]
    AmountNotPositive,
    /// A number left the range of 64 bits.
    #[error("the numbers are too large: a product or sum of them leaves the range")]
    OutOfRange,
    /// The market is not trading.
    #[error("the market is {status}, so it takes no orders", status = .0.as_str())]
    MarketNotOpen(MarketStatus),
    /// The market's life does not allow this step.
    #[error("the market is {from} and cannot become {to}", from = .status.as_str(), to = .wanted.as_str())]
    WrongMarketStatus {
        /// What it is.
        status: MarketStatus,
        /// What was wanted.
        wanted: MarketStatus,
    },
    /// The market has traded and can no longer be deleted.
    #[error("the market has trades and can no longer be deleted; void it instead")]
    MarketHasTraded,
    /// Somebody has shares of the market, so it cannot be deleted.
    #[error("somebody has shares of the market, so it cannot be deleted; void it instead")]
    MarketHasShares,
    /// The market was decided, so it can no longer be deleted.
    #[error("the market is {status}, so it can no longer be deleted", status = .0.as_str())]
    MarketDecided(MarketStatus),
    /// Trading in the market has ended, so there is no closing time to change.
    #[error("the market is {status}, so its closing time can no longer be changed", status = .0.as_str())]
    ClosingTimeFixed(MarketStatus),
    /// What is wanted can be changed only before the first trade.
    #[error("{0} can be changed only before the first trade")]
    FixedAfterTrading(&'static str),
    /// A proposal stands and its challenge window is still running.
    #[error("the proposal can be challenged until {0}; it is decided then")]
    ChallengeWindowRuns(jiff::Timestamp),
    /// Nobody can challenge after the window.
    #[error("the challenge window ended at {0}")]
    ChallengeWindowOver(jiff::Timestamp),
    /// The closing time must lie ahead.
    #[error("the closing time must be in the future")]
    ClosesInThePast,
    /// The weights of a resolution must be one for each outcome and add up to 1.
    #[error("the weights must be one for each outcome and add up to exactly 1")]
    WeightsDoNotAddUp,
    /// The market maker's endowment cannot be used so.
    #[error("the liquidity cannot be used: {0}")]
    BadLiquidity(&'static str),
    /// A post-only order would have filled on arrival.
    #[error("the order is post-only and would fill at once")]
    PostOnlyWouldTake,
    /// A fill-or-kill order could not fill entirely.
    #[error("the order is fill-or-kill and only {fillable} shares could fill")]
    FillOrKill {
        /// How many could.
        fillable: Shares,
    },
    /// A market order bounded by its spend found nothing to buy.
    #[error("nothing is offered that the order could fill against")]
    NothingToFill,
    /// The order came later than its sender wanted it to be executed.
    #[error("the order was valid until {until} and came later; nothing was done")]
    OrderTooLate {
        /// Until when it was valid.
        until: jiff::Timestamp,
    },
    /// A reduce-only order that names cash to pay with.
    #[error("a reduce-only order gives shares; it cannot pay cash")]
    ReduceOnlyPaysCash,
    /// A reduce-only order where no shares are free.
    #[error("there are no free shares that the order could reduce")]
    NothingToReduce,
    /// The order's date has passed.
    #[error("the expiry must be in the future")]
    ExpiryInThePast,
    /// A maximum spend on an order that gives shares.
    #[error("a maximum spend is for orders that pay cash")]
    SpendWithoutCash,
    /// The order is no longer open.
    #[error("the order is {status}, so it cannot be changed", status = .0.as_str())]
    OrderNotOpen(OrderStatus),
    /// An amendment to no more than what was filled.
    #[error("{filled} shares are filled already; the new quantity must be larger")]
    QuantityBelowFilled {
        /// What was filled.
        filled: Shares,
    },
    /// An amendment that changes nothing, or a date on an order that has none.
    #[error("{0}")]
    BadAmendment(&'static str),
    /// Too many open orders in this market.
    #[error("at most {limit} open orders a market are allowed; cancel some first")]
    TooManyOpenOrders {
        /// The limit.
        limit: u32,
    },
    /// The order would need more fills than one command may make.
    #[error("the order would need more than {limit} fills; make it smaller")]
    TooManyFills {
        /// The limit.
        limit: u32,
    },
    /// The caller used this id for another order.
    #[error("an order with this clientOrderId exists already: {order}")]
    DuplicateClientOrderId {
        /// That order.
        order: crate::ids::OrderId,
    },
    /// The idempotency key was used with another request.
    #[error("this Idempotency-Key was used with a different request")]
    IdempotencyMismatch,
}

fn out_of_scope(scope: &Option<Scope>) -> String {
    match scope {
        Some(scope) => format!("this needs an API key with the scope {}", scope.as_str()),
        None => "no API key may do this; sign in".to_owned(),
    }
}

fn list(faults: &[PasswordFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; it ")
}

impl From<Overflow> for Refusal {
    fn from(_: Overflow) -> Self {
        Self::OutOfRange
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::InsufficientFunds { required, available, .. } => {
                Self::InsufficientFunds { required, available }
            }
            LedgerError::NotPositive => Self::AmountNotPositive,
            LedgerError::SameAccount => Self::TransferToSelf,
            LedgerError::ReleaseBeyondHeld { .. } | LedgerError::Overflow(_) => Self::OutOfRange,
        }
    }
}
