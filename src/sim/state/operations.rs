//! What may be done to machines and volumes, in which state, and what each refusal says.
//!
//! The API, the proxy and deploys all go through here, so that each is refused what Fly refuses. A refusal carries the
//! status and the text that the API answers.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Due, HostStatus, InvalidConfig, Lease, Machine, MachineConfig, MachineState, Platform, Volume,
    app::Record,
    machine::{ShownText, Step},
};
use crate::sim::records::{Actor, Change, ChangeKind};

/// Something that the platform does not do, as the API says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What the body's `error` says.
    pub message: String,
    /// What the body's `status` says, where it has one.
    pub kind: Option<&'static str>,
}

impl Refusal {
    pub(in crate::sim) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            kind: None,
        }
    }

    const fn kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    pub(in crate::sim) fn no_app() -> Self {
        Self::new(404, "app not found")
    }

    pub(in crate::sim) fn no_machine() -> Self {
        Self::new(404, "machine not found")
    }

    fn precondition(message: &str) -> Self {
        Self::new(412, format!("failed_precondition: {message}"))
    }

    fn no_capacity() -> Self {
        Self::new(422, "insufficient resources available to fulfill request")
            .kind("insufficient_capacity")
    }

    /// The body the API answers with.
    pub(in crate::sim) fn body(&self) -> Value {
        match self.kind {
            Some(kind) => json!({ "error": self.message, "status": kind }),
            None => json!({ "error": self.message }),
        }
    }
}

impl From<InvalidConfig> for Refusal {
    fn from(error: InvalidConfig) -> Self {
        Self::new(422, error.to_string())
    }
}

/// A machine to be created as a client asks for it.
#[derive(Debug)]
pub(in crate::sim) struct Creation {
    pub(in crate::sim) config: MachineConfig,
    pub(in crate::sim) region: Option<String>,
    pub(in crate::sim) name: Option<String>,
    pub(in crate::sim) skip_launch: bool,
    pub(in crate::sim) cordoned: bool,
    pub(in crate::sim) lease_ttl: Option<Duration>,
}

/// How a machine is to be stopped; what is missing is the machine's own.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::sim) struct StopOrder {
    pub(in crate::sim) kill: bool,
    pub(in crate::sim) timeout: Option<Duration>,
}

/// A volume to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its size.
    pub size_gb: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its file system.
    pub fstype: String,
    /// How many days its snapshots are kept.
    pub snapshot_retention: u64,
}

impl NewVolume {
    /// A volume with Fly's defaults: 3 GB, encrypted, ext4.
    #[must_use]
    pub fn named(name: &str, region: &str) -> Self {
        Self {
            name: name.to_owned(),
            region: region.to_owned(),
            size_gb: 3,
            encrypted: true,
            fstype: "ext4".to_owned(),
            snapshot_retention: 5,
        }
    }
}

/// Who asks for something, and by which lease.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct Caller<'request> {
    pub(in crate::sim) actor: Actor,
    pub(in crate::sim) nonce: Option<&'request str>,
}

impl From<Actor> for Caller<'_> {
    fn from(actor: Actor) -> Self {
        Self { actor, nonce: None }
    }
}

impl Actor {
    /// That this one asks, who holds the lease of `nonce`.
    pub(super) fn with(self, nonce: &str) -> Caller<'_> {
        Caller {
            actor: self,
            nonce: Some(nonce),
        }
    }
}

/// What a machine is to be.
pub(super) struct Launch {
    pub(super) config: MachineConfig,
    pub(super) name: Option<String>,
    pub(super) cordoned: bool,
}

