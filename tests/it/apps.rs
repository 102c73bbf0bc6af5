//! Many apps: one loop, no app in another's way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fly_autoscaler::{
    sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation, Options, RateLimits},
    transport::{Transport, TransportError},
};
use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::world::{APP, Logs, SimTransport, World};

const ALL: &[(&str, &str)] = &[
    ("FAS_APP_NAME", "app-*"),
    ("FAS_ORG", "acme"),
    ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
];

/// A world with `count` apps, `app-0000` and so on, each with one machine and wanting `depth`.
fn apps(count: usize, depth: f64, settings: &[(&str, &str)]) -> World {
    let options = Options {
        log_capacity: 200_000,
        ..Options::default()
    };
    let world = World::queue_with_options(depth, &[ALL, settings].concat(), &options);
    for number in 0..count {
        add(&world, &name(number), depth);
    }
    world
}

fn name(number: usize) -> String {
    format!("app-{number:04}")
}

fn add(world: &World, app: &str, depth: f64) {
    let mut platform = world.platform();
    platform.add_app(app, "acme");
    platform
        .add_machine(app, NewMachine::in_region("ord"))
        .unwrap();
    platform.set_gauge(app, "queue_depth", Some(depth));
}

/// When each app's machines were listed, in milliseconds since the simulation's start; repetitions included.
fn lists(world: &World) -> BTreeMap<String, Vec<u128>> {
    let mut lists: BTreeMap<String, Vec<u128>> = BTreeMap::new();
    for request in world.platform().requests_for(Operation::List) {
        let app = request.app.as_deref().unwrap().to_owned();
        lists.entry(app).or_default().push(request.at.as_millis());
    }
    lists
}

