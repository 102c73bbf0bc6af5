//! Two copies of the program that divide many apps among them, with a real Consul.

use std::{path::Path, time::Duration};

use tokio::time::Instant;

use super::{
    consul_server::{Consul, PREFIX, TOKEN},
    metrics_server::ORG,
    process::eventually,
    scene::{Daemon, Scene},
};

const LEADS: &str = "fas_leader";

const SHARDS: f64 = 4.0;

/// How long Consul gives a lock to nobody after a session has ended that held it.
const LOCK_DELAY: Duration = Duration::from_secs(15);

fn apps() -> impl Iterator<Item = String> {
    (0..12).map(|number| format!("shop-{number}"))
}

fn settings<'a>(url: &'a str, shards: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("FAS_APP_NAME", "shop-*"),
        ("FAS_ORG", ORG),
        ("FAS_CREATED_MACHINE_COUNT", "2"),
        ("FAS_SHARDS", shards),
        ("FLY_CONSUL_URL", url),
    ]
}

async fn all_have_two(scene: &Scene) {
    let is_so = |scene: &Scene| apps().all(|app| scene.created(&app) == 2);
    scene.becomes("two machines each", is_so).await;
}

/// A copy with a folder of its own.
async fn serve(scene: &Scene, folder: &Path, url: &str, shards: &str) -> Daemon {
    std::fs::create_dir(folder).unwrap();
    scene.serve(folder, &[], &settings(url, shards)).await
}

#[tokio::test]
#[ignore = "needs consul"]
async fn two_copies_divide_the_apps_and_one_has_all_of_them_when_the_other_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let scene = Scene::new().await;
    for app in apps() {
        scene.add_released_app(&app);
    }
    let consul = Consul::start(folder).await;
    let url = consul.url(TOKEN);
    let (first, second) = (folder.join("first"), folder.join("second"));
    let (first, second) = tokio::join!(
        serve(&scene, &first, &url, "4"),
        serve(&scene, &second, &url, "4")
    );
    let are_held = async || {
        let held = [first.series(LEADS).await, second.series(LEADS).await];
        held.into_iter().flatten().sum::<f64>() >= SHARDS
    };
    let logs = || [first.log(), second.log()].concat();
    eventually("all shards are held", are_held, logs).await;
    all_have_two(&scene).await;
    let keys = consul.keys().await;
    for shard in 0..4 {
        let key = format!("{PREFIX}fly-autoscaler/app/lock/4/{shard}");
        assert!(keys.contains(&key), "{keys}");
    }
    // What was made is in the lists of some passes.
    scene.passes(60).await;
    let began = Instant::now();
    first.stop().await;
    second.shows(LEADS, |value| value == Some(SHARDS)).await;
    let took = began.elapsed();
    assert!(took < LOCK_DELAY, "{took:?}");

    // A key that is changed by hand costs its own shard, for a moment.
    let key = format!("{PREFIX}fly-autoscaler/app/lock/4/2");
    consul.delete(&key).await;
    second.says("this copy has lost shard 2").await;
    second.shows(LEADS, |value| value == Some(SHARDS)).await;
    assert!(!second.log().contains("this copy has lost shard 1"));

    // A copy without shards writes nothing beside it.
    let third = serve(&scene, &folder.join("third"), &url, "1").await;
    third.says("FAS_SHARDS differs").await;
    assert_eq!(third.series(LEADS).await, Some(0.0));
    assert!(!second.log().contains(TOKEN));
    assert!(!third.log().contains(TOKEN));
}
