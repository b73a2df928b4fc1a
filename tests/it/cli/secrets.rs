//! Secrets that are planted wherever a secret can be, and looked for in everything that the program says.

use super::{assert_says, on};
use crate::authority::Authority;
use crate::http::client::Client;
use crate::http::disconnects::counted;
use crate::process::{ABORTED, Ended, Running, foreign_agent, headroom, run};
use crate::wait::until;
use headroom::access::AUDIT_LOG;
use headroom::config::{Config, FileText, Inputs, Kind, Setting};
use std::path::Path;

/// A part of every planted secret.
const MARK: &str = "planted-5ecret";

/// What follows it tells where it was planted.
fn planted(place: &str) -> String {
    format!("{MARK}-{place}")
}

#[track_caller]
fn keeps(said: &str, of: &str) {
    if let Some(at) = said.find(MARK) {
        let from = at.saturating_sub(200);
        panic!("{of} tells a secret: …{}", String::from_utf8_lossy(&said.as_bytes()[from..(at + 80).min(said.len())]));
    }
}

fn all(ended: &Ended) -> String {
    format!("{}{}", ended.out, ended.err)
}

fn secrets() -> impl Iterator<Item = Setting> {
    Setting::ALL.iter().copied().filter(|setting| setting.kind() == Kind::Secret)
}

/// A cluster that nobody serves. Its secrets come by the environment, and its key and certificate are files of the
/// directory.
fn configured(dir: &Path) {
    for file in ["key.pem", "cert.pem"] {
        let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", planted("file"));
        std::fs::write(dir.join(file), text).unwrap();
    }
    let file = |name: &str| format!("{:?}", dir.join(name));
    let settings = format!(
        r#"
        data_dir = {}
        log_level = "trace"
        kafka_brokers = "127.0.0.1:1"
        kafka_security_protocol = "sasl_ssl"
        kafka_sasl_mechanism = "PLAIN"
        kafka_sasl_username = "somebody"
        kafka_ssl_key = {}
        kafka_ssl_certificate = {}
        registry_url = "http://127.0.0.1:1"
        registry_username = "somebody"
        sink_database = "postgresql://somebody@127.0.0.1:1/analytics"
        "#,
        file("data"),
        file("key.pem"),
        file("cert.pem")
    );
    std::fs::write(dir.join("headroom.toml"), settings).unwrap();
}

/// All that a command says there.
fn told(dir: &Path, command: &[&str], more: &[&str]) -> String {
    let mut process = headroom([]);
    process.args(command).args(more).arg("--config").arg(dir.join("headroom.toml"));
    for setting in secrets() {
        process.env(setting.variable(), planted(setting.name()));
    }
    process.env("RUST_BACKTRACE", "1").env("SOMEBODY_S_TOKEN", planted("environment"));
    all(&run(&mut process))
}

#[test]
fn no_command_tells_a_secret_setting_of_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    configured(dir.path());
    let commands: [&[&str]; 7] = [
        &["config"],
        &["topics", "check"],
        &["topics", "acls"],
        &["schemas", "check"],
        &["cat"],
        &["sink", "plan"],
        &["support", "--out", "-"],
    ];
    for command in commands {
        let said = told(dir.path(), command, &[]);
        assert!(!said.contains("unexpected argument") && !said.contains("the configuration has"), "{said}");
        keeps(&said, command[0]);
    }
    // Each is refused while its settings are checked.
    for wrong in [["--kafka-security-protocol", "plaintext"], ["--kafka-replication", "none"], ["--roles", "none"]] {
        let said = told(dir.path(), &["config"], &wrong);
        assert!(said.contains("problem"), "{said}");
        keeps(&said, wrong[0]);
    }
}

#[test]
fn a_secret_at_a_wrong_place_of_the_configuration_is_not_repeated() {
    let with = |text: &str| {
        let file = FileText { path: "headroom.toml".to_owned(), text: text.to_owned() };
        Config::load(&Inputs { file: Some(file), ..Inputs::default() })
    };
    let (secret, brokers) = (planted("file"), "kafka_brokers = \"127.0.0.1:1\"\n");
    let mut cases = vec![
        format!("registry_url = \"http://somebody:{secret}@127.0.0.1:1\""),
        format!("registry_url = \"ftp://somebody:{secret}@127.0.0.1:1\""),
        format!("kafka_brokers = \"somebody:{secret}@127.0.0.1:1\""),
        format!("auth = \"oidc\"\noidc_audience = \"a\"\noidc_issuer = \"https://somebody:{secret}@127.0.0.1\""),
        format!(
            "auth = \"oidc\"\noidc_audience = \"a\"\noidc_issuer = \"https://a\"\noidc_keys = \"https://somebody:{secret}@a\""
        ),
        format!("otlp_endpoint = \"http://somebody:{secret}@127.0.0.1:4317\""),
        format!("otlp_endpoint = \"https://somebody:{secret}@127.0.0.1:4317\""),
        format!("registry_password = \"{secret}\n"),
        format!("registry_password = {secret}"),
        format!("listen = \"127.0.0.1:1\"\nregistry_password == \"{secret}\""),
    ];
    for setting in secrets() {
        cases.push(format!("{} = \"{secret}\"", setting.name()));
        cases.push(format!("{brokers}{} = \"{secret}\"", setting.name()));
        cases.push(format!("{} = [\"{secret}\"]", setting.name()));
        cases.push(format!("{}s = \"{secret}\"", setting.name()));
    }
    for text in cases {
        let problems = with(&text).unwrap_err();
        keeps(&format!("{problems}{problems:?}"), &text.replace(MARK, ""));
    }
    let mut file = format!("{brokers}kafka_security_protocol = \"sasl_plaintext\"\nkafka_sasl_mechanism = \"PLAIN\"\n");
    file +=
        "kafka_sasl_username = \"somebody\"\nregistry_url = \"http://127.0.0.1:1\"\nregistry_username = \"somebody\"\n";
    file += &format!("kafka_sasl_password = \"{secret}\"\nregistry_password = \"{secret}\"\n");
    let config = with(&file).unwrap();
    keeps(&format!("{config:?}{}", config.dump()), "the configuration");
}

