//! `cargo xtask arch`: the hexagon, held against what Cargo says.
//!
//! Dependencies between the workspace's crates must be in [`TABLE`], and nothing that
//! `bellwether-domain` depends on, however far away, may do I/O. The compiler cannot see either:
//! a wrong edge compiles as well as a right one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;

use crate::interrupts::Interrupts;
use crate::{cargo, process};

/// The crates of the workspace that one crate may depend on.
#[derive(Clone, Copy, Debug)]
struct Row {
    package: &'static str,
    normal: &'static [&'static str],
    dev: &'static [&'static str],
    build: &'static [&'static str],
}

/// Every dependency that may exist between crates of this workspace; there are no others.
///
/// They point inwards: adapters to the domain and never to each other, everything but the suite
/// of conformance tests to `bellwether`, nothing from it. Dev-dependencies are listed separately,
/// because a test that reaches around a port hides the same mistake.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { package: "bellwether-domain",      normal: &[],                    dev: &[],                         build: &[] },
    Row { package: "bellwether-usecases",    normal: &["bellwether-domain"], dev: &["bellwether-domain"],      build: &[] },
    Row { package: "bellwether-conformance", normal: &["bellwether-domain", "bellwether-usecases"],
                                                                             dev: &[],                         build: &[] },
    Row { package: "bellwether-sqlite",      normal: &["bellwether-domain"], dev: &["bellwether-conformance"], build: &[] },
    Row { package: "bellwether-postgres",    normal: &["bellwether-domain"], dev: &["bellwether-conformance"], build: &[] },
    Row { package: "bellwether-security",    normal: &["bellwether-domain"], dev: &[],                         build: &[] },
    Row { package: "bellwether-local",       normal: &["bellwether-domain"], dev: &["bellwether-conformance"], build: &[] },
    Row { package: "bellwether-redis",       normal: &["bellwether-domain"], dev: &["bellwether-conformance"], build: &[] },
    Row { package: "bellwether-notify",      normal: &["bellwether-domain"], dev: &[],                         build: &[] },
    Row { package: "bellwether-outgoing",    normal: &["bellwether-domain"], dev: &[],                         build: &[] },
    Row { package: "bellwether-http",        normal: &["bellwether-domain", "bellwether-usecases"],
                                                                             dev: &["bellwether-domain"],      build: &[] },
    Row { package: "bellwether",             normal: &["bellwether-domain", "bellwether-http", "bellwether-local", "bellwether-notify",
                                                       "bellwether-outgoing", "bellwether-postgres", "bellwether-redis", "bellwether-security",
                                                       "bellwether-sqlite", "bellwether-usecases"],
                                                                             dev: &["bellwether-domain"],      build: &[] },
    // Of the API they may know which routes there are: each of them must be tested for each role.
    Row { package: "bellwether-tests",       normal: &["bellwether-domain"], dev: &["bellwether-domain", "bellwether-http"],
                                                                                                               build: &[] },
    Row { package: "xtask",                  normal: &["bellwether-domain"], dev: &["bellwether-domain"],      build: &[] },
];

/// The crate whose whole dependency tree must be free of I/O.
const CORE: &str = "bellwether-domain";

/// Crates that reach the network, files, a database or the process; a `*` stands for any ending.
#[rustfmt::skip]
const IO_CRATES: &[&str] = &[
    "actix", "actix-*", "async-graphql*", "async-io", "async-net", "async-std", "axum*", "bb8*", "curl*", "deadpool*", "diesel*",
    "fred", "h2", "hyper*", "isahc", "lettre", "libsqlite3-sys", "memmap2", "mio", "mysql*", "native-tls", "notify", "openssl*",
    "polling", "postgres*", "pq-sys", "quinn*", "r2d2*", "redis*", "reqwest*", "rocksdb", "rusqlite", "rustls*", "sled", "smol",
    "socket2", "sqlx*", "surf", "tantivy*", "tempfile", "tokio", "tokio-*", "tonic*", "tungstenite", "ureq*", "warp",
];

/// The part of `cargo metadata` that is read here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: PathBuf,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Declared>,
}

