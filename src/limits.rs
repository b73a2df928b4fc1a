//! The bounds of the system, units in the name, proven against each other at compile time. One that only one file can
//! reach stands at its head.
//! Nothing here is a tuning knob of one deployment: those live in `config` and are checked against these.

/// Longest name of a pool, area, label, actor or order reference, in bytes (one byte a character).
pub const NAME_BYTES_MAX: usize = 64;
/// Longest name of a dimension: it is kept inline, 16 bytes with every amount.
pub const DIMENSION_BYTES_MAX: usize = 16;
/// Longest Idempotency-Key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// Dimensions of one pool.
pub const DIMENSIONS_MAX: usize = 16;
/// Areas one pool serves.
pub const AREAS_MAX: usize = 256;
/// Labels of one pool.
pub const LABELS_MAX: usize = 32;
/// Largest limit or demand in one dimension: exact in an Avro long and in a JSON number (2^53).
pub const UNITS_MAX: u64 = 1_000_000_000_000_000;
/// Attempts not abandoned that one reservation keeps apart. With one more it is settled: it lives until it is released or
/// expires, whichever of them is abandoned.
pub const ATTEMPTS_MAX: usize = 64;
/// Attempts of one reservation that were abandoned before they came, and whose deadline has not passed.
pub const CANCELLED_ATTEMPTS_MAX: usize = 16;
/// Shortest and longest time a hold may be asked for, in milliseconds.
pub const HOLD_TTL_MIN_MS: u64 = 100;
/// See [`HOLD_TTL_MIN_MS`].
pub const HOLD_TTL_MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// Longest whole life that a pool may allow a hold, however often it is extended.
pub const HOLD_LIFE_MAX_MS: u64 = 30 * HOLD_TTL_MAX_MS;

/// Longest text in which an operator says why something was done to the log by hand, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// Log time for which a decided key, an ended reservation and a cancelled attempt are remembered.
/// Part of the fold: changing it changes states, so the log's manifest pins it.
pub const DEDUP_WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;
/// Log time for which the id of a decided command is kept at least: a copy of it decides nothing. A command may have its
/// deadline no further ahead, so that a copy comes while the id is kept or too late. It is the longest deadline, and
/// what a gateway's clock may be ahead of an owner's. Part of the fold, as [`DEDUP_WINDOW_MS`] is.
pub const COMMAND_WINDOW_MS: u64 = 15_000;
/// Ids whose time is over within the same so many milliseconds are let go together.
pub const COMMAND_SPAN_MS: u64 = 3_000;
/// Ids of decided commands kept per partition; more commands are refused. Some 25 bytes each.
pub const DECIDED_COMMANDS_MAX: usize = 1 << 20;
/// Ids of decided commands that a partition may keep when its clock is set back: they stay until a copy of each would be
/// too late by the old time, a day at most, and what is left is for those that come.
pub const CLOCK_SET_COMMANDS_MAX: usize = DECIDED_COMMANDS_MAX / 2;
/// Ids in one row of a checkpoint, and in what memory shares with it.
pub const DECIDED_LEAF_IDS: usize = 4_000;
/// Which bounds of what is remembered these are, and which formula of [`crate::domain::room`] counts it. Both are part of
/// the fold, as [`DEDUP_WINDOW_MS`] is: a change of any of them is another version, and the log's manifest pins it. In a
/// manifest that does not name one it is the first.
pub const MEMORY_VERSION: u32 = 1;
/// Bytes that one partition remembers, as [`crate::domain::room`] counts them: reservations that live or have ended,
/// attempts given up, and answers of applied changes. None of it is forgotten before its time: work that needs more is
/// refused.
pub const MEMORY_BYTES_MAX: u64 = 3 << 30;
/// Bytes beyond them for what may not be refused: attempts that are given up, and the answers of a Release and a Confirm.
pub const MEMORY_RESERVE_BYTES: u64 = 256 << 20;
/// Share of [`MEMORY_BYTES_MAX`] from which on an owner warns, in percent.
pub const MEMORY_WARN_PERCENT: u64 = 80;
/// Share below which what was warned of is over, so that it is said once.
pub const MEMORY_CALM_PERCENT: u64 = 75;
/// Bytes of refusals of keyed Reserve commands that one partition remembers; the oldest go first, as nothing was taken.
pub const REFUSALS_BYTES_MAX: u64 = 128 << 20;
/// Bytes of refusals of other keyed commands that one partition remembers; the oldest go first.
pub const REFUSED_ANSWERS_BYTES_MAX: u64 = 16 << 20;
/// What a remembered reservation counts for, its share of every index included, beside its demand and its order.
pub const RESERVATION_BYTES: u64 = 128;
/// What a hold counts for besides, for its timer.
pub const HOLD_BYTES: u64 = 64;
/// What a remembered answer counts for, beside its texts and amounts.
pub const ANSWER_BYTES: u64 = 768;
/// What an answer counts for at the most: one about a pool with as many areas and labels as a pool may have.
pub const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// What is remembered until some time within the same so many milliseconds stops counting together.
pub const FORGET_SPAN_MS: u64 = 1_000;
/// Entries whose time is over that are let go while one event is folded: more than one event adds, so that the backlog
/// shrinks. Until then they are not known and do not count.
pub const FORGOTTEN_PER_EVENT_MAX: usize = 4;
/// Pools of one partition.
pub const POOLS_PER_PARTITION_MAX: usize = 1 << 18;

