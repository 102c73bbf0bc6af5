//! The calls: one function each, all under a deadline, all counted, repeated only where that is safe.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backon::BackoffBuilder as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};
use url::Url;

use super::{
    address::Address,
    clone::NewClone,
    cookies::Cookies,
    error::{ApiError, ApiErrorCause, Verdict},
    graphql,
    pacing::{ATTEMPTS, CreatePace, JitterSeeds, Repetition, attempt_limit, pause_after, pauses},
    scope::{AppAbout, TokenScope, WireAbout, WireTokens},
    token::Authorization,
    volumes::{self, Chosen, NewVolume, PassVolumes},
    wire::{self, LIST_LENGTH},
};
use crate::{
    json::{Object, Several},
    labels::{CallResult, Operation},
    lock::{Gate, Term},
    metrics::Metrics,
    scaling::{CloneTemplate, Machine, Release},
    shown::excerpt,
    shutdown::Shutdown,
    transport::{Redirect, Transport, TransportError, redirect},
};

/// The largest machine, volume or app list that is read: 10^5 machines with configurations of half a kilobyte.
const LIST_LIMIT: usize = 64 << 20;

/// The largest answer that is read about a token or an app, which is all kept for a moment.
const ABOUT_LIMIT: usize = 1 << 20;

/// The largest other answer that is read.
const ANSWER_LIMIT: usize = 10 << 20;

/// The pause between two wait calls about one machine, whatever they are answered.
const WAIT_PAUSE: Duration = Duration::from_secs(1);

/// How much longer than it asks for a wait call may take: the API answers when that time is over.
const WAIT_ANSWER: Duration = Duration::from_secs(1);

/// The most of an error's text that is kept.
const MESSAGE_LIMIT: usize = 300;

const USER_AGENT: &str = concat!("fly-autoscaler/", env!("CARGO_PKG_VERSION"));

/// How Fly is reached.
#[derive(Debug)]
pub struct ApiOptions {
    /// The Machines API; a path in it is dropped, as Fly's own client does.
    pub machines_url: Url,
    /// The GraphQL API; `/graphql` is added.
    pub graphql_url: Url,
    /// The token for both.
    pub token: SecretString,
    /// Whether writes are kept from leaving the process.
    pub dry_run: bool,
    /// Which lets writes through while this copy holds the lock, if there is one.
    pub gate: Gate,
    /// Where the jitter of pauses begins.
    pub jitter_seed: u64,
    /// How many calls about one app may be in flight, whichever of its fleets they are for.
    pub concurrency: usize,
}

/// Fly's APIs with one token.
pub struct Api {
    transport: Arc<dyn Transport>,
    options: ApiOptions,
    machines: Peer,
    graphql: Peer,
    metrics: Metrics,
    shutdown: Shutdown,
    jitter: JitterSeeds,
    cookies: Cookies,
}

/// One of the APIs, with what every request to it has.
struct Peer {
    address: Address,
    /// Of a request without a body.
    headers: HeaderMap,
}

impl Peer {
    fn new(address: Address, authorization: HeaderValue) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Self { address, headers }
    }
}

/// The calls about one app: its cookies and the pace of its creates belong to it alone.
pub struct AppClient {
    api: Arc<Api>,
    app: Arc<str>,
    cookies: Cookies,
    /// Whoever has a call in flight holds one of these.
    in_flight: Semaphore,
    machine_pace: CreatePace,
    /// Who waits for the next turn to create a machine has this; the others stand in line for it, so that no fleet takes all
    /// turns.
    next_to_create: Mutex<()>,
    volume_pace: CreatePace,
}

/// A turn of an app's pace of creates, and a place among its calls in flight.
#[derive(Debug)]
pub struct Turn<'client>(SemaphorePermit<'client>);

/// When a create may be made.
#[derive(Debug, Clone, Copy)]
pub struct CreateWindow<'pass> {
    /// No attempt begins at or after this, so that its answer is still heard.
    pub begin_before: Instant,
    /// No attempt begins once this is set.
    pub halted: &'pass AtomicBool,
    /// No attempt begins once this is set: what the pass has seen is old.
    pub outdated: &'pass AtomicBool,
    /// When the call has to be over.
    pub deadline: Instant,
    /// The term of the lock in which the pass began.
    pub term: Option<Term>,
}

/// Until when a start, stop, suspend or destroy may be tried.
#[derive(Debug, Clone, Copy)]
pub struct WriteWindow<'pass> {
    /// When the call has to be over.
    pub deadline: Instant,
    /// No attempt begins once this is set: what the pass has seen is old.
    pub outdated: &'pass AtomicBool,
    /// The term of the lock in which the pass began.
    pub term: Option<Term>,
}

impl CreateWindow<'_> {
    /// Whether a create may begin now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        !is_set(self.halted) && !is_set(self.outdated) && Instant::now() < self.begin_before
    }
}

