//! What the log says of an app's passes: each thing once, and what does not change every ten minutes.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::time::Instant;

use crate::{
    collect::Sample,
    duration,
    error_chain::chain,
    labels::PassError,
    machines::ApiError,
    report::PassReport,
    scaling::{Bounds, Decision, Kind, Note, Now, Release, Target, TargetExpressions, Targets},
};

/// How often an app that does not change is mentioned all the same.
const REMINDER: Duration = Duration::from_secs(600);

/// What the log has said of one app already.
#[derive(Debug, Default)]
pub struct PassLog {
    /// When an unchanged app was last mentioned.
    reminded: Option<Instant>,
    /// What a dry run would do, and when that was told.
    dry_plan: Option<(String, Instant)>,
    notes: Vec<Note>,
    /// The release that was said to be abandoned.
    abandoned: Option<Release>,
    element_counts: BTreeMap<String, usize>,
    warnings: BTreeMap<String, Vec<String>>,
}

impl PassLog {
    /// Warns of an answer with several elements once per change, and of the server's own warnings likewise.
    pub fn warn_of(&mut self, app: &str, metric: &str, sample: &Sample) {
        let before = self
            .element_counts
            .insert(metric.to_owned(), sample.element_count);
        if sample.element_count > 1 && before != Some(sample.element_count) {
            tracing::warn!(
                app,
                metric,
                count = sample.element_count,
                "the query of {metric} returned {} elements, only the first is used; aggregate them, for example with sum()",
                sample.element_count,
            );
        }
        let before = self
            .warnings
            .insert(metric.to_owned(), sample.warnings.clone())
            .unwrap_or_default();
        for warning in sample
            .warnings
            .iter()
            .filter(|warning| !before.contains(warning))
        {
            tracing::warn!(
                app,
                metric,
                "the server warns about the query of {metric}: {warning}"
            );
        }
    }

    /// Whether a dry run's plan is another one than before, or was told ten minutes ago.
    fn is_news(&mut self, plan: String, began: Now) -> bool {
        let now = Instant::from_std(began.monotonic);
        let is_news = self.dry_plan.as_ref().is_none_or(|(told, at)| {
            *told != plan || now.saturating_duration_since(*at) >= REMINDER
        });
        if is_news {
            self.dry_plan = Some((plan, now));
        }
        is_news
    }

    /// Tells what is going to be done, before it is: `planned` in words. A dry run comes to the same plan in each pass, for
    /// nothing is done about it, and says it when it changes and every ten minutes.
    pub fn announce(
        &mut self,
        report: &PassReport,
        targets: &TargetExpressions,
        planned: &str,
        dry_run: bool,
    ) {
        if dry_run && !self.is_news(format!("{planned}: {}", report.reason), report.began) {
            return;
        }
        tracing::info!(
            app = %report.app,
            decision = report.decision.as_str(),
            reason = %report.reason,
            metrics = %MetricValues(&report.metrics),
            target = %TargetValues(targets, report.targets),
            dry_run,
            "{planned}: {}",
            report.reason,
        );
    }

    /// Warns that nobody said what the current release is.
    pub fn warn_of_release(app: &str, error: &ApiError) {
        let error = chain(error);
        tracing::warn!(app, reason = PassError::Release.as_str(), %error, "{app}: {error}");
    }

    /// Warns, once a release, that it is no longer believed to be a deploy under way, and that machines are changed beside it.
    pub fn warn_of_abandoned(&mut self, app: &str, release: &Release, deploy_timeout: Duration) {
        if self.abandoned.as_ref() == Some(release) {
            return;
        }
        self.abandoned = Some(release.clone());
        let name = match release.version {
            Some(version) => format!("release v{version}"),
            None => "the current release".to_owned(),
        };
        tracing::warn!(
            app,
            "{name} has said `running` for longer than FAS_DEPLOY_TIMEOUT ({}): its deploy is taken for abandoned, and machines are changed",
            duration::format(deploy_timeout),
        );
    }

