//! The one GraphQL question: is a deploy under way?

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{client::cleaned, error::ApiErrorCause, wire::describe};
use crate::{
    json::{self, Object},
    scaling::Release,
};

/// Only what the decision reads is asked for.
const QUERY: &str = "query($appName: String!) { app(name: $appName) { currentRelease: currentReleaseUnprocessed \
                     { version status createdAt } } }";

#[derive(Serialize)]
struct Question<'app> {
    query: &'static str,
    variables: Variables<'app>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Variables<'app> {
    app_name: &'app str,
}

#[derive(Deserialize)]
struct Answer<'body> {
    /// Read once it is known that no error explains it.
    #[serde(borrow)]
    data: Option<&'body RawValue>,
    errors: Option<First>,
}

// A field that was asked for is null or has a value; where it is missing, nobody has answered. A reader of its own makes
// serde tell the two apart.

#[derive(Deserialize)]
struct Data {
    #[serde(deserialize_with = "Option::deserialize")]
    app: Option<Object<App>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct App {
    #[serde(deserialize_with = "Option::deserialize")]
    current_release: Option<Object<WireRelease>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRelease {
    version: Option<u64>,
    #[serde(deserialize_with = "Option::deserialize")]
    status: Option<String>,
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct Complaint {
    message: Option<String>,
    extensions: Option<Object<Extensions>>,
}

#[derive(Deserialize)]
struct Extensions {
    code: Option<String>,
}

/// The first of the errors, which is the one that is shown; of the others nothing is kept.
struct First(Option<Complaint>);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut first = None;
        json::for_each(deserializer, |Object(complaint): Object<Complaint>| {
            first.get_or_insert(complaint);
            Ok(())
        })?;
        Ok(Self(first))
    }
}

/// The body of the question about `app`.
pub(super) fn question(app: &str) -> Vec<u8> {
    serde_json::to_vec(&Question {
        query: QUERY,
        variables: Variables { app_name: app },
    })
    .expect("strings always serialize")
}

/// Reads the answer; `None` for an app that was never released.
///
/// # Errors
///
/// When it carries errors, or no app, or does not answer what was asked. That GraphQL does not know the app is an answer: it
/// hides from a token what that does not cover.
pub(super) fn answer(body: &[u8]) -> Result<Option<Release>, ApiErrorCause> {
    let undecodable = |error| ApiErrorCause::Decode(describe(body, &error));
    let Object(answer): Object<Answer<'_>> = serde_json::from_slice(body).map_err(undecodable)?;
    if let Some(complaint) = answer.errors.and_then(|First(complaint)| complaint) {
        return Err(complaint.cause());
    }
    let Some(data) = answer.data else {
        let nothing = "neither data nor errors".to_owned();
        return Err(ApiErrorCause::Decode(nothing));
    };
    let Object(data): Object<Data> = serde_json::from_str(data.get()).map_err(|error| {
        let problem = cleaned(&json::problem(&error));
        ApiErrorCause::Decode(format!("its data: {problem}"))
    })?;
    let Object(app) = data.app.ok_or_else(|| {
        ApiErrorCause::UnknownApp(
            "GraphQL: the app does not exist, or the token does not cover it".to_owned(),
        )
    })?;
    Ok(app.current_release.map(|Object(release)| Release {
        version: release.version,
        status: release.status.unwrap_or_default(),
        created_at: release.created_at.and_then(|text| text.parse().ok()),
    }))
}

impl Complaint {
    /// GraphQL answers 200 to a token that it does not accept, and says so in the body.
    fn cause(self) -> ApiErrorCause {
        let message = self
            .message
            .unwrap_or_else(|| "an error without a message".to_owned());
        let message = format!("GraphQL: {}", cleaned(&message));
        let code = self
            .extensions
            .and_then(|Object(extensions)| extensions.code)
            .unwrap_or_default();
        match code.as_str() {
            "UNAUTHORIZED" | "UNAUTHENTICATED" | "FORBIDDEN" => ApiErrorCause::Unauthorized {
                status: None,
                message,
            },
            "NOT_FOUND" => ApiErrorCause::UnknownApp(message),
            _ if message.contains("Could not find App") => ApiErrorCause::UnknownApp(message),
            _ => ApiErrorCause::Complaint(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::arrays;

    #[test]
    fn answers_are_releases_or_reasons_not_to_write() {
        let release = |version, status: &str, created_at: Option<&str>| {
            Ok(Some(Release {
                version,
                status: status.to_owned(),
                created_at: created_at.map(|text| text.parse().expect("a literal timestamp")),
            }))
        };
        let cases = [
            (
                r#"{"data":{"app":{"currentRelease":{"version":12,"status":"complete","createdAt":"2026-01-02T03:04:05Z"}}}}"#,
                release(Some(12), "complete", Some("2026-01-02T03:04:05Z")),
            ),
            (
                r#"{"data":{"app":{"currentRelease":{"status":"running"}}}}"#,
                release(None, "running", None),
            ),
            (
                r#"{"data":{"app":{"currentRelease":{"status":null,"createdAt":"soon"}}}}"#,
                release(None, "", None),
            ),
            (r#"{"data":{"app":{"currentRelease":null}}}"#, Ok(None)),
            (
                r#"{"data":{"app":null}}"#,
                Err("GraphQL: the app does not exist, or the token does not cover it".to_owned()),
            ),
            (
                r#"{"data":{"app":null},"errors":[{"message":"Could not find App"}]}"#,
                Err("GraphQL: Could not find App".to_owned()),
            ),
            (
                r#"{"errors":[{"message":"no","extensions":{"code":"UNAUTHORIZED"}}]}"#,
                Err("GraphQL: no; the token in FAS_API_TOKEN was not accepted: create one with `fly tokens create deploy -a APP` (one app) or `fly tokens create org` (several apps) and set all of it, commas included".to_owned()),
            ),
            (
                r#"{"data":{},"errors":[{"message":"no","extensions":{"code":"NOT_FOUND"}}]}"#,
                Err("GraphQL: no".to_owned()),
            ),
            (
                r#"{"data":null,"errors":[]}"#,
                Err("invalid response: neither data nor errors".to_owned()),
            ),
            (
                r#"{"data":{"app":{"currentRelease":{"version":3}}}}"#,
                Err("invalid response: its data: missing field `status`".to_owned()),
            ),
            (
                "<html>",
                Err("invalid response: the body is HTML, not JSON".to_owned()),
            ),
            (
                "",
                Err("invalid response: the body is empty".to_owned()),
            ),
        ];
        for (body, expected) in cases {
            let found = answer(body.as_bytes()).map_err(|cause| cause.to_string());
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn the_first_of_any_number_of_errors_is_told() {
        let many = format!(
            r#"{{"errors":[{{"message":"first"}}{}]}}"#,
            r#",{"message":"more"}"#.repeat(10_000)
        );
        let error = answer(many.as_bytes()).expect_err("errors");
        assert_eq!(error.to_string(), "GraphQL: first");
    }

    #[test]
    fn an_array_is_no_answer_and_no_part_of_one() {
        let answers = [
            r#"{"data":{"app":{"currentRelease":{"version":12,"status":"complete","createdAt":"2026-01-02T03:04:05Z"}}}}"#,
            r#"{"errors":[{"message":"no","extensions":{"code":"NOT_FOUND"}}]}"#,
        ];
        let mut arrays: Vec<String> = answers
            .iter()
            .flat_map(|answer| arrays::in_place_of_objects(answer))
            .collect();
        arrays.extend(
            [
                r#"[{"app":{"currentRelease":null}},null]"#,
                r#"{"data":{"app":[null]}}"#,
                r#"{"data":[[[1,"complete",null]]]}"#,
                r#"{"data":{"app":{"currentRelease":[1,"complete",null]}}}"#,
            ]
            .map(str::to_owned),
        );
        for array in arrays {
            let error = answer(array.as_bytes()).expect_err(&array);
            assert!(
                matches!(error, ApiErrorCause::Decode(_)),
                "{array}: {error}"
            );
        }
    }
}