/// One call, ready to be made as often as it takes.
struct Call<'call> {
    operation: Operation,
    subject: Subject<'call>,
    method: Method,
    /// Where to; an error says why there is no such address.
    uri: Result<Uri, String>,
    peer: &'call Peer,
    body: Bytes,
    repetition: Repetition,
    /// Whose turn a repetition takes, as the first attempt did before the call.
    pace: Option<&'call CreatePace>,
    answer_limit: usize,
    /// No attempt begins at or after this; the pass deadline where there is nothing stricter.
    begin_before: Option<Instant>,
    /// No answer is waited for any longer than this; the attempt's share of the time where there is nothing stricter.
    give_up: Option<Instant>,
    /// No attempt begins once this is set.
    halted: Option<&'call AtomicBool>,
    /// The same, set by somebody else.
    outdated: Option<&'call AtomicBool>,
    /// For a write: the term of the lock in which the pass began that makes it.
    term: Option<Term>,
    cookies: &'call Cookies,
    /// What an attempt holds one of.
    in_flight: Option<&'call Semaphore>,
}

/// What a call is about, in words where it fails.
enum Subject<'call> {
    Organization(&'call str),
    Token,
    App(&'call str),
    Machine { id: &'call str, app: &'call str },
    Region { name: &'call str, app: &'call str },
}

impl Subject<'_> {
    /// The app that it is about; empty where it is about none.
    fn app(&self) -> &str {
        match self {
            Self::Organization(_) | Self::Token => "",
            Self::App(app) | Self::Machine { app, .. } | Self::Region { app, .. } => app,
        }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(org) => write!(formatter, "organization \"{org}\""),
            Self::Token => formatter.write_str("FAS_API_TOKEN"),
            Self::App(app) => write!(formatter, "app \"{app}\""),
            Self::Machine { id, app } => write!(formatter, "machine {id} of app \"{app}\""),
            Self::Region { name, app } => write!(formatter, "app \"{app}\", region {name}"),
        }
    }
}

/// Why one attempt failed.
struct Failure {
    cause: ApiErrorCause,
    request_id: Option<String>,
}

impl Api {
    /// Prepares the client; connects to nothing.
    ///
    /// # Errors
    ///
    /// When the token cannot stand in an HTTP header; the message does not show it.
    pub fn new(
        transport: Arc<dyn Transport>,
        options: ApiOptions,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Result<Self, String> {
        let authorization = Authorization::parse(&options.token).ok_or(
            "FAS_API_TOKEN contains characters that are invalid in a token (a line break?)",
        )?;
        let jitter = JitterSeeds::new(options.jitter_seed);
        let Authorization { machines, graphql } = authorization;
        Ok(Self {
            transport,
            machines: Peer::new(Address::machines(&options.machines_url), machines),
            graphql: Peer::new(Address::graphql(&options.graphql_url), graphql),
            options,
            metrics,
            shutdown,
            jitter,
            cookies: Cookies::default(),
        })
    }

    /// Whether writes are kept from leaving the process.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.options.dry_run
    }

