//! Deploys: what `fly deploy` does to an app's machines, step by step, and how it may end.
//!
//! A rolling deploy replaces one machine after the other; a blue-green one makes a second, cordoned set, turns the
//! requests over to it and destroys the first. A deploy that dies leaves everything as it is, its release `running`
//! for ever. The deployer holds leases on the machines it works on, as flyctl does.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    Creation, Due, HostStatus, Lease, Machine, MachineState, Platform, Release, machine::Step,
};
use crate::sim::records::{Actor, ChangeKind};

/// How long a lease of the deployer outlives a deploy that died.
const LEASE: Duration = Duration::from_secs(30);

/// How often a blue-green deploy looks whether its new machines are up before it gives up.
const LOOKS: u32 = 60;

/// How machines are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// One after the other, in place.
    Rolling,
    /// A second set beside the first, which then takes over.
    BlueGreen,
}

/// How a deploy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is done.
    Complete,
    /// It gives up; a blue-green one destroys the new machines again.
    Failed,
    /// Somebody pressed Ctrl-C: what is done stays.
    Interrupted,
    /// It is killed: what is done stays, and the release says `running` for ever.
    Dies,
}

/// A deploy to be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// How.
    pub strategy: Strategy,
    /// How it ends; where `steps` is not given and the work is done, `Failed` and the others come at the very end.
    pub outcome: Outcome,
    /// After how many steps it ends; `None` is when all is done. A step is one machine replaced, created or destroyed,
    /// or all of a set cordoned or uncordoned.
    pub steps: Option<u32>,
    /// The time between two steps.
    pub pace: Duration,
    /// Whether it leases the machines it works on.
    pub leases: bool,
    /// The group it works on; empty means every machine.
    pub group: String,
}

impl Deploy {
    /// A deploy of all machines, 10 s a step, that completes.
    #[must_use]
    pub const fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            outcome: Outcome::Complete,
            steps: None,
            pace: Duration::from_secs(10),
            leases: true,
            group: String::new(),
        }
    }

    /// That ends so, after so many steps.
    #[must_use]
    pub const fn ending(mut self, outcome: Outcome, steps: u32) -> Self {
        self.outcome = outcome;
        self.steps = Some(steps);
        self
    }
}

/// What a blue-green deploy does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Create,
    AwaitStarted,
    Uncordon,
    Cordon,
    Destroy,
}

/// A deploy at work.
#[derive(Debug)]
pub(super) struct DeployRun {
    deploy: Deploy,
    run: u64,
    version: u64,
    image: String,
    nonce: String,
    steps: u32,
    looks: u32,
    stage: Stage,
    /// The machines that were there at the beginning and are still to be seen to.
    old: VecDeque<Arc<str>>,
    /// All machines that were there at the beginning.
    all_old: Vec<Arc<str>>,
    /// The machines made by this deploy.
    new: Vec<Arc<str>>,
}

enum Progress {
    Step,
    Waits,
    Done,
    Fails,
}

impl Platform {
    /// Begins a deploy; says its release's version, or `None` when the app is unknown. One at work is abandoned.
    pub fn start_deploy(&mut self, app: &str, deploy: Deploy) -> Option<u64> {
        self.serial += 1;
        let (run, wall, now) = (self.serial, self.wall(), self.now);
        let nonce = self.random.text("0123456789abcdef", 12);
        let found = self.apps.get_mut(app)?;
        let newest = found
            .machines()
            .filter_map(|machine| machine.config.release_version())
            .max()
            .unwrap_or(0);
        let released = found.release.as_ref().map_or(0, |release| release.version);
        let version = newest.max(released).saturating_add(1);
        let image = format!("registry.fly.io/{app}:v{version}");
        let old: Vec<Arc<str>> = found
            .living(&deploy.group)
            .map(|machine| Arc::clone(&machine.id))
            .collect();
        found.release = Some(Release {
            version,
            status: "running".to_owned(),
            created_at: wall,
            updated_at: wall,
            image: image.clone(),
        });
        let name = Arc::clone(&found.name);
        let pace = deploy.pace;
        let leases = deploy.leases;
        found.deploy = Some(DeployRun {
            deploy,
            run,
            version,
            image,
            nonce: nonce.clone(),
            steps: 0,
            looks: 0,
            stage: Stage::Create,
            old: old.iter().cloned().collect(),
            all_old: old.clone(),
            new: Vec::new(),
        });
        if leases {
            self.lease_for_deploy(&name, &old, &nonce);
        }
        self.schedule(now.saturating_add(pace), Due::Deploy { app: name, run });
        Some(version)
    }

