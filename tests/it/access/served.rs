//! The commands that look after tokens, and a server that reads what they write.

use super::issuer::{Key, Publisher};
use super::jwt::claims;
use crate::cli::{assert_says, on};
use crate::process::{Ended, Running, Served, agent, closed, headroom, run};
use crate::wait::until;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A token that was made with these arguments.
fn new(dir: &Path, args: &[&str]) -> String {
    let ended = run(headroom(["tokens", "new"]).args(args).arg("--data-dir").arg(dir));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let token = ended.out.trim_end().to_owned();
    // The audit log names who has which roles, and not the token.
    assert_says(&ended.err, &["tokens new", args[0]]);
    assert!(!ended.err.contains(&token[16..]), "{}", ended.err);
    token
}

fn serve(dir: &Path) -> Served {
    Served::start(headroom(["--listen", "127.0.0.1:0", "--partitions", "1", "--auth", "tokens", "--data-dir"]).arg(dir))
}

fn status(served: &Served, path: &str, authorization: Option<&str>) -> u16 {
    let mut request = agent().get(format!("{}{path}", served.url));
    if let Some(token) = authorization {
        request = request.header("authorization", &format!("Bearer {token}"));
    }
    request.call().unwrap().status().as_u16()
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.json");
    let shop = new(dir.path(), &["shop", "--roles", "checkout,viewer", "--expires", "90d"]);
    let next = new(dir.path(), &["shop", "--roles", "checkout"]);
    let planner = new(dir.path(), &["Süd-Team", "--roles", "planner"]);
    assert_eq!(mode(&file), 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    let listed = on(dir.path(), ["tokens", "list"]);
    assert_eq!((listed.code, listed.out.lines().count()), (0, 3), "{}", listed.err);
    assert_says(&listed.out, &["shop  checkout,viewer  until 20", "Süd-Team  planner  until it is revoked"]);
    for token in [&shop, &next, &planner] {
        let (id, secret) = token.strip_prefix("hr_").unwrap().split_once('_').unwrap();
        assert!(!kept.contains(secret) && !listed.out.contains(secret));
        assert_says(&listed.out, &[id]);
    }
    let id = &planner[3..15];
    let revoke = |which: &str| on(dir.path(), ["tokens", "revoke", which]);
    // Whoever gives the whole token does not see its secret again.
    let revoked = revoke(&planner);
    assert_eq!((revoked.code, revoked.out), (0, format!("revoked {id}\n")));
    assert!(!revoked.err.contains(&planner[16..]), "{}", revoked.err);
    assert_eq!(revoke("shop").out.lines().count(), 2);
    assert_eq!(on(dir.path(), ["tokens", "list"]).out, "");
    let Ended { code, out, err } = revoke("shop");
    assert_eq!((code, &*out), (1, ""));
    assert_says(&err, &["no token has the id or the name \"shop\""]);
}

#[test]
fn bad_usage_of_tokens_exits_2_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (args, says) in [
        (&["new", "local", "--roles", "viewer"][..], "the name local stands for whoever can read"),
        (&["new", "", "--roles", "viewer"], "the name"),
        (&["new", "shop"], "--roles"),
        (&["new", "shop", "--roles", "admin"], "it has to be one of checkout, viewer, planner, operator, metrics"),
        (&["new", "shop", "--roles", "viewer", "--expires", "0d"], "a number of days, hours or minutes"),
        (&["new", "shop", "--roles", "viewer", "--expires", "9999d"], "at most 3650d"),
        (&["new", "shop", "--roles", "viewer", "--expires", "+1d"], "a number of days, hours or minutes"),
        (&["list"], "tokens.json"),
        (&["revoke", "shop"], "tokens.json"),
    ] {
        let ended = run(headroom(["tokens"]).args(args).arg("--data-dir").arg(dir.path()));
        assert_eq!((ended.code, &*ended.out), (2, ""), "{args:?}");
        assert_says(&ended.err, &[says]);
    }
    let file = dir.path().join("other");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    std::fs::write(&file, "no tokens").unwrap();
    let broken = run(headroom(["tokens", "new", "shop", "--roles", "viewer", "--tokens-file"]).arg(&file));
    assert_eq!((broken.code, &*broken.out), (2, ""));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "no tokens");
}

