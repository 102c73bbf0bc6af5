//! What a clone of a machine would be made of, so that sources that make the same clones are known for one.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher as _},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::scaling::{Fingerprint, MachineConfig};

/// An object as names and raw text, in the order of the names.
#[derive(Deserialize, Hash)]
#[serde(transparent)]
struct Object<'text>(#[serde(borrow)] BTreeMap<Cow<'text, str>, Text<'text>>);

#[derive(Deserialize, Clone, Copy)]
#[serde(transparent)]
struct Text<'text>(#[serde(borrow)] &'text RawValue);

impl Hash for Text<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

/// The fingerprint of a machine's configuration: without its metadata, whatever its volumes are, its image taken apart.
///
/// A configuration that cannot be cloned stands for itself, and is not taken apart, whatever its size is.
pub(super) fn fingerprint(source: &MachineConfig) -> Fingerprint {
    let whole = || hash(&source.json).into();
    if source.flaw().is_some() {
        return whole();
    }
    let Ok(Object(mut fields)) = serde_json::from_str(&source.json) else {
        return whole();
    };
    for own in ["metadata", "standbys"] {
        fields.remove(own);
    }
    let named = fields.remove("image");
    let mounts: Option<Vec<Object<'_>>> = fields
        .remove("mounts")
        .and_then(|text| serde_json::from_str(text.0.get()).ok());
    let mounts = mounts.map(|mut mounts| {
        for Object(mount) in &mut mounts {
            mount.remove("volume");
        }
        mounts
    });
    let named: String = named
        .and_then(|text| serde_json::from_str(text.0.get()).ok())
        .unwrap_or_default();
    let (repository, tag, digest) = parts(source.image.as_deref().unwrap_or(&named));
    Fingerprint {
        config: hash(&(fields, mounts, repository)),
        tag: tag.map(hash),
        digest: digest.map(hash),
    }
}

/// An image's name, tag and digest: `registry/repository:tag@digest`.
fn parts(image: &str) -> (&str, Option<&str>, Option<&str>) {
    let (named, digest) = match image.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (image, None),
    };
    // A colon before a slash stands before a port.
    match named.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((name, tag)) => (name, Some(tag), digest),
        None => (named, None, digest),
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::parse_machines;

    #[test]
    fn images_are_taken_apart() {
        let cases = [
            ("", ("", None, None)),
            ("p", ("p", None, None)),
            ("r/p:t", ("r/p", Some("t"), None)),
            ("r:5000/p", ("r:5000/p", None, None)),
            (
                "r:5000/p:t@sha256:d",
                ("r:5000/p", Some("t"), Some("sha256:d")),
            ),
            ("r/p@sha256:d", ("r/p", None, Some("sha256:d"))),
        ];
        for (image, expected) in cases {
            assert_eq!(parts(image), expected, "{image}");
        }
    }

    #[test]
    fn what_differs_between_machines_of_one_make_makes_no_difference() {
        let of = |config: &str, image_ref: &str| {
            let list = format!(
                r#"[{{"id":"a","state":"started","image_ref":{image_ref},"config":{config}}}]"#
            );
            let listed = parse_machines(list.as_bytes()).expect("a valid list");
            listed[0].fingerprint
        };
        let base = r#"{"image":"r/p:t","env":{"A":"1"},"metadata":{"fas_x":"1"},
            "mounts":[{"volume":"vol_1","path":"/data","name":"data"}]}"#;
        let full = r#"{"registry":"r","repository":"p","tag":"t","digest":"sha256:d"}"#;
        let with = |from: &str, to: &str| {
            assert!(base.contains(from), "{from}");
            base.replace(from, to)
        };
        let cases = [
            ("nothing", base.to_owned(), full, false),
            (
                "fas_ metadata",
                with(r#""fas_x":"1""#, r#""fas_x":"2""#),
                full,
                false,
            ),
            (
                "the release",
                with(r#""fas_x":"1""#, r#""fly_release_version":"2""#),
                full,
                false,
            ),
            (
                "no metadata",
                with(r#""metadata":{"fas_x":"1"},"#, ""),
                full,
                false,
            ),
            ("volume", with("vol_1", "vol_2"), full, false),
            (
                "the order of fields",
                with(
                    r#""env":{"A":"1"},"metadata":{"fas_x":"1"}"#,
                    r#""metadata":{},"env":{"A":"1"}"#,
                ),
                full,
                false,
            ),
            (
                "the digest in the name",
                with("r/p:t", "r/p:t@sha256:d"),
                full,
                false,
            ),
            (
                "the digest for the tag",
                with("r/p:t", "r/p@sha256:d"),
                "null",
                false,
            ),
            ("no reference", base.to_owned(), "null", false),
            ("another tag", with("r/p:t", "r/p:u"), "null", true),
            ("another repository", with("r/p:t", "r/q:t"), "null", true),
            (
                "another digest",
                base.to_owned(),
                r#"{"registry":"r","repository":"p","tag":"t","digest":"sha256:e"}"#,
                true,
            ),
            (
                "the environment",
                with(r#""A":"1""#, r#""A":"2""#),
                full,
                true,
            ),
            ("the path of a mount", with("/data", "/else"), full, true),
            ("a field", with(r#""env""#, r#""new":1,"env""#), full, true),
        ];
        for (name, config, image, differs) in cases {
            assert_eq!(
                of(&config, image).differs(of(base, full)),
                differs,
                "{name}"
            );
        }
    }
}
