//! The HTTP server on port 9090. Everything on it only reads, and nothing on it shows a token.
//!
//! - `GET /metrics`: all series in the Prometheus text format.
//! - `GET /healthz`: 200 while the loop runs.
//! - `GET /readyz`: 200 while passes succeed, else 503 with the reason.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use tokio::time::Instant;

use crate::{health::Health, metrics::Metrics, shown};

/// The longest reason that is shown, in characters.
const REASON_LIMIT: usize = 3000;

/// What the endpoints read.
#[derive(Debug, Clone)]
pub struct Admin {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/healthz` and `/readyz`.
    pub health: Health,
}

/// The routes.
pub fn router(admin: Admin) -> Router {
    let page = Arc::new(MetricsPage {
        metrics: admin.metrics.clone(),
        texts: Mutex::default(),
    });
    Router::new()
        .route("/metrics", get(metrics).with_state(page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(admin)
}

async fn metrics(State(page): State<Arc<MetricsPage>>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page.text(Instant::now()),
    )
}

/// How old a text of `/metrics` may be that is given out again: writing it takes time, a tenth of a second for thousands
/// of apps, that clients who ask in a row would take from passes.
const FRESH: Duration = Duration::from_secs(1);

/// How many texts clients may be at the reading of. Slow ones share the last of them: each text is a few MB where apps
/// are many.
const TEXTS: usize = 4;

/// The text of `/metrics`, which those who ask at the same time share.
struct MetricsPage {
    metrics: Metrics,
    /// Those that somebody still reads or that are fresh, the newest last.
    texts: Mutex<Vec<(Instant, Bytes)>>,
}

impl MetricsPage {
    fn text(&self, now: Instant) -> Bytes {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < FRESH;
        texts.retain(|(at, text)| is_fresh(*at) || !text.is_unique());
        if let Some((at, text)) = texts.last() {
            if is_fresh(*at) || texts.len() >= TEXTS {
                return text.clone();
            }
        }
        let text = Bytes::from(self.metrics.render());
        texts.push((now, text.clone()));
        text
    }
}

async fn healthz(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.health.is_alive(Instant::now()) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the reconcile loop has stalled\n",
        )
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.health.readiness(Instant::now()) {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => {
            let why = shown::line(&why, REASON_LIMIT);
            (StatusCode::SERVICE_UNAVAILABLE, why + "\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::PassError;

    #[tokio::test(start_paused = true)]
    async fn clients_share_a_text_and_slow_ones_are_at_the_reading_of_few() {
        let page = MetricsPage {
            metrics: Metrics::new(),
            texts: Mutex::default(),
        };
        let begin = Instant::now();
        let text = |milliseconds| {
            page.metrics.pass_error(PassError::Panic);
            page.text(begin + Duration::from_millis(milliseconds))
        };
        let first = text(0);
        assert_eq!(text(999), first, "within a second");
        let second = text(1000);
        assert_ne!(second, first);
        let slow = [first, second, text(2000), text(3000)];
        assert_ne!(slow[3], slow[2]);
        for milliseconds in [4000, 10_000, 60_000] {
            assert_eq!(text(milliseconds), slow[3], "as good as it gets");
        }
        drop(slow);
        let fresh = text(60_001);
        assert!(fresh.len() > 1000);
        assert_eq!(page.texts.lock().map_or(0, |texts| texts.len()), 1);
    }
}
