//! Faults as data: which requests go wrong, how, and how often still.
//!
//! A fault is matched against each request, counted down when it strikes, and what remains of it can be read back. For
//! generated faults there is a hook besides, asked about every request that no fault claims. What an effect does to an
//! exchange is carried out by the server; nothing here touches the platform.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// What the token is for.
    CurrentTokens,
    /// An app.
    App,
    /// The apps of an organisation.
    ListApps,
    /// The machines of an app.
    List,
    /// One machine.
    Get,
    /// A new machine.
    Create,
    /// A machine's end.
    Destroy,
    /// A machine's start.
    Start,
    /// A machine's stop.
    Stop,
    /// A machine's suspension.
    Suspend,
    /// To be told when a machine is in a state.
    Wait,
    /// The volumes of an app.
    ListVolumes,
    /// A new volume.
    CreateVolume,
    /// A GraphQL query.
    Graphql,
    /// An instant `PromQL` query.
    Query,
    /// The metrics in Prometheus's text format.
    Metrics,
    /// A node of Consul's catalog.
    RegisterNode,
    /// A new session of Consul.
    OpenSession,
    /// A session's renewal.
    RenewSession,
    /// A session's end.
    DestroySession,
    /// The sessions of a node of Consul.
    ListSessions,
    /// A key of Consul, at once or when it has changed.
    ReadKey,
    /// A key's change, a lock and its release among them.
    WriteKey,
    /// Nothing that the simulator knows.
    Unexpected,
}

impl Operation {
    /// Whether it is meant to change something on the platform.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::Destroy
                | Self::Start
                | Self::Stop
                | Self::Suspend
                | Self::CreateVolume
        )
    }

    /// Whether it belongs to the Machines API.
    #[must_use]
    pub const fn is_machines_api(self) -> bool {
        !self.is_of_consul()
            && !matches!(
                self,
                Self::Graphql | Self::Query | Self::Metrics | Self::Unexpected
            )
    }

    /// Whether Consul is asked.
    #[must_use]
    pub const fn is_of_consul(self) -> bool {
        matches!(
            self,
            Self::RegisterNode
                | Self::OpenSession
                | Self::RenewSession
                | Self::DestroySession
                | Self::ListSessions
                | Self::ReadKey
                | Self::WriteKey
        )
    }
}

/// What a fault can see of a request.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// How many requests came before it.
    pub ordinal: u64,
    /// When it came, since the simulation's start.
    pub at: Duration,
    /// What it asks for.
    pub operation: Operation,
    /// Its method.
    pub method: Method,
    /// Its path, still encoded.
    pub path: String,
    /// Its query string, still encoded.
    pub query: String,
    /// The app it names.
    pub app: Option<Arc<str>>,
    /// The machine it names.
    pub machine: Option<Arc<str>>,
}

/// How an exchange goes wrong.
///
/// The first group never reaches the platform; the second does, and only its answer goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// No connection is made. Over a real socket the connection is closed instead, unanswered.
    Refuse,
    /// The connection breaks before anything was done.
    Break,
    /// Nothing is done and nothing is answered, ever.
    Hang,
    /// This is answered and nothing is done.
    Answer(Canned),
    /// The request takes this long to arrive, and is carried out then even if nobody waits for the answer any more.
    Delay(Duration),

    /// Carried out, but the connection breaks before the answer.
    LoseAnswer,
    /// Carried out, but never answered.
    HangAfter,
    /// Carried out at once, but answered this much later.
    SlowAnswer(Duration),
    /// Carried out, but this is answered.
    AnswerAfter(Canned),
    /// Carried out; the answer is complete HTTP, but only this much of its body is there.
    Truncate(usize),
    /// Carried out; the connection breaks after this much of the body.
    CutBody(usize),
    /// Carried out, and answered with a body of this many bytes: well-formed JSON, an array of one long text.
    Large(usize),
    /// Carried out, and answered with a body that never ends.
    Endless,
    /// Carried out, and answered properly, but with this many bytes of headers besides.
    LargeHeaders(usize),
}

/// An answer made up beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canned {
    /// Its status.
    pub status: u16,
    /// Its headers; names and values that HTTP does not allow are left out.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

impl Canned {
    /// The API's usual error body with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let reason = http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("error");
        Self::json(
            status,
            &serde_json::json!({ "error": reason.to_lowercase() }).to_string(),
        )
    }

    /// A JSON answer; the text is sent as it is.
    #[must_use]
    pub fn json(status: u16, text: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    /// An HTML page, as a gateway answers.
    #[must_use]
    pub fn html(status: u16) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "text/html".to_owned())],
            body: Bytes::from_static(b"<html><body><h1>Bad Gateway</h1></body></html>\n"),
        }
    }

    /// Bytes that are nothing in particular, not even text.
    #[must_use]
    pub fn garbage(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::from_static(b"\x00\xff\xfe{\"]garbage\x80"),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Which requests go wrong, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    effect: Effect,
    operation: Option<Operation>,
    method: Option<Method>,
    app: Option<String>,
    machine: Option<String>,
    skip: u32,
    times: Option<u32>,
}

impl Fault {
    /// A fault that strikes every request, without end.
    #[must_use]
    pub const fn new(effect: Effect) -> Self {
        Self {
            effect,
            operation: None,
            method: None,
            app: None,
            machine: None,
            skip: 0,
            times: None,
        }
    }

