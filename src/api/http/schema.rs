//! Schemas of the values that requests and answers are made of, with the bounds of [`crate::limits`]. Every description
//! uses these schemas, so a bound is the same everywhere.

use crate::api::problem;
use crate::domain::{Mode as PoolMode, Status as ReservationStatus};
use crate::limits::{
    AREAS_MAX, DIMENSION_BYTES_MAX, DIMENSIONS_MAX, HOLD_LIFE_MAX_MS, HOLD_TTL_MAX_MS, HOLD_TTL_MIN_MS, KEY_BYTES_MAX,
    LABELS_MAX, NAME_BYTES_MAX, PAGE_POOLS_MAX, PARTITIONS_MAX, RETIRE_AFTER_MAX_MS, RETIRE_AFTER_MIN_MS, UNITS_MAX,
};
use crate::service::{Effect as CallEffect, Shed};
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ComponentsBuilder, Object, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

macro_rules! no_name_has {
    () => {
        r"\u0000-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uE000-\uF8FF\uFEFF\uFFF9-\uFFFB"
    };
}
macro_rules! blanks {
    () => {
        r" \u00A0\u1680\u2000-\u200A\u202F\u205F\u3000"
    };
}

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    $schema.into()
                }
            }

            impl ToSchema for $name {}
        )*

        /// Adds all of these schemas.
        pub fn with_values(components: ComponentsBuilder) -> ComponentsBuilder {
            components $(.schema_from::<$name>())*
        }
    };
}

values! {
    /// A pool's id.
    PoolId = text(POOL_ID, NAME_BYTES_MAX)
        .description(Some("Of `A-Z a-z 0-9 . _ : -`, but not `.` or `..`, and not beginning with `__headroom.`; compared byte by byte"));
    /// An area, a label, an order reference, an actor.
    Name = text(NAME, NAME_BYTES_MAX)
        .examples(["SW1A 1AA", "Köln", "#1001", "SO/2026/00012", "dispatch@ops.example"])
        .description(Some(
            "Unicode text in normalization form C, of at most 64 bytes in UTF-8, without control, format, private-use and \
             unassigned characters and without line or paragraph separators, that neither begins nor ends with a blank; \
             compared byte by byte. The pattern says of this what a pattern can",
        ));
    /// The value of an `Idempotency-Key` header.
    Key = text(&format!("^(\"{KEY}{{1,{KEY_BYTES_MAX}}}\"|{KEY}{{1,{KEY_BYTES_MAX}}})$"), KEY_BYTES_MAX.saturating_add(2))
        .description(Some("Visible ASCII characters without \" and \\, bare or in double quotes"));
    /// A reservation's id.
    ReservationId = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^hr_[0-7][0-9a-hjkmnp-tv-z]{25}$"))
        .description(Some("The same pool and key give the same id"));
    /// An instant in RFC 3339.
    Instant = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(INSTANT))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some("RFC 3339 with an offset, from 1970 to 9999, to the microsecond"));
    /// A dimension's name.
    Dimension = text(DIMENSION, DIMENSION_BYTES_MAX);
    /// Units by dimension.
    Units = amounts(0, UNITS_MAX).description(Some("Units by dimension"));
    /// Limits that a caller asks for.
    Limits = amounts(0, UNITS_MAX).min_properties(Some(1)).description(Some("Units by dimension; at least one"));
    /// The units that a caller asks for.
    Demand = amounts(1, UNITS_MAX)
        .min_properties(Some(1))
        .description(Some("Units by dimension, each at least 1; all of them are taken, or none"));
    /// Changes of limits.
    Differences = by_dimension(integer().minimum(Some(-UNITS_MOST)).maximum(Some(UNITS_MOST)))
        .min_properties(Some(1))
        .description(Some("Differences by dimension"));
    /// Areas where a pool is offered.
    Areas = ArrayBuilder::new().items(Ref::from_schema_name("Name")).max_items(Some(AREAS_MAX));
    /// Labels with their values.
    Labels = labels(Ref::from_schema_name("Name"));
    /// Time for a hold.
    HoldTtl = bounded(HOLD_TTL_MIN_MS, HOLD_TTL_MAX_MS).description(Some("In milliseconds"));
    /// The whole life of a hold.
    HoldLife = bounded(HOLD_TTL_MIN_MS, HOLD_LIFE_MAX_MS).description(Some("In milliseconds"));
    /// How long after its window a pool retires.
    RetireAfter = bounded(RETIRE_AFTER_MIN_MS, RETIRE_AFTER_MAX_MS).description(Some("In milliseconds"));
    /// The number of pools, or reservations, of a page.
    PageLimit = bounded(1, PAGE_POOLS_MAX as u64);
    /// A pool's version.
    Version = at_least(1);
    /// The number of a partition.
    Partition = bounded(0, LAST_PARTITION);
    /// A sequence number in a partition.
    Seq = at_least(0);
    /// A count, or a time in milliseconds.
    Count = at_least(0);
    /// A digest in hexadecimal digits.
    Digest = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9a-f]{32}$"));
    /// A pool's mode.
    Mode = one_of(PoolMode::ALL.map(PoolMode::code));
    /// What has become of a reservation.
    Status = one_of(ReservationStatus::ADMITTED.into_iter().filter_map(ReservationStatus::code));
    /// How a reservation ended.
    End = one_of(["released", "expired"]);
    /// Why a call was shed.
    ShedReason = text("^[a-z][a-z_]*$", CODE_BYTES_MAX)
        .examples(Shed::ALL.map(Shed::code))
        .description(Some("One of those that are listed, or one of a newer server"));
    /// Whether a refused call may have been applied.
    Effect = one_of(CallEffect::ALL.map(CallEffect::code));
    /// The health of a process.
    Condition = one_of(["ok", "degraded", "unavailable"]);
    /// The phase of a start.
    Phase = one_of(["opening", "restoring", "expiring"]);
    /// The code of a refusal.
    Code = text("^[a-z][a-z_]*$", CODE_BYTES_MAX)
        .examples(codes())
        .description(Some("One of those that are listed, or one of a newer server"));
    /// Everything that is counted.
    Metrics = ObjectBuilder::new().schema_type(Type::String);
    /// A description of an API.
    Document = ObjectBuilder::new().schema_type(Type::Object);
    /// By partition, the sequence number after the last known event.
    Places = by(text("^[0-9]+$", PARTITION_DIGITS), at_least(0));
}

