//! Sends the spans of sampled traces to a collector, over OTLP and gRPC. Whoever records a span never waits: spans wait in
//! a bounded queue, a thread of the SDK sends them in batches, and what finds no room is dropped and counted. A collector
//! that is slow or down costs spans and nothing else.

use super::attributes;
use super::metrics::Metrics;
use super::spans::SpanMetrics;
use crate::config::Traces;
use crate::domain::Micros;
use crate::limits::{CLOCK_STEP_MS, SPANS_AT_ONCE_MAX, SPANS_LAST_EXPORT_MS, SPANS_WAITING_MAX};
use crate::time::Clock;
use crate::trace::{Recorder, Span, TraceContext};
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample, SpanData, SpanExporter, SpanLinks,
    SpanProcessor,
};
use prometheus::IntCounter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, UNIX_EPOCH};

/// Time between two exports of spans, in milliseconds, unless [`SPANS_AT_ONCE_MAX`] wait.
const SPANS_EXPORT_MS: u64 = 1_000;
/// How long an export of spans may take, in milliseconds.
const SPANS_EXPORT_TIMEOUT_MS: u64 = 5_000;

/// The name under which spans are sent, of the process and of what has made them.
const SERVICE: &str = "headroom";

/// The way of spans to a collector.
pub struct TraceExport {
    processor: BatchSpanProcessor,
    sampler: Sampler,
    scope: InstrumentationScope,
    clock: Arc<dyn Clock>,
    wall_ahead_us: AtomicI64,
    /// Spans that the processor holds.
    waiting: Arc<AtomicUsize>,
    dropped: IntCounter,
}

impl TraceExport {
    /// Sends to this collector from now on. `instance` tells this process from others. To be called within a runtime,
    /// in which the connection lives.
    ///
    /// # Errors
    /// What is wrong with the endpoint. A collector that does not answer is no error.
    pub fn start(
        traces: &Traces,
        instance: u64,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<TraceExport, String> {
        let otlp = OtlpExporter::builder().with_tonic().with_endpoint(&traces.endpoint);
        let otlp = otlp.with_timeout(Duration::from_millis(SPANS_EXPORT_TIMEOUT_MS)).build();
        let otlp = otlp.map_err(|error| format!("otlp_endpoint {}: {error}", traces.endpoint))?;
        let waiting = Arc::new(AtomicUsize::new(0));
        let metrics = metrics.spans.clone();
        let dropped = metrics.dropped.clone();
        let is_failing = AtomicBool::new(false);
        let counted = Counted { otlp, waiting: Arc::clone(&waiting), metrics, is_failing };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(SPANS_WAITING_MAX)
            .with_max_export_batch_size(SPANS_AT_ONCE_MAX)
            .with_scheduled_delay(Duration::from_millis(SPANS_EXPORT_MS))
            .build();
        let mut processor = BatchSpanProcessor::new(counted, batches);
        let instance = format!("{instance:016x}");
        let version = KeyValue::new(attributes::SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
        let instance = KeyValue::new(attributes::SERVICE_INSTANCE_ID, instance);
        let resource = Resource::builder().with_service_name(SERVICE).with_attributes([version, instance]).build();
        processor.set_resource(&resource);
        let sampler = Sampler::TraceIdRatioBased(f64::from(traces.sampled_of_million) / 1e6);
        let scope = InstrumentationScope::builder(SERVICE).build();
        let wall_ahead_us = AtomicI64::new(i64::MIN);
        Ok(TraceExport { processor, sampler, scope, clock, wall_ahead_us, waiting, dropped })
    }

    /// Sends what waits, and stops. It blocks for [`SPANS_LAST_EXPORT_MS`] at most.
    pub fn end(&self) {
        // Spans that cannot be sent any more are lost, as they are when a collector is down.
        let _ = self.processor.shutdown_with_timeout(Duration::from_millis(SPANS_LAST_EXPORT_MS));
    }

    /// How far the wall clock is ahead of the monotonic one, in microseconds. Two readings of it differ a little, so one is
    /// kept until the wall clock steps: spans of one call must not overlap by chance.
    fn wall_ahead_us(&self) -> i64 {
        let signed = |at: Micros| i64::try_from(at.0).unwrap_or(i64::MAX);
        let (read, known) = (signed(self.clock.wall()).saturating_sub(signed(self.clock.now())), &self.wall_ahead_us);
        if known.load(Relaxed).abs_diff(read) >= CLOCK_STEP_MS.saturating_mul(1_000) {
            known.store(read, Relaxed);
        }
        known.load(Relaxed)
    }

    fn data(&self, span: Span) -> SpanData {
        let Span { context, parent, is_parent_remote, work, begun, ended, links } = span;
        let (span_kind, attributes, status) = attributes::of(&work);
        let ahead_us = self.wall_ahead_us();
        let wall = |at: Micros| UNIX_EPOCH + Duration::from_micros(at.0.saturating_add_signed(ahead_us));
        let mut linked = SpanLinks::default();
        linked.links = links.iter().map(|link| Link::with_context(abroad(link, true))).collect();
        SpanData {
            span_context: abroad(&context, false),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: is_parent_remote && parent.is_some(),
            span_kind,
            name: work.name(),
            start_time: wall(begun),
            end_time: wall(ended),
            attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: linked,
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl Recorder for TraceExport {
    fn samples(&self, trace_id: u128) -> bool {
        let trace_id = TraceId::from(trace_id);
        let sampled = self.sampler.should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }

    fn record(&self, span: Span) {
        // The processor has as much room, so it never drops a span that is counted in here.
        if self.waiting.fetch_add(1, Relaxed) >= SPANS_WAITING_MAX {
            self.waiting.fetch_sub(1, Relaxed);
            return self.dropped.inc();
        }
        self.processor.on_end(self.data(span));
    }
}

/// The ids of a span in OpenTelemetry's type.
fn abroad(context: &TraceContext, is_remote: bool) -> SpanContext {
    let state = context.state.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let (trace_id, span_id) = (TraceId::from(context.trace_id), SpanId::from(context.span_id));
    SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, is_remote, state)
}

/// Counts what becomes of spans on their way through OTLP.
struct Counted {
    otlp: OtlpExporter,
    waiting: Arc<AtomicUsize>,
    metrics: SpanMetrics,
    is_failing: AtomicBool,
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.waiting.fetch_sub(count, Relaxed);
        let sent = self.otlp.export(batch).await;
        let counter = if sent.is_ok() { &self.metrics.exported } else { &self.metrics.failed };
        counter.inc_by(count as u64);
        match (&sent, self.is_failing.swap(sent.is_err(), Relaxed)) {
            (Err(error), false) => tracing::warn!(%error, "the collector takes no spans; calls are served as before"),
            (Ok(()), true) => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
