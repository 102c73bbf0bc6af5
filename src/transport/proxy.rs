//! Which proxy a request goes through: the rules of Go's `net/http`, which users of upstream have written their variables for.
//!
//! `HTTPS_PROXY` is for `https://` addresses and `HTTP_PROXY` for `http://` ones, each also in lower case, the upper case
//! first; there is no `ALL_PROXY`. `NO_PROXY` lists what is asked directly, and this machine's own addresses always are.
//! Other than in Go, an address that cannot be a proxy's is an error: Go goes direct then, and tells nobody. Pure: the
//! variables come from the caller.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use url::{Host, Position, Url};

/// Which proxy each address is asked through; by default none.
#[derive(Debug, Clone, Default)]
pub struct ProxyRules {
    http: Option<ProxyAddress>,
    https: Option<ProxyAddress>,
    exceptions: Exceptions,
}

/// A proxy, and the variable that names it. It shows neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyAddress {
    url: Url,
    variable: &'static str,
}

/// A variable that should name a proxy and does not. The value is not kept: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is not the address of a proxy")]
pub struct InvalidProxy {
    /// The variable.
    pub variable: &'static str,
}

impl InvalidProxy {
    /// What would have been one.
    pub const EXPECTED: &'static str =
        "host:port, or an address that begins with http://, https://, socks5:// or socks5h://";
}

/// The variables that are read.
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const NO: [&str; 2] = ["NO_PROXY", "no_proxy"];

impl ProxyRules {
    /// Every variable that [`Self::new`] asks for.
    pub const VARIABLES: [&'static str; 6] = [HTTP[0], HTTP[1], HTTPS[0], HTTPS[1], NO[0], NO[1]];

    /// Reads the variables, which `get` gives by name, and adds those that name no proxy to `invalid`.
    pub fn new<'a>(get: impl Fn(&str) -> Option<&'a str>, invalid: &mut Vec<InvalidProxy>) -> Self {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let value = get(name)?.trim();
                (!value.is_empty()).then_some((name, value))
            })
        };
        let mut proxy = |names| {
            let (variable, value) = first(names)?;
            let url = address(value);
            if url.is_none() {
                invalid.push(InvalidProxy { variable });
            }
            Some(ProxyAddress {
                url: url?,
                variable,
            })
        };
        Self {
            http: proxy(HTTP),
            https: proxy(HTTPS),
            exceptions: first(NO)
                .map_or_else(Exceptions::default, |(_, list)| Exceptions::parse(list)),
        }
    }

    /// The proxy that `url` is asked through; `None`: it is asked directly.
    #[must_use]
    pub fn proxy_for(&self, url: &Url) -> Option<&ProxyAddress> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref()?,
            "http" => self.http.as_ref()?,
            _ => return None,
        };
        let host = url.host()?;
        let port = url.port_or_known_default()?;
        (!is_this_machine(&host) && !self.exceptions.include(&host, port)).then_some(proxy)
    }

    /// The proxies, for whoever has to know their passwords to keep them from being shown.
    pub fn proxies(&self) -> impl Iterator<Item = &ProxyAddress> {
        self.http.iter().chain(&self.https)
    }
}

impl ProxyAddress {
    /// The whole address, user and password included.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// `http://proxy:3128 (HTTPS_PROXY)`.
impl fmt::Display for ProxyAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.url[Position::BeforeHost..Position::AfterPort];
        let scheme = self.url.scheme();
        write!(formatter, "{scheme}://{place} ({})", self.variable)
    }
}

impl fmt::Debug for ProxyAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ProxyAddress({self})")
    }
}

/// Reads a proxy's address. Without a scheme it is one of HTTP, as in Go.
fn address(value: &str) -> Option<Url> {
    let is_usable = |url: &Url| {
        // `HOST:PORT` parses as an address whose scheme is the host; one of these never is.
        let is_known = matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h");
        let has_host = url.host_str().is_some_and(is_host);
        // An unescaped `/`, `?` or `#` in a password moves the rest of it, and the host, out of the authority.
        let is_whole = !url[Position::BeforePath..].contains('@');
        is_known && has_host && is_whole && url.port() != Some(0)
    };
    match value.split_once("://") {
        Some(_) => Url::parse(value).ok().filter(is_usable),
        None => Url::parse(&format!("http://{value}"))
            .ok()
            // `http:proxy:3128` and `http//proxy:3128` would be taken for a proxy of the name `http`.
            .filter(|url| is_usable(url) && !matches!(url.host_str(), Some("http" | "https"))),
    }
}

