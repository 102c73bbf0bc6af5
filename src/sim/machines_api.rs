//! The Machines API: requests in, the real wire format out.
//!
//! Here a request is judged (token, app, rate limit), read, and turned into what the platform can do; what the
//! platform refuses is put into the API's words. Waiting for a state is only prepared here, since it takes time.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    access::Token,
    faults::Operation,
    limits::RetryAfter,
    random::hash,
    records::Actor,
    server::Incoming,
    state::{
        Caller, Creation, HostStatus, Machine, MachineConfig, MachineState, NewVolume, Platform,
        Refusal, Shown, StopOrder, Volume, parse_duration,
    },
    wire::{self, Answer},
};

/// The cookie that leads an app's requests to the same server, so that one reads what one wrote.
pub(super) const AFFINITY: &str = "fly_flaps_affinity";

/// The longest that the API waits for a state.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a request leads to.
pub(super) enum Processed {
    /// An answer at once.
    Answer(Answer),
    /// An answer when a machine is in a state, or when the time is up.
    Wait(WaitOrder),
}

/// To be told when a machine is in a state.
#[derive(Debug, Clone)]
pub(super) struct WaitOrder {
    app: Arc<str>,
    id: Arc<str>,
    states: Vec<String>,
    version: Option<String>,
    lasts: Duration,
    until: Duration,
}

impl WaitOrder {
    /// Ends the waiting at `now` if it has lasted long enough by another clock.
    pub(super) fn expire_after(&mut self, waited: Duration, now: Duration) {
        if waited >= self.lasts {
            self.until = self.until.min(now);
        }
    }
}

pub(super) fn process(platform: &mut Platform, incoming: &Incoming) -> Processed {
    let processed = admit(platform, incoming).and_then(|token| perform(platform, incoming, &token));
    let mut processed = processed.unwrap_or_else(|refusal| Processed::Answer(refused(&refusal)));
    if let (Processed::Answer(answer), Some(app)) = (&mut processed, &incoming.route.app) {
        if incoming.affinity(app) != Some(true) {
            let cookie = format!(
                "{AFFINITY}={}; Path=/v1/apps/{app}; HttpOnly; SameSite=Lax",
                affinity(app)
            );
            answer.header("set-cookie", &cookie);
        }
    }
    if let Processed::Answer(answer) = &mut processed {
        if answer.status == 429 {
            hint(platform, answer);
        }
    }
    processed
}

/// The value of an app's cookie.
pub(super) fn affinity(app: &str) -> String {
    format!("{:016x}", hash(app))
}

fn app_id(app: &str) -> String {
    format!("{:014x}", hash(app) >> 8)
}

fn refused(refusal: &Refusal) -> Answer {
    Answer::json(refusal.status, &refusal.body())
}

/// Says when to come back after a 429, if that is to be said.
fn hint(platform: &Platform, answer: &mut Answer) {
    match platform.rate_limits.retry_after {
        RetryAfter::Absent => {}
        RetryAfter::Seconds => answer.header("retry-after", "1"),
        RetryAfter::Date => {
            let next = platform.wall_at(platform.now().saturating_add(Duration::from_secs(1)));
            // A date has whole seconds; the next one is the earliest that is not too early.
            let next = jiff::Timestamp::from_second(next.as_second().saturating_add(1));
            if let Ok(next) = next {
                answer.header(
                    "retry-after",
                    &next.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
                );
            }
        }
    }
}

/// Judges who asks, for what, and how often.
fn admit(platform: &mut Platform, incoming: &Incoming) -> Result<Token, Refusal> {
    let token = platform
        .machines_access
        .admit(incoming.authorization())
        .ok_or_else(|| Refusal::new(401, "Authenticate: token validation error"))?;
    let route = &incoming.route;
    if let Some(name) = &route.app {
        let app = platform.app(name).ok_or_else(Refusal::no_app)?;
        if !token.covers(name, app.org()) {
            return Err(Refusal::new(403, "unauthorized"));
        }
    }
    let org;
    let identifier = match (&route.machine, &route.app) {
        (Some(machine), _) => machine,
        (None, Some(app)) => app,
        (None, None) => {
            org = wire::parameter(&incoming.query, "org_slug")
                .unwrap_or_default()
                .into();
            &org
        }
    };
    let now = platform.now();
    let limits = platform.rate_limits;
    platform
        .limiter
        .admit(&limits, route.operation, identifier, now)
        .map_err(|_| Refusal::new(429, "rate limit exceeded"))?;
    Ok(token)
}

