//! What a misspelt name was probably meant to be.

/// What `name` is probably a misspelling of, in words: one of `known`, or the two settings that bound a count.
///
/// Who writes a bound means a bound: a name with `MAX` in it is no misspelling of one without.
pub(super) fn suggestion<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // Longer than any name there is; comparing is quadratic.
    if name.len() > 64 {
        return None;
    }
    let meant = Side::of(name);
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .filter(|candidate| meant.is_none() || Side::of(candidate) == meant)
        .map(|candidate| (strsim::levenshtein(name, candidate), *candidate))
        .min();
    if let Some((distance, candidate)) = nearest {
        if distance <= 2 || distance * 4 <= candidate.len() {
            return Some(candidate.to_owned());
        }
    }
    let is_of_machines = words(name).any(|word| word.starts_with("machine"));
    let hard = meant.filter(|_| is_of_machines)?.hard_bound();
    let both: Vec<&str> = known
        .into_iter()
        .filter(|candidate| {
            let of_created = words(candidate).any(|word| word == "created");
            let is_fallback = words(candidate).any(|word| word == "fallback");
            Side::of(candidate) == meant
                && (of_created && !is_fallback || words(candidate).any(|word| word == hard))
        })
        .collect();
    (!both.is_empty()).then(|| both.join(" or "))
}

/// Which end of a band a setting's name is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Lower,
    Upper,
}

impl Side {
    fn of(name: &str) -> Option<Self> {
        words(name).find_map(|word| match word.as_str() {
            "min" | "minimum" | "floor" => Some(Self::Lower),
            "max" | "maximum" | "ceiling" => Some(Self::Upper),
            _ => None,
        })
    }

    /// The word in the name of the bound that holds whatever an expression says.
    fn hard_bound(self) -> &'static str {
        match self {
            Self::Lower => "floor",
            Self::Upper => "ceiling",
        }
    }
}

fn words(name: &str) -> impl Iterator<Item = String> {
    name.split(['_', '-']).map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::super::settings::{VARIABLES, YamlKey};
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let names = || VARIABLES.iter().map(|variable| variable.name);
        let cases: &[(&str, Option<&str>)] = &[
            ("FAS_INTERVALL", Some("FAS_INTERVAL")),
            ("FAS_PROMETEUS_QUERY", Some("FAS_PROMETHEUS_QUERY")),
            (
                "FAS_CREATED_MACHINES_COUNT",
                Some("FAS_CREATED_MACHINE_COUNT"),
            ),
            (
                "FAS_MAX_CREATED_MACHINES",
                Some("FAS_MAX_CREATED_MACHINE_COUNT"),
            ),
            ("FAS_MACHINES_CEILING", Some("FAS_MACHINE_CEILING")),
            (
                "FAS_MAX_MACHINE_COUNT",
                Some("FAS_MAX_CREATED_MACHINE_COUNT or FAS_MACHINE_CEILING"),
            ),
            (
                "FAS_MIN_MACHINES",
                Some("FAS_MIN_CREATED_MACHINE_COUNT or FAS_MACHINE_FLOOR"),
            ),
            ("FAS_MAX_THINGS", None),
            ("FAS_COMPLETELY_DIFFERENT_THING", None),
        ];
        for (name, expected) in cases {
            assert_eq!(suggestion(name, names()).as_deref(), *expected, "{name}");
        }
        let keys = VARIABLES.iter().filter_map(|variable| match variable.key {
            YamlKey::Top(key) | YamlKey::Policy(key) => Some(key),
            _ => None,
        });
        assert_eq!(
            suggestion("max-machine-count", keys).as_deref(),
            Some("max-created-machine-count or machine-ceiling")
        );
        assert_eq!(suggestion(&"x".repeat(1 << 20), names()), None);
    }
}
