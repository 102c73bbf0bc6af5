//! Asking Redis for a number: one command that reads, over a connection that it has for itself until the answer is there.
//!
//! A key that has moved to another node of a cluster is followed once. What an answer means is apart from asking
//! ([`reading`]), and is pure.

use std::sync::Arc;

use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, Value,
    aio::MultiplexedConnection,
};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{
    CollectError, Found, Sample,
    connection::{
        Driver, Framing, Meter, Metered, Open, Slots, Watch, Watched, dial, within_connect_timeout,
    },
    instant::number,
    tls as encryption,
};
use crate::{
    config::RedisAddress,
    shown::{excerpt, printable},
};

/// What it is called in messages.
const SERVICE: &str = "Redis";

/// Where the value for nothing is set.
const EMPTY_VALUE: &str = "FAS_REDIS_EMPTY_VALUE";

/// What to look at where a password is not accepted.
const CHECK: &str = "the user and the password in `FAS_REDIS_URL`, and what that user may do";

/// The longest text of a server that is shown.
const TEXT_LIMIT: usize = 300;

/// The longest value that is shown.
const VALUE_LIMIT: usize = 60;

/// The longest name of a host, as DNS has it. A longer one, to which a server would send us, is none.
const HOST_LIMIT: usize = 253;

/// The longest integer of any size, in digits: more than a float can be. Making a number of a million takes seconds, in which
/// nothing else goes on.
const DIGITS: usize = 1000;

/// The connections to Redis servers.
pub(super) type Servers = Slots<RedisAddress, Connection>;

/// An open connection.
pub(super) struct Connection {
    commands: MultiplexedConnection,
    driver: Driver,
    meter: Meter,
    watch: Watch<Talk>,
}

impl Open for Connection {
    fn is_ready(&mut self) -> bool {
        self.driver.catch_up() && self.watch.is_at_rest()
    }
}

/// A stream, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Asks the server at `address`.
///
/// # Errors
///
/// Whatever keeps the command from having one number for an answer.
pub(super) async fn ask(
    servers: &Servers,
    tls: &Arc<ClientConfig>,
    address: &RedisAddress,
    command: impl Iterator<Item = String>,
    empty_value: Option<f64>,
) -> Result<Sample, CollectError> {
    let mut words = Cmd::new();
    for word in command {
        words.arg(word);
    }
    let answer = match once(servers, tls, address, &words).await? {
        Answer::Value(value) => value,
        Answer::Moved(node) => match once(servers, tls, &node, &words).await? {
            Answer::Value(value) => value,
            Answer::Moved(further) => {
                return Err(CollectError::Refused {
                    service: SERVICE,
                    text: format!("{address} sent us to {node}, and that one to {further}"),
                });
            }
        },
    };
    reading(answer, empty_value)
}

/// What a server says.
enum Answer {
    Value(Value),
    /// Another node has the key.
    Moved(RedisAddress),
}

async fn once(
    servers: &Servers,
    tls: &Arc<ClientConfig>,
    address: &RedisAddress,
    command: &Cmd,
) -> Result<Answer, CollectError> {
    let slot = servers.of(address.clone());
    let mut lease = slot.get(Box::pin(open(address, tls))).await?;
    let connection = &mut lease.connection;
    let asking = connection.commands.send_packed_command(command);
    let result = match connection.driver.until(asking).await {
        Ok(Value::ServerError(error)) => Err(RedisError::from(error)),
        result => result,
    };
    let result = match result {
        Ok(value) => Ok(Answer::Value(value)),
        // The server's own word is an answer too.
        Err(error) if error.code().is_some() => moved(address, &error)
            .map(Answer::Moved)
            .ok_or_else(|| refused(address, &error)),
        Err(error) => return Err(lost(address, error, &connection.meter, &connection.watch)),
    };
    connection.meter.reset();
    lease.give_back();
    result
}

fn peer(address: &RedisAddress) -> String {
    format!("{SERVICE} at {address}")
}

