//! The simulator: the platform behind HTTP, in process or on a socket.
//!
//! One exchange goes the same way in both: the request is recognised, a fault may strike it, the platform answers, the
//! fault may strike the answer. The platform is locked only for the moment in which it answers, never while anything
//! waits. Faults that break connections are errors in process and broken connections on a socket.

use std::{
    convert::Infallible,
    fmt, future, io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{
        Request as AxumRequest, State,
        connect_info::{ConnectInfo, Connected},
    },
    serve::{IncomingStream, Listener},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, USER_AGENT},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use super::{
    Options,
    clock::Clock,
    consul::KeyOrder,
    faults::{Canned, Effect, Operation, RequestInfo},
    graphql,
    machines_api::{self, Processed, WaitOrder},
    prometheus_api,
    records::RequestRecord,
    state::Platform,
    wire::{self, Answer},
};

/// The largest request body that is read from a socket, in bytes.
const LARGEST_REQUEST: usize = 4 * 1024 * 1024;

/// How often a machine that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A part of a body that never ends.
const FILLER: Bytes = Bytes::from_static(&[b' '; 8192]);

/// A simulated Fly platform that can be spoken to; clones are the same one.
#[derive(Clone)]
pub struct Simulator {
    shared: Arc<Shared>,
}

struct Shared {
    platform: Mutex<Platform>,
    clock: Clock,
    start: Instant,
    latency: Duration,
}

/// Why a call in process has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection was made; nothing can have happened.
    #[error("connection refused")]
    Refused,
    /// The connection broke; it may have happened or not.
    #[error("the connection broke off")]
    Interrupted,
    /// The body is longer than the caller takes.
    #[error("the answer is larger than {limit} bytes")]
    BodyTooLarge {
        /// What the caller takes, in bytes.
        limit: usize,
    },
}

