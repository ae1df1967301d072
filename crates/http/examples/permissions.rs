//! Prints the permissions and the routes that need them, as Markdown: what `cargo xtask permissions` shows.

use std::io::Write as _;

use bellwether_domain::permissions::{Permission, Reach};
use bellwether_domain::user::Role;
use bellwether_http::{Access, ROUTES};

const INTRODUCTION: &str = "\
# Permissions

Printed by `cargo xtask permissions --write`, from the tables in `crates/domain/src/permissions.rs` and
`crates/http/src/routes.rs`. `own` means only what is one's own, `any` everybody's, `-` not at all.

Who is not signed in is answered 401. Who has no such permission at all is answered 403, and so is who may do it only with
one's own, where the thing may be known to others. What only its owner may know is answered 404, like what does not exist.
";

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{INTRODUCTION}")?;
    writeln!(out, "## What each role may do\n")?;
    writeln!(out, "| resource | action | user | moderator | admin |")?;
    writeln!(out, "| --- | --- | --- | --- | --- |")?;
    for permission in Permission::ALL {
        let row = permission.row();
        let [user, moderator, admin] = row.reach.map(Reach::as_str);
        writeln!(out, "| {} | {} | {user} | {moderator} | {admin} |", row.resource, row.action)?;
    }
    writeln!(out, "\n## What each route needs\n")?;
    writeln!(out, "| route | needs | not signed in | user | moderator | admin |")?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
    for route in ROUTES {
        let (needs, anybody, reach) = match route.access {
            Access::Public => ("nothing".to_owned(), "any", Role::ALL.map(|_| Reach::Any)),
            Access::Needs(permission) => {
                let row = permission.row();
                let needs = format!("{}: {}", row.resource, row.action);
                (needs, "-", Role::ALL.map(|role| permission.reach(role)))
            }
        };
        let [user, moderator, admin] = reach.map(Reach::as_str);
        writeln!(out, "| `{} {}` | {needs} | {anybody} | {user} | {moderator} | {admin} |", route.method, route.path)?;
    }
    Ok(())
}