/// Time before an embedded log that failed is opened again, in milliseconds; twice as long with every time in vain.
pub const LOG_REOPEN_MS: u64 = 50;
/// Longest such time, in milliseconds, unless opening takes long: of the time that passes, it takes one part in
/// [`LOG_REOPEN_ONE_IN`] and one.
pub const LOG_REOPEN_MAX_MS: u64 = 2_000;
/// See [`LOG_REOPEN_MAX_MS`].
pub const LOG_REOPEN_ONE_IN: u32 = 4;

/// Partitions of a new embedded log, and the most any log may have.
pub const PARTITIONS_DEFAULT: u32 = 4;
/// See [`PARTITIONS_DEFAULT`].
pub const PARTITIONS_MAX: u32 = 1_024;

/// Brokers that hold every topic of a cluster unless the configuration says otherwise, and how many of them have a
/// record before it counts as written: one may fail and nothing stops, two and nothing is lost.
pub const REPLICATION_DEFAULT: u16 = 3;
/// See [`REPLICATION_DEFAULT`].
pub const MIN_IN_SYNC_DEFAULT: u16 = 2;
/// Most that may be asked for.
pub const REPLICATION_MAX: u16 = 16;
/// Time a schema registry has to answer: usually, at least and at most, in milliseconds.
pub const REGISTRY_TIMEOUT_DEFAULT_MS: u64 = 2_000;
/// See [`REGISTRY_TIMEOUT_DEFAULT_MS`].
pub const REGISTRY_TIMEOUT_MIN_MS: u64 = 50;
/// See [`REGISTRY_TIMEOUT_DEFAULT_MS`].
pub const REGISTRY_TIMEOUT_MAX_MS: u64 = 10_000;
/// Time before a registry that did not answer is asked again, in milliseconds; twice as long with every time it does not.
pub const REGISTRY_RETRY_MS: u64 = 100;
/// Longest such time, in milliseconds: so long a partition may wait after the registry is back.
pub const REGISTRY_RETRY_MAX_MS: u64 = 2_000;
/// Ids that are asked about in one go.
pub const REGISTRY_ASKED_AT_ONCE: usize = 16;
/// Ids that wait to be asked about; whoever comes upon another asks again later.
pub const REGISTRY_IDS_WAITING_MAX: usize = 4_096;
/// Answers of a registry that are kept beside what was known at the start; the oldest are asked for again. So many ids
/// of our schemas are remembered on disk, too, in 64 KiB.
pub const REGISTRY_ANSWERS_MAX: usize = 1_024;

