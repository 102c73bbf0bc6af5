//! What went over the wire: what the daemon sent and was told, in all and about each of its fleets.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use fly_autoscaler::{
    sim::{
        CallError, Canned, Effect, HostStatus, Machine, MachineState, Operation, Random,
        RequestInfo, Simulator,
    },
    transport::{Transport, TransportError},
};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::{
    task::{self, Id},
    time::Instant,
};

use super::{
    busy::{self, Loads, loads_of},
    generator::{BUSY, Rules, Scenario, Scene},
};

/// How an exchange ended, as the daemon saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Status(u16),
    /// No connection: surely nothing happened.
    Refused,
    /// The connection broke, or the answer is of no use.
    Broken,
    /// Nobody waits for it any more.
    Dropped,
}

/// Which of an app's fleets a request concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Fleet(usize),
    /// It is asked once for all fleets of this policy.
    Policy(usize),
    /// It is asked once for all of them.
    All,
    Nobody,
}

/// What a create asks for, as far as it tells what is cloned.
#[derive(Debug, Clone)]
pub(super) struct Sought {
    pub(super) origin: Option<String>,
    pub(super) release: Option<u64>,
}

impl Sought {
    fn by(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let release = body["config"]["metadata"]["fly_release_version"].as_str();
        Self {
            origin: origin_of(&text),
            release: release.and_then(|release| release.parse().ok()),
        }
    }
}

/// One request, as the daemon sent it.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// Its number among all requests to the simulator.
    pub(super) ordinal: u64,
    pub(super) at: Duration,
    pub(super) operation: Operation,
    pub(super) machine: Option<Arc<str>>,
    pub(super) query: String,
    pub(super) whose: Whose,
    /// Whether it asks how busy machines are.
    pub(super) busy: bool,
    /// What a create asks for.
    pub(super) sought: Option<Sought>,
    /// The pass it belongs to.
    pub(super) pass: usize,
    pub(super) effect: Option<Effect>,
    pub(super) lag: Duration,
    /// The regions that a list lacks.
    pub(super) lacks: Vec<String>,
    pub(super) ended: Option<(Duration, Ended)>,
    /// Whether its answer said what was asked, where that was asked for all.
    pub(super) told: bool,
}

impl Exchange {
    /// Whether its answer says that it did nothing; 408 leaves that open.
    pub(super) fn surely_refused(&self) -> bool {
        matches!(self.ended, Some((_, Ended::Status(400..=407 | 409..=499))))
    }

    /// Whether it was answered with success before `at`.
    pub(super) fn accepted(&self) -> bool {
        matches!(self.ended, Some((_, Ended::Status(200..=299))))
            && !matches!(self.effect, Some(Effect::Truncate(_)))
            && !self.names_another()
    }

    /// A problem with it, and which exchange that is.
    pub(super) fn with(&self, problem: &str) -> String {
        format!(
            "at {:.3} s, {:?} {} of pass {}: {problem}",
            self.at.as_secs_f64(),
            self.operation,
            self.machine.as_deref().unwrap_or_default(),
            self.pass
        )
    }

    /// Whether it is a create that was answered with a machine that there was before.
    pub(super) fn names_another(&self) -> bool {
        self.operation == Operation::Create
            && matches!(self.ended, Some((_, Ended::Status(200..=299))))
            && matches!(self.effect, Some(Effect::AnswerAfter(_)))
    }
}

/// One machine, as the list showed it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) state: MachineState,
    /// Of the group, and neither a standby nor scheduled.
    pub(super) mine: bool,
    /// Of the group and region, which is all that a list says of a machine whose host does not answer.
    pub(super) of_fleet: bool,
    pub(super) host_ok: bool,
    pub(super) protected: bool,
    pub(super) auto_destroy: bool,
    pub(super) cordoned: bool,
    pub(super) mounts: bool,
    pub(super) release: Option<u64>,
    pub(super) region: Arc<str>,
    /// Of the fleet's process group, in whichever region it is, and neither a standby nor scheduled.
    pub(super) kin: bool,
    /// What tells its descent, where regions are fleets.
    pub(super) origin: Option<String>,
}

/// One list.
#[derive(Debug)]
pub(super) struct View {
    pub(super) completed: Duration,
    /// The moment that it shows.
    pub(super) of: Duration,
    pub(super) machines: BTreeMap<Arc<str>, Seen>,
}