fn perform(
    platform: &mut Platform,
    incoming: &Incoming,
    token: &Token,
) -> Result<Processed, Refusal> {
    let app = incoming.route.app.as_deref().unwrap_or_default();
    let id = incoming.route.machine.as_deref().unwrap_or_default();
    let nonce = incoming.header("fly-machine-lease-nonce");
    let ok = || Answer::json(200, &json!({ "ok": true }));
    let caller = Caller {
        actor: Actor::Api,
        nonce,
    };
    let answer = match incoming.route.operation {
        Operation::CurrentTokens => Answer::json(200, &json!({ "tokens": [token.render()] })),
        Operation::App => {
            let found = platform.app(app).ok_or_else(Refusal::no_app)?;
            let org = json!({ "name": found.org(), "slug": found.org() });
            Answer::json(
                200,
                &json!({
                    "id": app_id(found.name()),
                    "name": found.name(),
                    "status": found.status(),
                    "organization": org,
                }),
            )
        }
        Operation::ListApps => list_apps(platform, incoming, token)?,
        Operation::List => list(platform, incoming, app)?,
        Operation::Get => {
            let machine = platform.readable(app, id)?;
            let leases = wire::parameter(&incoming.query, "include_leases");
            let shown = Shown {
                lease_at: leases
                    .is_some_and(|leases| truth(&leases))
                    .then(|| platform.now()),
                ..Shown::default()
            };
            Answer::text(200, machine.text(shown).into_owned())
        }
        Operation::Create => create(platform, incoming, app)?,
        Operation::Destroy => {
            let forced = |name: &str| {
                wire::parameter(&incoming.query, name).is_some_and(|value| truth(&value))
            };
            let force = forced("force") || forced("kill");
            platform.destroy_machine(app, id, caller, force)?;
            ok()
        }
        Operation::Start => {
            let previous = platform.start_machine(app, id, caller)?;
            Answer::json(
                200,
                &json!({ "previous_state": previous.as_str(), "migrated": false, "new_host": "" }),
            )
        }
        Operation::Stop => {
            let order = stop_order(&incoming.body)?;
            platform.stop_machine(app, id, caller, order)?;
            ok()
        }
        Operation::Suspend => {
            platform.suspend_machine(app, id, caller)?;
            ok()
        }
        Operation::Wait => return Ok(Processed::Wait(wait_order(platform, incoming, app, id)?)),
        Operation::ListVolumes => {
            let found = platform.app(app).ok_or_else(Refusal::no_app)?;
            let volumes: Vec<Value> = found.volumes().map(Volume::render).collect();
            Answer::json(200, &json!(volumes))
        }
        Operation::CreateVolume => create_volume(platform, incoming, app)?,
        Operation::Graphql
        | Operation::Query
        | Operation::Metrics
        | Operation::RegisterNode
        | Operation::OpenSession
        | Operation::RenewSession
        | Operation::DestroySession
        | Operation::ListSessions
        | Operation::ReadKey
        | Operation::WriteKey
        | Operation::Unexpected => {
            return Err(Refusal::new(404, "not found"));
        }
    };
    Ok(Processed::Answer(answer))
}

fn truth(value: &str) -> bool {
    matches!(value, "true" | "1" | "t" | "T" | "TRUE" | "True")
}

fn list_apps(platform: &Platform, incoming: &Incoming, token: &Token) -> Result<Answer, Refusal> {
    let org = wire::parameter(&incoming.query, "org_slug")
        .filter(|org| !org.is_empty())
        .ok_or_else(|| Refusal::new(400, "org_slug is required"))?;
    if !token.covers_org(&org) {
        return Err(Refusal::new(403, "unauthorized"));
    }
    let of_org: Vec<_> = platform.apps().filter(|app| app.org() == org).collect();
    if of_org.is_empty() {
        return Err(Refusal::new(404, "organization not found"));
    }
    let apps: Vec<Value> = of_org
        .into_iter()
        .filter(|app| token.covers(app.name(), app.org()))
        .map(|app| {
            json!({
                "id": app_id(app.name()),
                "name": app.name(),
                "machine_count": app.machines().count(),
                "volume_count": app.volumes().count(),
                "network": "default",
                "status": app.status(),
                "organization": { "name": app.org(), "slug": app.org(), "internal_numeric_id": 7 },
            })
        })
        .collect();
    Ok(Answer::json(
        200,
        &json!({ "total_apps": apps.len(), "apps": apps }),
    ))
}

