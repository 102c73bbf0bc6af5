//! Why a call to Fly did not succeed, and what that means for whoever made it.

use std::{fmt, time::Duration};

use crate::{
    duration,
    labels::{CallResult, Operation, PassError},
    transport::TransportError,
};

/// A call that did not succeed.
///
/// Displayed with its cause, since what may help and the request's id stand behind that; `source()` is what is behind the
/// cause.
#[derive(Debug)]
pub struct ApiError {
    /// What was attempted.
    pub operation: Operation,
    /// On what: an app, or a machine of an app.
    pub subject: String,
    /// Fly's id of the request, for its support; the last attempt's.
    pub request_id: Option<String>,
    /// Whether an earlier attempt of the same call ended without a known outcome, so that it may have had its effect
    /// whatever the last attempt was told.
    pub after_unknown: bool,
    /// Why.
    pub cause: ApiErrorCause,
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

fn phrase(operation: Operation) -> &'static str {
    match operation {
        Operation::ListMachines => "list the machines",
        Operation::GetMachine => "get the machine",
        Operation::CreateMachine => "create a machine",
        Operation::StartMachine => "start the machine",
        Operation::StopMachine => "stop the machine",
        Operation::SuspendMachine => "suspend the machine",
        Operation::WaitMachine => "wait for the machine",
        Operation::DestroyMachine => "destroy the machine",
        Operation::ListVolumes => "list the volumes",
        Operation::CreateVolume => "create a volume",
        Operation::ListApps => "list the apps",
        Operation::CurrentRelease => "get the current release",
        Operation::CurrentTokens => "ask what the token is for",
        Operation::GetApp => "get the app",
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "cannot {} ({}): {}",
            phrase(self.operation),
            self.subject,
            self.cause
        )?;
        if self.operation == Operation::ListMachines && self.verdict() == Verdict::Gone {
            formatter.write_str("; is FAS_APP_NAME right, and does the token cover the app?")?;
        }
        if let Some(request_id) = &self.request_id {
            write!(formatter, " (fly-request-id {request_id})")?;
        }
        Ok(())
    }
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiErrorCause {
    /// An answer other than 2xx.
    #[error("HTTP {status}{}", Message(.message))]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the API said, bounded and cleaned.
        message: String,
        /// `Retry-After`, where it was given.
        retry_after: Option<Duration>,
    },
    /// The token was not accepted.
    #[error(
        "{}; the token in FAS_API_TOKEN was not accepted: create one with `fly tokens create deploy -a APP` (one app) or `fly tokens create org` (several apps) and set all of it, commas included",
        Refusal(*.status, .message)
    )]
    Unauthorized {
        /// 401 or 403; `None` where an answer of 200 says it in its body, as GraphQL does.
        status: Option<u16>,
        /// What the API said, bounded and cleaned.
        message: String,
    },
    /// No answer by the pass deadline, or by the call's own time limit.
    #[error(
        "no answer within {}, the limit that {} sets",
        duration::format(rounded(*.waited)),
        if *.by_lock { "the lock" } else { "FAS_TIMEOUT" }
    )]
    Timeout {
        /// How long it was waited for.
        waited: Duration,
        /// Whether that was because another copy may have the lock by then.
        by_lock: bool,
    },
    /// The exchange failed below HTTP.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A 2xx whose body is not what the API documents.
    #[error("invalid response: {0}")]
    Decode(String),
    /// An answer of 200 that says in its body what is wrong, as GraphQL does.
    #[error("{0}")]
    Complaint(String),
    /// GraphQL does not know the app, or does not show it to this token.
    #[error("{0}")]
    UnknownApp(String),
    /// This program refused to make the request: nothing was sent.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The pass deadline had come before the call was begun.
    #[error("the pass deadline came before it was sent")]
    NotBegun,
    /// The daemon is shutting down: no new call is begun.
    #[error("shutting down")]
    ShuttingDown,
    /// This copy does not hold the lock, or not since the pass began that wants to write.
    #[error("this copy does not hold the lock: no change is sent")]
    NotHolding,
    /// `FAS_DRY_RUN` keeps every write from leaving the process.
    #[error("dry run: no change is sent")]
    DryRun,
}

/// Without what nobody wants to know of a time limit, so that attempts that ended alike read alike.
fn rounded(waited: Duration) -> Duration {
    if waited < Duration::from_secs(1) {
        return Duration::from_millis(u64::from(waited.subsec_millis()));
    }
    let half_a_second = Duration::from_millis(500);
    Duration::from_secs((waited + half_a_second).as_secs())
}

struct Message<'text>(&'text str);

impl fmt::Display for Message<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(formatter, ": {}", self.0)
        }
    }
}

struct Refusal<'text>(Option<u16>, &'text str);

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => write!(formatter, "HTTP {status}{}", Message(self.1)),
            None => formatter.write_str(self.1),
        }
    }
}

/// What became of a call that did not succeed: the one place where causes and HTTP statuses are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The service is away or too slow, and the call may have had its effect: 408, 5xx, no answer, half of one.
    Unavailable,
    /// An answer that says nothing of use; the call may have had its effect.
    Unusable,
    /// The service was not reached: nothing happened.
    Unreached,
    /// The token was not accepted: nothing happened.
    Unauthorized,
    /// There is no such thing, or no longer: nothing happened.
    Gone,
    /// Something else is being done with it, or somebody has leased it (409): nothing happened.
    Busy,
    /// It is in another state (412): nothing happened.
    OtherState,
    /// Too many calls (429): nothing happened.
    RateLimited,
    /// Refused for another reason, which may not hold elsewhere: nothing happened.
    Refused,
    /// This program did not make the call.
    NotMade,
}

