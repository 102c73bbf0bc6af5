//! `eval`: collects once and prints what the expressions ask for, before floor and limits. It writes nothing.
//!
//! All fleets are asked about side by side, as in a pass, and so within its time. What comes of it is told one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, anyhow, bail};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::{
    join,
    sync::{Mutex, OnceCell},
    time::Instant,
};

use super::{ask, block_on, cli::Chosen, extra_roots, load, say};
use crate::{
    check::worked_out,
    clock::Clock,
    collect::{Collector, Connections, Readings},
    config::{Config, FleetConfig, Has, Purpose},
    daemon,
    error_chain::chain,
    expr::{EvalError, Expression, Names, Values},
    machines::{ApiError, AppClient},
    pass_log::PassLog,
    report::explain_target,
    scaling::{
        Bounds, Counts, ExpressionBand, FleetName, FleetParts, Kind, Machine, Memory, Note, Now,
        Target, regions_of,
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
            began: Clock::System.now(),
            lists: Mutex::default(),
        };
        asker.evaluate_all(explain).await
    })
}

/// What is asked with.
struct Asker<'config> {
    config: &'config Config,
    connections: Connections,
    shutdown: Shutdown,
    /// When it began: all of it has to be over `FAS_TIMEOUT` later.
    began: Now,
    /// The machines of each app, once somebody has asked.
    lists: Mutex<BTreeMap<String, Arc<OnceCell<List>>>>,
}

/// The machines of an app, for all that look at them.
type List = Result<Arc<Vec<Machine>>, Arc<ApiError>>;

/// What was asked about one fleet.
struct Looked {
    readings: Readings,
    /// Where an expression reads a count.
    machines: anyhow::Result<Option<Arc<Vec<Machine>>>>,
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
        let policies = &self.fleets().await?;
        let now = Clock::System.now();
        let looks = policies.iter().map(|fleets| self.look(fleets, now));
        let looks = join_all(looks).await;
        let is_alone = policies.iter().flatten().count() == 1;
        let mut evaluations = Vec::new();
        for (fleets, looked) in policies.iter().zip(looks) {
            match looked {
                Err(error) if is_alone => return Err(error),
                Err(error) => {
                    let error = chain(error.as_ref());
                    evaluations.extend(fleets.iter().map(|fleet| (fleet, Err(anyhow!("{error}")))));
                }
                Ok((collectors, looks)) => {
                    let looks = fleets.iter().zip(looks);
                    evaluations.extend(looks.map(|(fleet, looked)| {
                        (fleet, Self::evaluate(fleet, &collectors, looked, now))
                    }));
                }
            }
        }
        let mut printed = BTreeMap::new();
        let mut explanations = Vec::new();
        let mut errors = Vec::new();
        let mut has_something = false;
        for (fleet, evaluated) in evaluations {
            let evaluated = match evaluated {
                Ok(evaluated) => evaluated,
                Err(error) if is_alone => return Err(error),
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
            if is_alone {
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
            say(&match (is_alone, values.next()) {
                (true, Some(only)) => serde_json::to_string_pretty(only)?,
                _ => serde_json::to_string_pretty(&printed)?,
            })?;
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(anyhow!(errors.join("\nERROR: ")))
        }
    }

    /// The fleets that are evaluated, by policy: each region's, where each has targets of its own.
    async fn fleets(&self) -> anyhow::Result<Vec<Vec<FleetConfig>>> {
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
                fleets.push(vec![fleet.clone()]);
                continue;
            }
            let machines = if fleet.policy.regions.is_empty() {
                let why = "FAS_PER_REGION without FAS_REGIONS means the regions in which there are machines";
                let client = self.app_client(app, why)?;
                self.list(&client, self.half(fleet)).await?
            } else {
                Arc::default()
            };
            let regions = ask::regions(fleet, &machines);
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
            fleets.push(regions);
        }
        Ok(fleets)
    }

    /// Refuses a region that nobody has set and in which the group has no machine: the daemon has no fleet there. Without a
    /// token nobody can say.
    async fn look_for_region(&self, fleet: &FleetConfig, app: &str) -> anyhow::Result<()> {
        let Ok(client) = self.app_client(app, "") else {
            return Ok(());
        };
        let machines = match self.list(&client, self.half(fleet)).await {
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

    /// When half of the time is over: which fleets there are has to be known by then, and the metrics get the other half.
    fn half(&self, fleet: &FleetConfig) -> Instant {
        Instant::from_std(self.began.monotonic) + fleet.policy.timeout / 2
    }

    /// The machines of an app, which are asked for once.
    async fn list(&self, client: &AppClient, deadline: Instant) -> List {
        let app = client.app().to_owned();
        let list = Arc::clone(self.lists.lock().await.entry(app).or_default());
        let ask = async || {
            let machines = client.list_machines(deadline).await;
            machines.map(Arc::new).map_err(Arc::new)
        };
        list.get_or_init(ask).await.clone()
    }

    /// Asks for all that the fleets of a policy want to know, side by side.
    async fn look(
        &self,
        fleets: &[FleetConfig],
        now: Now,
    ) -> anyhow::Result<(Vec<Collector>, Vec<Looked>)> {
        let Some(first) = fleets.first() else {
            return Ok((Vec::new(), Vec::new()));
        };
        let collectors = daemon::collectors(first, &self.connections)?;
        let (app, timeout) = (first.apps.pattern.as_str(), first.policy.timeout);
        let regions = fleets
            .iter()
            .filter_map(|fleet| fleet.policy.region.clone());
        let readings = ask::collect_each((&collectors, app), regions.collect(), timeout, now);
        let machines = join_all(fleets.iter().map(|fleet| self.counted(fleet)));
        let (readings, machines) = join!(readings, machines);
        let looks = readings.into_iter().zip(machines);
        let looks = looks.map(|(readings, machines)| Looked { readings, machines });
        let looks = looks.collect();
        Ok((collectors, looks))
    }

    /// The machines, where an expression of the fleet reads a count of them.
    async fn counted(&self, fleet: &FleetConfig) -> anyhow::Result<Option<Arc<Vec<Machine>>>> {
        if wanted_counts(fleet).is_empty() {
            return Ok(None);
        }
        let app = fleet.apps.pattern.as_str();
        let client = self.app_client(app, "an expression uses a machine count")?;
        let deadline = Instant::from_std(self.began.monotonic) + fleet.policy.timeout;
        Ok(Some(self.list(&client, deadline).await?))
    }

    /// What the expressions of a fleet make of what was asked about it.
    fn evaluate(
        fleet: &FleetConfig,
        collectors: &[Collector],
        looked: Looked,
        now: Now,
    ) -> anyhow::Result<Evaluated> {
        let app = fleet.apps.pattern.as_str();
        let Looked { readings, machines } = looked;
        let mut log = PassLog::default();
        let name = FleetName::from(FleetParts {
            region: fleet.policy.region.clone(),
            ..FleetParts::only(app, &*fleet.policy.process_group)
        });
        for (metric, result) in readings.iter() {
            if let Ok(sample) = result {
                log.warn_of(&name, metric, sample.element_count, &sample.warnings);
            }
        }
        let mut values = readings.values(&fleet.names);
        let mut metrics = readings.into_texts();
        if let Some(machines) = machines? {
            let counts = wanted_counts(fleet);
            let observed = Memory::default().note_list(machines.to_vec(), &fleet.policy, now);
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
