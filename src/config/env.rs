//! The environment's part: which variables are read, and what their names and bytes may be.
//!
//! The variables come from the caller; nothing here asks the process for them. Only names that mean something are
//! looked at: any program may put whatever it likes, UTF-8 or not, into the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
};

use super::{
    error::{ConfigError, Place},
    problems::Problems,
    settings::{FURTHER_QUERY, RawSettings, VARIABLES, Value, variable},
    suggestion::suggestion,
};

/// The variables of this program alone.
const PREFIX: &str = "FAS_";

/// What keeps machines from being changed. Without one of these more is done than the user wants, so that its misspelling is
/// no mere oddity.
const SAFETY: &[&str] = &[
    "FAS_APP_NAME",
    "FAS_BUSY_LIMIT",
    "FAS_CLONE_VOLUMES",
    "FAS_DEPLOY_TIMEOUT",
    "FAS_DESTROY_RUNNING_AFTER",
    "FAS_DRY_RUN",
    "FAS_INITIAL_MACHINE_STATE",
    "FAS_LOCK_NAME",
    "FAS_LOCK_URL",
    "FAS_MACHINE_CEILING",
    "FAS_MACHINE_FLOOR",
    "FAS_MAX_CREATED_MACHINE_COUNT",
    "FAS_MAX_STARTED_MACHINE_COUNT",
    "FAS_MIN_CREATED_MACHINE_COUNT",
    "FAS_MIN_STARTED_MACHINE_COUNT",
    "FAS_PER_REGION",
    "FAS_PROCESS_GROUP",
    "FAS_PROMETHEUS_BUSY_QUERY",
    "FAS_SCALE_DOWN_STABILIZATION",
    "FAS_SCALE_DOWN_STEP",
    "FAS_SCALE_UP_STABILIZATION",
    "FAS_SCALE_UP_STEP",
    "FAS_SHARDS",
    "FAS_STOP_ACTION",
];

/// The variables that can be read as text.
pub(super) struct Environment {
    variables: BTreeMap<String, String>,
    /// Names whose values are not UTF-8.
    undecodable: BTreeSet<String>,
}

impl Environment {
    /// Takes the variables. Of two with the same name the first holds, as in C and Go.
    pub(super) fn collect(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self {
            variables: BTreeMap::new(),
            undecodable: BTreeSet::new(),
        };
        for (name, value) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            if environment.variables.contains_key(&name) || environment.undecodable.contains(&name)
            {
                continue;
            }
            match value.into_string() {
                Ok(value) => drop(environment.variables.insert(name, value)),
                Err(_) => drop(environment.undecodable.insert(name)),
            }
        }
        environment
    }

    /// A variable's value; empty if it is set to nothing, absent if it is not set or not UTF-8.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A variable's value without white space around it; absent if nothing remains.
    pub(super) fn non_empty(&self, name: &str) -> Option<String> {
        self.get(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }

    /// Whether a variable is set to bytes that are not UTF-8.
    pub(super) fn is_undecodable(&self, name: &str) -> bool {
        self.undecodable.contains(name)
    }

    /// The settings, through envy.
    ///
    /// envy gets exactly the known variables, by the names of the fields: it would fold case, so that `FAS_Interval` and
    /// `FAS_INTERVAL` collided, it does not mind unknown ones, and it would take those with one prefix only.
    pub(super) fn settings(&self, errors: &mut Vec<ConfigError>) -> RawSettings {
        for name in &self.undecodable {
            if name.starts_with(PREFIX) || variable(name).is_some() {
                let place = Place::Variable(name.clone());
                errors.push(ConfigError::new(
                    &place,
                    format!("{name} is not valid UTF-8"),
                ));
            }
        }
        let known = VARIABLES.iter().filter_map(|variable| {
            let value = self
                .get(variable.name)
                .filter(|value| !value.trim().is_empty())?;
            let field = variable.name.strip_prefix(PREFIX);
            Some((field.unwrap_or(variable.name).to_owned(), value.to_owned()))
        });
        envy::from_iter(known).unwrap_or_else(|_| {
            // Only texts are asked for, which envy cannot fail to give; its message might show a token.
            let place = Place::Variable("FAS_*".to_owned());
            errors.push(ConfigError::new(&place, "the environment cannot be read"));
            RawSettings::default()
        })
    }

    /// The variables that give further queries, in the order of their names.
    pub(super) fn further_queries(&self) -> Vec<Value> {
        let queries = self.variables.iter().filter(|(name, _)| is_query(name));
        let queries = queries
            .filter_map(|(name, value)| Value::new(value.clone(), Place::Variable(name.clone())));
        queries.collect()
    }

    /// Refuses a variable that is probably a misspelt safety switch, and warns of each other one that looks like one of this
    /// program's and is not; those in `referenced` are there for the file or a query.
    ///
    /// Upstream ignores all of them in silence, but knows none of the switches that are added here: whoever runs it has no
    /// variable that this refuses by accident.
    pub(super) fn unknown(&self, problems: &mut Problems) -> Vec<String> {
        let referenced = &problems.referenced;
        let unknown = self.variables.iter().filter(|(name, value)| {
            name.starts_with(PREFIX)
                && !value.is_empty()
                && variable(name).is_none()
                && !is_query(name)
                && !referenced.contains(*name)
        });
        let unknown = unknown.map(|(name, _)| {
            let known = VARIABLES
                .iter()
                .map(|variable| variable.name)
                .filter(|name| name.starts_with(PREFIX));
            (name, suggestion(name, known))
        });
        let (misspelt, ignored): (Vec<_>, Vec<_>) = unknown.partition(|(_, meant)| {
            let meant = meant.as_deref().unwrap_or_default();
            meant.split(" or ").any(|name| SAFETY.contains(&name))
        });
        for (name, meant) in misspelt {
            let place = Place::Variable(name.clone());
            let message = format!("{name}: unknown variable");
            let meant = meant.unwrap_or_default();
            problems.errors.push(
                ConfigError::new(&place, message)
                    .expected(format!("{meant}, which limits what is changed")),
            );
        }
        let warnings = ignored.into_iter().map(|(name, meant)| match meant {
            Some(meant) => format!("{name}: unknown variable, ignored; did you mean {meant}?"),
            None => format!("{name}: unknown variable, ignored"),
        });
        warnings.collect()
    }
}

/// Whether a variable gives a further query of Prometheus.
fn is_query(name: &str) -> bool {
    name.strip_prefix(FURTHER_QUERY)
        .is_some_and(|metric| !metric.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_safety_switch_is_a_variable() {
        for name in SAFETY {
            assert!(variable(name).is_some(), "{name}");
        }
    }
}