const POOL_ID: &str = r"^([A-Za-z0-9._:-]*[A-Za-z0-9_:-][A-Za-z0-9._:-]*|\.{3,})$";
/// A character of a key.
const KEY: &str = r"[!#-\[\]-~]";
/// The pattern does not cover everything that is refused: regular expressions of different languages share no
/// categories of characters.
const NAME: &str =
    concat!("^[^", no_name_has!(), blanks!(), "]([^", no_name_has!(), "]*[^", no_name_has!(), blanks!(), "])?$");
/// No year before 1970, no leap second, nothing finer than a microsecond.
const INSTANT: &str = r"^(19[7-9][0-9]|[2-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6}0*)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
/// Longest code of a refusal, in bytes.
const CODE_BYTES_MAX: usize = 64;
const DIMENSION: &str = "^[a-z][a-z0-9_]*$";
/// Most digits of a partition's number.
const PARTITION_DIGITS: usize = LAST_PARTITION.ilog10() as usize + 1;
const LAST_PARTITION: u64 = PARTITIONS_MAX as u64 - 1;
const UNITS_MOST: i64 = UNITS_MAX as i64;

fn amounts(least: u64, most: u64) -> ObjectBuilder {
    by_dimension(bounded(least, most))
}

/// An object with dimensions as names, at most as many as a pool has.
fn by_dimension(of: ObjectBuilder) -> ObjectBuilder {
    by(text(DIMENSION, DIMENSION_BYTES_MAX), of).max_properties(Some(DIMENSIONS_MAX))
}

/// Labels with these values.
pub fn labels(of: impl Into<RefOr<Schema>>) -> ObjectBuilder {
    by(text(NAME, NAME_BYTES_MAX), of).max_properties(Some(LABELS_MAX))
}

fn by(names: ObjectBuilder, of: impl Into<RefOr<Schema>>) -> ObjectBuilder {
    let names: Object = names.build();
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(names))
        .additional_properties(Some(AdditionalProperties::RefOr(of.into())))
}

/// A text of this pattern, of at most so many characters.
fn text(pattern: &str, most: usize) -> ObjectBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    text.min_length(Some(1)).max_length(Some(most))
}

fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
}

fn at_least(least: u64) -> ObjectBuilder {
    integer().minimum(Some(least as usize))
}

/// An integer from the least to the most.
pub fn bounded(least: u64, most: u64) -> ObjectBuilder {
    at_least(least).maximum(Some(most as usize))
}

/// One of a closed set of words.
pub fn one_of(words: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}

fn codes() -> Vec<&'static str> {
    let mut codes: Vec<_> = problem::cases().iter().map(|case| case.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}
