//! The summary of a demo, for standard output.

use std::{fmt::Write as _, time::Duration};

use super::{
    Cast, Event, HandOvers, Range, Tally,
    director::counted,
    script::{clock, day_number},
    stage::FAILING,
};

/// What the daemon says of its passes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passes {
    /// How many there were, over all apps.
    pub count: u64,
    /// How often something went wrong in one, by the reason's label; reasons that never came up may be left out.
    pub errors: Vec<(&'static str, u64)>,
    /// How often one copy followed another; `None`: there is one copy.
    pub hand_overs: Option<HandOvers>,
}

/// Tells what has happened until `played`, a moment of the platform's time.
#[must_use]
pub fn summary(cast: Cast, played: Duration, tally: &Tally, passes: &Passes) -> String {
    let head = if tally.ended.contains_key(&Event::Day) {
        "The day is over".to_owned()
    } else {
        format!(
            "The demo ended at {} of day {}",
            clock(played),
            day_number(played)
        )
    };
    let region = format!(
        "{}: {FAILING} refused {}, {} created elsewhere meanwhile",
        times(tally, Event::FailingRegion),
        counted(tally.refused_creates, "create"),
        counted(tally.created_elsewhere, "machine"),
    );
    let outage = format!(
        "{}: {} refused",
        times(tally, Event::Outage),
        counted(tally.refused_queries, "query")
    );
    let hand_overs = passes.hand_overs.map(in_hand_overs);
    let lines = [
        ("apps", cast.apps.to_string()),
        ("passes", in_passes(passes)),
        ("created", by(tally.created, 0)),
        ("destroyed", by(tally.destroyed, 0)),
        ("started", by(tally.started, tally.woken)),
        ("stopped", by(tally.stopped, tally.put_to_rest)),
        ("machines at once", range(tally.machines)),
        ("running at once", range(tally.running)),
        ("requests", requests(tally)),
        ("failing region", region),
        ("deploy", deploys(tally)),
        ("Prometheus away", outage),
    ];
    let lines = lines.into_iter();
    let lines = lines.chain(hand_overs.map(|told| ("hand-over", told)));
    let lines = lines.chain([("went wrong", went_wrong(tally, passes))]);
    let mut text = format!("{head} (seed {}, speed {})", cast.seed, cast.speed.factor());
    for (name, value) in lines {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{name:<18}{value}");
    }
    text
}

fn in_passes(passes: &Passes) -> String {
    let errors: Vec<String> = passes
        .errors
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if errors.is_empty() {
        return format!("{}, all well", passes.count);
    }
    format!("{}; failed for: {}", passes.count, errors.join(", "))
}

fn in_hand_overs(hand_overs: HandOvers) -> String {
    let HandOvers { count, longest } = hand_overs;
    let times = counted(count, "time");
    if count == 0 {
        return times;
    }
    let longest = longest.as_secs_f64();
    format!("{times}: another copy held the lock within {longest:.1} s")
}

/// Who did it.
fn by(daemon: u64, proxy: u64) -> String {
    match (daemon, proxy) {
        (daemon, 0) => format!("{daemon} by the daemon"),
        (0, proxy) => format!("{proxy} by Fly Proxy"),
        _ => format!("{proxy} by Fly Proxy, {daemon} by the daemon"),
    }
}

fn range(range: Option<Range>) -> String {
    range.map_or_else(
        || "not seen".to_owned(),
        |Range { fewest, most }| format!("{fewest} to {most}"),
    )
}

fn requests(tally: &Tally) -> String {
    let share = if tally.requests > 0.0 {
        tally.waiting / tally.requests * 100.0
    } else {
        0.0
    };
    format!("{share:.1} % of them were more than the running machines take")
}

fn times(tally: &Tally, event: Event) -> String {
    counted(tally.times(event), "time")
}

fn deploys(tally: &Tally) -> String {
    let end = tally.release.as_ref();
    let end = end.map(|(version, status)| format!(" (release {version} is {status})"));
    format!(
        "{}{}: {} by the daemon meanwhile",
        times(tally, Event::Deploy),
        end.unwrap_or_default(),
        counted(tally.writes_during_deploys, "change"),
    )
}

/// What the story does not explain.
fn went_wrong(tally: &Tally, passes: &Passes) -> String {
    let mut wrong = Vec::new();
    for (reason, count) in passes.errors.iter().filter(|(_, count)| *count > 0) {
        if !is_explained(reason, tally) {
            wrong.push(format!("passes failed for the reason {reason}: {count}"));
        }
    }
    let release = tally.release.as_ref();
    if let Some((version, status)) = release.filter(|(_, status)| status != "complete") {
        wrong.push(format!("release {version} is {status}"));
    }
    if tally.unknown_requests > 0 {
        let requests = counted(tally.unknown_requests, "request");
        wrong.push(format!("{requests} that the platform does not know"));
    }
    if tally.machines.is_some_and(|machines| machines.fewest == 0) {
        wrong.push("there was no machine at all for a while".to_owned());
    }
    let is_over = tally.ended.contains_key(&Event::Day);
    let hand_overs = passes.hand_overs.filter(|_| is_over);
    if hand_overs.is_some_and(|hand_overs| hand_overs.count == 0) {
        wrong.push("no copy took over from another".to_owned());
    }
    if wrong.is_empty() {
        return "nothing".to_owned();
    }
    wrong.join("; ")
}

