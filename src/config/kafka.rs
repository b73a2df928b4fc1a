//! The settings of a log on a Kafka cluster, and the checks of those that depend on each other.

use super::snapshots::{self, Snapshots};
use super::{Checking, EventsKeep, Setting, number};
use crate::limits::{REGISTRY_TIMEOUT_MAX_MS, REGISTRY_TIMEOUT_MIN_MS, REPLICATION_MAX};
use std::collections::BTreeMap;
use std::fmt;

/// A text that must never be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text that was set as a secret.
    pub(super) fn of(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    /// The text itself, for the client that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Checked settings of a log on a Kafka cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kafka {
    /// The bootstrap servers: `host:port`, separated by commas.
    pub brokers: String,
    /// Security protocol, SASL and TLS, as properties of librdkafka.
    pub security: BTreeMap<&'static str, Secret>,
    /// The id that the cluster must have; `None` for the id seen at the first start on this data directory.
    pub cluster_id: Option<String>,
    /// The lowest replication factor that a topic may have.
    pub replication: u16,
    /// The lowest `min.insync.replicas` that a topic may have; at most [`Kafka::replication`].
    pub min_in_sync: u16,
    /// How long events are kept; `None` for ever.
    pub events_keep: Option<EventsKeep>,
    /// Whether two transactional producers take turns on a partition.
    pub alternating_producers: bool,
    /// The prefix of client ids and user names. The log's manifest pins it.
    pub application: String,
    /// The environment of the log, such as `prod`. The log's manifest pins it.
    pub environment: String,
    /// The roles of this process.
    pub roles: Roles,
    /// The names of the topics, all different.
    pub topics: TopicNames,
    /// The schema registry; `None` when records carry fingerprints of schemas.
    pub registry: Option<Registry>,
}

/// The roles of a process on a cluster. At least one is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roles {
    /// Takes calls over HTTP.
    pub gateway: bool,
    /// Owns partitions and decides their commands.
    pub owner: bool,
}

/// The names of the topics of one log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicNames {
    /// The topic of commands.
    pub commands: String,
    /// The topic of events.
    pub events: String,
    /// The topic of replies.
    pub replies: String,
    /// The topic of dead letters.
    pub dead_letters: String,
    /// The topic of the manifest.
    pub manifest: String,
}

/// The connection to a schema registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registry {
    /// The base URL, without a slash at its end.
    pub url: String,
    /// The timeout of a request, in milliseconds.
    pub timeout_ms: u64,
    /// User name and password for HTTP basic authentication.
    pub user: Option<(String, Secret)>,
}

/// Most brokers in the list. A client learns of the others from those that it reaches.
const BROKERS_MAX: usize = 64;
/// Longest name of a topic that Kafka allows, in bytes.
const TOPIC_BYTES_MAX: usize = 249;
/// Longest name of an application or an environment, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The settings of the cluster; `None` without brokers, or when a problem was noted.
pub(super) fn check(checking: &mut Checking<'_>, snapshots: Option<&Snapshots>) -> Option<Kafka> {
    let brokers = checking.optional(Setting::KafkaBrokers, brokers);
    let security = security(checking);
    let cluster_id = checking.optional(Setting::KafkaClusterId, |text| word(text, TOPIC_BYTES_MAX, "-_"));
    let copies = copies(checking);
    let events_keep = snapshots::events_kept(checking, Setting::KafkaEventsKeep, snapshots);
    let alternating = checking.setting(Setting::KafkaAlternatingProducers, |text| one_of(text, &["true", "false"]));
    let application = checking.setting(Setting::Application, name);
    let environment = checking.setting(Setting::Environment, name);
    let roles = checking.setting(Setting::Roles, roles);
    let topics = topics(checking);
    let registry = registry(checking);
    if !checking.is_given(Setting::KafkaBrokers) {
        for setting in Setting::ALL.iter().filter(|setting| setting.is_of_kafka()) {
            // Application and environment only name the deployment, which may have an embedded log.
            if !matches!(setting, Setting::Application | Setting::Environment) && checking.is_changed(*setting) {
                checking.clash(*setting, "is set without kafka_brokers, and the embedded log does not use it");
            }
        }
        return None;
    }
    let (replication, min_in_sync) = copies?;
    Some(Kafka {
        brokers: brokers?,
        security: security?,
        cluster_id,
        replication,
        min_in_sync,
        events_keep: events_keep?,
        alternating_producers: alternating? == "true",
        application: application?,
        environment: environment?,
        roles: roles?,
        topics: topics?,
        registry,
    })
}

