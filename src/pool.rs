//! Which apps are looked at, when, and how many at once.
//!
//! The pool owns every app's state and hands it to a pass and takes it back, so that two passes over one app can never
//! run at the same time and no lock guards a state. Apps are spread over the interval; an app whose pass is still
//! running is not begun again; a pass that panics loses its memory, which is the cautious thing, and the loop goes on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use crate::{
    app::{AppState, FleetState, Share, Wanted},
    config::{AppPattern, Claim, FleetConfig, OwnMachine, Shadowed, Taken},
    error_chain::chain,
    health::Health,
    labels::PassError,
    lock::{Keeper, Part, Running, shard_of},
    machines::{Api, ApiError, AppClient},
    reconcile::Reconciler,
    report::PassReport,
    scaling::{FleetName, FleetParts, TargetExpressions},
    status::{PANICKED, Standing, Status},
};

/// How long calls in flight may go on after a shutdown.
const GRACE: Duration = Duration::from_secs(4);

/// How long the state of an app is kept that lists of apps lack. A list can be short or empty by mistake, and what an
/// app's state holds (pauses after failures, writes that no list shows yet) must outlive one, whenever the next list comes.
const KEPT: Duration = Duration::from_secs(60);

/// How often it is looked whether a shard can be given back.
const LOOK: Duration = Duration::from_secs(1);

/// When all is over after a shutdown, the farewell to the lock included.
const END: Duration = Duration::from_millis(4900);

/// What the pool works with.
pub struct Pool {
    reconciler: Arc<Reconciler>,
    api: Arc<Api>,
    options: PoolOptions,
    health: Health,
    status: Status,
    apps: BTreeMap<Arc<str>, App>,
    /// Whether the apps of a wildcard were ever listed.
    has_listed: bool,
    /// Apps that wait for their turn, the earliest first.
    due: BTreeSet<(Instant, Arc<str>)>,
    passes: JoinSet<Ended>,
    /// Whose pass each task is: a task that panicked tells nothing else.
    running: HashMap<Id, Arc<str>>,
    /// Whether it was said that no app matches.
    told_of_none: bool,
    /// Why the last try to list the apps failed, if it did, which has been said.
    told_of_list: Option<PassError>,
    /// Of which two policies it was said that one has machines which the other would take too.
    told_of_shadowed: BTreeSet<Shadowed>,
    /// What each of the policies would take.
    claims: Vec<Claim>,
    /// Before when no pass begins.
    not_before: Option<Instant>,
    /// What keeps the lock, if there is one.
    lock: Option<Box<Keeper>>,
    /// When a pass of an app last panicked, which has taken with it what it did.
    panicked: BTreeMap<String, Instant>,
    /// With shards: which of the apps are this copy's affair.
    division: Option<Division>,
}

/// Which apps are this copy's affair, where they are divided among copies.
struct Division {
    parts: watch::Receiver<Vec<Part>>,
    /// All apps, whoever scales them.
    names: BTreeSet<String>,
    /// The shard that is to be given back.
    leaving: Option<Leaving>,
}

/// A shard that is to be given back.
struct Leaving {
    shard: usize,
    /// The apps of it of which a pass is under way that may have written, or what was done is not seen yet.
    apps: BTreeSet<String>,
    /// Whether it was said that there are none.
    is_told: bool,
}

/// What a pass gives back.
type Ended = (Box<AppState>, Vec<PassReport>);

/// How the pool works.
pub struct PoolOptions {
    /// What is scaled by what, at least one; where several take the same machines, the first has them.
    pub policies: Vec<Scaled>,
    /// The daemon's own place, which wildcards leave out.
    pub own: OwnMachine,
    /// `FAS_CONCURRENCY`.
    pub concurrency: usize,
    /// `FAS_APP_LIST_REFRESH_INTERVAL`.
    pub refresh_interval: Duration,
}

/// One policy: which machines, and what is wanted of them.
pub struct Scaled {
    /// Which apps and process groups.
    pub settings: FleetConfig,
    /// What is wanted of them.
    pub wanted: Arc<Wanted>,
}

