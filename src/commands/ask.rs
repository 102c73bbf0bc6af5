//! What the commands ask with that look and write nothing.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context as _, anyhow};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::{
    collect::{Collector, EachRegion, Readings, collect_all},
    config::{Config, FleetConfig},
    machines::{Api, ApiError, ApiOptions, AppClient},
    metrics::Metrics,
    scaling::{Now, Policy, regions_of},
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
    let policy = &settings.policy;
    let regions: BTreeSet<String> = if policy.regions.is_empty() {
        regions_of(&client.list_machines(deadline).await?, policy)
    } else {
        policy.regions.iter().cloned().collect()
    };
    let fleets = regions.iter().map(|region| settings.of_region(region));
    Ok(fleets.collect())
}

/// Asks for the metrics of one fleet as a pass does.
pub(super) async fn collect(
    (collectors, app): (&[Collector], &str),
    policy: &Policy,
    now: Now,
) -> Readings {
    let (timeout, uncounted) = (policy.timeout, Metrics::new());
    match &policy.region {
        None => collect_all(collectors, app, now, timeout, &uncounted).await,
        Some(region) => {
            let about = (app, vec![Arc::clone(region)]);
            let questions = EachRegion::new(collectors, about, now, timeout, &uncounted);
            questions.of(0).await
        }
    }
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
