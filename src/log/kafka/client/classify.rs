//! What the client's errors mean. Every question about an error's code is answered in this file, and nowhere else in the
//! crate: so one code has one meaning. (The end of a partition is not a code: readers match `KafkaError::PartitionEOF`.)

use crate::log::{CommitOutcome, LogError, LogErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What a code means. `Superseded` does not prove that there is another owner: a transaction that ran past its own time
/// limit reads the same. `Transient` may be tried again with the same client; `Internal`, which is also every code that
/// nobody has thought of, costs the client.
pub(in crate::log::kafka) fn of_code(code: Code) -> LogErrorKind {
    match code {
        Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::PurgeQueue
        | Code::PurgeInflight => LogErrorKind::Superseded,
        Code::OffsetOutOfRange | Code::NoOffset | Code::AutoOffsetReset => LogErrorKind::OutOfRange,
        Code::MessageTimedOut
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::RequestTimedOut
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::BrokerDestroy
        | Code::Resolve
        | Code::QueueFull
        | Code::Retry
        | Code::WaitingForCoordinator
        | Code::WaitCache
        | Code::InProgress
        | Code::Interrupted
        | Code::ConcurrentTransactions
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::ReplicaNotAvailable
        | Code::OffsetNotAvailable
        | Code::BrokerNotAvailable
        | Code::NetworkException
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::KafkaStorageError
        | Code::PreferredLeaderNotAvailable
        | Code::UnstableOffsetCommit
        | Code::ThrottlingQuotaExceeded
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::RebalanceInProgress
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::AssignmentLost
        | Code::PollExceeded => LogErrorKind::Transient,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SecurityDisabled
        | Code::SSL
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::InvalidTransactionTimeout
        | Code::InvalidReplicationFactor
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::InvalidRequiredAcks
        | Code::MessageSizeTooLarge
        | Code::PolicyViolation
        | Code::InvalidTopic => LogErrorKind::Operator,
        _ => LogErrorKind::Internal,
    }
}

/// What an error means. A fatal one is never worth another try, whatever its code is; settings that make no client are the
/// operator's.
pub(in crate::log::kafka) fn of(error: &KafkaError) -> LogErrorKind {
    let meaning = error.rdkafka_error_code().map_or(LogErrorKind::Internal, of_code);
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => LogErrorKind::Operator,
        KafkaError::Transaction(inner) if inner.is_fatal() && meaning == LogErrorKind::Transient => {
            LogErrorKind::Internal
        }
        _ => meaning,
    }
}

/// What is known of a turn whose commit failed with this error. Never `Aborted`: the request may have been applied.
pub(in crate::log::kafka) fn of_commit(error: &KafkaError) -> CommitOutcome {
    match of(error) {
        LogErrorKind::Superseded => CommitOutcome::Fenced,
        _ => CommitOutcome::Unknown,
    }
}

/// Whether the client's queue has no room for a record: the record was not taken, and may be offered again.
pub(in crate::log::kafka) fn is_queue_full(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageProduction(Code::QueueFull))
}

/// Whether an error of a member's poll keeps its process out of the group until somebody acts. What is assigned may be read for a
/// moment before it is paused, from an offset that retention has removed: that keeps nobody out.
pub(in crate::log::kafka) fn keeps_out_of_group(error: &KafkaError) -> bool {
    !matches!(of(error), LogErrorKind::Transient | LogErrorKind::OutOfRange)
}

/// Whether a topic exists, by the error that its metadata has. A topic without a leader exists.
///
/// # Errors
/// The code of any other error.
pub(in crate::log::kafka) fn topic_exists(code: Option<Code>) -> Result<bool, Code> {
    match code {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(false),
        None | Some(Code::LeaderNotAvailable) => Ok(true),
        Some(code) => Err(code),
    }
}