/// What GraphQL said of the current release.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) completed: Duration,
    pub(super) running_since: Option<Timestamp>,
    /// Which one it is, where it went wrong.
    pub(super) wrong: Option<u64>,
}

/// One pass.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) start: Duration,
    /// Which of the daemon's lives it belongs to.
    pub(super) life: u32,
    /// Whether the metric was asked for.
    pub(super) asked: bool,
    pub(super) metric: Option<f64>,
    /// What was told of how busy machines are.
    pub(super) loads: Vec<Loads>,
    pub(super) view: Option<View>,
    /// What was told of machines that were asked for by id.
    pub(super) answers: BTreeMap<Arc<str>, Answer>,
    /// In the order in which they came.
    pub(super) releases: Vec<Release>,
}

impl Pass {
    fn begun(start: Duration, life: u32) -> Self {
        Self {
            start,
            life,
            asked: false,
            metric: None,
            loads: Vec::new(),
            view: None,
            answers: BTreeMap::new(),
            releases: Vec::new(),
        }
    }

    /// What asking for a machine by its id told, where its host answers: that is newer than the list.
    pub(super) fn told(&self, machine: &str) -> Option<&Answer> {
        self.answers.get(machine).filter(|told| told.host_ok)
    }
}

/// What was told of a machine that was asked for by its id.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) host_ok: bool,
    pub(super) state: String,
    pub(super) protected: bool,
    pub(super) cordoned: bool,
    pub(super) release: Option<u64>,
}

/// What was said about one fleet, or about all of an app.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// By ordinal.
    pub(super) exchanges: Vec<Exchange>,
    pub(super) passes: Vec<Pass>,
}

impl Wire {
    /// Where the exchanges of a pass begin; they stand together.
    pub(super) fn first_of(&self, pass: usize) -> usize {
        self.exchanges
            .partition_point(|exchange| exchange.pass < pass)
    }

    /// The exchanges of a pass.
    pub(super) fn of_pass(&self, pass: usize) -> &[Exchange] {
        let own = self.first_of(pass)..self.first_of(pass + 1);
        &self.exchanges[own]
    }

    /// Where the exchange with this ordinal is, if it is about this app.
    pub(super) fn index(&self, ordinal: u64) -> Option<usize> {
        self.exchanges
            .binary_search_by_key(&ordinal, |exchange| exchange.ordinal)
            .ok()
    }
}

/// What was said about one app.
#[derive(Debug)]
pub(super) struct Talk {
    /// All of it; what a pass learned is kept for each fleet alone.
    pub(super) whole: Wire,
    /// What concerns each fleet: what is about its machines and its metric, and what is asked for all. The passes are the same
    /// in each.
    pub(super) fleets: Vec<Wire>,
    /// The policy of each.
    policies: Vec<usize>,
    /// The task of the daemon's that the last pass is.
    task: Option<Id>,
    /// When the list of all apps was last asked for and met with a fault.
    pub(super) apps_unlisted: Option<Duration>,
}

impl Talk {
    fn new(scene: &Scene) -> Self {
        Self {
            whole: Wire::default(),
            fleets: scene.fleets.iter().map(|_| Wire::default()).collect(),
            policies: scene.fleets.iter().map(|fleet| fleet.policy).collect(),
            task: None,
            apps_unlisted: None,
        }
    }

    /// All that a request belongs to.
    fn concerned(&mut self, whose: Whose) -> impl Iterator<Item = &mut Wire> {
        let fleets = self.fleets.iter_mut().zip(&self.policies).enumerate();
        let concerned = fleets.filter(move |(fleet, (_, policy))| match whose {
            Whose::Fleet(one) => *fleet == one,
            Whose::Policy(one) => **policy == one,
            Whose::All => true,
            Whose::Nobody => false,
        });
        [&mut self.whole]
            .into_iter()
            .chain(concerned.map(|(_, (wire, _))| wire))
    }

    /// A pass begins with the first request of each task that the daemon works in.
    fn begin(&mut self, task: Option<Id>, at: Duration, life: u32) {
        if self.task != task || self.whole.passes.is_empty() {
            self.task = task;
            for wire in self.concerned(Whose::All) {
                wire.passes.push(Pass::begun(at, life));
            }
        }
    }
}

