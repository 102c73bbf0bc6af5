//! A surplus: which machines its slots reach, and for how long it has reached running ones, which is the guard against
//! metrics that lag behind what Fly Proxy does.

use std::time::{Duration, Instant};

use super::{
    Bounds, Member, Observed, Policy, count,
    machine::DestroyRank,
    order::{DestroyOrder, counts_as_running, may_be_replaced, surely_exists},
};

/// How many machines surely exist that a surplus is measured by: all, and those that work. Failed ones that have to stay
/// cost no working one its place.
pub(super) fn existing(observed: &Observed, policy: &Policy) -> (u32, u32) {
    let (mut working, mut failed) = (0, 0);
    let members = observed.members.iter();
    for member in members.filter(|member| surely_exists(observed, member)) {
        if !member.is_failed() {
            working += 1;
        } else if member.is_expendable(policy) && may_be_replaced(member, policy) {
            failed += 1;
        }
    }
    (count(working + failed), count(working))
}

/// How the slots of a surplus are filled: at rest first, then on the way down, then running.
#[derive(Default)]
pub(super) struct Slots<'observed> {
    pub(super) resting: Vec<&'observed Member>,
    pub(super) waiting: u32,
    /// Those on their way down that the started target has just stopped: how far the surplus reaches into the running
    /// ones is not to change by our own stops.
    pub(super) waiting_as_running: u32,
    pub(super) running: Vec<&'observed Member>,
}

impl<'observed> Slots<'observed> {
    pub(super) fn new(
        observed: &'observed Observed,
        bounds: Bounds,
        policy: &'observed Policy,
    ) -> Self {
        let (present, working) = existing(observed, policy);
        let surplus = present.saturating_sub(bounds.max);
        if surplus == 0 {
            return Self::default();
        }
        let existing = observed
            .members
            .iter()
            .filter(|member| surely_exists(observed, member));
        let mut order = DestroyOrder::new(observed, policy, working.saturating_sub(bounds.max));
        let resting = order.take(false, surplus);
        let left = (surplus - count(resting.len())).min(order.working_left());
        let on_the_way_down = |running: bool| {
            let members = existing.clone().filter(|member| {
                member.machine.state.destroy_rank() == Some(DestroyRank::OnItsWayDown)
                    && !member.machine.protected
                    && may_be_replaced(member, policy)
                    && counts_as_running(observed, member) == running
            });
            count(members.count())
        };
        let waiting = on_the_way_down(false).min(left);
        let left = left - waiting;
        let waiting_as_running = on_the_way_down(true).min(left);
        Self {
            resting,
            waiting,
            waiting_as_running,
            running: order.take(true, left - waiting_as_running),
        }
    }
}

/// How many machines that count as running the surplus over `bounds` reaches.
pub(super) fn running_depth(observed: &Observed, bounds: Bounds, policy: &Policy) -> u32 {
    let slots = Slots::new(observed, bounds, policy);
    slots.waiting_as_running + count(slots.running.len())
}

/// Since when the surplus has reached how far into the running machines, without a break.
///
/// A surplus that has taken one running machine's slot for a minute and jumps to five has lasted for one machine, not
/// for five: each depth has its own beginning.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunningSurplus {
    /// `(depth, since)`: depths rise, beginnings do not fall.
    depths: Vec<(u32, Instant)>,
}

impl RunningSurplus {
    /// Records that the surplus reaches `depth` running machines now; 0 is a break.
    pub(crate) fn record(&mut self, depth: u32, now: Instant) {
        while let Some((recorded, since)) = self.depths.pop() {
            let below = self.depths.last().map_or(0, |(depth, _)| *depth);
            if below < depth {
                self.depths.push((recorded.min(depth), since));
                break;
            }
        }
        let reached = self.depths.last().map_or(0, |(depth, _)| *depth);
        if reached < depth {
            self.depths.push((depth, now));
        }
    }

    /// How many running machines the surplus has reached for at least `after`.
    pub(crate) fn lasted(&self, after: Duration, now: Instant) -> u32 {
        self.depths
            .iter()
            .rev()
            .find(|(_, since)| now.saturating_duration_since(*since) >= after)
            .map_or(0, |(depth, _)| *depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_depth_has_its_own_beginning() {
        type Case = (&'static str, &'static [(u64, u32)], u32);
        let start = Instant::now();
        let after = Duration::from_secs(45);
        let cases: [Case; 7] = [
            ("just reached", &[(0, 1)], 0),
            ("reached for 44 s", &[(0, 1), (44, 1)], 0),
            ("reached for 45 s", &[(0, 1), (45, 1)], 1),
            (
                "a break starts again",
                &[(0, 1), (30, 0), (31, 1), (60, 1)],
                0,
            ),
            ("the jump has not lasted", &[(0, 1), (40, 5), (50, 5)], 1),
            (
                "the dip bounds what lasted",
                &[(0, 5), (30, 2), (40, 5), (46, 5)],
                2,
            ),
            ("all of it lasted", &[(0, 2), (10, 5), (60, 5)], 5),
        ];
        for (name, records, expected) in cases {
            let mut surplus = RunningSurplus::default();
            let mut now = start;
            for (second, depth) in records {
                now = start + Duration::from_secs(*second);
                surplus.record(*depth, now);
            }
            assert_eq!(surplus.lasted(after, now), expected, "{name}");
        }
    }

    #[test]
    fn no_wait_means_at_once() {
        let start = Instant::now();
        let mut surplus = RunningSurplus::default();
        surplus.record(3, start);
        assert_eq!(surplus.lasted(Duration::ZERO, start), 3);
    }
}