/// A dependency as a manifest declares it; optional ones too.
#[derive(Debug, Deserialize)]
struct Declared {
    name: String,
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

/// Checks the workspace; the exit code tells whether it is as it should be.
pub(crate) async fn run(interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    // Without the filter Cargo would download what only other systems need.
    let mut command = cargo::cargo();
    command.args(["metadata", "--format-version", "1", "--filter-platform"]);
    command.arg(cargo::host(interrupts).await?);
    let json = process::read(command, interrupts).await?;
    let metadata: Metadata = serde_json::from_slice(&json).context("cannot read the answer of `cargo metadata`")?;

    let mut breaches = edge_breaches(&metadata, TABLE);
    breaches.extend(io_breaches(&metadata));
    if breaches.is_empty() {
        eprintln!("arch: {} crates, every dependency is in the table", TABLE.len());
        return Ok(ExitCode::SUCCESS);
    }
    for breach in &breaches {
        eprintln!("arch: {breach}\n");
    }
    eprintln!("arch: {} breach(es) of the architecture; see ARCHITECTURE.md", breaches.len());
    Ok(ExitCode::FAILURE)
}

/// Dependencies between members of the workspace that `table` does not have, and crates that only
/// one of the two knows.
fn edge_breaches(metadata: &Metadata, table: &[Row]) -> Vec<String> {
    let members: BTreeMap<&str, &Package> = metadata
        .packages
        .iter()
        .filter(|package| metadata.workspace_members.contains(&package.id))
        .map(|package| (package.name.as_str(), package))
        .collect();
    let mut breaches = Vec::new();
    for (name, package) in &members {
        let file =
            package.manifest_path.strip_prefix(&metadata.workspace_root).unwrap_or(&package.manifest_path).display();
        let Some(row) = table.iter().find(|row| row.package == *name) else {
            breaches.push(format!(
                "{file}: the table does not know `{name}`. Add a row for it to TABLE in \
                 xtask/src/arch.rs, with the crates that it may depend on."
            ));
            continue;
        };
        for dependency in &package.dependencies {
            if !members.contains_key(dependency.name.as_str()) {
                continue;
            }
            let (section, allowed) = match dependency.kind.as_deref() {
                Some("dev") => ("dev-dependencies", row.dev),
                Some("build") => ("build-dependencies", row.build),
                _ => ("dependencies", row.normal),
            };
            if !allowed.contains(&dependency.name.as_str()) {
                breaches.push(edge_breach(&file.to_string(), section, row, &dependency.name, allowed));
            }
        }
    }
    for row in table {
        if !members.contains_key(row.package) {
            breaches.push(format!(
                "xtask/src/arch.rs: TABLE has a row for `{}`, which is no crate of the workspace. \
                 Remove the row.",
                row.package
            ));
        }
    }
    breaches
}

fn edge_breach(file: &str, section: &str, row: &Row, to: &str, allowed: &[&str]) -> String {
    let from = row.package;
    let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
    format!(
        "{file}: {from} -> {to} in [{section}] (allowed there: {allowed}).\n    \
         Remove the dependency: what {from} needs of {to} belongs behind a port of {CORE}, wired in \
         `bellwether`.\n    \
         If the architecture itself is to change, change the row of {from} in xtask/src/arch.rs and \
         say why in the commit."
    )
}

/// The I/O crates in the normal dependency tree of [`CORE`], each with the path that leads to it.
fn io_breaches(metadata: &Metadata) -> Vec<String> {
    let names: HashMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let nodes: HashMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let Some(core) = metadata
        .packages
        .iter()
        .find(|package| package.name == CORE && metadata.workspace_members.contains(&package.id))
    else {
        return vec![format!("the workspace has no crate `{CORE}`, whose tree was to be checked")];
    };

    // Breadth first, so that the path shown is the shortest one.
    let mut paths: HashMap<&str, Vec<&str>> = HashMap::from([(core.id.as_str(), vec![CORE])]);
    let mut queue = VecDeque::from([core.id.as_str()]);
    let mut breaches = Vec::new();
    while let Some(id) = queue.pop_front() {
        let Some(node) = nodes.get(id) else { continue };
        let path = paths.get(id).cloned().unwrap_or_default();
        for edge in &node.deps {
            let normal = edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
            if !normal || paths.contains_key(edge.pkg.as_str()) {
                continue;
            }
            let name = names.get(edge.pkg.as_str()).copied().unwrap_or(edge.pkg.as_str());
            let mut longer = path.clone();
            longer.push(name);
            if does_io(name) {
                let chain = longer.join(" -> ");
                let first = longer.get(1).copied().unwrap_or(name);
                breaches.push(format!(
                    "crates/domain/Cargo.toml: {chain}, and `{name}` does I/O.\n    \
                     The domain decides and never acts: remove `{first}`, or the feature of it that \
                     brings `{name}`, and let an adapter do this behind a port."
                ));
            } else {
                queue.push_back(edge.pkg.as_str());
            }
            paths.insert(edge.pkg.as_str(), longer);
        }
    }
    breaches
}

fn does_io(name: &str) -> bool {
    IO_CRATES.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *pattern,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{CORE, IO_CRATES, Metadata, Row, TABLE, does_io, edge_breaches, io_breaches};

    const DOMAIN: Row = Row { package: CORE, normal: &[], dev: &[], build: &[] };
    const HTTP: Row = Row { package: "bellwether-http", normal: &[CORE], dev: &[], build: &[] };

    fn package(name: &str, dependencies: Value) -> Value {
        json!({
            "id": name,
            "name": name,
            "manifest_path": format!("/root/crates/{name}/Cargo.toml"),
            "dependencies": dependencies,
        })
    }

    fn workspace(packages: Vec<Value>, nodes: Value) -> Metadata {
        let members: Vec<_> = packages
            .iter()
            .map(|package| package["id"].clone())
            .filter(|id| id.as_str().is_some_and(|id| id.starts_with("bellwether")))
            .collect();
        serde_json::from_value(json!({
            "packages": packages,
            "workspace_members": members,
            "workspace_root": "/root",
            "resolve": { "nodes": nodes },
        }))
        .expect("the shape of cargo's answer")
    }

    fn edge(to: &str, kind: Option<&str>) -> Value {
        json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] })
    }

    #[test]
    fn accepts_the_edges_of_the_table_and_any_outside_crate() {
        let metadata = workspace(
            vec![
                package(CORE, json!([{ "name": "thiserror", "kind": null }])),
                package("bellwether-http", json!([{ "name": CORE, "kind": null }])),
            ],
            json!([]),
        );
        assert_eq!(edge_breaches(&metadata, &[DOMAIN, HTTP]), Vec::<String>::new());
    }

    #[test]
    fn names_the_edge_the_file_and_the_section_of_a_breach() {
        let metadata = workspace(
            vec![
                package(CORE, json!([{ "name": "bellwether-http", "kind": "build" }])),
                package("bellwether-http", json!([])),
            ],
            json!([]),
        );
        let breaches = edge_breaches(&metadata, &[DOMAIN, HTTP]);
        assert_eq!(breaches.len(), 1);
        assert!(breaches[0].starts_with(
            "crates/bellwether-domain/Cargo.toml: bellwether-domain -> bellwether-http in [build-dependencies]"
        ));
    }

    #[test]
    fn holds_dev_dependencies_against_their_own_list() {
        let metadata = workspace(
            vec![package(CORE, json!([])), package("bellwether-http", json!([{ "name": CORE, "kind": "dev" }]))],
            json!([]),
        );
        let breaches = edge_breaches(&metadata, &[DOMAIN, HTTP]);
        assert_eq!(breaches.len(), 1);
        assert!(breaches[0].contains("[dev-dependencies] (allowed there: none)"));
    }

    #[test]
    fn refuses_a_crate_without_a_row_and_a_row_without_a_crate() {
        let metadata = workspace(vec![package("bellwether-new", json!([]))], json!([]));
        let breaches = edge_breaches(&metadata, &[DOMAIN]);
        assert_eq!(breaches.len(), 2);
        assert!(breaches[0].contains("does not know `bellwether-new`"));
        assert!(breaches[1].contains("no crate of the workspace"));
    }

    #[test]
    fn shows_the_path_by_which_the_domain_comes_to_an_io_crate() {
        let metadata = workspace(
            vec![package(CORE, json!([])), package("innocent", json!([])), package("mio", json!([]))],
            json!([
                { "id": CORE, "deps": [edge("innocent", None)] },
                { "id": "innocent", "deps": [edge("mio", None)] },
                { "id": "mio", "deps": [] },
            ]),
        );
        let breaches = io_breaches(&metadata);
        assert_eq!(breaches.len(), 1);
        assert!(breaches[0].contains("bellwether-domain -> innocent -> mio, and `mio` does I/O"));
    }

    #[test]
    fn lets_the_domains_tests_and_build_scripts_do_io() {
        let metadata = workspace(
            vec![package(CORE, json!([])), package("tokio", json!([]))],
            json!([
                { "id": CORE, "deps": [edge("tokio", Some("dev")), edge("tokio", Some("build"))] },
                { "id": "tokio", "deps": [] },
            ]),
        );
        assert_eq!(io_breaches(&metadata), Vec::<String>::new());
    }

    #[test]
    fn matches_whole_names_and_marked_prefixes_only() {
        assert!(does_io("tokio") && does_io("tokio-postgres") && does_io("actix-web"));
        assert!(!does_io("tokiox") && !does_io("mio-like") && !does_io("jiff"));
    }

    #[test]
    fn keeps_the_tables_in_order_and_without_doubles() {
        assert!(IO_CRATES.windows(2).all(|pair| pair[0] < pair[1]), "IO_CRATES is sorted");
        let mut names: Vec<_> = TABLE.iter().map(|row| row.package).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len(), "one row for each crate");
    }

    #[test]
    fn lets_no_adapter_depend_on_another() {
        let adapters = [
            "bellwether-sqlite",
            "bellwether-postgres",
            "bellwether-local",
            "bellwether-redis",
            "bellwether-security",
            "bellwether-notify",
            "bellwether-outgoing",
            "bellwether-http",
        ];
        // The binary wires adapters, and the black-box tests ask for every route of the table.
        for row in TABLE.iter().filter(|row| !matches!(row.package, "bellwether" | "bellwether-tests")) {
            for edges in [row.normal, row.dev, row.build] {
                assert!(edges.iter().all(|to| !adapters.contains(to)), "{}", row.package);
                assert!(!edges.contains(&"bellwether"), "{} depends on the binary", row.package);
            }
        }
    }
}