fn list(platform: &mut Platform, incoming: &Incoming, app: &str) -> Result<Answer, Refusal> {
    if platform.app(app).is_none() {
        return Err(Refusal::no_app());
    }
    let mut shown = Shown::default();
    let mut region = None;
    let mut states: Option<Vec<String>> = None;
    let mut metadata = Vec::new();
    for (name, value) in wire::parameters(&incoming.query) {
        match name.as_str() {
            "include_leases" if truth(&value) => shown.lease_at = Some(platform.now()),
            "summary" => shown.summary = truth(&value),
            "region" => region = Some(value),
            "state" => states = Some(value.split(',').map(str::to_owned).collect()),
            _ => {
                if let Some(key) = name.strip_prefix("metadata.") {
                    metadata.push((key.to_owned(), value));
                }
            }
        }
    }
    let wanted = |machine: &Machine| {
        region
            .as_ref()
            .is_none_or(|region| *machine.region == **region)
            && states
                .as_ref()
                .is_none_or(|states| states.iter().any(|state| state == machine.state.as_str()))
            && metadata
                .iter()
                .all(|(key, value)| machine.config.metadata().get(key) == Some(value))
    };
    let machines = platform.listed(app);
    let mut text = String::from("[");
    for machine in machines.iter().filter(|machine| wanted(machine)) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&machine.text(shown));
    }
    text.push(']');
    Ok(Answer::text(200, text))
}

#[derive(Deserialize)]
struct CreateBody {
    #[serde(default)]
    config: Option<Box<RawValue>>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    skip_launch: Option<bool>,
    #[serde(default)]
    skip_service_registration: Option<bool>,
    #[serde(default)]
    lease_ttl: Option<u64>,
}

fn create(platform: &mut Platform, incoming: &Incoming, app: &str) -> Result<Answer, Refusal> {
    let body: CreateBody = read(&incoming.body)?;
    let config = body
        .config
        .ok_or_else(|| Refusal::new(422, "invalid config: expected an object"))?;
    let present = |text: Option<String>| text.filter(|text| !text.is_empty());
    let creation = Creation {
        config: MachineConfig::parse(&config)?,
        region: present(body.region),
        name: present(body.name),
        skip_launch: body.skip_launch.unwrap_or(false),
        cordoned: body.skip_service_registration.unwrap_or(false),
        lease_ttl: body
            .lease_ttl
            .filter(|ttl| *ttl > 0)
            .map(Duration::from_secs),
    };
    let shown = Shown {
        nonce: creation.lease_ttl.is_some(),
        ..Shown::default()
    };
    let id = platform.create_machine(app, creation, Actor::Api)?;
    let machine = platform.readable(app, &id)?;
    Ok(Answer::text(200, machine.text(shown).into_owned()))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, format!("invalid request body: {error}")))
}

#[derive(Deserialize, Default)]
struct StopBody {
    #[serde(default)]
    signal: Option<String>,
    #[serde(default)]
    timeout: Option<Value>,
}

fn stop_order(body: &[u8]) -> Result<StopOrder, Refusal> {
    if body.is_empty() {
        return Ok(StopOrder::default());
    }
    let body: StopBody = read(body)?;
    let signal = body.signal.unwrap_or_default();
    let known = [
        "", "SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM",
    ];
    if !known.contains(&signal.as_str()) {
        return Err(Refusal::new(400, format!("unknown signal {signal}")));
    }
    let timeout = match body.timeout {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(
            parse_duration(&text)
                .ok_or_else(|| Refusal::new(400, format!("invalid timeout {text}")))?,
        ),
        Some(Value::Number(number)) => number.as_u64().map(Duration::from_nanos),
        Some(_) => return Err(Refusal::new(400, "invalid timeout")),
    };
    Ok(StopOrder {
        kill: signal == "SIGKILL",
        // Nothing says what "0s" means; it is taken as the machine's own timeout.
        timeout: timeout.filter(|timeout| !timeout.is_zero()),
    })
}

