//! `backtest`: what expressions would have done with the past of the metrics. It writes to no machine and asks Fly nothing.
//!
//! Here the past is had, from Prometheus or from a file, and the results are shown; what would have happened is decided in
//! [`crate::backtest`].

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::{
    ask, block_on,
    cli::{BacktestOptions, Chosen},
    environment, extra_roots, is_terminal, load, names, pour, say,
};
use crate::{
    backtest::{
        History, MOST_STEPS, Outcome, Replay, export, page,
        report::{Report, length, missing_note, notes},
        terminal::{self, Colour},
    },
    clock::Clock,
    collect::{Collector, Connections, Grid, Past},
    config::{CollectorConfig, CollectorKind, Config, FleetConfig, Purpose},
    duration::{self, DurationError},
    expr::{Expression, Names},
    pass_log::PassLog,
    scaling::{ExpressionBand, FleetName, FleetParts, InitialState, Kind, TargetExpressions},
    shown, stderr, telemetry,
};

/// Without `--since` and a file.
const DEFAULT_SINCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Without `--step` and a file.
const DEFAULT_STEP_S: u32 = 60;

/// The longest `--step`: a day.
const LONGEST_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest `--boot`.
const LONGEST_BOOT: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest file that is read, in bytes: more than so many steps of several metrics.
const FILE_LIMIT: u64 = 128 * 1024 * 1024;

/// The longest query that is kept in a file, in characters.
const QUERY_LIMIT: usize = 100_000;

/// What a query of machines that run has in it, as Fly's blueprint asks.
const RUNNING_MACHINES: &str = "fly_instance_up";

/// The width of what is printed where nobody looks.
const COLUMNS: u16 = 100;

pub(super) fn run(
    config: Option<&Path>,
    chosen: Chosen,
    options: &BacktestOptions,
) -> anyhow::Result<()> {
    let config = load(config, Purpose::Backtest, chosen)?;
    let fleet = only(&config)?;
    if fleet.apps.pattern.is_wildcard() {
        bail!(
            "FAS_APP_NAME ({}) is a pattern: name one app, as in `fly-autoscaler backtest --app NAME`",
            fleet.apps.pattern.as_str()
        );
    }
    telemetry::init(config.log_format, config.verbose);
    let extra_roots = extra_roots()?;
    let now = Clock::System.now();
    let wanted = Wanted::read(options, now.wall)?;
    let file = options
        .load
        .as_deref()
        .map(|path| read_file(path, fleet.apps.pattern.as_str()))
        .transpose()?;
    let candidates = Candidates::compile(fleet, options, file.as_ref())?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }

    let mut history = match file {
        Some(file) => wanted.of_file(&file)?,
        None => block_on(fetch(
            (&config, fleet),
            extra_roots.as_deref(),
            &candidates,
            &wanted,
        ))?,
    };
    if let Some(path) = &options.save {
        if history.metrics.is_empty() {
            bail!("--save: no expression reads a metric, so that there is no history to save");
        }
        write_file("--save", path, &history.to_json())?;
    }
    history
        .metrics
        .retain(|metric, _| candidates.needed.contains(metric));
    let filled = fill(fleet, &mut history)?;

    let origin = now.monotonic;
    let bar = progress(history.points * candidates.targets.len(), "replaying");
    let mut results = Vec::new();
    let mut notes = notes(&history, &fleet.policy, &on_the_fleet(fleet, &candidates));
    notes.extend(filled);
    let mut rest_is_enough = false;
    for (label, targets) in &candidates.targets {
        let replay = Replay {
            history: &history,
            names: &candidates.names,
            targets,
            kind: candidates.kind,
            running: candidates.running.as_deref(),
            policy: &fleet.policy,
            initial: options.initial,
            boot: wanted.boot,
            origin,
        };
        rest_is_enough = replay.rest_is_enough();
        let outcome = replay
            .run(|| bar.inc(1))
            .with_context(|| format!("the expression `{label}` cannot be replayed"))?;
        notes.extend(judge(label, &outcome, &candidates, &history)?);
        results.push((label.clone(), outcome));
    }
    bar.finish_and_clear();
    notes.dedup();
    let report = Report {
        history,
        boot: wanted.boot,
        price_per_hour: options.price_per_hour,
        kind: candidates.kind,
        rest_is_enough,
        results,
        notes,
    };
    show(&report, options)
}