    /// Tells what a pass did and what went wrong; one that changed nothing is told when there is news in its notes, and every
    /// ten minutes.
    pub fn tell(&mut self, report: &PassReport, targets: &TargetExpressions) {
        for trouble in report.troubles() {
            tracing::error!(
                app = %report.app,
                reason = trouble.reason.as_str(),
                error = %trouble.text,
                "{}: {}", report.app, trouble.text,
            );
        }
        let now = Instant::from_std(report.began.monotonic);
        let Some(counts) = report.inventory.as_ref().map(|seen| seen.counts) else {
            return;
        };
        if report.decision == Decision::NoScale {
            self.dry_plan = None;
        }
        let before = std::mem::replace(&mut self.notes, report.notes.clone());
        let kinds = |notes: &[Note]| notes.iter().map(std::mem::discriminant).collect::<Vec<_>>();
        let changed = kinds(&report.notes) != kinds(&before);
        for note in &report.notes {
            // What happened to one machine is news each time; a state of affairs only when it changes.
            let is_news = changed || before.iter().all(|before| note.is_news_after(before));
            if !is_news && !matches!(note, Note::Skipped { .. }) {
                continue;
            }
            if note.is_trouble() {
                tracing::warn!(app = %report.app, decision = report.decision.as_str(), "{note}");
            } else {
                tracing::info!(app = %report.app, decision = report.decision.as_str(), "{note}");
            }
        }
        let due = self
            .reminded
            .is_none_or(|reminded| now.saturating_duration_since(reminded) >= REMINDER);
        macro_rules! unchanged {
            ($level:ident) => {
                tracing::$level!(
                    app = %report.app,
                    decision = report.decision.as_str(),
                    reason = %report.reason,
                    created = counts.created,
                    started = counts.started,
                    stopped = counts.stopped,
                    metrics = %MetricValues(&report.metrics),
                    target = %TargetValues(targets, report.targets),
                    duration_ms = u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
                    "created: {}, started: {}; {}", counts.created, counts.started, report.reason,
                )
            };
        }
        if due && report.done.is_empty() {
            self.reminded = Some(now);
            unchanged!(info);
        } else {
            unchanged!(debug);
        }
    }
}

/// Metrics in one line: `queue_depth=42`, `x=?` for one without a value.
struct MetricValues<'metrics>(&'metrics BTreeMap<String, Result<f64, String>>);

impl fmt::Display for MetricValues<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (metric, value)) in self.0.iter().enumerate() {
            let gap = if number == 0 { "" } else { " " };
            match value {
                Ok(value) => write!(formatter, "{gap}{metric}={value}")?,
                Err(_) => write!(formatter, "{gap}{metric}=?")?,
            }
        }
        Ok(())
    }
}

/// What the expressions ask for in one line: `created: min(q + 1, 10) = 3`.
struct TargetValues<'targets>(&'targets TargetExpressions, Targets);

impl fmt::Display for TargetValues<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(expressions, targets) = self;
        let kinds = [
            (Kind::Created, &expressions.created, targets.created),
            (Kind::Started, &expressions.started, targets.started),
        ];
        let mut gap = "";
        for (kind, band, target) in kinds {
            let Some(band) = band else { continue };
            write!(formatter, "{gap}{kind}: ")?;
            gap = "; ";
            let counts = match target {
                Target::Bounds(Bounds { min, max }) | Target::Capped { min, max } => {
                    [min.to_string(), max.to_string()]
                }
                Target::Unset | Target::Missing => ["?".to_owned(), "?".to_owned()],
            };
            let mut comma = "";
            for ((bound, expression), count) in band.expressions().zip(counts) {
                let space = if bound.is_empty() { "" } else { " " };
                let source = expression.source();
                write!(formatter, "{comma}{bound}{space}{source} = {count}")?;
                comma = ", ";
            }
        }
        Ok(())
    }
}
