//! Two copies of the program with a lock in a real Consul: ended, killed, frozen, and with Consul frozen, away, begun anew, or
//! changed by hand.
//!
//! Most of their time goes by in waiting for Consul, so that they run side by side.

use std::{path::Path, process::Output, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    consul_server::{Consul, PREFIX, TOKEN},
    process::output,
    scene::{Daemon, Scene},
};

const APP: &str = "my-target-app";

const LEADS: &str = "fas_leader";

/// What whoever takes the lock logs, at once; `/metrics` is a second old at times.
const HOLDS: &str = "this copy holds the lock";

const WRITTEN: &str =
    r#"fas_api_requests_total{api="machines",operation="create_machine",status="ok"}"#;

/// How long Consul gives a lock to nobody after a session has ended that held it.
const LOCK_DELAY: Duration = Duration::from_secs(15);

/// Within which time the other copy writes when one is gone: twice the session's time, the lock-delay, and a call or two.
const CRASH: Duration = Duration::from_secs(47);

/// A platform, and a copy that holds the lock of this name and one that stands by.
struct Pair {
    scene: Scene,
    holder: Daemon,
    standby: Daemon,
}

impl Pair {
    async fn start(folder: &Path, name: &str, url: &str) -> Self {
        let scene = Scene::new().await;
        scene.add_released_app(APP);
        let settings = settings(name, url);
        let holder = scene.serve(&made(folder, name, "1"), &[], &settings).await;
        holder.shows(LEADS, leads).await;
        let standby = scene.serve(&made(folder, name, "2"), &[], &settings).await;
        let pair = Self {
            scene,
            holder,
            standby,
        };
        pair.three().await;
        pair.standby.says("standing by: the lock").await;
        // What was made is in the lists of some passes.
        pair.scene.passes(4).await;
        pair
    }

    async fn three(&self) {
        three(&self.scene).await;
    }

    /// There is something to do, both go on with their passes, and neither does it.
    async fn nobody_writes(&self) {
        take_one(&self.scene);
        let writes = self.scene.writes();
        self.scene.passes(6).await;
        assert_eq!(self.scene.writes(), writes);
    }

    fn shows_no_token(&self) {
        for daemon in [&self.holder, &self.standby] {
            assert!(!daemon.log().contains(TOKEN));
        }
    }
}

/// A folder of a daemon's own.
fn made(folder: &Path, name: &str, number: &str) -> std::path::PathBuf {
    let folder = folder.join([name, number].concat());
    std::fs::create_dir(&folder).unwrap();
    folder
}

async fn three(scene: &Scene) {
    let has_three = |scene: &Scene| scene.created(APP) == 3;
    scene.becomes("three machines", has_three).await;
}

/// Takes a machine away, so that there is something to do.
fn take_one(scene: &Scene) {
    let mut platform = scene.platform();
    let app = platform.app(APP).unwrap();
    let mut machines = app.machines().filter(|machine| machine.state.is_living());
    let id = Arc::clone(&machines.next().unwrap().id);
    drop(machines);
    platform.remove_machine(APP, &id);
}

fn settings<'all>(name: &'all str, url: &'all str) -> [(&'all str, &'all str); 4] {
    [
        ("FAS_APP_NAME", APP),
        ("FAS_CREATED_MACHINE_COUNT", "3"),
        ("FAS_LOCK_NAME", name),
        ("FLY_CONSUL_URL", url),
    ]
}

fn leads(value: Option<f64>) -> bool {
    value == Some(1.0)
}

fn stands_by(value: Option<f64>) -> bool {
    value == Some(0.0)
}

#[tokio::test]
#[ignore = "needs consul"]
async fn copies_that_end_or_stand_still_are_followed_and_what_is_done_by_hand_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let consul = Consul::start(folder.path()).await;
    tokio::join!(
        who_is_ended_hands_over_at_once(folder.path(), &consul),
        who_is_killed_is_followed(folder.path(), &consul),
        who_stands_still_is_followed_and_writes_no_more(folder.path(), &consul),
        a_key_changed_by_hand_is_one_copys_again(folder.path(), &consul),
        a_token_that_is_not_known_is_said(folder.path(), &consul),
    );
}