impl PoolOptions {
    fn settings(&self) -> impl Iterator<Item = &FleetConfig> {
        self.policies.iter().map(|policy| &policy.settings)
    }

    /// Which apps the policies name.
    fn named(&self) -> BTreeSet<String> {
        let patterns = self.settings().map(|one| &one.apps.pattern);
        patterns
            .filter(|pattern| !pattern.is_wildcard())
            .map(|pattern| pattern.as_str().to_owned())
            .collect()
    }

    /// The organization of wildcards; `None`: there is no wildcard.
    fn org(&self) -> Option<&str> {
        let mut settings = self.settings();
        let wildcard = settings.find(|one| one.apps.pattern.is_wildcard())?;
        Some(wildcard.apps.org.as_deref().unwrap_or_default())
    }

    /// Whether an app that was listed is scaled because of a wildcard.
    fn takes(&self, app: &str) -> bool {
        let mut settings = self.settings();
        settings.any(|one| one.apps.pattern.is_wildcard() && one.takes(app, &self.own))
    }
}

struct App {
    /// Absent while a pass has it.
    state: Option<Box<AppState>>,
    /// When its pass began or its next one begins.
    turn: Instant,
    /// Since when lists of apps lack it; no pass over it begins meanwhile.
    gone: Option<Gone>,
    /// Whether lists have lacked it since its last pass.
    was_gone: bool,
    /// Its fleets; mostly one.
    fleets: Box<[Managed]>,
}

/// What is told of a fleet while a pass has its state.
#[derive(Clone)]
struct Managed {
    name: FleetName,
    targets: Arc<TargetExpressions>,
    /// How its passes have gone.
    standing: Standing,
}

impl Managed {
    fn new(fleet: &FleetState) -> Self {
        Self {
            name: fleet.name.clone(),
            targets: Arc::clone(&fleet.wanted.targets),
            standing: Standing::default(),
        }
    }

    /// Brings `managed` to the fleets that an app has after a pass: of a group of which each region is one, they come and go.
    /// Gives those that are gone.
    fn take_over(managed: &mut Box<[Self]>, fleets: &[FleetState]) -> Vec<Self> {
        let names = |one: &Self, fleet: &FleetState| one.name == fleet.name;
        let are_same = managed.len() == fleets.len()
            && managed
                .iter()
                .zip(fleets)
                .all(|(one, fleet)| names(one, fleet));
        if are_same {
            return Vec::new();
        }
        let mut before = std::mem::take(managed).into_vec();
        let fleets = fleets.iter().map(|fleet| {
            let known = before.iter().position(|one| names(one, fleet));
            let known = known.map(|place| before.swap_remove(place));
            known.unwrap_or_else(|| Self::new(fleet))
        });
        *managed = fleets.collect();
        before
    }
}

/// The absence of an app from the lists of apps.
#[derive(Debug, Clone, Copy)]
struct Gone {
    since: Instant,
    /// How many lists in a row have lacked it.
    lists: u32,
}

impl Gone {
    /// Whether what is remembered of the app is too old by now.
    fn is_over(self, now: Instant) -> bool {
        self.lists > 1 && now.saturating_duration_since(self.since) >= KEPT
    }
}

impl Pool {
    /// A pool without apps yet.
    #[must_use]
    pub fn new(
        reconciler: Arc<Reconciler>,
        api: Arc<Api>,
        options: PoolOptions,
        health: Health,
        status: Status,
    ) -> Self {
        Self {
            claims: options.settings().map(Claim::from).collect(),
            reconciler,
            api,
            options,
            health,
            status,
            apps: BTreeMap::new(),
            has_listed: false,
            due: BTreeSet::new(),
            passes: JoinSet::new(),
            running: HashMap::new(),
            told_of_none: false,
            told_of_list: None,
            told_of_shadowed: BTreeSet::new(),
            not_before: None,
            lock: None,
            panicked: BTreeMap::new(),
            division: None,
        }
    }

