//! Who may do what: one table. Handlers and use cases name the permission that they need, never a role.

use crate::api_key::Scope;
use crate::refusal::Refusal;
use crate::user::Role;

/// How far a role's permission reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Not at all.
    Nothing,
    /// One's own.
    Own,
    /// Anybody's.
    Any,
}

impl Reach {
    /// The reach as it is shown: `-`, `own` or `any`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "-",
            Self::Own => "own",
            Self::Any => "any",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What it is done to.
    pub resource: &'static str,
    /// What is done.
    pub action: &'static str,
    /// How far a user, a moderator and an administrator may, in this order.
    pub reach: [Reach; 3],
    /// The scope that an API key needs to do it for its user; none where no key may.
    pub scope: Option<Scope>,
    /// What the permission is called in a refusal.
    pub description: &'static str,
}

macro_rules! table {
    ($($permission:ident: $resource:literal $action:literal [$user:ident $moderator:ident $admin:ident] $scope:ident $description:literal)+) => {
        /// Something that not everybody may do. What people may do who are not signed in needs no permission.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Permission {
            $(#[doc = concat!("To ", $description, ".")] $permission,)+
        }

        impl Permission {
            /// All permissions, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$permission,)+];

            /// Its row of the table.
            #[must_use]
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$permission => Row {
                        resource: $resource,
                        action: $action,
                        reach: [Reach::$user, Reach::$moderator, Reach::$admin],
                        scope: scope!($scope),
                        description: $description,
                    },)+
                }
            }
        }
    };
}

macro_rules! scope {
    (NoKey) => {
        None
    };
    ($scope:ident) => {
        Some(Scope::$scope)
    };
}

table! {
    // permission       resource   action           user    moderator admin    scope    what it is, in a refusal
    ReadProfile:      "user"     "read"           [Any     Any     Any    ] Read     "see users"
    ReadUser:         "user"     "read private"   [Own     Own     Any    ] Read     "see this user's private data"
    WriteUser:        "user"     "write"          [Own     Own     Any    ] NoKey    "change this user"
    DeleteUser:       "user"     "delete"         [Own     Own     Any    ] NoKey    "delete this user"
    VerifyEmail:      "user"     "verify"         [Own     Own     Own    ] NoKey    "verify this user's address"
    AddUsers:         "user"     "add"            [Nothing Nothing Any    ] Admin    "sign others up without limits"
    ListUsers:        "user"     "list"           [Nothing Nothing Any    ] Admin    "list users"
    ManageUsers:      "user"     "manage"         [Nothing Nothing Any    ] NoKey    "change roles or suspend users"
    ReadAuditLog:     "audit"    "read"           [Nothing Nothing Any    ] Admin    "read the audit log"
    ReadEvents:       "event"    "read"           [Nothing Nothing Any    ] Admin    "read everybody's events"

    ReadJobs:         "job"      "read"           [Nothing Nothing Any    ] Admin    "see jobs"
    ManageJobs:       "job"      "manage"         [Nothing Nothing Any    ] Admin    "start, retry or cancel jobs"

    ReadSessions:     "session"  "read"           [Own     Own     Any    ] NoKey    "see this user's sessions"
    EndSessions:      "session"  "end"            [Own     Own     Any    ] NoKey    "end this user's sessions"

    ReadKeys:         "key"      "read"           [Own     Own     Own    ] NoKey    "see these API keys"
    MakeKey:          "key"      "make"           [Own     Own     Own    ] NoKey    "make API keys"
    RevokeKey:        "key"      "revoke"         [Own     Own     Any    ] NoKey    "revoke this API key"
    ReadBots:         "bot"      "read"           [Own     Own     Any    ] Read     "see this user's bots"
    MakeBot:          "bot"      "make"           [Own     Own     Own    ] NoKey    "make bots"

    ReadAccount:      "account"  "read"           [Own     Own     Any    ] Read     "see this account"
    ReadTransfer:     "transfer" "read"           [Own     Own     Any    ] Read     "see this transfer"
    Pay:              "transfer" "make"           [Own     Own     Own    ] Transfer "pay from this account"
    GrantCredits:     "grant"    "make"           [Nothing Nothing Any    ] Admin    "grant credits"

    ReadWebhooks:     "webhook"  "read"           [Own     Own     Own    ] Read     "see webhooks"
    ManageWebhooks:   "webhook"  "manage"         [Own     Own     Own    ] NoKey    "make, change or test webhooks, or see their secrets"

    OpenMarket:       "market"   "open"           [Own     Own     Own    ] Admin    "open markets"
    WriteMarket:      "market"   "write"          [Own     Any     Any    ] Admin    "change this market"
    DeleteMarket:     "market"   "delete"         [Own     Any     Any    ] Admin    "delete this market"
    HaltMarket:       "market"   "halt"           [Nothing Any     Any    ] Admin    "halt or reopen markets"
    CloseMarket:      "market"   "close"          [Own     Any     Any    ] Admin    "close this market"
    ProposeOutcome:   "market"   "propose"        [Own     Any     Any    ] Admin    "name this market's outcome"
    DisputeOutcome:   "market"   "dispute"        [Any     Any     Any    ] Admin    "dispute this market's outcome"
    ResolveMarket:    "market"   "resolve"        [Own     Any     Any    ] Admin    "resolve this market"
    DecideMarket:     "market"   "decide"         [Nothing Any     Any    ] Admin    "decide a market whose outcome can be challenged"
    VoidMarket:       "market"   "void"           [Own     Any     Any    ] Admin    "void this market"
    VoidTradedMarket: "market"   "void traded"    [Nothing Any     Any    ] Admin    "void a market that has traded"
    ReadHolders:      "market"   "read holders"   [Nothing Any     Any    ] Admin    "see all holders of a market"

    ReadOrders:       "order"    "read"           [Own     Own     Any    ] Read     "see this user's orders"
    QuoteOrder:       "order"    "quote"          [Own     Own     Own    ] Read     "try orders out"
    PlaceOrder:       "order"    "place"          [Own     Own     Own    ] Trade    "place orders"
    ChangeOrder:      "order"    "change"         [Own     Own     Own    ] Trade    "change or cancel this order"
    ReadPositions:    "position" "read"           [Own     Own     Any    ] Read     "see this user's positions"
    ReadTrades:       "trade"    "read"           [Own     Own     Own    ] Read     "see one's own trades"
}

