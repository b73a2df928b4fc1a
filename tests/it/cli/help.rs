//! The help of every command: which settings it lists, how it describes them, and that it refuses all others.

use super::assert_says;
use crate::process::{headroom, run};
use headroom::cmd::Cli;
use headroom::config::{Group, Kind, Setting};
use std::collections::BTreeSet;
use std::ffi::OsString;

const LOG_LINES: &[Setting] = &[Setting::LogFormat, Setting::LogLevel];
const CONNECTION: &[Setting] = &[
    Setting::KafkaBrokers,
    Setting::KafkaSecurityProtocol,
    Setting::KafkaSaslMechanism,
    Setting::KafkaSaslUsername,
    Setting::KafkaSaslPasswordFile,
    Setting::KafkaSslCa,
    Setting::KafkaSslCertificate,
    Setting::KafkaSslKey,
    Setting::KafkaSslKeyPasswordFile,
    Setting::Application,
];
const CLUSTER_ID: &[Setting] = &[Setting::KafkaClusterId];
const DATA_DIR: &[Setting] = &[Setting::DataDir];

/// A command with a flag of its own that has the name of a setting's: roles of a caller, and not of a process.
const OWN_FLAG: (&str, Setting) = ("tokens new", Setting::Roles);

/// The settings of a group that have a flag.
fn group(group: Group) -> Vec<Setting> {
    let is_listed = |setting: &Setting| setting.group() == group && setting.kind() != Kind::Secret;
    Setting::ALL.iter().copied().filter(is_listed).collect()
}