impl Simulator {
    /// A simulator whose time starts now; it is empty.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            shared: Arc::new(Shared {
                platform: Mutex::new(Platform::new(options)),
                clock: options.clock,
                start: Instant::now(),
                latency: options.latency,
            }),
        }
    }

    /// The platform at this moment, locked: to be let go before anything is awaited.
    pub fn platform(&self) -> MutexGuard<'_, Platform> {
        let mut platform = self
            .shared
            .platform
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = self.shared.clock.since(self.shared.start) {
            platform.advance(now);
        }
        platform
    }

    /// Lets time pass, where it does so only when told to ([`Clock::Stepped`]).
    pub fn step(&self, by: Duration) {
        if self.shared.clock == Clock::Stepped {
            let mut platform = self.platform();
            let now = platform.now().saturating_add(by);
            platform.advance(now);
        }
    }

    /// All services on one router: `/v1` (Consul's `kv`, `session` and `catalog` too), `/graphql`, `/prometheus/{org}`, `/api/v1/query` (and `query_range`) and `/metrics`.
    ///
    /// A fault that breaks a connection needs [`Simulator::serve`]; served otherwise it breaks the body instead.
    pub fn router(&self) -> Router {
        Router::new().fallback(serve_one).with_state(self.clone())
    }

    /// Serves on a socket until the future is dropped.
    ///
    /// # Errors
    ///
    /// Never as yet; the type leaves room for it.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        let service = self.router().into_make_service_with_connect_info::<Line>();
        axum::serve(Sockets(listener), service).await
    }

    /// One exchange in process; the body of the answer may be at most `body_limit` bytes.
    ///
    /// Where a fault makes the simulator hang this never returns, so the caller brings the deadline.
    ///
    /// # Errors
    ///
    /// When a fault lets no answer through, or the body is too large.
    pub async fn call(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let too_large = CallError::BodyTooLarge { limit: body_limit };
        match self.exchange(request).await {
            Exchange::Refused => Err(CallError::Refused),
            Exchange::Broken => Err(CallError::Interrupted),
            Exchange::Silent => future::pending().await,
            Exchange::Answered(_, Ending::Endless) => Err(too_large),
            Exchange::Answered(answer, ending) => {
                let cut = match ending {
                    Ending::Cut(length) => length,
                    _ => answer.body.len(),
                };
                if cut.min(answer.body.len()) > body_limit {
                    return Err(too_large);
                }
                if ending != Ending::Complete {
                    return Err(CallError::Interrupted);
                }
                let mut response = Response::new(answer.body);
                *response.status_mut() = answer.status;
                *response.headers_mut() = answer.headers;
                Ok(response)
            }
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Exchange {
        let incoming = Incoming::recognise(request);
        let (ordinal, effect) = {
            let mut platform = self.platform();
            let ordinal = platform.next_ordinal();
            let info = incoming.info(ordinal, platform.now());
            (ordinal, platform.draw_fault(&info))
        };
        if !self.shared.latency.is_zero() {
            self.pause(self.shared.latency).await;
        }
        let faulted = effect.is_some();
        let untouched = |status: Option<u16>| {
            let mut platform = self.platform();
            let record = incoming.record(ordinal, platform.now(), faulted);
            platform.record_request(RequestRecord { status, ..record });
        };
        match &effect {
            Some(Effect::Refuse) => {
                untouched(None);
                return Exchange::Refused;
            }
            Some(Effect::Break) => {
                untouched(None);
                return Exchange::Broken;
            }
            Some(Effect::Hang) => {
                untouched(None);
                return Exchange::Silent;
            }
            Some(Effect::Answer(canned)) => {
                untouched(Some(canned.status));
                return Exchange::Answered(made_up(canned), Ending::Complete);
            }
            _ => {}
        }
        let answer = if let Some(Effect::Delay(delay)) = effect {
            // A task of its own: what is under way arrives, whether or not the sender still waits.
            let (simulator, delay) = (self.clone(), delay);
            let arriving = tokio::spawn(async move {
                simulator.pause(delay).await;
                simulator.process(&incoming, ordinal, true).await
            });
            match arriving.await {
                Ok(answer) => answer,
                Err(_) => return Exchange::Broken,
            }
        } else {
            self.process(&incoming, ordinal, faulted).await
        };
        self.strike(ordinal, answer, effect).await
    }

    /// What a fault leaves of an answer.
    async fn strike(&self, ordinal: u64, mut answer: Answer, effect: Option<Effect>) -> Exchange {
        let answered = |status: Option<u16>| self.platform().answered_with(ordinal, status);
        let mut ending = Ending::Complete;
        match effect {
            Some(Effect::LoseAnswer) => {
                answered(None);
                return Exchange::Broken;
            }
            Some(Effect::HangAfter) => {
                answered(None);
                return Exchange::Silent;
            }
            Some(Effect::SlowAnswer(delay)) => self.pause(delay).await,
            Some(Effect::AnswerAfter(canned)) => {
                answered(Some(canned.status));
                answer = made_up(&canned);
            }
            Some(Effect::Truncate(length)) => answer.body.truncate(length),
            Some(Effect::CutBody(length)) => ending = Ending::Cut(length),
            Some(Effect::Large(length)) => {
                let text = "x".repeat(length.saturating_sub(4));
                answer.body = Bytes::from(format!("[\"{text}\"]"));
            }
            Some(Effect::Endless) => ending = Ending::Endless,
            Some(Effect::LargeHeaders(length)) => {
                const PIECE: usize = 4096;
                for index in 0..length.div_ceil(PIECE) {
                    let piece = "x".repeat(PIECE.min(length - index * PIECE));
                    answer.header(&format!("x-filler-{index}"), &piece);
                }
            }
            _ => {}
        }
        Exchange::Answered(answer, ending)
    }

    /// Lets the platform carry a request out, and waits where it asks to wait.
    async fn process(&self, incoming: &Incoming, ordinal: u64, faulted: bool) -> Answer {
        let mut order = {
            let mut platform = self.platform();
            let record = incoming.record(ordinal, platform.now(), faulted);
            platform.record_request(record);
            let before = platform.changes().total();
            match respond(&mut platform, incoming) {
                Ok(answer) => {
                    let created_volume = incoming.route.operation == Operation::CreateVolume
                        && answer.status.is_success();
                    if platform.changes().total() > before || created_volume {
                        platform.took_effect(ordinal);
                    }
                    return finished(&mut platform, incoming, ordinal, answer);
                }
                Err(order) => order,
            }
        };
        let began = Instant::now();
        loop {
            {
                let mut platform = self.platform();
                if self.shared.clock == Clock::Stepped {
                    // Time stands still unless it is stepped: who waits must get an end all the same.
                    order.expire_after(began.elapsed(), platform.now());
                }
                if let Some(answer) = order.waited(&platform) {
                    return finished(&mut platform, incoming, ordinal, answer);
                }
            }
            self.pause(LOOK).await;
        }
    }

    async fn pause(&self, simulated: Duration) {
        sleep(self.shared.clock.wait(simulated)).await;
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Simulator")
            .field("clock", &self.shared.clock)
            .finish_non_exhaustive()
    }
}

/// What an answer waits for.
enum Order {
    Machine(WaitOrder),
    Key(KeyOrder),
}

impl Order {
    fn expire_after(&mut self, waited: Duration, now: Duration) {
        match self {
            Self::Machine(order) => order.expire_after(waited, now),
            Self::Key(order) => order.expire_after(waited, now),
        }
    }

    fn waited(&self, platform: &Platform) -> Option<Answer> {
        match self {
            Self::Machine(order) => machines_api::waited(platform, order),
            Self::Key(order) => platform.consul().waited(order),
        }
    }
}

/// The service that a request is for answers it; or what its answer waits for.
fn respond(platform: &mut Platform, incoming: &Incoming) -> Result<Answer, Order> {
    match incoming.route.operation {
        Operation::Graphql => Ok(graphql::answer(platform, incoming)),
        Operation::Query => {
            let org = incoming.route.org.as_deref();
            Ok(prometheus_api::query(platform, incoming, org))
        }
        Operation::Metrics => Ok(prometheus_api::text(platform)),
        operation if operation.is_of_consul() => {
            platform.consul_mut().ask(incoming).map_err(Order::Key)
        }
        Operation::Unexpected => Ok(Answer::plain(
            404,
            "text/plain; charset=utf-8",
            "404 page not found\n".to_owned(),
        )),
        _ => match machines_api::process(platform, incoming) {
            Processed::Answer(answer) => Ok(answer),
            Processed::Wait(order) => Err(Order::Machine(order)),
        },
    }
}

/// Writes down what was answered, as it goes out.
fn finished(
    platform: &mut Platform,
    incoming: &Incoming,
    ordinal: u64,
    mut answer: Answer,
) -> Answer {
    platform.answered_with(ordinal, Some(answer.status.as_u16()));
    if !incoming.route.operation.is_of_consul() {
        answer.header("fly-request-id", &format!("01SIM{ordinal:021}-sim"));
    }
    answer
}

fn made_up(canned: &Canned) -> Answer {
    let mut answer = Answer {
        status: StatusCode::from_u16(canned.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers: HeaderMap::new(),
        body: canned.body.clone(),
    };
    for (name, value) in &canned.headers {
        answer.header(name, value);
    }
    answer
}

/// How an exchange went.
enum Exchange {
    Refused,
    Broken,
    Silent,
    Answered(Answer, Ending),
}

/// How the body of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Complete,
    Cut(usize),
    Endless,
}

/// What a path stands for.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) operation: Operation,
    pub(super) app: Option<Arc<str>>,
    pub(super) machine: Option<Arc<str>>,
    pub(super) org: Option<Arc<str>>,
}