impl Permission {
    /// How far `role` may.
    #[must_use]
    pub const fn reach(self, role: Role) -> Reach {
        let [user, moderator, admin] = self.row().reach;
        match role {
            Role::User => user,
            Role::Moderator => moderator,
            Role::Admin => admin,
        }
    }

    /// Whether `role` may, given whether the thing is its own.
    #[must_use]
    pub const fn allows(self, role: Role, is_own: bool) -> bool {
        match self.reach(role) {
            Reach::Nothing => false,
            Reach::Own => is_own,
            Reach::Any => true,
        }
    }

    /// Refuses where [`allows`](Self::allows) says no.
    pub const fn require(self, role: Role, is_own: bool) -> Result<(), Refusal> {
        if self.allows(role, is_own) { Ok(()) } else { Err(Refusal::Forbidden(self.row().description)) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn rank(reach: Reach) -> u8 {
        match reach {
            Reach::Nothing => 0,
            Reach::Own => 1,
            Reach::Any => 2,
        }
    }

    #[test]
    fn each_permission_has_a_row_of_its_own_and_a_higher_role_may_no_less() {
        let rows: HashSet<_> = Permission::ALL.iter().map(|p| (p.row().resource, p.row().action)).collect();
        assert_eq!(rows.len(), Permission::ALL.len());
        for permission in Permission::ALL {
            let [user, moderator, admin] = permission.row().reach.map(rank);
            assert!(user <= moderator && moderator <= admin, "{permission:?}");
        }
    }

    #[test]
    fn what_is_anothers_needs_any_and_what_is_ones_own_needs_own() {
        for (permission, role, of_another, of_its_own) in [
            (Permission::ReadUser, Role::User, false, true),
            (Permission::ReadUser, Role::Moderator, false, true),
            (Permission::ReadUser, Role::Admin, true, true),
            (Permission::HaltMarket, Role::User, false, false),
            (Permission::HaltMarket, Role::Moderator, true, true),
            (Permission::GrantCredits, Role::Moderator, false, false),
            (Permission::Pay, Role::Admin, false, true),
        ] {
            assert_eq!(permission.allows(role, false), of_another, "{permission:?} {role:?}");
            assert_eq!(permission.allows(role, true), of_its_own, "{permission:?} {role:?}");
            assert_eq!(permission.require(role, false).is_ok(), of_another);
        }
    }
}