    fn lease_for_deploy(&mut self, app: &str, machines: &[Arc<str>], nonce: &str) {
        let expires = self.now.saturating_add(LEASE);
        for id in machines {
            self.change(app, id, Actor::Deploy.does(ChangeKind::Update), |machine| {
                machine.lease = Some(Lease {
                    nonce: nonce.to_owned(),
                    expires,
                    owner: "deployer".to_owned(),
                    description: "deploy".to_owned(),
                });
            });
        }
    }

    /// Does the next step of a deploy, or ends it.
    pub(super) fn deploy_step(&mut self, app: &Arc<str>, run: u64) {
        let Some(found) = self.apps.get_mut(app) else {
            return;
        };
        let Some(mut work) = found.deploy.take_if(|work| work.run == run) else {
            return;
        };
        if work.deploy.steps.is_some_and(|steps| work.steps >= steps) {
            self.end_deploy(app, &work, work.deploy.outcome);
            return;
        }
        let progress = match work.deploy.strategy {
            Strategy::Rolling => self.roll(app, &mut work),
            Strategy::BlueGreen => self.turn(app, &mut work),
        };
        match progress {
            Progress::Done => return self.end_deploy(app, &work, work.deploy.outcome),
            Progress::Fails => return self.end_deploy(app, &work, Outcome::Failed),
            Progress::Step => work.steps += 1,
            Progress::Waits => {}
        }
        if work.deploy.leases {
            let held: Vec<Arc<str>> = work.all_old.iter().chain(&work.new).cloned().collect();
            let present: Vec<Arc<str>> = held
                .into_iter()
                .filter(|id| self.machine(app, id).is_some())
                .collect();
            self.lease_for_deploy(app, &present, &work.nonce);
        }
        let next = self
            .now
            .saturating_add(work.deploy.pace.max(Duration::from_millis(100)));
        if let Some(found) = self.apps.get_mut(app) {
            found.deploy = Some(work);
        }
        let app = Arc::clone(app);
        self.schedule(next, Due::Deploy { app, run });
    }

    /// Replaces the next machine in place.
    fn roll(&mut self, app: &str, work: &mut DeployRun) -> Progress {
        let now = self.now;
        let takes = self.timing_of(app).replace;
        while let Some(id) = work.old.pop_front() {
            let Some(machine) = self.machine(app, &id).filter(|machine| updatable(machine)) else {
                continue;
            };
            let (during, after) = if machine.state.is_running() {
                (MachineState::Replacing, MachineState::Started)
            } else {
                (MachineState::Updating, MachineState::Stopped)
            };
            let config = machine.config.with(
                Some(&work.image),
                &[
                    ("fly_release_id", Some(&*format!("rel_{}", work.version))),
                    ("fly_release_version", Some(&*work.version.to_string())),
                ],
            );
            let instance_id = self.instance_id();
            let due = now.saturating_add(takes);
            let deed = Actor::Deploy.does(ChangeKind::Update);
            self.change(app, &id, deed, |machine| {
                machine.config = config;
                machine.instance_id = instance_id;
                machine.state = during;
                machine.pending = Some((due, Step::Become(after)));
            });
            return Progress::Step;
        }
        Progress::Done
    }

