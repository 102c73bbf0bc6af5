//! A Temporal dev server, its own command line to start and end workflows with, and TLS in front of it.
//!
//! The dev server speaks plain text only. nginx stands before it and asks for client certificates, as Temporal Cloud
//! does; the certificates are made anew for each test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::process::{Process, command, eventually, get, program, successful};

/// A running dev server; its workflows outlive it, in its folder.
pub(crate) struct Temporal {
    process: Process,
    folder: PathBuf,
}

impl Temporal {
    /// Starts a server with the data of `folder`.
    pub(crate) async fn start(folder: &Path) -> Self {
        let start = |port| server(folder, port);
        let is_ready = async |port| is_healthy(folder, port).await;
        Self {
            process: Process::start("temporal", folder, start, is_ready).await,
            folder: folder.to_owned(),
        }
    }

    /// Starts it again on the port that it had.
    pub(crate) async fn start_again(folder: &Path, port: u16) -> Self {
        let is_ready = async |port| is_healthy(folder, port).await;
        let command = server(folder, port);
        Self {
            process: Process::start_on("temporal", folder, port, command, is_ready).await,
            folder: folder.to_owned(),
        }
    }

    /// Where it listens, as it is set in `FAS_TEMPORAL_ADDRESS`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    pub(crate) fn port(&self) -> u16 {
        self.process.port
    }

    /// Ends it as a power cut does.
    pub(crate) async fn kill(self) {
        self.process.kill().await;
    }

    /// Starts a workflow, which runs until it is terminated: no worker takes it on.
    pub(crate) async fn start_workflow(&self, queue: &str, id: &str) {
        let arguments = [
            "--workflow-id",
            id,
            "--task-queue",
            queue,
            "--type",
            "Order",
        ];
        self.workflow("start", &arguments).await;
        self.counts(id, 1).await;
    }

    /// Ends a workflow.
    pub(crate) async fn terminate_workflow(&self, id: &str) {
        self.workflow("terminate", &["--workflow-id", id]).await;
        self.counts(id, 0).await;
    }

    /// Waits until so many of this name run by the server's own count, which comes a little after the fact.
    async fn counts(&self, id: &str, count: usize) {
        let query = format!("WorkflowId='{id}' AND ExecutionStatus='Running'");
        let expected = format!("Total: {count}");
        let look = async || {
            let counted = self.workflow("count", &["--query", &query]).await;
            counted.trim() == expected
        };
        eventually(&query, look, || self.process.log()).await;
    }

    async fn workflow(&self, what: &str, arguments: &[&str]) -> String {
        let mut command = temporal(&self.folder);
        command
            .args(["workflow", what, "--address", &self.address()])
            .args(arguments);
        successful(&mut command).await
    }
}

/// Its command line, which keeps settings in a home directory.
fn temporal(folder: &Path) -> Command {
    let mut command = command(&program("FAS_TEST_TEMPORAL", "temporal"));
    command.env("HOME", folder);
    command
}

fn server(folder: &Path, port: u16) -> Command {
    let mut command = temporal(folder);
    command
        .args(["server", "start-dev", "--headless", "--ip", "127.0.0.1"])
        .args(["--log-level", "error", "--port", &port.to_string()])
        .arg("--db-filename")
        .arg(folder.join("temporal.db"));
    command
}

/// Whether the namespace is there, which comes last.
async fn is_healthy(folder: &Path, port: u16) -> bool {
    let mut command = temporal(folder);
    let address = format!("127.0.0.1:{port}");
    command
        .args(["workflow", "count", "--address", &address])
        .output()
        .await
        .unwrap()
        .status
        .success()
}

/// nginx before a dev server: TLS with HTTP/2, for whoever has a certificate of the authority.
pub(crate) struct Gate(Process);

impl Gate {
    /// Starts it with these certificates, before the server of `port`.
    pub(crate) async fn start(folder: &Path, temporal: u16) -> Self {
        let start = |port: u16| {
            let shown = folder.display();
            let text = format!(
                "daemon off; master_process off; pid {shown}/nginx.pid;\n\
                 events {{}}\n\
                 http {{\n\
                 access_log off;\n\
                 client_body_temp_path {shown}/nginx-body; proxy_temp_path {shown}/nginx-proxy;\n\
                 fastcgi_temp_path {shown}/nginx-f; uwsgi_temp_path {shown}/nginx-u; scgi_temp_path {shown}/nginx-s;\n\
                 server {{\n\
                 listen 127.0.0.1:{port} ssl http2;\n\
                 ssl_certificate {shown}/server.pem; ssl_certificate_key {shown}/server.key;\n\
                 ssl_client_certificate {shown}/authority.pem; ssl_verify_client on;\n\
                 location / {{ grpc_pass grpc://127.0.0.1:{temporal}; }}\n\
                 }}\n\
                 }}\n"
            );
            let configuration = folder.join("nginx.conf");
            fs::write(&configuration, text).unwrap();
            let mut command = command(&program("FAS_TEST_NGINX", "nginx"));
            command
                .arg("-p")
                .arg(folder)
                .arg("-c")
                .arg(configuration)
                .args(["-e", "stderr"]);
            command
        };
        // Whoever speaks plain text is told so.
        let is_ready = async |port| get(port, "/", "").await.is_some_and(|it| it.0 == 400);
        Self(Process::start("nginx", folder, start, is_ready).await)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }
}

/// Makes `NAME.pem` and `NAME.key` in the folder: an authority, a server and a client that it vouches for, and a client
/// that nobody vouches for.
pub(crate) async fn certificates(folder: &Path) {
    let authority = ["-CA", "authority.pem", "-CAkey", "authority.key"];
    let server_name = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    let cases: [(&str, Vec<&str>); 4] = [
        (
            "authority",
            vec!["-addext", "keyUsage=critical,keyCertSign"],
        ),
        ("server", [authority.as_slice(), &server_name].concat()),
        ("client", authority.to_vec()),
        ("stranger", vec![]),
    ];
    for (name, arguments) in cases {
        let mut command = command(&program("FAS_TEST_OPENSSL", "openssl"));
        command
            .current_dir(folder)
            .args(["req", "-x509", "-nodes", "-days", "2"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-subj", &format!("/CN=a {name} under test")])
            .args(["-out", &format!("{name}.pem")])
            .args(["-keyout", &format!("{name}.key")]);
        if name != "authority" {
            command.args(["-addext", "basicConstraints=critical,CA:false"]);
        }
        successful(command.args(arguments)).await;
    }
}

/// A file of the folder.
pub(crate) fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}