impl ApiError {
    /// What became of the last attempt.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.cause.verdict()
    }

    /// Whether the call was not made because its time was over, or the daemon's, or this copy's.
    #[must_use]
    pub fn was_not_begun(&self) -> bool {
        matches!(
            self.cause,
            ApiErrorCause::NotBegun | ApiErrorCause::NotHolding | ApiErrorCause::ShuttingDown
        )
    }

    /// Whether the token was not accepted.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        self.verdict() == Verdict::Unauthorized
    }

    /// Whether a question was not answered: the service is away, or something else answers in its place. A refused token
    /// is an answer, and so is that the service does not know what was asked for.
    #[must_use]
    pub fn is_no_answer(&self) -> bool {
        self.cause.is_no_answer()
    }

    /// Whether the call surely had no effect.
    #[must_use]
    pub fn had_no_effect(&self) -> bool {
        !self.after_unknown && self.cause.had_no_effect()
    }

    /// The reason of a pass that failed by it: a refused token or a deadline is that whatever was asked for, and
    /// `otherwise` says what was.
    #[must_use]
    pub fn reason(&self, otherwise: PassError) -> PassError {
        match self.cause {
            ApiErrorCause::Unauthorized { .. } => PassError::Unauthorized,
            ApiErrorCause::Timeout { .. } | ApiErrorCause::NotBegun => PassError::Timeout,
            _ => otherwise,
        }
    }
}

impl ApiErrorCause {
    /// What became of an attempt that ended like this.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Status { status, .. } => match status {
                404 => Verdict::Gone,
                408 | 500..=599 => Verdict::Unavailable,
                409 => Verdict::Busy,
                412 => Verdict::OtherState,
                429 => Verdict::RateLimited,
                400..=499 => Verdict::Refused,
                _ => Verdict::Unusable,
            },
            Self::Unauthorized { .. } => Verdict::Unauthorized,
            Self::UnknownApp(_) => Verdict::Gone,
            Self::Timeout { .. } => Verdict::Unavailable,
            Self::Transport(error) if error.was_not_sent() => Verdict::Unreached,
            Self::Transport(
                TransportError::BodyTooLarge { .. } | TransportError::Encoding { .. },
            )
            | Self::Decode(_)
            | Self::Complaint(_) => Verdict::Unusable,
            Self::Transport(_) => Verdict::Unavailable,
            Self::NotSent(_)
            | Self::NotBegun
            | Self::NotHolding
            | Self::ShuttingDown
            | Self::DryRun => Verdict::NotMade,
        }
    }

    /// Whether an attempt that ended like this surely had no effect.
    pub(super) fn had_no_effect(&self) -> bool {
        !matches!(self.verdict(), Verdict::Unavailable | Verdict::Unusable)
    }

    /// What an HTTP status that is no success stands for; `retry_after` is what the answer asks for.
    pub(super) fn of_status(status: u16, message: String, retry_after: Option<Duration>) -> Self {
        match status {
            401 | 403 => Self::Unauthorized {
                status: Some(status),
                message,
            },
            _ => Self::Status {
                status,
                message,
                retry_after,
            },
        }
    }

    fn is_no_answer(&self) -> bool {
        match self {
            Self::Unauthorized { .. } | Self::UnknownApp(_) => false,
            // Nobody was asked.
            Self::NotSent(_)
            | Self::NotBegun
            | Self::NotHolding
            | Self::ShuttingDown
            | Self::DryRun => false,
            // Whatever its status is: GraphQL itself answers with 200.
            Self::Status { .. } | Self::Timeout { .. } => true,
            Self::Transport(_) | Self::Decode(_) | Self::Complaint(_) => true,
        }
    }

    /// Whether the attempt was not begun because it is too late for it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::NotBegun | Self::NotHolding)
    }

    /// Whether an idempotent call may be repeated after this.
    pub(super) fn is_transient(&self) -> bool {
        matches!(
            self.verdict(),
            Verdict::Unavailable | Verdict::Unreached | Verdict::RateLimited
        )
    }

    /// Whether a create may be repeated after this: only where it surely did not happen and may work soon.
    pub(super) fn allows_another_create(&self) -> bool {
        self.is_transient() && self.had_no_effect()
    }

    /// As what the attempt is counted.
    pub(super) fn result(&self) -> CallResult {
        match self {
            Self::Unauthorized { .. } => CallResult::Unauthorized,
            Self::Status { status, .. } => CallResult::of_status(*status),
            Self::Timeout { .. } | Self::NotBegun | Self::Transport(TransportError::Timeout) => {
                CallResult::Timeout
            }
            Self::Transport(_) => CallResult::Transport,
            Self::Decode(_)
            | Self::Complaint(_)
            | Self::UnknownApp(_)
            | Self::NotSent(_)
            | Self::NotHolding
            | Self::ShuttingDown
            | Self::DryRun => CallResult::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_verdict() {
        use Verdict::{
            Busy, Gone, OtherState, RateLimited, Refused, Unauthorized, Unavailable, Unusable,
        };
        for status in 100..700 {
            let expected = match status {
                401 | 403 => Unauthorized,
                404 => Gone,
                409 => Busy,
                412 => OtherState,
                429 => RateLimited,
                408 | 500..=599 => Unavailable,
                400..=499 => Refused,
                _ => Unusable,
            };
            let cause = ApiErrorCause::of_status(status, String::new(), None);
            assert_eq!(cause.verdict(), expected, "{status}");
            let is_open = matches!(expected, Unavailable | Unusable);
            assert_eq!(cause.had_no_effect(), !is_open, "{status}");
            let is_refusal = matches!(status, 401 | 403);
            assert_eq!(cause.is_no_answer(), !is_refusal, "{status}");
        }
    }
}