/// Records one turn takes.
pub const TURN_RECORDS_MAX: usize = 4_096;
/// Command bytes one turn takes; the first record is always taken.
pub const TURN_BYTES_MAX: usize = 4 << 20;
/// Due holds one turn expires; the rest follow in the next. Few, so that callers hardly wait for them.
pub const TURN_TIMERS_MAX: usize = 128;
/// Due holds one turn looks at when a pool would refuse a call for want of what they still take, and expires of that pool;
/// and those that it expires while nobody is served yet.
pub const TURN_OVERDUE_MAX: usize = 4_096;
/// Longest encoded command: a pool definition with every name at its longest fits.
pub const COMMAND_BYTES_MAX: usize = 64 << 10;
/// Bytes of a command that nobody could decide that are kept of it, and bytes of its key: more than any that somebody
/// could, and together less than a client of a cluster takes.
pub const LETTER_BYTES_MAX: usize = 900 << 10;
/// See [`LETTER_BYTES_MAX`].
pub const LETTER_KEY_BYTES_MAX: usize = 4 << 10;
/// Dead letters of one partition that are looked at together; the others wait until these are discarded and gone.
pub const LETTERS_MAX: usize = 100_000;
/// Time for which a partition is held up by dead letters that cannot be written, in milliseconds. After it turns go
/// without: a stranger's record must not take a partition away for ever.
pub const LETTERS_HOLD_MS: u64 = 30_000;
/// Different demands of one partition's reservations that are kept once however many reservations take them.
pub const SHARED_DEMANDS_MAX: usize = 4_096;
/// Largest single allocation a decoder makes on a length field's word.
pub const DECODE_ALLOCATION_BYTES_MAX: usize = 128 << 10;
/// Commands waiting for one partition's owner; more are shed.
pub const QUEUED_COMMANDS_MAX: usize = 16_384;
/// Places of that queue kept for Abandon commands, which must not be shed.
pub const QUEUED_ABANDONS_RESERVE: usize = 4_096;

/// Calls in flight per partition before the gateway sheds.
pub const INFLIGHT_PER_PARTITION_MAX: usize = 8_192;
/// Time a call may take when neither the caller nor the configuration names one, in milliseconds.
pub const DEADLINE_DEFAULT_MS: u64 = 250;
/// Longest time a caller may ask for, in milliseconds.
pub const DEADLINE_MAX_MS: u64 = 5_000;
/// Time without any decision while commands wait, or without an answer of the log that was asked, after which a partition
/// counts as one that does not decide, in milliseconds.
pub const STALLED_MS: u64 = 1_500;
/// Between two looks at whether partitions decide, in milliseconds.
pub const READINESS_LOOK_MS: u64 = 100;
/// Between two questions to a log that other processes write, in milliseconds.
pub const PULSE_MS: u64 = 200;
/// Between two notes in which an owner on a cluster shows that it is there, and between two looks of a process at them, in
/// milliseconds.
pub const OWNER_BEAT_MS: u64 = 110;
/// Time without such a note and without an event after which a partition counts as one that nobody owns, in milliseconds.
pub const OWNERLESS_MS: u64 = 1_830;
/// Time after which readiness has said that a partition does not decide, in milliseconds.
pub const READINESS_SHOWS_MS: u64 = 2_000;
/// Time past its deadline a timed-out Reserve may wait for its Abandon to be in the log, so that its "no" is
/// final; after it the honest answer is `unknown`. A caller is answered 50 ms past its deadline at the latest, and an
/// answer needs time to get there.
pub const ABANDON_GRACE_MS: u64 = 30;

/// Time between two tries to hand over an Abandon that the log did not take, in milliseconds. They are never more than
/// the Reserves that its queues held.
pub const ABANDON_RETRY_MS: u64 = 5;