#[test]
fn no_line_metric_or_page_of_a_server_tells_what_a_caller_has_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = super::calls_logged::json_lines(dir.path(), &["--access-log", "all", "--log-level", "trace"]);
    let agent = foreign_agent();
    let tokens = [
        format!("Bearer {}", planted("token")),
        format!("Bearer eyJhbGciOiJub25lIn0.{}.", planted("jwt")),
        format!("Basic {}", planted("basic")),
        planted("bare"),
    ];
    let paths = ["/v1/pools", "/v1/pools/none", "/nothing", "/internal/log", "/metrics", "/readyz", "/docs"];
    for (token, path) in tokens.iter().flat_map(|token| paths.map(|path| (token, path))) {
        let mut answer = agent.get(format!("{}{path}", server.url)).header("authorization", token).call().unwrap();
        let headers = format!("{:?}", answer.headers());
        keeps(&format!("{headers}{}", answer.body_mut().read_to_string().unwrap()), path);
    }
    // Whoever sends these reads them again in the answer, and nobody else does.
    let (secret, brought) = (planted("path"), planted("header"));
    for path in ["/nothing/", "/v1/pools/", "/v1/reservations/hr_", "/v1/pools?token=", "/v1/pools?limit="] {
        let get = agent.get(format!("{}{path}{secret}", server.url)).header("cookie", &brought);
        drop(get.header("x-api-key", &brought).header("idempotency-key", &brought).call().unwrap());
    }
    let post = |path: &str, body: String| {
        let post = agent.post(format!("{}{path}", server.url)).content_type("application/json");
        post.send(body).unwrap().status().as_u16()
    };
    assert_eq!(post("/v1/reservations", format!("{{\"pool\":\"{secret}\"")), 400);
    assert_eq!(post("/v1/reservations", format!("{{\"pool\":\"p\",\"{secret}\":1}}")), 400);
    assert_eq!(post("/internal/clock", format!("{{\"reason\":\"{secret}\"}}")), 400);
    for page in ["/metrics", "/readyz", "/livez", "/startupz", "/openapi.json"] {
        keeps(&agent.get(format!("{}{page}", server.url)).call().unwrap().body_mut().read_to_string().unwrap(), page);
    }
    let bundle = on(dir.path(), ["support", "--out", "-"]);
    assert_says(&bundle.out, &["== Last log lines", "headroom listens"]);
    keeps(&all(&bundle), "the support bundle");
    let ended = server.running.terminate();
    assert!(ended.err.contains("headroom::access_log"), "{}", ended.err);
    keeps(&all(&ended), "the server");
    keeps(&all(&on(dir.path(), ["verify"])), "verify");
}

#[test]
fn the_client_tells_neither_its_token_nor_a_password_of_its_url() {
    let password = planted("url");
    let urls = [
        "http://127.0.0.1:1".to_owned(),
        "https://127.0.0.1:1".to_owned(),
        "http://192.0.2.1".to_owned(),
        format!("https://somebody:{password}@127.0.0.1:1"),
        format!("ftp://somebody:{password}@127.0.0.1:1"),
        format!("somebody:{password}@127.0.0.1:1"),
    ];
    for (url, token) in
        urls.iter().flat_map(|url| [(url, planted("token")), (url, format!("{}\u{1}", planted("token")))])
    {
        let ended = run(headroom(["client", "--url", url, "pools", "get", "van-1"]).env("HEADROOM_TOKEN", token));
        assert!(ended.code == 2 && !ended.err.contains("Usage"), "{}{}", ended.out, ended.err);
        keeps(&all(&ended), url);
    }
}

