//! Whether a deploy is under way: while one is, nothing is written.

use std::{
    fmt,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{Action, Now, Observed, group::Shown};

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
    /// Whether it says that it is being deployed, however long it has said so.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status == "running"
    }

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
    /// Asked, and nobody answered: nothing is destroyed or stopped, and nothing grows where the machines themselves
    /// show a deploy.
    NoAnswer,
}

/// What a machine list shows of a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploySign {
    /// Its machines are of more than one release.
    SeveralReleases,
    /// A machine is cordoned.
    Cordoned,
    /// A machine is being updated or replaced.
    Updating,
}

impl DeploySign {
    /// The first sign that the machines of the group show; those that no list has shown yet show none.
    pub(super) fn of(observed: &Observed) -> Option<Self> {
        let shown = Shown::of_group(observed);
        let mut releases = shown.releases.iter().map(|(_, release)| release);
        let first = releases.next();
        if releases.any(|release| Some(release) != first) {
            Some(Self::SeveralReleases)
        } else if shown.cordoned {
            Some(Self::Cordoned)
        } else if shown.updating {
            Some(Self::Updating)
        } else {
            None
        }
    }
}

impl fmt::Display for DeploySign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SeveralReleases => "more than one release",
            Self::Cordoned => "a cordoned machine",
            Self::Updating => "a machine that is being updated or replaced",
        })
    }
}

/// Whether `action` may be carried out while nobody answers what the current release is.
pub(super) fn may_do_without_answer(action: &Action, observed: &Observed) -> Result<(), Withheld> {
    match action {
        Action::Destroy { .. } | Action::Stop { .. } => Err(Withheld::Shrinks),
        Action::Create { .. } | Action::Start { .. } => {
            DeploySign::of(observed).map_or(Ok(()), |sign| Err(Withheld::Shows(sign)))
        }
    }
}

/// Why an action is not carried out while nobody answers what the current release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// It destroys or stops.
    Shrinks,
    /// The machines show a deploy.
    Shows(DeploySign),
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
        let Some(release) = release.filter(|release| release.is_running()) else {
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
    use crate::scaling::{
        Policy,
        tests::fleet::{Fleet, both, created, started},
    };

    #[test]
    fn machines_show_a_deploy_or_they_do_not() {
        use DeploySign::{Cordoned, SeveralReleases, Updating};
        let cases: [(&str, &[&str], Option<DeploySign>); 9] = [
            ("nothing", &[], None),
            (
                "one release",
                &["a ord started release=5", "b iad stopped release=5"],
                None,
            ),
            (
                "one without a release takes no part",
                &["a ord started release=5", "b iad stopped"],
                None,
            ),
            (
                "two releases",
                &[
                    "a ord started",
                    "b iad stopped release=5",
                    "c iad started release=6",
                ],
                Some(SeveralReleases),
            ),
            (
                "the other one's host does not answer",
                &[
                    "a ord started release=5",
                    "b iad started release=6 host-down",
                ],
                None,
            ),
            (
                "another group's is none of it",
                &[
                    "a ord started release=5",
                    "b iad started release=6 group=jobs",
                ],
                None,
            ),
            ("cordoned", &["a ord started cordoned"], Some(Cordoned)),
            ("updating", &["a ord updating"], Some(Updating)),
            (
                "replacing",
                &["a ord started", "b ord replacing"],
                Some(Updating),
            ),
        ];
        for (name, list, expected) in cases {
            let mut fleet = Fleet::new(Policy::default());
            assert_eq!(DeploySign::of(&fleet.observe(0, list)), expected, "{name}");
        }
    }

    #[test]
    fn without_an_answer_things_only_grow_and_only_where_no_deploy_shows() {
        let two = ["a ord started release=5", "b ord stopped release=5"];
        let turned = ["a ord started release=5", "b ord stopped release=6"];
        let grown = ["a ord started release=5", "b ord started release=5"];
        let cases = [
            ("create", created(3, 3), two, "create 1 machine like a"),
            ("create, a deploy shows", created(3, 3), turned, ""),
            ("start", started(2, 2), two, "start 1 machine"),
            ("start, a deploy shows", started(2, 2), turned, ""),
            ("destroy", created(1, 1), two, ""),
            ("stop", started(1, 1), grown, ""),
            (
                "a destroy that is withheld keeps no machine from starting",
                both((1, 1), (2, 2)),
                two,
                "start 1 machine",
            ),
        ];
        for (name, targets, list, expected) in cases {
            let mut fleet = Fleet::new(Policy::default());
            fleet.no_answer = true;
            let plan = fleet.pass(0, targets, &list).plan;
            let action = plan.action.map(|action| action.to_string());
            assert_eq!(action.unwrap_or_default(), expected, "{name}");
            let noted = plan
                .notes
                .iter()
                .any(|note| note.to_string().contains("cannot tell whether"));
            assert!(noted, "{name}: {:?}", plan.notes);
        }
    }

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