/// Schemes that the URL standard does not know leave a host as it was written.
fn is_host(host: &str) -> bool {
    let of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_literal = host.starts_with('[') && host.ends_with(']');
    !host.is_empty() && (is_literal || host.chars().all(of_names))
}

fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.to_canonical().is_loopback(),
    }
}

/// What `NO_PROXY` lists.
#[derive(Debug, Clone, Default)]
struct Exceptions(Vec<Exception>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    Everything,
    /// A network: its address and how many of its bits count.
    Network(IpAddr, u8),
    Address(IpAddr, Port),
    /// A domain with a dot before it, and whether the domain itself is meant too.
    Domain {
        suffix: String,
        itself: bool,
        port: Port,
    },
}

/// A port as written; Go compares it as text, so that one that is no number fits nowhere.
type Port = Option<String>;

impl Exceptions {
    fn parse(list: &str) -> Self {
        Self(list.split(',').filter_map(Exception::parse).collect())
    }

    fn include(&self, host: &Host<&str>, port: u16) -> bool {
        self.0.iter().any(|exception| exception.fits(host, port))
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = network(&entry) {
            return Some(Self::Network(address, bits));
        }
        let (host, port) = match host_and_port(&entry) {
            Some((host, port)) => (host, Some(port.to_owned()).filter(|port| !port.is_empty())),
            None => (entry.as_str(), None),
        };
        if host.is_empty() {
            return None;
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        let host = match host.strip_prefix("*.") {
            Some(_) => &host[1..],
            None => host,
        };
        let (name, itself) = match host.strip_prefix('.') {
            Some(name) => (name, false),
            None => (host, true),
        };
        let suffix = format!(".{}", ascii(name));
        Some(Self::Domain {
            suffix,
            itself,
            port,
        })
    }

    fn fits(&self, host: &Host<&str>, port: u16) -> bool {
        let fits_port = |wanted: &Port| wanted.as_ref().is_none_or(|it| *it == port.to_string());
        let address = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::from(*address)),
            Host::Ipv6(address) => Some(address.to_canonical()),
        };
        match (self, host, address) {
            (Self::Everything, ..) => true,
            (Self::Network(network, bits), _, Some(address)) => is_within(*network, *bits, address),
            (Self::Address(wanted, port), _, Some(address)) => {
                *wanted == address && fits_port(port)
            }
            (
                Self::Domain {
                    suffix,
                    itself,
                    port,
                },
                Host::Domain(name),
                _,
            ) => (name.ends_with(suffix) || (*itself && *name == &suffix[1..])) && fits_port(port),
            _ => false,
        }
    }
}

/// A domain in the form that addresses have it in.
fn ascii(name: &str) -> String {
    if name.is_ascii() {
        return name.to_owned();
    }
    match Host::parse(name) {
        Ok(Host::Domain(name)) => name,
        _ => name.to_owned(),
    }
}

/// `10.0.0.0/8`, `fdaa::/16`.
fn network(entry: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let is_digits = bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|_| is_digits)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

fn is_within(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differing = u32::from(network) ^ u32::from(address);
            differing.leading_zeros() >= u32::from(bits)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let bits_of = |address: Ipv6Addr| u128::from(address);
            (bits_of(network) ^ bits_of(address)).leading_zeros() >= u32::from(bits)
        }
        _ => false,
    }
}

