//! Writes that lists deny long after they were accepted, or may have happened.
//!
//! A list may lag behind a write by a minute, and one has lagged for longer, or gone on showing what was destroyed. Where a
//! list then still says that nothing came of a write, another machine must not be taken in its place on the list's word
//! alone. Such a machine is in doubt: its slot stays spent, and it is asked for by its id where something is to be done. An
//! answer that the write did happen puts it in place of the list for another minute; one that it did not makes the machine go
//! last, as whatever did not hold does. A machine that was missing and is gone by such an answer, or that a list showed on
//! its way out, is in doubt too where a later list shows it again: lists can go back in time. `lately` says which machines
//! are in doubt, and `unlisted` which are asked for.

use super::{Member, Observed, Policy, State, Unsettled};

/// What was written to a machine of which a list denies it, or what was told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// A destroy, or the stop before it; or an answer about the machine alone that it is gone, or a list that said so.
    Destroy,
    /// A start.
    Start,
    /// A stop or suspend.
    Stop,
}

impl Doubt {
    /// Whether a machine in this state shows that the write happened.
    pub(super) fn has_happened(self, state: &State) -> bool {
        match self {
            Self::Destroy => !state.is_living(),
            Self::Start => state.is_up(),
            Self::Stop => state.is_down(),
        }
    }

    /// Whether a machine in this state shows that nothing came of the write.
    pub(super) fn has_failed(self, state: &State) -> bool {
        match self {
            Self::Destroy => true,
            Self::Start => matches!(state, State::Stopped | State::Suspended),
            Self::Stop => *state == State::Started,
        }
    }
}

impl Member {
    /// Spends its slot: it counts as what the list says, and nothing is done in its place.
    fn put_in_doubt(&mut self, doubt: Doubt) {
        match doubt {
            Doubt::Destroy => self.unsettled_destroy = true,
            Doubt::Start => self.unsettled = Some(Unsettled::Start),
            Doubt::Stop => self.unsettled = Some(Unsettled::Stop),
        }
        self.held = self.unsettled.is_some();
    }
}

impl Observed {
    /// Puts those in doubt of which the list denies what was written to them.
    pub(super) fn put_in_doubt(&mut self) {
        let lately = std::mem::take(&mut self.lately);
        for (id, doubt) in lately.doubts.iter().chain(&lately.turns_in_doubt) {
            if let Some(member) = self.member_mut(id) {
                member.put_in_doubt(*doubt);
            }
        }
        self.lately = lately;
    }

    /// What would be seen if the list were right about every machine in doubt.
    pub(super) fn believing_the_list(&self, policy: &Policy) -> Self {
        let mut rest = self.clone();
        let turns = std::mem::take(&mut rest.lately.turns_in_doubt);
        let doubts = std::mem::take(&mut rest.lately.doubts);
        for (id, doubt) in doubts.into_iter().chain(turns) {
            if let Some(member) = rest.member_mut(&id) {
                match doubt {
                    Doubt::Destroy => member.unsettled_destroy = false,
                    Doubt::Start | Doubt::Stop => member.unsettled = None,
                }
                member.held = false;
            }
        }
        rest.count(policy);
        rest
    }

