//! Consul's HTTP API, as far as a lock needs it: a node, a session, and one key, or with shards one for each below it.
//!
//! Of what is answered, what a contest goes by is told apart from what only a person can put right: that no Consul answers
//! there, or that the token lacks a rule, which is named.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout};
use url::Url;

use super::{
    account::Account,
    contest::{
        Answer, CALL_LIMIT, Call, Entry, KeyView, LOCK_DELAY, LockIdentity, TTL, WAIT, WAIT_LIMIT,
    },
};
use crate::{
    labels::CallResult,
    metrics::Metrics,
    shown::{self, excerpt},
    transport::{Transport, TransportError},
};

/// The largest answer that is read: more than the largest value that Consul takes, in its encoding, for somebody may have
/// written one into the key; keys of other numbers of shards may be left, too.
const ANSWER_LIMIT: usize = 1 << 20;

/// What a value in a query is written with as it is: a session's id, most of all.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The most of an error's text that is kept.
const MESSAGE_LIMIT: usize = 300;

/// The most that is kept of what stands in a key and is no holder's account of itself.
const VALUE_LIMIT: usize = 1000;

const USER_AGENT: &str = concat!("fly-autoscaler/", env!("CARGO_PKG_VERSION"));

/// The name of this program among the keys and nodes.
const PROGRAM: &str = "fly-autoscaler";

/// Where the lock is.
#[derive(Debug, Clone)]
pub struct ConsulOptions {
    /// Consul's address, without token and prefix.
    pub address: Url,
    /// What Consul is shown.
    pub token: Option<SecretString>,
    /// What all keys and nodes begin with; empty, or with a slash at its end.
    pub prefix: String,
    /// Which copies take turns.
    pub name: String,
    /// Into how many shards the apps are divided; 1: not at all.
    pub shards: usize,
    /// What the holder says of itself.
    pub value: String,
    /// With shards: what all copies together say of themselves.
    pub common_value: String,
}

/// Consul, and the one lock, or those of the shards.
pub struct Consul {
    transport: Arc<dyn Transport>,
    address: Url,
    token: Option<HeaderValue>,
    prefix: String,
    name: String,
    shards: usize,
    value: Bytes,
    common_value: Bytes,
    metrics: Metrics,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConsulError {
    /// Something else answers at the address.
    #[error("no Consul answers at {address}: {problem}")]
    NotConsul {
        /// The address, as it may be shown.
        address: String,
        /// What is odd about the answer.
        problem: String,
    },
    /// Consul does not know the token.
    #[error(
        "the token is not accepted (HTTP {status}{message}): it has to be set anew, for FLY_CONSUL_URL with `fly consul attach`"
    )]
    Token {
        /// 401 or 403.
        status: u16,
        /// What Consul said, bounded and cleaned.
        message: Message,
    },
    /// The token lacks a right.
    #[error("the token lacks a right (HTTP {status}{message}): its policy needs {rule}")]
    Denied {
        /// 401 or 403.
        status: u16,
        /// What Consul said, bounded and cleaned.
        message: Message,
        /// The rule that would give it.
        rule: String,
    },
    /// Any other answer than 2xx.
    #[error("HTTP {status}{message}")]
    Status {
        /// The status.
        status: u16,
        /// What Consul said, bounded and cleaned.
        message: Message,
    },
    /// No answer in time.
    #[error("no answer within {} s", .limit.as_secs_f64())]
    Timeout {
        /// How long it was waited for.
        limit: Duration,
    },
    /// No complete exchange.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The request cannot be made.
    #[error("the request cannot be built")]
    Request(#[from] http::Error),
}

/// What Consul said; displayed behind what it is said of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(formatter, ": {}", self.0)
        }
    }
}

impl ConsulError {
    /// Which of the problems it is, so that one that lasts is told once.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotConsul { .. } => "not_consul",
            Self::Token { .. } => "token",
            Self::Denied { .. } => "denied",
            Self::Status { .. } => "status",
            Self::Timeout { .. } => "timeout",
            Self::Transport(_) => "transport",
            Self::Request(_) => "request",
        }
    }

    fn result(&self) -> CallResult {
        match self {
            Self::Token { .. } | Self::Denied { .. } => CallResult::Unauthorized,
            Self::Status { status, .. } => CallResult::of_status(*status),
            Self::Timeout { .. } | Self::Transport(TransportError::Timeout) => CallResult::Timeout,
            Self::Transport(_) => CallResult::Transport,
            Self::NotConsul { .. } | Self::Request(_) => CallResult::Invalid,
        }
    }
}

