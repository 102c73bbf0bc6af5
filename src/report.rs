//! What became of one pass, for everybody who shows it: the log, `/metrics`, health.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    collect::CollectError,
    error_chain::chain,
    expr::EvalError,
    inventory::Inventory,
    labels::PassError,
    machines::{ApiError, ApiErrorCause},
    scaling::{Bounds, Decision, FleetName, Kind, Note, Now, Reason, TargetError, Targets},
};

/// What became of one pass.
#[derive(Debug, Clone)]
pub struct PassReport {
    /// Whose.
    pub fleet: FleetName,
    /// When it began.
    pub began: Now,
    /// How long it took.
    pub took: Duration,
    /// What was decided.
    pub decision: Decision,
    /// Why, in numbers.
    pub reason: Reason,
    /// What else there is to say.
    pub notes: Vec<Note>,
    /// What was done, one line a machine.
    pub done: Vec<String>,
    /// What went wrong; see [`PassReport::troubles`].
    pub faults: Vec<Fault>,
    /// Each metric's value, or why it has none.
    pub metrics: BTreeMap<String, Result<f64, String>>,
    /// What the expressions ask for.
    pub targets: Targets,
    /// What is left of that after limits.
    pub limited: Limits,
    /// What was going to be done, in words, before it was; `None` where nothing was.
    pub planned: Option<String>,
    /// What was seen; `None` where the machines could not be listed.
    pub inventory: Option<Inventory>,
    /// Whether the next pass should follow at once, because this one has left work that it could do: it ran out of time, or
    /// asked for as many machines as one pass may.
    pub more_to_do: bool,
    /// What was said where the token was refused for creates that this pass wanted too, and for which it only waited: the
    /// passes of a pause make nothing good.
    pub still_refused: Option<String>,
    /// Whether another copy may have been writing when it began: it was not to act.
    pub stands_by: bool,
    /// Whether the daemon's end ended it: that it failed in nothing says nothing.
    pub cut_off: bool,
}

/// The bounds after limits, by kind; `None` where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of the created count.
    pub created: Option<Bounds>,
    /// Of the started count.
    pub started: Option<Bounds>,
}

impl Limits {
    /// The bounds of one kind.
    #[must_use]
    pub fn of_kind(self, kind: Kind) -> Option<Bounds> {
        match kind {
            Kind::Created => self.created,
            Kind::Started => self.started,
        }
    }
}

/// One thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The closed reason.
    pub reason: PassError,
    /// What happened, naming operation and cause.
    pub text: String,
    /// What it is about.
    pub about: About,
}

/// What a [`Fault`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The pass.
    Pass,
    /// A metric that could not be collected: that fails only the expressions that need it.
    Metric {
        /// Its name.
        name: String,
        /// Whether its source refuses the token, the password or the certificate that it is shown.
        is_refused: bool,
    },
    /// A target that has no value for want of a metric.
    Target {
        /// The target and its expression, in words.
        target: String,
        /// The metric.
        needs: String,
    },
    /// A machine that the list lacks and that could not be asked for: it counts as what it was last seen as, and the pass
    /// does its work by that.
    Unlisted,
}

impl About {
    /// Whether a pass can succeed all the same.
    fn is_aside(&self) -> bool {
        matches!(self, Self::Metric { .. } | Self::Unlisted)
    }

    /// The metric whose source refuses what it is shown.
    fn refused_metric(&self) -> Option<&str> {
        match self {
            Self::Metric {
                name,
                is_refused: true,
            } => Some(name),
            _ => None,
        }
    }
}

/// One cause of what went wrong, with all that came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The closed reason.
    pub reason: PassError,
    /// What happened.
    pub text: String,
    /// The metric whose source refuses the token, the password or the certificate that it is shown, if that is what happened: no
    /// token for Fly is at fault then.
    pub refused_metric: Option<String>,
    /// Whether the pass failed by it.
    pub failed_the_pass: bool,
}

impl PassReport {
    /// Of a pass that `began` and has done nothing yet.
    #[must_use]
    pub fn begun(fleet: FleetName, began: Now) -> Self {
        Self {
            fleet,
            began,
            took: Duration::ZERO,
            decision: Decision::NoScale,
            reason: Reason::NoTarget,
            notes: Vec::new(),
            done: Vec::new(),
            faults: Vec::new(),
            metrics: BTreeMap::new(),
            targets: Targets::default(),
            limited: Limits::default(),
            planned: None,
            inventory: None,
            more_to_do: false,
            still_refused: None,
            stands_by: false,
            cut_off: false,
        }
    }

