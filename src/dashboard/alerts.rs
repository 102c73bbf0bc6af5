//! What an operator is to be woken by, as rules for Prometheus.

use serde::Serialize;

use crate::{
    labels::PassError,
    metrics::series::{
        API_REQUESTS, BUILD_INFO, CREATES, DESTROYS, FAILING_PASSES, LAST_SUCCESS, LEADER,
        PASS_ERRORS, PEERS, SHARDS, Series,
    },
};

/// How long something has to last: a restart is over by then.
const LASTING: &str = "5m";

/// One rule, as Prometheus reads it.
#[derive(Debug, Clone, Serialize)]
pub struct Rule {
    /// The alert's name.
    pub alert: &'static str,
    /// It fires for each series that this has, in `PromQL`.
    pub expr: String,
    #[serde(rename = "for")]
    lasting: &'static str,
    labels: Labels,
    /// What is said of it.
    pub annotations: Annotations,
}

#[derive(Debug, Clone, Serialize)]
struct Labels {
    severity: &'static str,
}

/// What is said of an alert. In both, `{{ $labels.app }}` and its like are what Prometheus puts in.
#[derive(Debug, Clone, Serialize)]
pub struct Annotations {
    /// What is the matter, in one line.
    pub summary: &'static str,
    /// What that means, and what to do.
    pub description: &'static str,
}

#[derive(Serialize)]
struct File {
    groups: [Group; 1],
}

#[derive(Serialize)]
struct Group {
    name: &'static str,
    rules: Vec<Rule>,
}

/// The file of rules.
#[must_use]
pub fn alerts() -> String {
    let file = File {
        groups: [Group {
            name: "fly-autoscaler",
            rules: rules(),
        }],
    };
    // Text, written to memory.
    serde_saphyr::to_string(&file).expect("every key is text")
}

