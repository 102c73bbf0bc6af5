//! Asking Postgres for a number: one statement in a read-only transaction, over a connection that it has for itself until the
//! answer is there.
//!
//! The statement is sent by the simple query protocol, together with what makes the transaction read-only and limits its
//! time: one message, one answer, no prepared statement that a pooler would have to know, and whatever goes wrong, the
//! server itself ends the transaction. Values come as text. What an answer means is apart from asking ([`reading`]).

use std::{io, pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, TryStreamExt as _, future::BoxFuture};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::Instant};
use tokio_postgres::{
    Client, Config, Error, SimpleQueryMessage, SimpleQueryRow,
    config::SslMode as Negotiation,
    error::{DbError, SqlState},
    tls::{ChannelBinding, TlsConnect, TlsStream},
};
use tokio_rustls::{TlsConnector, client};

use super::{
    CollectError, Found, Sample,
    connection::{
        Driver, Framing, Meter, Metered, Open, Slots, Watch, Watched, dial, within_connect_timeout,
    },
    instant::number,
    tls,
};
use crate::{
    config::{PostgresAddress, SslMode},
    shown::excerpt,
};

/// What it is called in messages.
const SERVICE: &str = "Postgres";

/// Where the value for nothing is set.
const EMPTY_VALUE: &str = "FAS_POSTGRES_EMPTY_VALUE";

/// What to look at where a password is not accepted.
const CHECK: &str = "the user and the password in `FAS_POSTGRES_URL`, and what that user may read";

/// The longest text of a server that is shown.
const TEXT_LIMIT: usize = 300;

/// The longest value that is shown.
const VALUE_LIMIT: usize = 60;

/// How many values are shown where there should be one.
const SHOWN_VALUES: usize = 3;

/// How much earlier than our deadline the server is to end a statement, at most: its word about that has to arrive.
const MARGIN: Duration = Duration::from_millis(500);

/// The connections to databases.
pub(super) type Servers = Slots<PostgresAddress, Connection>;

/// An open connection.
pub(super) struct Connection {
    client: Client,
    driver: Driver,
    meter: Meter,
    watch: Watch<Talk>,
}

impl Open for Connection {
    fn is_ready(&mut self) -> bool {
        self.driver.catch_up() && !self.client.is_closed() && self.watch.is_at_rest()
    }
}

/// How databases are asked.
pub(super) struct Databases {
    /// The connections, which others may use too.
    pub(super) servers: Arc<Servers>,
    /// TLS for `verify-full`.
    pub(super) verified: Arc<ClientConfig>,
    /// TLS for `prefer` and `require`.
    pub(super) encrypted_only: Arc<ClientConfig>,
}

/// Asks the database at `address`, which has until `until`.
///
/// # Errors
///
/// Whatever keeps the statement from having one number for a value.
pub(super) async fn ask(
    databases: &Databases,
    address: &PostgresAddress,
    statement: &str,
    until: Instant,
    empty_value: Option<f64>,
) -> Result<Sample, CollectError> {
    let slot = databases.servers.of(address.clone());
    let mut lease = slot.get(Box::pin(open(address, databases))).await?;
    let connection = &mut lease.connection;
    let left = until.saturating_duration_since(Instant::now());
    let message = message(statement, left);
    connection.watch.framing().asked += 1;
    let asking = rows(&connection.client, &message);
    let rows = match connection.driver.until(asking).await {
        Ok(rows) => Ok(rows),
        // The server's own word; it goes on with the next statement, or closes the connection.
        Err(error) if error.as_db_error().is_some() => {
            Err(failed(address, error, Asked::Statement))
        }
        Err(error) => {
            let error = failed(address, error, Asked::Statement);
            return Err(connection.meter.or_oversized(error));
        }
    };
    connection.meter.reset();
    lease.give_back();
    reading(&rows?, empty_value)
}

/// What is sent for a statement. Several statements in one message are one transaction, to which the limits belong.
fn message(statement: &str, left: Duration) -> String {
    let margin = MARGIN.min(left / 10);
    let milliseconds = left.saturating_sub(margin).as_millis().max(1);
    format!("SET LOCAL statement_timeout = {milliseconds}; SET TRANSACTION READ ONLY; {statement}")
}

/// The rows of an answer: how many there were, and the first ones.
#[derive(Debug, Default)]
struct Rows {
    count: usize,
    columns: usize,
    first: Vec<Cell>,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Null,
    Text(String),
    /// It is no UTF-8, as a database without an encoding (`SQL_ASCII`) may have it.
    Unreadable,
}

