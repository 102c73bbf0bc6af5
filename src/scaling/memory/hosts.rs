//! Hosts: whether a machine was seen on one that answered, and since when that does not.

use std::time::Instant;

use crate::scaling::SETTLE_TIME;

/// The host of one of the group's machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Host {
    /// It was never seen to answer.
    #[default]
    Unseen,
    /// It answers, or did when the machine was last seen.
    Answers,
    /// It answered before that.
    SilentSince(Instant),
}

impl Host {
    /// It answers.
    pub(super) fn note_answering(&mut self) {
        *self = Self::Answers;
    }

    /// It answered at some time: that of a clone did when the clone was created.
    pub(super) fn note_has_answered(&mut self) {
        if *self == Self::Unseen {
            *self = Self::Answers;
        }
    }

    /// It does not answer.
    ///
    /// The minute begins with the first list that says so: with passes further apart than that, a minute since the last
    /// list that said otherwise would be over at once.
    pub(super) fn note_silent(&mut self, now: Instant) {
        if *self == Self::Answers {
            *self = Self::SilentSince(now);
        }
    }

    /// Whether it was ever seen to answer.
    pub(super) fn has_answered(self) -> bool {
        self != Self::Unseen
    }

    /// Whether it answers, or has stopped to less than a minute ago.
    pub(super) fn answered_lately(self, now: Instant) -> bool {
        match self {
            Self::Unseen => false,
            Self::Answers => true,
            Self::SilentSince(since) => now.saturating_duration_since(since) < SETTLE_TIME,
        }
    }
}