impl Route {
    fn of(method: &Method, path: &str) -> Self {
        use Operation as O;
        let segments = segments(path);
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let mut route = Self {
            operation: O::Unexpected,
            app: None,
            machine: None,
            org: None,
        };
        if let ["v1", "apps", app, rest @ ..] = segments.as_slice() {
            route.app = Some((*app).into());
            if let ["machines", machine, ..] = rest {
                route.machine = Some((*machine).into());
            }
        }
        if let ["prometheus", org, ..] = segments.as_slice() {
            route.org = Some((*org).into());
        }
        route.operation = match (method.as_str(), segments.as_slice()) {
            ("GET", ["v1", "tokens", "current"]) => O::CurrentTokens,
            ("GET", ["v1", "apps"]) => O::ListApps,
            ("GET", ["v1", "apps", _]) => O::App,
            ("GET", ["v1", "apps", _, "machines"]) => O::List,
            ("POST", ["v1", "apps", _, "machines"]) => O::Create,
            ("GET", ["v1", "apps", _, "machines", _]) => O::Get,
            ("DELETE", ["v1", "apps", _, "machines", _]) => O::Destroy,
            ("POST", ["v1", "apps", _, "machines", _, "start"]) => O::Start,
            ("POST", ["v1", "apps", _, "machines", _, "stop"]) => O::Stop,
            ("POST", ["v1", "apps", _, "machines", _, "suspend"]) => O::Suspend,
            ("GET", ["v1", "apps", _, "machines", _, "wait"]) => O::Wait,
            ("GET", ["v1", "apps", _, "volumes"]) => O::ListVolumes,
            ("POST", ["v1", "apps", _, "volumes"]) => O::CreateVolume,
            ("POST", ["graphql"]) => O::Graphql,
            (
                "GET" | "POST",
                ["api", "v1", "query" | "query_range"]
                | ["prometheus", _, "api", "v1", "query" | "query_range"],
            ) => O::Query,
            ("GET", ["metrics"]) => O::Metrics,
            ("PUT", ["v1", "catalog", "register"]) => O::RegisterNode,
            ("PUT", ["v1", "session", "create"]) => O::OpenSession,
            ("PUT", ["v1", "session", "renew", _]) => O::RenewSession,
            ("PUT", ["v1", "session", "destroy", _]) => O::DestroySession,
            ("GET", ["v1", "session", "node", _]) => O::ListSessions,
            ("GET", ["v1", "kv", _, ..]) => O::ReadKey,
            ("PUT", ["v1", "kv", _, ..]) => O::WriteKey,
            _ => O::Unexpected,
        };
        route
    }
}

