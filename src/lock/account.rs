//! What the holder of a lock says of itself, in the key.

use serde::{Deserialize, Serialize};

use crate::shown::excerpt;

/// The most of one thing that is said of a holder, in characters: of its apps, most of all.
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

/// In what two copies of one lock are not alike: what the other one has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences {
    /// Into how many shards it divides the apps; 1: not at all.
    pub shards: Option<usize>,
    /// Which apps it scales.
    pub apps: Option<String>,
}

impl Account {
    /// What is said of the apps, of which there may be very many: it is read by people and kept by Consul.
    #[must_use]
    pub fn apps<'one>(patterns: impl IntoIterator<Item = &'one str>) -> String {
        let patterns: Vec<&str> = patterns.into_iter().collect();
        excerpt(&patterns.join(", "), LONGEST)
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

    /// What stands in the key, as it may be shown. It is read before anything of it is hidden: a secret may be a word of its
    /// syntax.
    pub(super) fn as_shown(text: &str, limit: usize) -> String {
        let Some(account) = Self::read(text) else {
            return excerpt(text, limit);
        };
        let shown = |word: String| excerpt(&word, LONGEST);
        let account = Self {
            machine: account.machine.map(shown),
            region: account.region.map(shown),
            version: shown(account.version),
            apps: shown(account.apps),
            shards: account.shards,
        };
        account.text()
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

    /// In what the copy that says this of itself is other than one that scales `apps` in so many shards. Where it is the first of
    /// several that divide the apps it may be long gone, and which apps the others scale is not known.
    #[must_use]
    pub fn differences(&self, apps: &str, shards: usize) -> Differences {
        let theirs = self.shards.unwrap_or(1);
        let are_others = self.shards.is_none() && self.apps != apps;
        Differences {
            shards: (theirs != shards).then_some(theirs),
            apps: are_others.then(|| self.apps.clone()),
        }
    }

    /// What keeps a copy that scales `apps` in so many shards from standing in for the one that says `text` of itself, in a
    /// sentence.
    #[must_use]
    pub fn collision(text: &str, apps: &str, shards: usize) -> Option<String> {
        let differences = Self::read(text)?.differences(apps, shards);
        if let Some(theirs) = differences.shards {
            return Some(format!(
                "FAS_SHARDS differs: the holder has {theirs}, and this copy {shards}; it writes nothing until no copy with {theirs} is left."
            ));
        }
        differences.apps.map(|theirs| {
            format!(
                "That one scales {theirs}, and this copy {apps}, so that one of the two is not scaled: copies of one FAS_LOCK_NAME take turns."
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
