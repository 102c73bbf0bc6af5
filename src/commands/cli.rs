//! The command line: upstream's commands, flags and exit codes, with clap's parsing and suggestions.

use std::{ffi::OsString, fmt, path::PathBuf, str::FromStr};

use clap::{
    Arg, Args, CommandFactory as _, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{
    backtest::MOST_MACHINES,
    config,
    demo::{MOST_APPS, MOST_COPIES, Speed},
    expr,
};

/// Scales Fly.io Machines by metrics.
#[derive(Debug, Parser)]
#[command(
    name = "fly-autoscaler",
    disable_help_subcommand = true,
    disable_version_flag = true,
    arg_required_else_help = false,
    after_help = "Settings come from FAS_* variables, or from the file that --config names.\n\
                  All settings: fly-autoscaler help settings\n\
                  The expression language: fly-autoscaler help expressions\n\
                  To see it work with nothing configured: fly-autoscaler demo\n\
                  To see whether your settings work: fly-autoscaler check"
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
        /// What of the configuration it is about.
        #[command(flatten)]
        chosen: Chosen,
        /// Show each metric, each expression and its result before and after rounding.
        #[arg(long)]
        explain: bool,
    },
    /// Try everything that the configuration names and say what a pass would do; write nothing.
    Check {
        /// A YAML file; its values win over the environment's.
        #[arg(long, value_name = "PATH", value_parser = path())]
        config: Option<PathBuf>,
        /// What of the configuration it is about.
        #[command(flatten)]
        chosen: Chosen,
        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Show what expressions would have done with the past of the metrics; write nothing.
    #[command(after_help = BACKTEST_HELP)]
    Backtest {
        /// A YAML file; its values win over the environment's.
        #[arg(long, value_name = "PATH", value_parser = path())]
        config: Option<PathBuf>,
        /// What of the configuration it is about.
        #[command(flatten)]
        chosen: Chosen,
        /// What is replayed.
        #[command(flatten)]
        options: Box<BacktestOptions>,
    },
    /// Watch the autoscaler work on a simulated Fly platform; nothing real is touched.
    Demo {
        /// How the demo runs.
        #[command(flatten)]
        options: DemoOptions,
    },
    /// Print a Grafana dashboard (JSON, to import).
    Dashboard,
    /// Print alert rules for Prometheus (YAML).
    Alerts,
    /// Print the version.
    Version,
    /// Print this help; `help settings` and `help expressions` print the references.
    Help,
}

/// A line for each paragraph, which clap breaks.
const BACKTEST_HELP: &str = "\
Each step is a pass: the expressions, limits, stabilization, steps, floor, fallbacks and the other settings of the \
environment decide as they do in `serve`, at the time of the step. The machines are a model: a create or start takes --boot \
until the machine runs, a stop or destroy is at once, and every call succeeds.\n\
\n\
Flaps are changes of direction within 10 minutes. Unmet machine-hours are those that the minimum asked for, before limits, \
and that did not run (with FAS_INITIAL_MACHINE_STATE=stopped: that did not exist). The cost counts hours of machines that \
run or boot.";

/// What of a configuration a command is about.
#[derive(Debug, Default, Args)]
pub struct Chosen {
    /// The app, where `FAS_APP_NAME` has a wildcard.
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// The policy, by its name or as APP/GROUP, where the file has several.
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// The region, where `FAS_PER_REGION` gives each targets of its own.
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
}

/// What `backtest` replays, and what it shows.
#[derive(Debug, Args)]
pub struct BacktestOptions {
    /// How far back to begin, as in 90m, 24h or 30d [default: 24h, or all of the file of --load].
    #[arg(long, value_name = "DURATION")]
    pub since: Option<String>,
    /// Where to end, as in 2026-01-31T12:00:00Z [default: now, or the end of the file of --load].
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The time from one pass to the next, in whole seconds [default: 1m, or the file's].
    #[arg(long, value_name = "DURATION")]
    pub step: Option<String>,
    /// An expression instead of `FAS_CREATED_MACHINE_COUNT` (or of `FAS_STARTED_MACHINE_COUNT`, where only that is set);
    /// give it again to compare.
    #[arg(
        long = "expression",
        value_name = "EXPRESSION",
        allow_hyphen_values = true
    )]
    pub expressions: Vec<String>,
    /// A lower bound to compare, with --max.
    #[arg(long, value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub min: Option<String>,
    /// Its upper bound.
    #[arg(long, value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub max: Option<String>,
    /// How many machines Fly Proxy had running [default: the metric whose query has `fly_instance_up`, where new machines are
    /// stopped].
    #[arg(long, value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub running: Option<String>,
    /// How many machines there are at the beginning [default: as many as are wanted then].
    #[arg(long, value_name = "N", value_parser = within(1, MOST_MACHINES))]
    pub initial: Option<u32>,
    /// How long a created or started machine takes until it runs.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub boot: String,
    /// Read the metrics' history from this file, and contact no server.
    #[arg(long, value_name = "FILE", conflicts_with = "save")]
    pub load: Option<PathBuf>,
    /// Write the metrics' history to this file.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// The price of a machine for an hour, for the cost.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub price_per_hour: Option<f64>,
    /// Write a page with charts to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print JSON instead of the chart.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print a line for each step instead of the chart, separated by commas.
    #[arg(long)]
    pub csv: bool,
}

