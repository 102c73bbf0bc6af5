//! Machines that a list lacks: what is remembered of them, and which have to be asked for by id before anything grows.
//!
//! A list can lack machines that exist: the API has answered with the machines of one region only, for most of an hour.
//! What a list showed once and what a create made therefore counts on as what it was last seen as, until it is known to
//! be gone. Nothing is done about it while nobody needs to know. Where growth would be wanted if they were gone,
//! [`ids_to_ask`] names those to ask for, and [`Memory::settle`] takes the answers in.

use std::time::{Duration, Instant};

use super::{
    Action, Limited, Machine, Memory, Note, Now, Observed, Plan, Planner, Policy, Reason,
    ReleaseView, Targets, is_among, limit,
};

/// The most machines that one pass asks for by id; with more than that to ask for, nothing grows in it.
const MOST_ASKED: usize = 20;

/// How long a machine may be missing before it is asked for though nobody needs to know, so that what ended by itself is
/// not remembered for ever; one that exists is asked for again as late.
const REVIEW: Duration = Duration::from_secs(5 * 60);

/// How long a machine is remembered that no list shows while no question about it is answered: it was asked for hundreds
/// of times by then.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What asking for one machine by its id told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is no such machine.
    Gone,
    /// This is what it is now.
    Machine(Box<Machine>),
    /// Nothing that could be used.
    None,
}

/// The machines that a pass must ask for by id before it decides, at most twenty; none where its list lacks none and
/// denies nothing.
///
/// Those are all that the list lacks, where this pass would grow if they were gone, or would grow as it is: `targets`
/// gives what the expressions ask for when they see these counts. Otherwise a few that have been missing for long, and,
/// once, those whose work it is to end: expressions would go on counting them. And those of which it denies what was
/// written to them, where something is to be done if that is true, or if it is not.
#[must_use]
pub fn ids_to_ask(
    observed: &Observed,
    policy: &Policy,
    memory: &Memory,
    now: Now,
    mut targets: impl FnMut(&Observed) -> Targets,
) -> Vec<String> {
    let doubts = &observed.lately.doubts;
    if observed.unlisted.is_empty() && doubts.is_empty() {
        return Vec::new();
    }
    let mut trial = memory.clone();
    let mut plan_of = |observed: &Observed| -> Plan {
        // What limits remember is recorded once a pass, by the decision itself.
        trial.limits_mut().clone_from(memory.limits());
        let limited: Limited = limit(targets(observed), observed, policy, &mut trial, now);
        let planner = Planner {
            observed,
            policy,
            memory: &trial,
            release: ReleaseView::NotAsked,
            now,
        };
        planner.plan(&limited)
    };
    let mut candidates: Vec<(Option<Instant>, &str)> = Vec::new();
    // What the answers about machines in doubt may turn out to be.
    let views = if doubts.is_empty() {
        Vec::new()
    } else {
        vec![
            observed.believing_the_list(policy),
            observed.denying_the_list(policy),
        ]
    };
    if !observed.unlisted.is_empty() {
        let growth = std::iter::once(observed)
            .chain(&views)
            .any(|view| plan_of(&view.without_unlisted(policy)).grows() || plan_of(view).grows());
        candidates.extend(observed.unlisted.iter().filter_map(|id| {
            let (since, asked) = memory.lacking(id)?;
            let last = asked.map_or(since, |asked| asked.max(since));
            let overdue = now.monotonic.saturating_duration_since(last) >= REVIEW;
            let has_ended = asked.is_none() && memory.was_to_end(id);
            (growth || overdue || has_ended).then_some((asked, id.as_str()))
        }));
    }
    if !doubts.is_empty() {
        let acts = |view: &Observed| plan_of(view).acts_or_waits();
        if views.iter().any(acts) {
            let asked = doubts.iter().map(|(id, doubt)| {
                let asked = memory.lately().last_asked(id, *doubt);
                (asked, id.as_str())
            });
            candidates.extend(asked);
        }
    }
    // The one that was asked for the longest time ago, or never, first.
    candidates.sort_unstable();
    let first = candidates.into_iter().take(MOST_ASKED);
    first.map(|(_, id)| id.to_owned()).collect()
}

