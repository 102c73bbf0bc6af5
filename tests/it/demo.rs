//! The demo: its day in a world of paused time, where each event has to have its effect on the daemon, and the program that
//! plays it.

use std::{collections::BTreeSet, process::Stdio};

use fly_autoscaler::{
    demo::{
        Cast, Director, Event, LOOK, Move, Passes, Relay, Speed, relay, script, stage, summary,
    },
    scaling::Note,
    sim::{Actor, ChangeKind, Clock, Operation, Options, Simulator},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::world::{APP, World};

fn cast(apps: u16, seed: u64, speed: &str) -> Cast {
    Cast {
        apps,
        seed,
        speed: Speed::parse(speed).unwrap(),
        regions: false,
        copies: 1,
    }
}

/// What the daemon's record showed while something went on.
#[derive(Debug, Default)]
struct Shown {
    /// Of the app of the story: the codes of its notes, and of what was decided.
    codes: BTreeSet<&'static str>,
    /// How many passes had gone wrong for want of the metric, at first and at last.
    without_metric: Option<(u64, u64)>,
}

/// A day that has been played.
struct Day {
    world: World,
    director: Director,
    lines: Vec<String>,
    /// What was shown during each event.
    during: Vec<(Event, Shown)>,
}

impl Day {
    async fn play(cast: Cast) -> Self {
        let options = cast.options(Options::default().epoch);
        let settings = cast.settings("http://simulator");
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let world = World::with_options(&settings, &options);
        cast.set(&mut world.platform());
        let mut day = Self {
            world,
            director: Director::new(cast, true),
            lines: Vec::new(),
            during: Event::ALL.map(|event| (event, Shown::default())).into(),
        };
        day.world.start_after(cast.speed.lived(stage::seen_after()));
        while !day.director.is_done() {
            let lines = day.director.look(&mut day.world.platform());
            day.lines.extend(lines);
            day.see();
            tokio::time::sleep(cast.speed.lived(LOOK)).await;
        }
        day.world.stop().await;
        day
    }

    /// Takes down what is shown now, for the events that go on.
    fn see(&mut self) {
        let tally = self.director.tally();
        let without_metric = self.world.pass_errors("metric");
        let mut codes = BTreeSet::new();
        self.world.admin.status.each_of(APP, |fleet| {
            if let Some(pass) = &fleet.last_pass {
                codes.insert(pass.decision.code());
                codes.extend(pass.decision.notes.iter().map(Note::code));
            }
        });
        for (event, shown) in &mut self.during {
            if tally.goes_on(*event) {
                shown.codes.extend(&codes);
                let (first, _) = shown.without_metric.unwrap_or((without_metric, 0));
                shown.without_metric = Some((first, without_metric));
            }
        }
    }

    fn shown_during(&self, event: Event) -> &Shown {
        let found = self.during.iter().find(|(other, _)| *other == event);
        &found.unwrap().1
    }

    /// What the daemon did to machines between two hours of the day, as it is called.
    fn writes_between(&self, (from, until): (u32, u32)) -> Vec<ChangeKind> {
        let hours = script::HOUR * from..script::HOUR * until;
        let platform = self.world.platform();
        let changes = platform.changes().iter();
        changes
            .filter(|change| change.actor == Actor::Api && hours.contains(&change.at))
            .filter(|change| change.kind != ChangeKind::Become)
            .map(|change| change.kind)
            .collect()
    }
}

/// Whatever the speed and the seed: what is told to happen really happens to the daemon.
#[tokio::test(start_paused = true)]
async fn every_event_of_the_day_has_its_effect() {
    let speeds = ["0.1", "1", "10"].map(|speed| (speed, 1));
    let seeds = [2, 3, 4, 5].map(|seed| ("1", seed));
    for (speed, seed) in speeds.into_iter().chain(seeds) {
        let name = format!("speed {speed}, seed {seed}");
        let day = Day::play(cast(1, seed, speed)).await;
        let tally = day.director.tally();
        let text = day.lines.join("\n");

        // The proxy wakes machines as the traffic rises, and the daemon keeps one in reserve.
        assert!(
            tally.woken >= 7 && tally.put_to_rest >= 6,
            "{name}: {tally:?}"
        );
        assert!(
            tally.created >= 7 && tally.destroyed >= 6,
            "{name}: {tally:?}"
        );
        assert!(tally.waiting < tally.requests / 20.0, "{name}: {tally:?}");

        // The failing region refuses, and the same machine is made elsewhere.
        assert!(tally.refused_creates >= 1, "{name}: {tally:?}");
        assert!(tally.created_elsewhere >= 2, "{name}: {tally:?}");

        // The deploy doubles the machines, and the daemon leaves the surplus alone until it is over.
        let shown = day.shown_during(Event::Deploy);
        assert!(
            shown.codes.contains("deploy_in_progress") && shown.codes.contains("blue_green"),
            "{name}: {shown:?}"
        );
        assert!(tally.machines.unwrap().most >= 16, "{name}: {tally:?}");
        assert_eq!(tally.writes_during_deploys, 0, "{name}");
        assert_eq!(tally.release, Some((2, "complete".to_owned())), "{name}");

        // Without Prometheus nothing is done, and afterwards what was left undone is made up for.
        let shown = day.shown_during(Event::Outage);
        let (first, last) = shown.without_metric.unwrap();
        assert!(last >= first + 15, "{name}: {first} to {last}");
        assert!(shown.codes.contains("no_target"), "{name}: {shown:?}");
        let (from, until) = Event::Outage.hours();
        assert_eq!(day.writes_between((from, until)), [], "{name}");
        let after = day.writes_between((until, until + 1));
        assert!(after.contains(&ChangeKind::Destroy), "{name}: {after:?}");
        assert_eq!(day.world.pass_errors("metric"), last, "{name}");

        // Each is told, in time, and nothing else goes wrong.
        for part in [
            "platform: 00:00 day 1 begins: ",
            "platform: 05:00 region ams fails from now on: ",
            "platform: 09:00 region ams has room again; ",
            "platform: 11:00 a blue-green deploy of my-target-app begins: ",
            " the deploy of release 2 has ended: complete",
            "platform: 15:00 Prometheus is away from now on: ",
            "platform: 18:00 Prometheus is back; ",
            "platform: 24:00 day 1 ends",
            " Fly Proxy wakes machine ",
            " Fly Proxy stops machine ",
            " a machine is in reserve again",
        ] {
            assert!(text.contains(part), "{name}: {part}\n{text}");
        }
        assert!(
            day.lines.is_sorted_by_key(|line| line.get(..15)),
            "{name}:\n{text}"
        );
        let passes = Passes {
            count: day.world.admin.metrics.passes(),
            errors: day.world.admin.metrics.pass_errors(),
            hand_overs: None,
        };
        let summary = summary(cast(1, seed, speed), day.director.played(), tally, &passes);
        assert!(
            summary.starts_with("The day is over ("),
            "{name}: {summary}"
        );
        assert!(
            summary.ends_with("\nwent wrong        nothing"),
            "{name}: {summary}"
        );
    }
}

/// At the highest speed a pass that waits for its creates sleeps longer than an outage takes by the script.
#[tokio::test(start_paused = true)]
async fn an_outage_lasts_until_a_few_passes_have_seen_it() {
    let cast = cast(1, 1, "30");
    let simulator = Simulator::new(&Options {
        clock: Clock::Stepped,
        ..cast.options(Options::default().epoch)
    });
    cast.set(&mut simulator.platform());
    let mut director = Director::new(cast, true);
    let mut lines = Vec::new();
    let mut look_until = |director: &mut Director, hour: u32| {
        loop {
            simulator.step(LOOK);
            lines.extend(director.look(&mut simulator.platform()));
            if simulator.platform().now() >= script::HOUR * hour {
                break;
            }
        }
        lines.join("\n")
    };
    look_until(&mut director, 16);
    assert_eq!(
        director.going_on().collect::<Vec<_>>(),
        ["Prometheus is away"]
    );
    // Nobody has asked so far.
    look_until(&mut director, 23);
    assert!(director.tally().goes_on(Event::Outage));
    let query = || async {
        let request = http::Request::post("http://simulator/prometheus/demo/api/v1/query")
            .header("authorization", "FlyV1 fm2_demo_metrics")
            .body(bytes::Bytes::from_static(
                b"query=count(fly_instance_up{app='my-target-app'})",
            ))
            .unwrap();
        simulator.call(request, 1 << 20).await.unwrap().status()
    };
    for _ in 0..2 {
        assert_eq!(query().await, 503);
        look_until(&mut director, 24);
        assert!(director.tally().goes_on(Event::Outage) && !director.is_done());
    }
    assert_eq!(query().await, 503);
    let told = look_until(&mut director, 25);
    assert!(!director.tally().goes_on(Event::Outage) && director.is_done());
    assert!(
        told.contains("Prometheus is back; it has refused 3 queries"),
        "{told}"
    );
    let told: Vec<&str> = director.told().map(|told| &*told.text).collect();
    assert!(told[0].starts_with("Prometheus is back"), "{told:?}");
    assert_eq!(query().await, 200);
}

/// Whatever its speed, no day has an outage that the daemon does not see.
#[tokio::test(start_paused = true)]
async fn every_outage_is_seen_at_the_highest_speed() {
    for seed in 1..=4 {
        let day = Day::play(cast(1, seed, "30")).await;
        let (first, last) = day.shown_during(Event::Outage).without_metric.unwrap();
        assert!(last >= first + 2, "seed {seed}: {first} to {last}");
    }
}

/// Of several apps one is deployed; the region and Prometheus are away for all of them.
#[tokio::test(start_paused = true)]
async fn several_apps_play_the_same_day() {
    let cast = cast(5, 1, "1");
    let day = Day::play(cast).await;
    let tally = day.director.tally();
    let platform = day.world.platform();
    // None of them is looked at before there is a metric.
    let first = platform.requests_for(Operation::List).next().unwrap();
    assert!(first.at >= stage::seen_after(), "{first:?}");
    for app in cast.names() {
        let version = platform.app(&app).unwrap().release().unwrap().version;
        assert_eq!(version, if app == APP { 2 } else { 1 }, "{app}");
        let changes = platform.changes().iter();
        let created = changes
            .filter(|change| *change.app == *app && change.actor == Actor::Api)
            .filter(|change| change.kind == ChangeKind::Create);
        assert!(created.count() >= 2, "{app}");
    }
    assert!(tally.refused_queries >= 5 * 15, "{tally:?}");
    assert!(tally.refused_creates >= 5, "{tally:?}");
    let text = day.lines.join("\n");
    assert!(text.contains(" machines of 5 apps: "), "{text}");
    assert!(!text.contains("Fly Proxy wakes machine"), "{text}");
}

fn borrowed<'a>(all: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    all.iter().map(|(name, value)| (*name, &**value)).collect()
}