/// One request.
struct Sent {
    method: Method,
    /// Behind `/v1`.
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Sent {
    fn put(path: &[&str]) -> Self {
        Self {
            method: Method::PUT,
            path: path.iter().map(|piece| (*piece).to_owned()).collect(),
            query: Vec::new(),
            body: Bytes::new(),
        }
    }
}

impl Consul {
    /// Prepares the calls; connects to nothing.
    ///
    /// # Errors
    ///
    /// When the token cannot stand in an HTTP header; the message does not show it.
    pub fn new(
        transport: Arc<dyn Transport>,
        options: ConsulOptions,
        metrics: Metrics,
    ) -> Result<Self, String> {
        let token = options.token.map(|token| {
            let mut value = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
                "the token contains characters that are invalid in a token".to_owned()
            })?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        Ok(Self {
            transport,
            address: options.address,
            token: token.transpose()?,
            prefix: options.prefix,
            name: options.name,
            shards: options.shards,
            value: options.value.into(),
            common_value: options.common_value.into(),
            metrics,
        })
    }

    /// Where Consul is, as it may be shown.
    #[must_use]
    pub fn address(&self) -> String {
        shown::address(&self.address)
    }

    /// The key of the lock.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}{PROGRAM}/{}/lock", self.prefix, self.name)
    }

    /// Into how many shards the apps are divided; 1: not at all.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// The key of a shard: one that no copy with another number of shards uses.
    #[must_use]
    pub fn shard_key(&self, shard: usize) -> String {
        format!("{}/{}/{shard}", self.key(), self.shards)
    }

    /// What the session is called of each copy that divides the apps in this way.
    fn member_name(&self) -> String {
        let Self { name, shards, .. } = self;
        if *shards == 1 {
            format!("{PROGRAM}/{name}")
        } else {
            format!("{PROGRAM}/{name}/{shards}")
        }
    }

    /// The node that the sessions belong to.
    fn node(&self) -> String {
        format!("{}{PROGRAM}", self.prefix)
    }

