//! A dashboard as Grafana reads it.

use super::table::{Dashboard, Panel, Show, Unit, expanded};
use serde_json::{Value, json};

/// The version of the form, which is that of Grafana 11. Later ones read it, too.
const SCHEMA_VERSION: u32 = 39;
/// Columns of a row, and of a panel.
const ROW_COLUMNS: usize = 24;
const PANEL_COLUMNS: usize = 8;
const PANEL_LINES: usize = 8;
/// Every panel asks the data source that is chosen at the top.
const SOURCE: &str = "${source}";

fn source() -> Value {
    json!({ "type": "prometheus", "uid": SOURCE })
}

/// The file of a dashboard.
pub fn json(dashboard: &Dashboard) -> String {
    let panels: Vec<Value> = dashboard.panels.iter().enumerate().map(|(n, panel)| one(n, panel)).collect();
    let all = json!({
        "uid": dashboard.uid(),
        "title": format!("Headroom / {}", dashboard.title),
        "tags": ["headroom"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "timezone": "",
        "links": [{
            "title": "Headroom", "type": "dashboards", "tags": ["headroom"], "asDropdown": false, "includeVars": true,
            "keepTime": true, "targetBlank": false,
        }],
        "templating": { "list": variables() },
        "panels": panels,
    });
    let mut text = serde_json::to_string_pretty(&all).unwrap();
    text.push('\n');
    text
}

fn variables() -> Vec<Value> {
    let choice = |name: &str, label: &str, of: &str| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": source(),
            "query": { "query": format!("label_values({of}, {name})"), "refId": name },
            "refresh": 2, "sort": 3, "multi": true, "includeAll": true, "allValue": ".*",
            "current": { "text": "All", "value": "$__all" },
        })
    };
    vec![
        json!({ "name": "source", "label": "Data source", "type": "datasource", "query": "prometheus" }),
        choice("namespace", "Namespace", "headroom_build_info"),
        choice("job", "Job", "headroom_build_info{namespace=~\"$namespace\"}"),
        choice("instance", "Process", "headroom_build_info{namespace=~\"$namespace\", job=~\"$job\"}"),
        choice("partition", "Partition", "headroom_partition_deciding{namespace=~\"$namespace\", job=~\"$job\"}"),
    ]
}

/// The n-th panel of a dashboard.
fn one(n: usize, panel: &Panel) -> Value {
    let in_row = ROW_COLUMNS / PANEL_COLUMNS;
    let targets = (b'A'..).zip(panel.queries).map(|(id, (legend, query))| {
        json!({
            "refId": char::from(id).to_string(), "datasource": source(), "expr": expanded(query), "legendFormat": legend,
            "instant": panel.show == Show::Now, "range": panel.show != Show::Now,
        })
    });
    json!({
        "id": n + 1,
        "title": panel.title,
        "description": panel.help,
        "type": match panel.show { Show::Now => "stat", Show::Lines | Show::Stack => "timeseries", Show::States => "state-timeline" },
        "datasource": source(),
        "gridPos": {
            "x": n % in_row * PANEL_COLUMNS, "y": n / in_row * PANEL_LINES, "w": PANEL_COLUMNS, "h": PANEL_LINES,
        },
        "targets": targets.collect::<Vec<_>>(),
        "fieldConfig": { "defaults": defaults(panel), "overrides": [] },
        "options": options(panel.show),
    })
}

fn defaults(panel: &Panel) -> Value {
    let unit = match panel.unit {
        Unit::Count => "short",
        Unit::PerSecond => "cps",
        Unit::Seconds => "s",
        Unit::Share => "percentunit",
        Unit::Bytes => "bytes",
        Unit::Moment => "dateTimeFromNow",
    };
    let mut defaults = json!({ "unit": unit, "color": { "mode": "palette-classic" } });
    // 99.99 % is not 100 %.
    if panel.show == Show::Now && panel.unit == Unit::Share {
        defaults["decimals"] = json!(3);
    }
    match panel.show {
        Show::Lines => defaults["custom"] = json!({ "lineWidth": 1, "fillOpacity": 0, "showPoints": "never" }),
        Show::Stack => {
            defaults["custom"] =
                json!({ "lineWidth": 1, "fillOpacity": 30, "showPoints": "never", "stacking": { "mode": "normal" } });
        }
        Show::States | Show::Now => {}
    }
    if matches!(panel.show, Show::Lines | Show::Stack) && panel.unit != Unit::Moment {
        defaults["min"] = json!(0);
    }
    if let Some(bad) = panel.bad_from {
        defaults["thresholds"] = json!({
            "mode": "absolute",
            "steps": [{ "color": "green", "value": null }, { "color": "red", "value": bad }],
        });
        match panel.show {
            Show::Lines | Show::Stack => defaults["custom"]["thresholdsStyle"] = json!({ "mode": "line" }),
            Show::Now | Show::States => defaults["color"] = json!({ "mode": "thresholds" }),
        }
    }
    defaults
}

fn options(show: Show) -> Value {
    match show {
        Show::Now => json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "colorMode": "value", "textMode": "auto" }),
        Show::Lines | Show::Stack => json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Show::States => json!({ "mergeValues": true, "showValue": "never", "legend": { "showLegend": false } }),
    }
}
