//! A PostgreSQL server of one test, on a free port of the loopback.

use super::on_path;
use crate::process::{Running, headroom, run};
use crate::wait::until;
use headroom::sink::postgres::Access;
use parking_lot::Mutex;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use tempfile::TempDir;

/// Name of the account that the server runs under when the tests run as root, which the server refuses.
const ACCOUNT: &str = "postgres";

/// What `initdb` has made, for all databases that are there at the same time: it takes most of a start.
static MADE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());

pub struct Database {
    dir: TempDir,
    /// What its data was copied from: it stays, so that the next one need not make it.
    _made: Arc<TempDir>,
    port: u16,
    server: Option<Child>,
    /// What the server is told besides.
    options: Vec<String>,
}

/// The newest version that is installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(version);
    newest.filter(|path| version(path) >= Some(15)).expect("PostgreSQL 15 or newer: tests/run installs it").join("bin")
}

/// The ids of the account under which the server has to run; `None` when that is the account of the tests.
fn account() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts.lines().find(|line| line.starts_with(&format!("{ACCOUNT}:"))).unwrap();
    let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
    Some((ids[0], ids[1]))
}

/// A directory of the account.
fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    if let Some((user, group)) = account() {
        chown(dir.path(), Some(user), Some(group)).unwrap();
    }
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// The data in such a directory.
fn data(dir: &TempDir) -> PathBuf {
    dir.path().join("data")
}

/// A command of the account in such a directory.
fn within(dir: &TempDir, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = account() {
        command.uid(user).gid(group).env("HOME", dir.path());
    }
    command.stdin(Stdio::null()).current_dir(dir.path());
    command
}

/// A directory with the data of a server that never ran, which is there for as long as somebody has it.
fn made() -> Arc<TempDir> {
    let mut known = MADE.lock();
    if let Some(made) = known.upgrade() {
        return made;
    }
    let dir = directory();
    let mut make = within(&dir, programs().join("initdb"));
    make.args([
        "--auth",
        "trust",
        "--username",
        "analyst",
        "--no-sync",
        "--no-instructions",
        "--encoding",
        "UTF8",
        "-D",
    ]);
    let made = make.arg(data(&dir)).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made = Arc::new(dir);
    *known = Arc::downgrade(&made);
    made
}

impl Database {
    pub fn start() -> Database {
        Database::start_with(&[])
    }

    /// With these settings of the server.
    pub fn start_with(options: &[&str]) -> Database {
        let (dir, made) = (directory(), made());
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut database = Database { dir, _made: Arc::clone(&made), port: 0, server: None, options };
        let copied = within(&database.dir, "cp").arg("-a").arg(data(&made)).arg(database.data()).output().unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        database.serve();
        database
    }

    fn data(&self) -> PathBuf {
        data(&self.dir)
    }

    fn program(&self, name: &str) -> Command {
        within(&self.dir, programs().join(name))
    }

