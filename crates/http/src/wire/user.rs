//! Users.

use bellwether_domain::ids::UserId;
use bellwether_domain::money::Credits;
use bellwether_domain::ports::UserStatistics;
use bellwether_domain::user::User;
use bellwether_usecases::Rendered;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decimal::Shown;

/// The fields of a user, for `fields=`.
pub(crate) const FIELDS: &[&str] = &[
    "id",
    "email",
    "displayName",
    "role",
    "status",
    "emailVerified",
    "bot",
    "ownerId",
    "createdAt",
    "updatedAt",
    "version",
];

/// A user. The address is shown to itself and to administrators alone.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserWire<'a> {
    id: Shown<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<Option<&'a str>>,
    display_name: &'a str,
    role: &'static str,
    status: &'static str,
    email_verified: bool,
    bot: bool,
    owner_id: Option<Shown<UserId>>,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: i64,
}

impl<'a> UserWire<'a> {
    /// As the user itself and administrators see it.
    pub(crate) fn private(user: &'a User) -> Self {
        Self { email: Some(user.email.as_ref().map(|email| email.as_str())), ..Self::public(user) }
    }

    /// As others see it.
    pub(crate) fn public(user: &'a User) -> Self {
        Self {
            id: Shown(user.id),
            email: None,
            display_name: user.display_name.as_str(),
            role: user.role.as_str(),
            status: user.status.as_str(),
            email_verified: user.email_verified,
            bot: user.owner.is_some(),
            owner_id: user.owner.map(Shown),
            created_at: user.created_at,
            updated_at: user.updated_at,
            version: user.version,
        }
    }
}

/// The fields of a user in version 2 of the API.
pub(crate) fn fields_2() -> Vec<&'static str> {
    [FIELDS, &["statistics"]].concat()
}

/// A user in version 2 of the API: with how it has traded.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserWire2<'a> {
    #[serde(flatten)]
    user: UserWire<'a>,
    statistics: StatisticsWire,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct StatisticsWire {
    trades: u64,
    volume: Shown<Credits>,
    profit: Shown<Credits>,
    open_positions: u64,
    brier_score: Option<f64>,
}

impl<'a> UserWire2<'a> {
    pub(crate) fn of(user: UserWire<'a>, statistics: &UserStatistics) -> Self {
        let UserStatistics { trades, volume, profit, open_positions, brier_score } = *statistics;
        // No more digits than mean anything, and the same from every store.
        let brier_score = brier_score.map(|score| (score * 1e6).round() / 1e6);
        let (volume, profit) = (Shown(volume), Shown(profit));
        Self { user, statistics: StatisticsWire { trades, volume, profit, open_positions, brier_score } }
    }
}

/// A user within something else.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserBrief<'a> {
    id: Shown<UserId>,
    display_name: &'a str,
}

impl<'a> UserBrief<'a> {
    pub(crate) fn of(user: &'a User) -> Self {
        Self { id: Shown(user.id), display_name: user.display_name.as_str() }
    }
}

/// The answer to a sign-up.
pub(crate) fn render_new_user(user: &User) -> Rendered {
    super::created(&UserWire::private(user), format!("/api/v1/users/{}", user.id))
}