    /// The names of the apps of an organization, sorted.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn list_apps(
        &self,
        org: &str,
        deadline: Instant,
    ) -> Result<BTreeSet<String>, ApiError> {
        #[derive(Deserialize)]
        struct Apps {
            /// `null` for none, but never absent: an answer without it is no list, and would end every app's scaling.
            #[serde(deserialize_with = "Option::deserialize")]
            apps: Option<Several<Object<App>, LIST_LENGTH>>,
        }
        #[derive(Deserialize)]
        struct App {
            name: String,
        }
        let uri = self.machines.address.uri(&["apps"], &[("org_slug", org)]);
        let mut call = self.call(Operation::ListApps, Subject::Organization(org), uri);
        call.answer_limit = LIST_LIMIT;
        let read = |body: &[u8]| parse::<Object<Apps>>(body);
        let Object(apps) = self.make(&call, deadline, read).await?;
        let Several(apps) = apps.apps.unwrap_or_default();
        Ok(apps.into_iter().map(|Object(app)| app.name).collect())
    }

    /// What the token is for, by its own account; a list of tokens has several.
    ///
    /// # Errors
    ///
    /// See [`ApiError`]. Fly may not answer this for every kind of token.
    pub async fn current_tokens(&self, deadline: Instant) -> Result<Vec<TokenScope>, ApiError> {
        let uri = self.machines.address.uri(&["tokens", "current"], &[]);
        let mut call = self.call(Operation::CurrentTokens, Subject::Token, uri);
        call.answer_limit = ABOUT_LIMIT;
        let read = |body: &[u8]| parse::<Object<WireTokens>>(body);
        Ok(self.make(&call, deadline, read).await?.0.read())
    }

    /// A question to the Machines API, as most calls are; the others change what is different.
    fn call<'call>(
        &'call self,
        operation: Operation,
        subject: Subject<'call>,
        uri: Result<Uri, String>,
    ) -> Call<'call> {
        Call {
            operation,
            subject,
            method: Method::GET,
            uri,
            peer: &self.machines,
            body: Bytes::new(),
            repetition: Repetition::Idempotent,
            pace: None,
            answer_limit: ANSWER_LIMIT,
            begin_before: None,
            give_up: None,
            halted: None,
            outdated: None,
            term: None,
            cookies: &self.cookies,
            in_flight: None,
        }
    }

    /// Makes a call, repeating it where that is safe, until the deadline; `read` says what the body of a 2xx is.
    async fn make<T>(
        &self,
        call: &Call<'_>,
        deadline: Instant,
        read: impl Fn(&[u8]) -> Result<T, ApiErrorCause>,
    ) -> Result<T, ApiError> {
        self.make_in(None, call, deadline, read).await
    }

    /// As [`Self::make`], with a place for the first attempt.
    async fn make_in<T>(
        &self,
        mut place: Option<SemaphorePermit<'_>>,
        call: &Call<'_>,
        deadline: Instant,
        read: impl Fn(&[u8]) -> Result<T, ApiErrorCause>,
    ) -> Result<T, ApiError> {
        let begin_before = call.begin_before.unwrap_or(deadline);
        let mut pauses = pauses(self.jitter.next()).build();
        let mut after_unknown = false;
        let mut before = None;
        loop {
            let failure = match self.attempt(place.take(), call, deadline, &read).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if let Some(before) = before.filter(|_| failure.cause.is_over()) {
                // It was begun before, and that is how it ended.
                return Err(before);
            }
            let left = begin_before.saturating_duration_since(Instant::now());
            let length = call
                .repetition
                .follows(&failure.cause)
                .then(|| pause_after(&failure.cause, pauses.next(), left))
                .flatten();
            let had_no_effect = failure.cause.had_no_effect();
            let error = ApiError {
                after_unknown,
                ..call.failed(failure)
            };
            let Some(length) = length else {
                return Err(error);
            };
            pause(self.shutdown.clone(), length).await;
            if let (Some(pace), Some(places)) = (call.pace, call.in_flight) {
                let is_open = || !self.shutdown.is_set() && !call.is_halted();
                place = pace.wait_turn(places, begin_before, is_open).await;
                // Where it may not be made any more at all the attempt says why.
                if place.is_none() && is_open() {
                    return Err(error);
                }
            }
            after_unknown |= !had_no_effect;
            before = Some(error);
        }
    }

    async fn attempt<T>(
        &self,
        place: Option<SemaphorePermit<'_>>,
        call: &Call<'_>,
        deadline: Instant,
        read: &impl Fn(&[u8]) -> Result<T, ApiErrorCause>,
    ) -> Result<T, Failure> {
        // It is never closed.
        let _in_flight = match (place, call.in_flight) {
            (None, Some(places)) => places.acquire().await.ok(),
            (place, _) => place,
        };
        let begun = Instant::now();
        let not_made = |cause| {
            Err(Failure {
                cause,
                request_id: None,
            })
        };
        let is_write = call.operation.is_write();
        if is_write && self.options.dry_run {
            return not_made(ApiErrorCause::DryRun);
        }
        if self.shutdown.is_set() {
            return not_made(ApiErrorCause::ShuttingDown);
        }
        if call.is_halted() || begun >= call.begin_before.unwrap_or(deadline) {
            return not_made(ApiErrorCause::NotBegun);
        }
        if is_write && !self.options.gate.permits(call.subject.app(), call.term) {
            return not_made(ApiErrorCause::NotHolding);
        }
        let request = Self::request(call).map_err(|cause| Failure {
            cause,
            request_id: None,
        })?;
        let until = begun + attempt_limit(deadline.saturating_duration_since(begun));
        let until = call.give_up.map_or(until, |give_up| until.min(give_up));
        let of_lock = self.options.gate.write_limit().filter(|_| is_write);
        let of_lock = of_lock.map(|limit| begun + limit);
        let by_lock = of_lock.is_some_and(|of_lock| of_lock < until);
        let until = of_lock.map_or(until, |of_lock| until.min(of_lock));
        let exchange = self.transport.exchange(request, call.answer_limit);
        let exchanged = tokio::time::timeout_at(until, exchange).await;
        let took = begun.elapsed();
        let outcome = match exchanged {
            Err(_) | Ok(Err(TransportError::Timeout)) => Err(Failure {
                cause: ApiErrorCause::Timeout {
                    waited: took,
                    by_lock,
                },
                request_id: None,
            }),
            Ok(Err(error)) => Err(Failure {
                cause: ApiErrorCause::Transport(error),
                request_id: None,
            }),
            Ok(Ok(response)) => {
                if let Ok(uri) = &call.uri {
                    call.cookies.keep(uri, response.headers());
                }
                if response.status().is_success() {
                    // Before it is counted: a 2xx that cannot be used is no success.
                    read(response.body()).map_err(|cause| Failure {
                        cause,
                        request_id: request_id(response.headers()),
                    })
                } else {
                    Err(refusal(call, &response))
                }
            }
        };
        let result = match &outcome {
            Ok(_) => CallResult::Ok,
            Err(failure) => failure.cause.result(),
        };
        self.metrics.api_request(call.operation, result, took);
        outcome
    }

    /// The request of one attempt.
    fn request(call: &Call<'_>) -> Result<Request<Bytes>, ApiErrorCause> {
        let unbuilt = |why| ApiErrorCause::NotSent(format!("cannot build the request: {why}"));
        let uri = call.uri.as_ref().map_err(unbuilt)?;
        let mut request = Request::new(call.body.clone());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&call.peer.headers);
        if !call.body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let cookies = call.cookies.header(uri);
        headers.extend(cookies.map(|cookies| (header::COOKIE, cookies)));
        Ok(request)
    }
}