/// Cuts `host:port` or `[host]:port` as Go's `net.SplitHostPort` does; `None` where it finds no port.
fn host_and_port(entry: &str) -> Option<(&str, &str)> {
    let (host, port) = entry.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let has_bracket = |text: &str| text.contains(['[', ']']);
    (!has_bracket(host) && !has_bracket(port)).then_some((host, port))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// `NO_PROXY`, the addresses that Go's `httpproxy` asks directly, and those that it asks through a proxy.
    const EXCEPTIONS: &str = include_str!("../../tests/data/no_proxy.tsv");

    /// A value of `HTTP_PROXY`, and the scheme, the place and the user that Go reads from it.
    const ADDRESSES: &str = include_str!("../../tests/data/proxy_addresses.tsv");

    fn rules(variables: &[(&str, &str)]) -> (ProxyRules, Vec<InvalidProxy>) {
        let mut invalid = Vec::new();
        let get = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| *value)
        };
        let rules = ProxyRules::new(get, &mut invalid);
        (rules, invalid)
    }

    #[test]
    fn no_proxy_means_what_it_means_to_go() {
        let mut checked = 0;
        for line in EXCEPTIONS.lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            let [list, direct, proxied] = columns[..] else {
                panic!("three columns: {line}");
            };
            let (rules, invalid) = rules(&[
                ("HTTP_PROXY", "http://plain.example:1"),
                ("HTTPS_PROXY", "http://tls.example:2"),
                ("NO_PROXY", list),
            ]);
            assert_eq!(invalid, []);
            for (addresses, is_direct) in [(direct, true), (proxied, false)] {
                for address in addresses.split_whitespace() {
                    let url = Url::parse(address).unwrap();
                    let proxy = rules.proxy_for(&url).map(|proxy| proxy.url.port().unwrap());
                    let through = if url.scheme() == "https" { 2 } else { 1 };
                    let expected = (!is_direct).then_some(through);
                    assert_eq!(proxy, expected, "{address} with NO_PROXY={list}");
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 52 * 25);
    }

    #[test]
    fn a_proxy_is_what_it_is_to_go_or_an_error() {
        // What Go makes something of that can be no proxy, or none that was meant.
        let refused = [
            "socks4://p.example",
            "ftp://p.example",
            "http://",
            "http:///",
            ":3128",
            "://p.example",
            "http://p.example:port",
            "p.example:99999999",
            "http://a b:1",
            "http://[::1",
            "http//p.example:3128",
            "http:p.example:3128",
            "\"http://p.example:3128\"",
            "fdaa::3",
            "$PROXY",
            "http://user:p#ss@p.example:3128",
            "http://user:p/ss@p.example:3128",
        ];
        let mut met = 0;
        for line in ADDRESSES.lines() {
            let (value, of_go) = line.split_once('\t').unwrap();
            let (rules, invalid) = rules(&[("http_proxy", value)]);
            let proxy = rules.proxy_for(&Url::parse("http://x.example").unwrap());
            if of_go == "refused" || refused.contains(&value) {
                let variable = "http_proxy";
                assert_eq!(invalid, [InvalidProxy { variable }], "{value}");
                assert!(proxy.is_none(), "{value}");
                met += usize::from(of_go != "refused");
                continue;
            }
            let url = &proxy.unwrap_or_else(|| panic!("{value}")).url;
            let place = &url[Position::BeforeHost..Position::AfterPort];
            let user = match url.password() {
                Some(password) => format!("{}:{password}", url.username()),
                None => url.username().to_owned(),
            };
            let found = format!("{} {place} {user}", url.scheme());
            // Go keeps the case of a host, and a colon without a port.
            let of_go = of_go.to_lowercase();
            assert_eq!(found.trim(), of_go.trim_end_matches(':'), "{value}");
            assert_eq!(invalid, [], "{value}");
        }
        assert_eq!(met, refused.len());
    }

    #[test]
    fn each_scheme_has_its_variable_and_the_upper_case_comes_first() {
        let (rules, invalid) = rules(&[
            ("ALL_PROXY", "http://all.example"),
            ("HTTP_PROXY", " "),
            ("http_proxy", "http://low.example"),
            ("HTTPS_PROXY", "http://up.example"),
            ("https_proxy", "http://other.example"),
        ]);
        assert_eq!(invalid, []);
        let proxy = |address: &str| {
            let url = Url::parse(address).unwrap();
            rules.proxy_for(&url).map(ToString::to_string)
        };
        assert_eq!(
            proxy("http://x").unwrap(),
            "http://low.example (http_proxy)"
        );
        assert_eq!(
            proxy("https://x").unwrap(),
            "http://up.example (HTTPS_PROXY)"
        );
        assert_eq!(proxy("ftp://x"), None);
    }

    #[test]
    fn without_its_own_variable_a_scheme_is_asked_directly() {
        let all = [("ALL_PROXY", "http://a"), ("all_proxy", "http://a")];
        let (only_http, _) = rules(&[all[0], all[1], ("HTTP_PROXY", "http://p")]);
        assert!(
            only_http
                .proxy_for(&Url::parse("https://x").unwrap())
                .is_none()
        );
        let (neither, _) = rules(&all);
        assert!(
            neither
                .proxy_for(&Url::parse("http://x").unwrap())
                .is_none()
        );
    }

    #[test]
    fn a_password_is_not_shown() {
        let (rules, _) = rules(&[("HTTP_PROXY", "http://user:hunter2@p.example:3128")]);
        let proxy = rules.proxies().next().unwrap();
        assert_eq!(proxy.to_string(), "http://p.example:3128 (HTTP_PROXY)");
        assert!(!format!("{rules:?}").contains("hunter2"));
        assert_eq!(proxy.url().password(), Some("hunter2"));
    }
}
