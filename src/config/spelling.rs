//! What the settings of a collector are called where they are written: variables of the environment, or keys of an item of the
//! file.

use super::{
    kind::CollectorKind,
    settings::{VARIABLES, WrittenCollector, YamlKey},
};

/// What of a message names Temporal's own variables, and the key that stands for them in a file.
const TEMPORALS_OWN: [(&str, &str); 4] = [
    (
        "`TEMPORAL_TLS_CERT_DATA` (or `FAS_TEMPORAL_CERT_DATA`)",
        "cert-data",
    ),
    (
        "`TEMPORAL_TLS_KEY_DATA` (or `FAS_TEMPORAL_KEY_DATA`)",
        "key-data",
    ),
    ("`TEMPORAL_TLS_CERT_DATA`", "cert-data"),
    ("`TEMPORAL_TLS_KEY_DATA`", "key-data"),
];

/// What of a message says that two variables have other names too.
const EITHER: &str = " (or `FAS_TEMPORAL_…`)";

/// What the settings of one collector are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spelling {
    /// By the variables of its kind.
    Variables {
        /// The variable of its query, where that is one of several of a server.
        query: Option<String>,
    },
    /// By keys of this item of the file: `metric-collectors[0]`, `policies[1].metric-collectors[0]`.
    Item(String),
}

impl Spelling {
    pub(super) fn of(written: &WrittenCollector) -> Self {
        match &written.item {
            Some(place) => Self::Item(place.label().to_owned()),
            None => Self::Variables {
                query: written.query.as_ref().map(|query| query.label().to_owned()),
            },
        }
    }

    /// What a key of the collector is called.
    #[must_use]
    pub fn setting(&self, kind: CollectorKind, key: &str) -> String {
        match self {
            Self::Item(item) => format!("{item}.{key}"),
            Self::Variables { query: Some(query) } if key == "query" => query.clone(),
            Self::Variables { .. } => kind.variable(key).unwrap_or_default().to_owned(),
        }
    }

    /// A message about the collector that names variables in backticks, by what they are called here.
    #[must_use]
    pub fn respell(&self, kind: CollectorKind, message: &str) -> String {
        let Self::Item(_) = self else {
            return message.to_owned();
        };
        let respell = |message: String, written: &str, key: &str| {
            message.replace(written, &format!("`{}`", self.setting(kind, key)))
        };
        let mut message = message.to_owned();
        if kind == CollectorKind::Temporal {
            message = message.replace(EITHER, "");
            for (written, key) in TEMPORALS_OWN {
                message = respell(message, written, key);
            }
        }
        let rows = VARIABLES.iter().filter(|row| row.section == kind.section());
        rows.fold(message, |message, row| match row.key {
            YamlKey::Collector(key) => respell(message, &format!("`{}`", row.name), key),
            YamlKey::Top(_) | YamlKey::Policy(_) | YamlKey::Absent => message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_called_what_the_user_has_called_it() {
        let variables = |query: Option<&str>| Spelling::Variables {
            query: query.map(str::to_owned),
        };
        let item = Spelling::Item("policies[1].metric-collectors[0]".to_owned());
        let cases = [
            (variables(None), "query", "FAS_PROMETHEUS_QUERY"),
            (
                variables(Some("FAS_PROMETHEUS_QUERY_DEPTH")),
                "query",
                "FAS_PROMETHEUS_QUERY_DEPTH",
            ),
            (
                variables(Some("FAS_PROMETHEUS_QUERY_DEPTH")),
                "token",
                "FAS_PROMETHEUS_TOKEN",
            ),
            (item, "query", "policies[1].metric-collectors[0].query"),
        ];
        for (spelling, key, expected) in cases {
            assert_eq!(spelling.setting(CollectorKind::Prometheus, key), expected);
        }
    }

    #[test]
    fn messages_name_the_keys_of_the_file() {
        let item = Spelling::Item("metric-collectors[2]".to_owned());
        let cases = [
            (
                CollectorKind::Redis,
                "nil (set `FAS_REDIS_EMPTY_VALUE`); see `FAS_REDIS_URL` and FAS_TIMEOUT",
                "nil (set `metric-collectors[2].empty-value`); see `metric-collectors[2].url` and FAS_TIMEOUT",
            ),
            (
                CollectorKind::Temporal,
                "`TEMPORAL_TLS_CERT_DATA` (or `FAS_TEMPORAL_CERT_DATA`) holds no certificate",
                "`metric-collectors[2].cert-data` holds no certificate",
            ),
            (
                CollectorKind::Temporal,
                "check `TEMPORAL_TLS_KEY_DATA`",
                "check `metric-collectors[2].key-data`",
            ),
        ];
        for (kind, message, expected) in cases {
            assert_eq!(item.respell(kind, message), expected);
            let variables = Spelling::Variables { query: None };
            assert_eq!(variables.respell(kind, message), message);
        }
    }
}
