//! What came of acting, and what is remembered of it.

use std::time::Instant;

use super::{
    Memory,
    sights::Sight,
    writes::{Expected, Write},
};
use crate::scaling::{InitialState, Now, Observed, Policy, SETTLE_TIME};

/// One outcome of acting, as memory needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A create was accepted.
    Created {
        /// The new machine.
        id: String,
        /// Where it went.
        region: String,
    },
    /// A create was refused and surely did not happen.
    CreateRefused {
        /// Where it should have gone.
        region: String,
    },
    /// A create whose outcome is unknown.
    CreateUnknown {
        /// Where it should have gone.
        region: String,
    },
    /// A volume's create whose outcome is unknown; no machine was asked for.
    VolumeUnknown {
        /// Where the machine should have gone.
        region: String,
    },
    /// A destroy was accepted, or the machine was gone already.
    Destroyed {
        /// The machine.
        id: String,
    },
    /// A start or stop for the started target found the machine gone: it ended without us.
    Gone {
        /// The machine.
        id: String,
    },
    /// A destroy whose outcome is unknown: no other goes in its place until lists must show what came of it.
    DestroyUnknown {
        /// The machine.
        id: String,
    },
    /// A destroy, or the stop before it, that surely did not happen.
    DestroyRefused {
        /// The machine.
        id: String,
        /// Whether the answer was that its state has changed in the meantime, as one that was woken meanwhile.
        woken: bool,
    },
    /// A running victim's stop was accepted.
    VictimStopped {
        /// The machine.
        id: String,
    },
    /// A running victim's stop whose outcome is unknown.
    VictimStopUnknown {
        /// The machine.
        id: String,
    },
    /// A start was accepted.
    Started {
        /// The machine.
        id: String,
    },
    /// A stop or suspend for the started target was accepted.
    Stopped {
        /// The machine.
        id: String,
    },
    /// A start that surely did not happen.
    StartRefused {
        /// The machine.
        id: String,
    },
    /// A start whose outcome is unknown: the next list says what became of it.
    StartUnknown {
        /// The machine.
        id: String,
    },
    /// A stop or suspend whose outcome is unknown: the next list says what became of it.
    StopUnknown {
        /// The machine.
        id: String,
    },
    /// A create was refused that would have used these volumes, which had been there before: their hosts may have no room.
    VolumesRefused {
        /// Their ids.
        volumes: Vec<String>,
    },
}

/// The pass that acted.
#[derive(Debug, Clone, Copy)]
pub struct ActingPass<'pass> {
    /// What it acted on.
    pub observed: &'pass Observed,
    /// What it acted by.
    pub policy: &'pass Policy,
    /// When it began.
    pub began: Now,
}

impl Memory {
    /// Remembers one outcome of acting; `at` is when it was known.
    pub fn record(&mut self, effect: Effect, at: Instant, pass: ActingPass<'_>) {
        let ActingPass {
            observed,
            policy,
            began,
        } = pass;
        let changed_before = |id: &str| observed.member(id)?.machine.updated_at;
        let write = |id: &str, expected: Expected| {
            let member = observed.member(id).filter(|member| member.is_listed())?;
            Some(Write {
                expected,
                began,
                known: at,
                changed_before: member.machine.updated_at,
            })
        };
        match effect {
            Effect::Created { id, region } => {
                self.placement.asked(&region, policy);
                self.creates.note_accepted(&region);
                let started = policy.initial_state == InitialState::Started;
                let ends_by_itself = self.creates.source_ends_by_itself();
                let sight = Sight::of_create(region.clone(), started, ends_by_itself, at);
                self.sights.note_created(id.clone(), sight);
                self.clones.note_created(id, region, at);
            }
            Effect::CreateRefused { region } => {
                self.creates
                    .note_refused(region, policy.interval, began.monotonic);
            }
            Effect::CreateUnknown { region } => {
                self.placement.asked(&region, policy);
                self.unknown_creates.note(region.clone(), began, at);
                self.creates
                    .note_refused(region, policy.interval, began.monotonic);
            }
            Effect::VolumeUnknown { region } => {
                self.creates.hold(at + SETTLE_TIME);
                self.creates
                    .note_refused(region, policy.interval, began.monotonic);
            }
            Effect::Destroyed { id } => {
                self.clones.give_up(&id);
                self.writes.destroy_settled(&id);
                self.lately.destroyed(&id, at);
                self.lately.forget_victim(&id);
                self.sights.mark_gone(&id, at);
                self.note_accepted(write(&id, Expected::Destroy), id);
            }
            Effect::Gone { id } => {
                self.note_gone(&id, at);
                // The next list may come when nothing is remembered of the machine any more.
                self.judge_clones(policy, began.monotonic);
                self.note_accepted(write(&id, Expected::Destroy), id);
            }
            Effect::DestroyUnknown { id } => {
                self.lately.destroy_unknown(&id, at);
                self.writes.destroy_unknown(id, at);
            }
            Effect::DestroyRefused { id, woken } => self.lately.destroy_refused(&id, woken, at),
            Effect::VictimStopped { id } => {
                self.lately.victim_stopped(&id, changed_before(&id), at);
                self.note_accepted(write(&id, Expected::Stop), id);
            }
            Effect::VictimStopUnknown { id } => {
                self.lately
                    .victim_stop_unknown(&id, changed_before(&id), at);
            }
            Effect::StartRefused { id } => self.lately.start_refused(&id, at),
            Effect::Started { id } => {
                self.lately.forget_victim(&id);
                self.lately.start_tried(&id, changed_before(&id), at);
                self.note_accepted(write(&id, Expected::Start), id);
            }
            Effect::Stopped { id } => {
                self.lately.stop_tried(&id, changed_before(&id), at);
                self.note_accepted(write(&id, Expected::Stop), id);
            }
            Effect::StartUnknown { id } => {
                self.lately.start_tried(&id, changed_before(&id), at);
                self.note_unknown(write(&id, Expected::Start), id);
            }
            Effect::StopUnknown { id } => {
                self.lately.stop_tried(&id, changed_before(&id), at);
                self.note_unknown(write(&id, Expected::Stop), id);
            }
            Effect::VolumesRefused { volumes } => {
                self.volumes_aside = volumes.into_iter().collect();
            }
        }
    }

    /// A write to a machine that was listed, if it was, is expected to show in lists.
    fn note_accepted(&mut self, write: Option<Write>, id: String) {
        if let Some(write) = write {
            self.sights.note_written(&id, write.expected);
            self.writes.accepted(id, write);
        }
    }

    fn note_unknown(&mut self, write: Option<Write>, id: String) {
        if let Some(write) = write {
            self.writes.unknown(id, write);
        }
    }
}