/// All rules, the most urgent first.
#[must_use]
pub fn rules() -> Vec<Rule> {
    // These show nowhere else: what fails a pass again and again raises the failing passes.
    let lasting = errors(&[
        PassError::NoSource,
        PassError::Unauthorized,
        PassError::Panic,
    ]);
    let with_lock = format!(r#"sum by (app) (increase({API_REQUESTS}{{api="consul"}}[15m])) > 0"#);
    let transient = errors(&[PassError::List, PassError::Timeout]);
    vec![
        critical(
            "FlyAutoscalerDown",
            format!("absent({BUILD_INFO})"),
            "fly-autoscaler is down, or not scraped",
            "No machine is created, destroyed, started or stopped. The other alerts cannot fire while this one does: they need \
             its series. Look at `fly status` and `fly logs` of the autoscaler's app.",
        ),
        critical(
            "FlyAutoscalerScalesNothing",
            format!("absent({LAST_SUCCESS}) and on () {BUILD_INFO}"),
            "fly-autoscaler scales no app",
            "No app has a series: the apps of a wildcard have not been listed since the start, none matches, or no copy holds the \
             lock. `/readyz` says why.",
        ),
        critical(
            "FlyAutoscalerNobodyWrites",
            // In a dry run nobody leads either, but Consul is not asked.
            format!(
                "sum by (app) ({LEADER}) < on (app) max by (app) ({SHARDS}) and on (app) {with_lock}"
            ),
            "No copy of fly-autoscaler holds the lock, or a shard",
            "Nothing is created, destroyed, started or stopped, or nothing of the apps of that shard. Most often Consul does not answer, or its token is refused: the \
             page and `/readyz` say which. One copy without a lock scales meanwhile: `fly scale count 1`, and FAS_LOCK_URL=none.",
        ),
        critical(
            "FlyAutoscalerTwoHolders",
            format!(
                "sum by (app) ({LEADER}) > on (app) max by (app) ({SHARDS}) and on (app) {with_lock}"
            ),
            "Two copies of fly-autoscaler hold one lock",
            "This must not happen: what is missing may be created twice. Keep one copy (`fly scale count 1`). Copies with \
             different FAS_LOCK_NAME look alike here, and are to be apps of their own.",
        ),
        critical(
            "FlyAutoscalerNoSuccess",
            format!("time() - {LAST_SUCCESS} > 300"),
            "{{ $labels.app }}/{{ $labels.group }}{{ with $labels.region }}/{{ . }}{{ end }}: no pass has succeeded for 5 minutes",
            "The app is not scaled: its passes fail, none ever succeeded, or the autoscaler has stalled. The log and the page \
             say why. With an FAS_INTERVAL above a minute, raise the 300 to five intervals.",
        ),
        critical(
            "FlyAutoscalerPassesFail",
            format!("{FAILING_PASSES} > 10"),
            "{{ $labels.app }}/{{ $labels.group }}{{ with $labels.region }}/{{ . }}{{ end }}: {{ $value }} passes in a row have failed",
            "The app is not scaled, or not wholly. The log and the page say why: most often a metric that has no value, or a \
             server that does not answer.",
        ),
        warning(
            "FlyAutoscalerSecondCopy",
            format!("{PEERS} > 0"),
            "A second copy of fly-autoscaler runs without a lock",
            "Each copy acts, so that what is missing is created twice, and the surplus goes later. Run one copy \
             (`fly scale count 1`), or attach a lock (`fly consul attach`).",
        ),
        warning(
            "FlyAutoscalerErrors",
            format!("sum by (reason) (increase({lasting}[15m])) > 0"),
            "fly-autoscaler fails with {{ $labels.reason }}",
            "This does not recover by itself: `unauthorized` is a Fly token that is refused, `no_source` that there is no machine to \
             copy, `panic` a bug. The log says which app.",
        ),
        warning(
            "FlyAutoscalerLostAnswers",
            format!("sum by (reason) (increase({transient}[15m])) > 5"),
            "fly-autoscaler fails often with {{ $labels.reason }}",
            "`list`: machines, or the apps of a wildcard, cannot be listed; the apps of the last list are still scaled, new ones \
             are not. `timeout`: passes take longer than FAS_TIMEOUT. With hundreds of apps some are normal: raise the 5.",
        ),
        warning(
            "FlyAutoscalerCreatesFail",
            format!("{} > 3", failed(CREATES)),
            "Machines cannot be created",
            "Creates keep failing, and the apps stay smaller than they should be. A pass that pauses between attempts does not \
             count as failed, so that no other alert need show it. The log has Fly's reason: often capacity in a region; give more in FAS_REGIONS.",
        ),
        warning(
            "FlyAutoscalerDestroysFail",
            format!("{} > 3", failed(DESTROYS)),
            "Machines cannot be destroyed",
            "Surplus machines stay, and are paid for: they are leased, or Fly refuses to stop or destroy them. Such a machine is tried \
             last, and in each pass if there is no other. The log has Fly's reason.",
        ),
    ]
}

fn critical(
    alert: &'static str,
    expr: String,
    summary: &'static str,
    description: &'static str,
) -> Rule {
    Rule {
        alert,
        expr,
        lasting: LASTING,
        labels: Labels {
            severity: "critical",
        },
        annotations: Annotations {
            summary,
            description,
        },
    }
}

fn warning(
    alert: &'static str,
    expr: String,
    summary: &'static str,
    description: &'static str,
) -> Rule {
    Rule {
        labels: Labels {
            severity: "warning",
        },
        ..critical(alert, expr, summary, description)
    }
}

/// The errors for these reasons.
fn errors(reasons: &[PassError]) -> String {
    let reasons: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
    format!(r#"{PASS_ERRORS}{{reason=~"{}"}}"#, reasons.join("|"))
}

/// How many of these writes failed within the hour.
fn failed(writes: Series) -> String {
    format!(r#"sum(increase({writes}{{status="failed"}}[1h]))"#)
}
