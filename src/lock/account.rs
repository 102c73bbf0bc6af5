//! What the holder of a lock says of itself, in the key.

use serde::{Deserialize, Serialize};

use crate::shown::excerpt;

/// The most that is said of the apps, in characters.
const LONGEST: usize = 300;

/// What the holder of a lock says of itself, in the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Its machine on Fly.
    pub machine: Option<String>,
    /// That one's region.
    pub region: Option<String>,
    /// The version of this program.
    pub version: String,
    /// Which apps it scales.
    pub apps: String,
    /// Into how many shards it divides them, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
}

impl Account {
    /// What is said of the apps, of which there may be very many: it is read by people and kept by Consul.
    #[must_use]
    pub fn apps(patterns: &str) -> String {
        excerpt(patterns, LONGEST)
    }

    /// As it stands in the key.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what stands in the key.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Who holds the lock, in words; `text` is what stands in its key. With shards that is nobody alone.
    #[must_use]
    pub fn holder(text: &str) -> String {
        let shards = Self::read(text).and_then(|account| account.shards);
        shards.map_or_else(
            || Self::who(text),
            |shards| format!("copies with FAS_SHARDS={shards}"),
        )
    }

    /// What keeps a copy that scales `apps` in so many shards from standing in for the one that says `text` of itself, in a
    /// sentence.
    #[must_use]
    pub fn collision(text: &str, apps: &str, shards: usize) -> Option<String> {
        let theirs = Self::read(text)?;
        let their_shards = theirs.shards.unwrap_or(1);
        if their_shards != shards {
            return Some(format!(
                "FAS_SHARDS differs: the holder has {their_shards}, and this copy {shards}; it writes nothing until no copy with {their_shards} is left."
            ));
        }
        (theirs.apps != apps).then(|| {
            format!(
                "That one scales {}, and this copy {apps}, so that one of the two is not scaled: copies of one FAS_LOCK_NAME take turns.",
                theirs.apps
            )
        })
    }

    /// Who it is, in words; `text` is what stands in the key.
    #[must_use]
    pub fn who(text: &str) -> String {
        let Some(account) = Self::read(text) else {
            return "somebody who does not say who it is".to_owned();
        };
        let machine = account.machine.filter(|machine| !machine.is_empty());
        let machine = machine.map_or("a copy outside of Fly".to_owned(), |id| {
            format!("machine {id}")
        });
        let region = account.region.filter(|region| !region.is_empty());
        let region = region.map_or(String::new(), |region| format!(" in {region}"));
        let version = account.version;
        format!("{machine}{region}, version {version}")
    }
}