impl Observed {
    /// What would be seen if every machine that the list lacks were gone.
    fn without_unlisted(&self, policy: &Policy) -> Self {
        let mut rest = self.clone();
        let unlisted = std::mem::take(&mut rest.unlisted);
        rest.remove_all(&unlisted);
        rest.count(policy);
        rest
    }

    /// Takes a machine out of everything but the ids that the list lacks; the counts are then to be made anew.
    pub(super) fn remove(&mut self, id: &str) {
        self.remove_all(&[id]);
    }

    /// Takes these machines out, as one would be; the ids are sorted. A list can lack most of what there is.
    pub(super) fn remove_all(&mut self, ids: &[impl AsRef<str>]) {
        let stays = |id: &String| !is_among(id, ids);
        self.members.retain(|member| stays(&member.machine.id));
        self.unreachable.retain(stays);
        self.uncounted.retain(|member| stays(&member.machine.id));
    }
}

impl Plan {
    /// Whether it creates or starts machines.
    fn grows(&self) -> bool {
        matches!(
            self.action,
            Some(Action::Create { .. } | Action::Start { .. })
        )
    }

    /// Whether it does something, or would as soon as nothing holds it back.
    fn acts_or_waits(&self) -> bool {
        let waits = matches!(self.reason, Reason::Below { .. } | Reason::Above { .. });
        self.action.is_some() || waits
    }

    /// Whether growth waits for questions about machines that the list lacks.
    pub(super) fn waits_for_questions(&self) -> bool {
        let waits = |note: &Note| matches!(note, Note::TooManyUnlisted { .. });
        self.notes.iter().any(waits)
    }

