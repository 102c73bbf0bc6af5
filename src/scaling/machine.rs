//! A Fly Machine as decisions see it, and what each of its states means.

use std::{
    cmp::Ordering,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use compact_str::CompactString;
use jiff::Timestamp;

use super::template;

/// Fly's own time between the stop signal and the kill, where a machine's configuration says nothing.
pub const DEFAULT_KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A machine of the target app, reduced to what a decision reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The machine's id, unique in its app.
    pub id: String,
    /// Its region; empty where the API names none.
    pub region: CompactString,
    /// Its state.
    pub state: State,
    /// Metadata `fly_process_group`, else `process_group`; empty for a machine that belongs to no group.
    pub process_group: CompactString,
    /// Whether its host answers: `host_status` is `ok` or absent.
    pub host_ok: bool,
    /// `config.standbys` is not empty: the platform starts it when another machine's host fails.
    pub standby: bool,
    /// `config.schedule` is set: the platform starts it by the clock.
    pub scheduled: bool,
    /// Metadata `fas_protect` is `true`.
    pub protected: bool,
    /// `config.auto_destroy`: stopping it removes it.
    pub auto_destroy: bool,
    /// Not routed to; during a blue-green deploy the set that is not serving.
    pub cordoned: bool,
    /// One of its health checks is `critical`.
    pub critical: bool,
    /// Metadata `fly_release_version` as a number.
    pub release: Option<u64>,
    /// Names this version of the machine, as waiting for it wants; empty where the API says none.
    pub instance_id: String,
    /// Its configuration has mounts.
    pub has_mounts: bool,
    /// Its full configuration, where it is known, so that it can be cloned.
    pub config: Option<MachineConfig>,
    /// The time its configuration gives it between the stop signal and the kill.
    pub kill_timeout: Duration,
    /// When it was created, as the API says.
    pub created_at: Option<Timestamp>,
    /// When it last changed, as the API says.
    pub updated_at: Option<Timestamp>,
}

impl Machine {
    /// A reachable machine with nothing special about it.
    #[must_use]
    pub fn new(id: impl Into<String>, region: impl Into<CompactString>, state: State) -> Self {
        Self {
            id: id.into(),
            region: region.into(),
            state,
            process_group: CompactString::const_new("app"),
            host_ok: true,
            standby: false,
            scheduled: false,
            protected: false,
            auto_destroy: false,
            cordoned: false,
            critical: false,
            release: None,
            instance_id: String::new(),
            has_mounts: false,
            config: Some(MachineConfig::new(r#"{"image":"registry/app"}"#, None)),
            kill_timeout: DEFAULT_KILL_TIMEOUT,
            created_at: None,
            updated_at: None,
        }
    }
}

/// What clones of a machine are made from. Decisions do not look into it, but what they decide to clone is this.
#[derive(Clone)]
pub struct MachineConfig {
    /// The configuration as the API sent it: JSON.
    pub json: Arc<str>,
    /// The full reference of its image, where the API has one.
    pub image: Option<Arc<str>>,
    /// Found out once it is asked for: most machines are never looked at that closely.
    flaw: OnceLock<Option<Box<str>>>,
}

impl MachineConfig {
    /// A configuration as the API sent it.
    #[must_use]
    pub fn new(json: impl Into<Arc<str>>, image: Option<Arc<str>>) -> Self {
        Self {
            json: json.into(),
            image,
            flaw: OnceLock::new(),
        }
    }

    /// Why no machine can be made like it: it is no JSON object of the documented shape, is far too large, or names no image
    /// at all.
    #[must_use]
    pub fn flaw(&self) -> Option<&str> {
        let flaw = || template::flaw(&self.json, self.image.as_deref());
        let flaw = self.flaw.get_or_init(|| flaw().map(String::into_boxed_str));
        flaw.as_deref()
    }
}

impl PartialEq for MachineConfig {
    fn eq(&self, other: &Self) -> bool {
        (&self.json, &self.image) == (&other.json, &other.image)
    }
}

impl Eq for MachineConfig {}

/// Shows no more than its length: a configuration holds environments.
impl fmt::Debug for MachineConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MachineConfig({} bytes)", self.json.len())
    }
}

