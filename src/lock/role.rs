//! What a copy is among the others, for whoever looks at it.

use jiff::Timestamp;

use super::{account::Account, contest::Loss};

/// What this copy is among those that share its lock, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// Since when this copy has held the lock and may write; `None`: it stands by.
    pub holds_since: Option<Timestamp>,
    /// What another copy says of itself in the key that holds the lock, as far as this one knows.
    pub behind: Option<String>,
    /// What keeps this copy and the one that holds the lock from standing in for each other, in a sentence.
    pub collision: Option<String>,
    /// How this copy lost the lock, until it has it again.
    pub lost: Option<Lost>,
    /// That Consul is of no use.
    pub silence: Option<Silence>,
    /// How many shards this copy has, and how many there are; `None`: the apps are not divided.
    pub shards: Option<(usize, usize)>,
    /// Whether each shard is known to be some copy's.
    pub are_others: bool,
}

/// When and how a copy lost the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// When.
    pub at: Timestamp,
    /// How.
    pub how: Loss,
}

/// Since when Consul is of no use: it does not answer, or refuses what a lock needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// When all was well last.
    pub since: Timestamp,
    /// Why the last call came to nothing.
    pub why: String,
}

impl Role {
    /// Whether this copy may write.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.holds_since.is_some()
    }

    /// The word of it in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        if self.holds() { "active" } else { "standby" }
    }

    /// In one sentence who acts.
    #[must_use]
    pub fn sentence(&self) -> String {
        if let (true, Some((here, all))) = (self.holds(), self.shards) {
            return format!(
                "This copy holds {here} of {all} shards: it acts on the apps of these."
            );
        }
        if self.holds() {
            return "This copy holds the lock: it acts.".to_owned();
        }
        match &self.behind {
            Some(account) => {
                let holder = Account::holder(account);
                let collision = self.collision.as_deref();
                let collision = collision.map_or(String::new(), |text| format!(" {text}"));
                format!(
                    "This copy stands by and changes nothing: the lock is held by {holder}.{collision}"
                )
            }
            None if self.shards.is_some() && self.are_others => {
                "This copy stands by and changes nothing: other copies hold the shards.".to_owned()
            }
            None if self.shards.is_some() => {
                "This copy stands by and changes nothing: it is not known who holds the shards."
                    .to_owned()
            }
            None => "This copy stands by and changes nothing: nobody is known to hold the lock."
                .to_owned(),
        }
    }
}

impl Loss {
    /// Why it was lost, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NotRenewed => "it could not be renewed in time, or the machine was suspended",
            Self::SessionOver => "Consul has ended its session",
            Self::Taken => "the key is another copy's, or was changed by hand",
            Self::Unseen => "its key could not be read for a minute",
            Self::InVain => {
                "what Consul has for this copy could not be taken, given back or confirmed for a minute or more"
            }
            Self::Blind => "its passes see none of Fly's machines, which those of another copy may",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_told_in_a_sentence() {
        let account = r#"{"machine":"e2865","region":"ord","version":"1.2.3","apps":"web"}"#;
        let standby = |behind: Option<&str>| Role {
            behind: behind.map(str::to_owned),
            ..Role::default()
        };
        let holder = Role {
            holds_since: Some(Timestamp::UNIX_EPOCH),
            ..Role::default()
        };
        for (role, word, sentence) in [
            (holder, "active", "This copy holds the lock: it acts."),
            (
                standby(None),
                "standby",
                "This copy stands by and changes nothing: nobody is known to hold the lock.",
            ),
            (
                Role {
                    holds_since: Some(Timestamp::UNIX_EPOCH),
                    shards: Some((2, 16)),
                    ..Role::default()
                },
                "active",
                "This copy holds 2 of 16 shards: it acts on the apps of these.",
            ),
            (
                Role {
                    shards: Some((0, 16)),
                    ..Role::default()
                },
                "standby",
                "This copy stands by and changes nothing: it is not known who holds the shards.",
            ),
            (
                Role {
                    shards: Some((0, 16)),
                    are_others: true,
                    ..Role::default()
                },
                "standby",
                "This copy stands by and changes nothing: other copies hold the shards.",
            ),
            (
                standby(Some(r#"{"version":"1.2.3","apps":"web-*","shards":4}"#)),
                "standby",
                "This copy stands by and changes nothing: the lock is held by copies with FAS_SHARDS=4.",
            ),
            (
                standby(Some(account)),
                "standby",
                "This copy stands by and changes nothing: the lock is held by machine e2865 in ord, version 1.2.3.",
            ),
            (
                Role {
                    collision: Account::collision(account, "api", 1),
                    ..standby(Some(account))
                },
                "standby",
                "This copy stands by and changes nothing: the lock is held by machine e2865 in ord, version 1.2.3. That one scales web, and this copy api, so that one of the two is not scaled: copies of one FAS_LOCK_NAME take turns.",
            ),
            (
                standby(Some("graffiti")),
                "standby",
                "This copy stands by and changes nothing: the lock is held by somebody who does not say who it is.",
            ),
        ] {
            assert_eq!(
                (role.as_str(), role.sentence()),
                (word, sentence.to_owned())
            );
        }
    }
}