/// The one policy that is replayed.
fn only(config: &Config) -> anyhow::Result<&FleetConfig> {
    match config.fleets.as_slice() {
        [fleet] if fleet.is_of_regions() => bail!(
            "each region has targets of its own (FAS_PER_REGION), and one is replayed at a time: choose it with --region NAME"
        ),
        [fleet] => Ok(fleet),
        fleets => bail!(
            "there are {} policies, and one is replayed at a time: choose it with --policy NAME, of {}",
            fleets.len(),
            names(fleets)
        ),
    }
}

/// What is to be replayed, as far as it is known without a file.
struct Wanted {
    since: Option<Duration>,
    until: Option<Timestamp>,
    step_s: Option<u32>,
    boot: Duration,
    now: Timestamp,
}

impl Wanted {
    fn read(options: &BacktestOptions, now: Timestamp) -> anyhow::Result<Self> {
        let read = |name: &str, text: &Option<String>| {
            text.as_ref()
                .map(|text| long_duration(name, text))
                .transpose()
        };
        let since = read("--since", &options.since)?;
        let step = read("--step", &options.step)?;
        let boot = long_duration("--boot", &options.boot)?;
        if boot > LONGEST_BOOT {
            bail!("--boot {}: expected at most 24h", options.boot);
        }
        let step_s = step
            .map(|step| {
                let written = options.step.as_deref().unwrap_or_default();
                if step.is_zero() || step > LONGEST_STEP {
                    bail!("--step {written}: expected at least 1s and at most 24h");
                }
                if step.subsec_nanos() > 0 {
                    bail!("--step {written}: expected whole seconds");
                }
                u32::try_from(step.as_secs()).context("--step: it is too long")
            })
            .transpose()?;
        let until = options
            .until
            .as_ref()
            .map(|text| {
                let until = text.parse::<Timestamp>().map_err(|_| {
                    anyhow!("--until {text:?}: expected a time as in RFC 3339, such as 2026-01-31T12:00:00Z")
                })?;
                if until > now {
                    bail!("--until {text} is in the future: it is {}", whole(now));
                }
                Ok(whole(until))
            })
            .transpose()?;
        if let Some(price) = options.price_per_hour
            && !(price.is_finite() && price >= 0.0)
        {
            bail!("--price-per-hour {price}: expected a number of at least 0");
        }
        Ok(Self {
            since,
            until,
            step_s,
            boot,
            now,
        })
    }

    /// The points that a server is asked for.
    fn grid(&self) -> anyhow::Result<Grid> {
        let step_s = self.step_s.unwrap_or(DEFAULT_STEP_S);
        let since = self.since.unwrap_or(DEFAULT_SINCE);
        let step = i64::from(step_s);
        // So that the same command within a step asks for the same times.
        let until = self.until.map_or_else(
            || self.now.as_second().div_euclid(step) * step,
            Timestamp::as_second,
        );
        let points = i64::try_from(since.as_secs()).unwrap_or(i64::MAX) / step;
        let from = until.saturating_sub(points.saturating_mul(step));
        // First: a longer step would not help.
        if from < 0 {
            bail!(
                "the range begins before 1970: it ends at {}, and --since is {}",
                Timestamp::from_second(until).unwrap_or(Timestamp::MIN),
                length(since)
            );
        }
        self.check(points, step_s)?;
        Ok(Grid {
            from,
            step_s,
            points: usize::try_from(points).unwrap_or_default(),
        })
    }

