//! The bounds of an export's work, each with its reason.

use std::time::Duration;

/// Every bound that a step keeps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A step starts no further page after this time: far below the host's `functionTimeout`, which kills the process.
    pub step: Duration,
    /// A checkpoint at least this often: what a crash can cost in work.
    pub checkpoint_time: Duration,
    /// A checkpoint at least after so many bytes of output.
    pub checkpoint_bytes: u64,
    /// A file is sealed when it has grown to this size.
    pub file_bytes: u64,
    /// The largest block: 8 MiB blocks are the cheapest per byte, measured.
    pub block_bytes: usize,
    /// What all steps of a process may hold in block buffers; the largest are staged early when it is more (design §10).
    pub buffered_bytes: usize,
    /// Of that, what each step that is under way adds: with few of them the process takes less memory, with smaller blocks.
    pub buffered_bytes_of_step: usize,
    /// How much of a key log is read at a time: a multiple of a key's size.
    pub log_bytes: u64,
    /// So many keys of what was gathered are held in memory, of each kind and stage: 16 bytes each.
    pub gathered_keys: usize,
    /// So many chunks of a process read what was gathered at a time; then they hold the same.
    pub gatherings: usize,
    /// What a step holds of an export that it organizes by patient, beside the 4 MB of a run that it reads: as much as a page
    /// takes.
    pub arranged_bytes: usize,
    /// Pages that a process holds at a time: each takes up to three times its 4 MB while it is read.
    pub pages: usize,
    /// A step waits so long in all for request units of a page, before it leaves off and the queue has it wait: as long as the
    /// lease of its claim bears.
    pub page_patience: Duration,
    /// A job has at most so many chunks; more ranges than that share chunks.
    pub chunks: u32,
    /// A chunk that was claimed so often without getting any further makes the job Failed.
    pub claims: u32,
    /// A chunk that began anew so often, since staged blocks had vanished, makes the job Failed.
    pub generations: u32,
}

/// What may follow the time at which a checkpoint is wanted: one page, its blocks, and the checkpoint itself, each within
/// the time that a call is given ([`CALL`]).
const LEASE_BEYOND_CHECKPOINT: Duration = Duration::from_secs(45);

/// One call to a service gives up after so long, the SDK's own retries included.
pub const CALL: Duration = Duration::from_secs(20);

/// A file is sent for so long at most, and the client goes on with a range: the host kills the process at its
/// `functionTimeout`, and before that it cuts off, after four minutes, a client that does not read.
pub const DOWNLOAD: Duration = Duration::from_secs(5 * 60);

/// The watch steps in when a message that was sent has not been taken up for so long.
pub const UNCLAIMED: Duration = Duration::from_secs(15 * 60);

/// The watch steps in sooner for a chunk that a step has just left: that step may have died before it sent the next
/// message, and what a death costs is to be two minutes at most.
pub const UNSENT: Duration = Duration::from_secs(80);

/// The watch looks at an open job this often.
pub const JOB_WATCH: Duration = Duration::from_secs(60);

/// The watch looks this often at a chunk that is open while its job is not.
pub const CLOSED_WATCH: Duration = Duration::from_secs(60 * 60);

/// The secret of a destination is kept at most so long after a job's end (design §7).
pub const SECRET_AFTER_END: Duration = Duration::from_secs(24 * 60 * 60);

/// The documents of a job that was removed stay so long, so that a step that comes late finds them and stops.
pub const TOMBSTONE: Duration = Duration::from_secs(15 * 60);

/// A file is sealed after this many runs of blocks, so that its record stays small.
pub const RUNS_PER_FILE: usize = 256;

/// A file is sealed this long after its first block: the service drops uncommitted blocks after a week.
pub const FILE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Files are sealed, the largest record first, when the chunk's document grows beyond this.
pub const CHUNK_DOCUMENT_BYTES: usize = 80 * 1024;

/// The service takes 50,000 blocks in one blob; what is staged until the next checkpoint must fit as well.
pub const BLOCKS_PER_FILE: u32 = 49_000;

/// A checkpoint is made when so many files wait for their commit, and none is sealed for its size until then, so that the
/// document stays small.
pub const SEALED_FILES: usize = 50;

/// Committed records leave the chunk's document for a `files` document once there are so many.
pub const RECORDS_PER_PART: usize = 100;

/// The summary tells the resources of each type in each chunk up to so many entries, of some 40 bytes each.
pub const TYPES_TOLD: usize = 600;

/// The least size that a client may set as the largest of a file: smaller ones would make files without number.
pub const LEAST_FILE: u64 = 1 << 20;

/// The longest URL of a kick-off, as the host has it.
pub const URL_BYTES: usize = 8192;

impl Limits {
    /// How long a claim holds: until the next checkpoint, which renews it, or the step's end, and what may follow.
    pub fn lease(&self) -> Duration {
        self.step.min(self.checkpoint_time) + LEASE_BEYOND_CHECKPOINT
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(60),
            checkpoint_time: Duration::from_secs(30),
            checkpoint_bytes: 64 << 20,
            file_bytes: 1 << 30,
            block_bytes: 8 << 20,
            buffered_bytes: 48 << 20,
            buffered_bytes_of_step: 12 << 20,
            log_bytes: 1 << 20,
            gathered_keys: 1 << 20,
            gatherings: 1,
            arranged_bytes: 8 << 20,
            pages: 6,
            page_patience: Duration::from_secs(5),
            chunks: 64,
            claims: 10,
            generations: 3,
        }
    }
}
