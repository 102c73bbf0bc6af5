//! What stands on the page.

use fly_autoscaler::sim::{MachineState, NewMachine};
use serde_json::Value;

use super::{
    chromium::Chromium,
    served::{Served, queue, tenants},
};
use crate::{
    servers::{
        process::{eventually, get},
        scene::Scene,
    },
    world::APP,
};

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn what_the_page_tells_is_what_the_api_tells() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new().await;
    scene.add_released_app(APP);
    let kept = {
        let mut platform = scene.platform();
        platform.set_gauge(APP, "queue_depth", Some(3.5));
        let kept = NewMachine::in_region("ams").state(MachineState::Stopped);
        platform
            .add_machine(APP, kept.metadata("fas_protect", "true"))
            .unwrap()
    };
    let prometheus = format!("http://{}/prometheus/acme", scene.address);
    let settings = [
        ("FAS_APP_NAME", APP),
        ("FAS_PROMETHEUS_ADDRESS", &prometheus),
        ("FAS_PROMETHEUS_TOKEN", "FlyV1 fm2_metrics"),
        ("FAS_PROMETHEUS_METRIC_NAME", "queue_depth"),
        ("FAS_PROMETHEUS_QUERY", "queue_depth{app='$APP_NAME'}"),
        ("FAS_CREATED_MACHINE_COUNT", "ceil(queue_depth) + 1"),
        ("FAS_MACHINE_CEILING", "4"),
    ];
    let daemon = scene.serve(folder.path(), &[], &settings).await;
    let fleet = async || {
        let path = format!("/api/status?app={APP}");
        let (_, json) = get(daemon.port(), &path, "").await?;
        Some(serde_json::from_str::<Value>(&json).ok()?["fleets"][0].take())
    };
    // From then on nothing happens, and each pass finds the same.
    let is_settled = async || {
        let is = |fleet: Value| {
            fleet["counts"]["created"] == 4
                && fleet["by_state"]["started"] == 3
                && fleet["decision"]["decision"] == "no_scale"
        };
        fleet().await.is_some_and(is)
    };
    eventually("four machines", is_settled, || daemon.log()).await;

    let chromium = Chromium::open().await;
    let address = format!("http://{}", daemon.address());
    chromium.visit(&format!("{address}/")).await;
    let fleet = fleet().await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();

    assert_eq!(
        chromium.texts("h1").await,
        [format!("{} ✓ ok", text(&fleet["name"]))]
    );
    let headline = chromium.texts(".headline").await.remove(0);
    assert!(
        headline.starts_with("4 machines, 3 running, 1 in reserve."),
        "{headline}"
    );

    let chain = chromium.texts(".chain > li").await;
    let [metrics, expressions, limits, plan] = &*chain else {
        panic!("{chain:#?}")
    };
    let metric = &fleet["metrics"][0];
    assert!(
        metrics.contains(&format!("{} = {}", text(&metric["name"]), metric["value"])),
        "{metrics}"
    );
    let target = &fleet["targets"]["created"];
    let expression = format!(
        "{} = {}",
        text(&target["expression"]["min"]),
        target["value"]["min"]
    );
    assert!(
        expressions.contains(&expression),
        "{expression}: {expressions}"
    );
    assert!(
        limits.contains(&format!("after limits {}", target["limited"]["min"])),
        "{limits}"
    );
    assert!(
        plan.contains(&text(&fleet["decision"]["sentence"])),
        "{plan}"
    );
    for note in fleet["decision"]["notes"].as_array().unwrap() {
        let note = text(&note["sentence"]);
        assert!(
            limits.contains(&note) || plan.contains(&note),
            "{note}: {limits} {plan}"
        );
    }

    let mut machines = chromium.texts(".machines li").await;
    machines.sort_unstable();
    let mut told: Vec<String> = fleet["machines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|machine| {
            let protected = if machine["protected"] == true {
                " · protected"
            } else {
                ""
            };
            format!(
                "{}\n{}{protected}",
                text(&machine["id"]),
                text(&machine["state"])
            )
        })
        .collect();
    told.sort_unstable();
    assert_eq!(machines, told);
    assert!(
        told.contains(&format!("{kept}\nstopped · protected")),
        "{told:?}"
    );

    let decisions = chromium.texts("#decisions tbody td:last-child").await;
    let told = fleet["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), told.len());
    for (shown, told) in decisions.iter().zip(told) {
        assert!(shown.contains(&text(&told["sentence"])), "{shown}: {told}");
    }
    chromium.close(&address).await;
    daemon.stop().await;
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn the_chart_is_drawn_and_told_in_words() {
    let served = Served::after(30 * 60, queue);
    served.go_on(20 * 60, |world| world.depth(7.0));
    let chromium = Chromium::open().await;
    chromium.visit(&format!("{}/", served.address())).await;
    let charts: Vec<String> = chromium
        .value(
            "[...document.querySelectorAll('.chart > svg[role=img]')].map((one) => one.ariaLabel)",
        )
        .await;
    let [machines, metric] = &*charts else {
        panic!("{charts:#?}")
    };
    for part in [
        "Machines, from ",
        "exist: between 3 and 7, at the end 7.",
        "Marks: created or started (at the top): 2; destroyed or stopped (at the bottom): 0.",
    ] {
        assert!(machines.contains(part), "{part}: {machines}");
    }
    let part = "queue_depth: between 3 and 7, at the end 7.";
    assert!(metric.contains(part), "{metric}");
    for shape in ["line-0", "line-1", "line-2", "mark-up"] {
        let selector = format!(".chart > svg .{shape}");
        let is_drawn: bool = chromium
            .value(&format!(
                "(() => {{
                    const one = document.querySelector({selector:?});
                    const box = one.getBoundingClientRect();
                    const chart = one.closest('.chart').getBoundingClientRect();
                    const style = getComputedStyle(one);
                    return style.stroke !== 'none' && parseFloat(style.strokeWidth) > 0 && box.height > 5
                        && box.left >= chart.left - 2 && box.right <= chart.right + 2;
                }})()"
            ))
            .await;
        assert!(is_drawn, "{selector}");
    }
    chromium.close(&served.address()).await;
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn all_of_it_is_there_without_javascript() {
    let served = Served::after(120, || tenants(3, ""));
    let chromium = Chromium::open().await;
    chromium.without_scripts().await;
    chromium.visit(&format!("{}/", served.address())).await;
    chromium.enter("#q", "0001").await;
    chromium.click("form button").await;
    // It undoes the filter.
    chromium.appears("form a").await;
    assert_eq!(chromium.texts("tbody a").await, ["tenant-0001"]);
    chromium.click("tbody a").await;
    chromium.appears(".chart").await;
    let headline = chromium.texts(".headline").await.remove(0);
    assert!(
        headline.starts_with("2 machines, 2 running. That is as wanted"),
        "{headline}"
    );
    assert_eq!(chromium.count(".chart > svg .line-0").await, 2);
    chromium.close(&served.address()).await;
}
