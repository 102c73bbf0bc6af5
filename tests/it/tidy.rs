//! The layout's rules, checked against the sources: who may import whom, and what stays out of the core.
//!
//! The sources are read as the compiler reads them, token by token, without what is compiled for tests alone. What no code
//! may call wherever it stands is in `.clippy.toml`.

use std::{collections::BTreeSet, fs, path::Path};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Attribute, ImplItem, Item};

/// For each part of the program, the parts that it may name. `lib.rs` explains the picture.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("expr", &["duration", "shown"]),
    ("scaling", &["expr", "json", "shown"]),
    ("shutdown", &[]),
    ("duration", &[]),
    ("error_chain", &[]),
    ("json", &[]),
    ("labels", &[]),
    ("shown", &[]),
    ("stderr", &[]),
    ("transport", &[]),
    ("waiting", &[]),
    ("sim", &[]),
    ("backtest", &["chart", "expr", "scaling", "shown"]),
    ("clock", &["scaling"]),
    (
        "config",
        &["duration", "expr", "scaling", "shown", "transport"],
    ),
    ("metrics", &["labels", "scaling"]),
    ("dashboard", &["labels", "metrics", "scaling"]),
    (
        "lock",
        &[
            "clock",
            "error_chain",
            "labels",
            "metrics",
            "scaling",
            "shown",
            "shutdown",
            "transport",
        ],
    ),
    ("peers", &["clock", "error_chain", "metrics", "scaling"]),
    (
        "machines",
        &[
            "duration",
            "json",
            "labels",
            "lock",
            "metrics",
            "scaling",
            "shown",
            "shutdown",
            "transport",
        ],
    ),
    (
        "collect",
        &[
            "config",
            "error_chain",
            "expr",
            "json",
            "labels",
            "metrics",
            "scaling",
            "shown",
            "transport",
        ],
    ),
    (
        "act",
        &[
            "clock", "labels", "lock", "machines", "metrics", "scaling", "waiting",
        ],
    ),
    (
        "app",
        &["collect", "expr", "machines", "pass_log", "scaling"],
    ),
    ("decide", &["machines", "scaling"]),
    (
        "reconcile",
        &[
            "act",
            "app",
            "clock",
            "collect",
            "config",
            "decide",
            "error_chain",
            "expr",
            "inventory",
            "labels",
            "lock",
            "machines",
            "metrics",
            "pass_log",
            "report",
            "scaling",
            "shutdown",
            "waiting",
        ],
    ),
    ("inventory", &["scaling"]),
    (
        "status",
        &[
            "clock",
            "inventory",
            "labels",
            "lock",
            "metrics",
            "peers",
            "report",
            "scaling",
            "shown",
        ],
    ),
    (
        "report",
        &[
            "collect",
            "error_chain",
            "expr",
            "inventory",
            "labels",
            "machines",
            "scaling",
        ],
    ),
    (
        "pass_log",
        &[
            "collect",
            "config",
            "duration",
            "error_chain",
            "labels",
            "machines",
            "report",
            "scaling",
            "shown",
        ],
    ),
    ("health", &["labels", "lock", "report", "scaling"]),
    (
        "pool",
        &[
            "app",
            "config",
            "error_chain",
            "health",
            "labels",
            "lock",
            "machines",
            "reconcile",
            "report",
            "scaling",
            "status",
        ],
    ),
    (
        "admin",
        &[
            "clock", "health", "metrics", "page", "peers", "shown", "status",
        ],
    ),
    ("chart", &[]),
    (
        "page",
        &["chart", "inventory", "labels", "scaling", "shown", "status"],
    ),
    ("listener", &[]),
    ("telemetry", &["config", "shown", "stderr"]),
    (
        "daemon",
        &[
            "admin",
            "app",
            "clock",
            "collect",
            "config",
            "health",
            "listener",
            "lock",
            "machines",
            "metrics",
            "peers",
            "pool",
            "reconcile",
            "shutdown",
            "status",
            "transport",
            "waiting",
        ],
    ),
    (
        "check",
        &[
            "collect",
            "config",
            "decide",
            "error_chain",
            "expr",
            "json",
            "lock",
            "machines",
            "peers",
            "scaling",
            "shown",
        ],
    ),
    ("demo", &["sim"]),
    (
        "commands",
        &[
            "backtest",
            "check",
            "clock",
            "collect",
            "config",
            "daemon",
            "dashboard",
            "decide",
            "demo",
            "duration",
            "error_chain",
            "expr",
            "listener",
            "lock",
            "machines",
            "metrics",
            "pass_log",
            "peers",
            "report",
            "scaling",
            "shown",
            "shutdown",
            "sim",
            "status",
            "stderr",
            "telemetry",
            "transport",
        ],
    ),
    ("main", &["commands", "error_chain", "shown", "stderr"]),
];

/// What the pure core must not name, as it is written.
const NOT_IN_THE_CORE: &[&str] = &[
    "tokio::",
    "reqwest::",
    "axum::",
    "tracing::",
    "prometheus::",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "HashMap",
    "HashSet",
];

