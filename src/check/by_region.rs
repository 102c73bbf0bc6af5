//! A query of one number, as a query that gives each region its own.

/// What makes one number of several, and can as well make one for each region.
const AGGREGATIONS: [&str; 5] = ["sum", "count", "max", "min", "avg"];

/// The query with one element for each region: its outermost aggregation keeps the label, and nothing without the label stands
/// beside it.
pub(super) fn by_region(query: &str) -> String {
    let mut query = query.trim();
    loop {
        if let Some(rest) = without_default(query) {
            query = rest;
        } else if is_by_region(query) {
            return query.to_owned();
        } else {
            match aggregated(query) {
                // What sums regions up makes one number of them again.
                Some((_, inner)) if is_by_region(without_default(inner).unwrap_or(inner)) => {
                    query = inner;
                }
                Some((name, inner)) => {
                    let inner = without_default(inner).unwrap_or(inner);
                    return format!("{name} by (region) ({inner})");
                }
                None => return format!("sum by (region) ({query})"),
            }
        }
    }
}

/// The query without the series that have no region, where it has one selector only.
pub(super) fn with_region_only(query: &str) -> Option<String> {
    let (before, rest) = query.split_once('{')?;
    let (matchers, after) = rest.split_once('}')?;
    if after.contains('{') {
        return None;
    }
    let matchers = matchers.trim().trim_end_matches(',');
    let comma = if matchers.is_empty() { "" } else { "," };
    let nothing = if query.contains('"') { "\"\"" } else { "''" };
    Some(format!(
        "{before}{{{matchers}{comma}region!={nothing}}}{after}"
    ))
}

/// What stands before ` or vector(0)`.
pub(super) fn without_default(query: &str) -> Option<&str> {
    let (rest, number) = query.trim_end().strip_suffix(')')?.rsplit_once('(')?;
    number.trim().parse::<f64>().ok()?;
    let rest = rest.trim_end().strip_suffix("vector")?.trim_end();
    let rest = rest.strip_suffix("on()").map_or(rest, str::trim_end);
    let rest = rest.strip_suffix("or")?;
    let is_word = rest.ends_with(|letter: char| letter.is_whitespace() || ")}]".contains(letter));
    is_word.then(|| rest.trim())
}

/// Whether a query is an aggregation that keeps the label `region` and no other.
fn is_by_region(query: &str) -> bool {
    AGGREGATIONS.iter().any(|name| {
        let labels = query.strip_prefix(name);
        let labels = labels.and_then(|rest| rest.trim_start().strip_prefix("by"));
        let labels = labels.and_then(|rest| rest.trim_start().strip_prefix('('));
        let Some((labels, inner)) = labels.and_then(|rest| rest.split_once(')')) else {
            return false;
        };
        labels.trim() == "region" && enclosed(inner.trim()).is_some()
    })
}

/// The name of an aggregation that keeps no label, and what it is of.
fn aggregated(query: &str) -> Option<(&'static str, &str)> {
    AGGREGATIONS.into_iter().find_map(|name| {
        let rest = query.strip_prefix(name)?;
        Some((name, enclosed(rest.trim_start())?.trim()))
    })
}

/// What is in parentheses that enclose all of a text.
fn enclosed(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?;
    let (mut depth, mut quote, mut is_escaped) = (1_u32, None, false);
    for (at, letter) in inner.char_indices() {
        if let Some(open) = quote {
            match letter {
                _ if is_escaped => is_escaped = false,
                '\\' if open != '`' => is_escaped = true,
                _ if letter == open => quote = None,
                _ => {}
            }
            continue;
        }
        match letter {
            '\'' | '"' | '`' => quote = Some(letter),
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (at + 1 == inner.len()).then(|| &inner[..at]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_gets_an_element_of_its_own() {
        let by = "sum by (region) (q{a='b'})";
        let cases = [
            ("q{a='b'}", by),
            ("sum(q{a='b'})", by),
            (" sum (q{a='b'} or vector(0)) ", by),
            ("sum(q{a='b'}) or vector(0)", by),
            ("sum(q{a='b'}) or on() vector(0)", by),
            ("sum(sum by (region) (q{a='b'}) or vector(0))", by),
            ("sum by (region) (q{a='b'}) or vector(0)", by),
            (by, by),
            ("count(up{x=')'})", "count by (region) (up{x=')'})"),
            ("sum(a) + sum(b)", "sum by (region) (sum(a) + sum(b))"),
            (
                "sum by (region, kind) (q)",
                "sum by (region) (sum by (region, kind) (q))",
            ),
            ("summary(q)", "sum by (region) (summary(q))"),
            ("floor(vector(0))", "sum by (region) (floor(vector(0)))"),
        ];
        for (query, expected) in cases {
            assert_eq!(by_region(query), expected, "{query}");
        }
    }

    #[test]
    fn series_without_a_region_are_left_out_where_it_is_clear_of_what() {
        let cases = [
            ("sum(q{a='b'})", Some("sum(q{a='b',region!=''})")),
            ("sum(q{a=\"b\",})", Some("sum(q{a=\"b\",region!=\"\"})")),
            ("q{}", Some("q{region!=''}")),
            ("sum(q)", None),
            ("q{a='b'} / r{a='b'}", None),
        ];
        for (query, expected) in cases {
            assert_eq!(with_region_only(query).as_deref(), expected, "{query}");
        }
    }
}
