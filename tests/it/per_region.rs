//! `FAS_PER_REGION`: each region is a fleet by its own numbers, one pass over an app, and the group never without a machine.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fly_autoscaler::sim::{
    Canned, Effect, Fault, HostStatus, Machine, MachineState, NewMachine, Operation, Options,
};
use serde_json::Value;

use crate::world::{APP, Logs, World};

/// The blueprint for regions: a spare in each, that is there and stopped.
const A_SPARE_IN_EACH: &[(&str, &str)] = &[
    ("FAS_PER_REGION", "true"),
    (
        "FAS_CREATED_MACHINE_COUNT",
        "min(started_machine_count + 1, 5)",
    ),
    ("FAS_INITIAL_MACHINE_STATE", "stopped"),
];

/// No region wants a machine.
const NONE_WANTED: &[(&str, &str)] = &[
    ("FAS_PER_REGION", "true"),
    ("FAS_CREATED_MACHINE_COUNT", "0"),
    ("FAS_DESTROY_RUNNING_AFTER", "0s"),
];

/// Each region has as many machines as a query for it says.
const DEPTH_OF_EACH: &[(&str, &str)] = &[
    ("FAS_PER_REGION", "true"),
    ("FAS_CREATED_MACHINE_COUNT", "depth"),
    (
        "FAS_PROMETHEUS_QUERY_DEPTH",
        "depth{app='$APP_NAME',region='$REGION'}",
    ),
    ("FAS_PROMETHEUS_ADDRESS", "http://simulator/prometheus/acme"),
];

/// A world with machines in these regions, those in capitals stopped, by `settings`.
fn world_of(regions: &[&str], settings: &[&[(&str, &str)]]) -> World {
    let world = World::new(&settings.concat());
    for region in regions {
        add(&world, region);
    }
    world
}

fn add(world: &World, region: &str) {
    let machine = NewMachine::in_region(&region.to_lowercase());
    let state = if region.chars().all(char::is_uppercase) {
        MachineState::Stopped
    } else {
        MachineState::Started
    };
    let machine = machine.state(state);
    world.platform().add_machine(APP, machine).unwrap();
}

/// How many machines there are in each of these regions.
fn counts(world: &World, regions: &[&str]) -> Vec<usize> {
    let platform = world.platform();
    let app = platform.app(APP).unwrap();
    let count = |region: &&str| {
        let is_there = |machine: &&Machine| *machine.region == **region;
        app.living("app").filter(is_there).count()
    };
    regions.iter().map(count).collect()
}

async fn fleets(world: &World) -> Vec<Value> {
    let (_, _, body) = world.get(&format!("/api/status?app={APP}")).await;
    let status: Value = serde_json::from_str(&body).unwrap();
    status["fleets"].as_array().unwrap().clone()
}

