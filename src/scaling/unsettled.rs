//! Starts and stops whose outcome is unknown.
//!
//! Such a write may have happened, and a list that lags does not tell for a minute. So no other machine is told in its
//! place: the next pass tells the same one again before any other, which does no harm where it happened. Where that has
//! no known outcome either, the machine is left alone with its slot spent until a list shows what became of it or a minute
//! has passed. Meanwhile it counts as what the list says: neither a start nor a stop of this kind is a reason to stop or
//! start another.

/// A write that may have happened, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsettled {
    /// A start.
    Start,
    /// A stop or suspend.
    Stop,
}

#[cfg(test)]
mod tests {
    use crate::scaling::{
        Action, Effect, Note, Policy,
        tests::fleet::{Fleet, Pass, started},
    };

    fn pass(fleet: &mut Fleet, second: u64, wanted: u32, list: &[&str; 3]) -> Pass {
        fleet.pass(second, started(wanted, wanted), list)
    }

    /// What is started or stopped: `2 of b a c`.
    fn told(pass: &Pass) -> String {
        match &pass.plan.action {
            Some(Action::Start { candidates, count } | Action::Stop { candidates, count }) => {
                format!("{count} of {}", candidates.join(" "))
            }
            None => "none".to_owned(),
            Some(other) => other.to_string(),
        }
    }

    const STOPPED: [&str; 3] = [
        "a ord stopped updated=-100",
        "b ord stopped updated=-100",
        "c ord stopped updated=-100",
    ];
    const STARTED: [&str; 3] = [
        "a ord started updated=-100",
        "b ord started updated=-100",
        "c ord started updated=-100",
    ];

    fn start() -> Effect {
        Effect::StartUnknown { id: "b".to_owned() }
    }

    fn stop() -> Effect {
        Effect::StopUnknown { id: "b".to_owned() }
    }

    #[test]
    fn the_same_machine_is_told_again_before_any_other_and_then_left_alone_for_a_minute() {
        // The list, the count that moves one machine, and that which moves two.
        for (list, one, two, unknown) in [(&STOPPED, 1, 2, start()), (&STARTED, 2, 1, stop())] {
            let mut fleet = Fleet::new(Policy::default());
            let first = pass(&mut fleet, 0, one, list);
            assert_eq!(told(&first), "1 of a b c");
            fleet.record(1, &first.observed, std::slice::from_ref(&unknown));
            let second = pass(&mut fleet, 15, two, list);
            assert_eq!(told(&second), "2 of b a c");
            fleet.record(16, &second.observed, &[unknown]);
            for second in [30, 45, 75] {
                let pass = pass(&mut fleet, second, one, list);
                assert_eq!(told(&pass), "none", "{second}");
                assert_eq!(pass.plan.notes, [Note::OutcomeUnknown { machines: 1 }]);
            }
            let more = pass(&mut fleet, 75, two, list);
            assert_eq!(told(&more), "1 of a c", "its slot alone is spent");
            let later = pass(&mut fleet, 76, one, list);
            assert!(told(&later).starts_with("1 of a "), "{}", told(&later));
            let failed = later.plan.notes.iter().any(|note| {
                matches!(note, Note::StartsFailed { machines, .. } | Note::StopsFailed { machines, .. } if machines == &["b"])
            });
            assert!(failed, "{:?}", later.plan.notes);
            assert!(
                told(&later).ends_with(" b"),
                "nothing came of it: it goes last"
            );
        }
    }

    #[test]
    fn a_list_that_shows_the_effect_settles_it_and_an_older_one_does_not_open_it_again() {
        for (list, after, one, unknown) in [
            (STOPPED, "b ord started updated=2", 1, start()),
            (STARTED, "b ord stopped updated=2", 2, stop()),
        ] {
            let mut fleet = Fleet::new(Policy::default());
            let first = pass(&mut fleet, 0, one, &list);
            fleet.record(1, &first.observed, &[unknown]);
            let mut shown = list;
            shown[1] = after;
            assert_eq!(told(&pass(&mut fleet, 15, one, &shown)), "none");
            let older = pass(&mut fleet, 30, one, &list);
            assert_eq!(told(&older), "none");
            assert!(older.plan.notes.is_empty());
        }
    }

    #[test]
    fn what_may_have_happened_is_no_reason_to_stop_or_start_another() {
        let mut fleet = Fleet::new(Policy::default());
        let two = ["a ord started", "b ord stopped", "c ord started"];
        let first = pass(&mut fleet, 0, 3, &two);
        fleet.record(1, &first.observed, &[start()]);
        assert_eq!(told(&pass(&mut fleet, 15, 2, &two)), "none");

        let mut fleet = Fleet::new(Policy::default());
        let two = ["a ord stopped", "b ord started", "c ord started"];
        let first = pass(&mut fleet, 0, 1, &two);
        fleet.record(1, &first.observed, &[stop()]);
        assert_eq!(told(&pass(&mut fleet, 15, 2, &two)), "none");
    }

    #[test]
    fn none_is_told_again_where_fewer_are_wanted_than_may_have_been_told() {
        for (list, before, after) in [(&STOPPED, 2, 1), (&STARTED, 1, 2)] {
            let mut fleet = Fleet::new(Policy::default());
            let first = pass(&mut fleet, 0, before, list);
            let ids = ["a", "b"].map(str::to_owned);
            let unknown = ids.map(|id| match first.plan.action {
                Some(Action::Start { .. }) => Effect::StartUnknown { id },
                _ => Effect::StopUnknown { id },
            });
            fleet.record(1, &first.observed, &unknown);
            let second = pass(&mut fleet, 15, after, list);
            assert_eq!(told(&second), "none");
            assert_eq!(second.plan.notes, [Note::OutcomeUnknown { machines: 2 }]);
            let again = pass(&mut fleet, 30, before, list);
            assert!(told(&again).starts_with("2 of a b"), "{}", told(&again));
        }
    }

    #[test]
    fn one_that_may_not_be_told_any_more_has_spent_its_slot_all_the_same() {
        let mut fleet = Fleet::new(Policy::default());
        let first = pass(&mut fleet, 0, 2, &STARTED);
        fleet.record(1, &first.observed, &[stop()]);
        let mut list = STARTED;
        list[1] = "b ord started updated=-100 protected";
        assert_eq!(told(&pass(&mut fleet, 15, 2, &list)), "none");
    }
}
