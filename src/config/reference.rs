//! The reference of all settings, as `fly-autoscaler help settings` prints it: the table, and what holds for every row.

use super::{Section, VARIABLES, Variable};

/// How wide the text is, in characters.
const WIDTH: usize = 100;

/// What stands before a meaning.
const INDENT: &str = "      ";

const INTRODUCTION: &str = "\
Settings of fly-autoscaler

Every setting is an environment variable, and most are also a key of the YAML file (serve --config PATH).
The file overrides the environment, except that either of the two can ask for a dry run. An empty value
counts as unset. Durations are written as in Go: 15s, 1m30s, 500ms, 1.5h. Switches are true, false, 1 or 0, in
capitals or not; in the file also yes, no, on and off. An unknown variable that begins with FAS_ is ignored with a
warning, but one that is nearly the name of a setting that limits what is changed is an error.
All mistakes are reported together at start, and the exit code is then 1.
";

const NOTES: &str = "\
Certificates and proxies

  SSL_CERT_FILE names a PEM file with additional root certificates, SSL_CERT_DIR directories with such files,
  separated by colons. A certificate that cannot be used is skipped with a warning. A self-signed server
  certificate must not be a CA certificate: openssl req -x509 ... -addext basicConstraints=critical,CA:FALSE

  HTTPS_PROXY, HTTP_PROXY and NO_PROXY, or the same in lower case, mean what they mean to Go programs: NO_PROXY
  lists *, host, .domain, host:port, addresses and CIDR blocks; loopback addresses are never proxied. ALL_PROXY
  is not used. An invalid proxy address is an error at start. Temporal is reached through HTTPS_PROXY, which
  must then be an http:// proxy.

Several copies

  - fly consul attach sets FLY_CONSUL_URL, and then any number of copies may run: one holds the lock and writes, the
    others look on. The key is PREFIXfly-autoscaler/NAME/lock; the token has to be allowed to write keys, nodes and
    sessions that begin with the prefix, which ends in a slash.
  - With FAS_SHARDS=4 the apps of a pattern are divided into four parts, each of which is one copy's: an app is in part
    fnv1a64(name) % 4, with the key PREFIXfly-autoscaler/NAME/lock/4/PART. The lock itself is then held by all copies with
    this number together: copies with another number do not write until the last of them is gone, and 45 s later.
  - While Consul does not answer nobody writes. FAS_LOCK_URL=none, with one copy only, does without.

Regions

  - With per-region, each region is scaled by itself, with floor, ceiling, steps and stabilization of its own. It may
    go down to 0 machines while the group keeps at least one. An alias of regions is refused in regions then, and
    one listed twice counts once.
  - $REGION in a query, a path, a command or the address of a url is asked for each region. A query of Prometheus
    without it whose every element has a label region gives each region its own element; where a region has none,
    FAS_PROMETHEUS_EMPTY_VALUE holds, or else the metric has failed there. Any other number holds for all regions.

Prometheus

  - A token that begins with Fly is sent as it is, any other one as Bearer; a \"Bearer \" that was pasted along with it is
    left out first, as with FAS_API_TOKEN. Without a token, https://user:password@host/... is sent as Basic
    authorization.
  - FAS_PROMETHEUS_QUERY_<NAME> adds a metric of the same server: FAS_PROMETHEUS_QUERY_QUEUE_DEPTH is the metric
    queue_depth. There can be any number of them, and FAS_PROMETHEUS_METRIC_NAME and FAS_PROMETHEUS_QUERY may
    then be missing. FAS_PROMETHEUS_EMPTY_VALUE holds for all.
  - A redirect is followed within the same host and port, and from http:// to https:// of the same host, at most
    five times. Elsewhere it is an error, since the token must not travel.

Web servers

  - Any 2xx is an answer, of at most 1 MiB. Token, user and password, redirects and proxies are as for
    Prometheus. A path is JSONPath (RFC 9535) without match() and search(), with .. at most once, and leads to one
    number, or to text that is one.
  - headers, in the file only, are sent as well; what they hold is treated as a secret, apart from Accept and
    User-Agent.

