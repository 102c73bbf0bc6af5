//! The step `lock`, where one is configured: whether this copy could take it, and who has it.

use crate::{
    config::LockConfig,
    error_chain::chain,
    lock::{Account, ConsulError, Differences, Entry, ProbeError},
    shown,
};

use super::{Report, Status, Step, StepKind, hints};

/// What a lock that is configured is found to be: it was tried with a key of its own. `None`: it was not, in a dry run.
/// `apps` is what this copy says of itself that it scales.
#[must_use]
pub fn lock(
    lock: &LockConfig,
    apps: &str,
    probe: Option<&Result<Option<Entry>, ProbeError>>,
) -> Step {
    let address = shown::address(&lock.address);
    let name = &lock.name;
    let step = match probe {
        None => Step::skipped(StepKind::Lock, "a dry run does not take the lock"),
        Some(Ok(holder)) if lock.shards > 1 => {
            let shards = lock.shards;
            let whose = match holder {
                None => "which no copy holds now".to_owned(),
                Some(entry) => {
                    let account = Account::read(&entry.value);
                    let theirs = account.and_then(|account| account.shards).unwrap_or(1);
                    if theirs == shards {
                        "which copies hold now".to_owned()
                    } else {
                        format!(
                            "which they do not get before the last copy with FAS_SHARDS={theirs} is gone"
                        )
                    }
                }
            };
            Step::ok(
                StepKind::Lock,
                format!(
                    "copies named {name} divide the apps into {shards} shards by locks in Consul at {address}, {whose}"
                ),
            )
        }
        Some(Ok(None)) => Step::ok(
            StepKind::Lock,
            format!(
                "copies named {name} take turns by a lock in Consul at {address}, which nobody holds now"
            ),
        ),
        Some(Ok(Some(entry))) => {
            let who = Account::holder(&entry.value);
            Step::ok(
                StepKind::Lock,
                format!("copies named {name} take turns by a lock in Consul at {address}, which is held by {who}"),
            )
            .with("holder", entry.value.clone())
        }
        Some(Err(error)) => Step::failed(
            StepKind::Lock,
            format!(
                "without the lock in Consul at {address} no copy writes: {}",
                chain(error)
            ),
        )
        .hint(match error.source {
            ConsulError::Token { .. } | ConsulError::Denied { .. } => {
                hints::lock_refused(&lock.setting)
            }
            _ => hints::no_lock(&lock.setting),
        }),
    };
    let holder = probe.and_then(|probe| probe.as_ref().ok()?.as_ref());
    let differences = holder.and_then(|entry| {
        let account = Account::read(&entry.value)?;
        Some(account.differences(apps, lock.shards))
    });
    let (more, hint) = match differences {
        Some(Differences {
            shards: Some(_), ..
        }) => (
            "this copy writes nothing as long as they run".to_owned(),
            hints::other_shards(),
        ),
        Some(Differences {
            apps: Some(theirs), ..
        }) => (
            format!(
                "that one scales {theirs}, and this copy {apps}, so that one of the two is not scaled"
            ),
            hints::another_lock(),
        ),
        _ => return step.named(name.as_str()),
    };
    let step = Step {
        status: Status::Warning,
        sentence: format!("{}; {more}", step.sentence),
        ..step
    };
    step.hint(hint).named(name.as_str())
}

impl Report {
    /// With this in place of what is said where nobody has tried it.
    #[must_use]
    pub fn with(mut self, tried: &Step) -> Self {
        let steps = self.steps.iter_mut();
        for step in steps.filter(|step| step.kind == tried.kind) {
            step.clone_from(tried);
        }
        self
    }
}
