//! Whether a deploy is under way: while one is, nothing is written.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Now;

/// An app's current release, as GraphQL tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its number, which its machines carry as metadata `fly_release_version`.
    pub version: Option<u64>,
    /// A free word; `running`, `complete`, `failed`, `interrupted` are those that flyctl writes.
    pub status: String,
    /// When it began.
    pub created_at: Option<Timestamp>,
}

impl Release {
    /// Whether its machines are poor sources of clones.
    #[must_use]
    pub fn went_wrong(&self) -> bool {
        matches!(self.status.as_str(), "failed" | "interrupted")
    }
}

/// What a pass knows of the release when it plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseView<'release> {
    /// Not asked yet: nothing may be written by such a plan.
    NotAsked,
    /// Asked; `None` for an app that was never released.
    Known(Option<&'release Release>),
}

/// When a running release was first seen, for those whose beginning is unknown.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReleaseMemory {
    first_seen: Option<(Option<u64>, Instant)>,
}

impl ReleaseMemory {
    /// Whether `release` is a deploy under way that is still believed.
    ///
    /// A deploy that is killed hard leaves its release `running` for ever; after `deploy_timeout` it is no longer
    /// believed. That is counted from its beginning, or from when it was first seen where that is missing or in the
    /// future.
    pub(crate) fn in_progress(
        &mut self,
        release: Option<&Release>,
        deploy_timeout: Duration,
        now: Now,
    ) -> bool {
        let Some(release) = release.filter(|release| release.status == "running") else {
            self.first_seen = None;
            return false;
        };
        let first_seen = match self.first_seen {
            Some((version, at)) if version == release.version => at,
            _ => now.monotonic,
        };
        self.first_seen = Some((release.version, first_seen));
        let age = release
            .created_at
            .and_then(|created_at| Duration::try_from(now.wall.duration_since(created_at)).ok())
            .unwrap_or_else(|| now.monotonic.saturating_duration_since(first_seen));
        age < deploy_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(status: &str, created_at: Option<&str>) -> Release {
        Release {
            version: Some(12),
            status: status.to_owned(),
            created_at: created_at.map(|text| text.parse().expect("a literal timestamp")),
        }
    }

    #[test]
    fn a_release_is_believed_for_the_deploy_timeout() {
        let start = Instant::now();
        let at = |seconds: u64| Now {
            monotonic: start + Duration::from_secs(seconds),
            wall: "2026-01-01T00:00:00Z"
                .parse::<Timestamp>()
                .expect("a literal timestamp")
                + jiff::SignedDuration::from_secs(i64::try_from(seconds).expect("small")),
        };
        let hour = Duration::from_secs(3600);
        let cases = [
            ("no release", None, 0, false),
            ("complete", Some(release("complete", None)), 0, false),
            ("unknown word", Some(release("pending", None)), 0, false),
            (
                "running, young",
                Some(release("running", Some("2025-12-31T23:30:00Z"))),
                0,
                true,
            ),
            (
                "running, one second short of the timeout",
                Some(release("running", Some("2025-12-31T23:00:01Z"))),
                0,
                true,
            ),
            (
                "running, as old as the timeout",
                Some(release("running", Some("2025-12-31T23:00:00Z"))),
                0,
                false,
            ),
            (
                "running, no beginning",
                Some(release("running", None)),
                0,
                true,
            ),
            (
                "running, in the future",
                Some(release("running", Some("2026-02-01T00:00:00Z"))),
                0,
                true,
            ),
        ];
        for (name, release, seconds, expected) in cases {
            let mut memory = ReleaseMemory::default();
            assert_eq!(
                memory.in_progress(release.as_ref(), hour, at(seconds)),
                expected,
                "{name}"
            );
        }

        for unknown in [None, Some("2026-02-01T00:00:00Z")] {
            let mut memory = ReleaseMemory::default();
            let running = release("running", unknown);
            assert!(memory.in_progress(Some(&running), hour, at(0)));
            assert!(memory.in_progress(Some(&running), hour, at(3599)));
            assert!(
                !memory.in_progress(Some(&running), hour, at(3600)),
                "{unknown:?}"
            );
            let next = Release {
                version: Some(13),
                ..running
            };
            assert!(
                memory.in_progress(Some(&next), hour, at(3601)),
                "a newer one is believed anew"
            );
        }
    }
}
