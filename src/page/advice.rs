//! What to do about what is wrong, for who stands before it at night.

use std::borrow::Cow;

use crate::{labels::PassError, status::PastError};

/// What to do about an error of a pass.
pub(super) fn for_error(error: &PastError) -> Cow<'static, str> {
    if let Some(metric) = &error.refused_metric {
        return format!(
            "The source of {metric} refuses us, and Fly does not: correct the password or token in the setting that the message names (`fly secrets set`), or what its user may do."
        )
        .into();
    }
    let advice = match error.reason {
        PassError::Metric => {
            "Nothing is destroyed or stopped without the metric. Check the server's address, its token or password, and the query: `fly-autoscaler check` tries each."
        }
        PassError::Expression => {
            "Nothing is destroyed or stopped without a target. `fly-autoscaler eval --explain` shows each value."
        }
        PassError::List => {
            "Nothing is changed without the list of machines. It is asked for again in the next pass; if it lasts, look at status.flyio.net."
        }
        PassError::Release => {
            "Without an answer about the current release nothing is destroyed or stopped. It is asked for again in the next pass."
        }
        PassError::NoSource => {
            "New machines are copies of one that exists: deploy the app (`fly deploy`), or fix FAS_PROCESS_GROUP or FAS_REGIONS."
        }
        PassError::Write => "Fly did not do it; it is tried again, with growing pauses.",
        PassError::Unauthorized => {
            "Set a token that may do this: `fly tokens create deploy -a APP`, then `fly secrets set FAS_API_TOKEN=…`."
        }
        PassError::Timeout => "Raise FAS_TIMEOUT, or look for what is slow.",
        PassError::Panic => "This is a bug: please report it with the log.",
    };
    advice.into()
}

/// What to do about a note that somebody should look at; nothing where the sentence says it.
pub(super) fn for_note(code: &str) -> Option<&'static str> {
    Some(match code {
        "create_paused" => {
            "Creates failed or new machines died: look at `fly logs` of the app and at the errors below. The pause grows to 5 minutes and ends by itself."
        }
        "fallback" => {
            "The metric is missing: see the errors below. The fallback ends when it is back."
        }
        "ceiling_no_room" => {
            "Destroy failed machines by hand (`fly machine destroy ID`), or raise FAS_MACHINE_CEILING."
        }
        "too_many_missing" | "stood_still" => {
            "It is resolved in the next passes; no action is needed."
        }
        "deploy_in_progress" => "No action is needed unless the deploy hangs: see `fly releases`.",
        "release_unknown" => {
            "Fly's GraphQL API does not answer; it is asked again in the next pass."
        }
        "blue_green" => {
            "If no deploy is running, a blue-green deploy died half way: destroy the cordoned machines (`fly machine list`)."
        }
        "destroys_failed" | "starts_failed" | "stops_failed" => {
            "Look at the machine: `fly machine status ID`."
        }
        "too_few_to_start" => {
            "The created target sets how many machines exist: raise it, or lower the started target."
        }
        "busy_unknown" => {
            "See the errors below: FAS_PROMETHEUS_BUSY_QUERY failed or returned nothing. It is asked again when a running machine is to go."
        }
        "unreachable" => {
            "Fly's hosts of these machines do not answer; they are left alone until they do."
        }
        "stuck" => {
            "Look at the machine: `fly machine status ID`; destroy it by hand if it does not move."
        }
        _ => return None,
    })
}
