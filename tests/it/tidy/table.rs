//! The tables. A change of the map is a change here and in `src/ARCHITECTURE.md`, in one commit.

/// Longest source file.
pub(super) const FILE_LINES_MAX: usize = 600;

/// What may be visible at the top of the tree. Everything else there is a dotfile.
pub(super) const TOP: &[&str] =
    &["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "loadtest", "schemas", "src", "tests", "topics"];

/// A part of `src` and the other parts it may use.
pub(super) struct Room {
    /// Its path from the crate's root; files below it belong to it unless a longer path is a room.
    pub(super) path: &'static str,
    /// The rooms it may use; `*` is all of them.
    pub(super) may_use: &'static [&'static str],
    /// What it may not use even so.
    pub(super) except: &'static [&'static str],
    /// What it is, which is why.
    pub(super) reason: &'static str,
}

const fn room(path: &'static str, may_use: &'static [&'static str], reason: &'static str) -> Room {
    Room { path, may_use, except: &[], reason }
}

/// Bottom up. `log` and `store` are the trait files: their implementations are rooms of their own, so that to be
/// allowed the one is not to be allowed the other.
#[rustfmt::skip]
pub(super) const ROOMS: &[Room] = &[
    room("lib", &["*"], "the list of modules"),
    room("limits", &[], "bounds know nothing"),
    room("threads", &[], "watches whoever runs until the end, and knows none of them"),
    room("time", &["domain", "limits"], "the clock"),
    room("domain", &["limits"], "pure: values in, values out"),
    room("access", &["domain", "limits", "time"], "who calls, whatever the protocol"),
    room("trace", &["domain", "limits"], "which trace a call belongs to; passed on by every room that does a part of it"),
    room("log", &["trace", "domain", "limits", "time"], "what a log owes, whatever it is"),
    room("store", &["domain", "limits", "time"], "what a store owes, whatever it is"),
    room("wire", &["domain", "limits", "log", "store", "time"], "bytes and values, and nothing that happens"),
    room("log::embedded", &["trace", "log", "wire", "domain", "limits", "time"], "an adapter knows its trait"),
    room("log::kafka", &["trace", "log", "wire", "domain", "limits", "threads", "time"], "an adapter knows its trait"),
    room("store::sled", &["store", "wire", "domain", "limits", "time"], "an adapter knows its trait"),
    room("replica", &["domain", "wire", "log", "store", "limits", "time"], "the fold, fed by whoever holds the events"),
    room("owner", &["trace", "replica", "domain", "wire", "log", "store", "limits", "time"], "decides for any log and store"),
    room("gateway", &["trace", "replica", "domain", "wire", "log", "limits", "time"], "asks and answers, over any log"),
    room("service", &["access", "gateway", "replica", "trace", "domain", "log", "limits", "time"],
        "the use cases, for every edge"),
    Room {
        path: "audit",
        may_use: &["domain", "wire", "log", "limits"],
        except: &["domain::decide", "domain::evolve"],
        reason: "a second model, which must not share the first one's mistakes",
    },
    room("tls", &["config", "limits"], "certificates, for who serves and who calls"),
    room("telemetry", &["threads", "access", "trace", "api", "config", "gateway", "owner", "replica", "service", "log",
        "domain", "limits", "time"],
        "names of metrics and spans; listens to what others report"),
    room("config", &["access", "domain", "limits"], "raw values to checked ones"),
    room("api", &["access", "service", "tls", "trace", "domain", "log", "limits", "time", "config"],
        "speaks a protocol for the service, decides nothing; of the log only how far its opening is"),
    Room {
        path: "app",
        may_use: &["*"],
        except: &["client", "cmd"],
        reason: "composes what runs for real, and is called by the commands",
    },
    room("client", &["audit", "domain", "wire", "log", "limits", "tls"], "calls a server over HTTP, as any caller does"),
    room("cmd", &["app", "client", "config", "audit", "owner", "replica", "domain", "wire", "log", "log::embedded",
        "log::kafka", "store", "store::sled", "limits", "time", "api", "telemetry", "access", "tls"], "the command line"),
    room("main", &["*"], "a recipe"),
];

/// Names and the rooms they are bound to, or kept out of.
pub(super) struct Bound {
    /// Crates, or modules of `std`.
    pub(super) names: &'static [&'static str],
    /// Rooms or files.
    pub(super) rooms: &'static [&'static str],
    /// The reason that a finding gives.
    pub(super) reason: &'static str,
}

