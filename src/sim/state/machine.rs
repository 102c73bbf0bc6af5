//! One simulated machine: its states, its configuration, and the JSON the Machines API shows of it.
//!
//! The configuration is kept as the very text it was sent in, because a client must be able to copy every field, number
//! and null of it; only what the platform itself acts on is read out. Which state follows which, and when, is the
//! platform's business.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, OnceLock},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use crate::sim::random::{hash, mix};

/// How many events a machine remembers, newest first.
const EVENTS: usize = 5;

/// How long a machine has to stop when its configuration does not say, as on Fly.
const DEFAULT_KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time that a configuration can ask for, as on Fly.
const LONGEST_KILL_TIMEOUT: Duration = Duration::from_secs(300);

/// A state of a machine, as the API names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the API's state of that name")]
pub enum MachineState {
    Creating,
    Created,
    Starting,
    Started,
    Restarting,
    Updating,
    Replacing,
    Replaced,
    Stopping,
    Stopped,
    Suspending,
    Suspended,
    Failed,
    LaunchFailed,
    Destroying,
    Destroyed,
    Migrated,
    /// A state that no client knows.
    Other(Arc<str>),
}

impl MachineState {
    /// The API's word for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Restarting => "restarting",
            Self::Updating => "updating",
            Self::Replacing => "replacing",
            Self::Replaced => "replaced",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Suspending => "suspending",
            Self::Suspended => "suspended",
            Self::Failed => "failed",
            Self::LaunchFailed => "launch_failed",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
            Self::Migrated => "migrated",
            Self::Other(word) => word,
        }
    }

    /// Whether the machine's VM is up, so that it reports metrics and serves requests.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Started | Self::Stopping | Self::Suspending)
    }

    /// Whether the machine is there to stay: everything but those that are going or gone.
    #[must_use]
    pub const fn is_living(&self) -> bool {
        !matches!(
            self,
            Self::Destroying | Self::Destroyed | Self::Replaced | Self::Migrated
        )
    }

    /// Whether the machine stays in this state until somebody acts on it.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        matches!(
            self,
            Self::Started | Self::Stopped | Self::Suspended | Self::Failed | Self::Destroyed
        )
    }
}

impl fmt::Display for MachineState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What the platform knows about the host that a machine lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostStatus {
    /// It answers.
    #[default]
    Ok,
    /// Nothing is known just now; its machines run on.
    Unknown,
    /// It is cut off: its machines cannot be acted on and report no metrics.
    Unreachable,
}

impl HostStatus {
    /// The API's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A machine's configuration: the text as it was sent, and what the platform reads in it.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    text: Arc<RawValue>,
    image: Arc<str>,
    image_ref: Arc<ImageRef>,
    metadata: Arc<BTreeMap<String, String>>,
    volumes: Arc<Vec<String>>,
    auto_destroy: bool,
    scheduled: bool,
    kill_timeout: Duration,
    memory_mb: u64,
}

/// Why a configuration is refused; the text is what the API answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid config: {0}")]
pub struct InvalidConfig(String);

impl MachineConfig {
    /// Reads a configuration, keeping its text.
    ///
    /// # Errors
    ///
    /// When it is not an object, names no image, or has metadata or mounts of a wrong type.
    pub fn parse(text: &RawValue) -> Result<Self, InvalidConfig> {
        let invalid = |what: &str| InvalidConfig(what.to_owned());
        let value: Value = serde_json::from_str(text.get())
            .map_err(|_| invalid("it is not JSON of a reasonable depth"))?;
        let Value::Object(fields) = &value else {
            return Err(invalid("expected an object"));
        };
        let image = match fields.get("image").and_then(Value::as_str) {
            Some(image) if !image.trim().is_empty() => image,
            _ => return Err(invalid("image is required")),
        };
        let mut metadata = BTreeMap::new();
        match fields.get("metadata") {
            None | Some(Value::Null) => {}
            Some(Value::Object(pairs)) => {
                for (key, value) in pairs {
                    let Some(value) = value.as_str() else {
                        return Err(invalid("metadata values must be strings"));
                    };
                    metadata.insert(key.clone(), value.to_owned());
                }
            }
            Some(_) => return Err(invalid("metadata must be an object")),
        }
        let mut volumes = Vec::new();
        match fields.get("mounts") {
            None | Some(Value::Null) => {}
            Some(Value::Array(mounts)) => {
                for mount in mounts {
                    match mount.get("volume").and_then(Value::as_str) {
                        Some(volume) if !volume.is_empty() => volumes.push(volume.to_owned()),
                        _ => return Err(invalid("a mount names no volume")),
                    }
                }
            }
            Some(_) => return Err(invalid("mounts must be a list")),
        }
        let kill_timeout = fields
            .get("stop_config")
            .and_then(|stop| stop.get("timeout"))
            .and_then(read_duration)
            .unwrap_or(DEFAULT_KILL_TIMEOUT);
        Ok(Self {
            image: image.into(),
            image_ref: Arc::new(ImageRef::of(image)),
            metadata: Arc::new(metadata),
            volumes: Arc::new(volumes),
            auto_destroy: fields.get("auto_destroy") == Some(&Value::Bool(true)),
            scheduled: fields
                .get("schedule")
                .and_then(Value::as_str)
                .is_some_and(|schedule| !schedule.is_empty()),
            kill_timeout: kill_timeout.min(LONGEST_KILL_TIMEOUT),
            memory_mb: fields
                .get("guest")
                .and_then(|guest| guest.get("memory_mb"))
                .and_then(Value::as_u64)
                .unwrap_or(256),
            text: Arc::from(text.to_owned()),
        })
    }