/// Makes a connection: TLS, password and database included.
async fn open(address: &RedisAddress, tls: &Arc<ClientConfig>) -> Result<Connection, CollectError> {
    let peer = peer(address);
    let (meter, watch) = (Meter::default(), Watch::new(Talk::default()));
    let opening = async {
        let stream = dial(&address.host, address.port, &peer).await?;
        let stream: Box<dyn Stream> = if address.has_tls {
            let name = encryption::server_name(&address.host, SERVICE)?;
            let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
            Box::new(connecting.await.map_err(|error| {
                encryption::failure(&peer, error).unwrap_or_else(|error| {
                    CollectError::Interrupted {
                        peer: peer.clone(),
                        source: Box::new(error),
                    }
                })
            })?)
        } else {
            Box::new(stream)
        };
        let stream = Watched::new(Metered::new(stream, meter.clone()), watch.clone());
        let info = RedisConnectionInfo {
            db: i64::from(address.database),
            username: address.user.clone(),
            password: address.password.clone(),
            protocol: if address.has_resp3 {
                ProtocolVersion::RESP3
            } else {
                ProtocolVersion::RESP2
            },
        };
        let config = AsyncConnectionConfig::new();
        MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| lost(address, error, &meter, &watch))
    };
    let (commands, driving) = within_connect_timeout(&peer, opening).await?;
    meter.reset();
    let mut driver = Driver::new(driving);
    // One that turns us away may say why before it is asked anything: that is left for the answer.
    if watch.framing().commands.count > 0 {
        driver.catch_up();
    }
    if !watch.is_at_rest() {
        return Err(CollectError::NotItsProtocol { peer });
    }
    Ok(Connection {
        commands,
        driver,
        meter,
        watch,
    })
}

/// The commands and the answers of a connection.
#[derive(Default)]
struct Talk {
    commands: Values,
    answers: Values,
}

impl Framing for Talk {
    fn went(&mut self, bytes: &[u8]) {
        self.commands.go_over(bytes);
    }

    fn came(&mut self, bytes: &[u8]) {
        self.answers.go_over(bytes);
    }

    fn is_at_rest(&self) -> bool {
        self.commands.count == self.answers.count && self.answers.is_between()
    }

    fn is_refused(&self) -> bool {
        self.answers.has_long_number
    }
}

/// Counts the values of a stream, of RESP2 or RESP3.
#[derive(Default)]
struct Values {
    /// How many are complete. What is pushed is none: nobody asked for it.
    count: u64,
    /// How many more belong to the one that has begun, itself included.
    wanted: u64,
    is_pushed: bool,
    /// An integer has more than [`DIGITS`], whether it has ended or not.
    has_long_number: bool,
    place: Place,
}

/// Where in a value it is.
#[derive(Default)]
enum Place {
    /// Before its first byte.
    #[default]
    Begin,
    /// In its first line, which for many kinds is all of it.
    Line {
        kind: u8,
        /// A length: of bytes, or of values.
        number: u64,
        is_negative: bool,
        is_ending: bool,
        /// How many bytes of it have come.
        length: usize,
    },
    /// In the bytes that follow, the end of their line included.
    Bytes { left: u64 },
}

impl Values {
    /// Whether the last one is complete. What is pushed may come at any time, and be on its way.
    fn is_between(&self) -> bool {
        self.wanted == 0 || self.is_pushed
    }

    fn go_over(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        match &mut self.place {
            Place::Begin => {
                if self.wanted == 0 {
                    self.wanted = 1;
                    self.is_pushed = byte == b'>';
                }
                self.place = Place::Line {
                    kind: byte,
                    number: 0,
                    is_negative: false,
                    is_ending: false,
                    length: 0,
                };
            }
            Place::Line {
                kind,
                number,
                is_negative,
                is_ending,
                length,
            } => {
                *length += 1;
                // Its sign and the end of the line are none.
                self.has_long_number |= *kind == b'(' && *length > DIGITS + 3;
                if *is_ending && byte == b'\n' {
                    let length = if *is_negative { None } else { Some(*number) };
                    let kind = *kind;
                    self.end_line(kind, length);
                    return;
                }
                *is_ending = byte == b'\r';
                match byte {
                    b'-' => *is_negative = true,
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        *number = number.saturating_mul(10).saturating_add(digit);
                    }
                    _ => {}
                }
            }
            Place::Bytes { left: 1 } => self.complete_one(0),
            Place::Bytes { left } => *left -= 1,
        }
    }

    /// After the first line of a value. Where its length is missing, it is a null.
    fn end_line(&mut self, kind: u8, length: Option<u64>) {
        match (kind, length) {
            (b'$' | b'!' | b'=', Some(length)) => {
                self.place = Place::Bytes {
                    left: length.saturating_add(2),
                };
            }
            (b'*' | b'~' | b'>', Some(length)) => self.complete_one(length),
            (b'%', Some(length)) => self.complete_one(length.saturating_mul(2)),
            // Attributes come before the value that they belong to.
            (b'|', Some(length)) => {
                self.complete_one(length.saturating_mul(2).saturating_add(1));
            }
            _ => self.complete_one(0),
        }
    }

    /// One value is complete but for the ones in it.
    fn complete_one(&mut self, inner: u64) {
        self.place = Place::Begin;
        self.wanted = self.wanted.saturating_sub(1).saturating_add(inner);
        if self.wanted == 0 && !self.is_pushed {
            self.count += 1;
        }
    }
}

