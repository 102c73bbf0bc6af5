//! The status page, as a browser without scripts gets it.

use std::sync::Arc;

use fly_autoscaler::{
    scaling::FleetName,
    sim::{Effect, Fault, MachineState, NewMachine, Operation, Release},
    status::{Demo, DemoEvent, Settings, Standing},
};

use crate::world::{APP, World};

const TARGET: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "min(queue_depth + 1, 10)");

fn one_machine(depth: f64, settings: &[(&str, &str)]) -> World {
    let world = World::queue(depth, settings);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    world
}

async fn page(world: &World, path: &str) -> String {
    let (status, content_type, body) = world.get(path).await;
    assert_eq!((status, &*content_type), (200, "text/html; charset=utf-8"));
    body
}

/// The page's text, without its tags.
fn text(page: &str) -> String {
    let mut text = String::new();
    for part in page.split('<') {
        let behind = part.split_once('>').map_or(part, |(_, behind)| behind);
        text.push_str(behind);
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&quot;", "\"").replace("&amp;", "&")
}

#[tokio::test(start_paused = true)]
async fn before_the_first_pass_it_says_what_it_waits_for() {
    let mut world = one_machine(1.0, &[TARGET]);
    world
        .platform()
        .add_fault(Fault::new(Effect::Hang).on(Operation::List));
    world.run_for(1).await;
    let page = text(&page(&world, "/").await);
    assert!(
        page.contains("Waiting for the first pass, which is under way."),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_only_app_is_told_from_headline_to_error() {
    let mut world = one_machine(3.0, &[TARGET, ("FAS_MACHINE_CEILING", "3")]);
    let stopped = NewMachine::in_region("iad").state(MachineState::Stopped);
    let stopped = world.platform().add_machine(APP, stopped).unwrap();
    world
        .platform()
        .set_metadata(APP, &stopped, "fas_protect", Some("true"));
    world.run_for(0).await;
    let html = page(&world, "/").await;
    let told = text(&html);
    for part in [
        "2 machines, 1 running, 1 in reserve. Create 1 machine like ",
        "2 machines exist, 3 wanted (machines: min(queue_depth + 1, 10) = 4, after limits 3, because queue_depth = 3).",
        "queue_depth = 3",
        "min(queue_depth + 1, 10) = 4",
        "the ceiling of 3 lowers the created target (4)",
        "iad (1)",
        &format!("{stopped}stopped · protected"),
        "None so far.",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        html.contains("role=\"img\" aria-label=\"Machines, from "),
        "{html}"
    );
    assert_eq!(page(&world, &format!("/app/{APP}")).await, html);
    assert!(html.len() < 100 * 1024, "{}", html.len());

    world.run_for(15).await;
    let told = text(&page(&world, "/").await);
    assert!(told.contains("That is as wanted (machines: min(queue_depth + 1, 10) = 4, after limits 3, because queue_depth = 3)."), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_comes_with_what_to_do() {
    let mut world = one_machine(1.0, &[TARGET]);
    world
        .platform()
        .add_fault(Fault::status(401).on(Operation::Query));
    world.run_for(15).await;
    let told = text(&page(&world, "/").await);
    for part in [
        "✗ failing",
        "Nothing is changed: queue_depth has no value, so it is not known how many are wanted.",
        "2 passes failed in a row, none has succeeded yet: metric queue_depth: HTTP 401 Unauthorized: not authorized; \
         check FAS_PROMETHEUS_TOKEN",
        "The source of queue_depth refuses us, and Fly does not: correct the password or token in the setting that the \
         message names",
        "has no value: ",
        "2 times since ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("fly tokens create"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_fly_refuses_is_told_with_the_command_that_makes_another() {
    let mut world = one_machine(1.0, &[TARGET]);
    world
        .platform()
        .add_fault(Fault::status(401).on(Operation::List));
    world.run_for(15).await;
    let told = text(&page(&world, "/").await);
    assert!(
        told.contains("Set a token that may do this: fly tokens create deploy -a APP"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_app_without_machines_is_told_to_be_deployed() {
    let mut world = World::queue(3.0, &[TARGET]);
    world.run_for(60).await;
    let html = page(&world, "/").await;
    let told = text(&html);
    for part in [
        "No machines, 4 wanted, but there is none to make more like it (",
        "5 passes failed in a row, none has succeeded yet: no machine available to clone",
        "New machines are copies of one that exists: deploy the app (fly deploy), or fix FAS_PROCESS_GROUP or FAS_REGIONS.",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(html.contains("<code>fly deploy</code>"), "{html}");
    assert!(!told.contains("Not ready"), "said once: {told}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_names_the_metric_and_how_long_it_lasts() {
    let mut world = one_machine(1.0, &[TARGET]);
    world.run_for(60).await;
    let outage = Fault::status(503).on(Operation::Query);
    world.platform().add_fault(outage);
    world.run_for(20 * 60).await;
    let told = text(&page(&world, "/").await);
    for part in [
        "2 machines, 2 running. Nothing is changed: queue_depth has no value, so it is not known how many are wanted.",
        "80 passes failed in a row, the last good one 20 min ago: metric queue_depth: HTTP 503",
        "Nothing is destroyed or stopped without the metric.",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_deploy_is_told_with_how_long_it_lasts() {
    let mut world = one_machine(3.0, &[TARGET]);
    world.run_for(60).await;
    let wall = world.platform().wall();
    let release = Release {
        version: 2,
        status: "running".to_owned(),
        created_at: wall,
        updated_at: wall,
        image: String::new(),
    };
    world.platform().set_release(APP, Some(release));
    world.depth(1.0);
    world.run_for(5 * 60).await;
    let told = text(&page(&world, "/").await);
    for part in [
        "4 machines exist, only 2 wanted, but release v2 is being deployed: nothing is changed until it is done (",
        "Release v2 is being deployed: nothing is changed until it is done (for 4 min so far)",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blue_green_deploy_half_done_is_told_with_how_long_it_lasts() {
    let mut world = one_machine(1.0, &[TARGET]);
    world.run_for(60).await;
    for _ in 0..2 {
        let green = NewMachine::in_region("ord").release(2).cordoned();
        world.platform().add_machine(APP, green).unwrap();
    }
    world.run_for(5 * 60).await;
    let told = text(&page(&world, "/").await);
    for part in [
        "4 machines exist, only 2 wanted, but cordoned machines of a newer release exist",
        "2 surplus machines, but cordoned machines of a newer release exist (a blue-green deploy in progress, or one that died): nothing is destroyed (for 4 min so far)",
        "If no deploy is running, a blue-green deploy died half way: destroy the cordoned machines",
        "started · cordoned",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_on_an_unreachable_host_stays_in_the_grid() {
    let mut world = one_machine(0.0, &[TARGET]);
    let lost = NewMachine::in_region("iad").state(MachineState::Stopped);
    let lost = world.platform().add_machine(APP, lost).unwrap();
    world
        .platform()
        .set_metadata(APP, &lost, "fas_protect", Some("true"));
    world.run_for(0).await;
    world.lose_host_of(&lost);
    world.run_for(300).await;
    let html = page(&world, "/").await;
    let told = text(&html);
    for part in [
        "1 machine, 1 running",
        "1 machine is on an unreachable host: not touched, and not counted",
        "iad (1)",
        &format!("{lost}stopped · protected · unreachable"),
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(html.contains("class=\"broken\""), "{html}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_is_unmistakable() {
    let mut world = one_machine(3.0, &[TARGET, ("FAS_DRY_RUN", "true")]);
    world.run_for(0).await;
    let told = text(&page(&world, "/").await);
    assert!(told.contains("Dry run: nothing is changed."), "{told}");
    assert!(
        told.contains("Dry run, would create 3 machines like "),
        "{told}"
    );
}

/// A world that shows these apps, of which no pass has been.
fn showing(apps: impl IntoIterator<Item = String>) -> World {
    let world = World::queue(1.0, &[]);
    let status = &world.admin.status;
    status.configure(Settings {
        interval: std::time::Duration::from_secs(15),
        dry_run: false,
        app_pattern: "*".to_owned(),
        targets: None,
    });
    for app in apps {
        let fleet = FleetName::only(&app, "<script>alert(1)</script>");
        let begun = jiff::Timestamp::UNIX_EPOCH;
        status.appear(&fleet, &Arc::default(), Standing::default(), begun);
    }
    world
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_said_is_text() {
    let hostile = "<script>alert(1)</script>";
    let world = showing([hostile.to_owned(), "b".to_owned()]);
    let list = page(&world, "/").await;
    assert!(text(&list).contains(hostile), "{list}");
    let link = "href=\"/app/%3Cscript%3Ealert%281%29%3C%2Fscript%3E\"";
    assert!(list.contains(link), "{list}");
    let paths = [
        "/",
        "/?q=%3Cscript%3E",
        "/app/b",
        "/app/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    ];
    for path in paths {
        let html = page(&world, path).await;
        assert_eq!(html.matches("<script").count(), 1, "the page's own: {html}");
        assert!(!html.contains("style="), "{html}");
    }
    let (status, _, html) = world.get("/app/%3Cscript%3E").await;
    assert_eq!(status, 404);
    assert!(
        text(&html).contains("does not scale an app of that name"),
        "{html}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_list_is_filtered_sorted_and_paged_by_the_server() {
    let world = showing((0..450).map(|number| format!("app-{number:03}")));
    let rows = |html: &str| -> Vec<String> {
        html.split("href=\"/app/")
            .skip(1)
            .filter_map(|part| Some(part.split_once('"')?.0.to_owned()))
            .collect()
    };
    let first = page(&world, "/").await;
    assert_eq!(rows(&first).len(), 200);
    assert!(text(&first).contains("Page 1 of 3, 450 apps."), "{first}");
    assert!(first.contains("href=\"/?page=2\""), "{first}");
    let last = rows(&page(&world, "/?page=3").await);
    assert_eq!((last.len(), &*last[49]), (50, "app-449"));
    assert_eq!(rows(&page(&world, "/?page=99").await), last);
    let found = page(&world, "/?q=APP-44&sort=name").await;
    assert_eq!(rows(&found).len(), 10);
    assert!(found.contains("aria-sort=\"ascending\""), "{found}");
    let none = text(&page(&world, "/?q=%22%3E").await);
    assert!(none.contains("No app has that in its name."), "{none}");
    let (_, _, nothing) = showing([]).get("/").await;
    assert!(
        text(&nothing).contains("No app is scaled yet."),
        "{nothing}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_list_begins_with_what_is_wrong_and_why() {
    let mut world = World::queue(
        1.0,
        &[("FAS_APP_NAME", "app-*"), ("FAS_ORG", "acme"), TARGET],
    );
    for app in ["app-a", "app-b", "app-c", "app-d"] {
        let mut platform = world.platform();
        platform.add_app(app, "acme");
        platform.set_gauge(app, "queue_depth", Some(1.0));
        platform
            .add_machine(app, NewMachine::in_region("ord"))
            .unwrap();
    }
    {
        let mut platform = world.platform();
        platform.set_gauge("app-d", "queue_depth", None);
        platform.add_fault(Fault::status(500).on(Operation::List).app("app-c"));
        for _ in 0..3 {
            let green = NewMachine::in_region("ord").release(2).cordoned();
            platform.add_machine("app-b", green).unwrap();
        }
    }
    world.run_for(120).await;
    let told = text(&page(&world, "/").await);
    let places = [
        "4 apps are scaled, 2 failing, 1 needs attention.",
        "Wanted of each: machines: min(queue_depth + 1, 10)",
        "✗ failing listapp-c",
        "✗ failing metricapp-d",
        "! needs attention blue greenapp-b",
        "✓ okapp-a22",
    ]
    .map(|part| told.find(part).unwrap_or_else(|| panic!("{part}: {told}")));
    assert!(places.is_sorted(), "{places:?}: {told}");
}

#[tokio::test(start_paused = true)]
async fn a_browser_may_do_no_more_than_show_it() {
    let world = showing(["a".to_owned()]);
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/nowhere", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/api/status", "application/json"),
    ] {
        let headers = world.headers(path).await;
        let header = |name: &str| {
            headers
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
        };
        assert_eq!(header("content-type"), content_type, "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("cache-control"), "no-store", "{path}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_the_list_lacks_is_told_as_missing() {
    let mut world = one_machine(1.0, &[TARGET]);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("iad"))
        .unwrap();
    world.run_for(1).await;
    let before = text(&page(&world, "/").await);
    assert!(
        before.contains("2 machines, 2 running. That is as wanted"),
        "{before}"
    );
    world.platform().set_list_lacks(APP, &["iad"]);
    world.run_for(15).await;
    let missing = text(&page(&world, "/").await);
    assert!(
        missing.contains(
            "2 machines, 2 running; 1 of them missing from Fly's list, and counted until"
        ),
        "{missing}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_create_that_another_region_took_has_not_failed() {
    let mut world = one_machine(2.0, &[TARGET, ("FAS_REGIONS", "ord,iad")]);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("iad"))
        .unwrap();
    world
        .platform()
        .add_fault(Fault::status(422).on(Operation::Create).once());
    world.run_for(5).await;
    assert_eq!(world.created(), 3);
    let told = text(&page(&world, "/").await);
    assert!(told.contains("with errors: create 1 machine"), "{told}");
    assert!(!told.contains("failed: create"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_does_not_exist_says_so_in_words() {
    let mut world = one_machine(1.0, &[TARGET]);
    world.run_for(0).await;
    let long = format!("/app/{}", "x".repeat(10_000));
    for (path, expected) in [
        ("/app/%FF", "does not scale an app of that name"),
        ("/app/a%FFb", "does not scale an app of that name"),
        (
            &*long,
            "does not scale an app of that name: it has 10000 letters",
        ),
        ("/app/", "There is no such page here"),
        ("/app/a/b", "There is no such page here"),
        ("/%FF", "There is no such page here"),
    ] {
        let (status, content_type, html) = world.get(path).await;
        assert_eq!(
            (status, &*content_type),
            (404, "text/html; charset=utf-8"),
            "{path}"
        );
        assert!(text(&html).contains(expected), "{path}: {html}");
        assert!(html.len() < 4096, "{path}: {}", html.len());
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_last_page_is_the_last() {
    let world = showing((0..450).map(|number| format!("app-{number:03}")));
    for query in ["page=3", "page=4", "page=99999999999999999999999"] {
        let told = text(&page(&world, &format!("/?sort=name&{query}")).await);
        assert!(told.contains("Page 3 of 3, 450 apps."), "{query}: {told}");
        assert!(
            told.contains("app-449") && !told.contains("app-001"),
            "{query}"
        );
    }
    for query in ["page=0", "page=-1", "page=x", "page="] {
        let told = text(&page(&world, &format!("/?sort=name&{query}")).await);
        assert!(told.contains("Page 1 of 3"), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_list_is_told_where_its_counts_would_be() {
    let mut world = one_machine(1.0, &[TARGET]);
    world.run_for(0).await;
    world
        .platform()
        .add_fault(Fault::status(404).on(Operation::List));
    world.run_for(15).await;
    let told = text(&page(&world, "/").await);
    for part in [
        "min(queue_depth + 1, 10) is not evaluated: the list of machines is missing",
        "How many machines there are is not known: the list of them is missing.",
        "Nothing is changed: the machines could not be listed.",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("has no value"), "{told}");
    assert!(!told.contains("Also known: created"), "{told}");
    world.admin.status.appear(
        &FleetName::only("other", "app"),
        &Arc::default(),
        Standing::default(),
        jiff::Timestamp::UNIX_EPOCH,
    );
    let told = text(&page(&world, "/").await);
    assert!(told.contains("not known: no list"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_a_sentence_has_between_backticks_is_code() {
    let mut world = one_machine(1.0, &[TARGET]);
    world.run_for(0).await;
    world.platform().set_gauge(APP, "queue_depth", None);
    world.run_for(15).await;
    let html = page(&world, "/").await;
    assert!(html.contains("<code>or vector(0)</code>"), "{html}");
    assert!(
        html.contains("<code>FAS_PROMETHEUS_EMPTY_VALUE</code>"),
        "{html}"
    );
    let told = text(&html);
    assert!(!told.contains('`'), "{told}");
}

#[tokio::test(start_paused = true)]
async fn the_ticks_of_a_chart_are_explained_where_there_are_any() {
    let mut world = one_machine(0.0, &[TARGET]);
    world.run_for(15).await;
    let quiet = text(&page(&world, "/").await);
    assert!(!quiet.contains("created or started"), "{quiet}");
    world.depth(1.0);
    world.run_for(30).await;
    let grown = text(&page(&world, "/").await);
    assert!(grown.contains("created or started (at the top)"), "{grown}");
    assert!(!grown.contains("destroyed or stopped"), "{grown}");
    world.depth(0.0);
    world.run_for(90).await;
    let shrunk = text(&page(&world, "/").await);
    assert!(
        shrunk.contains("destroyed or stopped (at the bottom)"),
        "{shrunk}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_demo_says_so_and_what_happens_in_it_and_nothing_else_does() {
    let mut world = one_machine(1.0, &[TARGET]);
    world.run_for(0).await;
    let real = page(&world, "/").await;
    assert!(!real.to_lowercase().contains("demo"), "{real}");
    let now = world.admin.status.clock().now().wall;
    world.admin.status.play(Demo {
        moment: "day 1, 15:20".to_owned(),
        going_on: vec!["Prometheus is away"],
        events: vec![DemoEvent {
            at: now,
            clock: "15:00".to_owned(),
            text: "Prometheus is away from now on <b>".to_owned(),
        }],
    });
    for path in ["/", "/app/nobody"] {
        let (_, _, html) = world.get(path).await;
        let told = text(&html);
        for part in [
            "Demo: ",
            "This is a demo: the platform is a simulated one, and nothing real is touched.",
            "Here it is day 1, 15:20; Prometheus is away.",
            "15:00 Prometheus is away from now on <b> (03:04:05 UTC)",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(html.contains("away from now on &lt;b&gt; "), "{html}");
    }
    let (_, _, style) = world.get("/style.css").await;
    assert!(style.contains(".banner.demo"), "{style}");
}
