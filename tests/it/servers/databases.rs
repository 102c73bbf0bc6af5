//! A Redis, a Postgres and a `PgBouncer` of one's own, each in a folder of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tokio::{net::TcpStream, process::Command};

use super::{
    process::{Process, command, free_port, program, successful},
    temporal_server::certificates,
};

/// The password of everybody.
pub(crate) const PASSWORD: &str = "s3cret-of-databases";

/// A Redis with TLS beside, and a user who may look at lists, sorted sets and values.
pub(crate) struct Redis {
    process: Process,
    tls_port: u16,
    folder: PathBuf,
}

impl Redis {
    pub(crate) async fn start(folder: &Path) -> Self {
        certificates(folder).await;
        let tls_port = free_port();
        let start = |port| Self::command(folder, port, tls_port);
        let is_ready = async |port| Self::is_ready(folder, port).await;
        Self {
            process: Process::start("redis", folder, start, is_ready).await,
            tls_port,
            folder: folder.to_owned(),
        }
    }

    /// Starts it again, without anything in it.
    pub(crate) async fn start_on(folder: &Path, port: u16) -> Self {
        let tls_port = free_port();
        let command = Self::command(folder, port, tls_port);
        let is_ready = async |port| Self::is_ready(folder, port).await;
        Self {
            process: Process::start_on("redis", folder, port, command, is_ready).await,
            tls_port,
            folder: folder.to_owned(),
        }
    }

    fn command(folder: &Path, port: u16, tls_port: u16) -> Command {
        let shown = folder.display();
        let text = format!(
            "bind 127.0.0.1\nport {port}\ntls-port {tls_port}\ntls-auth-clients no\n\
             tls-cert-file {shown}/server.pem\ntls-key-file {shown}/server.key\ntls-ca-cert-file {shown}/authority.pem\n\
             save \"\"\ndir {shown}\nrequirepass {PASSWORD}\n\
             user worker on >{PASSWORD} ~* +llen +zcard +zcount +get +hget +exists +select +hello\n"
        );
        let configuration = folder.join("redis.conf");
        fs::write(&configuration, text).unwrap();
        let mut command = command(&program("FAS_TEST_REDIS", "redis-server"));
        command.arg(configuration);
        command
    }

    async fn is_ready(folder: &Path, port: u16) -> bool {
        let mut ping = cli(folder, port, &["PING"]);
        let answer = ping.output().await.unwrap();
        answer.stdout.starts_with(b"PONG")
    }

    pub(crate) fn port(&self) -> u16 {
        self.process.port
    }

    pub(crate) fn url(&self, user: &str) -> String {
        format!("redis://{user}:{PASSWORD}@127.0.0.1:{}", self.process.port)
    }

    pub(crate) fn tls_url(&self, user: &str) -> String {
        format!("rediss://{user}:{PASSWORD}@127.0.0.1:{}", self.tls_port)
    }

    /// Sends a command as its owner.
    pub(crate) async fn say(&self, words: &[&str]) {
        successful(&mut cli(&self.folder, self.process.port, words)).await;
    }

    /// Puts so many jobs into a queue.
    pub(crate) async fn push(&self, queue: &str, jobs: usize) {
        let mut words = vec!["RPUSH", queue];
        words.extend(std::iter::repeat_n("job", jobs));
        self.say(&words).await;
    }

    /// Takes so many jobs out of a queue.
    pub(crate) async fn pop(&self, queue: &str, jobs: usize) {
        self.say(&["LPOP", queue, &jobs.to_string()]).await;
    }

    pub(crate) async fn kill(self) {
        self.process.kill().await;
    }
}

fn cli(folder: &Path, port: u16, words: &[&str]) -> Command {
    let mut command = command(&program("FAS_TEST_REDIS_CLI", "redis-cli"));
    command
        .env("REDISCLI_AUTH", PASSWORD)
        .env("HOME", folder)
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(words);
    command
}

/// A Postgres with TLS, and a user who may do what he is granted.
pub(crate) struct Postgres {
    process: Process,
    folder: PathBuf,
}

