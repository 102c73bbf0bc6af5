//! What the log says of an app's passes: each thing once, and what does not change every ten minutes.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::time::Instant;

use crate::{
    duration,
    error_chain::chain,
    labels::PassError,
    machines::ApiError,
    report::{PassReport, Trouble},
    scaling::{
        Bounds, Decision, FleetName, Kind, Note, Now, Reason, Release, Target, TargetExpressions,
        Targets, decided_by, which_regions_are_fleets,
    },
    shown::excerpt,
};

/// How often an app that does not change is mentioned all the same.
const REMINDER: Duration = Duration::from_secs(600);

/// How many fleets a line names beside the first.
const FLEETS_SHOWN: usize = 10;

/// How many regions a line names.
const REGIONS_SHOWN: usize = 10;

/// The longest name of a region that is shown, in characters.
const REGION_SHOWN: usize = 40;

/// What the log has said of one app already.
#[derive(Debug, Default)]
pub struct PassLog {
    /// When an unchanged app was last mentioned.
    reminded: Option<Instant>,
    /// What a dry run would do, and when that was told.
    dry_plan: Option<Box<(String, Instant)>>,
    /// The notes of the pass before.
    notes: Vec<Note>,
    /// The release that was said to be abandoned.
    abandoned: Option<Box<Release>>,
    /// Those of this pass that were told before it acted.
    told: Vec<Note>,
    skips: Skips,
    /// What the last pass could do without, and when that was told.
    borne: Vec<(String, Instant)>,
    /// How many passes in a row have failed.
    failed_passes: u32,
    /// Metrics of which there is something to remember, which most never have.
    odd_metrics: BTreeMap<String, OddMetric>,
}

/// What the log has said of one metric.
#[derive(Debug, Default, PartialEq, Eq)]
struct OddMetric {
    /// How many passes in a row have had no value of it.
    missing: u32,
    /// How many elements the last answer had, where those were several.
    elements: Option<usize>,
    /// Of what the server has warned.
    warnings: Vec<String>,
}

impl PassLog {
    /// Warns of an answer with several elements once per change, and of the server's own warnings likewise.
    pub fn warn_of(
        &mut self,
        fleet: &FleetName,
        metric: &str,
        elements: usize,
        warnings: &[String],
    ) {
        // Most answers have one element and no warning: nothing is kept of those.
        let mut odd = self.odd_metrics.remove(metric).unwrap_or_default();
        let several = (elements > 1).then_some(elements);
        let told_elements = std::mem::replace(&mut odd.elements, several);
        let told_warnings = std::mem::replace(&mut odd.warnings, warnings.to_vec());
        if odd != OddMetric::default() {
            self.odd_metrics.insert(metric.to_owned(), odd);
        }
        if elements > 1 {
            // One number for all regions would be another one for each.
            let cure = match fleet.region {
                Some(_) => "sum by (region) (…)",
                None => "sum()",
            };
            if told_elements != several {
                tracing::warn!(
                    app = %fleet.app,
                    policy = fleet.policy.as_deref(),
                    group = fleet.told_group(),
                    region = fleet.region.as_deref(),
                    metric,
                    count = elements,
                    "the query of {metric} returned {elements} elements, only the first is used; aggregate them, for example with {cure}",
                );
            }
        }
        let is_told = |warning: &&String| told_warnings.contains(warning);
        for warning in warnings.iter().filter(|warning| !is_told(warning)) {
            tracing::warn!(
                app = %fleet.app,
                policy = fleet.policy.as_deref(),
                group = fleet.told_group(),
                region = fleet.region.as_deref(),
                metric,
                "the server warns about the query of {metric}: {warning}"
            );
        }
    }

    /// A metric has a value again: how many passes in a row had none. That is forgotten.
    fn end_of_missing(&mut self, metric: &str) -> Option<u32> {
        let odd = self.odd_metrics.get_mut(metric)?;
        let missing = std::mem::take(&mut odd.missing);
        if *odd == OddMetric::default() {
            self.odd_metrics.remove(metric);
        }
        (missing > 0).then_some(missing)
    }

    /// Whether a dry run's plan is another one than before, or was told ten minutes ago.
    fn is_news(&mut self, plan: String, began: Now) -> bool {
        let now = Instant::from_std(began.monotonic);
        let is_news = self.dry_plan.as_deref().is_none_or(|(told, at)| {
            *told != plan || now.saturating_duration_since(*at) >= REMINDER
        });
        if is_news {
            self.dry_plan = Some(Box::new((plan, now)));
        }
        is_news
    }

