//! The record as JSON, for `/api/status`: every key always there, `null` where nothing is known. From `seeing.md`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    io,
};

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    Fleet, PastDecision, Repeated, Status, ThisCopy, history::Span, shown_name, shown_sentence,
};
use crate::{
    inventory::MachineView,
    lock::{Account, Role},
    peers::Others,
    scaling::{Bounds, Counts, Decision, ExpressionBand, Kind, Note, StateLabel, Target},
};

/// Which fleets are asked for: all of an app's, or one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The app.
    pub app: String,
    /// Only the fleet of this process group.
    pub group: Option<String>,
    /// Only the fleet of this region.
    pub region: Option<String>,
}

impl Selection {
    /// Whether a fleet is meant.
    #[must_use]
    pub fn matches(&self, fleet: &Fleet) -> bool {
        let name = &fleet.name;
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        *name.app == *self.app
            && is(&self.group, Some(&name.group))
            && is(&self.region, name.region.as_deref())
    }
}

impl Status {
    /// All fleets, or with `selection` those, in detail; `None` where there is none of that name.
    #[must_use]
    pub fn json(&self, copy: &ThisCopy, selection: Option<&Selection>) -> Option<Vec<u8>> {
        let readiness = &copy.readiness;
        let role = copy.role.as_ref();
        let settings = self.settings();
        let head = Head {
            version: env!("CARGO_PKG_VERSION"),
            started_at: at(self.started_at()),
            now: at(self.clock().now().wall),
            ready: readiness.is_ok(),
            ready_reason: readiness.as_ref().err().map(|why| shown_sentence(why)),
            dry_run: settings.as_ref().is_some_and(|settings| settings.dry_run),
            role: role.map_or("alone", Role::as_str),
            lock: role.map(LockJson::of),
            others: copy.others.as_ref().map(OthersJson::of),
            interval_s: settings
                .as_ref()
                .map(|settings| settings.interval.as_secs_f64()),
        };
        let mut json = serde_json::to_vec(&head).ok()?;
        // One fleet after the other: a tree of all of them would take several times the room of the text.
        json.pop();
        json.extend_from_slice(br#","fleets":["#);
        let words = Words::default();
        let mut found = 0_usize;
        let mut write = |fleet: &Fleet| {
            if found > 0 {
                json.push(b',');
            }
            found += 1;
            let view = FleetJson {
                summary: SummaryJson::of(fleet, &words),
                detail: selection.map(|_| DetailJson::of(fleet, self.resolution(), &words)),
            };
            write_json(&mut json, &view);
        };
        match selection {
            None => self.each(&mut write),
            Some(selection) => {
                self.each_of(&selection.app, |fleet| {
                    if selection.matches(fleet) {
                        write(fleet);
                    }
                });
            }
        }
        if selection.is_some() && found == 0 {
            return None;
        }
        json.extend_from_slice(b"]}\n");
        Some(json)
    }
}

/// Texts that were made fit to be shown while one answer is written. Most fleets say the same, and to look for secrets in it
/// again and again took most of the time.
#[derive(Default)]
struct Words {
    sentences: RefCell<HashMap<String, String>>,
    names: RefCell<HashMap<String, String>>,
}

/// How many texts of a kind are kept while an answer is written.
const WORDS: usize = 256;

impl Words {
    fn sentence(&self, text: &str) -> String {
        once(&self.sentences, text, shown_sentence)
    }