Redis

  - The commands are those that read a number: DBSIZE, EXISTS, GET, HGET, HLEN, LLEN, PFCOUNT, SCARD, STRLEN, XLEN,
    ZCARD and ZCOUNT; others are refused at start. Quotes keep an argument with spaces together.
  - redis://user:password@host:port/database: all but the host may be missing. RESP2 is spoken, and RESP3 with
    ?protocol=3. rediss:// is TLS, with a certificate that is verified; for one of your own issuer, set
    SSL_CERT_FILE. A key that has moved to another node of a cluster is followed once.

Postgres

  - sslmode is disable, prefer (the default), require, or verify-full, as for libpq: only the last one verifies the
    certificate, with the authorities compiled in and SSL_CERT_FILE.
  - One statement, which begins with SELECT, WITH, VALUES, TABLE or SHOW. It runs in a read-only transaction, with a
    statement_timeout from the time that is left, and needs no prepared statement: PgBouncer can be in
    transaction mode.

Temporal

  - The port is 7233 if none is given. dns:///host:port and passthrough:///host:port are understood too.
  - The key is RSA of at least 2048 bits, ECDSA on P-256 or P-384, or Ed25519.
  - Without a certificate, a key and https:// the connection is plain text. For a server with a certificate of your
    own issuer, set SSL_CERT_FILE.

The YAML file

  - $NAME and ${NAME} are replaced from the environment before the file is parsed, except $APP_NAME and
    $PROCESS_GROUP, in braces or not: they become the app's name and the process group in queries, paths,
    commands and the address of a url. In a file with a policy that is per-region so does $REGION: there it becomes
    the region, and a variable of that name in the queries of other policies.
  - A variable with a secret is accepted in api-token, token, cert-data, key-data, headers, address and url
    (http://user:$PASSWORD@host). In a query, which is sent to the metrics server, it is refused. So is a Fly
    token in any other setting.
  - A value of several lines does not survive the replacement. Put a certificate and its key into variables of
    one line each, with \\n for the line breaks. TEMPORAL_TLS_CERT_DATA and TEMPORAL_TLS_KEY_DATA are not used
    for collectors of the file.
  - Quote an expression that contains \": \", and a value that begins with *, {, !, &, % or @.
  - If the file has metric-collectors, the collectors of the environment are not used.
  - policies is a list of what is scaled by what. An item has keys of its own for which machines, how many, by what
    numbers and within which limits (not those of Fly's APIs and the daemon itself), metric-collectors, and a name
    for messages. What it leaves out is what the top of the file says, or else the environment.
  - Only the first YAML document is read, with a warning about a second one.
  - An unknown key is refused, with its line. A key without a value counts as unset.

A file with every key:
";

const EXAMPLE: &str = include_str!("example.yml");

/// Every setting with its key in the file, its default and its meaning; and an example of a file with every key.
#[must_use]
pub fn reference() -> String {
    let mut lines = vec![INTRODUCTION.to_owned()];
    for section in Section::ALL {
        lines.push(format!("{}\n", section.heading()));
        for row in VARIABLES.iter().filter(|row| row.section == section) {
            lines.push(format!("  {}{}", row.name, details(row)));
            let meaning = wrapped(row.meaning, WIDTH - INDENT.len());
            lines.extend(meaning.iter().map(|line| format!("{INDENT}{line}")));
        }
        lines.push(String::new());
    }
    lines.push(NOTES.to_owned());
    let example = EXAMPLE.lines().map(|line| format!("    {line}"));
    lines.extend(example.map(|line| line.trim_end().to_owned()));
    lines.join("\n")
}

/// The key in the file and the default, in parentheses; nothing where there is neither.
fn details(row: &Variable) -> String {
    let key = row.key.to_string();
    let key = (!key.is_empty()).then(|| format!("file: {key}"));
    let default = (!row.default.is_empty()).then(|| {
        if row.default.starts_with("required") {
            row.default.to_owned()
        } else {
            format!("default: {}", row.default)
        }
    });
    let details: Vec<String> = key.into_iter().chain(default).collect();
    if details.is_empty() {
        String::new()
    } else {
        format!(" ({})", details.join("; "))
    }
}

/// Breaks a text between words into lines of at most `width` characters, where its words allow it.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
