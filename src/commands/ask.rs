//! What the commands ask with that look and write nothing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use futures_util::future::join_all;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::{
    collect::{Collector, EachRegion, Readings, collect_all},
    config::{Config, FleetConfig},
    machines::{Api, ApiError, ApiOptions, AppClient},
    metrics::Metrics,
    scaling::{Machine, Now, Policy, regions_of},
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

/// The fleets of a policy in an app: itself, or one for each region, of those that are set or in which the app has machines
/// of the group. None where it has none.
///
/// # Errors
///
/// When the machines cannot be listed and have to be.
pub(super) async fn fleets_of(
    settings: &FleetConfig,
    client: &AppClient,
    deadline: Instant,
) -> Result<Vec<FleetConfig>, ApiError> {
    if !settings.is_of_regions() {
        return Ok(vec![settings.clone()]);
    }
    let machines = if settings.policy.regions.is_empty() {
        client.list_machines(deadline).await?
    } else {
        Vec::new()
    };
    Ok(regions(settings, &machines))
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

/// Asks for the metrics of one fleet as a pass does.
pub(super) async fn collect(
    (collectors, app): (&[Collector], &str),
    policy: &Policy,
    now: Now,
) -> Readings {
    let regions: Vec<Arc<str>> = policy.region.iter().cloned().collect();
    let mut each = collect_each((collectors, app), regions, policy.timeout, now).await;
    each.pop().unwrap_or_default()
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
    if regions.is_empty() {
        return vec![collect_all(collectors, app, now, timeout, &uncounted).await];
    }
    let places = 0..regions.len();
    let questions = EachRegion::new(collectors, (app, regions), now, timeout, &uncounted);
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
        dry_run: true,
        jitter_seed: 0,
        concurrency: config.api.concurrency,
    };
    let api = Api::new(transport, options, Metrics::new(), shutdown)
        .map_err(|message| anyhow!(message))?;
    Ok(Arc::new(api))
}
