//! Why a call to Fly did not succeed, and what that means for whoever made it.

use std::{fmt, time::Duration};

use crate::transport::TransportError;

/// One kind of call, as metrics and errors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// The machines of an app.
    ListMachines,
    /// One machine.
    GetMachine,
    /// A new machine.
    CreateMachine,
    /// Starting one.
    StartMachine,
    /// Stopping one.
    StopMachine,
    /// Suspending one.
    SuspendMachine,
    /// Waiting for one to stop.
    WaitMachine,
    /// Destroying one.
    DestroyMachine,
    /// The volumes of an app.
    ListVolumes,
    /// A new volume.
    CreateVolume,
    /// The apps of an organization.
    ListApps,
    /// An app's current release.
    CurrentRelease,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 12] = [
        Self::ListMachines,
        Self::GetMachine,
        Self::CreateMachine,
        Self::StartMachine,
        Self::StopMachine,
        Self::SuspendMachine,
        Self::WaitMachine,
        Self::DestroyMachine,
        Self::ListVolumes,
        Self::CreateVolume,
        Self::ListApps,
        Self::CurrentRelease,
    ];

    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ListMachines => "list_machines",
            Self::GetMachine => "get_machine",
            Self::CreateMachine => "create_machine",
            Self::StartMachine => "start_machine",
            Self::StopMachine => "stop_machine",
            Self::SuspendMachine => "suspend_machine",
            Self::WaitMachine => "wait_machine",
            Self::DestroyMachine => "destroy_machine",
            Self::ListVolumes => "list_volumes",
            Self::CreateVolume => "create_volume",
            Self::ListApps => "list_apps",
            Self::CurrentRelease => "current_release",
        }
    }

    /// The API it belongs to, as the metric label says.
    #[must_use]
    pub fn api(self) -> &'static str {
        match self {
            Self::CurrentRelease => "graphql",
            _ => "machines",
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Self::CreateMachine
                | Self::StartMachine
                | Self::StopMachine
                | Self::SuspendMachine
                | Self::DestroyMachine
                | Self::CreateVolume
        )
    }

    fn phrase(self) -> &'static str {
        match self {
            Self::ListMachines => "list the machines",
            Self::GetMachine => "ask for the machine",
            Self::CreateMachine => "create a machine",
            Self::StartMachine => "start the machine",
            Self::StopMachine => "stop the machine",
            Self::SuspendMachine => "suspend the machine",
            Self::WaitMachine => "wait for the machine",
            Self::DestroyMachine => "destroy the machine",
            Self::ListVolumes => "list the volumes",
            Self::CreateVolume => "create a volume",
            Self::ListApps => "list the apps",
            Self::CurrentRelease => "ask for the current release",
        }
    }
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{}", Sentence(self))]
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
    #[source]
    pub cause: Cause,
}

struct Sentence<'error>(&'error ApiError);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "cannot {} ({})",
            self.0.operation.phrase(),
            self.0.subject
        )?;
        if let Some(request_id) = &self.0.request_id {
            write!(formatter, " [fly-request-id {request_id}]")?;
        }
        if self.0.operation == Operation::ListMachines && self.0.status() == Some(404) {
            formatter.write_str(" [is FAS_APP_NAME right, and does the token cover the app?]")?;
        }
        Ok(())
    }
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
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
        "{}; the token in FAS_API_TOKEN was not accepted: make one with `fly tokens create deploy -a APP` (one app) or `fly tokens create org` (several apps) and set it whole, its comma list included",
        Refusal(*.status, .message)
    )]
    Unauthorized {
        /// 401 or 403; `None` where an answer of 200 says it in its body, as GraphQL does.
        status: Option<u16>,
        /// What the API said, bounded and cleaned.
        message: String,
    },
    /// No answer by the pass deadline, or by the call's own time limit.
    #[error("no answer in time")]
    Timeout,
    /// The exchange failed below HTTP.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A 2xx whose body is not what the API documents.
    #[error("the answer cannot be used: {0}")]
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
    #[error("no time was left to begin")]
    NotBegun,
    /// The daemon is shutting down: no new call is begun.
    #[error("shutting down")]
    ShuttingDown,
    /// `FAS_DRY_RUN` keeps every write from leaving the process.
    #[error("dry run: no write leaves the process")]
    DryRun,
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

impl ApiError {
    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.cause {
            Cause::Status { status, .. } => Some(*status),
            Cause::Unauthorized { status, .. } => *status,
            _ => None,
        }
    }

    /// Whether the token was not accepted.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.cause, Cause::Unauthorized { .. })
    }

    /// Whether the service is to blame, which is away or says nothing of use, and not the question or its token.
    #[must_use]
    pub fn is_no_answer(&self) -> bool {
        match &self.cause {
            Cause::Status { status, .. } => matches!(status, 408 | 429 | 500..),
            Cause::Timeout
            | Cause::Transport(_)
            | Cause::Decode(_)
            | Cause::Complaint(_)
            | Cause::NotBegun => true,
            Cause::Unauthorized { .. }
            | Cause::UnknownApp(_)
            | Cause::NotSent(_)
            | Cause::ShuttingDown
            | Cause::DryRun => false,
        }
    }

    /// Whether the call surely had no effect.
    #[must_use]
    pub fn surely_did_nothing(&self) -> bool {
        !self.after_unknown && self.cause.surely_did_nothing()
    }
}

impl Cause {
    /// Whether an attempt that ended like this surely had no effect.
    pub(super) fn surely_did_nothing(&self) -> bool {
        match self {
            Self::Status { status, .. } => (400..500).contains(status) && *status != 408,
            Self::Unauthorized { .. }
            | Self::NotSent(_)
            | Self::NotBegun
            | Self::ShuttingDown
            | Self::DryRun => true,
            Self::Transport(error) => error.surely_not_sent(),
            Self::Timeout | Self::Decode(_) | Self::Complaint(_) | Self::UnknownApp(_) => false,
        }
    }

    /// Whether an idempotent call may be repeated after this.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Transport(error) => !matches!(
                error,
                TransportError::BodyTooLarge { .. } | TransportError::Encoding { .. }
            ),
            Self::Timeout => true,
            Self::Unauthorized { .. }
            | Self::Decode(_)
            | Self::Complaint(_)
            | Self::UnknownApp(_)
            | Self::NotSent(_)
            | Self::NotBegun
            | Self::ShuttingDown
            | Self::DryRun => false,
        }
    }

    /// Whether a create may be repeated after this: only where it surely did not happen and may work soon.
    pub(super) fn allows_another_create(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 429,
            Self::Transport(error) => error.surely_not_sent(),
            _ => false,
        }
    }
}