    /// The part of a file that is wanted.
    fn of_file(&self, file: &History) -> anyhow::Result<History> {
        let step_s = self.step_s.unwrap_or(file.step_s);
        let step_of_file = length(Duration::from_secs(file.step_s.into()));
        if !step_s.is_multiple_of(file.step_s) {
            bail!(
                "--step {}: the file of --load has a value every {step_of_file}, and a step has to be a multiple of that",
                length(Duration::from_secs(step_s.into()))
            );
        }
        let (begin, end) = (file.from.as_second(), file.until().as_second());
        let until = self.until.map_or(end, Timestamp::as_second);
        let outside = |what: &str| {
            anyhow!(
                "{what}: the file of --load is from {} to {}",
                file.from,
                file.until()
            )
        };
        if until <= begin {
            return Err(outside("--until is before the beginning"));
        }
        if until > end {
            return Err(outside("--until is after the end"));
        }
        let from = self.since.map_or(begin, |since| {
            until.saturating_sub(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
        });
        if from < begin {
            return Err(outside("--since is before the beginning"));
        }
        let distance = i64::from(file.step_s);
        let first = (from - begin + distance - 1) / distance;
        let points = (until - begin - first * distance) / i64::from(step_s);
        self.check(points, step_s)?;
        let count = |number: i64| usize::try_from(number).unwrap_or_default();
        Ok(file.part(count(first), step_s / file.step_s, count(points)))
    }

    fn check(&self, points: i64, step_s: u32) -> anyhow::Result<()> {
        let step = length(Duration::from_secs(step_s.into()));
        if points < 1 {
            let since = self.since.map_or_else(String::new, length);
            bail!("--since {since} is shorter than a step ({step})");
        }
        if points > i64::try_from(MOST_STEPS).unwrap_or(i64::MAX) {
            bail!(
                "{points} steps of {step}: at most {MOST_STEPS} are replayed; choose a longer --step"
            );
        }
        Ok(())
    }
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A duration as settings have it, or in days.
fn long_duration(name: &str, text: &str) -> anyhow::Result<Duration> {
    let is_number =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(days) = text.strip_suffix('d').filter(is_number) {
        let days: u32 = days
            .parse()
            .map_err(|_| anyhow!("{name} {text:?}: it is too long"))?;
        return Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60));
    }
    duration::parse(text).map_err(|error| match error {
        DurationError::Negative | DurationError::Overflow => {
            anyhow!("{name} {text:?}: expected {error}")
        }
        DurationError::Malformed | DurationError::MissingUnit | DurationError::UnknownUnit(_) => {
            anyhow!("{name} {text:?}: expected a duration such as 90s, 15m, 1h30m or 24h, or whole days such as 30d")
        }
    })
}

/// The expressions to be compared, compiled with the same names.
struct Candidates {
    names: Names,
    kind: Kind,
    /// Each with its text.
    targets: Vec<(String, TargetExpressions)>,
    running: Option<Arc<Expression>>,
    /// The metrics that any of them reads.
    needed: Vec<String>,
}