    /// Tells what is going to be done, before it is: `planned` in words, and the plan's notes, which would read as if they came
    /// of it afterwards. A dry run comes to the same plan in each pass, for
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
        for note in self.plan_news(report) {
            tell_note(report, &note, note.is_trouble());
            self.told.push(note);
        }
        tracing::info!(
            app = %report.fleet.app,
            policy = report.fleet.policy.as_deref(),
            group = report.fleet.told_group(),
            region = report.fleet.region.as_deref(),
            decision = report.decision.as_str(),
            reason = %report.reason,
            metrics = %MetricValues(&report.metrics),
            target = %TargetValues(targets, report.targets),
            dry_run,
            "{planned}: {}{}",
            report.reason,
            Decided(report),
        );
    }

    /// The plan's notes that have to be said although those of the pass before have been: all of them when there are others
    /// than before, for they are one state of affairs.
    fn plan_news(&self, report: &PassReport) -> Vec<Note> {
        let of_plan = |notes: &[Note]| {
            let notes = notes.iter().filter(|note| !is_of_acting(note));
            notes.cloned().collect::<Vec<_>>()
        };
        let kinds = |notes: &[Note]| notes.iter().map(std::mem::discriminant).collect::<Vec<_>>();
        let (before, mut notes) = (of_plan(&self.notes), of_plan(&report.notes));
        if kinds(&notes) == kinds(&before) {
            notes.retain(|note| before.iter().all(|before| note.is_news_after(before)));
        }
        notes
    }

    /// Tells once that what failed works again.
    fn tell_recovery(&mut self, report: &PassReport) {
        if report.cut_off {
            return;
        }
        let failed = if report.succeeded() {
            // What failed and is only waited for, or refused in another way, has not recovered.
            if report.notes.iter().any(Note::is_pending) {
                0
            } else {
                std::mem::take(&mut self.failed_passes)
            }
        } else {
            self.failed_passes = self.failed_passes.saturating_add(1);
            0
        };
        if failed > 0 {
            tracing::info!(
                app = %report.fleet.app,
            policy = report.fleet.policy.as_deref(),
            group = report.fleet.told_group(),
            region = report.fleet.region.as_deref(),
                metrics = %MetricValues(&report.metrics),
                "recovered: this pass succeeded after {failed} failed {}",
                passes(failed),
            );
        }
        for (metric, value) in &report.metrics {
            let Ok(value) = value else {
                self.odd_metrics.entry(metric.clone()).or_default().missing += 1;
                continue;
            };
            // The line of the pass says it as well.
            if let Some(missing) = self.end_of_missing(metric)
                && failed == 0
            {
                tracing::info!(
                        app = %report.fleet.app,
                policy = report.fleet.policy.as_deref(),
                group = report.fleet.told_group(),
                region = report.fleet.region.as_deref(),
                        metric,
                        "metric {metric} has a value again ({value}) after {missing} {} without one",
                        passes(missing),
                    );
            }
        }
    }

    /// Warns that nobody said what the current release is.
    pub fn warn_of_release(fleet: &FleetName, error: &ApiError) {
        let error = chain(error);
        tracing::warn!(
            app = %fleet.app,
            policy = fleet.policy.as_deref(),
            group = fleet.told_group(),
            region = fleet.region.as_deref(),
            reason = PassError::Release.as_str(),
            %error,
            "{fleet}: {error}"
        );
    }

    /// Warns that regions of a group are no fleets although there are machines in them; `are_named`: those that are fleets are
    /// named in the settings.
    pub fn warn_of_regions_left_out(fleet: &FleetName, regions: &[String], are_named: bool) {
        let shown = regions.iter().take(REGIONS_SHOWN);
        let mut shown: Vec<String> = shown.map(|region| excerpt(region, REGION_SHOWN)).collect();
        if regions.len() > REGIONS_SHOWN {
            shown.push(format!("{} more", regions.len() - REGIONS_SHOWN));
        }
        tracing::warn!(
            app = %fleet.app,
            policy = fleet.policy.as_deref(),
            group = fleet.told_group(),
            count = regions.len(),
            "{fleet}: not scaled in {}: {}",
            shown.join(", "),
            if are_named {
                "there are machines of the group, and FAS_REGIONS does not name the region: they are left alone".to_owned()
            } else {
                format!("{}; FAS_REGIONS names others", which_regions_are_fleets())
            },
        );
    }

    /// Warns, once a release, that it is no longer believed to be a deploy under way, and that machines are changed beside it.
    pub fn warn_of_abandoned(
        &mut self,
        fleet: &FleetName,
        release: &Release,
        deploy_timeout: Duration,
    ) {
        if self.abandoned.as_deref() == Some(release) {
            return;
        }
        self.abandoned = Some(Box::new(release.clone()));
        let name = match release.version {
            Some(version) => format!("release v{version}"),
            None => "the current release".to_owned(),
        };
        tracing::warn!(
            app = %fleet.app,
            policy = fleet.policy.as_deref(),
            group = fleet.told_group(),
            region = fleet.region.as_deref(),
            "{name} has said `running` for longer than FAS_DEPLOY_TIMEOUT ({}): its deploy is treated as abandoned, and machines are changed",
            duration::format(deploy_timeout),
        );
    }

    /// Tells what a pass did and what went wrong; one that changed nothing is told when there is news in its notes, and every
    /// ten minutes.
    ///
    /// What went wrong for several fleets of an app alike, as `causes` has it, the first of them tells for all.
    pub fn tell(&mut self, report: &PassReport, targets: &TargetExpressions, causes: &Causes) {
        let now = Instant::from_std(report.began.monotonic);
        let before = std::mem::take(&mut self.borne);
        for trouble in report.troubles() {
            let Some(others) = causes.others_than_first(&trouble, &report.fleet) else {
                continue;
            };
            if !trouble.failed_the_pass {
                let mut before = before.iter();
                let told = before.find(|(text, _)| *text == trouble.text);
                let told = told.map(|(_, at)| *at);
                let told = told.filter(|at| now.saturating_duration_since(*at) < REMINDER);
                self.borne.push((trouble.text.clone(), told.unwrap_or(now)));
                if told.is_some() {
                    continue;
                }
            }
            let name = match others {
                [] => report.fleet.to_string(),
                others => alike(&report.fleet, others),
            };
            let region = report.fleet.region.as_deref().filter(|_| others.is_empty());
            let is_of_group = others.iter().all(|other| other.group == report.fleet.group);
            let group = report.fleet.told_group().filter(|_| is_of_group);
            macro_rules! failed {
                ($level:ident) => {
                    tracing::$level!(
                        app = %report.fleet.app,
                        policy = report.fleet.policy.as_deref(),
                        group,
                        region,
                        reason = trouble.reason.as_str(),
                        error = %trouble.text,
                        "{name}: {}", trouble.text,
                    )
                };
            }
            // What the pass could do without is no failure.
            if trouble.failed_the_pass {
                failed!(error);
            } else {
                failed!(warn);
            }
        }
        self.tell_recovery(report);
        let Some(counts) = report.inventory.as_ref().map(|seen| seen.counts) else {
            return;
        };
        if report.decision == Decision::NoScale {
            self.dry_plan = None;
        }
        let told = std::mem::take(&mut self.told);
        for note in self.plan_news(report) {
            if !told.contains(&note) {
                tell_note(report, &note, note.is_trouble());
            }
        }
        self.skips.forget(now);
        let mut told_before = Vec::new();
        for note in report.notes.iter().filter(|note| is_of_acting(note)) {
            if let Note::Skipped { machine, reason } = note {
                match self.skips.news(machine, reason, now) {
                    Some(again) => tell_note(report, note, again),
                    None => told_before.push(reason.as_str()),
                }
            } else if *note == Note::StandsBy {
                // It is told once for all fleets, when it begins.
            } else if self.notes.iter().all(|before| note.is_news_after(before)) {
                tell_note(report, note, note.is_trouble());
            }
        }
        tell_skipped_again(report, &told_before);
        self.notes.clone_from(&report.notes);
        let due = self
            .reminded
            .is_none_or(|reminded| now.saturating_duration_since(reminded) >= REMINDER);
        macro_rules! unchanged {
            ($level:ident) => {
                tracing::$level!(
                    app = %report.fleet.app,
            policy = report.fleet.policy.as_deref(),
            group = report.fleet.told_group(),
            region = report.fleet.region.as_deref(),
                    decision = report.decision.as_str(),
                    reason = %report.reason,
                    created = counts.created,
                    started = counts.started,
                    stopped = counts.stopped,
                    metrics = %MetricValues(&report.metrics),
                    target = %TargetValues(targets, report.targets),
                    duration_ms = u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
                    "{} {} ({} started, {} stopped); {}{}",
                    counts.created,
                    if counts.created == 1 { "machine" } else { "machines" },
                    counts.started,
                    counts.stopped,
                    report.reason,
                    Decided(report),
                )
            };
        }
        // One that has only seen which regions there are has nothing to say: theirs follow at once.
        let is_only_a_look = report.more_to_do && report.targets == Targets::default();
        if due && report.done.is_empty() && !is_only_a_look {
            self.reminded = Some(now);
            unchanged!(info);
        } else {
            unchanged!(debug);
        }
    }
}