impl AppClient {
    /// The calls about `app`.
    #[must_use]
    pub fn new(api: Arc<Api>, app: impl Into<Arc<str>>) -> Self {
        let in_flight = Semaphore::new(api.options.concurrency.max(1));
        Self {
            api,
            app: app.into(),
            in_flight,
            cookies: Cookies::default(),
            machine_pace: CreatePace::new(),
            next_to_create: Mutex::new(()),
            volume_pace: CreatePace::new(),
        }
    }

    /// The app's name.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Whether writes are kept from leaving the process.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.api.is_dry_run()
    }

    /// What the app says of itself.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn about(&self, deadline: Instant) -> Result<AppAbout, ApiError> {
        let mut call = self.call(Operation::GetApp, Method::GET, &[]);
        call.answer_limit = ABOUT_LIMIT;
        let read = |body: &[u8]| parse::<Object<WireAbout>>(body);
        Ok(self.api.make(&call, deadline, read).await?.0.read())
    }

    /// Every machine of the app, configurations included.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn list_machines(&self, deadline: Instant) -> Result<Vec<Machine>, ApiError> {
        let mut call = self.call(Operation::ListMachines, Method::GET, &["machines"]);
        call.answer_limit = LIST_LIMIT;
        let read = |body: &[u8]| wire::parse_machines(body).map_err(ApiErrorCause::Decode);
        self.api.make(&call, deadline, read).await
    }

    /// One machine of the app, and what a clone of it needs; `None`: there is none with this id.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn get_machine(
        &self,
        machine: &str,
        deadline: Instant,
    ) -> Result<Option<Machine>, ApiError> {
        let mut call = self.call(Operation::GetMachine, Method::GET, &["machines", machine]);
        call.subject = self.machine(machine);
        let read = |body: &[u8]| wire::parse_machine(body, machine).map_err(ApiErrorCause::Decode);
        match self.api.make(&call, deadline, read).await {
            Err(error) if error.verdict() == Verdict::Gone => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// The app's current release; `None` for one that was never released. It is given up at `until`, so that a question
    /// without an answer leaves time to grow in.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn current_release(
        &self,
        until: Instant,
        deadline: Instant,
    ) -> Result<Option<Release>, ApiError> {
        let mut call = self.call(Operation::CurrentRelease, Method::POST, &[]);
        call.peer = &self.api.graphql;
        call.uri = self.api.graphql.address.uri(&[], &[]);
        call.body = graphql::question(&self.app).into();
        (call.begin_before, call.give_up) = (Some(until), Some(until));
        self.api.make(&call, deadline, graphql::answer).await
    }

    /// Waits for the next turn to create a machine and takes it, if there is one within the `window`; after all who have come
    /// before.
    ///
    /// Cancel safe: a turn is taken at the very end.
    pub async fn wait_turn(&self, window: CreateWindow<'_>) -> Option<Turn<'_>> {
        let line = self.next_to_create.lock();
        let _next = timeout_at(window.begin_before, line).await.ok()?;
        let is_open = || window.is_open();
        self.machine_pace
            .wait_turn(&self.in_flight, window.begin_before, is_open)
            .await
            .map(Turn)
    }

    /// Creates one machine and returns its id, which has to be one that `is_new`. Repeated only where it surely did not happen, each time with a turn of the
    /// pace as [`AppClient::wait_turn`] gives it for the first attempt, and begun only within the `window`: who has no turn
    /// because that is closed is told so.
    ///
    /// # Errors
    ///
    /// See [`ApiError`]; [`ApiError::had_no_effect`] tells whether the machine may exist all the same.
    pub async fn create_machine(
        &self,
        new: NewClone<'_>,
        turn: Option<Turn<'_>>,
        window: CreateWindow<'_>,
        is_new: impl Fn(&str) -> bool,
    ) -> Result<String, ApiError> {
        let mut call = self.call(Operation::CreateMachine, Method::POST, &["machines"]);
        call.subject = self.region(new.region);
        call.repetition = Repetition::OnlyIfNothingHappened;
        call.pace = Some(&self.machine_pace);
        call.begin_before = Some(window.begin_before);
        call.halted = Some(window.halted);
        call.outdated = Some(window.outdated);
        call.term = window.term;
        call.body = match new.body() {
            Ok(body) => body.into(),
            Err(message) => return Err(call.refused(message)),
        };
        let read = |body: &[u8]| made("machine", body, &is_new);
        let place = turn.map(|turn| turn.0);
        self.api.make_in(place, &call, window.deadline, read).await
    }

    /// Starts or resumes one machine.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn start_machine(
        &self,
        machine: &str,
        window: WriteWindow<'_>,
    ) -> Result<(), ApiError> {
        self.write(
            Operation::StartMachine,
            machine,
            (Method::POST, &["start"]),
            window,
        )
        .await
    }

    /// Asks one machine to stop, with its own signal and timeout; it is still running when this returns.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn stop_machine(
        &self,
        machine: &str,
        window: WriteWindow<'_>,
    ) -> Result<(), ApiError> {
        self.write(
            Operation::StopMachine,
            machine,
            (Method::POST, &["stop"]),
            window,
        )
        .await
    }

    /// Suspends one machine.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn suspend_machine(
        &self,
        machine: &str,
        window: WriteWindow<'_>,
    ) -> Result<(), ApiError> {
        self.write(
            Operation::SuspendMachine,
            machine,
            (Method::POST, &["suspend"]),
            window,
        )
        .await
    }

    /// Destroys one machine that does not run: without force, so that the API refuses when it has been woken.
    ///
    /// # Errors
    ///
    /// See [`ApiError`]; a machine that is gone already is no error.
    pub async fn destroy_machine(
        &self,
        machine: &str,
        window: WriteWindow<'_>,
    ) -> Result<(), ApiError> {
        match self
            .write(
                Operation::DestroyMachine,
                machine,
                (Method::DELETE, &[]),
                window,
            )
            .await
        {
            Err(error) if error.verdict() == Verdict::Gone => Ok(()),
            outcome => outcome,
        }
    }

    /// Waits until one machine has stopped or is gone; returns whether it did by `until`.
    ///
    /// # Errors
    ///
    /// See [`ApiError`]; running out of time is no error.
    pub async fn wait_until_stopped(
        &self,
        machine: &str,
        instance_id: &str,
        until: Instant,
    ) -> Result<bool, ApiError> {
        let path = ["machines", machine, "wait"];
        let mut call = self.call(Operation::WaitMachine, Method::GET, &path);
        call.subject = self.machine(machine);
        let mut attempts_left = ATTEMPTS;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left < WAIT_PAUSE || self.api.shutdown.is_set() {
                return Ok(false);
            }
            let seconds = left.as_secs().to_string();
            let query = [
                ("state", "stopped"),
                ("timeout", &*seconds),
                ("instance_id", instance_id),
            ];
            let query = match instance_id {
                "" => &query[..2],
                _ => &query,
            };
            call.uri = self.uri(&path, query);
            let attempt = self.api.attempt(None, &call, until + WAIT_ANSWER, &unread);
            let Err(Failure { cause, request_id }) = attempt.await else {
                return Ok(true);
            };
            match cause {
                _ if cause.verdict() == Verdict::Gone => return Ok(true),
                ApiErrorCause::NotBegun | ApiErrorCause::ShuttingDown => return Ok(false),
                // 408 is the API's way to say: not yet.
                ApiErrorCause::Status { status: 408, .. } => {}
                cause => {
                    attempts_left -= 1;
                    if attempts_left == 0 || !call.repetition.follows(&cause) {
                        return Err(call.failed(Failure { cause, request_id }));
                    }
                }
            }
            // An API that answers 408 at once must not be asked in a hot loop.
            let left = until.saturating_duration_since(Instant::now());
            pause(self.api.shutdown.clone(), left.min(WAIT_PAUSE)).await;
        }
    }

    /// Finds or makes one volume for each mount of the clone, in `region`, none that `pass` has given away. None is made once
    /// the `window` is closed: volumes cost money and are never removed.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn volumes_for(
        &self,
        template: &CloneTemplate,
        region: &str,
        pass: &PassVolumes,
        window: CreateWindow<'_>,
    ) -> Result<Chosen, ApiError> {
        let mounts = template.mounts();
        let mut chosen = Chosen::default();
        if mounts.is_empty() {
            return Ok(chosen);
        }
        let mut list = self.call(Operation::ListVolumes, Method::GET, &["volumes"]);
        list.answer_limit = LIST_LIMIT;
        let existing = pass
            .listed
            .get_or_try_init(async || {
                self.api
                    .make(&list, window.begin_before, volumes::parse)
                    .await
            })
            .await?;
        for mount in &mounts {
            let Some(name) = volumes::name_of(existing, mount) else {
                return Err(list.refused(
                    "a mount of the source refers to a volume that the app does not have"
                        .to_owned(),
                ));
            };
            let found = {
                let mut taken = pass.taken.lock().unwrap_or_else(PoisonError::into_inner);
                let found = volumes::unattached(existing, name, region, &taken)
                    .map(|volume| volume.id.clone());
                taken.extend(found.clone());
                found
            };
            let id = if let Some(id) = found {
                chosen.reused.push(id.clone());
                id
            } else {
                let source = volumes::of_mount(existing, mount);
                let new = NewVolume::like(source, name, region, template.guest(), template.image());
                let is_new = |id: &str| {
                    let listed = existing.iter().any(|volume| volume.id == id);
                    let mut taken = pass.taken.lock().unwrap_or_else(PoisonError::into_inner);
                    !listed && taken.insert(id.to_owned())
                };
                self.create_volume(&new, window, is_new).await?
            };
            chosen.ids.push(id);
        }
        Ok(chosen)
    }

    async fn create_volume(
        &self,
        new: &NewVolume<'_>,
        window: CreateWindow<'_>,
        is_new: impl Fn(&str) -> bool,
    ) -> Result<String, ApiError> {
        let mut call = self.call(Operation::CreateVolume, Method::POST, &["volumes"]);
        call.subject = self.region(new.region());
        call.halted = Some(window.halted);
        call.outdated = Some(window.outdated);
        call.term = window.term;
        call.repetition = Repetition::OnlyIfNothingHappened;
        call.pace = Some(&self.volume_pace);
        call.body = match serde_json::to_vec(new) {
            Ok(body) => body.into(),
            Err(error) => return Err(call.refused(error.to_string())),
        };
        let is_open = || window.is_open();
        let turn = self
            .volume_pace
            .wait_turn(&self.in_flight, window.begin_before, is_open);
        let Some(place) = turn.await else {
            return Err(call.bare_error(ApiErrorCause::NotBegun));
        };
        let read = |body: &[u8]| made("volume", body, &is_new);
        let until = window.begin_before;
        self.api.make_in(Some(place), &call, until, read).await
    }

    async fn write(
        &self,
        operation: Operation,
        machine: &str,
        (method, path): (Method, &[&str]),
        window: WriteWindow<'_>,
    ) -> Result<(), ApiError> {
        let path: Vec<&str> = ["machines", machine].iter().chain(path).copied().collect();
        let mut call = self.call(operation, method, &path);
        call.subject = self.machine(machine);
        call.outdated = Some(window.outdated);
        call.term = window.term;
        self.api.make(&call, window.deadline, unread).await
    }

    fn machine<'call>(&'call self, id: &'call str) -> Subject<'call> {
        Subject::Machine { id, app: &self.app }
    }

    fn region<'call>(&'call self, name: &'call str) -> Subject<'call> {
        Subject::Region {
            name,
            app: &self.app,
        }
    }

    /// Where something about the app is asked.
    fn uri(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Uri, String> {
        let path: Vec<&str> = ["apps", &self.app].iter().chain(path).copied().collect();
        self.api.machines.address.uri(&path, query)
    }

    fn call(&self, operation: Operation, method: Method, path: &[&str]) -> Call<'_> {
        Call {
            method,
            cookies: &self.cookies,
            // What is asked for all fleets at once waits for none of them.
            in_flight: (!matches!(
                operation,
                Operation::GetApp | Operation::ListMachines | Operation::CurrentRelease
            ))
            .then_some(&self.in_flight),
            ..self
                .api
                .call(operation, Subject::App(&self.app), self.uri(path, &[]))
        }
    }
}