/// The story: a script makes a token and its next part has ended already. The script went on, with a token that nobody has.
#[test]
fn a_token_that_nobody_was_shown_is_named_and_can_be_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut make = headroom(["tokens", "new", "shop", "--roles", "checkout", "--data-dir"]);
    let made = make.arg(dir.path()).stdout(closed()).output().unwrap();
    let said = String::from_utf8(made.stderr).unwrap();
    assert_eq!(made.status.code(), Some(2), "{said}");
    let listed = on(dir.path(), ["tokens", "list"]).out;
    let id = listed.split_whitespace().next().unwrap();
    assert_says(&said, &[&format!("the token {id} is in "), "nobody has it", &format!("headroom tokens revoke {id}")]);
    assert_eq!(on(dir.path(), ["tokens", "revoke", id]).code, 0);
    assert_eq!(on(dir.path(), ["tokens", "list"]).out, "");
}

/// The story: root took a token away, and so made the lock beside the file of the server's user. From then on that user could make
/// no token and take none away.
#[test]
fn the_lock_of_tokens_belongs_to_whom_the_tokens_belong() {
    let dir = tempfile::tempdir().unwrap();
    new(dir.path(), &["shop", "--roles", "checkout"]);
    let [tokens, lock] = ["tokens.json", "tokens.json.lock"].map(|name| dir.path().join(name));
    std::fs::remove_file(&lock).unwrap();
    let of = |path: &Path| path.metadata().map(|is| (is.uid(), is.gid())).unwrap();
    let (user, group) = of(&tokens);
    // Only root may give a file away. Whoever else runs this has both.
    let is_given = chown(&tokens, Some(user + 1), Some(group + 1)).is_ok();
    assert_eq!(on(dir.path(), ["tokens", "revoke", "shop"]).code, 0);
    let expected = if is_given { (user + 1, group + 1) } else { (user, group) };
    assert_eq!((of(&tokens), of(&lock)), (expected, expected));
}

