//! A clone: the source's configuration with every field as it came, but for those that must not be copied.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::wire::explain;
use crate::scaling::MachineConfig;

/// JSON objects are edited as maps from names to raw text, so that everything that is not edited stays as it came.
type RawObject = BTreeMap<String, Box<RawValue>>;

/// What every clone of one source has in common.
#[derive(Debug, Clone)]
pub struct CloneTemplate {
    config: RawObject,
    mounts: Vec<RawObject>,
    left_out: Vec<String>,
}

/// One mount of the source, as far as its clones' volumes are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) volume: Option<String>,
    pub(super) name: Option<String>,
}

#[derive(Serialize)]
struct CreateRequest<'request> {
    config: &'request RawObject,
    region: &'request str,
    skip_launch: bool,
}

impl CloneTemplate {
    /// Prepares the clones of a machine.
    ///
    /// `image` becomes the full image reference where there is one; `standbys`, the environment's `FLY_STANDBY_FOR`,
    /// blue-green deployment tags and `fas_*` metadata are dropped.
    ///
    /// # Errors
    ///
    /// When the configuration is not a JSON object of the documented shape, or names no image at all.
    pub fn new(source: &MachineConfig) -> Result<Self, String> {
        let mut config: RawObject = object(&source.json, "config")?;
        if let Some(image) = &source.image {
            config.insert("image".to_owned(), raw(image)?);
        }
        if !config.contains_key("image") {
            return Err("the config names no image, and neither does image_ref".to_owned());
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

    /// The source's mounts, in order.
    pub(super) fn mounts(&self) -> Vec<Mount> {
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
    pub(super) fn guest(&self) -> Option<&RawValue> {
        self.config.get("guest").map(AsRef::as_ref)
    }

    /// The image of the clones.
    pub(super) fn image(&self) -> Option<&RawValue> {
        self.config.get("image").map(AsRef::as_ref)
    }
}

/// A clone to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewClone<'create> {
    /// What it is made from.
    pub template: &'create CloneTemplate,
    /// Where it goes.
    pub region: &'create str,
    /// Its volumes in place of the source's: one for each mount, in order.
    pub volumes: &'create [String],
    /// Whether it is not to be started.
    pub skip_launch: bool,
}

impl NewClone<'_> {
    /// The body of its create.
    pub(super) fn body(&self) -> Result<Vec<u8>, String> {
        let CloneTemplate { config, mounts, .. } = self.template;
        let write = |config: &RawObject| {
            serde_json::to_vec(&CreateRequest {
                config,
                region: self.region,
                skip_launch: self.skip_launch,
            })
            .map_err(|error| error.to_string())
        };
        if mounts.is_empty() {
            return write(config);
        }
        let mut mounts = mounts.clone();
        if mounts.len() != self.volumes.len() {
            return Err(format!(
                "{} mounts need as many volumes, found {}",
                mounts.len(),
                self.volumes.len()
            ));
        }
        for (mount, volume) in mounts.iter_mut().zip(self.volumes) {
            mount.insert("volume".to_owned(), raw(volume)?);
        }
        let mut config = config.clone();
        config.insert("mounts".to_owned(), raw(&mounts)?);
        write(&config)
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
        config.insert(key.to_owned(), raw(&members)?);
    }
    Ok(dropped)
}

fn object(text: &str, what: &str) -> Result<RawObject, String> {
    serde_json::from_str(text).map_err(|error| format!("its {what}: {}", explain(&error)))
}

fn raw(value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>, String> {
    to_raw_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::parse_machines;

    fn clone_body(machine: &str, volumes: &[&str]) -> String {
        let listed = parse_machines(format!("[{machine}]").as_bytes()).expect("a valid list");
        let config = listed[0].config.as_ref().expect("a machine with a config");
        let volumes: Vec<String> = volumes.iter().map(|volume| (*volume).to_owned()).collect();
        let template = CloneTemplate::new(config).expect("a clonable config");
        let new = NewClone {
            template: &template,
            region: "ord",
            volumes: &volumes,
            skip_launch: true,
        };
        String::from_utf8(new.body().expect("a body")).expect("JSON is UTF-8")
    }

    #[test]
    fn every_field_number_and_null_is_as_in_the_source() {
        let body = clone_body(
            r#"{"id":"a","state":"started","config":{"image":"registry/x:1","big":12345678901234567890123,
               "float":1e2,"tiny":0.10,"null":null,"new":{"nested":[1.0,{"x":null}]},"env":{"A":"1"},
               "metadata":{"fly_process_group":"app","k":"v"}}}"#,
            &[],
        );
        for kept in [
            r#""big":12345678901234567890123"#,
            r#""float":1e2"#,
            r#""tiny":0.10"#,
            r#""null":null"#,
            r#""new":{"nested":[1.0,{"x":null}]}"#,
            r#""env":{"A":"1"}"#,
            r#""metadata":{"fly_process_group":"app","k":"v"}"#,
            r#""image":"registry/x:1""#,
            r#""skip_launch":true"#,
            r#""region":"ord""#,
        ] {
            assert!(body.contains(kept), "{kept} in {body}");
        }
        assert!(
            !body.contains(r#""name""#) && !body.contains(r#""id""#),
            "{body}"
        );
    }

    #[test]
    fn the_image_is_the_full_reference() {
        let cases = [
            (
                r#"{"registry":"r","repository":"p","tag":"t","digest":"sha256:d"}"#,
                "r/p:t@sha256:d",
            ),
            (
                r#"{"registry":"r","repository":"p","tag":"","digest":"sha256:d"}"#,
                "r/p@sha256:d",
            ),
            (r#"{"registry":"r","repository":"p","tag":"t"}"#, "r/p:t"),
            (r#"{"registry":"r","repository":"p"}"#, "r/p"),
            (r#"{"registry":"","repository":""}"#, "from-config"),
            (r#"{"repository":"p","tag":"t"}"#, "from-config"),
            ("null", "from-config"),
        ];
        for (image, expected) in cases {
            let machine = format!(
                r#"{{"id":"a","state":"started","image_ref":{image},"config":{{"image":"from-config"}}}}"#
            );
            let body = clone_body(&machine, &[]);
            assert!(
                body.contains(&format!(r#""image":"{expected}""#)),
                "{image}: {body}"
            );
        }
    }

    #[test]
    fn what_belongs_to_the_source_alone_is_dropped() {
        let body = clone_body(
            r#"{"id":"a","state":"started","config":{"image":"i","standbys":["b"],
               "env":{"FLY_STANDBY_FOR":"b","KEEP":"1"},
               "metadata":{"fas_protect":"true","fly_bluegreen_deployment_tag":"x",
                           "fly_flyctl_bluegreen_launch_id":"y","fly_process_group":"app"}}}"#,
            &[],
        );
        for dropped in ["standbys", "FLY_STANDBY_FOR", "fas_protect", "bluegreen"] {
            assert!(!body.contains(dropped), "{dropped} in {body}");
        }
        let told = MachineConfig::new(
            r#"{"image":"i","standbys":["b"],"env":{"FLY_STANDBY_FOR":"b","KEEP":"1"},"metadata":{"fas_protect":"true"}}"#,
            None,
        );
        let template = CloneTemplate::new(&told).expect("a valid config");
        let expected = ["standbys", "FLY_STANDBY_FOR", "fas_protect"];
        assert_eq!(template.left_out(), expected, "and it is told");
        assert!(
            body.contains(r#""env":{"KEEP":"1"}"#)
                && body.contains(r#""metadata":{"fly_process_group":"app"}"#)
        );
    }

    #[test]
    fn mounts_get_volumes_of_their_own() {
        let body = clone_body(
            r#"{"id":"a","state":"started","config":{"image":"i","mounts":[
               {"volume":"vol_1","name":"data","path":"/data","size_gb":3.0},{"volume":"vol_2","path":"/more"}]}}"#,
            &["vol_8", "vol_9"],
        );
        assert!(
            body.contains(
                r#""mounts":[{"name":"data","path":"/data","size_gb":3.0,"volume":"vol_8"},{"path":"/more","volume":"vol_9"}]"#
            ),
            "{body}"
        );
    }
}
