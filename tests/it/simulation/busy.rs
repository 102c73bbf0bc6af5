//! How busy machines are, as the simulation's server says: by chance, but the same for a seed, a machine and a moment.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use fly_autoscaler::sim::{App, MachineState, Random};
use http::Response;
use serde_json::{Value, json};

/// For how long an answer stays the same.
const BUCKET: Duration = Duration::from_secs(20);

/// What a pass was told.
#[derive(Debug)]
pub(super) struct Loads {
    pub(super) completed: Duration,
    /// At least one.
    pub(super) by_machine: BTreeMap<Arc<str>, f64>,
}

/// The server's answer about the machines of an app that run; when all is calm each of them is idle.
pub(super) fn answer(seed: u64, app: &App, now: Duration, calm: bool) -> Response<Bytes> {
    let bucket = now.as_secs() / BUCKET.as_secs();
    let drawn = |text: &str| {
        let hash = text.bytes().fold(seed ^ bucket << 20, |hash, byte| {
            Random::new(hash ^ u64::from(byte)).bits()
        });
        Random::new(hash)
    };
    let whole = drawn("all").below(10);
    let mut elements = Vec::new();
    let running = app.machines();
    for machine in running.filter(|machine| machine.state == MachineState::Started) {
        let mut own = drawn(&machine.id);
        let label = if whole < 5 { "instance" } else { "machine" };
        let load = match own.below(12) {
            _ if calm => "0".to_owned(),
            0 => continue,
            1 => "NaN".to_owned(),
            2..=6 => "0".to_owned(),
            _ => format!("{}.5", own.below(5)),
        };
        elements.push(json!({
            "metric": { label: &*machine.id },
            "value": [0, load],
        }));
    }
    let (status, body) = match whole {
        0 if !calm => (503, json!({ "status": "error", "error": "try again" })),
        1 if !calm => (200, vector(&[])),
        _ => (200, vector(&elements)),
    };
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status.try_into().unwrap();
    response
}

fn vector(elements: &[Value]) -> Value {
    json!({ "status": "success", "data": { "resultType": "vector", "result": elements } })
}

/// What an answer says of each machine; `None` where it is none, or of no use. What is not a number is not said.
pub(super) fn loads_of(body: &[u8], completed: Duration) -> Option<Loads> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let elements = answer["data"]["result"].as_array()?;
    let mut by_machine = BTreeMap::new();
    for element in elements {
        let labels = &element["metric"];
        let machine = labels["machine"].as_str().or(labels["instance"].as_str())?;
        let load: f64 = element["value"][1].as_str()?.parse().ok()?;
        if !load.is_nan() {
            by_machine.insert(machine.into(), load);
        }
    }
    (!by_machine.is_empty()).then_some(Loads {
        completed,
        by_machine,
    })
}
