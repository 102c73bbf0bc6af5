//! How the daemon says how it is doing: readiness, each app's standing, one line for one cause; and what an app that a
//! list of apps lacks keeps.

use std::{sync::Arc, time::Duration};

use fly_autoscaler::{
    sim::{Canned, Effect, Fault, MachineState, NewMachine, Operation},
    transport::Transport,
};

use tracing::Level;

use crate::{
    hostile::panicking,
    world::{APP, BLUEPRINT, Logs, World},
};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");

const ALL: &[(&str, &str)] = &[
    ("FAS_APP_NAME", "app-*"),
    ("FAS_ORG", "acme"),
    ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
];

/// One app with one machine.
fn one(depth: f64, settings: &[(&str, &str)]) -> World {
    let world = World::queue(depth, settings);
    machine(&world, APP);
    world
}

/// The apps `app-0`, `app-1` …, each with one machine, and wanting `depth`.
fn many(count: usize, depth: f64, settings: &[(&str, &str)]) -> World {
    let world = World::queue(depth, &[ALL, settings].concat());
    for number in 0..count {
        let app = format!("app-{number}");
        world.platform().add_app(&app, "acme");
        machine(&world, &app);
        world.platform().set_gauge(&app, "queue_depth", Some(depth));
    }
    world
}

fn machine(world: &World, app: &str) {
    let mut platform = world.platform();
    platform
        .add_machine(app, NewMachine::in_region("ord"))
        .unwrap();
}

