//! What a clone would be made of, in numbers that can be compared.

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
}
