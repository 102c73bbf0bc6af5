//! What holds of any bytes as a machine list, and of what is planned over what they say. The fuzz target makes the bytes up
//! from coverage, and the tests from what a list looks like.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use fly_autoscaler::{
    machines::parse_machines,
    scaling::{
        Action, Bounds, CloneTemplate, Memory, Now, Planner, Policy, ReleaseView, Target, Targets,
        limit,
    },
};
use jiff::Timestamp;

/// What a plan is to reach: for each kind, the least and how many more there may be.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) created: Option<(u8, u8)>,
    pub(crate) started: Option<(u8, u8)>,
    pub(crate) clone_volumes: bool,
}

/// Reads a list, observes, limits and plans; how many machines there are in it, if it can be read.
pub(crate) fn read_and_plan(body: &[u8], wanted: Wanted) -> Option<usize> {
    let listed = match parse_machines(body) {
        Ok(listed) => listed,
        Err(error) => {
            assert!(!error.is_empty() && error.len() < 1500, "{error}");
            return None;
        }
    };
    let count = listed.len();
    let ids: BTreeSet<&str> = listed.iter().map(|machine| &*machine.id).collect();
    assert_eq!(ids.len(), count, "ids are distinct");
    let mut with_config = BTreeSet::new();
    let mut protected = BTreeSet::new();
    for machine in &listed {
        if let Some(config) = &machine.config {
            let template = CloneTemplate::new(config);
            assert_eq!(
                template.is_err(),
                config.flaw().is_some(),
                "{:?}",
                config.flaw()
            );
            with_config.insert(machine.id.clone());
        }
        if machine.protected {
            protected.insert(machine.id.clone());
        }
    }

    let policy = Policy {
        clone_volumes: wanted.clone_volumes,
        destroy_running_after: Duration::ZERO,
        ..Policy::default()
    };
    let now = Now {
        monotonic: Instant::now(),
        wall: "2026-01-02T03:04:05Z"
            .parse::<Timestamp>()
            .expect("a literal timestamp"),
    };
    let [created, started] = [wanted.created, wanted.started].map(|bounds| {
        let (min, more) = bounds?;
        let max = u32::from(min) + u32::from(more);
        Some(Bounds::new(min.into(), max).expect("they are in order"))
    });
    let targets = Targets {
        created: created.map_or(Target::Unset, Target::Bounds),
        started: started.map_or(Target::Unset, Target::Bounds),
    };
    let mut memory = Memory::default();
    let observed = memory.note_list(listed, &policy, now);
    let limited = limit(targets, &observed, &policy, &mut memory, now);
    let planner = Planner {
        observed: &observed,
        policy: &policy,
        memory: &memory,
        release: ReleaseView::Known(None),
        now,
    };
    let plan = planner.plan(&limited);
    assert!(!plan.reason.to_string().is_empty());
    match plan.action {
        Some(Action::Create { source, count, .. }) => {
            assert!(with_config.contains(&source.id), "what is cloned has one");
            let wanted = created.expect("nothing else creates");
            assert!(observed.created + count <= wanted.min);
        }
        Some(Action::Destroy { victims }) => {
            let wanted = created.expect("nothing else destroys");
            let count = u32::try_from(victims.len()).expect("few");
            assert!(observed.present() - count >= wanted.max.max(1));
            let is_protected = |id: &String| protected.contains(id);
            assert!(!victims.iter().any(|victim| is_protected(&victim.id)));
        }
        Some(Action::Stop { candidates, .. }) => {
            assert!(!candidates.iter().any(|id| protected.contains(id)));
        }
        Some(Action::Start { .. }) | None => {}
    }
    Some(count)
}