    /// What would be seen if every write had happened that the list denies.
    pub(super) fn denying_the_list(&self, policy: &Policy) -> Self {
        let mut rest = self.clone();
        let mut destroyed = Vec::new();
        for (id, doubt) in std::mem::take(&mut rest.lately.doubts) {
            if doubt == Doubt::Destroy {
                destroyed.push(id);
            } else if let Some(member) = rest.member_mut(&id) {
                member.unsettled = None;
                member.held = false;
                member.started = doubt == Doubt::Start;
                member.machine.state = match doubt {
                    Doubt::Start => State::Starting,
                    _ => State::Stopping,
                };
            }
        }
        rest.remove_all(&destroyed);
        rest.count(policy);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{
        Action, Answer, Effect, InitialState, Note, Targets,
        tests::fleet::{Fleet, Pass, created, machine, started},
    };

    const STOPPED: [&str; 4] = [
        "a ord stopped updated=-100",
        "b ord stopped updated=-100",
        "c ord stopped updated=-100",
        "d ord started updated=-100",
    ];
    const STARTED: [&str; 4] = [
        "a ord started updated=-100",
        "b ord started updated=-100",
        "c ord started updated=-100",
        "d ord stopped updated=-100",
    ];

    fn effect(word: &str, id: &str) -> Effect {
        let id = id.to_owned();
        match word {
            "destroyed" => Effect::Destroyed { id },
            "destroy unknown" => Effect::DestroyUnknown { id },
            "victim stopped" => Effect::VictimStopped { id },
            "victim stop unknown" => Effect::VictimStopUnknown { id },
            "started" => Effect::Started { id },
            "start unknown" => Effect::StartUnknown { id },
            "stopped" => Effect::Stopped { id },
            "stop unknown" => Effect::StopUnknown { id },
            _ => panic!("unknown effect {word}"),
        }
    }

    /// Who is destroyed, started or stopped first.
    fn first(pass: &Pass) -> &str {
        match &pass.plan.action {
            Some(Action::Destroy { victims }) => &victims[0].id,
            Some(Action::Start { candidates, .. } | Action::Stop { candidates, .. }) => {
                &candidates[0]
            }
            Some(Action::Create { .. }) => "a new one",
            None => "",
        }
    }

    /// A fleet that wants one machine less, or one more, to which that was done at 0 s.
    fn fleet(word: &str) -> (Fleet, Targets, &'static [&'static str]) {
        let mut fleet = Fleet::new(Policy {
            destroy_running_after: std::time::Duration::ZERO,
            ..Policy::default()
        });
        let (targets, list): (Targets, &[&str]) = match word {
            "destroyed" | "destroy unknown" => (created(3, 3), &STOPPED),
            // Only what runs is left.
            "victim stopped" | "victim stop unknown" => (created(2, 2), &STARTED[..3]),
            "started" | "start unknown" => (started(2, 2), &STOPPED),
            _ => (started(2, 2), &STARTED),
        };
        let pass = fleet.pass(0, targets, list);
        assert_eq!(first(&pass), "a", "{word}");
        fleet.record(0, &pass.observed, &[effect(word, "a")]);
        (fleet, targets, list)
    }

    fn is_start(word: &str) -> bool {
        word.starts_with("start")
    }

    const WORDS: [&str; 8] = [
        "destroyed",
        "destroy unknown",
        "victim stopped",
        "victim stop unknown",
        "started",
        "start unknown",
        "stopped",
        "stop unknown",
    ];

    #[test]
    fn no_other_machine_goes_where_it_is_asked_for_and_the_write_has_happened() {
        for word in WORDS {
            for state in ["gone", "destroying", "destroyed", "as wanted"] {
                let (mut fleet, targets, list) = fleet(word);
                let happened = match word {
                    "started" | "start unknown" => "a ord started updated=1",
                    "stopped" | "stop unknown" => "a ord stopped updated=1",
                    _ => "a ord destroying updated=1",
                };
                match state {
                    "gone" => drop(fleet.answers.insert("a".to_owned(), Answer::Gone)),
                    "as wanted" => fleet.exists(happened),
                    _ => fleet.exists(&format!("a ord {state} updated=1")),
                }
                // One that is gone is no longer one of the started ones.
                if is_start(word) && state != "as wanted" {
                    continue;
                }
                let mut asked = Vec::new();
                for second in (15..3000).step_by(15) {
                    let pass = fleet.pass(second, targets, list);
                    if !pass.asked.is_empty() {
                        assert_eq!(pass.asked, ["a"], "{word}, {state}");
                        asked.push(second);
                    }
                    // What may have been told is told again until a minute is over.
                    let other = first(&pass);
                    assert!(
                        other.is_empty() || other == "a" && second < 60,
                        "{word}, {state}, at {second}: {other}"
                    );
                }
                assert_eq!(asked[..3], [60, 120, 180], "{word}, {state}");
                let most = usize::try_from(3000 / 60).expect("few");
                assert!(asked.len() <= most, "{word}, {state}");
            }
        }
    }