/// Crates, and adapters of our own, that may be used in these rooms or files and nowhere else.
#[rustfmt::skip]
pub(super) const CRATES: &[Bound] = &[
    Bound { names: &["rdkafka", "schema_registry_converter"], rooms: &["log::kafka"], reason: "one log of several" },
    Bound { names: &["crate::log::kafka"],
        rooms: &["log::kafka", "app::kafka", "app::start_error", "cmd::commands", "cmd::schemas", "cmd::shared::source",
            "cmd::topics"],
        reason: "one composition file opens a log, and what looks after topics, schemas and commands is of one log; \
                 everything else sees traits" },
    Bound { names: &["crate::log::embedded"],
        rooms: &["log::embedded", "app::embedded", "app::start_error", "app::witness", "cmd::dead_letters", "cmd::log",
            "cmd::shared::source", "cmd::verify"],
        reason: "one composition file opens a log, and what looks after a file is of one log; everything else sees traits" },
    Bound { names: &["reqwest"], rooms: &["access::oidc::issuer", "client::remote", "log::kafka::schema::registry"],
        reason: "HTTP that is not the API's: one file asks for keys, one for schemas, and one calls servers elsewhere" },
    Bound { names: &["jsonwebtoken", "ring", "x509_parser", "subtle"], rooms: &["access"],
        reason: "who calls is proven in one place" },
    Bound { names: &["unicode_normalization", "unicode_properties"], rooms: &["domain::name"],
        reason: "one place says what a name is, and whoever decides says it" },
    Bound { names: &["governor"], rooms: &["service::quota"], reason: "one place counts calls" },
    Bound { names: &["imbl"], rooms: &["replica"], reason: "what readers share with the owner is kept in one place" },
    Bound { names: &["redb"], rooms: &["log::embedded"], reason: "one log of several" },
    Bound { names: &["sled"], rooms: &["store::sled"], reason: "disposable, so it must be replaceable" },
    Bound { names: &["axum", "tower", "utoipa", "utoipa_swagger_ui"],
        rooms: &["api"], reason: "how callers are spoken to is the API's business" },
    Bound { names: &["hyper", "hyper_util", "http_body_util"], rooms: &["api", "client"],
        reason: "HTTP is spoken by who serves it and by the tools that call it" },
    Bound { names: &["socket2"], rooms: &["api"], reason: "what tokio leaves out of a socket, for who accepts them" },
    Bound { names: &["rustix"], rooms: &["app::files", "cmd"], reason: "what a process asks of its system" },
    Bound { names: &["tokio"],
        rooms: &["api", "service", "gateway::service", "app", "client", "cmd", "main", "log::kafka::schema::registry"],
        reason: "deciding is synchronous" },
    Bound { names: &["apache_avro"], rooms: &["wire"], reason: "bytes have one owner" },
    Bound { names: &["opentelemetry", "opentelemetry_sdk"], rooms: &["telemetry", "trace"],
        reason: "one type holds the place of a call in its trace, and one room exports" },
    Bound { names: &["opentelemetry_otlp"], rooms: &["telemetry"], reason: "one place says where spans go" },
    Bound { names: &["rustls"], rooms: &["tls", "client"], reason: "one place says what TLS is spoken, and to whom" },
    Bound { names: &["tokio_rustls"], rooms: &["api", "client"], reason: "TLS is spoken by who speaks HTTP" },
    Bound { names: &["prometheus"], rooms: &["telemetry"], reason: "every name of a metric in one place" },
    Bound { names: &["tracing_subscriber"], rooms: &["telemetry"], reason: "one place says where logs go" },
    Bound { names: &["clap", "indicatif"], rooms: &["cmd", "config", "main"], reason: "only commands talk to a terminal" },
    Bound { names: &["serde_norway"], rooms: &["log::kafka::ops::topics"], reason: "one place reads what topics declare" },
    Bound { names: &["toml"], rooms: &["config"], reason: "one place reads configuration" },
    Bound { names: &["mimalloc"], rooms: &["main"], reason: "a binary chooses its allocator" },
    Bound { names: &["rand"], rooms: &["app", "cmd", "log::embedded"], reason: "randomness is an argument" },
];

