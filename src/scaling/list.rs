//! A list of an app's machines, as each of its fleets takes note of it: one list for all of them, of which each keeps its own.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use compact_str::CompactString;

use super::Machine;

/// The ids of machines.
pub type Ids = BTreeSet<CompactString>;

/// A list as one fleet is given it.
#[derive(Debug)]
pub struct MachineList<'list> {
    pub(super) machines: Cow<'list, [Machine]>,
    /// The ids of all of them, where several fleets share them.
    pub(super) ids: Option<Arc<Ids>>,
}

impl<'list> MachineList<'list> {
    /// One that other fleets look at too: no fleet copies of it what is not its own. `ids` are those of all machines in it.
    #[must_use]
    pub fn shared(machines: impl Into<Cow<'list, [Machine]>>, ids: &Arc<Ids>) -> Self {
        Self {
            machines: machines.into(),
            ids: Some(Arc::clone(ids)),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// The machines one by one, owned where the list is.
    pub(super) fn into_machines(
        machines: Cow<'list, [Machine]>,
    ) -> impl Iterator<Item = Cow<'list, Machine>> {
        let (owned, borrowed) = match machines {
            Cow::Owned(machines) => (machines, &[][..]),
            Cow::Borrowed(machines) => (Vec::new(), machines),
        };
        let owned = owned.into_iter().map(Cow::Owned);
        owned.chain(borrowed.iter().map(Cow::Borrowed))
    }
}

/// The list of an app's only fleet.
impl From<Vec<Machine>> for MachineList<'_> {
    fn from(machines: Vec<Machine>) -> Self {
        Self {
            machines: Cow::Owned(machines),
            ids: None,
        }
    }
}
