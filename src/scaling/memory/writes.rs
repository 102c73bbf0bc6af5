//! Writes that lists have yet to show: what each machine was told, and destroys of which nobody knows what came.

use std::{collections::BTreeMap, time::Instant};

use jiff::Timestamp;

use crate::scaling::{Machine, Now, SETTLE_TIME, State, Unsettled};

/// The writes of the last minute by machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ExpectedWrites {
    expectations: BTreeMap<String, Expectation>,
    unsettled_destroys: BTreeMap<String, Instant>,
}

/// What a machine was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Destroy,
    Start,
    Stop,
}

impl Expected {
    /// What the machine is once that has happened.
    pub(super) fn state(self) -> State {
        match self {
            Self::Destroy => State::Destroying,
            Self::Start => State::Starting,
            Self::Stop => State::Stopping,
        }
    }
}

/// A write as it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub(super) expected: Expected,
    /// When the pass began that made it.
    pub(super) began: Now,
    /// When its outcome was known.
    pub(super) known: Instant,
    /// The machine's time of change that was seen before it.
    pub(super) changed_before: Option<Timestamp>,
}

/// A write that has happened and that a list denies.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeniedWrite {
    pub(super) expected: Expected,
    /// The machine's change that came of it, where it is known.
    pub(super) changed: Option<Timestamp>,
    /// The change that the list shows which is known to be old.
    pub(super) denied: Option<Timestamp>,
}

/// A write of the last minute that the API accepted, or may have, and what lists have said of it since.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expectation {
    expected: Expected,
    certainty: Certainty,
    since: Instant,
    /// When the pass began that made it, by the wall clock.
    began: Timestamp,
    /// When its outcome was known, by the wall clock.
    after: Timestamp,
    /// The machine's newest time of change that any list has shown.
    newest: Option<Timestamp>,
    /// Whether a list has shown it. A later list may still come from a place that has not heard of it.
    shown: bool,
}

/// Whether a write has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// It was accepted.
    Accepted,
    /// Nobody knows: the same machine is told again before any other.
    Unknown,
    /// Nobody knows after that either: it is left alone, and counts as told, until a list shows it or the minute is over.
    Held,
}

/// Whether a time that the API names is before a moment of our own clock: a time without a fraction is cut to its second,
/// and may have been any moment of it.
fn is_surely_before(named: Timestamp, moment: Timestamp) -> bool {
    if named.subsec_nanosecond() == 0 {
        named.as_second() < moment.as_second()
    } else {
        named < moment
    }
}

impl Expectation {
    /// Whether nobody knows so far whether it has happened.
    fn is_open(&self) -> bool {
        self.certainty != Certainty::Accepted && !self.shown
    }

    /// Takes note of what a list says of the machine: whether that shows the write.
    ///
    /// A change since the write is news: a machine that was started and is `stopped` again has died. A failure and an end
    /// are always news.
    ///
    /// What the API's clock says is compared with ours, from when the write's answer was heard on: an attempt of it that
    /// had no answer may have been undone before. Where our clock is ahead, news come late, at most by a minute; where it
    /// is behind, a change from before the write may pass for one after it. A time without a fraction names a whole second,
    /// which is before the pass only where all of it is.
    fn note(&mut self, state: &State, updated_at: Option<Timestamp>) {
        let is_before = match self.expected {
            Expected::Destroy => return,
            Expected::Start => state.is_down(),
            Expected::Stop => state.may_run(),
        };
        let is_older = self.is_older(state, updated_at);
        let is_later = updated_at.is_some_and(|this| {
            this > self.after && self.newest.is_none_or(|newest| this > newest)
        });
        // What it brings about may also have come about before.
        let is_from_before = (state.is_up() || state.is_down())
            && updated_at.is_some_and(|this| is_surely_before(this, self.began));
        self.newest = self.newest.max(updated_at);
        self.shown |= is_later || !(is_older || is_before || is_from_before);
    }

    /// Whether a list says something older of the machine than an earlier one.
    fn is_older(&self, state: &State, updated_at: Option<Timestamp>) -> bool {
        (state.is_up() || state.is_down())
            && matches!((updated_at, self.newest), (Some(this), Some(newest)) if this < newest)
    }

    /// Whether a list lags that says this of the machine, of which note was taken.
    ///
    /// Nothing is news of a machine whose destroy was accepted. After a start or stop, a list lags that says something
    /// older than an earlier one, or what would be so without the write while none has shown it yet.
    fn is_ahead_of(&self, state: &State, updated_at: Option<Timestamp>) -> bool {
        self.expected == Expected::Destroy || self.is_older(state, updated_at) || !self.shown
    }
}

impl ExpectedWrites {
    /// A write was accepted.
    pub(super) fn accepted(&mut self, id: String, write: Write) {
        self.expect(id, write, Certainty::Accepted);
    }

    /// The outcome of a start or stop is unknown. One that is unknown for the second time is not repeated before a list or a
    /// minute has settled it: told again and again, a machine that never answers would keep its slot for ever.
    pub(super) fn unknown(&mut self, id: String, write: Write) {
        let again = self
            .expectations
            .get(&id)
            .is_some_and(|before| before.expected == write.expected && before.is_open());
        let certainty = if again {
            Certainty::Held
        } else {
            Certainty::Unknown
        };
        self.expect(id, write, certainty);
    }