    /// Passes write only while this keeper's lock is held; it begins with the pool, and leaves with it.
    #[must_use]
    pub fn with_lock(mut self, lock: Option<Keeper>) -> Self {
        self.lock = lock.map(Box::new);
        self
    }

    /// Lets no pass begin before `pause` is over.
    pub fn begin_after(&mut self, pause: Duration) {
        self.not_before = Some(Instant::now() + pause);
    }

    /// Runs passes until the shutdown flag is set, then lets what is in flight end for four seconds.
    pub async fn run(mut self) {
        let shutdown = self.reconciler.shutdown.clone();
        let mut lock = self.lock.take().map(|keeper| keeper.begin());
        let parts = self.reconciler.gate.parts();
        let mut changes = parts.clone();
        self.division = parts.map(|parts| Division {
            parts,
            names: BTreeSet::new(),
            leaving: None,
        });
        let org = self.options.org().map(str::to_owned);
        let mut refresh = JoinSet::new();
        let mut refresh_at = Instant::now();
        // One for all rounds: to begin another one in each is a call of the system.
        let mut timer = pin!(sleep_until(refresh_at));
        self.scale(self.options.named());
        loop {
            self.give_back();
            self.begin_due();
            if let Some(org) = org.as_ref()
                && refresh.is_empty()
                && refresh_at <= Instant::now()
            {
                let api = Arc::clone(&self.api);
                let deadline = Instant::now() + self.reconciler.timeout;
                let org = org.clone();
                refresh.spawn(async move { api.list_apps(&org, deadline).await });
            }
            let next_turn = self
                .due
                .first()
                .map(|(turn, _)| *turn)
                .filter(|_| self.has_room());
            let next_refresh = (org.is_some() && refresh.is_empty()).then_some(refresh_at);
            let next_look = self.leaving().map(|_| Instant::now() + LOOK);
            let wake = next_turn.into_iter().chain(next_refresh);
            let wake = wake.chain(next_look).min();
            if let Some(wake) = wake.filter(|wake| *wake != timer.deadline()) {
                timer.as_mut().reset(wake);
            }
            self.health
                .expect_by(wake.unwrap_or_else(|| Instant::now() + self.reconciler.timeout));
            tokio::select! {
                biased;
                // Cancel safe: it only reads a flag.
                () = shutdown.wait() => break,
                // Cancel safe: who is told and does not come to it is told again.
                () = self.reconciler.waiting.another() => {}
                // Cancel safe: a task that is not taken here is taken in the next round.
                Some(ended) = self.passes.join_next_with_id() => self.end(ended),
                // Cancel safe, as above.
                Some(listed) = refresh.join_next() => {
                    refresh_at = Instant::now() + self.refreshed(listed);
                }
                // Cancel safe: what has changed is still so in the next round.
                () = changed(&mut changes) => self.divide(),
                // Cancel safe, as `Running::fail` says.
                () = failure(&mut lock) => {}
                // Cancel safe: it goes on in the next round.
                () = &mut timer, if wake.is_some() => {}
            }
        }
        let asked = Instant::now();
        let mut is_clean = self.settled(asked);
        let shards = is_clean.len();
        let drained = tokio::time::timeout(GRACE, async {
            while let Some(ended) = self.passes.join_next_with_id().await {
                let now = Instant::now().into_std();
                let Ok((id, (state, _))) = ended else {
                    continue;
                };
                if let Some(name) = self.running.remove(&id) {
                    is_clean[shard_of(&name, shards)] &= state.expects_nothing(now);
                }
            }
        })
        .await;
        // What has not ended, or not in order.
        for name in self.running.values() {
            is_clean[shard_of(name, shards)] = false;
        }
        if let Some(lock) = lock {
            lock.leave(is_clean, asked + END).await;
        }
        if drained.is_err() {
            tracing::warn!(
                "calls in flight did not end within {} s and are abandoned",
                GRACE.as_secs()
            );
        }
    }