/// Longest wait of an owner for a command while no hold is due, in milliseconds: how late a hold may expire.
pub const POLL_WAIT_MAX_MS: u64 = 50;
/// Time between two looks at whether the wall clock has stepped, in milliseconds.
pub const CLOCK_LOOK_MS: u64 = 250;
/// Least change between two such looks, against the monotonic clock, that is a step, in milliseconds.
pub const CLOCK_STEP_MS: u64 = 500;
/// How far the time of a partition may be ahead of the wall clock before readiness says so, in milliseconds.
pub const CLOCK_AHEAD_MAX_MS: u64 = 10_000;
/// How far the wall clock of an owner on a cluster may be from that of its partition's broker, in milliseconds: beyond it
/// the owner decides nothing.
pub const CLOCK_BROKER_MAX_MS: u64 = 5_000;
/// How far the time that a process tells may be ahead of both the log and a wall clock that is known to be right, in
/// milliseconds.
pub const CLOCK_TOLD_MAX_MS: u64 = 40_000;
/// Events after which the owner offers a checkpoint.
pub const CHECKPOINT_EVENTS: u64 = 16_384;
/// Time after which the owner offers a checkpoint if anything changed, in milliseconds.
pub const CHECKPOINT_INTERVAL_MS: u64 = 5_000;
/// Time between two looks at whether the embedded log's file is in its place while nothing is committed, in milliseconds.
pub const FILE_LOOK_MS: u64 = 500;
/// Time between two flushes of the witness to the disk, in milliseconds: so much of what it has seen a power cut may
/// take from it.
pub const WITNESS_FLUSH_MS: u64 = 500;
/// Partitions that a refusal to serve a log names one by one.
pub const LOSSES_TOLD_MAX: usize = 8;
/// Time without a turn after which an owner on a log that forgets who is silent makes one, in milliseconds.
pub const TICK_AFTER_MS: u64 = 60_000;
/// Time before an owner that failed is made anew, in milliseconds; twice as long with every failure that follows soon.
pub const CLAIM_RETRY_MS: u64 = 50;
/// The same when it was fenced, in milliseconds: by then the group has been heard, which may have given the partition to
/// another. Longer than the time between two heartbeats.
pub const CLAIM_FENCED_MS: u64 = 700;
/// Longest such time, in milliseconds.
pub const CLAIM_RETRY_MAX_MS: u64 = 2_000;
/// Time after which an owner's failure does not follow soon on the one before, in milliseconds.
pub const CLAIM_STEADY_MS: u64 = 10_000;
/// Time for which no turn of an owner fits a caller's deadline before it looks for one that is better off, in
/// milliseconds, and so many turns besides: one that outlasts the loss of a broker is as long.
pub const SLOW_MS: u64 = 3_000;
/// See [`SLOW_MS`].
pub const SLOW_TURNS: u64 = 2;
/// Time for which an owner that has handed over stays away at least, in milliseconds; twice as long when it comes to that
/// again soon.
pub const SLOW_REST_MS: u64 = 30_000;
/// Longest such time, in milliseconds.
pub const SLOW_REST_MAX_MS: u64 = 480_000;
/// Time after it came back for which a handover is remembered, in milliseconds.
pub const SLOW_FORGOTTEN_MS: u64 = 600_000;
/// Events that a follower folds between two looks at what it has to follow.
pub const FOLLOWED_AT_ONCE: usize = 1_024;
/// Events that a follower far behind folds between two such looks: a process that is to end waits for them.
pub const CAUGHT_UP_AT_ONCE: u64 = 200_000;
/// Reservations that share one page of memory, which is what checkpoints copy: so many fill 8 KiB.
pub const PAGE_SLOTS: usize = 78;

