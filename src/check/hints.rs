//! What to do about what was found, as a command where there is one. One place, so that the same trouble gets the same
//! advice wherever it shows.

use std::collections::BTreeSet;

use url::Url;

use crate::{
    collect::{CollectError, CollectErrorKind},
    config::{AppSelection, CollectorKind, Config, ConfigError, Spelling},
    expr::EvalError,
    machines::{ApiError, ApiErrorCause, Verdict},
    peers,
    scaling::{EVERY_GROUP, Kind, Note, PlanFailure},
    shown::{address, excerpt},
};

use super::{Fleet, Reading, Seen, by_region, seen::NAME_LIMIT, source_hints};

/// What is shown for the autoscaler's own app where it is not known.
const SOME_AUTOSCALER: &str = "my-autoscaler";

/// What the query is mostly called that says how busy machines are.
const BUSY_QUERY: &str = "FAS_PROMETHEUS_BUSY_QUERY";

fn own(config: &Config) -> &str {
    config.own.app.as_deref().unwrap_or(SOME_AUTOSCALER)
}

/// A token that Fly accepts for an app.
pub(super) fn new_token(seen: &Seen<'_>) -> String {
    set_token(seen.config, &token_for(seen, seen.app))
}

/// A token that Fly accepts for all apps of an organization.
pub(super) fn new_token_of_org(config: &Config, apps: &AppSelection) -> String {
    let org = apps.org.as_deref().unwrap_or_default();
    set_token(config, format!("fly tokens create org {org}").trim_end())
}

fn set_token(config: &Config, create: &str) -> String {
    format!(
        "create a token and set all of it, `FlyV1 ` and commas included:\n\
         fly secrets set -a {} FAS_API_TOKEN=\"$({create})\"",
        own(config)
    )
}

pub(super) fn unknown_app(seen: &Seen<'_>) -> String {
    let config = seen.config;
    let name = if config.claims.len() > 1 {
        format!("app-name of policies[{}]", seen.settings.place)
    } else {
        "FAS_APP_NAME".to_owned()
    };
    let which = if has_several_apps(config) {
        "a token for all apps of the policies"
    } else {
        "a token for it"
    };
    format!(
        "is {name} right, and does the token cover the app? The names are in: fly apps list\n\
         {which}: {}",
        token_for(seen, seen.app)
    )
}

/// Whether one token is to be for more than one app, as far as the policies that were not chosen may tell.
fn has_several_apps(config: &Config) -> bool {
    let mut apps = config.fleets.iter().map(|fleet| &fleet.apps.pattern);
    let first = apps.next();
    config.claims.len() > config.fleets.len() || apps.any(|other| Some(other) != first)
}

/// What creates a token for the app that a policy names, and for those of the others: one in place of theirs would lose them.
fn token_for(seen: &Seen<'_>, app: &str) -> String {
    let apps = &seen.settings.apps;
    if !apps.pattern.is_wildcard() && !has_several_apps(seen.config) {
        return format!("fly tokens create deploy -a {app}");
    }
    let scope = seen.scope.as_deref().unwrap_or_default();
    let known = scope.iter().find_map(|token| token.org.as_deref());
    let about = seen.about.as_ref().ok();
    let about = about.and_then(|about| about.org.as_deref());
    match apps.org.as_deref().or(about).or(known) {
        Some(org) => format!("fly tokens create org {org}"),
        None => "fly tokens create org".to_owned(),
    }
}

pub(super) fn unknown_org() -> String {
    "is FAS_ORG right, and is the token for it? The names are in: fly orgs list".to_owned()
}

pub(super) fn no_app_matches(org: &str, listed: &BTreeSet<String>) -> String {
    let some: Vec<String> = listed
        .iter()
        .take(5)
        .map(|name| excerpt(name, NAME_LIMIT))
        .collect();
    let some = if some.is_empty() {
        String::new()
    } else {
        format!(" (such as {})", some.join(", "))
    };
    format!("is FAS_APP_NAME right? The apps{some} are in: fly apps list -o {org}")
}

