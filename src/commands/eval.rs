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

use super::{ask, block_on, cli::Chosen, extra_roots, load, say};
use crate::{
    check::worked_out,
    clock::Clock,
    collect::Connections,
    config::{Config, FleetConfig, Has, Purpose},
    daemon,
    error_chain::chain,
    expr::{EvalError, Expression, Names, Values},
    machines::AppClient,
    pass_log::PassLog,
    report::explain_target,
    scaling::{
        Bounds, Counts, ExpressionBand, FleetName, Kind, Memory, Note, Now, Target, regions_of,
    },
    shutdown::{Shutdown, shutdown},
    telemetry,
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

pub(super) fn run(config: Option<&Path>, chosen: Chosen, explain: bool) -> anyhow::Result<()> {
    let config = load(config, Purpose::Eval, chosen)?;
    let patterns = config.fleets.iter().map(|fleet| &fleet.apps.pattern);
    if let Some(pattern) = patterns.into_iter().find(|pattern| pattern.is_wildcard()) {
        bail!(
            "FAS_APP_NAME ({}) is a pattern: name one app, as in `fly-autoscaler eval --app NAME`",
            pattern.as_str()
        );
    }
    telemetry::init_plain(config.verbose);
    let extra_roots = extra_roots()?;
    block_on(async {
        let (_trigger, shutdown) = shutdown();
        let transport = ask::transport(&config, extra_roots.as_deref())?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let asker = Asker {
            config: &config,
            connections: Connections::new(transport, extra_roots.as_deref()),
            shutdown,
        };
        asker.evaluate_all(explain).await
    })
}

/// What is asked with.
struct Asker<'config> {
    config: &'config Config,
    connections: Connections,
    shutdown: Shutdown,
}

/// What the expressions of one fleet ask for.
struct Evaluated {
    evaluation: Evaluation,
    /// How it came about, for `--explain`.
    explanation: String,
    /// Why a kind has no value.
    errors: Vec<String>,
}

impl Evaluated {
    /// Whether some kind has a value.
    fn is_something(&self) -> bool {
        self.evaluation.created.min.is_some() || self.evaluation.started.min.is_some()
    }
}

