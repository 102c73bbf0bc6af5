//! Which tokens the simulated services accept, and what each covers.
//!
//! A token may be a list of macaroons: whoever sends only a part of it is refused, as on Fly.

use std::fmt;

use serde_json::{Value, json};

use super::random::hash;

/// A token that a service accepts.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    verbatim: bool,
    text: String,
    org: Option<String>,
    apps: Option<Vec<String>>,
}

impl Token {
    /// A token without its scheme, such as `fm2_permission,fm2_discharge`, that covers everything.
    ///
    /// It is accepted behind `Bearer` and `FlyV1` alike, with other tokens in the same list or without.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            verbatim: false,
            text: text.to_owned(),
            org: None,
            apps: None,
        }
    }

    /// The whole value of `Authorization`, such as `Basic dXNlcjpwYXNz`.
    #[must_use]
    pub fn verbatim(header: &str) -> Self {
        Self {
            verbatim: true,
            ..Self::new(header)
        }
    }

    /// Covers only this organisation.
    #[must_use]
    pub fn of_org(mut self, org: &str) -> Self {
        self.org = Some(org.to_owned());
        self
    }

    /// Covers only these apps.
    #[must_use]
    pub fn of_apps(mut self, apps: &[&str]) -> Self {
        self.apps = Some(apps.iter().map(|app| (*app).to_owned()).collect());
        self
    }

    /// What it says of itself.
    pub(super) fn render(&self) -> Value {
        json!({
            "token_id": format!("{:014x}", hash(&self.text) >> 8),
            "org_slug": self.org,
            "organization": self.org,
            "apps": self.apps,
            "user": "",
            "restricted_to_machine": "",
            "source_machine_id": "",
        })
    }

    pub(super) fn covers(&self, app: &str, org: &str) -> bool {
        self.covers_org(org)
            && self
                .apps
                .as_ref()
                .is_none_or(|apps| apps.iter().any(|covered| covered == app))
    }

    pub(super) fn covers_org(&self, org: &str) -> bool {
        self.org.as_ref().is_none_or(|covered| covered == org)
    }

    fn accepts(&self, header: &str) -> bool {
        if self.verbatim {
            return header == self.text;
        }
        let Some((scheme, sent)) = header.trim().split_once(' ') else {
            return false;
        };
        let known = ["bearer", "flyv1"].contains(&scheme.to_ascii_lowercase().as_str());
        let sent: Vec<&str> = sent.split(',').map(str::trim).collect();
        known
            && self
                .text
                .split(',')
                .all(|piece| sent.contains(&piece.trim()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Token")
            .field("org", &self.org)
            .field("apps", &self.apps)
            .finish_non_exhaustive()
    }
}

/// Who may use a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// Everybody, with or without a token.
    #[default]
    Anyone,
    /// Who sends one of these.
    Tokens(Vec<Token>),
}

impl Access {
    /// The token that an `Authorization` stands for; `None` when it is refused.
    pub(super) fn admit(&self, header: Option<&str>) -> Option<Token> {
        match self {
            Self::Anyone => Some(Token::new("")),
            Self::Tokens(tokens) => {
                let header = header?;
                tokens.iter().find(|token| token.accepts(header)).cloned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_accepted_whole_or_not_at_all() {
        let access = Access::Tokens(vec![
            Token::new("fm2_AAA,fm2_BBB"),
            Token::new("fo1_CCC"),
            Token::verbatim("Basic dXNlcjpwYXNz"),
        ]);
        let cases = [
            (None, false),
            (Some("FlyV1 fm2_AAA,fm2_BBB"), true),
            (Some("Bearer fm2_AAA,fm2_BBB"), true),
            (Some("FlyV1 fm2_AAA,fm2_BBB,fo1_XXX"), true),
            (Some("FlyV1 fm2_AAA"), false),
            (Some("bearer fo1_CCC"), true),
            (Some("fo1_CCC"), false),
            (Some("Token fo1_CCC"), false),
            (Some("Basic dXNlcjpwYXNz"), true),
            (Some("Bearer "), false),
        ];
        for (header, expected) in cases {
            assert_eq!(access.admit(header).is_some(), expected, "{header:?}");
        }
        assert!(Access::Anyone.admit(None).is_some());
    }

    #[test]
    fn a_token_is_not_printed() {
        assert!(!format!("{:?}", Token::new("fm2_AAA")).contains("fm2"));
    }
}
