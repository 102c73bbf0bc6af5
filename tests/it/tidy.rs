//! The layout's rules, checked against the sources: who may import whom, and what stays out of the core.

use std::{fs, path::Path};

/// For each part of the program, the parts that it may name. `lib.rs` explains the picture.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("expr", &["shown"]),
    ("scaling", &["shown"]),
    ("shutdown", &[]),
    ("error_chain", &[]),
    ("shown", &[]),
    ("stderr", &[]),
    ("transport", &[]),
    ("waiting", &[]),
    ("sim", &[]),
    ("clock", &["scaling"]),
    ("config", &["expr", "scaling", "shown", "transport"]),
    ("metrics", &["machines", "scaling", "transport"]),
    (
        "machines",
        &[
            "config",
            "metrics",
            "scaling",
            "shown",
            "shutdown",
            "transport",
        ],
    ),
    ("collect", &["config", "metrics", "shown", "transport"]),
    (
        "act",
        &["clock", "machines", "metrics", "scaling", "waiting"],
    ),
    (
        "reconcile",
        &[
            "act",
            "clock",
            "collect",
            "config",
            "error_chain",
            "expr",
            "machines",
            "metrics",
            "scaling",
            "shutdown",
            "waiting",
        ],
    ),
    ("health", &["metrics", "reconcile"]),
    (
        "pool",
        &[
            "config",
            "error_chain",
            "health",
            "machines",
            "metrics",
            "reconcile",
        ],
    ),
    ("admin", &["health", "metrics", "shown"]),
    ("listener", &[]),
    ("telemetry", &["config", "shown", "stderr"]),
    (
        "daemon",
        &[
            "admin",
            "clock",
            "collect",
            "config",
            "health",
            "listener",
            "machines",
            "metrics",
            "pool",
            "reconcile",
            "shutdown",
            "transport",
            "waiting",
        ],
    ),
    (
        "commands",
        &[
            "clock",
            "collect",
            "config",
            "daemon",
            "error_chain",
            "expr",
            "machines",
            "metrics",
            "reconcile",
            "scaling",
            "shown",
            "shutdown",
            "sim",
            "stderr",
            "telemetry",
            "transport",
        ],
    ),
    ("main", &["commands", "error_chain", "shown", "stderr"]),
];

/// What the pure core must not name outside its tests.
const NOT_IN_THE_CORE: &[&str] = &[
    "tokio",
    "reqwest",
    "axum",
    "tracing::",
    "prometheus::",
    "std::env",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "HashMap",
];

/// What only some files may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("env::var", &["commands/mod.rs"]),
    ("std::time::Instant::now", &[]),
    ("process::exit", &["commands/serve.rs"]),
    ("io::stderr", &["stderr.rs"]),
    ("io::stdout", &["commands/mod.rs", "main.rs"]),
];

/// Every source file below `src`, with its path from there and its text without its tests.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
                found.push((name, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    found.retain(|(name, _)| !is_test(name));
    found.sort();
    found
}

fn is_test(name: &str) -> bool {
    let only_tests = [
        "tests.rs",
        "properties.rs",
        "test_keys.rs",
        "scaling/fleet.rs",
        "scaling/golden.rs",
    ];
    name.contains("/tests/") || only_tests.iter().any(|test| name.ends_with(test))
}

fn part(name: &str) -> &str {
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The code of a file, line by line from 1, without comments.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn imports_follow_the_table() {
    let parts: Vec<&str> = MAY_IMPORT.iter().map(|(part, _)| *part).collect();
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let own = part(&name);
        if own == "lib" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(part, _)| *part == own) else {
            broken.push(format!("src/{name}: the part `{own}` is not in the table"));
            continue;
        };
        // A `use crate::{ a::…, b::… }` names a part at the beginning of a line of its own.
        let mut in_crate_use = false;
        for (number, line) in lines(&text) {
            let code = line.trim();
            let starts_use =
                code.starts_with("use crate::{") || code.starts_with("use fly_autoscaler::{");
            for other in &parts {
                let named = code.contains(&format!("crate::{other}::"))
                    || code.contains(&format!("fly_autoscaler::{other}::"))
                    || ((in_crate_use || starts_use)
                        && code
                            .split(['{', ',', ' '])
                            .any(|word| word == *other || word.starts_with(&format!("{other}::"))));
                if named && *other != own && !allowed.contains(other) {
                    broken.push(format!(
                        "src/{name}:{number}: `{own}` must not import `{other}` (see the table in src/lib.rs)"
                    ));
                }
            }
            in_crate_use = (in_crate_use || starts_use) && !code.ends_with("};");
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_core_is_pure() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        if !matches!(part(&name), "expr" | "scaling") {
            continue;
        }
        for (number, line) in lines(&text) {
            for word in NOT_IN_THE_CORE {
                if line.contains(word) {
                    broken.push(format!(
                        "src/{name}:{number}: the core names `{word}` (see the invariants in src/lib.rs)"
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn some_things_are_done_in_one_place() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        for (number, line) in lines(&text) {
            for (word, places) in ONLY_IN {
                if line.contains(word) && !places.contains(&name.as_str()) {
                    broken.push(format!(
                        "src/{name}:{number}: `{word}` belongs in {places:?} (see the invariants in src/lib.rs)"
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