    /// Does the next step of a blue-green deploy.
    fn turn(&mut self, app: &str, work: &mut DeployRun) -> Progress {
        match work.stage {
            Stage::Create => {
                while let Some(id) = work.old.pop_front() {
                    let Some(machine) = self.machine(app, &id).filter(|machine| updatable(machine))
                    else {
                        continue;
                    };
                    let tag = format!("bg_{}", work.version);
                    let config = machine.config.with(
                        Some(&work.image),
                        &[
                            ("fly_release_id", Some(&*format!("rel_{}", work.version))),
                            ("fly_release_version", Some(&*work.version.to_string())),
                            ("fly_bluegreen_deployment_tag", Some(&tag)),
                        ],
                    );
                    let creation = Creation {
                        config,
                        region: Some(machine.region.to_string()),
                        name: None,
                        skip_launch: !machine.state.is_running(),
                        cordoned: true,
                        lease_ttl: None,
                    };
                    return match self.create_machine(app, creation, Actor::Deploy) {
                        Ok(id) => {
                            work.new.push(id);
                            Progress::Step
                        }
                        Err(_) => Progress::Fails,
                    };
                }
                work.stage = Stage::AwaitStarted;
                Progress::Waits
            }
            Stage::AwaitStarted => {
                work.looks += 1;
                let states: Vec<Option<MachineState>> = work
                    .new
                    .iter()
                    .map(|id| self.machine(app, id).map(|machine| machine.state.clone()))
                    .collect();
                if states.iter().all(|state| {
                    matches!(state, Some(MachineState::Started | MachineState::Stopped))
                }) {
                    work.stage = Stage::Uncordon;
                    return Progress::Waits;
                }
                let lost = states.iter().any(|state| {
                    matches!(
                        state,
                        None | Some(MachineState::Failed | MachineState::LaunchFailed)
                    )
                });
                if lost || work.looks > LOOKS {
                    Progress::Fails
                } else {
                    Progress::Waits
                }
            }
            Stage::Uncordon => {
                self.cordon(app, &work.new, false);
                work.stage = Stage::Cordon;
                Progress::Step
            }
            Stage::Cordon => {
                self.cordon(app, &work.all_old, true);
                work.old = work.all_old.iter().cloned().collect();
                work.stage = Stage::Destroy;
                Progress::Step
            }
            Stage::Destroy => match work.old.pop_front() {
                Some(id) => {
                    // One that is cut off stays behind, as it does with flyctl.
                    let _ = self.destroy_machine(app, &id, Actor::Deploy.with(&work.nonce), true);
                    Progress::Step
                }
                None => Progress::Done,
            },
        }
    }

    fn cordon(&mut self, app: &str, machines: &[Arc<str>], cordoned: bool) {
        let kind = if cordoned {
            ChangeKind::Cordon
        } else {
            ChangeKind::Uncordon
        };
        for id in machines {
            self.change(app, id, Actor::Deploy.does(kind), |machine| {
                machine.cordoned = cordoned;
            });
        }
    }

    fn end_deploy(&mut self, app: &Arc<str>, work: &DeployRun, outcome: Outcome) {
        let status = match outcome {
            Outcome::Complete => "complete",
            Outcome::Failed => "failed",
            Outcome::Interrupted => "interrupted",
            Outcome::Dies => return,
        };
        if outcome == Outcome::Failed && work.deploy.strategy == Strategy::BlueGreen {
            for id in &work.new {
                let _ = self.destroy_machine(app, id, Actor::Deploy.with(&work.nonce), true);
            }
        }
        for id in work.all_old.iter().chain(&work.new) {
            let ours = self
                .machine(app, id)
                .and_then(|machine| machine.lease.as_ref())
                .is_some_and(|lease| lease.nonce == work.nonce);
            if ours {
                self.change(app, id, Actor::Deploy.does(ChangeKind::Update), |machine| {
                    machine.lease = None;
                });
            }
        }
        let wall = self.wall();
        if let Some(release) = self
            .apps
            .get_mut(app)
            .and_then(|found| found.release.as_mut())
            .filter(|release| release.version == work.version)
        {
            status.clone_into(&mut release.status);
            release.updated_at = wall;
        }
    }
}