impl Cell {
    /// The value in a column. `get` of a row would panic where it is no text.
    fn of(row: &SimpleQueryRow, column: usize) -> Self {
        match row.try_get(column) {
            Ok(None) => Self::Null,
            Ok(Some(text)) => Self::Text(text.to_owned()),
            Err(_) => Self::Unreadable,
        }
    }
}

async fn rows(client: &Client, message: &str) -> Result<Rows, Error> {
    let mut rows = Rows::default();
    let answer = client.simple_query_raw(message).await?;
    let mut answer = pin!(answer);
    let mut said = None;
    loop {
        let part = match answer.try_next().await {
            Ok(None) => return said.map_or(Ok(rows), Err),
            Ok(Some(part)) => part,
            // The answer ends with another message, or with the connection.
            Err(error) if said.is_none() && error.as_db_error().is_some() => {
                said = Some(error);
                continue;
            }
            Err(error) => return Err(said.unwrap_or(error)),
        };
        match part {
            SimpleQueryMessage::RowDescription(columns) => rows.columns = columns.len(),
            SimpleQueryMessage::Row(row) => {
                rows.count += 1;
                if rows.first.len() < SHOWN_VALUES {
                    let columns = 0..row.len().min(SHOWN_VALUES - rows.first.len());
                    rows.first
                        .extend(columns.map(|column| Cell::of(&row, column)));
                }
            }
            _ => {}
        }
    }
}

/// The number that the rows are.
///
/// # Errors
///
/// Every answer that is no number has its own variant.
fn reading(rows: &Rows, empty_value: Option<f64>) -> Result<Sample, CollectError> {
    let shown = |value: &Cell| match value {
        Cell::Null => "NULL".to_owned(),
        Cell::Text(text) => excerpt(text, VALUE_LIMIT),
        Cell::Unreadable => "a value that is not UTF-8".to_owned(),
    };
    let several = |what: String| {
        let mut found: Vec<String> = rows.first.iter().map(shown).collect();
        if rows.count * rows.columns > found.len() {
            found.push("\u{2026}".to_owned());
        }
        CollectError::Several {
            what,
            found: found.join(", "),
        }
    };
    if rows.count > 1 {
        return Err(several(format!("the query returned {} rows", rows.count)));
    }
    if rows.count == 1 && rows.columns != 1 {
        return Err(several(format!(
            "the query returned a row of {} columns",
            rows.columns
        )));
    }
    let found = match rows.first.first() {
        None => Found::Nothing("the query returned no row".to_owned()),
        Some(Cell::Null) => Found::Nothing("the query returned NULL".to_owned()),
        Some(Cell::Text(text)) => Found::Number(of_text(text.trim())?),
        Some(Cell::Unreadable) => return Err(CollectError::NotUtf8),
    };
    Sample::of_one(found, empty_value, EMPTY_VALUE)
}

/// A value as Postgres writes it.
fn of_text(text: &str) -> Result<f64, CollectError> {
    match text {
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => number(text),
    }
}

fn peer(address: &PostgresAddress) -> String {
    format!("{SERVICE} at {address}")
}

/// Makes a connection: TLS, password and database included.
async fn open(
    address: &PostgresAddress,
    databases: &Databases,
) -> Result<Connection, CollectError> {
    let peer = peer(address);
    let (meter, watch) = (Meter::default(), Watch::new(Talk::of(address.mode)));
    let mut config = Config::new();
    config
        .user(&address.user)
        .dbname(&address.database)
        .application_name("fly-autoscaler")
        .ssl_mode(match address.mode {
            SslMode::Disable => Negotiation::Disable,
            SslMode::Prefer => Negotiation::Prefer,
            SslMode::Require | SslMode::VerifyFull => Negotiation::Require,
        });
    if let Some(password) = &address.password {
        config.password(password);
    }
    if let Some(options) = &address.options {
        config.options(options);
    }
    let name = match address.mode {
        SslMode::Disable => None,
        _ => Some(tls::server_name(&address.host, SERVICE)?),
    };
    let encryption = Encryption {
        name,
        config: match address.mode {
            SslMode::VerifyFull => Arc::clone(&databases.verified),
            _ => Arc::clone(&databases.encrypted_only),
        },
    };
    let opening = async {
        let stream = dial(&address.host, address.port, &peer).await?;
        let stream = Watched::new(Metered::new(stream, meter.clone()), watch.clone());
        config
            .connect_raw(stream, encryption)
            .await
            .map_err(|error| meter.or_oversized(failed(address, error, Asked::Connection)))
    };
    let (client, connection) = within_connect_timeout(&peer, opening).await?;
    meter.reset();
    // What is said between answers is of no use, and an error of the connection reaches whoever asks.
    let mut driver = Driver::new(connection.map(drop));
    driver.catch_up();
    if !watch.is_at_rest() {
        return Err(CollectError::NotItsProtocol { peer });
    }
    Ok(Connection {
        client,
        driver,
        meter,
        watch,
    })
}

