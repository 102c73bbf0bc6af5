//! Several policies in one daemon: each fleet by its own numbers, one pass over an app, and no fleet in another's way.

use std::time::Duration;

use fly_autoscaler::sim::{Access, Effect, Fault, MachineState, NewMachine, Operation, Token};
use serde_json::Value;

use crate::world::{APP, Logs, World};

/// Two groups of one app, each by a queue of its own.
const TWO_GROUPS: &str = "
metric-collectors:
  - {type: prometheus, metric-name: web_load, address: 'http://simulator/prometheus/acme', query: \"web_load{app='$APP_NAME'}\"}
policies:
  - process-group: web
    created-machine-count: web_load
  - process-group: worker
    created-machine-count: jobs
    metric-collectors:
      - {type: prometheus, metric-name: jobs, address: 'http://simulator/prometheus/acme', query: \"jobs{app='$APP_NAME'}\"}
";

/// A world with a machine of each of these groups, by `file`.
fn world_of(groups: &[&str], file: &str) -> World {
    let mut world = World::new(&[]);
    world.file = Some(file.to_owned());
    for group in groups {
        let machine = NewMachine::in_region("ord").group(group);
        world.platform().add_machine(APP, machine).unwrap();
    }
    world
}

fn set(world: &World, gauge: &str, value: Option<f64>) {
    world.platform().set_gauge(APP, gauge, value);
}

fn living(world: &World, group: &str) -> usize {
    world.platform().living(APP, group)
}

async fn status(world: &World, query: &str) -> Value {
    let (_, _, body) = world.get(&format!("/api/status{query}")).await;
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_group_follows_its_own_numbers_by_one_list_a_pass() {
    let mut world = world_of(&["web", "worker", "other"], TWO_GROUPS);
    set(&world, "web_load", Some(3.0));
    set(&world, "jobs", Some(2.0));
    world.run_for(60).await;
    let groups = ["web", "worker", "other"].map(|group| living(&world, group));
    assert_eq!(groups, [3, 2, 1]);
    // At 0, 15, 30, 45 and 60 s.
    assert_eq!(world.requests(Operation::List), 5);
    set(&world, "jobs", Some(4.0));
    world.run_for(30).await;
    assert_eq!(living(&world, "worker"), 4);
    assert_eq!(living(&world, "web"), 3, "nothing has changed for it");
}

#[tokio::test(start_paused = true)]
async fn the_release_is_asked_for_once_in_a_pass_whatever_the_number_of_fleets() {
    let mut world = world_of(&["web", "worker"], TWO_GROUPS);
    set(&world, "web_load", Some(3.0));
    set(&world, "jobs", Some(3.0));
    world.run_for(1).await;
    assert_eq!(world.requests(Operation::Create), 4);
    assert_eq!(world.requests(Operation::Graphql), 1);
    world.run_for(15).await;
    assert_eq!(
        world.requests(Operation::Graphql),
        1,
        "nothing is to be done"
    );
}

/// A world in which the first metric that is asked for, web's, takes so many seconds, and each group lacks two machines.
fn world_with_a_slow_metric(seconds: u64) -> World {
    let world = world_of(&["web", "worker"], TWO_GROUPS);
    set(&world, "web_load", Some(3.0));
    set(&world, "jobs", Some(3.0));
    let slow = Fault::new(Effect::SlowAnswer(Duration::from_secs(seconds)));
    world.platform().add_fault(slow.on(Operation::Query).once());
    world
}

#[tokio::test(start_paused = true)]
async fn a_slow_metric_delays_no_fleet_that_does_not_ask_for_it() {
    let mut world = world_with_a_slow_metric(12);
    world.run_for(11).await;
    assert_eq!((living(&world, "web"), living(&world, "worker")), (1, 3));
    world.run_for(3).await;
    assert_eq!((living(&world, "web"), living(&world, "worker")), (3, 3));
    assert_eq!(world.seconds_of(Operation::Create), [0, 0, 12, 12]);
    assert_eq!(world.requests(Operation::List), 1);
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_hangs_fails_its_own_fleet_alone() {
    let mut world = world_of(&["web", "worker"], TWO_GROUPS);
    set(&world, "jobs", Some(3.0));
    world
        .platform()
        .add_fault(Fault::new(Effect::Hang).on(Operation::Query).once());
    world.run_for(14).await;
    assert_eq!(world.seconds_of(Operation::Create), [0, 0]);
    world.run_for(2).await;
    let status = status(&world, &format!("?app={APP}")).await;
    let reasons = ["web", "worker"].map(|group| {
        let mut fleets = status["fleets"].as_array().unwrap().iter();
        let fleet = fleets.find(|fleet| fleet["group"] == group).unwrap();
        fleet["errors"].as_array().unwrap().len()
    });
    assert_eq!(reasons, [2, 0], "the metric, and the target that needs it");
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_comes_much_later_asks_anew_whether_a_deploy_is_under_way() {
    for (seconds, asked) in [(4, &[0][..]), (12, &[0, 12])] {
        let mut world = world_with_a_slow_metric(seconds);
        world.run_for(14).await;
        assert_eq!(world.seconds_of(Operation::Graphql), asked);
        assert_eq!((living(&world, "web"), living(&world, "worker")), (3, 3));
    }
    let mut world = world_with_a_slow_metric(12);
    world.run_for(11).await;
    let deploy = world.release("running", Duration::ZERO);
    world.platform().set_release(APP, Some(deploy));
    world.run_for(3).await;
    assert_eq!(world.seconds_of(Operation::Graphql), [0, 12]);
    assert_eq!((living(&world, "web"), living(&world, "worker")), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn that_a_deploy_is_under_way_outlasts_a_question_without_an_answer() {
    for (status, grown) in [("running", 1), ("complete", 3)] {
        let mut world = world_with_a_slow_metric(8);
        let release = world.release(status, Duration::ZERO);
        world.platform().set_release(APP, Some(release));
        world.run_for(2).await;
        let away = Fault::new(Effect::Refuse).on(Operation::Graphql);
        world.platform().add_fault(away);
        world.run_for(12).await;
        let asked = world.seconds_of(Operation::Graphql);
        assert!(asked[0] == 0 && asked[1] == 8, "{asked:?}");
        let living = (living(&world, "web"), living(&world, "worker"));
        assert_eq!(living, (grown, grown), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn creates_of_all_fleets_keep_the_one_pace_of_their_app() {
    let mut world = world_of(&["web", "worker"], TWO_GROUPS);
    set(&world, "web_load", Some(5.0));
    set(&world, "jobs", Some(5.0));
    world.run_for(10).await;
    let created = world.seconds_of(Operation::Create);
    // Three at once, then one a second.
    assert_eq!(created, [0, 0, 0, 1, 2, 3, 4, 5]);
    assert!(world.all_pass_errors().is_empty());
}

#[tokio::test(start_paused = true)]
async fn fleets_take_turns_to_create() {
    let mut world = world_of(&["web", "worker"], TWO_GROUPS);
    set(&world, "web_load", Some(60.0));
    set(&world, "jobs", Some(3.0));
    world.run_for(6).await;
    assert_eq!(living(&world, "worker"), 3);
    assert_eq!(
        world.requests(Operation::Create),
        9,
        "at the pace of one app"
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_daemon_makes_nothing_good() {
    let logs = Logs::capture();
    let mut world = world_of(&["web", "worker"], TWO_GROUPS);
    set(&world, "web_load", Some(1.0));
    world.run_for(14).await;
    assert_eq!(
        logs.errors().len(),
        1,
        "jobs has no value: {:#?}",
        logs.errors()
    );
    world
        .platform()
        .add_fault(Fault::new(Effect::Hang).on(Operation::Query));
    world.run_for(4).await;
    world.stop().await;
    assert!(logs.with("recovered").is_empty());
}

#[tokio::test(start_paused = true)]
async fn creates_keep_their_pace_also_after_all_fleets_have_waited_for_one_call() {
    let file = format!("api-concurrency: 1\n{TWO_GROUPS}");
    let mut world = world_of(&["web", "worker"], &file);
    set(&world, "web_load", Some(5.0));
    set(&world, "jobs", Some(5.0));
    let slow = Fault::new(Effect::SlowAnswer(Duration::from_millis(2500)));
    let slow = slow.on(Operation::Create).once();
    world.platform().add_fault(slow);
    world.run_for(10).await;
    let created = world.seconds_of(Operation::Create);
    assert_eq!(created, [0, 2, 2, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn one_fleets_failure_is_its_own() {
    let mut world = world_of(&["web", "worker"], TWO_GROUPS);
    set(&world, "web_load", Some(3.0));
    set(&world, "jobs", None);
    world.run_for(31).await;
    assert_eq!(living(&world, "web"), 3);
    assert_eq!(living(&world, "worker"), 1);
    let failing = |group: &str| {
        world.series(&format!(
            r#"fas_failing_passes{{app="{APP}",group="{group}"}}"#
        ))
    };
    assert_eq!(failing("web"), Some(0.0));
    assert_eq!(failing("worker"), Some(3.0));
    let (code, _, _) = world.get("/readyz").await;
    assert_eq!(code, 200, "one that succeeds is enough");
}

#[tokio::test(start_paused = true)]
async fn where_time_runs_out_the_next_pass_begins_with_the_fleets_that_had_the_least() {
    let groups = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let policies = groups.map(|group| format!("  - process-group: {group}\n"));
    let file = format!(
        "created-machine-count: 40\ntimeout: 3s\ninterval: 60s\npolicies:\n{}",
        policies.concat()
    );
    let mut world = world_of(&groups, &file);
    // Three turns at once and then one a second, and the next pass follows at once. Who comes first takes what there is at once.
    world.run_for(2).await;
    let had = groups.map(|group| living(&world, group) - 1);
    assert_eq!(had, [4, 1, 0, 0, 0, 0, 0, 0]);
    world.run_for(12).await;
    let had = groups.map(|group| living(&world, group) - 1);
    assert!(had.iter().all(|had| *had > 0), "{had:?}");
    // Those that had none have not failed.
    assert!(world.all_pass_errors().is_empty());
}

#[tokio::test(start_paused = true)]
async fn fleets_are_named_as_short_as_is_unambiguous_wherever_they_are_shown() {
    let logs = Logs::capture();
    let mut world = world_of(&["web", "worker"], TWO_GROUPS);
    set(&world, "web_load", Some(2.0));
    set(&world, "jobs", None);
    world.run_for(20).await;
    let all = status(&world, "").await;
    let names: Vec<&Value> = all["fleets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fleet| &fleet["name"])
        .collect();
    assert_eq!(names, ["my-target-app/web", "my-target-app/worker"]);
    let one = status(&world, &format!("?app={APP}&group=worker")).await;
    assert_eq!(one["fleets"].as_array().unwrap().len(), 1);
    assert_eq!(one["fleets"][0]["group"], "worker");
    let (_, _, list) = world.get("/").await;
    for group in ["web", "worker"] {
        let link = format!(r#"href="/app/{APP}?group={group}""#);
        assert_eq!(list.matches(&link).count(), 1, "{list}");
    }
    let (_, _, page) = world.get(&format!("/app/{APP}?group=worker")).await;
    assert!(page.contains("my-target-app/worker") && !page.contains("my-target-app/web"));
    let (_, _, page) = world.get(&format!("/app/{APP}")).await;
    assert!(page.contains("my-target-app/worker") && page.contains("my-target-app/web"));
    let ids: Vec<&str> = page
        .split(" id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    let failures = logs.with("my-target-app/worker: metric jobs: ");
    assert_eq!(failures[0].fields["group"], "worker");
}

#[tokio::test(start_paused = true)]
async fn of_two_wildcards_the_first_has_the_machines_and_that_is_said_once() {
    let logs = Logs::capture();
    let file = "
org: acme
policies:
  - {name: targets, app-name: 'my-target-*', created-machine-count: 2}
  - {name: all, app-name: '*', created-machine-count: 3}
";
    let mut world = world_of(&["app"], file);
    world.platform().add_app("another", "acme");
    let machine = NewMachine::in_region("ord");
    world.platform().add_machine("another", machine).unwrap();
    world.run_for(60).await;
    assert_eq!(living(&world, "app"), 2);
    assert_eq!(world.platform().living("another", "app"), 3);
    let said = "my-target-app: policy all is left out here: targets comes before it in the list and takes machines that it would take; those that only all would take are not scaled";
    assert_eq!(logs.with(said).len(), 1, "{:?}", logs.lines());
    let created = logs.with("created machine");
    let mut by: Vec<[&str; 2]> = created
        .iter()
        .map(|line| ["app", "policy"].map(|field| line.fields[field].as_str()))
        .collect();
    by.sort_unstable();
    assert_eq!(
        by,
        [["another", "all"], ["another", "all"], [APP, "targets"]]
    );
    let (_, _, page) = world.get(&format!("/app/{APP}")).await;
    assert!(page.contains("process group app; policy targets"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_another_one_comes_before_in_some_regions_keeps_the_others() {
    let logs = Logs::capture();
    let file = "
org: acme
per-region: true
policies:
  - {name: first, app-name: 'my-target-*', regions: [iad], created-machine-count: 2}
  - {name: rest, app-name: '*', created-machine-count: 3}
";
    let mut world = world_of(&[], file);
    for region in ["iad", "lhr"] {
        let machine = NewMachine::in_region(region);
        world.platform().add_machine(APP, machine).unwrap();
    }
    world.run_for(60).await;
    let in_region = |region: &str| {
        let platform = world.platform();
        let app = platform.app(APP).unwrap();
        app.living("app")
            .filter(|one| *one.region == *region)
            .count()
    };
    assert_eq!([in_region("iad"), in_region("lhr")], [2, 3]);
    let said = "my-target-app: policy rest is left out here in iad: first comes before it in the list and has the machines there";
    assert_eq!(logs.with(said).len(), 1, "{:?}", logs.lines());
    assert!(world.all_pass_errors().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_whose_regions_others_have_all_does_nothing_and_does_not_fail() {
    let file = "
org: acme
per-region: true
policies:
  - {name: first, app-name: 'my-target-*', regions: [ord], created-machine-count: 2}
  - {name: rest, app-name: '*', created-machine-count: 3}
";
    let mut world = world_of(&["app"], file);
    world.run_for(60).await;
    assert_eq!(living(&world, "app"), 2);
    assert!(world.all_pass_errors().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_named_app_is_scaled_before_the_apps_of_a_wildcard_are_listed() {
    let file = "
org: acme
policies:
  - {app-name: my-target-app, process-group: app, created-machine-count: 2}
  - {app-name: 'o*', created-machine-count: 2}
";
    let mut world = world_of(&["app"], file);
    let fault = Fault::new(Effect::Hang).on(Operation::ListApps);
    world.platform().add_fault(fault);
    world.run_for(5).await;
    assert_eq!(living(&world, "app"), 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_about_an_app_are_in_flight_than_allowed_whatever_the_number_of_its_fleets() {
    let file = format!("api-concurrency: 1\n{TWO_GROUPS}");
    let mut world = world_of(&["web", "worker"], &file);
    for group in ["web", "worker"] {
        for _ in 0..5 {
            let machine = NewMachine::in_region("ord").group(group);
            let machine = machine.state(MachineState::Stopped);
            world.platform().add_machine(APP, machine).unwrap();
        }
    }
    set(&world, "web_load", Some(1.0));
    set(&world, "jobs", Some(1.0));
    let slow = Fault::new(Effect::SlowAnswer(Duration::from_secs(1))).on(Operation::Destroy);
    world.platform().add_fault(slow);
    world.run_for(25).await;
    let seconds = world.seconds_of(Operation::Destroy);
    let mut apart = seconds.clone();
    apart.dedup();
    assert!(!seconds.is_empty());
    assert_eq!(apart, seconds, "one after the other");
}

#[tokio::test(start_paused = true)]
async fn one_fleet_whose_token_is_refused_does_not_make_the_other_unready() {
    // The second one asks for its metric without a token.
    let file = TWO_GROUPS.replacen("query:", "token: fm2_reader, query:", 1);
    let mut world = world_of(&["web", "worker"], &file);
    set(&world, "web_load", Some(2.0));
    set(&world, "jobs", Some(2.0));
    let access = Access::Tokens(vec![Token::new("fm2_reader")]);
    world.platform().set_prometheus_access(access);
    world.run_for(31).await;
    assert!(world.pass_errors("metric") > 0);
    assert_eq!(world.pass_errors("unauthorized"), 0, "Fly accepts it");
    let (code, _, text) = world.get("/readyz").await;
    assert_eq!(code, 200, "{text}");
}
