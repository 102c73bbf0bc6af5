//! Programs that run beside a test: started on a free port, waited for, and ended with the test, also when it panics.

use std::{
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How long anything may take to come true; far more than it does, since machines that test are slow and shared.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(50);

/// How often a program is started again that ended at once: somebody else may have taken its port meanwhile.
const ATTEMPTS: usize = 3;

/// How much of a program's log a failing test shows, in bytes.
const SHOWN: usize = 6000;

/// A program that is ready; dropping it kills it.
pub(crate) struct Process {
    pub(crate) port: u16,
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts what `command` makes of a free port, until `is_ready` says so.
    ///
    /// # Panics
    ///
    /// When the program is not there, ends, or never gets ready.
    pub(crate) async fn start(
        name: &str,
        folder: &Path,
        command: impl Fn(u16) -> Command,
        is_ready: impl AsyncFn(u16) -> bool,
    ) -> Self {
        for _ in 1..ATTEMPTS {
            let port = free_port();
            if let Ok(process) = Self::launch(name, folder, port, command(port), &is_ready).await {
                return process;
            }
        }
        let port = free_port();
        Self::start_on(name, folder, port, command(port), is_ready).await
    }

    /// As [`Process::start`], on a port that is no matter of choice.
    pub(crate) async fn start_on(
        name: &str,
        folder: &Path,
        port: u16,
        command: Command,
        is_ready: impl AsyncFn(u16) -> bool,
    ) -> Self {
        Self::launch(name, folder, port, command, &is_ready)
            .await
            .unwrap_or_else(|log| panic!("{name} ended at once:\n{log}"))
    }

    /// The log instead, if it ended before it was ready.
    async fn launch(
        name: &str,
        folder: &Path,
        port: u16,
        mut command: Command,
        is_ready: &impl AsyncFn(u16) -> bool,
    ) -> Result<Self, String> {
        let log = folder.join(format!("{name}.log"));
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let program = command.as_std().get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({}): {error}", program.display()));
        let mut process = Self {
            port,
            child,
            name: name.to_owned(),
            log,
        };
        let end = Instant::now() + PATIENCE;
        loop {
            if process.child.try_wait().unwrap().is_some() {
                return Err(process.tail());
            }
            if is_ready(port).await {
                return Ok(process);
            }
            assert!(Instant::now() < end, "{name} never gets ready");
            sleep(LOOK).await;
        }
    }

    /// Ends it as a power cut does, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends it a signal, by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = command("kill").args([format!("-{name}"), id]).status();
        let sent = sent.await.unwrap();
        assert!(sent.success(), "{} cannot be signalled", self.name);
    }

    /// Ends it by SIGTERM; returns its exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        self.signal("TERM").await;
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("{} does not end", self.name));
        status.unwrap().code()
    }

    /// All that it has written to standard output and standard error.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let mut begin = log.len().saturating_sub(SHOWN);
        while !log.is_char_boundary(begin) {
            begin += 1;
        }
        log[begin..].to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Only a failing test shows what it writes.
            #[expect(clippy::print_stderr, reason = "the log explains the failure")]
            {
                eprintln!("--- the end of {}'s log:\n{}", self.name, self.tail());
            }
        }
    }
}

/// A command with nothing in its environment but where programs are found: settings of whoever tests must not matter.
pub(crate) fn command(program: &str) -> Command {
    let path = env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .env_clear()
        // Servers live where only root looks.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .kill_on_drop(true);
    command
}

/// The program that a variable names, or else the one of this name.
pub(crate) fn program(variable: &str, name: &str) -> String {
    env::var(variable)
        .ok()
        .filter(|program| !program.is_empty())
        .unwrap_or_else(|| name.to_owned())
}

/// Runs a command to its end; returns what it wrote.
pub(crate) async fn output(command: &mut Command) -> Output {
    let shown = format!("{:?}", command.as_std());
    timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{shown} does not end"))
        .unwrap_or_else(|error| panic!("cannot run {shown}: {error}"))
}

/// Runs a command that has to succeed; returns its standard output.
pub(crate) async fn successful(command: &mut Command) -> String {
    let output = output(command).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{:?}: {text}{}",
        command.as_std(),
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Waits until `is_true`.
///
/// # Panics
///
/// When it never is; `shown` then tells how things are.
pub(crate) async fn eventually(
    what: &str,
    mut is_true: impl AsyncFnMut() -> bool,
    shown: impl Fn() -> String,
) {
    let end = Instant::now() + PATIENCE;
    while !is_true().await {
        assert!(Instant::now() < end, "never true: {what}\n{}", shown());
        sleep(LOOK).await;
    }
}

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
}

/// The status and the body of a GET; `None` when there is no answer. It shares no code with the program.
pub(crate) async fn get(port: u16, path: &str, authorization: &str) -> Option<(u16, String)> {
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {authorization}\r\n\r\n"
    );
    send(port, &request).await
}

/// The status and the body that answer a request of HTTP/1.0 as it is written; `None` when there is no answer.
pub(crate) async fn send(port: u16, request: &str) -> Option<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(answer)
    };
    let answer = timeout(Duration::from_secs(5), exchange).await.ok()??;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