/// Longest name of a host, in bytes: that of DNS.
pub const HOST_BYTES_MAX: usize = 253;
/// Longest request body, in bytes.
pub const HTTP_BODY_BYTES_MAX: usize = 16 << 10;
/// Longest request head, in bytes.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
/// Header fields of one request.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Time a client has to send a request's head, in milliseconds.
pub const HTTP_HEAD_TIMEOUT_MS: u64 = 5_000;
/// Time a connection may idle between two requests, or keep an answer from leaving, in milliseconds.
pub const HTTP_IDLE_TIMEOUT_MS: u64 = 60_000;
/// Log lines a second for the refused and failed requests of one problem code; of the others only the number is told.
pub const LOGGED_REFUSALS_PER_SECOND: u32 = 10;
/// Time a client has to send a request's body, in milliseconds.
pub const HTTP_BODY_TIMEOUT_MS: u64 = 5_000;
/// Open connections of callers; for one more the one goes that has waited longest for a request.
pub const HTTP_CONNECTIONS_MAX: usize = 4_096;
/// Connections beyond those while all of them are being served: probes are answered, others are told so.
pub const HTTP_CONNECTIONS_KEPT: usize = 64;
/// Time in which such a connection has to send its request, in milliseconds.
pub const HTTP_KEPT_WAIT_MS: u64 = 1_000;
/// Connections that were told to make room and have not ended yet.
pub const HTTP_CONNECTIONS_ENDING_MAX: usize = 64;
/// Time for which a connection is read on behind its last answer, in milliseconds, so that the answer arrives.
pub const HTTP_LINGER_MS: u64 = 200;
/// Time in which a caller who sends no more, but has not hung up, takes the first byte of an answer, in milliseconds.
pub const HTTP_KNOCK_MS: u64 = 20;
/// Time after SIGTERM in which connections are still taken that had begun before, in milliseconds: a round trip of theirs.
pub const HTTP_NEWCOMERS_MS: u64 = 50;
/// Open files of the process itself, and of each partition: its share of the log, checkpoints, or clients of a cluster.
pub const FILES_OF_PROCESS: usize = 256;
/// See [`FILES_OF_PROCESS`].
pub const FILES_OF_PARTITION: usize = 32;
/// Connections of callers that are served however few files the system lets the process open.
pub const HTTP_CONNECTIONS_MIN: usize = 16;
/// Pools one availability page or listing holds, at most and when nothing is asked.
pub const PAGE_POOLS_MAX: usize = 500;
/// See [`PAGE_POOLS_MAX`].
pub const PAGE_POOLS_DEFAULT: usize = 100;
/// Queries over pools that are under way; more are shed.
pub const READS_MAX: usize = 512;
/// Queries over pools that are worked on at once, at most: half as many as there are processors, so that decisions have
/// the others.
pub const READS_AT_ONCE_MAX: usize = 8;
/// Pools that a query looks at before the next one gets its turn.
pub const SEARCH_STEP_POOLS: usize = 1_024;
/// Time `?fresh=true` may wait for the replica, in milliseconds.
pub const FRESH_WAIT_MAX_MS: u64 = 1_000;
/// Readers of one partition that may wait for newer state.
pub const FRESH_WAITERS_MAX: usize = 4_096;
/// Connections served at a time while the log is being opened, each for one request; more wait in the listener's backlog.
pub const STARTING_CONNECTIONS_MAX: usize = 64;
/// Between two log lines that say how far a start has come, in milliseconds.
pub const STARTUP_LINE_MS: u64 = 3_000;
/// Time after SIGTERM in which calls on open connections are still served, each the last of its connection, in
/// milliseconds: who sends one as its connection is closed cannot tell whether it was heard. A connection that has been
/// silent for so long, whenever that began, is not waited for.
pub const LEAVE_MS: u64 = 1_000;
/// Time in-flight calls get after that, in milliseconds.
pub const SHUTDOWN_CALLS_MS: u64 = 8_000;
/// Time an owner gets at the end for the commands that this process has appended, in milliseconds: they stay in the log,
/// and where they cannot be read the next owner decides them.
pub const SHUTDOWN_REST_MS: u64 = 5_000;
/// Time after [`LEAVE_MS`] in which all has to end, in milliseconds: calls, last turns and checkpoints. The process ends
/// without what has not.
pub const SHUTDOWN_MS: u64 = 20_000;