/// The pieces of a path, decoded.
fn segments(path: &str) -> Vec<String> {
    path.trim_matches('/')
        .split('/')
        .map(|segment| wire::decode(segment, false))
        .collect()
}

/// A request that was recognised.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) route: Route,
    method: Method,
    path: String,
    pub(super) query: String,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Incoming {
    fn recognise(request: Request<Bytes>) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            route: Route::of(&parts.method, parts.uri.path()),
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
        }
    }

    /// Whether a query is about a range of time.
    pub(super) fn is_of_range(&self) -> bool {
        self.path.trim_end_matches('/').ends_with("/query_range")
    }

    /// The pieces of its path, decoded.
    pub(super) fn segments(&self) -> Vec<String> {
        segments(&self.path)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.header(AUTHORIZATION.as_str())
    }

    /// Whether the app's affinity cookie came along; `None` where there is none to come.
    pub(super) fn affinity(&self, app: &str) -> Option<bool> {
        if !self.route.operation.is_machines_api() {
            return None;
        }
        let wanted = format!("{}={}", machines_api::AFFINITY, machines_api::affinity(app));
        let brought = self
            .headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .any(|pair| pair.trim() == wanted);
        Some(brought)
    }

    fn info(&self, ordinal: u64, at: Duration) -> RequestInfo {
        RequestInfo {
            ordinal,
            at,
            operation: self.route.operation,
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            app: self.route.app.clone(),
            machine: self.route.machine.clone(),
        }
    }

    fn record(&self, ordinal: u64, at: Duration, faulted: bool) -> RequestRecord {
        let scheme = self
            .authorization()
            .and_then(|value| value.split_once(' '))
            .map(|(scheme, _)| scheme.to_owned());
        RequestRecord {
            ordinal,
            at,
            operation: self.route.operation,
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            app: self.route.app.clone(),
            machine: self.route.machine.clone(),
            body: self.body.clone(),
            scheme,
            user_agent: self.header(USER_AGENT.as_str()).map(str::to_owned),
            affinity: self.route.app.as_ref().and_then(|app| self.affinity(app)),
            status: None,
            took_effect: false,
            faulted,
        }
    }
}

