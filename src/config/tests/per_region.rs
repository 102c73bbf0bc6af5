//! `FAS_PER_REGION`: what `$REGION` means then, which regions may be named, and which policies are apart.

use super::*;

const PER_REGION: (&str, &str) = ("FAS_PER_REGION", "true");

/// A file of two policies of the group `web`, with these keys.
fn two(first: &str, second: &str) -> String {
    format!(
        "policies:\n  - {{process-group: web, {first}}}\n  - {{process-group: web, {second}}}\n"
    )
}

#[test]
fn the_switch_is_the_policys() {
    assert!(!load(&[], None).fleets[0].policy.per_region);
    assert!(load(&[PER_REGION], None).fleets[0].policy.per_region);
    let file = "per-region: yes\npolicies:\n  - process-group: web\n  - {process-group: worker, per-region: false}\n";
    let fleets = load(&[], Some(file)).fleets;
    let per_region = fleets.iter().map(|fleet| fleet.policy.per_region);
    assert_eq!(per_region.collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        mistakes(&[], Some("policies:\n  - per-region: maybe\n")),
        [
            "cannot parse policies[0].per-region as boolean: \"maybe\"; expected true, false, 1 or 0 (policies[0].per-region, \
             line 2 of fas.yml)"
        ]
    );
}

/// Queries, paths, commands and addresses of every kind, each with `$REGION` and `$APP_NAME`.
const EVERYWHERE: &Changes = &[
    ("REGION", "ord"),
    ("FAS_PROMETHEUS_QUERY", "q{r='$REGION',a='$APP_NAME'}"),
    ("FAS_PROMETHEUS_BUSY_QUERY", "busy{r='${REGION}'}"),
    ("FAS_TEMPORAL_ADDRESS", "t:7233"),
    ("FAS_TEMPORAL_NAMESPACE", "n"),
    ("FAS_TEMPORAL_METRIC_NAME", "w"),
    ("FAS_TEMPORAL_QUERY", "R='$REGION'"),
    (
        "FAS_HTTP_URL",
        "http://$REGION.$APP_NAME.internal/?r=$REGION",
    ),
    ("FAS_HTTP_METRIC_NAME", "h"),
    ("FAS_HTTP_VALUE", "$['$REGION'].depth"),
    ("FAS_REDIS_URL", "redis://$REGION.internal"),
    ("FAS_REDIS_METRIC_NAME", "r"),
    ("FAS_REDIS_COMMAND", "LLEN 'the queue:$REGION'"),
    ("FAS_POSTGRES_URL", "postgres://me@db-$REGION/d"),
    ("FAS_POSTGRES_METRIC_NAME", "p"),
    ("FAS_POSTGRES_QUERY", "SELECT 1 WHERE r = '$REGION'"),
];

/// What each collector asks of a region, where, and whether that is another thing in another region.
fn asked<'a>(config: &Config, about: impl Into<Subject<'a>>) -> Vec<(String, String, bool)> {
    let about = about.into();
    let collectors = config.fleets[0].collectors.iter();
    let asked = collectors.map(|one| {
        let (query, address) = (one.query(about), one.address(about));
        (query, address, one.asks_each_region())
    });
    asked.collect()
}

