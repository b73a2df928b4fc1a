//! A database elsewhere: TLS, a password, and what is told of both.

use super::postgres::Database;
use super::serve;
use super::traffic::Traffic;
use crate::authority::Authority;
use crate::process::run;

/// The story: events hold who ordered what. They travel to a database that somebody else runs, over a network that others
/// share. So the server has to show a certificate of the authority that is named, for the name by which it is called, and
/// the password stands in no line.
#[test]
fn a_database_is_believed_by_its_certificate_and_the_password_is_never_told() {
    const PASSWORD: &str = "correct-horse-staple";
    let (log, mut database) = (tempfile::tempdir().unwrap(), Database::start());
    database.apply();
    let (authority, other) = (Authority::new(), Authority::new());
    authority.sign("server", 2_090);
    let read = |name: &str| std::fs::read_to_string(authority.path(name)).unwrap();
    database.secure(&read("server.pem"), &read("server.key"), PASSWORD);
    let served = serve(log.path());
    Traffic::new(&served.url, 4).calls(10);
    let files = tempfile::tempdir().unwrap();
    let password = |name: &str, text: &str| {
        std::fs::write(files.path().join(name), format!("{text}\n")).unwrap();
        files.path().join(name)
    };
    let (right, wrong) = (password("right", PASSWORD), password("wrong", "wrong-horse-staple"));
    let ca = authority.path("ca.pem");
    let cases = [
        (&ca, Some(&right), 0, "rows of"),
        (&ca, Some(&wrong), 1, "password authentication failed"),
        (&ca, None, 1, "the database asks for a password: set sink_database_password_file"),
        (&other.path("ca.pem"), Some(&right), 2, "invalid peer certificate"),
        (&files.path().join("none.pem"), Some(&right), 1, "none.pem"),
    ];
    for (ca, password, code, says) in cases {
        let mut plan = database.sink(log.path(), &["plan", "--log-level", "trace"]);
        plan.arg("--sink-database-ca").arg(ca);
        let mut backfill = database.sink(log.path(), &["backfill", "--log-level", "trace"]);
        backfill.arg("--sink-database-ca").arg(ca);
        for command in [&mut plan, &mut backfill] {
            password.map(|file| command.arg("--sink-database-password-file").arg(file));
        }
        let planned = run(&mut plan);
        assert_eq!(planned.code, code, "{says}: {}{}", planned.out, planned.err);
        let told = if code == 0 { run(&mut backfill) } else { planned };
        let all = told.out + &told.err;
        assert!(all.contains(says), "{says} in {all}");
        assert!(!all.contains("horse-staple"), "{all}");
    }
    // For a name that the certificate does not have.
    let url = database.url().replace("127.0.0.1", "127.0.0.2");
    let mut plan = database.sink(log.path(), &["plan"]);
    plan.env("HEADROOM_SINK_DATABASE", url).arg("--sink-database-ca").arg(&ca);
    let refused = run(plan.arg("--sink-database-password-file").arg(&right));
    assert!(refused.code == 2 && !refused.err.contains("as they should be"), "{}", refused.err);
}