/// What only some files may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("io::stderr", &["stderr.rs"]),
    ("io::stdout", &["commands/mod.rs", "main.rs"]),
];

/// One word or sign of a source, and the line it stands in.
#[derive(Debug, Clone)]
struct Token {
    text: String,
    line: usize,
}

/// A source file without what is compiled for tests alone.
struct Source {
    /// Its path from `src`.
    name: String,
    tokens: Vec<Token>,
}

impl Source {
    fn parse(name: &str, text: &str) -> Self {
        let mut file = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{name}: {error}"));
        without_tests(&mut file.items);
        let mut tokens = Vec::new();
        flatten(file.to_token_stream(), &mut tokens);
        Self {
            name: name.to_owned(),
            tokens,
        }
    }

    /// The part of the program that it belongs to.
    fn part(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs")
    }

    /// Its module's path from the root of the crate.
    fn module(&self) -> Vec<String> {
        let path = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        let own = path
            .split('/')
            .filter(|name| !["lib", "main"].contains(name));
        own.map(str::to_owned).collect()
    }

    /// Every path from the root of the crate that it names, and where: those that begin with `crate`, with the crate's
    /// name, or with `super`.
    fn paths(&self) -> Vec<(Vec<String>, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let is_start = at == 0 || self.tokens[at - 1].text != "::";
            let base = match self.tokens[at].text.as_str() {
                "crate" | "fly_autoscaler" if is_start => Some((Vec::new(), at + 1)),
                "super" if is_start => Some(self.above(at)),
                _ => None,
            };
            if let Some((base, next)) = base.filter(|(_, next)| self.is(*next, "::")) {
                self.follow(base, next, &mut found);
            }
            at += 1;
        }
        found
    }

    /// Where `super::super` leads that begins at `at`, and the token after it.
    fn above(&self, at: usize) -> (Vec<String>, usize) {
        let mut module = self.module();
        module.pop();
        let mut next = at + 1;
        while self.is(next, "::") && self.is(next + 1, "super") {
            module.pop();
            next += 2;
        }
        (module, next)
    }

    /// Follows a path whose next `::` is at `at`, into the braces of a `use` too; returns the token after it.
    fn follow(
        &self,
        mut path: Vec<String>,
        mut at: usize,
        found: &mut Vec<(Vec<String>, usize)>,
    ) -> usize {
        let line = self.tokens[at].line;
        while self.is(at, "::") {
            at += 1;
            if self.is(at, "{") {
                at += 1;
                while !self.is(at, "}") {
                    let mut branch = path.clone();
                    branch.push(self.tokens[at].text.clone());
                    at = self.follow(branch, at + 1, found);
                    // `as another_name`, and the comma.
                    while !self.is(at, "}") && self.tokens[at - 1].text != "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            path.push(self.tokens[at].text.clone());
            at += 1;
        }
        found.push((path, line));
        at
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text)
    }

    /// The lines in which `words`, such as `Instant::now`, stand.
    fn lines_with(&self, words: &str) -> Vec<usize> {
        let spaced = words.replace("::", " :: ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        self.tokens
            .windows(words.len())
            .filter(|window| {
                window
                    .iter()
                    .map(|token| &*token.text)
                    .eq(words.iter().copied())
            })
            .map(|window| window[0].line)
            .collect()
    }
}

/// Takes out the items that are compiled for tests alone.
fn without_tests(items: &mut Vec<Item>) {
    items.retain(|item| !is_for_tests(attributes(item)));
    for item in items {
        match item {
            Item::Mod(module) => {
                if let Some((_, items)) = &mut module.content {
                    without_tests(items);
                }
            }
            Item::Impl(block) => block.items.retain(|item| match item {
                ImplItem::Fn(function) => !is_for_tests(&function.attrs),
                ImplItem::Const(constant) => !is_for_tests(&constant.attrs),
                _ => true,
            }),
            _ => {}
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|condition| condition == "test")
    })
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        let token = |text: &str, line| Token {
            text: text.to_owned(),
            line,
        };
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(token(open, line));
                flatten(group.stream(), tokens);
                tokens.push(token(close, group.span_close().start().line));
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' => match tokens.last_mut() {
                Some(last) if last.text == ":" && last.line == line => {
                    "::".clone_into(&mut last.text);
                }
                _ => tokens.push(token(":", line)),
            },
            TokenTree::Punct(sign) => tokens.push(token(&sign.as_char().to_string(), line)),
            TokenTree::Ident(word) => tokens.push(token(&word.to_string(), line)),
            TokenTree::Literal(literal) => tokens.push(token(&literal.to_string(), line)),
        }
    }
}