/// A server of Fly's that does not answer, or not as it should.
pub(super) fn no_answer(error: &ApiError, url: &Url) -> String {
    let url = address(url);
    match error.verdict() {
        Verdict::RateLimited => "too many requests: wait a minute and try again".to_owned(),
        Verdict::Unreached => {
            format!("can this machine reach it? Is a proxy set (HTTPS_PROXY)? Try: curl -sS {url}")
        }
        Verdict::Unavailable => {
            let slow = match error.cause {
                ApiErrorCause::Timeout { .. } => "; if it is only slow, raise FAS_TIMEOUT",
                _ => "",
            };
            format!(
                "wait and try again; Fly tells of its outages on https://status.flyio.net{slow}\n\
                 try: curl -sS {url}"
            )
        }
        _ => format!("is {url} the right address (FLY_FLAPS_BASE_URL, FLY_API_BASE_URL)?"),
    }
}

pub(super) fn deploy_first(app: &str) -> String {
    format!(
        "new machines are copies of existing ones, so deploy the app first: fly deploy -a {app}"
    )
}

pub(super) fn deploy_again(app: &str) -> String {
    format!("deploy again: fly deploy -a {app}")
}

pub(super) fn deploy_in_progress(app: &str) -> String {
    format!(
        "wait until it is done; one that died holds changes back for FAS_DEPLOY_TIMEOUT, or until the next: fly releases -a {app}"
    )
}

pub(super) fn abandoned_deploy(app: &str) -> String {
    format!(
        "if it is really being deployed, raise FAS_DEPLOY_TIMEOUT; else deploy again: fly deploy -a {app}"
    )
}

pub(super) fn look_at_machines(app: &str) -> String {
    format!("look at them: fly machine list -a {app}")
}

pub(super) fn look_at(app: &str, machines: &[String]) -> String {
    match machines.first() {
        Some(machine) => format!("look at it: fly machine status {machine} -a {app}"),
        None => look_at_machines(app),
    }
}

/// A group of which there are machines.
pub(super) fn other_group<'groups>(groups: impl Iterator<Item = &'groups str>) -> String {
    // One that is too long to be shown whole cannot be pasted.
    let named = groups.filter(|group| !group.is_empty() && !group.contains('…'));
    let named = named.max();
    format!(
        "name the process group whose machines are to be scaled: FAS_PROCESS_GROUP={}",
        named.unwrap_or(EVERY_GROUP)
    )
}

/// Machines in regions that are no fleets.
pub(super) fn left_out(app: &str) -> String {
    format!(
        "fine if they are not to be scaled; else name their region in FAS_REGIONS, or remove them: fly machine list -a {app}"
    )
}

/// A region in which the group has no machine.
pub(super) fn other_region(known: &str) -> String {
    format!(
        "choose one of them, as in --region {known}, or name all that are to be fleets: FAS_REGIONS"
    )
}

pub(super) fn no_standby(app: &str) -> String {
    format!(
        "a standby only stands in for another machine: deploy one that is none, fly deploy -a {app} --ha=false"
    )
}

/// Machines whose host does not answer.
pub(super) fn unreachable(app: &str) -> String {
    format!("wait until Fly has its hosts back, or deploy to others: fly machine list -a {app}")
}

/// Nobody says how busy machines are.
pub(super) fn busy(seen: &Seen<'_>) -> String {
    let busy = seen.settings.busy.as_ref();
    busy_by(busy.map_or(BUSY_QUERY, |busy| &busy.setting))
}

fn busy_by(setting: &str) -> String {
    format!(
        "try {setting} where its server shows graphs: each element needs a label instance or machine"
    )
}

pub(super) fn clone_volumes() -> String {
    "let each clone have volumes of its own: FAS_CLONE_VOLUMES=true".to_owned()
}

