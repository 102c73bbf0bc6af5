//! Addresses of servers that are not asked over HTTP: `scheme://user:password@host:port/database?parameters`.

use percent_encoding::percent_decode_str;
use url::Url;

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
        let url = Url::parse(text).map_err(|_| of_scheme())?;
        if !schemes.contains(&url.scheme()) || url.cannot_be_a_base() {
            return Err(of_scheme());
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or("a host after the //")?;
        // In `user:pass/word@host` the host is `user`, and a piece of the password would be shown as the rest.
        let rest = &text[text.find("://").map_or(0, |at| at + 3)..];
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if rest[authority.len()..].contains('@') {
            return Err("/, ? and # in a password written as %2F, %3F and %23".to_owned());
        }
        if url.fragment().is_some() {
            return Err("no # in it, or one in a password written as %23".to_owned());
        }
        let decoded = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            let decoded = decoded.map_err(|_| "UTF-8 behind its % signs".to_owned());
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