/// The node that an error sends us to: the same server in everything but its place.
fn moved(address: &RedisAddress, error: &RedisError) -> Option<RedisAddress> {
    if error.code() != Some("MOVED") {
        return None;
    }
    let (node, _) = error.redirect_node()?;
    let (host, port) = node.rsplit_once(':')?;
    let port = port.parse().ok()?;
    if host.len() > HOST_LIMIT {
        return None;
    }
    // A node that does not know its own name leaves it out.
    let host = match host {
        "" => address.host.clone(),
        bare if bare.contains(':') && !bare.starts_with('[') => format!("[{bare}]"),
        host => host.to_owned(),
    };
    Some(RedisAddress {
        host,
        port,
        ..address.clone()
    })
}

/// What an error of a connection means that may have broken off for a reason of ours.
fn lost(
    address: &RedisAddress,
    error: RedisError,
    meter: &Meter,
    watch: &Watch<Talk>,
) -> CollectError {
    if watch.framing().is_refused() {
        return CollectError::LongNumber { limit: DIGITS };
    }
    meter.or_oversized(failed(address, error))
}

/// What an error of the connection means.
fn failed(address: &RedisAddress, error: RedisError) -> CollectError {
    let peer = peer(address);
    match error.kind() {
        ErrorKind::AuthenticationFailed => CollectError::NotLetIn {
            peer,
            check: CHECK,
            text: excerpt(error.detail().unwrap_or_default(), TEXT_LIMIT),
        },
        ErrorKind::RESP3NotSupported => CollectError::Refused {
            service: SERVICE,
            text: "it does not speak RESP3: leave protocol=3 out of `FAS_REDIS_URL`".to_owned(),
        },
        _ if error.code().is_some() => refused(address, &error),
        _ if error.is_io_error() || error.is_connection_dropped() => CollectError::Interrupted {
            peer,
            source: Box::new(error),
        },
        ErrorKind::ParseError => CollectError::NotItsProtocol { peer },
        ErrorKind::ResponseError => refused(address, &error),
        _ => CollectError::Interrupted {
            peer,
            source: Box::new(error),
        },
    }
}

/// What an error of the server's own means.
fn refused(address: &RedisAddress, error: &RedisError) -> CollectError {
    let code = error.code().unwrap_or_default();
    let text = excerpt(
        format!("{code} {}", error.detail().unwrap_or_default()).trim(),
        TEXT_LIMIT,
    );
    match code {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => CollectError::NotLetIn {
            peer: peer(address),
            check: CHECK,
            text,
        },
        "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "ASK" => {
            CollectError::Unready {
                service: SERVICE,
                text,
            }
        }
        _ => CollectError::Refused {
            service: SERVICE,
            text,
        },
    }
}

/// The number that an answer is.
///
/// # Errors
///
/// Every answer that is no number has its own variant.
fn reading(answer: Value, empty_value: Option<f64>) -> Result<Sample, CollectError> {
    let found = match answer {
        Value::Nil => Found::Nothing("the command returned nil".to_owned()),
        Value::Int(number) => Found::Number(number as f64),
        Value::Double(number) => Found::Number(number),
        Value::BulkString(bytes) => Found::Number(of_text(&bytes)?),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => {
            Found::Number(of_text(text.as_bytes())?)
        }
        Value::BigNumber(number) => Found::Number(of_text(number.to_string().as_bytes())?),
        Value::Attribute { data, .. } => return reading(*data, empty_value),
        Value::Array(values) | Value::Set(values) => {
            return Err(several(format!("an array of {}", values.len())));
        }
        Value::Map(values) => return Err(several(format!("a map of {}", values.len()))),
        Value::Okay => return Err(not_a_number("OK")),
        Value::Boolean(value) => return Err(not_a_number(&value.to_string())),
        other => return Err(not_a_number(&format!("{other:?}"))),
    };
    Sample::of_one(found, empty_value, EMPTY_VALUE)
}

fn of_text(bytes: &[u8]) -> Result<f64, CollectError> {
    let text = String::from_utf8_lossy(bytes);
    number(text.trim()).map_err(|_| not_a_number(&printable(bytes, TEXT_LIMIT)))
}