    #[test]
    fn a_clone_that_was_not_ours_to_end_has_failed_where_it_is_gone() {
        for word in WORDS {
            let (mut fleet, targets, list) = fleet(word);
            let observed = fleet.observe(1, list);
            let clone = Effect::Created {
                id: "a".to_owned(),
                region: "ord".to_owned(),
            };
            fleet.record(1, &observed, &[clone]);
            fleet.answers.insert("a".to_owned(), Answer::Gone);
            let pass = fleet.pass(60, targets, list);
            assert_eq!(pass.asked, ["a"], "{word}");
            let failed = fleet.memory.region_backs_off("ord", fleet.at(60).monotonic);
            assert_eq!(failed, word.starts_with("st"), "{word}");
        }
    }

    #[test]
    fn what_a_list_showed_on_its_way_out_is_asked_for_where_an_older_list_shows_it_again() {
        let resting = ["a ord stopped", "b ord stopped cordoned", "c ord stopped"];
        for state in ["destroying", "destroyed", "replaced", "migrated"] {
            for second in [30, 75, 300] {
                for is_there in [false, true] {
                    let mut fleet = Fleet::new(Policy::default());
                    fleet.observe(0, &resting);
                    let leaving = format!("b ord {state}");
                    fleet.observe(15, &["a ord stopped", &leaving, "c ord stopped"]);
                    if is_there {
                        fleet.exists(resting[1]);
                    } else {
                        fleet.answers.insert("b".to_owned(), Answer::Gone);
                    }
                    let pass = fleet.pass(second, created(2, 2), &resting);
                    let case = format!("{state}, at {second}, {is_there}");
                    assert_eq!(pass.asked, ["b"], "{case}");
                    assert_eq!(first(&pass), if is_there { "b" } else { "" }, "{case}");
                    let failed = |note: &Note| matches!(note, Note::DestroysFailed { .. });
                    assert!(!pass.plan.notes.iter().any(failed), "nothing was tried");
                }
            }
        }
    }

    #[test]
    fn a_destroy_of_ours_has_failed_where_the_machine_is_there_though_a_list_showed_it_leave() {
        let (mut fleet, targets, list) = fleet("destroyed");
        fleet.observe(15, &["a ord destroying", list[1], list[2], list[3]]);
        let pass = fleet.pass(90, targets, list);
        assert_eq!(pass.asked, ["a"]);
        assert_eq!(first(&pass), "b", "it goes last");
    }

    #[test]
    fn a_stopped_victim_stays_in_doubt_where_its_destroy_was_refused() {
        // What it is by its id, whether the refusal was that it is in another state, who goes then.
        let started = "a ord started updated=30";
        let cases = [
            (None, false, ""),
            (None, true, ""),
            (Some(started), false, "b"),
            (Some(started), true, "a"),
        ];
        for (now, woken, expected) in cases {
            let (mut fleet, targets, list) = fleet("victim stopped");
            let observed = fleet.observe(1, list);
            let id = "a".to_owned();
            fleet.record(1, &observed, &[Effect::DestroyRefused { id, woken }]);
            match now {
                Some(text) => fleet.exists(text),
                None => drop(fleet.answers.insert("a".to_owned(), Answer::Gone)),
            }
            let pass = fleet.pass(61, targets, list);
            assert_eq!(pass.asked, ["a"], "{now:?}, {woken}");
            assert_eq!(first(&pass), expected, "{now:?}, {woken}");
        }
    }

