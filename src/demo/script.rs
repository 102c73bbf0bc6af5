//! What happens when in a day of the demo, in the platform's time, and how fast that time passes.
//!
//! The same things happen at the same hours of each day, one after the other: each has ended before the next begins, so
//! that what the daemon does can be put down to one of them.

use std::time::Duration;

/// An hour on the day's clock, in the platform's time.
pub const HOUR: Duration = Duration::from_secs(100);

/// A day, in the platform's time.
pub const DAY: Duration = Duration::from_secs(24 * 100);

/// How many times as fast as life the platform's time passes at a speed of 1: a day takes four minutes.
const PACE: f64 = 10.0;

/// The time between the starts of two passes of the daemon, in the platform's time: `FAS_INTERVAL`'s default.
const INTERVAL: Duration = Duration::from_secs(15);

/// The lowest speed: at this one everything goes at life's pace, and a day takes 40 minutes.
const SLOWEST: f64 = 0.1;

/// The highest speed. A day takes eight seconds then. The daemon makes at most one create a second for an app, after a
/// burst of three; faster, it could not follow a morning's traffic at all.
const FASTEST: f64 = 30.0;

/// How many times as fast as usual the story and the daemon's interval go.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Speed(f64);

impl Speed {
    /// Reads a factor.
    ///
    /// # Errors
    ///
    /// With what was expected, where the text is no number or one that is out of bounds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bounds = SLOWEST..=FASTEST;
        let factor: Option<f64> = text.trim().parse().ok();
        factor
            .filter(|factor| bounds.contains(factor))
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "expected a number from {SLOWEST} (real time) to {FASTEST}, but found {text}"
                )
            })
    }

    /// The factor.
    #[must_use]
    pub const fn factor(self) -> f64 {
        self.0
    }

    /// How many times as fast as life the platform's time passes.
    #[must_use]
    pub fn pace(self) -> f64 {
        PACE * self.0
    }

    /// How long that much of the platform's time takes.
    #[must_use]
    pub fn lived(self, simulated: Duration) -> Duration {
        simulated.div_f64(self.pace())
    }

    /// The daemon's `FAS_INTERVAL`.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.lived(INTERVAL)
    }
}

/// What happens in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The day itself, with its traffic.
    Day,
    /// A region has no room for new machines, while the traffic rises.
    FailingRegion,
    /// A blue-green deploy, when the traffic is at its highest.
    Deploy,
    /// Prometheus is away, while the traffic falls.
    Outage,
}

impl Event {
    /// All of them, in the order in which they begin.
    pub const ALL: [Self; 4] = [Self::Day, Self::FailingRegion, Self::Deploy, Self::Outage];

    /// The hours at which it begins and ends; a deploy ends by itself, before its second one.
    #[must_use]
    pub const fn hours(self) -> (u32, u32) {
        match self {
            Self::Day => (0, 24),
            Self::FailingRegion => (5, 9),
            Self::Deploy => (11, 14),
            Self::Outage => (15, 18),
        }
    }

    /// What is the case while it goes on; nothing of a day.
    #[must_use]
    pub const fn going_on(self) -> Option<&'static str> {
        match self {
            Self::Day => None,
            Self::FailingRegion => Some("a region fails"),
            Self::Deploy => Some("there is a deploy"),
            Self::Outage => Some("Prometheus is away"),
        }
    }

    /// Whether the script ends it.
    const fn is_ended_by_the_script(self) -> bool {
        !matches!(self, Self::Deploy)
    }
}

/// Which end of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It ends.
    Ends,
    /// It begins.
    Begins,
}

/// Something that is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cue {
    /// When, since the simulation's start.
    pub at: Duration,
    /// Whether it begins or ends.
    pub phase: Phase,
    /// What.
    pub event: Event,
}

/// What is to happen from `from` on and before `until`, in order. The first day begins with the simulation.
#[must_use]
pub fn cues(from: Duration, until: Duration) -> Vec<Cue> {
    let day = |moment: Duration| moment.as_secs() / DAY.as_secs();
    let mut cues = Vec::new();
    for day in day(from).saturating_sub(1)..=day(until) {
        let dawn = DAY * u32::try_from(day).unwrap_or(u32::MAX);
        for event in Event::ALL {
            let (begins, ends) = event.hours();
            let cue = |phase, hour: u32| Cue {
                at: dawn + HOUR * hour,
                phase,
                event,
            };
            cues.push(cue(Phase::Begins, begins));
            if event.is_ended_by_the_script() {
                cues.push(cue(Phase::Ends, ends));
            }
        }
    }
    cues.retain(|cue| (from..until).contains(&cue.at));
    cues.sort_unstable();
    cues
}

