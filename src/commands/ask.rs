//! What the commands ask with that look and write nothing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use futures_util::future::join_all;
use secrecy::SecretString;

use crate::{
    collect::{Collector, Questions, Readings},
    config::{Config, FleetConfig},
    lock::Gate,
    machines::{Api, ApiOptions},
    metrics::Metrics,
    scaling::{Machine, Now, regions_of},
    shutdown::Shutdown,
    transport::{HttpTransport, Transport},
};

/// The HTTP client, as the daemon has it.
pub(super) fn transport(
    config: &Config,
    extra_roots: Option<&[u8]>,
) -> anyhow::Result<Arc<dyn Transport>> {
    let transport = HttpTransport::new(extra_roots, config.proxies.clone())
        .context("cannot prepare the HTTP client")?;
    Ok(Arc::new(transport))
}

/// The fleets of a policy that has one for each region: of those that are set, or else of those in which a list shows machines of
/// the group.
pub(super) fn regions(settings: &FleetConfig, machines: &[Machine]) -> Vec<FleetConfig> {
    let policy = &settings.policy;
    let regions: BTreeSet<String> = if policy.regions.is_empty() {
        regions_of(machines, policy)
    } else {
        policy.regions.iter().cloned().collect()
    };
    let fleets = regions.iter().map(|region| settings.of_region(region));
    fleets.collect()
}

/// Asks for the metrics of these regions as a pass does, which asks for all of them at once where it can; without any, for those
/// of an app.
pub(super) async fn collect_each(
    (collectors, app): (&[Collector], &str),
    regions: Vec<Arc<str>>,
    timeout: Duration,
    now: Now,
) -> Vec<Readings> {
    let uncounted = Metrics::new();
    let places = 0..regions.len().max(1);
    let questions = Questions::new(collectors, (app, regions), now, timeout, &uncounted);
    join_all(places.map(|place| questions.of(place))).await
}

/// Fly's APIs. No write can leave it, whatever the configuration says.
pub(super) fn api(
    config: &Config,
    token: SecretString,
    transport: Arc<dyn Transport>,
    shutdown: Shutdown,
) -> anyhow::Result<Arc<Api>> {
    let options = ApiOptions {
        machines_url: config.api.machines_url.clone(),
        graphql_url: config.api.graphql_url.clone(),
        token,
        gate: Gate::open(),
        dry_run: true,
        jitter_seed: 0,
        concurrency: config.api.concurrency,
    };
    let api = Api::new(transport, options, Metrics::new(), shutdown)
        .map_err(|message| anyhow!(message))?;
    Ok(Arc::new(api))
}