/// Anywhere but there.
#[rustfmt::skip]
pub(super) const NOT_IN: &[Bound] = &[
    Bound { names: &["serde", "serde_json", "sha2", "blake3", "jiff", "tracing", "hashbrown"], rooms: &["domain"],
        reason: "no third-party code in what decides" },
    Bound { names: &["parking_lot", "crossbeam_channel", "std::sync::Mutex", "std::sync::RwLock", "std::sync::mpsc"],
        rooms: &["domain", "wire"], reason: "one thread at a time, by construction" },
    Bound { names: &["std::net", "std::fs", "std::thread", "std::process", "std::env"],
        rooms: &["domain", "wire", "owner::partition", "gateway::correlator", "replica", "audit"],
        reason: "sans-IO: inputs are values, outputs are values" },
];

/// Where a word is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// In code, not in comments or strings.
    Code,
    /// In the whole text, comments and strings included.
    Text,
}

/// What must not be written.
pub(super) struct Word {
    /// The word; where it begins and ends with letters, only as a whole one.
    pub(super) text: &'static str,
    /// Where in a file.
    pub(super) of: Of,
    /// In which files.
    pub(super) applies: fn(&str) -> bool,
    /// The reason that a finding gives.
    pub(super) reason: &'static str,
}

const fn word(text: &'static str, of: Of, applies: fn(&str) -> bool, reason: &'static str) -> Word {
    Word { text, of, applies, reason }
}

fn rust(file: &str) -> bool {
    file.ends_with(".rs")
}

/// Lock files hold checksums, in which any letters may meet.
fn written(file: &str) -> bool {
    !file.ends_with(".lock")
}

fn source(file: &str) -> bool {
    file.starts_with("src/") && file != "src/threads.rs"
}

/// `time` is the room that says how a thread waits.
fn not_time(file: &str) -> bool {
    rust(file) && !file.starts_with("src/time/")
}

/// Words that must not be written, each with its files and its reason.
pub(super) const WORDS: &[Word] = &[
    word("todo!", Of::Code, rust, "unfinished"),
    word("unimplemented!", Of::Code, rust, "unfinished"),
    word("dbg!", Of::Code, rust, "left behind"),
    word("#[ignore", Of::Code, rust, "a test that does not run proves nothing"),
    word(
        "thread::spawn",
        Of::Code,
        source,
        "crate::threads starts threads: a panic that nobody sees takes a part away",
    ),
    word(
        "thread::Builder",
        Of::Code,
        source,
        "crate::threads starts threads: a panic that nobody sees takes a part away",
    ),
    word("FIXME", Of::Text, written, "unfinished"),
    word("TODO", Of::Text, written, "unfinished"),
    word("XXX", Of::Text, written, "unfinished"),
    word("thread::sleep", Of::Code, not_time, "wait on a condition with a limit; time::pause is between two looks"),
    word("time::sleep", Of::Code, not_time, "wait on a condition with a limit; sleep_until names a moment"),
    word("park_timeout", Of::Code, not_time, "it may end early: time::pause goes on to its end"),
];