impl Candidates {
    fn compile(
        fleet: &FleetConfig,
        options: &BacktestOptions,
        file: Option<&History>,
    ) -> anyhow::Result<Self> {
        let of_config = fleet.collectors.iter().map(|one| one.metric.as_str());
        let of_file = file.iter().flat_map(|file| file.metrics.keys());
        let metrics: Vec<&str> = of_config.chain(of_file.map(String::as_str)).collect();
        let names = Names::new(&metrics);
        let compile = |option: &str, text: &str| {
            Expression::compile(text, &names)
                .map(Arc::new)
                .map_err(|error| anyhow!("{option}: {error}"))
        };
        let again = |band: &ExpressionBand| -> anyhow::Result<ExpressionBand> {
            let compile = |expression: &Expression| compile("expression", expression.source());
            Ok(match band {
                ExpressionBand::Exact(exact) => ExpressionBand::Exact(compile(exact)?),
                ExpressionBand::Band { min, max } => ExpressionBand::Band {
                    min: compile(min)?,
                    max: compile(max)?,
                },
            })
        };
        let kind = match &fleet.targets {
            TargetExpressions {
                created: None,
                started: Some(_),
                ..
            } => Kind::Started,
            _ => Kind::Created,
        };
        let configured = TargetExpressions {
            created: fleet.targets.created.as_ref().map(again).transpose()?,
            started: fleet.targets.started.as_ref().map(again).transpose()?,
            may_be_none: fleet.targets.may_be_none,
        };
        let mut bands = Vec::new();
        for text in &options.expressions {
            bands.push(ExpressionBand::Exact(compile("--expression", text)?));
        }
        match (&options.min, &options.max) {
            (Some(min), Some(max)) => bands.push(ExpressionBand::Band {
                min: compile("--min", min)?,
                max: compile("--max", max)?,
            }),
            (None, None) => {}
            (Some(_), None) => bail!("--min goes with --max, which is missing"),
            (None, Some(_)) => bail!("--max goes with --min, which is missing"),
        }
        if bands.is_empty() {
            let band = configured.of_kind(kind).cloned();
            bands.push(band.context(
                "there is no expression: set FAS_CREATED_MACHINE_COUNT, or give --expression",
            )?);
        }
        let targets: Vec<(String, TargetExpressions)> = bands
            .into_iter()
            .map(|band| {
                let mut targets = configured.clone();
                let label = band.to_string();
                match kind {
                    Kind::Created => targets.created = Some(band),
                    Kind::Started => targets.started = Some(band),
                }
                (label, targets)
            })
            .collect();
        let running = running(fleet, options, configured.started.is_some())?
            .map(|text| compile("--running", &text))
            .transpose()?;
        if kind == Kind::Started && options.initial.is_none() {
            bail!(
                "FAS_STARTED_MACHINE_COUNT only starts and stops machines that exist: say how many there are with --initial N"
            );
        }
        let reads = |metric: &str| {
            targets.iter().any(|(_, targets)| targets.read(metric))
                || running
                    .as_ref()
                    .is_some_and(|running| running.reads(metric))
        };
        let mut needed: Vec<String> = Vec::new();
        for metric in metrics.into_iter().filter(|metric| reads(metric)) {
            if !needed.iter().any(|known| known == metric) {
                needed.push(metric.to_owned());
            }
        }
        if let (Some(file), Some(path)) = (file, &options.load) {
            for metric in &needed {
                if !file.metrics.contains_key(metric) {
                    bail!(
                        "{} has no metric {metric}; it has: {}",
                        path.display(),
                        file.metrics
                            .keys()
                            .map(String::as_str)
                            .collect::<Vec<_>>()
                            .join(", ")
                    );
                }
            }
            check_queries(fleet, file, &needed)
                .with_context(|| format!("--load: {}", path.display()))?;
        }
        Ok(Self {
            names,
            kind,
            targets,
            running,
            needed,
        })
    }
}

/// Whether a file's metrics were asked for with the queries that are set; one that says nothing of it is believed.
fn check_queries(fleet: &FleetConfig, file: &History, needed: &[String]) -> anyhow::Result<()> {
    let app = fleet.apps.pattern.as_str();
    let needed = fleet
        .collectors
        .iter()
        .filter(|collector| needed.contains(&collector.metric));
    for collector in needed {
        let metric = &collector.metric;
        let wanted = shown_query(&collector.query(fleet.subject(app)));
        if let Some(found) = file.queries.get(metric)
            && *found != wanted
        {
            bail!(
                "its metric {metric} was asked for with the query `{found}`, and the query that is set is `{wanted}`: save it \
                 anew without --load, or set the query that it has"
            );
        }
    }
    Ok(())
}

/// The expression of how many machines Fly Proxy had running, where that matters.
fn running(
    fleet: &FleetConfig,
    options: &BacktestOptions,
    has_started_target: bool,
) -> anyhow::Result<Option<String>> {
    if options.running.is_some() {
        return Ok(options.running.clone());
    }
    if fleet.policy.initial_state == InitialState::Started || has_started_target {
        return Ok(None);
    }
    let app = fleet.apps.pattern.as_str();
    let metric = fleet.collectors.iter().find(|collector| {
        collector
            .query(fleet.subject(app))
            .contains(RUNNING_MACHINES)
    });
    match metric {
        Some(collector) => Ok(Some(collector.metric.clone())),
        None => bail!(
            "new machines are stopped (FAS_INITIAL_MACHINE_STATE), so that Fly Proxy starts and stops them, and no metric \
             says how many it had running: give --running EXPRESSION, or a metric with the query \
             count({RUNNING_MACHINES}{{app='$APP_NAME'}})"
        ),
    }
}

