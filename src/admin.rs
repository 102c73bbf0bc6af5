//! The HTTP server on port 9090. Everything on it only reads, and nothing on it shows a token.
//!
//! - `GET /`, `GET /app/NAME`: the status page.
//! - `GET /metrics`: all series in the Prometheus text format.
//! - `GET /api/status`: the record of all fleets as JSON, with `?app=NAME` that of one app in detail.
//! - `GET /healthz`: 200 while the loop runs.
//! - `GET /readyz`: 200 while passes succeed, else 503 with the reason.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderValue, StatusCode, Uri, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use url::form_urlencoded;

use crate::{
    clock::Clock,
    health::Health,
    metrics::Metrics,
    page::{self, ListQuery},
    peers::Peers,
    shown,
    status::{Fleet, Selection, Status, ThisCopy},
};

/// The longest reason that is shown, in characters.
const REASON_LIMIT: usize = 3000;

/// What the endpoints read.
#[derive(Debug, Clone)]
pub struct Admin {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/healthz` and `/readyz`.
    pub health: Health,
    /// What is shown of each fleet.
    pub status: Status,
    /// What is known of other copies without a lock.
    pub peers: Peers,
}

impl Admin {
    /// Nothing has happened yet. `interval` and `timeout` say how old a success may be.
    #[must_use]
    pub fn new(clock: Clock, interval: Duration, timeout: Duration) -> Self {
        Self::showing(Status::new(clock), interval, timeout)
    }

    /// As [`Admin::new`], with a record of one's own.
    #[must_use]
    pub fn showing(status: Status, interval: Duration, timeout: Duration) -> Self {
        Self {
            metrics: Metrics::new(),
            health: Health::new(interval, timeout),
            status,
            peers: Peers::default(),
        }
    }

    /// The page at `/`: of the only fleet, or the list of all.
    #[must_use]
    pub fn front_page(&self, query: &ListQuery) -> String {
        let daemon = self.page_daemon();
        let mut only = None;
        if !daemon.has_list {
            let of = |fleet: &Fleet| Selection {
                app: fleet.name.app.to_string(),
                ..Selection::default()
            };
            self.status.each(|fleet| only = Some(of(fleet)));
        }
        only.and_then(|app| page::fleets_of_app(&self.status, &app, &daemon))
            .unwrap_or_else(|| page::list(&self.status, query, &daemon))
    }

    /// The page of one app, or of those of its fleets that are meant.
    ///
    /// # Errors
    ///
    /// Where no such app is scaled, with a page that says so.
    pub fn app_page(&self, selection: &Selection) -> Result<String, String> {
        let daemon = self.page_daemon();
        page::fleets_of_app(&self.status, selection, &daemon)
            .ok_or_else(|| self.unknown_app(&selection.app, &daemon))
    }

    /// That an app is not scaled. Its name is not repeated: what is hidden in it would confirm a guess at a secret.
    fn unknown_app(&self, app: &str, daemon: &page::Daemon) -> String {
        let length = odd_length(app);
        let text = match self.health.whereabouts(app) {
            Some(place) => format!(
                "This copy does not scale an app of that name{length}: it belongs to {place}."
            ),
            None => format!("This autoscaler does not scale an app of that name{length}."),
        };
        page::not_found(&text, daemon)
    }

    fn page_daemon(&self) -> page::Daemon {
        page::Daemon {
            now: self.status.clock().now().wall,
            started_at: self.status.started_at(),
            copy: self.this_copy(),
            dry_run: self.status.is_dry_run(),
            has_list: self.status.len() != 1,
            demo: self.status.demo(),
        }
    }

    fn this_copy(&self) -> ThisCopy {
        ThisCopy {
            readiness: self.health.readiness(Instant::now()),
            role: self.health.role(),
            others: self.peers.others(),
        }
    }

    /// The record as JSON: all fleets, or those of `selection`; `None` where there is none of that name.
    #[must_use]
    pub fn status_json(&self, selection: Option<&Selection>) -> Option<Vec<u8>> {
        self.status.json(&self.this_copy(), selection)
    }

    /// All series in the Prometheus text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        self.metrics.write(&mut text);
        // Of several copies the one that writes shows them: their sum is then that of one.
        if !self.health.stands_by() {
            self.status.write_series(&mut text);
        }
        text
    }
}

/// The routes.
pub fn router(admin: Admin) -> Router {
    let port = Arc::new(Port::new(admin));
    Router::new()
        .route("/", get(front))
        .route("/app/{app}", get(app))
        .route(page::STYLE_PATH, get(style))
        .route(page::SCRIPT_PATH, get(script))
        .route("/metrics", get(metrics))
        .route("/api/status", get(api_status))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(nowhere)
        .layer(map_response(harden))
        .with_state(port)
}

/// What the endpoints share.
struct Port {
    admin: Admin,
    /// One text is written at a time, on a thread of its own, so that passes go on meanwhile however many ask.
    rendering: Arc<Semaphore>,
    /// The text of `/metrics`.
    metrics: SharedText,
    /// `/api/status` without a selection.
    fleets: SharedText,
}

impl Port {
    fn new(admin: Admin) -> Self {
        Self {
            admin,
            rendering: Arc::new(Semaphore::new(1)),
            metrics: SharedText::default(),
            fleets: SharedText::default(),
        }
    }

    /// Writes a text where no pass waits for it.
    async fn render<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnOnce(&Admin) -> T + Send + 'static,
    ) -> Option<T> {
        let port = Arc::clone(self);
        // It is never closed; a panic of the writer is its own answer.
        let turn = Arc::clone(&self.rendering).acquire_owned().await.ok()?;
        let written = tokio::task::spawn_blocking(move || {
            // Not given back when the client goes away, for the writer does not.
            let _turn = turn;
            write(&port.admin)
        });
        written.await.ok()
    }

    /// A text that those who ask at the same time share.
    async fn shared(
        self: &Arc<Self>,
        text: fn(&Self) -> &SharedText,
        write: fn(&Admin) -> Vec<u8>,
    ) -> Result<Bytes, NoText> {
        if let Some(text) = text(self).kept(Instant::now())? {
            return Ok(text);
        }
        let port = Arc::clone(self);
        let written = self.render(move |admin| {
            // Whoever waited for a turn may find what the one before has written.
            let now = Instant::now();
            let kept = text(&port).kept(now)?;
            Ok(kept.unwrap_or_else(|| text(&port).keep(now, write(admin).into())))
        });
        let written = written.await;
        let port = Arc::clone(self);
        // It is a few MB where apps are many, which nobody may ask for again for long.
        tokio::spawn(async move {
            sleep(FRESH).await;
            text(&port).forget_old(Instant::now());
        });
        written.unwrap_or(Err(NoText::Panicked))
    }
}

/// How old a text may be that is given out again: writing it takes time, a tenth of a second for thousands of apps, that
/// clients who ask in a row would take from passes.
const FRESH: Duration = Duration::from_secs(1);

/// How many texts clients may be at the reading of: each is a few MB where apps are many. While that many are being read
/// slowly there is no other one: an old one would pass for what is now.
const TEXTS: usize = 4;

/// Why there is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoText {
    /// As many as there may be are being read.
    Busy,
    /// The writer panicked.
    Panicked,
}

impl IntoResponse for NoText {
    fn into_response(self) -> Response {
        match self {
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(header::RETRY_AFTER, "5")],
                "others are still reading what was written before: ask again in a moment\n",
            )
                .into_response(),
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < FRESH
}

/// A text that those who ask at the same time share: those that somebody still reads or that are fresh, the newest last.
#[derive(Default)]
struct SharedText(Mutex<Vec<(Instant, Bytes)>>);

impl SharedText {
    /// The newest text, if it is fresh.
    ///
    /// # Errors
    ///
    /// Where it is not, and there are as many already as there may be.
    fn kept(&self, now: Instant) -> Result<Option<Bytes>, NoText> {
        self.forget_old(now);
        let texts = self.texts();
        match texts.last() {
            Some((at, text)) if is_fresh(*at, now) => Ok(Some(text.clone())),
            _ if texts.len() >= TEXTS => Err(NoText::Busy),
            _ => Ok(None),
        }
    }

    /// Keeps no text that is not fresh and that nobody reads.
    fn forget_old(&self, now: Instant) {
        self.texts()
            .retain(|(at, text)| is_fresh(*at, now) || !text.is_unique());
    }

    /// Keeps a text that was written now.
    fn keep(&self, now: Instant, text: Bytes) -> Bytes {
        self.texts().push((now, text.clone()));
        text
    }

    fn texts(&self) -> MutexGuard<'_, Vec<(Instant, Bytes)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Headers that every answer has: nobody keeps it, nobody guesses its type, nothing of it acts elsewhere.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    response
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// The page of the only fleet, or the list of all.
async fn front(State(port): State<Arc<Port>>, uri: Uri) -> Response {
    let query = ListQuery::parse(uri.query().unwrap_or_default());
    let write = move |admin: &Admin| admin.front_page(&query);
    html(StatusCode::OK, port.render(write).await)
}

/// The longest name whose length is no news, in letters.
const NAME_LENGTH: usize = 100;

/// How long a name is, where that may be why there is no such app.
fn odd_length(app: &str) -> String {
    match app.chars().count() {
        ..=NAME_LENGTH => String::new(),
        letters => format!(": it has {letters} letters"),
    }
}

/// The page of one app; with a query only of those of its fleets that are meant.
async fn app(
    State(port): State<Arc<Port>>,
    app: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Response {
    let query = uri.query().unwrap_or_default();
    let selection = Selection {
        // A name that is no text is that of no app.
        app: app.map_or_else(|_| char::REPLACEMENT_CHARACTER.to_string(), |Path(app)| app),
        group: value_in(query, "group"),
        region: value_in(query, "region"),
    };
    let write = move |admin: &Admin| admin.app_page(&selection);
    match port.render(write).await {
        Some(Ok(page)) => html(StatusCode::OK, Some(page)),
        Some(Err(page)) => html(StatusCode::NOT_FOUND, Some(page)),
        None => html(StatusCode::OK, None),
    }
}

/// What there is not.
async fn nowhere(State(port): State<Arc<Port>>) -> Response {
    let write =
        |admin: &Admin| page::not_found("There is no such page here.", &admin.page_daemon());
    html(StatusCode::NOT_FOUND, port.render(write).await)
}

async fn style() -> Response {
    answer("text/css; charset=utf-8", Some(page::style().into()))
}

async fn script() -> Response {
    answer("text/javascript; charset=utf-8", Some(page::SCRIPT.into()))
}

fn html(status: StatusCode, page: Option<String>) -> Response {
    let Some(page) = page else {
        return answer("", None);
    };
    let policy = [(
        header::CONTENT_SECURITY_POLICY,
        page::CONTENT_SECURITY_POLICY,
    )];
    let page = answer("text/html; charset=utf-8", Some(page.into()));
    (status, policy, page).into_response()
}

async fn metrics(State(port): State<Arc<Port>>) -> Response {
    let write = |admin: &Admin| admin.metrics_text().into_bytes();
    shared_answer(TEXT, port.shared(|port| &port.metrics, write).await)
}

async fn api_status(State(port): State<Arc<Port>>, uri: Uri) -> Response {
    let Some(selection) = selection(uri.query().unwrap_or_default()) else {
        let write = |admin: &Admin| admin.status_json(None).unwrap_or_default();
        return shared_answer(JSON, port.shared(|port| &port.fleets, write).await);
    };
    let length = odd_length(&selection.app);
    let json = port.render(move |admin| admin.status_json(Some(&selection)));
    if let Some(json) = json.await.flatten() {
        return answer(JSON, Some(json.into()));
    }
    // What was asked for is not repeated: what is hidden in it would confirm a guess at a secret.
    let error = serde_json::json!({
        "error": format!(
            "this autoscaler does not scale an app of that name, or not that group or region of it{length}"
        ),
    });
    let body = answer(JSON, Some(error.to_string().into()));
    (StatusCode::NOT_FOUND, body).into_response()
}

/// Which fleets a query asks for; `None`: all.
fn selection(query: &str) -> Option<Selection> {
    Some(Selection {
        app: value_in(query, "app")?,
        group: value_in(query, "group"),
        region: value_in(query, "region"),
    })
}

/// What a query says of this name.
fn value_in(query: &str, wanted: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.into_owned())
}

fn shared_answer(content_type: &'static str, text: Result<Bytes, NoText>) -> Response {
    text.map_or_else(NoText::into_response, |text| {
        answer(content_type, Some(text))
    })
}

fn answer(content_type: &'static str, body: Option<Bytes>) -> Response {
    match body {
        Some(body) => ([(header::CONTENT_TYPE, content_type)], body).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn healthz(State(port): State<Arc<Port>>) -> impl IntoResponse {
    if port.admin.health.is_alive(Instant::now()) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the reconcile loop has stalled\n",
        )
    }
}

async fn readyz(State(port): State<Arc<Port>>) -> impl IntoResponse {
    let (status, text) = match port.admin.health.readiness(Instant::now()) {
        Ok(()) => (StatusCode::OK, "ready".to_owned()),
        Err(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            shown::line(&why, REASON_LIMIT),
        ),
    };
    let dry_run = if port.admin.status.is_dry_run() {
        " (dry run: nothing is changed)"
    } else {
        ""
    };
    let role = port.admin.health.role().filter(|role| !role.holds());
    let standby = match role {
        None => "",
        Some(role) if role.collision.is_some() => {
            " (standing by behind a copy that scales something else: this copy changes nothing, see the status page)"
        }
        Some(_) => " (standing by: this copy changes nothing)",
    };
    (status, format!("{text}{dry_run}{standby}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_whose_client_goes_away_keeps_its_turn() {
        let admin = Admin::new(Clock::System, Duration::ZERO, Duration::ZERO);
        let port = Arc::new(Port::new(admin));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let client = {
            let port = Arc::clone(&port);
            tokio::spawn(async move {
                let write = move |_: &Admin| {
                    let _ = begun.send(());
                    let _ = may_go_on.recv();
                };
                port.render(write).await
            })
        };
        assert!(has_begun.await.is_ok());
        client.abort();
        let gone = client.await;
        assert!(gone.is_err_and(|error| error.is_cancelled()));
        assert_eq!(port.rendering.available_permits(), 0);
        assert!(go_on.send(()).is_ok());
        assert_eq!(port.render(|_| "written").await, Some("written"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_text_is_not_kept_for_longer_than_it_is_fresh() {
        let admin = Admin::new(Clock::System, Duration::ZERO, Duration::ZERO);
        let port = Arc::new(Port::new(admin));
        let written = port.shared(|port| &port.metrics, |_| vec![b'x'; 100]).await;
        assert_eq!(written.map(|text| text.len()), Ok(100));
        assert_eq!(port.metrics.texts().len(), 1);
        sleep(FRESH + Duration::from_millis(1)).await;
        assert_eq!(port.metrics.texts().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_share_a_text_and_slow_ones_are_at_the_reading_of_few() {
        let shared = SharedText::default();
        let begin = Instant::now();
        let mut written = 0_u64;
        let mut text = |milliseconds| {
            let now = begin + Duration::from_millis(milliseconds);
            let kept = shared.kept(now)?;
            Ok(kept.unwrap_or_else(|| {
                written += 1;
                shared.keep(now, written.to_string().into())
            }))
        };
        let first = text(0);
        assert_eq!(text(999), first, "within a second");
        let second = text(1000);
        assert_ne!(second, first);
        let slow = [first, second, text(2000), text(3000)];
        assert_ne!(slow[3], slow[2]);
        for milliseconds in [4000, 10_000, 60_000] {
            assert_eq!(text(milliseconds), Err(NoText::Busy), "an old one is none");
        }
        drop(slow);
        assert_eq!(text(60_001), Ok("5".into()));
        assert_eq!(shared.texts().len(), 1);
    }
}