#[expect(clippy::print_stderr, reason = "shown by `--nocapture`")]
fn tell(what: &str, took: Duration) {
    eprintln!("{what}: {} ms", took.as_millis());
}

async fn who_is_ended_hands_over_at_once(folder: &Path, consul: &Consul) {
    let Pair {
        scene,
        holder,
        standby,
    } = Pair::start(folder, "ended", &consul.url(TOKEN)).await;
    let began = Instant::now();
    let follows = async {
        standby.says(HOLDS).await;
        began.elapsed()
    };
    let ((), took) = tokio::join!(holder.stop(), follows);
    tell("ended", took);
    assert!(took < Duration::from_secs(1), "{took:?}");
    take_one(&scene);
    three(&scene).await;
    assert!(!standby.log().contains(TOKEN));
}

async fn who_is_killed_is_followed(folder: &Path, consul: &Consul) {
    let Pair {
        scene,
        holder,
        standby,
    } = Pair::start(folder, "killed", &consul.url(TOKEN)).await;
    holder.kill().await;
    let began = Instant::now();
    take_one(&scene);
    let writes = scene.writes();
    standby.says(HOLDS).await;
    let took = began.elapsed();
    tell("killed", took);
    assert!(took > LOCK_DELAY, "{took:?}");
    assert!(took < CRASH, "{took:?}");
    assert!(scene.writes() <= writes + 1, "nobody wrote meanwhile");
    three(&scene).await;
}

async fn who_stands_still_is_followed_and_writes_no_more(folder: &Path, consul: &Consul) {
    let pair = Pair::start(folder, "frozen", &consul.url(TOKEN)).await;
    let written = pair.holder.series(WRITTEN).await;
    pair.holder.freeze(true).await;
    let began = Instant::now();
    pair.standby.says(HOLDS).await;
    let took = began.elapsed();
    tell("frozen", took);
    assert!(took < CRASH, "{took:?}");
    take_one(&pair.scene);
    pair.three().await;
    // It is to do what it had not done, as far as it knows.
    take_one(&pair.scene);
    pair.holder.freeze(false).await;
    pair.holder.says("this copy has lost the lock").await;
    pair.holder.says("standing by: the lock").await;
    pair.three().await;
    pair.scene.passes(6).await;
    assert_eq!(pair.scene.created(APP), 3);
    assert_eq!(pair.holder.series(WRITTEN).await, written);
    pair.holder.shows(LEADS, stands_by).await;
    pair.shows_no_token();
}

async fn a_key_changed_by_hand_is_one_copys_again(folder: &Path, consul: &Consul) {
    let pair = Pair::start(folder, "changed", &consul.url(TOKEN)).await;
    let key = format!("{PREFIX}fly-autoscaler/changed/lock");
    consul.put(&format!("/v1/kv/{key}"), "graffiti").await;
    take_one(&pair.scene);
    pair.three().await;
    consul.delete(&key).await;
    pair.holder
        .shows(r#"fas_lock_changes_total{reason="taken"}"#, |lost| {
            lost >= Some(1.0)
        })
        .await;
    take_one(&pair.scene);
    pair.three().await;
    pair.scene.passes(6).await;
    assert_eq!(pair.scene.created(APP), 3);
    pair.shows_no_token();
}

async fn a_token_that_is_not_known_is_said(folder: &Path, consul: &Consul) {
    let token = "55555555-5555-5555-5555-555555555555";
    let scene = Scene::new().await;
    scene.add_released_app(APP);
    let (name, url) = ("refused", consul.url(token));
    let daemon = scene
        .serve(&made(folder, name, ""), &[], &settings(name, &url))
        .await;
    daemon.says("the token is not accepted").await;
    scene.passes(6).await;
    assert_eq!(scene.writes(), 0);
    consul.grant(name, token, &["key", "node", "session"]).await;
    three(&scene).await;
    assert!(!daemon.log().contains(token));
}

