// SPDX-License-Identifier: Apache-2.0
//! Every limit of connections, with its reason.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Connections of one process at most. Each costs a descriptor and about 1 KiB while idle; one more waits in the accept backlog.
pub const CONNECTIONS_MAX: usize = 65_536;

/// Neither read nor written for so long: closed, as `serverChannelMaxIdleTimeSeconds`.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(120);

/// How often idle connections are looked for; the precision of `IDLE_MAX`.
pub(super) const IDLE_SWEEP: Duration = Duration::from_secs(5);

/// First read of a connection and every read after a quiet moment: a few small requests, or one send of 1 KiB.
pub(super) const READ_BYTES_MIN: usize = 4 * KIB;

/// One read of a busy connection. Larger reads bring no fewer system calls per message worth having.
pub(super) const READ_BYTES_MAX: usize = 64 * KIB;

/// Replies that a peer has left unread before we stop reading its requests: about 5,000 send replies, or 8 full pulls.
pub(super) const OUTBOUND_PAUSE_BYTES: usize = 2 * MIB;

/// Replies that a peer may leave unread at all. Only late answers (held pulls, fsyncs) can go past the pause: one full
/// round of 256 held pulls of `maxTransferBytesOnMessageInMemory` (256 KiB). Then the peer does not read and is closed.
pub(super) const OUTBOUND_BYTES_MAX: usize = 64 * MIB;

/// Requests of one connection that wait for a late answer before we stop reading it. A client that consumes 2,048 queues
/// through one connection holds as many pulls; a held request costs about half a KiB.
pub(super) const COMPLETIONS_MAX: usize = 16_384;

/// Slices in one `writev`: the kernel's UIO_MAXIOV is 1024, 64 slices already hold eight full pulls.
pub(super) const WRITE_SLICES_MAX: usize = 64;

/// What a session seals ahead of the socket: four records of TLS in one write.
pub(super) const SEALED_BYTES_MAX: usize = 64 * KIB;

/// A body up to this size is copied beside its header: cheaper than a slice of its own in a `writev`.
pub(super) const COPIED_BODY_BYTES_MAX: usize = 4 * KIB;

/// With little memory left bodies that wait for their peers lie in pieces of this size: 64 of them are a `writev` of 1 MiB.
pub(super) const WAITING_PIECE_BYTES: usize = 16 * KIB;

/// How long an outgoing connection may take, as the original's client.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Wait after the machine refused to accept (no descriptors left), so that the refusal does not burn a core.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How often a listener that drains looks whether every answer is given: a stop is noticed by people, not by messages.
pub(super) const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// What the budget counts in. Less than this in a connection's answers or its buffer is part of `CONNECTION_BYTES`.
pub(super) const GRAIN_BYTES: usize = READ_BYTES_MIN;

/// A connection that holds nothing to speak of: its socket, task and tables (about 2 KiB), and pieces below a grain.
pub(super) const CONNECTION_BYTES: usize = 4 * KIB;

/// So many requests that wait for a late answer are about a grain.
pub(super) const COMPLETIONS_PER_GRAIN: usize = 8;

/// Whoever holds no more is always served: two reads of small requests and their answers.
pub(super) const SMALL_BYTES: usize = 2 * GRAIN_BYTES;

/// One part in so many of the budget is kept back for those who hold little, and one part in so many of what is free one connection
/// may hold: one alone gets a fifth of the rest, and ten that take all they can leave two sevenths of it to others.
pub(super) const BUDGET_SHARE: usize = 4;

/// How often those who wait for memory are looked at: soon beside the time for which a disk or a slow peer lets one wait.
pub(super) const BUDGET_LOOK: Duration = Duration::from_millis(10);

/// So that looks never take more than a small part of a core.
pub(super) const BUDGET_LOOK_PER_CONNECTION: Duration = Duration::from_micros(3);

/// A pass to use what is kept back is taken from one whose peer sends nothing for so many looks.
pub(super) const BUDGET_IDLE_LOOKS: u32 = 3;

/// A connection whose peer sends nothing for so many looks in the middle of a request may be closed for others: half a second, which a
/// peer far away or on a busy machine does not take.
pub(super) const BUDGET_GONE_LOOKS: u32 = 50;

/// Whoever has waited for memory so long gets it from the connection that holds the most while its peer does not go on. Clients give up
/// a send after 3 s.
pub(super) const BUDGET_NEED_MAX: Duration = Duration::from_millis(500);

/// And it is another's turn after this time at the latest: enough for 4 MiB at 32 Mbit/s.
pub(super) const BUDGET_PASS_MAX: Duration = Duration::from_secs(1);

/// Not more than one line in this time says that connections wait for memory.
pub(super) const BUDGET_SAY: Duration = Duration::from_secs(10);
