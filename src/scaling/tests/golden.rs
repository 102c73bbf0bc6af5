//! Plans as text: `tests/data/plans/*.txt`, one block a scenario, compared whole.
//!
//! A block begins with `scenario`, may set `policy`, `targets` and `release`, and has passes: `at 45s`, then the list
//! that this pass sees, one `machine` a line as [`super::fleet::machine`] reads it. Lines that begin with `>` are what
//! is expected; `exists` is a machine that the list does not show and that is there all the same; `did` lines are outcomes of acting on it, which the next pass remembers. With `UPDATE_PLANS=1` in the
//! environment the expectations are written anew, to be read line by line before they are kept.

use std::{fmt::Write as _, fs, path::PathBuf, time::Duration};

use crate::scaling::{
    Action, Bounds, Effect, InitialState, Kind, Observed, Policy, Release, Step, StopAction,
    Target, Targets,
    tests::fleet::{Fleet, Pass, machine, wall},
};

#[test]
fn plans_are_as_written() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/plans");
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the directory of plans can be read")
        .map(|entry| entry.expect("an entry of it").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there are plans");
    let rewrite = std::env::var_os("UPDATE_PLANS").is_some();
    for file in files {
        let text = fs::read_to_string(&file).expect("a file of plans can be read");
        let played = play(&text);
        if rewrite {
            fs::write(&file, played).expect("a file of plans can be written");
            continue;
        }
        for (expected, found) in blocks(&text).zip(blocks(&played)) {
            assert!(
                expected == found,
                "{}: expected\n{expected}\nbut found\n{found}",
                file.display()
            );
        }
        assert_eq!(text, played, "{}", file.display());
    }
}

fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive("\n\n")
}

/// The text with every expectation replaced by what is the case.
fn play(text: &str) -> String {
    let mut written = String::new();
    let mut scenario = Scenario::default();
    for line in text.lines() {
        if line.starts_with('>') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word != "machine" {
            scenario.finish_pass(&mut written);
        }
        match word {
            "" | "#" => {}
            "scenario" => scenario = Scenario::default(),
            "policy" => read_policy(&mut scenario.fleet.policy, rest),
            "targets" => scenario.targets = read_targets(rest),
            "release" => scenario.fleet.release = read_release(rest),
            "at" => scenario.begin_pass(rest),
            "machine" => scenario.list.push(rest.to_owned()),
            "exists" => scenario.fleet.exists(rest),
            "did" => scenario.did(rest),
            _ => panic!("unknown line: {line}"),
        }
        written.push_str(line);
        written.push('\n');
    }
    scenario.finish_pass(&mut written);
    written
}

struct Scenario {
    fleet: Fleet,
    targets: Targets,
    second: u64,
    /// Whether a pass has begun whose list is being read.
    reading: bool,
    list: Vec<String>,
    observed: Observed,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            fleet: Fleet::new(Policy::default()),
            targets: Targets::default(),
            second: 0,
            reading: false,
            list: Vec::new(),
            observed: Observed::default(),
        }
    }
}

impl Scenario {
    fn begin_pass(&mut self, text: &str) {
        self.second = seconds(text);
        self.reading = true;
        self.list.clear();
    }

    fn finish_pass(&mut self, written: &mut String) {
        if !std::mem::take(&mut self.reading) {
            return;
        }
        let list = self.list.iter().map(|text| machine(text)).collect();
        let now = self.fleet.at(self.second);
        let pass = self.fleet.pass_over(now, self.targets, list);
        if let Some(Action::Create { source, .. }) = &pass.plan.action {
            self.fleet.memory.note_source(source.fingerprint, false);
        }
        describe(&pass, written);
        self.observed = pass.observed;
    }

    fn did(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        let effect = match words[..] {
            ["created", id, region] => Effect::Created {
                id: id.to_owned(),
                region: region.to_owned(),
            },
            ["create-refused", region] => Effect::CreateRefused {
                region: region.to_owned(),
            },
            ["create-unknown", region] => Effect::CreateUnknown {
                region: region.to_owned(),
            },
            ["destroyed", id] => Effect::Destroyed { id: id.to_owned() },
            ["gone", id] => Effect::Gone { id: id.to_owned() },
            ["destroy-unknown", id] => Effect::DestroyUnknown { id: id.to_owned() },
            ["destroy-refused", id] => Effect::DestroyRefused {
                id: id.to_owned(),
                woken: false,
            },
            ["destroy-woken", id] => Effect::DestroyRefused {
                id: id.to_owned(),
                woken: true,
            },
            ["victim-stopped", id] => Effect::VictimStopped { id: id.to_owned() },
            ["victim-stop-unknown", id] => Effect::VictimStopUnknown { id: id.to_owned() },
            ["start-refused", id] => Effect::StartRefused { id: id.to_owned() },
            ["start-unknown", id] => Effect::StartUnknown { id: id.to_owned() },
            ["started", id] => Effect::Started { id: id.to_owned() },
            ["stopped", id] => Effect::Stopped { id: id.to_owned() },
            _ => panic!("unknown outcome: {text}"),
        };
        self.fleet.record(self.second, &self.observed, &[effect]);
    }
}