/// Nothing can be cloned although machines are wanted.
pub(super) fn no_source(seen: &Seen<'_>, fleet: &Fleet, failure: &PlanFailure) -> String {
    let PlanFailure::NoSource {
        process_group,
        groups,
        ..
    } = failure
    else {
        return "name the regions themselves: FAS_REGIONS, of fly platform regions".to_owned();
    };
    let mounted = fleet
        .observed
        .members
        .iter()
        .any(|member| member.machine.has_mounts);
    if mounted && !seen.settings.policy.clone_volumes {
        clone_volumes()
    } else if groups.is_empty() {
        deploy_first(seen.app)
    } else if process_group != EVERY_GROUP && !groups.contains(process_group) {
        let groups: Vec<String> = groups.iter().map(|one| excerpt(one, NAME_LIMIT)).collect();
        other_group(groups.iter().map(String::as_str))
    } else {
        look_at_machines(seen.app)
    }
}

/// A collector as it was configured: by the variables of its kind, or as an item of the file.
struct Written<'seen> {
    kind: CollectorKind,
    spelling: &'seen Spelling,
}

impl<'seen> Written<'seen> {
    fn of(seen: &'seen Seen<'_>, reading: &Reading) -> Self {
        static AS_VARIABLES: Spelling = Spelling::Variables { query: None };
        let mut collectors = seen.settings.collectors.iter();
        let collector = collectors.find(|collector| collector.metric == reading.metric);
        Self {
            kind: reading.kind,
            spelling: collector.map_or(&AS_VARIABLES, |collector| &collector.spelling),
        }
    }

    fn item(&self) -> Option<&'seen str> {
        match self.spelling {
            Spelling::Item(item) => Some(item),
            Spelling::Variables { .. } => None,
        }
    }

    /// How a setting of it is called.
    fn setting(&self, key: &str) -> String {
        self.spelling.setting(self.kind, key)
    }

    /// As [`Self::setting`], where the variable that is mostly used for it is another one.
    fn setting_or(&self, variable: &str, key: &str) -> String {
        match self.item() {
            None => variable.to_owned(),
            Some(_) => self.setting(key),
        }
    }

    /// A number as it is set: `FAS_PROMETHEUS_EMPTY_VALUE=0`.
    fn empty_value(&self) -> String {
        match self.item() {
            None => format!("{}=0", self.setting("empty-value")),
            Some(item) => format!("`empty-value: 0` at {item}"),
        }
    }

    /// Where a query is set: what a sentence goes on with before the line that sets it.
    fn place(&self) -> String {
        match self.item() {
            None => "in fly.toml".to_owned(),
            Some(item) => format!("in the file, at {item}"),
        }
    }

    /// The line that sets a query.
    fn query(&self, query: &str) -> String {
        match self.item() {
            None => format!("{} = {}", self.setting("query"), toml(query)),
            // A text in quotes as JSON has them is one of YAML too.
            Some(_) => format!("query: {}", serde_json::Value::from(query)),
        }
    }
}

/// What the setting of a metric's empty value is called.
pub(super) fn empty_value_setting(seen: &Seen<'_>, reading: &Reading) -> String {
    Written::of(seen, reading).setting("empty-value")
}

