//! Names of regions: which are known, and what a name that is not may be meant to be.
//!
//! The platform's list is not ours to know, and grows: a name that is not known is told, never refused.

use super::suggestion::suggestion;

/// Names of groups of regions that the API takes for one. A machine carries none of them.
const ALIASES: [&str; 10] = [
    "any", "us", "usa", "eu", "na", "sa", "apac", "asia", "af", "oc",
];

/// Fly's regions.
const REGIONS: [&str; 35] = [
    "ams", "arn", "atl", "bog", "bom", "bos", "cdg", "den", "dfw", "ewr", "eze", "fra", "gdl",
    "gig", "gru", "hkg", "iad", "jnb", "lax", "lhr", "mad", "mia", "nrt", "ord", "otp", "phx",
    "qro", "scl", "sea", "sin", "sjc", "syd", "waw", "yul", "yyz",
];

fn known() -> impl Iterator<Item = &'static str> {
    REGIONS.into_iter().chain(ALIASES)
}

/// Whether a name is that of a region or an alias, as far as this program knows.
pub(super) fn is_known(name: &str) -> bool {
    known().any(|known| known == name)
}

/// Whether a name is that of a group of regions.
pub(super) fn is_alias(name: &str) -> bool {
    ALIASES.contains(&name)
}

/// The warning of a name that is not known, in the setting `label`.
pub(super) fn unknown(label: &str, name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let meant = if is_known(&lower) {
        Some(lower)
    } else if name.len() > 3 {
        // Among names of three letters nearly all are neighbours.
        suggestion(name, known().filter(|known| known.len() > 2))
    } else {
        None
    };
    let used = "it is used as it stands, so if it is misspelt, creates fail there; \
                the names are in: fly platform regions";
    let question = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    format!("{label} contains {name}, a region unknown to fly-autoscaler{question}: {used}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_known_are_told() {
        for known in ["iad", "any", "usa", "eu"] {
            assert!(is_known(known), "{known}");
        }
        let cases = [
            ("iadd", "; did you mean iad?"),
            ("IAD", "; did you mean iad?"),
            ("zzz", ""),
            ("somewhere-else", ""),
        ];
        for (name, question) in cases {
            assert!(!is_known(name));
            assert_eq!(
                unknown("FAS_REGIONS", name),
                format!(
                    "FAS_REGIONS contains {name}, a region unknown to fly-autoscaler{question}: it is used as it stands, so \
                     if it is misspelt, creates fail there; the names are in: fly platform regions"
                )
            );
        }
    }
}
