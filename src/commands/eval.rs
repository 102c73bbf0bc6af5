//! `eval`: collects once and prints what the expressions ask for, before floor and limits. It writes nothing.

use std::{collections::BTreeSet, fmt::Write as _, path::Path, sync::Arc};

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use tokio::time::Instant;

use super::{ask, block_on, extra_roots, load, say};
use crate::{
    check::worked_out,
    clock::Clock,
    collect::collect_all,
    config::{Config, Purpose},
    expr::{EvalError, Expression, Names, Values},
    machines::AppClient,
    metrics::Metrics,
    pass_log::PassLog,
    report::explain_target,
    scaling::{Bounds, Counts, ExpressionBand, Kind, Memory, Note, Now, Target},
    shutdown::{Shutdown, shutdown},
    telemetry,
    transport::Transport,
};

/// What is printed: upstream's JSON, with `null` for what is not set.
#[derive(Debug, Serialize)]
struct Evaluation {
    created: Printed,
    started: Printed,
}

#[derive(Debug, Default, Serialize)]
struct Printed {
    min: Option<u32>,
    max: Option<u32>,
    /// Why there is neither although an expression is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Printed {
    fn of(bounds: Option<Bounds>) -> Self {
        Self {
            min: bounds.map(|bounds| bounds.min),
            max: bounds.map(|bounds| bounds.max),
            error: None,
        }
    }
}

pub(super) fn run(config: Option<&Path>, app: Option<String>, explain: bool) -> anyhow::Result<()> {
    let config = load(config, Purpose::Eval, app)?;
    if config.apps.pattern.is_wildcard() {
        bail!(
            "FAS_APP_NAME ({}) is a pattern: name one app, as in `fly-autoscaler eval --app NAME`",
            config.apps.pattern.as_str()
        );
    }
    telemetry::init_plain(config.verbose);
    let extra_roots = extra_roots()?;
    let text = block_on(async {
        let (_trigger, shutdown) = shutdown();
        evaluate(config, extra_roots.as_deref(), explain, shutdown).await
    })?;
    say(&text)
}

async fn evaluate(
    config: Config,
    extra_roots: Option<&[u8]>,
    explain: bool,
    shutdown: Shutdown,
) -> anyhow::Result<String> {
    let transport = ask::transport(&config, extra_roots)?;
    let now = Clock::System.now();
    let deadline = Instant::from_std(now.monotonic) + config.policy.timeout;
    let app = config.apps.pattern.as_str().to_owned();
    let collectors = ask::collectors(&config, &transport, extra_roots)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }

    let uncounted = Metrics::new();
    let timeout = config.policy.timeout;
    let readings = collect_all(&collectors, &app, now, timeout, &uncounted).await;
    let mut log = PassLog::default();
    for (metric, result) in readings.iter() {
        if let Ok(sample) = result {
            log.warn_of(&app, metric, sample.element_count, &sample.warnings);
        }
    }
    let mut values = readings.values(&config.names);
    let mut metrics = readings.into_texts();
    let counts = wanted_counts(&config);
    if !counts.is_empty() {
        let client = app_client(&config, transport, &app, shutdown)?;
        let machines = client.list_machines(deadline).await?;
        let observed = Memory::default().note_list(machines, &config.policy, now);
        for (name, count) in Counts::of(&observed).by_name() {
            if counts.contains(&name) {
                values.set(name, Some(count.into()));
                metrics.insert(name.to_owned(), Ok(count.into()));
            }
        }
    }

    let mut explanation = String::new();
    let mut errors = Vec::new();
    let mut needed = BTreeSet::new();
    for (metric, value) in &metrics {
        let line = match value {
            Ok(value) => format!("{metric} = {value}"),
            // Why is told beside it, on standard error.
            Err(_) => format!("{metric} has no value"),
        };
        writeln!(explanation, "{line}")?;
        let collector = collectors.iter().find(|one| one.metric() == metric);
        if let Some(query) = collector.map(|collector| collector.query(&app)) {
            // One of several lines stays under its metric.
            let query = query.trim_end().replace('\n', "\n    ");
            writeln!(explanation, "  query: {query}")?;
        }
    }
    let evaluated = config.targets.evaluate(&values, now);
    for kind in Kind::ALL {
        if let Some(band) = config.targets.of_kind(kind) {
            explanation.push_str(&explained(kind, band, &values, now));
        }
    }
    for error in &evaluated.errors {
        if let EvalError::Missing(metric) = &error.error {
            needed.insert(metric);
        }
    }
    let mut printed = |kind: Kind, target: Target| {
        if let Target::Capped { min, max } = target {
            tracing::warn!("{}", Note::MinimumCapped { kind, min, max });
        }
        let error = evaluated.errors.iter().find(|error| error.kind == kind);
        let error = error.map(|error| explain_target(error, &metrics));
        errors.extend(error.clone());
        Printed {
            error,
            ..Printed::of(target.bounds())
        }
    };
    let evaluation = Evaluation {
        created: printed(Kind::Created, evaluated.targets.created),
        started: printed(Kind::Started, evaluated.targets.started),
    };
    // Also where `??` makes it good: this is the tool for trying a query. An error names the one that it needs.
    for (metric, value) in &metrics {
        if let Err(why) = value
            && !needed.contains(metric)
        {
            tracing::warn!("metric {metric} has no value: {why}");
        }
    }
    let json = serde_json::to_string_pretty(&evaluation)?;
    if !errors.is_empty() {
        if explain {
            say(explanation.trim_end())?;
        }
        // What one kind lacks is no reason to withhold the other, which the daemon acts on all the same.
        if evaluation.created.min.is_some() || evaluation.started.min.is_some() {
            say(&json)?;
        }
        return Err(anyhow!(errors.join("\nERROR: ")));
    }
    Ok(if explain {
        format!("{explanation}{json}")
    } else {
        json
    })
}

/// One line for each bound: the expression, its value, the count it becomes.
fn explained(kind: Kind, band: &ExpressionBand, values: &Values, now: Now) -> String {
    let line = |(bound, expression): (&str, &Arc<Expression>)| {
        let result = worked_out(kind, expression, values, now);
        let space = if bound.is_empty() { "" } else { " " };
        format!("{kind}{space}{bound}: {} = {result}\n", expression.source())
    };
    band.expressions().map(line).collect()
}

/// The built-in counts that the expressions read and no metric provides.
fn wanted_counts(config: &Config) -> Vec<&'static str> {
    let is_metric = |name: &str| {
        let mut collectors = config.collectors.iter();
        collectors.any(|collector| collector.metric == name)
    };
    let counts = Names::COUNTS.into_iter();
    counts
        .filter(|name| !is_metric(name) && config.targets.read(name))
        .collect()
}

/// The client that lists the machines of an app.
fn app_client(
    config: &Config,
    transport: Arc<dyn Transport>,
    app: &str,
    shutdown: Shutdown,
) -> anyhow::Result<AppClient> {
    let token = config.api.token.clone().context(
        "an expression uses a machine count, and listing machines needs a token: set FAS_API_TOKEN (`fly tokens create deploy`)",
    )?;
    Ok(AppClient::new(
        ask::api(config, token, transport, shutdown)?,
        app,
    ))
}