/// A metric that has no value.
pub(super) fn metric(seen: &Seen<'_>, reading: &Reading, error: &CollectError) -> String {
    let written = Written::of(seen, reading);
    let setting = |key: &str| written.setting(key);
    if let Some(hint) = source_hints::metric(reading, error, setting) {
        return hint;
    }
    let is_temporal = reading.kind == CollectorKind::Temporal;
    let address = setting("address");
    match error.kind() {
        CollectErrorKind::Unauthorized if is_temporal => format!(
            "check {} and {}, and that the namespace accepts this certificate",
            written.setting_or("TEMPORAL_TLS_CERT_DATA", "cert-data"),
            written.setting_or("TEMPORAL_TLS_KEY_DATA", "key-data"),
        ),
        CollectErrorKind::Unauthorized => {
            let org = fly_organization(&reading.address)
                .or(seen.settings.apps.org.as_deref())
                .unwrap_or("my-org");
            let key = match written.item() {
                None => String::new(),
                Some(_) => format!(
                    "\nand {}: token: $FAS_PROMETHEUS_TOKEN",
                    written.place()
                ),
            };
            format!(
                "create a token for the organization in the address and set all of it, with its `FlyV1 `:\n\
                 fly secrets set -a {} FAS_PROMETHEUS_TOKEN=\"$(fly tokens create readonly {org})\"{key}",
                own(seen.config)
            )
        }
        CollectErrorKind::Empty => empty(seen, reading),
        CollectErrorKind::NotANumber => format!(
            "if that means 0, as 0/0 of an idle app does: {}",
            written.empty_value()
        ),
        CollectErrorKind::WrongType if error.is_of_some_regions() => some_regions(seen, reading),
        CollectErrorKind::WrongType => aggregate(seen, reading),
        CollectErrorKind::Query if is_temporal => format!(
            "correct {}: try it in Temporal's web interface",
            setting("query")
        ),
        CollectErrorKind::Query => format!(
            "correct {}: try the query in Grafana",
            setting("query")
        ),
        CollectErrorKind::Namespace => format!(
            "is {} right? The names are in: temporal operator namespace list",
            setting("namespace")
        ),
        CollectErrorKind::Timeout => {
            "half of FAS_TIMEOUT is for metrics: raise it, or make the query cheaper".to_owned()
        }
        CollectErrorKind::Connection | CollectErrorKind::Interrupted | CollectErrorKind::Tls
            if is_temporal =>
        {
            format!("is {address} right, and can this machine reach it? Addresses in .internal are reached from Fly only")
        }
        CollectErrorKind::Connection | CollectErrorKind::Interrupted | CollectErrorKind::Tls => {
            format!(
                "is {address} right, and can this machine reach it? Addresses in .internal are reached from Fly only\n\
                 try: curl -sS {}/api/v1/query?query=1",
                reading.address
            )
        }
        CollectErrorKind::Partial => "wait until all of the server's storage answers".to_owned(),
        CollectErrorKind::Setup => "correct the setting that the message names".to_owned(),
        CollectErrorKind::Status if !is_temporal && is_servers_fault(error) => {
            "the server failed: each pass asks again, and without the metric the machines are left alone".to_owned()
        }
        CollectErrorKind::Status | CollectErrorKind::Unreadable | CollectErrorKind::Oversized => {
            if is_temporal {
                format!("is {address} the address of Temporal's gRPC service (port 7233)?")
            } else {
                format!("is {address} right? It is the part before /api/v1/query; Fly's is https://api.fly.io/prometheus/ORG")
            }
        }
    }
}

/// The organization in the address of Fly's Prometheus.
fn fly_organization(address: &str) -> Option<&str> {
    let (_, path) = address.split_once("/prometheus/")?;
    path.split(['/', '?']).next().filter(|org| !org.is_empty())
}

/// Whether one answer has the numbers of all regions, which are fleets.
fn is_for_all_regions(seen: &Seen<'_>, reading: &Reading) -> bool {
    let is_prometheus = reading.kind == CollectorKind::Prometheus;
    is_prometheus && seen.settings.policy.per_region && !reading.asks_each_region
}

/// One number for all regions, where each may have been meant to have its own.
pub(super) fn one_for_all(seen: &Seen<'_>, reading: &Reading) -> String {
    let written = Written::of(seen, reading);
    let fine = "fine if each region is to have as many; else";
    if !is_for_all_regions(seen, reading) {
        let asked = match reading.kind {
            CollectorKind::Http => ["url", "value"]
                .map(|key| written.setting(key))
                .join(" or "),
            CollectorKind::Redis => written.setting("command"),
            _ => written.setting("query"),
        };
        return format!("{fine} ask for each region's own, with $REGION in {asked}");
    }
    let query = by_region::by_region(&configured_query(seen, reading));
    format!(
        "{fine} ask for each region's own, with $REGION in {}, or {}:\n{}",
        written.setting("query"),
        written.place(),
        written.query(&query)
    )
}