#[test]
fn with_it_a_region_is_the_fleets_and_without_it_a_variable_in_every_place() {
    let expected = |region: &str, asks_each: bool| {
        let table = [
            ("q{r='RR',a='a'}", "https://api.fly.io/prometheus/my-org"),
            ("R='RR'", "temporal at t:7233"),
            ("$['RR'].depth", "http://RR.a.internal?\u{2026}"),
            ("LLEN \"the queue:RR\"", "redis://RR.internal"),
            ("SELECT 1 WHERE r = 'RR'", "postgres://db-RR/d"),
        ];
        let row = |(query, address): (&str, &str)| {
            let address = address.trim_start_matches("temporal at ");
            let filled = [query, address].map(|text| text.replace("RR", region));
            let [query, address] = filled;
            (query, address, asks_each)
        };
        table.map(row)
    };
    let about = Subject::in_region("a", "iad");
    let without = load(EVERYWHERE, None);
    assert_eq!(asked(&without, about), expected("ord", false));
    let busy = without.fleets[0].busy.as_ref().expect("it is set");
    assert_eq!(busy.query.render(about), "busy{r='ord'}");
    assert!(!busy.asks_each_region());

    let config = load(&[EVERYWHERE, &[PER_REGION]].concat(), None);
    assert_eq!(asked(&config, about), expected("iad", true));
    let busy = config.fleets[0].busy.as_ref().expect("it is set");
    assert_eq!(busy.query.render(about), "busy{r='iad'}");
    assert!(busy.asks_each_region());
    assert_eq!(asked(&config, "a")[0].0, "q{r='$REGION',a='a'}");

    // One place is enough to ask in each.
    let places = EVERYWHERE
        .iter()
        .filter(|(_, value)| value.contains("$REGION"));
    for (kept, _) in places {
        let changes = EVERYWHERE.iter().map(|(name, value)| {
            let plain = value.replace("$REGION", "x");
            let value = if name == kept { *value } else { plain.leak() };
            (*name, value)
        });
        let changes: Vec<_> = changes.chain([PER_REGION]).collect();
        let config = load(&changes, None);
        let asks_each = asked(&config, about)
            .into_iter()
            .filter(|one| one.2)
            .count();
        assert_eq!(asks_each, 1, "{kept}");
    }
}

/// What is said of `$REGION` in a query, a command, a path or an address that is asked about no region.
fn no_region(what: &str, rest: &str) -> String {
    format!(
        "the {what} uses the variable REGION, but the regions are not scaled by themselves; expected a fleet for each region, or a variable \
         REGION that is set. Example: {rest}"
    )
}

#[test]
fn a_region_is_asked_about_only_where_there_is_one() {
    let refused = |what| no_region(what, "FAS_PER_REGION=true");
    let everywhere = [
        "query of FAS_PROMETHEUS_QUERY",
        "query of FAS_TEMPORAL_QUERY",
        "path of FAS_HTTP_VALUE",
        "address of FAS_HTTP_URL",
        "command of FAS_REDIS_COMMAND",
        "address of FAS_REDIS_URL",
        "query of FAS_POSTGRES_QUERY",
        "address of FAS_POSTGRES_URL",
        "query of FAS_PROMETHEUS_BUSY_QUERY",
    ];
    let mut everywhere = everywhere.map(refused);
    everywhere.sort_unstable();
    let unset: Vec<_> = EVERYWHERE.iter().skip(1).copied().collect();
    let empty = [&unset[..], &[("REGION", " ")]].concat();
    for changes in [&unset, &empty] {
        let mut told = mistakes(changes, None);
        told.sort_unstable();
        assert_eq!(told, everywhere);
        let per_region = [&changes[..], &[PER_REGION]].concat();
        assert_eq!(mistakes(&per_region, None), [""; 0]);
    }
    // A policy of the file takes its collector from the environment.
    let query = ("FAS_PROMETHEUS_QUERY", "q{r='$REGION'}");
    let file = two("per-region: true, regions: iad", "app-name: b");
    let told = mistakes(&[query], Some(&file));
    let either = "FAS_PER_REGION=true, or in fas.yml per-region: true";
    assert_eq!(told, [no_region("query of FAS_PROMETHEUS_QUERY", either)]);
    assert_eq!(warnings(&[query, PER_REGION], None), [""; 0]);
}