    /// Of each shard whether lists have shown everything that was done, as far as no pass has it in hand. Without shards all
    /// apps are one.
    fn settled(&self, now: Instant) -> Vec<bool> {
        let shards = self.division.as_ref();
        let shards = shards.map_or(1, |division| division.parts.borrow().len());
        let mut settled = vec![true; shards];
        for (name, at) in &self.panicked {
            settled[shard_of(name, shards)] &= now.saturating_duration_since(*at) >= KEPT;
        }
        for (name, app) in &self.apps {
            if let Some(state) = &app.state {
                settled[shard_of(name, shards)] &= state.expects_nothing(now.into_std());
            }
        }
        settled
    }

    /// Whether lists have shown all that was done to an app, as far as is known: a pass that panicked has taken with it what
    /// it did.
    fn is_settled(&self, name: &str, app: &App, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < KEPT;
        let state = app.state.as_ref();
        !self.panicked.get(name).is_some_and(is_recent)
            && state.is_some_and(|state| state.expects_nothing(now.into_std()))
    }

    /// Scales these apps, as far as they are this copy's affair.
    fn scale(&mut self, names: BTreeSet<String>) {
        match &mut self.division {
            None => self.manage(names, true),
            Some(division) => {
                division.names = names;
                let here = self.here();
                self.manage(here, true);
            }
        }
    }

    /// The apps that are this copy's affair. Of a shard that is to be given back these are those that are not settled: their
    /// passes look for what was done, and can do nothing.
    fn here(&mut self) -> BTreeSet<String> {
        let Some(division) = &mut self.division else {
            return BTreeSet::new();
        };
        let parts = division.parts.borrow().clone();
        let leaving = division.leaving.as_ref();
        let is_here = |name: &&String| match parts[shard_of(name, parts.len())] {
            Part::Here => true,
            Part::Elsewhere => false,
            Part::Leaving => leaving.is_some_and(|leaving| leaving.apps.contains(*name)),
        };
        let here: BTreeSet<String> = division.names.iter().filter(is_here).cloned().collect();
        let is_known = self.options.org().is_none() || self.has_listed;
        let has_apps = !division.names.is_empty();
        self.health
            .stand_idle(here.is_empty() && has_apps && is_known);
        here
    }

    /// Shards have come or gone.
    fn divide(&mut self) {
        let now = Instant::now();
        let Some(division) = &mut self.division else {
            return;
        };
        let parts = division.parts.borrow_and_update().clone();
        let leaving = parts.iter().position(|part| *part == Part::Leaving);
        if leaving != division.leaving.as_ref().map(|leaving| leaving.shard) {
            let leaving = leaving.map(|shard| {
                let of_shard = |(name, _): &(&Arc<str>, &App)| shard_of(name, parts.len()) == shard;
                let is_open = |(name, app): &(&Arc<str>, &App)| !self.is_settled(name, app, now);
                let apps = self.apps.iter().filter(of_shard).filter(is_open);
                Leaving {
                    shard,
                    apps: apps.map(|(name, _)| name.to_string()).collect(),
                    is_told: false,
                }
            });
            if let Some(division) = &mut self.division {
                division.leaving = leaving;
            }
        }
        let here = self.here();
        self.manage(here, false);
    }

    fn leaving(&self) -> Option<&Leaving> {
        self.division.as_ref()?.leaving.as_ref()
    }

    /// Says so when nothing of the shard that is to be given back is under way, and everything that was done is seen.
    fn give_back(&mut self) {
        let now = Instant::now();
        let division = self.division.as_mut();
        let Some(mut leaving) = division.and_then(|division| division.leaving.take()) else {
            return;
        };
        leaving.apps.retain(|name| {
            let app = self.apps.get(&**name);
            app.is_some_and(|app| !self.is_settled(name, app, now))
        });
        // Once: it would count for the next time, too.
        if leaving.apps.is_empty() && !std::mem::replace(&mut leaving.is_told, true) {
            self.reconciler.gate.is_quiet(leaving.shard);
        }
        if let Some(division) = &mut self.division {
            division.leaving = Some(leaving);
        }
    }

