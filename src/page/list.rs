//! All fleets, those with problems first.

use std::fmt::Write as _;

use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

use super::{
    Daemon, ago,
    headline::{Condition, expressions, told_values},
    page, prose,
};
use crate::{
    chart::buckets,
    scaling::FleetName,
    status::{Fleet, Status},
};

/// How many fleets one page shows.
const ROWS: usize = 200;

/// How many points a sparkline has.
const SPARKS: usize = 48;

/// What of a name is not itself in the path of an address.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// What of the list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only fleets whose name contains this, whatever the case.
    pub filter: String,
    /// By which column; problems first where there is none.
    pub sort: Option<Column>,
    /// Which page, from 1.
    pub page: usize,
}

/// A column that the list can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The name.
    Name,
    /// How many machines exist, most first.
    Created,
    /// How many run, most first.
    Started,
    /// When the last pass was, oldest first.
    Age,
}

impl Column {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Name, "name", "Fleet"),
        (Self::Created, "created", "Exist"),
        (Self::Started, "started", "Running"),
        (Self::Age, "age", "Last pass"),
    ];

    fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(column, _, _)| *column == self);
        found.map_or("", |(_, word, _)| word)
    }

    /// Whether it is a count of machines, of which more come first.
    fn is_count(self) -> bool {
        matches!(self, Self::Created | Self::Started)
    }
}

impl ListQuery {
    /// Reads the query of an address; what is not understood counts as not said.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let mut parsed = Self {
            page: 1,
            ..Self::default()
        };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "q" => parsed.filter = value.chars().take(100).collect(),
                "sort" => {
                    let found = Column::ALL.iter().find(|(_, word, _)| *word == value);
                    parsed.sort = found.map(|(column, _, _)| *column);
                }
                "page" => parsed.page = page_number(&value),
                _ => {}
            }
        }
        parsed
    }

    fn address(&self, sort: Option<Column>, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !self.filter.is_empty() {
            query.append_pair("q", &self.filter);
        }
        if let Some(sort) = sort {
            query.append_pair("sort", sort.as_str());
        }
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        let query = query.finish();
        if query.is_empty() {
            "/".to_owned()
        } else {
            format!("/?{query}")
        }
    }
}

/// The page that is asked for. One beyond the last is the last, whatever its number; what is no number is the first.
fn page_number(text: &str) -> usize {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let otherwise = if is_number { usize::MAX } else { 1 };
    text.parse().unwrap_or(otherwise).max(1)
}

/// What a fleet is sorted by.
struct Row {
    fleet: FleetName,
    name: String,
    condition: Condition,
    created: Option<u32>,
    started: Option<u32>,
    at: Option<jiff::Timestamp>,
}

/// The list.
#[must_use]
pub fn list(status: &Status, query: &ListQuery, daemon: &Daemon) -> String {
    let filter = query.filter.to_lowercase();
    let mut all = 0_usize;
    let mut has_several_of_one = false;
    let mut counts = [0_usize; 4];
    let mut rows = Vec::new();
    status.each(|fleet| {
        all += 1;
        has_several_of_one |= fleet.name.told_group().is_some();
        let condition = Condition::of(fleet);
        if let Some(count) = counts.get_mut(condition as usize) {
            *count += 1;
        }
        let name = fleet.name.to_string();
        if name.to_lowercase().contains(&filter) {
            rows.push(Row {
                fleet: fleet.name.clone(),
                name,
                condition,
                created: fleet.inventory.as_ref().map(|seen| seen.counts.created),
                started: fleet.inventory.as_ref().map(|seen| seen.counts.started),
                at: fleet.last_pass.as_ref().map(|pass| pass.at),
            });
        }
    });
    let most_first = |one: Option<u32>, other: Option<u32>| other.cmp(&one);
    rows.sort_by(|one, other| match query.sort {
        None => (one.condition, &one.name).cmp(&(other.condition, &other.name)),
        Some(Column::Name) => one.name.cmp(&other.name),
        Some(Column::Created) => most_first(one.created, other.created),
        Some(Column::Started) => most_first(one.started, other.started),
        Some(Column::Age) => one.at.cmp(&other.at),
    });
    let found = rows.len();
    let pages = found.div_ceil(ROWS).max(1);
    let shown = query.page.min(pages);
    // Only what is shown is written.
    let mut written: Vec<Markup> = Vec::new();
    for one in rows.iter().skip((shown - 1) * ROWS).take(ROWS) {
        status.each_of(&one.fleet.app, |fleet| {
            if fleet.name == one.fleet {
                written.push(row(fleet, status, daemon));
            }
        });
    }
    let [failing, troubled, waiting, _] = counts;
    let content = html! {
        h1 { "All apps" }
        p.headline { (in_words(all, has_several_of_one, [failing, troubled, waiting])) }
        @if all == 0 { (nothing_yet(status, daemon)) } @else {
            form method="get" action="/" role="search" {
                input #q type="search" name="q" value=(query.filter) placeholder="Filter by name" aria-label="Filter by name";
                @if let Some(sort) = query.sort { input type="hidden" name="sort" value=(sort.as_str()); }
                button type="submit" { "Filter" }
                @if !query.filter.is_empty() { a href="/" { "Show all" } }
            }
            @if let Some(targets) = status.settings().and_then(|settings| settings.targets.clone()) {
                p.soft.small { "Wanted of each: " (prose(&expressions(&targets))) }
            }
            div #found {
                // What was asked for is not repeated: what is hidden in it would confirm a guess.
                @if found == 0 { p { "No app has that in its name." } } @else { (table(query, &written)) }
            }
            @if pages > 1 {
                nav aria-label="Pages" {
                    p {
                        "Page " (shown) " of " (pages) ", " (found) " apps. "
                        @if shown > 1 { a rel="prev" href=(query.address(query.sort, shown - 1)) { "Previous" } " " }
                        @if shown < pages { a rel="next" href=(query.address(query.sort, shown + 1)) { "Next" } }
                    }
                }
            }
        }
    };
    page("All apps – fly-autoscaler", daemon, &content).into_string()
}

