//! The GraphQL service, as far as an app's release goes.
//!
//! Queries are really parsed: only fields that were asked for are answered, under the names that were asked for, and
//! what the schema lacks is an error, so that a client with a misspelt query is found out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    access::Token,
    server::Incoming,
    state::{Platform, Release, second},
    wire::Answer,
};

/// How deep selections may be nested.
const DEPTH: usize = 16;

/// How long a query may be, in bytes.
const LENGTH: usize = 64 * 1024;

pub(super) fn answer(platform: &mut Platform, incoming: &Incoming) -> Answer {
    let Some(token) = platform.machines_access.admit(incoming.authorization()) else {
        return errors(
            "You must be authenticated to view this.",
            "UNAUTHORIZED",
            Value::Null,
        );
    };
    let Ok(body) = serde_json::from_slice::<Value>(&incoming.body) else {
        return Answer::json(
            400,
            &json!({ "errors": [{ "message": "the body is not JSON" }] }),
        );
    };
    let query = body
        .get("query")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let fields = match parse(query) {
        Ok(fields) => fields,
        Err(message) => return errors(&message, "PARSE_ERROR", Value::Null),
    };
    let mut data = Map::new();
    for field in &fields {
        match root(platform, &token, field, body.get("variables")) {
            Ok(value) => data.insert(field.alias.clone(), value),
            Err((message, code)) => {
                return errors(&message, code, json!({ (field.alias.clone()): null }));
            }
        };
    }
    Answer::json(200, &json!({ "data": data }))
}

fn errors(message: &str, code: &str, data: Value) -> Answer {
    let errors = json!([{ "message": message, "extensions": { "code": code } }]);
    let mut body = json!({ "errors": errors });
    if !data.is_null() {
        body["data"] = data;
    }
    Answer::json(200, &body)
}