impl Call<'_> {
    fn is_halted(&self) -> bool {
        [self.halted, self.outdated]
            .into_iter()
            .flatten()
            .any(|halted| halted.load(Ordering::Relaxed))
    }

    fn bare_error(&self, cause: ApiErrorCause) -> ApiError {
        self.failed(Failure {
            cause,
            request_id: None,
        })
    }

    fn failed(&self, failure: Failure) -> ApiError {
        ApiError {
            operation: self.operation,
            subject: self.subject.to_string(),
            request_id: failure.request_id,
            after_unknown: false,
            cause: failure.cause,
        }
    }

    /// Refused by this program before anything was sent.
    fn refused(&self, message: String) -> ApiError {
        self.bare_error(ApiErrorCause::NotSent(message))
    }
}

/// Pauses between attempts; a shutdown ends the pause, and the next attempt is then not begun.
async fn pause(shutdown: Shutdown, length: Duration) {
    tokio::select! {
        biased;
        // Cancel safe, both: a flag and a timer.
        () = shutdown.wait() => {}
        () = tokio::time::sleep(length) => {}
    }
}

fn parse<'body, T: Deserialize<'body>>(body: &'body [u8]) -> Result<T, ApiErrorCause> {
    serde_json::from_slice(body)
        .map_err(|error| ApiErrorCause::Decode(wire::describe(body, &error)))
}