#[test]
fn in_a_file_too_a_region_is_asked_about_only_where_there_is_one() {
    let file = "
prometheus-busy-query: busy{r='$REGION'}
metric-collectors:
  - {type: prometheus, metric-name: queue_depth, address: 'http://h', query: 'q{r=\"$REGION\"}'}
  - {type: temporal, metric-name: t, address: 'h:1', namespace: n, query: R='$REGION'}
  - {type: http, metric-name: h, url: 'http://h/$REGION/q', value: \"$['$REGION'].depth\"}
  - {type: redis, metric-name: r, url: 'redis://$REGION.h', command: 'LLEN queue:$REGION'}
  - {type: postgres, metric-name: p, url: 'postgres://me@db-$REGION/d', query: SELECT 1 WHERE r = '$REGION'}
";
    let counts = ("FAS_CREATED_MACHINE_COUNT", "queue_depth + t + h + r + p");
    let refused = |what: &str, key: &str, line: u32| {
        let rest = format!("per-region: true ({key}, line {line} of fas.yml)");
        no_region(&format!("{what} of {key}"), &rest)
    };
    let item = |what, number: u32, key: &str| {
        let key = format!("metric-collectors[{number}].{key}");
        refused(what, &key, number + 4)
    };
    let all = [
        item("query", 0, "query"),
        item("query", 1, "query"),
        item("path", 2, "value"),
        item("address", 2, "url"),
        item("command", 3, "command"),
        item("address", 3, "url"),
        item("query", 4, "query"),
        item("address", 4, "url"),
        refused("query", "prometheus-busy-query", 2),
    ];
    assert_eq!(mistakes(&[counts], Some(file)), all);
    assert_eq!(mistakes(&[counts, ("REGION", "")], Some(file)), all);
    assert_eq!(mistakes(&[counts, ("REGION", "ord")], Some(file)), [""; 0]);
    assert_eq!(mistakes(&[counts, PER_REGION], Some(file)), [""; 0]);
}

#[test]
fn what_is_sent_as_it_is_holds_no_name_of_the_fleets() {
    let refused = |label: &str, name: &str, rest: &str| {
        format!(
            "{label} contains the variable {name}, which means nothing there; expected it only in a query, a command, a path or a url{rest}"
        )
    };
    let of_file = |label: &str, name: &str, line: u32| {
        refused(label, name, &format!(" ({label}, line {line} of fas.yml)"))
    };
    let of_environment = [
        ("FAS_PROMETHEUS_ADDRESS", "http://$APP_NAME.internal"),
        ("FAS_TEMPORAL_ADDRESS", "${PROCESS_GROUP}.internal:7233"),
        ("FAS_TEMPORAL_METRIC_NAME", "t"),
        ("FAS_TEMPORAL_NAMESPACE", "n-$REGION"),
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth + t"),
    ];
    let told = mistakes(&of_environment, None);
    for (label, name) in [
        ("FAS_PROMETHEUS_ADDRESS", "APP_NAME"),
        ("FAS_TEMPORAL_ADDRESS", "PROCESS_GROUP"),
        ("FAS_TEMPORAL_NAMESPACE", "REGION"),
    ] {
        assert!(told.contains(&refused(label, name, "")), "{told:#?}");
    }
    let file = |per_region: &str| {
        format!(
            "per-region: {per_region}\nmetric-collectors:\n  - type: http\n    metric-name: queue_depth\n    url: http://h/\n    \
             headers:\n      X-App: $APP_NAME\n      X-Region: $REGION\n      X-Part: in-$REGION\n      X-Key: k-$OTHER\n"
        )
    };
    let headers = "metric-collectors[0].headers";
    let header = |name: &str, of_fleet, line| of_file(&format!("{headers}.{name}"), of_fleet, line);
    assert_eq!(
        mistakes(&[("OTHER", "x")], Some(&file("true"))),
        [
            header("X-App", "APP_NAME", 7),
            header("X-Region", "REGION", 8),
            header("X-Part", "REGION", 9)
        ]
    );
    // Nothing is left of a header that is one variable, and the collector is named in its place.
    assert_eq!(
        mistakes(&[("OTHER", "x")], Some(&file("false"))),
        [
            of_file("metric-collectors[0]", "REGION", 3),
            header("X-Part", "REGION", 9),
            header("X-App", "APP_NAME", 7),
        ]
    );
    let set = [("OTHER", "x"), ("REGION", "ord")];
    let told = mistakes(&set, Some(&file("false")));
    assert_eq!(told, [header("X-App", "APP_NAME", 7)]);
}

#[test]
fn in_a_file_each_policy_says_what_a_region_is() {
    let collector = "metric-collectors: [{type: prometheus, metric-name: queue_depth, address: 'http://p', query: 'q{r=\"$REGION\"}'}]";
    let file = |per_region| {
        format!(
            "policies:\n  - process-group: web\n    per-region: {per_region}\n    {collector}\n  - process-group: worker\n    \
             {collector}\n"
        )
    };
    let queries = |config: &Config| {
        let about = Subject::in_region("a", "iad");
        let queries = config.fleets.iter();
        let queries = queries.map(|fleet| fleet.collectors[0].query(about));
        queries.collect::<Vec<_>>()
    };
    let variable = [("REGION", "ord")];
    let config = load(&variable, Some(&file("on")));
    assert_eq!(queries(&config), ["q{r=\"iad\"}", "q{r=\"ord\"}"]);
    let config = load(&variable, Some(&file("off")));
    assert_eq!(queries(&config), ["q{r=\"ord\"}"; 2]);
    // The switch may be anywhere that holds for it.
    let config = load(&[variable[0], PER_REGION], Some(&file("''")));
    assert_eq!(queries(&config), ["q{r=\"iad\"}"; 2]);
    let config = load(&variable, Some(&format!("per-region: 1\n{}", file("no"))));
    assert_eq!(queries(&config), ["q{r=\"ord\"}", "q{r=\"iad\"}"]);
    // One that is unset is refused where it is needed.
    let unset = |per_region| mistakes(&[], Some(&file(per_region)));
    let refused = |policy: u32, line: u32| {
        let key = format!("policies[{policy}].metric-collectors[0].query");
        let rest = format!("per-region: true ({key}, line {line} of fas.yml)");
        no_region(&format!("query of {key}"), &rest)
    };
    assert_eq!(unset("on"), [refused(1, 6)]);
    assert_eq!(unset("off"), [refused(0, 4), refused(1, 6)]);
}

#[test]
fn a_file_without_it_has_the_variable_replaced_before_it_is_parsed() {
    let changes = [("REGION", "[iad, ord]")];
    let config = load(&changes, Some("regions: $REGION"));
    assert_eq!(config.fleets[0].policy.regions, ["iad", "ord"]);
    assert_eq!(
        mistakes(&changes, Some("per-region: true\nregions: $REGION")),
        [
            "regions contains an invalid region: \"$REGION\"; expected regions or their aliases, separated by commas. Example: \
             iad,ord (regions, line 2 of fas.yml)"
        ]
    );
    let group = [PER_REGION, ("FAS_PROCESS_GROUP", "web-$REGION")];
    assert_eq!(
        mistakes(&group, None),
        ["FAS_PROCESS_GROUP contains a variable that only queries have: \"web-$REGION\""]
    );
}

#[test]
fn a_secret_of_that_name_is_sent_by_no_query() {
    let secret = ("REGION", "FlyV1 fm2_lJPECAAAAAAAAZVExBBxyz");
    let query = ("FAS_PROMETHEUS_QUERY", "q{r='$REGION'}");
    let said = errors(&[secret, query], None);
    assert!(
        said.contains("expands $REGION, which holds a secret"),
        "{said}"
    );
    let config = load(&[secret, query, PER_REGION], None);
    assert_eq!(asked(&config, "a")[0].0, "q{r='$REGION'}");
    let file = two(
        "per-region: true, regions: iad",
        "per-region: false, app-name: b, metric-collectors: [{type: prometheus, metric-name: queue_depth, \
         address: 'http://p', query: 'q{r=\"$REGION\"}'}]",
    );
    let said = errors(&[secret], Some(&file));
    assert!(
        said.contains("expands $REGION, which holds a secret"),
        "{said}"
    );
}

#[test]
fn a_password_with_a_region_in_it_is_known_whatever_that_means() {
    let changes = [
        ("REGION", "ord"),
        ("FAS_REDIS_URL", "redis://me:s3cret-$REGION@h"),
        ("FAS_REDIS_METRIC_NAME", "r"),
        ("FAS_REDIS_COMMAND", "LLEN a"),
    ];
    for more in [&[][..], &[PER_REGION]] {
        let config = load(&[&changes, more].concat(), None);
        for password in ["s3cret-ord", "s3cret-$REGION"] {
            assert!(config.secrets.are_in(password), "{password} {more:?}");
        }
    }
}

#[test]
fn only_regions_that_machines_carry_may_be_named() {
    let refused = |what: &str, region: &str| {
        format!(
            "FAS_REGIONS contains {what}, and with FAS_PER_REGION each region is a fleet of its own: \"{region}\"; expected the \
             regions themselves, separated by commas. Example: iad,ord"
        )
    };
    for alias in [
        "any", "us", "usa", "eu", "na", "sa", "apac", "asia", "af", "oc", "EU",
    ] {
        let regions = format!("iad,{alias}");
        let changes = [PER_REGION, ("FAS_REGIONS", &*regions)];
        let what = "an alias of regions, which no machine carries";
        assert_eq!(mistakes(&changes, None), [refused(what, alias)]);
        let without = [("FAS_REGIONS", &*regions)];
        assert_eq!(mistakes(&without, None), [""; 0]);
    }
    assert_eq!(
        mistakes(&[PER_REGION, ("FAS_REGIONS", "IAD")], None),
        [refused("capitals, which no machine's region has", "IAD")]
    );
    assert_eq!(
        mistakes(
            &[],
            Some("policies:\n  - per-region: true\n    regions: [iad, eu]\n")
        ),
        [
            "policies[0].regions contains an alias of regions, which no machine carries, and with policies[0].per-region each region \
             is a fleet of its own: \"eu\"; expected the regions themselves, separated by commas. Example: iad,ord \
             (policies[0].regions, line 3 of fas.yml)"
        ]
    );
}

#[test]
fn a_region_is_known_or_warned_of_and_counts_once() {
    let changes = [PER_REGION, ("FAS_REGIONS", "iad,zzz,iad,ord,iad")];
    let config = load(&changes, None);
    assert_eq!(config.fleets[0].policy.regions, ["iad", "zzz", "ord"]);
    assert_eq!(
        config.warnings,
        [
            "FAS_REGIONS contains zzz, a region unknown to fly-autoscaler: it is used as it stands, so if it is misspelt, creates \
             fail there; the names are in: fly platform regions",
            "FAS_REGIONS lists iad more than once: with FAS_PER_REGION it counts once",
        ]
    );
}

#[test]
fn policies_of_a_group_that_have_a_region_in_common_are_refused() {
    let in_region = |region: &str| {
        format!(
            "policies[1] scales the same machines as policies[0] in {region}: \"my-app/web\"; expected policies of a group that are \
             all per-region, each with regions of its own (policies[1], line 3 of fas.yml)"
        )
    };
    let per = "per-region: true";
    let cases = [
        (
            format!("{per}, regions: [iad, ord]"),
            format!("{per}, regions: [fra]"),
            None,
        ),
        (
            format!("{per}, regions: [iad, ord]"),
            format!("{per}, regions: [fra, ord]"),
            Some("ord"),
        ),
        (
            format!("{per}, regions: [iad]"),
            per.to_owned(),
            Some("iad"),
        ),
        (
            per.to_owned(),
            format!("{per}, regions: [iad]"),
            Some("iad"),
        ),
        (per.to_owned(), per.to_owned(), Some("every region")),
        (
            format!("{per}, regions: [iad]"),
            "regions: [fra]".to_owned(),
            Some("iad"),
        ),
        (
            "machine-ceiling: 3".to_owned(),
            per.to_owned(),
            Some("every region"),
        ),
    ];
    for (first, second, common) in cases {
        let expected: Vec<String> = common.into_iter().map(in_region).collect();
        let file = two(&first, &second);
        assert_eq!(mistakes(&[], Some(&file)), expected, "{file}");
    }
    assert_eq!(
        mistakes(&[], Some(&two("regions: [iad]", "regions: [fra]"))),
        [
            "policies[1] scales the same machines as policies[0]: \"my-app/web\"; expected an app and process group for each policy \
             (policies[1], line 3 of fas.yml)"
        ]
    );
}

#[test]
fn a_policy_of_every_group_is_alone_in_its_app_by_region_too() {
    let alone = "policies:\n  - {process-group: '*', per-region: true}\n";
    assert_eq!(mistakes(&[], Some(alone)), [""; 0]);
    let file = "policies:\n  - {process-group: '*', per-region: true, regions: iad}\n  \
                - {process-group: web, per-region: true, regions: ord}\n";
    assert_eq!(
        mistakes(&[], Some(file)),
        [
            "policies[0] scales every process group of the app, that of policies[1] too: \"my-app/web\"; expected an app and process \
             group for each policy (policies[1], line 3 of fas.yml)"
        ]
    );
}

#[test]
fn of_wildcards_the_first_takes_what_both_would_take_of_a_region_too() {
    let file = "org: acme
per-region: true
policies:
  - {app-name: 'api-*', regions: [iad, ord]}
  - {app-name: '*', regions: [fra]}
  - {app-name: 'a*', regions: [ord, syd, fra]}
  - {app-name: '*', process-group: worker, per-region: false}
  - {app-name: '*1', per-region: false}
  - {app-name: 'ap*', name: rest}
";
    let config = load(&[], Some(file));
    let regions =
        |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let taken = |place, except: &[&str]| Taken {
        place,
        except: regions(except),
    };
    let shadowed = |place, by, names: &[&str]| Shadowed {
        place,
        by,
        regions: regions(names),
    };
    assert_eq!(
        Claim::on(&config.claims, "api-1", &config.own),
        (
            vec![
                taken(0, &[]),
                taken(1, &[]),
                taken(2, &["ord", "fra"]),
                taken(3, &[]),
                taken(5, &["iad", "ord", "fra", "ord", "syd", "fra"]),
            ],
            vec![
                shadowed(2, 0, &["ord"]),
                shadowed(2, 1, &["fra"]),
                shadowed(4, 0, &[]),
                shadowed(5, 0, &["iad", "ord"]),
                shadowed(5, 1, &["fra"]),
                shadowed(5, 2, &["ord", "syd", "fra"]),
            ]
        )
    );
    assert_eq!(
        config.has(&config.fleets[2], "api-1"),
        Has::AllBut(regions(&["ord", "fra"]))
    );
}

#[test]
fn the_regions_of_the_readme_are_valid() {
    let section = readme("A fleet for each region");
    let block = |language: &str| {
        let (_, behind) = section
            .split_once(&format!("```{language}\n"))
            .expect("an example");
        behind.split_once("```").expect("its end").0
    };
    let settings = block("toml").lines().filter_map(|line| {
        let (name, value) = line.split_once(" = \"")?;
        Some((name, value.split_once('"')?.0))
    });
    let mut changes: Vec<(&str, &str)> = settings.collect();
    changes.push(("FAS_CREATED_MACHINE_COUNT", ""));
    let config = load(&changes, None);
    let policy = &config.fleets[0].policy;
    assert!(policy.per_region);
    assert_eq!(policy.regions, ["iad", "fra", "syd"]);
    let changes = [
        ("FAS_PROMETHEUS_TOKEN", "reader"),
        ("REDIS_URL", "redis://my-redis.internal"),
    ];
    let config = load(&changes, Some(block("yaml")));
    let per_region = config.fleets.iter().map(|fleet| fleet.policy.per_region);
    assert_eq!(per_region.collect::<Vec<_>>(), [true, false]);
}
