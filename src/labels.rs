//! The closed sets of labels that `/metrics` and the log name things by.

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
    /// What the token is for; only `check` asks.
    CurrentTokens,
    /// An app; only `check` asks.
    GetApp,
}

impl Operation {
    /// Every operation of the daemon. What only `check` asks is not counted anywhere.
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
            Self::CurrentTokens => "current_tokens",
            Self::GetApp => "get_app",
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
}

/// What each kind of collector asks, as `fas_api_requests_total` names it: the `api` and the `operation`.
pub const COLLECTOR_REQUESTS: [(&str, &str); 5] = [
    ("prometheus", "query"),
    ("temporal", "count"),
    ("http", "get"),
    ("redis", "command"),
    ("postgres", "query"),
];

/// What is asked of Consul, where there is a lock, as the `operation` of `fas_api_requests_total` names it.
pub const CONSUL_REQUESTS: [&str; 8] = [
    "register_node",
    "create_session",
    "renew_session",
    "destroy_session",
    "read_key",
    "acquire",
    "release",
    "list_sessions",
];

/// What became of the lock, as `fas_lock_changes_total{reason}` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockChange {
    /// This copy has got it.
    Acquired,
    /// This copy has given it back.
    Released,
    /// This copy could not keep it.
    Expired,
    /// Somebody else has taken it from this copy.
    Taken,
}

impl LockChange {
    /// Every change.
    pub const ALL: [Self; 4] = [Self::Acquired, Self::Released, Self::Expired, Self::Taken];

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acquired => "acquired",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Taken => "taken",
        }
    }
}

/// The result of one call, as `fas_api_requests_total{status}` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// 2xx.
    Ok,
    /// 401 or 403.
    Unauthorized,
    /// 429.
    RateLimited,
    /// Any other 4xx.
    ClientError,
    /// 5xx, and whatever else is no success.
    ServerError,
    /// No answer in time.
    Timeout,
    /// No complete HTTP answer.
    Transport,
    /// A 2xx that cannot be used.
    Invalid,
}

impl CallResult {
    /// Every result.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Unauthorized,
        Self::RateLimited,
        Self::ClientError,
        Self::ServerError,
        Self::Timeout,
        Self::Transport,
        Self::Invalid,
    ];

    /// The result that an HTTP status is.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Ok,
            401 | 403 => Self::Unauthorized,
            429 => Self::RateLimited,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Invalid => "invalid",
        }
    }
}

/// Why a pass failed, as `fas_pass_errors_total{reason}` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PassError {
    /// A metric could not be collected; that its source refuses the password or the token is one of the causes.
    Metric,
    /// An expression has no value.
    Expression,
    /// The machines could not be listed.
    List,
    /// The current release could not be asked for.
    Release,
    /// There is no machine to clone.
    NoSource,
    /// A write did not succeed.
    Write,
    /// Fly did not accept the token.
    Unauthorized,
    /// The deadline came first.
    Timeout,
    /// A defect of this program, contained.
    Panic,
}

impl PassError {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Metric,
        Self::Expression,
        Self::List,
        Self::Release,
        Self::NoSource,
        Self::Write,
        Self::Unauthorized,
        Self::Timeout,
        Self::Panic,
    ];

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Expression => "expression",
            Self::List => "list",
            Self::Release => "release",
            Self::NoSource => "no_source",
            Self::Write => "write",
            Self::Unauthorized => "unauthorized",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
        }
    }
}

/// One kind of write to a machine, as the `fas_machine_*_count` series name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineWrite {
    /// A create.
    Create,
    /// A destroy.
    Destroy,
    /// A start.
    Start,
    /// A stop or suspend.
    Stop,
}