/// Every source file below `src` but those of tests.
fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
                let name = path.strip_prefix(root).unwrap();
                let text = fs::read_to_string(&path).unwrap();
                found.push((name.to_str().unwrap().to_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    found.sort();
    let tests: BTreeSet<String> = found
        .iter()
        .flat_map(|(name, text)| test_modules(name, text))
        .collect();
    let is_test = |name: &str| {
        let module = name.trim_end_matches(".rs").trim_end_matches("/mod");
        tests
            .iter()
            .any(|test| module == test || module.starts_with(&format!("{test}/")))
    };
    found
        .iter()
        .filter(|(name, _)| !is_test(name))
        .map(|(name, text)| Source::parse(name, text))
        .collect()
}

/// The modules in files of their own that `name` declares for tests alone, as paths without `.rs`.
fn test_modules(name: &str, text: &str) -> Vec<String> {
    let file = syn::parse_file(text).unwrap();
    let folder = name
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .trim_end_matches("lib")
        .to_owned();
    let declared = file.items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => {
            Some(module.ident.to_string())
        }
        _ => None,
    });
    declared
        .map(|module| {
            format!("{folder}/{module}")
                .trim_start_matches('/')
                .to_owned()
        })
        .collect()
}

/// What breaks the table in one source.
fn forbidden_imports(source: &Source) -> Vec<String> {
    let own = source.part();
    if own == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(part, _)| *part == own) else {
        return vec![format!(
            "src/{}: the part `{own}` is not in the table",
            source.name
        )];
    };
    let is_part = |name: &str| MAY_IMPORT.iter().any(|(part, _)| *part == name);
    let named = source.paths();
    named
        .iter()
        .filter_map(|(path, line)| path.first().map(|other| (other, line)))
        .filter(|(other, _)| is_part(other) && *other != own && !allowed.contains(&other.as_str()))
        .map(|(other, line)| {
            format!(
                "src/{}:{line}: `{own}` must not import `{other}` (see the table in src/lib.rs)",
                source.name
            )
        })
        .collect()
}

/// What in one source does not belong into the core.
fn impurities(source: &Source) -> Vec<String> {
    if !matches!(
        source.part(),
        "backtest" | "chart" | "check" | "expr" | "scaling"
    ) {
        return Vec::new();
    }
    let words = NOT_IN_THE_CORE.iter();
    words
        .flat_map(|word| {
            source
                .lines_with(word)
                .into_iter()
                .map(move |line| (word, line))
        })
        .map(|(word, line)| {
            format!(
                "src/{}:{line}: the core names `{word}` (see the invariants in src/lib.rs)",
                source.name
            )
        })
        .collect()
}

/// What one source does that belongs elsewhere.
fn misplaced(source: &Source) -> Vec<String> {
    let words = ONLY_IN
        .iter()
        .filter(|(_, places)| !places.contains(&source.name.as_str()));
    words
        .flat_map(|(word, places)| {
            let lines = source.lines_with(word).into_iter();
            lines.map(move |line| (word, places, line))
        })
        .map(|(word, places, line)| {
            format!(
                "src/{}:{line}: `{word}` belongs in {places:?} (see the invariants in src/lib.rs)",
                source.name
            )
        })
        .collect()
}

/// Checks every source, and that the rule sees each of `broken`: a file and a text that breaks it once.
fn check(rule: fn(&Source) -> Vec<String>, broken: &[(&str, &str)]) {
    let found: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    for (name, text) in broken {
        let found = rule(&Source::parse(name, text));
        assert!(!found.is_empty(), "not seen in {name}: {text}");
    }
}

#[test]
fn imports_follow_the_table() {
    check(
        forbidden_imports,
        &[
            ("pool.rs", "use super::collect::Collector;"),
            (
                "pool.rs",
                "fn name() { super::collect::Collector::metric(); }",
            ),
            ("scaling/plan.rs", "use super::super::metrics::Metrics;"),
            ("scaling/mod.rs", "use super::metrics::Metrics;"),
            (
                "expr/mod.rs",
                "use crate::{\n    shown::clean,\n    config::{self, Config as Settings},\n};",
            ),
            (
                "sim/state/mod.rs",
                "#[cfg(test)]\nmod tests {}\nuse crate::machines::Api;",
            ),
            ("main.rs", "fn main() { fly_autoscaler::daemon::run() }"),
            (
                "admin.rs",
                "fn log() { tracing::info!(\"{}\", crate::config::NAME); }",
            ),
            ("unheard_of.rs", ""),
        ],
    );
}

#[test]
fn the_core_is_pure() {
    check(
        impurities,
        &[
            (
                "scaling/mod.rs",
                "#[cfg(test)]\nmod fleet;\nuse std::collections::HashMap;",
            ),
            (
                "expr/mod.rs",
                "fn now() { let _ = std::time::Instant::now(); }",
            ),
            (
                "scaling/plan.rs",
                "fn log() { tracing::info!(\"planned\"); }",
            ),
            (
                "scaling/plan.rs",
                "impl Plan {\n#[cfg(test)]\nfn a() {}\nfn b() { std::env::var(\"A\"); }\n}",
            ),
        ],
    );
}

#[test]
fn some_things_are_done_in_one_place() {
    check(
        misplaced,
        &[
            ("pool.rs", "fn tell() { let _ = std::io::stderr(); }"),
            (
                "admin.rs",
                "use std::io;\nfn tell() { let _ = io::stdout(); }",
            ),
        ],
    );
}
