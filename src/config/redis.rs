//! The Redis collector: where the server is, and a command that cannot write.

use std::fmt;

use super::{
    CollectorSource, ConfigError, QueryTemplate, RedisAddress, RedisCommand, Subject,
    collectors::{Context, empty_value, missing},
    problems::Problems,
    server_url::ServerUrl,
    settings::{Value, WrittenCollector},
};

/// What would be right.
const EXAMPLE: &str = "redis://default:password@my-redis.internal:6379/0";
const COMMAND_EXAMPLE: &str = "LLEN queue:default";

/// The port of Redis.
const PORT: u16 = 6379;

/// The commands that may be asked: each reads, and answers with one number or text that is one. Beside each how many
/// arguments it takes, at least and at most.
const COMMANDS: &[(&str, usize, usize)] = &[
    ("DBSIZE", 0, 0),
    ("EXISTS", 1, MANY),
    ("GET", 1, 1),
    ("HGET", 2, 2),
    ("HLEN", 1, 1),
    ("LLEN", 1, 1),
    ("PFCOUNT", 1, MANY),
    ("SCARD", 1, 1),
    ("STRLEN", 1, 1),
    ("XLEN", 1, 1),
    ("ZCARD", 1, 1),
    ("ZCOUNT", 3, 3),
];

const MANY: usize = 100;

pub(super) fn collector(
    problems: &mut Problems,
    collector: &WrittenCollector,
    context: &Context<'_>,
) -> Option<CollectorSource> {
    if collector.command.is_none() {
        missing(
            problems,
            collector,
            "redis command required",
            ("command", COMMAND_EXAMPLE),
        );
    }
    let written = collector.command.as_ref();
    let command = written.and_then(|written| command(problems, written, context));
    let empty_value = empty_value(problems, collector);
    let Some(written) = &collector.url else {
        missing(problems, collector, "redis url required", ("url", EXAMPLE));
        return None;
    };
    let url = context.server(problems, written, ("Redis", EXAMPLE), RedisAddress::parse)?;
    Some(CollectorSource::Redis {
        url,
        command: command?,
        empty_value,
    })
}

fn command(
    problems: &mut Problems,
    written: &Value,
    context: &Context<'_>,
) -> Option<RedisCommand> {
    // It is checked as a whole, and cut before anything is put into it: no name of an app or region becomes an argument of its own.
    let _ = context.template(problems, "command", written);
    let refuse = |problems: &mut Problems, shown: &str, message: &str, expected: String| {
        let message = format!("{} {message}", written.label());
        problems.refuse(
            ConfigError::new(written.place(), message)
                .value(shown)
                .expected(expected)
                .example(COMMAND_EXAMPLE),
        );
        None
    };
    let Some(words) = words(written.text()) else {
        let expected = "a closing quote, with white space or nothing behind it".to_owned();
        let shown = written.text().split_whitespace().next().unwrap_or_default();
        return refuse(problems, shown, "has an open quote", expected);
    };
    let (name, arguments) = words.split_first()?;
    let name = name.to_ascii_uppercase();
    let known = COMMANDS.iter().find(|(known, _, _)| *known == name);
    let Some((name, least, most)) = known else {
        let names: Vec<&str> = COMMANDS.iter().map(|(name, _, _)| *name).collect();
        let expected = format!("one that only reads: {}", names.join(", "));
        // The arguments of AUTH and CONFIG are passwords.
        return refuse(problems, &name, "is no command that may be asked", expected);
    };
    if !(*least..=*most).contains(&arguments.len()) {
        let expected = match (least, most) {
            (0, _) => "none".to_owned(),
            (least, &MANY) => format!("at least {least}"),
            (least, _) => least.to_string(),
        };
        let message = format!("has {} arguments", arguments.len());
        return refuse(problems, written.text(), &message, expected);
    }
    Some(RedisCommand {
        name,
        arguments: arguments
            .iter()
            .map(|argument| context.part(argument))
            .collect(),
    })
}

/// Cuts a text at white space; quotes keep it together, and `\` in them takes the next letter as it is. `None`: a quote is open,
/// or closes in the middle of a word.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        let mut word = String::new();
        if let Some(quote) = letters.next_if(|letter| matches!(letter, '"' | '\'')) {
            loop {
                match letters.next()? {
                    letter if letter == quote => break,
                    '\\' => word.push(letters.next()?),
                    letter => word.push(letter),
                }
            }
            if letters.peek().is_some_and(|letter| !letter.is_whitespace()) {
                return None;
            }
        } else {
            while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace()) {
                word.push(letter);
            }
            if word.is_empty() {
                return Some(words);
            }
        }
        words.push(word);
    }
}

