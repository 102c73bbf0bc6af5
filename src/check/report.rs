//! What a check comes to: steps in their order, and how they are written for people and for programs.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr as _;

/// What became of a step. The order is the one in which apps are listed: failures first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It does not work; the check fails.
    Failed,
    /// It works, but somebody should look.
    Warning,
    /// It works.
    Ok,
    /// It was not tried, and the sentence says why.
    Skipped,
}

impl Status {
    /// The word of it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Warning => "warning",
            Self::Ok => "ok",
            Self::Skipped => "skipped",
        }
    }

    /// The mark at the beginning of a line: a word, so that it can be told without colours and found by `grep`.
    fn mark(self) -> &'static str {
        match self {
            Self::Failed => "FAILED",
            other => other.as_str(),
        }
    }
}

/// What is tried, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// The variables and the file.
    Configuration,
    /// The token of Fly's APIs.
    Token,
    /// The app, or with a wildcard each of them.
    App,
    /// The machines that are seen.
    Machines,
    /// The machine that would be cloned.
    Source,
    /// One metric.
    Metric,
    /// One expression.
    Expression,
    /// The current release.
    Release,
    /// The lock that keeps two copies from acting at the same time.
    Lock,
    /// Other copies of the autoscaler.
    Peers,
    /// What Fly Proxy does with the same machines.
    Proxy,
    /// What a pass would do now.
    Plan,
}

impl StepKind {
    /// All of them, in their order.
    pub const ALL: [Self; 12] = [
        Self::Configuration,
        Self::Token,
        Self::App,
        Self::Machines,
        Self::Source,
        Self::Metric,
        Self::Expression,
        Self::Release,
        Self::Lock,
        Self::Peers,
        Self::Proxy,
        Self::Plan,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Token => "token",
            Self::App => "app",
            Self::Machines => "machines",
            Self::Source => "source",
            Self::Metric => "metric",
            Self::Expression => "expression",
            Self::Release => "release",
            Self::Lock => "lock",
            Self::Peers => "peers",
            Self::Proxy => "proxy",
            Self::Plan => "plan",
        }
    }
}

/// One thing that was tried, or one thing found about it: a step with several findings comes several times.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What was tried.
    pub kind: StepKind,
    /// Which one, where there are several: a metric's name, `created min`, an app.
    pub name: Option<String>,
    /// What became of it.
    pub status: Status,
    /// What was found. Lines after the first show where in an expression a mistake is.
    pub sentence: String,
    /// What to do about it, as a command where there is one.
    pub hint: Option<String>,
    /// The same for programs.
    pub detail: Map<String, Value>,
}

impl Step {
    pub(super) fn new(kind: StepKind, status: Status, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            name: None,
            status,
            sentence: sentence.into(),
            hint: None,
            detail: Map::new(),
        }
    }

    pub(super) fn ok(kind: StepKind, sentence: impl Into<String>) -> Self {
        Self::new(kind, Status::Ok, sentence)
    }

    pub(super) fn warning(kind: StepKind, sentence: impl Into<String>) -> Self {
        Self::new(kind, Status::Warning, sentence)
    }

    pub(super) fn failed(kind: StepKind, sentence: impl Into<String>) -> Self {
        Self::new(kind, Status::Failed, sentence)
    }

    pub(super) fn skipped(kind: StepKind, why: impl Into<String>) -> Self {
        Self::new(kind, Status::Skipped, why)
    }

    pub(super) fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(key.to_owned(), value.into());
        self
    }

    /// What stands before its sentence.
    fn label(&self) -> String {
        let kind = self.kind.as_str();
        match &self.name {
            Some(name) => format!("{kind} {name}"),
            None => kind.to_owned(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "step": self.kind.as_str(),
            "name": self.name,
            "status": self.status.as_str(),
            "sentence": self.sentence,
            "hint": self.hint,
            "detail": self.detail,
        })
    }
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// What was found, in the order in which it is told.
    pub steps: Vec<Step>,
    /// What a pass would do now, for programs; empty where that is not known, or where there are several apps, whose steps
    /// hold it then.
    pub plan: Map<String, Value>,
}

/// A step, and what else was skipped for the same reason.
struct Told<'report> {
    step: &'report Step,
    others: Vec<String>,
}

