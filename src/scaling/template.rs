//! A clone's template: the source's configuration with every field as it came, but for those that must not be copied.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::{RawValue, to_raw_value};

use super::MachineConfig;
use crate::{
    json::{self, Object},
    shown::excerpt,
};

/// The largest configuration that is taken apart, in bytes; real ones have a few kilobytes.
const CONFIG_LIMIT: usize = 1 << 20;

/// The most of a decoding error that is kept.
const TEXT_LIMIT: usize = 300;

/// JSON objects are edited as maps from names to raw text, so that everything that is not edited stays as it came.
pub(crate) type RawObject = BTreeMap<String, Box<RawValue>>;

/// What every clone of one source has in common.
#[derive(Clone)]
pub struct CloneTemplate {
    config: RawObject,
    mounts: Vec<RawObject>,
    left_out: Vec<String>,
}

/// One mount of the source, as far as its clones' volumes are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) volume: Option<String>,
    pub(crate) name: Option<String>,
}

/// The parts of a configuration that a template takes apart.
#[derive(Deserialize)]
#[expect(dead_code, reason = "it is their types that matter")]
struct Shape<'text> {
    #[serde(borrow)]
    image: Option<&'text RawValue>,
    env: Option<Object<IgnoredAny>>,
    metadata: Option<Object<IgnoredAny>>,
    mounts: Option<Vec<Object<IgnoredAny>>>,
}

/// Why there can be no clones of a machine with this configuration, and this image where the API names one; `None`: there
/// can be, and it has a template.
pub(super) fn flaw(json: &str, image: Option<&str>) -> Option<String> {
    if json.len() > CONFIG_LIMIT {
        return Some(format!("its config is larger than {CONFIG_LIMIT} bytes"));
    }
    let shape = match serde_json::from_str::<Object<Shape<'_>>>(json) {
        Ok(Object(shape)) => shape,
        Err(error) => return Some(format!("its config: {}", explain(&error))),
    };
    let names_image = |raw: &RawValue| {
        let image = serde_json::from_str::<String>(raw.get());
        image.is_ok_and(|image| !image.is_empty())
    };
    if image.is_none() && !shape.image.is_some_and(names_image) {
        return Some("its config names no image, and neither does image_ref".to_owned());
    }
    None
}

impl CloneTemplate {
    /// Prepares the clones of a machine.
    ///
    /// `image` becomes the full image reference where there is one; `standbys`, the environment's `FLY_STANDBY_FOR`,
    /// blue-green deployment tags and `fas_*` metadata are dropped.
    ///
    /// # Errors
    ///
    /// See [`MachineConfig::flaw`].
    pub fn new(source: &MachineConfig) -> Result<Self, String> {
        if let Some(flaw) = source.flaw() {
            return Err(flaw.to_owned());
        }
        let mut config: RawObject = object(&source.json, "config")?;
        if let Some(image) = &source.image {
            config.insert("image".to_owned(), raw_json(&**image)?);
        }
        let standbys = config.remove("standbys").map(|_| "standbys".to_owned());
        let mut left_out = Vec::from_iter(standbys);
        left_out.extend(edit(&mut config, "env", |name| name == "FLY_STANDBY_FOR")?);
        left_out.extend(edit(&mut config, "metadata", |name| {
            name.starts_with("fas_") || name.contains("bluegreen")
        })?);
        let mounts = match config.get("mounts").filter(|mounts| mounts.get() != "null") {
            None => Vec::new(),
            Some(mounts) => serde_json::from_str(mounts.get())
                .map_err(|error| format!("its mounts: {}", explain(&error)))?,
        };
        Ok(Self {
            config,
            mounts,
            left_out,
        })
    }

    /// What the source has and its clones do not: members of its configuration, of its environment and of its metadata, by
    /// name. Whoever made the machine chose them.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Whether its clones need volumes of their own.
    #[must_use]
    pub fn has_mounts(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// The configuration of the clones, their mounts as the source has them.
    pub(crate) fn config(&self) -> &RawObject {
        &self.config
    }

    /// The source's mounts as they came, in order.
    pub(crate) fn raw_mounts(&self) -> &[RawObject] {
        &self.mounts
    }

    /// The source's mounts, in order.
    pub(crate) fn mounts(&self) -> Vec<Mount> {
        let text = |mount: &RawObject, name: &str| -> Option<String> {
            serde_json::from_str(mount.get(name)?.get()).ok()
        };
        self.mounts
            .iter()
            .map(|mount| Mount {
                volume: text(mount, "volume"),
                name: text(mount, "name"),
            })
            .collect()
    }

    /// The source's `guest`, which tells where a volume is of use.
    pub(crate) fn guest(&self) -> Option<&RawValue> {
        self.config.get("guest").map(AsRef::as_ref)
    }

    /// The image of the clones.
    pub(crate) fn image(&self) -> Option<&RawValue> {
        self.config.get("image").map(AsRef::as_ref)
    }
}

/// Two templates are equal when their clones are made of the same text.
impl PartialEq for CloneTemplate {
    fn eq(&self, other: &Self) -> bool {
        let texts = |template: &Self| -> Vec<(String, String)> {
            let members = template.config.iter();
            members
                .map(|(name, raw)| (name.clone(), raw.get().to_owned()))
                .collect()
        };
        self.left_out == other.left_out && texts(self) == texts(other)
    }
}

impl Eq for CloneTemplate {}

/// Shows no more than the names of its members: a configuration holds environments.
impl fmt::Debug for CloneTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CloneTemplate")?;
        formatter.debug_set().entries(self.config.keys()).finish()
    }
}