/// A machine's state as the Machines API names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Running.
    Started,
    /// On its way to running.
    Starting,
    /// Its process exited and is being started again.
    Restarting,
    /// Being brought to another configuration.
    Updating,
    /// Being replaced by a new version of itself.
    Replacing,
    /// At rest, can be started.
    Stopped,
    /// At rest with its memory saved, can be resumed.
    Suspended,
    /// Being prepared.
    Creating,
    /// Prepared or being prepared; never started so far.
    Created,
    /// On its way to `stopped`.
    Stopping,
    /// On its way to `suspended`.
    Suspending,
    /// Errored; may be destroyed.
    Failed,
    /// Could not be launched; on its way to `destroyed`.
    LaunchFailed,
    /// Gone: a newer version took its place.
    Replaced,
    /// On its way to `destroyed`.
    Destroying,
    /// Gone.
    Destroyed,
    /// Gone: moved to another host.
    Migrated,
    /// A state that this program does not know; counted, never acted on.
    Other(Box<str>),
}

impl State {
    /// Reads the API's word; an unknown one is kept.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        let mut known = WORDS.iter();
        let known = known.find(|(known, _)| *known == word);
        known.map_or_else(|| Self::Other(word.into()), |(_, state)| state.clone())
    }

    /// Whether a machine in this state exists for good: it counts as created unless it has failed.
    #[must_use]
    pub fn is_living(&self) -> bool {
        !matches!(
            self,
            Self::Replaced | Self::Destroying | Self::Destroyed | Self::Migrated
        )
    }

    /// Whether a machine in this state runs or is on its way to it.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(
            self,
            Self::Started | Self::Starting | Self::Restarting | Self::Updating | Self::Replacing
        )
    }

    /// Whether a machine in this state runs, is on its way to it, or may count as running because it is new.
    #[must_use]
    pub fn may_run(&self) -> bool {
        self.is_up() || matches!(self, Self::Creating | Self::Created)
    }

    /// Whether a machine in this state is at rest, was never started, or is on its way down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(
            self,
            Self::Stopped
                | Self::Suspended
                | Self::Creating
                | Self::Created
                | Self::Stopping
                | Self::Suspending
        )
    }

    /// Whether a machine in this state serves nobody any more: it is to be replaced.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed | Self::LaunchFailed)
    }

    /// Whether a machine in this state may serve as the source of a clone.
    #[must_use]
    pub fn may_be_cloned(&self) -> bool {
        self.is_living() && !matches!(self, Self::Failed | Self::LaunchFailed | Self::Other(_))
    }

    /// In which turn a machine in this state is taken by a destroy; `None`: never in this state.
    #[must_use]
    pub fn destroy_rank(&self) -> Option<DestroyRank> {
        match self {
            Self::Failed | Self::LaunchFailed => Some(DestroyRank::Failed),
            Self::Stopped | Self::Suspended => Some(DestroyRank::Stopped),
            Self::Creating | Self::Created => Some(DestroyRank::Created),
            Self::Stopping | Self::Suspending => Some(DestroyRank::OnItsWayDown),
            Self::Started => Some(DestroyRank::Running),
            _ => None,
        }
    }

    /// The closed label of metrics.
    #[must_use]
    pub fn label(&self) -> StateLabel {
        let known = WORDS.iter().position(|(_, state)| state == self);
        known.map_or(StateLabel::OTHER, StateLabel::at)
    }
}

/// The API's words for the states that are known.
static WORDS: [(&str, State); 17] = [
    ("started", State::Started),
    ("starting", State::Starting),
    ("restarting", State::Restarting),
    ("updating", State::Updating),
    ("replacing", State::Replacing),
    ("stopped", State::Stopped),
    ("suspended", State::Suspended),
    ("creating", State::Creating),
    ("created", State::Created),
    ("stopping", State::Stopping),
    ("suspending", State::Suspending),
    ("failed", State::Failed),
    ("launch_failed", State::LaunchFailed),
    ("replaced", State::Replaced),
    ("destroying", State::Destroying),
    ("destroyed", State::Destroyed),
    ("migrated", State::Migrated),
];

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(word) => formatter.write_str(word),
            known => formatter.write_str(known.label().as_str()),
        }
    }
}

