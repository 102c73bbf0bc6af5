//! Queries with `$APP_NAME`: cut once at start-up, filled in for each app.
//!
//! A variable's value is inserted as it is and not looked at again: a `$` in it means nothing.

use super::{
    QueryTemplate,
    expansion::{APP_NAME, Segment, segments},
};

impl QueryTemplate {
    /// Cuts `text` at `$APP_NAME` and replaces every other `$NAME` and `${NAME}` by what `lookup` says; an unset one by
    /// nothing. A `$` that no name follows stays.
    ///
    /// Gives the names that are unset, too: each once, in the order of the text.
    #[must_use]
    pub fn parse(text: &str, lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        Self::cut(text, lookup, |_| "")
    }

    /// As [`Self::parse`], but an unset variable stays as it is written: in a password `$` is a letter like others.
    pub(super) fn parse_address(
        text: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> (Self, Vec<String>) {
        Self::cut(text, lookup, |written| written)
    }

    fn cut(
        text: &str,
        lookup: impl Fn(&str) -> Option<String>,
        stand_in: impl Fn(&str) -> &str,
    ) -> (Self, Vec<String>) {
        let mut pieces = vec![String::new()];
        let mut unset: Vec<String> = Vec::new();
        for segment in segments(text) {
            let piece = pieces.last_mut().expect("there is a first piece");
            match segment {
                Segment::Text(kept) => piece.push_str(kept),
                Segment::Variable { name: APP_NAME, .. } => pieces.push(String::new()),
                Segment::Variable { name, written } => {
                    let value = lookup(name);
                    if value.is_none() && !unset.iter().any(|known| known == name) {
                        unset.push(name.to_owned());
                    }
                    piece.push_str(value.as_deref().unwrap_or_else(|| stand_in(written)));
                }
            }
        }
        (Self { pieces }, unset)
    }

    /// The query for `app`.
    #[must_use]
    pub fn render(&self, app: &str) -> String {
        self.pieces.join(app)
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
}
