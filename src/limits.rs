//! The bounds that several files use, or that are checked against others at compile time, with their units in the name. Any
//! other bound stands at the head of the one file that uses it. None of them is a setting of one deployment: settings are
//! in `config`, which checks them against these bounds.

/// Longest name of a pool, area, label, actor or order reference, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest name of a dimension, in bytes. It is stored inline, in 16 bytes beside every amount.
pub const DIMENSION_BYTES_MAX: usize = 16;
/// Longest Idempotency-Key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// Most dimensions of one pool.
pub const DIMENSIONS_MAX: usize = 16;
/// Most areas of one pool.
pub const AREAS_MAX: usize = 256;
/// Most labels of one pool.
pub const LABELS_MAX: usize = 32;
/// Largest limit or demand in one dimension. It is exact in an Avro long and in a JSON number (2^53).
pub const UNITS_MAX: u64 = 1_000_000_000_000_000;
/// Most attempts of one reservation that are not abandoned and kept apart. With one more the reservation is settled:
/// it lives until it is released or expires, whichever attempts are abandoned.
pub const ATTEMPTS_MAX: usize = 64;
/// Most attempts of one reservation that were abandoned before they came and may still come.
pub const CANCELLED_ATTEMPTS_MAX: usize = 16;
/// Shortest time that a hold may be asked for, in milliseconds.
pub const HOLD_TTL_MIN_MS: u64 = 100;
/// Longest time that a hold may be asked for at once, in milliseconds.
pub const HOLD_TTL_MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// Longest whole life that a pool may allow a hold, extensions included, in milliseconds.
pub const HOLD_LIFE_MAX_MS: u64 = 30 * HOLD_TTL_MAX_MS;

/// How long after the end of its window a pool retires by itself when its rules do not say, in milliseconds.
pub const RETIRE_AFTER_DEFAULT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Shortest such time that a pool may have, in milliseconds, and the shortest notice: no change lets a pool retire by
/// itself sooner. Until then everything of it that could be asked for is over. These times are part of the fold.
pub const RETIRE_AFTER_MIN_MS: u64 = 2 * 24 * 60 * 60 * 1_000;
/// Longest such time, in milliseconds: ten years.
pub const RETIRE_AFTER_MAX_MS: u64 = 3_652 * 24 * 60 * 60 * 1_000;

/// Time between two rounds of the canary on a partition when nobody sets it, in milliseconds.
pub const CANARY_INTERVAL_DEFAULT_MS: u64 = 5_000;
/// Shortest such time. Each round adds two events, which the log keeps for good.
pub const CANARY_INTERVAL_MIN_MS: u64 = 1_000;
/// Longest such time, in milliseconds.
pub const CANARY_INTERVAL_MAX_MS: u64 = 60_000;

/// Most events that a sink writes at once when nobody sets it: a database takes some hundred milliseconds for them.
pub const SINK_BATCH_EVENTS_DEFAULT: u64 = 20_000;
/// Fewest such events.
pub const SINK_BATCH_EVENTS_MIN: u64 = 1_000;
/// Most such events. The memory that a batch takes is bounded besides.
pub const SINK_BATCH_EVENTS_MAX: u64 = 100_000;
/// How long an event waits at most before a sink writes it, in milliseconds, when nobody sets it.
pub const SINK_BATCH_DEFAULT_MS: u64 = 60_000;
/// Shortest such time, in milliseconds.
pub const SINK_BATCH_MIN_MS: u64 = 100;
/// Longest such time, in milliseconds.
pub const SINK_BATCH_MAX_MS: u64 = 60 * 60 * 1_000;
/// Slowest speed of a sink that may be set, in events a second: a page of the log takes less than a second.
pub const SINK_EVENTS_PER_SECOND_MIN: u64 = 1_000;
/// Fastest such speed: faster than any sink is.
pub const SINK_EVENTS_PER_SECOND_MAX: u64 = 1_000_000;

