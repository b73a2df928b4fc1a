//! The panels of the dashboards that only a log on Kafka has data for.

use super::topics::Place;
use crate::alerts::dashboards::{KAFKA, panels};
use crate::alerts::promtool::live::Prometheus;
use crate::process::Served;
use crate::rig::Rig;

#[test]
fn the_panels_of_a_cluster_have_data() {
    let place = Place::on(Rig::shared(), "panels");
    place.apply();
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()];
    let server = Served::start(&mut place.command(&serve));
    let prometheus = Prometheus::start(dir.path(), &server.url);
    prometheus.finds(panels().filter(|panel| panel.empty_because == Some(KAFKA)), &server.url);
}