fn wait_order(
    platform: &Platform,
    incoming: &Incoming,
    app: &str,
    id: &str,
) -> Result<WaitOrder, Refusal> {
    platform.readable(app, id)?;
    let mut order = WaitOrder {
        app: app.into(),
        id: id.into(),
        states: Vec::new(),
        version: None,
        lasts: LONGEST_WAIT,
        until: platform.now().saturating_add(LONGEST_WAIT),
    };
    for (name, value) in wire::parameters(&incoming.query) {
        match name.as_str() {
            "state" => order.states.extend(value.split(',').map(str::to_owned)),
            "version" | "instance_id" => order.version = Some(value),
            "timeout" => {
                let seconds = value
                    .parse()
                    .ok()
                    .filter(|seconds| (1..=60).contains(seconds))
                    .ok_or_else(|| {
                        Refusal::new(400, "invalid timeout: expected 1 to 60 seconds")
                    })?;
                order.lasts = Duration::from_secs(seconds);
                order.until = platform.now().saturating_add(order.lasts);
            }
            _ => {}
        }
    }
    if order.states.is_empty() {
        order.states.push("started".to_owned());
    }
    let known = [
        "started",
        "stopped",
        "suspended",
        "destroyed",
        "failed",
        "settled",
    ];
    match order
        .states
        .iter()
        .find(|state| !known.contains(&state.as_str()))
    {
        Some(state) => Err(Refusal::new(400, format!("invalid state {state}"))),
        None => Ok(order),
    }
}

/// The answer to who waits, once there is one.
pub(super) fn waited(platform: &Platform, order: &WaitOrder) -> Option<Answer> {
    let reached = |state: &MachineState, version: &str| {
        Answer::json(
            200,
            &json!({ "ok": true, "state": state.as_str(), "version": version }),
        )
    };
    let Some(machine) = platform.machine(&order.app, &order.id) else {
        let destroyed = order
            .states
            .iter()
            .any(|state| state == "destroyed" || state == "settled");
        return Some(if destroyed {
            reached(&MachineState::Destroyed, "")
        } else {
            refused(&Refusal::no_machine())
        });
    };
    let version_differs = order
        .version
        .as_ref()
        .is_some_and(|version| **version != *machine.instance_id);
    if version_differs {
        let refusal = Refusal::new(400, "machine version is not the current one");
        return Some(refused(&refusal));
    }
    let there = machine.host_status == HostStatus::Ok
        && order.states.iter().any(|state| {
            state == machine.state.as_str() || (state == "settled" && machine.state.is_settled())
        });
    if there {
        return Some(reached(&machine.state, &machine.instance_id));
    }
    (platform.now() >= order.until).then(|| {
        refused(&Refusal::new(
            408,
            format!(
                "deadline_exceeded: machine is still {} and not {}",
                machine.state,
                order.states.join(" or ")
            ),
        ))
    })
}

#[derive(Deserialize)]
struct VolumeBody {
    #[serde(default)]
    name: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    size_gb: Option<u64>,
    #[serde(default)]
    encrypted: Option<bool>,
    #[serde(default)]
    fstype: Option<String>,
    #[serde(default)]
    snapshot_retention: Option<u64>,
}