/// Longest reason that an operator may give for a change of the log, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// How long a decided key, an ended reservation and a cancelled attempt are remembered, in milliseconds of log time, and
/// for how long the id of a pool that has retired cannot be defined anew: so nothing of a former life is known in the next
/// one. It is part of the fold: another value gives other states, so the manifest of a log pins it.
pub const DEDUP_WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;
/// How long the id of a decided command is kept at least, in milliseconds of log time. A copy of the command decides
/// nothing in that time. No command may have its deadline further ahead, so that a later copy comes too late. The
/// value is the longest deadline, and the most that a gateway's clock may be ahead of an owner's. Part of the fold,
/// like [`DEDUP_WINDOW_MS`].
pub const COMMAND_WINDOW_MS: u64 = 15_000;
/// Ids whose time ends within the same span of so many milliseconds are forgotten together.
pub const COMMAND_SPAN_MS: u64 = 3_000;
/// Most ids of decided commands that a partition keeps, at some 25 bytes each. Further commands are refused.
pub const DECIDED_COMMANDS_MAX: usize = 1 << 20;
/// Most ids of decided commands that a partition may keep when its clock is set back. They stay until a copy of each
/// would be too late by the old time, at most a day. The rest of the room is for new commands.
pub const CLOCK_SET_COMMANDS_MAX: usize = DECIDED_COMMANDS_MAX / 2;
/// Ids in one row of a checkpoint, and in the piece of memory that it shares.
pub const DECIDED_LEAF_IDS: usize = 4_000;
/// Version of the bounds below on what is remembered, and of the formula in [`crate::domain::room`]. Both are part of
/// the fold, like [`DEDUP_WINDOW_MS`]: changing any of them needs a new version, and the manifest of a log pins it. A
/// manifest without one means version 1.
pub const MEMORY_VERSION: u32 = 1;
/// Bytes that one partition may remember, as [`crate::domain::room`] counts them, for live and ended reservations,
/// attempts that were given up, and answers of applied changes. None of these is forgotten before its time; work that
/// needs more room is refused.
pub const MEMORY_BYTES_MAX: u64 = 3 << 30;
/// Bytes beyond [`MEMORY_BYTES_MAX`] for what must not be refused: attempts that are given up, and the answers of a
/// Release and a Confirm.
pub const MEMORY_RESERVE_BYTES: u64 = 256 << 20;
/// A warning comes when so many percent of [`MEMORY_BYTES_MAX`], or of the memory that the process may have, are used.
pub const MEMORY_WARN_PERCENT: u64 = 80;
/// The warning may come again after memory has fallen below this share, in percent.
pub const MEMORY_CALM_PERCENT: u64 = 75;
/// Bytes of refusals of keyed Reserve commands that a partition remembers. They took nothing: the oldest go first.
pub const REFUSALS_BYTES_MAX: u64 = 128 << 20;
/// Bytes of refusals of other keyed commands that one partition remembers. The oldest are forgotten first.
pub const REFUSED_ANSWERS_BYTES_MAX: u64 = 16 << 20;
/// Bytes that a remembered reservation counts for beside its demand and its order, with its share of every index.
pub const RESERVATION_BYTES: u64 = 128;
/// Bytes that a hold counts for in addition, for its timer.
pub const HOLD_BYTES: u64 = 64;
/// Bytes that a remembered answer counts for beside its texts and amounts.
pub const ANSWER_BYTES: u64 = 768;
/// Most bytes that an answer counts for: one about a pool with the most areas and labels.
pub const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Entries whose time ends within the same span of so many milliseconds stop counting together.
pub const FORGET_SPAN_MS: u64 = 1_000;
/// Most entries whose time is over that are dropped while one event is folded. It is more than one event adds, so
/// that the backlog shrinks. Entries that wait to be dropped are not known and do not count.
pub const FORGOTTEN_PER_EVENT_MAX: usize = 4;
/// Most pools of one partition, with the ids that cannot be defined anew yet.
pub const POOLS_PER_PARTITION_MAX: usize = 1 << 18;

/// How often a data directory that is in use is tried to be locked: whoever only looks at its lock has it for a moment.
pub const LOCK_TRIES: u32 = 10;
/// Pause between two of these attempts, in milliseconds.
pub const LOCK_RETRY_MS: u64 = 10;
/// First wait before an embedded log that failed is opened again, in milliseconds. It doubles with every failure.
pub const LOG_REOPEN_MS: u64 = 50;
/// Longest such wait, in milliseconds. Where opening takes long, the wait is a multiple of that.
pub const LOG_REOPEN_MAX_MS: u64 = 2_000;

/// Partitions of a new log when the configuration does not say.
pub const PARTITIONS_DEFAULT: u32 = 4;
/// Most partitions of any log.
pub const PARTITIONS_MAX: u32 = 1_024;

/// Replicas of every topic by default: with three, one may fail and nothing stops; two may, and nothing is lost.
pub const REPLICATION_DEFAULT: u16 = 3;
/// Replicas that must have a record before it counts as written, when the configuration does not say.
pub const MIN_IN_SYNC_DEFAULT: u16 = 2;
/// Most replicas that the configuration may ask for.
pub const REPLICATION_MAX: u16 = 16;
/// How long a schema registry has to answer, in milliseconds, when the configuration does not say.
pub const REGISTRY_TIMEOUT_DEFAULT_MS: u64 = 2_000;
/// Shortest timeout of the registry that may be configured, in milliseconds.
pub const REGISTRY_TIMEOUT_MIN_MS: u64 = 50;
/// Longest timeout of the registry that may be configured, in milliseconds.
pub const REGISTRY_TIMEOUT_MAX_MS: u64 = 10_000;
/// First wait before a registry that did not answer is asked again, in milliseconds. It doubles every time.
pub const REGISTRY_RETRY_MS: u64 = 100;
/// Longest such wait, in milliseconds. A partition may wait so long after the registry is back.
pub const REGISTRY_RETRY_MAX_MS: u64 = 2_000;
/// Most ids that one request asks the registry about.
pub const REGISTRY_ASKED_AT_ONCE: usize = 16;
/// Most ids that wait to be asked about. Whoever needs a further one tries again later.
pub const REGISTRY_IDS_WAITING_MAX: usize = 4_096;
/// Most answers of the registry that are kept beside those known at the start; the oldest are dropped and asked for
/// again. As many ids of our schemas are kept on disk, in 64 KiB.
pub const REGISTRY_ANSWERS_MAX: usize = 1_024;

