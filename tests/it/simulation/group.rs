//! The judge of a process group of which each region is a fleet: what its regions have in common.
//!
//! A region may go down to nothing, and be cloned into from another one: that one machine is left, and one that may be
//! cloned, is asked of all of them, of machines in regions that are not scaled too.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use fly_autoscaler::sim::{App, MachineState, Operation, Platform};

use super::{
    generator::{Rules, Scene},
    oracle::{Halves, Known, Oracle, Signs, Taken, Verdict, demand, is_source_state},
    tally::Tally,
    wire::{Exchange, Pass, Seen, Talk, View, Whose, Wire, seen},
};

pub(super) struct Group {
    app: String,
    name: String,
    /// Its regions' fleets, by their places among those of the app.
    fleets: Vec<usize>,
    judged: usize,
    tally: Tally,
}

/// What a fleet of the group goes by, and what concerns it.
type Part<'look> = (usize, &'look Oracle, &'look Wire);

impl Group {
    /// Those of an app.
    pub(super) fn of(scene: &Scene) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (place, fleet) in scene.fleets.iter().enumerate() {
            let which = &fleet.rules.which;
            if which.region.is_none() {
                continue;
            }
            if let Some(known) = groups.iter_mut().find(|known| known.name == which.group) {
                known.fleets.push(place);
                continue;
            }
            groups.push(Self {
                app: scene.name.clone(),
                name: which.group.clone(),
                fleets: vec![place],
                judged: 0,
                tally: Tally::default(),
            });
        }
        groups
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Judges everything that happened since the last look, after each of the fleets was judged by itself.
    pub(super) fn look(&mut self, fleets: &mut [(String, Oracle)], talk: &Talk) -> Verdict {
        let taken = self
            .fleets
            .iter()
            .map(|place| (*place, fleets[*place].1.take_taken()));
        let taken: Vec<(usize, Vec<Taken>)> = taken.collect();
        let own = self
            .fleets
            .iter()
            .map(|place| (*place, &fleets[*place].1, &talk.fleets[*place]));
        let parts: Vec<Part<'_>> = own.collect();
        for place in self.judged..talk.whole.exchanges.len() {
            let exchange = &talk.whole.exchanges[place];
            let part = parts
                .iter()
                .find(|(fleet, ..)| exchange.whose == Whose::Fleet(*fleet));
            let Some(part) = part.filter(|_| exchange.operation.is_write()) else {
                continue;
            };
            let judged = self.write(&parts, *part, exchange);
            judged.map_err(|problem| exchange.with(&problem))?;
        }
        self.judged = talk.whole.exchanges.len();
        for (fleet, taken) in taken {
            let part = parts.iter().find(|(place, ..)| *place == fleet);
            for one in taken {
                let Some(part) = part else { continue };
                self.taken(&parts, *part, &one).map_err(|problem| {
                    let (id, at) = (&one.id, one.at.as_secs_f64());
                    format!("at {at:.3} s, {id} went by pass {}: {problem}", one.pass)
                })?;
            }
        }
        Ok(())
    }