    /// The text as it was sent.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.get()
    }

    /// The image, as the configuration names it.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The metadata.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The volumes that its mounts name.
    #[must_use]
    pub fn volumes(&self) -> &[String] {
        &self.volumes
    }

    /// Whether the machine destroys itself when it stops.
    #[must_use]
    pub const fn auto_destroy(&self) -> bool {
        self.auto_destroy
    }

    /// Why such a machine cannot be suspended, if it cannot.
    pub(super) fn refuses_suspending(&self) -> Option<&'static str> {
        if self.scheduled {
            Some("it has a schedule")
        } else if self.memory_mb > 2048 {
            Some("it has more than 2 GB of memory")
        } else {
            None
        }
    }

    /// How long the machine may take to stop before it is killed.
    #[must_use]
    pub const fn kill_timeout(&self) -> Duration {
        self.kill_timeout
    }

    /// The process group: `fly_process_group`, else `process_group`, else none.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        ["fly_process_group", "process_group"]
            .iter()
            .filter_map(|key| self.metadata.get(*key))
            .map(String::as_str)
            .find(|group| !group.is_empty())
    }

    /// The release that it belongs to, if its metadata says so.
    #[must_use]
    pub fn release_version(&self) -> Option<u64> {
        self.metadata.get("fly_release_version")?.parse().ok()
    }

    /// The same configuration with another image and changed metadata (`None` removes a key).
    ///
    /// All other fields keep their text.
    pub(super) fn with(&self, image: Option<&str>, changes: &[(&str, Option<&str>)]) -> Self {
        let mut metadata = (*self.metadata).clone();
        for (key, value) in changes {
            match value {
                Some(value) => metadata.insert((*key).to_owned(), (*value).to_owned()),
                None => metadata.remove(*key),
            };
        }
        let image = image.unwrap_or(&self.image);
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(self.text.get()).unwrap_or_default();
        for (field, value) in [
            ("image", to_raw_value(image)),
            ("metadata", to_raw_value(&metadata)),
        ] {
            if let Ok(value) = value {
                fields.insert(field.to_owned(), value);
            }
        }
        Self {
            text: to_raw_value(&fields).map_or_else(|_| Arc::clone(&self.text), Arc::from),
            image: image.into(),
            image_ref: Arc::new(ImageRef::of(image)),
            metadata: Arc::new(metadata),
            ..self.clone()
        }
    }
}

/// A duration as a configuration may hold it: Go's text (`"1m30s"`) or a number of nanoseconds.
fn read_duration(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(number) => number.as_u64().map(Duration::from_nanos),
        Value::String(text) => parse_duration(text),
        _ => None,
    }
}

/// Reads Go's duration text, whole numbers only: `30s`, `1m30s`, `500ms`, `0`.
pub(in crate::sim) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let unit = rest
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(rest.len());
        let one = match rest.get(..unit)? {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            "us" | "µs" => Duration::from_micros(1),
            "ns" => Duration::from_nanos(1),
            _ => return None,
        };
        total = total.checked_add(one.checked_mul(u32::try_from(number).ok()?)?)?;
        rest = rest.get(unit..)?;
    }
    (!text.is_empty()).then_some(total)
}