    fn expect(&mut self, id: String, write: Write, certainty: Certainty) {
        let took = write.known.saturating_duration_since(write.began.monotonic);
        let expectation = Expectation {
            expected: write.expected,
            certainty,
            since: write.known,
            began: write.began.wall,
            after: write.began.wall + took,
            newest: write.changed_before,
            shown: false,
        };
        self.expectations.insert(id, expectation);
    }

    /// Expects a write for another minute that has happened and that lists deny.
    pub(super) fn deny(&mut self, id: &str, write: DeniedWrite, now: Now) {
        let changed = write.changed.unwrap_or(now.wall);
        let expectation = Expectation {
            expected: write.expected,
            certainty: Certainty::Accepted,
            since: now.monotonic,
            began: changed,
            after: changed,
            newest: write.changed.max(write.denied),
            shown: false,
        };
        self.expectations.insert(id.to_owned(), expectation);
    }

    /// The outcome of a destroy is unknown.
    pub(super) fn destroy_unknown(&mut self, id: String, at: Instant) {
        self.unsettled_destroys.insert(id, at);
    }

    /// It is known what came of every destroy of a machine.
    pub(super) fn destroy_settled(&mut self, id: &str) {
        self.unsettled_destroys.remove(id);
    }

    /// Whether an earlier destroy of a machine had no known outcome.
    pub(super) fn has_unsettled_destroy(&self, id: &str) -> bool {
        self.unsettled_destroys.contains_key(id)
    }

    /// Takes note of what a list, or an answer about it alone, shows of a machine.
    pub(super) fn note_shown(&mut self, machine: &Machine, now: Instant) {
        let Some(expectation) = self.expectations.get_mut(&machine.id) else {
            return;
        };
        if now.saturating_duration_since(expectation.since) >= SETTLE_TIME {
            self.expectations.remove(&machine.id);
        } else {
            expectation.note(&machine.state, machine.updated_at);
        }
    }

    /// What an accepted write has made of a machine that a lagging list shows, of which note was taken. What may not have
    /// happened is not put in place of what the list shows.
    pub(super) fn in_place_of(&self, machine: &Machine) -> Option<State> {
        let expectation = self.expectations.get(&machine.id)?;
        let lags = expectation.is_ahead_of(&machine.state, machine.updated_at);
        (lags && !expectation.is_open()).then(|| expectation.expected.state())
    }

    /// Whether anything is expected of a machine.
    pub(super) fn are_expected_of(&self, id: &str) -> bool {
        self.expectations.contains_key(id)
    }

    /// Whether a machine is expected to be destroyed.
    pub(super) fn include_destroy_of(&self, id: &str) -> bool {
        self.expectations
            .get(id)
            .is_some_and(|expectation| expectation.expected == Expected::Destroy)
    }

    /// The start or stop of a machine that had no known outcome and that no list has shown since, and whether it had none
    /// twice.
    pub(super) fn unsettled(&self, id: &str) -> Option<(Unsettled, bool)> {
        let expectation = self.expectations.get(id)?;
        let unsettled = match expectation.expected {
            _ if !expectation.is_open() => return None,
            Expected::Destroy => return None,
            Expected::Start => Unsettled::Start,
            Expected::Stop => Unsettled::Stop,
        };
        Some((unsettled, expectation.certainty == Certainty::Held))
    }

    /// Whether lists have shown every write of the last minute. That of a destroy is never shown: a machine that a list lacks
    /// may be in the next one.
    pub(super) fn are_shown(&self, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= SETTLE_TIME;
        let mut expectations = self.expectations.values();
        expectations.all(|one| one.shown || is_over(one.since))
            && self
                .unsettled_destroys
                .values()
                .all(|since| is_over(*since))
    }

    /// Forgets destroys of which lists should have shown by now what came.
    pub(super) fn forget_old_destroys(&mut self, now: Instant) {
        self.unsettled_destroys
            .retain(|_, since| now.saturating_duration_since(*since) < SETTLE_TIME);
    }

    /// Forgets writes that lists should have shown by now.
    pub(super) fn forget_old_writes(&mut self, now: Instant) {
        self.expectations.retain(|_, expectation| {
            now.saturating_duration_since(expectation.since) < SETTLE_TIME
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_api_is_before_a_moment_where_all_of_it_is() {
        let cases = [
            ("10Z", "10.7Z", false),
            ("10Z", "11Z", true),
            ("10Z", "10Z", false),
            ("10.6Z", "10.7Z", true),
            ("10.8Z", "10.7Z", false),
            ("11Z", "10.7Z", false),
        ];
        for (named, moment, expected) in cases {
            let time = |text: &str| -> Timestamp {
                let text = format!("2026-01-01T00:00:{text}");
                text.parse().expect("a literal timestamp")
            };
            let before = is_surely_before(time(named), time(moment));
            assert_eq!(before, expected, "{named} before {moment}");
        }
    }
}
