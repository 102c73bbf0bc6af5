//! The image as Fly runs it: in its own root, with its own user, environment and command, as the first process there is.
//!
//! They are ignored by a plain `cargo test`, since the image has to be built and only root may run it. `FAS_TEST_IMAGE` names
//! a folder with the image's root (`root`), what `buildah inspect` says of it (`config.json`) and the commit that it was built
//! for (`commit`); `.ci/run image` makes all of it. The simulator is outside, on 127.0.0.1.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
};

use fly_autoscaler::sim::{NewMachine, Operation};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::{
    program::{Daemon, Served, signal, until},
    world::{APP, QUEUE},
};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");

/// The most that the program may add to its base, in bytes.
const PROGRAM: u64 = 16 << 20;

/// What a container's runtime does before it hands over to the image: the arguments are a folder of files that are to stand in
/// `/etc`, the root, and those of `chroot`.
const RUNTIME: &str = r#"
mount -t proc proc "$2/proc"
mount --rbind /dev "$2/dev"
for file in "$1"/*; do
  [ ! -e "$file" ] || mount --bind "$file" "$2/etc/${file##*/}"
done
shift 2
exec chroot "$@"
"#;

/// Where a name server listens: what is in `resolv.conf` has no port.
const NAME_SERVER: &str = "127.53.53.53";

/// A built image.
struct Image {
    folder: PathBuf,
    config: Value,
}

impl Image {
    fn named() -> Self {
        let folder = env::var_os("FAS_TEST_IMAGE").expect("FAS_TEST_IMAGE names the image");
        let folder = PathBuf::from(folder);
        let about = fs::read(folder.join("config.json")).unwrap();
        let mut about: Value = serde_json::from_slice(&about).unwrap();
        Self {
            folder,
            config: about["OCIv1"]["config"].take(),
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root").canonicalize().unwrap()
    }

    /// What a list of its configuration holds.
    fn list(&self, name: &str) -> Vec<&str> {
        let list = self.config[name].as_array();
        let items = list.unwrap_or_else(|| panic!("no {name}: {}", self.config));
        items.iter().map(|item| item.as_str().unwrap()).collect()
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        let pairs = self.list("Env").into_iter();
        pairs.map(|pair| pair.split_once('=').unwrap()).collect()
    }

    /// The numbers of its user and of that one's group.
    fn user(&self) -> (u32, u32) {
        let name = self.config["User"].as_str().unwrap();
        let users = fs::read_to_string(self.root().join("etc/passwd")).unwrap();
        let user = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|user| user[0] == name)
            .unwrap_or_else(|| panic!("no user {name}: {users}"));
        (user[2].parse().unwrap(), user[3].parse().unwrap())
    }

    /// Becomes its entry point with these arguments, without an environment yet.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_beside(Path::new("/nonexistent"), arguments)
    }

    /// The same, with the files of a folder in its `/etc`.
    fn command_beside(&self, etc: &Path, arguments: &[&str]) -> Command {
        let (user, group) = self.user();
        let root = self.root();
        let mut command = Command::new("/usr/bin/unshare");
        command
            .args(["--mount", "--pid", "--fork", "sh", "-euc", RUNTIME, "sh"])
            .arg(etc)
            .arg(&root)
            .arg(format!("--userspec={user}:{group}"))
            .arg("--groups=")
            .arg(&root)
            .args(self.list("Entrypoint"))
            .args(arguments)
            .env_clear();
        command
    }

    /// Starts what it runs when nothing else is said, against a simulator.
    async fn start<'a>(&'a self, served: &'a Served) -> Running<'a> {
        let settings = [&self.environment()[..], &[CREATED]].concat();
        let command = self.command(&self.list("Cmd"));
        let daemon = Daemon::start_as(command.into(), served, &settings).await;
        let unshare = daemon.id();
        let children = format!("/proc/{unshare}/task/{unshare}/children");
        let child = fs::read_to_string(children).unwrap();
        Running {
            image: self,
            served,
            daemon,
            id: child.trim().parse().unwrap(),
            ended: false,
        }
    }

    /// Every file and folder: its size, its mode, and when something about it changed last.
    fn files(&self) -> BTreeMap<PathBuf, (u64, u32, i64, i64)> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.root()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let about = fs::symlink_metadata(&path).unwrap();
                if about.is_dir() {
                    folders.push(path.clone());
                }
                let state = (about.len(), about.mode(), about.ctime(), about.ctime_nsec());
                files.insert(path, state);
            }
        }
        files
    }
}

