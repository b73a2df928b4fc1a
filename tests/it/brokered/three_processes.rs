//! Three processes over one log, as anybody would run them.

use super::serve::Site;
use crate::process::agent;
use crate::rig::Rig;
use serde_json::{Value, json};

#[test]
fn three_processes_serve_one_log() {
    let site = Site::new(Rig::shared(), 4);
    let all = ["a", "b", "c"].map(|name| site.serve(name));
    let body = json!({ "limits": { "orders": 5 } }).to_string();
    let agent = agent();
    let pool = format!("{}/v1/pools/p", all[0].url().unwrap());
    let made = agent.put(pool).header("request-timeout-ms", "5000").content_type("application/json").send(&body);
    assert_eq!(made.unwrap().status(), 201);
    for (n, process) in all.iter().enumerate() {
        let url = format!("{}/v1/reservations", process.url().unwrap());
        let request =
            agent.post(url).header("idempotency-key", format!("key-{n}")).header("request-timeout-ms", "5000");
        let body = json!({ "pool": "p", "demand": { "orders": 1 } }).to_string();
        let mut answer = request.content_type("application/json").send(&body).unwrap();
        let said: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        assert_eq!(answer.status(), 201, "{said}");
    }
    all[1].kill9();
    all[1].start();
    all[1].ready();
    all.iter().for_each(|process| process.terminate());
}
