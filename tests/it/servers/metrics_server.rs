//! Prometheus and `VictoriaMetrics` as Fly's users meet them: behind a path with the organisation, asking for a user
//! where one is set, scraping the platform in short intervals.

use std::{fs, path::Path, time::Duration};

use tokio::{process::Command, task::JoinHandle, time::sleep};

use super::process::{Process, command, get, program};

/// The organisation of all apps.
pub(crate) const ORG: &str = "acme";

/// Below which path the API is.
const PREFIX: &str = "/prometheus/acme";

/// Who may ask, where that matters: user, password, both for Basic, and the password as Prometheus wants it (bcrypt).
const USER: &str = "fas";
const PASSWORD: &str = "sesame";
const BASIC: &str = "Basic ZmFzOnNlc2FtZQ==";
const HASH: &str = "$2b$04$l.lTnn3jxieMH2d8N/g96u/4H.xXEqFK53svJBtdbl5VrYbOcyDbW";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prometheus,
    VictoriaMetrics,
}

/// How often `VictoriaMetrics` is told to forget which series a query matches. It remembers that for 10 s, so that the
/// samples of a new machine are seen that much later than those of the others: nothing that a test has time for.
const FORGET: Duration = Duration::from_millis(250);

/// A running server; dropping it ends it.
pub(crate) struct MetricsServer {
    process: Process,
    forgetting: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Starts the server, which scrapes `target` and keeps its data in `folder`; `with_user`: it asks who asks.
    pub(crate) async fn start(kind: Kind, folder: &Path, target: &str, with_user: bool) -> Self {
        let scrape = folder.join("scrape.yml");
        // Without `honor_labels` the label `instance`, which is the machine on Fly, would be the target.
        let text = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n\
             scrape_configs:\n\
             - job_name: fly\n  \
               honor_labels: true\n  \
               static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(&scrape, text).unwrap();
        let users = folder.join("users.yml");
        fs::write(&users, format!("basic_auth_users: {{{USER}: {HASH}}}\n")).unwrap();
        let data = folder.join("data");
        let start = |port| {
            let mut command = match kind {
                Kind::Prometheus => prometheus(port, &scrape, &data),
                Kind::VictoriaMetrics => victoria_metrics(port, &scrape, &data),
            };
            match kind {
                _ if !with_user => {}
                Kind::Prometheus => {
                    command.arg(format!("--web.config.file={}", users.display()));
                }
                Kind::VictoriaMetrics => {
                    command.arg(format!("-httpAuth.username={USER}"));
                    command.arg(format!("-httpAuth.password={PASSWORD}"));
                }
            }
            command
        };
        let (name, health) = match kind {
            Kind::Prometheus => ("prometheus", "/-/ready"),
            Kind::VictoriaMetrics => ("victoria-metrics", "/health"),
        };
        let is_ready = async |port| {
            let answer = get(port, &format!("{PREFIX}{health}"), BASIC).await;
            answer.is_some_and(|it| it.0 == 200)
        };
        let process = Process::start(name, folder, start, is_ready).await;
        let port = process.port;
        let forgetting = (kind == Kind::VictoriaMetrics).then(|| {
            tokio::spawn(async move {
                loop {
                    get(port, &format!("{PREFIX}/internal/force_flush"), BASIC).await;
                    sleep(FORGET).await;
                }
            })
        });
        Self {
            process,
            forgetting,
        }
    }

    /// The address as it is set in `FAS_PROMETHEUS_ADDRESS`.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}{PREFIX}", self.process.port)
    }

    /// The same with a user and this password in it.
    pub(crate) fn address_with(&self, password: &str) -> String {
        format!(
            "http://{USER}:{password}@127.0.0.1:{}{PREFIX}",
            self.process.port
        )
    }

    /// The address with the right password.
    pub(crate) fn address_with_user(&self) -> String {
        self.address_with(PASSWORD)
    }

    /// What it answers below its prefix.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        get(self.process.port, &format!("{PREFIX}{path}"), BASIC).await
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        if let Some(forgetting) = &self.forgetting {
            forgetting.abort();
        }
    }
}

fn prometheus(port: u16, scrape: &Path, data: &Path) -> Command {
    let mut command = command(&program("FAS_TEST_PROMETHEUS", "prometheus"));
    command
        .arg(format!("--config.file={}", scrape.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        // A past that a test puts in is not to be forgotten at once.
        .arg("--storage.tsdb.retention.time=60d")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg(format!(
            "--web.external-url=http://127.0.0.1:{port}{PREFIX}"
        ));
    command
}

fn victoria_metrics(port: u16, scrape: &Path, data: &Path) -> Command {
    let mut command = command(&program("FAS_TEST_VICTORIA_METRICS", "victoria-metrics"));
    command
        .arg(format!("-promscrape.config={}", scrape.display()))
        .arg(format!("-storageDataPath={}", data.display()))
        .arg("-retentionPeriod=60d")
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg(format!("-http.pathPrefix={PREFIX}"))
        // Samples are hidden for so long, as Fly's are; here there is no time for it. It takes this as 1 s.
        .arg("-search.latencyOffset=0s");
    command
}