/// Drops members of the object `key` of `config` and returns their names; an object from which nothing is dropped stays as
/// it came.
fn edit(
    config: &mut RawObject,
    key: &str,
    is_dropped: impl Fn(&str) -> bool,
) -> Result<Vec<String>, String> {
    let Some(text) = config.get(key).filter(|text| text.get() != "null") else {
        return Ok(Vec::new());
    };
    let mut members = object(text.get(), key)?;
    let dropped: Vec<String> = members
        .keys()
        .filter(|name| is_dropped(name))
        .cloned()
        .collect();
    members.retain(|name, _| !is_dropped(name));
    if !dropped.is_empty() {
        config.insert(key.to_owned(), raw_json(&members)?);
    }
    Ok(dropped)
}

fn object(text: &str, what: &str) -> Result<RawObject, String> {
    serde_json::from_str(text).map_err(|error| format!("its {what}: {}", explain(&error)))
}

pub(crate) fn raw_json(value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>, String> {
    to_raw_value(value).map_err(|error| error.to_string())
}

/// A decoding error in one bounded line.
fn explain(error: &serde_json::Error) -> String {
    excerpt(&json::problem(error), TEXT_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_flaw_has_a_template_and_nothing_else_has() {
        let image = Some("r/p:t");
        let large = format!(r#"{{"image":"i","x":"{}"}}"#, "x".repeat(CONFIG_LIMIT));
        let no_image = "its config names no image, and neither does image_ref";
        // The configuration, the image that the API names, and the beginning of what is wrong.
        let cases = [
            (r#"{"image":"i"}"#, None, None),
            ("{}", image, None),
            (r#"{"image":null}"#, image, None),
            (r#"{"image":7}"#, image, None),
            (
                r#"{"image":"i","env":null,"metadata":null,"mounts":null}"#,
                None,
                None,
            ),
            (
                r#"{"image":"i","env":{"A":1},"metadata":{"fas_x":[]},"mounts":[{}],"x":[1]}"#,
                None,
                None,
            ),
            ("{}", None, Some(no_image)),
            (r#"{"image":null}"#, None, Some(no_image)),
            (r#"{"image":""}"#, None, Some(no_image)),
            (r#"{"image":7}"#, None, Some(no_image)),
            (
                r#"{"image":"i","env":[]}"#,
                image,
                Some("its config: invalid type: sequence, expected an object"),
            ),
            (
                r#"{"image":"i","metadata":"m"}"#,
                image,
                Some("its config: invalid type: string"),
            ),
            (
                r#"{"image":"i","mounts":{}}"#,
                image,
                Some("its config: invalid type: map"),
            ),
            (
                r#"{"image":"i","mounts":["vol_1"]}"#,
                image,
                Some("its config: invalid type: string"),
            ),
            (
                r#"{"image":"i","env":{},"env":{}}"#,
                image,
                Some("its config: duplicate field"),
            ),
            ("[]", image, Some("its config: invalid type: sequence")),
            ("null", image, Some("its config: invalid type: null")),
            ("", image, Some("its config: EOF while parsing a value")),
            (
                &large,
                image,
                Some("its config is larger than 1048576 bytes"),
            ),
        ];
        for (json, image, expected) in cases {
            let shown = &json[..json.len().min(100)];
            let config = MachineConfig::new(json, image.map(Into::into));
            let found = CloneTemplate::new(&config).map(|_| ());
            match expected {
                None => assert_eq!(found, Ok(()), "{shown}"),
                Some(expected) => {
                    let problem = found.expect_err(shown);
                    assert!(problem.starts_with(expected), "{shown}: {problem}");
                }
            }
            assert_eq!(config.flaw().is_some(), expected.is_some(), "{shown}");
        }
    }
}
