//! Every limit of the mesh, by name. Nothing a peer does makes this node wait or keep more than these say.

use std::time::Duration;

/// The longest frame on the control lane, in bytes.
pub const CONTROL_FRAME: usize = 2 * 1024 * 1024;
/// The longest frame on the bulk lane, in bytes.
pub const BULK_FRAME: usize = 5 * 1024 * 1024;
/// How many frames wait for one peer on the control lane before the oldest are dropped.
pub const CONTROL_QUEUE: usize = 256;
/// How many frames wait for one peer on the bulk lane before new ones are dropped.
pub const BULK_QUEUE: usize = 64;
/// How many bytes wait for one peer on the bulk lane before new frames are dropped.
pub const BULK_QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Small frames are gathered into writes of about so many bytes.
pub const WRITE_BUFFER: usize = 64 * 1024;
/// So many bytes are read from a connection at once.
pub const READ_BUFFER: usize = 64 * 1024;
/// Blocks of memory up to this size, and twice as much of what is free, are kept for the next frame.
pub const KEPT: usize = 2 * 1024 * 1024;

/// The longest head of a call (its JSON), in bytes.
pub const CALL_HEAD: usize = 4 * 1024;
/// How long a caller may take to send the head of its call.
pub const CALL_HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How many streams of calls are open on one connection, in each direction. Both directions and what is on its way
/// must stay below [`STREAMS`]: the muxer closes the whole connection beyond it.
pub const CALLS: usize = 1_800;
/// How many calls a stranger has open on its connection.
pub const STRANGER_CALLS: usize = 2;
/// How many streams the muxer carries on one connection. It lets a peer send 1 GiB in all, of which 256 KiB are each
/// stream's. The 8 MiB that are left go to streams that carry more than that in the time of two round trips.
pub const STREAMS: usize = 4_064;
/// How many streams of one connection are being negotiated at the same time.
pub const NEGOTIATING: usize = 256;
/// How many requests for a stream wait for one connection before callers wait.
pub const OPENS: usize = 64;
/// How long opening a stream may take.
pub const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// How many connections that others have dialled are in their handshake at the same time.
pub const PENDING: usize = 32;
/// How many of those come from one address, so that one host cannot take all the room.
pub const PENDING_OF_ONE: usize = 8;
/// How many connections one member has: two when both dial at the same time, one more while a dead one is not noticed.
pub const OF_ONE_MEMBER: usize = 3;
/// How many strangers are connected at the same time.
pub const STRANGERS: usize = 4;
/// How long a stranger that has dialled us may stay.
pub const STRANGER_STAY: Duration = Duration::from_secs(15);
/// How long a stranger's connection without a stream is kept.
pub const STRANGER_IDLE: Duration = Duration::from_secs(3);

/// How long a dial and the handshake after it may take.
pub const DIAL_PATIENCE: Duration = Duration::from_secs(2);
/// How often a member without a connection is dialled.
pub const REDIAL: Duration = Duration::from_secs(1);
/// How many addresses of one member are dialled.
pub const ADDRESSES: usize = 16;
/// How many of them may have been found on the local network.
pub const FOUND: usize = 4;
/// How many calls to strangers wait for the swarm's task.
pub const ERRANDS: usize = 16;

/// After how long without a byte from a member its connection is closed (rule 14).
pub const SILENCE: Duration = Duration::from_secs(2);
/// How often deadlines are looked at.
pub const TICK: Duration = Duration::from_millis(250);
/// A look that comes so late says that this process has been held up: silence before it proves nothing.
pub const STALL: Duration = Duration::from_secs(1);
/// A second connection within this time of the first comes from both having dialled at the same time.
pub const TOGETHER: Duration = Duration::from_secs(1);
/// How long there may be two connections to a member before one is closed: the far side may need so long for the end of
/// a handshake that this side has ended already.
pub const SETTLE: Duration = Duration::from_secs(1);
/// How long a lane that broke waits before it is opened again.
pub const LANE_REOPEN: Duration = Duration::from_millis(100);
/// How many bytes may wait unsent in the kernel: more would only hold up heartbeats behind bulk on a slow line.
pub const UNSENT: u32 = 256 * 1024;