/// What went over the wire.
pub(super) struct Line {
    pub(super) random: Random,
    /// Apart, so that the other trouble of a seed does not depend on it.
    pub(super) lies: Random,
    /// A machine of each app that is there from the beginning.
    pub(super) first: Vec<Option<Arc<str>>>,
    pub(super) scenario: Arc<Scenario>,
    pub(super) calm: bool,
    pub(super) life: u32,
    pub(super) apps: Vec<Talk>,
    /// The fleet of each machine that the daemon may have heard of.
    pub(super) owners: BTreeMap<Arc<str>, Option<usize>>,
    /// The app that the request that is being sent is about, and its body.
    pub(super) asking: Option<(usize, Bytes)>,
}

impl Line {
    /// Draws what goes wrong with a request, and notes it.
    pub(super) fn send(&mut self, request: &RequestInfo) -> Option<Effect> {
        let effect = if self.calm {
            None
        } else {
            let chaos = &self.scenario.chaos;
            chaos.draw(request.operation, request.at, &mut self.random)
        };
        let Some((app, body)) = self.asking.clone() else {
            if request.operation == Operation::ListApps && effect.is_some() {
                for talk in &mut self.apps {
                    talk.apps_unlisted = Some(request.at);
                }
            }
            return effect;
        };
        let effect = effect.or_else(|| self.lie(app, request));
        let whose = self.whose(app, request, &body);
        let talk = &mut self.apps[app];
        let busy = request.operation == Operation::Query && asks_busy(&body);
        talk.begin(task::try_id(), request.at, self.life);
        let creates = request.operation == Operation::Create;
        let sought = creates.then(|| Sought::by(&body));
        for wire in talk.concerned(whose) {
            if let Some(pass) = wire.passes.last_mut() {
                pass.asked |= request.operation == Operation::Query && !busy;
            }
            wire.exchanges.push(Exchange {
                ordinal: request.ordinal,
                at: request.at,
                operation: request.operation,
                machine: request.machine.clone(),
                query: request.query.clone(),
                whose,
                busy,
                sought: sought.clone(),
                pass: wire.passes.len().saturating_sub(1),
                effect: effect.clone(),
                lag: Duration::ZERO,
                lacks: Vec::new(),
                ended: None,
                told: false,
            });
        }
        effect
    }

    /// The answer to a create that names a machine which there was before, if that happens: one that the daemon knows, for
    /// its last list shows it.
    fn lie(&mut self, app: usize, request: &RequestInfo) -> Option<Effect> {
        let lies = !self.calm
            && request.operation == Operation::Create
            && self.scenario.chaos.lies(request.at, &mut self.lies);
        let last = self.apps[app].fleets[0].passes.last();
        let view = last.and_then(|pass| pass.view.as_ref()).filter(|_| lies)?;
        let known = self.first[app].as_ref();
        let id = known.filter(|id| view.machines.contains_key(*id))?;
        let answer = format!(r#"{{"id":"{id}","state":"created","region":"ord"}}"#);
        Some(Effect::AnswerAfter(Canned::json(200, &answer)))
    }

    /// Whom a request about this app concerns.
    fn whose(&self, app: usize, request: &RequestInfo, body: &[u8]) -> Whose {
        let scene = &self.scenario.apps[app];
        let json = || serde_json::from_slice(body).unwrap_or(Value::Null);
        let fleet = match (request.operation, &request.machine) {
            (Operation::List | Operation::Graphql | Operation::ListVolumes, _) => {
                return Whose::All;
            }
            (Operation::Query, _) => {
                let (policy, fleet) = scene.asked_by(body);
                if fleet.is_none() {
                    return Whose::Policy(policy);
                }
                fleet
            }
            (Operation::Create, _) => {
                let body = json();
                let group = body["config"]["metadata"]["fly_process_group"].as_str();
                scene.fleet_of(group, body["region"].as_str().unwrap_or_default())
            }
            (Operation::CreateVolume, _) => {
                let body = json();
                let cpus = body["compute"]["cpus"].as_u64();
                let region = body["region"].as_str().unwrap_or_default();
                cpus.and_then(|cpus| scene.fleet_of_volume(cpus, region))
            }
            (_, Some(machine)) => self.owners.get(machine).copied().flatten(),
            _ => None,
        };
        fleet.map_or(Whose::Nobody, Whose::Fleet)
    }
}

#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Line>>);

impl Shared {
    pub(super) fn new(seed: u64, scenario: &Arc<Scenario>) -> Self {
        Self(Arc::new(Mutex::new(Line {
            random: Random::new(seed ^ 0xc4a05),
            lies: Random::new(seed ^ 0x11e5),
            first: Vec::new(),
            scenario: Arc::clone(scenario),
            calm: false,
            life: 0,
            apps: scenario.apps.iter().map(Talk::new).collect(),
            owners: BTreeMap::new(),
            asking: None,
        })))
    }