/// The client's security properties, after a check that the settings match the security protocol.
fn security(checking: &mut Checking<'_>) -> Option<BTreeMap<&'static str, Secret>> {
    let protocol = checking.setting(Setting::KafkaSecurityProtocol, |text| {
        one_of(text, &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])
    });
    let mechanism = checking
        .optional(Setting::KafkaSaslMechanism, |text| one_of(text, &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]));
    let sasl = [
        ("sasl.mechanism", Setting::KafkaSaslMechanism, mechanism),
        ("sasl.username", Setting::KafkaSaslUsername, checking.optional(Setting::KafkaSaslUsername, filled)),
        ("sasl.password", Setting::KafkaSaslPassword, checking.optional(Setting::KafkaSaslPassword, filled)),
    ];
    let ssl = [
        ("ssl.ca.location", Setting::KafkaSslCa, checking.optional(Setting::KafkaSslCa, filled)),
        (
            "ssl.certificate.location",
            Setting::KafkaSslCertificate,
            checking.optional(Setting::KafkaSslCertificate, filled),
        ),
        ("ssl.key.location", Setting::KafkaSslKey, checking.optional(Setting::KafkaSslKey, filled)),
        ("ssl.key.password", Setting::KafkaSslKeyPassword, checking.optional(Setting::KafkaSslKeyPassword, filled)),
    ];
    let protocol = protocol?;
    for (_, setting, _) in &sasl {
        match (protocol.starts_with("sasl"), checking.is_given(*setting)) {
            (true, false) => checking.missing(Setting::KafkaSecurityProtocol, &protocol, *setting),
            (false, true) => checking.unused(*setting, "kafka_security_protocol = sasl_plaintext or sasl_ssl"),
            _ => {}
        }
    }
    for (_, setting, _) in &ssl {
        if !protocol.ends_with("ssl") {
            checking.unused(*setting, "kafka_security_protocol = ssl or sasl_ssl");
        }
    }
    for (setting, other) in [
        (Setting::KafkaSslCertificate, Setting::KafkaSslKey),
        (Setting::KafkaSslKey, Setting::KafkaSslCertificate),
        (Setting::KafkaSslKeyPassword, Setting::KafkaSslKey),
    ] {
        checking.together(setting, other);
    }
    let given = sasl.into_iter().chain(ssl).filter_map(|(property, _, value)| Some((property, Secret(value?))));
    Some(given.chain([("security.protocol", Secret(protocol))]).collect())
}

/// Replication factor and `min.insync.replicas`.
fn copies(checking: &mut Checking<'_>) -> Option<(u16, u16)> {
    let replication = checking.setting(Setting::KafkaReplication, |text| number(text, 1..=REPLICATION_MAX));
    let min_in_sync = checking.setting(Setting::KafkaMinInSync, |text| number(text, 1..=REPLICATION_MAX));
    let (replication, min_in_sync) = (replication?, min_in_sync?);
    if min_in_sync > replication {
        let what =
            format!("= {min_in_sync} is more than kafka_replication = {replication}: no record could be written");
        checking.clash(Setting::KafkaMinInSync, what);
    }
    Some((replication, min_in_sync))
}

fn topics(checking: &mut Checking<'_>) -> Option<TopicNames> {
    let mut seen: BTreeMap<String, Setting> = BTreeMap::new();
    let mut topic = |setting: Setting| {
        let name = checking.setting(setting, topic)?;
        if let Some(other) = seen.insert(name.clone(), setting) {
            checking.clash(setting, format_args!("= {name} is already the name of {}", other.name()));
        }
        Some(name)
    };
    let names = [
        topic(Setting::TopicCommands),
        topic(Setting::TopicEvents),
        topic(Setting::TopicReplies),
        topic(Setting::TopicDeadLetters),
        topic(Setting::TopicManifest),
    ];
    let [commands, events, replies, dead_letters, manifest] = names;
    Some(TopicNames {
        commands: commands?,
        events: events?,
        replies: replies?,
        dead_letters: dead_letters?,
        manifest: manifest?,
    })
}

