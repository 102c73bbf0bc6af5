//! Volumes for clones of machines with mounts: an unattached one of the mount's name in the region, else a new one.
//!
//! Volumes are never removed here. One that was made for a machine which then could not be created is unattached, and
//! serves the next attempt.

use std::{collections::BTreeSet, sync::Mutex};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use super::{
    error::ApiErrorCause,
    wire::{self, LIST_LENGTH},
};
use crate::{
    json::{Object, Several},
    scaling::Mount,
};

/// States in which a volume is on its way out.
const LEAVING: [&str; 5] = [
    "scheduling_destroy",
    "fork_cleanup",
    "waiting_for_detach",
    "pending_destroy",
    "destroying",
];

/// The volumes of an app in one pass: listed once for all clones, as the API's rates demand, and each given away once.
#[derive(Debug, Default)]
pub struct PassVolumes {
    pub(super) listed: OnceCell<Vec<Volume>>,
    pub(super) taken: Mutex<BTreeSet<String>>,
}

impl PassVolumes {
    /// None listed so far, and those of `aside` not to be given away.
    #[must_use]
    pub fn without(aside: BTreeSet<String>) -> Self {
        Self {
            listed: OnceCell::new(),
            taken: Mutex::new(aside),
        }
    }
}

/// One volume for each mount of a clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Their ids, in the order of the mounts.
    pub ids: Vec<String>,
    /// Those of them that had been there before: their hosts may have no room for the machine.
    pub reused: Vec<String>,
}

/// A volume, as far as clones are concerned.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Volume {
    #[serde(deserialize_with = "wire::identifier")]
    pub(super) id: String,
    name: Option<String>,
    state: Option<String>,
    region: Option<String>,
    size_gb: Option<u64>,
    encrypted: Option<bool>,
    fstype: Option<String>,
    snapshot_retention: Option<u64>,
    auto_backup_enabled: Option<bool>,
    attached_machine_id: Option<String>,
    attached_alloc_id: Option<String>,
    host_status: Option<String>,
}

/// The body of a volume's creation.
#[derive(Debug, Serialize)]
pub(super) struct NewVolume<'source> {
    name: &'source str,
    region: &'source str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_gb: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fstype: Option<&'source str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_retention: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_backup_enabled: Option<bool>,
    require_unique_zone: bool,
    /// Lets Fly choose a host on which the machine fits too.
    #[serde(skip_serializing_if = "Option::is_none")]
    compute: Option<&'source RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compute_image: Option<&'source RawValue>,
}

/// Reads a list of volumes.
///
/// # Errors
///
/// When it is no such list, or one of far too many.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Volume>, ApiErrorCause> {
    let volumes: Several<Object<Volume>, LIST_LENGTH> = serde_json::from_slice(body)
        .map_err(|error| ApiErrorCause::Decode(wire::describe(body, &error)))?;
    let volumes = volumes.0.into_iter();
    Ok(volumes.map(|Object(volume)| volume).collect())
}

impl Volume {
    fn is_free(&self) -> bool {
        let set = |id: &Option<String>| id.as_ref().is_some_and(|id| !id.is_empty());
        let leaving = self
            .state
            .as_deref()
            .is_some_and(|state| LEAVING.contains(&state));
        let host_ok = self
            .host_status
            .as_deref()
            .is_none_or(|status| status.is_empty() || status == "ok");
        !set(&self.attached_machine_id) && !set(&self.attached_alloc_id) && !leaving && host_ok
    }
}

/// The source's own volume of a mount.
pub(super) fn of_mount<'volumes>(
    volumes: &'volumes [Volume],
    mount: &Mount,
) -> Option<&'volumes Volume> {
    volumes
        .iter()
        .find(|volume| Some(&volume.id) == mount.volume.as_ref())
}

/// The name that a mount's volumes have: the mount's own, else its volume's.
pub(super) fn name_of<'volumes>(
    volumes: &'volumes [Volume],
    mount: &'volumes Mount,
) -> Option<&'volumes str> {
    let of_volume = || of_mount(volumes, mount)?.name.as_deref();
    mount
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
        .or_else(of_volume)
}

/// An unattached volume named `name` in `region` that is not `taken`; the smallest id of several.
pub(super) fn unattached<'volumes>(
    volumes: &'volumes [Volume],
    name: &str,
    region: &str,
    taken: &BTreeSet<String>,
) -> Option<&'volumes Volume> {
    volumes
        .iter()
        .filter(|volume| {
            volume.is_free()
                && volume.name.as_deref() == Some(name)
                && volume.region.as_deref() == Some(region)
                && !taken.contains(&volume.id)
        })
        .min_by(|left, right| left.id.cmp(&right.id))
}

impl<'source> NewVolume<'source> {
    /// Where it goes.
    pub(super) fn region(&self) -> &'source str {
        self.region
    }

    /// A volume named `name` in `region` with the size and filesystem settings of `source`.
    pub(super) fn like(
        source: Option<&'source Volume>,
        name: &'source str,
        region: &'source str,
        compute: Option<&'source RawValue>,
        compute_image: Option<&'source RawValue>,
    ) -> Self {
        Self {
            name,
            region,
            size_gb: source.and_then(|volume| volume.size_gb),
            encrypted: source.and_then(|volume| volume.encrypted),
            fstype: source.and_then(|volume| volume.fstype.as_deref()),
            snapshot_retention: source.and_then(|volume| volume.snapshot_retention),
            auto_backup_enabled: source.and_then(|volume| volume.auto_backup_enabled),
            require_unique_zone: false,
            compute,
            compute_image,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::arrays;

    const LIST: &str = r#"[{"id":"vol_1","name":"data","state":"created","region":"ord","size_gb":1,"encrypted":true,
        "fstype":"ext4","snapshot_retention":5,"auto_backup_enabled":true,"attached_machine_id":null,
        "attached_alloc_id":null,"host_status":"ok"}]"#;

    #[test]
    fn a_list_of_volumes_is_one_of_objects_with_ids() {
        assert_eq!(parse(LIST.as_bytes()).expect("a list").len(), 1);
        let mut wrong = arrays::in_place_of_objects(LIST);
        wrong.extend(
            [
                r#"[["vol_1","data"]]"#,
                r#"[{"id":""}]"#,
                r#"[{"id":"../x"}]"#,
                "{}",
            ]
            .map(str::to_owned),
        );
        wrong.push(format!(
            "[{}1]",
            r#"{"id":"vol_1"},"#.repeat(LIST_LENGTH + 1)
        ));
        for list in wrong {
            assert!(
                parse(list.as_bytes()).is_err(),
                "{}",
                &list[..list.len().min(200)]
            );
        }
    }
}