/// The messages of a server, of which the last one of an answer says that it waits for the next question.
struct Talk {
    /// What precedes the messages, in bytes: whether there will be encryption.
    preface: usize,
    /// How many answers there should be; the welcome is the first.
    asked: u64,
    answered: u64,
    is_in_answer: bool,
    /// The beginning of a message: its kind and its length.
    header: [u8; 5],
    /// How many bytes of that have come.
    begun: usize,
    /// How many bytes of the message are still to come.
    left: usize,
}

impl Talk {
    fn of(mode: SslMode) -> Self {
        Self {
            preface: usize::from(mode != SslMode::Disable),
            asked: 1,
            answered: 0,
            is_in_answer: false,
            header: [0; 5],
            begun: 0,
            left: 0,
        }
    }

    fn step(&mut self, byte: u8) {
        if self.preface > 0 {
            self.preface -= 1;
            return;
        }
        if self.begun < self.header.len() {
            self.header[self.begun] = byte;
            self.begun += 1;
            if self.begun < self.header.len() {
                // A notice, a parameter or a notification comes at any time.
                self.is_in_answer |= !matches!(self.header[0], b'N' | b'S' | b'A');
                return;
            }
            let [_, length @ ..] = self.header;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            // It counts itself.
            self.left = length.saturating_sub(4);
        } else {
            self.left -= 1;
        }
        if self.left == 0 {
            self.begun = 0;
            if self.header[0] == b'Z' {
                self.answered += 1;
                self.is_in_answer = false;
            }
        }
    }
}

impl Framing for Talk {
    fn went(&mut self, _: &[u8]) {}

    fn came(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    fn is_at_rest(&self) -> bool {
        self.asked == self.answered && !self.is_in_answer
    }
}

/// What was going on when something failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Connection,
    Statement,
}

/// What a failure means.
fn failed(address: &PostgresAddress, error: Error, asked: Asked) -> CollectError {
    let peer = peer(address);
    if let Some(said) = error.as_db_error() {
        return refused(peer, said, asked);
    }
    let error = match tls::failure(&peer, error) {
        Ok(failure) => return failure,
        Err(error) => error,
    };
    // The kinds have no other name.
    let text = crate::error_chain::chain(&error);
    if text.starts_with("error performing TLS handshake") {
        CollectError::Tls {
            peer,
            advice: "; `sslmode` in `FAS_POSTGRES_URL` says whether it is needed".into(),
            source: Box::new(error),
        }
    } else if text.starts_with("authentication error") || text.contains("password missing") {
        CollectError::NotLetIn {
            peer,
            check: CHECK,
            text: excerpt(&text, TEXT_LIMIT),
        }
    } else if text.contains("unexpected message") || text.contains("error parsing response") {
        CollectError::NotItsProtocol { peer }
    } else {
        CollectError::Interrupted {
            peer,
            source: Box::new(error),
        }
    }
}

/// What an error of the server's own means.
fn refused(peer: String, said: &DbError, asked: Asked) -> CollectError {
    let mut text = said.message().to_owned();
    for more in [said.detail(), said.hint()].into_iter().flatten() {
        text = format!("{text}; {more}");
    }
    let text = excerpt(&text, TEXT_LIMIT);
    let code = said.code();
    let is_of = |class: &str| code.code().starts_with(class);
    if is_of("28") || *code == SqlState::INSUFFICIENT_PRIVILEGE {
        CollectError::NotLetIn {
            peer,
            check: CHECK,
            text,
        }
    } else if *code == SqlState::QUERY_CANCELED {
        CollectError::Cancelled {
            service: SERVICE,
            text,
        }
    // It starts, ends, recovers, or has no connection left.
    } else if is_of("57") || is_of("53") || is_of("08") {
        CollectError::Unready {
            service: SERVICE,
            text,
        }
    } else if asked == Asked::Connection {
        CollectError::NoEntry { peer, text }
    } else {
        CollectError::Refused {
            service: SERVICE,
            text,
        }
    }
}

/// Encrypts a connection that the server agreed to encrypt.
struct Encryption {
    name: Option<ServerName<'static>>,
    config: Arc<ClientConfig>,
}

/// A connection that is not encrypted, or not yet.
type Plain = Watched<Metered<TcpStream>, Talk>;

/// An encrypted connection.
type Encrypted = Watched<client::TlsStream<Metered<TcpStream>>, Talk>;

impl TlsConnect<Plain> for Encryption {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Encrypted>>;