/// The image's daemon; it is killed with this.
struct Running<'a> {
    image: &'a Image,
    served: &'a Served,
    daemon: Daemon,
    /// Its number outside of the image.
    id: u32,
    ended: bool,
}

impl Running<'_> {
    /// The numbers in a line of what the system says of the process.
    fn status(&self, line: &str) -> Vec<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let found = status.lines().find_map(|one| one.strip_prefix(line));
        let numbers = found.unwrap().split_whitespace();
        numbers.map(|number| number.parse().unwrap()).collect()
    }

    /// Waits for the end, for at most five seconds.
    async fn ends(&mut self) -> ExitStatus {
        let status = self.daemon.ends().await;
        self.ended = true;
        status
    }

    /// What a shell in its machine answers to a command, as the machine's root: `fly ssh console -C`.
    async fn console(&self, line: &str) -> Output {
        let base = format!("http://{}", self.served.address);
        let prometheus = format!("{base}/prometheus/acme");
        let mut command = tokio::process::Command::new("/usr/bin/nsenter");
        command
            .args(["--target", &self.id.to_string()])
            .args(["--mount", "--pid", "--root", "--wd", "/bin/sh", "-c", line])
            .env_clear()
            .envs(self.image.environment())
            .envs(QUEUE.iter().copied())
            .env("FAS_APP_NAME", APP)
            .env("FAS_API_TOKEN", "FlyV1 fm2_machines,fm2_discharge")
            .env("FAS_METRICS_ADDRESS", self.daemon.address.to_string())
            .env("FAS_PROMETHEUS_ADDRESS", prometheus)
            .env("FLY_FLAPS_BASE_URL", &base)
            .env("FLY_API_BASE_URL", &base)
            .env(CREATED.0, CREATED.1);
        command.output().await.unwrap()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            signal(self.id, "KILL");
        }
    }
}

/// A platform with one machine, and three wanted.
async fn served() -> Served {
    let served = Served::new().await;
    {
        let mut platform = served.platform();
        let machine = NewMachine::in_region("ord");
        platform.add_machine(APP, machine).unwrap();
        platform.set_gauge(APP, "queue_depth", Some(3.0));
    }
    served
}

fn text(output: &Output) -> String {
    let whole = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(whole).unwrap()
}

#[test]
#[ignore = "needs the image"]
fn it_is_started_as_the_image_whose_place_it_takes_but_not_as_root() {
    let image = Image::named();
    assert_eq!(image.list("Entrypoint"), ["fly-autoscaler"]);
    assert_eq!(image.list("Cmd"), ["serve"]);
    assert_eq!(image.config["ExposedPorts"], json!({"9090/tcp": {}}));
    let (user, group) = image.user();
    assert!(user != 0 && group != 0, "{user}:{group}");
    let program = fs::metadata(image.root().join("usr/local/bin/fly-autoscaler")).unwrap();
    assert!(program.len() <= PROGRAM, "{} bytes", program.len());
    assert_eq!((program.uid(), program.mode() & 0o7777), (0, 0o755));
}

#[test]
#[ignore = "needs the image"]
fn it_says_its_version_and_commit() {
    let image = Image::named();
    let mut command = image.command(&["version"]);
    let output = command.envs(image.environment()).output().unwrap();
    let commit = fs::read_to_string(image.folder.join("commit")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        text(&output),
        format!("fly-autoscaler {version}, commit={}\n", commit.trim())
    );
}