    /// Makes one call, within its time limit.
    ///
    /// # Errors
    ///
    /// Where nobody knows what it did, or it did nothing.
    pub async fn call(&self, call: &Call) -> Result<Answer, ConsulError> {
        let limit = match call {
            Call::Await(_) => WAIT_LIMIT,
            _ => CALL_LIMIT,
        };
        let begun = Instant::now();
        let answer = match timeout(limit, self.exchange(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(ConsulError::Timeout { limit }),
        };
        let result = match &answer {
            Ok(_) => CallResult::Ok,
            Err(error) => error.result(),
        };
        self.metrics
            .consul_request(call.operation(), result, begun.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, ConsulError> {
        let response = self.send(self.request_of(call)).await?;
        self.read(call, &response)
    }

    fn request_of(&self, call: &Call) -> Sent {
        let of = |key: &str, action: Option<(&'static str, &String)>| {
            let mut sent = Sent::put(&["kv"]);
            sent.path.extend(key.split('/').map(str::to_owned));
            sent.query
                .extend(action.map(|(name, session)| (name, session.clone())));
            sent.body = self.value.clone();
            sent
        };
        let of_key = |action| of(&self.key(), action);
        let of_shard = |shard: &usize, action| of(&self.shard_key(*shard), Some(action));
        // With shards the key is held by all copies together.
        let of_all = |mut sent: Sent| {
            if self.shards > 1 {
                sent.body = self.common_value.clone();
            }
            sent
        };
        let read = |index: Option<u64>| {
            let wait = index.map(|index| {
                let wait = ("wait", format!("{}s", WAIT.as_secs()));
                [("index", index.to_string()), wait]
            });
            Sent {
                method: Method::GET,
                // The leader makes sure that it is one: what it says was so after this was asked.
                query: std::iter::once(("consistent", String::new()))
                    .chain((self.shards > 1).then(|| ("recurse", String::new())))
                    .chain(wait.into_iter().flatten())
                    .collect(),
                body: Bytes::new(),
                ..of_key(None)
            }
        };
        match call {
            Call::Register => {
                let node = json!({"Node": self.node(), "Address": "127.0.0.1"});
                Sent {
                    body: node.to_string().into(),
                    ..Sent::put(&["catalog", "register"])
                }
            }
            Call::Open => self.open(&self.member_name(), "release"),
            Call::OpenCommon => self.open(&format!("{}/all", self.member_name()), "release"),
            Call::Renew(session) => Sent::put(&["session", "renew", session]),
            Call::Destroy(session) => Sent::put(&["session", "destroy", session]),
            Call::Read => read(None),
            Call::Await(index) => read(Some(*index)),
            Call::Acquire(session) => of_all(of_key(Some(("acquire", session)))),
            Call::Release(session) => of_key(Some(("release", session))),
            Call::AcquireShard(shard, session) => of_shard(shard, ("acquire", session)),
            Call::ReleaseShard(shard, session) => of_shard(shard, ("release", session)),
            Call::Members => Sent {
                method: Method::GET,
                ..Sent::put(&["session", "node", &self.node()])
            },
        }
    }

    fn open(&self, name: &str, behaviour: &str) -> Sent {
        let session = json!({
            "Node": self.node(),
            "Name": name,
            "TTL": format!("{}s", TTL.as_secs()),
            "LockDelay": format!("{}s", LOCK_DELAY.as_secs()),
            "Behavior": behaviour,
            // Without these the node would need an agent whose health counts.
            "Checks": [],
            "NodeChecks": [],
        });
        Sent {
            body: session.to_string().into(),
            ..Sent::put(&["session", "create"])
        }
    }

    async fn send(&self, sent: Sent) -> Result<Response<Bytes>, ConsulError> {
        let mut url = self.address.clone();
        url.set_query(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push("v1").extend(&sent.path);
        }
        let query = sent.query.iter().map(|(name, value)| {
            if value.is_empty() {
                (*name).to_owned()
            } else {
                let value = utf8_percent_encode(value, IN_QUERY);
                format!("{name}={value}")
            }
        });
        let query: Vec<String> = query.collect();
        if !query.is_empty() {
            url.set_query(Some(&query.join("&")));
        }
        let mut request = Request::builder()
            .method(sent.method)
            .uri(url.as_str())
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        let request = request.body(sent.body)?;
        Ok(self.transport.exchange(request, ANSWER_LIMIT).await?)
    }

    /// What an answer means.
    fn read(&self, call: &Call, response: &Response<Bytes>) -> Result<Answer, ConsulError> {
        let status = response.status();
        let body = response.body();
        match call {
            // Whatever stands between may not find the page.
            Call::Renew(_) if status == StatusCode::NOT_FOUND && has_words(body, "session id") => {
                return Ok(Answer::Gone);
            }
            Call::Acquire(_) | Call::AcquireShard(..)
                if status == StatusCode::INTERNAL_SERVER_ERROR
                    && has_words(body, "invalid session") =>
            {
                return Ok(Answer::Gone);
            }
            Call::Read | Call::Await(_) if status == StatusCode::NOT_FOUND => {
                let index = self.index(response)?;
                return Ok(Answer::Key(self.view(index, Vec::new())));
            }
            _ => {}
        }
        if !status.is_success() {
            return Err(self.refusal(call, status, body));
        }
        match call {
            Call::Renew(id) => {
                // Whatever stands between may answer as well, and a renewal that Consul has not heard of is none.
                let renewed: Vec<Opened> = self.parse(body)?;
                if renewed.iter().any(|renewed| renewed.id == *id) {
                    Ok(Answer::Yes)
                } else {
                    Err(self.not_consul("it renewed another session".to_owned()))
                }
            }
            Call::Open | Call::OpenCommon => {
                let Opened { id } = self.parse(body)?;
                if id.is_empty() {
                    return Err(self.not_consul("it opened a session without an id".to_owned()));
                }
                Ok(Answer::Opened(id))
            }
            Call::Read | Call::Await(_) => {
                let index = self.index(response)?;
                let entries: Vec<WireEntry> = self.parse(body)?;
                Ok(Answer::Key(self.view(index, entries)))
            }
            Call::Members => {
                let sessions: Vec<WireSession> = self.parse(body)?;
                let name = self.member_name();
                let ours = sessions.into_iter().filter(|session| session.name == name);
                Ok(Answer::Members(ours.map(|session| session.id).collect()))
            }
            Call::Register
            | Call::Destroy(_)
            | Call::Acquire(_)
            | Call::Release(_)
            | Call::AcquireShard(..)
            | Call::ReleaseShard(..) => {
                let done: bool = self.parse(body)?;
                Ok(if done { Answer::Yes } else { Answer::No })
            }
        }
    }

    /// The keys as they are, whichever others begin alike.
    fn view(&self, index: u64, entries: Vec<WireEntry>) -> KeyView {
        if self.shards == 1 {
            return KeyView {
                index,
                entry: entries.into_iter().next().map(WireEntry::read),
                shards: Vec::new(),
            };
        }
        let mut view = KeyView {
            index,
            entry: None,
            shards: vec![None; self.shards],
        };
        let key = self.key();
        let of_shards = format!("{key}/{}/", self.shards);
        for entry in entries {
            if entry.key == key {
                view.entry = Some(entry.read());
                continue;
            }
            let shard = entry.key.strip_prefix(&of_shards);
            let shard = shard.and_then(|shard| shard.parse().ok());
            let slot = shard.and_then(|shard: usize| view.shards.get_mut(shard));
            if let Some(slot) = slot {
                *slot = Some(entry.read());
            }
        }
        view
    }

    fn refusal(&self, call: &Call, status: StatusCode, body: &[u8]) -> ConsulError {
        let message = message(body);
        let code = status.as_u16();
        match code {
            401 | 403 if has_words(body, "acl not found") || code == 401 => ConsulError::Token {
                status: code,
                message,
            },
            403 => ConsulError::Denied {
                status: code,
                message,
                rule: self.rule(call),
            },
            404 | 405 | 501 => self.not_consul(format!("HTTP {code}{message}")),
            _ => ConsulError::Status {
                status: code,
                message,
            },
        }
    }

    /// The rule of a policy that gives the right to make this call.
    fn rule(&self, call: &Call) -> String {
        let what = match call {
            Call::Register => "node",
            Call::Open | Call::OpenCommon | Call::Renew(_) | Call::Destroy(_) | Call::Members => {
                "session"
            }
            // Whoever may write may read: the one rule is enough.
            Call::Read
            | Call::Await(_)
            | Call::Acquire(_)
            | Call::Release(_)
            | Call::AcquireShard(..)
            | Call::ReleaseShard(..) => "key",
        };
        let mut rule = format!("{what}_prefix \"{}\" {{ policy = \"write\" }}", self.prefix);
        // More likely than a token with too few rights.
        if self.token.is_none() {
            rule.push_str("; there is no token in the address");
        } else if self.prefix.is_empty() {
            rule.push_str("; or the address lacks the prefix that the token is for");
        }
        rule
    }

    fn not_consul(&self, problem: String) -> ConsulError {
        ConsulError::NotConsul {
            address: self.address(),
            problem,
        }
    }

    fn parse<'body, T: Deserialize<'body>>(&self, body: &'body [u8]) -> Result<T, ConsulError> {
        serde_json::from_slice(body).map_err(|_| {
            let said = message(body);
            self.not_consul(format!("its answer is not what Consul's is{said}"))
        })
    }

    fn index(&self, response: &Response<Bytes>) -> Result<u64, ConsulError> {
        let header = response.headers().get("X-Consul-Index");
        let index = header.and_then(|value| value.to_str().ok()?.parse().ok());
        index.ok_or_else(|| {
            let status = response.status().as_u16();
            let said = message(response.body());
            self.not_consul(format!("HTTP {status} without X-Consul-Index{said}"))
        })
    }

    /// Tries everything that a lock needs with a key of its own, and says who holds the lock itself. The key is removed with the
    /// session that has it.
    ///
    /// # Errors
    ///
    /// The first call that did not do what it should, in words, and why.
    pub async fn probe(&self) -> Result<Option<Entry>, ProbeError> {
        let at = |step: &'static str| move |source| ProbeError { step, source };
        self.call(&Call::Register)
            .await
            .map_err(at("register the node"))?;
        let open = async {
            let name = format!("{PROGRAM}/{}/probe", self.name);
            let response = self.send(self.open(&name, "delete")).await?;
            self.read(&Call::Open, &response)
        };
        let opened = self.in_time(open).await.map_err(at("open a session"))?;
        let Answer::Opened(session) = opened else {
            return Ok(None);
        };
        let taken = async {
            match self.call(&Call::Renew(session.clone())).await {
                Ok(Answer::Yes) => Ok(()),
                Ok(_) => Err(at("renew the session")(
                    self.not_consul("a session that it has just opened is over".to_owned()),
                )),
                Err(source) => Err(at("renew the session")(source)),
            }?;
            self.probe_key(&session).await
        };
        let taken = taken.await;
        let ended = self.call(&Call::Destroy(session)).await;
        let holder = taken?;
        ended.map_err(at("end the session"))?;
        Ok(holder)
    }

    async fn probe_key(&self, session: &str) -> Result<Option<Entry>, ProbeError> {
        let at = |step: &'static str| move |source| ProbeError { step, source };
        let call = Call::Acquire(session.to_owned());
        let mut sent = self.request_of(&call);
        // Nobody else's, so that the lock is left alone.
        sent.path.pop();
        sent.path.extend(["probe".to_owned(), session.to_owned()]);
        let take = async {
            let response = self.send(sent).await?;
            self.read(&call, &response)
        };
        let taken = self.in_time(take).await.map_err(at("take a key"))?;
        if taken != Answer::Yes {
            let problem = "a key that nobody has cannot be taken".to_owned();
            return Err(at("take a key")(self.not_consul(problem)));
        }
        let view = self.call(&Call::Read).await.map_err(at("read the key"))?;
        if self.shards > 1 {
            let members = self.call(&Call::Members).await;
            members.map_err(at("list the sessions of the copies"))?;
        }
        Ok(match view {
            Answer::Key(view) => view.entry.filter(|entry| entry.session.is_some()),
            _ => None,
        })
    }

    async fn in_time(
        &self,
        exchange: impl Future<Output = Result<Answer, ConsulError>>,
    ) -> Result<Answer, ConsulError> {
        match timeout(CALL_LIMIT, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ConsulError::Timeout { limit: CALL_LIMIT }),
        }
    }
}

/// What did not work of what a lock needs.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct ProbeError {
    /// What was attempted.
    pub step: &'static str,
    /// Why it did not work.
    pub source: ConsulError,
}

#[derive(Deserialize)]
struct Opened {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
struct WireSession {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Name", default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireEntry {
    #[serde(default)]
    key: String,
    session: Option<String>,
    #[serde(default)]
    lock_index: u64,
    create_index: u64,
    value: Option<String>,
}

impl WireEntry {
    fn read(self) -> Entry {
        let value = self.value.unwrap_or_default();
        let value = BASE64_STANDARD.decode(value).unwrap_or_default();
        Entry {
            session: self.session.filter(|session| !session.is_empty()),
            lock: LockIdentity {
                created: self.create_index,
                locked: self.lock_index,
            },
            value: Account::as_shown(&String::from_utf8_lossy(&value), VALUE_LIMIT),
        }
    }
}

fn has_words(body: &[u8], words: &str) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    text.contains(words)
}

/// Consul says what is wrong as plain text.
fn message(body: &[u8]) -> Message {
    if body.trim_ascii_start().starts_with(b"<") {
        return Message("an HTML page".to_owned());
    }
    let text = String::from_utf8_lossy(body.get(..4 * MESSAGE_LIMIT).unwrap_or(body));
    Message(excerpt(&text, MESSAGE_LIMIT))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::BoxFuture;

    use super::*;

    /// Answers every request alike, and keeps what it was asked.
    struct Canned(u16, &'static str, Option<u64>, Mutex<Vec<Request<Bytes>>>);

    impl Transport for Canned {
        fn exchange(
            &self,
            request: Request<Bytes>,
            _: usize,
        ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            self.3.lock().unwrap().push(request);
            let mut response = Response::new(Bytes::from_static(self.1.as_bytes()));
            *response.status_mut() = StatusCode::from_u16(self.0).unwrap();
            if let Some(index) = self.2 {
                let headers = response.headers_mut();
                headers.insert("x-consul-index", index.into());
            }
            Box::pin(async { Ok(response) })
        }
    }

    const TOKEN: &str = "22222222-3333";

    fn consul(answer: (u16, &'static str, Option<u64>)) -> (Consul, Arc<Canned>) {
        divided(1, answer)
    }

    fn divided(shards: usize, answer: (u16, &'static str, Option<u64>)) -> (Consul, Arc<Canned>) {
        let (status, body, index) = answer;
        let transport = Arc::new(Canned(status, body, index, Mutex::default()));
        let options = ConsulOptions {
            address: Url::parse("https://consul.test:8501").unwrap(),
            token: Some(TOKEN.into()),
            prefix: "scaler-23sxdf/".to_owned(),
            name: "app".to_owned(),
            shards,
            value: "who".to_owned(),
            common_value: "all".to_owned(),
        };
        let shared = Arc::clone(&transport) as Arc<dyn Transport>;
        let consul = Consul::new(shared, options, Metrics::new()).unwrap();
        (consul, transport)
    }

    fn all() -> [Call; 8] {
        let session = || "s-1".to_owned();
        [
            Call::Register,
            Call::Open,
            Call::Renew(session()),
            Call::Destroy(session()),
            Call::Read,
            Call::Await(7),
            Call::Acquire(session()),
            Call::Release(session()),
        ]
    }

    #[tokio::test]
    async fn each_call_is_the_request_that_consul_documents() {
        let key = "https://consul.test:8501/v1/kv/scaler-23sxdf/fly-autoscaler/app/lock";
        let of_key = |rest: &str| format!("{key}{rest}");
        let expected = [
            (
                "PUT",
                "https://consul.test:8501/v1/catalog/register".to_owned(),
                r#"{"Address":"127.0.0.1","Node":"scaler-23sxdf/fly-autoscaler"}"#,
            ),
            (
                "PUT",
                "https://consul.test:8501/v1/session/create".to_owned(),
                r#"{"Behavior":"release","Checks":[],"LockDelay":"15s","Name":"fly-autoscaler/app","Node":"scaler-23sxdf/fly-autoscaler","NodeChecks":[],"TTL":"15s"}"#,
            ),
            (
                "PUT",
                "https://consul.test:8501/v1/session/renew/s-1".to_owned(),
                "",
            ),
            (
                "PUT",
                "https://consul.test:8501/v1/session/destroy/s-1".to_owned(),
                "",
            ),
            ("GET", of_key("?consistent"), ""),
            ("GET", of_key("?consistent&index=7&wait=20s"), ""),
            ("PUT", of_key("?acquire=s-1"), "who"),
            ("PUT", of_key("?release=s-1"), "who"),
        ];
        for (call, (method, url, body)) in all().iter().zip(expected) {
            let (consul, transport) = consul((500, "", None));
            let _ = consul.call(call).await;
            let asked = transport.3.lock().unwrap();
            let [request] = asked.as_slice() else {
                panic!("{call:?}: {asked:?}");
            };
            assert_eq!(request.method(), method, "{call:?}");
            assert_eq!(request.uri(), url.as_str(), "{call:?}");
            let sent: serde_json::Value =
                serde_json::from_slice(request.body()).unwrap_or_default();
            let meant: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
            assert_eq!(sent, meant, "{call:?}");
            if meant.is_null() {
                assert_eq!(request.body(), body, "{call:?}");
            }
            assert_eq!(request.headers()["x-consul-token"], TOKEN, "{call:?}");
            assert!(!format!("{request:?}").contains(TOKEN), "{call:?}");
        }
    }

    #[tokio::test]
    async fn answers_mean_what_consul_means_by_them() {
        let entry = r#"[{"LockIndex":3,"Key":"k","Flags":0,"Value":"d2hv","Session":"s-2","CreateIndex":5,"ModifyIndex":9}]"#;
        let free =
            r#"[{"LockIndex":3,"Key":"k","Flags":0,"Value":null,"CreateIndex":5,"ModifyIndex":9}]"#;
        let view = |session: Option<&str>, value: &str| {
            Answer::Key(KeyView {
                index: 9,
                entry: Some(Entry {
                    session: session.map(str::to_owned),
                    lock: LockIdentity {
                        created: 5,
                        locked: 3,
                    },
                    value: value.to_owned(),
                }),
                shards: Vec::new(),
            })
        };
        let none = Answer::Key(KeyView {
            index: 4,
            entry: None,
            shards: Vec::new(),
        });
        let [register, open, renew, destroy, read, wait, acquire, release] = all();
        let opened = Answer::Opened("s-3".to_owned());
        let cases = [
            (&register, (200, "true", None), Answer::Yes),
            (&open, (200, r#"{"ID":"s-3"}"#, None), opened),
            (&renew, (200, r#"[{"ID":"s-1"}]"#, None), Answer::Yes),
            (
                &renew,
                (404, "Session id 's-1' not found", None),
                Answer::Gone,
            ),
            (&destroy, (200, "true", None), Answer::Yes),
            (&read, (200, entry, Some(9)), view(Some("s-2"), "who")),
            (&wait, (200, free, Some(9)), view(None, "")),
            (&read, (404, "", Some(4)), none),
            (&acquire, (200, "true\n", None), Answer::Yes),
            (&acquire, (200, "false", None), Answer::No),
            (
                &acquire,
                (500, "rpc error making call: invalid session \"s-1\"", None),
                Answer::Gone,
            ),
            (&release, (200, "false", None), Answer::No),
        ];
        for (call, answer, expected) in cases {
            let (consul, _) = consul(answer);
            assert_eq!(
                consul.call(call).await.unwrap(),
                expected,
                "{call:?} {answer:?}"
            );
        }
    }

    /// What stands between, as a page of somebody's who pays no longer, answers as well.
    #[tokio::test]
    async fn a_session_lives_on_only_by_its_own_answer() {
        let [_, open, renew, ..] = all();
        let cases = [
            (&renew, "<html>Sign in</html>"),
            (&renew, ""),
            (&renew, "true"),
            (&renew, "[]"),
            (&renew, r#"[{"ID":"s-2"}]"#),
            (&open, r#"{"ID":""}"#),
            (&open, "[]"),
        ];
        for (call, body) in cases {
            let (consul, _) = consul((200, body, None));
            let answer = consul.call(call).await;
            assert!(
                matches!(answer, Err(ConsulError::NotConsul { .. })),
                "{call:?} {body}: {answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn shards_have_keys_of_their_own_below_the_common_one() {
        let key = "https://consul.test:8501/v1/kv/scaler-23sxdf/fly-autoscaler/app/lock";
        let session = || "s-1".to_owned();
        let cases = [
            (Call::Read, "GET", format!("{key}?consistent&recurse"), ""),
            (
                Call::Await(7),
                "GET",
                format!("{key}?consistent&recurse&index=7&wait=20s"),
                "",
            ),
            (
                Call::Acquire(session()),
                "PUT",
                format!("{key}?acquire=s-1"),
                "all",
            ),
            (
                Call::AcquireShard(3, session()),
                "PUT",
                format!("{key}/4/3?acquire=s-1"),
                "who",
            ),
            (
                Call::ReleaseShard(0, session()),
                "PUT",
                format!("{key}/4/0?release=s-1"),
                "who",
            ),
            (
                Call::Members,
                "GET",
                "https://consul.test:8501/v1/session/node/scaler-23sxdf%2Ffly-autoscaler"
                    .to_owned(),
                "",
            ),
        ];
        for (call, method, url, body) in cases {
            let (consul, transport) = divided(4, (500, "", None));
            let _ = consul.call(&call).await;
            let asked = transport.3.lock().unwrap();
            assert_eq!(asked[0].method(), method, "{call:?}");
            assert_eq!(asked[0].uri(), url.as_str(), "{call:?}");
            assert_eq!(asked[0].body(), body, "{call:?}");
        }
        for (call, name) in [
            (Call::Open, "fly-autoscaler/app/4"),
            (Call::OpenCommon, "fly-autoscaler/app/4/all"),
        ] {
            let (consul, transport) = divided(4, (500, "", None));
            let _ = consul.call(&call).await;
            let asked = transport.3.lock().unwrap();
            let sent: serde_json::Value = serde_json::from_slice(asked[0].body()).unwrap();
            assert_eq!(sent["Name"], name);
        }
    }

    #[tokio::test]
    async fn of_all_keys_and_sessions_those_of_this_number_of_shards_count() {
        let keys = r#"[
            {"LockIndex":1,"Key":"scaler-23sxdf/fly-autoscaler/app/lock","Value":"YWxs","Session":"c","CreateIndex":2},
            {"LockIndex":1,"Key":"scaler-23sxdf/fly-autoscaler/app/lock/2/0","Session":"x","CreateIndex":3},
            {"LockIndex":5,"Key":"scaler-23sxdf/fly-autoscaler/app/lock/4/1","Value":"d2hv","Session":"s-2","CreateIndex":4},
            {"LockIndex":0,"Key":"scaler-23sxdf/fly-autoscaler/app/lock/4/3","Value":null,"CreateIndex":6},
            {"LockIndex":0,"Key":"scaler-23sxdf/fly-autoscaler/app/lock/4/4","Session":"y","CreateIndex":7},
            {"LockIndex":0,"Key":"scaler-23sxdf/fly-autoscaler/app/lock/4/x","Session":"y","CreateIndex":8}
        ]"#;
        let entry = |session: Option<&str>, created, locked, value: &str| {
            Some(Entry {
                session: session.map(str::to_owned),
                lock: LockIdentity { created, locked },
                value: value.to_owned(),
            })
        };
        let (consul, _) = divided(4, (200, keys, Some(9)));
        let expected = KeyView {
            index: 9,
            entry: entry(Some("c"), 2, 1, "all"),
            shards: vec![
                None,
                entry(Some("s-2"), 4, 5, "who"),
                None,
                entry(None, 6, 0, ""),
            ],
        };
        assert_eq!(
            consul.call(&Call::Read).await.unwrap(),
            Answer::Key(expected)
        );
        let sessions = r#"[
            {"ID":"a","Name":"fly-autoscaler/app/4"},
            {"ID":"b","Name":"fly-autoscaler/app/4/all"},
            {"ID":"c","Name":"fly-autoscaler/app"},
            {"ID":"d","Name":"fly-autoscaler/app/8"},
            {"ID":"e"},
            {"ID":"f","Name":"fly-autoscaler/app/4"}
        ]"#;
        let (consul, _) = divided(4, (200, sessions, None));
        let members = vec!["a".to_owned(), "f".to_owned()];
        assert_eq!(
            consul.call(&Call::Members).await.unwrap(),
            Answer::Members(members)
        );
    }

    #[tokio::test]
    async fn what_only_a_person_can_put_right_is_named() {
        let [register, open, renew, _, read, _, acquire, _] = all();
        let denied = (403, "Permission denied", None);
        let cases = [
            (
                &register,
                denied,
                r#"the token lacks a right (HTTP 403: Permission denied): its policy needs node_prefix "scaler-23sxdf/" { policy = "write" }"#,
            ),
            (
                &open,
                denied,
                r#"the token lacks a right (HTTP 403: Permission denied): its policy needs session_prefix "scaler-23sxdf/" { policy = "write" }"#,
            ),
            (
                &read,
                denied,
                r#"the token lacks a right (HTTP 403: Permission denied): its policy needs key_prefix "scaler-23sxdf/" { policy = "write" }"#,
            ),
            (
                &acquire,
                denied,
                r#"the token lacks a right (HTTP 403: Permission denied): its policy needs key_prefix "scaler-23sxdf/" { policy = "write" }"#,
            ),
            (
                &renew,
                (403, "ACL not found", None),
                "the token is not accepted (HTTP 403: ACL not found): it has to be set anew, for FLY_CONSUL_URL with `fly consul attach`",
            ),
            (
                &register,
                (200, "<html>", None),
                "no Consul answers at https://consul.test:8501: its answer is not what Consul's is: an HTML page",
            ),
            (
                &register,
                (404, "", None),
                "no Consul answers at https://consul.test:8501: HTTP 404",
            ),
            (
                &renew,
                (404, "404 page not found", None),
                "no Consul answers at https://consul.test:8501: HTTP 404: 404 page not found",
            ),
            (
                &read,
                (404, "not here", None),
                "no Consul answers at https://consul.test:8501: HTTP 404 without X-Consul-Index: not here",
            ),
            (
                &read,
                (200, "[]", None),
                "no Consul answers at https://consul.test:8501: HTTP 200 without X-Consul-Index: []",
            ),
            (
                &acquire,
                (500, "No cluster leader", None),
                "HTTP 500: No cluster leader",
            ),
        ];
        for (call, answer, expected) in cases {
            let (consul, _) = consul(answer);
            let error = consul.call(call).await.unwrap_err();
            assert_eq!(error.to_string(), expected, "{call:?}");
        }
    }

    #[tokio::test]
    async fn what_a_holder_says_of_itself_is_read_before_anything_of_it_is_hidden_or_cut() {
        let account = Account {
            apps: "a".repeat(2 * VALUE_LIMIT),
            shards: Some(4),
            ..Account::default()
        };
        for (said, shards) in [
            (account.text(), Some(4)),
            ("b".repeat(2 * VALUE_LIMIT), None),
        ] {
            let value = BASE64_STANDARD.encode(said);
            let entry = format!(
                r#"[{{"LockIndex":3,"Key":"k","Flags":0,"Value":"{value}","Session":"s-2","CreateIndex":5,"ModifyIndex":9}}]"#
            );
            let (consul, _) = consul((200, entry.leak(), Some(9)));
            let Answer::Key(view) = consul.call(&Call::Read).await.unwrap() else {
                panic!("it shows the key");
            };
            let value = view.entry.unwrap().value;
            assert!(value.chars().count() <= VALUE_LIMIT + 1, "{value}");
            let account = Account::read(&value);
            assert_eq!(account.and_then(|account| account.shards), shards);
        }
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_a_header_is_refused_unseen() {
        let options = ConsulOptions {
            address: Url::parse("http://consul.test").unwrap(),
            token: Some("se\nsame".into()),
            prefix: String::new(),
            name: "app".to_owned(),
            shards: 1,
            value: String::new(),
            common_value: String::new(),
        };
        let transport = Arc::new(Canned(200, "", None, Mutex::default()));
        let error = Consul::new(transport, options, Metrics::new()).err();
        assert_eq!(
            error.as_deref(),
            Some("the token contains characters that are invalid in a token")
        );
    }
}
