//! The commands of runbooks that ask a cluster.

use super::topics::Place;
use crate::alerts::runbooks::commands_of_a_cluster;
use crate::rig::Rig;

#[test]
fn the_commands_of_runbooks_work_on_a_cluster() {
    let place = Place::on(Rig::shared(), "runbooks");
    place.apply();
    let commands = commands_of_a_cluster();
    assert!(!commands.is_empty(), "no runbook has a command for a cluster");
    for command in commands {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let ended = place.headroom(&words);
        let expected = match words[..] {
            // Nobody serves this log.
            ["owners", ..] => 2,
            // The dead letter with the id that a runbook shows does not exist here.
            _ if words.contains(&"0-7") => 1,
            _ => 0,
        };
        assert_eq!(ended.code, expected, "{words:?}: {}{}", ended.out, ended.err);
    }
}
