//! The last few of what happens again and again: the same once more is counted, not kept.

use std::collections::VecDeque;

use jiff::Timestamp;

/// What happened, and how often in a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeated<T> {
    /// What.
    pub what: T,
    /// When for the first time.
    pub first_at: Timestamp,
    /// When for the last time.
    pub at: Timestamp,
    /// How often.
    pub times: u32,
}

/// The last few events of a kind, the newest last.
#[derive(Debug, Clone, PartialEq)]
pub struct Recent<T>(VecDeque<Repeated<T>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Recent<T> {
    /// Notes what happened `at`. `earlier` is where the same is kept already, of which this is once more; at most `limit` are
    /// kept.
    fn note_after(&mut self, earlier: Option<usize>, what: T, at: Timestamp, limit: usize) {
        let repeated = match earlier.and_then(|position| self.0.remove(position)) {
            Some(before) => Repeated {
                what,
                first_at: before.first_at,
                at,
                times: before.times.saturating_add(1),
            },
            None => Repeated {
                what,
                first_at: at,
                at,
                times: 1,
            },
        };
        while self.0.len() >= limit.max(1) {
            self.0.pop_front();
        }
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(4);
        }
        self.0.push_back(repeated);
    }

    /// Notes what happened `at`; if one that is kept `is_same`, this is that once more, and the newest now.
    pub fn note(&mut self, what: T, at: Timestamp, limit: usize, is_same: impl Fn(&T, &T) -> bool) {
        let earlier = self.0.iter().rposition(|kept| is_same(&kept.what, &what));
        self.note_after(earlier, what, at, limit);
    }

    /// As [`Recent::note`], where only the newest may be the same: after another one it is news again.
    pub fn note_in_turn(
        &mut self,
        what: T,
        at: Timestamp,
        limit: usize,
        is_same: impl Fn(&T, &T) -> bool,
    ) {
        let newest = self.0.len().checked_sub(1);
        let earlier = newest.filter(|_| {
            self.last()
                .is_some_and(|newest| is_same(&newest.what, &what))
        });
        self.note_after(earlier, what, at, limit);
    }

    /// The newest one.
    #[must_use]
    pub fn last(&self) -> Option<&Repeated<T>> {
        self.0.back()
    }

    /// All, the newest first.
    pub fn newest_first(&self) -> impl ExactSizeIterator<Item = &Repeated<T>> {
        self.0.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_same_once_more_is_counted_and_moves_to_the_end() {
        let mut recent = Recent::default();
        for (second, what) in [(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "a")] {
            recent.note(what, at(second), 3, |kept, what| kept == what);
        }
        let kept: Vec<_> = recent
            .newest_first()
            .map(|one| (one.what, one.first_at, one.at, one.times))
            .collect();
        assert_eq!(
            kept,
            [
                ("a", at(1), at(5), 3),
                ("c", at(4), at(4), 1),
                ("b", at(2), at(2), 1)
            ]
        );
        recent.note("d", at(6), 3, |_, _| false);
        assert_eq!(recent.newest_first().len(), 3);
        assert_eq!(recent.last().map(|one| one.what), Some("d"));
        assert!(
            !recent.newest_first().any(|one| one.what == "b"),
            "the oldest goes"
        );
    }
}