    fn name(&self, text: &str) -> String {
        once(&self.names, text, shown_name)
    }
}

/// What `show` makes of a text, from `kept` if it is there.
fn once(kept: &RefCell<HashMap<String, String>>, text: &str, show: fn(&str) -> String) -> String {
    let mut kept = kept.borrow_mut();
    if let Some(shown) = kept.get(text) {
        return shown.clone();
    }
    let shown = show(text);
    if kept.len() < WORDS {
        kept.insert(text.to_owned(), shown.clone());
    }
    shown
}

/// Writing to memory does not fail, and every key is text.
fn write_json(json: &mut Vec<u8>, value: &impl Serialize) {
    let written: io::Result<()> = serde_json::to_writer(json, value).map_err(Into::into);
    debug_assert!(written.is_ok(), "{written:?}");
}

#[derive(Serialize)]
struct Head {
    version: &'static str,
    started_at: String,
    now: String,
    ready: bool,
    ready_reason: Option<String>,
    dry_run: bool,
    role: &'static str,
    lock: Option<LockJson>,
    others: Option<OthersJson>,
    interval_s: Option<f64>,
}

#[derive(Serialize)]
struct LockJson {
    sentence: String,
    held_since: Option<String>,
    holder: Option<HolderJson>,
    lost_at: Option<String>,
    lost_reason: Option<&'static str>,
    consul_silent_since: Option<String>,
    consul_error: Option<String>,
}

#[derive(Serialize)]
struct HolderJson {
    machine: Option<String>,
    region: Option<String>,
    version: String,
    apps: String,
}

#[derive(Serialize)]
struct OthersJson {
    sentence: String,
    count: usize,
    since: String,
}

#[derive(Serialize)]
struct FleetJson<'fleet> {
    #[serde(flatten)]
    summary: SummaryJson<'fleet>,
    #[serde(flatten)]
    detail: Option<DetailJson>,
}

#[derive(Serialize)]
struct SummaryJson<'fleet> {
    app: &'fleet str,
    group: &'fleet str,
    region: Option<&'fleet str>,
    name: String,
    pass: Option<PassJson>,
    next_pass_at: Option<String>,
    metrics: Vec<MetricJson<'fleet>>,
    targets: TargetsJson<'fleet>,
    counts: CountsJson,
    by_state: Option<Pairs>,
    by_region: Option<Pairs>,
    decision: Option<DecisionJson>,
    failing_passes: u32,
    last_success_at: Option<String>,
}

#[derive(Serialize)]
struct PassJson {
    at: String,
    took_ms: u64,
    ok: bool,
}

#[derive(Serialize)]
struct MetricJson<'fleet> {
    name: &'fleet str,
    value: Option<f64>,
    error: Option<String>,
    at: String,
}

#[derive(Serialize)]
struct TargetsJson<'fleet> {
    created: Option<TargetJson<'fleet>>,
    started: Option<TargetJson<'fleet>>,
}

#[derive(Serialize)]
struct TargetJson<'fleet> {
    expression: ExpressionJson<'fleet>,
    value: Option<BoundsJson>,
    limited: Option<BoundsJson>,
}

#[derive(Serialize)]
struct ExpressionJson<'fleet> {
    min: &'fleet str,
    max: &'fleet str,
}

#[derive(Serialize)]
struct BoundsJson {
    min: u32,
    /// `null`: no upper bound.
    max: Option<u32>,
}

#[derive(Serialize)]
struct CountsJson {
    created: Option<u32>,
    started: Option<u32>,
    stopped: Option<u32>,
}

#[derive(Serialize)]
struct DecisionJson {
    at: String,
    first_at: String,
    times: u32,
    decision: &'static str,
    code: &'static str,
    sentence: String,
    ok: bool,
    notes: Vec<NoteJson>,
}

#[derive(Serialize)]
struct NoteJson {
    code: &'static str,
    sentence: String,
}

#[derive(Serialize)]
struct DetailJson {
    machines: Vec<MachineJson>,
    machines_left_out: Option<usize>,
    decisions: Vec<DecisionJson>,
    errors: Vec<ErrorJson>,
    series: Option<SeriesJson>,
}

#[derive(Serialize)]
struct MachineJson {
    id: String,
    state: &'static str,
    region: String,
    release: Option<u32>,
    created: bool,
    started: bool,
    protected: bool,
    cordoned: bool,
    stuck: bool,
    reachable: bool,
    busy: Option<bool>,
    listed: bool,
}

#[derive(Serialize)]
struct ErrorJson {
    at: String,
    first_at: String,
    times: u32,
    code: &'static str,
    sentence: String,
}

#[derive(Serialize)]
struct SeriesJson {
    step_s: f64,
    from: String,
    created: Vec<Option<u32>>,
    started: Vec<Option<u32>>,
    target_min: Vec<Option<u32>>,
    target_max: Vec<Option<u32>>,
    metrics: BTreeMap<String, Vec<Option<f64>>>,
}