/// What went wrong in a pass, and for which fleets alike: those of an app, in their order.
#[derive(Debug, Default)]
pub struct Causes(Vec<(Trouble, Vec<FleetName>)>);

impl Causes {
    /// Those of one pass over an app.
    pub fn of<'pass>(reports: impl IntoIterator<Item = &'pass PassReport>) -> Self {
        let mut causes: Vec<(Trouble, Vec<FleetName>)> = Vec::new();
        for report in reports {
            for trouble in report.troubles() {
                let mut known = causes.iter_mut();
                match known.find(|(cause, _)| *cause == trouble) {
                    Some((_, fleets)) => fleets.push(report.fleet.clone()),
                    None => causes.push((trouble, vec![report.fleet.clone()])),
                }
            }
        }
        Self(causes)
    }

    /// The other fleets of which this is true as well; `None` for one that is not the first of them.
    fn others_than_first(&self, trouble: &Trouble, fleet: &FleetName) -> Option<&[FleetName]> {
        let mut causes = self.0.iter();
        let Some((_, fleets)) = causes.find(|(cause, _)| cause == trouble) else {
            return Some(&[]);
        };
        let (first, others) = fleets.split_first()?;
        (first == fleet).then_some(others)
    }
}

/// What several fleets of an app are called together.
fn alike(first: &FleetName, others: &[FleetName]) -> String {
    let shown = others.iter().take(FLEETS_SHOWN);
    let mut names: Vec<String> = shown.map(ToString::to_string).collect();
    if others.len() > FLEETS_SHOWN {
        names.push(format!("{} more", others.len() - FLEETS_SHOWN));
    }
    format!("{first} (and alike {})", names.join(", "))
}