async fn names(world: &World) -> Vec<String> {
    let fleets = fleets(world).await;
    let names = fleets.iter().map(|fleet| fleet["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn each_region_keeps_a_spare_by_one_list_a_pass() {
    let regions = ["iad", "iad", "lhr", "AMS"];
    let mut world = world_of(&regions, &[A_SPARE_IN_EACH]);
    world.run_for(40).await;
    assert_eq!(counts(&world, &["iad", "lhr", "ams"]), [3, 2, 1]);
    // At 0, 15 and 30 s, and one before them that shows which regions there are.
    assert_eq!(world.requests(Operation::List), 4);
    assert_eq!(world.requests(Operation::Create), 2);
    assert!(world.all_pass_errors().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_regions_that_are_set_are_the_fleets_and_others_are_left_alone() {
    let logs = Logs::capture();
    let settings = [A_SPARE_IN_EACH, &[("FAS_REGIONS", "iad,syd,iad")]];
    let mut world = world_of(&["iad", "lhr", "lhr"], &settings);
    world.run_for(40).await;
    assert_eq!(counts(&world, &["iad", "syd", "lhr"]), [2, 1, 2]);
    // A list that lacks them for once makes them no news.
    for lacks in [&["lhr"][..], &[]] {
        world.platform().set_list_lacks(APP, lacks);
        world.run_for(40).await;
    }
    let told = logs.with("not scaled in lhr: ");
    assert_eq!(told.len(), 1, "{:#?}", logs.lines());
    let why = "FAS_REGIONS does not name the region: they are left alone";
    assert!(told[0].message.ends_with(why), "{told:#?}");
    let expected = ["iad", "syd"].map(|region| format!("{APP}/app/{region}"));
    assert_eq!(names(&world).await, expected);
}

#[tokio::test(start_paused = true)]
async fn more_regions_than_can_be_fleets_are_said_to_be_left_alone_once() {
    let logs = Logs::capture();
    let regions: Vec<String> = (0..102).map(|number| format!("r{number:03}")).collect();
    let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
    let mut world = world_of(&regions, &[NONE_WANTED, &[("FAS_DRY_RUN", "true")]]);
    world.run_for(40).await;
    let told = logs.with("not scaled in r100, r101: ");
    assert_eq!(told.len(), 1, "{:#?}", logs.lines());
}

#[tokio::test(start_paused = true)]
async fn one_cause_is_one_line_whatever_the_number_of_regions() {
    let settings = [
        ("FAS_PER_REGION", "true"),
        ("FAS_CREATED_MACHINE_COUNT", "wanted"),
        ("FAS_PROMETHEUS_QUERY_WANTED", "wanted{app='$APP_NAME'}"),
        ("FAS_PROMETHEUS_ADDRESS", "http://simulator/prometheus/acme"),
        ("FAS_REGIONS", "ams,iad,lhr"),
    ];
    let logs = Logs::capture();
    let mut world = world_of(&["iad", "lhr", "ams"], &[&settings]);
    world.run_for(20).await;
    let told = logs.with("metric wanted: the query returned nothing");
    let told: Vec<&str> = told.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(told.len(), 2, "one a pass: {told:#?}");
    let name = format!("{APP}/app/ams (and alike {APP}/app/iad, {APP}/app/lhr): ");
    assert!(told[0].starts_with(&name), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_group_keeps_a_machine_whatever_its_regions_want() {
    for regions in [
        &["IAD", "LHR"][..],
        &["IAD", "IAD", "LHR", "LHR"],
        &["iad", "lhr", "AMS"],
        &["IAD"],
    ] {
        let mut world = world_of(regions, &[NONE_WANTED]);
        world.run_for(300).await;
        assert_eq!(world.created(), 1, "{regions:?}");
        assert!(world.all_pass_errors().is_empty(), "{regions:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_surplus_begins_anew_in_a_region_that_had_none_left() {
    let settings = [NONE_WANTED, &[("FAS_DESTROY_RUNNING_AFTER", "45s")]];
    let mut world = world_of(&["iad", "lhr"], &settings);
    // The passes of 0, 15, 30 and 45 s have seen it.
    world.run_for(50).await;
    assert_eq!(counts(&world, &["iad", "lhr"]), [0, 1]);
    world.run_for(30).await;
    add(&world, "iad");
    // That of 90 s is the first to see the new one.
    world.run_for(50).await;
    assert_eq!(counts(&world, &["iad", "lhr"]), [1, 1]);
    world.run_for(20).await;
    assert_eq!(counts(&world, &["iad", "lhr"]), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_went_down_to_nothing_grows_again_from_another() {
    let settings = [&[
        ("FAS_PER_REGION", "true"),
        ("FAS_REGIONS", "iad,lhr"),
        ("FAS_CREATED_MACHINE_COUNT", "wanted"),
        ("FAS_DESTROY_RUNNING_AFTER", "0s"),
        (
            "FAS_PROMETHEUS_QUERY_WANTED",
            "wanted_$REGION{app='$APP_NAME'}",
        ),
        ("FAS_PROMETHEUS_ADDRESS", "http://simulator/prometheus/acme"),
    ][..]];
    let mut world = world_of(&["IAD", "LHR"], &settings);
    let want = |world: &World, wanted: [f64; 2]| {
        let mut platform = world.platform();
        for (region, count) in ["iad", "lhr"].into_iter().zip(wanted) {
            platform.set_gauge(APP, &format!("wanted_{region}"), Some(count));
        }
    };
    for wanted in [[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]] {
        want(&world, wanted);
        world.run_for(90).await;
        let found = counts(&world, &["iad", "lhr"]);
        let found: Vec<f64> = found.into_iter().map(|count| count as f64).collect();
        assert_eq!(found, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_for_each_region_fails_for_one_alone() {
    let mut world = world_of(&["iad", "lhr"], &[DEPTH_OF_EACH]);
    let labels = |region| [("app", APP), ("region", region)];
    let platform = || world.platform();
    platform().set_series("depth", &labels("iad"), Some(3.0));
    world.run_for(31).await;
    assert_eq!(counts(&world, &["iad", "lhr"]), [3, 1]);
    let failing = |region: &str| {
        world.series(&format!(
            r#"fas_failing_passes{{app="{APP}",group="app",region="{region}"}}"#
        ))
    };
    assert_eq!((failing("iad"), failing("lhr")), (Some(0.0), Some(3.0)));
    let (code, _, _) = world.get("/readyz").await;
    assert_eq!(code, 200, "one that succeeds is enough");
}

#[tokio::test(start_paused = true)]
async fn a_query_that_is_slow_for_one_region_delays_no_other() {
    let mut world = world_of(&["iad", "lhr"], &[DEPTH_OF_EACH]);
    for region in ["iad", "lhr"] {
        let labels = [("app", APP), ("region", region)];
        world.platform().set_series("depth", &labels, Some(2.0));
    }
    // The first pass only finds which regions there are.
    let slow = Fault::new(Effect::SlowAnswer(Duration::from_secs(10)));
    world.platform().add_fault(slow.on(Operation::Query).once());
    world.run_for(9).await;
    assert_eq!(counts(&world, &["iad", "lhr"]), [1, 2]);
    world.run_for(3).await;
    assert_eq!(counts(&world, &["iad", "lhr"]), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_query_by_region_is_asked_once_and_gives_each_region_its_own_element() {
    let settings = [
        ("FAS_PER_REGION", "true"),
        ("FAS_CREATED_MACHINE_COUNT", "depth"),
        ("FAS_PROMETHEUS_QUERY_DEPTH", "depth{app='$APP_NAME'}"),
        ("FAS_PROMETHEUS_ADDRESS", "http://simulator/prometheus/acme"),
    ];
    let mut world = world_of(&["iad", "lhr", "ams"], &[&settings]);
    for (region, depth) in [("iad", 2.0), ("lhr", 4.0)] {
        let labels = [("app", APP), ("region", region)];
        world.platform().set_series("depth", &labels, Some(depth));
    }
    world.run_for(31).await;
    assert_eq!(counts(&world, &["iad", "lhr", "ams"]), [2, 4, 1]);
    assert_eq!(world.requests(Operation::Query), 3, "one a pass");
    let fleets = fleets(&world).await;
    let errors = fleets.iter().map(|fleet| &fleet["errors"]);
    let errors: Vec<String> = errors.map(Value::to_string).collect();
    assert_eq!(&errors[1..], ["[]", "[]"]);
    assert!(
        errors[0].contains("ams") && errors[0].contains("iad, lhr"),
        "{errors:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lacks_a_region_is_no_reason_to_do_anything_about_it() {
    let mut world = world_of(&["iad", "lhr", "LHR"], &[A_SPARE_IN_EACH]);
    world.run_for(40).await;
    let before = counts(&world, &["iad", "lhr"]);
    assert_eq!(before, [2, 2]);
    let writes = world.writes();
    world.platform().set_list_lacks(APP, &["lhr"]);
    world.run_for(120).await;
    assert_eq!(world.writes(), writes);
    assert_eq!(names(&world).await.len(), 2);
    world.platform().set_list_lacks(APP, &[]);
    world.run_for(40).await;
    assert_eq!(world.writes(), writes);
    assert_eq!(counts(&world, &["iad", "lhr"]), before);
}

#[tokio::test(start_paused = true)]
async fn fleets_come_with_the_machines_of_a_region_and_go_after_them() {
    let mut world = world_of(&["IAD"], &[A_SPARE_IN_EACH]);
    world.run_for(20).await;
    assert_eq!(names(&world).await, [format!("{APP}/app/iad")]);
    add(&world, "LHR");
    world.run_for(30).await;
    assert_eq!(names(&world).await.len(), 2);
    let lhr = r#"region="lhr""#;
    assert!(world.admin.metrics_text().contains(lhr));
    let machines: Vec<String> = {
        let platform = world.platform();
        let of_lhr = platform.app(APP).unwrap().living("app");
        let of_lhr = of_lhr.filter(|machine| *machine.region == *"lhr");
        of_lhr.map(|machine| machine.id.to_string()).collect()
    };
    for id in machines {
        world.platform().remove_machine(APP, &id);
    }
    // As long as they may only be missing from the list, their region is a fleet.
    world.run_for(20).await;
    assert_eq!(names(&world).await.len(), 2);
    world.run_for(600).await;
    assert_eq!(counts(&world, &["lhr"]), [0], "nobody asked for one there");
    assert_eq!(names(&world).await, [format!("{APP}/app/iad")]);
    assert!(!world.admin.metrics_text().contains(lhr));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_nobody_can_read_founds_no_region() {
    let mut world = world_of(&["iad"], &[A_SPARE_IN_EACH]);
    let config = r#"{"image":"i","schedule":"daily","metadata":{"fly_process_group":"app"}}"#;
    let scheduled = NewMachine::in_region("lhr").config(config);
    let id = world.platform().add_machine(APP, scheduled).unwrap();
    world.run_for(40).await;
    let host = {
        let platform = world.platform();
        Arc::clone(&platform.machine(APP, &id).unwrap().host)
    };
    let set = |world: &World, status| world.platform().set_host_status(&host, status);
    set(&world, HostStatus::Unreachable);
    world.run_for(120).await;
    set(&world, HostStatus::Ok);
    world.run_for(40).await;
    assert_eq!(counts(&world, &["iad", "lhr"]), [2, 1]);
    assert_eq!(names(&world).await, [format!("{APP}/app/iad")]);
}

#[tokio::test(start_paused = true)]
async fn an_app_without_machines_is_told_and_begins_with_the_first_one() {
    let logs = Logs::capture();
    let mut world = world_of(&[], &[A_SPARE_IN_EACH]);
    world.run_for(40).await;
    let (code, _, why) = world.get("/readyz").await;
    assert_eq!(code, 503);
    assert!(why.contains("no machine available to clone"), "{why}");
    assert_eq!(names(&world).await, [APP]);
    let errors = logs.errors();
    assert!(
        errors
            .iter()
            .any(|line| line.message.contains("no machine")),
        "{errors:?}"
    );
    add(&world, "iad");
    world.run_for(20).await;
    assert_eq!(counts(&world, &["iad"]), [2]);
    assert_eq!(names(&world).await, [format!("{APP}/app/iad")]);
    let (code, _, why) = world.get("/readyz").await;
    assert_eq!(code, 200, "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_first_list_that_fails_is_told_and_the_next_one_is_enough() {
    let mut world = world_of(&["iad"], &[A_SPARE_IN_EACH]);
    let away = Fault::new(Effect::Answer(Canned::status(503))).on(Operation::List);
    let fault = world.platform().add_fault(away);
    world.run_for(10).await;
    let (code, _, why) = world.get("/readyz").await;
    assert_eq!(code, 503);
    assert!(why.contains("503"), "{why}");
    assert!(
        world.pass_errors("list") > 0,
        "{:?}",
        world.all_pass_errors()
    );
    world.platform().remove_fault(fault);
    world.run_for(40).await;
    assert_eq!(counts(&world, &["iad"]), [2]);
}

#[tokio::test(start_paused = true)]
async fn six_regions_take_one_list_and_one_question_about_the_release() {
    let regions = ["iad", "lhr", "ams", "fra", "syd", "nrt"];
    let mut world = world_of(&regions, &[A_SPARE_IN_EACH]);
    world.run_for(14).await;
    assert_eq!(counts(&world, &regions), [2; 6]);
    // One before it shows which regions there are.
    assert_eq!(world.requests(Operation::List), 2);
    assert_eq!(world.requests(Operation::Graphql), 1);
    // The pace is the app's: three at once, then one a second.
    assert_eq!(world.seconds_of(Operation::Create), [0, 0, 0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_region_whose_machines_land_elsewhere_gets_no_more_of_them() {
    let settings = [A_SPARE_IN_EACH, &[("FAS_REGIONS", "iad,xyz")]];
    let mut world = world_of(&["iad"], &settings);
    world.platform().set_region_alias("xyz", "lhr");
    world.run_for(600).await;
    assert_eq!(counts(&world, &["iad", "lhr"]), [2, 1]);
    let (_, _, body) = world
        .get(&format!("/api/status?app={APP}&region=xyz"))
        .await;
    let why = "a machine that was created in xyz is in lhr: nothing more is created there";
    assert!(body.contains(why), "{body}");
    let stray = {
        let platform = world.platform();
        let app = platform.app(APP).unwrap();
        let stray = app.living("app").find(|machine| *machine.region == *"lhr");
        Arc::clone(&stray.unwrap().id)
    };
    world.platform().set_region_alias("xyz", "xyz");
    world.platform().remove_machine(APP, &stray);
    world.run_for(3500).await;
    assert_eq!(
        counts(&world, &["iad", "xyz"]),
        [2, 0],
        "a list can lack it"
    );
    world.run_for(200).await;
    assert_eq!(counts(&world, &["iad", "xyz"]), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_region_is_named_wherever_its_fleet_is_shown() {
    let logs = Logs::capture();
    let mut world = world_of(&["iad", "lhr"], &[A_SPARE_IN_EACH]);
    world.run_for(20).await;
    let created = logs.with("create 1 machine like");
    let regions: BTreeSet<&str> = created
        .iter()
        .map(|line| line.fields["region"].as_str())
        .collect();
    assert_eq!(regions, BTreeSet::from(["iad", "lhr"]));
    let fleets = fleets(&world).await;
    assert_eq!(fleets[1]["region"], "lhr");
    assert_eq!(fleets[1]["name"], format!("{APP}/app/lhr"));
    let (_, _, list) = world.get("/").await;
    let link = format!(r#"href="/app/{APP}?group=app&amp;region=lhr""#);
    assert!(list.contains(&link), "{list}");
    assert!(list.contains("2 fleets are scaled"), "{list}");
    let (_, _, page) = world.get(&format!("/app/{APP}?group=app&region=lhr")).await;
    assert!(page.contains(&format!("{APP}/app/lhr")) && !page.contains(&format!("{APP}/app/iad")));
}

#[tokio::test(start_paused = true)]
async fn a_group_of_two_policies_shares_its_last_machine() {
    let mut world = World::with_options(&[], &Options::default());
    world.file = Some(
        "
per-region: true
created-machine-count: 0
destroy-running-after: 0s
policies:
  - {name: east, regions: [iad]}
  - {name: west, regions: [lhr], scale-down-step: 1}
"
        .to_owned(),
    );
    for region in ["IAD", "LHR", "LHR"] {
        add(&world, region);
    }
    world.run_for(300).await;
    assert_eq!(world.created(), 1);
}
