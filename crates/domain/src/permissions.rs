//! Who may do what: one table. Use cases name the permission that they need, never a role.

use crate::refusal::Refusal;
use crate::user::Role;

/// Something that not everybody may do. What everybody may do needs no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See a user's address, orders, positions, account and transfers.
    ReadUser,
    /// Change a user.
    WriteUser,
    /// Deactivate a user.
    DeleteUser,
    /// Change a user's role or status.
    ManageUsers,
    /// List users.
    ListUsers,
    /// Read the audit log.
    ReadAuditLog,
    /// Give credits from the treasury.
    GrantCredits,
    /// Edit a market's texts and times.
    WriteMarket,
    /// Delete a market that has not traded.
    DeleteMarket,
    /// Stop a market's trading and let it go on.
    HaltMarket,
    /// End a market's trading early, and name its outcome.
    CloseMarket,
    /// Decide a market while a challenge window is in force, and decide disputes.
    DecideMarket,
    /// Call a market off after its first trade.
    VoidMarket,
    /// See every holder of a market.
    ReadHolders,
}

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

impl Permission {
    /// All permissions, in the order of the table.
    pub const ALL: [Self; 14] = [
        Self::ReadUser,
        Self::WriteUser,
        Self::DeleteUser,
        Self::ManageUsers,
        Self::ListUsers,
        Self::ReadAuditLog,
        Self::GrantCredits,
        Self::WriteMarket,
        Self::DeleteMarket,
        Self::HaltMarket,
        Self::CloseMarket,
        Self::DecideMarket,
        Self::VoidMarket,
        Self::ReadHolders,
    ];

    /// What the permission is called in a refusal.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::ReadUser => "see this user's private data",
            Self::WriteUser => "change this user",
            Self::DeleteUser => "delete this user",
            Self::ManageUsers => "change roles or suspend users",
            Self::ListUsers => "list users",
            Self::ReadAuditLog => "read the audit log",
            Self::GrantCredits => "grant credits",
            Self::WriteMarket => "change this market",
            Self::DeleteMarket => "delete this market",
            Self::HaltMarket => "halt or reopen markets",
            Self::CloseMarket => "close this market or name its outcome",
            Self::DecideMarket => "decide this market",
            Self::VoidMarket => "void this market",
            Self::ReadHolders => "see all holders of a market",
        }
    }

    /// The table: how far `role` may.
    #[must_use]
    pub const fn reach(self, role: Role) -> Reach {
        use Reach::{Any, Nothing, Own};
        let [user, moderator, admin] = match self {
            Self::ReadUser | Self::WriteUser | Self::DeleteUser => [Own, Own, Any],
            Self::ManageUsers | Self::ListUsers | Self::ReadAuditLog | Self::GrantCredits => [Nothing, Nothing, Any],
            Self::WriteMarket | Self::DeleteMarket | Self::CloseMarket => [Own, Any, Any],
            Self::HaltMarket | Self::DecideMarket | Self::VoidMarket | Self::ReadHolders => [Nothing, Any, Any],
        };
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
        if self.allows(role, is_own) { Ok(()) } else { Err(Refusal::Forbidden(self.describe())) }
    }
}
