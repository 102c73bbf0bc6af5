//! The JSON of machines: what is read, what is kept as it came, what is refused.
//!
//! A machine's `config` is never decoded into a struct of known fields and written back: fields that this program does
//! not know would be lost in clones. It stays raw JSON; only what decisions read is looked at.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc, time::Duration};

use compact_str::CompactString;
use jiff::Timestamp;
use serde::{
    Deserialize,
    de::{Deserializer, Error as _, IgnoredAny, Visitor},
};
use serde_json::value::RawValue;

use super::client::cleaned;
use crate::{
    duration,
    json::{self, Object, Text},
    scaling::{DEFAULT_KILL_TIMEOUT, Machine, MachineConfig, State},
};

/// The most machines, volumes or apps that one list may have. An app has a few thousand machines at most; so many can still
/// be planned, in the memory of the smallest machine that this program runs on.
pub(super) const LIST_LENGTH: usize = 100_000;

/// The longest id, in bytes; Fly's have 14.
const ID_LIMIT: usize = 100;

/// Reads a machine list: the machines as decisions see them, in its order.
///
/// # Errors
///
/// When it is not a list of machines, when something that a decision reads has another type than the API documents, or
/// when an id comes twice. Unknown fields and states are no errors.
pub fn parse_machines(body: &[u8]) -> Result<Vec<Machine>, String> {
    let mut machines = Vec::new();
    let mut images = Images::default();
    let mut wrong = None;
    let mut reader = serde_json::Deserializer::from_slice(body);
    json::for_each_of(
        &mut reader,
        LIST_LENGTH,
        |Object(machine): Object<WireMachine<'_>>| {
            // Kept as it is: it comes back with the place where the machine ends.
            let machine = machine
                .read(&mut images)
                .inspect_err(|problem| wrong = Some(problem.clone()))?;
            machines.push(machine);
            Ok(())
        },
    )
    .and_then(|()| reader.end())
    .map_err(|error| wrong.take().unwrap_or_else(|| describe(body, &error)))?;
    match listed_twice(&machines) {
        Some(id) => Err(format!("machine {id} is in the list twice")),
        None => Ok(machines),
    }
}

/// An id that several machines of a list have, the first of them by its letters.
fn listed_twice(machines: &[Machine]) -> Option<&str> {
    let mut seen = HashSet::with_capacity(machines.len());
    let ids = machines.iter().map(|machine| machine.id.as_str());
    ids.filter(|id| !seen.insert(*id)).min()
}

/// Reads one machine; what is wrong with it is wrong as in a list.
///
/// # Errors
///
/// When it is no machine, or not the one with this id.
pub(super) fn parse_machine(body: &[u8], id: &str) -> Result<Machine, String> {
    let Object(wire): Object<WireMachine<'_>> =
        serde_json::from_slice(body).map_err(|error| describe(body, &error))?;
    if wire.id != id {
        return Err(format!("another machine was asked for, not {}", wire.id));
    }
    wire.read(&mut Images::default())
}

/// Says what is wrong with a body, in one bounded line: serde quotes a text of a wrong type, whatever its length.
pub(super) fn describe(body: &[u8], error: &serde_json::Error) -> String {
    let start = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match start {
        None => "the body is empty".to_owned(),
        Some(b'<') => "the body is HTML, not JSON".to_owned(),
        Some(_) if error.is_eof() => format!("the JSON is cut off: {}", explain(error)),
        Some(_) => format!("unexpected JSON: {}", explain(error)),
    }
}

/// A decoding error in one bounded line.
fn explain(error: &serde_json::Error) -> String {
    cleaned(&error.to_string())
}

#[derive(Deserialize)]
struct WireMachine<'body> {
    #[serde(deserialize_with = "identifier")]
    id: String,
    #[serde(borrow)]
    state: Text<'body>,
    #[serde(borrow)]
    region: Option<Text<'body>>,
    #[serde(borrow)]
    instance_id: Option<Text<'body>>,
    #[serde(borrow)]
    created_at: Option<Text<'body>>,
    #[serde(borrow)]
    updated_at: Option<Text<'body>>,
    #[serde(borrow)]
    host_status: Option<Text<'body>>,
    cordoned: Option<bool>,
    #[serde(borrow)]
    image_ref: Option<Object<WireImage<'body>>>,
    #[serde(borrow)]
    config: Option<&'body RawValue>,
    #[serde(borrow)]
    incomplete_config: Option<&'body RawValue>,
    checks: Option<AnyCritical>,
}