type Failure = (String, &'static str);

fn unknown(field: &Field, kind: &str) -> Failure {
    (
        format!("Field '{}' doesn't exist on type '{kind}'", field.name),
        "undefinedField",
    )
}

fn root(
    platform: &Platform,
    token: &Token,
    field: &Field,
    variables: Option<&Value>,
) -> Result<Value, Failure> {
    if field.name != "app" {
        return Err(unknown(field, "Queries"));
    }
    let name = match field.arguments.get("name") {
        Some(Argument::Text(text)) => Some(text.clone()),
        Some(Argument::Variable(variable)) => variables
            .and_then(|variables| variables.get(variable))
            .and_then(Value::as_str)
            .map(str::to_owned),
        None => None,
    };
    let Some(name) = name else {
        return Err((
            "Field 'app' needs a name".to_owned(),
            "missingRequiredArguments",
        ));
    };
    let app = platform
        .app(&name)
        .filter(|app| token.covers(&name, app.org()))
        .ok_or_else(|| (format!("Could not find App \"{name}\""), "NOT_FOUND"))?;
    select(field, "App", |field| {
        Ok(match field.name.as_str() {
            "id" | "name" => json!(app.name()),
            "status" => json!(app.status()),
            "deployed" => json!(app.status() == "deployed"),
            "currentRelease" | "currentReleaseUnprocessed" => match app.release() {
                Some(release) => select(field, "ReleaseUnprocessed", |field| {
                    released(app.name(), release, field)
                })?,
                None => Value::Null,
            },
            _ => return Err(unknown(field, "App")),
        })
    })
}

fn released(app: &str, release: &Release, field: &Field) -> Result<Value, Failure> {
    Ok(match field.name.as_str() {
        "id" => json!(format!("rel_{app}_{}", release.version)),
        "version" => json!(release.version),
        "status" => json!(release.status),
        "description" => json!("Deploy image"),
        "reason" => json!("deploy"),
        "stable" => json!(release.status == "complete"),
        "inProgress" => json!(release.status == "running"),
        "imageRef" => json!(release.image),
        "createdAt" => json!(second(release.created_at)),
        "updatedAt" => json!(second(release.updated_at)),
        "evaluationId" => json!(""),
        "user" => select(field, "User", |field| match field.name.as_str() {
            "id" | "name" | "email" => Ok(json!("deployer")),
            _ => Err(unknown(field, "User")),
        })?,
        _ => return Err(unknown(field, "ReleaseUnprocessed")),
    })
}

/// An object with what `value` says for each of the fields selected.
fn select(
    field: &Field,
    kind: &str,
    mut value: impl FnMut(&Field) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    if field.selection.is_empty() {
        return Err((
            format!(
                "Field '{}' of type '{kind}' must have a selection of subfields",
                field.name
            ),
            "selectionMismatch",
        ));
    }
    let mut object = Map::new();
    for field in &field.selection {
        object.insert(field.alias.clone(), value(field)?);
    }
    Ok(Value::Object(object))
}

#[derive(Debug, PartialEq)]
enum Argument {
    Text(String),
    Variable(String),
}

#[derive(Debug, PartialEq)]
struct Field {
    alias: String,
    name: String,
    arguments: BTreeMap<String, Argument>,
    selection: Vec<Self>,
}

/// The fields at the root of a query.
fn parse(text: &str) -> Result<Vec<Field>, String> {
    if text.len() > LENGTH {
        return Err("the query is too long".to_owned());
    }
    let mut parser = Parser { rest: text };
    parser.blank();
    if parser.word().is_some_and(|word| word != "query") {
        return Err("expected a query".to_owned());
    }
    parser.word();
    if parser.take('(') {
        // The variables' types are the client's affair: only their values are looked at.
        while !parser.take(')') {
            parser.any().ok_or("expected \")\" after the variables")?;
        }
    }
    let fields = parser.selection(0)?;
    if parser.rest.is_empty() {
        Ok(fields)
    } else {
        Err(format!(
            "expected the end, but found {:?}",
            parser.excerpt()
        ))
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn blank(&mut self) {
        loop {
            self.rest = self
                .rest
                .trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
            let Some(comment) = self.rest.strip_prefix('#') else {
                return;
            };
            self.rest = comment.find('\n').map_or("", |end| &comment[end..]);
        }
    }

    fn excerpt(&self) -> String {
        self.rest.chars().take(20).collect()
    }

    fn take(&mut self, letter: char) -> bool {
        let Some(rest) = self.rest.strip_prefix(letter) else {
            return false;
        };
        self.rest = rest;
        self.blank();
        true
    }

    fn any(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        self.blank();
        Some(letter)
    }

    fn word(&mut self) -> Option<&'a str> {
        let end = self
            .rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word.is_empty() {
            return None;
        }
        self.rest = rest;
        self.blank();
        Some(word)
    }

    fn name(&mut self, what: &str) -> Result<String, String> {
        let found = self.excerpt();
        self.word()
            .map(str::to_owned)
            .ok_or_else(|| format!("expected {what}, but found {found:?}"))
    }

    fn selection(&mut self, depth: usize) -> Result<Vec<Field>, String> {
        if depth >= DEPTH {
            return Err("the query is nested too deeply".to_owned());
        }
        if !self.take('{') {
            return Err(format!("expected \"{{\", but found {:?}", self.excerpt()));
        }
        let mut fields = Vec::new();
        while !self.take('}') {
            let mut name = self.name("a field")?;
            let alias = name.clone();
            if self.take(':') {
                name = self.name("a field")?;
            }
            let mut arguments = BTreeMap::new();
            if self.take('(') {
                while !self.take(')') {
                    let argument = self.name("an argument")?;
                    if !self.take(':') {
                        return Err(format!("expected a value of argument {argument}"));
                    }
                    arguments.insert(argument, self.value()?);
                }
            }
            let selection = if self.rest.starts_with('{') {
                self.selection(depth + 1)?
            } else {
                Vec::new()
            };
            fields.push(Field {
                alias,
                name,
                arguments,
                selection,
            });
        }
        Ok(fields)
    }

    fn value(&mut self) -> Result<Argument, String> {
        if self.take('$') {
            return self.name("a variable").map(Argument::Variable);
        }
        if let Some(rest) = self.rest.strip_prefix('"') {
            let (text, rest) = rest.split_once('"').ok_or("a string does not end")?;
            self.rest = rest;
            self.blank();
            return Ok(Argument::Text(text.to_owned()));
        }
        self.name("a value").map(Argument::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{
        Options,
        server::tests::{answered, post},
    };
    use jiff::Timestamp;

    const QUERY: &str = "query($appName: String!) { app(name: $appName) { \
        currentRelease: currentReleaseUnprocessed { status version createdAt updatedAt } } }";

    fn platform() -> Platform {
        let mut platform = Platform::new(&Options::default());
        platform.add_app("web", "acme");
        platform.add_app("new", "acme");
        let at = Timestamp::from_second(1_767_323_045).unwrap_or_default();
        let release = Release {
            version: 12,
            status: "complete".to_owned(),
            created_at: at,
            updated_at: at,
            image: "registry.fly.io/web:v12".to_owned(),
        };
        platform.set_release("web", Some(release));
        platform
    }

    #[test]
    fn a_release_is_answered_as_it_was_asked_for() {
        let named = |app: &str| json!({ "query": QUERY, "variables": { "appName": app } });
        let literal = |query: &str| json!({ "query": query });
        let cases = [
            (
                "the release",
                named("web"),
                json!({ "data": { "app": { "currentRelease": {
                    "status": "complete", "version": 12,
                    "createdAt": "2026-01-02T03:04:05Z", "updatedAt": "2026-01-02T03:04:05Z" } } } }),
            ),
            (
                "no release",
                named("new"),
                json!({ "data": { "app": { "currentRelease": null } } }),
            ),
            (
                "no such app",
                named("gone"),
                json!({ "data": { "app": null }, "errors": [{
                    "message": "Could not find App \"gone\"", "extensions": { "code": "NOT_FOUND" } }] }),
            ),
            (
                "a literal name",
                literal("{ a: app(name: \"web\") { currentRelease { imageRef user { email } } } }"),
                json!({ "data": { "a": { "currentRelease": {
                    "imageRef": "registry.fly.io/web:v12", "user": { "email": "deployer" } } } } }),
            ),
            (
                "a misspelt field",
                literal("{ app(name: \"web\") { currentRelease { state } } }"),
                json!({ "data": { "app": null }, "errors": [{
                    "message": "Field 'state' doesn't exist on type 'ReleaseUnprocessed'",
                    "extensions": { "code": "undefinedField" } }] }),
            ),
            (
                "no selection",
                literal("{ app(name: \"web\") }"),
                json!({ "data": { "app": null }, "errors": [{
                    "message": "Field 'app' of type 'App' must have a selection of subfields",
                    "extensions": { "code": "selectionMismatch" } }] }),
            ),
            (
                "a mutation",
                literal("mutation { x }"),
                json!({ "errors": [{ "message": "expected a query",
                    "extensions": { "code": "PARSE_ERROR" } }] }),
            ),
        ];
        for (name, body, expected) in cases {
            let mut platform = platform();
            let answer = answer(&mut platform, &post("/graphql", &body.to_string()));
            assert_eq!(answered(&answer), (200, expected), "{name}");
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused() {
        for text in [
            "", "{", "{}", "}", "{a(", "{a(b", "{a(b:", "{a(b:\"", "query(", "{a{", "#", "{é}",
            "{a:}",
        ] {
            let _ = parse(text);
        }
        assert!(parse(&"{a".repeat(10_000)).is_err());
        assert_eq!(
            parse(&format!("{{a{}", " ".repeat(LENGTH))),
            Err("the query is too long".to_owned())
        );
    }
}
