//! A day's traffic for the demo: quiet at night, busy by day, with a little noise, as fast as one likes.
//!
//! A curve is a pure function of time and seed, so that metrics can look back on it and a run can be repeated.

use std::{f64::consts::TAU, sync::Arc, time::Duration};

use super::{
    random::{mix, unit},
    state::Curve,
};

/// How many times a day the noise takes another turn.
const TURNS: f64 = 48.0;

/// The course of a day, repeated for ever; it begins in the quietest moment of the night.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DailyCurve {
    /// The value in the quietest moment, before noise.
    pub night: f64,
    /// The value in the busiest moment, before noise.
    pub day: f64,
    /// How long a day lasts.
    pub length: Duration,
    /// How far noise moves the value at most, as a fraction of it.
    pub noise: f64,
    /// What the noise depends on.
    pub seed: u64,
}

impl DailyCurve {
    /// The value at a moment since the simulation's start; never negative.
    #[must_use]
    pub fn at(&self, at: Duration) -> f64 {
        let days = at.as_secs_f64() / self.length.as_secs_f64().max(1e-3);
        let brightness = 0.5 - 0.5 * (days * TAU).cos();
        let value = self.night + (self.day - self.night) * brightness;
        (value * (1.0 + self.noise * self.wobble(days * TURNS))).max(0.0)
    }

    /// The curve as the platform takes it.
    #[must_use]
    pub fn curve(self) -> Curve {
        Arc::new(move |at| self.at(at))
    }

    /// Smooth noise from -1 to 1: random at whole numbers, eased between them.
    fn wobble(&self, turn: f64) -> f64 {
        let whole = turn.floor();
        let into = turn - whole;
        let eased = into * into * (3.0 - 2.0 * into);
        let (from, to) = (self.corner(whole), self.corner(whole + 1.0));
        from + (to - from) * eased
    }

    fn corner(&self, turn: f64) -> f64 {
        unit(mix(self.seed ^ mix(turn.to_bits()))) * 2.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVE: DailyCurve = DailyCurve {
        night: 5.0,
        day: 95.0,
        length: Duration::from_secs(240),
        noise: 0.0,
        seed: 1,
    };

    #[test]
    fn a_day_is_quiet_at_its_ends_and_busy_in_the_middle() {
        let cases = [
            (0, 5.0),
            (60, 50.0),
            (120, 95.0),
            (180, 50.0),
            (240, 5.0),
            (360, 95.0),
        ];
        for (second, expected) in cases {
            let value = CURVE.at(Duration::from_secs(second));
            assert!((value - expected).abs() < 1e-6, "{second}: {value}");
        }
    }

    #[test]
    fn noise_is_small_smooth_and_the_same_for_the_same_seed() {
        let noisy = DailyCurve {
            noise: 0.1,
            ..CURVE
        };
        let mut differs = false;
        let mut last = noisy.at(Duration::ZERO);
        for step in 0..2_400 {
            let at = Duration::from_millis(step * 100);
            let (value, plain) = (noisy.at(at), CURVE.at(at));
            assert!((value - plain).abs() <= plain * 0.1 + 1e-9, "{at:?}");
            assert!((value - last).abs() < 2.0, "{at:?}");
            differs |= (value - plain).abs() > 0.5;
            last = value;
        }
        assert!(differs);
        let at = Duration::from_secs(100);
        let same = DailyCurve { seed: 2, ..noisy };
        assert!((noisy.at(at) - noisy.curve()(at)).abs() < 1e-12);
        assert!((noisy.at(at) - same.at(at)).abs() > 1e-9);
    }
}