    /// A fault that answers with `status` and the API's usual error body, without anything being done.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Effect::Answer(Canned::status(status)))
    }

    /// Only requests of this kind.
    #[must_use]
    pub const fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only requests of this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only requests that name this app.
    #[must_use]
    pub fn app(mut self, app: &str) -> Self {
        self.app = Some(app.to_owned());
        self
    }

    /// Only requests that name this machine.
    #[must_use]
    pub fn machine(mut self, machine: &str) -> Self {
        self.machine = Some(machine.to_owned());
        self
    }

    /// Lets the first `skip` matching requests pass.
    #[must_use]
    pub const fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Strikes this many times, then never again.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Strikes once.
    #[must_use]
    pub const fn once(self) -> Self {
        self.times(1)
    }

    fn matches(&self, request: &RequestInfo) -> bool {
        fn agrees(wanted: Option<&String>, found: Option<&Arc<str>>) -> bool {
            wanted.is_none_or(|wanted| found.is_some_and(|found| **found == **wanted))
        }
        self.operation
            .is_none_or(|operation| operation == request.operation)
            && self
                .method
                .as_ref()
                .is_none_or(|method| *method == request.method)
            && agrees(self.app.as_ref(), request.app.as_ref())
            && agrees(self.machine.as_ref(), request.machine.as_ref())
    }
}

/// Names a fault that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

/// Decides about a request that no fault claims.
pub type FaultHook = Box<dyn FnMut(&RequestInfo) -> Option<Effect> + Send>;

/// The faults of a simulator.
#[derive(Default)]
pub(super) struct Faults {
    active: BTreeMap<FaultId, Fault>,
    next: u64,
    hook: Option<FaultHook>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        self.active.insert(id, fault);
        id
    }

    pub(super) fn remove(&mut self, id: FaultId) {
        self.active.remove(&id);
    }

    pub(super) fn clear(&mut self) {
        self.active.clear();
        self.hook = None;
    }

    pub(super) fn set_hook(&mut self, hook: Option<FaultHook>) {
        self.hook = hook;
    }

    /// What happens to this request: the oldest fault that matches it, else what the hook says.
    pub(super) fn draw(&mut self, request: &RequestInfo) -> Option<Effect> {
        for fault in self.active.values_mut() {
            if fault.times == Some(0) || !fault.matches(request) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times -= 1;
            }
            return Some(fault.effect.clone());
        }
        self.hook.as_mut().and_then(|hook| hook(request))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Faults")
            .field("faults", &self.active)
            .field("hook", &self.hook.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: Operation, app: &str, machine: Option<&str>) -> RequestInfo {
        RequestInfo {
            ordinal: 0,
            at: Duration::ZERO,
            operation,
            method: Method::GET,
            path: String::new(),
            query: String::new(),
            app: Some(app.into()),
            machine: machine.map(Into::into),
        }
    }

    #[test]
    fn a_fault_strikes_what_it_names() {
        let cases = [
            ("everything", Fault::new(Effect::Hang), true),
            (
                "operation",
                Fault::new(Effect::Hang).on(Operation::Start),
                true,
            ),
            (
                "other operation",
                Fault::new(Effect::Hang).on(Operation::Stop),
                false,
            ),
            ("app", Fault::new(Effect::Hang).app("web"), true),
            ("other app", Fault::new(Effect::Hang).app("worker"), false),
            ("machine", Fault::new(Effect::Hang).machine("m1"), true),
            (
                "other machine",
                Fault::new(Effect::Hang).machine("m2"),
                false,
            ),
            ("method", Fault::new(Effect::Hang).method(Method::GET), true),
            (
                "other method",
                Fault::new(Effect::Hang).method(Method::POST),
                false,
            ),
        ];
        for (name, fault, expected) in cases {
            let mut faults = Faults::default();
            faults.add(fault);
            let struck = faults.draw(&request(Operation::Start, "web", Some("m1")));
            assert_eq!(struck.is_some(), expected, "{name}");
        }
    }

    fn remaining(faults: &Faults, id: FaultId) -> Option<u32> {
        faults.active.get(&id).map_or(Some(0), |fault| fault.times)
    }

    #[test]
    fn a_fault_is_counted_down_and_its_rest_can_be_read() {
        let mut faults = Faults::default();
        let id = faults.add(Fault::status(500).on(Operation::List).after(1).times(2));
        let list = request(Operation::List, "web", None);
        let mut struck = Vec::new();
        for _ in 0..4 {
            struck.push((faults.draw(&list).is_some(), remaining(&faults, id)));
        }
        assert_eq!(
            struck,
            [
                (false, Some(2)),
                (true, Some(1)),
                (true, Some(0)),
                (false, Some(0))
            ]
        );
        assert!(faults.draw(&request(Operation::Get, "web", None)).is_none());
        let endless = faults.add(Fault::new(Effect::Hang));
        assert_eq!(remaining(&faults, endless), None);
    }

    #[test]
    fn the_hook_is_asked_where_no_fault_claims_a_request() {
        let mut faults = Faults::default();
        faults.add(Fault::status(500).once());
        faults.set_hook(Some(Box::new(|request| {
            (request.operation == Operation::List).then_some(Effect::Hang)
        })));
        let list = request(Operation::List, "web", None);
        assert_eq!(
            faults.draw(&list),
            Some(Effect::Answer(Canned::status(500)))
        );
        assert_eq!(faults.draw(&list), Some(Effect::Hang));
        assert_eq!(faults.draw(&request(Operation::Get, "web", None)), None);
    }
}