/// A state's name in metrics: one of a closed set, whatever the API says. Labels are ordered by their text.
///
/// It is a byte, its place among all, since one is kept of every machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StateLabel(u8);

/// The text of every label: the states that are known come first, in the order of their words.
static LABELS: [&str; WORDS.len() + 3] = {
    let mut all = ["other"; WORDS.len() + 3];
    let mut at = 0;
    while at < WORDS.len() {
        all[at] = WORDS[at].0;
        at += 1;
    }
    all[StateLabel::UNREACHABLE.0 as usize] = "unreachable";
    all[StateLabel::STUCK.0 as usize] = "stuck";
    all
};

impl StateLabel {
    /// The label of machines on hosts that do not answer.
    pub const UNREACHABLE: Self = Self::after_words(1);
    /// The label of machines that have been in a transitional state for too long.
    pub const STUCK: Self = Self::after_words(2);

    /// The label of machines in a state that is not known.
    const OTHER: Self = Self::after_words(0);

    /// Every label there is.
    pub const ALL: [Self; LABELS.len()] = {
        let mut all = [Self::OTHER; LABELS.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = Self::at(at);
            at += 1;
        }
        all
    };

    const fn after_words(place: usize) -> Self {
        Self::at(WORDS.len() + place)
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are a few labels")]
    const fn at(place: usize) -> Self {
        Self(place as u8)
    }

    /// The label's text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        LABELS[usize::from(self.0)]
    }
}

impl Ord for StateLabel {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for StateLabel {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for StateLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("StateLabel")
            .field(&self.as_str())
            .finish()
    }
}

/// The turns of a destroy, first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DestroyRank {
    /// Failed machines serve nobody.
    Failed,
    /// At rest.
    Stopped,
    /// Never started so far.
    Created,
    /// On its way down: it fills a slot of the surplus and is waited for.
    OnItsWayDown,
    /// Running: only after the surplus has lasted.
    Running,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_state_means_what_the_table_says() {
        use DestroyRank::{Created, Failed, OnItsWayDown, Running, Stopped};
        // State, counts as created, turn of a destroy, may be cloned.
        let table: [(&str, bool, Option<DestroyRank>, bool); 18] = [
            ("started", true, Some(Running), true),
            ("starting", true, None, true),
            ("restarting", true, None, true),
            ("updating", true, None, true),
            ("replacing", true, None, true),
            ("stopped", true, Some(Stopped), true),
            ("suspended", true, Some(Stopped), true),
            ("creating", true, Some(Created), true),
            ("created", true, Some(Created), true),
            ("stopping", true, Some(OnItsWayDown), true),
            ("suspending", true, Some(OnItsWayDown), true),
            ("failed", true, Some(Failed), false),
            ("launch_failed", true, Some(Failed), false),
            ("replaced", false, None, false),
            ("destroying", false, None, false),
            ("destroyed", false, None, false),
            ("migrated", false, None, false),
            ("hibernating", true, None, false),
        ];
        for (word, living, rank, clonable) in table {
            let state = State::parse(word);
            assert_eq!(state.is_living(), living, "{word}");
            assert_eq!(state.destroy_rank(), rank, "{word}");
            assert_eq!(state.may_be_cloned(), clonable, "{word}");
            assert_eq!(state.to_string(), word);
        }
        assert!(Failed < Stopped && Stopped < Created && Created < OnItsWayDown);
        assert!(OnItsWayDown < Running);
    }

    #[test]
    fn labels_are_a_closed_set() {
        let all: BTreeSet<StateLabel> = StateLabel::ALL.into_iter().collect();
        assert_eq!(all.len(), StateLabel::ALL.len(), "no label comes twice");
        assert!(all.iter().is_sorted_by_key(|label| label.as_str()));
        for label in StateLabel::ALL {
            let state = State::parse(label.as_str()).label();
            assert!(all.contains(&state));
        }
        assert_eq!(State::parse("hibernating").label().as_str(), "other");
        assert_eq!(State::parse("").label().as_str(), "other");
    }
}
