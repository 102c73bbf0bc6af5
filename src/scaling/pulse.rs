//! Whether the process stood still, as one that is frozen or whose machine is suspended does.
//!
//! What must have lasted for some time is known at the moments at which passes look, and two of them are no proof of the
//! time between. Passes over one app may be far apart because the pool is busy with others; then something is looked at
//! all the time. In a standstill nothing is.

use std::time::{Duration, Instant};

use super::{Now, Policy};

/// How much later than it should a pass may begin or end, or a look at the clocks come, before that is a standstill.
const LATENESS: Duration = Duration::from_secs(5);

/// How often somebody has to look at the clocks while a pass is under way; see [`Pulse::look`].
pub const BEAT: Duration = Duration::from_secs(1);

/// When passes, over whatever app, began and ended.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    /// The last beginning, look or end.
    last: Option<Now>,
    running: usize,
    standstills: Standstills,
}

/// When the process stood still, as far as the next passes have to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standstills {
    /// When the last one ended that was too long for every app.
    pub ended: Option<Instant>,
    /// The last time without a pass that was longer than apps that wait for their turn explain. With what was before it since
    /// an app's own last pass it may be too long for that one.
    pub pause: Option<Pause>,
}

/// A time in which nothing was looked at, though something should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// When it ended.
    pub ended: Instant,
    /// For how much longer than the monotonic clock says it lasted, which may stand still with its machine.
    pub uncounted: Duration,
}

impl Standstills {
    /// Whether nothing was looked at for too long since an app's last pass, when another begins.
    ///
    /// While others keep a pool busy, its passes come late and have missed nothing by it.
    pub(super) fn concern(&self, last: Instant, policy: &Policy, now: Instant) -> bool {
        let is_since = |ended: Instant| last < ended;
        let gap = now.saturating_duration_since(last);
        let is_gap = |pause: Pause| gap.saturating_add(pause.uncounted) >= longest_gap(policy);
        self.ended.is_some_and(is_since)
            || self
                .pause
                .is_some_and(|pause| is_since(pause.ended) && is_gap(pause))
    }
}

/// For how long nothing may be seen of an app without that being a gap: for what must have lasted, the time before it does not
/// count (section 6, "Destroy order").
pub(super) fn longest_gap(policy: &Policy) -> Duration {
    let two_intervals = policy.interval.saturating_mul(2);
    two_intervals.saturating_add(policy.timeout)
}

impl Pulse {
    /// A pass begins; returns when the process stood still before it.
    pub fn begin(&mut self, policy: &Policy, now: Now) -> Standstills {
        self.beat(policy, now);
        self.running += 1;
        self.standstills
    }

    /// A pass ended.
    pub fn end(&mut self, policy: &Policy, now: Now) {
        self.beat(policy, now);
        self.running = self.running.saturating_sub(1);
    }

    /// A pass that is under way since `began` looks at the clocks, at least once a [`BEAT`]; returns whether the process has
    /// stood still since: what that pass has seen is then old by a time in which nobody looked, however little of its own
    /// time it has used.
    pub fn look(&mut self, policy: &Policy, began: Now, now: Now) -> bool {
        self.beat(policy, now);
        let ended = self.standstills.ended;
        ended.is_some_and(|ended| ended > began.monotonic)
    }

    /// Between passes there is an interval at most, and while one is under way it looks at the clocks.
    fn beat(&mut self, policy: &Policy, now: Now) {
        let Some(last) = self.last.replace(now) else {
            return;
        };
        let stood = elapsed(last, now);
        let longest = if self.running == 0 {
            let two_intervals = policy.interval.saturating_mul(2);
            two_intervals.saturating_add(policy.timeout.min(LATENESS))
        } else {
            BEAT + LATENESS
        };
        if stood > longest {
            self.standstills.ended = Some(now.monotonic);
        } else if self.running == 0 && stood > policy.interval.saturating_add(LATENESS) {
            let counted = now.monotonic.saturating_duration_since(last.monotonic);
            self.standstills.pause = Some(Pause {
                ended: now.monotonic,
                uncounted: stood.saturating_sub(counted),
            });
        }
    }
}

