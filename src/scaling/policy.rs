//! What a user allows planning to do: the settings that decisions read, in one value.

use std::{sync::Arc, time::Duration};

/// The process group that stands for all of them, and for machines of none.
pub const EVERY_GROUP: &str = "*";

/// The settings that planning and limits read.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// `FAS_PROCESS_GROUP` (`app`): only machines of this group are seen; `*`: all, those of no group too.
    pub process_group: String,
    /// `FAS_REGIONS`: where created machines may go, as what the API takes for a region, in order of preference; a name
    /// listed twice weighs twice. Empty: the source machine's region, then the others of the group.
    pub regions: Vec<String>,
    /// `FAS_PER_REGION` (`false`): whether each region has targets of its own.
    pub per_region: bool,
    /// The region that is the fleet's own, where each has one: only machines there are of the fleet.
    pub region: Option<Arc<str>>,
    /// `FAS_INITIAL_MACHINE_STATE` (`started`).
    pub initial_state: InitialState,
    /// `FAS_STOP_ACTION` (`stop`).
    pub stop_action: StopAction,
    /// `FAS_CLONE_VOLUMES` (`false`): whether machines with mounts may be cloned.
    pub clone_volumes: bool,
    /// `FAS_MACHINE_FLOOR`: hard lower bound on the created count.
    pub floor: Option<u32>,
    /// `FAS_MACHINE_CEILING`: hard upper bound on the created count.
    pub ceiling: Option<u32>,
    /// `FAS_DESTROY_RUNNING_AFTER` (45 s): how long a surplus must have lasted before it takes a running machine.
    pub destroy_running_after: Duration,
    /// `FAS_SCALE_UP_STABILIZATION` and `FAS_SCALE_DOWN_STABILIZATION` (0 s).
    pub stabilization: UpDown<Duration>,
    /// `FAS_SCALE_UP_STEP` and `FAS_SCALE_DOWN_STEP`: most machines one pass may add or remove.
    pub step: UpDown<Option<Step>>,
    /// `FAS_FALLBACK_*`.
    pub fallback: Fallback,
    /// `FAS_INTERVAL` (15 s): from the start of one pass over an app to the next.
    pub interval: Duration,
    /// `FAS_TIMEOUT` (30 s): the deadline of one pass.
    pub timeout: Duration,
    /// `FAS_DEPLOY_TIMEOUT` (1 h): how long a release that says `running` is believed.
    pub deploy_timeout: Duration,
    /// `FAS_PROMETHEUS_BUSY_QUERY`: whether somebody says how busy machines are.
    pub asks_busy: bool,
    /// `FAS_BUSY_LIMIT`: a machine that is busier is neither stopped nor destroyed while it runs; needs the query.
    pub busy_limit: Option<f64>,
    /// `FLY_MACHINE_ID`: the daemon's own machine, never stopped or destroyed.
    pub own_machine: Option<String>,
}

impl Policy {
    /// Whether machines of this process group are scaled; empty for those of no group.
    #[must_use]
    pub fn scales_group(&self, group: &str) -> bool {
        self.process_group == EVERY_GROUP || self.process_group == group
    }

    /// Whether machines there are of the fleet, were they of its group.
    #[must_use]
    pub fn scales_region(&self, region: &str) -> bool {
        self.region.as_deref().is_none_or(|own| own == region)
    }

    /// The settings of one region's fleet: what is created goes there, and only what is there is seen.
    #[must_use]
    pub fn of_region(&self, region: &str) -> Self {
        Self {
            region: Some(region.into()),
            regions: vec![region.to_owned()],
            ..self.clone()
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            process_group: "app".to_owned(),
            regions: Vec::new(),
            per_region: false,
            region: None,
            initial_state: InitialState::Started,
            stop_action: StopAction::Stop,
            clone_volumes: false,
            floor: None,
            ceiling: None,
            destroy_running_after: Duration::from_secs(45),
            stabilization: UpDown {
                up: Duration::ZERO,
                down: Duration::ZERO,
            },
            step: UpDown {
                up: None,
                down: None,
            },
            fallback: Fallback::default(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(30),
            deploy_timeout: Duration::from_secs(3600),
            asks_busy: false,
            busy_limit: None,
            own_machine: None,
        }
    }
}

/// One setting for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpDown<T> {
    /// For growth.
    pub up: T,
    /// For shrinking.
    pub down: T,
}

/// The state a created machine is brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InitialState {
    /// It is started.
    #[default]
    Started,
    /// It is created with `skip_launch` and settles into `stopped`.
    Stopped,
}

/// How started machines are brought down; a victim of a destroy is stopped whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopAction {
    /// Stop.
    #[default]
    Stop,
    /// Suspend, falling back to stop where a machine cannot be suspended.
    Suspend,
}

/// The most machines one pass may add or remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A number of machines; 0: never in that direction.
    Count(u32),
    /// Percent of the current count, rounded up, at least 1 machine unless it is 0.
    Percent(u32),
}

/// What stands in for a target that has been missing for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// `FAS_FALLBACK_CREATED_MACHINE_COUNT`.
    pub created: Option<u32>,
    /// `FAS_FALLBACK_STARTED_MACHINE_COUNT`.
    pub started: Option<u32>,
    /// `FAS_FALLBACK_AFTER` (3): passes in a row without that kind's target; at least 1.
    pub after: u32,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            created: None,
            started: None,
            after: 3,
        }
    }
}
