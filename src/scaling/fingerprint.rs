//! What a clone would be made of, in numbers that can be compared: sources that make the same clones are known for one.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher as _},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::MachineConfig;

/// Stands for a machine's configuration and image: two machines whose fingerprints do not differ make clones that fail
/// alike.
///
/// Whatever differs between machines of one make is not in it: metadata and the ids of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// Of everything but the image's tag and digest.
    pub config: u64,
    /// Of the image's tag, where one is known.
    pub tag: Option<u64>,
    /// Of the image's digest, where one is known.
    pub digest: Option<u64>,
}

impl Fingerprint {
    /// Of what a clone of a machine with this configuration would be made of: without its metadata, whatever its volumes are,
    /// its image taken apart.
    ///
    /// A configuration that cannot be cloned stands for itself, and is not taken apart, whatever its size is.
    #[must_use]
    pub fn of(source: &MachineConfig) -> Self {
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
        Self {
            config: hash(&(fields, mounts, repository)),
            tag: tag.map(hash),
            digest: digest.map(hash),
        }
    }

    /// Whether the two surely make different clones.
    ///
    /// Images are told apart by their digests, where one is not known by their tags. Where one has only a tag and the
    /// other only a digest they may be the same image.
    #[must_use]
    pub fn differs(self, other: Self) -> bool {
        let images_differ = match (self.digest.zip(other.digest), self.tag.zip(other.tag)) {
            (Some((one, other)), _) | (None, Some((one, other))) => one != other,
            (None, None) => false,
        };
        self.config != other.config || images_differ
    }
}

/// One without an image.
impl From<u64> for Fingerprint {
    fn from(config: u64) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}

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

    #[test]
    fn images_differ_by_digest_else_by_tag() {
        let image = |tag, digest| Fingerprint {
            config: 1,
            tag,
            digest,
        };
        let cases = [
            ("the same", image(Some(1), Some(1)), false),
            ("another digest", image(Some(1), Some(2)), true),
            ("another tag of one digest", image(Some(2), Some(1)), false),
            ("the tag alone", image(Some(1), None), false),
            ("another tag alone", image(Some(2), None), true),
            ("the digest alone", image(None, Some(1)), false),
            ("another digest alone", image(None, Some(2)), true),
            ("no image", image(None, None), false),
            ("another config", Fingerprint::from(2), true),
        ];
        for (name, other, differs) in cases {
            let this = image(Some(1), Some(1));
            assert_eq!(this.differs(other), differs, "{name}");
            assert_eq!(other.differs(this), differs, "{name}, the other way");
        }
        assert!(!image(Some(1), None).differs(image(None, Some(1))));
    }

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
        let of = |config: &str, image_ref: Option<&str>| {
            Fingerprint::of(&MachineConfig::new(config, image_ref.map(Into::into)))
        };
        let base = r#"{"image":"r/p:t","env":{"A":"1"},"metadata":{"fas_x":"1"},
            "mounts":[{"volume":"vol_1","path":"/data","name":"data"}]}"#;
        let full = Some("r/p:t@sha256:d");
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
                None,
                false,
            ),
            ("no reference", base.to_owned(), None, false),
            ("another tag", with("r/p:t", "r/p:u"), None, true),
            ("another repository", with("r/p:t", "r/q:t"), None, true),
            (
                "another digest",
                base.to_owned(),
                Some("r/p:t@sha256:e"),
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
