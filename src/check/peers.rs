//! The step `peers`: whether a second copy runs that would do everything once more.

use crate::{config::Config, peers};

use super::{Step, StepKind};

/// What is said of other copies. `answer` is how many addresses [`crate::config::OwnMachine::copies`] has, or why that is not
/// known; `None`: nobody asked.
#[must_use]
pub fn peers(config: &Config, answer: Option<&Result<usize, String>>) -> Step {
    let skipped = |why: &str| Step::skipped(StepKind::Peers, why);
    let is_dry = config.api.dry_run;
    if config.lock.is_some() && !is_dry {
        return skipped("with a lock any number of copies may run");
    }
    let (Some(app), Some(name)) = (&config.own.app, config.own.copies()) else {
        return skipped(
            "only on a machine of the autoscaler's own app Fly's DNS says whether a second copy runs",
        );
    };
    let addresses = match answer {
        None => return skipped("Fly's DNS was not asked"),
        Some(Err(why)) => {
            return skipped(&format!(
                "cannot tell whether a second copy runs: {name}: {why}"
            ));
        }
        Some(Ok(addresses)) => *addresses,
    };
    let step = match addresses {
        0 | 1 => Step::ok(
            StepKind::Peers,
            format!("one copy runs, as far as Fly's DNS knows ({name})"),
        ),
        several if is_dry => Step::warning(
            StepKind::Peers,
            format!(
                "{several} copies run ({name}): a dry run does no harm, but without a lock each would act in earnest"
            ),
        )
        .hint(peers::advice(app)),
        several => Step::failed(
            StepKind::Peers,
            format!(
                "{several} copies run without a lock ({name}), and each of them acts: what is missing is created {several} times"
            ),
        )
        .hint(format!(
            "{}\nif the autoscaler is being deployed just now, check again in a minute",
            peers::advice(app)
        )),
    };
    step.with("addresses", addresses)
}
