//! How shards are divided among copies: who takes one that is free, and who gives one back.
//!
//! This is only about balance. What two copies believe of each other may differ; that no shard is two copies' is the lock's
//! affair alone.

use std::{collections::BTreeMap, time::Duration};

use super::contest::KeyView;

/// How long a free shard is left to copies that have fewer.
const COURTESY: Duration = Duration::from_secs(3);

/// How long a free shard is left to copies that have not yet as many as everybody gets: whoever is to take it does not.
const LONGEST_COURTESY: Duration = Duration::from_secs(60);

/// From one shard that a copy gives back to the next.
pub(super) const GIVE_INTERVAL: Duration = Duration::from_secs(60);

/// The longest such time, where what is given back comes back again and again though the copies are the same: the one for
/// which it is given back cannot take it.
pub(super) const LONGEST_GIVE_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// How long a copy leaves a shard alone that it has given back.
pub(super) const LEFT_ALONE: Duration = Duration::from_secs(10);

/// The same where nobody knows whether it was given back: what was sent may be done later, when it would be taken from whoever
/// had it then.
pub(super) const UNCERTAIN: Duration = Duration::from_secs(45);

/// How long a shard may be about to be given back: nobody writes to its apps meanwhile.
pub(super) const LONGEST_GIVING: Duration = Duration::from_secs(120);

/// Within which time copies that could give one back do so, one after another: the first may be enough.
const SPREAD_MS: u64 = 10_000;

/// Which shard an app belongs to.
#[must_use]
pub fn shard_of(app: &str, shards: usize) -> usize {
    let place = fnv1a64(app.bytes()) % shards.max(1) as u64;
    usize::try_from(place).unwrap_or(0)
}

fn fnv1a64(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// In which order a copy takes shards: each copy in one of its own, so that not all of them want the same one first.
pub(super) fn order(shards: usize, session: &str) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shards).collect();
    let rank = |shard: &usize| {
        let hash = fnv1a64(session.bytes().chain(shard.to_be_bytes()));
        // The last bytes alone move only the lower bits.
        (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    };
    order.sort_by_key(rank);
    order
}

/// After which time a copy gives a shard back that it could give.
pub(super) fn pause_of(session: &str) -> Duration {
    Duration::from_millis(fnv1a64(session.bytes()) % SPREAD_MS)
}

/// How the shards are divided at one moment, as one copy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loads {
    /// What this copy has.
    pub(super) own: usize,
    /// What the copy has that has the fewest.
    least: usize,
    /// The most that each is to have.
    share: usize,
    free: usize,
}

impl Loads {
    /// Of this session; `members` are the copies that there are. A copy that holds something is one of them even if a list
    /// does not say so yet.
    pub(super) fn of(view: &KeyView, session: &str, members: &[String]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        counts.insert(session, 0);
        counts.extend(members.iter().map(|member| (member.as_str(), 0)));
        let mut free = 0;
        for shard in 0..view.shards.len() {
            match view.holder_of(shard) {
                Some(holder) => *counts.entry(holder).or_default() += 1,
                None => free += 1,
            }
        }
        Self {
            own: counts.get(session).copied().unwrap_or(0),
            least: counts.values().copied().min().unwrap_or(0),
            share: view.shards.len().div_ceil(counts.len()),
            free,
        }
    }

    /// For how long this copy leaves a free shard to others.
    pub(super) fn patience(&self) -> Duration {
        if self.own >= self.share {
            LONGEST_COURTESY
        } else if self.own > self.least {
            COURTESY
        } else {
            Duration::ZERO
        }
    }

    /// Whether it would be more even if this copy gave one back.
    pub(super) fn is_uneven(&self) -> bool {
        self.free == 0 && self.own >= self.least + 2
    }
}