    pub(super) fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The simulator as the program's transport, with a record of what was said.
pub(super) struct Recorder {
    pub(super) simulator: Simulator,
    pub(super) shared: Shared,
    pub(super) began: Instant,
}

/// Records that an exchange was given up, unless it ended otherwise.
pub(super) struct Open<'recorder> {
    pub(super) recorder: &'recorder Recorder,
    pub(super) app: usize,
    pub(super) whose: Whose,
    pub(super) ordinal: u64,
}

impl Open<'_> {
    /// Changes the exchange wherever it is recorded.
    fn edit(&self, talk: &mut Talk, change: impl Fn(&mut Exchange)) {
        for wire in talk.concerned(self.whose) {
            if let Some(index) = wire.index(self.ordinal) {
                change(&mut wire.exchanges[index]);
            }
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let now = self.recorder.began.elapsed();
        let mut line = self.recorder.shared.line();
        self.edit(&mut line.apps[self.app], |exchange| {
            exchange.ended.get_or_insert((now, Ended::Dropped));
        });
    }
}

impl Transport for Recorder {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            let scenario = Arc::clone(&self.shared.line().scenario);
            let app = scenario.app_of(&request);
            let about = app.map(|app| (app, request.body().clone()));
            let now = self.began.elapsed();
            let (lag, lacks) = (scenario.lag(now), scenario.lacks(now));
            if request.method() == Method::GET && request.uri().path().ends_with("/machines") {
                if let Some(app) = app {
                    let mut platform = self.simulator.platform();
                    let name = &scenario.apps[app].name;
                    platform.set_list_lag(name, lag);
                    let lacks: Vec<&str> = lacks.iter().map(String::as_str).collect();
                    platform.set_list_lacks(name, &lacks);
                }
            }
            let mut call = pin!(self.simulator.call(request, body_limit));
            // The fault hook is asked at the first poll; it has noted the exchange then.
            let first = std::future::poll_fn(|context| {
                self.shared.line().asking.clone_from(&about);
                match call.as_mut().poll(context) {
                    Poll::Ready(result) => Poll::Ready(Some(result)),
                    Poll::Pending => Poll::Ready(None),
                }
            })
            .await;
            let open = app.and_then(|app| {
                let mut line = self.shared.line();
                let talk = &mut line.apps[app];
                let sent = talk.whole.exchanges.last()?;
                let open = Open {
                    recorder: self,
                    app,
                    whose: sent.whose,
                    ordinal: sent.ordinal,
                };
                open.edit(talk, |exchange| {
                    exchange.lag = lag;
                    exchange.lacks.clone_from(&lacks);
                });
                Some(open)
            });
            let result = match first {
                Some(result) => result,
                None => call.await,
            };
            let result = match &open {
                Some(open) => self.with_loads(open, result),
                None => result,
            };
            if let Some(open) = open {
                self.note(&open, &result);
            }
            result.map_err(|error| match error {
                CallError::Refused => TransportError::Connect(Box::new(error)),
                CallError::Interrupted => TransportError::Interrupted(Box::new(error)),
                CallError::BodyTooLarge { limit } => TransportError::BodyTooLarge { limit },
            })
        })
    }
}