    /// Gives growth up where not every missing machine could be asked for.
    pub(super) fn hold_growth_that_is_blind(&mut self, observed: &Observed) {
        if observed.unasked > 0 && self.grows() {
            self.action = None;
            self.notes.push(Note::TooManyUnlisted {
                unasked: observed.unasked,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{
        Decision, EVERY_GROUP, Presence,
        tests::fleet::{Fleet, Pass, both, created, ids, machine, started},
    };

    const WHOLE: [&str; 6] = [
        "a iad started",
        "b iad started",
        "c iad stopped",
        "d ord started",
        "e ord stopped",
        "f ord failed",
    ];

    const IAD: [&str; 3] = ["a iad started", "b iad started", "c iad stopped"];

    fn counts(observed: &Observed) -> (u32, u32, u32, u32) {
        let Observed {
            created,
            failed,
            started,
            stopped,
            ..
        } = observed;
        (*created, *failed, *started, *stopped)
    }

    /// A fleet whose machines of ord are missing from its second list on, and are there when asked for.
    fn fleet(policy: Policy) -> Fleet {
        let mut fleet = Fleet::new(policy);
        fleet.pass(0, created(1, 9), &WHOLE);
        for machine in WHOLE {
            fleet.exists(machine);
        }
        fleet
    }

    #[test]
    fn what_a_list_lacks_counts_as_it_was_last_seen_and_is_left_alone() {
        let mut fleet = fleet(Policy::default());
        let observed = fleet.observe(15, &IAD);
        assert_eq!(counts(&observed), (5, 1, 3, 2));
        assert_eq!(observed.unlisted, ["d", "e", "f"]);
        for member in &observed.members[3..] {
            assert_eq!(member.presence, Presence::Unlisted);
            assert!(!member.is_free() && !member.is_expendable(&fleet.policy));
            assert!(!member.may_be_cloned(&fleet.policy));
        }
        assert_eq!(
            observed.by_state.values().sum::<u32>(),
            3,
            "only listed ones"
        );
        let observed = fleet.observe(30, &WHOLE);
        assert_eq!(counts(&observed), (5, 1, 3, 2));
        assert!(observed.unlisted.is_empty());
    }

    #[test]
    fn they_are_asked_for_where_growth_would_be_wanted_without_them() {
        type Case = (&'static str, Targets, &'static [&'static str], Decision);
        let cases: [Case; 8] = [
            ("enough without them", created(1, 9), &[], Decision::NoScale),
            (
                "created, without them too few",
                created(5, 9),
                &["d", "e", "f"],
                Decision::NoScale,
            ),
            (
                "created, with them too few",
                created(6, 9),
                &["d", "e", "f"],
                Decision::Create,
            ),
            (
                "started, without them too few",
                started(3, 9),
                &["d", "e", "f"],
                Decision::NoScale,
            ),
            (
                "started, with them too few",
                started(4, 9),
                &["d", "e", "f"],
                Decision::Start,
            ),
            (
                "started, enough without them",
                started(2, 9),
                &[],
                Decision::NoScale,
            ),
            ("too many", created(1, 3), &[], Decision::NoScale),
            (
                "both kinds",
                both((1, 9), (3, 3)),
                &["d", "e", "f"],
                Decision::NoScale,
            ),
        ];
        for (name, targets, asked, decision) in cases {
            let mut fleet = fleet(Policy::default());
            let pass = fleet.pass(15, targets, &IAD);
            assert_eq!(pass.asked, asked, "{name}");
            assert_eq!(pass.plan.decision(), decision, "{name}");
        }
    }

    #[test]
    fn an_expression_that_grows_with_what_is_missing_asks_for_it_too() {
        let mut fleet = fleet(Policy::default());
        let observed = fleet.observe(15, &IAD);
        // Without the missing ones there are as many as wanted, with them there are too few.
        let targets = |observed: &Observed| match observed.created {
            5 => created(7, 7),
            count => created(count, count),
        };
        let now = fleet.at(15);
        let ids = ids_to_ask(&observed, &fleet.policy, &fleet.memory, now, targets);
        assert_eq!(ids, ["d", "e", "f"]);
    }

    #[test]
    fn an_answer_settles_what_a_missing_machine_is() {
        // The answer about d; created, failed, started, stopped; how many are missing; whether it still is another time.
        type Case = (&'static str, Answer, (u32, u32, u32, u32), usize);
        let machine =
            |text: &str| Answer::Machine(Box::new(crate::scaling::tests::fleet::machine(text)));
        let cases: [Case; 9] = [
            ("gone", Answer::Gone, (4, 1, 2, 2), 2),
            ("no answer", Answer::None, (5, 1, 3, 2), 3),
            ("as it was", machine("d ord started"), (5, 1, 3, 2), 3),
            ("stopped by now", machine("d ord stopped"), (5, 1, 2, 3), 3),
            ("failed by now", machine("d ord failed"), (4, 2, 2, 2), 3),
            (
                "on its way out",
                machine("d ord destroying"),
                (4, 1, 2, 2),
                2,
            ),
            (
                "of another group",
                machine("d ord started group=jobs"),
                (4, 1, 2, 2),
                2,
            ),
            (
                "a standby by now",
                machine("d ord started standby"),
                (4, 1, 2, 2),
                2,
            ),
            (
                "on a host that does not answer",
                machine("d ord started host-down"),
                (5, 1, 2, 2),
                3,
            ),
        ];
        for (name, answer, expected, missing) in cases {
            let mut fleet = fleet(Policy::default());
            fleet.answers.insert("d".to_owned(), answer);
            let pass = fleet.pass(15, created(5, 5), &IAD);
            assert_eq!(counts(&pass.observed), expected, "{name}");
            assert_eq!(pass.observed.unlisted.len(), missing, "{name}");
            let grows = pass.plan.decision() == Decision::Create;
            assert_eq!(grows, expected.0 < 5, "{name}");
            let again = fleet.observe(16, &IAD);
            assert_eq!(counts(&again), expected, "{name}, in the next pass");
            assert_eq!(again.unlisted.len(), missing, "{name}, in the next pass");
        }
    }

    /// Workers that all end between two passes. How many are remembered in the end, and how many seem to run in each pass.
    fn workers(passes: u64, workers: u64, target: impl Fn(&Observed) -> u32) -> (usize, Vec<u32>) {
        let mut fleet = Fleet::new(Policy::default());
        let (mut all, mut seen) = (Vec::new(), Vec::new());
        for pass in 0..passes {
            let workers: Vec<String> = (0..workers)
                .map(|worker| format!("w{pass}-{worker} ord started auto-destroy"))
                .collect();
            all.extend((0..workers.len()).map(|worker| format!("w{pass}-{worker}")));
            let mut list = vec!["a ord started"];
            list.extend(workers.iter().map(String::as_str));
            let mut observed = fleet.observe(15 * pass, &list);
            let now = fleet.at(15 * pass);
            let asked = ids_to_ask(&observed, &fleet.policy, &fleet.memory, now, |observed| {
                let target = target(observed);
                created(target, target)
            });
            let gone = asked.into_iter().map(|id| (id, Answer::Gone)).collect();
            fleet.memory.settle(&mut observed, gone, &fleet.policy, now);
            seen.push(observed.started);
        }
        let remembered = all.iter().filter(|id| fleet.memory.knows(id));
        (remembered.count(), seen)
    }

    #[test]
    fn machines_that_end_by_themselves_are_not_counted_on() {
        let (remembered, seen) = workers(30, 10, |observed| observed.created.max(6));
        assert_eq!(seen, [11; 30]);
        assert!(remembered <= 10 * 6, "{remembered}: a minute of them");
    }

    #[test]
    fn more_machines_that_end_by_themselves_than_can_be_asked_for_are_not_heaped_up() {
        let (remembered, seen) = workers(30, 100, |_| 1);
        assert!(seen.iter().all(|started| *started <= 1101), "{seen:?}");
        assert!(remembered <= 100 + 1000 + 20 * 5, "{remembered}");
    }

    #[test]
    fn one_that_ends_by_itself_and_is_there_is_asked_for_once() {
        for answer in [
            Answer::None,
            Answer::Machine(Box::new(machine("w ord started auto-destroy"))),
        ] {
            let mut fleet = Fleet::new(Policy::default());
            fleet.observe(0, &["a ord started", "w ord started auto-destroy"]);
            fleet.answers.insert("w".to_owned(), answer);
            let mut asked = Vec::new();
            for second in (15..=330).step_by(15) {
                let pass = fleet.pass(second, created(1, 5), &["a ord started"]);
                assert_eq!(pass.observed.created, 2);
                asked.extend((!pass.asked.is_empty()).then_some(second));
            }
            assert_eq!(asked, [15, 315]);
        }
    }

    #[test]
    fn where_all_groups_are_scaled_the_answer_about_a_machine_of_none_is_taken() {
        let mut fleet = Fleet::new(Policy {
            process_group: EVERY_GROUP.to_owned(),
            ..Policy::default()
        });
        let list = [
            "a ord started group=",
            "b ord started group=",
            "c ord stopped group=",
        ];
        fleet.observe(0, &list);
        fleet.exists("b ord stopped group=");
        let pass = fleet.pass(15, started(2, 2), &[list[0], list[2]]);
        assert_eq!(pass.asked, ["b"]);
        assert_eq!(counts(&pass.observed), (3, 0, 1, 2));
    }

    #[test]
    fn a_missing_machine_on_a_lost_host_takes_its_place_under_the_ceiling_until_it_is_gone() {
        let mut fleet = Fleet::new(Policy {
            ceiling: Some(3),
            ..Policy::default()
        });
        fleet.observe(0, &["a ord started", "b ord started", "c iad started"]);
        let lost = ["a ord started", "b ord started", "c iad started host-down"];
        fleet.observe(15, &lost);
        assert_eq!(fleet.observe(75, &lost).unreachable_uncounted(), 1);
        fleet.exists("c iad started host-down");
        let list = ["a ord started", "b ord started"];
        let pass = fleet.pass(90, created(3, 3), &list);
        assert_eq!(pass.asked, ["c"]);
        assert_eq!(pass.plan.decision(), Decision::NoScale);
        fleet.answers.clear();
        let pass = fleet.pass(105, created(3, 3), &list);
        assert_eq!(pass.plan.decision(), Decision::Create);
    }

    #[test]
    fn what_was_written_last_is_what_a_missing_machine_is_last_seen_as() {
        let mut fleet = fleet(Policy::default());
        let observed = fleet.observe(15, &WHOLE);
        let effect = |id: &str, started: bool| {
            let id = id.to_owned();
            if started {
                crate::scaling::Effect::Started { id }
            } else {
                crate::scaling::Effect::Stopped { id }
            }
        };
        fleet.record(15, &observed, &[effect("d", false), effect("e", true)]);
        for second in [30, 90, 3000] {
            let observed = fleet.observe(second, &IAD);
            assert_eq!(counts(&observed), (5, 1, 3, 1), "at {second}");
        }
    }

    #[test]
    fn a_machine_that_we_destroyed_is_not_missing() {
        let mut fleet = fleet(Policy::default());
        let observed = fleet.observe(15, &WHOLE);
        let destroyed = crate::scaling::Effect::Destroyed { id: "d".to_owned() };
        fleet.record(15, &observed, &[destroyed]);
        let observed = fleet.observe(30, &IAD);
        assert_eq!(observed.unlisted, ["e", "f"]);
        assert_eq!(ids(&observed), ["a", "b", "c", "e", "f"]);
    }

    /// One of two machines turns out to be gone at 15 s; and a create of unknown outcome.
    fn one_is_gone() -> (Fleet, Pass, crate::scaling::Effect) {
        let unknown = crate::scaling::Effect::CreateUnknown {
            region: "ord".to_owned(),
        };
        let mut fleet = Fleet::new(Policy::default());
        fleet.observe(0, &["a ord started", "b ord started"]);
        let pass = fleet.pass(15, created(2, 2), &["a ord started"]);
        assert_eq!(pass.asked, ["b"]);
        (fleet, pass, unknown)
    }

    #[test]
    fn a_machine_that_was_gone_and_is_listed_again_is_not_new() {
        let (mut fleet, pass, unknown) = one_is_gone();
        fleet.record(15, &pass.observed, &[unknown]);
        let observed = fleet.observe(30, &["a ord started", "b ord started"]);
        assert_eq!(observed.created, 3, "b and the one that may have been made");
    }

    #[test]
    fn a_machine_that_was_gone_and_is_listed_again_is_asked_for_before_another_goes_in_its_place() {
        let resting = ["a ord stopped", "b ord stopped cordoned", "c ord stopped"];
        for second in [30, 75, 300] {
            // Whether it is there when it is asked for again, and who is destroyed then.
            for (is_there, victim) in [(false, None), (true, Some("b"))] {
                let mut fleet = Fleet::new(Policy::default());
                fleet.observe(0, &resting);
                let pass = fleet.pass(15, created(3, 3), &["a ord stopped", "c ord stopped"]);
                assert_eq!(pass.asked, ["b"]);
                if is_there {
                    fleet.exists(resting[1]);
                } else {
                    fleet.answers.insert("b".to_owned(), Answer::Gone);
                }
                let pass = fleet.pass(second, created(2, 2), &resting);
                assert_eq!(pass.asked, ["b"], "at {second}, {is_there}");
                let first = match &pass.plan.action {
                    Some(crate::scaling::Action::Destroy { victims }) => Some(&*victims[0].id),
                    _ => None,
                };
                assert_eq!(first, victim, "at {second}, {is_there}");
                let failed = |note: &Note| matches!(note, Note::DestroysFailed { .. });
                assert!(!pass.plan.notes.iter().any(failed), "nothing was tried");
            }
        }
    }

    #[test]
    fn a_machine_that_was_shown_on_its_way_out_is_not_new_for_a_minute_after_that() {
        let (mut fleet, _, unknown) = one_is_gone();
        let observed = fleet.observe(60, &["a ord started", "b ord destroying"]);
        fleet.record(60, &observed, &[unknown]);
        fleet.observe(80, &["a ord started"]);
        let list = ["a ord started", "b ord started"];
        let observed = fleet.observe(90, &list);
        assert_eq!(observed.created, 3, "b and the one that may have been made");
    }

    #[test]
    fn a_step_towards_fewer_begins_at_those_that_are_shown() {
        let mut fleet = fleet(Policy {
            step: crate::scaling::UpDown {
                up: None,
                down: Some(crate::scaling::Step::Count(1)),
            },
            ..Policy::default()
        });
        let pass = fleet.pass(15, created(1, 1), &IAD);
        assert_eq!(pass.plan.decision(), Decision::Destroy);
    }

    #[test]
    fn the_windows_and_counters_of_limits_are_recorded_once_a_pass() {
        let mut fleet = fleet(Policy::default());
        let targets = Targets {
            created: crate::scaling::Target::Missing,
            started: crate::scaling::Target::Bounds(crate::scaling::Bounds { min: 3, max: 9 }),
        };
        for pass in 1..4 {
            let asked = fleet.pass(15 * u64::from(pass), targets, &IAD).asked;
            assert_eq!(asked.len(), 3);
            let missing = fleet.memory.missing_passes(crate::scaling::Kind::Created);
            assert_eq!(missing, pass);
        }
    }

    /// A pass of thirty machines of which the list shows two.
    fn pass_without_28(fleet: &mut Fleet, second: u64, min: u32) -> Pass {
        fleet.pass(
            second,
            created(min, 99),
            &["a ord started", "b ord started"],
        )
    }

    fn has_more(fleet: &mut Fleet, pass: &Pass) -> bool {
        fleet.memory.has_more_to_ask(&pass.plan, &pass.observed)
    }

    fn thirty() -> Fleet {
        let mut fleet = Fleet::new(Policy::default());
        let names: Vec<String> = (0..28)
            .map(|number| format!("m{number:02} iad started"))
            .collect();
        let mut list = vec!["a ord started", "b ord started"];
        list.extend(names.iter().map(String::as_str));
        fleet.observe(0, &list);
        for name in &names {
            fleet.exists(name);
        }
        fleet
    }

    #[test]
    fn twenty_are_asked_for_in_a_pass_and_nothing_grows_before_each_was() {
        let mut fleet = thirty();
        let first = pass_without_28(&mut fleet, 15, 31);
        assert_eq!(first.asked.len(), 20);
        assert_eq!(first.observed.unasked, 8);
        assert!(
            has_more(&mut fleet, &first),
            "which another pass can do at once"
        );
        assert_eq!(first.plan.decision(), Decision::NoScale);
        let told = first
            .plan
            .notes
            .iter()
            .any(|note| matches!(note, Note::TooManyUnlisted { unasked: 8 }));
        assert!(told, "{:?}", first.plan.notes);
        let second = pass_without_28(&mut fleet, 30, 31);
        assert!(!first.asked.contains(&second.asked[0]), "the others first");
        assert_eq!(second.observed.unasked, 0);
        assert!(!has_more(&mut fleet, &second));
        assert_eq!(second.plan.decision(), Decision::Create);
        // Within a minute, what was answered holds.
        assert_eq!(pass_without_28(&mut fleet, 45, 31).observed.unasked, 0);
        let later = pass_without_28(&mut fleet, 400, 31);
        assert_eq!(later.observed.unasked, 8);
        assert!(
            !has_more(&mut fleet, &later),
            "each was asked for once: no hurry"
        );
    }

    #[test]
    fn lists_that_lack_others_each_time_do_not_make_passes_follow_without_end() {
        let machines =
            |letter: char| (0..30).map(move |number| format!("{letter}{number:02} iad started"));
        let halves: [Vec<String>; 2] = ['m', 'n'].map(|letter| machines(letter).collect());
        let mut fleet = Fleet::new(Policy::default());
        let all: Vec<&str> = halves.iter().flatten().map(String::as_str).collect();
        fleet.observe(0, &all);
        for machine in &all {
            fleet.exists(machine);
        }
        let mut hurried = Vec::new();
        for pass in 0..6 {
            let half: Vec<&str> = halves[pass % 2].iter().map(String::as_str).collect();
            let pass = fleet.pass(15, created(61, 99), &half);
            assert_eq!(pass.observed.unasked, 10);
            hurried.push(has_more(&mut fleet, &pass));
        }
        assert_eq!(hurried, [true, false, false, false, false, false]);
    }

    #[test]
    fn what_nobody_needs_is_asked_for_every_five_minutes_and_forgotten_after_a_day() {
        let mut fleet = thirty();
        fleet.answers.clear();
        fleet.answers.insert("m00".to_owned(), Answer::None);
        assert_eq!(pass_without_28(&mut fleet, 15, 1).asked.len(), 0);
        assert_eq!(pass_without_28(&mut fleet, 314, 1).asked.len(), 0);
        assert_eq!(pass_without_28(&mut fleet, 315, 1).asked.len(), 20);
        assert_eq!(pass_without_28(&mut fleet, 330, 1).asked.len(), 8);
        assert_eq!(
            pass_without_28(&mut fleet, 345, 1).observed.unlisted,
            ["m00"]
        );
        assert_eq!(pass_without_28(&mut fleet, 614, 1).asked.len(), 0);
        assert_eq!(pass_without_28(&mut fleet, 615, 1).asked, ["m00"]);
        let day = 24 * 60 * 60;
        assert_eq!(pass_without_28(&mut fleet, day + 14, 1).asked, ["m00"]);
        assert!(
            pass_without_28(&mut fleet, day + 15, 1)
                .observed
                .unlisted
                .is_empty()
        );
    }
}
