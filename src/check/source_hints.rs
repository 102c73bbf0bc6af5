//! What to do about a metric of a web server, Redis or Postgres that has no value.

use crate::{
    collect::{CollectError, CollectErrorKind},
    config::CollectorKind,
};

use super::Reading;

/// What to do about it; nothing for Prometheus and Temporal, which are told of elsewhere. `setting` is what a key of the
/// collector is called where it is set.
pub(super) fn metric(
    reading: &Reading,
    error: &CollectError,
    setting: impl Fn(&str) -> String,
) -> Option<String> {
    let kind = reading.kind;
    if matches!(kind, CollectorKind::Prometheus | CollectorKind::Temporal) {
        return None;
    }
    let place = setting("url");
    let asked = match kind {
        CollectorKind::Http => setting("value"),
        CollectorKind::Redis => setting("command"),
        _ => setting("query"),
    };
    let address = &reading.address;
    Some(match error.kind() {
        CollectErrorKind::Unauthorized => format!(
            "is what {address} asks for in the settings that the message names? Set it as a secret: fly secrets set"
        ),
        CollectErrorKind::Empty => format!(
            "is the app's name in {place} and {asked} right? If nothing means 0: {}=0",
            setting("empty-value")
        ),
        CollectErrorKind::WrongType => format!("make one number of it: {asked}"),
        CollectErrorKind::NotANumber => {
            format!("{asked} has to lead to a number, or to text that is one")
        }
        CollectErrorKind::Timeout => {
            "half of FAS_TIMEOUT is for metrics: raise it, or ask for something cheaper".to_owned()
        }
        CollectErrorKind::Connection | CollectErrorKind::Interrupted | CollectErrorKind::Tls => {
            format!(
                "is {place} right, and can this machine reach it? Addresses in .internal are reached from Fly only"
            )
        }
        CollectErrorKind::Setup => "correct the setting that the message names".to_owned(),
        CollectErrorKind::Query => format!("correct {asked}: the message says what is wrong"),
        CollectErrorKind::Oversized => format!(
            "ask for less: {asked} should lead to one number, and {address} answer with little more"
        ),
        CollectErrorKind::Status
        | CollectErrorKind::Unreadable
        | CollectErrorKind::Partial
        | CollectErrorKind::Namespace => format!(
            "is {place} right? Each pass asks again, and without the metric the machines are left alone"
        ),
    })
}