impl Platform {
    /// Creates a machine, if there is room for it and its configuration is good.
    pub(in crate::sim) fn create_machine(
        &mut self,
        app: &str,
        creation: Creation,
        actor: Actor,
    ) -> Result<Arc<str>, Refusal> {
        let found = self.app(app).ok_or_else(Refusal::no_app)?;
        if creation
            .name
            .as_ref()
            .is_some_and(|name| found.machines().any(|machine| *machine.name == **name))
        {
            return Err(
                Refusal::new(422, "a machine of that name exists already").kind("name_taken")
            );
        }
        let region = creation
            .region
            .as_ref()
            .unwrap_or(&self.default_region)
            .clone();
        let region = self.region_aliases.get(&region).cloned().unwrap_or(region);
        check_region(&region)?;
        let limited = self.machine_limit.is_some_and(|limit| {
            let of_org = self.apps.values().filter(|app| app.org == found.org);
            of_org.map(|app| app.machines().count()).sum::<usize>() >= limit
        });
        if limited {
            return Err(Refusal::new(
                422,
                "Your organization has reached its machine limit. Please contact billing@fly.io",
            ));
        }
        if let Some(capacity) = self.capacity.get(&region) {
            let held: usize = self
                .hosts
                .values()
                .filter(|host| *host.region == *region)
                .map(|host| host.machines)
                .sum();
            if held >= *capacity {
                return Err(Refusal::no_capacity());
            }
        }
        let host = match self.volumes_host(app, &creation.config, &region)? {
            Some(host) => host,
            None => self
                .place(&region, false)
                .ok_or_else(Refusal::no_capacity)?,
        };
        let (shortest, longest) = self
            .app(app)
            .map(|app| app.timing.prepare)
            .unwrap_or_default();
        let prepared = self
            .now
            .saturating_add(self.random.between(shortest, longest));
        let launch = Launch {
            config: creation.config,
            name: creation.name,
            cordoned: creation.cordoned,
        };
        let id = self.insert(app, &host, launch, actor)?;
        let lease = creation.lease_ttl.map(|ttl| Lease {
            nonce: self.random.text("0123456789abcdef", 12),
            expires: self.now.saturating_add(ttl),
            owner: "api".to_owned(),
            description: String::new(),
        });
        if let Some(record) = self.record_mut(app, &id) {
            let machine = record.machine_mut();
            machine.lease = lease;
            machine.pending = Some((
                prepared,
                Step::Prepared {
                    skip_launch: creation.skip_launch,
                },
            ));
        }
        let due = Due::Machine {
            app: app.into(),
            id: Arc::clone(&id),
        };
        self.schedule(prepared, due);
        Ok(id)
    }

    /// The host on which the configuration's volumes are, if it has any.
    fn volumes_host(
        &self,
        app: &str,
        config: &MachineConfig,
        region: &str,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let mut host: Option<Arc<str>> = None;
        for id in config.volumes() {
            let volume = self
                .app(app)
                .and_then(|app| app.volumes.get(&**id))
                .ok_or_else(|| Refusal::new(422, format!("volume {id} not found")))?;
            if let Some(machine) = &volume.attached {
                return Err(Refusal::precondition(&format!(
                    "volume {id} already claimed by machine {machine}"
                )));
            }
            if volume.state != "created" {
                return Err(Refusal::precondition(&format!(
                    "volume {id} is not usable in state {}",
                    volume.state
                )));
            }
            if *volume.region != *region {
                return Err(Refusal::new(
                    422,
                    format!(
                        "volume {id} is in region {}, not in {region}",
                        volume.region
                    ),
                ));
            }
            if host.as_ref().is_some_and(|host| *host != volume.host) {
                return Err(
                    Refusal::new(422, "the machine's volumes are on different hosts")
                        .kind("volume_placement_capacity"),
                );
            }
            host = Some(Arc::clone(&volume.host));
        }
        let cut_off = host
            .as_ref()
            .and_then(|host| self.hosts.get(host))
            .is_some_and(|host| host.status != HostStatus::Ok || host.full);
        if cut_off {
            return Err(Refusal::no_capacity().kind("volume_placement_capacity"));
        }
        Ok(host)
    }

    /// Puts a machine into the table, in the state `created`, and attaches its volumes.
    pub(super) fn insert(
        &mut self,
        app: &str,
        host: &Arc<str>,
        launch: Launch,
        actor: Actor,
    ) -> Result<Arc<str>, Refusal> {
        let Launch {
            config,
            name,
            cordoned,
        } = launch;
        if !self.apps.contains_key(app) {
            return Err(Refusal::no_app());
        }
        let id: Arc<str> = loop {
            let id = self.random.text("0123456789abcdef", 14);
            if !self.apps.values().any(|app| app.records.contains_key(&*id)) {
                break id.into();
            }
        };
        let instance_id = self.instance_id();
        let words = ["quiet", "misty", "bold", "late", "small", "wild"];
        let name = name.unwrap_or_else(|| {
            let word = words[self.random.index(words.len())];
            format!("{word}-sun-{}", &id[..4])
        });
        let (now, wall) = (self.now, self.wall());
        let Some(found) = self.hosts.get_mut(host) else {
            return Err(Refusal::no_capacity());
        };
        found.machines += 1;
        let (region, host_status) = (Arc::clone(&found.region), found.status);
        let mut machine = Machine {
            id: Arc::clone(&id),
            name: name.into(),
            state: MachineState::Created,
            region,
            host: Arc::clone(host),
            host_status,
            instance_id,
            config,
            cordoned,
            created_at: wall,
            updated_at: wall,
            checks: Arc::default(),
            events: Vec::new(),
            lease: None,
            stop_takes: None,
            image_ref_hidden: false,
            shown_as: None,
            pending: None,
            text: ShownText::default(),
        };
        machine.note("launch", "user", wall, None);
        let Some(app) = self.apps.get_mut(app) else {
            return Err(Refusal::no_app());
        };
        for volume in machine.config.volumes() {
            if let Some(volume) = app.volumes.get_mut(&**volume) {
                volume.attached = Some(Arc::clone(&id));
            }
        }
        self.changes.push(Change {
            at: now,
            actor,
            kind: ChangeKind::Create,
            app: Arc::clone(&app.name),
            machine: machine.clone(),
            state: MachineState::Created,
            living_left: None,
        });
        app.records
            .insert(Arc::clone(&id), Record::new(machine, now));
        Ok(id)
    }