/// Some elements of a query say which region they are about, and some do not.
fn some_regions(seen: &Seen<'_>, reading: &Reading) -> String {
    let written = Written::of(seen, reading);
    let configured = configured_query(seen, reading);
    let query = by_region::by_region(&configured);
    if configured.contains("vector(") && !query.contains("vector(") {
        return format!(
            "what a region without an element has is set by itself: {}, and {}:\n{}",
            written.empty_value(),
            written.place(),
            written.query(&query)
        );
    }
    let filtered = by_region::with_region_only(&query);
    let query = filtered.unwrap_or_else(|| "sum by (region) (queue_depth{region!=''})".to_owned());
    format!(
        "leave out what is of no region, {}:\n{}",
        written.place(),
        written.query(&query)
    )
}

pub(super) fn aggregate(seen: &Seen<'_>, reading: &Reading) -> String {
    let written = Written::of(seen, reading);
    if is_for_all_regions(seen, reading) {
        let query = by_region::by_region(&configured_query(seen, reading));
        return format!(
            "make one number for each region of it, for example {}:\n{}",
            written.place(),
            written.query(&query)
        );
    }
    let query = format!("sum({})", configured_query(seen, reading));
    format!(
        "make one number of it, for example {}:\n{}",
        written.place(),
        written.query(&query)
    )
}

/// A query that returned nothing.
fn empty(seen: &Seen<'_>, reading: &Reading) -> String {
    let written = Written::of(seen, reading);
    let query = configured_query(seen, reading);
    // To leave out what has no such label is meant.
    let compared = query.replace("!=''", "").replace("!=\"\"", "");
    let mut blank = ["=''", "=\"\""].iter();
    if blank.any(|blank| compared.contains(blank)) {
        let why = match written.item() {
            None => "a shell replaces $APP_NAME between double quotes; in fly.toml it stays",
            Some(_) => {
                "a variable that is not set is replaced by nothing in the file; $APP_NAME stays"
            }
        };
        return format!(
            "a label in the query is compared with nothing: {why}:\n{}",
            written.query("sum(queue_depth{app='$APP_NAME'})")
        );
    }
    if is_for_all_regions(seen, reading) {
        return format!(
            "try the query in Grafana: is the app's name in it right, and the region in the label region of each element? If nothing means 0: {}",
            written.empty_value()
        );
    }
    format!(
        "try the query in Grafana: is the app's name in it right? If nothing means 0: {}, or {}\n{}",
        written.empty_value(),
        written.place(),
        written.query(&format!("{query} or vector(0)"))
    )
}

/// The query as it was configured, with `$APP_NAME` in it, so that it serves for other apps as well; all of it, for it is
/// to be pasted.
fn configured_query(seen: &Seen<'_>, reading: &Reading) -> String {
    let mut collectors = seen.settings.collectors.iter();
    let collector = collectors.find(|collector| collector.metric == reading.metric);
    let query = collector.map_or_else(
        || reading.query.clone(),
        |collector| collector.query("$APP_NAME"),
    );
    excerpt(&query, usize::MAX)
}

/// A string of TOML: as in `fly.toml`, where no shell reads it.
fn toml(text: &str) -> String {
    if !text.contains(['"', '\\']) {
        format!("\"{text}\"")
    } else if !text.contains('\'') {
        format!("'{text}'")
    } else {
        format!("'''{text}'''")
    }
}

/// Whether the server says that the fault is its own.
fn is_servers_fault(error: &CollectError) -> bool {
    matches!(error, CollectError::HttpStatus { status, .. } if status.is_server_error())
}

/// An answer of nothing that counts as a number while machines run.
pub(super) fn empty_value() -> String {
    "a misspelt query or a failed scrape would count the same: is the query right? FAS_MACHINE_FLOOR keeps as many machines as the app needs".to_owned()
}

/// An expression whose value its own machines raise.
pub(super) fn climbs(kind: Kind) -> String {
    match kind {
        Kind::Created => {
            "for a spare machine: started_machine_count + 1 with FAS_INITIAL_MACHINE_STATE=stopped, for Fly Proxy to start it".to_owned()
        }
        Kind::Started => counts_itself(kind),
    }
}