/// Most records that one turn takes.
pub const TURN_RECORDS_MAX: usize = 4_096;
/// Most bytes of commands that one turn takes; the first record is always taken.
pub const TURN_BYTES_MAX: usize = 4 << 20;
/// Most due holds that one turn expires, few so that callers hardly wait; the rest follow in the next turn.
pub const TURN_TIMERS_MAX: usize = 128;
/// Most due holds that one turn expires when a pool would refuse a call because of what still lives in it, and while the
/// owner does not take commands yet.
pub const TURN_OVERDUE_MAX: usize = 4_096;
/// Longest dictionary of a segment of the embedded log, in bytes.
pub const DICTIONARY_BYTES_MAX: usize = 64 << 10;
/// Most bytes of memory that an owner of the embedded log keeps to pack its turns; beyond what it remembers.
pub const PACKER_BYTES_MAX: u64 = 2 << 20;
/// Longest encoded command, and longest body of a request that lists areas or pools, in bytes: the longest names fit.
pub const COMMAND_BYTES_MAX: usize = 64 << 10;
/// Most bytes that are kept of a command that nobody could decide: more than any decidable command has, and less,
/// with its key, than a client of a cluster sends.
pub const LETTER_BYTES_MAX: usize = 900 << 10;
/// Most bytes that are kept of the key of such a command.
pub const LETTER_KEY_BYTES_MAX: usize = 4 << 10;
/// Most dead letters of one partition that are listed. Further ones are listed when some of these are gone.
pub const LETTERS_MAX: usize = 100_000;
/// How long a partition waits for dead letters that cannot be written, in milliseconds. After that its turns go on
/// without them: a stranger's record must not stop a partition for ever.
pub const LETTERS_HOLD_MS: u64 = 30_000;
/// Most bytes that a decoder allocates because of one length field.
pub const DECODE_ALLOCATION_BYTES_MAX: usize = 128 << 10;
/// Most commands that wait for the owner of one partition; further ones are shed.
pub const QUEUED_COMMANDS_MAX: usize = 16_384;
/// Places of that queue for Abandon commands alone, which must not be shed.
pub const QUEUED_ABANDONS_RESERVE: usize = 4_096;

/// Most calls in flight for one partition; the gateway sheds further ones.
pub const INFLIGHT_PER_PARTITION_MAX: usize = 8_192;
/// Of those, places for follow-ups alone: a Confirm, an Extend and a Release work on what their caller already has, and
/// a Release makes room for others. No other call takes one of these places, so a flood of Reserves sheds none of them.
pub const INFLIGHT_FOLLOW_UPS_MAX: usize = 3_072;
/// The other places: calls that take capacity, or change what there is to take.
pub const INFLIGHT_TAKES_MAX: usize = INFLIGHT_PER_PARTITION_MAX - INFLIGHT_FOLLOW_UPS_MAX;
/// The share of either kind of places that one named caller may have while others have calls there, in percent.
pub const SHARE_BESIDE_OTHERS_PERCENT: usize = 50;
/// The same while nobody else has. It is less than all of them, so that whoever comes next finds a place.
pub const SHARE_ALONE_PERCENT: usize = 75;
/// How long a refusal for a quota is held back when its caller has had as many at once as its quota has calls, in
/// milliseconds. So a connection gets at most 20 of them a second. It is below what callers wait for an answer.
pub const QUOTA_REFUSAL_PAUSE_MS: u64 = 50;
/// Buckets of quotas that a process keeps, at some 400 bytes each: one for each caller and kind of call. Callers beyond
/// them share one, until the bucket of another caller has filled and can be dropped.
pub const QUOTA_BUCKETS_MAX: usize = 8_192;
/// Most callers that a setting may give a rate of their own.
pub const QUOTA_NAMED_MAX: usize = 1_024;
/// Most calls a second that a quota may allow.
pub const QUOTA_RATE_MAX: u32 = 1_000_000;
/// Most calls at once that a quota may allow.
pub const QUOTA_BURST_MAX: u32 = 1_000_000;
/// Timeout of a call in milliseconds when neither the caller nor the configuration names one.
pub const DEADLINE_DEFAULT_MS: u64 = 250;
/// Longest timeout that a caller may ask for, in milliseconds.
pub const DEADLINE_MAX_MS: u64 = 5_000;
/// A partition counts as stalled when commands wait and none is decided for so long, or its log was asked and does
/// not answer for so long, in milliseconds.
pub const STALLED_MS: u64 = 1_500;
/// Interval at which readiness looks at the partitions, in milliseconds.
pub const READINESS_LOOK_MS: u64 = 100;
/// Interval at which a log that other processes write is asked for its end, in milliseconds.
pub const PULSE_MS: u64 = 200;
/// Interval at which an owner on a cluster notes that it is there, and processes read those notes, in milliseconds.
pub const OWNER_BEAT_MS: u64 = 110;
/// A partition counts as one without an owner after so many milliseconds without a note and without an event.
pub const OWNERLESS_MS: u64 = 1_830;
/// Within so many milliseconds readiness reports a partition that does not decide.
pub const READINESS_SHOWS_MS: u64 = 2_000;
/// How long after its deadline a Reserve that timed out may wait until its Abandon is in the log, in milliseconds.
/// Then its "no" is final; otherwise the answer is `unknown`. A caller must have its answer 50 ms after the deadline,
/// and the answer takes time to arrive.
pub const ABANDON_GRACE_MS: u64 = 30;