/// Of two copies the one that holds the lock is stopped at its hour; the other goes on, and the first stands by when it is back.
#[tokio::test(start_paused = true)]
async fn one_of_two_copies_is_stopped_and_the_other_goes_on() {
    for speed in ["1", "10"] {
        let cast = Cast {
            copies: 2,
            ..cast(1, 1, speed)
        };
        let settings = |copy| {
            let own = cast.settings_of_copy(copy, "simulator");
            let all = cast.settings("http://simulator").into_iter().chain(own);
            all.collect::<Vec<_>>()
        };
        let options = cast.options(Options::default().epoch);
        let first = World::with_options(&borrowed(&settings(0)), &options);
        cast.set(&mut first.platform());
        let second = first.copy_with(&borrowed(&settings(1)));
        let mut worlds = [first, second];
        for world in &mut worlds {
            world.start_after(cast.speed.lived(stage::seen_after()));
        }
        let mut director = Director::new(cast, true);
        let mut relay = Relay::new(cast.speed);
        let (mut lines, mut stopped) = (Vec::new(), None);
        let writes = |world: &World| -> u64 {
            let of = |what| world.count(&format!(r#"fas_machine_{what}_count{{status="ok"}}"#));
            of("create") + of("destroy")
        };
        while !director.is_done() {
            director.look(&mut worlds[0].platform());
            let now = worlds[0].platform().now();
            let holder = worlds
                .iter()
                .position(|world| world.is_running() && world.series("fas_leader") == Some(1.0));
            let (moves, told) = relay.look(now, holder);
            lines.extend(told);
            for one in moves {
                match one {
                    Move::Start(copy) => worlds[copy].start(),
                    Move::Stop(copy) => {
                        worlds[copy].stop().await;
                        stopped = Some((copy, writes(&worlds[copy]), writes(&worlds[1 - copy])));
                    }
                }
            }
            tokio::time::sleep(cast.speed.lived(LOOK)).await;
        }
        let (stopped, of_it, of_other) = stopped.expect("a copy was stopped");
        let other = 1 - stopped;
        assert!(of_it > 0, "speed {speed}: it scaled in the morning");
        assert_eq!(of_other, 0, "speed {speed}");
        assert_eq!(writes(&worlds[stopped]), of_it, "speed {speed}");
        assert!(
            writes(&worlds[other]) > 5,
            "speed {speed}: the other scales"
        );
        let hour = relay::HOURS.0;
        let names = [relay::name(stopped), relay::name(other)];
        let [first, second] = &names;
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[0].starts_with(&format!("copies: {hour:02}:0")),
            "{lines:?}"
        );
        assert!(
            lines[0].ends_with(&format!(
                "{first}, which holds the lock, is stopped, as a deploy does it"
            )),
            "{lines:?}"
        );
        assert!(
            lines[1].contains(&format!("{second} holds the lock, within ")),
            "{lines:?}"
        );
        assert!(
            lines[2].ends_with(&format!("{first} is started again, and stands by")),
            "{lines:?}"
        );
        let page = async |copy: usize| worlds[copy].get("/").await.2;
        let holds = "This copy holds the lock: it acts.";
        let standing_by = format!(
            "This copy stands by and changes nothing: the lock is held by machine copy{} in ord, version {}.",
            other + 1,
            env!("CARGO_PKG_VERSION")
        );
        assert!(page(other).await.contains(holds), "speed {speed}");
        assert!(page(stopped).await.contains(&standing_by), "speed {speed}");
        let metrics = worlds.each_ref().map(|world| &world.admin.metrics);
        let passes = Passes {
            count: metrics.iter().map(|metrics| metrics.passes()).sum(),
            errors: metrics
                .iter()
                .flat_map(|metrics| metrics.pass_errors())
                .collect(),
            hand_overs: Some(relay.hand_overs()),
        };
        assert_eq!(relay.hand_overs().count, 1);
        let summary = summary(cast, director.played(), director.tally(), &passes);
        assert!(
            summary.contains("\nhand-over         1 time: another copy held the lock within "),
            "{summary}"
        );
        assert!(
            summary.ends_with("\nwent wrong        nothing"),
            "{summary}"
        );
        assert_eq!(director.tally().writes_during_deploys, 0);
        for world in &mut worlds {
            world.stop().await;
        }
    }
}

/// A newcomer who tries `check` on the demo's own platform is told of nothing that would have to be changed.
#[tokio::test]
async fn check_is_content_with_the_platform_of_the_demo() {
    for apps in [1, 2] {
        let cast = cast(apps, 1, "1");
        let simulator = Simulator::new(&Options {
            clock: Clock::Stepped,
            ..cast.options(Options::default().epoch)
        });
        cast.set(&mut simulator.platform());
        simulator.step(stage::seen_after());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = cast.settings(&format!("http://{}", listener.local_addr().unwrap()));
        let server = simulator.clone();
        let serving = tokio::spawn(async move { server.serve(listener).await });
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_fly-autoscaler"))
            .args(["check", "--app", APP])
            .env_clear()
            .envs(settings)
            .env("FAS_METRICS_ADDRESS", "127.0.0.1:0")
            .output()
            .await
            .unwrap();
        serving.abort();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.code(), Some(0), "{out}{err}");
        assert_eq!(err, "");
        let proxy = "Fly Proxy starts and stops machines by their traffic, and the created target says how many";
        assert!(out.contains(proxy), "{out}");
        assert!(!out.contains("warning"), "{out}");
        assert_eq!(simulator.platform().unexpected().count(), 0);
    }
}

