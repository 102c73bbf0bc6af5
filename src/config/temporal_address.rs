//! Where a Temporal server is: the ways to write it that gRPC's clients know, and that users of URLs expect.

use std::fmt;

use http::uri::Authority;

/// Temporal's own port, for an address without one.
const DEFAULT_PORT: u16 = 7233;

/// A host and a port, and whether TLS was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporalAddress {
    is_https: bool,
    authority: Authority,
}

impl TemporalAddress {
    /// Reads `host`, `host:port`, the same behind `http://` or `https://`, and gRPC's `dns:///host:port`,
    /// `dns:host:port` and `passthrough:///host:port`. A scheme's case does not matter.
    ///
    /// # Errors
    ///
    /// What was expected; the text is not shown, since it may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (is_https, place) = place(text.trim())?;
        let authority: Authority = place
            .strip_suffix('/')
            .unwrap_or(place)
            .parse()
            .map_err(|_| "a host and a port")?;
        if authority.as_str().contains('@') {
            return Err("a host and a port, without a user");
        }
        if authority.host().is_empty() {
            return Err("a host before the port");
        }
        let authority = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None => format!("{authority}:{DEFAULT_PORT}")
                .parse()
                .map_err(|_| "a host and a port")?,
            Some(port) if port.parse::<u16>().is_ok_and(|port| port > 0) => authority,
            Some(_) => return Err("a port from 1 to 65535 after the host"),
        };
        Ok(Self {
            is_https,
            authority,
        })
    }

    /// Whether the address asks for TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host and the port.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

/// `host:port`, behind `https://` where it was written so.
impl fmt::Display for TemporalAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https://" } else { "" };
        write!(formatter, "{scheme}{}", self.authority)
    }
}

/// Whether TLS is asked for, and the host with or without a port.
fn place(text: &str) -> Result<(bool, &str), &'static str> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return match scheme.to_ascii_lowercase().as_str() {
            "https" => Ok((true, rest)),
            "http" => Ok((false, rest)),
            "dns" | "passthrough" => match rest.strip_prefix('/') {
                Some(place) => Ok((false, place)),
                None => Err(
                    "a host and a port after dns:///, since the system's name server is the one that is asked",
                ),
            },
            _ => Err("a host and a port, with dns:///, http:// or https:// before it or not"),
        };
    }
    // `dns:7233` is a host of that name.
    let after_dns = text.get(4..).filter(|rest| {
        text[..4].eq_ignore_ascii_case("dns:") && rest.bytes().any(|byte| !byte.is_ascii_digit())
    });
    Ok((false, after_dns.unwrap_or(text)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_in_many_ways() {
        let cases = [
            ("temporal.internal:7233", "temporal.internal:7233"),
            ("temporal.internal", "temporal.internal:7233"),
            ("localhost", "localhost:7233"),
            ("http://10.0.0.1:80", "10.0.0.1:80"),
            ("HTTP://temporal:80", "temporal:80"),
            (
                "https://acme.tmprl.cloud:443/",
                "https://acme.tmprl.cloud:443",
            ),
            ("HTTPS://acme.tmprl.cloud", "https://acme.tmprl.cloud:7233"),
            ("dns:///temporal:7234", "temporal:7234"),
            ("DNS:///temporal", "temporal:7233"),
            ("dns:temporal:7234", "temporal:7234"),
            ("dns:temporal", "temporal:7233"),
            ("dns:7234", "dns:7234"),
            ("dns", "dns:7233"),
            ("passthrough:///10.0.0.1:7233", "10.0.0.1:7233"),
            ("[fdaa::3]:7233", "[fdaa::3]:7233"),
            ("dns:///[fdaa::3]", "[fdaa::3]:7233"),
            ("https://[fdaa::3]", "https://[fdaa::3]:7233"),
            (" temporal:1 ", "temporal:1"),
        ];
        for (text, expected) in cases {
            let found = TemporalAddress::parse(text).map(|address| address.to_string());
            assert_eq!(found, Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":7233",
            "http://",
            "dns:///",
            "dns:",
            "host:port",
            "host:0",
            "host:65536",
            "host:",
            "user:password@host:7233",
            "https://user:password@host:7233",
            "host:7233/path",
            "host:7233?x",
            "ftp://host:7233",
            "grpc://host:7233",
            "dns://1.1.1.1/host:7233",
            "unix:/run/temporal",
            "unix:///run/temporal",
            "a host:7233",
            "fdaa::3",
            "höst:7233",
            "ÿÿ",
        ] {
            let error = TemporalAddress::parse(text).unwrap_err();
            assert!(!error.contains("password"), "{text}");
        }
    }
}
