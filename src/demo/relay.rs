//! The hand-overs of a demo with several copies: the one that holds the lock is stopped, as a deploy does it, another one
//! goes on, and the first comes back an hour later and stands by.

use std::time::Duration;

use super::{
    director::Told,
    script::{DAY, HOUR, Speed, clock},
};

/// The hours of the day at which a copy is stopped, and started again: between the events of the platform.
pub const HOURS: (u32, u32) = (9, 10);

/// How many events are kept for who looks.
const EVENTS: usize = 6;

/// What is to be done with a copy, by its number from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Stop it, as a signal does.
    Stop(usize),
    /// Start it.
    Start(usize),
}

/// What hand-overs there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandOvers {
    /// How many.
    pub count: u64,
    /// The longest time of life in which no copy held the lock, as far as anybody looked.
    pub longest: Duration,
}

/// The copies of one performance.
#[derive(Debug)]
pub struct Relay {
    speed: Speed,
    /// Up to when it has been played, itself not included.
    played: Duration,
    is_due: bool,
    /// Who was stopped, when, and whether another has the lock since.
    away: Option<(usize, Duration, bool)>,
    hand_overs: HandOvers,
    events: Vec<Told>,
}

impl Relay {
    /// Before the first day.
    #[must_use]
    pub const fn new(speed: Speed) -> Self {
        Self {
            speed,
            played: Duration::ZERO,
            is_due: false,
            away: None,
            hand_overs: HandOvers {
                count: 0,
                longest: Duration::ZERO,
            },
            events: Vec::new(),
        }
    }

    /// What hand-overs there were so far.
    #[must_use]
    pub const fn hand_overs(&self) -> HandOvers {
        self.hand_overs
    }

    /// What has happened lately, the oldest first.
    #[must_use]
    pub fn told(&self) -> &[Told] {
        &self.events
    }

    /// What is to be done at this moment of the platform's time, and what there is to tell; `holder` is who holds the lock now.
    pub fn look(&mut self, now: Duration, holder: Option<usize>) -> (Vec<Move>, Vec<String>) {
        let (mut moves, mut lines) = (Vec::new(), Vec::new());
        if let Some((out, left, false)) = self.away
            && let Some(next) = holder.filter(|next| *next != out)
        {
            let took = self.speed.lived(now.saturating_sub(left));
            self.away = Some((out, left, true));
            self.hand_overs.count += 1;
            self.hand_overs.longest = self.hand_overs.longest.max(took);
            let took = took.as_secs_f64();
            let text = format!(
                "{} holds the lock, within {took:.1} s, and goes on",
                name(next)
            );
            self.tell(now, text, &mut lines);
        }
        let until = now.saturating_add(Duration::from_nanos(1));
        self.is_due |= self.passes(HOURS.0, until);
        // Whoever is to come back has to have left.
        if self.away.is_some_and(|(_, left, _)| now >= left + HOUR)
            && let Some((out, _, _)) = self.away.take()
        {
            moves.push(Move::Start(out));
            let text = format!("{} is started again, and stands by", name(out));
            self.tell(now, text, &mut lines);
        }
        if self.is_due
            && self.away.is_none()
            && let Some(holder) = holder
        {
            self.is_due = false;
            self.away = Some((holder, now, false));
            moves.push(Move::Stop(holder));
            let text = format!(
                "{}, which holds the lock, is stopped, as a deploy does it",
                name(holder)
            );
            self.tell(now, text, &mut lines);
        }
        self.played = until;
        (moves, lines)
    }

    /// Whether this hour of a day has come since the last look.
    fn passes(&self, hour: u32, until: Duration) -> bool {
        let days = |moment: Duration| {
            let since = moment.checked_sub(HOUR * hour);
            since.map_or(0, |since| since.as_nanos() / DAY.as_nanos() + 1)
        };
        days(until) > days(self.played)
    }

    fn tell(&mut self, at: Duration, text: String, lines: &mut Vec<String>) {
        let clock = clock(at);
        lines.push(format!("copies: {clock} {text}"));
        if self.events.len() == EVENTS {
            self.events.remove(0);
        }
        self.events.push(Told { at, clock, text });
    }
}

/// What a copy is called.
#[must_use]
pub fn name(copy: usize) -> String {
    format!("copy {}", copy + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_the_holder_is_stopped_and_comes_back_an_hour_after() {
        let mut relay = Relay::new(Speed::parse("1").expect("a speed"));
        let at = |day: u32, hour: u32, seconds: u64| {
            DAY * day + HOUR * hour + Duration::from_secs(seconds)
        };
        let mut look = |moment, holder, expected: &[Move], told: &[&str]| {
            let (moves, lines) = relay.look(moment, holder);
            assert_eq!(moves, expected, "{moment:?}");
            let told: Vec<String> = told.iter().map(|line| format!("copies: {line}")).collect();
            assert_eq!(lines, told, "{moment:?}");
        };
        look(at(0, 0, 0), None, &[], &[]);
        look(at(0, 8, 99), Some(0), &[], &[]);
        look(
            at(0, 9, 0),
            Some(0),
            &[Move::Stop(0)],
            &["09:00 copy 1, which holds the lock, is stopped, as a deploy does it"],
        );
        look(at(0, 9, 5), None, &[], &[]);
        look(
            at(0, 9, 10),
            Some(1),
            &[],
            &["09:06 copy 2 holds the lock, within 1.0 s, and goes on"],
        );
        look(at(0, 9, 99), Some(1), &[], &[]);
        look(
            at(0, 10, 0),
            Some(1),
            &[Move::Start(0)],
            &["10:00 copy 1 is started again, and stands by"],
        );
        // Nobody is stopped who does not hold the lock.
        look(at(1, 9, 1), None, &[], &[]);
        look(
            at(1, 9, 20),
            Some(1),
            &[Move::Stop(1)],
            &["09:12 copy 2, which holds the lock, is stopped, as a deploy does it"],
        );
        look(
            at(1, 9, 25),
            Some(0),
            &[],
            &["09:15 copy 1 holds the lock, within 0.5 s, and goes on"],
        );
        let expected = HandOvers {
            count: 2,
            longest: Duration::from_secs(1),
        };
        assert_eq!(relay.hand_overs(), expected);
        assert_eq!(relay.told().len(), 5);
    }
}