#[derive(Deserialize, Default)]
struct WireImage<'body> {
    #[serde(borrow)]
    registry: Option<Text<'body>>,
    #[serde(borrow)]
    repository: Option<Text<'body>>,
    #[serde(borrow)]
    tag: Option<Text<'body>>,
    #[serde(borrow)]
    digest: Option<Text<'body>>,
}

/// Whether a check is critical: all that is kept of them, however many there are.
struct AnyCritical(bool);

impl<'de> Deserialize<'de> for AnyCritical {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut critical = false;
        json::for_each(deserializer, |Object(check): Object<WireCheck<'_>>| {
            critical |= check.is_critical();
            Ok(())
        })?;
        Ok(Self(critical))
    }
}

#[derive(Deserialize)]
struct WireCheck<'body> {
    #[serde(borrow)]
    name: Option<Text<'body>>,
    #[serde(borrow)]
    status: Option<Text<'body>>,
}

/// The part of a configuration that decisions read.
#[derive(Deserialize, Default)]
struct WireConfig<'body> {
    #[serde(borrow)]
    metadata: Option<Object<WireMetadata<'body>>>,
    standbys: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    schedule: Option<Text<'body>>,
    auto_destroy: Option<bool>,
    mounts: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    stop_config: Option<Object<WireStop<'body>>>,
}

#[derive(Deserialize, Default)]
struct WireMetadata<'body> {
    #[serde(borrow)]
    fly_process_group: Option<Text<'body>>,
    #[serde(borrow)]
    process_group: Option<Text<'body>>,
    #[serde(borrow)]
    fly_release_version: Option<Loose<'body>>,
    #[serde(borrow)]
    fas_protect: Option<Loose<'body>>,
}

#[derive(Deserialize)]
struct WireStop<'body> {
    #[serde(borrow)]
    timeout: Option<Loose<'body>>,
}

/// A value whose encoding varies between clients: a string, a number or a boolean.
enum Loose<'body> {
    Text(Cow<'body, str>),
    Number(serde_json::Number),
    Flag(bool),
}

impl<'de: 'body, 'body> Deserialize<'de> for Loose<'body> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LooseVisitor;

        impl<'de> Visitor<'de> for LooseVisitor {
            type Value = Loose<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, a number or a boolean")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Loose::Number(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Loose::Number(number.into()))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
                let number = serde_json::Number::from_f64(number);
                number
                    .map(Loose::Number)
                    .ok_or_else(|| E::custom("a number is not finite"))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Loose::Flag(flag))
            }
        }

        deserializer.deserialize_any(LooseVisitor)
    }
}

impl Loose<'_> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.trim().into(),
            Self::Number(number) => number.to_string().into(),
            Self::Flag(flag) => flag.to_string().into(),
        }
    }
}