fn registry(checking: &mut Checking<'_>) -> Option<Registry> {
    let url = checking.optional(Setting::RegistryUrl, url);
    if url.as_deref().is_some_and(is_with_user) {
        // The message leaves the URL out, because it may hold a password.
        checking.clash(Setting::RegistryUrl, "holds a user name: set registry_username and registry_password instead");
    }
    let range = REGISTRY_TIMEOUT_MIN_MS..=REGISTRY_TIMEOUT_MAX_MS;
    let timeout_ms = checking.setting(Setting::RegistryTimeoutMs, |text| number(text, range.clone()));
    let username = checking.optional(Setting::RegistryUsername, filled);
    let password = checking.optional(Setting::RegistryPassword, filled);
    checking.together(Setting::RegistryUsername, Setting::RegistryUrl);
    checking.together(Setting::RegistryUsername, Setting::RegistryPassword);
    checking.together(Setting::RegistryPassword, Setting::RegistryUsername);
    let user = username.zip(password.map(Secret));
    Some(Registry { url: url?, timeout_ms: timeout_ms?, user })
}

impl Checking<'_> {
    /// Notes that this value of a setting needs another setting.
    fn missing(&mut self, setting: Setting, value: &str, other: Setting) {
        self.clash(setting, format_args!("= {value} needs {}, which is not set", other.name()));
    }

    /// Notes that a setting is set and has no effect.
    fn unused(&mut self, setting: Setting, without: &str) {
        self.clash(setting, format_args!("has an effect only with {without}"));
    }

    /// Notes a problem when `setting` is set and `other` is not.
    fn together(&mut self, setting: Setting, other: Setting) {
        if !self.is_given(other) {
            self.clash(setting, format_args!("needs {}, which is not set", other.name()));
        }
    }
}

fn one_of(text: &str, choices: &[&str]) -> Result<String, String> {
    let chosen = choices.iter().find(|choice| choice.eq_ignore_ascii_case(text));
    chosen.map(|choice| (*choice).to_owned()).ok_or_else(|| format!("is not one of {}", choices.join(", ")))
}

fn filled(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn brokers(text: &str) -> Result<String, String> {
    let is_broker = |broker: &str| {
        broker.trim().rsplit_once(':').is_some_and(|(host, port)| {
            let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'@');
            is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    let brokers: Vec<&str> = text.split(',').map(str::trim).collect();
    if brokers.len() > BROKERS_MAX || !brokers.iter().all(|broker| is_broker(broker)) {
        return Err(format!("is not host:port, or up to {BROKERS_MAX} of them separated by commas"));
    }
    Ok(brokers.join(","))
}

/// Accepts letters, digits and the characters in `others`.
fn word(text: &str, bytes_max: usize, others: &str) -> Result<String, String> {
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c));
    if is_word && text.len() <= bytes_max {
        return Ok(text.to_owned());
    }
    let others: Vec<String> = others.chars().map(String::from).collect();
    Err(format!("is not 1 to {bytes_max} letters, digits and any of {}", others.join(" ")))
}

/// Accepts no dots: a dot ends the prefix in client ids.
fn name(text: &str) -> Result<String, String> {
    word(text, NAME_BYTES_MAX, "-_")
}

fn topic(text: &str) -> Result<String, String> {
    match text {
        "." | ".." => Err("is not a name that Kafka allows".to_owned()),
        _ => word(text, TOPIC_BYTES_MAX, "-_."),
    }
}

fn roles(text: &str) -> Result<Roles, String> {
    let mut roles = Roles { gateway: false, owner: false };
    for role in text.split(',') {
        match role.trim() {
            "gateway" => roles.gateway = true,
            "owner" => roles.owner = true,
            _ => return Err("is not gateway, owner, or gateway,owner".to_owned()),
        }
    }
    Ok(roles)
}

fn url(text: &str) -> Result<String, String> {
    let is_url = is_with_user(text)
        || text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"))
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()));
    if is_url {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err("is not a URL such as http://registry:8081".to_owned())
}

