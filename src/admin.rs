//! The HTTP server on port 9090. Everything on it only reads, and nothing on it shows a token.
//!
//! - `GET /metrics`: all series in the Prometheus text format.
//! - `GET /healthz`: 200 while the loop runs.
//! - `GET /readyz`: 200 while passes succeed, else 503 with the reason.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
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
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        admin.metrics.render(),
    )
}

async fn healthz(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.health.is_alive(Instant::now()) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the loop does not turn\n")
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