impl WireMachine<'_> {
    fn read(self, images: &mut Images) -> Result<Machine, String> {
        let host_ok = self
            .host_status
            .is_none_or(|Text(status)| status.is_empty() || status == "ok");
        let config = self.config.filter(|raw| raw.get() != "null");
        let incomplete = self.incomplete_config.filter(|raw| raw.get() != "null");
        let view = match config.or(incomplete) {
            None => Object::default(),
            Some(raw) => serde_json::from_str(raw.get()).map_err(|error| {
                let problem = cleaned(&json::problem(&error));
                format!("machine {}: its config: {problem}", self.id)
            })?,
        };
        let Object(view): Object<WireConfig<'_>> = view;
        let Object(metadata) = view.metadata.unwrap_or_default();
        let process_group = [metadata.fly_process_group, metadata.process_group]
            .into_iter()
            .flatten()
            .find(|Text(group)| !group.is_empty());
        let compact = |text: Option<Text<'_>>| {
            text.map_or_else(CompactString::default, |Text(text)| text.into())
        };
        Ok(Machine {
            id: self.id,
            region: compact(self.region),
            state: State::parse(&self.state.0),
            process_group: compact(process_group),
            host_ok,
            standby: view.standbys.is_some_and(|standbys| !standbys.is_empty()),
            scheduled: (view.schedule).is_some_and(|Text(schedule)| !schedule.is_empty()),
            protected: (metadata.fas_protect)
                .is_some_and(|protect| protect.text().eq_ignore_ascii_case("true")),
            auto_destroy: view.auto_destroy.unwrap_or(false),
            cordoned: self.cordoned.unwrap_or(false),
            critical: self.checks.is_some_and(|checks| checks.0),
            release: (metadata.fly_release_version).and_then(|version| version.text().parse().ok()),
            instance_id: self.instance_id.unwrap_or_default().0.into_owned(),
            has_mounts: view.mounts.is_some_and(|mounts| !mounts.is_empty()),
            config: config.filter(|_| host_ok).map(|raw| {
                let image = images.full(&self.image_ref.unwrap_or_default().0);
                MachineConfig::new(raw.get(), image)
            }),
            kill_timeout: (view.stop_config)
                .map_or(DEFAULT_KILL_TIMEOUT, |Object(stop)| stop.kill_timeout()),
            created_at: self.created_at.and_then(timestamp),
            updated_at: self.updated_at.and_then(timestamp),
        })
    }
}

impl WireCheck<'_> {
    /// Entries that only stand for a blue-green deploy's bookkeeping say nothing about health.
    fn is_critical(&self) -> bool {
        let compat = self
            .name
            .as_ref()
            .is_some_and(|Text(name)| name.starts_with("bg_deployments_compat"));
        let status = self.status.as_ref();
        !compat && status.is_some_and(|Text(status)| status == "critical")
    }
}

impl WireStop<'_> {
    /// Documented as a Go duration; older clients send nanoseconds. At most five minutes, as Fly allows.
    fn kill_timeout(&self) -> Duration {
        let timeout = self.timeout.as_ref().and_then(|timeout| match timeout {
            Loose::Text(text) => duration::parse(text).ok(),
            Loose::Number(number) => number.as_u64().map(Duration::from_nanos),
            Loose::Flag(_) => None,
        });
        timeout
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(DEFAULT_KILL_TIMEOUT)
            .min(Duration::from_secs(300))
    }
}

/// The full references of images: one machine of an app mostly has the same as the one before it.
#[derive(Default)]
struct Images {
    last: Option<Arc<str>>,
    /// Where one is put together.
    text: String,
}

impl Images {
    /// The full reference of an image, where it has one.
    fn full(&mut self, image: &WireImage<'_>) -> Option<Arc<str>> {
        self.text.clear();
        image.write_full(&mut self.text)?;
        match &self.last {
            Some(last) if **last == *self.text => {}
            _ => self.last = Some(self.text.as_str().into()),
        }
        self.last.clone()
    }
}

impl WireImage<'_> {
    /// Appends `registry/repository:tag@digest`; `None` where there is no registry or repository.
    fn write_full(&self, full: &mut String) -> Option<()> {
        let Self {
            registry,
            repository,
            tag,
            digest,
        } = self;
        let [registry, repository, tag, digest] = [registry, repository, tag, digest]
            .map(|part| part.as_ref().filter(|Text(text)| !text.is_empty()));
        let parts = [
            ("", Some(registry?)),
            ("/", Some(repository?)),
            (":", tag),
            ("@", digest),
        ];
        for (mark, part) in parts {
            if let Some(Text(part)) = part {
                full.push_str(mark);
                full.push_str(part);
            }
        }
        Some(())
    }
}

/// A time that cannot be read is a missing one: nothing is decided on a guess.
fn timestamp(Text(text): Text<'_>) -> Option<Timestamp> {
    text.parse().ok()
}