pub(super) fn unread(metric: &str) -> String {
    format!(
        "it is asked for in each pass all the same: use {} in an expression, or remove it",
        excerpt(metric, NAME_LIMIT)
    )
}

/// An expression that has no value although its metrics have.
pub(super) fn evaluation(error: &EvalError) -> String {
    match error {
        EvalError::Missing(metric) => {
            format!("say what an outage means, for example: ({metric} ?? 80)")
        }
        EvalError::Infinite | EvalError::Nan => {
            "is something divided by 0? Guard it, for example: q > 0 ? ceil(work / q) : 1"
                .to_owned()
        }
        EvalError::OutOfRange(_) => "bound it, for example: min(…, 10)".to_owned(),
        EvalError::Run(_) => {
            "guard it with a condition; the language: fly-autoscaler help expressions".to_owned()
        }
    }
}

pub(super) fn ceil() -> String {
    "if the rest needs a machine too, round up: ceil(queue_depth / 10)".to_owned()
}

pub(super) fn counts_itself(kind: Kind) -> String {
    match kind {
        Kind::Created => {
            "let new machines be created stopped, for Fly Proxy to start: FAS_INITIAL_MACHINE_STATE=stopped".to_owned()
        }
        Kind::Started => {
            "use a metric of the work to be done, or FAS_CREATED_MACHINE_COUNT with FAS_INITIAL_MACHINE_STATE=stopped".to_owned()
        }
    }
}

pub(super) fn capped(kind: Kind) -> String {
    let kind = kind.as_str().to_uppercase();
    format!(
        "fine if the maximum is meant as a cap; else correct FAS_MIN_{kind}_MACHINE_COUNT or FAS_MAX_{kind}_MACHINE_COUNT"
    )
}

pub(super) fn idle_floor() -> String {
    "fine as a safety net for another expression; else raise FAS_MACHINE_FLOOR or remove it"
        .to_owned()
}

pub(super) fn idle_ceiling() -> String {
    "fine as a safety net for another expression; else lower FAS_MACHINE_CEILING or remove it"
        .to_owned()
}

pub(super) fn proxy_off() -> String {
    "in the service section of the app's fly.toml: auto_stop_machines = \"off\" and auto_start_machines = false; or use FAS_CREATED_MACHINE_COUNT in place of the started one".to_owned()
}

pub(super) fn nobody_starts(has_no_service: bool) -> String {
    if has_no_service {
        "the app has no service: FAS_INITIAL_MACHINE_STATE=started, or a FAS_STARTED_MACHINE_COUNT"
            .to_owned()
    } else {
        "in the service section of the app's fly.toml: auto_start_machines = true and auto_stop_machines = \"stop\"; or FAS_INITIAL_MACHINE_STATE=started".to_owned()
    }
}

pub(super) fn proxy_starts() -> String {
    "in the service section of the app's fly.toml: auto_start_machines = true".to_owned()
}

pub(super) fn proxy_stops() -> String {
    "in the service section of the app's fly.toml: auto_stop_machines = \"stop\"".to_owned()
}

pub(super) fn one_copy(own_app: Option<&str>) -> String {
    peers::advice(own_app.unwrap_or(SOME_AUTOSCALER))
}

/// What `fly consul attach` sets.
const ATTACHED: &str = "FLY_CONSUL_URL";

pub(super) fn no_lock(setting: &str) -> String {
    let attach = if setting == ATTACHED {
        "On Fly, fly consul attach sets it"
    } else {
        "What fly consul attach sets is FLY_CONSUL_URL, which is used where this is not set"
    };
    format!(
        "is {setting} right, and can this machine reach it? {attach}\n\
         without a lock for a while: one copy only, and FAS_LOCK_URL=none"
    )
}