/// The metrics that count the fleet itself, by their queries; the one that stands for the proxy's machines is meant so.
fn on_the_fleet<'a>(fleet: &'a FleetConfig, candidates: &Candidates) -> Vec<&'a str> {
    let app = fleet.apps.pattern.as_str();
    let is_of_fleet = |metric: &str, query: &str| {
        let is_running = candidates
            .running
            .as_ref()
            .is_some_and(|running| running.source() == metric);
        query.contains("fly_instance") && !is_running
    };
    fleet
        .collectors
        .iter()
        .filter(|collector| candidates.needed.contains(&collector.metric))
        .filter(|collector| is_of_fleet(&collector.metric, &collector.query(fleet.subject(app))))
        .map(|collector| collector.metric.as_str())
        .collect()
}

/// Asks for the history of every metric that is needed.
async fn fetch(
    (config, fleet): (&Config, &FleetConfig),
    extra_roots: Option<&[u8]>,
    candidates: &Candidates,
    wanted: &Wanted,
) -> anyhow::Result<History> {
    let grid = wanted.grid()?;
    let transport = ask::transport(config, extra_roots)?;
    let connections = Connections::new(transport, extra_roots);
    let app = fleet.apps.pattern.as_str();
    let without_history = fleet.collectors.iter().find(|collector| {
        collector.kind() != CollectorKind::Prometheus
            && candidates.needed.contains(&collector.metric)
    });
    if let Some(collector) = without_history {
        let (service, metric) = (collector.kind().title(), &collector.metric);
        bail!(
            "{service} has no history, and the expressions read its metric {metric}: leave it out with --expression, or \
             give its values in a file with --load, such as {}",
            History::example(app, metric)
        );
    }
    let bar = progress(
        grid.points * candidates.needed.len(),
        "asking for the history",
    );
    let mut metrics = BTreeMap::new();
    let mut all_spoiled = BTreeMap::new();
    let mut queries = BTreeMap::new();
    let mut log = PassLog::default();
    let name = FleetName::from(FleetParts {
        region: fleet.policy.region.clone(),
        ..FleetParts::only(app, &*fleet.policy.process_group)
    });
    for metric in &candidates.needed {
        let configured = fleet.collectors.iter().find(|one| one.metric == *metric);
        let configured = configured.with_context(|| format!("there is no metric {metric}"))?;
        let collector =
            Collector::new(configured, &connections).with_context(|| format!("metric {metric}"))?;
        let told = |points: usize| bar.inc(u64::try_from(points).unwrap_or_default());
        let past = collector
            .history(fleet.subject(app), grid, fleet.policy.timeout, told)
            .await
            .with_context(|| format!("metric {metric} has no history"))?;
        let Past {
            values,
            spoiled,
            series_count,
            warnings,
        } = past;
        let is_empty = values.iter().all(Option::is_none) && spoiled.is_empty();
        if is_empty && configured.empty_value().is_none() {
            bail!(
                "metric {metric} has no history: between {} and {} its query returned nothing; the query sent was: {}",
                Timestamp::from_second(grid.from)?,
                Timestamp::from_second(grid.at(grid.points))?,
                shown::excerpt(&collector.query(fleet.subject(app)), 300)
            );
        }
        bar.suspend(|| {
            log.warn_of(&name, metric, series_count, &warnings);
        });
        metrics.insert(metric.clone(), values);
        if !spoiled.is_empty() {
            all_spoiled.insert(metric.clone(), spoiled);
        }
        queries.insert(
            metric.clone(),
            shown_query(&collector.query(fleet.subject(app))),
        );
    }
    bar.finish_and_clear();
    Ok(History {
        spoiled: all_spoiled,
        queries,
        app: app.to_owned(),
        from: Timestamp::from_second(grid.from)?,
        step_s: grid.step_s,
        points: grid.points,
        metrics,
    })
}

/// A query as a file may hold it: without secrets.
fn shown_query(query: &str) -> String {
    shown::line(query, QUERY_LIMIT)
}