/// A health check's latest result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, such as `servicecheck-00-http-8080`.
    pub name: String,
    /// `passing`, `warning` or `critical`.
    pub status: String,
    /// What the check printed.
    pub output: String,
}

/// Something that happened to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineEvent {
    /// The API's word: `launch`, `start`, `stop`, `exit`, `update`, `destroy` …
    pub kind: &'static str,
    /// The state that it led to.
    pub status: MachineState,
    /// `user`, `flyd` or `proxy`.
    pub source: &'static str,
    /// When.
    pub at: Timestamp,
    /// The exit code, when the machine's process ended.
    pub exit_code: Option<i32>,
}

/// A lease: while it lasts, only who knows its nonce may change the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What the holder sends in `fly-machine-lease-nonce`.
    pub nonce: String,
    /// When it ends, since the simulation's start.
    pub expires: Duration,
    /// Who holds it.
    pub owner: String,
    /// What it was taken for.
    pub description: String,
}

/// What happens to a machine next by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The image is prepared.
    Prepared { skip_launch: bool },
    /// The machine gets into this state.
    Become(MachineState),
    /// Its process ends by itself, with this code.
    Exit(i32),
    /// The machine is gone.
    Vanish,
}

/// One machine at one moment.
///
/// Cloning it is cheap: its large parts are shared.
#[derive(Debug, Clone)]
pub struct Machine {
    /// 14 hexadecimal digits.
    pub id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its state.
    pub state: MachineState,
    /// The region it is in.
    pub region: Arc<str>,
    /// The host it is on.
    pub host: Arc<str>,
    /// What is known about that host.
    pub host_status: HostStatus,
    /// The version of its configuration; a new one with every update.
    pub instance_id: Arc<str>,
    /// Its configuration.
    pub config: MachineConfig,
    /// Whether the proxy sends it nothing.
    pub cordoned: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Its health checks.
    pub checks: Arc<Vec<Check>>,
    /// What happened to it, newest first.
    pub events: Vec<MachineEvent>,
    /// The lease on it, perhaps an expired one.
    pub lease: Option<Lease>,
    /// How long its process takes to stop; `None` is the app's usual time.
    pub stop_takes: Option<Duration>,
    /// Whether the API leaves its image reference empty, as Fly's sometimes does.
    pub image_ref_hidden: bool,
    /// Text that the API shows in place of the machine, to try a client with what should not be.
    pub shown_as: Option<Arc<RawValue>>,
    pub(super) pending: Option<(Duration, Step)>,
    pub(super) text: ShownText,
}