fn create_volume(
    platform: &mut Platform,
    incoming: &Incoming,
    app: &str,
) -> Result<Answer, Refusal> {
    let body: VolumeBody = read(&incoming.body)?;
    let region = body.region.unwrap_or_else(|| "ord".to_owned());
    let usual = NewVolume::named(&body.name, &region);
    let volume = NewVolume {
        size_gb: body.size_gb.unwrap_or(usual.size_gb),
        encrypted: body.encrypted.unwrap_or(usual.encrypted),
        fstype: body.fstype.unwrap_or_else(|| usual.fstype.clone()),
        snapshot_retention: body.snapshot_retention.unwrap_or(usual.snapshot_retention),
        ..usual
    };
    let id = platform.create_volume(app, volume)?;
    let volume = platform
        .app(app)
        .and_then(|app| app.volumes().find(|volume| volume.id == id))
        .map(Volume::render);
    Ok(Answer::json(200, &volume.unwrap_or_default()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::sim::{
        Access, NewMachine, Options, RateLimits,
        server::tests::{answered, request},
    };

    const CONFIG: &str = r#"{"zeta":null,"image":"registry.fly.io/web:v7@sha256:aa","n":1e2,"big":123456789012345678901234567890,"f":0.10,"metadata":{"fly_process_group":"app"},"nested":{"unknown":[null,{}]}}"#;

    fn platform() -> (Platform, Arc<str>) {
        let options = Options {
            machines_access: Access::Tokens(vec![
                Token::new("all"),
                Token::new("web").of_apps(&["web"]),
                Token::new("else").of_org("else"),
            ]),
            ..Options::default()
        };
        let mut platform = Platform::new(&options);
        platform.add_app("web", "acme");
        platform.add_app("other", "acme");
        let id = platform
            .add_machine("web", NewMachine::in_region("ord").config(CONFIG))
            .unwrap();
        (platform, id)
    }

    fn ask(platform: &mut Platform, line: &str, token: &str, body: &str) -> Answer {
        let authorization = format!("Bearer {token}");
        let incoming = request(line, &[("authorization", &authorization)], body);
        match process(platform, &incoming) {
            Processed::Answer(answer) => answer,
            Processed::Wait(order) => {
                waited(platform, &order).unwrap_or_else(|| Answer::json(100, &Value::Null))
            }
        }
    }

    #[test]
    fn requests_are_answered_with_the_real_statuses() {
        let cases = [
            ("GET /v1/apps?org_slug=acme", "all", "", 200),
            ("GET /v1/apps?org_slug=none", "all", "", 404),
            ("GET /v1/apps", "all", "", 400),
            ("GET /v1/apps?org_slug=acme", "else", "", 403),
            ("GET /v1/apps/web/machines", "all", "", 200),
            ("GET /v1/apps/web/machines", "web", "", 200),
            ("GET /v1/apps/other/machines", "web", "", 403),
            ("GET /v1/apps/web/machines", "else", "", 403),
            ("GET /v1/apps/web/machines", "wrong", "", 401),
            ("GET /v1/apps/gone/machines", "all", "", 404),
            ("GET /v1/apps/web/machines/{id}", "all", "", 200),
            ("GET /v1/apps/web/machines/none", "all", "", 404),
            ("POST /v1/apps/web/machines", "all", "", 400),
            ("POST /v1/apps/web/machines", "all", "{}", 422),
            ("POST /v1/apps/web/machines", "all", r#"{"config":{}}"#, 422),
            (
                "POST /v1/apps/web/machines",
                "all",
                r#"{"config":{"image":"a"},"region":7}"#,
                400,
            ),
            (
                "POST /v1/apps/web/machines",
                "all",
                r#"{"config":{"image":"a"}}"#,
                200,
            ),
            ("DELETE /v1/apps/web/machines/{id}", "all", "", 412),
            (
                "DELETE /v1/apps/web/machines/{id}?force=false",
                "all",
                "",
                412,
            ),
            (
                "DELETE /v1/apps/web/machines/{id}?force=true",
                "all",
                "",
                200,
            ),
            (
                "DELETE /v1/apps/web/machines/{id}?kill=true",
                "all",
                "",
                200,
            ),
            ("POST /v1/apps/web/machines/{id}/start", "all", "", 412),
            ("POST /v1/apps/web/machines/{id}/stop", "all", "", 200),
            (
                "POST /v1/apps/web/machines/{id}/stop",
                "all",
                r#"{"signal":"SIGTERM","timeout":"30s"}"#,
                200,
            ),
            (
                "POST /v1/apps/web/machines/{id}/stop",
                "all",
                r#"{"id":"x","timeout":"0s"}"#,
                200,
            ),
            (
                "POST /v1/apps/web/machines/{id}/stop",
                "all",
                r#"{"signal":"SIGFOO"}"#,
                400,
            ),
            (
                "POST /v1/apps/web/machines/{id}/stop",
                "all",
                r#"{"timeout":"soon"}"#,
                400,
            ),
            ("POST /v1/apps/web/machines/{id}/suspend", "all", "", 200),
            ("GET /v1/apps/web/machines/{id}/wait", "all", "", 200),
            (
                "GET /v1/apps/web/machines/{id}/wait?state=stopped&timeout=5",
                "all",
                "",
                100,
            ),
            (
                "GET /v1/apps/web/machines/{id}/wait?state=settled",
                "all",
                "",
                200,
            ),
            (
                "GET /v1/apps/web/machines/{id}/wait?state=created",
                "all",
                "",
                400,
            ),
            (
                "GET /v1/apps/web/machines/{id}/wait?timeout=61",
                "all",
                "",
                400,
            ),
            (
                "GET /v1/apps/web/machines/{id}/wait?version=old",
                "all",
                "",
                400,
            ),
            (
                "GET /v1/apps/web/machines/none/wait?state=destroyed",
                "all",
                "",
                404,
            ),
            ("GET /v1/apps/web/volumes", "all", "", 200),
            (
                "POST /v1/apps/web/volumes",
                "all",
                r#"{"name":"data","region":"ord"}"#,
                200,
            ),
            (
                "POST /v1/apps/web/volumes",
                "all",
                r#"{"region":"ord"}"#,
                422,
            ),
            ("POST /v1/apps/web/machines/{id}", "all", "{}", 404),
        ];
        for (line, token, body, status) in cases {
            let (mut platform, id) = platform();
            let answer = ask(&mut platform, &line.replace("{id}", &id), token, body);
            assert_eq!(answer.status.as_u16(), status, "{line} {body}");
            if status >= 400 {
                let (_, body) = answered(&answer);
                assert!(body["error"].is_string(), "{line}: {body}");
            }
        }
    }

    #[test]
    fn a_machine_is_shown_with_its_configuration_exactly_as_it_was_sent() {
        let (mut platform, id) = platform();
        let line = format!("GET /v1/apps/web/machines/{id}");
        let answer = ask(&mut platform, &line, "all", "");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.contains(&format!(r#""config":{CONFIG}"#)), "{text}");
        let created = ask(
            &mut platform,
            "POST /v1/apps/web/machines",
            "all",
            &format!(r#"{{"region":"fra","skip_launch":true,"config":{CONFIG},"lease_ttl":10}}"#),
        );
        let text = String::from_utf8(created.body.to_vec()).unwrap();
        assert!(text.contains(&format!(r#""config":{CONFIG}"#)), "{text}");
        let (_, body) = answered(&created);
        assert_eq!(
            json!([
                body["state"],
                body["region"],
                body["host_status"],
                body["cordoned"]
            ]),
            json!(["created", "fra", "ok", false])
        );
        assert_eq!(
            body["image_ref"],
            json!({ "registry": "registry.fly.io", "repository": "web", "tag": "v7",
                    "digest": "sha256:aa", "labels": {} })
        );
        assert_eq!(body["created_at"], json!("2026-01-02T03:04:05Z"));
        assert_eq!(body["nonce"].as_str().map(str::len), Some(12));
    }

    #[test]
    fn a_machine_of_a_lost_host_has_no_configuration() {
        let (mut platform, id) = platform();
        let host = Arc::clone(&platform.machine("web", &id).unwrap().host);
        platform.set_host_status(&host, HostStatus::Unreachable);
        let (_, body) = answered(&ask(&mut platform, "GET /v1/apps/web/machines", "all", ""));
        assert_eq!(body[0]["host_status"], json!("unreachable"));
        assert_eq!(body[0].get("config"), None);
        assert_eq!(
            body[0]["incomplete_config"]["metadata"]["fly_process_group"],
            json!("app")
        );
    }

    #[test]
    fn a_list_can_be_narrowed_and_summarised() {
        let (mut platform, _) = platform();
        platform.set_rate_limits(RateLimits {
            enabled: false,
            ..RateLimits::default()
        });
        let stopped = NewMachine::in_region("fra")
            .state(MachineState::Stopped)
            .group("jobs");
        platform.add_machine("web", stopped).unwrap();
        let cases = [
            ("", 2),
            ("?region=fra", 1),
            ("?state=started", 1),
            ("?state=started,stopped", 2),
            ("?metadata.fly_process_group=jobs", 1),
            ("?metadata.fly_process_group=jobs&region=ord", 0),
            ("?started", 2),
        ];
        for (query, expected) in cases {
            let line = format!("GET /v1/apps/web/machines{query}");
            let (_, body) = answered(&ask(&mut platform, &line, "all", ""));
            assert_eq!(body.as_array().map(Vec::len), Some(expected), "{query}");
        }
        let line = "GET /v1/apps/web/machines?summary=true";
        let (_, body) = answered(&ask(&mut platform, line, "all", ""));
        assert_eq!(
            (body[0].get("config"), body[0].get("host_status")),
            (None, None)
        );
    }

    #[test]
    fn too_many_requests_are_refused_and_may_be_told_when_to_come_back() {
        let cases = [
            (RetryAfter::Absent, None),
            (RetryAfter::Seconds, Some("1")),
            (RetryAfter::Date, Some("Fri, 02 Jan 2026 03:04:07 GMT")),
        ];
        for (retry_after, expected) in cases {
            let (mut platform, _) = platform();
            platform.set_rate_limits(RateLimits {
                retry_after,
                ..RateLimits::default()
            });
            let line = "POST /v1/apps/web/machines";
            let body = r#"{"config":{"image":"a"}}"#;
            let statuses: Vec<u16> = (0..3)
                .map(|_| ask(&mut platform, line, "all", body).status.as_u16())
                .collect();
            assert_eq!(statuses, [200, 200, 200]);
            let answer = ask(&mut platform, line, "all", body);
            assert_eq!(
                answered(&answer),
                (429, json!({ "error": "rate limit exceeded" }))
            );
            let header = answer
                .headers
                .get("retry-after")
                .map(|value| value.to_str().unwrap());
            assert_eq!(header, expected);
            platform.advance(Duration::from_secs(1));
            assert_eq!(ask(&mut platform, line, "all", body).status, 200);
        }
    }

    #[test]
    fn the_affinity_cookie_is_given_once_per_app() {
        let (mut platform, _) = platform();
        let answer = ask(&mut platform, "GET /v1/apps/web/machines", "all", "");
        let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.starts_with("fly_flaps_affinity=") && cookie.contains("Path=/v1/apps/web;"));
        let pair = cookie.split(';').next().unwrap();
        let headers = [("authorization", "Bearer all"), ("cookie", pair)];
        let with = |platform: &mut Platform, line: &str| match process(
            platform,
            &request(line, &headers, ""),
        ) {
            Processed::Answer(answer) => answer.headers.contains_key("set-cookie"),
            Processed::Wait(_) => false,
        };
        assert!(!with(&mut platform, "GET /v1/apps/web/machines"));
        assert!(with(&mut platform, "GET /v1/apps/other/machines"));
    }

    #[test]
    fn apps_and_volumes_have_the_real_shape() {
        let (mut platform, _) = platform();
        let (_, body) = answered(&ask(&mut platform, "GET /v1/apps?org_slug=acme", "web", ""));
        assert_eq!(
            json!([
                body["total_apps"],
                body["apps"][0]["name"],
                body["apps"][0]["machine_count"],
                body["apps"][0]["status"],
                body["apps"][0]["organization"]["slug"]
            ]),
            json!([1, "web", 1, "deployed", "acme"])
        );
        let (_, volume) = answered(&ask(
            &mut platform,
            "POST /v1/apps/web/volumes",
            "all",
            r#"{"name":"data","region":"lhr","size_gb":10,"fstype":"xfs"}"#,
        ));
        assert_eq!(
            json!([
                volume["name"],
                volume["region"],
                volume["size_gb"],
                volume["fstype"],
                volume["attached_machine_id"],
                volume["state"],
                volume["host_status"]
            ]),
            json!(["data", "lhr", 10, "xfs", null, "created", "ok"])
        );
        let (_, volumes) = answered(&ask(&mut platform, "GET /v1/apps/web/volumes", "all", ""));
        assert_eq!(volumes, json!([volume]));
    }
}