/// The id of the `thing` that a create has made; one that is not new cannot be it, and nobody knows what the create did.
fn made(thing: &str, body: &[u8], is_new: impl Fn(&str) -> bool) -> Result<String, ApiErrorCause> {
    #[derive(Deserialize)]
    struct Created {
        #[serde(deserialize_with = "wire::identifier")]
        id: String,
    }
    let Object(Created { id }) = parse(body)?;
    if is_new(&id) {
        Ok(id)
    } else {
        Err(ApiErrorCause::Decode(format!(
            "it names {thing} {id}, which existed before: it is unknown whether one was created"
        )))
    }
}

/// Where the status says everything.
#[expect(clippy::unnecessary_wraps, reason = "it stands for what may fail")]
fn unread(_: &[u8]) -> Result<(), ApiErrorCause> {
    Ok(())
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    headers
        .get("fly-request-id")
        .and_then(|value| value.to_str().ok())
        .map(cleaned)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a date in Retry-After is one of the wall clock"
)]
fn refusal(call: &Call<'_>, response: &Response<Bytes>) -> Failure {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), Timestamp::now());
    let uri = call.uri.as_ref().ok();
    let uri = uri.filter(|_| response.status().is_redirection());
    let from = uri.and_then(|uri| Url::parse(&uri.to_string()).ok());
    let to = from.and_then(|from| redirect(&from, response.status(), response.headers()));
    let message = match to {
        Some(Redirect::Follow(to) | Redirect::Elsewhere(to)) => redirected(call.operation, to),
        None => message(response.body()),
    };
    Failure {
        cause: ApiErrorCause::of_status(status, message, retry_after),
        request_id: request_id(response.headers()),
    }
}

/// Where a redirect points to. None is followed: a write is never repeated elsewhere, and a list of another place is none.
fn redirected(operation: Operation, mut to: Url) -> String {
    to.set_query(None);
    let setting = match operation.api() {
        "graphql" => "FLY_API_BASE_URL",
        _ => "FLY_FLAPS_BASE_URL",
    };
    cleaned(&format!(
        "a redirect to {to}, which is not followed: set {setting} to the address that it should lead to"
    ))
}

