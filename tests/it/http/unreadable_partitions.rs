//! Partitions that cannot be read: what the others hold is answered, and says which are missing and why.

use super::client::Client;
use super::manual_owner::Desk;
use crate::fixtures::pool_id;
use crate::server::Server;
use crate::world::becomes;
use headroom::domain::{ReservationId, route};
use headroom::replica::PartitionStatus;
use headroom::time::SystemClock;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

const PARTITIONS: u32 = 4;
const POOLS: usize = 16;

fn pool(n: usize) -> String {
    format!("p{n:02}")
}

fn partition_of(pool: &str) -> u32 {
    route::partition_of(&pool_id(pool), PARTITIONS)
}

fn listed(page: &Value) -> Vec<&str> {
    page["pools"].as_array().unwrap().iter().map(|pool| pool["pool"].as_str().unwrap()).collect()
}

/// The story: one event of one partition is damaged on the disk. A server that answered nothing any more would close
/// every pool; one that answered as if nothing were wrong would show a list that lacks pools. The others are served,
/// and lists say which partition is missing and why.
#[test]
fn a_damaged_partition_takes_nothing_with_it_but_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let serve = || Server::start(dir.path(), PARTITIONS, Arc::new(SystemClock::new()));
    let path = dir.path().join("log/segment-00000000");
    let mut end_of_first = 0;
    {
        let server = serve();
        let c = &mut server.client();
        for n in 0..POOLS {
            let body = json!({"limits": {"orders": 1}});
            let made = c.send("PUT", &format!("/v1/pools/{}", pool(n)), &[], &body.to_string());
            assert_eq!(made.status, 201, "{made:?}");
            if n == 0 {
                end_of_first = fs::read(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
            }
        }
    }
    // All of the log is read at the next start.
    fs::remove_dir_all(dir.path().join("checkpoint")).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // In the packed body of the frame that defines the first pool.
    bytes[end_of_first - 8] ^= 1;
    fs::write(&path, bytes).unwrap();

    let server = serve();
    let c = &mut server.client();
    let damaged = partition_of(&pool(0));
    let sound: Vec<_> = (0..POOLS).map(pool).filter(|pool| partition_of(pool) != damaged).collect();
    let pages = [
        c.get("/v1/pools"),
        c.get("/v1/pools?fresh=true"),
        c.post("/v1/availability", ""),
        c.post("/v1/availability?fresh=true", r#"{"demand":{"orders":1}}"#),
    ];
    for page in pages {
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        assert_eq!(listed(&page), sound);
        let incomplete = page["incomplete"].as_array().unwrap();
        assert_eq!((incomplete.len(), &incomplete[0]["partition"]), (1, &json!(damaged)), "{page}");
        assert!(incomplete[0]["reason"].as_str().unwrap().starts_with("unreadable: "), "{page}");
        let as_of = page["as_of"].as_object().unwrap();
        assert!(as_of.len() == PARTITIONS as usize - 1 && !as_of.contains_key(&damaged.to_string()), "{page}");
    }
    // A pool of the damaged partition says why, and one of another is there.
    let reservation = ReservationId::new(route::pool_hash(&pool_id(&pool(0))), [0; 11]);
    for path in [format!("/v1/pools/{}", pool(0)), format!("/v1/reservations/{reservation}")] {
        let refused = c.get(&path);
        assert_eq!((refused.status, refused.code().as_str()), (503, "unreadable"), "{path}");
        let problem = refused.json();
        let says = format!("partition {damaged} cannot be read: unreadable: ");
        assert!(problem["detail"].as_str().unwrap().starts_with(&says) && problem["retryable"] == false, "{problem}");
    }
    // So does a call that nobody will decide before somebody mends the log.
    let order = |pool: &str| json!({"pool": pool, "demand": {"orders": 1}}).to_string();
    let refused = c.post("/v1/reservations", &order(&pool(0)));
    assert_eq!((refused.code().as_str(), &refused.json()["retryable"]), ("unreadable", &json!(false)), "{refused:?}");
    assert_eq!(c.get(&format!("/v1/pools/{}", sound[0])).status, 200);
    assert_ne!(c.post("/v1/reservations", &order(&sound[0])).status, 503);
}

#[test]
fn a_fully_unreadable_answer_says_whether_to_retry() {
    let desk = Desk::restoring(2);
    let status = |partition: u32, status| becomes(desk.gateway.replica().partition(partition).unwrap(), status);
    let list = |desk: &Desk| Client::connect(desk.address).get("/v1/pools");
    assert_eq!(list(&Desk::of(2)).json()["incomplete"], json!([]));
    let list = || list(&desk);
    status(0, PartitionStatus::Active);
    assert_eq!(list().json()["incomplete"], json!([{"partition": 1, "reason": "restoring"}]));
    status(0, PartitionStatus::Unreadable { why: "no state".to_owned() });
    assert_eq!((list().status, list().code().as_str()), (503, "restoring"));
    status(1, PartitionStatus::Failed { why: "seq 0 is missing".to_owned() });
    assert_eq!((list().status, list().code().as_str()), (503, "unreadable"));
}