    /// The machine, if it may be changed by who knows `nonce`: it exists, nobody else leases it, its host answers.
    fn changeable(&self, app: &str, id: &str, nonce: Option<&str>) -> Result<&Machine, Refusal> {
        let machine = self.readable(app, id)?;
        if let Some(lease) = machine.lease_at(self.now) {
            if nonce != Some(lease.nonce.as_str()) {
                return Err(Refusal::new(409, self.held(machine, lease)));
            }
        }
        if machine.host_status == HostStatus::Unreachable {
            return Err(Refusal::new(
                408,
                "deadline_exceeded: host is not reachable",
            ));
        }
        Ok(machine)
    }

    pub(in crate::sim) fn readable(&self, app: &str, id: &str) -> Result<&Machine, Refusal> {
        self.app(app)
            .ok_or_else(Refusal::no_app)?
            .machine(id)
            .ok_or_else(Refusal::no_machine)
    }

    fn held(&self, machine: &Machine, lease: &Lease) -> String {
        format!(
            "machine ID {} lease currently held by {}, expires at {}",
            machine.id,
            lease.owner,
            super::second(self.wall_at(lease.expires))
        )
    }

    /// Starts a machine that is at rest; says the state it was in.
    pub(in crate::sim) fn start_machine(
        &mut self,
        app: &str,
        id: &str,
        caller: Caller<'_>,
    ) -> Result<MachineState, Refusal> {
        let machine = self.changeable(app, id, caller.nonce)?;
        let previous = machine.state.clone();
        match &previous {
            MachineState::Stopped | MachineState::Suspended | MachineState::Failed => {}
            MachineState::Starting => {
                return Err(Refusal::new(
                    409,
                    "aborted: machine still attempting to start",
                ));
            }
            MachineState::Started => {
                return Err(Refusal::precondition(
                    "machine still active, refusing to start",
                ));
            }
            MachineState::Replacing | MachineState::Updating => {
                return Err(Refusal::precondition(
                    "machine getting replaced, refusing to start",
                ));
            }
            other => {
                return Err(Refusal::precondition(&format!(
                    "unable to start machine from current state: '{other}'"
                )));
            }
        }
        if self.hosts.get(&machine.host).is_some_and(|host| host.full) {
            return Err(Refusal::new(
                409,
                format!(
                    "aborted: could not reserve resource for machine: insufficient memory available to fulfill request on host of {id}"
                ),
            ));
        }
        let timing = self.timing_of(app);
        let takes = if previous == MachineState::Suspended {
            timing.resume
        } else {
            timing.start
        };
        let due = self.now.saturating_add(takes);
        self.change(app, id, caller.actor.does(ChangeKind::Start), |machine| {
            machine.state = MachineState::Starting;
            machine.pending = Some((due, Step::Become(MachineState::Started)));
        });
        Ok(previous)
    }

