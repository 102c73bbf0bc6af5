//! Addresses of servers that are not asked over HTTP: `scheme://user:password@host:port/database?parameters`.

use percent_encoding::percent_decode_str;
use url::{ParseError, Url};

/// How a password is written that has in it what means something in an address.
const ENCODED: &str = "/, ? and # in a password written as %2F, %3F and %23";

/// What is expected of a port that is none.
pub(super) const PORT: &str = "a port from 1 to 65535 behind the host";

/// Whether an address cannot be read for its port, and not for a password in whose place there seems to be one.
pub(super) fn is_about_the_port(text: &str, error: ParseError) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    error == ParseError::InvalidPort
        && !rest[authority.len()..].contains('@')
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The parts of such an address, decoded.
pub(super) struct ServerUrl {
    pub(super) scheme: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// In brackets where it is an IPv6 address.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// The path without its slash; empty: none.
    pub(super) database: String,
    /// The query string.
    pub(super) parameters: Vec<(String, String)>,
}

impl ServerUrl {
    /// Takes an address with one of `schemes` apart.
    ///
    /// # Errors
    ///
    /// What was expected; it shows nothing of the address.
    pub(super) fn parse(text: &str, schemes: [&str; 2]) -> Result<Self, String> {
        let of_scheme = || {
            format!(
                "an address that begins with {}:// or {}://",
                schemes[0], schemes[1]
            )
        };
        let has_scheme = schemes.iter().any(|scheme| {
            let rest = text.strip_prefix(scheme);
            rest.is_some_and(|rest| rest.starts_with("://"))
        });
        // Mostly a password with one of these in it: what is before it is taken for host and port.
        let unreadable = || {
            if has_scheme {
                format!("{}://user:password@host:port, with {ENCODED}", schemes[0])
            } else {
                of_scheme()
            }
        };
        let url = Url::parse(text).map_err(|error| {
            if has_scheme && is_about_the_port(text, error) {
                PORT.to_owned()
            } else {
                unreadable()
            }
        })?;
        if !schemes.contains(&url.scheme()) || url.cannot_be_a_base() {
            return Err(of_scheme());
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or("a host after the //")?;
        // In `user:pass/word@host` the host is `user`, and a piece of the password would be shown as the rest.
        let rest = &text[text.find("://").map_or(0, |at| at + 3)..];
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if rest[authority.len()..].contains('@') {
            return Err(ENCODED.to_owned());
        }
        if url.fragment().is_some() {
            return Err("no # in it, or one in a password written as %23".to_owned());
        }
        let decoded = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            let decoded = decoded.map_err(|_| {
                "UTF-8 behind its % signs, and a % in a password written as %25".to_owned()
            });
            decoded.map(std::borrow::Cow::into_owned)
        };
        let user = Some(url.username()).filter(|user| !user.is_empty());
        let password = url.password().filter(|password| !password.is_empty());
        let parameters = url.query_pairs();
        Ok(Self {
            scheme: url.scheme().to_owned(),
            user: user.map(decoded).transpose()?,
            password: password.map(decoded).transpose()?,
            host: decoded(host)?,
            port: url.port(),
            database: decoded(url.path().trim_start_matches('/'))?,
            parameters: parameters
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        })
    }
}