/// The reasons of failed passes that the story explains, and by what: without Prometheus there is no metric and so no value
/// of the expression, and a create that a region refuses is a failed write, also where another region takes it.
fn is_explained(reason: &str, tally: &Tally) -> bool {
    match reason {
        "metric" | "expression" => tally.refused_queries > 0,
        "write" => tally.refused_creates > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Speed;

    fn cast() -> Cast {
        Cast {
            apps: 1,
            seed: 7,
            speed: Speed::parse("2.5").expect("a speed"),
            regions: false,
            copies: 1,
        }
    }

    fn of_a_day() -> (Tally, Passes) {
        let tally = Tally {
            begun: Event::ALL.map(|event| (event, 1)).into(),
            ended: Event::ALL.map(|event| (event, 1)).into(),
            created: 11,
            destroyed: 10,
            woken: 12,
            put_to_rest: 9,
            machines: Some(Range {
                fewest: 1,
                most: 20,
            }),
            running: Some(Range {
                fewest: 1,
                most: 10,
            }),
            requests: 1_000.0,
            waiting: 12.4,
            refused_creates: 1,
            created_elsewhere: 4,
            release: Some((2, "complete".to_owned())),
            refused_queries: 18,
            ..Tally::default()
        };
        let passes = Passes {
            count: 161,
            errors: vec![
                ("metric", 18),
                ("expression", 18),
                ("list", 0),
                ("write", 1),
            ],
            hand_overs: None,
        };
        (tally, passes)
    }

    #[test]
    fn a_whole_day_is_told_in_a_line_for_each_thing() {
        let (tally, passes) = of_a_day();
        let expected = "\
The day is over (seed 7, speed 2.5)
apps              1
passes            161; failed for: metric 18, expression 18, write 1
created           11 by the daemon
destroyed         10 by the daemon
started           12 by Fly Proxy
stopped           9 by Fly Proxy
machines at once  1 to 20
running at once   1 to 10
requests          1.2 % of them were more than the running machines take
failing region    1 time: ams refused 1 create, 4 machines created elsewhere meanwhile
deploy            1 time (release 2 is complete): 0 changes by the daemon meanwhile
Prometheus away   1 time: 18 queries refused
went wrong        nothing";
        assert_eq!(
            summary(cast(), Duration::from_secs(2_400), &tally, &passes),
            expected
        );
    }

    #[test]
    fn several_copies_have_a_line_for_their_hand_overs() {
        let (tally, mut passes) = of_a_day();
        for (count, told) in [
            (1, "1 time: another copy held the lock within 0.4 s"),
            (0, "0 times"),
        ] {
            let longest = Duration::from_millis(400);
            passes.hand_overs = Some(HandOvers { count, longest });
            let text = summary(cast(), Duration::from_secs(2_400), &tally, &passes);
            assert!(
                text.contains(&format!("\nhand-over         {told}\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_demo_that_is_ended_early_says_when() {
        let text = summary(
            cast(),
            Duration::from_secs(2_400 + 550),
            &Tally::default(),
            &Passes::default(),
        );
        assert!(
            text.starts_with("The demo ended at 05:30 of day 2 ("),
            "{text}"
        );
        assert!(text.contains("\npasses            0, all well\n"), "{text}");
        assert!(text.contains("\nmachines at once  not seen\n"), "{text}");
        assert!(text.contains("\nrequests          0.0 % "), "{text}");
        assert!(text.ends_with("\nwent wrong        nothing"), "{text}");
    }

    #[test]
    fn what_the_story_does_not_explain_went_wrong() {
        type Change = fn(&mut Tally, &mut Passes);
        let cases: [(Change, &str); 7] = [
            (
                |_, passes| passes.hand_overs = Some(HandOvers::default()),
                "no copy took over from another",
            ),
            (
                |tally, _| tally.refused_queries = 0,
                "passes failed for the reason metric: 18; passes failed for the reason expression: 18",
            ),
            (
                |tally, _| tally.refused_creates = 0,
                "passes failed for the reason write: 1",
            ),
            (
                |_, passes| passes.errors.push(("list", 1)),
                "passes failed for the reason list: 1",
            ),
            (
                |tally, _| tally.release = Some((2, "failed".to_owned())),
                "release 2 is failed",
            ),
            (
                |tally, _| tally.unknown_requests = 1,
                "1 request that the platform does not know",
            ),
            (
                |tally, _| tally.machines = Some(Range { fewest: 0, most: 1 }),
                "there was no machine at all for a while",
            ),
        ];
        for (change, expected) in cases {
            let (mut tally, mut passes) = of_a_day();
            change(&mut tally, &mut passes);
            assert_eq!(went_wrong(&tally, &passes), expected);
        }
    }
}