/// A name server that knows every host at 127.0.0.1, and by no address of six.
async fn answer_names(socket: UdpSocket) {
    let mut asked = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut asked).await.unwrap();
        // After the header a name, which ends with an empty label, its type and its class.
        let name = asked[12..length]
            .iter()
            .position(|byte| *byte == 0)
            .unwrap();
        let question = &asked[12..12 + name + 5];
        let is_ipv4 = question[name + 1..name + 3] == [0, 1];
        let mut answer = asked[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
        answer.extend(question);
        if is_ipv4 {
            answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, from).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs the image"]
async fn it_finds_hosts_in_its_files_and_by_its_name_server() {
    let image = Image::named();
    let served = served().await;
    let etc = tempfile::tempdir().unwrap();
    let resolver = format!("nameserver {NAME_SERVER}\n");
    fs::write(etc.path().join("resolv.conf"), resolver).unwrap();
    fs::write(etc.path().join("hosts"), "127.0.0.1 machines.test\n").unwrap();
    let socket = UdpSocket::bind((NAME_SERVER, 53)).await.unwrap();
    let names = tokio::spawn(answer_names(socket));

    let port = served.address.port();
    let mut command = image.command_beside(etc.path(), &["check"]);
    command
        .envs(image.environment())
        .envs(QUEUE.iter().copied())
        .env("FAS_APP_NAME", APP)
        .env("FAS_API_TOKEN", "FlyV1 fm2_machines,fm2_discharge")
        .env(
            "FAS_PROMETHEUS_ADDRESS",
            format!("http://metrics.test:{port}/prometheus/acme"),
        )
        .env("FLY_FLAPS_BASE_URL", format!("http://machines.test:{port}"))
        .env("FLY_API_BASE_URL", format!("http://api.test:{port}"))
        .env(CREATED.0, CREATED.1);
    let mut command = tokio::process::Command::from(command);
    let said = text(&command.output().await.unwrap());
    names.abort();
    for found in [
        "1 machine of the group app",
        "queue_depth = 3",
        "All checks passed",
    ] {
        assert!(said.contains(found), "{found}: {said}");
    }
}

#[tokio::test]
#[ignore = "needs the image"]
async fn it_scales_as_the_first_process_writes_no_file_and_ends_in_order() {
    let image = Image::named();
    let served = served().await;
    let before = image.files();
    let mut running = image.start(&served).await;
    until("three machines", || {
        served.platform().living(APP, "app") == 3
    })
    .await;
    served.more(Operation::List, 3).await;

    assert_eq!(running.status("NSpid:").last(), Some(&1));
    let (user, group) = image.user();
    assert_eq!(running.status("Uid:"), [user; 4]);
    assert_eq!(running.status("Gid:"), [group; 4]);
    assert!(running.status("Groups:").is_empty());
    let ready = running.daemon.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");

    signal(running.id, "TERM");
    assert_eq!(running.ends().await.code(), Some(0));
    assert!(running.daemon.has_said(r#""msg":"stopped""#));
    let after = image.files();
    assert!(before.len() > 1000, "{} files", before.len());
    let changed: Vec<_> = after
        .iter()
        .filter(|(path, now)| before.get(*path) != Some(*now))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(after.len(), before.len());
}

#[tokio::test]
#[ignore = "needs the image"]
async fn a_shell_beside_the_daemon_can_check_and_evaluate() {
    let image = Image::named();
    let served = served().await;
    let running = image.start(&served).await;
    until("three machines", || {
        served.platform().living(APP, "app") == 3
    })
    .await;

    let output = running.console("fly-autoscaler check").await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("3 machines of the group app"), "{said}");
    assert!(!said.contains("warning "), "{said}");

    let output = running.console("fly-autoscaler eval --explain").await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("created: queue_depth = 3 -> 3"), "{said}");

    let output = running
        .console("test \"$(id -u)\" = 0 && cat /etc/os-release")
        .await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("ID=debian"), "{}", text(&output));
}