fn in_words(
    all: usize,
    has_several_of_one: bool,
    [failing, troubled, waiting]: [usize; 3],
) -> String {
    if all == 0 {
        return "No app is scaled yet.".to_owned();
    }
    let apps = |count: usize, one: &str, several: &str| {
        super::many(u32::try_from(count).unwrap_or(u32::MAX), one, several)
    };
    let mut text = if has_several_of_one {
        apps(all, "fleet is scaled", "fleets are scaled")
    } else {
        apps(all, "app is scaled", "apps are scaled")
    };
    let needing = if troubled == 1 {
        "needs attention"
    } else {
        "need attention"
    };
    for (count, what) in [
        (failing, "failing"),
        (troubled, needing),
        (waiting, "waiting for the first pass"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    if failing + troubled + waiting == 0 {
        text.push_str(", all as they should be");
    }
    text + "."
}

fn nothing_yet(status: &Status, daemon: &Daemon) -> Markup {
    let pattern = status
        .settings()
        .map_or_else(String::new, |settings| settings.app_pattern.clone());
    if let Some((0, shards)) = daemon.copy.role.as_ref().and_then(|role| role.shards) {
        return html! {
            p { "This copy has none of the " (shards) " shards, and so no apps." }
        };
    }
    html! {
        p { "Waiting for the list of the organization's apps; those that match " code { (pattern) } " will be shown here." }
        @if let Err(why) = &daemon.copy.readiness { p.soft { (prose(why)) } }
    }
}

fn table(query: &ListQuery, rows: &[Markup]) -> Markup {
    html! {
        div.scroll #list tabindex="0" role="region" aria-label="Apps" {
            table {
                thead {
                    tr {
                        th scope="col" { a href=(query.address(None, 1)) { "State" } }
                        @for (column, _, heading) in Column::ALL {
                            th.number[column.is_count()] scope="col"
                                aria-sort=[(query.sort == Some(column)).then_some(if column.is_count() { "descending" } else { "ascending" })] {
                                a href=(query.address(Some(column), 1)) { (heading) }
                            }
                        }
                        th scope="col" { "Wanted" }
                        th.wide scope="col" { "Machines over time" }
                    }
                }
                tbody { @for row in rows { (row) } }
            }
        }
    }
}

fn row(fleet: &Fleet, status: &Status, daemon: &Daemon) -> Markup {
    let (word, class) = Condition::of(fleet).word();
    let counts = fleet.inventory.as_ref().map(|seen| seen.counts);
    let path = |text: &str| utf8_percent_encode(text, IN_PATH).to_string();
    let mut address = format!("/app/{}", path(&fleet.name.app));
    if let Some(group) = fleet.name.told_group() {
        let _ = write!(address, "?group={}", path(group));
    }
    if let Some(region) = &fleet.name.region {
        let _ = write!(address, "&region={}", path(region));
    }
    html! {
        tr {
            td {
                span class=(class) { (word) }
                @if let Some(why) = Condition::why(fleet) { " " span.soft.small { (why) } }
            }
            td.name { a href=(address) { (fleet.name.to_string()) } }
            td.number data-unit="exist" { (counts.map_or_else(|| "?".to_owned(), |counts| counts.created.to_string())) }
            td.number data-unit="running" { (counts.map_or_else(|| "?".to_owned(), |counts| counts.started.to_string())) }
            td { (fleet.last_pass.as_ref().map_or_else(|| "none yet".to_owned(), |pass| ago(pass.at, daemon.now))) }
            td.wanted { (told_values(fleet)) }
            td.wide { (sparkline(fleet, status)) }
        }
    }
}

/// How many machines there were over time, without an axis.
fn sparkline(fleet: &Fleet, status: &Status) -> Markup {
    let Some(span) = fleet.history.span(status.resolution()) else {
        return html! {};
    };
    let created = span.created.iter().map(|count| count.map(f64::from));
    let created: Vec<Option<f64>> = created.collect();
    let buckets = buckets(&created, SPARKS);
    let known = buckets.iter().flatten();
    let (low, high) = known
        .clone()
        .fold((f64::INFINITY, 0.0_f64), |(low, high), bucket| {
            (low.min(bucket.low), high.max(bucket.high))
        });
    let last = known.last().map_or(0.0, |bucket| bucket.last);
    let mut path = String::new();
    let mut open = false;
    for (place, bucket) in buckets.iter().enumerate() {
        let Some(bucket) = bucket else {
            open = false;
            continue;
        };
        let y = 22.0 - bucket.high / high.max(1.0) * 20.0;
        let (start, y) = (if open { 'L' } else { 'M' }, format!("{y:.1}"));
        let _ = write!(path, "{start}{place} {y}H{}", place + 1);
        open = true;
    }
    html! {
        @if !path.is_empty() {
            svg.spark role="img" viewBox={ "0 0 " (buckets.len()) " 24" } preserveAspectRatio="none"
                aria-label={ "between " (low) " and " (high) " machines, now " (last) } {
                path d=(path) {}
            }
        }
    }
}