    /// Stops a machine; one that is stopped already is left as it is.
    pub(in crate::sim) fn stop_machine(
        &mut self,
        app: &str,
        id: &str,
        caller: Caller<'_>,
        order: StopOrder,
    ) -> Result<(), Refusal> {
        let machine = self.changeable(app, id, caller.nonce)?;
        let timing = self.timing_of(app);
        let now = self.now;
        let (state, pending) = match &machine.state {
            MachineState::Stopped | MachineState::Stopping => return Ok(()),
            MachineState::Suspended | MachineState::Failed => (MachineState::Stopped, None),
            MachineState::Started | MachineState::Starting | MachineState::Suspending => {
                let patience = order.timeout.unwrap_or(machine.config.kill_timeout());
                let takes = if order.kill {
                    Duration::ZERO
                } else {
                    machine.stop_takes.unwrap_or(timing.stop).min(patience)
                };
                let due = now.saturating_add(takes);
                (
                    MachineState::Stopping,
                    Some((due, Step::Become(MachineState::Stopped))),
                )
            }
            other => {
                return Err(Refusal::precondition(&format!(
                    "unable to stop machine from current state: '{other}'"
                )));
            }
        };
        self.change(app, id, caller.actor.does(ChangeKind::Stop), |machine| {
            machine.state = state;
            machine.pending = pending;
        });
        Ok(())
    }

    /// Suspends a running machine; one that is suspended already is left as it is.
    pub(in crate::sim) fn suspend_machine(
        &mut self,
        app: &str,
        id: &str,
        caller: Caller<'_>,
    ) -> Result<(), Refusal> {
        let machine = self.changeable(app, id, caller.nonce)?;
        match &machine.state {
            MachineState::Suspended | MachineState::Suspending => return Ok(()),
            MachineState::Started => {}
            other => {
                return Err(Refusal::precondition(&format!(
                    "unable to suspend machine from current state: '{other}'"
                )));
            }
        }
        if let Some(reason) = machine.config.refuses_suspending() {
            let message = format!("invalid_argument: machine cannot be suspended: {reason}");
            return Err(Refusal::new(422, message));
        }
        let due = self.now.saturating_add(self.timing_of(app).suspend);
        self.change(app, id, caller.actor.does(ChangeKind::Suspend), |machine| {
            machine.state = MachineState::Suspending;
            machine.pending = Some((due, Step::Become(MachineState::Suspended)));
        });
        Ok(())
    }

    /// Destroys a machine; without `force` only one that does not run.
    pub(in crate::sim) fn destroy_machine(
        &mut self,
        app: &str,
        id: &str,
        caller: Caller<'_>,
        force: bool,
    ) -> Result<(), Refusal> {
        let machine = self.changeable(app, id, caller.nonce)?;
        match &machine.state {
            MachineState::Destroying => return Ok(()),
            MachineState::Stopped
            | MachineState::Suspended
            | MachineState::Failed
            | MachineState::LaunchFailed
            | MachineState::Created => {}
            _ if force => {}
            other => {
                return Err(Refusal::precondition(&format!(
                    "unable to destroy machine, not currently stopped, suspended or failed: '{other}'"
                )));
            }
        }
        let due = self.now.saturating_add(self.timing_of(app).destroy);
        self.change(app, id, caller.actor.does(ChangeKind::Destroy), |machine| {
            machine.state = MachineState::Destroying;
            machine.pending = Some((due, Step::Vanish));
        });
        Ok(())
    }

    /// Creates a volume and says its id.
    ///
    /// # Errors
    ///
    /// When the app is unknown, the name or the size is not allowed, or the region has no room.
    pub fn create_volume(&mut self, app: &str, volume: NewVolume) -> Result<Arc<str>, Refusal> {
        if self.app(app).is_none() {
            return Err(Refusal::no_app());
        }
        let named = !volume.name.is_empty()
            && volume
                .name
                .bytes()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
        if !named || !(1..=500).contains(&volume.size_gb) {
            return Err(Refusal::new(422, "invalid volume name or size"));
        }
        check_region(&volume.region)?;
        let host = self
            .place(&volume.region, false)
            .ok_or_else(Refusal::no_capacity)?;
        let letters = "0123456789abcdefghijklmnopqrstuvwxyz";
        let id: Arc<str> = format!("vol_{}", self.random.text(letters, 16)).into();
        let created = Volume {
            id: Arc::clone(&id),
            name: volume.name,
            state: "created".to_owned(),
            size_gb: volume.size_gb,
            region: volume.region.into(),
            host,
            encrypted: volume.encrypted,
            fstype: volume.fstype,
            snapshot_retention: volume.snapshot_retention,
            attached: None,
            created_at: self.wall(),
        };
        if let Some(app) = self.apps.get_mut(app) {
            app.volumes.insert(Arc::clone(&id), created);
        }
        Ok(id)
    }

    pub(super) fn timing_of(&self, app: &str) -> super::Timing {
        self.app(app)
            .map_or_else(|| self.timing.clone(), |app| app.timing.clone())
    }
}