/// Whether a note is about what became of the plan, and not of the plan itself.
fn is_of_acting(note: &Note) -> bool {
    matches!(
        note,
        Note::Skipped { .. }
            | Note::OutOfTime { .. }
            | Note::StoodStill
            | Note::DryRun
            | Note::StandsBy
            | Note::LockUnconfirmed
    )
}

fn tell_note(report: &PassReport, note: &Note, is_trouble: bool) {
    if is_trouble {
        tracing::warn!(app = %report.fleet.app, policy = report.fleet.policy.as_deref(), group = report.fleet.told_group(), region = report.fleet.region.as_deref(), decision = report.decision.as_str(), "{note}");
    } else {
        tracing::info!(app = %report.fleet.app, policy = report.fleet.policy.as_deref(), group = report.fleet.told_group(), region = report.fleet.region.as_deref(), decision = report.decision.as_str(), "{note}");
    }
}

/// Tells in one line what is not told of each machine any more: what was announced has an outcome in each pass.
fn tell_skipped_again(report: &PassReport, reasons: &[&str]) {
    let Some(first) = reasons.first() else {
        return;
    };
    let others = reasons
        .iter()
        .any(|reason| without_digits(reason) != without_digits(first));
    tracing::info!(
        app = %report.fleet.app,
        policy = report.fleet.policy.as_deref(),
        group = report.fleet.told_group(),
        region = report.fleet.region.as_deref(),
        decision = report.decision.as_str(),
        "{} {} skipped again: {first}{}",
        reasons.len(),
        if reasons.len() == 1 { "machine" } else { "machines" },
        if others { ", and other reasons" } else { "" },
    );
}

/// A reason without its numbers: a time in it is no other reason.
fn without_digits(reason: &str) -> String {
    let characters = reason.chars();
    characters
        .filter(|character| !character.is_ascii_digit())
        .collect()
}

