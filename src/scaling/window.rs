//! The extreme of the values seen in a sliding time window, in memory bounded by the turns of the value.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The lowest or highest value of a sliding window.
///
/// A monotonic queue: a value is dropped as soon as a later one makes it irrelevant, so that a constant metric costs
/// one entry however long the window is.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlidingExtreme {
    entries: VecDeque<(Instant, u32)>,
}

impl SlidingExtreme {
    /// Records a value and returns the highest of the last `span`, this one included.
    pub(crate) fn highest(&mut self, value: u32, span: Duration, now: Instant) -> u32 {
        self.record(value, span, now, |older, newer| older <= newer)
    }

    /// Records a value and returns the lowest of the last `span`, this one included.
    pub(crate) fn lowest(&mut self, value: u32, span: Duration, now: Instant) -> u32 {
        self.record(value, span, now, |older, newer| older >= newer)
    }

    /// The extreme of the last `span` without a new value.
    pub(crate) fn current(&self, span: Duration, now: Instant) -> Option<u32> {
        self.entries
            .iter()
            .find(|(at, _)| now.saturating_duration_since(*at) <= span)
            .map(|(_, value)| *value)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    fn record(
        &mut self,
        value: u32,
        span: Duration,
        now: Instant,
        outdone: impl Fn(u32, u32) -> bool,
    ) -> u32 {
        while self
            .entries
            .back()
            .is_some_and(|(_, older)| outdone(*older, value))
        {
            self.entries.pop_back();
        }
        if self.entries.is_empty() {
            // Mostly the only one.
            self.entries.reserve_exact(1);
        }
        self.entries.push_back((now, value));
        while self
            .entries
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) > span)
        {
            self.entries.pop_front();
        }
        self.entries.front().map_or(value, |(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_search_through_all_values(
            values in prop::collection::vec((0_u64..40, 0_u32..20), 1..60),
            span in 0_u64..60,
        ) {
            let start = Instant::now();
            let span = Duration::from_secs(span);
            let (mut highest, mut lowest) = (SlidingExtreme::default(), SlidingExtreme::default());
            let mut seen: Vec<(Instant, u32)> = Vec::new();
            let mut now = start;
            for (gap, value) in values {
                now += Duration::from_secs(gap);
                seen.push((now, value));
                let within = || seen.iter().filter(|(at, _)| now.duration_since(*at) <= span).map(|(_, value)| *value);
                prop_assert_eq!(highest.highest(value, span, now), within().max().expect("this value is within"));
                prop_assert_eq!(lowest.lowest(value, span, now), within().min().expect("this value is within"));
                prop_assert_eq!(highest.current(span, now), within().max());
            }
        }
    }

    #[test]
    fn a_constant_value_costs_one_entry() {
        let start = Instant::now();
        let mut highest = SlidingExtreme::default();
        for second in 0..1000 {
            highest.highest(
                7,
                Duration::from_secs(3600),
                start + Duration::from_secs(second),
            );
        }
        assert_eq!(highest.entries.len(), 1);
    }
}