/// The time from one moment to the other, by the clock that says more: the monotonic one may stand still with its machine.
fn elapsed(from: Now, to: Now) -> Duration {
    let wall = Duration::try_from(to.wall.duration_since(from.wall)).unwrap_or_default();
    to.monotonic
        .saturating_duration_since(from.monotonic)
        .max(wall)
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    /// A pass that looks each second, by seconds of the monotonic clock, and by how much the wall clock is ahead of it by
    /// then.
    type Pass = (u64, u64, i64);

    /// In which passes a standstill is noticed.
    fn noticed(policy: &Policy, passes: &[Pass]) -> Vec<usize> {
        let start = Instant::now();
        let at = |second: u64, ahead: i64| Now {
            monotonic: start + Duration::from_secs(second),
            wall: Timestamp::UNIX_EPOCH
                + SignedDuration::from_secs(i64::try_from(second).expect("small") + ahead),
        };
        let mut pulse = Pulse::default();
        let mut before = None;
        let mut noticed = Vec::new();
        for (number, (begins, ends, ahead)) in passes.iter().enumerate() {
            let began = at(*begins, *ahead);
            let standstill = pulse.begin(policy, began).ended;
            if standstill != before {
                noticed.push(number);
                before = standstill;
            }
            for second in *begins..*ends {
                pulse.look(policy, began, at(second, *ahead));
            }
            pulse.end(policy, at(*ends, *ahead));
        }
        noticed
    }

    #[test]
    fn a_standstill_is_where_neither_a_pass_nor_a_pause_takes_as_long_as_it_did() {
        let cases: [(&str, &[Pass], &[usize]); 6] = [
            ("as usual", &[(0, 1, 0), (15, 16, 0), (30, 31, 0)], &[]),
            ("slow", &[(0, 30, 0), (30, 60, 0), (60, 90, 0)], &[]),
            (
                "a pause of two intervals and 5 s",
                &[(0, 1, 0), (36, 37, 0)],
                &[],
            ),
            ("a longer one", &[(0, 1, 0), (37, 38, 0), (52, 53, 0)], &[1]),
            (
                "the wall clock jumps with a suspended machine",
                &[(0, 1, 0), (15, 16, 3600), (30, 31, 3600)],
                &[1],
            ),
            ("it is set back", &[(0, 1, 0), (15, 16, -3600)], &[]),
        ];
        for (name, passes, expected) in cases {
            assert_eq!(noticed(&Policy::default(), passes), expected, "{name}");
        }
    }

    #[test]
    fn a_pass_may_take_as_long_as_the_timeout_says_and_a_pause_as_the_interval_says() {
        let policy = |interval, timeout| Policy {
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(timeout),
            ..Policy::default()
        };
        let (patient, rare) = (policy(15, 120), policy(120, 15));
        let cases: [(&str, &Policy, &[Pass], &[usize]); 4] = [
            ("a slow pass", &patient, &[(0, 120, 0), (120, 121, 0)], &[]),
            ("no slow pass", &patient, &[(0, 1, 0), (120, 121, 0)], &[1]),
            ("a long pause", &rare, &[(0, 1, 0), (120, 121, 0)], &[]),
            ("a slow pass", &rare, &[(0, 120, 0), (120, 121, 0)], &[]),
        ];
        for (name, policy, passes, expected) in cases {
            assert_eq!(noticed(policy, passes), expected, "{name}");
        }
    }

    #[test]
    fn a_pause_concerns_an_app_that_nothing_was_seen_of_for_two_intervals_and_the_timeout() {
        // Three apps of which one begins a pass each 5 s, with an interval of 15 s and a timeout of 10 s: the last pass of the
        // first app, that of the last, and when the next begin; by how much the wall clock is ahead by then.
        type Case = (&'static str, [u64; 3], i64, [bool; 2]);
        let cases: [Case; 7] = [
            ("as usual", [0, 10, 15], 0, [false, false]),
            ("the pool was busy", [0, 60, 62], 0, [false, false]),
            ("no pause", [0, 20, 40], 0, [false, false]),
            ("a pause", [0, 10, 39], 0, [false, false]),
            ("that makes a gap for one", [0, 10, 40], 0, [true, false]),
            ("by the wall clock", [0, 10, 15], 25, [true, false]),
            ("a standstill for all", [0, 10, 46], 0, [true, true]),
        ];
        let start = Instant::now();
        let at = |second: u64, ahead: i64| Now {
            monotonic: start + Duration::from_secs(second),
            wall: Timestamp::UNIX_EPOCH
                + SignedDuration::from_secs(i64::try_from(second).expect("small") + ahead),
        };
        let policy = Policy {
            timeout: Duration::from_secs(10),
            ..Policy::default()
        };
        for (name, [first, last, next], ahead, expected) in cases {
            let mut pulse = Pulse::default();
            for pass in (first..=last).step_by(5) {
                pulse.begin(&policy, at(pass, 0));
                pulse.end(&policy, at(pass, 0));
            }
            let now = at(next, ahead);
            let standstills = pulse.begin(&policy, now);
            let concerned = [first, last].map(|pass| {
                let pass = at(pass, 0).monotonic;
                standstills.concern(pass, &policy, now.monotonic)
            });
            assert_eq!(concerned, expected, "{name}");
        }
    }

    #[test]
    fn while_a_pass_is_under_way_a_standstill_shows_in_the_looks_that_did_not_come() {
        let start = Instant::now();
        let at = |second: u64| Now {
            monotonic: start + Duration::from_secs(second),
            wall: Timestamp::UNIX_EPOCH
                + SignedDuration::from_secs(i64::try_from(second).expect("small")),
        };
        let policy = Policy {
            timeout: Duration::from_secs(60),
            ..Policy::default()
        };
        for (frozen_until, expected) in [(16, None), (17, Some(start + Duration::from_secs(17)))] {
            let mut pulse = Pulse::default();
            pulse.begin(&policy, at(0));
            for second in 1..=10 {
                pulse.look(&policy, at(0), at(second));
            }
            // The first that wakes is a pass over another app.
            assert_eq!(pulse.begin(&policy, at(frozen_until)).ended, expected);
        }
    }

    #[test]
    fn a_pass_notices_a_standstill_between_two_looks_at_either_clock() {
        // Seconds of the monotonic clock since the beginning, and by how much the wall clock is ahead by then.
        type Case<'case> = (&'case str, &'case [(u64, i64)], bool);
        let cases: [Case<'_>; 6] = [
            ("each second", &[(1, 0), (2, 0), (3, 0)], false),
            ("late by 5 s", &[(1, 0), (7, 0)], false),
            ("later", &[(1, 0), (8, 0)], true),
            ("at the first look", &[(7, 0)], true),
            ("a suspended machine", &[(1, 0), (2, 30)], true),
            ("the wall clock is set back", &[(1, 0), (2, -3600)], false),
        ];
        let start = Instant::now();
        let at = |second: u64, ahead: i64| Now {
            monotonic: start + Duration::from_secs(second),
            wall: Timestamp::UNIX_EPOCH
                + SignedDuration::from_secs(i64::try_from(second).expect("small") + ahead),
        };
        for (name, looks, expected) in cases {
            let (policy, began) = (Policy::default(), at(0, 0));
            let mut pulse = Pulse::default();
            pulse.begin(&policy, began);
            let mut lapsed = false;
            for (second, ahead) in looks {
                lapsed = pulse.look(&policy, began, at(*second, *ahead));
            }
            assert_eq!(lapsed, expected, "{name}");
            let (second, ahead) = looks.last().expect("a look");
            let later = pulse.look(&policy, began, at(second + 1, *ahead));
            assert_eq!(later, expected, "{name}: it stays so");
        }
    }
}
