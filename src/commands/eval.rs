//! `eval`: collects once and prints what the expressions ask for, before floor and limits. It writes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use tokio::time::Instant;

use super::{block_on, extra_roots, load, say};
use crate::{
    clock::Clock,
    collect::{Collector, collect_all},
    config::{Config, ExpressionBand, Purpose},
    error_chain::chain,
    expr::{EvalError, Expression, Names, Values},
    machines::{Api, ApiOptions, AppClient},
    metrics::Metrics,
    reconcile::{evaluate_band, explain_target, to_count},
    scaling::{Bounds, Kind, Memory, Note, Now, Target},
    shutdown::{Shutdown, shutdown},
    telemetry,
    transport::{HttpTransport, Transport},
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
    telemetry::init(config.log_format, config.verbose);
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
    let transport = HttpTransport::new(extra_roots, config.proxies.clone())
        .context("cannot prepare the HTTP client")?;
    let transport: Arc<dyn Transport> = Arc::new(transport);
    let now = Clock::System.now();
    let deadline = Instant::from_std(now.monotonic) + config.policy.timeout;
    let app = config.apps.pattern.as_str().to_owned();
    let collectors = config
        .collectors
        .iter()
        .map(|collector| {
            Collector::new(collector, Arc::clone(&transport), extra_roots)
                .with_context(|| format!("metric {}", collector.metric))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }

    let mut values = Values::new(&config.names);
    let mut metrics: BTreeMap<String, Result<f64, String>> = BTreeMap::new();
    let began = Instant::from_std(now.monotonic);
    let uncounted = Metrics::new();
    let timeout = config.policy.timeout;
    let samples = collect_all(&collectors, &app, now.wall, began, timeout, &uncounted).await;
    for (metric, result) in samples {
        let value = match result {
            Ok(sample) => {
                if sample.element_count > 1 {
                    tracing::warn!(
                        "the query of {metric} returned {} elements, and the first one is used; aggregate them, as with sum()",
                        sample.element_count
                    );
                }
                for warning in &sample.warnings {
                    tracing::warn!("the server warns about the query of {metric}: {warning}");
                }
                Ok(sample.value)
            }
            Err(error) => Err(chain(&error)),
        };
        values.set(metric, value.as_ref().ok().copied());
        metrics.insert(metric.to_owned(), value);
    }
    let counts = wanted_counts(&config);
    if !counts.is_empty() {
        let machines = count_machines(&config, transport, &app, now, deadline, shutdown).await?;
        for (name, count) in Names::COUNTS.into_iter().zip(machines) {
            if counts.contains(&name) {
                values.set(name, Some(count));
                metrics.insert(name.to_owned(), Ok(count));
            }
        }
    }

    let mut explanation = String::new();
    let mut errors = Vec::new();
    let mut needed = BTreeSet::new();
    for (metric, value) in &metrics {
        let line = match value {
            Ok(value) => format!("{metric} = {value}"),
            Err(why) => format!("{metric} has no value: {why}"),
        };
        writeln!(explanation, "{line}")?;
        let collector = collectors.iter().find(|one| one.metric() == metric);
        if let Some(query) = collector.map(|collector| collector.query(&app)) {
            // One of several lines stays under its metric.
            let query = query.trim_end().replace('\n', "\n    ");
            writeln!(explanation, "  query: {query}")?;
        }
    }
    let mut of_kind = |kind: Kind, band: Option<&ExpressionBand>| -> Printed {
        let Some(band) = band else {
            return Printed::default();
        };
        explanation.push_str(&explained(kind, band, &values, now));
        match evaluate_band(kind, band, &values, now) {
            Ok(target) => {
                if let Target::Capped { min, max } = target {
                    tracing::warn!("{}", Note::MinimumCapped { kind, min, max });
                }
                Printed::of(target.bounds())
            }
            Err(error) => {
                let why = explain_target(kind, &error, &metrics);
                errors.push(why.clone());
                if let EvalError::Missing(metric) = error.error {
                    needed.insert(metric);
                }
                Printed {
                    error: Some(why),
                    ..Printed::default()
                }
            }
        }
    };
    let evaluation = Evaluation {
        created: of_kind(Kind::Created, config.targets.created.as_ref()),
        started: of_kind(Kind::Started, config.targets.started.as_ref()),
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
        let result = match expression.evaluate(values, now.wall) {
            Err(error) => format!("failed: {error}"),
            Ok(value) => match to_count(kind, value) {
                Some(count) => format!("{value} -> {count}"),
                None => format!("{value}, which is too large to be a count"),
            },
        };
        let space = if bound.is_empty() { "" } else { " " };
        format!("{kind}{space}{bound}: {} = {result}\n", expression.source())
    };
    band.expressions().map(line).collect()
}

/// The built-in counts that the expressions read and no metric provides.
fn wanted_counts(config: &Config) -> Vec<&'static str> {
    let bands = [&config.targets.created, &config.targets.started];
    let expressions: Vec<_> = bands
        .into_iter()
        .flatten()
        .flat_map(ExpressionBand::expressions)
        .map(|(_, expression)| expression)
        .collect();
    Names::COUNTS
        .into_iter()
        .filter(|name| {
            config
                .collectors
                .iter()
                .all(|collector| collector.metric != *name)
        })
        .filter(|name| expressions.iter().any(|expression| expression.reads(name)))
        .collect()
}

async fn count_machines(
    config: &Config,
    transport: Arc<dyn Transport>,
    app: &str,
    now: Now,
    deadline: Instant,
    shutdown: Shutdown,
) -> anyhow::Result<[f64; 3]> {
    let token = config.api.token.clone().context(
        "an expression counts machines, which need a token to be listed: set FAS_API_TOKEN (`fly tokens create deploy`)",
    )?;
    let options = ApiOptions {
        machines_url: config.api.machines_url.clone(),
        graphql_url: config.api.graphql_url.clone(),
        token,
        dry_run: true,
        jitter_seed: 0,
    };
    let api = Api::new(transport, options, Metrics::new(), shutdown)
        .map_err(|message| anyhow!(message))?;
    let listed = AppClient::new(Arc::new(api), app)
        .list_machines(deadline)
        .await?;
    let observed = Memory::default().observe(listed.machines, &config.policy, now);
    Ok([
        observed.created.into(),
        observed.started.into(),
        observed.stopped.into(),
    ])
}