async fn serve_one(
    State(simulator): State<Simulator>,
    request: AxumRequest,
) -> Result<Response<Body>, Infallible> {
    let line = request
        .extensions()
        .get::<ConnectInfo<Line>>()
        .map(|ConnectInfo(line)| line.clone());
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_REQUEST).await else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(response);
    };
    let (answer, body) = match simulator.exchange(Request::from_parts(parts, body)).await {
        Exchange::Silent => future::pending().await,
        Exchange::Refused | Exchange::Broken => {
            if let Some(line) = line {
                line.cut.store(true, Ordering::Relaxed);
            }
            return Ok(Response::new(Body::from_stream(stream::once(broken()))));
        }
        Exchange::Answered(answer, Ending::Endless) => {
            let filler = stream::repeat_with(|| Ok::<_, io::Error>(FILLER));
            (answer, Body::from_stream(filler))
        }
        Exchange::Answered(mut answer, Ending::Cut(length)) => {
            let whole = HeaderValue::from(answer.body.len().max(length + 1));
            answer.headers.insert(CONTENT_LENGTH, whole);
            let part = answer.body.slice(..length.min(answer.body.len()));
            let cut = stream::iter([Ok(part)]).chain(stream::once(broken()));
            (answer, Body::from_stream(cut))
        }
        Exchange::Answered(answer, Ending::Complete) => {
            let body = Body::from(answer.body.clone());
            (answer, body)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

/// An error in place of the next part of a body; it comes late, so that what was written before it gets out.
async fn broken() -> Result<Bytes, io::Error> {
    tokio::task::yield_now().await;
    Err(io::Error::from(io::ErrorKind::ConnectionReset))
}

/// A connection that can be cut from within.
#[derive(Debug, Clone, Default)]
struct Line {
    cut: Arc<AtomicBool>,
}

impl Connected<IncomingStream<'_, Sockets>> for Line {
    fn connect_info(stream: IncomingStream<'_, Sockets>) -> Self {
        stream.io().line.clone()
    }
}

struct Sockets(TcpListener);

impl Listener for Sockets {
    type Io = CuttableStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // A simulator that answers late is a fault to be asked for, not an accident of small packets.
        let _ = stream.set_nodelay(true);
        let line = Line::default();
        (CuttableStream { stream, line }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

struct CuttableStream {
    stream: TcpStream,
    line: Line,
}

impl CuttableStream {
    fn check(&self) -> io::Result<()> {
        if self.line.cut.load(Ordering::Relaxed) {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        } else {
            Ok(())
        }
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(super) mod tests {
    use super::*;
    use crate::sim::{
        DailyCurve, Deploy, Fault, NewMachine, ProxySettings, Random, Strategy, state::MachineState,
    };
    use serde_json::{Value, json};
    use std::{fmt::Write as _, time::Duration};
    use tokio::time::timeout;

    /// A request from a line like `GET /v1/apps`.
    pub(in crate::sim) fn request(line: &str, headers: &[(&str, &str)], body: &str) -> Incoming {
        Incoming::recognise(http_request(line, headers, body))
    }

    pub(in crate::sim) fn get(path: &str) -> Incoming {
        request(&format!("GET {path}"), &[], "")
    }

    pub(in crate::sim) fn post(path: &str, body: &str) -> Incoming {
        request(&format!("POST {path}"), &[], body)
    }

    /// The status and the JSON body.
    pub(in crate::sim) fn answered(answer: &Answer) -> (u16, Value) {
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        (answer.status.as_u16(), body)
    }

    fn http_request(line: &str, headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap()
    }

    fn simulator() -> (Simulator, Arc<str>) {
        let simulator = Simulator::new(&Options::default());
        let mut platform = simulator.platform();
        platform.add_app("web", "acme");
        let id = platform
            .add_machine("web", NewMachine::in_region("ord"))
            .unwrap();
        drop(platform);
        (simulator, id)
    }

    /// The status, or what became of the exchange within a minute, then whether it took effect and what was recorded.
    async fn outcome(simulator: &Simulator, line: &str) -> String {
        let call = simulator.call(http_request(line, &[], ""), 1_000);
        match timeout(Duration::from_secs(60), call).await {
            Err(_) => "silence".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(response)) => response.status().to_string(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_effect_does_to_an_exchange_what_it_says() {
        let canned = || Canned::status(503);
        let s = Duration::from_secs;
        // The effect, what the client gets, whether the stop took effect, the recorded status.
        let cases = [
            (Effect::Refuse, "connection refused", false, None),
            (Effect::Break, "the connection broke off", false, None),
            (Effect::Hang, "silence", false, None),
            (
                Effect::Answer(canned()),
                "503 Service Unavailable",
                false,
                Some(503),
            ),
            (Effect::Delay(s(5)), "200 OK", true, Some(200)),
            (Effect::Delay(s(65)), "silence", true, Some(200)),
            (Effect::LoseAnswer, "the connection broke off", true, None),
            (Effect::HangAfter, "silence", true, None),
            (Effect::SlowAnswer(s(5)), "200 OK", true, Some(200)),
            (Effect::SlowAnswer(s(65)), "silence", true, Some(200)),
            (
                Effect::AnswerAfter(canned()),
                "503 Service Unavailable",
                true,
                Some(503),
            ),
            (Effect::Truncate(3), "200 OK", true, Some(200)),
            (
                Effect::CutBody(3),
                "the connection broke off",
                true,
                Some(200),
            ),
            (
                Effect::Large(1_001),
                "the answer is larger than 1000 bytes",
                true,
                Some(200),
            ),
            (Effect::Large(1_000), "200 OK", true, Some(200)),
            (
                Effect::Endless,
                "the answer is larger than 1000 bytes",
                true,
                Some(200),
            ),
            (Effect::LargeHeaders(10_000), "200 OK", true, Some(200)),
        ];
        for (effect, expected, took_effect, status) in cases {
            let (simulator, id) = simulator();
            simulator
                .platform()
                .add_fault(Fault::new(effect.clone()).once());
            let line = format!("POST /v1/apps/web/machines/{id}/stop");
            let seen = outcome(&simulator, &line).await;
            sleep(Duration::from_secs(60)).await;
            let platform = simulator.platform();
            let record = platform.writes().next().unwrap();
            assert_eq!(seen, expected, "{effect:?}");
            assert_eq!(
                (record.took_effect, record.status, record.faulted),
                (took_effect, status, true),
                "{effect:?}"
            );
            let state = &platform.machine("web", &id).unwrap().state;
            assert_eq!(*state == MachineState::Stopped, took_effect, "{effect:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_request_arrives_though_nobody_waits_for_it() {
        let (simulator, id) = simulator();
        simulator
            .platform()
            .add_fault(Fault::new(Effect::Delay(Duration::from_secs(10))));
        let line = format!("POST /v1/apps/web/machines/{id}/stop");
        let call = simulator.call(http_request(&line, &[], ""), 1_000);
        assert!(timeout(Duration::from_secs(1), call).await.is_err());
        assert_eq!(simulator.platform().started("web"), 1);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(simulator.platform().started("web"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_the_state_is_there_or_the_time_is_up() {
        let cases = [
            ("stopped&timeout=10", "200 OK", 1_000),
            ("started&timeout=10", "408 Request Timeout", 10_000),
            ("destroyed&timeout=3", "408 Request Timeout", 3_000),
        ];
        for (query, expected, milliseconds) in cases {
            let (simulator, id) = simulator();
            let stop = format!("POST /v1/apps/web/machines/{id}/stop");
            assert_eq!(outcome(&simulator, &stop).await, "200 OK");
            let began = Instant::now();
            let line = format!("GET /v1/apps/web/machines/{id}/wait?state={query}");
            assert_eq!(outcome(&simulator, &line).await, expected, "{query}");
            assert_eq!(
                began.elapsed(),
                Duration::from_millis(milliseconds),
                "{query}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stepped_time_stands_still_and_waiting_still_ends() {
        let options = Options {
            clock: Clock::Stepped,
            ..Options::default()
        };
        let simulator = Simulator::new(&options);
        simulator.platform().add_app("web", "acme");
        let id = simulator
            .platform()
            .add_machine("web", NewMachine::in_region("ord"))
            .unwrap();
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(simulator.platform().now(), Duration::ZERO);
        simulator.step(Duration::from_secs(7));
        assert_eq!(simulator.platform().now(), Duration::from_secs(7));
        let line = format!("GET /v1/apps/web/machines/{id}/wait?state=stopped&timeout=5");
        assert_eq!(outcome(&simulator, &line).await, "408 Request Timeout");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_passes_faster_than_the_wall() {
        let options = Options {
            clock: Clock::Running { speed: 60.0 },
            ..Options::default()
        };
        let simulator = Simulator::new(&options);
        sleep(Duration::from_secs(2)).await;
        let platform = simulator.platform();
        assert_eq!(platform.now(), Duration::from_secs(120));
        assert_eq!(platform.wall().to_string(), "2026-01-02T03:04:07Z");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_recorded_and_unknown_ones_stand_out() {
        let (simulator, id) = simulator();
        let headers = [("authorization", "FlyV1 secret"), ("user-agent", "test/1")];
        let create = r#"{"config":{"image":"a"}}"#;
        for (line, body) in [
            ("GET /v1/apps/web/machines", ""),
            ("POST /v1/apps/web/machines", create),
            ("POST /v1/apps/web/machines", "{}"),
            ("POST /v1/apps/web/machines/x", "{}"),
            ("GET /v2/apps", ""),
            ("POST /api/v1/query", "query=up"),
            ("POST /prometheus/acme/api/v1/query", "query=up"),
        ] {
            let response = simulator
                .call(http_request(line, &headers, body), 10_000)
                .await
                .unwrap();
            assert!(response.headers().contains_key("fly-request-id"), "{line}");
        }
        let platform = simulator.platform();
        let seen: Vec<_> = platform
            .requests()
            .iter()
            .map(|request| (request.operation, request.status, request.took_effect))
            .collect();
        assert_eq!(
            seen,
            [
                (Operation::List, Some(200), false),
                (Operation::Create, Some(200), true),
                (Operation::Create, Some(422), false),
                (Operation::Unexpected, Some(404), false),
                (Operation::Unexpected, Some(404), false),
                (Operation::Query, Some(200), false),
                (Operation::Query, Some(200), false),
            ]
        );
        assert_eq!(platform.writes().count(), 2);
        assert_eq!(platform.unexpected().count(), 2);
        let written = platform.writes().next().unwrap();
        assert_eq!(written.json()["config"]["image"], json!("a"));
        assert_eq!(written.scheme.as_deref(), Some("FlyV1"));
        assert_eq!(written.user_agent.as_deref(), Some("test/1"));
        assert!(!format!("{:?}", platform.requests()).contains("secret"));
        let query = platform.requests_for(Operation::Query).next().unwrap();
        assert_eq!(query.parameter("query").as_deref(), Some("up"));
        assert_eq!(platform.living("web", ""), 2);
        assert!(platform.machine("web", &id).is_some());
    }

    /// Everything that happens in half an hour of traffic, deploys and lost answers.
    async fn half_an_hour(seed: u64) -> String {
        let simulator = Simulator::new(&Options {
            seed,
            shuffled_lists: true,
            ..Options::default()
        });
        {
            let mut platform = simulator.platform();
            platform.add_app("web", "acme");
            let machine = NewMachine::in_region("ord");
            platform.add_machines("web", 4, &machine).unwrap();
            platform.set_proxy("web", Some(ProxySettings::default()));
            let curve = DailyCurve {
                night: 0.0,
                day: 100.0,
                length: Duration::from_secs(600),
                noise: 0.2,
                seed,
            };
            platform.set_traffic("web", curve.curve());
            platform.start_deploy("web", Deploy::new(Strategy::BlueGreen));
            let mut random = Random::new(seed);
            platform.set_fault_hook(Box::new(move |_| {
                random.chance(0.3).then_some(Effect::LoseAnswer)
            }));
        }
        let mut seen = String::new();
        for _ in 0..60 {
            sleep(Duration::from_secs(30)).await;
            let create = r#"{"config":{"image":"a"}}"#;
            for (line, body) in [
                ("POST /v1/apps/web/machines", create),
                ("GET /v1/apps/web/machines", ""),
            ] {
                // Spawned, since a caller may well do so: the future has to be one that can be sent.
                let (simulator, request) = (simulator.clone(), http_request(line, &[], body));
                let call = tokio::spawn(async move { simulator.call(request, 1_000_000).await });
                let _ = writeln!(seen, "{:?}", call.await.unwrap());
            }
        }
        let platform = simulator.platform();
        for change in platform.changes().iter() {
            let _ = writeln!(seen, "{change:?}");
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn equal_seeds_make_equal_runs() {
        let (one, other, third) = (
            half_an_hour(7).await,
            half_an_hour(7).await,
            half_an_hour(8).await,
        );
        assert!(one == other);
        assert!(one != third);
    }

    /// What a real socket gets for one request, as text; empty when it is cut off at once.
    async fn raw(simulator: &Simulator, limit: usize) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = simulator.clone();
        let serving = tokio::spawn(async move { server.serve(listener).await });
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = "GET /v1/apps?org_slug=acme HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let mut part = [0; 4096];
        while text.len() < limit {
            match socket.read(&mut part).await {
                Ok(length) if length > 0 => text.extend_from_slice(&part[..length]),
                _ => break,
            }
        }
        serving.abort();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn faults_reach_through_a_real_socket() {
        let (simulator, _) = simulator();
        let plain = raw(&simulator, 100_000).await;
        assert!(plain.starts_with("HTTP/1.1 200 OK\r\n"), "{plain}");
        let whole = plain.split("\r\n\r\n").nth(1).unwrap().to_owned();
        assert!(whole.contains("\"name\":\"web\""));
        let fault = |effect: Effect| simulator.platform().add_fault(Fault::new(effect).once());

        fault(Effect::LoseAnswer);
        assert_eq!(raw(&simulator, 100_000).await, "");
        fault(Effect::Refuse);
        assert_eq!(raw(&simulator, 100_000).await, "");
        fault(Effect::CutBody(10));
        let cut = raw(&simulator, 100_000).await;
        assert!(
            cut.contains(&format!("content-length: {}\r\n", whole.len())),
            "{cut}"
        );
        assert_eq!(cut.split("\r\n\r\n").nth(1), Some(&whole[..10]));
        fault(Effect::Truncate(10));
        let truncated = raw(&simulator, 100_000).await;
        assert!(truncated.contains("content-length: 10\r\n"), "{truncated}");
        fault(Effect::Endless);
        assert!(raw(&simulator, 1_000_000).await.len() >= 1_000_000);
        fault(Effect::Answer(Canned::html(502)));
        let html = raw(&simulator, 100_000).await;
        assert!(html.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{html}");
        assert_eq!(simulator.platform().requests().total(), 7);
    }
}
