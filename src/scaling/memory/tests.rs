use super::*;
use crate::scaling::{
    Action, Fallback, Machine, Standstills, Step, UpDown,
    tests::fleet::{Fleet, created, ids, machine, missing},
};

fn refused(region: &str) -> Effect {
    Effect::CreateRefused {
        region: region.to_owned(),
    }
}

fn accepted(id: &str, region: &str) -> Effect {
    Effect::Created {
        id: id.to_owned(),
        region: region.to_owned(),
    }
}

fn pause(fleet: &Fleet, second: u64) -> Option<u64> {
    let pause = fleet
        .memory
        .create_pause(7.into(), fleet.at(second).monotonic);
    pause.map(|pause| pause.as_secs())
}

fn fleet() -> (Fleet, Observed) {
    let mut fleet = Fleet::new(Policy::default());
    fleet.memory.note_source(7.into(), false);
    let observed = fleet.observe(0, &["a ord started"]);
    (fleet, observed)
}

#[test]
fn a_volume_that_may_have_been_made_holds_every_create_for_a_minute() {
    let (mut fleet, observed) = fleet();
    let unknown = Effect::VolumeUnknown {
        region: "ord".to_owned(),
    };
    fleet.record(0, &observed, &[unknown, accepted("b", "ord")]);
    assert_eq!(pause(&fleet, 0), Some(60), "another create ends no hold");
    fleet.memory.note_source(8.into(), false);
    assert_eq!(pause(&fleet, 59), Some(1), "nor does another source");
    assert_eq!(pause(&fleet, 60), None);
}

#[test]
fn failing_creates_pause_for_1_2_4_intervals_and_at_most_five_minutes() {
    let (mut fleet, observed) = fleet();
    for (pass, seconds) in [15, 30, 60, 120, 240, 300, 300].into_iter().enumerate() {
        let second = 1000 * u64::try_from(pass).expect("few");
        fleet.record(second, &observed, &[refused("ord"), refused("iad")]);
        assert_eq!(pause(&fleet, second), Some(seconds), "pass {pass}");
        assert_eq!(pause(&fleet, second + seconds), None, "pass {pass}");
    }
    fleet.record(9000, &observed, &[accepted("b", "ord")]);
    assert_eq!(pause(&fleet, 9000), None, "a success ends it");
    fleet.record(9015, &observed, &[refused("ord")]);
    assert_eq!(
        pause(&fleet, 9015),
        Some(15),
        "and it begins anew after that"
    );
}

#[test]
fn a_create_of_unknown_outcome_pauses_creating_too() {
    let (mut fleet, observed) = fleet();
    let unknown = Effect::CreateUnknown {
        region: "ord".to_owned(),
    };
    fleet.record(0, &observed, &[unknown]);
    assert_eq!(pause(&fleet, 0), Some(15));
}

#[test]
fn another_source_ends_the_pause() {
    let (mut fleet, observed) = fleet();
    fleet.record(0, &observed, &[refused("ord")]);
    let now = fleet.at(0).monotonic;
    assert_eq!(fleet.memory.create_pause(8.into(), now), None);
    assert!(fleet.memory.region_backs_off("ord", now));
    fleet.memory.note_source(8.into(), false);
    assert_eq!(fleet.memory.create_pause(8.into(), now), None);
    assert!(!fleet.memory.region_backs_off("ord", now));
    fleet.record(0, &observed, &[refused("ord")]);
    assert_eq!(
        fleet.memory.create_pause(8.into(), now),
        Some(Duration::from_secs(15)),
        "the new one begins with one interval"
    );
}