fn is_with_user(url: &str) -> bool {
    url.contains('@')
}

#[cfg(test)]
mod tests {
    use super::super::{Config, FileText, Inputs, Problems};
    use super::*;

    fn of(text: &str) -> Inputs {
        let file = FileText { path: "headroom.toml".to_owned(), text: text.to_owned() };
        let read_secret = |path: &str| match path {
            "/secrets/kafka" => Ok("of-file\r\n".to_owned()),
            _ => Err("cannot be read: there is none".to_owned()),
        };
        Inputs { file: Some(file), read_secret, ..Inputs::default() }
    }

    fn load(text: &str) -> Result<Config, Problems> {
        Config::load(&of(text))
    }

    fn kafka(text: &str) -> Kafka {
        load(&format!("kafka_brokers = \"k:9092\"\n{text}")).unwrap().kafka.unwrap()
    }

    const SASL: &str = r#"
        kafka_brokers = "k1:9092, [::1]:9092"
        kafka_security_protocol = "SASL_SSL"
        kafka_sasl_mechanism = "scram-sha-512"
        kafka_sasl_username = "headroom"
        kafka_ssl_ca = "/ca.pem"
        kafka_ssl_certificate = "/own.pem"
        kafka_ssl_key = "/own.key"
        registry_url = "https://registry:8081/apis/ccompat/v7/"
        registry_username = "reader""#;

    #[test]
    fn without_brokers_the_log_is_embedded() {
        assert_eq!(Config::load(&Inputs::default()).unwrap().kafka, None);
        assert_eq!(load("environment = \"prod\"\nroles = \"gateway,owner\"").unwrap().kafka, None);
    }

    #[test]
    fn brokers_are_enough() {
        let kafka = kafka("");
        assert_eq!(kafka.security["security.protocol"].expose(), "plaintext");
        assert_eq!((kafka.replication, kafka.min_in_sync), (3, 2));
        assert_eq!((&*kafka.application, &*kafka.environment), ("headroom", "dev"));
        assert_eq!(kafka.roles, Roles { gateway: true, owner: true });
        assert!(kafka.alternating_producers);
        assert_eq!((&*kafka.topics.events, &*kafka.topics.dead_letters), ("headroom.events", "headroom.dead-letters"));
        assert_eq!((kafka.registry, kafka.cluster_id, kafka.security.len()), (None, None, 1));
    }

    #[test]
    fn security_settings_become_properties_of_the_client() {
        let mut inputs = of(&format!("{SASL}\nkafka_sasl_password_file = \"/secrets/kafka\""));
        inputs.env.insert("HEADROOM_REGISTRY_PASSWORD".to_owned(), "of-env".to_owned());
        let kafka = Config::load(&inputs).unwrap().kafka.unwrap();
        assert_eq!(kafka.brokers, "k1:9092,[::1]:9092");
        let properties: Vec<(&str, &str)> =
            kafka.security.iter().map(|(name, value)| (*name, value.expose())).collect();
        let expected = [
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.password", "of-file"),
            ("sasl.username", "headroom"),
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", "/ca.pem"),
            ("ssl.certificate.location", "/own.pem"),
            ("ssl.key.location", "/own.key"),
        ];
        assert_eq!(properties, expected);
        let registry = kafka.registry.unwrap();
        assert_eq!((&*registry.url, registry.timeout_ms), ("https://registry:8081/apis/ccompat/v7", 2_000));
        assert_eq!(registry.user, Some(("reader".to_owned(), Secret("of-env".to_owned()))));
    }

    #[test]
    fn secrets_are_never_printed() {
        let secrets = "kafka_sasl_password = \"hush-1\"\nkafka_ssl_key_password = \"hush-2\"";
        let inputs = of(&format!("{SASL}\n{secrets}\nregistry_password = \"hush-3\""));
        let config = Config::load(&inputs).unwrap();
        let dump = config.dump();
        assert!(dump.contains("\n# kafka_sasl_password = (secret) # file headroom.toml\n"), "{dump}");
        let bad = load(&format!("{SASL}\n{secrets}\nregistry_password = \"\"\nroles = \"hush\"")).unwrap_err();
        assert!(bad.to_string().contains("registry_password = (secret) is empty"), "{bad}");
        for told in [dump, format!("{config:?}"), format!("{:?}", config.kafka)] {
            assert!(!told.contains("hush"), "{told}");
        }
    }

