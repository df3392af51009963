//! Launches that are recorded once and then begun by one call.

use std::sync::Arc;

use candela_cuda::cudarc::driver::{
    CudaGraph, CudaStream,
    sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};

use super::error::GpuError;

/// A recorded sequence of launches.
pub(super) struct Graph(CudaGraph);

#[expect(unsafe_code, reason = "the graph is a pointer")]
// SAFETY: the driver asks that a graph be used by one thread at a time; it has one owner.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `launches` begins on the stream, none of which is done now.
    pub(super) fn record(
        stream: &Arc<CudaStream>,
        launches: impl FnOnce() -> Result<(), GpuError>,
    ) -> Result<Self, GpuError> {
        let failed = || GpuError::driver("recording a graph of launches");
        stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(failed())?;
        let launched = launches();
        // It ends in any case: else nothing could be done on this stream again.
        let graph = stream.end_capture(CUgraphInstantiate_flags(0));
        launched?;
        match graph.map_err(failed())? {
            Some(graph) => {
                graph.upload().map_err(failed())?;
                Ok(Self(graph))
            }
            None => unreachable!("a capture that ends well has a graph"),
        }
    }

    pub(super) fn launch(&self) -> Result<(), GpuError> {
        self.0
            .launch()
            .map_err(GpuError::driver("launching a step's graph"))
    }
}
