//! What is observed: which machines count, as what. [`Memory::note_list`](super::Memory::note_list) makes it of a list and
//! of what is remembered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Busyness, Elsewhere, Ids, Lately, Machine, Policy, State, StateLabel, Unsettled,
    order::may_be_replaced,
};

/// How long a list may lag behind a write, and how long an unreachable machine still counts as created.
pub const SETTLE_TIME: Duration = Duration::from_secs(60);

/// What a pass sees of its app's process group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every machine that counts, by id: failed ones and those that the list does not show included.
    pub members: Vec<Member>,
    /// How many machines exist, failed ones apart: what a lower bound is held against, and what expressions see.
    pub created: u32,
    /// How many have failed. They count towards the ceiling and not as created, so that each is replaced.
    pub failed: u32,
    /// How many of those may be destroyed: they count towards an upper bound too. One that has to stay costs no working
    /// one its place.
    pub failed_expendable: u32,
    /// How many of the created ones the list shows on hosts that answer: a step towards fewer begins there.
    pub shown: u32,
    /// How many machines run or are on their way to it.
    pub started: u32,
    /// How many machines are stopped or suspended.
    pub stopped: u32,
    /// Machines of the group whose host does not answer, sorted by id.
    pub unreachable: Vec<String>,
    /// Those of them that do not count and are not among the members: for who looks, and for their place under the ceiling.
    /// By id.
    pub uncounted: Vec<Member>,
    /// Machines of the group that the list lacks and that are not known to be gone, sorted by id.
    pub unlisted: Vec<String>,
    /// How many of those have not been asked for within the last minute: growth is blind until each was.
    pub unasked: u32,
    /// Creates of unknown outcome of which lists should have shown by now what they made: no more is counted of them than
    /// a place each under the ceiling.
    pub doubtful_creates: u32,
    /// How many of the created ones are only taken to exist, because a create had no clear answer.
    pub assumed_creates: u32,
    /// Every process group with machines in the list, for the message of one who chose the wrong group.
    pub groups: BTreeSet<String>,
    /// The machines in the list that are not of the group, or, where several fleets share them, all in the list: no create of
    /// ours makes one of them.
    pub others: Arc<Ids>,
    /// The group's machines in the list by state.
    pub by_state: BTreeMap<StateLabel, u32>,
    /// What happened to machines lately and decides whose turn it is.
    pub lately: Lately,
    /// What there is of the group in other regions, where each region is a fleet.
    pub elsewhere: Elsewhere,
    /// How busy machines are; asked for only where one that runs is to go.
    pub busyness: Busyness,
}

/// One machine that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The machine, in the state it is taken to be in.
    pub machine: Machine,
    /// Where the knowledge of it comes from.
    pub presence: Presence,
    /// Whether it counts as started.
    pub started: bool,
    /// Whether it has been in a transitional state for too long.
    pub stuck: bool,
    /// Whether an accepted write to it has not shown in a list yet.
    pub pending: bool,
    /// Whether an earlier destroy of it had no known outcome.
    pub unsettled_destroy: bool,
    /// The earlier start or stop of it that had no known outcome, where no list has shown one since.
    pub unsettled: Option<Unsettled>,
    /// Whether that had none twice, or the list denies it long after: it is then not told again, and its slot stays spent
    /// until a list or an answer says more.
    pub held: bool,
}

/// Where the knowledge of a member comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The list shows it.
    Listed,
    /// The list shows it on a host that does not answer; among the members: one that stopped to less than a minute ago.
    Unreachable,
    /// A create was accepted, or may have been, less than a minute ago, and no list shows it yet.
    Expected,
    /// An earlier list showed it, or a create made it, and this list lacks it; it is not known to be gone. It counts as
    /// what it was last seen as, and is left alone.
    Unlisted,
}

impl Member {
    /// One that the list does not show, or not as what it is.
    pub(super) fn unseen(machine: Machine, presence: Presence, started: bool) -> Self {
        Self {
            machine,
            presence,
            started,
            stuck: false,
            pending: presence == Presence::Expected,
            unsettled_destroy: false,
            unsettled: None,
            held: false,
        }
    }

    /// One that a list shows and of which nothing is remembered.
    pub(super) fn listed(machine: Machine) -> Self {
        Self {
            pending: false,
            ..Self::unseen(machine, Presence::Listed, false)
        }
    }