#[test]
fn sources_that_take_turns_wait_each_for_itself() {
    let (mut fleet, observed) = fleet();
    let fail = |fleet: &mut Fleet, source: u64, second: u64| {
        fleet.memory.note_source(source.into(), false);
        fleet.record(second, &observed, &[refused("ord")]);
        let now = fleet.at(second).monotonic;
        let pause = fleet.memory.create_pause(source.into(), now);
        pause.map(|pause| pause.as_secs())
    };
    assert_eq!(fail(&mut fleet, 7, 0), Some(15));
    assert_eq!(
        fail(&mut fleet, 8, 15),
        Some(15),
        "another configuration begins anew"
    );
    assert_eq!(fail(&mut fleet, 7, 30), Some(30));
    assert_eq!(fail(&mut fleet, 8, 60), Some(30));
    assert_eq!(fail(&mut fleet, 7, 90), Some(60));
    let pause = |fleet: &Fleet, source: u64, second| {
        let now = fleet.at(second).monotonic;
        fleet.memory.create_pause(source.into(), now)
    };
    let left = Some(Duration::from_secs(1));
    assert_eq!(pause(&fleet, 8, 89), left, "not forgotten");
    assert_eq!(pause(&fleet, 9, 89), None);
    fleet.memory.note_source(8.into(), false);
    fleet.observe(2000, &["a ord started"]);
    assert_eq!(
        fail(&mut fleet, 7, 2000),
        Some(120),
        "it had no success meanwhile"
    );
}

#[test]
fn a_region_backs_off_on_its_own() {
    let (mut fleet, observed) = fleet();
    fleet.record(0, &observed, &[refused("ord"), accepted("b", "iad")]);
    let now = fleet.at(0).monotonic;
    assert_eq!(pause(&fleet, 0), None, "creating works");
    assert!(fleet.memory.region_backs_off("ord", now));
    assert!(!fleet.memory.region_backs_off("iad", now));
    assert!(!fleet.memory.region_backs_off("ord", fleet.at(15).monotonic));
}