    /// Starts the server, on the port that it had before.
    pub fn serve(&mut self) {
        if self.port == 0 {
            self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        }
        let mut serve = self.program("postgres");
        serve.args(self.options.iter().flat_map(|option| ["-c", option]));
        serve.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-c", "fsync=off", "-c"]);
        serve
            .arg("listen_addresses=127.0.0.1")
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.dir.path().display()));
        self.server = Some(serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        until("the database answers", || self.try_ask("SELECT 1").is_ok());
    }

    /// From now on it speaks TLS with this certificate and its key, both in PEM, and asks whoever does for this password.
    pub fn secure(&mut self, certificate: &str, key: &str, password: &str) {
        self.ask(&format!("ALTER USER analyst PASSWORD '{password}'"));
        self.stop();
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.data().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            if let Some((user, group)) = account() {
                chown(&path, Some(user), Some(group)).unwrap();
            }
        }
        let lines = "hostssl all all all scram-sha-256\nlocal all all trust\nhostnossl all all all trust\n";
        std::fs::write(self.data().join("pg_hba.conf"), lines).unwrap();
        self.options.push("ssl=on".to_owned());
        self.serve();
    }

    /// Ends the server at once, as a lost machine does: nothing is written any more, and clients see broken connections.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let mut stop = self.program("pg_ctl");
            let stopped = stop.args(["stop", "--silent", "-m", "immediate", "-D"]).arg(self.data()).status().unwrap();
            assert!(stopped.success());
            server.wait().unwrap();
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        self.url_as("analyst")
    }

    /// For this user.
    pub fn url_as(&self, user: &str) -> String {
        format!("postgresql://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// How this process reaches it.
    pub fn access(&self) -> Access {
        Access { url: self.url(), password: None, authorities: None, schema: "headroom".to_owned(), ending: None }
    }

    /// What a statement returns: a line for each row, columns with `|` between them.
    #[track_caller]
    pub fn ask(&self, sql: &str) -> String {
        self.try_ask(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// How many events of all partitions are written.
    #[track_caller]
    pub fn written(&self) -> u64 {
        self.ask("SELECT coalesce(sum(next_seq), 0) FROM sink_positions").parse().unwrap()
    }

    /// The columns and the rows that a query returns.
    #[track_caller]
    pub fn table(&self, sql: &str) -> (Vec<String>, Vec<Vec<String>>) {
        let text = self.psql(&["-P", "footer=off"], sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let mut lines = text.lines().map(|line| line.split('|').map(str::to_owned).collect());
        (lines.next().unwrap_or_default(), lines.collect())
    }

    fn try_ask(&self, sql: &str) -> Result<String, String> {
        self.psql(&["-t"], sql)
    }

    /// Begins to ask, and does not wait for the answer.
    pub fn begin(&self, sql: &str) -> Running {
        self.begin_as("analyst", sql)
    }

    /// The same as this user.
    pub fn begin_as(&self, user: &str, sql: &str) -> Running {
        Running::start(&mut Database::asking(&self.url_as(user), &["-t"], sql))
    }

    /// Asks, and does this again and again until the answer is there.
    #[track_caller]
    pub fn ask_beside(&self, sql: &str, mut work: impl FnMut()) {
        let mut asked = self.begin(sql);
        while !asked.is_over() {
            work();
        }
        let ended = asked.ended();
        assert_eq!(ended.code, 0, "{sql}: {}", ended.err);
    }

    fn asking(url: &str, flags: &[&str], sql: &str) -> Command {
        let mut ask = Command::new(programs().join("psql"));
        ask.args(["-X", "-q", "-A", "-v", "ON_ERROR_STOP=1"]).args(flags);
        for statement in ["SET search_path TO headroom", "SET timezone TO 'UTC'", sql] {
            ask.args(["-c", statement]);
        }
        ask.arg(url).env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable").stdin(Stdio::null());
        ask
    }

    fn psql(&self, flags: &[&str], sql: &str) -> Result<String, String> {
        Database::psql_of(&self.url(), flags, sql)
    }

    /// What the database at this URL answers, one statement after the other.
    pub fn psql_of(url: &str, flags: &[&str], sql: &str) -> Result<String, String> {
        let answer = Database::asking(url, flags, sql).output().unwrap();
        if !answer.status.success() {
            return Err(String::from_utf8_lossy(&answer.stderr).into_owned());
        }
        Ok(String::from_utf8(answer.stdout).unwrap().trim_end().to_owned())
    }

    /// `headroom sink` with these arguments, over the log of this directory.
    pub fn sink(&self, log: &Path, args: &[&str]) -> Command {
        self.sink_as("analyst", log, args)
    }

    /// The same by this user of the database.
    pub fn sink_as(&self, user: &str, log: &Path, args: &[&str]) -> Command {
        let mut command = headroom(["sink"]);
        command.args(args).env("HEADROOM_SINK_DATABASE", self.url_as(user));
        on_path(&mut command, log, args);
        command
    }

    /// Makes the tables.
    #[track_caller]
    pub fn apply(&self) {
        let ended = run(&mut self.sink(self.dir.path(), &["apply"]));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let mut stop = self.program("pg_ctl");
            // A test that has failed ends all the same.
            let _ = stop.args(["stop", "--silent", "-m", "immediate", "-D"]).arg(self.data()).status();
            let _ = server.wait();
        }
    }
}
