//! Small pieces of HTTP that the services share: percent-encoding, query strings, answers.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// A text without its percent-encoding; `plus` also turns `+` into a blank, as forms have it.
///
/// What is no valid encoding stays as it is; bytes that are no UTF-8 become the replacement character.
pub(super) fn decode(text: &str, plus: bool) -> String {
    let text = text.replace('+', if plus { " " } else { "+" });
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

/// The decoded pairs of a query string or a form.
pub(super) fn parameters(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name, true), decode(value, true))
    })
}

/// The first parameter of that name.
pub(super) fn parameter(text: &str, name: &str) -> Option<String> {
    parameters(text)
        .find(|(found, _)| found == name)
        .map(|(_, value)| value)
}

/// An answer of one of the services, before any fault.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// A JSON answer of text that is JSON already.
    pub(super) fn text(status: u16, text: String) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers,
            body: Bytes::from(text),
        }
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::text(status, value.to_string())
    }

    pub(super) fn plain(status: u16, content_type: &'static str, text: String) -> Self {
        let mut answer = Self::text(status, text);
        answer
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer
    }

    /// Adds a header; a name or value that HTTP does not allow is left out.
    pub(super) fn header(&mut self, name: &str, value: &str) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            self.headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_takes_anything() {
        let cases = [
            ("plain", "plain", false),
            ("a%20b", "a b", false),
            ("a+b", "a+b", false),
            ("a+b", "a b", true),
            ("100%", "100%", true),
            ("%zz%+f%4", "%zz% f%4", true),
            ("%f0%9f%8e%88", "🎈", true),
            ("%ff", "\u{fffd}", true),
            ("é%", "é%", true),
        ];
        for (text, expected, plus) in cases {
            assert_eq!(decode(text, plus), expected, "{text}");
        }
    }

    #[test]
    fn parameters_are_found_by_name() {
        let text = "query=count%28up%29&time=1.5&&flag&query=second";
        assert_eq!(parameter(text, "query").as_deref(), Some("count(up)"));
        assert_eq!(parameter(text, "flag").as_deref(), Some(""));
        assert_eq!(parameter(text, "other"), None);
    }
}
