//! The binary as operators and scripts meet it: exit codes, what is said where, and what is found in a log that is
//! sound, damaged, or wrong.

mod calls_logged;
mod certificate;
mod client;
mod documented;
mod environment;
pub mod handwritten_logs;
mod help;
mod log_lines;
mod rebuild;
mod running_server;
mod secrets;
mod support;
mod written;

use crate::buckets;
use crate::process::{Ended, Running, headroom, run};
use crate::wait::until;
use handwritten_logs::Writing;
use headroom::wire::schema::EVENT;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Runs a command on a data directory.
pub fn on<const N: usize>(dir: &Path, args: [&str; N]) -> Ended {
    run(headroom(args).arg("--data-dir").arg(dir))
}

#[track_caller]
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} in:\n{text}");
    }
}

#[test]
fn bad_usage_exits_2_with_a_message_on_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "no log").unwrap();
    let foreign = tempfile::tempdir().unwrap();
    std::fs::create_dir(foreign.path().join("log")).unwrap();
    std::fs::write(foreign.path().join("log/segment-00000000"), "no log").unwrap();
    let none = dir.path().join("none");
    let loss = ["log", "accept-loss", "--because", "a test", "--log", "00000000000000000000000000000000"];
    // What a user may not look at is refused by the system in the same way.
    let within = file.join("data");
    let cases: [(&[&str], Option<&Path>, &str); 15] = [
        (&["verify"], Some(&none), "none: there is none; name the directory of a log with --data-dir"),
        (&loss, Some(&none), "none: there is none; name the directory of a log with --data-dir"),
        (&["cat"], Some(&file), "cannot open the log"),
        (&["backup", "--to", "file:///no/such"], Some(&within), "Not a directory"),
        (&["verify"], Some(&within), "Not a directory"),
        (&["serve", "--listen", "127.0.0.1:0"], Some(&within), "Not a directory"),
        (&["rebuild"], Some(foreign.path()), "is not a log of this program and was left as it is"),
        (&["verify"], Some(dir.path()), "cannot open the log"),
        (&["verify", "--no-such-flag"], Some(dir.path()), "unexpected argument"),
        (&["clock", "set", "--because", "a test"], Some(dir.path()), "start it, or name its directory with --data-dir"),
        (&["topics", "plan"], None, "no cluster is configured: give --kafka-brokers"),
        (&["commands", "check"], None, "no cluster is configured: give --kafka-brokers"),
        (&["schemas", "register"], None, "no registry is configured: give --registry-url"),
        (&["topics", "check", "--kafka-sasl-password", "x"], None, "unexpected argument '--kafka-sasl-password'"),
        (&["config", "--config", "/no/such.toml"], None, "cannot read the file of --config, /no/such.toml"),
    ];
    for (args, data_dir, says) in cases {
        let data_dir = data_dir.map(|dir| [Path::new("--data-dir"), dir]);
        let ended = run(headroom([]).args(args).args(data_dir.iter().flatten()));
        assert_eq!((ended.code, &*ended.out), (2, ""), "{args:?}");
        assert_says(&ended.err, &[says]);
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().count() == 1, "nothing was made where there was nothing");
}

/// The story: checkpoints of some gigabytes were copied, and whoever had asked lost patience. The copies stayed, and filled the disk.
#[test]
fn verify_leaves_no_copies_behind_when_it_is_interrupted() {
    for signal in [Signal::INT, Signal::TERM] {
        let [dir, temporary] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        Writing::new(5).write(dir.path());
        let is_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&is_asked);
        let store = buckets::answering(move |_, _, _| {
            asked.store(true, Relaxed);
            loop {
                std::thread::park();
            }
        });
        let mut verify = headroom(["verify", "--snapshots", "s3://never/answers", "--data-dir"]);
        buckets::at(verify.arg(dir.path()).env("TMPDIR", temporary.path()), &store);
        let verifying = Running::start(&mut verify);
        until("it waits for the snapshots", || is_asked.load(Relaxed));
        let left = || std::fs::read_dir(temporary.path()).unwrap().count();
        assert_eq!(left(), 1);
        kill_process(Pid::from_child(verifying.child()), signal).unwrap();
        let ended = verifying.ended();
        assert_eq!((ended.code, &*ended.out), (2, ""), "{}", ended.err);
        assert_says(&ended.err, &["headroom: interrupted"]);
        assert_eq!(left(), 0);
    }
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headroom.toml");
    std::fs::write(&file, "lissten = \"127.0.0.1:1\"\npartitions = \"many\"\n").unwrap();
    for command in ["serve", "verify", "cat", "rebuild", "config"] {
        let mut command = headroom([command, "--log-format", "xml", "--config"]);
        let ended = run(command.arg(&file).env("HEADROOM_LISTEN", "localhost"));
        assert_eq!((ended.code, &*ended.out), (2, ""));
        assert_says(
            &ended.err,
            &[
                "the configuration has 4 problems",
                "headroom.toml: there is no setting lissten",
                "headroom.toml: partitions = \"many\"",
                "environment variable HEADROOM_LISTEN: listen = \"localhost\"",
                "flag --log-format: log_format = \"xml\"",
            ],
        );
    }
}

#[test]
fn a_secret_is_read_from_its_file_and_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let mut command = headroom(["config", "--kafka-brokers", "k:9092", "--kafka-security-protocol", "sasl_ssl"]);
    command.args(["--kafka-sasl-mechanism", "PLAIN", "--kafka-sasl-username", "me", "--kafka-sasl-password-file"]);
    let ended = run(command.arg(&file));
    assert_eq!((ended.code, &*ended.out), (2, ""));
    assert_says(&ended.err, &["flag --kafka-sasl-password-file", "password\" cannot be read: No such file"]);
    std::fs::write(&file, "hush-hush\n").unwrap();
    let ended = run(&mut command);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_says(&ended.out, &["\n# kafka_sasl_password = (secret) # file ", "\nkafka_sasl_password_file = \""]);
    assert!(!format!("{}{}", ended.out, ended.err).contains("hush"), "{}", ended.out);
    std::fs::write(&file, vec![b'x'; 5_000]).unwrap();
    assert_says(&run(&mut command).err, &["password\" holds more than 4096 bytes"]);
}

#[test]
fn cluster_settings_are_checked_without_a_cluster() {
    let ended = run(&mut headroom(["schemas", "check"]));
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let versions = EVENT.len();
    let told = format!("headroom.events-value: {versions} versions of the schema, all readable by each other\n");
    assert_says(&ended.out, &[&told]);
    let ended = run(&mut headroom(["topics", "acls", "--kafka-brokers", "127.0.0.1:1"]));
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let writes =
        "User:headroom-owner --operation Describe --operation DescribeConfigs --operation Read --operation Write";
    let later = "named after the log's id: run this again after headroom topics apply.\n";
    assert_says(&ended.out, &[&format!("{writes} --topic headroom.events\n"), "Connection refused", later]);
}

#[test]
fn the_effective_configuration_is_printed_with_its_sources() {
    let mut command = headroom(["config", "--partitions", "8"]);
    let ended = run(command.env("HEADROOM_DATA_DIR", "/var/lib/headroom"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let lines = [
        "data_dir = \"/var/lib/headroom\" # environment variable HEADROOM_DATA_DIR\n",
        "partitions = 8 # flag --partitions\n",
        "listen = \"127.0.0.1:8080\" # default\n",
    ];
    assert_says(&ended.out, &lines);
}
