//! The panels as Grafana's JSON. It asks for the data source when it is opened, and for nothing when it is imported.

use serde_json::{Value, json};

use super::panels::{Look, Panel, Row, Unit, rows};
use crate::metrics::series::{APP, LAST_SUCCESS};

/// The columns of Grafana's grid.
const COLUMNS: usize = 24;

/// The revision of the dashboard's model that this is written in: Grafana 11's, which later ones read.
const SCHEMA: u32 = 39;

/// The dashboard, as it is imported.
#[must_use]
pub fn dashboard() -> String {
    let mut panels = Vec::new();
    let mut top = 0;
    for row in rows() {
        top = place(&row, top, &mut panels);
    }
    let dashboard = json!({
        "id": null,
        "uid": "fly-autoscaler",
        "title": "fly-autoscaler",
        "description": "What fly-autoscaler sees, decides and does.",
        "tags": ["fly-autoscaler"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": variables()},
        "panels": panels,
    });
    format!("{dashboard:#}")
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// The choices on top: the data source, and the apps.
fn variables() -> Value {
    let apps = format!("label_values({LAST_SUCCESS}, {APP})");
    json!([
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
            "hide": 0,
            "includeAll": false,
            "multi": false,
            "options": [],
            "refresh": 1,
            "regex": "",
        },
        {
            "name": "app",
            "label": "App",
            "type": "query",
            "datasource": source(),
            "definition": apps,
            "query": {"qryType": 1, "query": apps, "refId": "apps"},
            // One short matcher, however many apps there are.
            "allValue": ".+",
            "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
            "hide": 0,
            "includeAll": true,
            "multi": true,
            "options": [],
            "refresh": 2,
            "regex": "",
            "sort": 1,
        },
    ])
}

/// Adds a heading at `top` and its panels below it, two to a line, numbers all in one; returns where it ends.
fn place(row: &Row, top: usize, panels: &mut Vec<Value>) -> usize {
    panels.push(json!({
        "id": panels.len() + 1,
        "type": "row",
        "title": row.title,
        "collapsed": false,
        "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        "panels": [],
    }));
    let mut left = 0;
    let mut top = top + 1;
    let are_numbers = row.panels.iter().all(|panel| is_number(panel.look));
    let (in_a_line, height) = if are_numbers {
        (row.panels.len(), 4)
    } else {
        (2, 8)
    };
    let width = COLUMNS / in_a_line.max(1);
    for (at, panel) in row.panels.iter().enumerate() {
        if left + width > COLUMNS {
            (left, top) = (0, top + height);
        }
        let is_last = at + 1 == row.panels.len();
        // The last one takes what is left of its line.
        let width = if is_last { COLUMNS - left } else { width };
        let id = panels.len() + 1;
        panels.push(panel_json(id, panel, [left, top, width, height]));
        left += width;
    }
    top + height
}

fn is_number(look: Look) -> bool {
    match look {
        Look::Required | Look::RedFrom(_) | Look::Noticed | Look::Name => true,
        Look::Lines | Look::Stacked | Look::Bars => false,
    }
}

fn panel_json(id: usize, panel: &Panel, [x, y, w, h]: [usize; 4]) -> Value {
    let is_number = is_number(panel.look);
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip('A'..='Z')
        .map(|(query, name)| {
            json!({
                "refId": name,
                "datasource": source(),
                "editorMode": "code",
                "expr": query.expression,
                "legendFormat": query.legend,
                "instant": is_number,
                "range": !is_number,
            })
        })
        .collect();
    let mut defaults = json!({"unit": unit(panel.unit)});
    if panel.unit != Unit::Any {
        defaults["min"] = json!(0);
    }
    let options = if is_number {
        defaults["thresholds"] = thresholds(panel.look);
        if panel.unit == Unit::Seconds {
            defaults["mappings"] = never();
        }
        number(panel.look)
    } else {
        defaults["custom"] = drawing(panel.look);
        json!({
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        })
    };
    json!({
        "id": id,
        "type": if is_number { "stat" } else { "timeseries" },
        "title": panel.title,
        "description": panel.description,
        "datasource": source(),
        "gridPos": {"x": x, "y": y, "w": w, "h": h},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    })
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Any | Unit::Count => "short",
        Unit::Seconds => "s",
        Unit::PerSecond => "cps",
        Unit::Bytes => "bytes",
        Unit::Share => "percentunit",
    }
}

fn number(look: Look) -> Value {
    json!({
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        "textMode": if look == Look::Name { "name" } else { "value" },
    })
}

fn thresholds(look: Look) -> Value {
    let steps = match look {
        Look::Required => vec![("red", None), ("green", Some(1))],
        Look::RedFrom(limit) => vec![("green", None), ("red", Some(limit))],
        // An `increase` is no whole number: a single one can be shown as somewhat less.
        Look::Noticed => vec![("blue", None), ("orange", Some(1))],
        _ => vec![("blue", None)],
    };
    let steps: Vec<Value> = steps
        .into_iter()
        .map(|(color, from)| json!({"color": color, "value": from}))
        .collect();
    json!({"mode": "absolute", "steps": steps})
}

/// What has never happened is at 0 of Unix time, more than a billion seconds ago.
fn never() -> Value {
    let options = json!({"from": 1_000_000_000, "to": null, "result": {"text": "never"}});
    json!([{"type": "range", "options": options}])
}

fn drawing(look: Look) -> Value {
    let (style, fill, stacking) = match look {
        Look::Stacked => ("line", 30, "normal"),
        Look::Bars => ("bars", 60, "normal"),
        _ => ("line", 0, "none"),
    };
    json!({
        "drawStyle": style,
        "fillOpacity": fill,
        "lineInterpolation": "stepAfter",
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": false,
        "stacking": {"mode": stacking, "group": "A"},
    })
}