fn updatable(machine: &Machine) -> bool {
    machine.state.is_living() && machine.host_status == HostStatus::Ok
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::sim::{NewMachine, Options};

    fn platform() -> Platform {
        let mut platform = Platform::new(&Options::default());
        platform.add_app("web", "acme");
        let machine = NewMachine::in_region("ord");
        platform.add_machines("web", 2, &machine).unwrap();
        platform
            .add_machine("web", machine.state(MachineState::Stopped))
            .unwrap();
        platform
    }

    /// Version, state, cordon and lease of each machine, and the release's status.
    fn seen(platform: &Platform) -> (Vec<String>, String) {
        let app = platform.app("web").unwrap();
        let mut machines: Vec<String> = app
            .machines()
            .map(|machine| {
                format!(
                    "v{} {}{}{}",
                    machine.config.release_version().unwrap(),
                    machine.state,
                    if machine.cordoned { " cordoned" } else { "" },
                    if machine.lease_at(platform.now()).is_some() {
                        " leased"
                    } else {
                        ""
                    },
                )
            })
            .collect();
        machines.sort();
        (machines, app.release().unwrap().status.clone())
    }

    #[test]
    fn a_deploy_ends_as_it_is_told() {
        use Outcome as O;
        use Strategy as S;
        let old = ["v1 started", "v1 started", "v1 stopped"];
        let cases: [(&str, Deploy, &[&str], &str); 9] = [
            (
                "rolling",
                Deploy::new(S::Rolling),
                &["v2 started", "v2 started", "v2 stopped"],
                "complete",
            ),
            (
                "rolling, failed half way",
                Deploy::new(S::Rolling).ending(O::Failed, 3),
                &["v2 started", "v2 started", "v2 stopped"],
                "failed",
            ),
            (
                "rolling, dead at once",
                Deploy::new(S::Rolling).ending(O::Dies, 0),
                &old,
                "running",
            ),
            (
                "blue-green",
                Deploy::new(S::BlueGreen),
                &["v2 started", "v2 started", "v2 stopped"],
                "complete",
            ),
            (
                "blue-green, interrupted after the first machine",
                Deploy::new(S::BlueGreen).ending(O::Interrupted, 3),
                &[
                    "v1 started",
                    "v1 started",
                    "v1 stopped",
                    "v2 started cordoned",
                    "v2 started cordoned",
                    "v2 stopped cordoned",
                ],
                "interrupted",
            ),
            (
                "blue-green, dead before the turn",
                Deploy::new(S::BlueGreen).ending(O::Dies, 3),
                &[
                    "v1 started",
                    "v1 started",
                    "v1 stopped",
                    "v2 started cordoned",
                    "v2 started cordoned",
                    "v2 stopped cordoned",
                ],
                "running",
            ),
            (
                "blue-green, dead after the new ones are in",
                Deploy::new(S::BlueGreen).ending(O::Dies, 4),
                &[
                    "v1 started",
                    "v1 started",
                    "v1 stopped",
                    "v2 started",
                    "v2 started",
                    "v2 stopped",
                ],
                "running",
            ),
            (
                "blue-green, dead after the turn",
                Deploy::new(S::BlueGreen).ending(O::Dies, 5),
                &[
                    "v1 started cordoned",
                    "v1 started cordoned",
                    "v1 stopped cordoned",
                    "v2 started",
                    "v2 started",
                    "v2 stopped",
                ],
                "running",
            ),
            (
                "blue-green, failed",
                Deploy::new(S::BlueGreen).ending(O::Failed, 2),
                &old,
                "failed",
            ),
        ];
        for (name, deploy, machines, status) in cases {
            let mut platform = platform();
            assert_eq!(platform.start_deploy("web", deploy), Some(2), "{name}");
            platform.advance(Duration::from_secs(600));
            let expected = machines
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>();
            assert_eq!(seen(&platform), (expected, status.to_owned()), "{name}");
            assert!(!platform.app("web").unwrap().is_deploying(), "{name}");
        }
    }

    #[test]
    fn a_rolling_deploy_works_on_one_machine_at_a_time_and_leases_all() {
        let mut platform = platform();
        platform.start_deploy("web", Deploy::new(Strategy::Rolling));
        platform.advance(Duration::from_secs(11));
        let (machines, status) = seen(&platform);
        let busy = machines
            .iter()
            .filter(|machine| machine.contains("replacing") || machine.contains("updating"))
            .count();
        assert_eq!((busy, status.as_str()), (1, "running"));
        assert!(
            machines.iter().all(|machine| machine.ends_with("leased")),
            "{machines:?}"
        );
    }

    #[test]
    fn a_blue_green_deploy_fails_when_a_new_machine_does() {
        let mut platform = platform();
        let failures = crate::sim::Failures { next: 1, rate: 0.0 };
        platform.set_failures("web", failures, crate::sim::Failures::default());
        platform.start_deploy("web", Deploy::new(Strategy::BlueGreen));
        platform.advance(Duration::from_secs(600));
        let expected = ["v1 started", "v1 started", "v1 stopped"].map(str::to_owned);
        assert_eq!(seen(&platform), (expected.to_vec(), "failed".to_owned()));
    }
}
