//! Asking Redis for a number: one command that reads, over a connection that all collectors of the server share.
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
    connection::{Doubt, Driver, Meter, Metered, Open, Slot, Slots, dial, within_connect_timeout},
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

/// The connections to Redis servers.
pub(super) type Servers = Slots<RedisAddress, Connection>;

/// An open connection. Requests of several collectors go over it side by side.
pub(super) struct Connection {
    commands: MultiplexedConnection,
    driver: Driver,
    meter: Meter,
}

impl Open for Connection {
    fn is_open(&self) -> bool {
        self.driver.is_running()
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
    let slot: Arc<Slot<Connection>> = servers.of(address.clone());
    let connection = slot.get(open(address, tls)).await?;
    let doubt = Doubt::of(&connection.driver);
    let mut commands = connection.commands.clone();
    let result = match commands.send_packed_command(command).await {
        Ok(Value::ServerError(error)) => Err(RedisError::from(error)),
        result => result,
    };
    let result = match result {
        Ok(value) => Ok(Answer::Value(value)),
        // The server's own word is an answer too.
        Err(error) if error.code().is_some() => moved(address, &error)
            .map(Answer::Moved)
            .ok_or_else(|| refused(address, &error)),
        Err(error) => return Err(connection.meter.or_oversized(failed(address, error))),
    };
    connection.meter.reset();
    doubt.settle();
    result
}

fn peer(address: &RedisAddress) -> String {
    format!("{SERVICE} at {address}")
}

/// Makes a connection: TLS, password and database included.
async fn open(address: &RedisAddress, tls: &Arc<ClientConfig>) -> Result<Connection, CollectError> {
    let peer = peer(address);
    let meter = Meter::default();
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
        let stream = Metered::new(stream, meter.clone());
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
            .map_err(|error| meter.or_oversized(failed(address, error)))
    };
    let (commands, driving) = within_connect_timeout(&peer, opening).await?;
    meter.reset();
    Ok(Connection {
        commands,
        driver: Driver::spawn(driving),
        meter,
    })
}

/// The node that an error sends us to: the same server in everything but its place.
fn moved(address: &RedisAddress, error: &RedisError) -> Option<RedisAddress> {
    if error.code() != Some("MOVED") {
        return None;
    }
    let (node, _) = error.redirect_node()?;
    let (host, port) = node.rsplit_once(':')?;
    let port = port.parse().ok()?;
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
            text: "it does not speak RESP3: leave protocol=3 out of FAS_REDIS_URL".to_owned(),
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
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::{super::CollectErrorKind as Kind, *};

    /// What a fake server does when asked something.
    enum Reply {
        Bytes(Vec<u8>),
        Nothing,
        Close,
    }

    fn say(text: &str) -> Reply {
        Reply::Bytes(format!("{text}\r\n").into_bytes())
    }

    /// A server that answers as it is told to; it knows nothing of Redis but how a command is written.
    struct Fake {
        port: u16,
        commands: Arc<Mutex<Vec<String>>>,
        connections: Arc<AtomicUsize>,
    }

    impl Fake {
        async fn new(reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let fake = Self {
                port: listener.local_addr().unwrap().port(),
                commands: Arc::default(),
                connections: Arc::default(),
            };
            let reply = Arc::new(reply);
            let (commands, connections) =
                (Arc::clone(&fake.commands), Arc::clone(&fake.connections));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let nth = connections.fetch_add(1, Ordering::Relaxed) + 1;
                    let (commands, reply) = (Arc::clone(&commands), Arc::clone(&reply));
                    tokio::spawn(async move {
                        let mut stream = BufReader::new(stream);
                        while let Some(command) = read(&mut stream).await {
                            commands.lock().unwrap().push(command.clone());
                            match reply(&command, nth) {
                                Reply::Bytes(bytes) => {
                                    if stream.write_all(&bytes).await.is_err() {
                                        return;
                                    }
                                }
                                Reply::Nothing => {}
                                Reply::Close => return,
                            }
                        }
                    });
                }
            });
            fake
        }

        fn url(&self) -> String {
            format!("redis://127.0.0.1:{}", self.port)
        }

        fn commands(&self) -> Vec<String> {
            std::mem::take(&mut *self.commands.lock().unwrap())
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::Relaxed)
        }
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

    struct Asker {
        servers: Servers,
        tls: Arc<ClientConfig>,
    }

    impl Asker {
        fn new() -> Self {
            Self {
                servers: Servers::default(),
                tls: encryption::verified(None).unwrap(),
            }
        }

        async fn ask(&self, url: &str, command: &str) -> Result<f64, CollectError> {
            let (address, _) = RedisAddress::parse(url).unwrap();
            let words = command.split(' ').map(str::to_owned);
            let sample = ask(&self.servers, &self.tls, &address, words, None).await?;
            Ok(sample.value)
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
    async fn user_and_database_are_the_addresss_and_the_connection_is_shared() {
        let fake = Fake::new(|command, _| match command {
            "AUTH me s3cret" | "SELECT 2" => say("+OK"),
            "LLEN a" => say(":3"),
            _ => say("$2\r\n41"),
        })
        .await;
        let url = format!("redis://me:s3cret@127.0.0.1:{}/2", fake.port);
        let asker = Asker::new();
        let (a, b) = tokio::join!(asker.ask(&url, "LLEN a"), asker.ask(&url, "GET b"));
        assert_eq!(
            (a.unwrap().to_bits(), b.unwrap().to_bits()),
            (3.0_f64.to_bits(), 41.0_f64.to_bits())
        );
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