/// Whether there could be such a region; any three small letters pass.
fn check_region(region: &str) -> Result<(), Refusal> {
    if region.len() == 3 && region.bytes().all(|letter| letter.is_ascii_lowercase()) {
        Ok(())
    } else {
        Err(Refusal::new(422, format!("region {region} not found")))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::sim::{Endings, Failures, NewMachine, Options, Timing};
    use serde_json::value::RawValue;

    fn platform() -> Platform {
        let mut platform = Platform::new(&Options::default());
        platform.add_app("web", "acme");
        platform
    }

    fn config(text: &str) -> MachineConfig {
        MachineConfig::parse(&RawValue::from_string(text.to_owned()).unwrap()).unwrap()
    }

    fn creation(text: &str) -> Creation {
        Creation {
            config: config(text),
            region: Some("ord".to_owned()),
            name: None,
            skip_launch: false,
            cordoned: false,
            lease_ttl: None,
        }
    }

    fn with(state: MachineState) -> (Platform, Arc<str>) {
        let mut platform = platform();
        let machine = NewMachine::in_region("ord").state(state);
        let id = platform.add_machine("web", machine).unwrap();
        (platform, id)
    }

    fn states(platform: &mut Platform, id: &str, at_ms: &[u64]) -> Vec<String> {
        at_ms
            .iter()
            .map(|at| {
                platform.advance(Duration::from_millis(*at));
                platform
                    .machine("web", id)
                    .map_or("gone".to_owned(), |machine| machine.state.to_string())
            })
            .collect()
    }

    #[test]
    fn a_created_machine_settles_as_it_was_asked_to() {
        let cases = [
            (
                "launched",
                false,
                ["created", "created", "starting", "started"],
            ),
            (
                "skip_launch",
                true,
                ["created", "created", "stopped", "stopped"],
            ),
        ];
        for (name, skip_launch, expected) in cases {
            let mut platform = platform();
            let timing = Timing {
                prepare: (Duration::from_secs(7), Duration::from_secs(7)),
                ..Timing::default()
            };
            platform.set_timing("web", timing);
            let creation = Creation {
                skip_launch,
                ..creation(r#"{"image":"a"}"#)
            };
            let id = platform
                .create_machine("web", creation, Actor::Api)
                .unwrap();
            assert_eq!(id.len(), 14);
            let seen = states(&mut platform, &id, &[0, 6_999, 7_000, 8_500]);
            assert_eq!(seen, expected, "{name}");
        }
    }

    #[test]
    fn machines_that_cannot_come_up_fail() {
        let mut platform = platform();
        let one = Failures { next: 1, rate: 0.0 };
        platform.set_failures("web", one, one);
        let id = platform
            .create_machine("web", creation(r#"{"image":"a"}"#), Actor::Api)
            .unwrap();
        let seen = states(&mut platform, &id, &[9_000, 14_500]);
        assert_eq!(seen, ["launch_failed", "gone"]);
        let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
        let id = platform.add_machine("web", stopped).unwrap();
        platform
            .start_machine("web", &id, Actor::Api.into())
            .unwrap();
        assert_eq!(states(&mut platform, &id, &[16_000]), ["failed"]);
        platform
            .start_machine("web", &id, Actor::Api.into())
            .unwrap();
        assert_eq!(states(&mut platform, &id, &[18_000]), ["started"]);
    }

    #[test]
    fn machines_that_end_by_themselves_do_so_each_time_they_come_up() {
        let seconds = Duration::from_secs;
        let ending = |auto_destroy, after, exit_code| Endings {
            share: 1.0,
            auto_destroy,
            after: (seconds(after), seconds(after)),
            exit_code,
        };
        let (mut platform, id) = with(MachineState::Started);
        let worker = NewMachine::in_region("ord").config(r#"{"image":"a","auto_destroy":true}"#);
        let worker = platform.add_machine("web", worker).unwrap();
        platform.set_endings("web", &[ending(false, 3, 0), ending(true, 9, 0)]);
        let seen = states(&mut platform, &id, &[2_999, 3_000]);
        assert_eq!(seen, ["started", "stopped"]);
        platform
            .start_machine("web", &id, Actor::Api.into())
            .unwrap();
        let seen = states(&mut platform, &id, &[4_500, 7_499, 7_500]);
        assert_eq!(seen, ["started", "started", "stopped"]);
        let seen = states(&mut platform, &worker, &[8_999, 9_000, 10_000]);
        assert_eq!(seen, ["started", "destroying", "gone"]);
        platform.set_endings("web", &[ending(false, 3, 1)]);
        platform
            .start_machine("web", &id, Actor::Api.into())
            .unwrap();
        assert_eq!(states(&mut platform, &id, &[14_500]), ["failed"]);
        platform.set_endings("web", &[]);
        platform
            .start_machine("web", &id, Actor::Api.into())
            .unwrap();
        assert_eq!(states(&mut platform, &id, &[99_000]), ["started"]);
    }

    #[test]
    fn a_share_of_the_machines_ends_and_it_is_the_same_ones_each_time() {
        let mut platform = platform();
        let machine = NewMachine::in_region("ord").state(MachineState::Stopped);
        let ids = platform.add_machines("web", 20, &machine).unwrap();
        let half = Endings {
            share: 0.5,
            auto_destroy: false,
            after: (Duration::ZERO, Duration::from_secs(1)),
            exit_code: 0,
        };
        platform.set_endings("web", &[half]);
        let mut rounds = Vec::new();
        for round in 1..=2 {
            for id in &ids {
                // One that runs on is started already in the second round.
                let _ = platform.start_machine("web", id, Actor::Api.into());
            }
            platform.advance(Duration::from_secs(10 * round));
            rounds.push(platform.started("web"));
        }
        assert!((5..=15).contains(&rounds[0]), "{rounds:?}");
        assert_eq!(rounds[0], rounds[1]);
    }

    #[test]
    fn each_action_is_refused_in_the_wrong_states() {
        use MachineState as S;
        // Statuses for start, stop, suspend, destroy without force, destroy with force.
        let cases = [
            (S::Created, [412, 412, 412, 200, 200]),
            (S::Starting, [409, 200, 412, 412, 200]),
            (S::Started, [412, 200, 200, 412, 200]),
            (S::Stopping, [412, 200, 412, 412, 200]),
            (S::Stopped, [200, 200, 412, 200, 200]),
            (S::Suspending, [412, 200, 200, 412, 200]),
            (S::Suspended, [200, 200, 200, 200, 200]),
            (S::Replacing, [412, 412, 412, 412, 200]),
            (S::Updating, [412, 412, 412, 412, 200]),
            (S::Failed, [200, 200, 412, 200, 200]),
            (S::LaunchFailed, [412, 412, 412, 200, 200]),
            (S::Destroying, [412, 412, 412, 200, 200]),
            (S::Other("odd".into()), [412, 412, 412, 412, 200]),
        ];
        for (state, expected) in cases {
            let attempt = |act: &dyn Fn(&mut Platform, &str) -> Result<(), Refusal>| {
                let (mut platform, id) = with(state.clone());
                act(&mut platform, &id).map_or_else(
                    |refusal| {
                        let text = &refusal.message;
                        assert!(
                            text.starts_with("failed_precondition: ")
                                || text.starts_with("aborted: "),
                            "{text}"
                        );
                        refusal.status
                    },
                    |()| 200,
                )
            };
            let answers = [
                attempt(&|p, id| p.start_machine("web", id, Actor::Api.into()).map(drop)),
                attempt(&|p, id| {
                    p.stop_machine("web", id, Actor::Api.into(), StopOrder::default())
                }),
                attempt(&|p, id| p.suspend_machine("web", id, Actor::Api.into())),
                attempt(&|p, id| p.destroy_machine("web", id, Actor::Api.into(), false)),
                attempt(&|p, id| p.destroy_machine("web", id, Actor::Api.into(), true)),
            ];
            assert_eq!(answers, expected, "{state}");
        }
    }

    #[test]
    fn stopping_takes_the_machines_own_time_within_its_kill_timeout() {
        let text = r#"{"image":"a","stop_config":{"timeout":"90s"}}"#;
        let quick = r#"{"image":"a"}"#;
        let order = StopOrder::default();
        let cases = [
            ("own time", text, Some(60), order, 60),
            ("usual time", text, None, order, 1),
            ("kill timeout", text, Some(120), order, 90),
            ("default kill timeout", quick, Some(60), order, 5),
            (
                "asked for",
                text,
                Some(60),
                StopOrder {
                    timeout: Some(Duration::from_secs(10)),
                    ..order
                },
                10,
            ),
            (
                "killed",
                text,
                Some(60),
                StopOrder {
                    kill: true,
                    ..order
                },
                0,
            ),
        ];
        for (name, text, takes, order, expected) in cases {
            let mut platform = platform();
            let mut machine = NewMachine::in_region("ord").config(text);
            if let Some(takes) = takes {
                machine = machine.stop_takes(Duration::from_secs(takes));
            }
            let id = platform.add_machine("web", machine).unwrap();
            platform
                .stop_machine("web", &id, Actor::Api.into(), order)
                .unwrap();
            let done = (0..200)
                .find(|second| {
                    platform.advance(Duration::from_secs(*second));
                    platform.machine("web", &id).unwrap().state == MachineState::Stopped
                })
                .unwrap();
            assert_eq!(done, expected, "{name}");
        }
    }

    #[test]
    fn a_machine_that_destroys_itself_vanishes_when_it_stops() {
        let mut platform = platform();
        let machine = NewMachine::in_region("ord").config(r#"{"image":"a","auto_destroy":true}"#);
        let id = platform.add_machine("web", machine).unwrap();
        platform
            .stop_machine("web", &id, Actor::Api.into(), StopOrder::default())
            .unwrap();
        let seen = states(&mut platform, &id, &[999, 1_000, 2_000]);
        assert_eq!(seen, ["stopping", "destroying", "gone"]);
    }

    #[test]
    fn a_creation_is_refused_where_fly_refuses_it() {
        let mut platform = platform();
        platform.set_region_capacity("lhr", Some(0));
        let taken = platform
            .create_volume("web", NewVolume::named("data", "ord"))
            .unwrap();
        let mounted = format!(r#"{{"image":"a","mounts":[{{"volume":"{taken}","path":"/d"}}]}}"#);
        let owner = platform
            .create_machine("web", creation(&mounted), Actor::Api)
            .unwrap();
        let named = Creation {
            name: Some("one".to_owned()),
            ..creation(r#"{"image":"a"}"#)
        };
        platform.create_machine("web", named, Actor::Api).unwrap();
        let cases = [
            (
                "full region",
                "web",
                Some("lhr"),
                None,
                r#"{"image":"a"}"#.to_owned(),
                422,
                Some("insufficient_capacity"),
            ),
            (
                "no such region",
                "web",
                Some("moon"),
                None,
                r#"{"image":"a"}"#.to_owned(),
                422,
                None,
            ),
            (
                "no such app",
                "api",
                Some("ord"),
                None,
                r#"{"image":"a"}"#.to_owned(),
                404,
                None,
            ),
            (
                "name taken",
                "web",
                Some("ord"),
                Some("one"),
                r#"{"image":"a"}"#.to_owned(),
                422,
                Some("name_taken"),
            ),
            (
                "volume taken",
                "web",
                Some("ord"),
                None,
                mounted.clone(),
                412,
                None,
            ),
            (
                "volume elsewhere",
                "web",
                Some("fra"),
                None,
                mounted.clone(),
                412,
                None,
            ),
            (
                "no such volume",
                "web",
                Some("ord"),
                None,
                r#"{"image":"a","mounts":[{"volume":"vol_x"}]}"#.to_owned(),
                422,
                None,
            ),
        ];
        for (name, app, region, machine_name, text, status, kind) in cases {
            let creation = Creation {
                region: region.map(str::to_owned),
                name: machine_name.map(str::to_owned),
                ..creation(&text)
            };
            let refusal = platform
                .create_machine(app, creation, Actor::Api)
                .unwrap_err();
            assert_eq!((refusal.status, refusal.kind), (status, kind), "{name}");
        }
        platform.set_machine_limit(Some(2));
        let refusal = platform
            .create_machine("web", creation(r#"{"image":"a"}"#), Actor::Api)
            .unwrap_err();
        assert_eq!((refusal.status, refusal.kind), (422, None));
        platform
            .destroy_machine("web", &owner, Actor::Api.into(), true)
            .unwrap();
        assert!(
            platform
                .app("web")
                .unwrap()
                .volumes()
                .next()
                .unwrap()
                .attached
                .is_some()
        );
        platform.advance(Duration::from_secs(1));
        assert!(
            platform
                .app("web")
                .unwrap()
                .volumes()
                .next()
                .unwrap()
                .attached
                .is_none()
        );
    }

    #[test]
    fn a_leased_machine_is_not_changed_until_the_lease_is_over() {
        let (mut platform, id) = with(MachineState::Stopped);
        assert!(platform.lease("web", &id, "deployer", Duration::from_secs(30)));
        let start = |platform: &mut Platform| {
            platform
                .start_machine("web", &id, Actor::Api.into())
                .map_err(|refusal| refusal.status)
        };
        assert_eq!(start(&mut platform), Err(409));
        platform.advance(Duration::from_secs(30));
        assert_eq!(start(&mut platform), Ok(MachineState::Stopped));
    }

    #[test]
    fn an_unreachable_host_holds_its_machines_until_it_is_back() {
        let (mut platform, id) = with(MachineState::Stopped);
        platform
            .start_machine("web", &id, Actor::Api.into())
            .unwrap();
        let host = Arc::clone(&platform.machine("web", &id).unwrap().host);
        assert!(platform.set_host_status(&host, HostStatus::Unreachable));
        assert_eq!(states(&mut platform, &id, &[60_000]), ["starting"]);
        let refusal = platform
            .stop_machine("web", &id, Actor::Api.into(), StopOrder::default())
            .unwrap_err();
        assert_eq!(refusal.status, 408);
        assert!(platform.set_host_status(&host, HostStatus::Ok));
        assert_eq!(states(&mut platform, &id, &[60_000]), ["started"]);
        assert!(platform.set_host_full(&host, true));
        platform
            .stop_machine("web", &id, Actor::Api.into(), StopOrder::default())
            .unwrap();
        platform.advance(Duration::from_secs(70));
        let refusal = platform
            .start_machine("web", &id, Actor::Api.into())
            .unwrap_err();
        assert_eq!(refusal.status, 409);
        assert!(
            refusal
                .message
                .contains("could not reserve resource for machine")
        );
        assert!(!platform.set_host_status("none", HostStatus::Ok));
    }

    #[test]
    fn changes_say_who_did_what_to_a_machine_in_which_state() {
        let mut platform = platform();
        let ids = platform
            .add_machines("web", 2, &NewMachine::in_region("ord"))
            .unwrap();
        let before = platform.changes().total();
        platform
            .stop_machine("web", &ids[0], Actor::Api.into(), StopOrder::default())
            .unwrap();
        platform.advance(Duration::from_secs(2));
        platform
            .destroy_machine("web", &ids[0], Actor::Api.into(), false)
            .unwrap();
        let seen: Vec<_> = platform
            .changes()
            .since(before)
            .map(|change| {
                (
                    change.actor,
                    change.kind,
                    change.machine.state.as_str(),
                    change.state.as_str(),
                    change.living_left,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Actor::Api, ChangeKind::Stop, "started", "stopping", None),
                (
                    Actor::Platform,
                    ChangeKind::Become,
                    "stopping",
                    "stopped",
                    None
                ),
                (
                    Actor::Api,
                    ChangeKind::Destroy,
                    "stopped",
                    "destroying",
                    Some(1)
                ),
            ]
        );
    }

    #[test]
    fn a_lagging_list_shows_the_past_and_the_present_stays_true() {
        let (mut platform, id) = with(MachineState::Stopped);
        platform.set_list_lag("web", Duration::from_secs(10));
        let timing = Timing {
            prepare: (Duration::from_secs(7), Duration::from_secs(7)),
            ..Timing::default()
        };
        platform.set_timing("web", timing);
        platform.advance(Duration::from_secs(100));
        platform
            .start_machine("web", &id, Actor::Api.into())
            .unwrap();
        let new = platform
            .create_machine("web", creation(r#"{"image":"a"}"#), Actor::Api)
            .unwrap();
        let mut listed = |second: u64| -> Vec<String> {
            platform.advance(Duration::from_secs(second));
            let mut listed: Vec<String> = platform
                .listed("web")
                .iter()
                .map(|machine| {
                    format!(
                        "{} {}",
                        if machine.id == new { "new" } else { "old" },
                        machine.state
                    )
                })
                .collect();
            listed.sort();
            listed
        };
        assert_eq!(listed(109), ["old stopped"]);
        assert_eq!(listed(110), ["new created", "old starting"]);
        assert_eq!(listed(117), ["new starting", "old started"]);
        platform
            .destroy_machine("web", &new, Actor::Api.into(), true)
            .unwrap();
        platform.advance(Duration::from_secs(127));
        assert!(platform.machine("web", &new).is_none());
        assert_eq!(platform.listed("web").len(), 2);
        platform.set_list_lag("web", Duration::ZERO);
        assert_eq!(platform.listed("web").len(), 1);
        platform.advance(Duration::from_secs(1_000));
        assert_eq!(platform.app("web").unwrap().records.len(), 1);
    }
}
