//! Where calls go: the addresses of an API, put together without reading its own one again for each call.

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::{Position, Url, form_urlencoded};

/// What must not stand in a segment of a path as it is, by the URL standard.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// The address of an API.
pub(super) struct Address {
    /// An error says why no request can be made there.
    origin: Result<(Scheme, Authority), String>,
    /// With what every path begins.
    path: String,
    /// The query string of the address itself, which calls with one of their own do not have.
    query: Option<String>,
}

impl Address {
    /// Of the Machines API; a path and a query string are dropped.
    pub(super) fn machines(url: &Url) -> Self {
        Self {
            origin: origin(url),
            path: "/v1".to_owned(),
            query: None,
        }
    }

    /// Of GraphQL, which stands below the address.
    pub(super) fn graphql(url: &Url) -> Self {
        Self {
            origin: origin(url),
            path: format!(
                "{}/graphql",
                url.path().strip_suffix('/').unwrap_or(url.path())
            ),
            query: url.query().map(str::to_owned),
        }
    }

    /// The address of what stands at `path` below this one, asked with these parameters.
    ///
    /// # Errors
    ///
    /// Why there is no such address.
    pub(super) fn uri(&self, path: &[&str], parameters: &[(&str, &str)]) -> Result<Uri, String> {
        let (scheme, authority) = self.origin.as_ref().map_err(Clone::clone)?;
        let mut text = self.path.clone();
        // As the URL standard has it, these two are no names.
        for segment in path.iter().filter(|name| !matches!(**name, "." | "..")) {
            text.push('/');
            text.extend(utf8_percent_encode(segment, ENCODED));
        }
        if let Some(query) = &self.query {
            text.push('?');
            text.push_str(query);
        } else if !parameters.is_empty() {
            text.push('?');
            let begin = text.len();
            let mut query = form_urlencoded::Serializer::for_suffix(text, begin);
            text = query.extend_pairs(parameters).finish();
        }
        let place = PathAndQuery::try_from(text).map_err(|error| error.to_string())?;
        let uri = Uri::builder()
            .scheme(scheme.clone())
            .authority(authority.clone())
            .path_and_query(place);
        uri.build().map_err(|error| error.to_string())
    }
}

fn origin(url: &Url) -> Result<(Scheme, Authority), String> {
    let scheme = Scheme::try_from(url.scheme()).map_err(|error| error.to_string())?;
    let authority = Authority::try_from(&url[Position::BeforeUsername..Position::AfterPort]);
    Ok((scheme, authority.map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a literal address")
    }

    #[test]
    fn a_path_is_written_as_the_url_standard_has_it() {
        let address = Address::machines(&url("http://[fdaa::3]:4280/base?a=b"));
        // These three it leaves out, as nobody wants to.
        let ascii = (0..128).filter(|byte| !b"\t\n\r".contains(byte));
        let ascii = ascii.map(|byte| char::from(byte).to_string());
        let others = ["web", "ä/ö", "..", ".", "...", "%2F", ""].map(str::to_owned);
        for segment in ascii.chain(others) {
            let path = ["apps", &*segment, "machines"];
            let mut expected = url("http://[fdaa::3]:4280/");
            let mut segments = expected.path_segments_mut().expect("it has a path");
            segments.clear().push("v1").extend(path);
            drop(segments);
            let uri = address.uri(&path, &[]).expect("an address");
            assert_eq!(uri.to_string(), expected.as_str(), "{segment:?}");
        }
    }

    #[test]
    fn parameters_are_written_as_a_form() {
        let address = Address::machines(&url("https://m.test"));
        let uri = address.uri(&["apps"], &[("org_slug", "a b&c"), ("timeout", "7")]);
        let expected = "https://m.test/v1/apps?org_slug=a+b%26c&timeout=7";
        assert_eq!(uri.expect("an address"), expected);
    }

    #[test]
    fn graphql_stands_below_its_address() {
        for (base, expected) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/graphql"),
            ("https://g.test/fly/", "https://g.test/fly/graphql"),
            ("https://g.test/fly?a=b", "https://g.test/fly/graphql?a=b"),
        ] {
            let uri = Address::graphql(&url(base)).uri(&[], &[]);
            assert_eq!(uri.expect("an address"), expected, "{base}");
        }
    }
}
