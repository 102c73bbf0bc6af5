//! Reads any bytes as a machine list, and observes, limits and plans over what is read: nothing may panic.

#![no_main]

use std::time::Instant;

use fly_autoscaler::{
    machines::{CloneTemplate, parse_machines},
    scaling::{Bounds, Memory, Now, Planner, Policy, ReleaseView, Target, Targets, limit},
};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(listed) = parse_machines(body) else {
        return;
    };
    for config in listed.iter().filter_map(|machine| machine.config.as_ref()) {
        let _ = CloneTemplate::new(config);
    }
    let now = Now {
        monotonic: Instant::now(),
        wall: Timestamp::UNIX_EPOCH,
    };
    let policy = Policy::default();
    for (min, max) in [(1, 1), (2, 5), (1000, 1000)] {
        let mut memory = Memory::default();
        let observed = memory.note_list(listed.clone(), &policy, now);
        let bounds = Bounds::new(min, max).expect("literal bounds are in order");
        let targets = Targets {
            created: Target::Bounds(bounds),
            started: Target::Bounds(bounds),
        };
        let limited = limit(targets, &observed, &policy, &mut memory, now);
        let planner = Planner {
            observed: &observed,
            policy: &policy,
            memory: &memory,
            release: ReleaseView::NotAsked,
            now,
        };
        let plan = planner.plan(&limited);
        assert!(!plan.reason.to_string().is_empty());
    }
});