/// The story: a shop's program tries what only planners may. The audit log names it, and no log has its token, a token
/// that nobody has, a JWT that no issuer made, or the token of local commands.
#[test]
fn a_caller_is_named_in_the_logs_and_its_token_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let made = on(dir.path(), ["tokens", "new", "shop", "--roles", "checkout"]);
    let token = made.out.trim_end().to_owned();
    let settings = ["--auth", "tokens", "--access-log", "all", "--log-level", "trace"];
    let server = super::calls_logged::json_lines(dir.path(), &settings);
    let local = std::fs::read_to_string(dir.path().join("server.token")).unwrap().trim_end().to_owned();
    let agent = foreign_agent();
    let put = |token: &str| {
        let put =
            agent.put(format!("{}/v1/pools/van-1", server.url)).header("authorization", format!("Bearer {token}"));
        let mut answer = put.content_type("application/json").send(r#"{"limits":{"orders":1}}"#).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    let strange = format!("{}{}", &token[..16], "0".repeat(token.len() - 16));
    let answers = [put(&token), put(&strange), put(&planted("token")), put(&format!("eyJhbGciOiJub25lIn0.{MARK}."))];
    assert_eq!(answers.each_ref().map(|(status, _)| *status), [403, 401, 401, 401]);
    let listed = on(dir.path(), ["tokens", "list"]);
    let verified = on(dir.path(), ["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    let ended = server.running.terminate();
    let act = ended.err.lines().find(|line| line.contains(AUDIT_LOG)).unwrap_or_else(|| panic!("{}", ended.err));
    assert_says(act, &[r#""principal":"shop""#, r#""operation":"define_pool""#, r#""outcome":"forbidden""#]);
    let trace_id = &act[act.find(r#""trace_id":""#).expect("the line names the call")..][..46];
    let calls = ended.err.lines().filter(|line| line.contains("headroom::access_log"));
    let calls = calls.filter(|line| line.contains(r#""principal":"shop""#) && line.contains(r#""status":403"#));
    assert!(calls.clone().any(|line| line.contains(trace_id)), "{}", ended.err);
    let told = answers.map(|(_, body)| body).concat();
    let said = [made.err, all(&listed), all(&verified), all(&ended), told, all(&on(dir.path(), ["config"]))].concat();
    keeps(&said, "a server with tokens");
    for secret in [&token[16..], &strange[16..], &local[16..]] {
        assert!(!said.contains(secret), "a secret is told: {said}");
    }
}

/// The story: the key of the certificate is read at the start and whenever it changes, and a broken one is complained of.
#[test]
fn nothing_tells_the_private_key_of_a_server() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.sign("server", 2100);
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    let secret = std::fs::read_to_string(&key).unwrap();
    let secret = secret.lines().filter(|line| !line.starts_with("-----")).map(|line| &line[..16]);
    let with = |command: &str| {
        let mut command = headroom([command, "--listen", "127.0.0.1:0", "--partitions", "1", "--log-level", "trace"]);
        command.arg("--data-dir").arg(dir.path()).arg("--tls-certificate").arg(&certificate).arg("--tls-key").arg(&key);
        command
    };
    let mut running = Running::start(with("serve").args(["--access-log", "all"]).env("RUST_BACKTRACE", "1"));
    let line = running.line();
    let address = line.rsplit('/').next().unwrap().parse().unwrap();
    let mut said = line;
    let tls = authority.client(None);
    let client = || Client::secure(address, &tls).unwrap();
    until("the server is ready", || client().get("/readyz").status == 200);
    for page in ["/metrics", "/readyz", "/startupz", "/openapi.json", "/nothing", "/internal/log"] {
        said += &client().get(page).body;
    }
    let ended = [on(dir.path(), ["verify"]), on(dir.path(), ["cat"]), run(&mut with("config"))];
    assert_eq!(ended.each_ref().map(|ended| ended.code), [0; 3]);
    ended.iter().for_each(|ended| said += &all(ended));
    let broken = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", planted("key"));
    std::fs::write(&key, broken).unwrap();
    let failed = "headroom_tls_reloads_total{result=\"failed\"}";
    until("the broken key is refused", || counted(&mut client(), failed) == 1);
    said += &all(&running.terminate());
    let refused = run(&mut with("serve"));
    assert_eq!(refused.code, 2, "{}", refused.err);
    said += &all(&refused);
    keeps(&said, "a server with TLS");
    for part in secret {
        assert!(!said.contains(part), "a part of the key is told: {said}");
    }
}

/// The story: something panics that has a secret in its hands, and the reason of the panic quotes it. Here that is a task of
/// the start, which may block, an asynchronous one, and a thread.
#[test]
fn the_reason_of_a_panic_is_told_without_what_it_quotes() {
    if !cfg!(feature = "crash-points") {
        return;
    }
    for name in ["opening", "deadlines", "checkpoints"] {
        let dir = tempfile::tempdir().unwrap();
        let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--log-level", "trace", "--data-dir"]);
        serve.arg(dir.path()).env("RUST_BACKTRACE", "1");
        let ended = run(serve.env("HEADROOM_CRASH_AT", format!("panic:{name}:{}", planted("panic"))));
        assert_eq!(ended.code, ABORTED, "{name}: {}", ended.err);
        assert_says(&ended.err, &[&format!("panicked: planted in {name} by …"), "src/threads.rs"]);
        keeps(&all(&ended), name);
    }
}