/// One GET, as text: head and body.
async fn get(address: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

/// As fast as it goes, a day takes eight seconds of next to no work. What is looked at holds however late the program comes
/// to its own script.
#[tokio::test]
async fn the_program_prints_the_pages_address_plays_the_day_and_sums_it_up() {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_fly-autoscaler"))
        .args(["demo", "--once", "--speed", "30", "--seed", "3"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stderr = child.stderr.take().unwrap();
    let log = tokio::spawn(async move {
        let mut text = String::new();
        stderr.read_to_string(&mut text).await.unwrap();
        text
    });
    let first = stdout.next_line().await.unwrap().unwrap();
    let address = first
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_suffix('/'))
        .unwrap_or_else(|| panic!("{first}"));
    let page = get(address).await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains(APP), "{page}");
    for part in [
        "<title>Demo: ",
        "This is a demo: the platform is a simulated one, and nothing real is touched.",
        "Here it is day 1, ",
        "day 1 begins: there are the fewest requests now",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let mut rest = Vec::new();
    while let Some(line) = stdout.next_line().await.unwrap() {
        rest.push(line);
    }
    let status = child.wait().await.unwrap();
    let log = log.await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    let first_of_log = log.lines().next().unwrap_or_default();
    assert!(first_of_log.contains(&first), "{log}");
    for part in [
        " INFO platform: 00:00 day 1 begins: ",
        " INFO platform: 05:00 region ams fails from now on: ",
        " INFO platform: 09:00 region ams has room again; ",
        " INFO platform: 11:00 a blue-green deploy of my-target-app begins: ",
        " the deploy of release 2 has ended: complete",
        " INFO platform: 15:00 Prometheus is away from now on: ",
        " Prometheus is back; ",
        " INFO platform: 24:00 day 1 ends",
        " INFO the demo is over",
    ] {
        let times = log.matches(part).count();
        assert_eq!(times, 1, "{part}\n{log}");
    }
    let name = |line: &String| line.split("  ").next().unwrap_or_default().to_owned();
    let names: Vec<String> = rest.iter().map(name).collect();
    assert_eq!(
        names,
        [
            "The day is over (seed 3, speed 30)",
            "apps",
            "passes",
            "created",
            "destroyed",
            "started",
            "stopped",
            "machines at once",
            "running at once",
            "requests",
            "failing region",
            "deploy",
            "Prometheus away",
            "went wrong",
        ]
    );
    for (line, part) in [
        (10, "1 time: ams refused "),
        (11, "1 time (release 2 is complete): "),
        (12, "1 time: "),
    ] {
        assert!(rest[line].contains(part), "{rest:?}");
    }
}

/// Two copies have two pages, and the end says how often one followed the other.
#[tokio::test]
async fn the_program_shows_a_page_for_each_copy_and_a_hand_over() {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_fly-autoscaler"))
        .args(["demo", "--once", "--speed", "30", "--copies", "2"])
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}{log}");
    let pages: Vec<&str> = out
        .lines()
        .take_while(|line| line.starts_with("http://"))
        .collect();
    assert_eq!(pages.len(), 2, "{out}");
    assert_ne!(pages[0], pages[1]);
    let first_of_log = log.lines().next().unwrap_or_default();
    assert!(
        pages.iter().all(|page| first_of_log.contains(page)),
        "{log}"
    );
    for part in [
        " INFO 2 copies of the autoscaler take turns by a lock in Consul; ",
        ", which holds the lock, is stopped, as a deploy does it",
        " holds the lock, within ",
        " is started again, and stands by",
    ] {
        assert_eq!(log.matches(part).count(), 1, "{part}\n{log}");
    }
    assert!(
        out.contains("\nhand-over         1 time: another copy held the lock within "),
        "{out}"
    );
    assert!(out.contains("\nwent wrong        nothing"), "{out}{log}");
    assert!(!log.contains("demo-consul-token"), "{log}");
}