/// The longest `demo --seconds`: a year.
const LONGEST_DEMO: u64 = 365 * 24 * 60 * 60;

/// How the demo runs.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Play one day to its end and print a summary.
    #[arg(long, conflicts_with = "seconds")]
    pub once: bool,
    /// How many times as fast as usual, from 0.1 (real time) to 30; a day takes four minutes at 1.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = Speed::parse, allow_negative_numbers = true)]
    pub speed: Speed,
    /// How many apps there are, from 1 to 500; N times FACTOR is at most 2500.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = within(1, MOST_APPS))]
    pub apps: u16,
    /// How many copies of the autoscaler run, from 1 to 3; several take turns by a lock, and each has a page.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = within(1, MOST_COPIES))]
    pub copies: u8,
    /// Give each region targets of its own (`FAS_PER_REGION`): each keeps a spare machine.
    #[arg(long)]
    pub regions: bool,
    /// What the noise of the traffic and the names of machines depend on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = within(0, u64::MAX))]
    pub seed: u64,
    /// Stop after this many seconds; 0: run until interrupted.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = within(0, LONGEST_DEMO))]
    pub seconds: u64,
    /// The port of the page and of /metrics on 127.0.0.1, that of further copies the next ones; 0: any free ones.
    #[arg(long, value_name = "PORT", default_value_t = 0, value_parser = within(0, u16::MAX))]
    pub port: u16,
}

