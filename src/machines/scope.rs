//! Whom a token is for, and what an app is: the answers of `GET /v1/tokens/current` and `GET /v1/apps/{app}`.
//!
//! They explain, and nothing is decided by them, so that a member of another type than documented is as good as absent.

use serde::Deserialize;
use serde_json::Value;

use super::client::cleaned;

/// How many apps of a token are kept.
const APP_LIMIT: usize = 20;

/// What one token of a list is for, by its own account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenScope {
    /// The organization's slug.
    pub org: Option<String>,
    /// The apps, the first of them where there are many; `None`: it names none, as one for a whole organization does.
    pub apps: Option<Vec<String>>,
    /// The machine from which alone it is accepted.
    pub machine: Option<String>,
}

/// What an app says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppAbout {
    /// Its organization's slug.
    pub org: Option<String>,
    /// `pending`, `deployed`, `suspended` …
    pub status: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct WireTokens {
    tokens: Option<Vec<Value>>,
}

impl WireTokens {
    pub(super) fn read(self) -> Vec<TokenScope> {
        let tokens = self.tokens.unwrap_or_default();
        let read = |token: &Value| TokenScope {
            org: text(token.get("org_slug")),
            apps: apps(token.get("apps")),
            machine: text(token.get("restricted_to_machine")),
        };
        tokens.iter().map(read).collect()
    }
}

#[derive(Deserialize)]
pub(super) struct WireAbout {
    status: Option<Value>,
    organization: Option<Value>,
}

impl WireAbout {
    pub(super) fn read(self) -> AppAbout {
        let org = self.organization.as_ref().and_then(|org| org.get("slug"));
        AppAbout {
            org: text(org),
            status: text(self.status.as_ref()),
        }
    }
}

/// A text that is not empty, fit to be shown.
fn text(value: Option<&Value>) -> Option<String> {
    let text = cleaned(value?.as_str()?);
    Some(text).filter(|text| !text.is_empty())
}

fn apps(value: Option<&Value>) -> Option<Vec<String>> {
    let apps = value?.as_array()?.iter();
    let apps: Vec<String> = apps
        .filter_map(|app| text(Some(app)))
        .take(APP_LIMIT)
        .collect();
    Some(apps).filter(|apps| !apps.is_empty())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::json::Object;

    #[test]
    fn what_is_documented_is_read_and_the_rest_is_as_good_as_absent() {
        let read = |body: &str| {
            serde_json::from_str::<Object<WireTokens>>(body)
                .unwrap()
                .0
                .read()
        };
        let scope = |org: Option<&str>, apps: Option<&[&str]>, machine: Option<&str>| TokenScope {
            org: org.map(str::to_owned),
            apps: apps.map(|apps| apps.iter().map(|app| (*app).to_owned()).collect()),
            machine: machine.map(str::to_owned),
        };
        let documented = r#"{"tokens":[{"token_id":"t","org_slug":"acme","organization":"17","apps":["web"],"user":"u",
            "restricted_to_machine":"m1","source_machine_id":""}]}"#;
        assert_eq!(
            read(documented),
            [scope(Some("acme"), Some(&["web"]), Some("m1"))]
        );
        let cases = [
            r#"{"tokens":[{"org_slug":7,"apps":null,"restricted_to_machine":false}]}"#,
            r#"{"tokens":[{"org_slug":"","apps":[],"restricted_to_machine":""}]}"#,
            r#"{"tokens":[{"apps":[1,{}]}]}"#,
            r#"{"tokens":["text"]}"#,
        ];
        for body in cases {
            assert_eq!(read(body), [scope(None, None, None)], "{body}");
        }
        assert_eq!(read("{}"), []);
        assert_eq!(read(r#"{"tokens":null}"#), []);

        let about = |body: &str| {
            serde_json::from_str::<Object<WireAbout>>(body)
                .unwrap()
                .0
                .read()
        };
        let app = about(
            r#"{"id":"1","name":"web","status":"deployed","organization":{"name":"Acme","slug":"acme"}}"#,
        );
        assert_eq!(app.org.as_deref(), Some("acme"));
        assert_eq!(app.status.as_deref(), Some("deployed"));
        assert_eq!(
            about(r#"{"status":1,"organization":"acme"}"#),
            AppAbout::default()
        );
    }
}