const _: () = {
    // A caller who was told "no" must not be outlived by a late Reserve that nobody remembers to be abandoned.
    assert!(DEDUP_WINDOW_MS > DEADLINE_MAX_MS + ABANDON_GRACE_MS);
    // The id of a command is kept for as long as a copy of it may be in time, wherever its gateway's clock stands.
    assert!(COMMAND_WINDOW_MS >= DEADLINE_MAX_MS + 10_000 && COMMAND_SPAN_MS < COMMAND_WINDOW_MS);
    // A clock that is off by so much that nobody is warned keeps no command from being in time.
    assert!(CLOCK_AHEAD_MAX_MS + DEADLINE_MAX_MS <= COMMAND_WINDOW_MS);
    // Two owners whose clocks are as far apart as may be decide each other's commands.
    assert!(2 * CLOCK_BROKER_MAX_MS + DEADLINE_MAX_MS <= COMMAND_WINDOW_MS);
    // A log that is ahead of a clock goes on at half pace between two events of a silent owner.
    assert!(TICK_AFTER_MS / 2 + CLOCK_BROKER_MAX_MS < CLOCK_TOLD_MAX_MS);
    // A step is told within a second, and is more than a late look makes of an adjusted clock.
    assert!(CLOCK_LOOK_MS + CLOCK_STEP_MS < 1_000 && CLOCK_LOOK_MS < CLOCK_STEP_MS);
    // A clock that was set back twice keeps the ids of all those commands, and still takes more.
    assert!(CLOCK_SET_COMMANDS_MAX + TURN_RECORDS_MAX < DECIDED_COMMANDS_MAX);
    // Who is refused for another reason is cancelled for longer than that.
    assert!(DEDUP_WINDOW_MS > COMMAND_WINDOW_MS + COMMAND_SPAN_MS);
    assert!(DECIDED_LEAF_IDS * 16 <= DECODE_ALLOCATION_BYTES_MAX && TURN_RECORDS_MAX < DECIDED_COMMANDS_MAX);
    // Every call in flight can queue its command, and every one of them its Abandon besides.
    assert!(QUEUED_COMMANDS_MAX - QUEUED_ABANDONS_RESERVE >= INFLIGHT_PER_PARTITION_MAX);
    assert!(QUEUED_COMMANDS_MAX >= 2 * INFLIGHT_PER_PARTITION_MAX);
    assert!(STARTING_CONNECTIONS_MAX < HTTP_CONNECTIONS_MAX && READINESS_LOOK_MS < STARTUP_LINE_MS);
    assert!(ABANDON_RETRY_MS < ABANDON_GRACE_MS);
    assert!(LOG_REOPEN_MS < LOG_REOPEN_MAX_MS);
    // What has just begun is seen by the next look, or asked about by the next question and then seen.
    assert!(STALLED_MS + PULSE_MS + 2 * READINESS_LOOK_MS < READINESS_SHOWS_MS);
    // A partition that moves in order has an owner again by then, and two notes that are lost are not taken for its end.
    assert!(OWNERLESS_MS >= 3 * OWNER_BEAT_MS + STALLED_MS && READINESS_LOOK_MS < OWNER_BEAT_MS);
    // A record that may be appended fits a turn.
    assert!(COMMAND_BYTES_MAX <= TURN_BYTES_MAX && HTTP_BODY_BYTES_MAX <= COMMAND_BYTES_MAX);
    // What could be decided is kept whole, and a letter with its headers fits what librdkafka sends at most, 1,000,000.
    assert!(COMMAND_BYTES_MAX < LETTER_BYTES_MAX && LETTER_BYTES_MAX + LETTER_KEY_BYTES_MAX < 990_000);
    // A turn that expires what is overdue is no larger than one of commands.
    assert!(TURN_TIMERS_MAX < TURN_OVERDUE_MAX && TURN_OVERDUE_MAX <= TURN_RECORDS_MAX);
    // A decoder may allocate what one command can hold.
    assert!(DECODE_ALLOCATION_BYTES_MAX >= COMMAND_BYTES_MAX);
    // Sums of what a pool admits stay far from the end of u64.
    assert!(UNITS_MAX < u64::MAX / 4 && UNITS_MAX < 1 << 53);
    // Forgetting outpaces remembering: an event adds at most one entry to each memory.
    assert!(FORGOTTEN_PER_EVENT_MAX > 1);
    // Ten million ended reservations of two dimensions each, with an order of 32 bytes, have room.
    assert!(10_000_000 * (RESERVATION_BYTES + (48 + 2 * 24) + (48 + 32)) <= MEMORY_BYTES_MAX);
    // Slots have 32-bit numbers.
    assert!((MEMORY_BYTES_MAX + MEMORY_RESERVE_BYTES + REFUSALS_BYTES_MAX) / RESERVATION_BYTES < 1 << 32);
    // An answer about the largest pool: its areas, its labels, its limits and what is used of them.
    assert!(
        ANSWER_BYTES as usize
            + AREAS_MAX * (72 + NAME_BYTES_MAX)
            + LABELS_MAX * (144 + 2 * NAME_BYTES_MAX)
            + 2 * (48 + 24 * DIMENSIONS_MAX)
            + 96
            + KEY_BYTES_MAX
            + NAME_BYTES_MAX
            <= ANSWER_BYTES_MAX as usize
    );
    assert!(FORGET_SPAN_MS < DEDUP_WINDOW_MS);
    assert!(
        ANSWER_BYTES_MAX < REFUSED_ANSWERS_BYTES_MAX
            && MEMORY_CALM_PERCENT < MEMORY_WARN_PERCENT
            && MEMORY_WARN_PERCENT < 100
    );
    assert!(CLAIM_RETRY_MS <= CLAIM_FENCED_MS && CLAIM_FENCED_MS <= CLAIM_RETRY_MAX_MS);
    assert!(CLAIM_RETRY_MAX_MS < CLAIM_STEADY_MS);
    // A handover pays for itself, and one that follows soon is always further away.
    assert!(SLOW_TURNS > 1 && SLOW_MS < SLOW_REST_MS && SLOW_REST_MS < SLOW_REST_MAX_MS);
    assert!(SLOW_REST_MAX_MS < SLOW_FORGOTTEN_MS);
    // A call that was taken is answered before its connection is closed, and a last turn has its time after it.
    assert!(SHUTDOWN_CALLS_MS > DEADLINE_MAX_MS + ABANDON_GRACE_MS);
    assert!(SHUTDOWN_CALLS_MS + SHUTDOWN_REST_MS < SHUTDOWN_MS);
    // A probe has a place though all callers are being served, and those who make room are gone before they are too many.
    assert!(
        HTTP_CONNECTIONS_KEPT > 0 && HTTP_CONNECTIONS_ENDING_MAX > 0 && HTTP_CONNECTIONS_MIN <= HTTP_CONNECTIONS_MAX
    );
    assert!(ABANDON_GRACE_MS + HTTP_KNOCK_MS <= 50);
    assert!(HTTP_KEPT_WAIT_MS <= HTTP_HEAD_TIMEOUT_MS && HTTP_LINGER_MS + HTTP_NEWCOMERS_MS < LEAVE_MS);
    assert!(DEADLINE_DEFAULT_MS <= DEADLINE_MAX_MS && PAGE_POOLS_DEFAULT <= PAGE_POOLS_MAX);
    // However many read, there are connections for those who reserve; and a step gets further than one page.
    assert!(READS_MAX <= HTTP_CONNECTIONS_MAX / 2 && READS_AT_ONCE_MAX <= READS_MAX);
    assert!(SEARCH_STEP_POOLS > PAGE_POOLS_MAX);
    assert!(MIN_IN_SYNC_DEFAULT < REPLICATION_DEFAULT && REPLICATION_DEFAULT <= REPLICATION_MAX);
    assert!(REGISTRY_TIMEOUT_MIN_MS < REGISTRY_TIMEOUT_DEFAULT_MS);
    assert!(REGISTRY_TIMEOUT_DEFAULT_MS < REGISTRY_TIMEOUT_MAX_MS);
    assert!(REGISTRY_RETRY_MS < REGISTRY_RETRY_MAX_MS && REGISTRY_ASKED_AT_ONCE <= REGISTRY_IDS_WAITING_MAX);
    // Every owner and the follower of every partition may wait for an id of its own.
    assert!(REGISTRY_IDS_WAITING_MAX >= 2 * PARTITIONS_MAX as usize);
    // An id and its fingerprint take 28 bytes of a file; what was known at the start has room beside them.
    assert!((REGISTRY_ANSWERS_MAX + 64) * 28 < 64 << 10);
    // A file that was taken away shows within a second, by the poll after a look is due.
    assert!(FILE_LOOK_MS + POLL_WAIT_MAX_MS < 1_000 && WITNESS_FLUSH_MS < CHECKPOINT_INTERVAL_MS);
    assert!(PARTITIONS_DEFAULT <= PARTITIONS_MAX && HOLD_TTL_MIN_MS < HOLD_TTL_MAX_MS);
    assert!(HOLD_TTL_MAX_MS <= HOLD_LIFE_MAX_MS);
    // A life that has become too long to be counted is longer than any pool may allow.
    assert!(HOLD_LIFE_MAX_MS < u32::MAX as u64);
    // One refusal alone is always found in the log.
    assert!(LOGGED_REFUSALS_PER_SECOND > 0);
};