/// What a command line means.
#[derive(Debug)]
pub enum Parsed {
    /// A command.
    Run(Command),
    /// This text, for standard output, and an exit code.
    Show(String, u8),
    /// No command that could be carried out: what is wrong, for standard error, and the usage, for standard output; exit
    /// code 2.
    NoCommand(String, String),
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
/// `help settings`, `help expressions` and `help COMMAND` show that and exit with 0. All else as upstream: `help`, no command, a
/// leading dash and `COMMAND -h` show the usage and exit with 2; an unknown command, an unknown flag and a superfluous
/// argument exit with 1. `--help` (after a command too) and `--version` exit with 0.
#[must_use]
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Parsed {
    let written: Vec<OsString> = arguments.into_iter().collect();
    let arguments: Vec<OsString> = written.iter().cloned().map(double_dash).collect();
    let first = arguments
        .get(1)
        .map(|argument| argument.to_string_lossy().into_owned());
    if let (Some("help"), Some(text)) = (first.as_deref(), topic(&arguments)) {
        return Parsed::Show(text, 0);
    }
    if let (Some("help"), Some(unknown)) = (first.as_deref(), unknown_topic(&arguments)) {
        return Parsed::NoCommand(unknown, usage());
    }
    match first.as_deref() {
        None | Some("" | "help" | "-h") => return Parsed::Show(usage(), 2),
        Some("--help") => return Parsed::Show(usage(), 0),
        Some("--version") => return Parsed::Run(Command::Version),
        Some(dash) if dash.starts_with('-') => {
            return Parsed::NoCommand(
                without_command(&written[1].to_string_lossy(), dash),
                usage(),
            );
        }
        Some(_) => {}
    }
    let asks_for_help = arguments.iter().any(|argument| argument == "--help");
    let error = match Cli::try_parse_from(&arguments) {
        Ok(cli) => return Parsed::Run(cli.command),
        Err(error) => error,
    };
    let command = first.unwrap_or_default();
    match error.kind() {
        ErrorKind::DisplayHelp => Parsed::Show(
            error.render().to_string().trim_end().to_owned(),
            if asks_for_help { 0 } else { 2 },
        ),
        ErrorKind::InvalidSubcommand => Parsed::Mistake(format!(
            "fly-autoscaler {command}: unknown command{}",
            hint(suggestion(&error))
        )),
        ErrorKind::UnknownArgument => {
            let unknown = context(&error, ContextKind::InvalidArg);
            if unknown.starts_with('-') {
                // As it was written, with one dash or two.
                let place = arguments
                    .iter()
                    .position(|argument| flag_name(&argument.to_string_lossy()) == unknown);
                let unknown = place.map_or(unknown, |place| {
                    flag_name(&written[place].to_string_lossy()).to_owned()
                });
                Parsed::Mistake(format!(
                    "fly-autoscaler {command}: unknown flag: {unknown}{}",
                    hint(suggestion(&error))
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

/// What `help` shows of the one topic behind it, if there is such a topic.
fn topic(arguments: &[OsString]) -> Option<String> {
    match arguments.get(2..)? {
        [topic] if topic == "settings" => Some(config::reference()),
        [topic] if topic == "expressions" => Some(expr::reference()),
        [topic] => {
            let mut cli = Cli::command();
            // So that each command shows the program's name before its own.
            cli.build();
            let command = cli.find_subcommand_mut(topic)?;
            let is_help = command.get_name() == "help";
            (!is_help).then(|| command.render_help().to_string().trim_end().to_owned())
        }
        _ => None,
    }
}

/// What is wrong with what stands behind `help`, where there is no such topic.
fn unknown_topic(arguments: &[OsString]) -> Option<String> {
    let unknown = match arguments.get(2..)? {
        [topic] => topic,
        [topic, ..] if !topic.to_string_lossy().starts_with('-') => {
            let more = arguments.get(3)?.to_string_lossy();
            return Some(format!("fly-autoscaler help: too many arguments: {more}"));
        }
        _ => return None,
    };
    let unknown = unknown.to_string_lossy();
    if unknown.starts_with('-') || unknown == "help" {
        return None;
    }
    let cli = Cli::command();
    let commands = cli.get_subcommands().map(clap::Command::get_name);
    let topics = commands.chain(["settings", "expressions"]);
    let meant = topics
        .map(|topic| (strsim::damerau_levenshtein(&unknown, topic), topic))
        .min()
        .filter(|(changes, topic)| changes * 3 <= topic.len());
    Some(format!(
        "fly-autoscaler help: unknown topic: {unknown}{}",
        hint(meant.map(|(_, topic)| topic.to_owned()))
    ))
}

/// What is wrong with a flag where a command should stand; `flag` is it with two dashes.
fn without_command(written: &str, flag: &str) -> String {
    let (written, flag) = (flag_name(written), flag_name(flag));
    let cli = Cli::command();
    let with_it = cli.get_subcommands().find(|command| {
        let mut flags = command.get_arguments().filter_map(Arg::get_long);
        flags.any(|long| flag.strip_prefix("--") == Some(long))
    });
    if let Some(command) = with_it {
        return format!(
            "fly-autoscaler: {written} goes after a command, as in `fly-autoscaler {} {flag}`",
            command.get_name()
        );
    }
    let known = ["help", "version"].map(|name| Arg::new(name).long(name));
    let alone = clap::Command::new("fly-autoscaler")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(known)
        .try_get_matches_from(["fly-autoscaler", flag]);
    let meant = alone.err().and_then(|error| suggestion(&error));
    format!("fly-autoscaler: unknown flag: {written}{}", hint(meant))
}

/// A flag without the value behind its `=`.
fn flag_name(argument: &str) -> &str {
    argument.split('=').next().unwrap_or_default()
}

fn hint(meant: Option<String>) -> String {
    meant
        .map(|name| format!(" (did you mean {name}?)"))
        .unwrap_or_default()
}

/// A whole number within bounds.
fn within<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync
where
    T: FromStr + PartialOrd + Copy + fmt::Display + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok();
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("must be a whole number from {least} to {most}"))
    }
}

/// A price; whether it makes sense is for the command to say.
fn price(text: &str) -> Result<f64, String> {
    let number = text.parse();
    number.map_err(|_| "must be a number, such as 0.0027".to_owned())
}

/// Any path, the empty one too: it is none, as in upstream.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Upstream's flags have one dash, as Go's flags may: every flag of more than one letter is taken in both spellings.
fn double_dash(argument: OsString) -> OsString {
    let is_long = argument
        .to_str()
        .and_then(|text| text.strip_prefix('-'))
        .is_some_and(|rest| !rest.starts_with('-') && flag_name(rest).chars().count() > 1);
    if !is_long {
        return argument;
    }
    let mut spelt = OsString::from("-");
    spelt.push(argument);
    spelt
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    error.get(kind).map(ToString::to_string).unwrap_or_default()
}

/// What was probably meant: of several, clap has the nearest last.
fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg];
    kinds
        .into_iter()
        .filter_map(|kind| error.get(kind))
        .find_map(|value| match value {
            ContextValue::String(name) => Some(name.clone()),
            ContextValue::Strings(names) => names.last().cloned(),
            _ => None,
        })
}
