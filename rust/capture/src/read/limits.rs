//! The limits that bound the memory of a [`CaptureReader`](crate::read::CaptureReader).

/// What a reader keeps at most. When a limit is reached, the idlest streams or requests are given up,
/// and a fault reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The bytes that are decompressed at a time.
    pub decompressed: usize,
    /// The bytes of one block or packet record of the file.
    pub block: usize,
    /// The bytes of one direction that wait for missing bytes before them.
    pub out_of_order: usize,
    /// The bytes of one incomplete message or PDU.
    pub message: usize,
    /// The bytes of one direction of a stream that may or may not be an association.
    pub undecided: usize,
    /// The pending bytes of all streams.
    pub pending: usize,
    /// The TCP streams.
    pub streams: usize,
    /// The requests without a response.
    pub requests: usize,
    /// How long, in nanoseconds of the capture, a closed stream waits for late packets, and bytes
    /// wait for missing bytes that their receiver has acknowledged.
    pub wait: i64,
}

impl Limits {
    /// Limits for captures of any size.
    pub const BOUNDED: Self = Self {
        decompressed: 4 << 20,
        block: 32 << 20,
        out_of_order: 8 << 20,
        message: 64 << 20,
        undecided: 1 << 20,
        pending: 256 << 20,
        streams: 1 << 16,
        requests: 1 << 16,
        wait: 5_000_000_000,
    };

    /// No limits, for a file that is in memory.
    pub const NONE: Self = Self {
        decompressed: usize::MAX,
        block: usize::MAX,
        out_of_order: usize::MAX,
        message: usize::MAX,
        undecided: usize::MAX,
        pending: usize::MAX,
        streams: usize::MAX,
        requests: usize::MAX,
        wait: i64::MAX,
    };
}