    fn has_room(&self) -> bool {
        let holding = self
            .passes
            .len()
            .saturating_sub(self.reconciler.waiting.count());
        holding < self.options.concurrency
    }

    /// Begins the passes whose turn has come, as far as there is room.
    fn begin_due(&mut self) {
        let now = Instant::now();
        while self.has_room() && self.due.first().is_some_and(|(turn, _)| *turn <= now) {
            let Some((_, name)) = self.due.pop_first() else {
                break;
            };
            let Some(app) = self.apps.get_mut(&name) else {
                continue;
            };
            let Some(mut state) = app.state.take() else {
                continue;
            };
            app.turn = now;
            state.was_away |= std::mem::take(&mut app.was_gone);
            let reconciler = Arc::clone(&self.reconciler);
            let task = self.passes.spawn(async move {
                let reports = reconciler.pass(&mut state).await;
                (state, reports)
            });
            self.running.insert(task.id(), name);
        }
    }

    /// Takes an app back from its pass and gives it its next turn.
    fn end(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(name) = self.running.remove(&id) else {
            return;
        };
        let (state, reports) = match ended {
            Ok((_, (state, reports))) => (state, Some(reports)),
            Err(error) => {
                self.reconciler.metrics.pass_error(PassError::Panic);
                let now = Instant::now();
                self.panicked
                    .retain(|_, at| now.saturating_duration_since(*at) < KEPT);
                self.panicked.insert(name.to_string(), now);
                tracing::error!(app = %name, reason = PassError::Panic.as_str(), error = %error, "{name}: {PANICKED}");
                (Box::new(self.fresh(&name)), None)
            }
        };
        let wall = self.reconciler.clock.now().wall;
        let Some(app) = self.apps.get_mut(&name) else {
            return;
        };
        for ended in Managed::take_over(&mut app.fleets, &state.fleets) {
            self.status.forget_fleet(&ended.name);
            if ended.name.region.is_some() {
                let fleet = &ended.name;
                tracing::info!(app = %fleet.app, policy = fleet.policy.as_deref(), group = fleet.told_group(), region = fleet.region.as_deref(), "{fleet} is no longer scaled: there is no machine, and FAS_REGIONS does not name it");
            }
        }
        app.state = Some(state);
        for Managed { name, standing, .. } in &mut app.fleets {
            let own = reports.as_ref().map(|reports| {
                let mut reports = reports.iter();
                reports.find(|report| report.fleet == *name)
            });
            match own {
                // It begins with the next pass.
                Some(None) => {}
                Some(Some(report)) if report.succeeded() => {
                    *standing = Standing {
                        failing_passes: 0,
                        last_success: Some(wall),
                    };
                }
                Some(Some(_)) | None => {
                    standing.failing_passes = standing.failing_passes.saturating_add(1);
                }
            }
        }
        if app.gone.is_some() {
            self.hide(&name);
            return;
        }
        let now = Instant::now();
        let mut reports_seen = reports.iter().flatten();
        let has_seen = reports_seen.any(|report| report.inventory.is_some());
        self.reconciler.gate.passed(has_seen);
        match &reports {
            Some(reports) => self.health.passed(reports, now),
            None => self.health.failed(&name, PANICKED),
        }
        let interval = self.reconciler.interval;
        let mut of_pass = reports.iter().flatten();
        app.turn = if of_pass.any(|report| report.more_to_do) {
            now
        } else {
            (app.turn + interval).max(now)
        };
        let turn = app.turn;
        let fleets = app.fleets.clone();
        let next_pass_at = self.time_of(turn);
        let has_panicked = reports.is_none();
        let mut reports = reports.unwrap_or_default();
        for Managed {
            name,
            standing,
            targets,
        } in &fleets
        {
            let own = reports.iter().position(|report| report.fleet == *name);
            let own = own.map(|place| reports.swap_remove(place));
            let standing = *standing;
            self.status.appear(name, targets, standing, next_pass_at);
            if own.is_some() || has_panicked {
                self.status.passed(name, own, standing, next_pass_at);
            }
        }
        self.due.insert((turn, name));
    }

