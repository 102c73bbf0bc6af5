//! Taking note of a machine list, and what it shows beside what is remembered.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use compact_str::CompactString;
use jiff::Timestamp;

use super::{Memory, STRAY_KEPT, Stray, clones::Verdict, sights::Source};
use crate::scaling::{
    Ids, InitialState, Machine, MachineList, Member, Now, Observed, Policy, Presence, State,
    StateLabel,
};

impl Memory {
    /// Takes note of a list of machines, and puts it and what is remembered together; the order of the list makes no
    /// difference.
    pub fn note_list<'list>(
        &mut self,
        list: impl Into<MachineList<'list>>,
        policy: &Policy,
        now: Now,
    ) -> Observed {
        let MachineList {
            machines: list,
            ids,
        } = list.into();
        let mut others = Ids::new();
        let at = now.monotonic;
        self.forget_expired(at);
        self.strays
            .retain(|_, stray| at.saturating_duration_since(stray.seen) < STRAY_KEPT);
        let mut observed = Observed::default();
        if ids.is_none() {
            // The app's only fleet has most of its machines.
            observed.members.reserve(list.len());
        }
        let mut new: Vec<NewMachine> = Vec::new();
        let mut leaving = Vec::new();
        let mut first_seen_unreachable = Vec::new();
        let changes = self.unknown_creates.last_changes(&list);
        self.sights.begin_list();
        for machine in MachineList::into_machines(list) {
            let group = &machine.process_group;
            if !group.is_empty() && !observed.groups.contains(&**group) {
                observed.groups.insert(group.to_string());
            }
            self.aside.note(&machine, at);
            if !self.is_of_group(&machine, policy) {
                if !self.says_nothing_of_its_group(&machine, policy) {
                    self.note_stray(&machine, policy, at);
                    self.sights.forget(&machine.id);
                }
                if ids.is_none() {
                    others.insert(machine.id.as_str().into());
                }
                continue;
            }
            let machine = machine.into_owned();
            if !machine.state.is_living() {
                leaving.push(machine.id.clone());
            }
            let is_new = !self.sights.find(&machine.id);
            if is_new {
                new.push(NewMachine::of(&machine));
            }
            if is_new && !machine.host_ok {
                first_seen_unreachable.push(machine);
            } else {
                self.list_member(machine, &mut observed, policy, now);
            }
        }
        observed.others = ids.unwrap_or_else(|| Arc::new(others));
        self.sights.miss_unlisted(at);
        self.settle_unknown_creates(new, &changes, policy, at);
        // After that: one that a create of ours made was on a host that answered, and counts for its minute.
        for machine in first_seen_unreachable {
            self.list_member(machine, &mut observed, policy, now);
        }
        // After that: a clone that is on its way out when it is first seen has been made all the same.
        for id in leaving {
            self.lately.told_gone(&id, at);
        }
        self.judge_clones(policy, at);
        self.add_unlisted(&mut observed, policy, at);
        self.add_unknown_creates(&mut observed, policy);
        self.writes.forget_old_writes(at);
        self.ages.retain(|id| self.sights.know(id));
        observed.sort();
        observed.count(policy);
        self.lately.note(&observed, policy, now);
        observed.lately = self.lately.at(now.monotonic);
        observed.put_in_doubt();
        observed
    }

    /// Whether a machine is one of those that are scaled.
    ///
    /// A host that stops answering may take the machine's configuration with it: its group is then the one it was last
    /// seen in, and a standby or scheduled machine is still one.
    pub(super) fn is_of_group(&self, machine: &Machine, policy: &Policy) -> bool {
        if machine.standby || machine.scheduled || !policy.scales_region(&machine.region) {
            return false;
        }
        if machine.host_ok {
            return policy.scales_group(&machine.process_group);
        }
        let is_of_group = policy.scales_group(&machine.process_group)
            || (machine.process_group.is_empty() && self.has_answered(&machine.id));
        is_of_group && !self.aside.includes(&machine.id)
    }

    /// Whether a machine was ever seen on a host that answered.
    fn has_answered(&self, id: &str) -> bool {
        let sight = self.sights.of(id);
        sight.is_some_and(|sight| sight.host().has_answered())
    }

    /// Takes note of a clone that was asked for in the fleet's own region and is in another one.
    fn note_stray(&mut self, machine: &Machine, policy: &Policy, at: Instant) {
        let is_elsewhere =
            policy.scales_group(&machine.process_group) && !policy.scales_region(&machine.region);
        let is_known = self.clones.include(&machine.id) || self.strays.contains_key(&machine.id);
        if is_elsewhere && is_known && machine.state.is_living() {
            let stray = Stray {
                region: machine.region.clone(),
                seen: at,
            };
            self.strays.insert(machine.id.clone(), stray);
        }
    }

    /// Whether a machine that was seen in the group is shown without its metadata, or in a region's fleet without its region.
    ///
    /// It has not moved to another group or region, and nobody can read whether it is protected: it counts as what it was last seen as
    /// and is not touched, like one that the list lacks. Where all groups are scaled, one without a group is one of them.
    pub(super) fn says_nothing_of_its_group(&self, machine: &Machine, policy: &Policy) -> bool {
        let is_aside = machine.standby || machine.scheduled;
        let no_group =
            machine.process_group.is_empty() && !policy.scales_group(&machine.process_group);
        let no_region = machine.region.is_empty() && policy.region.is_some();
        (no_group || no_region)
            && machine.state.is_living()
            && !is_aside
            && self.sights.know(&machine.id)
    }

    /// Places a machine of the group that the list shows, and counts it by its state.
    fn list_member(
        &mut self,
        machine: Machine,
        observed: &mut Observed,
        policy: &Policy,
        now: Now,
    ) {
        let host_ok = machine.host_ok;
        let state = machine.state.label();
        let member = self.place((machine, Source::List), observed, policy, now);
        let label = match &member {
            _ if !host_ok => StateLabel::UNREACHABLE,
            Some(member) if member.stuck => StateLabel::STUCK,
            _ => state,
        };
        *observed.by_state.entry(label).or_default() += 1;
        observed.members.extend(member);
    }

    /// Takes note of a machine of the group that was shown by the list or by an answer about it alone, and adds it to the
    /// unreachable ones if it is; the member that it is, if it counts.
    ///
    /// One whose host stopped answering within the last minute still counts, so that a blip creates nothing.
    pub(super) fn place(
        &mut self,
        (machine, source): (Machine, Source),
        observed: &mut Observed,
        policy: &Policy,
        now: Now,
    ) -> Option<Member> {
        if machine.host_ok {
            self.ages.note(&machine, now.monotonic);
            self.writes.note_shown(&machine, now.monotonic);
        }
        let is_unreachable = !machine.host_ok && machine.state.is_living();
        let member = self.member_of(machine, policy, now);
        let Member {
            machine, started, ..
        } = &member;
        let sight = self
            .sights
            .remember(machine, *started, source, now.monotonic);
        let host = sight.host_mut();
        if machine.host_ok {
            host.note_answering();
        } else if is_unreachable {
            if self.clones.include(&machine.id) {
                host.note_has_answered();
            }
            host.note_silent(now.monotonic);
        }
        let counts = machine.state.is_living() && host.answered_lately(now.monotonic);
        if is_unreachable {
            observed.unreachable.push(machine.id.clone());
        }
        if counts {
            return Some(member);
        }
        if is_unreachable {
            observed.uncounted.push(member);
        }
        None
    }

    /// What a machine is taken to be of which note was taken, whether it counts or not.
    fn member_of(&self, mut machine: Machine, policy: &Policy, now: Now) -> Member {
        if !machine.host_ok {
            if machine.state.is_living() && self.writes.include_destroy_of(&machine.id) {
                machine.state = State::Destroying;
            }
            return Member::unseen(machine, Presence::Unreachable, false);
        }
        let is_stuck = self.ages.is_stuck(&machine, now);
        let written = self.writes.in_place_of(&machine);
        let pending = written.is_some();
        if let Some(state) = written {
            machine.state = state;
        }
        let stuck = is_stuck && !pending;
        let started = match machine.state {
            State::Started | State::Restarting => true,
            State::Starting | State::Updating | State::Replacing => !stuck,
            State::Creating | State::Created => {
                policy.initial_state == InitialState::Started
                    && self.ages.may_be_launching(&machine, now)
            }
            _ => false,
        };
        let unsettled = self.writes.unsettled(&machine.id);
        Member {
            presence: Presence::Listed,
            started,
            stuck,
            pending,
            unsettled_destroy: self.writes.has_unsettled_destroy(&machine.id),
            unsettled: unsettled.map(|(unsettled, _)| unsettled),
            held: unsettled.is_some_and(|(_, twice)| twice),
            machine,
        }
    }

    /// Takes new machines for what creates of unknown outcome made, one for each, where time and region allow it. Those
    /// that no list has shown for long enough are forgotten, but for their place under the ceiling.
    fn settle_unknown_creates(
        &mut self,
        mut new: Vec<NewMachine>,
        changes: &BTreeMap<CompactString, Timestamp>,
        policy: &Policy,
        now: Instant,
    ) {
        let Self {
            sights,
            writes,
            unknown_creates,
            clones,
            lately,
            ..
        } = self;
        new.retain(|machine| {
            !writes.are_expected_of(&machine.id) && !lately.was_destroyed(&machine.id)
        });
        new.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        unknown_creates.retain(|create| {
            let region = create.region().to_owned();
            // A name that no machine carries as its region may stand for any.
            let carried = sights.carry(&region);
            let made = new.iter().position(|machine| {
                (machine.region == region || !carried)
                    && create.may_have_made_at(machine.created_at)
            });
            if let Some(at) = made {
                clones.note_found(new.remove(at).id, region, now);
                return false;
            }
            create.note_not_shown(sights.lack_any_of(&region), now);
            if !create.is_doubtful() {
                return true;
            }
            let later_clone = clones.created_after(create.since()).any(|id| {
                let sight = sights.of(id);
                sight.is_some_and(|sight| sight.is_listed() && sight.region() == region)
            });
            let change = changes.get(&*region);
            policy.ceiling.is_some() && !later_clone && !create.is_settled(change.copied(), now)
        });
    }

    /// Tells clones that lived from those that failed or vanished soon after they were created.
    ///
    /// One that the platform removes when it ends has not failed by ending, nor has one that we may have destroyed.
    pub(super) fn judge_clones(&mut self, policy: &Policy, now: Instant) {
        let mut clones = std::mem::take(&mut self.clones);
        clones.retain(|id, clone| {
            let Some(sight) = self.sights.of(id) else {
                return false;
            };
            if sight.is_listed() {
                self.placement.landed(clone.region(), sight.region());
            }
            let was_to_end = sight.ends_by_itself() || self.lately.may_have_ended(id);
            match clone.verdict(sight, was_to_end, now) {
                None => return true,
                Some(Verdict::Lived) => self.creates.note_clone_lived(clone.region()),
                Some(Verdict::Lost) => self.note_lost_clone(clone.region(), policy, now),
                Some(Verdict::Ended) => {}
            }
            false
        });
        self.clones = clones;
    }

    /// Counts what is known to exist, or may, and is not in the list of this pass.
    fn add_unlisted(&self, observed: &mut Observed, policy: &Policy, now: Instant) {
        if self.sights.are_all_listed() {
            return;
        }
        for (id, sight) in self.sights.iter() {
            let Some(presence) = sight.presence_unseen() else {
                continue;
            };
            if presence == Presence::Unlisted {
                observed.unlisted.push(id.to_owned());
            }
            let machine = sight.machine(id, policy);
            if !sight.is_reachable() {
                observed.unreachable.push(id.to_owned());
                if !sight.host().answered_lately(now) {
                    observed
                        .uncounted
                        .push(Member::unseen(machine, presence, false));
                    continue;
                }
            }
            observed.members.push(Member {
                unsettled_destroy: self.writes.has_unsettled_destroy(id),
                ..Member::unseen(machine, presence, sight.counts_as_started())
            });
        }
    }

    /// Counts machines that creates of unknown outcome may have made.
    fn add_unknown_creates(&self, observed: &mut Observed, policy: &Policy) {
        for (number, create) in self.unknown_creates.iter().enumerate() {
            if create.is_doubtful() {
                observed.doubtful_creates += 1;
                continue;
            }
            observed.assumed_creates += 1;
            let id = format!("(create {} of unknown outcome)", number + 1);
            let mut machine = Machine::new(id, create.region(), State::Created);
            machine.process_group = policy.process_group.as_str().into();
            machine.config = None;
            let started = policy.initial_state == InitialState::Started;
            let member = Member::unseen(machine, Presence::Expected, started);
            observed.members.push(member);
        }
    }
}

/// A machine that was not known before this list.
struct NewMachine {
    id: String,
    region: CompactString,
    created_at: Option<Timestamp>,
}

impl NewMachine {
    fn of(machine: &Machine) -> Self {
        Self {
            id: machine.id.clone(),
            region: machine.region.clone(),
            created_at: machine.created_at,
        }
    }
}