fn describe(pass: &Pass, written: &mut String) {
    let Pass {
        asked,
        observed,
        limited,
        plan,
        doubted: _,
    } = pass;
    if !asked.is_empty() {
        let _ = writeln!(written, "> asks for {}", asked.join(" "));
    }
    let mut line = |text: String| writeln!(written, "> {text}").expect("a string takes anything");
    line(format!(
        "sees {} created, {} started, {} stopped",
        observed.created, observed.started, observed.stopped
    ));
    for (kind, bounds) in [
        (Kind::Created, limited.created),
        (Kind::Started, limited.started),
    ] {
        if let Some(bounds) = bounds {
            line(format!("goes to {kind} {bounds}"));
        }
    }
    let mut decision = plan.decision().as_str().to_owned();
    match &plan.action {
        None => {}
        Some(Action::Create {
            source,
            count,
            placement,
        }) => {
            let mut placement = placement.clone();
            let regions: Vec<String> = (0..*count).map_while(|_| placement.next_region()).collect();
            let _ = write!(
                decision,
                " {count}: clones of {} in {}",
                source.id,
                regions.join(", ")
            );
        }
        Some(Action::Destroy { victims }) => {
            let victims: Vec<String> = victims
                .iter()
                .map(|victim| {
                    let how = if victim.running { " (running)" } else { "" };
                    format!("{}{how}", victim.id)
                })
                .collect();
            let _ = write!(decision, " {}: {}", victims.len(), victims.join(", "));
        }
        Some(Action::Start { candidates, count } | Action::Stop { candidates, count }) => {
            let _ = write!(decision, " {count} of: {}", candidates.join(", "));
        }
    }
    line(decision);
    line(format!("because {}", plan.reason));
    for note in &plan.notes {
        line(format!("note {note}"));
    }
    if let Some(failure) = &plan.failure {
        line(format!("failure {failure}"));
    }
}

fn read_policy(policy: &mut Policy, text: &str) {
    for word in text.split(' ') {
        let (name, value) = word.split_once('=').expect("name=value");
        match name {
            "group" => value.clone_into(&mut policy.process_group),
            "regions" => policy.regions = value.split(',').map(str::to_owned).collect(),
            "initial-state" => {
                policy.initial_state = match value {
                    "started" => InitialState::Started,
                    "stopped" => InitialState::Stopped,
                    _ => panic!("unknown state: {value}"),
                }
            }
            "stop-action" => {
                policy.stop_action = match value {
                    "stop" => StopAction::Stop,
                    "suspend" => StopAction::Suspend,
                    _ => panic!("unknown action: {value}"),
                }
            }
            "clone-volumes" => policy.clone_volumes = value == "true",
            "floor" => policy.floor = Some(number(value)),
            "ceiling" => policy.ceiling = Some(number(value)),
            "destroy-running-after" => policy.destroy_running_after = duration(value),
            "up-stabilization" => policy.stabilization.up = duration(value),
            "down-stabilization" => policy.stabilization.down = duration(value),
            "up-step" => policy.step.up = Some(step(value)),
            "down-step" => policy.step.down = Some(step(value)),
            "fallback-created" => policy.fallback.created = Some(number(value)),
            "fallback-started" => policy.fallback.started = Some(number(value)),
            "fallback-after" => policy.fallback.after = number(value),
            "own" => policy.own_machine = Some(value.to_owned()),
            _ => panic!("unknown setting: {name}"),
        }
    }
}

fn read_targets(text: &str) -> Targets {
    let mut targets = Targets::default();
    let words: Vec<&str> = text.split(' ').collect();
    for pair in words.chunks(2) {
        let (kind, target) = (pair[0], read_target(pair[1]));
        match kind {
            "created" => targets.created = target,
            "started" => targets.started = target,
            _ => panic!("unknown kind: {kind}"),
        }
    }
    targets
}

fn read_target(text: &str) -> Target {
    if text == "missing" {
        return Target::Missing;
    }
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let bound = |text: &str, unset: u32| match text {
        "" => unset,
        text => number(text),
    };
    Target::Bounds(Bounds {
        min: bound(min, 0),
        max: bound(max, u32::MAX),
    })
}

fn read_release(text: &str) -> Option<Release> {
    let (version, status) = text.split_once(' ')?;
    Some(Release {
        version: Some(number(version).into()),
        status: status.to_owned(),
        created_at: Some(wall(0)),
    })
}

fn step(text: &str) -> Step {
    match text.strip_suffix('%') {
        Some(percent) => Step::Percent(number(percent)),
        None => Step::Count(number(text)),
    }
}

fn number(text: &str) -> u32 {
    text.parse()
        .unwrap_or_else(|_| panic!("expected a number, but found {text}"))
}

fn seconds(text: &str) -> u64 {
    let Some(seconds) = text.strip_suffix('s') else {
        panic!("expected seconds, but found {text}");
    };
    number(seconds).into()
}

fn duration(text: &str) -> Duration {
    Duration::from_secs(seconds(text))
}
