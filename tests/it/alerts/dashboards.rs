//! The dashboards of `helm/headroom/dashboards`: this table is their source. `HEADROOM_REWRITE_GOLDEN=1` writes the files
//! anew. That each query has an answer is tested in `alerts::promtool`, on a server that is busy.

mod grafana;
mod table;

pub use table::{ALL, KAFKA, Panel, expanded};

use super::tree;
use std::collections::BTreeSet;
use std::fs;

/// The variables of a query, and what they are when everything is shown. A test of a query needs none.
pub const EVERYTHING: &[(&str, &str)] =
    &[("$namespace", ".*"), ("$job", ".+"), ("$instance", ".+"), ("$partition", ".+"), ("$__rate_interval", "1m")];

/// Every panel of every dashboard.
pub fn panels() -> impl Iterator<Item = &'static Panel> {
    ALL.iter().flat_map(|dashboard| dashboard.panels)
}

#[test]
fn the_files_of_the_dashboards_are_what_the_table_says() {
    let dir = tree("helm/headroom/dashboards");
    let mut expected = BTreeSet::new();
    for dashboard in ALL {
        let (path, text) = (dir.join(dashboard.file()), grafana::json(dashboard));
        if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
            fs::create_dir_all(&dir).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{} is not what the table says", path.display());
        expected.insert(dashboard.file());
    }
    let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(entries.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn every_panel_has_a_title_of_its_own_and_says_what_it_shows() {
    for dashboard in ALL {
        let titles: BTreeSet<_> = dashboard.panels.iter().map(|panel| panel.title).collect();
        assert_eq!(titles.len(), dashboard.panels.len(), "{}", dashboard.title);
        for Panel { title, help, queries, .. } in dashboard.panels {
            assert!(help.ends_with('.') && !queries.is_empty(), "{title}: {help}");
        }
    }
}
