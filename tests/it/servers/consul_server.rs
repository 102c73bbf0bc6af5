//! A Consul of one's own, with the access policy that Fly gives whoever attaches one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use tokio::process::Command;

use super::process::{Process, command, free_port, program, send};

/// Who may do everything.
const OWNER: &str = "11111111-1111-1111-1111-111111111111";

/// Who may do what Fly lets an app do.
pub(crate) const TOKEN: &str = "22222222-2222-2222-2222-222222222222";

/// What all keys, nodes and sessions of that app begin with.
pub(crate) const PREFIX: &str = "scaler-23sxdf/";

/// A server that is its own leader; it may be away.
pub(crate) struct Consul {
    process: Option<Process>,
    port: u16,
    folder: PathBuf,
}

impl Consul {
    pub(crate) async fn start(folder: &Path) -> Self {
        let begin = |port: u16| program_of(folder, port);
        let process = Process::start("consul", folder, begin, is_ready).await;
        let port = process.port;
        let consul = Self {
            process: Some(process),
            port,
            folder: folder.to_owned(),
        };
        consul
            .grant("app", TOKEN, &["key", "node", "session"])
            .await;
        consul
    }

    /// One that is not there yet.
    pub(crate) fn away(folder: &Path) -> Self {
        Self {
            process: None,
            port: free_port(),
            folder: folder.to_owned(),
        }
    }

    /// Begins, with what it has written before.
    pub(crate) async fn begin(&mut self) {
        let command = program_of(&self.folder, self.port);
        let process = Process::start_on("consul", &self.folder, self.port, command, is_ready);
        self.process = Some(process.await);
        self.grant("app", TOKEN, &["key", "node", "session"]).await;
    }

    /// Ends as a power cut does.
    pub(crate) async fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Makes a token that may write what begins with the prefix, of these kinds.
    pub(crate) async fn grant(&self, name: &str, token: &str, kinds: &[&str]) {
        let rules = kinds
            .iter()
            .map(|kind| format!("{kind}_prefix \"{PREFIX}\" {{ policy = \"write\" }}\n"));
        let policy = json!({"Name": name, "Rules": rules.collect::<String>()});
        // There already, after a new beginning.
        if ask(self.port, "GET", "/v1/acl/token/self", token, "")
            .await
            .is_some_and(|(status, _)| status == 200)
        {
            return;
        }
        self.put("/v1/acl/policy", &policy.to_string()).await;
        let token = json!({"SecretID": token, "Policies": [{"Name": name}]});
        self.put("/v1/acl/token", &token.to_string()).await;
    }

    /// The address as `fly consul attach` sets it.
    pub(crate) fn url(&self, token: &str) -> String {
        format!("http://:{token}@127.0.0.1:{}/{PREFIX}", self.port)
    }

    /// Changes something as its owner.
    pub(crate) async fn put(&self, path: &str, body: &str) {
        let answer = ask(self.port, "PUT", path, OWNER, body).await;
        assert!(
            matches!(&answer, Some((200, _))),
            "PUT {path} {body}: {answer:?}"
        );
    }

    /// Removes a key by hand.
    pub(crate) async fn delete(&self, key: &str) {
        let path = format!("/v1/kv/{key}");
        let answer = ask(self.port, "DELETE", &path, OWNER, "").await;
        assert!(matches!(&answer, Some((200, _))), "{answer:?}");
    }

    /// The keys below the prefix.
    pub(crate) async fn keys(&self) -> String {
        let path = format!("/v1/kv/{PREFIX}?keys");
        let answer = ask(self.port, "GET", &path, OWNER, "").await;
        answer.map(|(_, body)| body).unwrap_or_default()
    }

    /// Lets it stand still, or go on.
    pub(crate) async fn freeze(&self, frozen: bool) {
        let process = self.process.as_ref().expect("it runs");
        process.signal(if frozen { "STOP" } else { "CONT" }).await;
    }
}

/// The command that starts it.
fn program_of(folder: &Path, port: u16) -> Command {
    let configuration = folder.join("consul.json");
    let text = json!({
        "server": true,
        "bootstrap_expect": 1,
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "data_dir": folder.join("data"),
        "node_name": "test-server",
        "log_level": "warn",
        "disable_update_check": true,
        "performance": {"raft_multiplier": 1},
        "ports": {
            "http": port,
            "dns": -1,
            "server": free_port(),
            "serf_lan": free_port(),
            "serf_wan": -1,
            "grpc": -1,
        },
        "acl": {"enabled": true, "default_policy": "deny", "tokens": {"master": OWNER}},
    });
    fs::write(&configuration, text.to_string()).unwrap();
    let mut command = command(&program("FAS_TEST_CONSUL", "consul"));
    command.args(["agent", "-config-file"]).arg(configuration);
    command
}

/// Once there is a leader, the owner's token is known.
async fn is_ready(port: u16) -> bool {
    let answer = ask(port, "GET", "/v1/acl/tokens", OWNER, "").await;
    answer.is_some_and(|(status, _)| status == 200)
}

/// The status and the body of one exchange; `None` when there is no answer. It shares no code with the program.
async fn ask(
    port: u16,
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> Option<(u16, String)> {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nX-Consul-Token: {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    send(port, &request).await
}