/// Puts `FAS_PROMETHEUS_EMPTY_VALUE` in the place of gaps, as passes do; what there is to say of it.
fn fill(fleet: &FleetConfig, history: &mut History) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    let metrics: Vec<String> = history.metrics.keys().cloned().collect();
    for metric in metrics {
        let is_empty = !history.knows(&metric);
        let collector = fleet.collectors.iter().find(|one| one.metric == metric);
        match collector.and_then(CollectorConfig::empty_value) {
            Some(value) => {
                if is_empty {
                    notes.push(format!(
                        "{metric} returned nothing at any time: it is replayed as {value} (FAS_PROMETHEUS_EMPTY_VALUE)"
                    ));
                }
                history.fill(&metric, value);
            }
            None if is_empty => bail!(
                "metric {metric} has no value between {} and {}",
                history.from,
                history.until()
            ),
            None => {}
        }
    }
    Ok(notes)
}

/// What there is to say of an outcome; an error where nothing was decided at all.
fn judge(
    label: &str,
    outcome: &Outcome,
    candidates: &Candidates,
    history: &History,
) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    if let Some(missing) = &outcome.missing {
        if missing.steps == history.points {
            bail!(
                "the expression `{label}` has no value in any pass: {}",
                missing.why
            );
        }
        let what = format!("`{label}`");
        let then = "the machines were left alone then, but for floor and fallbacks";
        notes.push(missing_note(&what, missing, history, then));
    }
    if let (Some(missing), Some(running)) = (&outcome.running_missing, &candidates.running) {
        if missing.steps == history.points {
            bail!(
                "--running `{}` has no value in any pass: {}",
                running.source(),
                missing.why
            );
        }
        let what = format!("--running `{}`", running.source());
        let then = "as many went on running as before";
        notes.push(missing_note(&what, missing, history, then));
    }
    Ok(notes)
}

fn show(report: &Report, options: &BacktestOptions) -> anyhow::Result<()> {
    if let Some(path) = &options.html {
        write_file("--html", path, &page::render(report))?;
    }
    if options.json {
        return pour(|out| export::json(report, out));
    }
    if options.csv {
        return pour(|out| export::csv(report, out));
    }
    if !is_terminal() {
        let lines = terminal::render(report, COLUMNS);
        return say(&terminal::without_colours(&lines));
    }
    let columns = Term::stdout().size_checked().map_or(COLUMNS, |(_, it)| it);
    let lines = terminal::render(report, columns);
    // https://no-color.org
    let has_colours = environment()
        .iter()
        .all(|(name, value)| name != "NO_COLOR" || value.is_empty());
    if !has_colours {
        return say(&terminal::without_colours(&lines));
    }
    pour(|out| {
        for line in &lines {
            for piece in line {
                let text = shown::block(&piece.text);
                match piece.colour {
                    None => write!(out, "{text}")?,
                    Some(colour) => write!(out, "\u{1b}[{}m{text}\u{1b}[0m", code(colour))?,
                }
            }
            writeln!(out)?;
        }
        Ok(())
    })
}

/// The terminal's number of a colour.
fn code(colour: Colour) -> u8 {
    match colour {
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Blue => 34,
    }
}

/// A bar on standard error, where that is a terminal.
fn progress(steps: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent}%") {
        bar.set_style(style);
    }
    bar.with_message(what)
}

fn read_file(path: &Path, app: &str) -> anyhow::Result<History> {
    let shown = path.display();
    let unreadable = || format!("--load: cannot read {shown}");
    // What is no plain file does not say how large it is.
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut bytes))
        .with_context(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size > FILE_LIMIT) {
        bail!("--load: {shown} is larger than {FILE_LIMIT} bytes");
    }
    let text = String::from_utf8(bytes).with_context(unreadable)?;
    History::from_json(&text, app).with_context(|| format!("--load: {shown}"))
}

fn write_file(option: &str, path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("{option}: cannot write {}", path.display()))?;
    stderr::write(shown::line(&format!("wrote {}", path.display()), 1000));
    Ok(())
}