impl Machine {
    /// The process group, see [`MachineConfig::group`].
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.config.group()
    }

    /// Whether it belongs to `group`; an empty group means every machine.
    #[must_use]
    pub fn is_of(&self, group: &str) -> bool {
        group.is_empty() || self.group() == Some(group)
    }

    /// The lease on it, if it has not expired at `now`.
    #[must_use]
    pub fn lease_at(&self, now: Duration) -> Option<&Lease> {
        self.lease.as_ref().filter(|lease| lease.expires > now)
    }

    pub(super) fn note(
        &mut self,
        kind: &'static str,
        source: &'static str,
        at: Timestamp,
        exit_code: Option<i32>,
    ) {
        let status = self.state.clone();
        self.events.truncate(EVENTS - 1);
        self.events.insert(
            0,
            MachineEvent {
                kind,
                status,
                source,
                at,
                exit_code,
            },
        );
    }

    /// The machine as the API shows it, as JSON text.
    pub(in crate::sim) fn text(&self, shown: Shown) -> Cow<'_, str> {
        if let Some(text) = &self.shown_as {
            return Cow::Borrowed(text.get());
        }
        let lease = shown.lease_at.and_then(|now| self.lease_at(now));
        if shown.summary || shown.nonce || lease.is_some() {
            return Cow::Owned(self.render(shown));
        }
        Cow::Borrowed(self.text.0.get_or_init(|| self.render(Shown::default())))
    }

    /// What was shown is not so any more.
    pub(super) fn forget_text(&mut self) {
        self.text = ShownText::default();
    }

    fn render(&self, shown: Shown) -> String {
        let readable = self.host_status == HostStatus::Ok;
        let incomplete = (!readable)
            .then(|| json!({ "image": self.config.image(), "metadata": self.config.metadata() }));
        let full = !shown.summary;
        let hidden = ImageRef::default();
        let rendered = Rendered {
            id: &self.id,
            name: &self.name,
            state: self.state.as_str(),
            region: &self.region,
            instance_id: &self.instance_id,
            version: &self.instance_id,
            private_ip: private_ip(&self.id),
            created_at: second(self.created_at),
            updated_at: second(self.updated_at),
            cordoned: self.cordoned,
            image_ref: if self.image_ref_hidden {
                &hidden
            } else {
                &self.config.image_ref
            },
            host_status: full.then(|| self.host_status.as_str()),
            config: (full && readable).then_some(&*self.config.text),
            incomplete_config: incomplete.filter(|_| full),
            checks: full.then(|| {
                let at = second(self.updated_at);
                self.checks
                    .iter()
                    .map(|check| {
                        json!({ "name": check.name, "status": check.status,
                                "output": check.output, "updated_at": at })
                    })
                    .collect()
            }),
            events: full.then(|| self.render_events()),
            lease: shown
                .lease_at
                .and_then(|now| self.lease_at(now))
                .map(|lease| json!({ "owner": lease.owner, "description": lease.description })),
            nonce: self
                .lease
                .as_ref()
                .filter(|_| shown.nonce)
                .map(|lease| lease.nonce.as_str()),
        };
        serde_json::to_string(&rendered).unwrap_or_default()
    }

    fn render_events(&self) -> Vec<RenderedEvent<'_>> {
        let newest = self.events.len();
        self.events
            .iter()
            .enumerate()
            .map(|(index, event)| RenderedEvent {
                id: format!("{}-{:04}", self.instance_id, newest - index),
                kind: event.kind,
                status: event.status.as_str(),
                source: event.source,
                timestamp: event.at.as_millisecond(),
                request: RenderedRequest {
                    restart_count: 0,
                    exit_event: event.exit_code.map(|exit_code| {
                        json!({
                            "exit_code": exit_code, "oom_killed": false,
                            "requested_stop": exit_code == 0, "restarting": false,
                            "signal": -1, "exited_at": second(event.at),
                        })
                    }),
                },
            })
            .collect()
    }
}

/// The text of a machine as lists show it, made when it is first asked for: most lists show most machines as the list before.
///
/// A copy has none, for it is copied to be changed, or kept while the other one is.
#[derive(Default)]
pub(super) struct ShownText(OnceLock<String>);

impl Clone for ShownText {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for ShownText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ShownText")
    }
}

/// How much of a machine is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::sim) struct Shown {
    /// Without configuration, checks, events and host.
    pub(in crate::sim) summary: bool,
    /// With the lease that holds at this moment.
    pub(in crate::sim) lease_at: Option<Duration>,
    /// With the lease's nonce, which only who took it may see.
    pub(in crate::sim) nonce: bool,
}

#[derive(Serialize)]
struct Rendered<'a> {
    id: &'a str,
    name: &'a str,
    state: &'a str,
    region: &'a str,
    instance_id: &'a str,
    version: &'a str,
    private_ip: String,
    created_at: String,
    updated_at: String,
    cordoned: bool,
    image_ref: &'a ImageRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<RenderedEvent<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

#[derive(Serialize)]
struct RenderedEvent<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'a str,
    source: &'static str,
    timestamp: i64,
    request: RenderedRequest,
}

#[derive(Serialize)]
struct RenderedRequest {
    restart_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_event: Option<Value>,
}

/// RFC 3339 with whole seconds, as the API writes times.
pub(in crate::sim) fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}

fn private_ip(id: &str) -> String {
    let word = hash(id);
    format!(
        "fdaa:0:1:a7b:{:x}:{:x}:{:x}:2",
        word & 0xffff,
        (word >> 16) & 0xffff,
        (word >> 32) & 0xffff
    )
}

/// An image's reference in parts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct ImageRef {
    registry: String,
    repository: String,
    tag: String,
    digest: String,
    labels: BTreeMap<String, String>,
}