/// Wait before an Abandon that the log did not take is handed over again, in milliseconds. There are never more of
/// them than Reserves in the queues.
pub const ABANDON_RETRY_MS: u64 = 5;

/// Longest wait of an owner for a command while no hold is due, in milliseconds. A hold may expire so late.
pub const POLL_WAIT_MAX_MS: u64 = 50;
/// Interval at which the wall clock is checked for jumps, in milliseconds.
pub const CLOCK_LOOK_MS: u64 = 250;
/// Smallest change of the wall clock against the monotonic one between two checks that is a jump, in milliseconds.
pub const CLOCK_STEP_MS: u64 = 500;
/// Readiness reports a partition whose time is further ahead of the wall clock than this, in milliseconds.
pub const CLOCK_AHEAD_MAX_MS: u64 = 10_000;
/// Most milliseconds by which the wall clocks of an owner and of its partition's broker may differ for it to decide.
pub const CLOCK_BROKER_MAX_MS: u64 = 5_000;
/// Most milliseconds that a partition's time may be ahead of both its last event and a wall clock that is known to be right.
pub const CLOCK_TOLD_MAX_MS: u64 = 40_000;
/// The owner offers a checkpoint after so many events.
pub const CHECKPOINT_EVENTS: u64 = 16_384;
/// The owner offers a checkpoint after so many milliseconds, if anything has changed.
pub const CHECKPOINT_INTERVAL_MS: u64 = 5_000;
/// Interval at which the file that the embedded log writes is checked to be in its place, in milliseconds.
pub const FILE_LOOK_MS: u64 = 500;
/// Interval at which the witness is flushed to disk, in milliseconds. A power failure may lose so much of its notes.
pub const WITNESS_FLUSH_MS: u64 = 500;
/// An owner makes a turn after so many milliseconds without one, where the log forgets silent owners.
pub const TICK_AFTER_MS: u64 = 60_000;
/// First wait of an owner that failed before it claims again, in milliseconds. It doubles with every failure that follows soon.
pub const CLAIM_RETRY_MS: u64 = 50;
/// Wait before an owner that was fenced claims again, in milliseconds: the group's heartbeat has told of another owner by then.
pub const CLAIM_FENCED_MS: u64 = 700;
/// Longest wait before a claim, in milliseconds.
pub const CLAIM_RETRY_MAX_MS: u64 = 2_000;
/// A failure follows soon when less than so many milliseconds have passed since the failure before it.
pub const CLAIM_STEADY_MS: u64 = 10_000;
/// An owner looks for another process that is closer to the cluster when no turn has fitted a caller's deadline for
/// so many milliseconds, and for [`SLOW_TURNS`] turns. It is as long as a turn that outlasts the loss of a broker.
pub const SLOW_MS: u64 = 3_000;
/// Turns that must have been too slow before an owner hands over.
pub const SLOW_TURNS: u64 = 2;
/// Shortest time that an owner that has handed over stays away, in milliseconds. It doubles when that comes again soon.
pub const SLOW_REST_MS: u64 = 30_000;
/// Longest such time, in milliseconds.
pub const SLOW_REST_MAX_MS: u64 = 480_000;
/// A withdrawal from the group is forgotten so many milliseconds after the owner came back.
pub const SLOW_FORGOTTEN_MS: u64 = 600_000;
/// A partition that was given to a process which cannot restore its state is left to others after so many milliseconds.
pub const UNRESTORED_MS: u64 = 5_000;
/// Events that a follower folds before it looks again at what it has to follow.
pub const FOLLOWED_AT_ONCE: usize = 1_024;
/// Reservations in one page of memory, which is what a checkpoint copies; they fill 8 KiB.
pub const PAGE_SLOTS: usize = 78;