/// Whether a topic that was created a moment ago answers so, until every broker knows it and one of them leads it.
pub(in crate::log::kafka) fn is_of_new_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::UnknownPartition
                | Code::UnknownTopic
                | Code::UnknownTopicOrPartition
        )
    )
}

/// Whether an error that the client reports on its own explains nothing: that all brokers are down says less than why one
/// of them is, and the end of a partition is no fault.
pub(in crate::log::kafka) fn says_nothing(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::AllBrokersDown | Code::PartitionEOF))
}

/// Whether a text ends with the error of a connection that the broker closed.
pub(in crate::log::kafka) fn ends_with_hang_up(text: &str) -> bool {
    text.ends_with(&Code::BrokerTransportFailure.to_string())
}

/// The error with its meaning, and in words with what was being done.
pub(in crate::log::kafka) fn failed(doing: &str, error: &KafkaError) -> LogError {
    let kind = of(error);
    let detail = match kind {
        LogErrorKind::OutOfRange => {
            format!("{doing}: the log does not have this offset: the topic was truncated or created again ({error})")
        }
        _ => format!("{doing}: {error}"),
    };
    LogError::new(kind, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_kind() {
        let table = [
            (Code::Fenced, LogErrorKind::Superseded),
            (Code::InvalidProducerEpoch, LogErrorKind::Superseded),
            (Code::PurgeQueue, LogErrorKind::Superseded),
            (Code::OffsetOutOfRange, LogErrorKind::OutOfRange),
            (Code::MessageTimedOut, LogErrorKind::Transient),
            (Code::ConcurrentTransactions, LogErrorKind::Transient),
            (Code::NotEnoughReplicas, LogErrorKind::Transient),
            (Code::TransactionalIdAuthorizationFailed, LogErrorKind::Operator),
            (Code::TopicAuthorizationFailed, LogErrorKind::Operator),
            (Code::GroupAuthorizationFailed, LogErrorKind::Operator),
            (Code::SaslAuthenticationFailed, LogErrorKind::Operator),
            (Code::InvalidTransactionalState, LogErrorKind::Internal),
            (Code::OutOfOrderSequenceNumber, LogErrorKind::Internal),
            (Code::Unknown, LogErrorKind::Internal),
        ];
        for (code, kind) in table {
            assert_eq!(of_code(code), kind, "{code:?}");
            let error = failed("reading", &KafkaError::MessageConsumption(code));
            assert!(error.kind == kind && error.detail.starts_with("reading: "), "{error:?}");
        }
        let unmade = KafkaError::ClientCreation("No provider for SASL mechanism".to_owned());
        assert!(failed("a stream", &unmade).needs_operator(), "a setting has to change");
    }

    #[test]
    fn a_commit_that_failed_is_never_taken_for_one_that_did_not_happen() {
        let error = |code| KafkaError::MessageProduction(code);
        assert_eq!(of_commit(&error(Code::Fenced)), CommitOutcome::Fenced);
        for code in [Code::OperationTimedOut, Code::BrokerTransportFailure, Code::InvalidTransactionalState] {
            assert_eq!(of_commit(&error(code)), CommitOutcome::Unknown, "{code:?}");
        }
    }

    /// The story: the topic of commands had lost its first records to retention. A healthy process said at a rebalance that it
    /// cannot join, because its client had asked for the first offset before the partition was paused.
    #[test]
    fn what_a_member_cannot_read_keeps_it_out_of_no_group() {
        let keeps_out = |code| keeps_out_of_group(&KafkaError::MessageConsumption(code));
        assert!([Code::GroupAuthorizationFailed, Code::InconsistentGroupProtocol].into_iter().all(keeps_out));
        let passing = [Code::AutoOffsetReset, Code::OffsetOutOfRange, Code::RebalanceInProgress, Code::NotCoordinator];
        assert!(!passing.into_iter().any(keeps_out));
    }

    #[test]
    fn an_error_without_a_code_ends_the_instance() {
        assert_eq!(of(&KafkaError::Canceled), LogErrorKind::Internal);
    }
}