    /// Whether the group allows this write.
    fn write(&mut self, parts: &[Part<'_>], part: Part<'_>, exchange: &Exchange) -> Verdict {
        let (_, oracle, wire) = part;
        let pass = &wire.passes[exchange.pass];
        let view = pass.view.as_ref().ok_or("there is no list of this pass")?;
        if oracle.releases(wire, exchange).next().is_none() {
            let mut signs = Self::signs_of_strays(parts, view);
            for (_, other, wire) in parts {
                if let Some(view) = &wire.passes[exchange.pass].view {
                    signs.extend(other.signs(wire, exchange.pass, view, exchange.at));
                }
            }
            demand!(
                !signs.show_one(),
                "nobody says whether a deploy is under way, and machines of the group show one"
            );
        }
        match exchange.operation {
            Operation::Destroy => {
                let strays = Self::strays(parts, view).map(|(_, seen)| seen);
                let strays = Halves::of(strays);
                let halves = parts.iter().fold(strays, |halves, (_, other, wire)| {
                    let view = wire.passes[exchange.pass].view.as_ref();
                    let own = view.map(|view| other.halves(wire, exchange.pass, view));
                    halves.and(own.unwrap_or_default())
                });
                demand!(
                    !halves.are_turned(),
                    "a blue-green deploy of the group is half done"
                );
            }
            // A victim is stopped first, unless the started target stops it.
            Operation::Stop if oracle.rules().started.is_none() => {
                let id = exchange.machine.as_ref().ok_or("it names no machine")?;
                Self::left(parts, part, id, (exchange.pass, exchange.at))?;
            }
            Operation::Create => {
                Self::from_the_best(parts, part, exchange, view)?;
                let is_there = |(_, seen): (&Arc<str>, &Seen)| seen.mine && seen.state.is_living();
                let grows_from_none = !view.machines.iter().any(is_there);
                self.tally
                    .note_if(grows_from_none, "creates in a region without machines");
                self.tally.note_if(
                    oracle.rules().found,
                    "creates in a region that lists have shown",
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// The listed machines of the group that no fleet has: in regions that are none, or are not known to be.
    fn strays<'view>(
        parts: &'view [Part<'_>],
        view: &'view View,
    ) -> impl Iterator<Item = (&'view Arc<str>, &'view Seen)> {
        view.machines.iter().filter(|(_, seen)| {
            let mut regions = parts
                .iter()
                .map(|(_, oracle, _)| &oracle.rules().which.region);
            let is_of_one = regions.any(|region| region.as_deref() == Some(&*seen.region));
            seen.kin && seen.host_ok && seen.state.is_living() && !is_of_one
        })
    }

    fn signs_of_strays(parts: &[Part<'_>], view: &View) -> Signs {
        let strays = || Self::strays(parts, view).map(|(_, seen)| seen);
        let turns = |state: &MachineState| {
            matches!(state, MachineState::Updating | MachineState::Replacing)
        };
        Signs {
            releases: strays().filter_map(|seen| seen.release).collect(),
            turned: strays().any(|seen| seen.cordoned || turns(&seen.state)),
        }
    }

    /// What is cloned is one of the best of the whole group, as far as cordons and releases go.
    fn from_the_best(
        parts: &[Part<'_>],
        (_, oracle, wire): Part<'_>,
        exchange: &Exchange,
        view: &View,
    ) -> Verdict {
        let sought = exchange.sought.as_ref().ok_or("it asks for nothing")?;
        let release = oracle.releases(wire, exchange).next_back();
        let wrong = release.and_then(|release| release.wrong);
        let rank = |cordoned: bool, release: Option<u64>| {
            let is_wrong = wrong.is_some() && release == wrong;
            (cordoned, is_wrong, Reverse(release))
        };
        let mut best = None;
        let mut chosen = None;
        for (id, seen) in &view.machines {
            let owner = Self::owner(parts, seen);
            let told = owner.and_then(|(_, _, wire)| wire.passes[exchange.pass].told(id));
            // What another fleet has asked for at the same time may not have been heard of yet.
            let is_others = oracle.rules().which.region.as_deref() != Some(&*seen.region);
            let listed = seen.state.as_str();
            let by_the_list = is_others && may_be_cloned(listed, seen, oracle.rules());
            let state = Self::state(owner, exchange.pass, id, seen);
            if !by_the_list && !may_be_cloned(&state, seen, oracle.rules()) {
                continue;
            }
            let listed = rank(seen.cordoned, seen.release);
            let ranks = [
                listed,
                told.map_or(listed, |told| rank(told.cordoned, told.release)),
            ];
            // What we wrote to it decides what it is taken for, and an answer: of this pass, or an earlier one that it is gone.
            let is_certain = told.is_none()
                && owner.is_none_or(|(_, oracle, wire)| {
                    let (at, told_by) = (exchange.at, exchange.at);
                    oracle.writes_to(wire, id).next().is_none()
                        && !oracle.is_gone_as_told(wire, id, at, told_by)
                });
            if is_certain && best.is_none_or(|best| listed < best) {
                best = Some(listed);
            }
            // A clone is made of what an answer told, where that is newer than a list.
            let releases = [Some(seen.release), told.map(|told| told.release)];
            if seen.origin == sought.origin && releases.contains(&Some(sought.release)) {
                let rank = ranks.into_iter().min();
                chosen = chosen.into_iter().chain(rank).min();
            }
        }
        let Some(chosen) = chosen else {
            return Err(format!(
                "none of the group may be cloned that is {sought:?}"
            ));
        };
        demand!(
            best.is_none_or(|best| chosen <= best),
            "it clones {sought:?}, and there is a better one: {best:?}"
        );
        Ok(())
    }

    /// The fleet that has a machine.
    fn owner<'parts>(parts: &'parts [Part<'_>], seen: &Seen) -> Option<&'parts Part<'parts>> {
        parts
            .iter()
            .find(|(_, oracle, _)| oracle.rules().which.region.as_deref() == Some(&*seen.region))
    }

    /// What a pass was told last of a machine, by its fleet or else by the list.
    fn state(owner: Option<&Part<'_>>, pass: usize, id: &Arc<str>, seen: &Seen) -> String {
        let told = owner.map(|(_, _, wire)| Oracle::known_state(&wire.passes[pass], id, seen));
        told.unwrap_or_else(|| seen.state.to_string())
    }

    /// One machine of the group is left beside this one that surely goes on to exist, and one that may be cloned, as far as
    /// a pass knows and by what we have done until then. Returns how many exist, and how many of those in other regions.
    ///
    /// What was stopped in another region to be destroyed is nothing to rely on before it rests, nor what is removed when it stops.
    fn left(
        parts: &[Part<'_>],
        (fleet, oracle, wire): Part<'_>,
        own: &Arc<str>,
        (pass, at): (usize, Duration),
    ) -> Result<(u32, u32), String> {
        let view = wire.passes[pass].view.as_ref().ok_or("there is no list")?;
        // One that arrives late finds what was made meanwhile.
        let later = wire.passes[pass..].iter();
        let later = later.take_while(|later| later.start <= at);
        let mut others: BTreeMap<&Arc<str>, &Seen> = BTreeMap::new();
        for later in later.filter_map(|later| later.view.as_ref()) {
            others.extend(later.machines.iter());
        }
        others.extend(view.machines.iter());
        let (mut existing, mut clonable, mut elsewhere) = (0, 0, 0);
        for (id, seen) in others {
            if id == own || !seen.kin || !seen.host_ok || !seen.state.is_living() {
                continue;
            }
            let owner = Self::owner(parts, seen);
            let state = Self::state(owner, pass, id, seen);
            if let Some((other, oracle, wire)) = owner {
                let is_gone = oracle.is_gone_as_told(wire, id, at, view.completed);
                let is_elsewhere = *other != fleet;
                if is_gone || is_elsewhere && may_be_going(oracle, wire, (id, seen), (pass, at)) {
                    continue;
                }
                elsewhere += u32::from(is_elsewhere);
            } else if is_on_its_way_down(seen.state.as_str()) {
                continue;
            }
            existing += 1;
            clonable += u32::from(may_be_cloned(&state, seen, oracle.rules()));
        }
        demand!(existing > 0, "it was the last machine of the group");
        let could_be_cloned = view.machines.get(own).is_some_and(|seen| {
            let state = Oracle::known_state(&wire.passes[pass], own, seen);
            may_be_cloned(&state, seen, oracle.rules())
        });
        demand!(
            clonable > 0 || !could_be_cloned,
            "it was the last machine of the group that may be cloned"
        );
        Ok((existing, elsewhere))
    }

    /// Judges that a machine went.
    fn taken(&mut self, parts: &[Part<'_>], part: Part<'_>, taken: &Taken) -> Verdict {
        let (_, oracle, wire) = part;
        let (existing, elsewhere) = Self::left(parts, part, &taken.id, (taken.pass, taken.at))?;
        let machines = wire.passes[taken.pass].view.iter();
        let mut machines = machines.flat_map(|view| &view.machines);
        let is_last = !machines.any(|(id, seen)| {
            let is_gone = oracle.is_gone(wire, id, taken.at);
            *id != taken.id && seen.mine && seen.state.is_living() && !is_gone
        });
        self.tally
            .note_if(is_last, "last machines of a region that go");
        self.tally.note_if(
            existing == 1 && elsewhere == 1,
            "machines that go where only one of another region is left",
        );
        Ok(())
    }

    /// Counts what there was in a pass that is about regions.
    pub(super) fn count(&mut self, fleets: &[(String, Oracle)], talk: &Talk, index: usize) {
        let own = self
            .fleets
            .iter()
            .map(|place| (&fleets[*place].1, &talk.fleets[*place]));
        let writes = |(_, wire): &(&Oracle, &Wire), wanted: Operation| {
            let mut own = wire.of_pass(index).iter();
            own.any(|exchange| exchange.operation == wanted)
        };
        let acting = own
            .clone()
            .filter(|part| writes(part, Operation::Create) || writes(part, Operation::Destroy));
        let acting = acting.count();
        let shrinks = own.clone().any(|part| writes(&part, Operation::Destroy));
        let grows = own.clone().any(|part| writes(&part, Operation::Create));
        let is_over = own
            .clone()
            .any(|(oracle, _)| oracle.known(index) == Known::Once);
        let views = own
            .clone()
            .filter_map(|(_, wire)| wire.passes[index].view.as_ref());
        let strays = views.clone().any(|view| {
            view.machines.values().any(|seen| {
                let mut regions = own.clone().map(|(oracle, _)| &oracle.rules().which.region);
                let is_of_one = regions.any(|region| region.as_deref() == Some(&*seen.region));
                seen.kin && seen.state.is_living() && !is_of_one
            })
        });
        let tally = &mut self.tally;
        tally.note("passes of regions");
        tally.note_if(
            acting > 1,
            "passes in which several regions create or destroy",
        );
        tally.note_if(
            shrinks && grows,
            "passes in which one region grows and one shrinks",
        );
        tally.note_if(is_over, "passes with a region that has gone from the list");
        tally.note_if(strays, "passes of regions with machines in others");
    }

    /// After the end of all trouble nothing is kept above what is wanted but the last machine, and the last to clone.
    pub(super) fn settled(&mut self, fleets: &[(String, Oracle)], platform: &Platform) -> Verdict {
        let kept = self.fleets.iter().map(|place| fleets[*place].1.kept());
        let kept: u32 = kept.sum();
        if kept == 0 {
            return Ok(());
        }
        self.tally
            .note("last machines of a group that no region wants");
        for place in &self.fleets {
            let oracle = &fleets[*place].1;
            if oracle.kept() == 0 {
                continue;
            }
            let (mut existing, mut clonable) = (0, 0);
            let machines = platform.app(&self.app).into_iter().flat_map(App::machines);
            for machine in machines {
                let seen = seen(machine, oracle.rules());
                if !seen.kin || !seen.state.is_living() {
                    continue;
                }
                existing += 1;
                let state = seen.state.as_str();
                clonable += u32::from(may_be_cloned(state, &seen, oracle.rules()));
            }
            demand!(
                kept <= 2 && (existing <= 1 || clonable <= 1),
                "{kept} machines of the group {} are kept that no region wants, of {existing} that there are and {clonable} that may be cloned",
                self.name
            );
        }
        Ok(())
    }
}

/// Whether a machine in this state may be cloned by a fleet that goes by these rules, as far as a list says what it is.
fn may_be_cloned(state: &str, seen: &Seen, rules: &Rules) -> bool {
    let may_be = is_source_state(state);
    seen.kin && seen.host_ok && may_be && (!seen.mounts || rules.clone_volumes)
}

fn is_on_its_way_down(state: &str) -> bool {
    matches!(state, "stopping" | "suspending")
}

/// Whether a machine of another region is not sure to stay: on its way down where that removes it, or stopped to be destroyed,
/// and nobody has started it or shown it to run or to rest since: at rest it may have to stay, and its own fleet is judged by
/// what it does then. One that others send down comes to rest, and its own fleet may rely on it.
fn may_be_going(
    oracle: &Oracle,
    wire: &Wire,
    (id, seen): (&Arc<str>, &Seen),
    (pass, at): (usize, Duration),
) -> bool {
    let this = &wire.passes[pass];
    let state = Oracle::known_state(this, id, seen);
    if seen.auto_destroy && is_on_its_way_down(&state) {
        return true;
    }
    if matches!(state.as_str(), "stopped" | "suspended") {
        return false;
    }
    // What the started target stops stays.
    if oracle.rules().started.is_some() {
        return false;
    }
    let before = |exchange: &&Exchange| exchange.at < at;
    let last = oracle.writes_to(wire, id).rfind(before);
    let Some(stop) = last.filter(|last| last.operation == Operation::Stop && last.accepted())
    else {
        return false;
    };
    let runs = |pass: &Pass| {
        let seen = pass.view.as_ref().and_then(|view| view.machines.get(id));
        seen.is_some_and(|seen| {
            matches!(
                seen.state,
                MachineState::Started | MachineState::Starting | MachineState::Restarting
            )
        })
    };
    let since = &wire.passes[stop.pass..=pass.max(stop.pass)];
    let is_recent = stop.at + Duration::from_secs(600) > at;
    wire.passes[stop.pass].life == this.life && is_recent && !since.iter().skip(1).any(runs)
}