    #[test]
    fn a_destroy_stays_in_doubt_where_a_later_start_had_no_answer_either() {
        let (mut fleet, targets, list) = fleet("destroy unknown");
        fleet.answers.insert("a".to_owned(), Answer::Gone);
        let observed = fleet.observe(45, list);
        fleet.record(45, &observed, &[effect("start unknown", "a")]);
        let pass = fleet.pass(75, targets, list);
        assert_eq!(pass.asked, ["a"]);
        assert_eq!(first(&pass), "", "three are left");
    }

    #[test]
    fn a_start_or_stop_stays_in_doubt_where_a_later_destroy_had_no_answer_either() {
        let all = |other: &'static str| -> Vec<(u64, &'static str)> {
            (75..600)
                .step_by(15)
                .map(|second| (second, other))
                .collect()
        };
        // What became of it, and who goes in its place and when.
        let cases = [
            ("start unknown", Some("a ord started updated=1"), all("")),
            ("stop unknown", Some("a ord stopped updated=1"), all("")),
            // Of a start that nobody answers for, the list is believed.
            ("start unknown", None, vec![(75, "b")]),
            ("stop unknown", None, all("")),
        ];
        for (word, answer, expected) in cases {
            let (mut fleet, targets, list) = fleet(word);
            let observed = fleet.pass(15, targets, list).observed;
            let effects = [effect(word, "a"), effect("destroy unknown", "a")];
            fleet.record(15, &observed, &effects);
            match answer {
                Some(machine) => fleet.exists(machine),
                None => drop(fleet.answers.insert("a".to_owned(), Answer::None)),
            }
            for (second, other) in expected {
                let pass = fleet.pass(second, targets, list);
                assert_eq!(first(&pass), other, "{word}, {answer:?}, at {second}");
            }
        }
    }

    #[test]
    fn whatever_a_list_goes_on_showing_from_before_a_start_or_stop_is_asked_for() {
        let cases = [
            ("start", ["created", "creating", "stopping", "suspending"]),
            ("stop", ["created", "creating", "starting", "updating"]),
        ];
        for (kind, states) in cases {
            for word in WORDS.into_iter().filter(|word| word.starts_with(kind)) {
                for state in states {
                    let (mut fleet, targets, list) = fleet(word);
                    // What is new counts as running where it was made to run.
                    if kind == "start" {
                        fleet.policy.initial_state = InitialState::Stopped;
                    }
                    let shown = format!("a ord {state} updated=-100");
                    let list = [&shown, list[1], list[2], list[3]];
                    let is = if kind == "start" {
                        "started"
                    } else {
                        "stopped"
                    };
                    fleet.exists(&format!("a ord {is} updated=1"));
                    let pass = fleet.pass(60, targets, &list);
                    assert_eq!(pass.asked, ["a"], "{word}, {state}");
                    assert_eq!(first(&pass), "", "{word}, {state}");
                }
            }
        }
    }

    #[test]
    fn a_victim_that_its_stop_removed_is_asked_for_whatever_an_old_list_shows() {
        for word in ["victim stopped", "victim stop unknown"] {
            for state in ["created", "creating", "starting", "started"] {
                let (mut fleet, targets, list) = fleet(word);
                fleet.answers.insert("a".to_owned(), Answer::Gone);
                let shown = format!("a ord {state} updated=-100");
                let pass = fleet.pass(60, targets, &[&shown, list[1], list[2]]);
                assert_eq!(pass.asked, ["a"], "{word}, {state}");
                assert_eq!(first(&pass), "", "{word}, {state}");
            }
        }
    }

    #[test]
    fn a_machine_that_is_there_as_the_list_shows_it_goes_last() {
        for word in WORDS {
            let (mut fleet, targets, list) = fleet(word);
            let pass = fleet.pass(60, targets, list);
            assert_eq!(pass.asked, ["a"], "{word}");
            assert_eq!(first(&pass), "b", "{word}");
            let failed = pass.plan.notes.iter().any(|note| {
                matches!(note, Note::DestroysFailed { machines, .. } | Note::StartsFailed { machines, .. } | Note::StopsFailed { machines, .. } if machines == &["a"])
            });
            assert!(failed, "{word}: {:?}", pass.plan.notes);
            assert!(fleet.pass(75, targets, list).asked.is_empty(), "{word}");
        }
    }

    #[test]
    fn where_all_groups_are_scaled_the_answer_about_a_machine_of_none_is_taken() {
        let list = ["a ord stopped group= updated=-100", "b ord stopped group="];
        let mut fleet = Fleet::new(Policy {
            process_group: crate::scaling::EVERY_GROUP.to_owned(),
            ..Policy::default()
        });
        let pass = fleet.pass(0, started(1, 1), &list);
        assert_eq!(first(&pass), "a");
        fleet.record(0, &pass.observed, &[effect("started", "a")]);
        let pass = fleet.pass(60, started(1, 1), &list);
        assert_eq!((&*pass.asked, first(&pass)), (&["a".to_owned()][..], "b"));
    }

    #[test]
    fn without_an_answer_another_is_started_in_its_place_and_it_goes_last() {
        for word in ["started", "start unknown"] {
            for answer in silence("a") {
                let (mut fleet, targets, list) = fleet(word);
                fleet.answers.insert("a".to_owned(), answer);
                let pass = fleet.pass(59, targets, list);
                assert_eq!(pass.asked, [""; 0], "{word}: a minute is not over");
                let pass = fleet.pass(60, targets, list);
                assert_eq!(pass.asked, ["a"], "{word}");
                assert_eq!(first(&pass), "b", "{word}");
                let failed = Note::StartsFailed {
                    machines: vec!["a".to_owned()],
                    again: false,
                };
                assert!(pass.plan.notes.contains(&failed), "{word}");
                let pass = fleet.pass(75, targets, list);
                assert_eq!(pass.asked, [""; 0], "{word}: it is nobody's slot");
                assert_eq!(first(&pass), "b", "{word}");
            }
        }
    }

    /// What says nothing of whether a write to a machine has happened.
    fn silence(id: &str) -> [Answer; 2] {
        let mut machine = machine(&format!("{id} ord started"));
        machine.host_ok = false;
        [Answer::None, Answer::Machine(Box::new(machine))]
    }

    #[test]
    fn without_an_answer_nothing_goes_down_in_its_place_for_a_day() {
        for word in WORDS.into_iter().filter(|word| !is_start(word)) {
            for answer in silence("a") {
                let (mut fleet, targets, list) = fleet(word);
                fleet.answers.insert("a".to_owned(), answer);
                for second in (60..86_400).step_by(600) {
                    let pass = fleet.pass(second, targets, list);
                    assert_eq!(pass.asked, ["a"], "{word}, at {second}");
                    assert_eq!(first(&pass), "", "{word}, at {second}");
                    let told = pass.plan.notes.iter().any(|note| {
                        matches!(
                            note,
                            Note::MayBeGone { machines: 1, .. }
                                | Note::OutcomeUnknown { machines: 1 }
                        )
                    });
                    assert!(told, "{word}: {:?}", pass.plan.notes);
                }
                let pass = fleet.pass(86_400, targets, list);
                assert_ne!(first(&pass), "", "{word}: the list is believed then");
            }
        }
    }

    #[test]
    fn a_list_that_has_caught_up_is_believed() {
        for (word, happened) in [
            ("stopped", "a ord stopped updated=1"),
            ("started", "a ord started updated=1"),
        ] {
            let (mut fleet, targets, list) = fleet(word);
            fleet.exists(happened);
            fleet.pass(60, targets, list);
            let mut shown = list.to_vec();
            shown[0] = happened;
            let pass = fleet.pass(75, targets, &shown);
            assert!(pass.observed.members[0].is_free(), "{word}");
            // And one that says something older again is not.
            let pass = fleet.pass(90, targets, list);
            assert!(!pass.observed.members[0].is_free(), "{word}");
            assert_eq!(first(&pass), "", "{word}");
        }
    }

    #[test]
    fn a_time_of_change_ahead_of_our_clock_says_nothing() {
        // The time of change before the write at 0 s, and in the list at 60 s: the same by a clock that is ahead, or one
        // that is still to come.
        for (before, after) in [(3, 3), (30, 30), (3600, 3600), (-100, 61), (3, 3600)] {
            for (word, happened) in [("stopped", "stopped"), ("started", "started")] {
                let (_, targets, list) = fleet(word);
                let changed = |at: i64| -> Vec<String> {
                    let machines = list.iter();
                    let machines = machines.map(|text| text.replace("-100", &at.to_string()));
                    machines.collect()
                };
                let mut fleet = Fleet::new(Policy::default());
                let mut pass = |second: u64, list: &[String]| {
                    let list: Vec<&str> = list.iter().map(String::as_str).collect();
                    let pass = fleet.pass(second, targets, &list);
                    if second == 0 {
                        assert_eq!(first(&pass), "a", "{word}");
                        fleet.record(0, &pass.observed, &[effect(word, "a")]);
                        fleet.exists(&format!("a ord {happened} updated={}", after + 1));
                    }
                    pass
                };
                pass(0, &changed(before));
                let pass = pass(60, &changed(after));
                assert_eq!(pass.asked, ["a"], "{word}, {before}, {after}");
                assert_eq!(first(&pass), "", "{word}, {before}, {after}");
            }
        }
    }

    #[test]
    fn a_list_that_is_known_to_be_old_is_no_news_whatever_its_times_are() {
        for (word, happened) in [
            ("stopped", "a ord stopped updated=1"),
            ("started", "a ord started updated=1"),
        ] {
            let (_, targets, list) = fleet(word);
            let ahead: Vec<String> = list.iter().map(|text| text.replace("-100", "3")).collect();
            let ahead: Vec<&str> = ahead.iter().map(String::as_str).collect();
            let mut fleet = Fleet::new(Policy::default());
            let pass = fleet.pass(0, targets, &ahead);
            fleet.record(0, &pass.observed, &[effect(word, "a")]);
            fleet.exists(happened);
            let mut asked = Vec::new();
            for second in (15..200).step_by(15) {
                let pass = fleet.pass(second, targets, &ahead);
                assert_eq!(first(&pass), "", "{word}, at {second}");
                asked.extend((!pass.asked.is_empty()).then_some(second));
            }
            assert_eq!(asked, [60, 120, 180], "{word}: once a minute");
        }
    }

    #[test]
    fn a_machine_that_was_destroyed_and_is_shown_for_ever_is_replaced() {
        let (mut fleet, _, list) = fleet("destroyed");
        fleet.answers.insert("a".to_owned(), Answer::Gone);
        let pass = fleet.pass(60, created(4, 4), list);
        assert_eq!(pass.asked, ["a"]);
        assert_eq!(first(&pass), "a new one");
    }

    #[test]
    fn one_that_lists_lacked_meanwhile_is_asked_for_too() {
        let (mut fleet, targets, list) = fleet("destroyed");
        fleet.answers.insert("a".to_owned(), Answer::Gone);
        for second in [15, 30, 100, 300] {
            fleet.pass(second, targets, &list[1..]);
        }
        let pass = fleet.pass(315, targets, list);
        assert_eq!(pass.asked, ["a"]);
        assert_eq!(first(&pass), "");
    }

    #[test]
    fn a_victim_that_came_down_is_on_its_way_and_has_not_failed() {
        for word in ["victim stopped", "victim stop unknown"] {
            let (mut fleet, targets, list) = fleet(word);
            fleet.exists("a ord stopped updated=9");
            let pass = fleet.pass(60, targets, list);
            assert_eq!(first(&pass), "a", "{word}");
            assert!(pass.plan.notes.is_empty(), "{:?}", pass.plan.notes);
        }
    }

    #[test]
    fn a_victim_that_drains_is_waited_for_and_no_other_goes_in_its_place() {
        for word in ["victim stopped", "victim stop unknown"] {
            // What the list shows of it, and what asking for it would.
            for (shown, is) in [
                ("started updated=-100", "stopping updated=1"),
                ("stopping updated=1", "stopping updated=1"),
                ("stopped updated=70", "stopped updated=70"),
                ("started updated=30", "started updated=30"),
            ] {
                let (mut fleet, targets, list) = fleet(word);
                fleet.exists(&format!("a ord {is}"));
                let shown_first = format!("a ord {shown}");
                let mut shown_then = list.to_vec();
                shown_then[0] = &shown_first;
                for second in [60, 75, 119, 120, 180] {
                    let pass = fleet.pass(second, targets, &shown_then);
                    let other = first(&pass);
                    let name = format!("{word}, {shown}, at {second}: {:?}", pass.plan.notes);
                    assert!(["", "a"].contains(&other), "{name}");
                    let failed = matches!(pass.plan.notes[..], [Note::DestroysFailed { .. }]);
                    assert!(!failed, "{name}");
                    let lags = shown.contains("-100") && second % 60 == 0;
                    assert_eq!(!pass.asked.is_empty(), lags, "{name}");
                }
            }
        }
    }

    #[test]
    fn a_victim_that_its_stop_removed_is_replaced_where_lists_go_on_showing_it() {
        let (mut fleet, _, list) = fleet("victim stopped");
        fleet.answers.insert("a".to_owned(), Answer::Gone);
        assert_eq!(first(&fleet.pass(20, created(3, 3), list)), "");
        let pass = fleet.pass(60, created(3, 3), list);
        assert_eq!(pass.asked, ["a"]);
        assert_eq!(first(&pass), "a new one");
    }

    #[test]
    fn a_surplus_that_waits_for_running_machines_is_no_reason_not_to_ask() {
        let mut fleet = Fleet::new(Policy::default());
        let list = &STARTED[..3];
        fleet.pass(0, created(2, 2), list);
        let pass = fleet.pass(45, created(2, 2), list);
        assert_eq!(first(&pass), "a");
        let unknown = effect("victim stop unknown", "a");
        fleet.record(45, &pass.observed, &[unknown]);
        assert_eq!(first(&fleet.pass(60, created(2, 2), list)), "");
        let pass = fleet.pass(105, created(2, 2), list);
        assert_eq!(pass.asked, ["a"]);
        assert_eq!(first(&pass), "", "it is seen again from now on");
        assert_eq!(first(&fleet.pass(150, created(2, 2), list)), "b");
    }

    #[test]
    fn nobody_is_asked_for_where_the_pass_would_not_act_either_way() {
        for word in WORDS {
            let (mut fleet, _, list) = fleet(word);
            let wide = if list.len() == 3 {
                created(1, 9)
            } else {
                started(0, 9)
            };
            assert!(fleet.pass(60, wide, list).asked.is_empty(), "{word}");
        }
    }

    #[test]
    fn twenty_are_asked_for_in_a_pass_and_the_others_in_the_next() {
        let mut fleet = Fleet::new(Policy::default());
        let names: Vec<String> = (10..40)
            .map(|number| format!("m{number} ord stopped"))
            .collect();
        let list: Vec<&str> = names.iter().map(String::as_str).collect();
        let observed = fleet.observe(0, &list);
        for number in 10..35 {
            let id = format!("m{number}");
            fleet.record(0, &observed, &[effect("destroyed", &id)]);
            fleet.answers.insert(id, Answer::Gone);
        }
        let pass = fleet.pass(60, created(5, 5), &list);
        assert_eq!(pass.asked.len(), 20);
        assert_eq!(first(&pass), "");
        let pass = fleet.pass(75, created(5, 5), &list);
        assert_eq!(pass.asked.len(), 5);
        assert_eq!(first(&pass), "");
        assert_eq!(pass.observed.created, 5);
    }
}