    #[test]
    fn a_dump_with_its_secrets_given_again_means_the_same() {
        let with_file =
            of(&format!("{SASL}\nkafka_sasl_password_file = \"/secrets/kafka\"\nregistry_password = \"p\""));
        let config = Config::load(&with_file).unwrap();
        let mut again = of(&config.dump());
        let missing = Config::load(&again).unwrap_err().to_string();
        assert!(missing.contains("registry_username needs registry_password, which is not set"), "{missing}");
        again.env.insert("HEADROOM_REGISTRY_PASSWORD".to_owned(), "p".to_owned());
        assert_eq!(Config::load(&again).unwrap().kafka, config.kafka);
    }

    #[test]
    fn every_problem_of_a_cluster_is_reported() {
        let problems = load(
            r#"
            kafka_brokers = "broker"
            kafka_security_protocol = "sasl_plaintext"
            kafka_sasl_mechanism = "GSSAPI"
            kafka_sasl_password_file = "/none"
            kafka_ssl_key = "/own.key"
            kafka_replication = 1
            environment = "a.b"
            roles = "gateway,boss"
            registry_url = "http://me:secret@registry"
            registry_timeout_ms = 5
            registry_username = "me"
            topic_events = "headroom.commands"
            topic_replies = "a b""#,
        );
        let expected = "the configuration has 14 problems
  file headroom.toml: kafka_sasl_password_file = \"/none\" cannot be read: there is none
  file headroom.toml: kafka_brokers = \"broker\" is not host:port, or up to 64 of them separated by commas
  file headroom.toml: kafka_sasl_mechanism = \"GSSAPI\" is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
  file headroom.toml: kafka_security_protocol = sasl_plaintext needs kafka_sasl_username, which is not set
  file headroom.toml: kafka_ssl_key has an effect only with kafka_security_protocol = ssl or sasl_ssl
  file headroom.toml: kafka_ssl_key needs kafka_ssl_certificate, which is not set
  default: kafka_min_in_sync = 2 is more than kafka_replication = 1: no record could be written
  file headroom.toml: environment = \"a.b\" is not 1 to 64 letters, digits and any of - _
  file headroom.toml: roles = \"gateway,boss\" is not gateway, owner, or gateway,owner
  file headroom.toml: topic_events = headroom.commands is already the name of topic_commands
  file headroom.toml: topic_replies = \"a b\" is not 1 to 249 letters, digits and any of - _ .
  file headroom.toml: registry_url holds a user name: set registry_username and registry_password instead
  file headroom.toml: registry_timeout_ms = \"5\" is not a whole number from 50 to 10000
  file headroom.toml: registry_username needs registry_password, which is not set";
        assert_eq!(problems.unwrap_err().to_string(), expected);
    }

    #[test]
    fn settings_that_nothing_uses_are_problems() {
        let text = "kafka_replication = 1\nroles = \"owner\"\nregistry_url = \"http://r\"\ntopic_events = \"e\"";
        let problems = load(text).unwrap_err().to_string();
        for setting in ["kafka_replication", "roles", "registry_url", "topic_events"] {
            let expected = format!("{setting} is set without kafka_brokers, and the embedded log does not use it");
            assert!(problems.contains(&expected), "{problems}");
        }
        let both = of(&format!("{SASL}\nkafka_sasl_password = \"p\"\nkafka_sasl_password_file = \"/secrets/kafka\""));
        let problems = Config::load(&both).unwrap_err().to_string();
        let expected = "kafka_sasl_password_file is set, and kafka_sasl_password is set as well, by file \
            headroom.toml: set only one of them";
        assert!(problems.contains(expected), "{problems}");
        let unused = "kafka_brokers = \"k:1\"\nkafka_sasl_username = \"me\"";
        let problems = load(unused).unwrap_err().to_string();
        assert!(
            problems.contains("kafka_sasl_username has an effect only with kafka_security_protocol = sasl_"),
            "{problems}"
        );
    }
}
