//! Taking note of what asking for machines by id told, and putting that into what a pass has seen.

use jiff::Timestamp;

use super::{
    Memory,
    sights::Source,
    writes::{DeniedWrite, Expected},
};
use crate::scaling::{
    Answer, Doubt, Machine, Member, Now, Observed, Policy, Presence, SETTLE_TIME, count,
};

impl Memory {
    /// Puts what asking for machines by id told into what the pass has observed. Growth is blind while one that is missing
    /// has not been asked for within the last minute.
    pub fn settle(
        &mut self,
        observed: &mut Observed,
        answers: Vec<(String, Answer)>,
        policy: &Policy,
        now: Now,
    ) {
        let mut inquiry = Inquiry {
            memory: self,
            observed,
            policy,
            now,
        };
        for (id, answer) in answers {
            inquiry.settle(&id, answer);
        }
        self.judge_clones(policy, now.monotonic);
        let unasked = observed.unlisted.iter().filter(|id| {
            let asked = self.lacking(id).and_then(|(_, asked)| asked);
            asked.is_none_or(|asked| now.monotonic.saturating_duration_since(asked) >= SETTLE_TIME)
        });
        observed.unasked = count(unasked.count());
        observed.count(policy);
    }
}

/// One pass's questions about machines, of which the answers come in.
struct Inquiry<'pass> {
    memory: &'pass mut Memory,
    observed: &'pass mut Observed,
    policy: &'pass Policy,
    now: Now,
}

impl Inquiry<'_> {
    fn settle(&mut self, id: &str, answer: Answer) {
        if let Some(doubt) = self.observed.lately.doubts.get(id) {
            self.settle_doubt(id, *doubt, answer);
        } else {
            self.settle_missing(id, answer);
        }
    }

    /// Takes in what asking for a machine that the list lacks told.
    fn settle_missing(&mut self, id: &str, answer: Answer) {
        let now = self.now.monotonic;
        if !self.memory.sights.mark_asked(id, now) {
            return;
        }
        let machine = match answer {
            Answer::None => return,
            Answer::Machine(machine)
                if machine.host_ok
                    && self.memory.says_nothing_of_its_group(&machine, self.policy) =>
            {
                return;
            }
            Answer::Machine(machine) if self.memory.is_of_group(&machine, self.policy) => {
                Some(*machine)
            }
            Answer::Machine(_) | Answer::Gone => None,
        };
        self.observed.remove(id);
        let member = machine.and_then(|machine| self.place(machine));
        if member.is_some() || self.observed.unreachable.iter().any(|other| other == id) {
            self.memory.sights.mark_there(id, now);
        } else {
            self.observed.unlisted.retain(|unlisted| *unlisted != id);
            self.memory.note_gone(id, now);
        }
        if let Some(member) = member {
            self.observed.members.push(Member {
                presence: match member.presence {
                    Presence::Listed => Presence::Unlisted,
                    other => other,
                },
                ..member
            });
        }
        self.observed.sort();
    }

    /// Takes in what asking for a machine in doubt told.
    fn settle_doubt(&mut self, id: &str, doubt: Doubt, answer: Answer) {
        let now = self.now.monotonic;
        self.memory.lately.asked(id, doubt, now);
        let says_nothing = |machine: &Machine| {
            // What is said of a machine whose host does not answer is old itself.
            !machine.host_ok || self.memory.says_nothing_of_its_group(machine, self.policy)
        };
        let machine = match answer {
            Answer::None => return self.settle_unanswered(id, doubt),
            Answer::Machine(machine) if says_nothing(&machine) => {
                return self.settle_unanswered(id, doubt);
            }
            Answer::Machine(machine) => {
                let is_of_group = self.memory.is_of_group(&machine, self.policy);
                (machine.state.is_living() && is_of_group).then_some(*machine)
            }
            Answer::Gone => None,
        };
        self.observed.lately.doubts.remove(id);
        let Some(machine) = machine else {
            self.deny(id, Expected::Destroy, None, None);
            // A clone that was not ours to end has failed, which is judged with the others.
            if doubt == Doubt::Destroy {
                self.memory.clones.give_up(id);
            }
            self.memory.note_gone(id, now);
            self.observed.remove(id);
            return;
        };
        self.reconsider(doubt, machine);
    }

    /// Nobody says what became of a write that the list denies, a minute after it. A destroy or stop stays in doubt: whatever
    /// went in its place would be gone. A start has then come to nothing, as the list says: one too many can be undone, and
    /// that nobody runs is worse.
    fn settle_unanswered(&mut self, id: &str, doubt: Doubt) {
        let start = Doubt::Start;
        let lately = &mut self.observed.lately;
        if doubt == start {
            lately.doubts.remove(id);
        } else if lately.turns_in_doubt.get(id) == Some(&start) {
            lately.turns_in_doubt.remove(id);
        } else {
            return;
        }
        let Some(member) = self.observed.member_mut(id) else {
            return;
        };
        (member.unsettled, member.held) = (None, false);
        if start.has_failed(&member.machine.state) {
            self.memory.lately.failed(id, start, self.now.monotonic);
            self.observed.lately.add_failed(id.to_owned(), start);
        } else {
            self.memory.lately.close(id, start);
        }
    }

    /// Judges a write by what the machine is now, which was in doubt.
    fn reconsider(&mut self, doubt: Doubt, machine: Machine) {
        let now = self.now.monotonic;
        let (id, state, changed) = (
            machine.id.clone(),
            machine.state.clone(),
            machine.updated_at,
        );
        let listed = self.observed.member(&id).map(|member| &member.machine);
        let was_up = listed.is_some_and(|machine| machine.state.is_up());
        let denied = listed.and_then(|machine| machine.updated_at);
        let has_happened = doubt.has_happened(&state);
        self.observed.remove(&id);
        let member = self.place(machine);
        self.observed.members.extend(member.map(|member| Member {
            pending: member.pending || has_happened,
            ..member
        }));
        self.observed.sort();
        // A victim that has come down is not gone, but on its way.
        let goes_on = doubt == Doubt::Destroy && was_up && state.is_down();
        if goes_on || has_happened {
            let expected = match doubt {
                Doubt::Destroy if goes_on => Expected::Stop,
                Doubt::Destroy => Expected::Destroy,
                Doubt::Start => Expected::Start,
                Doubt::Stop => Expected::Stop,
            };
            self.deny(&id, expected, changed, denied);
            self.memory.lately.happened(&id, doubt, now);
            return;
        }
        let lately = &mut self.memory.lately;
        if doubt == Doubt::Destroy && state.is_up() && lately.was_woken(&id) {
            lately.forget_destroys(&id);
            self.observed.lately.destroys_failed.remove(&id);
        } else if doubt.has_failed(&state) && !lately.was_told(&id, doubt) {
            lately.failed(&id, doubt, now);
            self.observed.lately.add_failed(id, doubt);
        } else {
            lately.close(&id, doubt);
        }
    }

    fn place(&mut self, machine: Machine) -> Option<Member> {
        self.memory.place(
            (machine, Source::Answer),
            self.observed,
            self.policy,
            self.now,
        )
    }

    /// Expects a write for another minute that has happened and that the list denies.
    fn deny(
        &mut self,
        id: &str,
        expected: Expected,
        changed: Option<Timestamp>,
        denied: Option<Timestamp>,
    ) {
        let write = DeniedWrite {
            expected,
            changed,
            denied,
        };
        self.memory.writes.deny(id, write, self.now);
    }
}