#[test]
fn a_clone_that_fails_or_vanishes_within_five_minutes_counts_as_a_failed_create() {
    // What lists show of the clone and when; the pause in the last of those passes. Growth is wanted in each, and
    // one that is missing is gone where it is asked for.
    type Lists = [(u64, Option<&'static str>)];
    let cases: [(&str, &Lists, Option<u64>); 13] = [
        ("it lives", &[(15, Some("started"))], None),
        ("it failed", &[(15, Some("failed"))], Some(15)),
        (
            "it could not be launched",
            &[(15, Some("launch_failed"))],
            Some(15),
        ),
        (
            "it is on its way out",
            &[(15, Some("destroying"))],
            Some(15),
        ),
        ("it is not listed so far", &[(59, None)], None),
        ("it was never listed", &[(60, None)], Some(15)),
        (
            "it vanished after a minute",
            &[(15, Some("started")), (75, None)],
            Some(15),
        ),
        (
            "it vanished within five minutes",
            &[(15, Some("started")), (299, None)],
            Some(15),
        ),
        (
            "it vanished later",
            &[(15, Some("started")), (300, None)],
            None,
        ),
        (
            "it ended as it should",
            &[(15, Some("started auto-destroy")), (30, None)],
            None,
        ),
        (
            "it is about to end as it should",
            &[(15, Some("destroying auto-destroy"))],
            None,
        ),
        (
            "it failed, and would have ended by itself",
            &[(15, Some("failed auto-destroy"))],
            Some(15),
        ),
        (
            "its host does not answer",
            &[(15, Some("started host-down"))],
            None,
        ),
    ];
    for (name, lists, expected) in cases {
        let (mut fleet, observed) = fleet();
        fleet.record(0, &observed, &[accepted("b", "ord")]);
        let mut last = 0;
        for (second, state) in lists {
            let clone = state.map(|state| format!("b ord {state}"));
            let list: Vec<&str> = ["a ord started"]
                .into_iter()
                .chain(clone.as_deref())
                .collect();
            fleet.pass(*second, created(3, 3), &list);
            last = *second;
        }
        assert_eq!(pause(&fleet, last), expected, "{name}");
        let region = fleet
            .memory
            .region_backs_off("ord", fleet.at(last).monotonic);
        assert_eq!(region, expected.is_some(), "{name}");
    }
}

#[test]
fn a_clone_that_ended_before_a_list_showed_it_is_judged_by_its_source() {
    for (ends_by_itself, expected) in [(false, Some(15)), (true, None)] {
        let (mut fleet, observed) = fleet();
        fleet.memory.note_source(7.into(), ends_by_itself);
        fleet.record(0, &observed, &[accepted("b", "ord")]);
        fleet.pass(60, created(2, 2), &["a ord started"]);
        assert_eq!(pause(&fleet, 60), expected);
    }
}

#[test]
fn a_clone_is_lost_when_it_was_first_missing_and_not_when_somebody_asked() {
    for (missing, expected) in [(285, Some(15)), (300, None)] {
        let (mut fleet, observed) = fleet();
        fleet.record(0, &observed, &[accepted("b", "ord")]);
        fleet.observe(15, &["a ord started", "b ord started"]);
        fleet.observe(missing, &["a ord started"]);
        let pass = fleet.pass(900, created(2, 2), &["a ord started"]);
        assert_eq!(pass.asked, ["b"]);
        assert_eq!(pause(&fleet, 900), expected, "missing since {missing}");
    }
}

#[test]
fn a_lost_clone_is_judged_once() {
    let (mut fleet, observed) = fleet();
    fleet.record(0, &observed, &[accepted("b", "ord")]);
    for second in [15, 30, 45] {
        fleet.observe(second, &["a ord started", "b ord failed"]);
    }
    assert_eq!(pause(&fleet, 15), Some(15));
    assert_eq!(pause(&fleet, 30), None);
}

#[test]
fn clones_that_fail_again_and_again_pause_longer_and_longer() {
    let (mut fleet, observed) = fleet();
    for (round, seconds) in [15, 30, 60, 120, 240, 300].into_iter().enumerate() {
        let second = 400 * u64::try_from(round).expect("few");
        fleet.record(second, &observed, &[accepted(&format!("b{round}"), "ord")]);
        let clone = format!("b{round} ord failed");
        fleet.observe(second + 15, &["a ord started", &clone]);
        assert_eq!(pause(&fleet, second + 15), Some(seconds), "round {round}");
    }
}

#[test]
fn a_clone_that_lived_ends_the_count_of_lost_ones() {
    let (mut fleet, observed) = fleet();
    fleet.record(0, &observed, &[accepted("b", "ord"), accepted("c", "ord")]);
    let list = ["a ord started", "b ord failed", "c ord started"];
    fleet.observe(15, &list);
    fleet.observe(300, &list);
    fleet.record(300, &observed, &[accepted("d", "ord")]);
    fleet.observe(315, &["a ord started", "c ord started", "d ord failed"]);
    assert_eq!(pause(&fleet, 315), Some(15));
}

#[test]
fn a_clone_that_we_destroy_or_may_have_destroyed_is_no_failed_create() {
    let id = || "b".to_owned();
    let effects = [
        Effect::Destroyed { id: id() },
        Effect::DestroyUnknown { id: id() },
        Effect::VictimStopped { id: id() },
    ];
    for effect in effects {
        for shown in [None, Some("b ord destroying")] {
            let (mut fleet, observed) = fleet();
            fleet.record(0, &observed, &[accepted("b", "ord")]);
            let observed = fleet.observe(15, &["a ord started", "b ord stopped"]);
            fleet.record(15, &observed, std::slice::from_ref(&effect));
            let list: Vec<&str> = ["a ord started"].into_iter().chain(shown).collect();
            fleet.pass(30, created(2, 2), &list);
            assert_eq!(pause(&fleet, 30), None, "{effect:?}, {shown:?}");
        }
    }
}

#[test]
fn a_clone_that_a_start_or_stop_found_gone_is_a_failed_create() {
    let cases = [
        (30, "", Some(15)),
        (299, "", Some(15)),
        (300, "", None),
        (30, "auto-destroy", None),
    ];
    for (second, special, expected) in cases {
        let (mut fleet, observed) = fleet();
        fleet.record(0, &observed, &[accepted("b", "ord")]);
        let clone = format!("b ord stopped {special}");
        let list = ["a ord started", &clone];
        let observed = fleet.observe(second, &list);
        let gone = Effect::Gone { id: "b".to_owned() };
        fleet.record(second, &observed, &[gone]);
        assert_eq!(pause(&fleet, second), expected, "{special} at {second}");
        let observed = fleet.observe(second + 15, &list);
        assert_eq!(observed.created, 1, "whatever a list still shows");
        fleet.observe(second + 90, &list[..1]);
        let again = pause(&fleet, second + 90);
        assert_eq!(again, None, "it is judged once");
    }
}

#[test]
fn a_destroy_of_unknown_outcome_is_remembered_for_a_minute_and_until_somebody_knows() {
    let mut fleet = Fleet::new(Policy::default());
    let list = ["a ord stopped", "b ord stopped"];
    let observed = fleet.observe(0, &list);
    let unsettled = Effect::DestroyUnknown { id: "b".to_owned() };
    fleet.record(0, &observed, &[unsettled]);
    let unsettled = |observed: &Observed| -> Vec<bool> {
        let members = observed.members.iter();
        members.map(|member| member.unsettled_destroy).collect()
    };
    assert_eq!(unsettled(&fleet.observe(15, &list)), [false, true]);
    assert_eq!(unsettled(&fleet.observe(20, &list[..1])), [false, true]);
    assert_eq!(unsettled(&fleet.observe(59, &list)), [false, true]);
    assert_eq!(unsettled(&fleet.observe(60, &list)), [false, true]);
    let known = fleet.observe_and_ask(75, &list);
    assert_eq!(unsettled(&known), [false, false]);
    assert_eq!(unsettled(&fleet.observe(90, &list)), [false, false]);
}

#[test]
fn what_lists_have_yet_to_show_is_expected_for_a_minute_and_what_surely_did_not_happen_is_not() {
    let a = || "a".to_owned();
    let (region, volumes) = ("ord".to_owned(), vec!["vol_1".to_owned()]);
    let effects = [
        (accepted("b", "ord"), true),
        (
            Effect::CreateUnknown {
                region: region.clone(),
            },
            true,
        ),
        (Effect::VolumeUnknown { region }, true),
        (Effect::Destroyed { id: a() }, true),
        (Effect::Gone { id: a() }, true),
        (Effect::DestroyUnknown { id: a() }, true),
        (Effect::VictimStopped { id: a() }, true),
        (Effect::VictimStopUnknown { id: a() }, true),
        (Effect::Started { id: a() }, true),
        (Effect::StartUnknown { id: a() }, true),
        (Effect::Stopped { id: a() }, true),
        (Effect::StopUnknown { id: a() }, true),
        (refused("ord"), false),
        (
            Effect::DestroyRefused {
                id: a(),
                woken: false,
            },
            false,
        ),
        (Effect::StartRefused { id: a() }, false),
        (Effect::VolumesRefused { volumes }, false),
    ];
    for (effect, expected) in effects {
        let list = ["a ord started", "s ord started"];
        let mut fleet = Fleet::new(Policy::default());
        let observed = fleet.observe(0, &list);
        let told = format!("{effect:?}");
        fleet.record(0, &observed, &[effect]);
        for second in [0, 59] {
            let now = fleet.at(second).monotonic;
            let is_nothing = fleet.memory.expects_nothing(now);
            assert_eq!(is_nothing, !expected, "{told}, at {second}");
        }
        // A create of unknown outcome is remembered for two passes as well.
        for second in 61..=63 {
            fleet.observe(second, &list);
        }
        let now = fleet.at(63).monotonic;
        assert!(fleet.memory.expects_nothing(now), "{told}, a minute later");
    }
}

#[test]
fn an_effect_on_a_machine_that_was_not_listed_expects_nothing() {
    let (mut fleet, observed) = fleet();
    let effects = [
        Effect::Started { id: "z".to_owned() },
        Effect::Stopped { id: "z".to_owned() },
    ];
    fleet.record(0, &observed, &effects);
    assert_eq!(ids(&fleet.observe(15, &["a ord started"])), ["a"]);
}

#[test]
fn a_change_in_the_second_of_the_pass_is_believed_and_one_before_it_is_not() {
    let id = || "b".to_owned();
    let stopped = (Effect::Stopped { id: id() }, "started", "stopped");
    let started = (Effect::Started { id: id() }, "stopped", "started");
    for (effect, before, after) in [stopped, started] {
        for (second, believed) in [(10, true), (9, false)] {
            let mut fleet = Fleet::new(Policy::default());
            let fraction = Duration::from_millis(700);
            let began = Now {
                monotonic: fleet.at(10).monotonic + fraction,
                wall: fleet.at(10).wall + fraction,
            };
            let list = [format!("b ord {before} updated=-100")];
            let list: Vec<Machine> = list.iter().map(|text| machine(text)).collect();
            let observed = fleet.memory.note_list(list, &fleet.policy, began);
            let known = began.monotonic + Duration::from_millis(40);
            let pass = ActingPass {
                observed: &observed,
                policy: &fleet.policy,
                began,
            };
            fleet.memory.record(effect.clone(), known, pass);
            let shown = format!("b ord {after} updated={second}");
            let observed = fleet.observe(12, &["a ord started", &shown]);
            let member = observed.member("b").expect("listed");
            assert_eq!(member.is_free(), believed, "{after} at {second}");
        }
    }
}

#[test]
fn two_passes_without_a_target_break_the_surplus_and_one_does_not() {
    use crate::scaling::tests::fleet::missing;
    let list = ["a ord started", "b ord started"];
    let cases = [
        ("", true),
        ("blind", true),
        ("missing", true),
        ("blind blind", false),
        ("missing missing", false),
        ("blind missing", false),
        ("missing blind", false),
        ("missing seen missing", true),
        ("inside", false),
    ];
    for (between, expected) in cases {
        let mut fleet = Fleet::new(Policy::default());
        fleet.pass(0, created(1, 1), &list);
        for (second, pass) in (10..).step_by(10).zip(between.split_whitespace()) {
            let now = fleet.at(second).monotonic;
            match pass {
                "blind" => fleet.memory.note_blind_pass(now),
                "missing" => drop(fleet.pass(second, missing(Kind::Created), &list)),
                "seen" => drop(fleet.pass(second, created(1, 1), &list)),
                _ => drop(fleet.pass(second, created(2, 2), &list)),
            }
        }
        let acts = fleet.pass(45, created(1, 1), &list).plan.action.is_some();
        assert_eq!(acts, expected, "{between}");
    }
}

#[test]
fn a_step_bounds_what_a_pass_takes_and_each_machine_has_been_too_many_for_as_long() {
    let mut fleet = Fleet::new(Policy {
        step: UpDown {
            up: None,
            down: Some(Step::Count(1)),
        },
        ..Policy::default()
    });
    // One that takes its time to stop is at rest in the next pass and goes then; the one after it need not wait anew.
    let passes: [(u64, &[&str], &str); 6] = [
        (0, &["a ord started", "b ord started", "c ord started"], ""),
        (15, &["a ord started", "b ord started", "c ord started"], ""),
        (
            45,
            &["a ord started", "b ord started", "c ord started"],
            "a",
        ),
        (
            60,
            &["a ord stopped", "b ord started", "c ord started"],
            "a",
        ),
        (75, &["b ord started", "c ord started"], "b"),
        (90, &["b ord stopped", "c ord started"], "b"),
    ];
    for (second, list, expected) in passes {
        let pass = fleet.pass(second, created(1, 1), list);
        let victims = match pass.plan.action {
            Some(Action::Destroy { victims }) => victims,
            _ => Vec::new(),
        };
        let victims: Vec<&str> = victims.iter().map(|victim| &*victim.id).collect();
        assert_eq!(victims.join(" "), expected, "at {second}");
    }
}

#[test]
fn passes_in_which_nothing_was_to_be_scaled_have_no_part_in_a_row_without_a_metric() {
    let mut fleet = Fleet::new(Policy {
        fallback: Fallback {
            created: Some(3),
            started: None,
            after: 2,
        },
        ..Policy::default()
    });
    let mut grown = Vec::new();
    for (second, is_over) in [
        (0, false),
        (15, false),
        (30, true),
        (45, false),
        (60, false),
    ] {
        if is_over {
            fleet.memory.note_region_over(fleet.at(second).monotonic);
        } else {
            let pass = fleet.pass(second, missing(Kind::Created), &["a ord started"]);
            grown.extend(pass.plan.action.is_some().then_some(second));
        }
    }
    assert_eq!(grown, [15, 60]);
}

#[test]
fn a_standstill_starts_the_time_of_a_surplus_anew() {
    type Case<'a> = (&'a str, &'a [u64], Option<u64>, &'a [u64]);
    let list = ["a ord started", "b ord started"];
    // When passes begin, when the process moves again after it stood still, which passes act.
    let cases: [Case<'_>; 4] = [
        (
            "late passes of an overloaded pool",
            &[0, 70, 140],
            None,
            &[70, 140],
        ),
        ("frozen", &[0, 70, 114, 115], Some(70), &[115]),
        (
            "frozen, and another app was first to notice",
            &[0, 70, 115],
            Some(65),
            &[115],
        ),
        (
            "frozen before the surplus was seen",
            &[10, 70],
            Some(9),
            &[70],
        ),
    ];
    for (name, passes, moves, expected) in cases {
        let mut fleet = Fleet::new(Policy::default());
        let moves = moves.map(|second| fleet.at(second).monotonic);
        let mut acting = Vec::new();
        for second in passes {
            let now = fleet.at(*second).monotonic;
            let ended = moves.filter(|at| *at <= now);
            fleet.begin_pass(Standstills { ended, pause: None }, now);
            let pass = fleet.pass(*second, created(1, 1), &list);
            acting.extend(pass.plan.action.is_some().then_some(*second));
        }
        assert_eq!(acting, expected, "{name}");
    }
}

#[test]
fn memory_forgets_machines_that_are_gone() {
    let mut fleet = Fleet::new(Policy::default());
    let list = [
        "a ord started",
        "b ord starting",
        "c ord stopped",
        "s ord stopped standby",
    ];
    let observed = fleet.observe(0, &list);
    let effects = [
        Effect::DestroyUnknown { id: "c".to_owned() },
        Effect::Stopped { id: "a".to_owned() },
        accepted("d", "ord"),
        Effect::CreateUnknown {
            region: "ord".to_owned(),
        },
    ];
    fleet.record(0, &observed, &effects);
    // Asked for by id, none is there; or nobody ever answers.
    for (answers, seconds) in [(true, [15, 400, 700]), (false, [15, 400, 200_000])] {
        let mut fleet = fleet.fork();
        if !answers {
            for id in ["a", "b", "c", "d"] {
                fleet
                    .answers
                    .insert(id.to_owned(), crate::scaling::Answer::None);
            }
        }
        for second in seconds {
            fleet.pass(second, created(1, 9), &[]);
        }
        fleet.observe(300_000, &[]);
        let memory = &fleet.memory;
        assert!(memory.sights.iter().next().is_none());
        assert_eq!(memory.writes, ExpectedWrites::default());
        assert_eq!(memory.unknown_creates, UnknownCreates::default());
        assert_eq!(memory.clones, Clones::default());
        assert_eq!(memory.aside, Aside::default());
        assert_eq!(memory.ages, Ages::default());
    }
}
