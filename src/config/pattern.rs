//! `FAS_APP_NAME`: an app's name, or a pattern of which `*` stands for any run of characters.
//!
//! Matching is done by hand, in time linear in the name: a pattern such as `*-*-*-*` must not cost more than its length.

use super::AppPattern;

/// The pattern has no characters, or one that no Fly app's name has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected letters, digits, dashes and underscores, and * for any run of characters")]
pub struct InvalidAppPattern;

impl AppPattern {
    /// Takes a pattern: letters, digits, dashes, underscores and `*`, at least one character.
    ///
    /// Fly's names of today are lower case; whether a name exists is for Fly to say.
    ///
    /// # Errors
    /// Any other character, or none at all.
    pub fn parse(text: &str) -> Result<Self, InvalidAppPattern> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*');
        if text.is_empty() || !text.bytes().all(allowed) {
            return Err(InvalidAppPattern);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether it can mean several apps.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.contains('*')
    }

    /// Whether an app that was listed is meant: what no app can be called has no place in an address or a log line.
    #[must_use]
    pub fn takes(&self, app: &str) -> bool {
        Self::parse(app).is_ok_and(|name| !name.is_wildcard()) && self.matches(app)
    }

    /// Whether `app` is meant.
    #[must_use]
    pub fn matches(&self, app: &str) -> bool {
        let Some((head, tail)) = self.0.split_once('*') else {
            return self.0 == app;
        };
        let (middle, last) = tail.rsplit_once('*').unwrap_or(("", tail));
        // The leftmost place for each piece leaves the most room for those after it, so no second try is needed.
        let Some(mut rest) = app
            .strip_prefix(head)
            .and_then(|rest| rest.strip_suffix(last))
        else {
            return false;
        };
        for piece in middle.split('*') {
            let Some(start) = rest.find(piece) else {
                return false;
            };
            rest = &rest[start + piece.len()..];
        }
        true
    }

    /// The text it was made from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters_also_none() {
        let cases: &[(&str, &str, bool)] = &[
            ("my-app", "my-app", true),
            ("my-app", "my-app-2", false),
            ("my-app", "amy-app", false),
            ("my-app-*", "my-app-1", true),
            ("my-app-*", "my-app-", true),
            ("my-app-*", "my-app", false),
            ("*", "anything", true),
            ("**", "anything", true),
            ("*-worker", "eu-worker", true),
            ("*-worker", "eu-worker-2", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-x-b-y-c", true),
            ("a*b*c", "a-x-c", false),
            ("ab*ba", "aba", false),
            ("ab*ba", "abba", true),
            ("a*ab", "aab", true),
            ("*aa*aa*", "aaa", false),
            ("*aa*aa*", "aaaa", true),
            ("a.c", "abc", false),
        ];
        for (pattern, app, expected) in cases {
            let Ok(parsed) = AppPattern::parse(pattern) else {
                assert!(pattern.contains('.'), "{pattern}");
                continue;
            };
            assert_eq!(parsed.matches(app), *expected, "{pattern} and {app}");
        }
    }

    #[test]
    fn only_a_fly_apps_characters_and_stars_are_taken() {
        for text in ["my-app", "my-app-*", "*", "a1", "1", "My-App", "my_app"] {
            assert_eq!(
                AppPattern::parse(text).map(|pattern| pattern.as_str().to_owned()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "", "my app", "my.app", "a/b", "a?b", "\u{e9}", "a\nb", "a,b",
        ] {
            assert_eq!(AppPattern::parse(text), Err(InvalidAppPattern), "{text}");
        }
    }

    #[test]
    fn a_star_makes_a_wildcard() {
        assert!(AppPattern::parse("a*").unwrap().is_wildcard());
        assert!(!AppPattern::parse("a-b").unwrap().is_wildcard());
    }

    #[test]
    fn a_listed_app_is_taken_where_it_has_the_name_of_one() {
        let every = AppPattern::parse("web-*").unwrap();
        for (app, taken) in [
            ("web-ok", true),
            ("other", false),
            ("web-<script>", false),
            ("web-a/b", false),
            ("web-*", false),
            ("web-é", false),
        ] {
            assert_eq!(every.takes(app), taken, "{app}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_does_not_take_for_ever() {
        let pattern = AppPattern::parse(&format!("{}b", "a*".repeat(2_000))).unwrap();
        // Backtracking would never come back from this.
        assert!(!pattern.matches(&"a".repeat(20_000)));
    }

    /// The definition, slow and obvious.
    fn matches_by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => {
                (0..=name.len()).any(|skipped| matches_by_definition(rest, &name[skipped..]))
            }
            Some((first, rest)) => {
                name.first() == Some(first) && matches_by_definition(rest, &name[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
            let parsed = AppPattern::parse(&pattern).unwrap();
            prop_assert_eq!(parsed.matches(&name), matches_by_definition(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn every_name_matches_itself_and_the_star(name in "[a-z0-9-]{1,40}") {
            prop_assert!(AppPattern::parse(&name).unwrap().matches(&name));
            prop_assert!(AppPattern::parse("*").unwrap().matches(&name));
        }
    }
}