pub(super) fn lock_refused(setting: &str) -> String {
    let rights = if setting == ATTACHED {
        "fly consul attach gives a token with the rights that a lock needs: write for key_prefix, session_prefix and node_prefix"
            .to_owned()
    } else {
        format!(
            "the token in {setting} needs write for key_prefix, session_prefix and node_prefix; one with these rights is in \
             FLY_CONSUL_URL after fly consul attach, which is used where {setting} is not set"
        )
    };
    format!(
        "{rights}\n\
         without a lock for a while: one copy only, and FAS_LOCK_URL=none"
    )
}

pub(super) fn other_shards() -> String {
    "copies that share the work have the same FAS_SHARDS; while it is being changed this passes by itself"
        .to_owned()
}

pub(super) fn another_lock() -> String {
    "copies of one FAS_LOCK_NAME take turns: give this one another, or the same FAS_APP_NAME"
        .to_owned()
}

pub(super) fn slow() -> String {
    "raise FAS_TIMEOUT (and FAS_INTERVAL with it), or see to what is slow".to_owned()
}

pub(super) fn port_taken(setting: &str) -> String {
    format!(
        "fine if serve runs on another machine; else end what listens there, or set another port: {setting}"
    )
}

/// What to do about a remark of a decision.
pub(super) fn note(app: &str, note: &Note) -> Option<String> {
    let hint = match note {
        Note::MinimumCapped { kind, .. } => capped(*kind),
        Note::Fallback { .. } => "see to the metric that has no value".to_owned(),
        Note::CreatePaused { .. } => {
            "why they failed is in an earlier ERROR line of the log; wait, or list more regions in FAS_REGIONS".to_owned()
        }
        Note::CeilingLeavesNoRoom { doubtful: 0, .. } => {
            format!("raise FAS_MACHINE_CEILING, or {}", look_at_machines(app))
        }
        Note::CeilingLeavesNoRoom { .. } => {
            "wait up to ten minutes, or raise FAS_MACHINE_CEILING".to_owned()
        }
        Note::CreatesAssumed { .. } => {
            "wait a minute: a list will show what became of them".to_owned()
        }
        Note::Unlisted { .. }
        | Note::TooManyUnlisted { .. }
        | Note::UnseenSurplus { .. }
        | Note::MayBeGone { .. } => {
            "wait: the next passes ask Fly for these machines, 20 in each".to_owned()
        }
        Note::MountsNotCloned { .. } => clone_volumes(),
        Note::NotClonable { .. } => deploy_first(app),
        Note::MountsNotDestroyed { .. } => format!(
            "FAS_CLONE_VOLUMES=true, or destroy them yourself: fly machine destroy ID -a {app}"
        ),
        Note::DeployInProgress { .. } => deploy_in_progress(app),
        Note::ReleaseUnknown { .. } => {
            "wait until Fly's GraphQL API answers: https://status.flyio.net".to_owned()
        }
        Note::BlueGreen { .. } => format!(
            "if the deploy has died, deploy again (fly deploy -a {app}), or remove what it left: fly machine list -a {app}"
        ),
        Note::RunningSurplusWaits { .. } => {
            "nothing to do: they go when the surplus has lasted FAS_DESTROY_RUNNING_AFTER".to_owned()
        }
        Note::NotDestroyable { .. } => look_at_machines(app),
        Note::RegionIsOver => "name the regions in FAS_REGIONS that are to have machines".to_owned(),
        Note::LastOfGroup => "nothing to do: another region may need a copy of it".to_owned(),
        Note::StartedAboveCreated { .. } => {
            "raise the created target, or lower the started one".to_owned()
        }
        Note::DestroysFailed { machines, .. } | Note::Stuck { machines } => look_at(app, machines),
        Note::StartsFailed { .. } => format!("why they stop is in their log: fly logs -a {app}"),
        Note::StopsFailed { .. } => {
            format!("does Fly Proxy start them? {}", proxy_off())
        }
        Note::TooFewStopped { .. } => {
            "there are not enough stopped machines: create some (fly scale count), or use FAS_CREATED_MACHINE_COUNT".to_owned()
        }
        Note::BusyUnknown { .. } => busy_by(BUSY_QUERY),
        Note::Unreachable { .. } => look_at_machines(app),
        Note::NoMachines => deploy_first(app),
        Note::LockUnconfirmed => {
            "does Consul answer? the log says why, and so does: fly-autoscaler check".to_owned()
        }
        Note::StoodStill => {
            "is the autoscaler's machine suspended, or overloaded? fly machine list".to_owned()
        }
        Note::Floor { .. }
        | Note::Ceiling { .. }
        | Note::GrowthHeld { .. }
        | Note::ShrinkingHeld { .. }
        | Note::Step { .. }
        | Note::WaitsForStopping { .. }
        | Note::TooFewStoppable { .. }
        | Note::BusyStay { .. }
        | Note::DryRun
        | Note::StandsBy
        | Note::OutOfTime { .. }
        | Note::OutcomeUnknown { .. }
        | Note::Skipped { .. } => return None,
    };
    Some(hint)
}

