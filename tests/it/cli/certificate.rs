//! The commands beside a server that serves nobody without a client certificate.

use super::assert_says;
use crate::authority::Authority;
use crate::process::{Running, headroom, run};
use crate::wait::until;
use std::process::Command;

/// What shows this certificate of the authority.
fn shows<'c>(command: &'c mut Command, authority: &Authority, name: &str) -> &'c mut Command {
    command.arg("--certificate").arg(authority.path(&format!("{name}.pem")));
    command.arg("--certificate-key").arg(authority.path(&format!("{name}.key")))
}

/// The story: a server takes nobody without a certificate of its authority, and an operator has one.
#[test]
fn verify_cat_and_clock_set_show_a_certificate_to_a_server_that_asks_for_one() {
    let (dir, authority, stranger) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    ["server", "operator"].iter().for_each(|name| authority.sign(name, 2100));
    ["operator", "other"].iter().for_each(|name| stranger.sign(name, 2100));
    let mut serve = headroom(["serve", "--listen", "127.0.0.1:0", "--partitions", "1", "--data-dir"]);
    serve.arg(dir.path()).arg("--tls-certificate").arg(authority.path("server.pem"));
    serve.arg("--tls-key").arg(authority.path("server.key")).arg("--tls-client-ca").arg(authority.path("ca.pem"));
    let mut running = Running::start(&mut serve);
    assert!(running.line().starts_with("headroom listens on https://"));
    let command = |words: &[&str]| {
        let mut command = headroom([]);
        command.args(words).arg("--data-dir").arg(dir.path());
        command
    };
    until("the server is verified", || run(shows(&mut command(&["verify"]), &authority, "operator")).code == 0);
    for words in [&["verify"][..], &["cat"], &["clock", "set", "--because", "a test"]] {
        let shown = run(shows(&mut command(words), &authority, "operator"));
        assert_eq!(shown.code, 0, "{words:?}: {}", shown.err);
        let without = run(&mut command(words));
        assert_eq!(without.code, 2, "{words:?}: {}", without.out);
        assert_says(&without.err, &["cannot call https://127.0.0.1:", "--certificate"]);
        let strange = run(shows(&mut command(words), &stranger, "operator"));
        assert_eq!(strange.code, 2, "{words:?}: {}", strange.out);
    }
    let mut mixed = command(&["verify"]);
    mixed.arg("--certificate").arg(authority.path("operator.pem"));
    let half = run(&mut mixed);
    assert_eq!(half.code, 2);
    assert_says(&half.err, &["--certificate-key <FILE>"]);
    let mixed = run(mixed.arg("--certificate-key").arg(stranger.path("other.key")));
    assert_eq!(mixed.code, 2);
    assert_says(&mixed.err, &["the client's certificate and its key cannot be read"]);
    assert!(!mixed.err.contains("PRIVATE KEY"), "{}", mixed.err);
    assert_eq!(running.terminate().code, 0);
}
