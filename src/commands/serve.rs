//! `serve`: the daemon.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{block_on, cli::Chosen, commit, extra_roots, load};
use crate::{
    config::{Config, Purpose},
    daemon::Daemon,
    shown,
    shutdown::{ShutdownTrigger, shutdown},
    status::RESOLUTION,
    telemetry,
};

/// The exit code after a second signal, as shells give it for SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

pub(super) fn run(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    let config = load(config, Purpose::Serve, Chosen::default())?;
    telemetry::init(config.log_format, config.verbose);
    let extra_roots = extra_roots()?;
    block_on(async {
        let signals = Signals::listen()?;
        let (trigger, shutdown) = shutdown();
        announce(&config);
        let daemon = Daemon::bind(config, extra_roots.as_deref(), shutdown, RESOLUTION)?;
        let address = daemon
            .metrics_address()
            .context("the listener has no address")?;
        tracing::info!(address = %address, "serving the status page, /api/status, /metrics, /healthz and /readyz on {address}");
        let again = signals.end_with(Arc::new(trigger));
        unless_interrupted(again, async {
            // In a task: each time that something wakes the future which a runtime is entered with, the runtime wakes
            // itself by a call of the system.
            tokio::spawn(daemon.run())
                .await
                .context("the daemon has ended by a panic (a bug)")?;
            tracing::info!("stopped");
            Ok(())
        })
        .await
    })
}

fn announce(config: &Config) {
    for fleet in &config.fleets {
        let settings = fleet.summary(config);
        let settings: Vec<String> = settings
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let name = if config.fleets.len() == 1 {
            fleet.apps.pattern.as_str()
        } else {
            &fleet.name
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            commit = commit(),
            settings = %settings.join(" "),
            "fly-autoscaler {} starts to scale {name}", env!("CARGO_PKG_VERSION"),
        );
    }
    if let Some(place) = &config.dry_run_by {
        tracing::info!("dry run ({place}): changes are logged, but not made");
    }
    announce_lock(config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

/// Every start says whether there is a lock: without one a second copy would do everything twice.
fn announce_lock(config: &Config) {
    match &config.lock {
        Some(lock) if config.api.dry_run => {
            let setting = &lock.setting;
            tracing::info!("the lock of {setting} is not taken in a dry run");
        }
        Some(lock) => {
            let (address, name) = (shown::address(&lock.address), &lock.name);
            if lock.shards > 1 {
                let shards = lock.shards;
                tracing::info!(
                    "copies named {name} divide the apps into {shards} shards by locks in Consul at {address}: this one scales those of the shards that it holds"
                );
                return;
            }
            tracing::info!(
                "copies named {name} take turns by a lock in Consul at {address}: this one writes while it holds it"
            );
        }
        None => tracing::info!("no lock is configured (FAS_LOCK_URL): run one copy only"),
    }
}

/// SIGINT and SIGTERM: the first one ends the program in order, a second one at once.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on, so that a signal during start-up is not lost.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The name of the next one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            // Cancel safe, both: a signal that is not taken here is taken by the next call.
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Sets the flag at the first signal; what it returns is told of the second.
    pub(super) fn end_with(mut self, trigger: Arc<ShutdownTrigger>) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let name = self.next().await;
            tracing::info!(signal = name, "{name}: stopping");
            trigger.set();
            let name = self.next().await;
            tracing::warn!(signal = name, "{name} again: exiting immediately");
            // Whoever does not listen has ended already.
            let _ = tell.send(());
        });
        told
    }
}

/// Works until it is done, or until the user asks a second time not to wait for anything.
pub(super) async fn unless_interrupted(
    again: oneshot::Receiver<()>,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        biased;
        // Cancel safe, both: nothing comes after this.
        Ok(()) = again => Ok(ExitCode::from(INTERRUPTED)),
        done = work => done.map(|()| ExitCode::SUCCESS),
    }
}