impl Recorder {
    /// The answer to a question about busy machines, which the platform does not know, unless it goes wrong.
    fn with_loads(
        &self,
        open: &Open<'_>,
        result: Result<Response<Bytes>, CallError>,
    ) -> Result<Response<Bytes>, CallError> {
        let platform = self.simulator.platform();
        let line = self.shared.line();
        let wire = &line.apps[open.app].whole;
        let asked = wire.index(open.ordinal).map(|place| &wire.exchanges[place]);
        let goes_well = asked.is_some_and(|asked| {
            asked.busy && matches!(asked.effect, None | Some(Effect::SlowAnswer(_)))
        });
        match platform.app(&line.scenario.apps[open.app].name) {
            Some(app) if goes_well && result.is_ok() => {
                let (seed, now) = (line.scenario.options.seed, self.began.elapsed());
                Ok(busy::answer(seed, app, now, line.calm))
            }
            _ => result,
        }
    }

    /// Keeps what the daemon learns by an answer.
    fn note(&self, open: &Open<'_>, result: &Result<Response<Bytes>, CallError>) {
        let now = self.began.elapsed();
        let platform = self.simulator.platform();
        let mut line = self.shared.line();
        let Line {
            scenario,
            apps,
            owners,
            ..
        } = &mut *line;
        let (scene, talk) = (&scenario.apps[open.app], &mut apps[open.app]);
        let ended = match result {
            Ok(response) => Ended::Status(response.status().as_u16()),
            Err(CallError::Refused) => Ended::Refused,
            Err(_) => Ended::Broken,
        };
        let is_json = |body: &[u8]| serde_json::from_slice::<IgnoredAny>(body).is_ok();
        let is_whole = || matches!(result, Ok(response) if is_json(response.body()));
        open.edit(talk, |exchange| {
            exchange.ended = Some((now, ended));
            // It was so short that nothing was cut off.
            let cut = |effect: &Effect| matches!(effect, Effect::Truncate(_)) && !is_whole();
            exchange.effect = exchange
                .effect
                .take()
                .filter(|effect| !matches!(effect, Effect::Truncate(_)) || cut(effect));
        });
        let Ok(response) = result else { return };
        if !response.status().is_success() {
            return;
        }
        let Some(exchange) = talk.whole.index(open.ordinal) else {
            return;
        };
        let exchange = talk.whole.exchanges[exchange].clone();
        let is_told = match exchange.operation {
            Operation::Graphql => release_of(response.body(), now).is_some(),
            Operation::List => exchange.accepted(),
            _ => false,
        };
        open.edit(talk, |exchange| exchange.told = is_told);
        let mut shown = Vec::new();
        let mut of = now;
        match exchange.operation {
            Operation::Create => {
                let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
                if let (Some(id), Whose::Fleet(fleet)) = (answer["id"].as_str(), exchange.whose) {
                    owners.entry(id.into()).or_insert(Some(fleet));
                }
            }
            Operation::List if !matches!(exchange.effect, Some(Effect::Truncate(_))) => {
                let processed = platform
                    .requests_for(Operation::List)
                    .rev()
                    .find(|record| record.ordinal == exchange.ordinal)
                    .map_or(now, |record| record.at);
                of = processed.saturating_sub(exchange.lag);
                let machines = platform
                    .app(&scene.name)
                    .into_iter()
                    .flat_map(|app| app.machines_at(of));
                let lacks = |machine: &&Machine| {
                    let mut lacking = exchange.lacks.iter();
                    lacking.any(|region| **region == *machine.region)
                };
                shown.extend(machines.filter(|machine| !lacks(machine)));
                for machine in &shown {
                    let fleet = scene.fleet_of(machine.group(), &machine.region);
                    owners.entry(Arc::clone(&machine.id)).or_insert(fleet);
                }
            }
            _ => {}
        }
        for (wire, fleet) in talk.fleets.iter_mut().zip(&scene.fleets) {
            if wire.index(open.ordinal).is_none() {
                continue;
            }
            let Some(pass) = wire.passes.get_mut(exchange.pass) else {
                continue;
            };
            match exchange.operation {
                Operation::Get => {
                    if let (Some(id), Some(told)) = (&exchange.machine, told_of(response.body())) {
                        pass.answers.insert(Arc::clone(id), told);
                    }
                }
                Operation::Query if exchange.busy => {
                    pass.loads.extend(loads_of(response.body(), now));
                }
                Operation::Query => {
                    let region = fleet.rules.which.region.as_deref();
                    pass.metric = metric_of(response.body(), region);
                }
                Operation::Graphql => {
                    pass.releases.extend(release_of(response.body(), now));
                }
                Operation::List if !matches!(exchange.effect, Some(Effect::Truncate(_))) => {
                    let machines = shown.iter().map(|machine| {
                        let seen = seen(machine, &fleet.rules);
                        (Arc::clone(&machine.id), seen)
                    });
                    pass.view = Some(View {
                        completed: now,
                        of,
                        machines: machines.collect(),
                    });
                }
                _ => {}
            }
        }
    }
}