impl RedisCommand {
    /// The name and the arguments for an app or a region of it.
    pub fn render<'a>(&self, about: impl Into<Subject<'a>>) -> impl Iterator<Item = String> {
        let about = about.into();
        let arguments = self.arguments.iter().map(move |one| one.render(about));
        std::iter::once(self.name.to_owned()).chain(arguments)
    }

    /// Whether it is another one for each region.
    #[must_use]
    pub fn asks_each_region(&self) -> bool {
        self.arguments.iter().any(QueryTemplate::asks_each_region)
    }

    /// The command on one line, as it is shown.
    #[must_use]
    pub fn shown<'a>(&self, about: impl Into<Subject<'a>>) -> String {
        let words = self.render(about).map(|word| {
            if word.is_empty() || word.contains(|letter: char| letter.is_whitespace()) {
                format!("{word:?}")
            } else {
                word
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

impl RedisAddress {
    /// Reads `redis://` and `rediss://` addresses, and gives the parameters that mean nothing here.
    ///
    /// # Errors
    ///
    /// What was expected; it shows nothing of the address.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), String> {
        let url = ServerUrl::parse(text, ["redis", "rediss"])?;
        let database = match url.database.as_str() {
            "" => 0,
            number => {
                let number = number.parse::<u32>();
                number.map_err(|_| "the number of a database after the /".to_owned())?
            }
        };
        if url.user.is_some() && url.password.is_none() {
            return Err("a password behind the user, as in user:password@".to_owned());
        }
        let mut has_resp3 = false;
        let mut unused = Vec::new();
        for (name, value) in url.parameters {
            match (name.as_str(), value.as_str()) {
                ("protocol", "2" | "resp2") => has_resp3 = false,
                ("protocol", "3" | "resp3") => has_resp3 = true,
                ("protocol", _) => return Err("protocol=2 or protocol=3".to_owned()),
                _ => unused.push(name),
            }
        }
        let address = Self {
            host: url.host,
            port: url.port.unwrap_or(PORT),
            has_tls: url.scheme == "rediss",
            user: url.user,
            password: url.password,
            database,
            has_resp3,
        };
        Ok((address, unused))
    }
}

impl fmt::Display for RedisAddress {
    /// Without user and password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.has_tls { "rediss" } else { "redis" };
        write!(formatter, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Debug for RedisCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown("$APP_NAME"))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_cut_into_words() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            ("LLEN queue:default", Some(&["LLEN", "queue:default"])),
            ("  a   b\t", Some(&["a", "b"])),
            ("GET \"a b\" 'c \"d'", Some(&["GET", "a b", "c \"d"])),
            (r#"GET "a\"b\\""#, Some(&["GET", "a\"b\\"])),
            ("GET ''", Some(&["GET", ""])),
            ("GET it's", Some(&["GET", "it's"])),
            ("", Some(&[])),
            ("GET 'a", None),
            ("GET \"a\\", None),
            ("GET 'a'b", None),
        ];
        for (text, expected) in cases {
            let found = words(text);
            let found: Option<Vec<&str>> = found
                .as_ref()
                .map(|words| words.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn an_address_is_read_or_says_what_was_expected() {
        let cases: &[(&str, &str)] = &[
            ("redis://h", "redis://h:6379 None None 0 false"),
            (
                "rediss://:pw@h:1/2",
                "rediss://h:1 None Some(\"pw\") 2 false",
            ),
            (
                "redis://me:p%40s@[::1]:7/?protocol=3",
                "redis://[::1]:7 Some(\"me\") Some(\"p@s\") 0 true",
            ),
            (
                "redis://h/3?protocol=resp2",
                "redis://h:6379 None None 3 false",
            ),
            (
                "http://h",
                "an address that begins with redis:// or rediss://",
            ),
            (
                "h:6379",
                "an address that begins with redis:// or rediss://",
            ),
            (
                "redis:h",
                "an address that begins with redis:// or rediss://",
            ),
            ("redis:///0", "a host after the //"),
            ("redis://h/x", "the number of a database after the /"),
            (
                "redis://me@h",
                "a password behind the user, as in user:password@",
            ),
            ("redis://h?protocol=4", "protocol=2 or protocol=3"),
            (
                "redis://h#x",
                "no # in it, or one in a password written as %23",
            ),
            (
                "redis://me:se/cret@h",
                "redis://user:password@host:port, with /, ? and # in a password written as %2F, %3F and %23",
            ),
            (
                "redis://me:pw@h:99999/0",
                "a port from 1 to 65535 behind the host",
            ),
            (
                "redis://me:99999/cret@h",
                "redis://user:password@host:port, with /, ? and # in a password written as %2F, %3F and %23",
            ),
            (
                "redis://me:1/cret@h",
                "/, ? and # in a password written as %2F, %3F and %23",
            ),
            (
                "redis://me:%ff@h",
                "UTF-8 behind its % signs, and a % in a password written as %25",
            ),
        ];
        for (text, expected) in cases {
            let found = match RedisAddress::parse(text) {
                Ok((address, _)) => {
                    let RedisAddress {
                        user,
                        password,
                        database,
                        has_resp3,
                        ..
                    } = &address;
                    format!("{address} {user:?} {password:?} {database} {has_resp3}")
                }
                Err(expected) => expected,
            };
            assert_eq!(found, *expected, "{text}");
        }
        let (address, unused) = RedisAddress::parse("redis://me:s3cret@h?timeout=5&x").unwrap();
        assert_eq!(unused, ["timeout", "x"]);
        assert_eq!(format!("{address:?}"), "redis://h:6379");
    }
}