/// Longest token in an Authorization header, in bytes. JWTs of a caller in hundreds of groups fit.
pub const CREDENTIAL_BYTES_MAX: usize = 8 << 10;
/// Most API tokens in one file.
pub const TOKENS_MAX: usize = 10_000;
/// Most bytes of a file of tokens, certificates or keys.
pub const ACCESS_FILE_BYTES_MAX: u64 = 8 << 20;
/// Most that the clock of an issuer of JWTs may differ from ours, in seconds.
pub const JWT_LEEWAY_S: u64 = 30;
/// Most verified JWTs that are remembered, at some 300 bytes each.
pub const JWTS_KEPT_MAX: usize = 8_192;
/// Most bytes of the keys of an issuer, and of the document that says where they are.
pub const JWKS_BYTES_MAX: usize = 256 << 10;
/// Interval at which an issuer is asked for its keys, in milliseconds.
pub const JWKS_PERIOD_MS: u64 = 300_000;
/// A JWT that no known key has signed leads to one request of the issuer in so many milliseconds.
pub const JWKS_ASKED_MS: u64 = 5_000;
/// First wait before an issuer that did not answer is asked again, in milliseconds. It doubles every time.
pub const JWKS_RETRY_MS: u64 = 500;
/// Longest such wait, in milliseconds.
pub const JWKS_RETRY_MAX_MS: u64 = 30_000;
/// Interval at which it is checked whether the issuer is to be asked, in milliseconds.
pub const JWKS_LOOK_MS: u64 = 100;
/// Longest body of every other request, in bytes.
pub const HTTP_BODY_BYTES_MAX: usize = 16 << 10;
/// Longest request head, in bytes.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
/// Most commands that the span of a turn has links to.
pub const TURN_LINKS_MAX: usize = 128;
/// Most spans that wait to be exported. A span that finds no room is dropped and counted.
pub const SPANS_WAITING_MAX: usize = 8_192;
/// Most spans of one export.
pub const SPANS_AT_ONCE_MAX: usize = 512;
/// How long the last export of spans may take at shutdown, in milliseconds.
pub const SPANS_LAST_EXPORT_MS: u64 = 1_000;
/// Longest `tracestate` that is passed on, in bytes, as the W3C recommends; a longer one is left out.
pub const TRACE_STATE_BYTES_MAX: usize = 512;
/// Most header fields of one request.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Time a client has to send a request's head, in milliseconds.
pub const HTTP_HEAD_TIMEOUT_MS: u64 = 5_000;
/// How long a connection may be idle between two requests, or take no bytes of an answer, in milliseconds.
pub const HTTP_IDLE_TIMEOUT_MS: u64 = 60_000;
/// The sampled access log has a line for one of this many calls that were done.
pub const ACCESS_ONE_OF: u64 = 1_000;
/// Most lines of the access log that wait for standard error; about 3 MiB of memory. Further ones are only counted.
pub const ACCESS_LINES_WAITING_MAX: usize = 8_192;
/// Most log lines per second about failed requests of one problem code; further ones are only counted.
pub const LOGGED_REFUSALS_PER_SECOND: u32 = 10;
/// Most open connections of callers. One more closes the connection that has waited longest for a request.
pub const HTTP_CONNECTIONS_MAX: usize = 4_096;
/// Connections beyond those, for the time when all of them are being served: probes are answered, others are refused.
pub const HTTP_CONNECTIONS_KEPT: usize = 64;
/// How long such a connection may take to send its request, and any connection its first byte while the log is being opened,
/// in milliseconds.
pub const HTTP_KEPT_WAIT_MS: u64 = 1_000;
/// Most connections that were told to make room and have not closed yet.
pub const HTTP_CONNECTIONS_ENDING_MAX: usize = 64;
/// How long a connection is read after its last answer, in milliseconds, so that the answer arrives.
pub const HTTP_LINGER_MS: u64 = 200;
/// How long a caller that has closed its sending side may take for the first byte of an answer, in milliseconds.
pub const HTTP_KNOCK_MS: u64 = 20;
/// How long after SIGTERM connections are accepted that had begun before, in milliseconds: one round trip.
pub const HTTP_NEWCOMERS_MS: u64 = 50;
/// Most requests of one HTTP/2 connection that are open at the same time.
pub const HTTP2_STREAMS_MAX: u32 = 128;
/// How many more requests of an HTTP/2 connection its caller may cancel than are answered. Then it is cut off.
pub const HTTP2_CANCELLED_MAX: usize = 256;
/// Bytes of one request's body that an HTTP/2 caller may send before they are read.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// Bytes of all bodies of one HTTP/2 connection that may be sent before they are read.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Frames per second of one HTTP/2 connection that bring nothing: pings, settings, open windows, empty parts of bodies,
/// heads in pieces. With more, the connection is cut off.
pub const HTTP2_IDLE_FRAMES_MAX: u32 = 1_000;
/// As how many such frames a piece of a head counts. A head within our bound fits one frame.
pub const HTTP2_CONTINUATION_COST: u32 = 50;
/// After so many milliseconds in which nothing came on an HTTP/2 connection, its caller is asked for a sign of life.
pub const HTTP2_PING_EVERY_MS: u64 = 20_000;
/// How long that caller may take to answer, in milliseconds. Then it counts as gone.
pub const HTTP2_PING_TIMEOUT_MS: u64 = 10_000;
/// Connections of callers that are served in any case, however few files the system allows.
pub const HTTP_CONNECTIONS_MIN: usize = 16;
/// Most pools, or reservations, of one page of a list.
pub const PAGE_POOLS_MAX: usize = 500;
/// How many such a page has when the caller does not say.
pub const PAGE_POOLS_DEFAULT: usize = 100;
/// Most queries over pools and reservations that are in progress; further ones are shed.
pub const READS_MAX: usize = 512;
/// Most of these queries that run at the same time, and at most half as many as processors: decisions have the others.
pub const READS_AT_ONCE_MAX: usize = 8;
/// Most watches over pools that are open; of calls of the reflection service as many. One with conditions keeps the ids that match.
pub const WATCHES_MAX: usize = 64;
/// Interval at which a watch looks for new events, in milliseconds: a change is told about so late.
pub const WATCH_LOOK_MS: u64 = 20;
/// Most pools in one step of a watch.
pub const WATCH_STEP_POOLS: usize = 100;
/// Longest time for which the reader of a watch may take no step while one waits for room, in milliseconds.
pub const WATCH_STALL_MS: u64 = 5_000;
/// Most pools that a watch may name.
pub const WATCH_IDS_MAX: usize = 500;
/// Pools that a query looks at before the next query gets its turn.
pub const SEARCH_STEP_POOLS: usize = 1_024;
/// Longest wait of a read with `?fresh=true` for the replica of one partition, in milliseconds.
pub const FRESH_WAIT_MAX_MS: u64 = 1_000;
/// Most connections that are served while the log is being opened, each for one request. Further ones wait.
pub const STARTING_CONNECTIONS_MAX: usize = 64;
/// Interval of log lines that report the progress of a start, in milliseconds.
pub const STARTUP_LINE_MS: u64 = 3_000;
/// How long after SIGTERM calls on open connections are still served, in milliseconds; each is the last one of its
/// connection. A caller whose request meets a closing connection could not know whether it was read. A connection
/// that has been silent for so long is closed at once.
pub const LEAVE_MS: u64 = 1_000;
/// How long calls in flight may take after [`LEAVE_MS`], in milliseconds.
pub const SHUTDOWN_CALLS_MS: u64 = 8_000;
/// How long an owner may take at the end for commands that this process has appended, in milliseconds. They stay in
/// the log; if they cannot be decided in this time, the next owner decides them.
pub const SHUTDOWN_REST_MS: u64 = 5_000;
/// Everything has to end within so many milliseconds after [`LEAVE_MS`]: calls, last turns and checkpoints. Then the
/// process ends in any case.
pub const SHUTDOWN_MS: u64 = 20_000;