impl Postgres {
    pub(crate) async fn start(folder: &Path) -> Self {
        certificates(folder).await;
        let data = data(folder);
        fs::create_dir(&data).unwrap();
        let password_file = folder.join("password");
        fs::write(&password_file, PASSWORD).unwrap();
        // It refuses to run as root, and to read what others may.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let key = folder.join("postgres.key");
        fs::copy(folder.join("server.key"), &key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = other_user().await {
            for path in [&data, &password_file, &key] {
                std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
            }
        }
        let mut initialize = tool("initdb").await;
        initialize
            .arg("-D")
            .arg(&data)
            .args([
                "-U",
                "postgres",
                "-A",
                "scram-sha-256",
                "--no-sync",
                "-E",
                "UTF8",
            ])
            .args(["--locale", "C"])
            .arg("--pwfile")
            .arg(&password_file)
            .current_dir(folder);
        successful(&mut initialize).await;
        let port = free_port();
        let server = Self::start_on(folder, port).await;
        let role = format!("CREATE ROLE worker LOGIN PASSWORD '{PASSWORD}'");
        server.run(&role).await;
        server
    }

    /// Starts it again.
    pub(crate) async fn start_on(folder: &Path, port: u16) -> Self {
        let mut start = tool("postgres").await;
        let key = folder.join("postgres.key");
        start
            .arg("-D")
            .arg(data(folder))
            .args(["-p", &port.to_string(), "-k", "", "-h", "127.0.0.1"])
            .args(["-c", "fsync=off", "-c", "ssl=on"])
            .args([
                "-c",
                &format!("ssl_cert_file={}", folder.join("server.pem").display()),
            ])
            .args(["-c", &format!("ssl_key_file={}", key.display())])
            .current_dir(folder);
        let is_ready = async |port| {
            let mut look = psql(port, "SELECT 1");
            look.output().await.unwrap().status.success()
        };
        Self {
            process: Process::start_on("postgres", folder, port, start, is_ready).await,
            folder: folder.to_owned(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.process.port
    }

    pub(crate) fn url(&self, user: &str, parameters: &str) -> String {
        let port = self.process.port;
        format!("postgres://{user}:{PASSWORD}@127.0.0.1:{port}/postgres{parameters}")
    }

    /// Runs statements as its owner.
    pub(crate) async fn run(&self, sql: &str) {
        self.ask(sql).await;
    }

    /// What a statement has for a value.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        self.ask_through(self.process.port, sql).await
    }

    /// The same through a pooler.
    pub(crate) async fn ask_through(&self, port: u16, sql: &str) -> String {
        successful(&mut psql(port, sql)).await
    }

    /// Ends it, whoever is connected.
    pub(crate) async fn stop(self) {
        let mut stop = tool("pg_ctl").await;
        stop.args(["stop", "-m", "fast", "-w", "-D"])
            .arg(data(&self.folder))
            .current_dir(&self.folder);
        successful(&mut stop).await;
        self.process.kill().await;
    }
}

/// A `PgBouncer` in transaction mode before a Postgres.
pub(crate) struct PgBouncer(Process);

impl PgBouncer {
    pub(crate) async fn start(folder: &Path, postgres: u16) -> Self {
        let users = folder.join("users.txt");
        let lines = ["postgres", "worker"].map(|user| format!("\"{user}\" \"{PASSWORD}\"\n"));
        fs::write(&users, lines.concat()).unwrap();
        let owner = other_user().await;
        let start = |port: u16| {
            let text = format!(
                "[databases]\n* = host=127.0.0.1 port={postgres}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 pool_mode = transaction\nauth_type = scram-sha-256\nauth_file = {}\n\
                 default_pool_size = 1\nmax_client_conn = 20\n",
                users.display()
            );
            let configuration = folder.join("pgbouncer.ini");
            fs::write(&configuration, text).unwrap();
            let mut command = command(&program("FAS_TEST_PGBOUNCER", "pgbouncer"));
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command.arg(configuration).current_dir(folder);
            command
        };
        let is_ready = async |port| TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        Self(Process::start("pgbouncer", folder, start, is_ready).await)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    pub(crate) fn url(&self, user: &str) -> String {
        let port = self.0.port;
        format!("postgres://{user}:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable")
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("postgres")
}

/// Where a test is root: whoever Postgres may run as, and his group.
async fn other_user() -> Option<(u32, u32)> {
    let id = async |arguments: &[&str]| -> u32 {
        let mut command = command("id");
        let text = successful(command.args(arguments)).await;
        text.trim().parse().unwrap()
    };
    if id(&["-u"]).await != 0 {
        return None;
    }
    Some((id(&["-u", "postgres"]).await, id(&["-g", "postgres"]).await))
}

/// A program of Postgres, as whoever may run it.
async fn tool(name: &str) -> Command {
    let folder = program("FAS_TEST_POSTGRES_BIN", "");
    let path = Path::new(&folder).join(name);
    let mut command = command(path.to_str().unwrap());
    if let Some((user, group)) = other_user().await {
        command.uid(user).gid(group);
    }
    command
}

fn psql(port: u16, sql: &str) -> Command {
    let folder = program("FAS_TEST_POSTGRES_BIN", "");
    let path = Path::new(&folder).join("psql");
    let mut command = command(path.to_str().unwrap());
    command
        .env("PGPASSWORD", PASSWORD)
        .env("PGSSLMODE", "disable")
        .args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-U", "postgres"])
        .args(["-d", "postgres", "-p", &port.to_string(), "-c", sql]);
    command
}