/// What an error body says: its `message`, else its `error`, with its `status` in front; else the text itself.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        message: Option<String>,
        error: Option<String>,
        status: Option<String>,
    }
    match serde_json::from_slice::<Object<Refusal>>(body) {
        Ok(Object(refusal)) => {
            let text = refusal
                .message
                .filter(|text| !text.is_empty())
                .or(refusal.error)
                .unwrap_or_default();
            match refusal
                .status
                .filter(|status| !status.is_empty() && status != "error")
            {
                Some(status) => cleaned(&format!("{status}: {text}")),
                None => cleaned(&text),
            }
        }
        Err(_) if body.trim_ascii_start().starts_with(b"<") => "an HTML page".to_owned(),
        Err(_) => cleaned(&String::from_utf8_lossy(
            body.get(..4 * MESSAGE_LIMIT).unwrap_or(body),
        )),
    }
}

/// Text from outside, fit for one line of a log.
pub(super) fn cleaned(text: &str) -> String {
    excerpt(text, MESSAGE_LIMIT)
}

/// `Retry-After` in either of its forms: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, atomic::AtomicUsize};

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::lock::contest::VALIDITY;
    use crate::scaling::MachineConfig;
    use crate::shutdown::shutdown;

    /// Answers every request with an empty object, and keeps what it was asked with.
    #[derive(Default)]
    struct Counting(AtomicUsize, Mutex<Vec<String>>);

    impl Transport for Counting {
        fn exchange(
            &self,
            request: Request<Bytes>,
            _: usize,
        ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let authorization = request.headers()[header::AUTHORIZATION].to_str();
            let mut asked = self.1.lock().expect("nobody panics with it");
            asked.push(authorization.expect("text").to_owned());
            drop(asked);
            Box::pin(async { Ok(Response::new(Bytes::from_static(b"{}"))) })
        }
    }

    fn dry_client(token: &str) -> (AppClient, Arc<Counting>) {
        let transport = Arc::new(Counting::default());
        let client = client_over(&transport, token, true, Gate::open());
        (client, transport)
    }

    fn client_over<T: Transport>(
        transport: &Arc<T>,
        token: &str,
        dry_run: bool,
        gate: Gate,
    ) -> AppClient {
        let url = Url::parse("http://m.test").expect("a literal address");
        let options = ApiOptions {
            machines_url: url.clone(),
            graphql_url: url,
            token: token.into(),
            dry_run,
            gate,
            concurrency: 8,
            jitter_seed: 1,
        };
        let shared = Arc::clone(transport) as Arc<dyn Transport>;
        let api = Api::new(shared, options, Metrics::new(), shutdown().1).expect("a good token");
        AppClient::new(Arc::new(api), "app")
    }

    fn new_clone(template: &CloneTemplate) -> NewClone<'_> {
        NewClone {
            template,
            region: "ord",
            volumes: &[],
            skip_launch: false,
        }
    }

    #[tokio::test]
    async fn each_api_gets_the_token_in_its_own_form() {
        let (client, transport) = dry_client("fo1_c,fm2_a,fm2_b");
        let deadline = Instant::now() + Duration::from_secs(1);
        let _ = client.get_machine("m", deadline).await;
        let _ = client.current_release(deadline, deadline).await;
        let asked = transport.1.lock().expect("nobody panics with it").clone();
        assert_eq!(asked, ["FlyV1 fm2_a,fm2_b", "FlyV1 fm2_a,fm2_b,fo1_c"]);
    }

    /// Answers every request with 429, and halts creates from then on.
    struct Limiting<'test>(&'test AtomicBool);

    impl Transport for Limiting<'static> {
        fn exchange(
            &self,
            _: Request<Bytes>,
            _: usize,
        ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            self.0.store(true, Ordering::Relaxed);
            Box::pin(async {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
                Ok(response)
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_that_may_not_be_repeated_ends_as_its_last_attempt_did() {
        static HALTED: AtomicBool = AtomicBool::new(false);
        let transport = Arc::new(Limiting(&HALTED));
        let client = client_over(&transport, "FlyV1 fm2_sesame", false, Gate::open());
        let deadline = Instant::now() + Duration::from_secs(60);
        let window = CreateWindow {
            begin_before: deadline,
            halted: &HALTED,
            outdated: &AtomicBool::new(false),
            deadline,
            term: None,
        };
        let config = MachineConfig::new(r#"{"image":"i"}"#, None);
        let template = CloneTemplate::new(&config).expect("a config with an image");
        let create = client.create_machine(new_clone(&template), None, window, |_| true);
        let error = create.await.expect_err("it is refused");
        assert_eq!(error.verdict(), Verdict::RateLimited, "{error}");
    }

    /// Every write there is, in a pass that began in `term`, and what each came to.
    async fn all_writes(client: &AppClient, term: Option<Term>) -> Vec<Result<(), ApiError>> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let window = CreateWindow {
            begin_before: deadline,
            halted: &AtomicBool::new(false),
            outdated: &AtomicBool::new(false),
            deadline,
            term,
        };
        let writes = WriteWindow {
            deadline,
            outdated: &AtomicBool::new(false),
            term,
        };
        let config = MachineConfig::new(r#"{"image":"i"}"#, None);
        let template = CloneTemplate::new(&config).expect("a config with an image");
        let create = client.create_machine(new_clone(&template), None, window, |_| true);
        let volume = NewVolume::like(None, "data", "ord", None, None);
        let volume = client.create_volume(&volume, window, |_| true);
        vec![
            create.await.map(|_| ()),
            volume.await.map(|_| ()),
            client.start_machine("m", writes).await,
            client.stop_machine("m", writes).await,
            client.suspend_machine("m", writes).await,
            client.destroy_machine("m", writes).await,
        ]
    }

    #[tokio::test]
    async fn no_write_of_a_dry_run_leaves_the_process_whoever_asks_for_it() {
        let (client, transport) = dry_client("FlyV1 fm2_sesame");
        let deadline = Instant::now() + Duration::from_secs(60);
        for outcome in all_writes(&client, None).await {
            let error = outcome.expect_err("a dry run");
            assert!(matches!(error.cause, ApiErrorCause::DryRun), "{error}");
        }
        assert_eq!(transport.0.load(Ordering::Relaxed), 0);
        assert!(client.get_machine("m", deadline).await.is_err());
        assert_eq!(transport.0.load(Ordering::Relaxed), 1, "questions do");
    }

    #[tokio::test(start_paused = true)]
    async fn no_write_goes_round_a_gate_and_none_passes_it_while_it_is_shut() {
        let gate = Gate::held_from_now();
        let term = gate.term("web");
        assert!(term.is_some());
        let transport = Arc::new(Counting::default());
        let client = client_over(&transport, "FlyV1 fm2_sesame", false, gate);
        let sent = || transport.0.load(Ordering::Relaxed);
        let kept_back = |outcomes: Vec<Result<(), ApiError>>| {
            for outcome in outcomes {
                let error = outcome.expect_err("it is shut");
                assert!(
                    matches!(error.cause, ApiErrorCause::NotHolding),
                    "{error:?}"
                );
                assert!(error.was_not_begun() && error.had_no_effect());
            }
        };
        kept_back(all_writes(&client, None).await);
        assert_eq!(sent(), 0);
        let outcomes = all_writes(&client, term).await;
        assert_eq!(sent(), outcomes.len());
        tokio::time::advance(VALIDITY).await;
        kept_back(all_writes(&client, term).await);
        assert_eq!(sent(), outcomes.len());
        let deadline = Instant::now() + Duration::from_secs(60);
        assert!(client.get_machine("m", deadline).await.is_err());
        assert_eq!(sent(), outcomes.len() + 1, "questions do");
    }

    /// Answers no request, and shuts the gate meanwhile by taking more time than a renewal lasts.
    struct Slow(AtomicUsize);

    impl Transport for Slow {
        fn exchange(
            &self,
            _: Request<Bytes>,
            _: usize,
        ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async {
                tokio::time::sleep(VALIDITY).await;
                Err(TransportError::Interrupted("away".into()))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_repetition_passes_the_gate_and_what_was_begun_before_is_what_is_told() {
        let gate = Gate::held_from_now();
        let term = gate.term("web");
        let transport = Arc::new(Slow(AtomicUsize::new(0)));
        let client = client_over(&transport, "FlyV1 fm2_sesame", false, gate);
        let window = WriteWindow {
            deadline: Instant::now() + Duration::from_secs(60),
            outdated: &AtomicBool::new(false),
            term,
        };
        let error = client.stop_machine("m", window).await;
        let error = error.expect_err("nobody answers");
        assert_eq!(transport.0.load(Ordering::Relaxed), 1);
        assert_eq!(error.verdict(), Verdict::Unavailable, "{error}");
    }

    #[test]
    fn a_redirect_says_where_to_and_which_setting_leads_there() {
        let to = |text| Url::parse(text).expect("a literal address");
        assert_eq!(
            redirected(
                Operation::DestroyMachine,
                to("https://m.test/v1?token=sesame")
            ),
            "a redirect to https://m.test/v1, which is not followed: set FLY_FLAPS_BASE_URL to the address that it should lead to"
        );
        assert!(
            redirected(Operation::CurrentRelease, to("https://g.test/"))
                .contains("FLY_API_BASE_URL")
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a literal timestamp");
        let cases = [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Thu, 01 Jan 2026 00:00:30 GMT", Some(30)),
            ("Wed, 31 Dec 2025 23:59:00 GMT", Some(0)),
            ("soon", None),
            ("-3", None),
            ("99999999999", None),
        ];
        for (text, seconds) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("a literal header"));
            assert_eq!(
                retry_after(&headers, now),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
    }

    #[test]
    fn an_error_body_becomes_one_bounded_line() {
        let cases = [
            (
                r#"{"error":"no room","status":"insufficient_capacity"}"#,
                "insufficient_capacity: no room",
            ),
            (r#"{"status":"error","message":"lease held"}"#, "lease held"),
            (r#"{"error":"two\nlines"}"#, "two lines"),
            ("plain", "plain"),
            ("<html><body>502</body></html>", "an HTML page"),
            ("", ""),
        ];
        for (body, expected) in cases {
            assert_eq!(message(body.as_bytes()), expected);
        }
        assert_eq!(
            message(&vec![b'x'; 1 << 20]).chars().count(),
            MESSAGE_LIMIT + 1
        );
    }
}