/// Each command, with the arguments that it needs besides, and the settings that it uses.
fn commands() -> Vec<(&'static str, &'static [&'static str], Vec<Setting>)> {
    let (registry, topics) = (group(Group::Registry), group(Group::Topics));
    let process = [group(Group::Process), group(Group::Tls)].concat();
    let (callers, sink) = (group(Group::Callers), group(Group::Sink));
    let every: Vec<Setting> =
        [process, callers, sink.clone(), group(Group::Kafka), registry.clone(), topics.clone()].concat();
    let any_log = [DATA_DIR, LOG_LINES, CONNECTION, CLUSTER_ID, &registry, &topics].concat();
    let whole_log = [&any_log[..], &[Setting::LogArchive]].concat();
    let folded_log = [&whole_log[..], &[Setting::Snapshots]].concat();
    let owned_log = [&any_log[..], &[Setting::Snapshots, Setting::KafkaAlternatingProducers]].concat();
    let sink_tables = [LOG_LINES, &sink].concat();
    let sink_log = [&any_log[..], &sink].concat();
    let lost_log = [&owned_log[..], &[Setting::Partitions, Setting::LogArchive]].concat();
    let cluster_names = [LOG_LINES, CONNECTION, &topics].concat();
    let of_topics = [
        Setting::Partitions,
        Setting::Snapshots,
        Setting::SnapshotIntervalMs,
        Setting::KafkaReplication,
        Setting::KafkaMinInSync,
        Setting::KafkaEventsKeep,
        Setting::Environment,
    ];
    let cluster_topics = [LOG_LINES, CONNECTION, CLUSTER_ID, &topics, &of_topics].concat();
    let has_schema = |setting: &Setting| !matches!(setting, Setting::TopicDeadLetters | Setting::TopicManifest);
    let with_schema: Vec<Setting> = topics.iter().copied().filter(has_schema).collect();
    let schemas = [LOG_LINES, &[Setting::KafkaBrokers], &registry, &with_schema].concat();
    let of_tokens = [DATA_DIR, LOG_LINES, &[Setting::TokensFile]].concat();
    vec![
        ("serve", &[], every.clone()),
        ("config", &[], every),
        ("verify", &[], folded_log.clone()),
        ("cat", &[], whole_log),
        ("rebuild", &[], folded_log.clone()),
        ("state", &[], folded_log),
        ("dead-letters list", &[], any_log.clone()),
        ("dead-letters show", &["0-0"], any_log.clone()),
        ("dead-letters retry", &["0-0"], any_log.clone()),
        ("dead-letters discard", &["0-0"], any_log.clone()),
        ("commands check", &[], any_log),
        ("commands skip", &["--partition", "0", "--reason", "a test"], owned_log),
        ("log accept-loss", &["--log", "00000000000000000000000000000000", "--because", "a test"], lost_log),
        ("tokens new", &["shop", "--roles", "checkout"], of_tokens.clone()),
        ("tokens list", &[], of_tokens.clone()),
        ("tokens revoke", &["shop"], of_tokens),
        ("sink", &[], sink_log.clone()),
        ("sink run", &[], sink_log.clone()),
        ("sink status", &[], sink_log.clone()),
        ("sink backfill", &[], sink_log),
        ("sink plan", &[], sink_tables.clone()),
        ("lost-demand", &["--from", "2026-12-24", "--to", "2026-12-24"], sink_tables.clone()),
        ("sink rebuild", &[], sink_tables.clone()),
        ("sink apply", &[], sink_tables),
        ("clock set", &["--because", "a test"], [DATA_DIR, LOG_LINES].concat()),
        ("backup", &["--to", "file:///nowhere"], [DATA_DIR, LOG_LINES].concat()),
        ("restore", &["--from", "file:///nowhere"], [DATA_DIR, LOG_LINES].concat()),
        ("topics plan", &[], cluster_topics.clone()),
        ("topics apply", &[], cluster_topics.clone()),
        ("topics check", &[], cluster_topics),
        ("topics acls", &[], cluster_names.clone()),
        ("owners", &[], cluster_names),
        ("schemas check", &[], schemas.clone()),
        ("schemas register", &[], schemas),
        ("metrics", &[], Vec::new()),
        ("demo", &[], Vec::new()),
        ("client reserve", &["van-1", "orders=1"], Vec::new()),
        ("client pools list", &[], Vec::new()),
    ]
}

fn help(command: &str, flag: &str) -> String {
    let ended = run(headroom([]).args(command.split_whitespace()).arg(flag));
    assert_eq!((ended.code, &*ended.err), (0, ""), "{command}");
    ended.out
}

/// The settings whose flags the help of a command lists.
fn listed(command: &str, help: &str) -> BTreeSet<Setting> {
    let flags: BTreeSet<&str> = help.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let is_listed = |setting: &Setting| {
        setting.kind() != Kind::Secret && flags.contains(setting.flag()) && (command, *setting) != OWN_FLAG
    };
    Setting::ALL.iter().copied().filter(is_listed).collect()
}

#[test]
fn each_command_lists_the_settings_that_it_uses_and_no_others() {
    for (command, _, uses) in commands() {
        let long = help(command, "--help");
        assert_eq!(listed(command, &long), uses.iter().copied().collect(), "{command}:\n{long}");
        let short = help(command, "-h");
        let is_short = |setting: &&Setting| {
            setting.group() == Group::Process
                || matches!(
                    setting,
                    Setting::TlsCertificate
                        | Setting::Auth
                        | Setting::TokensFile
                        | Setting::SinkDatabase
                        | Setting::SinkFiles
                        | Setting::KafkaBrokers
                )
        };
        assert_eq!(listed(command, &short), uses.iter().filter(is_short).copied().collect(), "{command}:\n{short}");
        let has_more = short.lines().any(|line| line == "--help lists more settings.");
        assert_eq!(has_more, !uses.iter().all(|setting| is_short(&setting)), "{command}:\n{short}");
    }
}

#[test]
fn a_setting_that_a_command_does_not_use_is_refused() {
    for (command, needs, uses) in commands() {
        let has_flag = |setting: &&Setting| {
            setting.kind() != Kind::Secret && !uses.contains(*setting) && (command, **setting) != OWN_FLAG
        };
        for setting in Setting::ALL.iter().filter(has_flag) {
            let args = ["headroom"].into_iter().chain(command.split_whitespace()).chain(needs.iter().copied());
            let refused = Cli::parsed(args.chain([setting.flag(), "1"]).map(OsString::from)).err();
            let refused = refused.unwrap_or_else(|| panic!("{command} {}", setting.flag()));
            assert_eq!((refused.exit_code(), refused.use_stderr()), (2, true), "{refused}");
            assert_says(&refused.to_string(), &[&format!("unexpected argument '{}'", setting.flag())]);
        }
    }
}

#[test]
fn each_setting_is_described_with_its_default_and_its_variable() {
    let text = help("serve", "--help").split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in Setting::ALL.iter().filter(|setting| setting.kind() != Kind::Secret) {
        let doc = setting.doc();
        let default = setting.default().map(|default| format!("[default: {default}] ")).unwrap_or_default();
        assert_says(&text, &[&format!("{} {default}[env: {}]", &doc[1..], setting.variable())]);
        assert!(!doc.ends_with('.'), "{doc}");
    }
    assert_says(
        &text,
        &["HEADROOM_SINK_DATABASE_PASSWORD, HEADROOM_KAFKA_SASL_PASSWORD, HEADROOM_KAFKA_SSL_KEY_PASSWORD or \
           HEADROOM_REGISTRY_PASSWORD"],
    );
}

/// A newcomer's first page: commands and what the service itself needs, without the settings of a cluster.
#[test]
fn the_first_page_has_no_settings_of_a_cluster() {
    for text in [help("", "--help"), help("", "-h")] {
        assert!(listed("", &text).iter().all(|setting| setting.group() == Group::Process), "{text}");
        assert_says(
            &text,
            &["Without a command, headroom serves", "Exit codes: 0 fine", "  demo ", "--data-dir <DIR>"],
        );
        assert!(text.lines().all(|line| line.chars().count() <= 200), "{text}");
    }
}

/// Settings that the first page leaves out are taken there all the same.
#[test]
fn a_setting_of_a_cluster_is_taken_without_a_subcommand() {
    let ended = run(&mut headroom(["--kafka-brokers", "nowhere"]));
    assert_eq!(ended.code, 2);
    assert_says(&ended.err, &["flag --kafka-brokers: kafka_brokers = \"nowhere\" is not host:port"]);
}