    fn connect(self, stream: Plain) -> Self::Future {
        Box::pin(async move {
            let name = self
                .name
                .ok_or_else(|| io::Error::other("no name to check"))?;
            let (stream, watch) = stream.into_parts();
            let stream = TlsConnector::from(self.config)
                .connect(name, stream)
                .await?;
            Ok(Watched::new(stream, watch))
        })
    }
}

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
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
        /// The first bytes at once, the others when it is told to.
        Later(Vec<u8>, Arc<Notify>, Vec<u8>),
        Nothing,
        Close,
    }

    fn message_of(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    fn ready() -> Vec<u8> {
        message_of(b'Z', b"I")
    }

    /// An answer of one column.
    fn rows_of(values: &[Option<&str>]) -> Reply {
        Reply::Bytes(bytes_of(values))
    }

    fn bytes_of<V: AsRef<[u8]>>(values: &[Option<V>]) -> Vec<u8> {
        let mut answer = message_of(b'C', b"SET\0");
        answer.extend(message_of(b'C', b"SET\0"));
        let column = [&1_u16.to_be_bytes()[..], b"n\0", &[0; 18]].concat();
        answer.extend(message_of(b'T', &column));
        for value in values {
            let mut row = 1_u16.to_be_bytes().to_vec();
            match value {
                None => row.extend((-1_i32).to_be_bytes()),
                Some(value) => {
                    let value = value.as_ref();
                    row.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
                    row.extend(value);
                }
            }
            answer.extend(message_of(b'D', &row));
        }
        answer.extend(message_of(b'C', b"SELECT\0"));
        answer.extend(ready());
        answer
    }

    fn error_of(code: &str, text: &str) -> Vec<u8> {
        let body = format!("SERROR\0VERROR\0C{code}\0M{text}\0\0");
        message_of(b'E', body.as_bytes())
    }

    /// A server that lets everybody in, or not, and answers queries as it is told to.
    struct Fake {
        port: u16,
        queries: watch::Sender<Vec<String>>,
        connections: Arc<AtomicUsize>,
        open: watch::Sender<usize>,
    }

    impl Fake {
        async fn new(reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
            let mut welcome = message_of(b'R', &[0; 4]);
            welcome.extend(ready());
            Self::with_welcome(welcome, reply).await
        }

        async fn with_welcome(
            welcome: Vec<u8>,
            reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
        ) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let fake = Self {
                port: listener.local_addr().unwrap().port(),
                queries: watch::Sender::default(),
                connections: Arc::default(),
                open: watch::Sender::default(),
            };
            let reply = Arc::new(reply);
            let (queries, connections) = (fake.queries.clone(), Arc::clone(&fake.connections));
            let open = fake.open.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let nth = connections.fetch_add(1, Ordering::Relaxed) + 1;
                    let (queries, reply) = (queries.clone(), Arc::clone(&reply));
                    let (welcome, open) = (welcome.clone(), open.clone());
                    open.send_modify(|open| *open += 1);
                    tokio::spawn(async move {
                        let reply = |query: &str| {
                            queries.send_modify(|all| all.push(query.to_owned()));
                            reply(query, nth)
                        };
                        let _ = serve(stream, &welcome, reply).await;
                        open.send_modify(|open| *open -= 1);
                    });
                }
            });
            fake
        }

        fn url(&self) -> String {
            format!("postgres://me:hunter2@127.0.0.1:{}/jobs", self.port)
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::Relaxed)
        }

        /// Until it has been asked so often.
        async fn until_asked(&self, statement: &str, count: usize) {
            let is_it = |one: &&String| one.ends_with(statement);
            let mut queries = self.queries.subscribe();
            let asked = queries.wait_for(|all| all.iter().filter(is_it).count() >= count);
            soon(asked).await.unwrap();
        }

        /// Until no more connections are open than so many.
        async fn until_open(&self, count: usize) {
            let mut open = self.open.subscribe();
            soon(open.wait_for(|open| *open <= count)).await.unwrap();
        }
    }

    async fn serve(
        mut stream: TcpStream,
        welcome: &[u8],
        reply: impl Fn(&str) -> Reply,
    ) -> Option<()> {
        // The first message has no tag; the request for TLS is one of eight bytes.
        loop {
            let length = stream.read_u32().await.ok()?;
            let mut body = vec![0; usize::try_from(length).ok()? - 4];
            stream.read_exact(&mut body).await.ok()?;
            if length > 8 {
                break;
            }
            stream.write_all(b"N").await.ok()?;
        }
        stream.write_all(welcome).await.ok()?;
        while let Ok(tag) = stream.read_u8().await {
            let length = stream.read_u32().await.ok()?;
            let mut body = vec![0; usize::try_from(length).ok()? - 4];
            stream.read_exact(&mut body).await.ok()?;
            if tag != b'Q' {
                continue;
            }
            body.pop();
            let query = String::from_utf8(body).ok()?;
            match reply(&query) {
                Reply::Bytes(bytes) => stream.write_all(&bytes).await.ok()?,
                Reply::Later(first, told, bytes) => {
                    stream.write_all(&first).await.ok()?;
                    told.notified().await;
                    stream.write_all(&bytes).await.ok()?;
                }
                Reply::Nothing => {}
                Reply::Close => return None,
            }
        }
        Some(())
    }

    /// Something that a test expects to go on at once.
    async fn soon<T>(it: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(20), it).await.unwrap()
    }

    #[derive(Clone)]
    struct Asker(Arc<Databases>);

    impl Asker {
        fn new() -> Self {
            Self(Arc::new(Databases {
                servers: Arc::default(),
                verified: tls::verified(None).unwrap(),
                encrypted_only: tls::encrypted_only(),
            }))
        }

        async fn ask(&self, url: &str, statement: &str) -> Result<f64, CollectError> {
            let (address, _) = PostgresAddress::parse(url).unwrap();
            let until = Instant::now() + Duration::from_secs(15);
            let asked = ask(&self.0, &address, statement, until, None);
            Ok(asked.await?.value)
        }

        /// The answer, which should come at once.
        async fn number(&self, url: &str, statement: &str) -> String {
            let value = soon(self.ask(url, statement)).await.unwrap();
            value.to_string()
        }

        /// Asks beside what the test does.
        fn begin(&self, url: &str, statement: &str) -> JoinHandle<Result<f64, CollectError>> {
            let (asker, url, statement) = (self.clone(), url.to_owned(), statement.to_owned());
            tokio::spawn(async move { asker.ask(&url, &statement).await })
        }
    }

    fn rows_with(count: usize, columns: usize, first: &[Option<&str>]) -> Rows {
        Rows {
            count,
            columns,
            first: first
                .iter()
                .map(|one| one.map_or(Cell::Null, |text| Cell::Text(text.to_owned())))
                .collect(),
        }
    }

    #[test]
    fn an_answer_is_a_number_or_says_why_not() {
        let nothing = " (if nothing means 0, set `FAS_POSTGRES_EMPTY_VALUE`)";
        let cases: Vec<(Rows, Result<f64, String>)> = vec![
            (rows_with(1, 1, &[Some("42")]), Ok(42.0)),
            (rows_with(1, 1, &[Some("-1.5e3")]), Ok(-1500.0)),
            (
                rows_with(1, 1, &[Some("12345678901234567890.5")]),
                Ok(12_345_678_901_234_567_890.5),
            ),
            (rows_with(1, 1, &[Some(" 7 ")]), Ok(7.0)),
            (rows_with(1, 1, &[Some("-Infinity")]), Ok(f64::NEG_INFINITY)),
            (
                rows_with(1, 1, &[Some("NaN")]),
                Err(format!("the value is NaN{nothing}")),
            ),
            (
                rows_with(1, 1, &[None]),
                Err(format!("the query returned NULL{nothing}")),
            ),
            (
                rows_with(0, 1, &[]),
                Err(format!("the query returned no row{nothing}")),
            ),
            (
                rows_with(0, 3, &[]),
                Err(format!("the query returned no row{nothing}")),
            ),
            (
                rows_with(1, 1, &[Some("t")]),
                Err("expected a number, but found `t`".to_owned()),
            ),
            (
                rows_with(1, 1, &[Some("$1,000.00")]),
                Err("expected a number, but found `$1,000.00`".to_owned()),
            ),
            (
                rows_with(2, 1, &[Some("1"), None]),
                Err("the query returned 2 rows, but one value is needed: 1, NULL".to_owned()),
            ),
            (
                rows_with(9, 1, &[Some("1"), Some("2"), Some("3")]),
                Err(
                    "the query returned 9 rows, but one value is needed: 1, 2, 3, \u{2026}"
                        .to_owned(),
                ),
            ),
            (
                rows_with(1, 2, &[Some("1"), Some("2")]),
                Err(
                    "the query returned a row of 2 columns, but one value is needed: 1, 2"
                        .to_owned(),
                ),
            ),
        ];
        for (rows, expected) in cases {
            let shown = format!("{rows:?}");
            let found = reading(&rows, None).map(|sample| sample.value);
            assert_eq!(
                found.map_err(|error| error.to_string()),
                expected,
                "{shown}"
            );
        }
        for rows in [
            rows_with(0, 1, &[]),
            rows_with(1, 1, &[None]),
            rows_with(1, 1, &[Some("NaN")]),
        ] {
            let sample = reading(&rows, Some(3.0)).unwrap();
            assert_eq!(
                (sample.value.to_bits(), sample.element_count),
                (3.0_f64.to_bits(), 0)
            );
        }
        assert!(reading(&rows_with(1, 1, &[Some("t")]), Some(3.0)).is_err());
    }

    #[test]
    fn the_server_ends_a_statement_before_our_own_deadline() {
        for (left, timeout) in [(15_000, 14_500), (1_000, 900), (10, 9), (0, 1)] {
            let message = message("SELECT 1", Duration::from_millis(left));
            let expected = format!(
                "SET LOCAL statement_timeout = {timeout}; SET TRANSACTION READ ONLY; SELECT 1"
            );
            assert_eq!(message, expected);
        }
    }

    #[tokio::test]
    async fn collectors_of_one_database_take_turns_on_a_connection() {
        let fake = Fake::new(|query, _| {
            let value = if query.ends_with("SELECT 1") {
                "1"
            } else {
                "2.5"
            };
            rows_of(&[Some(value)])
        })
        .await;
        let asker = Asker::new();
        let url = fake.url();
        assert_eq!(asker.number(&url, "SELECT 1").await, "1");
        assert_eq!(asker.number(&url, "SELECT 2.5").await, "2.5");
        assert_eq!(fake.connections(), 1);
        let queries = fake.queries.borrow();
        let are_limited = queries.iter().all(|query| {
            query.starts_with("SET LOCAL statement_timeout = 14")
                && query.contains("; SET TRANSACTION READ ONLY; SELECT ")
        });
        assert!(queries.len() == 2 && are_limited, "{queries:?}");
    }

    #[tokio::test]
    async fn what_the_server_refuses_is_named_and_the_connection_stays() {
        let fake = Fake::new(|query, _| {
            let (code, text) = match query.rsplit_once(' ').unwrap().1 {
                "a" => ("42P01", "relation \"jobs\" does not exist"),
                "b" => ("42501", "permission denied for table jobs"),
                "c" => ("57014", "canceling statement due to statement timeout"),
                "d" => ("25006", "cannot execute DELETE in a read-only transaction"),
                "e" => ("53300", "too many connections"),
                _ => return rows_of(&[Some("1")]),
            };
            let mut answer = error_of(code, text);
            answer.extend(ready());
            Reply::Bytes(answer)
        })
        .await;
        let asker = Asker::new();
        let cases = [
            (
                "a",
                Kind::Query,
                "Postgres refused it: relation \"jobs\" does not exist",
            ),
            (
                "b",
                Kind::Unauthorized,
                "did not let us in; check the user and the password in `FAS_POSTGRES_URL`",
            ),
            (
                "c",
                Kind::Timeout,
                "Postgres ended the query: canceling statement due to statement timeout (half of `FAS_TIMEOUT` is for metrics)",
            ),
            (
                "d",
                Kind::Query,
                "Postgres refused it: cannot execute DELETE in a read-only transaction",
            ),
            (
                "e",
                Kind::Status,
                "Postgres cannot answer now: too many connections",
            ),
        ];
        for (what, kind, text) in cases {
            let error = asker
                .ask(&fake.url(), &format!("SELECT {what}"))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        asker.ask(&fake.url(), "SELECT f").await.unwrap();
        assert_eq!(fake.connections(), 1);
    }

    #[tokio::test]
    async fn a_password_that_is_asked_for_and_missing_lets_nobody_in() {
        let asks_for_a_password = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 3];
        let fake = Fake::with_welcome(asks_for_a_password, |_, _| Reply::Nothing).await;
        let url = fake.url().replace(":hunter2@", "@");
        let error = Asker::new().ask(&url, "SELECT 1").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
        let text = error.to_string();
        let expected = "did not let us in; check the user and the password in `FAS_POSTGRES_URL`";
        assert!(text.contains(expected), "{text}");
        assert!(text.ends_with("password missing"), "{text}");
    }

    #[tokio::test]
    async fn a_value_that_is_no_text_is_named_and_the_connection_stays() {
        let fake = Fake::new(|query, _| {
            let (odd, one) = (Some(&b"caf\xe9"[..]), Some(&b"1"[..]));
            Reply::Bytes(match query.rsplit_once(' ').unwrap().1 {
                "a" => bytes_of(&[odd]),
                "b" => bytes_of(&[one, odd]),
                _ => bytes_of(&[one]),
            })
        })
        .await;
        let asker = Asker::new();
        let cases = [
            (
                "SELECT a",
                Kind::NotANumber,
                "expected a number, but found a value that is not UTF-8",
            ),
            (
                "SELECT b",
                Kind::WrongType,
                "the query returned 2 rows, but one value is needed: 1, a value that is not UTF-8",
            ),
        ];
        for (statement, kind, text) in cases {
            let error = asker.ask(&fake.url(), statement).await.unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
        }
        assert_eq!(asker.number(&fake.url(), "SELECT c").await, "1");
        assert_eq!(fake.connections(), 1);
    }

    #[tokio::test]
    async fn a_wrong_password_or_database_is_said_and_the_password_not_shown() {
        for (code, text, kind) in [
            (
                "28P01",
                "password authentication failed for user \"me\"",
                Kind::Unauthorized,
            ),
            ("3D000", "database \"jobs\" does not exist", Kind::Status),
            ("57P03", "the database system is starting up", Kind::Status),
        ] {
            let fake = Fake::with_welcome(error_of(code, text), |_, _| Reply::Nothing).await;
            let error = Asker::new().ask(&fake.url(), "SELECT 1").await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(text.split('"').next().unwrap()), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[tokio::test]
    async fn encryption_that_is_required_and_cannot_be_had_is_an_error() {
        let fake = Fake::new(|_, _| rows_of(&[Some("1")])).await;
        for mode in ["require", "verify-full"] {
            let url = format!("{}?sslmode={mode}", fake.url());
            let error = Asker::new().ask(&url, "SELECT 1").await.unwrap_err();
            assert_eq!(error.kind(), Kind::Tls, "{error}");
        }
        for mode in ["prefer", "disable"] {
            let url = format!("{}?sslmode={mode}", fake.url());
            Asker::new().ask(&url, "SELECT 1").await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_hangs_or_floods_is_made_again_by_the_next_pass() {
        let fake = Fake::new(|_, nth| match nth {
            1 => Reply::Close,
            2 => Reply::Nothing,
            3 => rows_of(&[Some(&"1".repeat(5_000_000))]),
            4 => {
                let rows: Vec<Option<&str>> = vec![Some("123456789"); 200_000];
                rows_of(&rows)
            }
            _ => rows_of(&[Some("1")]),
        })
        .await;
        let asker = Asker::new();
        let url = fake.url();
        let error = asker.ask(&url, "SELECT 1").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Interrupted, "{error}");
        let hung = timeout(Duration::from_millis(50), asker.ask(&url, "SELECT 1")).await;
        assert!(hung.is_err());
        for _ in 0..2 {
            let error = asker.ask(&url, "SELECT 1").await.unwrap_err();
            assert_eq!(error.kind(), Kind::Oversized, "{error}");
        }
        asker.ask(&url, "SELECT 1").await.unwrap();
        assert_eq!(fake.connections(), 5);
    }

    /// Answers `hang` with nothing, `slow` when told to, `b` with 9 and all others with 1.
    fn reply_of(query: &str, told: &Arc<Notify>) -> Reply {
        match query.rsplit_once(' ').unwrap().1 {
            "hang" => Reply::Nothing,
            "slow" => Reply::Later(Vec::new(), Arc::clone(told), bytes_of(&[Some("2")])),
            "b" => rows_of(&[Some("9")]),
            _ => rows_of(&[Some("1")]),
        }
    }

    #[tokio::test]
    async fn a_query_that_hangs_holds_up_and_hurts_no_other() {
        let told = Arc::new(Notify::new());
        let at = Arc::clone(&told);
        let fake = Fake::new(move |query, _| reply_of(query, &at)).await;
        let (asker, url) = (Asker::new(), fake.url());
        let hung = asker.begin(&url, "SELECT hang");
        fake.until_asked("hang", 1).await;
        let slow = asker.begin(&url, "SELECT slow");
        fake.until_asked("slow", 1).await;
        assert_eq!(asker.number(&url, "SELECT a").await, "1");
        hung.abort();
        fake.until_open(2).await;
        told.notify_one();
        let slow = soon(slow).await.unwrap().unwrap();
        assert_eq!(slow.to_string(), "2");
        assert_eq!(asker.number(&url, "SELECT a").await, "1");
        assert_eq!(fake.connections(), 3);
    }

    #[tokio::test]
    async fn more_queries_than_connections_take_turns() {
        let told = Arc::new(Notify::new());
        let at = Arc::clone(&told);
        let fake = Fake::new(move |query, _| reply_of(query, &at)).await;
        let (asker, url) = (Asker::new(), fake.url());
        let begin = |statement: &str| asker.begin(&url, statement);
        let hung: Vec<_> = (1..AT_ONCE).map(|_| begin("SELECT hang")).collect();
        fake.until_asked("hang", AT_ONCE - 1).await;
        let slow = begin("SELECT slow");
        fake.until_asked("slow", 1).await;
        let others: Vec<_> = (0..20).map(|_| begin("SELECT a")).collect();
        told.notify_one();
        for other in others {
            assert_eq!(soon(other).await.unwrap().unwrap().to_string(), "1");
        }
        assert_eq!(soon(slow).await.unwrap().unwrap().to_string(), "2");
        assert_eq!(fake.connections(), AT_ONCE);
        hung.iter().for_each(JoinHandle::abort);
        fake.until_open(1).await;
        assert_eq!(asker.number(&url, "SELECT b").await, "9");
    }

    #[tokio::test]
    async fn connections_are_used_again_pass_by_pass_and_none_is_left_open() {
        let fake = Fake::new(|query, _| reply_of(query, &Arc::default())).await;
        let (asker, url) = (Asker::new(), fake.url());
        for _ in 0..50 {
            let one = || asker.number(&url, "SELECT a");
            tokio::join!(one(), one(), one());
        }
        let before = fake.connections();
        assert!(before <= 3, "{before}");
        for pass in 1..=20 {
            let hung = asker.begin(&url, "SELECT hang");
            fake.until_asked("hang", pass).await;
            assert_eq!(asker.number(&url, "SELECT b").await, "9");
            hung.abort();
            fake.until_open(KEPT).await;
        }
        // A query that hangs costs its own connection, and the first time those that are as old.
        let after = fake.connections();
        assert!(after <= before + 21, "{before}, then {after}");
        drop(asker);
        fake.until_open(0).await;
    }

    #[tokio::test]
    async fn an_answer_too_many_is_nobody_elses() {
        let notice = message_of(b'N', b"SNOTICE\0C00000\0Mhello\0\0");
        let setting = message_of(b'S', b"application_name\0x\0");
        let rests: [(Vec<u8>, bool); 6] = [
            (bytes_of(&[Some("8")]), false),
            (bytes_of(&[Some("8")])[..7].to_vec(), false),
            (b"T".to_vec(), false),
            (ready(), false),
            (error_of("57P01", "terminating connection"), false),
            ([notice, setting].concat(), true),
        ];
        for (rest, is_fine) in rests {
            let shown = String::from_utf8_lossy(&rest).into_owned();
            let fake = Fake::new(move |query, _| {
                if query.ends_with('a') {
                    Reply::Bytes([bytes_of(&[Some("7")]), rest.clone()].concat())
                } else {
                    rows_of(&[Some("1")])
                }
            })
            .await;
            let (asker, url) = (Asker::new(), fake.url());
            for pass in 1..=3 {
                assert_eq!(asker.number(&url, "SELECT a").await, "7", "{shown:?}");
                assert_eq!(asker.number(&url, "SELECT b").await, "1", "{shown:?}");
                let expected = if is_fine { 1 } else { pass + 1 };
                assert_eq!(fake.connections(), expected, "{shown:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_error_that_comes_before_the_end_of_its_answer_costs_no_connection() {
        let told = Arc::new(Notify::new());
        told.notify_one();
        let fake = Fake::new(move |query, _| {
            if query.ends_with('a') {
                let error = error_of("42P01", "relation \"jobs\" does not exist");
                Reply::Later(error, Arc::clone(&told), ready())
            } else {
                rows_of(&[Some("1")])
            }
        })
        .await;
        let (asker, url) = (Asker::new(), fake.url());
        let error = soon(asker.ask(&url, "SELECT a")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Query, "{error}");
        assert_eq!(asker.number(&url, "SELECT b").await, "1");
        assert_eq!(fake.connections(), 1);
    }

    #[test]
    fn messages_are_told_apart_wherever_they_are_split() {
        let notice = message_of(b'N', b"SNOTICE\0\0");
        let answer = bytes_of(&[Some("Z"), None]);
        for mode in [SslMode::Disable, SslMode::Prefer] {
            let mut talk = Talk::of(mode);
            if mode == SslMode::Prefer {
                talk.step(b'N');
            }
            for byte in [message_of(b'R', &[0; 4]), ready()].concat() {
                assert!(!talk.is_at_rest());
                talk.step(byte);
            }
            for byte in &notice {
                assert!(talk.is_at_rest());
                talk.step(*byte);
            }
            talk.asked += 1;
            for byte in [notice.clone(), answer.clone(), notice.clone()].concat() {
                talk.step(byte);
            }
            assert!(talk.is_at_rest());
            talk.came(&answer);
            assert!(!talk.is_at_rest());
        }
    }
}