#[tokio::test]
#[ignore = "needs consul"]
async fn nobody_writes_while_consul_is_away_and_one_does_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    tokio::join!(
        consul_stands_still(folder.path()),
        consul_begins_anew(folder.path()),
        consul_is_away_from_the_start(folder.path()),
    );
}

async fn consul_stands_still(folder: &Path) {
    let name = "still";
    let consul = Consul::start(&made(folder, name, "consul")).await;
    let pair = Pair::start(folder, name, &consul.url(TOKEN)).await;
    consul.freeze(true).await;
    pair.holder.shows(LEADS, stands_by).await;
    pair.standby.shows(LEADS, stands_by).await;
    pair.nobody_writes().await;
    consul.freeze(false).await;
    pair.three().await;
    pair.scene.passes(6).await;
    assert_eq!(pair.scene.created(APP), 3);
}

async fn consul_begins_anew(folder: &Path) {
    let name = "anew";
    let mut consul = Consul::start(&made(folder, name, "consul")).await;
    let pair = Pair::start(folder, name, &consul.url(TOKEN)).await;
    consul.end().await;
    pair.holder.shows(LEADS, stands_by).await;
    pair.nobody_writes().await;
    consul.begin().await;
    pair.three().await;
    pair.scene.passes(6).await;
    assert_eq!(pair.scene.created(APP), 3);
    pair.shows_no_token();
}

async fn consul_is_away_from_the_start(folder: &Path) {
    let name = "away";
    let mut consul = Consul::away(&made(folder, name, "consul"));
    let scene = Scene::new().await;
    scene.add_released_app(APP);
    let url = consul.url(TOKEN);
    let settings = settings(name, &url);
    let one = scene.serve(&made(folder, name, "1"), &[], &settings).await;
    let other = scene.serve(&made(folder, name, "2"), &[], &settings).await;
    for daemon in [&one, &other] {
        daemon
            .says("nothing is written by a copy that does not hold it")
            .await;
    }
    scene.passes(6).await;
    assert_eq!(scene.writes(), 0);
    consul.begin().await;
    three(&scene).await;
    scene.passes(6).await;
    assert_eq!(scene.created(APP), 3);
}

/// What `check` says.
async fn check(scene: &Scene, url: &str) -> String {
    let mut program = scene.program(&settings("app", url));
    let Output { stdout, stderr, .. } = output(program.arg("check")).await;
    let text = [stdout, stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
#[ignore = "needs consul"]
async fn check_tries_the_lock_names_its_holder_and_what_a_token_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new().await;
    scene.add_released_app(APP);
    let consul = Consul::start(folder.path()).await;
    // A node that exists may be made known again without the right: this one comes first.
    let kinds = ["node", "session", "key"];
    for (number, kind) in kinds.iter().enumerate() {
        let token = format!("33333333-3333-3333-3333-33333333333{number}");
        let others: Vec<&str> = kinds
            .iter()
            .filter(|other| other != &kind)
            .copied()
            .collect();
        consul.grant(kind, &token, &others).await;
        let said = check(&scene, &consul.url(&token)).await;
        let rule = format!("{kind}_prefix \"{PREFIX}\" {{ policy = \"write\" }}");
        assert!(said.contains(&rule), "{kind}: {said}");
        assert!(!said.contains(&token), "{said}");
    }
    let url = consul.url(TOKEN);
    let said = check(&scene, &url).await;
    assert!(said.contains("which nobody holds now"), "{said}");
    assert_eq!(consul.keys().await, "", "the probe leaves nothing behind");
    let holder = scene
        .serve(folder.path(), &[], &settings("app", &url))
        .await;
    holder.shows(LEADS, leads).await;
    let said = check(&scene, &url).await;
    let version = env!("CARGO_PKG_VERSION");
    let by = format!("which is held by a copy outside of Fly, version {version}");
    assert!(said.contains(&by), "{said}");
    holder.shows(LEADS, leads).await;
    let said = check(&scene, &consul.url("44444444-4444-4444-4444-444444444444")).await;
    assert!(said.contains("the token is not accepted"), "{said}");
    let said = check(&scene, &format!("http://{}/", holder.address())).await;
    assert!(said.contains("no Consul answers at"), "{said}");
}
