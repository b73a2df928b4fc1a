//! What the client's errors mean. Every question about an error's code is answered in this file, and nowhere else in the
//! crate: so one code has one meaning. (The end of a partition is not a code: readers match `KafkaError::PartitionEOF`.)

use crate::log::{CommitOutcome, LogError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What an error means for the caller of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log::kafka) enum Meaning {
    /// This client instance may not write any more. That does not prove that there is another owner: a transaction that ran
    /// past its own time limit gets the same error.
    Fenced,
    /// The log does not have the offset that was asked for.
    OutOfRange,
    /// The cluster is slow, changes leaders or cannot be reached. The same instance may try again.
    Transient,
    /// An operator has to change something: permissions, topics, versions, settings.
    Operator,
    /// This client instance cannot be used any more. Every error that is not in the table means this too.
    Dead,
}

/// The meaning of a code.
pub(in crate::log::kafka) fn of_code(code: Code) -> Meaning {
    match code {
        Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::PurgeQueue
        | Code::PurgeInflight => Meaning::Fenced,
        Code::OffsetOutOfRange | Code::NoOffset | Code::AutoOffsetReset => Meaning::OutOfRange,
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
        | Code::PollExceeded => Meaning::Transient,
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
        | Code::InvalidTopic => Meaning::Operator,
        _ => Meaning::Dead,
    }
}

/// The meaning of an error. A fatal error of a transaction is never transient, whatever its code is.
pub(in crate::log::kafka) fn of(error: &KafkaError) -> Meaning {
    let meaning = error.rdkafka_error_code().map_or(Meaning::Dead, of_code);
    match error {
        KafkaError::Transaction(inner) if inner.is_fatal() && meaning == Meaning::Transient => Meaning::Dead,
        _ => meaning,
    }
}

/// What is known of a turn whose commit failed with this error. Never `Aborted`: the request may have been applied.
pub(in crate::log::kafka) fn of_commit(error: &KafkaError) -> CommitOutcome {
    match of(error) {
        Meaning::Fenced => CommitOutcome::Fenced,
        Meaning::OutOfRange | Meaning::Transient | Meaning::Operator | Meaning::Dead => CommitOutcome::Unknown,
    }
}

/// Whether the client's queue has no room for a record: the record was not taken, and may be offered again.
pub(in crate::log::kafka) fn is_queue_full(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageProduction(Code::QueueFull))
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

/// The error as text that begins with what was being done.
pub(in crate::log::kafka) fn failed(doing: &str, error: &KafkaError) -> LogError {
    match of(error) {
        Meaning::OutOfRange => LogError::new(format!(
            "{doing}: the log does not have this offset: the topic was truncated or created again ({error})"
        )),
        _ => LogError::new(format!("{doing}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meaning_has_its_codes() {
        let table = [
            (Code::Fenced, Meaning::Fenced),
            (Code::InvalidProducerEpoch, Meaning::Fenced),
            (Code::PurgeQueue, Meaning::Fenced),
            (Code::OffsetOutOfRange, Meaning::OutOfRange),
            (Code::MessageTimedOut, Meaning::Transient),
            (Code::ConcurrentTransactions, Meaning::Transient),
            (Code::NotEnoughReplicas, Meaning::Transient),
            (Code::TransactionalIdAuthorizationFailed, Meaning::Operator),
            (Code::InvalidTransactionalState, Meaning::Dead),
            (Code::OutOfOrderSequenceNumber, Meaning::Dead),
            (Code::Unknown, Meaning::Dead),
        ];
        for (code, meaning) in table {
            assert_eq!(of_code(code), meaning, "{code:?}");
        }
    }

    #[test]
    fn a_commit_that_failed_is_never_taken_for_one_that_did_not_happen() {
        let error = |code| KafkaError::MessageProduction(code);
        assert_eq!(of_commit(&error(Code::Fenced)), CommitOutcome::Fenced);
        for code in [Code::OperationTimedOut, Code::BrokerTransportFailure, Code::InvalidTransactionalState] {
            assert_eq!(of_commit(&error(code)), CommitOutcome::Unknown, "{code:?}");
        }
    }

    #[test]
    fn an_error_without_a_code_ends_the_instance() {
        assert_eq!(of(&KafkaError::Canceled), Meaning::Dead);
    }
}
