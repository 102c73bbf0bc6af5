//! The commands of the program, one file each, and the command line that chooses among them.
//!
//! Commands return what they have to say as an exit status or an error; only `main` turns that into the process's end.

mod ask;
mod backtest;
mod check;
mod cli;
mod demo;
mod eval;
mod observing;
mod serve;

pub use cli::{Cli, Command, Parsed, parse, usage};

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use self::cli::Chosen;
use crate::{
    config::{Config, ConfigErrors, FleetConfig, Purpose, Sources, file},
    shown, stderr,
    transport::read_roots,
};

/// Carries out one command; returns the exit code of the process.
///
/// # Errors
///
/// What the user has to know; the program then ends with 1.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    carry_out(command).inspect_err(|error| {
        // One of them may be the cause of the mistakes, which are shown after it.
        let errors = error.downcast_ref::<ConfigErrors>();
        for warning in errors.into_iter().flat_map(ConfigErrors::warnings) {
            stderr::write(format!("warning: {}", shown::block(warning)));
        }
    })
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    let said = match command {
        Command::Serve { config } => return serve::run(config.as_deref()),
        Command::Check {
            config,
            chosen,
            json,
        } => return check::run(config.as_deref(), chosen, json),
        Command::Demo { options } => return demo::run(&options),
        Command::Eval {
            config,
            chosen,
            explain,
        } => eval::run(config.as_deref(), chosen, explain),
        Command::Backtest {
            config,
            chosen,
            options,
        } => backtest::run(config.as_deref(), chosen, &options),
        Command::Dashboard => observing::dashboard(),
        Command::Alerts => observing::alerts(),
        Command::Version => say(&format!(
            "fly-autoscaler {}, commit={}",
            env!("CARGO_PKG_VERSION"),
            commit()
        )),
        Command::Help => say(&usage()),
    };
    said.map(|()| ExitCode::SUCCESS)
}

/// The commit that this was built from, where the build was told: `FAS_COMMIT` at compile time.
#[must_use]
pub fn commit() -> &'static str {
    option_env!("FAS_COMMIT")
        .filter(|commit| !commit.is_empty())
        .unwrap_or("unknown")
}

/// Reads the environment and the file into a configuration.
fn load(path: Option<&Path>, purpose: Purpose, chosen: Chosen) -> anyhow::Result<Config> {
    let mut sources = Sources::new(environment(), purpose);
    sources.app = chosen.app;
    sources.policy = chosen.policy;
    // Upstream takes an empty path for none, as it is where a script's variable is not set.
    if let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) {
        sources.file = Some((path.to_owned(), file::read(path)?));
    }
    let mut config = Config::load(sources)?;
    shown::hold(&config.secrets);
    if let Some(region) = chosen.region {
        choose_region(&mut config.fleets, &region)?;
    }
    Ok(config)
}

/// Leaves the fleets of one region, of those policies that have one there.
fn choose_region(fleets: &mut Vec<FleetConfig>, region: &str) -> anyhow::Result<()> {
    let mut per_region = fleets
        .iter()
        .filter(|fleet| fleet.is_of_regions())
        .peekable();
    if per_region.peek().is_none() {
        bail!("--region needs FAS_PER_REGION=true: only then each region has targets of its own");
    }
    let in_region: Vec<FleetConfig> = fleets
        .iter()
        .filter(|fleet| fleet.is_of_regions())
        .filter(|fleet| {
            let regions = &fleet.policy.regions;
            regions.is_empty() || regions.iter().any(|one| one == region)
        })
        .map(|fleet| fleet.of_region(region))
        .collect();
    if in_region.is_empty() {
        let known = per_region.flat_map(|fleet| &fleet.policy.regions);
        let known: BTreeSet<&str> = known.map(String::as_str).collect();
        let known: Vec<&str> = known.into_iter().collect();
        bail!(
            "--region {region} is none of the regions that are set: {}",
            known.join(", ")
        );
    }
    *fleets = in_region;
    Ok(())
}

/// The policies' names, for who has to choose one.
fn names(fleets: &[FleetConfig]) -> String {
    let names: Vec<&str> = fleets.iter().map(|fleet| fleet.name.as_str()).collect();
    names.join(", ")
}

/// The process environment: read here, and nowhere below.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Root certificates beyond those compiled in: the file that `SSL_CERT_FILE` names, and those in the directories of
/// `SSL_CERT_DIR` (separated by colons, as in Go). Warnings go to the log.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn extra_roots() -> anyhow::Result<Option<Vec<u8>>> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let file = variable("SSL_CERT_FILE").map(PathBuf::from);
    let directories = variable("SSL_CERT_DIR").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&directories)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let roots = read_roots(file.as_deref(), &directories)?;
    for warning in &roots.warnings {
        tracing::warn!("{warning}");
    }
    Ok(roots.pem)
}

/// Writes one text and a line end to standard output, without secrets.
fn say(text: &str) -> anyhow::Result<()> {
    pour(|out| writeln!(out, "{}", shown::block(text)))
}

/// Writes JSON to standard output. Secrets are taken out of its texts before these are written in JSON's own way, in which
/// they might not be found any more.
fn say_json(mut value: Value) -> anyhow::Result<()> {
    fn clean(value: &mut Value) {
        match value {
            Value::String(text) => *text = shown::block(text),
            Value::Array(elements) => elements.iter_mut().for_each(clean),
            Value::Object(members) => {
                let cleaned = std::mem::take(members).into_iter().map(|(key, mut value)| {
                    clean(&mut value);
                    (shown::block(&key), value)
                });
                *members = cleaned.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    clean(&mut value);
    let text = serde_json::to_string_pretty(&value)?;
    pour(|out| writeln!(out, "{text}"))
}

/// Lets `write` write to standard output what it has cleaned itself, without ever holding all of it.
fn pour(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write(&mut out)
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Whether standard output is a terminal.
fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Runs a command's future to its end: one thread is enough, and costs the least memory.
///
/// What was abandoned is not waited for: asking the system for a name happens on a thread that nothing can interrupt.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look-up of a name is such a task: it ends when the system says so. A runtime that is dropped waits for it.
    #[test]
    fn a_command_ends_though_something_that_it_abandoned_goes_on() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let ended = block_on(async {
            tokio::task::spawn_blocking(move || held.recv());
            Ok(1)
        });
        assert_eq!(ended.ok(), Some(1));
        drop(release);
    }
}