    /// Whether the pass did what it should: one that a deploy held back did, and so did one that could do without what
    /// failed, such as a metric that an expression makes good.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.inventory.is_some()
            && self.still_refused.is_none()
            && self.faults.iter().all(|fault| fault.about.is_aside())
    }

    /// Whether the app has no machines: that its pass succeeded then says nothing of other apps.
    #[must_use]
    pub fn found_nothing(&self) -> bool {
        self.notes.contains(&Note::NoMachines)
    }

    /// What went wrong, by its causes: a metric that failed and the targets that need it are one.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let needing = |metric: &str| {
            let targets = self.faults.iter().filter_map(|fault| match &fault.about {
                About::Target { target, needs } if needs == metric => Some(target.as_str()),
                _ => None,
            });
            targets.collect::<Vec<_>>()
        };
        let has_failed = |metric: &str| {
            let is_it = |fault: &Fault| matches!(&fault.about, About::Metric { name, .. } if name == metric);
            self.faults.iter().any(is_it)
        };
        let trouble = |fault: &Fault| {
            let mut failed_the_pass = true;
            let came_of_it = match &fault.about {
                About::Metric { name, .. } => match needing(name).as_slice() {
                    [] => {
                        failed_the_pass = false;
                        String::new()
                    }
                    [target] => format!("; {target} needs it and has no value"),
                    targets => format!("; {} need it and have no value", targets.join(" and ")),
                },
                About::Target { needs, .. } if has_failed(needs) => return None,
                About::Unlisted => {
                    failed_the_pass = false;
                    String::new()
                }
                About::Pass | About::Target { .. } => String::new(),
            };
            Some(Trouble {
                reason: fault.reason,
                text: format!("{}{came_of_it}", fault.text),
                refused_metric: fault.about.refused_metric().map(str::to_owned),
                failed_the_pass,
            })
        };
        let mut times: Vec<(Trouble, u32)> = Vec::new();
        for trouble in self.faults.iter().filter_map(trouble) {
            match times.iter_mut().find(|(before, _)| *before == trouble) {
                Some((_, times)) => *times += 1,
                None => times.push((trouble, 1)),
            }
        }
        let told = times.into_iter().map(|(trouble, times)| match times {
            1 => trouble,
            times => Trouble {
                text: format!("{} ({times} times)", trouble.text),
                ..trouble
            },
        });
        told.collect()
    }

    /// An app without any machine has nothing to copy, and no metrics of its own: that is how it is, and no failure.
    /// What a refused token or a hanging server does to every app stays one.
    pub fn excuse_for_no_machines(&mut self) {
        self.faults.retain(|fault| {
            fault.about.refused_metric().is_some()
                || !matches!(
                    fault.reason,
                    PassError::Metric | PassError::Expression | PassError::NoSource
                )
        });
        self.notes.push(Note::NoMachines);
    }

    /// Adds what failed the pass.
    pub fn fault(&mut self, reason: PassError, text: String) {
        self.faults.push(Fault {
            reason,
            text,
            about: About::Pass,
        });
    }

    /// Adds a call that failed. `reason` is what it counts as where its cause has no reason of its own.
    pub fn api_fault(&mut self, reason: PassError, error: &ApiError, about: About) {
        if matches!(error.cause, ApiErrorCause::ShuttingDown) {
            // What was not begun because the user ends the program did not go wrong.
            return;
        }
        self.faults.push(Fault {
            reason: error.reason(reason),
            text: chain(error),
            about,
        });
    }

    /// Adds a metric that could not be collected.
    pub fn metric_fault(&mut self, metric: &str, error: &CollectError) {
        self.faults.push(Fault {
            reason: error.reason(),
            text: format!("metric {metric}: {}", chain(error)),
            about: About::Metric {
                name: metric.to_owned(),
                is_refused: error.is_refusal(),
            },
        });
    }

    /// Adds the targets that have no value.
    pub fn target_faults(&mut self, errors: &[TargetError]) {
        for error in errors {
            self.faults.push(Fault {
                reason: PassError::Expression,
                text: explain_target(error, &self.metrics),
                about: About::of_target(error),
            });
        }
    }
}

impl About {
    /// The metric that a target lacks, if that is why it has no value.
    fn of_target(error: &TargetError) -> Self {
        match &error.error {
            EvalError::Missing(metric) => Self::Target {
                target: format!("the {} target `{}`", error.kind, error.source),
                needs: metric.clone(),
            },
            _ => Self::Pass,
        }
    }
}

/// Says why a kind has no target: a missing metric's reason is the reason.
#[must_use]
pub fn explain_target(
    error: &TargetError,
    metrics: &BTreeMap<String, Result<f64, String>>,
) -> String {
    let TargetError {
        kind,
        source,
        error,
    } = error;
    match error {
        EvalError::Missing(metric) => match metrics.get(metric) {
            Some(Err(why)) => {
                format!("the {kind} target `{source}` needs {metric}, which has no value: {why}")
            }
            _ => format!("the {kind} target `{source}` needs {metric}, which has no value"),
        },
        error => format!("the {kind} target `{source}`: {error}"),
    }
}