const _: () = {
    // A caller that cancels every request it may have open at a time is not cut off. A request's body fits the window.
    assert!(HTTP2_CANCELLED_MAX >= 2 * HTTP2_STREAMS_MAX as usize && HTTP2_CONTINUATION_COST < HTTP2_IDLE_FRAMES_MAX);
    assert!(COMMAND_BYTES_MAX <= HTTP2_STREAM_WINDOW_BYTES as usize);
    assert!(HTTP2_STREAM_WINDOW_BYTES <= HTTP2_CONNECTION_WINDOW_BYTES);
    assert!(HTTP2_PING_EVERY_MS + HTTP2_PING_TIMEOUT_MS < HTTP_IDLE_TIMEOUT_MS);
    // A late Reserve must come while it is still remembered that its attempt was abandoned, because its caller was
    // told "no".
    assert!(DEDUP_WINDOW_MS > DEADLINE_MAX_MS + ABANDON_GRACE_MS);
    // The id of a command is kept as long as a copy of it may be in time, whatever its gateway's clock shows.
    assert!(COMMAND_WINDOW_MS >= DEADLINE_MAX_MS + 10_000 && COMMAND_SPAN_MS < COMMAND_WINDOW_MS);
    // A clock that is wrong by less than readiness reports makes no command late.
    assert!(CLOCK_AHEAD_MAX_MS + DEADLINE_MAX_MS <= COMMAND_WINDOW_MS);
    // Two owners whose clocks are as far apart as is allowed can decide each other's commands.
    assert!(2 * CLOCK_BROKER_MAX_MS + DEADLINE_MAX_MS <= COMMAND_WINDOW_MS);
    // Between two events of a silent owner the time of a log that is ahead advances at half pace.
    assert!(TICK_AFTER_MS / 2 + CLOCK_BROKER_MAX_MS < CLOCK_TOLD_MAX_MS);
    // A jump is reported within a second, and is larger than the drift of an adjusted clock between two late checks.
    assert!(CLOCK_LOOK_MS + CLOCK_STEP_MS < 1_000 && CLOCK_LOOK_MS < CLOCK_STEP_MS);
    // A clock that was set back twice keeps the ids of all those commands, and there is room for more.
    assert!(CLOCK_SET_COMMANDS_MAX + TURN_RECORDS_MAX < DECIDED_COMMANDS_MAX);
    // An attempt that is refused for another reason stays cancelled for longer than that. When the id of a retired pool is
    // free, a command that was given to the former life is too late, and its copies are recognised until then.
    assert!(DEDUP_WINDOW_MS > COMMAND_WINDOW_MS + COMMAND_SPAN_MS + FORGET_SPAN_MS);
    assert!(DECIDED_LEAF_IDS * 16 <= DECODE_ALLOCATION_BYTES_MAX && TURN_RECORDS_MAX < DECIDED_COMMANDS_MAX);
    // Every call in flight can queue its command, and every one of them its Abandon besides.
    assert!(QUEUED_COMMANDS_MAX - QUEUED_ABANDONS_RESERVE >= INFLIGHT_PER_PARTITION_MAX);
    assert!(QUEUED_COMMANDS_MAX >= 2 * INFLIGHT_PER_PARTITION_MAX);
    // Calls that take capacity can fill a turn, and all the follow-ups that a take leaves room for fit one turn.
    assert!(INFLIGHT_TAKES_MAX >= TURN_RECORDS_MAX && INFLIGHT_FOLLOW_UPS_MAX <= TURN_RECORDS_MAX);
    // Two callers get equal shares, and one that is alone leaves places for the next.
    assert!(2 * SHARE_BESIDE_OTHERS_PERCENT <= 100 && SHARE_BESIDE_OTHERS_PERCENT < SHARE_ALONE_PERCENT);
    assert!(SHARE_ALONE_PERCENT < 100);
    assert!(QUOTA_REFUSAL_PAUSE_MS < DEADLINE_DEFAULT_MS);
    // Every caller with a rate of its own finds a bucket for each of the two kinds of calls.
    assert!(2 * QUOTA_NAMED_MAX <= QUOTA_BUCKETS_MAX);
    assert!(STARTING_CONNECTIONS_MAX < HTTP_CONNECTIONS_MAX && READINESS_LOOK_MS < STARTUP_LINE_MS);
    assert!(ABANDON_RETRY_MS < ABANDON_GRACE_MS);
    assert!(LOG_REOPEN_MS < LOG_REOPEN_MAX_MS && LOCK_TRIES as u64 * LOCK_RETRY_MS < LOG_REOPEN_MAX_MS);
    // A stall that has just begun is found by the next check, or by the next question to the log and the check after
    // it.
    assert!(STALLED_MS + PULSE_MS + 2 * READINESS_LOOK_MS < READINESS_SHOWS_MS);
    // A partition that moves in good order has an owner again by then, and two lost notes do not count as its end.
    assert!(OWNERLESS_MS >= 3 * OWNER_BEAT_MS + STALLED_MS && READINESS_LOOK_MS < OWNER_BEAT_MS);
    // A record that may be appended fits a turn.
    assert!(COMMAND_BYTES_MAX <= TURN_BYTES_MAX && HTTP_BODY_BYTES_MAX <= COMMAND_BYTES_MAX);
    // A decidable command is kept whole, and a letter with its headers fits the 1,000,000 bytes that librdkafka takes.
    assert!(COMMAND_BYTES_MAX < LETTER_BYTES_MAX && LETTER_BYTES_MAX + LETTER_KEY_BYTES_MAX < 990_000);
    // A turn that expires overdue holds is no larger than a turn of commands.
    assert!(TURN_TIMERS_MAX < TURN_OVERDUE_MAX && TURN_OVERDUE_MAX <= TURN_RECORDS_MAX);
    // A decoder may allocate what one command can hold.
    assert!(DECODE_ALLOCATION_BYTES_MAX >= COMMAND_BYTES_MAX);
    // The sums of what a pool admits stay far below the largest u64.
    assert!(UNITS_MAX < u64::MAX / 4 && UNITS_MAX < 1 << 53);
    // Forgetting outpaces remembering: an event adds at most one entry to each memory.
    assert!(FORGOTTEN_PER_EVENT_MAX > 1);
    // Ten million ended reservations of two dimensions each, with an order of 32 bytes, have room.
    assert!(10_000_000 * (RESERVATION_BYTES + (48 + 2 * 24) + (48 + 32)) <= MEMORY_BYTES_MAX);
    // When a pool retires by itself, everything is over that was possible until the end of its window: the last
    // acceptance, the longest hold that an older version may have allowed beyond the end, and the time for which its key,
    // its end and its attempts are remembered.
    assert!(RETIRE_AFTER_MIN_MS >= HOLD_TTL_MAX_MS + DEDUP_WINDOW_MS);
    assert!(RETIRE_AFTER_MIN_MS > COMMAND_WINDOW_MS + COMMAND_SPAN_MS + FORGET_SPAN_MS + CLOCK_TOLD_MAX_MS);
    assert!(RETIRE_AFTER_MIN_MS <= RETIRE_AFTER_DEFAULT_MS && RETIRE_AFTER_DEFAULT_MS <= RETIRE_AFTER_MAX_MS);
    // What packs turns is little beside what a partition may remember.
    assert!(PACKER_BYTES_MAX * 1_000 < MEMORY_BYTES_MAX + MEMORY_RESERVE_BYTES);
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
    // An owner stays away longer than it was slow, and longer each time that a withdrawal follows soon.
    assert!(SLOW_TURNS > 1 && SLOW_MS < SLOW_REST_MS && SLOW_REST_MS < SLOW_REST_MAX_MS);
    assert!(SLOW_REST_MAX_MS < SLOW_FORGOTTEN_MS && CLAIM_RETRY_MAX_MS < UNRESTORED_MS);
    // A call that was accepted is answered before its connection is closed, and a last turn has time after it.
    assert!(SHUTDOWN_CALLS_MS > DEADLINE_MAX_MS + ABANDON_GRACE_MS);
    assert!(SHUTDOWN_CALLS_MS + SHUTDOWN_REST_MS + SPANS_LAST_EXPORT_MS < SHUTDOWN_MS);
    // A record with the headers of its trace fits the 1,000,000 bytes that librdkafka sends at most.
    assert!(LETTER_BYTES_MAX + LETTER_KEY_BYTES_MAX + 2 * TRACE_STATE_BYTES_MAX < 990_000);
    assert!(SPANS_AT_ONCE_MAX < SPANS_WAITING_MAX && TURN_LINKS_MAX <= TURN_RECORDS_MAX);
    // A probe has a place while all connections are served, and those that make room close before there are too many.
    assert!(
        HTTP_CONNECTIONS_KEPT > 0 && HTTP_CONNECTIONS_ENDING_MAX > 0 && HTTP_CONNECTIONS_MIN <= HTTP_CONNECTIONS_MAX
    );
    assert!(ABANDON_GRACE_MS + HTTP_KNOCK_MS <= 50);
    assert!(HTTP_KEPT_WAIT_MS <= HTTP_HEAD_TIMEOUT_MS && HTTP_LINGER_MS + HTTP_NEWCOMERS_MS < LEAVE_MS);
    assert!(DEADLINE_DEFAULT_MS <= DEADLINE_MAX_MS && PAGE_POOLS_DEFAULT <= PAGE_POOLS_MAX);
    // Reads leave connections for callers who reserve, and one step of a query covers more than one page.
    assert!(READS_MAX <= HTTP_CONNECTIONS_MAX / 2 && READS_AT_ONCE_MAX <= READS_MAX);
    assert!(SEARCH_STEP_POOLS > PAGE_POOLS_MAX && SEARCH_STEP_POOLS > WATCH_STEP_POOLS);
    // A watch ends before its process does.
    assert!(WATCH_LOOK_MS < LEAVE_MS && WATCH_LOOK_MS < WATCH_STALL_MS);
    assert!(MIN_IN_SYNC_DEFAULT < REPLICATION_DEFAULT && REPLICATION_DEFAULT <= REPLICATION_MAX);
    assert!(REGISTRY_TIMEOUT_MIN_MS < REGISTRY_TIMEOUT_DEFAULT_MS);
    assert!(REGISTRY_TIMEOUT_DEFAULT_MS < REGISTRY_TIMEOUT_MAX_MS);
    assert!(REGISTRY_RETRY_MS < REGISTRY_RETRY_MAX_MS && REGISTRY_ASKED_AT_ONCE <= REGISTRY_IDS_WAITING_MAX);
    // The owner and the follower of every partition may each wait for an id.
    assert!(REGISTRY_IDS_WAITING_MAX >= 2 * PARTITIONS_MAX as usize);
    // An id and its fingerprint take 28 bytes of a file; there is room for those known at the start.
    assert!((REGISTRY_ANSWERS_MAX + 64) * 28 < 64 << 10);
    // A file that was removed is noticed within a second, by the poll after a check is due.
    assert!(FILE_LOOK_MS + POLL_WAIT_MAX_MS < 1_000 && WITNESS_FLUSH_MS < CHECKPOINT_INTERVAL_MS);
    assert!(PARTITIONS_DEFAULT <= PARTITIONS_MAX && HOLD_TTL_MIN_MS < HOLD_TTL_MAX_MS);
    assert!(HOLD_TTL_MAX_MS <= HOLD_LIFE_MAX_MS);
    // A life that is too long to be counted is longer than any pool may allow.
    assert!(HOLD_LIFE_MAX_MS < u32::MAX as u64);
    // A credential fits into the head of a request, and the tokens that a file may hold fit into the file.
    assert!(CREDENTIAL_BYTES_MAX < HTTP_HEAD_BYTES_MAX);
    assert!((TOKENS_MAX * 600) as u64 <= ACCESS_FILE_BYTES_MAX);
    assert!(JWT_LEEWAY_S <= 60 && JWKS_RETRY_MS < JWKS_RETRY_MAX_MS && JWKS_RETRY_MAX_MS < JWKS_PERIOD_MS);
    assert!(JWKS_LOOK_MS < JWKS_RETRY_MS && JWKS_ASKED_MS < JWKS_PERIOD_MS);
    assert!(CANARY_INTERVAL_MIN_MS <= CANARY_INTERVAL_DEFAULT_MS);
    assert!(CANARY_INTERVAL_DEFAULT_MS < CANARY_INTERVAL_MAX_MS);
    assert!(SINK_BATCH_MIN_MS < SINK_BATCH_DEFAULT_MS && SINK_BATCH_DEFAULT_MS < SINK_BATCH_MAX_MS);
    assert!(SINK_BATCH_EVENTS_MIN < SINK_BATCH_EVENTS_DEFAULT && SINK_BATCH_EVENTS_DEFAULT < SINK_BATCH_EVENTS_MAX);
    // One refusal alone is always found in the log.
    assert!(LOGGED_REFUSALS_PER_SECOND > 0);
};