/// Commands that run at the same time each write their token.
#[test]
fn no_token_is_lost_between_two_commands() {
    let dir = tempfile::tempdir().unwrap();
    let start = |number: usize| {
        let name = format!("shop-{number}");
        Running::start(headroom(["tokens", "new", &name, "--roles", "checkout", "--data-dir"]).arg(dir.path()))
    };
    let running: Vec<_> = (0..8).map(start).collect();
    for ended in running.into_iter().map(Running::ended) {
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    assert_eq!(on(dir.path(), ["tokens", "list"]).out.lines().count(), 8);
}

#[test]
fn a_server_knows_a_token_from_its_making_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let planner = new(dir.path(), &["Süd-Team", "--roles", "planner"]);
    let served = serve(dir.path());
    let pools = |token: Option<&str>| status(&served, "/v1/pools", token);
    assert_eq!((pools(None), pools(Some("hr_x")), pools(Some(&planner))), (401, 401, 200));
    let put = agent().put(format!("{}/v1/pools/van", served.url)).content_type("application/json");
    let put = put.header("authorization", &format!("Bearer {planner}")).send(r#"{"limits":{"orders":1}}"#).unwrap();
    assert_eq!(put.status(), 201);
    let viewer = new(dir.path(), &["display", "--roles", "viewer"]);
    until("the new token is known", || pools(Some(&viewer)) == 200);
    assert_eq!(on(dir.path(), ["tokens", "revoke", "display"]).code, 0);
    until("the token is revoked", || pools(Some(&viewer)) == 401);
    // A file that is broken takes nobody's token away, and is told.
    let file = dir.path().join("tokens.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, "broken").unwrap();
    let local = dir.path().join("server.token");
    assert_eq!(mode(&local), 0o600);
    let local = std::fs::read_to_string(local).unwrap();
    let metrics = || {
        let request =
            agent().get(format!("{}/metrics", served.url)).header("authorization", &format!("Bearer {local}"));
        request.call().unwrap().body_mut().read_to_string().unwrap()
    };
    until("the failure is counted", || {
        metrics().contains("headroom_access_reload_failures_total{source=\"tokens\"} 1\n")
    });
    let unreadable = "headroom_access_unreadable{source=\"tokens\"}";
    assert_says(&metrics(), &["headroom_access_known{source=\"tokens\"} 1\n", &format!("{unreadable} 1\n")]);
    assert_eq!(pools(Some(&planner)), 200);
    std::fs::write(&file, whole).unwrap();
    until("the file can be read again", || metrics().contains(&format!("{unreadable} 0\n")));
    let Ended { err, .. } = served.running.terminate();
    assert_says(&err, &["cannot read who may call: what was read before stays in force", "tokens.json"]);
    assert_says(&err, &["who may call can be read again"]);
    for secret in [&planner[16..], &local[16..]] {
        assert!(!err.contains(secret));
    }
    assert!(!dir.path().join("server.token").exists());
    let events = on(dir.path(), ["cat"]).out;
    assert_says(&events, &["\"actor\":\"Süd-Team\""]);
}

#[test]
fn a_server_that_cannot_know_its_callers_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let start = |args: &[&str]| run(headroom(["--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()).args(args));
    let refused = start(&["--auth", "tokens"]);
    assert_eq!(refused.code, 2);
    assert_says(&refused.err, &["tokens.json: there is none: write one with headroom tokens new NAME --roles ROLE"]);
    let keys = dir.path().join("keys.json");
    std::fs::write(&keys, claims().to_string()).unwrap();
    let keys = keys.to_str().unwrap();
    let issuer = ["--oidc-issuer", "https://id.example", "--oidc-audience", "headroom", "--oidc-keys", keys];
    let refused = start(&[&["--auth", "oidc"][..], &issuer].concat());
    assert_eq!(refused.code, 2);
    assert_says(&refused.err, &["cannot read who may call: ", "keys.json: it is no JWKS"]);
    let without = ["--auth", "certificates", "--certificates-file", "none.json"];
    let refused = start(&without);
    assert_eq!(refused.code, 2);
    assert_says(&refused.err, &["auth needs tls_client_ca as well"]);
    let tls = ["--tls-certificate", "none.pem", "--tls-key", "none.key", "--tls-client-ca", "none.pem"];
    let refused = start(&[&without[..], &tls].concat());
    assert_eq!(refused.code, 2);
    assert_says(&refused.err, &["none."]);
    let refused = run(headroom(["--listen", "0.0.0.0:0", "--data-dir"]).arg(dir.path()));
    assert_eq!(refused.code, 2);
    assert_says(&refused.err, &["listen is not a loopback address, and auth is not set", "write auth = \"none\""]);
}

#[test]
fn a_server_without_auth_says_so_at_every_start_when_it_was_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(headroom(["--listen", "127.0.0.1:0", "--auth", "none", "--data-dir"]).arg(dir.path()));
    assert_eq!(status(&served, "/v1/pools", None), 200);
    let Ended { err, .. } = served.running.terminate();
    assert_says(&err, &["WARN", "auth is none: whoever can connect is served"]);
}

/// The story: the environment of the process named a proxy, as everywhere in that network. The keys of an issuer on the same machine
/// were asked of the proxy, in the clear.
#[test]
fn keys_of_an_issuer_on_this_machine_are_asked_of_no_proxy() {
    let (dir, issuer, proxy) = (tempfile::tempdir().unwrap(), Publisher::start(), Publisher::start());
    issuer.publish(&[&Key::rsa("key")]);
    let mut command = headroom(["--listen", "127.0.0.1:0", "--auth", "oidc", "--open", "metrics", "--data-dir"]);
    command.arg(dir.path()).args(["--oidc-issuer", &issuer.url(), "--oidc-audience", "headroom"]);
    for (named, exempt) in [("http_proxy", "no_proxy"), ("HTTP_PROXY", "NO_PROXY")] {
        command.env(named, proxy.url()).env_remove(exempt);
    }
    let served = Served::start(&mut command);
    until("the key is known", || {
        let metrics = agent().get(format!("{}/metrics", served.url)).call();
        let metrics = metrics.unwrap().body_mut().read_to_string().unwrap();
        metrics.contains("headroom_access_known{source=\"keys\"} 1\n")
    });
    assert_eq!(proxy.asked(), 0);
    served.running.terminate();
}

/// The story: an issuer was down for a night, and every process wrote an error line each half minute.
#[test]
fn an_issuer_that_is_down_is_told_once_and_so_is_its_return() {
    let (dir, issuer) = (tempfile::tempdir().unwrap(), Publisher::start());
    let mut command = headroom(["--listen", "127.0.0.1:0", "--auth", "oidc", "--open", "metrics", "--data-dir"]);
    command.arg(dir.path()).args(["--oidc-issuer", &issuer.url(), "--oidc-audience", "headroom"]);
    let served = Served::start(&mut command);
    let metric = |name: &str| -> u64 {
        let metrics = agent().get(format!("{}/metrics", served.url)).call();
        let metrics = metrics.unwrap().body_mut().read_to_string().unwrap();
        let start = format!("{name}{{source=\"keys\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap()
    };
    until("it has failed twice", || metric("headroom_access_reload_failures_total") >= 2);
    assert_eq!(metric("headroom_access_unreadable"), 1);
    issuer.publish(&[&Key::rsa("key")]);
    until("it is back", || metric("headroom_access_unreadable") == 0);
    let Ended { err, .. } = served.running.terminate();
    let told = |words: &str| err.lines().filter(|line| line.contains(words)).count();
    assert_eq!([told("cannot read who may call"), told("who may call can be read again")], [1, 1], "{err}");
}