/// Whether a query asks how busy machines are.
fn asks_busy(query: &[u8]) -> bool {
    query
        .windows(BUSY.len())
        .any(|part| part == BUSY.as_bytes())
}

/// What the answer about one machine says.
pub(super) fn told_of(body: &[u8]) -> Option<Answer> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let metadata = &answer["config"]["metadata"];
    let release = metadata["fly_release_version"].as_str();
    Some(Answer {
        host_ok: answer["host_status"].as_str()? == "ok",
        state: answer["state"].as_str()?.to_owned(),
        protected: metadata["fas_protect"] == "true",
        cordoned: answer["cordoned"] == true,
        release: release.and_then(|release| release.parse().ok()),
    })
}

/// The number of a fleet: of the element about its region where each element is about one, and of none where only some are.
pub(super) fn metric_of(body: &[u8], region: Option<&str>) -> Option<f64> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let result = &answer["data"]["result"];
    let value = if answer["data"]["resultType"].as_str()? == "vector" {
        let of_element = |element: &Value| element["metric"]["region"].as_str().map(str::to_owned);
        let elements = result.as_array()?;
        let regions: Vec<_> = elements.iter().map(of_element).collect();
        let labelled = regions.iter().flatten().count();
        let own = match region {
            Some(region) if labelled > 0 => {
                let own = || {
                    regions
                        .iter()
                        .position(|one| one.as_deref() == Some(region))
                };
                (labelled == regions.len()).then(own)??
            }
            _ => 0,
        };
        &elements.get(own)?["value"][1]
    } else {
        &result[1]
    };
    let value: f64 = value.as_str()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// What the answer says of the current release; `None` where it is of no use.
pub(super) fn release_of(body: &[u8], completed: Duration) -> Option<Release> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let release = answer["data"]["app"].as_object()?.get("currentRelease")?;
    let began = || release["createdAt"].as_str()?.parse().ok();
    let status = release["status"].as_str();
    let went_wrong = matches!(status, Some("failed" | "interrupted"));
    Some(Release {
        completed,
        running_since: (status == Some("running")).then(began).flatten(),
        wrong: release["version"].as_u64().filter(|_| went_wrong),
    })
}

pub(super) fn is_of(machine: &Machine, rules: &Rules) -> bool {
    rules.which.takes(machine.group(), &machine.region)
}

pub(super) fn is_mine(machine: &Machine, rules: &Rules) -> bool {
    is_of(machine, rules) && is_kin(machine, rules)
}

fn is_kin(machine: &Machine, rules: &Rules) -> bool {
    let text = machine.config.text();
    let is_aside = text.contains(r#""standbys""#) || text.contains(r#""schedule""#);
    rules.which.is_kin(machine.group()) && !is_aside
}

/// What a configuration has in its environment that tells its descent.
fn origin_of(config: &str) -> Option<String> {
    let (_, value) = config.split_once(r#""ORIGIN":""#)?;
    let (value, _) = value.split_once('"')?;
    Some(value.to_owned())
}

pub(super) fn seen(machine: &Machine, rules: &Rules) -> Seen {
    Seen {
        state: machine.state.clone(),
        mine: is_mine(machine, rules),
        of_fleet: is_of(machine, rules),
        host_ok: machine.host_status == HostStatus::Ok,
        protected: machine
            .config
            .metadata()
            .get("fas_protect")
            .is_some_and(|value| value == "true"),
        auto_destroy: machine.config.auto_destroy(),
        cordoned: machine.cordoned,
        mounts: !machine.config.volumes().is_empty(),
        release: machine.config.release_version(),
        region: Arc::clone(&machine.region),
        kin: is_kin(machine, rules),
        origin: rules
            .which
            .region
            .as_ref()
            .and_then(|_| origin_of(machine.config.text())),
    }
}
