//! The one list of the attributes of spans and of the process that sends them. Names are those of OpenTelemetry's semantic
//! conventions where those have one; what only Headroom knows begins with `headroom.`.

use crate::trace::{Decision, Protocol, Work};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, Status};

pub(super) const SERVICE_VERSION: &str = "service.version";
pub(super) const SERVICE_INSTANCE_ID: &str = "service.instance.id";

const HTTP_REQUEST_METHOD: &str = "http.request.method";
const HTTP_ROUTE: &str = "http.route";
const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
const RPC_SYSTEM: &str = "rpc.system";
const RPC_METHOD: &str = "rpc.method";
const RPC_GRPC_STATUS_CODE: &str = "rpc.grpc.status_code";
const ERROR_TYPE: &str = "error.type";
const MESSAGING_SYSTEM: &str = "messaging.system";
const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
const MESSAGING_DESTINATION_PARTITION_ID: &str = "messaging.destination.partition.id";
const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
const CODE: &str = "headroom.code";
const PARTITION: &str = "headroom.partition";
const COMMAND_OFFSET: &str = "headroom.command.offset";
const EVENT_SEQ: &str = "headroom.event.seq";
const EVENT_KIND: &str = "headroom.event.kind";
const EVENT_REASON: &str = "headroom.event.reason";
const EVENT_COUNT: &str = "headroom.event.count";
const COMMIT_OUTCOME: &str = "headroom.commit.outcome";
const IS_TIMED_OUT: &str = "headroom.timed_out";

/// The name of the messaging system: a log, whichever carries it.
const SYSTEM: &str = "headroom";
/// What a caller was told when all went well.
const OK: &str = "ok";

/// gRPC codes that mean that the server has failed: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and
/// DATA_LOSS.
const GRPC_FAILURES: &[u16] = &[2, 4, 12, 13, 14, 15];

/// The kind, the attributes and the status of the span of this work.
pub(super) fn of(work: &Work) -> (SpanKind, Vec<KeyValue>, Status) {
    match *work {
        Work::Call { protocol, method, route, status, code } => of_call(protocol, method, route, status, code),
        Work::Admission { partition, refused } => {
            let attributes = [Some(number(PARTITION, partition)), refused.map(|why| text(ERROR_TYPE, why))];
            (SpanKind::Internal, attributes.into_iter().flatten().collect(), Status::Unset)
        }
        Work::Append { partition, refused } => {
            let mut attributes = of_messages(partition, "append", "send");
            attributes.extend(refused.map(|why| text(ERROR_TYPE, why)));
            (SpanKind::Producer, attributes, failed_if(refused.is_some()))
        }
        Work::Wait { partition, is_timed_out } => {
            let attributes = vec![number(PARTITION, partition), KeyValue::new(IS_TIMED_OUT, is_timed_out)];
            (SpanKind::Internal, attributes, failed_if(is_timed_out))
        }
        Work::Process(Decision { partition, offset, seq, kind, reason, outcome }) => {
            let mut attributes = of_messages(partition, "process", "process");
            attributes.extend([number(COMMAND_OFFSET, offset), number(EVENT_SEQ, seq), text(EVENT_KIND, kind)]);
            attributes.extend((!reason.is_empty()).then(|| text(EVENT_REASON, reason)));
            attributes.push(text(COMMIT_OUTCOME, outcome));
            (SpanKind::Consumer, attributes, failed_if(outcome != OK))
        }
        Work::Turn { partition, commands, events, outcome } => {
            let attributes = vec![
                number(PARTITION, partition),
                number(MESSAGING_BATCH_MESSAGE_COUNT, commands as u64),
                number(EVENT_COUNT, events as u64),
                text(COMMIT_OUTCOME, outcome),
            ];
            (SpanKind::Internal, attributes, failed_if(outcome != OK))
        }
        Work::Commit { outcome } => (SpanKind::Internal, vec![text(COMMIT_OUTCOME, outcome)], failed_if(outcome != OK)),
        Work::Reply => {
            let attributes = vec![
                text(MESSAGING_SYSTEM, SYSTEM),
                text(MESSAGING_OPERATION_NAME, "reply"),
                text(MESSAGING_OPERATION_TYPE, "send"),
                text(MESSAGING_DESTINATION_NAME, "replies"),
            ];
            (SpanKind::Producer, attributes, Status::Unset)
        }
        Work::Answer | Work::Decide => (SpanKind::Internal, Vec::new(), Status::Unset),
    }
}

fn of_call(
    protocol: Protocol,
    method: &'static str,
    route: &'static str,
    status: u16,
    code: &'static str,
) -> (SpanKind, Vec<KeyValue>, Status) {
    let (mut attributes, is_failed) = match protocol {
        Protocol::Http => {
            let status_code = number(HTTP_RESPONSE_STATUS_CODE, status);
            let attributes = vec![text(HTTP_REQUEST_METHOD, method), text(HTTP_ROUTE, route), status_code];
            (attributes, status >= 500)
        }
        Protocol::Grpc => {
            let status_code = number(RPC_GRPC_STATUS_CODE, status);
            (vec![text(RPC_SYSTEM, "grpc"), text(RPC_METHOD, method), status_code], GRPC_FAILURES.contains(&status))
        }
    };
    attributes.push(text(CODE, code));
    attributes.extend(is_failed.then(|| text(ERROR_TYPE, code)));
    (SpanKind::Server, attributes, failed_if(is_failed))
}

fn of_messages(partition: u32, operation: &'static str, kind: &'static str) -> Vec<KeyValue> {
    vec![
        text(MESSAGING_SYSTEM, SYSTEM),
        text(MESSAGING_OPERATION_NAME, operation),
        text(MESSAGING_OPERATION_TYPE, kind),
        text(MESSAGING_DESTINATION_NAME, "commands"),
        KeyValue::new(MESSAGING_DESTINATION_PARTITION_ID, partition.to_string()),
    ]
}

fn text(name: &'static str, value: &'static str) -> KeyValue {
    KeyValue::new(name, value)
}

fn number(name: &'static str, value: impl TryInto<i64>) -> KeyValue {
    KeyValue::new(name, value.try_into().unwrap_or(i64::MAX))
}

fn failed_if(is_failed: bool) -> Status {
    if is_failed { Status::error("") } else { Status::Unset }
}