fn passes(count: u32) -> &'static str {
    if count == 1 { "pass" } else { "passes" }
}

/// What the log has said of machines that calls passed over.
///
/// One refusal is nothing: the machine has changed since it was listed. The same one again is a warning; after that it is
/// told like everything else that does not change.
#[derive(Debug, Default)]
struct Skips(BTreeMap<String, Skip>);

#[derive(Debug)]
struct Skip {
    /// Why, without its numbers: a time in it is no other reason.
    reason: String,
    /// When it was told, and when it happened last.
    told: Instant,
    last: Instant,
    /// Whether it has happened again.
    again: bool,
}

impl Skips {
    /// Forgets what has not happened for so long that it is news.
    fn forget(&mut self, now: Instant) {
        self.0
            .retain(|_, skip| now.saturating_duration_since(skip.last) < 2 * REMINDER);
    }

    /// Whether this has to be told, and then whether it has happened before.
    fn news(&mut self, machine: &str, reason: &str, now: Instant) -> Option<bool> {
        let reason = without_digits(reason);
        if let Some(skip) = self.0.get_mut(machine).filter(|skip| skip.reason == reason) {
            skip.last = now;
            let first_again = !std::mem::replace(&mut skip.again, true);
            let is_due = now.saturating_duration_since(skip.told) >= REMINDER;
            if !first_again && !is_due {
                return None;
            }
            skip.told = now;
            return Some(true);
        }
        let skip = Skip {
            reason,
            told: now,
            last: now,
            again: false,
        };
        self.0.insert(machine.to_owned(), skip);
        Some(false)
    }
}

/// What besides the expression decided, after a semicolon; nothing where that was all.
struct Decided<'report>(&'report PassReport);

impl fmt::Display for Decided<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let kinds: &[Kind] = match report.reason {
            Reason::Below { kind, .. } | Reason::Above { kind, .. } => &[kind],
            _ => &Kind::ALL,
        };
        for kind in kinds {
            let target = report.targets.of_kind(*kind);
            if let Some(decided) = decided_by(*kind, target, &report.notes) {
                write!(formatter, "; {kind}: {decided}")?;
            }
        }
        Ok(())
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

/// What the expressions ask for in one line: `created: min(q + 1, 10) -> 3`. An arrow, since the count is rounded, and a created
/// one is at least 1.
struct TargetValues<'targets>(&'targets TargetExpressions, Targets);

impl fmt::Display for TargetValues<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(expressions, targets) = self;
        let mut gap = "";
        for kind in Kind::ALL {
            let Some(band) = expressions.of_kind(kind) else {
                continue;
            };
            write!(formatter, "{gap}{kind}: ")?;
            gap = "; ";
            let counts = match targets.of_kind(kind) {
                Target::Bounds(Bounds { min, max }) | Target::Capped { min, max } => {
                    [min.to_string(), max.to_string()]
                }
                Target::Unset | Target::Missing => ["?".to_owned(), "?".to_owned()],
            };
            let mut comma = "";
            for ((bound, expression), count) in band.expressions().zip(counts) {
                let space = if bound.is_empty() { "" } else { " " };
                let source = expression.source();
                write!(formatter, "{comma}{bound}{space}{source} -> {count}")?;
                comma = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_is_a_warning_once_and_every_ten_minutes() {
        let start = Instant::now();
        let mut skips = Skips::default();
        let mut news = |seconds, machine: &str, reason: &str| {
            let now = start + Duration::from_secs(seconds);
            skips.forget(now);
            skips.news(machine, reason, now)
        };
        assert_eq!(news(0, "a", "leased until 10:15"), Some(false));
        assert_eq!(news(15, "a", "leased until 10:20"), Some(true));
        assert_eq!(news(30, "a", "leased until 10:20"), None);
        assert_eq!(news(30, "b", "leased until 10:20"), Some(false));
        assert_eq!(news(45, "a", "HTTP 412"), Some(false), "another reason");
        assert_eq!(news(60, "a", "HTTP 412"), Some(true));
        assert_eq!(news(659, "a", "HTTP 412"), None);
        assert_eq!(news(660, "a", "HTTP 412"), Some(true));
        assert_eq!(news(661, "a", "HTTP 412"), None);
        assert_eq!(
            news(1860, "b", "leased until 10:20"),
            Some(false),
            "forgotten"
        );
    }
}
