//! Queries with `$APP_NAME` and `$REGION`: cut once at start-up, filled in for each app, or each region of it.
//!
//! A variable's value is inserted as it is and not looked at again: a `$` in it means nothing.

use super::{
    QueryTemplate, Subject,
    expansion::{APP_NAME, REGION, Segment, segments},
};

/// A part of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// The same for each.
    Text(String),
    /// `$APP_NAME`.
    App,
    /// `$REGION`, as it is written.
    Region(String),
}

impl QueryTemplate {
    /// Cuts `text` at `$APP_NAME` and replaces every other `$NAME` and `${NAME}` by what `lookup` says; an unset one by
    /// nothing. A `$` that no name follows stays.
    ///
    /// Gives the names that are unset, too: each once, in the order of the text.
    #[must_use]
    pub fn parse(text: &str, lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        Self::cut(text, false, lookup, |_| "")
    }

    /// As [`Self::parse`], and cuts at `$REGION` as well, which is then no variable of the environment.
    #[must_use]
    pub fn parse_per_region(
        text: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> (Self, Vec<String>) {
        Self::cut(text, true, lookup, |_| "")
    }

    /// As [`Self::parse`] or [`Self::parse_per_region`], but an unset variable stays as it is written: in a password `$` is a
    /// letter like others.
    pub(super) fn parse_address(
        text: &str,
        per_region: bool,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> (Self, Vec<String>) {
        Self::cut(text, per_region, lookup, |written| written)
    }

    fn cut(
        text: &str,
        per_region: bool,
        lookup: impl Fn(&str) -> Option<String>,
        stand_in: impl Fn(&str) -> &str,
    ) -> (Self, Vec<String>) {
        let mut pieces = Vec::new();
        let mut kept = String::new();
        let mut unset: Vec<String> = Vec::new();
        for segment in segments(text) {
            let open = match segment {
                Segment::Text(text) => {
                    kept.push_str(text);
                    continue;
                }
                Segment::Variable { name: APP_NAME, .. } => Piece::App,
                Segment::Variable {
                    name: REGION,
                    written,
                } if per_region => Piece::Region(written.to_owned()),
                Segment::Variable { name, written } => {
                    let value = lookup(name);
                    if value.is_none() && !unset.iter().any(|known| known == name) {
                        unset.push(name.to_owned());
                    }
                    kept.push_str(value.as_deref().unwrap_or_else(|| stand_in(written)));
                    continue;
                }
            };
            pieces.push(Piece::Text(std::mem::take(&mut kept)));
            pieces.push(open);
        }
        pieces.push(Piece::Text(kept));
        (Self { pieces }, unset)
    }

    /// The query for an app, or for a region of it.
    #[must_use]
    pub fn render<'a>(&self, about: impl Into<Subject<'a>>) -> String {
        let Subject { app, region } = about.into();
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::App => app,
            Piece::Region(written) => region.unwrap_or(written),
        });
        pieces.collect()
    }

    /// Whether it is another one for each region.
    #[must_use]
    pub fn asks_each_region(&self) -> bool {
        let is_open = |piece: &Piece| matches!(piece, Piece::Region(_));
        self.pieces.iter().any(is_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "REGION" => Some("ord".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("$APP_NAME$REGION".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn the_app_and_the_environment_are_filled_in() {
        let cases: &[(&str, &str, &[&str])] = &[
            (
                "count(fly_instance_up{app='$APP_NAME'})",
                "count(fly_instance_up{app='my-app'})",
                &[],
            ),
            ("${APP_NAME}-$APP_NAME", "my-app-my-app", &[]),
            ("up{region=\"$REGION\"}", "up{region=\"ord\"}", &[]),
            ("up{region=\"${REGION}x\"}", "up{region=\"ordx\"}", &[]),
            ("a$NOPE-$APP_NAMES-$NOPE", "a--", &["NOPE", "APP_NAMES"]),
            ("a${EMPTY}b", "ab", &[]),
            (
                "label_replace(up, \"a\", \"$1\", \"b\", \"(.*)$\")",
                "label_replace(up, \"a\", \"$1\", \"b\", \"(.*)$\")",
                &[],
            ),
            ("cost$$", "cost$$", &[]),
            ("$TRICKY", "$APP_NAME$REGION", &[]),
            ("", "", &[]),
        ];
        for (text, expected, unset) in cases {
            let (template, names) = QueryTemplate::parse(text, environment);
            assert_eq!(template.render("my-app"), *expected, "{text}");
            assert_eq!(names, *unset, "{text}");
        }
    }

    #[test]
    fn one_template_serves_many_apps() {
        let (template, _) = QueryTemplate::parse("$APP_NAME", environment);
        assert_eq!([template.render("a"), template.render("b")], ["a", "b"]);
    }

    #[test]
    fn a_region_is_filled_in_where_each_is_a_fleet_of_its_own() {
        let app = Subject::from("my-app");
        let region = Subject::in_region("my-app", "iad");
        let cases: &[(&str, [&str; 3], bool, &[&str])] = &[
            (
                "a{r='$REGION',b='$APP_NAME'}",
                [
                    "a{r='ord',b='my-app'}",
                    "a{r='$REGION',b='my-app'}",
                    "a{r='iad',b='my-app'}",
                ],
                true,
                &[],
            ),
            (
                "${REGION}$REGION-${EMPTY}",
                ["ordord-", "${REGION}$REGION-", "iadiad-"],
                true,
                &[],
            ),
            ("$REGIONS", ["", "", ""], false, &["REGIONS"]),
            ("$TRICKY", ["$APP_NAME$REGION"; 3], false, &[]),
            ("$APP_NAME", ["my-app"; 3], false, &[]),
        ];
        for (text, [of_environment, of_app, of_region], asks_each, unset) in cases {
            let (template, names) = QueryTemplate::parse(text, environment);
            assert_eq!(template.render(region), *of_environment, "{text}");
            assert!(!template.asks_each_region(), "{text}");
            assert_eq!(names, *unset, "{text}");
            let (template, names) = QueryTemplate::parse_per_region(text, environment);
            assert_eq!(template.render(app), *of_app, "{text}");
            assert_eq!(template.render(region), *of_region, "{text}");
            assert_eq!(template.asks_each_region(), *asks_each, "{text}");
            assert_eq!(names, *unset, "{text}");
        }
    }
}
