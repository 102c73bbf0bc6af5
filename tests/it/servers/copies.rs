//! Two copies of the program with a lock in a real Consul: ended, killed, and with Consul frozen or changed by hand.

use std::{path::Path, process::Output, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    consul_server::{Consul, PREFIX, TOKEN},
    process::output,
    scene::{Daemon, Scene},
};

const APP: &str = "my-target-app";

const LEADS: &str = "fas_leader";

/// How long Consul gives a lock to nobody after a session has ended that held it.
const LOCK_DELAY: Duration = Duration::from_secs(15);

/// A platform, a Consul, and a copy that holds the lock and one that stands by.
struct Pair {
    scene: Scene,
    consul: Consul,
    holder: Daemon,
    standby: Daemon,
}

impl Pair {
    async fn start(folder: &Path) -> Self {
        let scene = Scene::new().await;
        scene.add_released_app(APP);
        let consul = Consul::start(folder).await;
        let url = consul.url(TOKEN);
        let settings = settings(&url);
        let (first, second) = (folder.join("first"), folder.join("second"));
        for folder in [&first, &second] {
            std::fs::create_dir(folder).unwrap();
        }
        let holder = scene.serve(&first, &[], &settings).await;
        holder.shows(LEADS, leads).await;
        let standby = scene.serve(&second, &[], &settings).await;
        let pair = Self {
            scene,
            consul,
            holder,
            standby,
        };
        pair.has_three().await;
        pair.standby.says("standing by: the lock").await;
        // What was made is in the lists of some passes.
        pair.scene.passes(4).await;
        pair
    }

    async fn has_three(&self) {
        three(&self.scene).await;
    }
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

fn settings(url: &str) -> [(&str, &str); 3] {
    [
        ("FAS_APP_NAME", APP),
        ("FAS_CREATED_MACHINE_COUNT", "3"),
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
async fn who_is_ended_hands_over_without_a_lock_delay() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::start(folder.path()).await;
    let began = Instant::now();
    pair.holder.stop().await;
    pair.standby.shows(LEADS, leads).await;
    let took = began.elapsed();
    assert!(took < LOCK_DELAY, "{took:?}");
    take_one(&pair.scene);
    three(&pair.scene).await;
    assert!(!pair.standby.log().contains(TOKEN));
}

#[tokio::test]
#[ignore = "needs consul"]
async fn who_is_killed_is_followed_when_its_session_and_the_lock_delay_are_over() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::start(folder.path()).await;
    pair.holder.kill().await;
    let began = Instant::now();
    take_one(&pair.scene);
    let writes = pair.scene.writes();
    pair.standby.shows(LEADS, leads).await;
    let took = began.elapsed();
    assert!(took > LOCK_DELAY, "{took:?}");
    assert!(pair.scene.writes() <= writes + 1, "nobody wrote meanwhile");
    three(&pair.scene).await;
}

#[tokio::test]
#[ignore = "needs consul"]
async fn nobody_writes_while_consul_stands_still_and_one_does_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::start(folder.path()).await;
    pair.consul.freeze(true).await;
    pair.holder.shows(LEADS, stands_by).await;
    pair.standby.shows(LEADS, stands_by).await;
    take_one(&pair.scene);
    let writes = pair.scene.writes();
    pair.scene.passes(6).await;
    assert_eq!(pair.scene.writes(), writes);
    pair.consul.freeze(false).await;
    three(&pair.scene).await;
}

#[tokio::test]
#[ignore = "needs consul"]
async fn a_key_that_is_deleted_or_overwritten_by_hand_is_one_copys_again() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::start(folder.path()).await;
    let key = format!("{PREFIX}fly-autoscaler/app/lock");
    pair.consul.put(&format!("/v1/kv/{key}"), "graffiti").await;
    take_one(&pair.scene);
    three(&pair.scene).await;
    pair.consul.delete(&key).await;
    pair.holder
        .shows(r#"fas_lock_changes_total{reason="taken"}"#, |lost| {
            lost >= Some(1.0)
        })
        .await;
    take_one(&pair.scene);
    three(&pair.scene).await;
    pair.scene.passes(6).await;
    assert_eq!(pair.scene.created(APP), 3);
}

/// What `check` says.
async fn check(scene: &Scene, url: &str) -> String {
    let mut program = scene.program(&settings(url));
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
    let holder = scene.serve(folder.path(), &[], &settings(&url)).await;
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