    /// Whether this pass's list shows it on a host that answers.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.presence == Presence::Listed
    }

    /// Whether it has failed: it serves nobody, and is to be replaced.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.machine.state.is_failed()
    }

    /// Whether it may be acted on at all: it is listed and no write to it is under way.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.is_listed() && !self.pending
    }

    /// Whether it may be stopped or destroyed at all.
    #[must_use]
    pub fn is_expendable(&self, policy: &Policy) -> bool {
        self.is_free()
            && !self.machine.protected
            && policy.own_machine.as_deref() != Some(&self.machine.id)
    }

    /// Whether it may be cloned.
    #[must_use]
    pub fn may_be_cloned(&self, policy: &Policy) -> bool {
        self.is_listed()
            && self.machine.config.is_some()
            && self.flaw().is_none()
            && self.machine.state.may_be_cloned()
            && (policy.clone_volumes || !self.machine.has_mounts)
    }

    /// Why its configuration cannot be cloned, where it has one.
    #[must_use]
    pub fn flaw(&self) -> Option<&str> {
        self.machine.config.as_ref()?.flaw()
    }
}

impl Observed {
    /// Whether there is no machine, and none that may exist: not of one that is missing from the list, on a host that does
    /// not answer, or made by a create of unknown outcome.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        let unseen = self.unlisted.is_empty() && self.unreachable.is_empty();
        self.members.is_empty() && unseen && self.doubtful_creates == 0
    }

    /// The member with this id.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<&Member> {
        let at = self
            .members
            .binary_search_by(|member| member.machine.id.as_str().cmp(id))
            .ok()?;
        self.members.get(at)
    }

    pub(super) fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        let at = self
            .members
            .binary_search_by(|member| member.machine.id.as_str().cmp(id))
            .ok()?;
        self.members.get_mut(at)
    }

    /// Puts everything in its order.
    pub(super) fn sort(&mut self) {
        self.members
            .sort_by(|one, other| one.machine.id.cmp(&other.machine.id));
        self.uncounted
            .sort_by(|one, other| one.machine.id.cmp(&other.machine.id));
        self.unreachable.sort();
        self.unlisted.sort();
    }

    /// Counts the members.
    pub(super) fn count(&mut self, policy: &Policy) {
        let (mut failed, mut failed_expendable, mut shown) = (0, 0, 0);
        let (mut started, mut stopped) = (0, 0);
        for member in &self.members {
            if member.is_failed() {
                failed += 1;
                let is_expendable = member.is_expendable(policy) && may_be_replaced(member, policy);
                failed_expendable += usize::from(is_expendable);
            } else {
                shown += usize::from(member.is_listed());
            }
            started += usize::from(member.started);
            let is_known = matches!(member.presence, Presence::Listed | Presence::Unlisted);
            let rests = matches!(member.machine.state, State::Stopped | State::Suspended);
            stopped += usize::from(is_known && rests);
        }
        self.created = super::count(self.members.len() - failed);
        self.failed = super::count(failed);
        self.failed_expendable = super::count(failed_expendable);
        self.shown = super::count(shown);
        self.started = super::count(started);
        self.stopped = super::count(stopped);
    }

    /// How many machines on unreachable hosts do not count as created.
    #[must_use]
    pub fn unreachable_uncounted(&self) -> u32 {
        super::count(self.uncounted.len())
    }

    /// How many machines there are, failed ones that may be destroyed included: what an upper bound is held against.
    #[must_use]
    pub fn present(&self) -> u32 {
        self.created.saturating_add(self.failed_expendable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{
        Effect, InitialState, Memory,
        tests::fleet::{Fleet, ids},
    };

    fn fleet() -> Fleet {
        Fleet::new(Policy::default())
    }

    fn counts(observed: &Observed) -> (u32, u32, u32) {
        (observed.created, observed.started, observed.stopped)
    }

    fn accepted(id: &str) -> Effect {
        Effect::Created {
            id: id.to_owned(),
            region: "ord".to_owned(),
        }
    }

    fn unknown() -> Effect {
        Effect::CreateUnknown {
            region: "ord".to_owned(),
        }
    }

    fn destroyed(id: &str) -> Effect {
        Effect::Destroyed { id: id.to_owned() }
    }

    fn begun(id: &str) -> Effect {
        Effect::Started { id: id.to_owned() }
    }

    fn halted(id: &str) -> Effect {
        Effect::Stopped { id: id.to_owned() }
    }

    #[test]
    fn every_state_counts_as_the_table_says() {
        // State; created, started and stopped; may be started; may be stopped.
        type Row = (&'static str, (u32, u32, u32), bool, bool);
        let table: [Row; 18] = [
            ("started", (1, 1, 0), false, true),
            ("starting", (1, 1, 0), false, false),
            ("restarting", (1, 1, 0), false, false),
            ("updating", (1, 1, 0), false, false),
            ("replacing", (1, 1, 0), false, false),
            ("stopped", (1, 0, 1), true, false),
            ("suspended", (1, 0, 1), true, false),
            ("creating", (1, 1, 0), false, false),
            ("created", (1, 1, 0), false, false),
            ("stopping", (1, 0, 0), false, false),
            ("suspending", (1, 0, 0), false, false),
            ("failed", (0, 0, 0), false, false),
            ("launch_failed", (0, 0, 0), false, false),
            ("replaced", (0, 0, 0), false, false),
            ("destroying", (0, 0, 0), false, false),
            ("destroyed", (0, 0, 0), false, false),
            ("migrated", (0, 0, 0), false, false),
            ("hibernating", (1, 0, 0), false, false),
        ];
        for (state, expected, startable, stoppable) in table {
            let mut fleet = fleet();
            let observed = fleet.observe(0, &[&format!("a ord {state}")]);
            assert_eq!(counts(&observed), expected, "{state}");
            let failed = u32::from(state.ends_with("failed"));
            assert_eq!(observed.failed, failed, "{state}");
            let may_be_started = !crate::scaling::order::start_order(&observed).is_empty();
            assert_eq!(may_be_started, startable, "{state}");
            let may_be_stopped =
                !crate::scaling::order::stop_order(&observed, &fleet.policy).is_empty();
            assert_eq!(may_be_stopped, stoppable, "{state}");
        }
    }

    #[test]
    fn a_created_machine_counts_as_started_while_it_is_young_and_meant_to_start() {
        let cases: [(&str, InitialState, u64, &str, u32); 9] = [
            ("young", InitialState::Started, 299, "made=0", 1),
            ("five minutes old", InitialState::Started, 300, "made=0", 0),
            (
                "old by a clock that may be ahead, seen for less",
                InitialState::Started,
                299,
                "made=-300",
                1,
            ),
            (
                "old by both clocks",
                InitialState::Started,
                300,
                "made=-300",
                0,
            ),
            (
                "meant to stay stopped",
                InitialState::Stopped,
                0,
                "made=0",
                0,
            ),
            (
                "age unknown, seen for less",
                InitialState::Started,
                299,
                "",
                1,
            ),
            (
                "age unknown, seen for five minutes",
                InitialState::Started,
                300,
                "",
                0,
            ),
            (
                "from the future, seen for less",
                InitialState::Started,
                299,
                "made=9000",
                1,
            ),
            (
                "from the future, seen for five minutes",
                InitialState::Started,
                300,
                "made=9000",
                0,
            ),
        ];
        for (name, initial_state, second, made, started) in cases {
            let mut fleet = Fleet::new(Policy {
                initial_state,
                ..Policy::default()
            });
            for state in ["creating", "created"] {
                fleet.memory = Memory::default();
                let machine = format!("a ord {state} {made}");
                fleet.observe(0, &[&machine]);
                let observed = fleet.observe(second, &[&machine]);
                assert_eq!(counts(&observed), (1, started, 0), "{name}, {state}");
            }
        }
    }

    #[test]
    fn a_machine_is_stuck_when_both_clocks_say_so() {
        // State and words; how long it has been seen; whether it is stuck; whether it counts as started.
        let cases: [(&str, &str, u64, bool, u32); 19] = [
            ("starting", "updated=0 kill=5", 304, false, 1),
            ("starting", "updated=0 kill=5", 305, true, 0),
            ("starting", "updated=0 kill=60", 359, false, 1),
            ("starting", "updated=0 kill=60", 360, true, 0),
            ("starting", "updated=-9000 kill=0", 299, false, 1),
            ("starting", "updated=200 kill=0", 499, false, 1),
            ("starting", "updated=200 kill=0", 500, true, 0),
            ("starting", "updated=9000 kill=0", 8999, false, 1),
            ("starting", "kill=0", 299, false, 1),
            ("starting", "kill=0", 300, true, 0),
            ("stopping", "updated=0 kill=0", 299, false, 0),
            ("stopping", "updated=0 kill=0", 300, true, 0),
            ("updating", "updated=0 kill=60", 599, false, 1),
            ("updating", "updated=0 kill=60", 600, true, 0),
            ("replacing", "updated=0", 599, false, 1),
            ("replacing", "updated=0", 600, true, 0),
            ("restarting", "updated=0", 9000, false, 1),
            ("suspending", "updated=0", 9000, false, 0),
            ("started", "updated=0", 9000, false, 1),
        ];
        for (state, words, second, stuck, started) in cases {
            let mut fleet = fleet();
            let machine = format!("a ord {state} {words}");
            fleet.observe(0, &[&machine]);
            let observed = fleet.observe(second, &[&machine]);
            let name = format!("{machine} at {second}");
            assert_eq!(observed.members[0].stuck, stuck, "{name}");
            assert_eq!(counts(&observed), (1, started, 0), "{name}");
            let label = if stuck { "stuck" } else { state };
            let labels: Vec<&str> = observed
                .by_state
                .keys()
                .map(|label| label.as_str())
                .collect();
            assert_eq!(labels, [label], "{name}");
        }
    }

    #[test]
    fn another_state_starts_the_clock_of_being_stuck_again() {
        let mut fleet = fleet();
        fleet.observe(0, &["a ord starting kill=0"]);
        fleet.observe(200, &["a ord started kill=0"]);
        fleet.observe(250, &["a ord starting kill=0"]);
        assert!(!fleet.observe(549, &["a ord starting kill=0"]).members[0].stuck);
        assert!(fleet.observe(550, &["a ord starting kill=0"]).members[0].stuck);
    }

    #[test]
    fn an_immense_kill_timeout_is_no_panic() {
        let mut fleet = fleet();
        let mut machine = crate::scaling::tests::fleet::machine("a ord stopping");
        machine.kill_timeout = Duration::MAX;
        let now = fleet.at(0);
        let observed = fleet.memory.note_list(vec![machine], &fleet.policy, now);
        assert!(!observed.members[0].stuck);
    }

    #[test]
    fn standbys_scheduled_machines_and_other_groups_are_not_seen() {
        let mut fleet = fleet();
        let observed = fleet.observe(
            0,
            &[
                "a ord started",
                "b ord started group=worker",
                "c ord started group=",
                "d ord started standby",
                "e ord stopped scheduled",
                "f ord stopped group=worker host-down",
            ],
        );
        assert_eq!(ids(&observed), ["a"]);
        assert_eq!(counts(&observed), (1, 1, 0));
        assert!(observed.unreachable.is_empty());
        let groups: Vec<&str> = observed.groups.iter().map(String::as_str).collect();
        assert_eq!(groups, ["app", "worker"]);
    }

    #[test]
    fn an_unreachable_machine_counts_as_created_for_a_minute_after_it_was_seen_well() {
        let mut fleet = fleet();
        fleet.observe(0, &["a ord started", "b ord stopped"]);
        let down = ["a ord started host-down", "b ord stopped host-down"];
        // Created, started, stopped; unreachable, and how many of those are not counted.
        for (second, expected) in [
            (15, ((2, 0, 0), 2, 0)),
            (74, ((2, 0, 0), 2, 0)),
            (75, ((0, 0, 0), 2, 2)),
        ] {
            let observed = fleet.observe(second, &down);
            let seen = (
                counts(&observed),
                observed.unreachable.len(),
                observed.unreachable_uncounted(),
            );
            assert_eq!(seen, expected, "at {second}");
            assert!(observed.members.iter().all(|member| !member.is_free()));
            assert_eq!(observed.by_state[&StateLabel::UNREACHABLE], 2);
        }
        assert_eq!(
            counts(&fleet.observe(80, &["a ord started", "b ord stopped"])),
            (2, 1, 1)
        );
        assert_eq!(counts(&fleet.observe(90, &down)), (2, 0, 0), "a new minute");
    }

    #[test]
    fn the_minute_of_an_unreachable_machine_begins_with_the_list_that_first_says_so() {
        let mut fleet = fleet();
        fleet.observe(0, &["a ord started"]);
        let down = ["a ord started host-down"];
        assert_eq!(counts(&fleet.observe(300, &down)), (1, 0, 0));
        assert_eq!(counts(&fleet.observe(359, &down)), (1, 0, 0));
        assert_eq!(counts(&fleet.observe(360, &down)), (0, 0, 0));
    }

    #[test]
    fn a_machine_never_seen_well_does_not_count() {
        let mut fleet = fleet();
        let observed = fleet.observe(
            0,
            &["a ord started host-down", "b ord destroying host-down"],
        );
        assert_eq!(counts(&observed), (0, 0, 0));
        assert_eq!(observed.unreachable, ["a"]);
        assert_eq!(observed.unreachable_uncounted(), 1);
    }

    #[test]
    fn an_unreachable_machine_without_metadata_stays_in_the_group_it_was_seen_in() {
        let mut fleet = fleet();
        fleet.observe(0, &["a ord started", "b ord started group=worker"]);
        let observed = fleet.observe(
            15,
            &[
                "a ord started group= host-down",
                "b ord started group= host-down",
                "c ord started group= host-down",
            ],
        );
        assert_eq!(ids(&observed), ["a"]);
        assert_eq!(observed.unreachable, ["a"]);
    }

    #[test]
    fn a_clone_of_ours_that_is_first_listed_on_an_unreachable_host_counts() {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started"]);
        fleet.record(0, &observed, &[accepted("b")]);
        let list = ["a ord started", "b ord created host-down"];
        assert_eq!(ids(&fleet.observe(15, &list)), ["a", "b"]);
        assert_eq!(ids(&fleet.observe(75, &list)), ["a"]);
    }

    #[test]
    fn what_a_create_of_unknown_outcome_made_counts_where_its_host_is_unreachable_when_it_is_first_listed()
     {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started"]);
        fleet.record(0, &observed, &[unknown()]);
        let list = ["a ord started", "b ord created host-down made=0"];
        assert_eq!(ids(&fleet.observe(15, &list)), ["a", "b"]);
        assert_eq!(ids(&fleet.observe(74, &list)), ["a", "b"]);
        assert_eq!(ids(&fleet.observe(75, &list)), ["a"]);
    }

    #[test]
    fn an_accepted_create_counts_though_no_list_shows_it() {
        for (initial_state, started) in [(InitialState::Started, 2), (InitialState::Stopped, 1)] {
            let mut fleet = Fleet::new(Policy {
                initial_state,
                ..Policy::default()
            });
            let observed = fleet.observe(0, &["a ord started"]);
            fleet.record(0, &observed, &[accepted("b")]);
            let observed = fleet.observe(59, &["a ord started"]);
            assert_eq!(ids(&observed), ["a", "b"]);
            assert_eq!(counts(&observed), (2, started, 0));
            assert!(observed.members[1].pending);
            assert_eq!(observed.members[1].presence, Presence::Expected);
            assert!(observed.unlisted.is_empty(), "a list may lag for so long");
            assert_eq!(
                observed.by_state.values().sum::<u32>(),
                1,
                "only listed ones"
            );
            let observed = fleet.observe(60, &["a ord started"]);
            assert_eq!(counts(&observed), (2, started, 0), "it is not forgotten");
            assert_eq!(observed.members[1].presence, Presence::Unlisted);
            assert_eq!(observed.unlisted, ["b"]);
        }
    }

    #[test]
    fn a_listed_create_counts_as_what_the_list_says() {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started"]);
        fleet.record(0, &observed, &[accepted("b")]);
        let observed = fleet.observe(15, &["a ord started", "b ord stopped"]);
        assert_eq!(counts(&observed), (2, 1, 1));
        assert!(observed.members[1].is_free());
        assert_eq!(
            ids(&fleet.observe(20, &["a ord started"])),
            ["a", "b"],
            "an older list does not take it back"
        );
        assert_eq!(
            ids(&fleet.observe(30, &["a ord started", "b ord destroying"])),
            ["a"]
        );
        assert_eq!(
            ids(&fleet.observe(45, &["a ord started"])),
            ["a"],
            "it was shown on its way out"
        );
    }

    #[test]
    fn an_accepted_destroy_is_not_counted_while_lists_lag() {
        let mut fleet = fleet();
        let list = ["a ord started", "b ord stopped"];
        let observed = fleet.observe(0, &list);
        fleet.record(0, &observed, &[destroyed("b")]);
        assert_eq!(counts(&fleet.observe(15, &list)), (1, 1, 0));
        assert_eq!(
            counts(&fleet.observe(30, &["a ord started", "b ord destroying"])),
            (1, 1, 0)
        );
        assert_eq!(counts(&fleet.observe(40, &["a ord started"])), (1, 1, 0));
        assert_eq!(
            counts(&fleet.observe(59, &list)),
            (1, 1, 0),
            "an older list does not bring it back"
        );
        assert_eq!(
            counts(&fleet.observe(60, &list)),
            (2, 1, 1),
            "it was not destroyed after all"
        );
    }

    #[test]
    fn an_accepted_destroy_on_a_host_that_stops_answering_is_not_counted() {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started", "b ord stopped"]);
        fleet.record(0, &observed, &[destroyed("b")]);
        let observed = fleet.observe(15, &["a ord started", "b ord stopped host-down"]);
        assert_eq!(ids(&observed), ["a"]);
        assert_eq!(observed.unreachable_uncounted(), 1);
    }

    #[test]
    fn an_accepted_start_or_stop_holds_against_lists_that_lag() {
        // What happens at which second, and the started count that is seen then.
        type Lists = [(u64, &'static str, u32)];
        let cases: [(&str, &str, Effect, &Lists); 13] = [
            (
                "start: the same state lags",
                "a ord stopped updated=-9",
                begun("a"),
                &[
                    (15, "a ord stopped updated=-9", 1),
                    (59, "a ord stopped updated=-9", 1),
                    (60, "a ord stopped updated=-9", 0),
                ],
            ),
            (
                "start: an older state lags",
                "a ord stopped updated=-9",
                begun("a"),
                &[
                    (15, "a ord stopping updated=-10", 1),
                    (30, "a ord started updated=1", 1),
                ],
            ),
            (
                "start: shown, then an older list, then stopped anew",
                "a ord stopped updated=-9",
                begun("a"),
                &[
                    (15, "a ord started updated=1", 1),
                    (30, "a ord stopped updated=-9", 1),
                    (40, "a ord stopping updated=-10", 1),
                    (45, "a ord stopped updated=40", 0),
                ],
            ),
            (
                "start: a change since then is news",
                "a ord stopped updated=-9",
                begun("a"),
                &[
                    (15, "a ord stopped updated=1", 0),
                    (30, "a ord stopped updated=1", 0),
                    (45, "a ord stopped updated=-9", 1),
                ],
            ),
            (
                "start: the first time of change is news as well",
                "a ord stopped",
                begun("a"),
                &[(15, "a ord stopped updated=1", 0)],
            ),
            (
                "stop: woken since then",
                "a ord started updated=-9",
                halted("a"),
                &[(15, "a ord started updated=1", 1)],
            ),
            (
                "start: without times only the state tells",
                "a ord stopped",
                begun("a"),
                &[
                    (15, "a ord stopped", 1),
                    (30, "a ord started", 1),
                    (45, "a ord stopped", 0),
                ],
            ),
            (
                "start: a failure is news, whatever its time",
                "a ord stopped updated=-9",
                begun("a"),
                &[(15, "a ord failed updated=-10", 0)],
            ),
            (
                "start: another state of rest is no news",
                "a ord stopped updated=-9",
                begun("a"),
                &[
                    (15, "a ord suspended updated=-8", 1),
                    (30, "a ord starting updated=1", 1),
                    (45, "a ord suspended updated=-8", 1),
                ],
            ),
            (
                "stop: the same state lags",
                "a ord started updated=-9",
                halted("a"),
                &[
                    (15, "a ord started updated=-9", 0),
                    (59, "a ord started updated=-9", 0),
                    (60, "a ord started updated=-9", 1),
                ],
            ),
            (
                "stop: an older state lags",
                "a ord started updated=-9",
                halted("a"),
                &[(15, "a ord starting updated=-10", 0)],
            ),
            (
                "stop: shown, then an older list",
                "a ord started updated=-9",
                halted("a"),
                &[
                    (15, "a ord stopped updated=1", 0),
                    (30, "a ord started updated=-9", 0),
                ],
            ),
            (
                "stop: shown, then woken",
                "a ord started updated=-9",
                halted("a"),
                &[
                    (15, "a ord stopped updated=1", 0),
                    (30, "a ord started updated=20", 1),
                ],
            ),
        ];
        for (name, before, effect, lists) in cases {
            let mut fleet = fleet();
            let observed = fleet.observe(0, &[before]);
            fleet.record(0, &observed, &[effect]);
            for (second, machine, started) in lists {
                let observed = fleet.observe(*second, &[machine]);
                assert_eq!(observed.present(), 1, "{name} at {second}");
                assert_eq!(observed.started, *started, "{name} at {second}");
            }
        }
    }

    #[test]
    fn a_machine_with_an_unseen_write_is_left_alone() {
        let mut fleet = fleet();
        let list = ["a ord stopped", "b ord started"];
        let observed = fleet.observe(0, &list);
        fleet.record(0, &observed, &[begun("a"), halted("b")]);
        let observed = fleet.observe(15, &list);
        for member in &observed.members {
            assert!(member.pending && !member.is_free(), "{member:?}");
        }
        let states: Vec<&State> = observed
            .members
            .iter()
            .map(|member| &member.machine.state)
            .collect();
        assert_eq!(states, [&State::Starting, &State::Stopping]);
    }

    #[test]
    fn a_create_of_unknown_outcome_counts_for_two_passes_and_a_minute() {
        type Sights = [(u64, u32)];
        let cases: [&Sights; 2] = [
            &[(15, 3), (30, 3), (45, 3), (59, 3), (60, 1)],
            &[(70, 3), (140, 3), (210, 1)],
        ];
        for sights in cases {
            let mut fleet = fleet();
            let observed = fleet.observe(0, &["a ord started"]);
            fleet.record(0, &observed, &[unknown(), unknown()]);
            for (second, created) in sights {
                assert_eq!(
                    fleet.observe(*second, &["a ord started"]).created,
                    *created,
                    "at {second}"
                );
            }
        }
    }

    #[test]
    fn a_create_of_unknown_outcome_counts_while_lists_lack_its_region() {
        let mut fleet = fleet();
        let whole = ["a ord started", "b iad started"];
        let observed = fleet.observe(0, &whole);
        fleet.record(0, &observed, &[unknown()]);
        for second in [15, 30, 600] {
            let observed = fleet.observe(second, &["b iad started"]);
            assert_eq!(observed.created, 3, "at {second}");
        }
        assert_eq!(fleet.observe(615, &whole).created, 2);
    }

    #[test]
    fn one_new_machine_settles_one_create_of_unknown_outcome() {
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["a ord started"]);
        fleet.record(0, &observed, &[unknown(), unknown()]);
        let list = ["a ord started", "b ord created made=1"];
        assert_eq!(
            fleet.observe(15, &list).created,
            3,
            "b and one still unknown"
        );
        assert_eq!(fleet.observe(30, &list).created, 3, "b settles only one");
        assert_eq!(fleet.observe(59, &list).created, 3);
        assert_eq!(fleet.observe(60, &list).created, 2);
    }

    #[test]
    fn a_new_machine_of_another_time_or_region_settles_no_create_of_unknown_outcome() {
        // The new machine; whether it is taken for what the create made.
        let cases: [(&str, &str, bool); 10] = [
            ("made then", "c ord created made=1", true),
            (
                "made then, and on its way out by now",
                "c ord destroying made=1",
                true,
            ),
            ("made at a time that nobody says", "c ord created", true),
            (
                "by a clock that is 5 min behind",
                "c ord started made=-300",
                true,
            ),
            (
                "by a clock that is 5 min ahead",
                "c ord started made=300",
                true,
            ),
            ("before", "c ord started made=-301", false),
            ("months ago", "c ord started made=-9000000", false),
            ("after", "c ord started made=301", false),
            ("in another region", "c iad created made=1", false),
            (
                "in another region, on its way out",
                "c iad destroying made=1",
                false,
            ),
        ];
        for (name, machine, settles) in cases {
            let mut fleet = fleet();
            let before = ["a ord started", "b iad started"];
            let observed = fleet.observe(0, &before);
            fleet.record(0, &observed, &[unknown()]);
            let observed = fleet.observe(15, &[before[0], before[1], machine]);
            let listed = observed.members.iter().filter(|member| member.is_listed());
            let expected = u32::try_from(listed.count()).expect("few") + u32::from(!settles);
            assert_eq!(observed.created, expected, "{name}");
        }

        // What no machine carries as its region may be another name for it.
        let mut fleet = fleet();
        let observed = fleet.observe(0, &["b iad started"]);
        fleet.record(0, &observed, &[unknown()]);
        let observed = fleet.observe(15, &["b iad started", "c iad created made=1"]);
        assert_eq!(observed.created, 2);
    }

    #[test]
    fn a_create_of_unknown_outcome_keeps_its_place_under_the_ceiling() {
        // What the list shows beside `a`, and when; how many may then be created of two that are missing.
        let cases: [(&str, u64, &[&str], u32); 10] = [
            ("not yet a minute", 59, &["a ord started"], 0),
            ("lists should have shown it", 75, &["a ord started"], 0),
            ("for long", 599, &["a ord started"], 0),
            ("ten minutes", 600, &["a ord started"], 2),
            (
                "a change of before, by a clock that may be a minute ahead",
                75,
                &["a ord started updated=59"],
                0,
            ),
            ("a change since then", 75, &["a ord started updated=60"], 2),
            (
                "a change in another region",
                75,
                &["a ord started", "b iad stopped updated=70 group=worker"],
                0,
            ),
            (
                "one made since then",
                75,
                &["a ord started", "b ord stopped made=60 group=worker"],
                2,
            ),
            (
                "a change on a host that does not answer",
                75,
                &[
                    "a ord started",
                    "b ord stopped updated=70 host-down group=worker",
                ],
                0,
            ),
            (
                "one of the two shows, and the other does not",
                75,
                &["a ord started", "b ord started made=1"],
                0,
            ),
        ];
        let room = |fleet: &mut Fleet, second: u64, list: &[&str]| {
            use crate::scaling::{Action, tests::fleet::created};
            for second in [15, 30, second] {
                let pass = fleet.pass(
                    second,
                    created(3, 3),
                    if second < 40 { &list[..1] } else { list },
                );
                match pass.plan.action {
                    Some(Action::Create { count, .. }) => return count,
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
            }
            0
        };
        for (name, second, list, expected) in cases {
            for ceiling in [Some(3), None] {
                let mut fleet = Fleet::new(Policy {
                    ceiling,
                    ..Policy::default()
                });
                let observed = fleet.observe(0, &["a ord started"]);
                fleet.record(0, &observed, &[unknown(), unknown()]);
                let count = room(&mut fleet, second, list);
                if ceiling.is_some() {
                    assert_eq!(count, expected, "{name}");
                } else if second >= 60 {
                    assert!(count > 0, "{name}: without a ceiling it is forgotten");
                }
            }
        }
    }

    #[test]
    fn a_clone_that_was_made_later_shows_that_lists_are_up_to_date() {
        use crate::scaling::tests::fleet::created;
        // Which of two creates had no answer.
        for (effects, room) in [
            ([unknown(), accepted("b")], 1),
            ([accepted("b"), unknown()], 0),
        ] {
            let mut fleet = Fleet::new(Policy {
                ceiling: Some(3),
                ..Policy::default()
            });
            let observed = fleet.observe(0, &["a ord started"]);
            for (second, effect) in (0..).zip(effects) {
                fleet.record(second, &observed, &[effect]);
            }
            let list = ["a ord started", "b ord started"];
            fleet.observe(15, &list);
            fleet.observe(30, &list);
            let plan = fleet.pass(75, created(3, 3), &list).plan;
            assert_eq!(u32::from(plan.action.is_some()), room, "{:?}", plan.notes);
        }
    }

    #[test]
    fn only_a_new_machine_settles_a_create_of_unknown_outcome() {
        // The list before, what was done on it, the list after, how many count then.
        type Case<'case> = (
            &'case str,
            &'case [&'case str],
            &'case [Effect],
            &'case [&'case str],
            u32,
        );
        let cases: [Case<'_>; 6] = [
            (
                "a machine that was on its way out already",
                &["a ord started", "b ord destroying"],
                &[unknown()],
                &["a ord started", "b ord destroyed"],
                2,
            ),
            (
                "a machine that we destroyed",
                &["a ord started", "b ord stopped"],
                &[destroyed("b"), unknown()],
                &["a ord started", "b ord stopped"],
                2,
            ),
            (
                "a machine on an unreachable host",
                &["a ord started", "b ord stopped host-down"],
                &[unknown()],
                &["a ord started", "b ord stopped"],
                3,
            ),
            (
                "a clone accepted in the same pass, before",
                &["a ord started"],
                &[accepted("b"), unknown()],
                &["a ord started", "b ord created"],
                3,
            ),
            (
                "a clone accepted in the same pass, after, and lost",
                &["a ord started"],
                &[unknown(), accepted("b")],
                &["a ord started", "b ord failed"],
                3,
            ),
            (
                "a machine of another group",
                &["a ord started"],
                &[unknown()],
                &["a ord started", "b ord created group=worker"],
                2,
            ),
        ];
        for (name, before, effects, after, created) in cases {
            let mut fleet = fleet();
            let observed = fleet.observe(0, before);
            fleet.record(0, &observed, effects);
            assert_eq!(fleet.observe(15, after).present(), created, "{name}");
        }
    }

    #[test]
    fn an_unreachable_standby_or_scheduled_machine_is_none_of_ours() {
        for word in ["standby", "scheduled"] {
            let mut fleet = fleet();
            fleet.observe(0, &["a ord started", &format!("b ord stopped {word}")]);
            let down = ["a ord started", "b ord stopped host-down"];
            for second in [15, 3600, 3615] {
                let observed = fleet.observe(second, &down);
                assert_eq!(ids(&observed), ["a"]);
                assert!(observed.unreachable.is_empty(), "{word} at {second}");
                assert_eq!(observed.unreachable_uncounted(), 0);
            }
            let observed = fleet.observe(3630, &["a ord started", "b ord stopped"]);
            assert_eq!(ids(&observed), ["a", "b"], "it is one no more");
        }
    }
}