/// An object of counts, in the order that they have.
struct Pairs(Vec<(String, u32)>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, count) in &self.0 {
            map.serialize_entry(key, count)?;
        }
        map.end()
    }
}

impl LockJson {
    fn of(role: &Role) -> Self {
        let account = role.behind.as_deref().and_then(Account::read);
        let silence = role.silence.as_ref();
        Self {
            sentence: shown_sentence(&role.sentence()),
            held_since: role.holds_since.map(at),
            holder: account.map(|account| HolderJson {
                machine: account.machine.as_deref().map(shown_name),
                region: account.region.as_deref().map(shown_name),
                version: shown_name(&account.version),
                apps: shown_sentence(&account.apps),
            }),
            lost_at: role.lost.map(|lost| at(lost.at)),
            lost_reason: role.lost.map(|lost| lost.how.words()),
            consul_silent_since: silence.map(|silence| at(silence.since)),
            consul_error: silence.map(|silence| shown_sentence(&silence.why)),
        }
    }
}

impl OthersJson {
    fn of(others: &Others) -> Self {
        Self {
            sentence: shown_sentence(&others.sentence()),
            count: others.count,
            since: at(others.since),
        }
    }
}

impl<'fleet> SummaryJson<'fleet> {
    fn of(fleet: &'fleet Fleet, words: &Words) -> Self {
        let pass = fleet.last_pass.as_ref();
        let inventory = fleet.inventory.as_ref();
        let metrics = pass.map_or_else(Vec::new, |pass| {
            let metric = |reading: &'fleet super::MetricReading| {
                let (value, error) = match &reading.value {
                    // JSON has no such numbers.
                    Ok(value) if !value.is_finite() => {
                        (None, Some(format!("the value is {value}")))
                    }
                    Ok(value) => (Some(*value), None),
                    Err(why) => (None, Some(words.sentence(why))),
                };
                MetricJson {
                    name: &reading.name,
                    value,
                    error,
                    at: at(pass.at),
                }
            };
            pass.metrics.iter().map(metric).collect()
        });
        let target = |kind| {
            let band = fleet.targets.of_kind(kind)?;
            let target = pass.map_or(Target::Missing, |pass| pass.targets.of_kind(kind));
            let limited = pass.and_then(|pass| pass.limited.of_kind(kind));
            Some(TargetJson {
                expression: ExpressionJson::of(band),
                value: target.bounds().map(BoundsJson::of),
                limited: limited.map(BoundsJson::of),
            })
        };
        Self {
            app: &fleet.name.app,
            group: &fleet.name.group,
            region: fleet.name.region.as_deref(),
            name: fleet.name.to_string(),
            pass: pass.map(|pass| PassJson {
                at: at(pass.at),
                took_ms: u64::try_from(pass.took.as_millis()).unwrap_or(u64::MAX),
                ok: pass.decision.ok,
            }),
            next_pass_at: fleet.next_pass_at.map(at),
            metrics,
            targets: TargetsJson {
                created: target(Kind::Created),
                started: target(Kind::Started),
            },
            counts: CountsJson::of(inventory.map(|inventory| inventory.counts)),
            by_state: inventory.map(|inventory| {
                let pair = |(label, count): &(StateLabel, u32)| (label.as_str().to_owned(), *count);
                Pairs(inventory.by_state.iter().map(pair).collect())
            }),
            by_region: inventory.map(|inventory| {
                // Names that differ only in what is not shown are one.
                let mut regions: BTreeMap<String, u32> = BTreeMap::new();
                for (region, count) in &inventory.by_region {
                    *regions.entry(words.name(region)).or_default() += count;
                }
                Pairs(regions.into_iter().collect())
            }),
            decision: pass.map(|pass| DecisionJson::of(&pass.decision, [pass.at; 2], 1, words)),
            failing_passes: fleet.standing.failing_passes,
            last_success_at: fleet.standing.last_success.map(at),
        }
    }
}

impl<'fleet> ExpressionJson<'fleet> {
    fn of(band: &'fleet ExpressionBand) -> Self {
        let (min, max) = match band {
            ExpressionBand::Exact(expression) => (expression, expression),
            ExpressionBand::Band { min, max } => (min, max),
        };
        Self {
            min: min.source(),
            max: max.source(),
        }
    }
}