fn not_a_number(found: &str) -> CollectError {
    CollectError::NotANumber {
        found: excerpt(found, VALUE_LIMIT),
    }
}

fn several(found: String) -> CollectError {
    CollectError::Several {
        what: "the command returned several values".to_owned(),
        found,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, duplex},
        net::{TcpListener, TcpStream},
        sync::{Notify, watch},
        task::JoinHandle,
        time::timeout,
    };

    use super::{
        super::{
            CollectErrorKind as Kind,
            connection::{AT_ONCE, KEPT},
        },
        *,
    };

    /// What a fake server does when asked something.
    enum Reply {
        Bytes(Vec<u8>),
        /// When it is told to.
        Later(Arc<Notify>, Vec<u8>),
        Nothing,
        Close,
    }

    fn say(text: &str) -> Reply {
        Reply::Bytes(format!("{text}\r\n").into_bytes())
    }

    /// A server that answers as it is told to; it knows nothing of Redis but how a command is written.
    struct Fake {
        port: u16,
        commands: watch::Sender<Vec<String>>,
        connections: Arc<AtomicUsize>,
        open: watch::Sender<usize>,
    }

    impl Fake {
        async fn new(reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let fake = Self {
                port: listener.local_addr().unwrap().port(),
                commands: watch::Sender::default(),
                connections: Arc::default(),
                open: watch::Sender::default(),
            };
            let reply = Arc::new(reply);
            let (commands, connections) = (fake.commands.clone(), Arc::clone(&fake.connections));
            let open = fake.open.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let nth = connections.fetch_add(1, Ordering::Relaxed) + 1;
                    let (commands, reply) = (commands.clone(), Arc::clone(&reply));
                    let open = open.clone();
                    open.send_modify(|open| *open += 1);
                    tokio::spawn(async move {
                        let mut stream = BufReader::new(stream);
                        while let Some(command) = read(&mut stream).await {
                            commands.send_modify(|all| all.push(command.clone()));
                            let bytes = match reply(&command, nth) {
                                Reply::Bytes(bytes) => bytes,
                                Reply::Later(told, bytes) => {
                                    told.notified().await;
                                    bytes
                                }
                                Reply::Nothing => continue,
                                Reply::Close => break,
                            };
                            if stream.write_all(&bytes).await.is_err() {
                                break;
                            }
                        }
                        drop(stream);
                        open.send_modify(|open| *open -= 1);
                    });
                }
            });
            fake
        }

        fn url(&self) -> String {
            format!("redis://127.0.0.1:{}", self.port)
        }

        fn commands(&self) -> Vec<String> {
            self.commands.send_replace(Vec::new())
        }

        /// Until it has been asked so often.
        async fn until_asked(&self, command: &str, count: usize) {
            let is_it = |one: &&String| *one == command;
            let mut commands = self.commands.subscribe();
            let asked = commands.wait_for(|all| all.iter().filter(is_it).count() >= count);
            soon(asked).await.unwrap();
        }

        /// Until no more connections are open than so many.
        async fn until_open(&self, count: usize) {
            let mut open = self.open.subscribe();
            soon(open.wait_for(|open| *open <= count)).await.unwrap();
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::Relaxed)
        }
    }

    /// Something that a test expects to go on at once.
    async fn soon<T>(it: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(20), it).await.unwrap()
    }

    async fn read(stream: &mut BufReader<TcpStream>) -> Option<String> {
        let count = line(stream).await?.strip_prefix('*')?.parse().ok()?;
        let mut words: Vec<String> = Vec::new();
        for _ in 0..count {
            let length: usize = line(stream).await?.strip_prefix('$')?.parse().ok()?;
            let mut word = vec![0; length + 2];
            stream.read_exact(&mut word).await.ok()?;
            word.truncate(length);
            words.push(String::from_utf8(word).ok()?);
        }
        Some(words.join(" "))
    }

    async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
        let mut line = String::new();
        let read = stream.read_line(&mut line).await.ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    #[derive(Clone)]
    struct Asker {
        servers: Arc<Servers>,
        tls: Arc<ClientConfig>,
    }

    impl Asker {
        fn new() -> Self {
            Self {
                servers: Arc::default(),
                tls: encryption::verified(None).unwrap(),
            }
        }

        async fn ask(&self, url: &str, command: &str) -> Result<f64, CollectError> {
            let (address, _) = RedisAddress::parse(url).unwrap();
            let words = command.split(' ').map(str::to_owned);
            let sample = ask(&self.servers, &self.tls, &address, words, None).await?;
            Ok(sample.value)
        }

        /// The answer, which should come at once.
        async fn number(&self, url: &str, command: &str) -> String {
            soon(self.ask(url, command)).await.unwrap().to_string()
        }

        /// Asks beside what the test does.
        fn begin(&self, url: &str, command: &str) -> JoinHandle<Result<f64, CollectError>> {
            let (asker, url, command) = (self.clone(), url.to_owned(), command.to_owned());
            tokio::spawn(async move { asker.ask(&url, &command).await })
        }
    }

    #[test]
    fn an_answer_is_a_number_or_says_why_not() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let nothing = " (if nothing means 0, set `FAS_REDIS_EMPTY_VALUE`)";
        let cases: Vec<(Value, Result<f64, String>)> = vec![
            (Value::Int(7), Ok(7.0)),
            (text(" 2.5\n"), Ok(2.5)),
            (text("-inf"), Ok(f64::NEG_INFINITY)),
            (Value::SimpleString("12".to_owned()), Ok(12.0)),
            (Value::Double(0.5), Ok(0.5)),
            (
                Value::Nil,
                Err(format!("the command returned nil{nothing}")),
            ),
            (text("nan"), Err(format!("the value is NaN{nothing}"))),
            (
                Value::Double(f64::NAN),
                Err(format!("the value is NaN{nothing}")),
            ),
            (
                text("many"),
                Err("expected a number, but found `many`".to_owned()),
            ),
            (text(""), Err("expected a number, but found ``".to_owned())),
            (
                Value::Okay,
                Err("expected a number, but found `OK`".to_owned()),
            ),
            (
                Value::Boolean(true),
                Err("expected a number, but found `true`".to_owned()),
            ),
            (
                Value::Array(vec![Value::Int(1), Value::Int(2)]),
                Err(
                    "the command returned several values, but one value is needed: an array of 2"
                        .to_owned(),
                ),
            ),
        ];
        for (answer, expected) in cases {
            let shown = format!("{answer:?}");
            let found = reading(answer, None).map(|sample| sample.value);
            assert_eq!(
                found.map_err(|error| error.to_string()),
                expected,
                "{shown}"
            );
        }
        for answer in [Value::Nil, text("NaN")] {
            let sample = reading(answer, Some(3.0)).unwrap();
            assert_eq!(
                (sample.value.to_bits(), sample.element_count),
                (3.0_f64.to_bits(), 0)
            );
        }
        assert!(reading(text("many"), Some(3.0)).is_err());
    }

    #[tokio::test]
    async fn user_and_database_are_the_addresss_and_the_connection_is_kept() {
        let fake = Fake::new(|command, _| match command {
            "AUTH me s3cret" | "SELECT 2" => say("+OK"),
            "LLEN a" => say(":3"),
            _ => say("$2\r\n41"),
        })
        .await;
        let url = format!("redis://me:s3cret@127.0.0.1:{}/2", fake.port);
        let asker = Asker::new();
        assert_eq!(asker.number(&url, "LLEN a").await, "3");
        assert_eq!(asker.number(&url, "GET b").await, "41");
        assert_eq!(
            fake.commands(),
            ["AUTH me s3cret", "SELECT 2", "LLEN a", "GET b"]
        );
        assert_eq!(fake.connections(), 1);
    }

    #[tokio::test]
    async fn resp3_begins_with_hello() {
        let fake = Fake::new(|command, _| match command {
            "HELLO 3 AUTH default s3cret" => say("%1\r\n+proto\r\n:3"),
            _ => say(",2.5"),
        })
        .await;
        let url = format!("redis://:s3cret@127.0.0.1:{}?protocol=3", fake.port);
        let value = Asker::new().ask(&url, "GET b").await.unwrap();
        assert_eq!(value.to_bits(), 2.5_f64.to_bits());
        assert_eq!(fake.commands().len(), 2);
    }

    #[tokio::test]
    async fn what_the_server_refuses_is_named_and_the_connection_stays() {
        let fake = Fake::new(|command, _| match command {
            "LLEN a" => say("-WRONGTYPE Operation against a key holding the wrong kind of value"),
            "LLEN b" => say("-NOAUTH Authentication required."),
            "LLEN c" => say("-LOADING Redis is loading the dataset in memory"),
            "LLEN d" => say("-ERR unknown"),
            _ => say(":1"),
        })
        .await;
        let asker = Asker::new();
        let peer = format!("Redis at {}", fake.url());
        let cases = [
            (
                "LLEN a",
                Kind::Query,
                "Redis refused it: WRONGTYPE Operation against a key holding the wrong kind of value".to_owned(),
            ),
            (
                "LLEN b",
                Kind::Unauthorized,
                format!("{peer} did not let us in; check {CHECK}: NOAUTH Authentication required."),
            ),
            (
                "LLEN c",
                Kind::Status,
                "Redis cannot answer now: LOADING Redis is loading the dataset in memory".to_owned(),
            ),
            ("LLEN d", Kind::Query, "Redis refused it: ERR unknown".to_owned()),
        ];
        for (command, kind, text) in cases {
            let error = asker.ask(&fake.url(), command).await.unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (kind, text));
        }
        asker.ask(&fake.url(), "LLEN e").await.unwrap();
        assert_eq!(fake.connections(), 1);
    }

    #[tokio::test]
    async fn a_wrong_password_is_said_and_not_shown() {
        let fake = Fake::new(|_, _| say("-WRONGPASS invalid username-password pair")).await;
        let url = format!("redis://me:hunter2@127.0.0.1:{}", fake.port);
        let error = Asker::new().ask(&url, "LLEN a").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthorized);
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("did not let us in") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[tokio::test]
    async fn a_key_that_has_moved_is_followed_once() {
        let other = Fake::new(|command, _| match command {
            "LLEN b" => say("-MOVED 1 127.0.0.1:1"),
            _ => say(":5"),
        })
        .await;
        let moved = format!("-MOVED 3999 127.0.0.1:{}", other.port);
        let fake = Fake::new(move |_, _| say(&moved)).await;
        let asker = Asker::new();
        let value = asker.ask(&fake.url(), "LLEN a").await.unwrap();
        assert_eq!(value.to_bits(), 5.0_f64.to_bits());
        let error = asker
            .ask(&fake.url(), "LLEN b")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sent us to") && error.contains("127.0.0.1:1"),
            "{error}"
        );
        assert_eq!((fake.connections(), other.connections()), (1, 1));
    }

    #[tokio::test]
    async fn an_integer_without_end_is_refused_before_it_is_read() {
        let longest = "9".repeat(DIGITS);
        let longer = format!("1{longest}9");
        let fake = Fake::new(move |command, _| match command {
            "GET longest" => say(&format!("({longest}")),
            "GET longer" => say(&format!("({longer}")),
            "GET inside" => say(&format!("*2\r\n:1\r\n({longer}")),
            "GET endless" => Reply::Bytes([b"(", &b"9".repeat(1 << 20)[..]].concat()),
            _ => say("(123456789012345678901234567890"),
        })
        .await;
        let (asker, url) = (Asker::new(), fake.url());
        let error = asker.ask(&url, "GET longest").await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("expected a number, but found `999")
        );
        for command in ["GET longer", "GET inside", "GET endless"] {
            let error = soon(asker.ask(&url, command)).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string()),
                (
                    Kind::NotANumber,
                    format!("expected a number, but found one of more than {DIGITS} digits")
                ),
                "{command}"
            );
        }
        let number = asker.number(&url, "GET other").await;
        assert_eq!(
            number,
            123_456_789_012_345_678_901_234_567_890_f64.to_string()
        );
    }

    #[test]
    fn a_host_longer_than_any_name_is_not_followed() {
        let (address, _) = RedisAddress::parse("redis://me:s3cret@h").unwrap();
        for (length, is_followed) in [(1, true), (253, true), (254, false), (1 << 20, false)] {
            let host = "a".repeat(length);
            let said = format!("-MOVED 1 {host}:7000\r\n");
            let said = match redis::parse_redis_value(said.as_bytes()) {
                Ok(Value::ServerError(error)) => RedisError::from(error),
                other => panic!("{other:?}"),
            };
            let node = moved(&address, &said);
            assert_eq!(node.is_some(), is_followed, "{length}");
            assert!(node.is_none_or(|node| node.host == host && node.port == 7000));
            let text = refused(&address, &said).to_string();
            assert!(text.len() < 2 * TEXT_LIMIT, "{text}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_hangs_or_floods_is_made_again_by_the_next_pass() {
        let fake = Fake::new(|_, nth| match nth {
            1 => Reply::Close,
            2 => Reply::Nothing,
            3 => {
                let mut answer = b"$5000000\r\n".to_vec();
                answer.resize(5_000_010, b'1');
                Reply::Bytes(answer)
            }
            4 => say("HTTP/1.1 400 Bad Request"),
            _ => say(":1"),
        })
        .await;
        let asker = Asker::new();
        let url = fake.url();
        let error = asker.ask(&url, "LLEN a").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Interrupted, "{error}");
        let hung = timeout(Duration::from_millis(50), asker.ask(&url, "LLEN a")).await;
        assert!(hung.is_err());
        let error = asker.ask(&url, "LLEN a").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Oversized, "{error}");
        let error = asker.ask(&url, "LLEN a").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreadable, "{error}");
        asker.ask(&url, "LLEN a").await.unwrap();
        assert_eq!(fake.connections(), 5);
    }

    #[tokio::test]
    async fn a_command_that_hangs_holds_up_and_hurts_no_other() {
        let told = Arc::new(Notify::new());
        let at = Arc::clone(&told);
        let fake = Fake::new(move |command, _| match command {
            "LLEN hang" => Reply::Nothing,
            "LLEN slow" => Reply::Later(Arc::clone(&at), b":2\r\n".to_vec()),
            _ => say(":1"),
        })
        .await;
        let (asker, url) = (Asker::new(), fake.url());
        let hung = asker.begin(&url, "LLEN hang");
        fake.until_asked("LLEN hang", 1).await;
        let slow = asker.begin(&url, "LLEN slow");
        fake.until_asked("LLEN slow", 1).await;
        assert_eq!(asker.number(&url, "LLEN a").await, "1");
        hung.abort();
        fake.until_open(2).await;
        told.notify_one();
        let slow = soon(slow).await.unwrap().unwrap();
        assert_eq!(slow.to_string(), "2");
        assert_eq!(asker.number(&url, "LLEN a").await, "1");
        assert_eq!(fake.connections(), 3);
    }

    #[tokio::test]
    async fn more_commands_than_connections_take_turns() {
        let told = Arc::new(Notify::new());
        let at = Arc::clone(&told);
        let fake = Fake::new(move |command, _| match command {
            "LLEN hang" => Reply::Nothing,
            "LLEN slow" => Reply::Later(Arc::clone(&at), b":2\r\n".to_vec()),
            _ => say(":1"),
        })
        .await;
        let (asker, url) = (Asker::new(), fake.url());
        let hung: Vec<_> = (1..AT_ONCE)
            .map(|_| asker.begin(&url, "LLEN hang"))
            .collect();
        fake.until_asked("LLEN hang", AT_ONCE - 1).await;
        let slow = asker.begin(&url, "LLEN slow");
        fake.until_asked("LLEN slow", 1).await;
        // All wait for what is left by those that hang.
        let others: Vec<_> = (0..20).map(|_| asker.begin(&url, "LLEN a")).collect();
        tokio::task::yield_now().await;
        assert_eq!(fake.connections(), AT_ONCE);
        told.notify_one();
        for other in others {
            assert_eq!(soon(other).await.unwrap().unwrap().to_string(), "1");
        }
        assert_eq!(soon(slow).await.unwrap().unwrap().to_string(), "2");
        assert_eq!(fake.connections(), AT_ONCE);
        hung.iter().for_each(JoinHandle::abort);
        fake.until_open(1).await;
        assert_eq!(asker.number(&url, "LLEN a").await, "1");
    }

    #[tokio::test]
    async fn connections_are_used_again_pass_by_pass_and_none_is_left_open() {
        let fake = Fake::new(|command, _| match command {
            "LLEN hang" => Reply::Nothing,
            _ => say(":1"),
        })
        .await;
        let (asker, url) = (Asker::new(), fake.url());
        for _ in 0..50 {
            let one = || asker.number(&url, "LLEN a");
            tokio::join!(one(), one(), one());
        }
        assert!(fake.connections() <= 3, "{}", fake.connections());
        let before = fake.connections();
        for pass in 1..=20 {
            let hung = asker.begin(&url, "LLEN hang");
            fake.until_asked("LLEN hang", pass).await;
            assert_eq!(asker.number(&url, "LLEN a").await, "1");
            hung.abort();
            fake.until_open(KEPT).await;
        }
        // A command that hangs costs its own connection, and the first time those that are as old.
        assert!(fake.connections() <= before + 21, "{}", fake.connections());
        drop(asker);
        fake.until_open(0).await;
    }

    #[tokio::test]
    async fn an_answer_too_many_is_nobody_elses() {
        for rest in [":9\r\n", ":", "$5\r\n12", "+OK\r\n:7", "-ERR no\r\n"] {
            let fake = Fake::new(move |command, _| match command {
                "LLEN a" => Reply::Bytes(format!(":7\r\n{rest}").into_bytes()),
                _ => say(":1"),
            })
            .await;
            let (asker, url) = (Asker::new(), fake.url());
            for pass in 1..=3 {
                assert_eq!(asker.number(&url, "LLEN a").await, "7", "{rest}");
                assert_eq!(asker.number(&url, "LLEN b").await, "1", "{rest}");
                assert_eq!(fake.connections(), pass + 1, "{rest}");
            }
        }
        // What is pushed is no answer.
        let fake = Fake::new(move |command, _| match command {
            "HELLO 3" => say("%1\r\n+proto\r\n:3\r\n>2\r\n+invalidate\r\n*0"),
            "LLEN a" => say(":7\r\n>2\r\n$10\r\ninvalidate\r\n_"),
            _ => say(":1"),
        })
        .await;
        let (asker, url) = (Asker::new(), format!("{}?protocol=3", fake.url()));
        for _ in 0..3 {
            assert_eq!(asker.number(&url, "LLEN a").await, "7");
            assert_eq!(asker.number(&url, "LLEN b").await, "1");
        }
        assert_eq!(fake.connections(), 1);
    }

    #[tokio::test]
    async fn an_answer_too_many_to_the_password_is_said() {
        let fake = Fake::new(|command, _| match command {
            "AUTH me hunter2" => say("+OK\r\n+OK"),
            _ => say(":1"),
        })
        .await;
        let url = format!("redis://me:hunter2@127.0.0.1:{}", fake.port);
        let error = soon(Asker::new().ask(&url, "LLEN a")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreadable, "{error}");
    }

    #[tokio::test]
    async fn what_comes_while_nobody_asks_spoils_a_connection() {
        for (late, is_fine) in [(":9\r\n", false), (":", false), (">1\r\n+x\r\n", true)] {
            let (mut server, client) = duplex(64);
            let (meter, watch) = (Meter::default(), Watch::new(Talk::default()));
            let stream = Watched::new(Metered::new(client, meter.clone()), watch.clone());
            let info = RedisConnectionInfo::default();
            let config = AsyncConnectionConfig::new();
            let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
            let (commands, driving) = opened.unwrap();
            let mut connection = Connection {
                commands,
                driver: Driver::new(driving),
                meter,
                watch,
            };
            server.write_all(b":7\r\n").await.unwrap();
            let mut command = Cmd::new();
            command.arg("DBSIZE");
            let asking = connection.commands.send_packed_command(&command);
            let answer = soon(connection.driver.until(asking)).await.unwrap();
            assert!(matches!(answer, Value::Int(7)), "{answer:?}");
            assert!(connection.is_ready());
            server.write_all(late.as_bytes()).await.unwrap();
            assert_eq!(connection.is_ready(), is_fine, "{late}");
            drop(server);
            assert!(!connection.is_ready());
        }
    }

    #[test]
    fn values_are_counted_wherever_they_are_split() {
        let values = [
            "+OK\r\n",
            "-ERR a $3\r\n",
            ":-7\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$4\r\n\r\n:1\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*3\r\n:1\r\n*1\r\n$1\r\na\r\n_\r\n",
            "%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n,1.5\r\n",
            "|1\r\n+ttl\r\n:3\r\n$2\r\nab\r\n",
            "=5\r\ntxt:a\r\n",
            "(123\r\n",
            "#t\r\n",
            "!5\r\nERR a\r\n",
        ];
        for value in values {
            let parsed = redis::parse_redis_value(value.as_bytes());
            assert!(parsed.is_ok(), "{value:?}");
            for pushed in ["", ">2\r\n+a\r\n*1\r\n:1\r\n"] {
                let mut counted = Values::default();
                counted.go_over(pushed.as_bytes());
                for (at, byte) in value.bytes().enumerate() {
                    assert!(counted.is_between() == (at == 0) && counted.count == 0);
                    counted.step(byte);
                }
                assert!(counted.is_between() && counted.count == 1, "{value:?}");
            }
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_address_and_without_the_password() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let url = format!("redis://me:hunter2@127.0.0.1:{port}");
        let error = Asker::new().ask(&url, "LLEN a").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Connection);
        let text = crate::error_chain::chain(&error);
        assert!(
            text.starts_with(&format!(
                "cannot connect to Redis at redis://127.0.0.1:{port}: "
            )),
            "{text}"
        );
    }
}