    /// The wall clock's time of a turn.
    fn time_of(&self, turn: Instant) -> Timestamp {
        let left = turn.saturating_duration_since(Instant::now());
        let now = self.reconciler.clock.now().wall;
        now.checked_add(left).unwrap_or(Timestamp::MAX)
    }

    /// Makes the managed apps those of `names`: new ones, and ones that return, are spread over the interval; others than
    /// these are left alone, and forgotten if that has been so for a minute. A shard that comes or goes is told as a whole.
    fn manage(&mut self, names: BTreeSet<String>, is_told: bool) {
        let now = Instant::now();
        let mut leaving = Vec::new();
        let parts = self
            .division
            .as_ref()
            .map(|division| division.parts.borrow().clone());
        let is_elsewhere = |name: &str| {
            parts
                .as_ref()
                .is_some_and(|parts| parts[shard_of(name, parts.len())] == Part::Elsewhere)
        };
        self.apps.retain(|name, app| {
            if !names.contains(&**name) {
                let gone = app.gone.get_or_insert_with(|| {
                    leaving.push((app.turn, Arc::clone(name)));
                    Gone {
                        since: now,
                        lists: 0,
                    }
                });
                // That a shard is another's is no mistake, and no list either.
                let lists = if is_elsewhere(name) {
                    2
                } else {
                    u32::from(is_told)
                };
                gone.lists = gone.lists.saturating_add(lists);
            }
            // While a pass has the state, that is where it returns to.
            app.state.is_none() || !app.gone.is_some_and(|gone| gone.is_over(now))
        });
        for left in leaving {
            if is_told {
                tracing::info!(app = %left.1, "{} is no longer scaled", left.1);
            }
            self.due.remove(&left);
            self.hide(&left.1);
        }
        let is_managed = |app: &App| app.gone.is_none();
        let coming: Vec<Arc<str>> = names
            .into_iter()
            .filter(|name| !self.apps.get(&**name).is_some_and(is_managed))
            .map(Arc::from)
            .collect();
        let spacing =
            self.reconciler.interval / u32::try_from(coming.len().max(1)).unwrap_or(u32::MAX);
        let mut turn = self.not_before.map_or(now, |moment| moment.max(now));
        for name in coming {
            if is_told {
                tracing::info!(app = %name, "{name} is scaled from now on");
            }
            // The name of one that returns is there already, in all that was kept of it.
            let known = self.apps.get_key_value(&name);
            let name = known.map_or(name, |(known, _)| Arc::clone(known));
            let state = (!self.apps.contains_key(&name)).then(|| Box::new(self.fresh(&name)));
            let fleets = state.iter().flat_map(|state| &state.fleets);
            let fleets = fleets.map(Managed::new);
            let fresh = App {
                state: None,
                turn,
                gone: None,
                was_gone: false,
                fleets: fleets.collect(),
            };
            let app = self.apps.entry(Arc::clone(&name)).or_insert(fresh);
            app.was_gone |= app.gone.take().is_some();
            app.state = app.state.take().or(state);
            let fleets = app.fleets.clone();
            // An app whose pass still runs gets its turn when that ends.
            if app.state.is_some() {
                app.turn = turn;
                self.due.insert((turn, Arc::clone(&name)));
            }
            let next_pass_at = self.time_of(turn);
            for Managed {
                name,
                targets,
                standing,
            } in &fleets
            {
                self.status.appear(name, targets, *standing, next_pass_at);
            }
            turn += spacing;
        }
    }