impl ImageRef {
    /// Takes an image's name apart; one without a digest gets one that only depends on the name.
    fn of(image: &str) -> Self {
        let (named, digest) = match image.split_once('@') {
            Some((named, digest)) => (named, digest.to_owned()),
            None => (image, digest(image)),
        };
        let (path, tag) = match named.rsplit_once(':') {
            // A colon before a slash belongs to a registry's port.
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (named, "latest"),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((registry, repository)) if registry.contains(['.', ':']) => (registry, repository),
            _ => ("docker-hub-mirror.fly.io", path),
        };
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest,
            labels: BTreeMap::new(),
        }
    }
}

fn digest(image: &str) -> String {
    let mut word = hash(image);
    let mut digest = String::from("sha256:");
    for _ in 0..4 {
        word = mix(word.wrapping_add(1));
        let _ = write!(digest, "{word:016x}");
    }
    digest
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<MachineConfig, InvalidConfig> {
        MachineConfig::parse(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn a_configuration_is_refused_as_the_api_refuses_it() {
        let cases = [
            ("no object", "[]", "invalid config: expected an object"),
            ("no image", "{}", "invalid config: image is required"),
            (
                "empty image",
                r#"{"image":" "}"#,
                "invalid config: image is required",
            ),
            (
                "image of a wrong type",
                r#"{"image":7}"#,
                "invalid config: image is required",
            ),
            (
                "metadata of a wrong type",
                r#"{"image":"a","metadata":{"k":1}}"#,
                "invalid config: metadata values must be strings",
            ),
            (
                "mount without a volume",
                r#"{"image":"a","mounts":[{"path":"/data"}]}"#,
                "invalid config: a mount names no volume",
            ),
        ];
        for (name, text, expected) in cases {
            assert_eq!(config(text).unwrap_err().to_string(), expected, "{name}");
        }
    }

    #[test]
    fn changed_metadata_leaves_every_other_field_as_it_was_written() {
        let config = config(r#"{"image":"a","big":123456789012345678901234567890,"e":1e2,"none":null,"metadata":{"k":"v","drop":"x"}}"#).unwrap();
        let changed = config.with(Some("b"), &[("k", Some("w")), ("drop", None)]);
        assert_eq!(
            changed.text(),
            r#"{"big":123456789012345678901234567890,"e":1e2,"image":"b","metadata":{"k":"w"},"none":null}"#
        );
        assert_eq!(
            (changed.image(), changed.metadata()["k"].as_str()),
            ("b", "w")
        );
    }

    #[test]
    fn the_group_is_the_new_key_then_the_old_one() {
        let cases = [
            (r#"{"image":"a"}"#, None),
            (
                r#"{"image":"a","metadata":{"process_group":"old"}}"#,
                Some("old"),
            ),
            (
                r#"{"image":"a","metadata":{"process_group":"old","fly_process_group":"new"}}"#,
                Some("new"),
            ),
            (
                r#"{"image":"a","metadata":{"process_group":"old","fly_process_group":""}}"#,
                Some("old"),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(config(text).unwrap().group(), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_read_in_either_encoding() {
        let cases = [
            (r#""30s""#, Duration::from_secs(30)),
            (r#""1m30s""#, Duration::from_secs(90)),
            ("10000000000", Duration::from_secs(10)),
            (r#""1h""#, LONGEST_KILL_TIMEOUT),
            (r#""soon""#, DEFAULT_KILL_TIMEOUT),
            (r#""5""#, DEFAULT_KILL_TIMEOUT),
        ];
        for (text, expected) in cases {
            let config = config(&format!(
                r#"{{"image":"a","stop_config":{{"timeout":{text}}}}}"#
            ));
            assert_eq!(config.unwrap().kill_timeout(), expected, "{text}");
        }
    }

    #[test]
    fn an_image_is_taken_apart_as_fly_does() {
        let cases = [
            (
                "registry.fly.io/worker:v7@sha256:aa",
                "registry.fly.io",
                "worker",
                "v7",
                "sha256:aa",
            ),
            (
                "localhost:5000/a/b@sha256:bb",
                "localhost:5000",
                "a/b",
                "latest",
                "sha256:bb",
            ),
            (
                "redis",
                "docker-hub-mirror.fly.io",
                "redis",
                "latest",
                &digest("redis"),
            ),
        ];
        for (image, registry, repository, tag, digest) in cases {
            let expected = json!({ "registry": registry, "repository": repository, "tag": tag,
                                   "digest": digest, "labels": {} });
            assert_eq!(json!(ImageRef::of(image)), expected, "{image}");
        }
        assert_eq!(digest("redis").len(), "sha256:".len() + 64);
    }
}
