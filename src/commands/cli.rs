//! The command line: upstream's commands, flags and exit codes, with clap's parsing and suggestions.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Args, CommandFactory as _, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
    error::ErrorKind,
};

/// Scales Fly.io Machines by metrics.
#[derive(Debug, Parser)]
#[command(
    name = "fly-autoscaler",
    disable_help_subcommand = true,
    disable_version_flag = true,
    arg_required_else_help = false,
    after_help = "Settings come from FAS_* variables, or from the file that --config names; the README lists them all.\n\
                  To see it work with nothing configured: fly-autoscaler demo"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Scale the apps, until SIGINT or SIGTERM.
    Serve {
        /// A YAML file; its values win over the environment's.
        #[arg(long, value_name = "PATH", value_parser = path())]
        config: Option<PathBuf>,
    },
    /// Collect the metrics once and print what the expressions ask for; write nothing.
    Eval {
        /// A YAML file; its values win over the environment's.
        #[arg(long, value_name = "PATH", value_parser = path())]
        config: Option<PathBuf>,
        /// The app to evaluate for, where `FAS_APP_NAME` has a wildcard.
        #[arg(long, value_name = "NAME")]
        app: Option<String>,
        /// Show each metric, each expression and its result before and after rounding.
        #[arg(long)]
        explain: bool,
    },
    /// Watch the autoscaler work on a simulated Fly platform; nothing real is touched.
    Demo {
        /// How the demo runs.
        #[command(flatten)]
        options: DemoOptions,
    },
    /// Print the version.
    Version,
    /// Print this help.
    Help,
}

/// How the demo runs.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Stop after this many seconds; 0: run until interrupted.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub seconds: u64,
    /// The port of /metrics on 127.0.0.1; 0: any free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
}

/// What a command line means.
#[derive(Debug)]
pub enum Parsed {
    /// A command.
    Run(Command),
    /// This text, for standard output, and an exit code.
    Show(String, u8),
    /// A mistake after a command, or an unknown command: a message for standard error and exit code 1.
    Mistake(String),
}

/// The usage text.
#[must_use]
pub fn usage() -> String {
    Cli::command()
        .render_help()
        .to_string()
        .trim_end()
        .to_owned()
}

/// Reads the arguments, the program's name first.
///
/// As upstream: `help`, no command, a leading dash and `COMMAND -h` show the usage and exit with 2; an unknown command, an
/// unknown flag and a superfluous argument exit with 1. `--help` and `--version` exit with 0.
#[must_use]
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Parsed {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    for argument in arguments.iter_mut().skip(2) {
        *argument = double_dash(std::mem::take(argument));
    }
    let first = arguments
        .get(1)
        .map(|argument| argument.to_string_lossy().into_owned());
    match first.as_deref() {
        None | Some("" | "help") => return Parsed::Show(usage(), 2),
        Some("--help") => return Parsed::Show(usage(), 0),
        Some("--version") => return Parsed::Run(Command::Version),
        Some(dash) if dash.starts_with('-') => return Parsed::Show(usage(), 2),
        Some(_) => {}
    }
    let error = match Cli::try_parse_from(arguments) {
        Ok(cli) => return Parsed::Run(cli.command),
        Err(error) => error,
    };
    let command = first.unwrap_or_default();
    match error.kind() {
        ErrorKind::DisplayHelp => Parsed::Show(error.render().to_string().trim_end().to_owned(), 2),
        ErrorKind::InvalidSubcommand => {
            let hint = suggestion(&error)
                .map(|name| format!(" (did you mean {name}?)"))
                .unwrap_or_default();
            Parsed::Mistake(format!("fly-autoscaler {command}: unknown command{hint}"))
        }
        ErrorKind::UnknownArgument => {
            let unknown = context(&error, clap::error::ContextKind::InvalidArg);
            if unknown.starts_with('-') {
                let hint = suggestion(&error)
                    .map(|name| format!(" (did you mean {name}?)"))
                    .unwrap_or_default();
                Parsed::Mistake(format!(
                    "fly-autoscaler {command}: unknown flag: {unknown}{hint}"
                ))
            } else {
                Parsed::Mistake(format!(
                    "fly-autoscaler {command}: too many arguments: {unknown}"
                ))
            }
        }
        _ => {
            let text = error.render().to_string();
            let line = text
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            Parsed::Mistake(format!("fly-autoscaler {command}: {line}"))
        }
    }
}

/// Any path, the empty one too: it is none, as in upstream.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Upstream's flags have one dash, as Go's flags may; every long flag of every command is taken in both spellings.
fn double_dash(argument: OsString) -> OsString {
    let Some(name) = argument
        .to_str()
        .and_then(|text| text.strip_prefix('-'))
        .map(|rest| rest.split('=').next().unwrap_or_default())
        .filter(|name| !name.is_empty() && !name.starts_with('-'))
    else {
        return argument;
    };
    let cli = Cli::command();
    let is_flag = name == "help"
        || cli
            .get_subcommands()
            .flat_map(clap::Command::get_arguments)
            .any(|flag| flag.get_long() == Some(name));
    if !is_flag {
        return argument;
    }
    let mut spelt = OsString::from("-");
    spelt.push(argument);
    spelt
}

fn context(error: &clap::Error, kind: clap::error::ContextKind) -> String {
    error.get(kind).map(ToString::to_string).unwrap_or_default()
}

fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds = [
        clap::error::ContextKind::SuggestedSubcommand,
        clap::error::ContextKind::SuggestedArg,
    ];
    kinds
        .into_iter()
        .map(|kind| context(error, kind))
        .find(|text| !text.is_empty())
}