    /// An app of which nothing is remembered.
    fn fresh(&mut self, name: &Arc<str>) -> AppState {
        let claims = &self.claims;
        let (taken, shadowed) = Claim::on(claims, name, &self.options.own);
        for lost in shadowed {
            let (policy, first) = (&claims[lost.place].policy, &claims[lost.by].policy);
            let regions = lost.regions.join(", ");
            if !self.told_of_shadowed.insert(lost) {
                continue;
            }
            if regions.is_empty() {
                tracing::info!(app = %name, "{name}: policy {policy} is left out here: {first} comes before it in the list and takes machines that it would take; those that only {policy} would take are not scaled");
            } else {
                tracing::info!(app = %name, "{name}: policy {policy} is left out here in {regions}: {first} comes before it in the list and has the machines there");
            }
        }
        let shares = taken.iter().map(|Taken { place, except }| {
            let policy = &self.options.policies[*place];
            let group = &policy.settings.policy.process_group;
            Share {
                name: FleetName::from(FleetParts {
                    is_only: taken.len() == 1,
                    policy: policy.settings.own_name().map(Into::into),
                    ..FleetParts::only(Arc::clone(name), group.as_str())
                }),
                wanted: Arc::clone(&policy.wanted),
                except: except.clone(),
            }
        });
        AppState::new(
            AppClient::new(Arc::clone(&self.api), Arc::clone(name)),
            shares.collect(),
        )
    }

    /// Takes an app out of what is shown.
    fn hide(&self, name: &str) {
        self.status.forget(name);
        self.health.forget(name);
    }

    /// Whether no app has passes: there is none, or only such as are about to be let go.
    fn passes_over_nothing(&self) -> bool {
        self.apps.values().all(|app| app.gone.is_some())
    }

    /// Takes a new list of apps; returns how long until the next one. Where it could not be had, the last one stays.
    fn refreshed(
        &mut self,
        listed: Result<Result<BTreeSet<String>, ApiError>, JoinError>,
    ) -> Duration {
        let (reason, error) = match listed {
            Ok(Ok(mut names)) => {
                names.retain(|name| self.options.takes(name));
                let none = names.is_empty();
                if none && !self.told_of_none {
                    let patterns = self.options.settings();
                    let patterns = patterns.map(|one| &one.apps.pattern);
                    let wildcards = patterns.filter(|pattern| pattern.is_wildcard());
                    let wildcards: Vec<&str> = wildcards.map(AppPattern::as_str).collect();
                    tracing::warn!(
                        "no app of the organization matches {}",
                        wildcards.join(" or ")
                    );
                }
                self.told_of_none = none;
                self.has_listed = true;
                self.told_of_list = None;
                names.extend(self.options.named());
                self.health.apps_listed(names.len());
                self.scale(names);
                if self.passes_over_nothing() {
                    self.reconciler.gate.listed(true);
                }
                return self.options.refresh_interval;
            }
            Ok(Err(error)) => (error.reason(PassError::List), chain(&error)),
            Err(error) => (PassError::Panic, error.to_string()),
        };
        if self.passes_over_nothing() {
            // No pass says it, and another copy may see them.
            self.reconciler.gate.listed(false);
        }
        self.health.list_failed(error.clone());
        self.reconciler.metrics.pass_error(reason);
        // Once: it is tried again every few seconds, and each try is counted.
        if self.told_of_list.as_ref() != Some(&reason) {
            let meanwhile = if self.has_listed {
                "the last list of apps is kept"
            } else {
                "no app that a * matches is scaled yet"
            };
            tracing::error!(reason = reason.as_str(), error = %error, "{meanwhile}: {error}");
        }
        self.told_of_list = Some(reason);
        self.options.refresh_interval.min(self.reconciler.interval)
    }
}

/// Ends only by a panic of what keeps the lock.
async fn failure(lock: &mut Option<Running>) {
    match lock {
        Some(lock) => lock.fail().await,
        None => std::future::pending().await,
    }
}

/// Something has changed; never where nothing can.
async fn changed(parts: &mut Option<watch::Receiver<Vec<Part>>>) {
    let is_over = match parts {
        Some(parts) => parts.changed().await.is_err(),
        None => true,
    };
    if is_over {
        std::future::pending::<()>().await;
    }
}