impl BoundsJson {
    fn of(bounds: Bounds) -> Self {
        Self {
            min: bounds.min,
            max: Some(bounds.max).filter(|max| *max != u32::MAX),
        }
    }
}

impl CountsJson {
    fn of(counts: Option<Counts>) -> Self {
        Self {
            created: counts.map(|counts| counts.created),
            started: counts.map(|counts| counts.started),
            stopped: counts.map(|counts| counts.stopped),
        }
    }
}

impl DecisionJson {
    fn of(
        decision: &PastDecision,
        [last_at, first_at]: [Timestamp; 2],
        times: u32,
        words: &Words,
    ) -> Self {
        let note = |note: &Note| NoteJson {
            code: note.code(),
            sentence: words.sentence(&note.to_string()),
        };
        Self {
            at: at(last_at),
            first_at: at(first_at),
            times,
            decision: Decision::as_str(decision.decision),
            code: decision.code(),
            sentence: words.sentence(&decision.sentence()),
            ok: decision.ok,
            notes: decision.notes.iter().map(note).collect(),
        }
    }

    fn of_repeated(one: &Repeated<PastDecision>, words: &Words) -> Self {
        Self::of(&one.what, [one.at, one.first_at], one.times, words)
    }
}

impl DetailJson {
    fn of(fleet: &Fleet, resolution: std::time::Duration, words: &Words) -> Self {
        let inventory = fleet.inventory.as_ref();
        let machines = inventory.map_or_else(Vec::new, |inventory| {
            inventory.machines.iter().map(MachineJson::of).collect()
        });
        let names: Vec<&str> = fleet
            .last_pass
            .iter()
            .flat_map(|pass| &pass.metrics)
            .map(|reading| &*reading.name)
            .collect();
        Self {
            machines,
            machines_left_out: inventory.map(|inventory| inventory.left_out),
            decisions: fleet
                .decisions
                .newest_first()
                .map(|one| DecisionJson::of_repeated(one, words))
                .collect(),
            errors: fleet
                .errors
                .newest_first()
                .map(|one| ErrorJson {
                    at: at(one.at),
                    first_at: at(one.first_at),
                    times: one.times,
                    code: one.what.code(),
                    sentence: words.sentence(&one.what.text),
                })
                .collect(),
            series: fleet
                .history
                .span(resolution)
                .map(|span| SeriesJson::of(span, &names)),
        }
    }
}

impl MachineJson {
    fn of(machine: &MachineView) -> Self {
        Self {
            id: shown_name(&machine.id),
            state: machine.state.as_str(),
            region: shown_name(&machine.region),
            release: machine.release,
            created: machine.created,
            started: machine.started,
            protected: machine.protected,
            cordoned: machine.cordoned,
            stuck: machine.stuck,
            reachable: machine.reachable,
            busy: None,
            listed: machine.listed,
        }
    }
}

impl SeriesJson {
    fn of(span: Span, names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned());
        Self {
            step_s: span.step.as_secs_f64(),
            from: at(span.from),
            created: span.created,
            started: span.started,
            target_min: span.target_min,
            target_max: span.target_max,
            metrics: names.zip(span.metrics).collect(),
        }
    }
}

/// RFC 3339 in UTC, to the millisecond.
fn at(time: Timestamp) -> String {
    time.round(jiff::Unit::Millisecond)
        .unwrap_or(time)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_as_ever_and_made_fit_once() {
        let words = Words::default();
        for text in ["a\u{202e}b", "fm2_abcdefghijkl", ""] {
            for _ in 0..2 {
                assert_eq!(words.sentence(text), shown_sentence(text));
                assert_eq!(words.name(text), shown_name(text));
            }
        }
        assert_eq!(words.sentences.borrow().len(), 3);
        let long = "x".repeat(500);
        assert_eq!(words.sentence(&long), long, "as long as a sentence may be");
        assert_eq!(
            words.name(&long),
            shown_name(&long),
            "not that of a sentence"
        );
        for number in 0..2 * WORDS {
            let text = number.to_string();
            assert_eq!(words.sentence(&text), text);
        }
        assert_eq!(words.sentences.borrow().len(), WORDS);
    }
}
