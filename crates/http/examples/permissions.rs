//! Prints the permissions and the routes that need them, as Markdown: what `cargo xtask permissions` shows.

use std::io::Write as _;

use bellwether_domain::api_key::Scope;
use bellwether_domain::permissions::{Permission, Reach};
use bellwether_domain::user::Role;
use bellwether_http::{Access, ROUTES};

const INTRODUCTION: &str = "\
# Permissions

Printed by `cargo xtask permissions --write`, from the tables in `crates/domain/src/permissions.rs` and
`crates/http/src/routes.rs`. `own` means only what is one's own, `any` everybody's, `-` not at all.

Who is not signed in is answered 401. Who has no such permission at all is answered 403, and so is who may do it only with
one's own, where the thing may be known to others. What only its owner may know is answered 404, like what does not exist.

An API key ([api-keys.md](api-keys.md)) never does more than its user may, and needs the scope besides. Without the scope `admin` it does
no more than a key of a plain user, whatever the role.

Who has the refresh token of a session may end it, and needs nothing else: nobody need be signed in, and an API key needs no scope. The row
of a route that takes such a token is for requests without one.
";

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{INTRODUCTION}")?;
    writeln!(out, "## What each role may do\n")?;
    writeln!(out, "| resource | action | user | moderator | admin | API key |")?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
    for permission in Permission::ALL {
        let row = permission.row();
        let [user, moderator, admin] = row.reach.map(Reach::as_str);
        let scope = row.scope.map_or("-", Scope::as_str);
        writeln!(out, "| {} | {} | {user} | {moderator} | {admin} | {scope} |", row.resource, row.action)?;
    }
    writeln!(out, "\n## What each route needs\n")?;
    writeln!(out, "| route | needs | not signed in | user | moderator | admin | API key |")?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for route in ROUTES {
        let (needs, anybody, reach, scope) = match route.access {
            Access::Public => ("nothing".to_owned(), "any", Role::ALL.map(|_| Reach::Any), "any"),
            Access::Needs(permission) | Access::NeedsSession(permission) | Access::NeedsOrToken(permission) => {
                let row = permission.row();
                let besides = match route.access {
                    Access::NeedsSession(_) => ", in a session",
                    Access::NeedsOrToken(_) => ", or a refresh token in the body",
                    Access::Public | Access::Needs(_) => "",
                };
                let needs = format!("{}: {}{besides}", row.resource, row.action);
                let takes_keys = !matches!(route.access, Access::NeedsSession(_));
                let scope = row.scope.filter(|_| takes_keys).map_or("-", Scope::as_str);
                (needs, "-", Role::ALL.map(|role| permission.reach(role)), scope)
            }
        };
        let [user, moderator, admin] = reach.map(Reach::as_str);
        let route = format!("`{} {}`", route.method, route.path);
        writeln!(out, "| {route} | {needs} | {anybody} | {user} | {moderator} | {admin} | {scope} |")?;
    }
    Ok(())
}