/// Parts of what the configuration warns of or refuses, and what to do about it.
const SETTINGS: &[(&str, &str)] = &[
    (
        "which has no upper bound",
        "bound it: FAS_CREATED_MACHINE_COUNT=\"min(…, 10)\", or FAS_MACHINE_CEILING=10",
    ),
    (
        "the token itself is missing",
        "a shell or a file did not expand the token; set it with quotes: fly secrets set -a my-autoscaler FAS_API_TOKEN=\"$(fly tokens create deploy -a my-app)\"",
    ),
    (
        "no shell has replaced it",
        "a shell or a file did not expand it; set it with double quotes: fly secrets set -a my-autoscaler FAS_API_TOKEN=\"$(fly tokens create deploy -a my-app)\"",
    ),
    (
        "deploys do not block scaling",
        "let changes wait for a deploy: FAS_DEPLOY_TIMEOUT=1h, or unset it",
    ),
    (
        "put the value in quotes",
        "put the value in quotes: without them it means something else in YAML",
    ),
    (
        "is ignored, because the file overrides it",
        "remove one of the two: the file's counts",
    ),
    (
        "FAS_DRY_RUN overrides the file",
        "to let it act, unset the variable: fly secrets unset -a my-autoscaler FAS_DRY_RUN, or remove it from fly.toml",
    ),
    (
        "a region unknown to fly-autoscaler",
        "is it misspelt? The names are in: fly platform regions",
    ),
    (
        "but /api/v1/query is appended to it",
        "set FAS_PROMETHEUS_ADDRESS to the part before /api/v1, unless a proxy needs it so",
    ),
    (
        "no expression uses the metric",
        "is its name in the expression right? Else remove the collector",
    ),
    (
        "// begins a comment",
        "to divide and round down: floor(queue_depth / 10)",
    ),
    (
        "unknown variable; expected",
        "correct its name, or unset it: fly-autoscaler help settings",
    ),
    (
        "unknown variable, ignored",
        "is it misspelt? The names are in: fly-autoscaler help settings",
    ),
    (
        " is above ",
        "one of the two holds the other off: change the one that is not meant",
    ),
    (
        "no machine is ever",
        "fine if that is meant; else unset it, or set it to 1 or more",
    ),
    (
        ") does not match",
        "leave --app out, or name an app that FAS_APP_NAME matches; without --app each of them is shown: fly-autoscaler check",
    ),
    (
        "cannot compile the expression",
        "correct the expression; the language: fly-autoscaler help expressions",
    ),
];

/// What to do about a setting of which something is said.
pub(super) fn setting(said: &str) -> Option<String> {
    let known = SETTINGS.iter().find(|(part, _)| said.contains(part));
    known.map(|(_, hint)| (*hint).to_owned())
}

/// What to do about a mistake.
pub(super) fn mistake(error: &ConfigError) -> String {
    if let Some(hint) = setting(&error.to_string()) {
        return hint;
    }
    match &error.example {
        Some(example) => format!("example: {example}"),
        None => "all settings: fly-autoscaler help settings".to_owned(),
    }
}
