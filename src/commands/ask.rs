//! What the commands ask with that look and write nothing.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use secrecy::SecretString;

use crate::{
    config::Config,
    machines::{Api, ApiOptions},
    metrics::Metrics,
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