fn apps(names: &[&str]) -> Effect {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!(r#"{{"name":"{name}"}}"#))
        .collect();
    let text = format!(r#"{{"apps":[{}]}}"#, names.join(","));
    Effect::Answer(Canned::json(200, &text))
}

fn failing(world: &World, app: &str) -> Option<f64> {
    world.series(&format!(r#"fas_failing_passes{{app="{app}",group="app"}}"#))
}

fn last_success(world: &World, app: &str) -> Option<f64> {
    world.series(&format!(
        r#"fas_last_success_timestamp_seconds{{app="{app}",group="app"}}"#
    ))
}

fn creates(world: &World, app: &str) -> Vec<u64> {
    let platform = world.platform();
    let creates = platform
        .requests_for(Operation::Create)
        .filter(|request| request.app.as_deref() == Some(app));
    creates.map(|request| request.at.as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_app_that_never_succeeded_is_at_zero_and_its_failing_passes_are_counted() {
    let mut world = one(1.0, &[CREATED]);
    world
        .platform()
        .add_fault(Fault::new(Effect::Hang).on(Operation::List));
    world.run_for(1).await;
    assert_eq!(last_success(&world, APP), Some(0.0), "before a pass ended");
    assert_eq!(failing(&world, APP), Some(0.0));
    let mut world = one(1.0, &[CREATED]);
    let outage = world
        .platform()
        .add_fault(Fault::status(404).on(Operation::List));
    world.run_for(31).await;
    assert_eq!(last_success(&world, APP), Some(0.0), "an alert on its age");
    assert_eq!(failing(&world, APP), Some(3.0));
    world.platform().remove_fault(outage);
    world.run_for(15).await;
    assert!(last_success(&world, APP).unwrap() > 1_767_323_000.0);
    assert_eq!(failing(&world, APP), Some(0.0), "0 is well");
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_panics_has_failed_for_all_to_see() {
    let mut world = one(1.0, &[CREATED]);
    let transport = panicking(&world, "/v1/apps/my-target-app/machines");
    world.start_over(Arc::clone(&transport) as Arc<dyn Transport>);
    world.run_for(31).await;
    assert_eq!(failing(&world, APP), Some(3.0));
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(ready, 503);
    assert!(
        why.contains("my-target-app: the pass panicked (a bug)"),
        "{why}"
    );
    transport
        .active
        .store(false, std::sync::atomic::Ordering::Relaxed);
    world.run_for(15).await;
    assert_eq!(failing(&world, APP), Some(0.0));
    assert_eq!(world.get("/readyz").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_for_one_of_many_apps_takes_none_out_of_service() {
    let mut world = many(5, 1.0, &[]);
    world.run_for(15).await;
    world
        .platform()
        .add_fault(Fault::status(403).on(Operation::List).app("app-3"));
    world.run_for(300).await;
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(ready, 200, "{why}");
    assert!(failing(&world, "app-3").unwrap() >= 19.0, "its own series");
    assert_eq!(failing(&world, "app-2"), Some(0.0));
    assert!(world.pass_errors("unauthorized") >= 19);
    let revoked = world
        .platform()
        .add_fault(Fault::status(401).on(Operation::List));
    world.run_for(16).await;
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(ready, 503, "it is refused for every app");
    assert!(
        why.starts_with("a token is refused (app-0 and 4 others): "),
        "{why}"
    );
    world.platform().remove_fault(revoked);
    world.run_for(15).await;
    assert_eq!(world.get("/readyz").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_no_longer_managed_says_nothing_of_readiness() {
    let mut world = many(2, 1.0, &[]);
    {
        let mut platform = world.platform();
        platform.add_fault(Fault::status(403).on(Operation::List).app("app-1"));
        let short = Fault::new(apps(&["app-1"])).on(Operation::ListApps);
        platform.add_fault(short.after(1));
    }
    world.run_for(59).await;
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(ready, 200, "{why}");
    world.run_for(2).await;
    let (ready, _, why) = world.get("/readyz").await;
    assert_eq!(ready, 503, "it is refused for every app that is left");
    assert!(why.starts_with("a token is refused (app-1): "), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_metrics_refused_token_counts_where_it_is_needed() {
    for (expression, ready) in [("queue_depth ?? 1", 200), ("queue_depth", 503)] {
        let mut world = one(1.0, &[("FAS_CREATED_MACHINE_COUNT", expression)]);
        world.run_for(1).await;
        assert_eq!(world.get("/readyz").await.0, 200);
        world
            .platform()
            .add_fault(Fault::status(401).on(Operation::Query));
        world.run_for(15).await;
        let (status, _, why) = world.get("/readyz").await;
        assert_eq!(status, ready, "{expression}: {why}");
        assert_eq!(world.pass_errors("metric"), 1, "{expression}");
        assert_eq!(world.pass_errors("unauthorized"), 0, "Fly accepts it");
        let failed = if ready == 200 { 0.0 } else { 1.0 };
        assert_eq!(failing(&world, APP), Some(failed), "{expression}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_without_machines_says_nothing_of_the_others() {
    let all_down = Fault::status(503).on(Operation::Query);
    let refused = Fault::status(401).on(Operation::Graphql);
    // How many apps have machines, what is wrong, whether the daemon is ready.
    for (name, count, fault, ready) in [
        ("Prometheus is down", 2, Some(all_down.clone()), 503),
        ("the token is refused", 2, Some(refused), 503),
        ("nothing is wrong", 2, None, 200),
        ("there are no others", 0, Some(all_down), 200),
    ] {
        let mut world = many(count, 2.0, &[]);
        world.platform().add_app("app-empty", "acme");
        if let Some(fault) = fault {
            world.platform().add_fault(fault);
        }
        world.run_for(31).await;
        let (status, _, why) = world.get("/readyz").await;
        assert_eq!(status, ready, "{name}: {why}");
        assert_eq!(failing(&world, "app-empty"), Some(0.0), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_after_a_create_that_the_token_was_refused_for_is_no_recovery() {
    for recovers in ["the token is accepted", "no create is wanted", "nothing"] {
        let mut world = one(2.0, &[CREATED]);
        let refused = world
            .platform()
            .add_fault(Fault::status(403).on(Operation::Create));
        // Creates at 0, 15 and 45 s, and then at 105 s.
        world.run_for(91).await;
        assert_eq!(creates(&world, APP), [0, 15, 45]);
        assert_eq!(failing(&world, APP), Some(7.0));
        assert_eq!(world.pass_errors("unauthorized"), 3);
        let (ready, _, why) = world.get("/readyz").await;
        assert_eq!(ready, 503);
        assert!(
            why.starts_with("a token is refused (my-target-app): "),
            "{why}"
        );
        match recovers {
            "the token is accepted" => world.platform().remove_fault(refused),
            "no create is wanted" => world.depth(1.0),
            _ => {}
        }
        world.run_for(15).await;
        let well = recovers != "nothing";
        let expected = if well { (0.0, 200) } else { (8.0, 503) };
        let (status, _, why) = world.get("/readyz").await;
        assert_eq!(
            (failing(&world, APP).unwrap(), status),
            expected,
            "{recovers}: {why}"
        );
        world.run_for(45).await;
        assert_eq!(failing(&world, APP) == Some(0.0), well, "{recovers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_apps_that_is_refused_counts_as_such_and_leaves_the_apps_in_service() {
    let logs = Logs::capture();
    let mut world = many(2, 1.0, &[]);
    world
        .platform()
        .add_fault(Fault::status(401).on(Operation::ListApps).after(1));
    world.run_for(62).await;
    assert_eq!(
        world.all_pass_errors(),
        [("unauthorized".to_owned(), 1)].into()
    );
    let told = logs.errors();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].fields["reason"], "unauthorized");
    assert_eq!(world.get("/readyz").await.0, 200, "both are scaled");
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_failed_and_what_needs_it_are_one_line() {
    let both = [CREATED, ("FAS_STARTED_MACHINE_COUNT", "queue_depth")];
    let cases: [(&[(&str, &str)], &str); 3] = [
        (
            &[CREATED],
            "; the created target `queue_depth` needs it and has no value",
        ),
        (
            &both,
            "; the created target `queue_depth` and the started target `queue_depth` need it and have no value",
        ),
        (&[("FAS_CREATED_MACHINE_COUNT", "queue_depth ?? 1")], ""),
    ];
    for (settings, need) in cases {
        let logs = Logs::capture();
        let mut world = one(1.0, settings);
        world
            .platform()
            .add_fault(Fault::status(404).on(Operation::Query));
        world.run_for(0).await;
        let told = logs.with("metric queue_depth");
        assert_eq!(told.len(), 1, "{told:#?}");
        // What the pass can do without is no failure of it.
        let level = if need.is_empty() {
            Level::WARN
        } else {
            Level::ERROR
        };
        assert_eq!(told[0].level, level);
        let message = &told[0].message;
        assert!(
            message.starts_with("my-target-app: metric queue_depth: HTTP 404"),
            "{message}"
        );
        if need.is_empty() {
            assert!(!message.contains("need"), "{message}");
        } else {
            assert!(message.ends_with(need), "{message}");
        }
        assert_eq!(told[0].fields["reason"], "metric");
        assert_eq!(world.pass_errors("metric"), 1);
        assert_eq!(
            world.pass_errors("expression"),
            need.matches("target").count() as u64,
            "each is counted"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_a_plan_when_it_changes_and_every_ten_minutes() {
    let logs = Logs::capture();
    let mut world = one(3.0, &[CREATED, ("FAS_DRY_RUN", "true")]);
    world.run_for(300).await;
    let told = logs.with("dry run, would create 2 machines");
    assert_eq!(told.len(), 1);
    assert!(
        told[0].message.contains(" (in ord, ord): "),
        "{}",
        told[0].message
    );
    world.depth(4.0);
    world.run_for(60).await;
    assert_eq!(logs.with("dry run, would create 3 machines").len(), 1);
    world.depth(1.0);
    world.run_for(60).await;
    world.depth(4.0);
    world.run_for(60).await;
    assert_eq!(
        logs.with("dry run, would create 3 machines").len(),
        2,
        "it is news again"
    );
    world.run_for(600).await;
    assert_eq!(logs.with("dry run, would ").len(), 4, "a reminder");
    assert_eq!(world.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_short_list_of_apps_forgets_nothing() {
    for short in [&[][..], &["app-1"]] {
        let mut world = many(2, 2.0, &[]);
        world
            .platform()
            .add_fault(Fault::status(422).on(Operation::Create).app("app-0"));
        world.platform().add_fault(
            Fault::new(apps(short))
                .on(Operation::ListApps)
                .after(1)
                .once(),
        );
        world.run_for(65).await;
        assert_eq!(failing(&world, "app-0"), None, "its series go at once");
        assert_eq!(last_success(&world, "app-0"), None);
        let before = creates(&world, "app-0");
        assert!(before.len() >= 3, "{before:?}");
        world.run_for(54).await;
        assert_eq!(
            creates(&world, "app-0"),
            before,
            "it is not scaled meanwhile"
        );
        world.run_for(100).await;
        let creates = creates(&world, "app-0");
        assert_eq!(
            creates.len(),
            before.len() + 1,
            "the pauses have not begun anew: {creates:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_lists_lack_for_a_minute_begins_anew() {
    let mut world = many(2, 2.0, &[("FAS_APP_LIST_REFRESH_INTERVAL", "20s")]);
    let refused = Fault::status(422).on(Operation::Create).app("app-0");
    world.platform().add_fault(refused);
    // At 60, 80 and 100 s, so that it is back a minute after it left.
    let short = Fault::new(apps(&["app-1"])).on(Operation::ListApps);
    world.platform().add_fault(short.after(3).times(3));
    world.run_for(59).await;
    let before = creates(&world, "app-0").len();
    assert_eq!(before, 3, "at 0, 15 and 45 s");
    world.run_for(110).await;
    let creates = creates(&world, "app-0");
    assert_eq!(creates[before..], [120, 135, 165], "pauses begin anew");
}

#[tokio::test(start_paused = true)]
async fn a_surplus_has_not_lasted_while_nobody_looked_at_the_app() {
    // Of lists that come this often, the first lacks it; when the surplus was first seen; when a machine goes.
    for (refresh, seen, victim) in [("40s", 30, 80), ("60s", 45, 165)] {
        let mut world = many(2, 2.0, &[("FAS_APP_LIST_REFRESH_INTERVAL", refresh)]);
        let short = Fault::new(apps(&["app-1"])).on(Operation::ListApps);
        world.platform().add_fault(short.after(1).once());
        world.run_for(seen - 1).await;
        world
            .platform()
            .set_gauge("app-0", "queue_depth", Some(1.0));
        world.run_for(victim - seen).await;
        assert_eq!(world.requests(Operation::Stop), 0, "{refresh}");
        world.run_for(1).await;
        assert_eq!(world.requests(Operation::Stop), 1, "{refresh}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_a_list_lacks_does_not_get_its_turn() {
    let mut world = many(2, 1.0, &[]);
    let short = Fault::new(apps(&["app-0"])).on(Operation::ListApps);
    world.platform().add_fault(short.after(1));
    let passes = |world: &World, app: &str| {
        let platform = world.platform();
        let lists = platform.requests_for(Operation::List);
        lists
            .filter(|request| request.app.as_deref() == Some(app))
            .count()
    };
    world.run_for(61).await;
    let before = [passes(&world, "app-0"), passes(&world, "app-1")];
    world.run_for(30).await;
    assert_eq!(passes(&world, "app-0"), before[0] + 2);
    assert_eq!(passes(&world, "app-1"), before[1]);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_returns_has_its_series_as_they_were() {
    let mut world = many(2, 1.0, &[]);
    world.platform().add_fault(
        Fault::new(apps(&["app-1"]))
            .on(Operation::ListApps)
            .after(1)
            .once(),
    );
    world.run_for(55).await;
    let before = last_success(&world, "app-0").unwrap();
    assert!(before > 0.0);
    // It returns at 120 s; a list that hangs leaves it without a new success.
    world
        .platform()
        .add_fault(Fault::new(Effect::Hang).on(Operation::List).app("app-0"));
    world.run_for(70).await;
    assert_eq!(
        last_success(&world, "app-0"),
        Some(before),
        "no false alarm"
    );
}

#[tokio::test(start_paused = true)]
async fn an_app_that_stays_away_for_a_minute_is_forgotten() {
    let mut world = many(2, 2.0, &[]);
    world
        .platform()
        .add_fault(Fault::status(422).on(Operation::Create).app("app-0"));
    world.platform().add_fault(
        Fault::new(apps(&["app-1"]))
            .on(Operation::ListApps)
            .after(1)
            .times(2),
    );
    world.run_for(179).await;
    let before = creates(&world, "app-0").len();
    world.run_for(60).await;
    let creates = creates(&world, "app-0");
    assert!(
        creates.len() >= before + 3,
        "it begins anew, with short pauses: {creates:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn many_apps_that_return_are_spread_over_the_interval() {
    let mut world = many(10, 1.0, &[]);
    world.platform().add_fault(
        Fault::new(apps(&[]))
            .on(Operation::ListApps)
            .after(1)
            .once(),
    );
    world.run_for(119).await;
    let before = world.requests(Operation::List);
    world.run_for(8).await;
    let first_half = world.requests(Operation::List) - before;
    assert!((4..=6).contains(&first_half), "{first_half}");
    world.run_for(7).await;
    assert_eq!(world.requests(Operation::List) - before, 10);
}

#[tokio::test(start_paused = true)]
async fn an_app_without_any_machine_is_an_error_only_where_it_is_named() {
    let named = [("FAS_APP_NAME", APP)];
    for settings in [&[][..], &named] {
        let logs = Logs::capture();
        let wildcard = [("FAS_APP_NAME", "*"), ("FAS_ORG", "acme")];
        let mut world = World::new(&[BLUEPRINT, &wildcard, settings].concat());
        world.run_for(91).await;
        let told = logs.with("the app has no machine");
        if settings.is_empty() {
            assert_eq!(told.len(), 1, "once: {told:#?}");
            assert_eq!(logs.errors().len(), 0, "{:#?}", logs.errors());
            assert_eq!(world.all_pass_errors(), [].into());
            assert_eq!(failing(&world, APP), Some(0.0));
            assert_eq!(world.get("/readyz").await.0, 200);
        } else {
            assert!(logs.errors().len() >= 6);
            assert!(failing(&world, APP).unwrap() >= 6.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_with_machines_of_another_group_only_is_an_error_under_a_wildcard_too() {
    let logs = Logs::capture();
    let mut world = many(1, 2.0, &[("FAS_PROCESS_GROUP", "worker")]);
    world.run_for(1).await;
    assert_eq!(world.pass_errors("no_source"), 1);
    assert_eq!(logs.with("no machine available to clone").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_machine_in_an_app_without_any_is_seen_at_once() {
    let mut world = many(0, 2.0, &[]);
    world.platform().add_app("app-7", "acme");
    world
        .platform()
        .set_gauge("app-7", "queue_depth", Some(2.0));
    world.run_for(31).await;
    machine(&world, "app-7");
    world.run_for(15).await;
    assert_eq!(world.platform().living("app-7", "app"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_app_of_the_blueprint_is_told_what_to_set() {
    let logs = Logs::capture();
    let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
    let mut world = World::new(BLUEPRINT);
    world.platform().add_machine(APP, stopped).unwrap();
    world.run_for(120).await;
    let told = logs.errors();
    assert!(
        told[0].message.contains("FAS_PROMETHEUS_EMPTY_VALUE"),
        "{told:#?}"
    );
    assert_eq!(told.len(), 9, "one a pass");
    drop(world);
    let logs = Logs::capture();
    let empty = [("FAS_PROMETHEUS_EMPTY_VALUE", "0")];
    let stopped = NewMachine::in_region("ord").state(MachineState::Stopped);
    let mut world = World::new(&[BLUEPRINT, &empty].concat());
    world.platform().add_machine(APP, stopped).unwrap();
    world.run_for(120).await;
    assert_eq!(logs.errors().len(), 0, "{:#?}", logs.errors());
    assert_eq!(world.get("/readyz").await.0, 200);
    assert_eq!(world.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn machines_are_shown_by_the_states_that_they_are_or_were_in() {
    let mut world = one(1.0, &[CREATED]);
    let of_app = |world: &World| {
        let text = world.admin.metrics_text();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("fas_machines{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    world.run_for(0).await;
    let started = format!(r#"fas_machines{{app="{APP}",group="app",state="started"}}"#);
    assert_eq!(of_app(&world), [format!("{started} 1")]);
    {
        let mut platform = world.platform();
        let id = platform.app(APP).unwrap().living("app").next().unwrap();
        let id = id.id.to_string();
        platform.edit_machine(APP, &id, |machine| machine.state = MachineState::Stopped);
    }
    world.run_for(15).await;
    let stopped = format!(r#"fas_machines{{app="{APP}",group="app",state="stopped"}}"#);
    assert_eq!(
        of_app(&world),
        [format!("{started} 0"), format!("{stopped} 1")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_of_apps_that_cannot_be_had_is_asked_for_again_after_an_interval() {
    let mut world = many(1, 1.0, &[("FAS_APP_LIST_REFRESH_INTERVAL", "10m")]);
    world
        .platform()
        .add_fault(Fault::status(500).on(Operation::ListApps));
    world.run_for(20).await;
    assert_eq!(world.requests(Operation::Query), 0);
    world.platform().clear_faults();
    world.run_for(16).await;
    assert!(
        world.requests(Operation::Query) > 0,
        "not ten minutes later"
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_of_apps_is_told_once() {
    let logs = Logs::capture();
    let mut world = many(0, 1.0, &[]);
    world.run_for(300).await;
    assert_eq!(logs.with("no app of the organization matches").len(), 1);
    world.platform().add_app("app-0", "acme");
    machine(&world, "app-0");
    world.run_for(60).await;
    world.platform().remove_app("app-0");
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(
        logs.with("no app of the organization matches").len(),
        2,
        "and again when it is news"
    );
}