/// Ids become parts of addresses and of log lines, so they must be fit for both.
pub(super) fn identifier<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_fit = text.len() <= ID_LIMIT
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if text.is_empty() {
        Err(D::Error::custom("an id is empty"))
    } else if !is_fit {
        Err(D::Error::custom(
            "an id is invalid: expected up to 100 letters, digits, `-` and `_`",
        ))
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::arrays;

    /// Every member that is read, and no other.
    const MACHINE: &str = r#"{"id":"m1","state":"stopped","region":"ord","instance_id":"i","created_at":"x","updated_at":"x",
        "host_status":"ok","cordoned":false,"image_ref":{"registry":"r","repository":"p","tag":"t","digest":"d"},
        "config":{"metadata":{"fly_process_group":"app","process_group":"app","fly_release_version":"1","fas_protect":"no"},
                  "standbys":[],"schedule":"","auto_destroy":false,"mounts":[],"stop_config":{"timeout":"5s"}},
        "incomplete_config":null,"checks":[{"name":"n","status":"passing"}]}"#;

    #[test]
    fn a_list_has_at_most_a_hundred_thousand_machines() {
        let list = |length: usize| {
            let machine = |number| format!(r#"{{"id":"{number:x}","state":"stopped"}}"#);
            format!(
                "[{}]",
                (0..length).map(machine).collect::<Vec<_>>().join(",")
            )
        };
        let longest = parse_machines(list(LIST_LENGTH).as_bytes());
        assert_eq!(longest.map(|machines| machines.len()), Ok(LIST_LENGTH));
        let error = parse_machines(list(LIST_LENGTH + 1).as_bytes()).expect_err("one too many");
        assert!(
            error.starts_with(
                "unexpected JSON: a list of more than 100000 elements, which is not read"
            ),
            "{error}"
        );
    }

    #[test]
    fn one_critical_check_of_any_number_is_found_and_none_is_kept() {
        assert_eq!(size_of::<AnyCritical>(), 1);
        let of = |checks: &str| {
            let machine = format!(r#"{{"id":"m1","state":"started","checks":{checks}}}"#);
            parse_machine(machine.as_bytes(), "m1").map(|machine| machine.critical)
        };
        let many = format!("[{}{{\"status\":\"critical\"}}]", "{},".repeat(10_000));
        assert_eq!(of(&many), Ok(true));
        assert_eq!(of("[{},{\"status\":\"passing\"}]"), Ok(false));
        assert_eq!(of("[]"), Ok(false));
        assert_eq!(of("null"), Ok(false));
        assert!(of("[{},7]").is_err());
        assert!(of("{}").is_err());
    }

    #[test]
    fn an_array_is_no_machine_and_no_part_of_one() {
        assert!(parse_machine(MACHINE.as_bytes(), "m1").is_ok());
        let mut arrays = arrays::in_place_of_objects(MACHINE);
        // In the order in which the members are read.
        arrays.extend([
            r#"["m1","stopped","ord",null,null,null,null,null,null,{"metadata":{}},null,null]"#.to_owned(),
            r#"["m1","stopped","ord",null,null,null,null,null,null,null,null,null]"#.to_owned(),
            r#"{"id":"m1","state":"stopped","config":[{"fly_process_group":"app"},null,null,null,null,null]}"#.to_owned(),
            r#"{"id":"m1","state":"stopped","config":{"metadata":["app",null,null,null]}}"#.to_owned(),
            r#"{"id":"m1","state":"stopped","config":{"stop_config":["5s"]}}"#.to_owned(),
            r#"{"id":"m1","state":"stopped","checks":[["n","critical"]]}"#.to_owned(),
            r#"{"id":"m1","state":"stopped","image_ref":["r","p","t","d"]}"#.to_owned(),
        ]);
        for array in arrays {
            for outcome in [
                parse_machine(array.as_bytes(), "m1").map(|_| ()),
                parse_machines(format!("[{array}]").as_bytes()).map(|_| ()),
            ] {
                let error = outcome.expect_err(&array);
                assert!(error.contains("expected an object"), "{array}: {error}");
            }
        }
    }
}
