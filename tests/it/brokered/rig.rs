//! The rig itself: what the tests against it take for granted.

use crate::process::{foreign_agent, spawn};
use crate::rig::Rig;
use crate::wait::until;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// Whether a broker answers the question that every client begins with: which requests do you know?
fn answers(broker: &str) -> bool {
    ask(broker).is_ok_and(|header| header[4..] == [0, 0, 0, 7, 0, 0])
}

/// The answer's length, the number that the question had, and the error's.
fn ask(broker: &str) -> io::Result<[u8; 10]> {
    let mut stream = TcpStream::connect(broker)?;
    // One that is paused is connected to all the same, by the kernel.
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    // Length; request 18 in version 0; number 7; no client's name.
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])?;
    let mut header = [0; 10];
    stream.read_exact(&mut header)?;
    Ok(header)
}

/// What the registry has.
fn subjects(rig: &Rig) -> Value {
    let mut response = foreign_agent().get(format!("{}/subjects", rig.registry_url())).call().unwrap();
    assert_eq!(response.status(), 200);
    serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
}

#[test]
fn the_shared_rig_serves() {
    let rig = Rig::shared();
    until("the broker answers", || answers(rig.brokers()));
    assert!(subjects(rig).is_array());
}

#[test]
fn a_broker_goes_and_comes_back() {
    let rig = Rig::start(1, false);
    let broker = rig.brokers();
    until("it answers", || answers(broker));
    for end in ["kill", "stop"] {
        rig.broker(1, end);
        assert!(TcpStream::connect(broker).is_err(), "after {end}");
        rig.broker(1, "start");
        until("it answers again", || answers(broker));
    }
    rig.broker(1, "pause");
    assert!(!answers(broker), "paused");
    rig.broker(1, "resume");
    until("it answers after a pause", || answers(broker));
}

#[test]
fn of_three_brokers_one_goes_and_comes_back() {
    let rig = Rig::start(3, false);
    let brokers: Vec<&str> = rig.brokers().split(',').collect();
    assert_eq!(brokers.len(), 3);
    for broker in &brokers {
        until("it answers", || answers(broker));
    }
    rig.broker(2, "kill");
    assert!(!answers(brokers[1]));
    until("the others answer", || answers(brokers[0]) && answers(brokers[2]));
    rig.broker(2, "start");
    until("it answers again", || answers(brokers[1]));
}

#[test]
fn the_registry_comes_back_with_its_schemas() {
    let rig = Rig::start(1, true);
    let schema = r#"{"schema":"{\"type\":\"record\",\"name\":\"A\",\"fields\":[]}"}"#;
    let post = foreign_agent().post(format!("{}/subjects/a-value/versions", rig.registry_url()));
    let posted = post.header("content-type", "application/vnd.schemaregistry.v1+json").send(schema).unwrap();
    assert_eq!(posted.status(), 200);
    rig.registry("stop");
    assert!(foreign_agent().get(rig.registry_url()).call().is_err());
    rig.registry("start");
    assert_eq!(subjects(&rig), serde_json::json!(["a-value"]));
}

#[test]
fn the_rig_ends_with_its_owner() {
    let mut owner = spawn(Command::new("sleep").arg("600"));
    let rig = Rig::owned_by(owner.id());
    until("it answers", || answers(rig.brokers()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("nobody listens", || TcpStream::connect(rig.brokers()).is_err());
}
