//! `/api/status`: the record as programs read it.

use fly_autoscaler::sim::{Effect, Fault, HostStatus, MachineState, NewMachine, Operation};
use serde_json::{Value, json};

use crate::world::{APP, World};

fn one_machine(settings: &[(&str, &str)]) -> World {
    let world = World::queue(2.0, settings);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    world
}

async fn status(world: &World, query: &str) -> (u16, Value) {
    let (status, content_type, body) = world.get(&format!("/api/status{query}")).await;
    assert_eq!(content_type, "application/json");
    (status, serde_json::from_str(&body).unwrap())
}

async fn fleet(world: &World) -> Value {
    status(world, &format!("?app={APP}")).await.1["fleets"][0].take()
}

#[tokio::test(start_paused = true)]
async fn before_the_first_pass_is_over_nothing_is_known_and_no_key_is_missing() {
    let mut world = one_machine(&[("FAS_CREATED_MACHINE_COUNT", "queue_depth")]);
    world
        .platform()
        .add_fault(Fault::new(Effect::Hang).on(Operation::List));
    world.run_for(1).await;
    let (code, status) = status(&world, "").await;
    assert_eq!(code, 200);
    assert_eq!(
        status,
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": "2026-01-02T03:04:05Z",
            "now": "2026-01-02T03:04:06.001Z",
            "ready": false,
            "ready_reason": "no pass has succeeded yet: no pass has finished yet",
            "dry_run": false,
            "role": "alone",
            "lock": null,
            "others": null,
            "interval_s": 15.0,
            "fleets": [{
                "app": APP,
                "group": "app",
                "region": null,
                "name": APP,
                "pass": null,
                "next_pass_at": "2026-01-02T03:04:05Z",
                "metrics": [],
                "targets": {
                    "created": {
                        "expression": {"min": "queue_depth", "max": "queue_depth"},
                        "value": null,
                        "limited": null,
                    },
                    "started": null,
                },
                "counts": {"created": null, "started": null, "stopped": null},
                "by_state": null,
                "by_region": null,
                "decision": null,
                "failing_passes": 0,
                "last_success_at": null,
            }],
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_pass_is_told_from_metric_to_machine() {
    let settings = [
        ("FAS_MIN_CREATED_MACHINE_COUNT", "queue_depth + 2"),
        ("FAS_MAX_CREATED_MACHINE_COUNT", "9"),
        ("FAS_MACHINE_CEILING", "3"),
    ];
    let mut world = one_machine(&settings);
    let stopped = NewMachine::in_region("iad").state(MachineState::Stopped);
    let stopped = world.platform().add_machine(APP, stopped).unwrap();
    world
        .platform()
        .set_metadata(APP, &stopped, "fas_protect", Some("true"));
    world.run_for(0).await;
    let told = fleet(&world).await;
    assert_eq!(told["metrics"][0]["name"], "queue_depth");
    assert_eq!(told["metrics"][0]["value"], 2.0);
    assert_eq!(told["metrics"][0]["error"], Value::Null);
    assert_eq!(
        told["targets"]["created"],
        json!({
            "expression": {"min": "queue_depth + 2", "max": "9"},
            "value": {"min": 4, "max": 9},
            "limited": {"min": 3, "max": 3},
        })
    );
    assert_eq!(
        told["counts"],
        json!({"created": 2, "started": 1, "stopped": 1})
    );
    assert_eq!(told["by_state"], json!({"started": 1, "stopped": 1}));
    assert_eq!(told["by_region"], json!({"iad": 1, "ord": 1}));
    let decision = &told["decision"];
    assert_eq!(decision["decision"], "create");
    assert_eq!(decision["code"], "too_few_created");
    let sentence = decision["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("create 1 machine like "), "{sentence}");
    assert!(
        sentence.ends_with(": 2 machines exist, 3 wanted"),
        "{sentence}"
    );
    assert_eq!(decision["notes"][0]["code"], "ceiling");
    assert_eq!(told["decisions"].as_array().unwrap().len(), 1);
    assert_eq!(told["errors"], json!([]));
    assert_eq!(told["machines_left_out"], 0);
    let machines = told["machines"].as_array().unwrap();
    assert_eq!(machines.len(), 2);
    let stopped = machines
        .iter()
        .find(|machine| machine["state"] == "stopped")
        .unwrap();
    assert_eq!(stopped["region"], "iad");
    assert_eq!(
        (
            &stopped["protected"],
            &stopped["created"],
            &stopped["started"]
        ),
        (&json!(true), &json!(true), &json!(false))
    );
    assert_eq!(
        told["series"],
        json!({
            "step_s": 60.0,
            "from": "2026-01-02T03:04:05Z",
            "created": [2],
            "started": [1],
            "target_min": [4],
            "target_max": [9],
            "metrics": {"queue_depth": [2.0]},
        })
    );
    world.run_for(15).await;
    let told = fleet(&world).await;
    assert_eq!(told["counts"]["created"], 3);
    assert_eq!(told["decision"]["code"], "within_target");
    assert_eq!(
        told["decisions"].as_array().unwrap().len(),
        1,
        "nothing was done"
    );
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_and_again_is_one_error_and_one_decision() {
    let mut world = one_machine(&[("FAS_CREATED_MACHINE_COUNT", "queue_depth")]);
    world
        .platform()
        .add_fault(Fault::new(Effect::Refuse).on(Operation::Query));
    world.run_for(45).await;
    let told = fleet(&world).await;
    assert_eq!(told["failing_passes"], 4);
    assert_eq!(told["metrics"][0]["value"], Value::Null);
    let why = told["metrics"][0]["error"].as_str().unwrap();
    let errors = told["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(
        (&errors[0]["code"], &errors[0]["times"]),
        (&json!("metric"), &json!(4))
    );
    assert!(errors[0]["sentence"].as_str().unwrap().contains(why));
    let decisions = told["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    assert_eq!(decisions[0]["code"], "no_target");
    assert_eq!(decisions[0]["ok"], false);
    assert_ne!(decisions[0]["at"], decisions[0]["first_at"]);
    assert_eq!(told["series"]["metrics"]["queue_depth"], json!([null]));

    world.platform().clear_faults();
    world
        .platform()
        .add_fault(Fault::status(404).on(Operation::List));
    world.run_for(15).await;
    let told = fleet(&world).await;
    assert_eq!(told["decision"]["code"], "no_list");
    assert_eq!(told["targets"]["created"]["value"], Value::Null);
    assert_eq!(told["counts"]["created"], 1, "as the last list showed it");
    assert_eq!(told["series"]["created"], json!([1, null]));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_comes_to_one_plan_once() {
    let mut world = one_machine(&[
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
        ("FAS_DRY_RUN", "true"),
    ]);
    world.run_for(60).await;
    let (_, all) = status(&world, "").await;
    assert_eq!(all["dry_run"], true);
    let told = fleet(&world).await;
    let decisions = told["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    assert_eq!(decisions[0]["times"], 5);
    let sentence = decisions[0]["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("dry run, would create 1 machine"),
        "{sentence}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_series_holds_the_very_values() {
    let world = &mut one_machine(&[("FAS_CREATED_MACHINE_COUNT", "2")]);
    world.depth(16_777_217.0);
    world.run_for(0).await;
    let told = fleet(world).await;
    assert_eq!(told["metrics"][0]["value"], 16_777_217.0);
    assert_eq!(
        told["series"]["metrics"]["queue_depth"],
        json!([16_777_217.0])
    );
    world.run_for(50).await;
    world.depth(0.1);
    world.run_for(15).await;
    let told = fleet(world).await;
    assert_eq!(
        told["series"]["metrics"]["queue_depth"],
        json!([16_777_217.0, 0.1])
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_list_no_count_is_known() {
    let mut world = one_machine(&[("FAS_CREATED_MACHINE_COUNT", "queue_depth")]);
    world
        .platform()
        .add_fault(Fault::status(404).on(Operation::List));
    world.run_for(0).await;
    let told = fleet(&world).await;
    for count in ["machines_left_out", "by_state", "by_region"] {
        assert_eq!(told[count], Value::Null, "{count}: {told}");
    }
    assert_eq!(told["machines"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_fleet_is_not_found_and_says_so() {
    let mut world = one_machine(&[("FAS_CREATED_MACHINE_COUNT", "queue_depth")]);
    world.run_for(0).await;
    let queries = [
        "?app=nobody".to_owned(),
        "?app=".to_owned(),
        format!("?app={APP}&group=worker"),
        format!("?app={APP}&region=ord"),
        "?app=%3Cscript%3E%0a".to_owned(),
        "?app=%FF".to_owned(),
        format!("?app={}", "x".repeat(10_000)),
        format!("?app={APP}&group={}", "x".repeat(10_000)),
    ];
    for query in queries {
        let (code, told) = status(&world, &query).await;
        assert_eq!(code, 404, "{query}");
        let error = told["error"].as_str().unwrap();
        assert!(
            error.starts_with("this autoscaler does not scale an app of that name"),
            "{error}"
        );
        assert!(!error.contains('\n') && error.len() < 300, "{error}");
    }
    let (_, told) = status(&world, &format!("?app={}", "x".repeat(10_000))).await;
    assert!(
        told["error"].as_str().unwrap().contains("10000 letters"),
        "{told}"
    );
    let (code, told) = status(&world, &format!("?app={APP}&group=app&x=y")).await;
    assert_eq!(code, 200);
    assert_eq!(told["fleets"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_no_longer_scaled_is_not_shown() {
    let mut world = World::queue(
        1.0,
        &[
            ("FAS_CREATED_MACHINE_COUNT", "1"),
            ("FAS_APP_NAME", "*"),
            ("FAS_ORG", "acme"),
        ],
    );
    for app in ["b-app", "a-app"] {
        world.platform().add_app(app, "acme");
    }
    world.run_for(30).await;
    let names = |told: &Value| -> Vec<String> {
        let fleets = told["fleets"].as_array().unwrap();
        let names = fleets.iter().map(|fleet| fleet["name"].as_str().unwrap());
        names.map(ToOwned::to_owned).collect()
    };
    let (_, told) = status(&world, "").await;
    assert_eq!(names(&told), ["a-app", "b-app", APP]);
    world.platform().remove_app("a-app");
    world.run_for(120).await;
    let (_, told) = status(&world, "").await;
    assert_eq!(names(&told), ["b-app", APP]);
    assert_eq!(status(&world, "?app=a-app").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_machine_on_an_unreachable_host_is_shown_after_its_minute_too() {
    let mut world = one_machine(&[("FAS_CREATED_MACHINE_COUNT", "1")]);
    let lost = world
        .platform()
        .add_machine(
            APP,
            NewMachine::in_region("iad").state(MachineState::Stopped),
        )
        .unwrap();
    world
        .platform()
        .set_metadata(APP, &lost, "fas_protect", Some("true"));
    world.run_for(0).await;
    let host = world.lose_host_of(&lost);
    for (seconds, created) in [(30, true), (300, false)] {
        world.run_for(seconds).await;
        let told = fleet(&world).await;
        assert_eq!(
            told["by_state"],
            json!({"started": 1, "unreachable": 1}),
            "{told}"
        );
        assert_eq!(told["counts"]["created"], 1 + u32::from(created));
        let machines = told["machines"].as_array().unwrap();
        assert_eq!(machines.len(), 2, "{machines:?}");
        let found = machines.iter().find(|machine| machine["id"] == *lost);
        let found = found.unwrap();
        for (key, value) in [
            ("created", created),
            ("started", false),
            ("reachable", false),
            ("listed", true),
            ("protected", true),
        ] {
            assert_eq!(found[key], value, "{key} after {seconds} s: {found}");
        }
        assert_eq!(told["machines_left_out"], 0);
    }
    world.platform().set_host_status(&host, HostStatus::Ok);
    world.run_for(15).await;
    let told = fleet(&world).await;
    assert_eq!(told["counts"]["created"], 2);
    assert_eq!(told["machines"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn regions_whose_names_look_alike_are_one_member() {
    let mut world = one_machine(&[("FAS_CREATED_MACHINE_COUNT", "3")]);
    for region in ["a b", "a\nb"] {
        world
            .platform()
            .add_machine(APP, NewMachine::in_region(region))
            .unwrap();
    }
    world.run_for(1).await;
    let (_, _, body) = world.get("/api/status").await;
    assert!(body.contains(r#""by_region":{"a b":2,"ord":1}"#), "{body}");
}
