//! Sign-up, sign-in, and what users and administrators change about users.

use bellwether_domain::ids::UserId;
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::User;

use crate::{Answered, Caller, Context, Error, Keyed};

/// A request to join.
#[derive(Debug, Clone)]
pub struct SignUp {
    /// The address to sign in with.
    pub email: Email,
    /// The name that others see.
    pub display_name: DisplayName,
    /// The password: 8 characters to 72 bytes, no NUL; checked by the caller.
    pub password: Password,
}

/// A password in clear. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A successful sign-in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The bearer token.
    pub access_token: String,
    /// For how many seconds it is valid.
    pub expires_in_s: i64,
    /// Who signed in.
    pub user: User,
}

/// A change of a user; what is not named stays.
#[derive(Debug, Clone, Default)]
pub struct UserPatch {
    /// A new name.
    pub display_name: Option<DisplayName>,
    /// A new address; it is unverified again.
    pub email: Option<Email>,
    /// A new password.
    pub new_password: Option<Password>,
    /// The current password: needed from users who change their own address or password.
    pub current_password: Option<Password>,
}

/// Signs a user up: user, account and grant in one unit of work. Refused with
/// [`EmailTaken`](bellwether_domain::refusal::Refusal::EmailTaken).
pub async fn sign_up(ctx: &Context, request: SignUp, keyed: Option<Keyed<User>>) -> Result<Answered<User>, Error> {
    todo!("{ctx:p} {request:?} {keyed:?}")
}

/// Makes an administrator, or makes one of the user with that address. For the command line.
pub async fn create_admin(ctx: &Context, request: SignUp) -> Result<User, Error> {
    todo!("{ctx:p} {request:?}")
}

/// Checks a password and signs an access token. An unknown address takes as long as a wrong
/// password and gets the same refusal, as does a user that may not act.
pub async fn log_in(ctx: &Context, email: &str, password: &Password) -> Result<SignedIn, Error> {
    todo!("{ctx:p} {email:?} {password:?}")
}

/// Who a token speaks for, as of now: none where it is invalid or the user may no longer act.
pub async fn authenticate(ctx: &Context, token: &str) -> Result<Option<Caller>, Error> {
    todo!("{ctx:p} {token:?}")
}

/// A user as anybody may see it. (What of it is shown is for the caller to decide.)
pub async fn get_user(ctx: &Context, id: UserId) -> Result<User, Error> {
    todo!("{ctx:p} {id:?}")
}

/// Changes a user: oneself, or anybody for an administrator. `version` must be the current one
/// where it is given.
pub async fn update_user(ctx: &Context, caller: Caller, id: UserId, patch: UserPatch, version: Option<i64>) -> Result<User, Error> {
    todo!("{ctx:p} {caller:?} {id:?} {patch:?} {version:?}")
}

/// Deactivates and anonymises a user, then cancels its open orders. The last administrator stays.
pub async fn deactivate_user(ctx: &Context, caller: Caller, id: UserId, version: Option<i64>) -> Result<(), Error> {
    todo!("{ctx:p} {caller:?} {id:?} {version:?}")
}