impl Told<'_> {
    fn label(&self) -> String {
        match self.others.len() {
            0 => self.step.label(),
            others => format!("{} steps", others + 1),
        }
    }

    fn sentence(&self) -> Cow<'_, str> {
        if self.others.is_empty() {
            return Cow::Borrowed(&self.step.sentence);
        }
        let others = self.others.join(", ");
        let first = self.step.label();
        Cow::Owned(format!("{}: {first}, {others}", self.step.sentence))
    }
}

/// How wide the column of labels gets at most, in columns of the terminal; a longer label pushes its own line only.
const LABEL_LIMIT: usize = 28;

impl Report {
    /// Whether no step failed.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.worst() != Status::Failed
    }

    /// The worst that became of a step; nothing tried is nothing wrong.
    #[must_use]
    pub fn worst(&self) -> Status {
        let tried = self.steps.iter().map(|step| step.status);
        tried.min().unwrap_or(Status::Skipped)
    }

    /// How many steps became this.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.steps
            .iter()
            .filter(|step| step.status == status)
            .count()
    }

    /// For programs. Absent values are `null`, never left out.
    #[must_use]
    pub fn json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(Step::json).collect();
        json!({ "ok": self.is_ok(), "steps": steps, "plan": self.plan })
    }

    /// The steps, where those that were skipped for one reason are one: they would bury what they were skipped for.
    fn summed_up(&self) -> Vec<Told<'_>> {
        // With a wildcard each app has its line.
        let is_whole = |step: &Step| {
            step.status != Status::Skipped || (step.kind == StepKind::App && step.name.is_some())
        };
        let is_alike = |one: &Step, other: &Step| {
            !is_whole(one)
                && !is_whole(other)
                && one.sentence == other.sentence
                && one.hint == other.hint
        };
        let mut told: Vec<Told<'_>> = Vec::new();
        for step in &self.steps {
            let alike = told.iter_mut().find(|told| is_alike(told.step, step));
            match alike {
                Some(told) => told.others.push(step.label()),
                None => told.push(Told {
                    step,
                    others: Vec::new(),
                }),
            }
        }
        told
    }

    /// For people: one line a step, what to do indented below it, and what it comes to at the end.
    #[must_use]
    pub fn text(&self) -> String {
        let steps = self.summed_up();
        let labels: Vec<String> = steps.iter().map(Told::label).collect();
        let widths = labels.iter().map(|label| label.width());
        let column = widths
            .filter(|width| *width <= LABEL_LIMIT)
            .max()
            .unwrap_or_default();
        let mut text = String::new();
        for (step, label) in steps.iter().zip(&labels) {
            let gap = " ".repeat(column.saturating_sub(label.width()));
            let sentence = step.sentence();
            let step = step.step;
            let mut lines = sentence.lines();
            let first = lines.next().unwrap_or_default();
            let mark = step.status.mark();
            let mut below: Vec<String> = lines.map(|line| format!("         {line}\n")).collect();
            for (number, line) in step.hint.iter().flat_map(|hint| hint.lines()).enumerate() {
                let arrow = if number == 0 { "->" } else { "  " };
                below.push(format!("         {arrow} {line}\n"));
            }
            text.extend([format!("{mark:<8} {label}{gap}  {first}\n")]);
            text.extend(below);
        }
        text.push('\n');
        text.push_str(&self.conclusion());
        text
    }

    fn conclusion(&self) -> String {
        let count = |status, one: &str, several: &str| match self.count(status) {
            0 => None,
            1 => Some(format!("1 {one}")),
            many => Some(format!("{many} {several}")),
        };
        let found = [
            count(Status::Failed, "failure", "failures"),
            count(Status::Warning, "warning", "warnings"),
        ];
        let found: Vec<String> = found.into_iter().flatten().collect();
        match (self.is_ok(), found.as_slice()) {
            (true, []) => "All checks passed. Nothing was changed.".to_owned(),
            (true, found) => format!(
                "It works, with {}. Nothing was changed.",
                found.join(" and ")
            ),
            (false, found) => format!(
                "It does not work yet: {}. Nothing was changed.",
                found.join(" and ")
            ),
        }
    }
}