fn has_series(world: &World, app: &str) -> bool {
    world
        .admin
        .metrics_text()
        .contains(&format!(r#"app="{app}""#))
}

#[tokio::test(start_paused = true)]
async fn apps_that_hang_fail_or_vanish_do_not_delay_the_others() {
    let mut world = apps(50, 1.0, &[]);
    let (hanging, failing, vanishing) = (name(7), name(21), name(33));
    {
        let mut platform = world.platform();
        platform.add_fault(Fault::new(Effect::Hang).on(Operation::List).app(&hanging));
        platform.add_fault(Fault::status(500).on(Operation::List).app(&failing));
    }
    world.run_for(40).await;
    world.platform().remove_app(&vanishing);
    world.run_for(160).await;
    let lists = lists(&world);
    let odd = [&hanging, &failing, &vanishing];
    for (app, times) in &lists {
        if odd.contains(&app) {
            continue;
        }
        let gaps: BTreeSet<u128> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [15_000].into(), "{app} keeps its interval");
        assert!(times.len() >= 13, "{app}: {}", times.len());
    }
    assert_eq!(lists.len(), 50);
    assert!(world.pass_errors("timeout") >= 5);
    assert!(world.pass_errors("list") >= 10);
    assert_eq!(world.writes(), 0);
    assert!(has_series(&world, &name(8)));
    assert!(
        !has_series(&world, &vanishing),
        "forgotten with the next list of apps"
    );
    assert_eq!(world.get("/readyz").await.0, 200, "the others succeed");
}

#[tokio::test(start_paused = true)]
async fn hanging_apps_hold_their_places_no_longer_than_the_timeout() {
    let mut world = apps(6, 1.0, &[("FAS_CONCURRENCY", "2"), ("FAS_TIMEOUT", "10s")]);
    for number in 0..3 {
        world.platform().add_fault(
            Fault::new(Effect::Hang)
                .on(Operation::List)
                .app(&name(number)),
        );
    }
    world.run_for(120).await;
    for (app, times) in &lists(&world) {
        assert!(times.len() >= 4, "{app}: {times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn apps_come_and_go_with_their_series() {
    let logs = Logs::capture();
    let mut world = apps(2, 1.0, &[]);
    world.run_for(30).await;
    let late = name(9);
    add(&world, &late, 2.0);
    world.run_for(80).await;
    assert_eq!(world.platform().living(&late, "app"), 2, "it is scaled");
    for series in [
        format!(r#"fas_metric_value{{app="{late}",group="app",metric="queue_depth"}}"#),
        format!(r#"fas_target_machines{{app="{late}",bound="min",group="app",kind="created"}}"#),
        format!(r#"fas_target_machines{{app="{late}",bound="max",group="app",kind="created"}}"#),
        format!(r#"fas_machines{{app="{late}",group="app",state="started"}}"#),
        format!(r#"fas_last_success_timestamp_seconds{{app="{late}",group="app"}}"#),
    ] {
        assert!(world.series(&series).is_some(), "{series}");
    }
    world.platform().remove_app(&late);
    world.run_for(70).await;
    assert!(!has_series(&world, &late), "{}", world.admin.metrics_text());
    assert!(has_series(&world, &name(0)));
    assert_eq!(logs.with(&format!("{late} is scaled from now on")).len(), 1);
    assert_eq!(logs.with(&format!("{late} is no longer scaled")).len(), 1);
    let asked = world.platform().requests().total();
    add(&world, &late, 3.0);
    world.run_for(80).await;
    assert!(world.platform().requests().total() > asked);
    assert_eq!(
        world.platform().living(&late, "app"),
        3,
        "it is welcome back"
    );
}

#[tokio::test(start_paused = true)]
async fn an_app_that_goes_while_its_pass_runs_leaves_nothing_behind() {
    let mut world = apps(2, 1.0, &[("FAS_APP_LIST_REFRESH_INTERVAL", "20s")]);
    let app = name(1);
    world.run_for(14).await;
    // Its second pass begins at 22.5 s and has its list at 40 s, when it is not managed any more.
    world.platform().add_fault(
        Fault::new(Effect::SlowAnswer(Duration::from_secs(12)))
            .on(Operation::List)
            .app(&app),
    );
    let away = Canned::json(200, r#"{"apps":[{"name":"app-0000"}],"total_apps":1}"#);
    world
        .platform()
        .add_fault(Fault::new(Effect::Answer(away)).on(Operation::ListApps));
    world.run_for(60).await;
    assert!(!has_series(&world, &app));
    let last = *lists(&world)[&app].last().unwrap();
    assert!(last < 41_000, "{last}");
}

#[tokio::test(start_paused = true)]
async fn the_daemons_own_app_is_left_out_unless_another_group_is_scaled() {
    for (group, own_group, managed) in [
        (None, None, false),
        (Some("app"), None, false),
        (Some("worker"), None, true),
        (Some("worker"), Some("worker"), false),
        (None, Some("autoscaler"), true),
    ] {
        let name = format!("{group:?} {own_group:?}");
        let logs = Logs::capture();
        let mut settings = vec![("FLY_APP_NAME", "app-0001")];
        settings.extend(group.map(|group| ("FAS_PROCESS_GROUP", group)));
        settings.extend(own_group.map(|group| ("FLY_PROCESS_GROUP", group)));
        let mut world = apps(3, 1.0, &settings);
        world.run_for(31).await;
        let lists = lists(&world);
        assert_eq!(lists.contains_key("app-0001"), managed, "{name}");
        assert!(lists.contains_key("app-0002"), "{name}");
        let told = logs.with("own app and is not scaled").len();
        assert_eq!(told, usize::from(!managed), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn apps_that_the_pattern_does_not_match_or_another_organisation_has_are_left_alone() {
    let mut world = apps(1, 1.0, &[]);
    add(&world, "other", 5.0);
    add(&world, "xapp-1", 5.0);
    world.platform().add_app("app-foreign", "umbrella");
    world.run_for(61).await;
    assert_eq!(lists(&world).keys().collect::<Vec<_>>(), ["app-0000"]);
    for request in world.platform().requests_for(Operation::ListApps) {
        assert_eq!(request.parameter("org_slug").as_deref(), Some("acme"));
    }
}

/// Counts the lists under way for each app, and the passes of all apps at once.
struct Watching {
    inner: SimTransport,
    under_way: Mutex<BTreeMap<String, usize>>,
    most_of_one: AtomicUsize,
    most_of_all: AtomicUsize,
}

impl Transport for Watching {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            if !path.ends_with("/machines") {
                return self.inner.exchange(request, body_limit).await;
            }
            {
                let mut under_way = self.under_way.lock().unwrap();
                let of_one = under_way.entry(path.clone()).or_default();
                *of_one += 1;
                self.most_of_one.fetch_max(*of_one, Ordering::Relaxed);
                let of_all = under_way.values().sum();
                self.most_of_all.fetch_max(of_all, Ordering::Relaxed);
            }
            let answer = self.inner.exchange(request, body_limit).await;
            *self.under_way.lock().unwrap().get_mut(&path).unwrap() -= 1;
            answer
        })
    }
}

#[tokio::test(start_paused = true)]
async fn two_passes_over_one_app_never_overlap_and_places_are_limited() {
    let settings = [("FAS_INTERVAL", "2s"), ("FAS_CONCURRENCY", "3")];
    let mut world = apps(8, 1.0, &settings);
    world
        .platform()
        .add_fault(Fault::new(Effect::SlowAnswer(Duration::from_secs(5))).on(Operation::List));
    let watching = Arc::new(Watching {
        inner: SimTransport(world.simulator.clone()),
        under_way: Mutex::default(),
        most_of_one: AtomicUsize::new(0),
        most_of_all: AtomicUsize::new(0),
    });
    world.start_over(Arc::clone(&watching) as Arc<dyn Transport>);
    world.run_for(300).await;
    assert_eq!(watching.most_of_one.load(Ordering::Relaxed), 1);
    assert_eq!(watching.most_of_all.load(Ordering::Relaxed), 3);
    for (app, times) in &lists(&world) {
        assert!(
            times.len() >= 18,
            "{app} is not left behind: {}",
            times.len()
        );
        assert!(
            times.windows(2).all(|pair| pair[1] - pair[0] >= 5000),
            "{app}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_outlived_its_interval_is_followed_at_once() {
    let mut world = apps(1, 1.0, &[("FAS_TIMEOUT", "60s")]);
    world.platform().add_fault(
        Fault::new(Effect::SlowAnswer(Duration::from_secs(12)))
            .on(Operation::Query)
            .once(),
    );
    world.platform().add_fault(
        Fault::new(Effect::SlowAnswer(Duration::from_secs(20)))
            .on(Operation::Query)
            .after(1)
            .once(),
    );
    world.run_for(66).await;
    assert_eq!(
        lists(&world)["app-0000"],
        [0, 15_000, 30_000, 50_000, 65_000]
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_passes_are_spread_over_the_interval() {
    let mut world = apps(30, 1.0, &[]);
    world.run_for(15).await;
    let first: Vec<u128> = lists(&world).into_values().map(|times| times[0]).collect();
    let expected: Vec<u128> = (0..30).map(|number| number * 500).collect();
    // The runtime's timers have a grain of a millisecond.
    for (first, expected) in first.iter().zip(&expected) {
        assert!(first.abs_diff(*expected) <= 1, "{first} for {expected}");
    }
    assert_eq!(first.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_apps_that_cannot_be_had_leaves_the_last_one() {
    for (effect, reason) in [
        (Effect::Answer(Canned::status(500)), "list"),
        (Effect::Answer(Canned::status(401)), "unauthorized"),
        (Effect::Answer(Canned::garbage(200)), "list"),
        (
            Effect::Answer(Canned::json(200, r#"{"apps":[{"name":7}]}"#)),
            "list",
        ),
        (Effect::Answer(Canned::json(200, "[null]")), "list"),
        (Effect::Answer(Canned::json(200, "[[]]")), "list"),
        (
            Effect::Answer(Canned::json(200, r#"{"apps":[["app-0000"]]}"#)),
            "list",
        ),
        (Effect::Answer(Canned::json(200, "{}")), "list"),
        (
            Effect::Answer(Canned::json(200, r#"{"error":"unavailable"}"#)),
            "list",
        ),
        (Effect::Hang, "timeout"),
        (Effect::Refuse, "list"),
        (Effect::Large(65 << 20), "list"),
        (Effect::Endless, "list"),
    ] {
        let name = format!("{effect:?}");
        let logs = Logs::capture();
        let mut world = apps(3, 1.0, &[]);
        world
            .platform()
            .add_fault(Fault::new(effect.clone()).on(Operation::ListApps).after(1));
        world.run_for(200).await;
        for (app, times) in &lists(&world) {
            assert!(times.len() >= 13, "{name}: {app} goes on: {}", times.len());
        }
        assert!(world.pass_errors(reason) >= 1, "{name}");
        let told = logs.with("the last list of apps is kept: cannot list the apps");
        assert_eq!(told.len(), 1, "{name}: told once");
        assert!(
            world.pass_errors(reason) > 1,
            "{name}: and counted each time"
        );
        assert!(told.iter().all(|line| line.message.len() < 2000), "{name}");
        let (ready, _, why) = world.get("/readyz").await;
        assert_eq!(ready, 200, "{name}: {why}");
        add(&world, "app-0100", 1.0);
        world.platform().clear_faults();
        world.run_for(90).await;
        assert!(lists(&world).contains_key("app-0100"), "{name}");
        assert_eq!(world.get("/readyz").await.0, 200, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_first_list_of_apps_there_is_no_last_one() {
    let logs = Logs::capture();
    let mut world = apps(1, 1.0, &[]);
    let down = Fault::status(500).on(Operation::ListApps);
    world.platform().add_fault(down);
    world.run_for(60).await;
    assert!(logs.with("the last list").is_empty());
    let told = logs.with("no app that a * matches is scaled yet: cannot list the apps");
    assert_eq!(told.len(), 1, "{:#?}", logs.lines());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_no_app_can_have_is_left_out() {
    let odd = r#"{"apps":[{"name":"app-0000"},{"name":""},{"name":".."},{"name":"app-\n"},{"name":"app-*"},{"name":"app-/x"}]}"#;
    let mut world = apps(1, 1.0, &[("FAS_APP_NAME", "*")]);
    world
        .platform()
        .add_fault(Fault::new(Effect::Answer(Canned::json(200, odd))).on(Operation::ListApps));
    world.run_for(61).await;
    let looked_at: Vec<String> = lists(&world).into_keys().collect();
    assert_eq!(looked_at, [name(0)]);
}

#[tokio::test(start_paused = true)]
async fn no_app_at_all_is_said_and_waited_for() {
    let logs = Logs::capture();
    let mut world = apps(0, 1.0, &[]);
    world.run_for(100).await;
    assert!(
        !logs
            .with("no app of the organization matches app-*")
            .is_empty()
    );
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(ready, 503);
    assert!(why.contains("no app matches FAS_APP_NAME"), "{why}");
    assert_eq!(world.get("/healthz").await.0, 200);
    // What alerts on `absent(…)` need: nothing of an app, and the process itself.
    let has = |world: &World, series: &str| world.admin.metrics_text().contains(series);
    assert!(has(&world, "\nfas_build_info{"));
    assert!(!has(&world, "\nfas_last_success_timestamp_seconds{"));
    add(&world, "app-1", 1.0);
    world.run_for(60).await;
    assert_eq!(world.get("/readyz").await.0, 200);
    assert!(has(&world, "\nfas_last_success_timestamp_seconds{"));
}

#[tokio::test(start_paused = true)]
async fn the_list_of_apps_is_asked_for_once_a_minute() {
    let mut world = apps(2, 1.0, &[]);
    world.run_for(185).await;
    assert_eq!(world.seconds_of(Operation::ListApps), [0, 60, 120, 180]);
}

#[tokio::test(start_paused = true)]
async fn two_thousand_apps_keep_their_intervals() {
    let options = Options {
        rate_limits: RateLimits {
            enabled: false,
            ..RateLimits::default()
        },
        log_capacity: 20_000,
        ..Options::default()
    };
    let world = World::queue_with_options(2.0, &[ALL, &[("FAS_APP_NAME", "*")]].concat(), &options);
    {
        let mut platform = world.platform();
        platform.remove_app(APP);
        platform.set_series("queue_depth", &[], Some(2.0));
        for number in 0..2000 {
            let app = name(number);
            platform.add_app(&app, "acme");
            platform
                .add_machine(
                    &app,
                    NewMachine::in_region("ord").state(MachineState::Stopped),
                )
                .unwrap();
            platform
                .add_machine(&app, NewMachine::in_region("ord"))
                .unwrap();
            if number % 100 == 0 {
                platform.set_gauge(&app, "queue_depth", Some(3.0));
            } else {
                platform.set_gauge(&app, "queue_depth", Some(2.0));
            }
        }
    }
    let mut world = world;
    world.run_for(31).await;
    let lists = lists(&world);
    assert_eq!(lists.len(), 2000);
    for (app, times) in &lists {
        assert!(times.len() >= 2, "{app}: {times:?}");
        let gap = times[1] - times[0];
        assert!((15_000..15_100).contains(&gap), "{app}: {times:?}");
    }
    assert_eq!(world.requests(Operation::Create), 20);
    assert_eq!(world.all_pass_errors(), [].into());
}