impl Asker<'_> {
    /// Prints one object; of several fleets, one that has theirs by name.
    async fn evaluate_all(&self, explain: bool) -> anyhow::Result<()> {
        let fleets = &self.fleets().await?;
        let mut printed = BTreeMap::new();
        let mut explanations = Vec::new();
        let mut errors = Vec::new();
        let mut has_something = false;
        for fleet in fleets {
            let evaluated = match self.evaluate(fleet).await {
                Ok(evaluated) => evaluated,
                Err(error) if fleets.len() == 1 => return Err(error),
                Err(error) => {
                    errors.push(format!("{}: {}", fleet.name, chain(error.as_ref())));
                    continue;
                }
            };
            has_something |= evaluated.is_something();
            let Evaluated {
                evaluation,
                explanation,
                errors: of_fleet,
            } = evaluated;
            if fleets.len() == 1 {
                errors.extend(of_fleet);
                explanations.push(explanation);
            } else {
                let named = of_fleet
                    .into_iter()
                    .map(|error| format!("{}: {error}", fleet.name));
                errors.extend(named);
                explanations.push(format!("{}\n{explanation}", fleet.name));
            }
            printed.insert(fleet.name.as_str(), evaluation);
        }
        if explain {
            say(explanations.join("\n").trim_end())?;
        }
        // What one lacks is no reason to withhold the others, which the daemon acts on all the same.
        if errors.is_empty() || has_something {
            let mut values = printed.values();
            say(&match (fleets.len(), values.next()) {
                (1, Some(only)) => serde_json::to_string_pretty(only)?,
                _ => serde_json::to_string_pretty(&printed)?,
            })?;
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(anyhow!(errors.join("\nERROR: ")))
        }
    }

    /// The fleets that are evaluated: each region's, where each has targets of its own.
    async fn fleets(&self) -> anyhow::Result<Vec<FleetConfig>> {
        let mut fleets = Vec::new();
        let is_alone = self.config.fleets.len() == 1;
        for fleet in &self.config.fleets {
            let app = fleet.apps.pattern.as_str();
            let mut except = Vec::new();
            match self.config.has(fleet, app) {
                Has::AllBut(regions) => except = regions,
                Has::Nothing { by } => {
                    tracing::warn!(
                        "policy {by} comes before {} in the list and has its machines",
                        fleet.name
                    );
                    if !is_alone {
                        continue;
                    }
                }
            }
            if fleet.is_found {
                self.look_for_region(fleet, app).await?;
            }
            if !fleet.is_of_regions() {
                fleets.push(fleet.clone());
                continue;
            }
            let client = self.app_client(
                app,
                "FAS_PER_REGION without FAS_REGIONS means the regions in which there are machines",
            );
            let deadline = Instant::from_std(Clock::System.now().monotonic) + fleet.policy.timeout;
            let regions = match client {
                Ok(client) => ask::fleets_of(fleet, &client, deadline).await?,
                Err(_) if !fleet.policy.regions.is_empty() => {
                    let regions = fleet.policy.regions.iter();
                    regions.map(|region| fleet.of_region(region)).collect()
                }
                Err(error) => return Err(error),
            };
            let is_its_own = |one: &FleetConfig| {
                let region = one.policy.region.as_deref();
                !except.iter().any(|other| Some(other.as_str()) == region)
            };
            let (regions, others): (Vec<_>, Vec<_>) = regions.into_iter().partition(is_its_own);
            if regions.is_empty() && others.is_empty() {
                bail!(
                    "{app} has no machine of the group \"{}\" in any region: deploy it, or set FAS_REGIONS",
                    fleet.policy.process_group
                );
            }
            fleets.extend(regions);
        }
        Ok(fleets)
    }

    /// Refuses a region that nobody has set and in which the group has no machine: the daemon has no fleet there. Without a
    /// token nobody can say.
    async fn look_for_region(&self, fleet: &FleetConfig, app: &str) -> anyhow::Result<()> {
        let Ok(client) = self.app_client(app, "") else {
            return Ok(());
        };
        let deadline = Instant::from_std(Clock::System.now().monotonic) + fleet.policy.timeout;
        let machines = match client.list_machines(deadline).await {
            Ok(machines) => machines,
            Err(error) => {
                tracing::warn!(
                    "whether there is such a region is not known: {}",
                    chain(&error)
                );
                return Ok(());
            }
        };
        let regions = regions_of(&machines, &fleet.policy);
        let region = fleet.policy.region.as_deref().unwrap_or_default();
        if regions.contains(region) {
            return Ok(());
        }
        let group = &fleet.policy.process_group;
        let known: Vec<&str> = regions.iter().map(String::as_str).collect();
        if known.is_empty() {
            bail!("--region {region}: {app} has no machine of the group \"{group}\" in any region");
        }
        bail!(
            "--region {region}: {app} has no machine of the group \"{group}\" there, and FAS_REGIONS does not name it; it has some in {}",
            known.join(", ")
        );
    }

    async fn evaluate(&self, fleet: &FleetConfig) -> anyhow::Result<Evaluated> {
        let now = Clock::System.now();
        let timeout = fleet.policy.timeout;
        let deadline = Instant::from_std(now.monotonic) + timeout;
        let app = fleet.apps.pattern.as_str();
        let collectors = daemon::collectors(fleet, &self.connections)?;
        let readings = ask::collect((&collectors, app), &fleet.policy, now).await;
        let mut log = PassLog::default();
        let name = FleetName {
            region: fleet.policy.region.clone(),
            ..FleetName::only(app, &fleet.policy.process_group)
        };
        for (metric, result) in readings.iter() {
            if let Ok(sample) = result {
                log.warn_of(&name, metric, sample.element_count, &sample.warnings);
            }
        }
        let mut values = readings.values(&fleet.names);
        let mut metrics = readings.into_texts();
        let counts = wanted_counts(fleet);
        if !counts.is_empty() {
            let client = self.app_client(app, "an expression uses a machine count")?;
            let machines = client.list_machines(deadline).await?;
            let observed = Memory::default().note_list(machines, &fleet.policy, now);
            for (name, count) in Counts::of(&observed).by_name() {
                if counts.contains(&name) {
                    values.set(name, Some(count.into()));
                    metrics.insert(name.to_owned(), Ok(count.into()));
                }
            }
        }

        let mut explanation = String::new();
        let mut errors = Vec::new();
        for (metric, value) in &metrics {
            let line = match value {
                Ok(value) => format!("{metric} = {value}"),
                // Why is told beside it, on standard error.
                Err(_) => format!("{metric} has no value"),
            };
            writeln!(explanation, "{line}")?;
            let collector = collectors.iter().find(|one| one.metric() == metric);
            if let Some(query) = collector.map(|collector| collector.query(fleet.subject(app))) {
                // One of several lines stays under its metric.
                let query = query.trim_end().replace('\n', "\n    ");
                writeln!(explanation, "  query: {query}")?;
            }
        }
        let evaluated = fleet.targets.evaluate(&values, now);
        for kind in Kind::ALL {
            if let Some(band) = fleet.targets.of_kind(kind) {
                explanation.push_str(&explained(
                    (kind, fleet.targets.least(kind)),
                    band,
                    &values,
                    now,
                ));
            }
        }
        let needed: BTreeSet<&String> = evaluated
            .errors
            .iter()
            .filter_map(|error| match &error.error {
                EvalError::Missing(metric) => Some(metric),
                _ => None,
            })
            .collect();
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
        Ok(Evaluated {
            evaluation,
            explanation,
            errors,
        })
    }

    /// The client that lists the machines of an app.
    fn app_client(&self, app: &str, why: &str) -> anyhow::Result<AppClient> {
        let token = self.config.api.token.clone().with_context(|| {
            format!("{why}, and listing machines needs a token: set FAS_API_TOKEN (`fly tokens create deploy`)")
        })?;
        let transport = self.connections.transport();
        let api = ask::api(self.config, token, transport, self.shutdown.clone())?;
        Ok(AppClient::new(api, app))
    }
}

/// One line for each bound: the expression, its value, the count it becomes.
fn explained(
    (kind, least): (Kind, u32),
    band: &ExpressionBand,
    values: &Values,
    now: Now,
) -> String {
    let line = |(bound, expression): (&str, &Arc<Expression>)| {
        let result = worked_out(least, expression, values, now);
        let space = if bound.is_empty() { "" } else { " " };
        format!("{kind}{space}{bound}: {} {result}\n", expression.source())
    };
    band.expressions().map(line).collect()
}

/// The built-in counts that the expressions read and no metric provides.
fn wanted_counts(fleet: &FleetConfig) -> Vec<&'static str> {
    let is_metric = |name: &str| {
        let mut collectors = fleet.collectors.iter();
        collectors.any(|collector| collector.metric == name)
    };
    let counts = Names::COUNTS.into_iter();
    counts
        .filter(|name| !is_metric(name) && fleet.targets.read(name))
        .collect()
}