/// The day in one sentence.
#[must_use]
pub fn outline() -> String {
    let parts = Event::ALL.iter().filter_map(|event| {
        let what = match event {
            Event::Day => return None,
            Event::FailingRegion => "a region fails",
            Event::Deploy => "there is a deploy",
            Event::Outage => "Prometheus goes away",
        };
        Some(format!("at {:02}:00 {what}", event.hours().0))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// How many days have begun at `at`.
#[must_use]
pub fn day_number(at: Duration) -> u64 {
    at.as_secs() / DAY.as_secs() + 1
}

/// A moment as the day's clock shows it, `05:30`.
#[must_use]
pub fn clock(at: Duration) -> String {
    let minutes = at.as_millis() * 60 / HOUR.as_millis();
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn hours(hours: u32) -> Duration {
        HOUR.saturating_mul(hours)
    }

    #[test]
    fn a_day_has_each_event_once_and_one_at_a_time() {
        use Event as E;
        use Phase::{Begins, Ends};
        let day: Vec<(u32, Event, Phase)> = cues(Duration::ZERO, DAY + HOUR)
            .into_iter()
            .map(|cue| {
                let hour = cue.at.as_secs() / HOUR.as_secs();
                (u32::try_from(hour).unwrap_or(99), cue.event, cue.phase)
            })
            .collect();
        let expected = [
            (0, E::Day, Begins),
            (5, E::FailingRegion, Begins),
            (9, E::FailingRegion, Ends),
            (11, E::Deploy, Begins),
            (15, E::Outage, Begins),
            (18, E::Outage, Ends),
            (24, E::Day, Ends),
            (24, E::Day, Begins),
        ];
        assert_eq!(day, expected);
        let apart = |events: &[Event]| events[0].hours().1 < events[1].hours().0;
        assert!(Event::ALL[1..].windows(2).all(apart));
    }

    #[test]
    fn every_day_is_the_same_however_often_one_looks() {
        let whole = cues(Duration::ZERO, DAY * 3);
        assert_eq!(whole.len(), 3 * 7 - 1);
        for step in [1, 7, 99, 100, 1_000, 2_399, 2_400, 5_000] {
            let step = Duration::from_secs(step);
            let mut looked = Vec::new();
            let mut from = Duration::ZERO;
            while from < DAY * 3 {
                let until = (from + step).min(DAY * 3);
                looked.extend(cues(from, until));
                from = until;
            }
            assert_eq!(looked, whole, "{step:?}");
        }
        assert_eq!(cues(hours(30), hours(30)), []);
    }

    #[test]
    fn the_days_clock_starts_anew_each_day() {
        let cases = [
            (0, "00:00", 1),
            (50, "00:30", 1),
            (545, "05:27", 1),
            (2_399, "23:59", 1),
            (2_400, "00:00", 2),
            (7_200 + 1_200, "12:00", 4),
        ];
        for (second, shown, day) in cases {
            let at = Duration::from_secs(second);
            assert_eq!((&*clock(at), day_number(at)), (shown, day), "{second}");
        }
    }

    #[test]
    fn a_speed_is_a_number_within_bounds() {
        let good = [
            ("1", 1.0, 240.0, 1.5),
            ("10", 10.0, 24.0, 0.15),
            ("0.1", 0.1, 2_400.0, 15.0),
            ("2.5", 2.5, 96.0, 0.6),
            ("30", 30.0, 8.0, 0.05),
        ];
        for (text, factor, day, interval) in good {
            let speed = Speed::parse(text).expect(text);
            let found = [
                speed.factor(),
                speed.lived(DAY).as_secs_f64(),
                speed.interval().as_secs_f64(),
            ];
            let expected: [f64; 3] = [factor, day, interval];
            let differs = |(found, expected): (f64, f64)| (found - expected).abs() > 1e-6;
            let differs = found.into_iter().zip(expected).any(differs);
            assert!(!differs, "{text}: {found:?}");
        }
        for text in [
            "", "x", "0", "-1", "0.09", "30.1", "1e9", "inf", "NaN", "1x", "10%",
        ] {
            let expected =
                format!("expected a number from 0.1 (real time) to 30, but found {text}");
            assert_eq!(Speed::parse(text), Err(expected));
        }
    }
}
